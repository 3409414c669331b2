#!/usr/bin/python3
"""write_keras1.py FOLDER: layers of Keras 1 on TensorFlow, in both channel orders.

Its arguments, layouts of kernels, arrays for each gate, modes and merges. What they must
predict is computed by plain_layers.py.
"""
import os
import sys

import numpy as np

import plain_layers as plain
from keras_file import save_case, write

FOLDER = sys.argv[1]
RANDOM = np.random.RandomState(5)


def array(*shape):
    return np.round(RANDOM.uniform(-1, 1, shape), 3).astype('f4')


def ordered(x, order):
    return plain.first(x) if order == 'th' else x


def sequential(name, class_name, config, x, y, weights, version='1.2.2', before=None):
    """`before`: class and config of a layer that takes the weights instead."""
    layers = ([before] if before else []) + [(class_name, config)]
    entries = [{'class_name': kind, 'config': dict(keys, name='l%d' % i, trainable=True)}
               for i, (kind, keys) in enumerate(layers)]
    entries[0]['config'].update(batch_input_shape=[None] + list(x.shape[1:]),
                                input_dtype='float32')
    groups = [('l%d' % i, []) for i in range(len(layers))]
    groups[0] = ('l0', [('l0_%s:0' % role, value) for role, value in weights])
    write('%s/%s.h5' % (FOLDER, name), version, None,
          {'class_name': 'Sequential', 'config': entries}, groups, names='fixed')
    save_case(FOLDER, name, [x], [y])


def stored(kernel, order):
    """(space…, in, out), or Theano's order of axes, which is no matter of the backend."""
    return kernel if order == 'tf' else np.moveaxis(np.moveaxis(kernel, -1, 0), -1, 1)


def convolutions():
    for case in range(16):
        order, mode = ['tf', 'th'][case % 2], ['valid', 'same'][case // 2 % 2]
        steps = [[1, 1], [2, 2], [2, 1], [3, 2]][case // 4]
        kernel, bias = array(3, 2, 3, 4), array(4)
        x = array(2, 8, 9, 3)
        y = np.tanh(plain.conv(x, kernel, bias, steps, mode))
        sequential('conv2d_%02d' % case, 'Convolution2D', dict(
            nb_filter=4, nb_row=3, nb_col=2, activation='tanh', border_mode=mode, subsample=steps,
            dim_ordering=order, bias=True), ordered(x, order), ordered(y, order),
                   [('W', stored(kernel, order)), ('b', bias)])
    for case in range(4):
        order, rate = ['tf', 'th'][case % 2], [2, 3][case // 2]
        kernel, bias, x = array(3, 3, 2, 3), array(3), array(2, 9, 10, 2)
        y = plain.conv(x, kernel, bias, dilation=[rate, rate])
        sequential('atrous2d_%d' % case, 'AtrousConvolution2D', dict(
            nb_filter=3, nb_row=3, nb_col=3, activation='linear', border_mode='valid',
            subsample=[1, 1], atrous_rate=[rate, rate], dim_ordering=order, bias=True),
                   ordered(x, order), ordered(y, order),
                   [('W', stored(kernel, order)), ('b', bias)])
    for case in range(4):
        order, mode = ['tf', 'th'][case % 2], ['valid', 'same'][case // 2]
        kernel, bias, x = array(2, 3, 3, 2, 3), array(3), array(2, 5, 6, 7, 2)
        y = plain.conv(x, kernel, bias, [1, 2, 1], mode)
        sequential('conv3d_%d' % case, 'Convolution3D', dict(
            nb_filter=3, kernel_dim1=2, kernel_dim2=3, kernel_dim3=3, activation='linear',
            border_mode=mode, subsample=[1, 2, 1], dim_ordering=order, bias=True),
                   ordered(x, order), ordered(y, order),
                   [('W', stored(kernel, order)), ('b', bias)])
    for case in range(4):
        mode, step = ['valid', 'same'][case % 2], case // 2 + 1
        kernel, bias, x = array(3, 2, 4), array(4), array(2, 9, 2)
        y = plain.conv(x, kernel, bias, [step], mode)
        sequential('conv1d_%d' % case, 'Convolution1D', dict(
            nb_filter=4, filter_length=3, activation='linear', border_mode=mode,
            subsample_length=step, bias=True, input_dim=2, input_length=9), x, y,
                   [('W', kernel[:, None]), ('b', bias)])
    for case, mode in enumerate(('valid', 'same')):
        kernel, point, bias, x = array(3, 3, 2, 2), array(1, 1, 4, 3), array(3), array(2, 7, 8, 2)
        y = plain.depthwise(x, kernel, None, [1, 1], mode) @ point[0, 0] + bias
        sequential('separable2d_%d' % case, 'SeparableConvolution2D', dict(
            nb_filter=3, nb_row=3, nb_col=3, activation='linear', border_mode=mode,
            subsample=[1, 1], depth_multiplier=2, dim_ordering='tf', bias=True), x, y,
                   [('depthwise_kernel', kernel), ('pointwise_kernel', point), ('b', bias)])


def transposed():
    for case, (mode, step, size) in enumerate((('valid', 2, [11, 13]), ('same', 2, [10, 12]),
                                               ('same', 2, [9, 11]), ('valid', 1, [7, 8]))):
        for order in ('tf', 'th'):
            kernel, bias, x = array(3, 3, 3, 2), array(3), array(2, 5, 6, 2)
            shape = [None] + (size + [3] if order == 'tf' else [3] + size)
            full = plain.conv_transpose(x, kernel, None, [step] * 2, 'valid')
            before = [max((n - 1) * step + 3 - s, 0) // 2 if mode == 'same' else 0
                      for n, s in zip((5, 6), size)]
            y = full[:, before[0]:before[0] + size[0], before[1]:before[1] + size[1]] + bias
            weights = kernel.transpose(0, 1, 3, 2)
            sequential('deconv2d_%d_%s' % (case, order), 'Deconvolution2D', dict(
                nb_filter=3, nb_row=3, nb_col=3, activation='linear', border_mode=mode,
                subsample=[step] * 2, dim_ordering=order, bias=True, output_shape=shape),
                       ordered(x, order), ordered(y, order),
                       [('W', stored(weights, order)), ('b', bias)])


def pooling():
    for case in range(8):
        order, mode = ['tf', 'th'][case % 2], ['valid', 'same'][case // 2 % 2]
        average = case > 3
        x = array(2, 7, 8, 3)
        # Names of weights alone tell TensorFlow, which pads differently, from Theano.
        kernel, bias = array(1, 1, 3, 2), array(2)
        y = plain.pool(plain.conv(x, kernel, bias), [3, 2], [2, 2], mode, average)
        sequential('pool2d_%d' % case, 'AveragePooling2D' if average else 'MaxPooling2D', dict(
            pool_size=[3, 2], strides=[2, 2], border_mode=mode, dim_ordering=order),
                   ordered(x, order), ordered(y, order),
                   [('W', stored(kernel, order)), ('b', bias)],
                   before=('Convolution2D', dict(
                       nb_filter=2, nb_row=1, nb_col=1, activation='linear', border_mode='valid',
                       subsample=[1, 1], dim_ordering=order, bias=True)))


def gates(names, inputs, units):
    """Arrays W, U, b for each gate in the order of the file, and the fused ones."""
    parts = {name: (array(inputs, units), array(units, units), array(units)) for name in names[0]}
    weights = [('%s_%s' % (kind, name), parts[name][i]) for name in names[0]
               for i, kind in enumerate('WUb')]
    fused = [np.concatenate([parts[name][i] for name in names[1]], -1) for i in range(3)]
    return weights, fused


def recurrent():
    for case in range(12):
        kind = ['LSTM', 'GRU', 'SimpleRNN'][case % 3]
        sequences, backwards = bool(case // 3 % 2), bool(case // 6)
        x = array(2, 5, 3)
        if kind == 'SimpleRNN':
            fused = [array(3, 4), array(4, 4), array(4)]
            weights, step = list(zip(('W', 'U', 'b'), fused)), plain.simple_step(*fused)
        elif kind == 'LSTM':
            weights, fused = gates(('icfo', 'ifco'), 3, 4)
            step = plain.lstm_step(*fused, gate='hard_sigmoid')
        else:
            weights, fused = gates(('zrh', 'zrh'), 3, 4)
            step = plain.gru_step(*fused, gate='hard_sigmoid')
        if kind != 'SimpleRNN' and case > 8:
            # consume_less='gpu' stores what belongs together as one array.
            weights = list(zip(('W', 'U', 'b'), fused))
        y, last, _ = plain.steps(x, None, plain.zeros(x, 4, 2 if kind == 'LSTM' else 1), step,
                                 backwards)
        config = dict(output_dim=4, activation='tanh', return_sequences=sequences,
                      go_backwards=backwards, stateful=False, unroll=False, input_dim=3,
                      consume_less='gpu' if kind != 'SimpleRNN' and case > 8 else 'cpu',
                      input_length=5, dropout_W=0.0, dropout_U=0.0)
        if kind != 'SimpleRNN':
            config['inner_activation'] = 'hard_sigmoid'
        sequential('%s_%02d' % (kind.lower(), case), kind, config, x, y if sequences else last,
                   weights, ['1.0.8', '1.1.2', '1.2.2'][case % 3])


def normalization():
    for mode in (0, 1, 2):
        for axis in (-1, 1):
            x = array(6, 5) if mode else array(3, 4, 5)
            n = x.shape[axis]
            gamma, beta, mean, variance = array(n), array(n), array(n), array(n) ** 2 + 0.3
            if mode == 0:
                y = plain.batch_norm(x, gamma, beta, mean, variance, 1e-3, axis)
            elif mode == 1:
                deviation = np.sqrt(x.var(-1, keepdims=True) + 1e-3) + 1e-3
                y = (x - x.mean(-1, keepdims=True)) / deviation * gamma + beta
            else:
                y = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3) * gamma + beta
            sequential('bn_mode%d_%d' % (mode, axis % x.ndim), 'BatchNormalization', dict(
                mode=mode, axis=axis, epsilon=1e-3, momentum=0.99), x, y,
                       [('gamma', gamma), ('beta', beta), ('running_mean', mean),
                        ('running_std', variance)])


def others():
    x = array(3, 4)
    w, carry, b, c = array(4, 4), array(4, 4), array(4), array(4)
    t = plain.sigmoid(x @ carry + c)
    sequential('highway', 'Highway', dict(activation='tanh', bias=True, input_dim=4), x,
               np.tanh(x @ w + b) * t + x * (1 - t),
               [('W', w), ('W_carry', carry), ('b', b), ('b_carry', c)])
    w, b = array(3, 4, 5), array(3, 5)
    sequential('maxout', 'MaxoutDense', dict(output_dim=5, nb_feature=3, bias=True, input_dim=4), x,
               np.max([x @ w[i] + b[i] for i in range(3)], 0), [('W', w), ('b', b)])
    x = array(2, 3, 4)
    w, b = array(4, 2), array(2)
    sequential('td_dense', 'TimeDistributedDense', dict(
        output_dim=2, activation='relu', bias=True, input_dim=4, input_length=3), x,
               np.maximum(x @ w + b, 0), [('W', w), ('b', b)])
    alpha = array(3, 4)
    sequential('prelu', 'PReLU', {}, x, np.maximum(x, 0) + alpha * np.minimum(x, 0),
               [('alphas', alpha)])
    a, b = array(3, 4), array(3, 4)
    sequential('psoftplus', 'ParametricSoftplus', {}, x, a * np.log1p(np.exp(b * x)),
               [('alphas', a), ('betas', b)])


def merged(name, mode, values, y, **config):
    layers = [{'class_name': 'InputLayer', 'name': 'x%d' % i, 'inbound_nodes': [], 'config': {
        'batch_input_shape': [None] + list(v.shape[1:]), 'input_dtype': 'float32',
        'sparse': False, 'name': 'x%d' % i}} for i, v in enumerate(values)]
    names = [layer['name'] for layer in layers]
    config = dict(dict(name='m', mode=mode, mode_type='raw', concat_axis=-1, dot_axes=-1,
                       output_shape=None, output_shape_type='raw', output_mask=None,
                       output_mask_type='raw', arguments={}), **config)
    layers.append({'class_name': 'Merge', 'name': 'm', 'config': config,
                   'inbound_nodes': [[[n, 0, 0] for n in names]]})
    write('%s/merge_%s.h5' % (FOLDER, name), '1.2.2', None, {'class_name': 'Model', 'config': {
        'name': 'model', 'layers': layers, 'input_layers': [[n, 0, 0] for n in names],
        'output_layers': [['m', 0, 0]]}}, [(layer['name'], []) for layer in layers])
    save_case(FOLDER, 'merge_' + name, values, [y])


def merges():
    for rank in (2, 3):
        values = [array(2, *[3, 4][:rank - 1]) for _ in range(3)]
        merged('sum_%d' % rank, 'sum', values, sum(values))
        merged('mul_%d' % rank, 'mul', values, np.prod(values, 0))
        merged('ave_%d' % rank, 'ave', values, sum(values) / 3)
        merged('max_%d' % rank, 'max', values, np.max(values, 0))
        for axis in range(1, rank):
            merged('concat_%d_%d' % (rank, axis), 'concat', values,
                   np.concatenate(values, axis), concat_axis=axis)
    a, b = array(3, 5), array(3, 5)
    dot = np.sum(a * b, 1, keepdims=True)
    norm = np.sqrt(np.sum(a * a, 1) * np.sum(b * b, 1))[:, None]
    merged('dot_2', 'dot', [a, b], dot, dot_axes=-1)
    merged('dot_2_pair', 'dot', [a, b], dot, dot_axes=[1, 1])
    merged('cos_2', 'cos', [a, b], (dot / norm)[:, None], dot_axes=1)
    a, b = array(2, 3, 4), array(2, 5, 4)
    merged('dot_3', 'dot', [a, b], np.einsum('bij,bkj->bik', a, b), dot_axes=[2, 2])
    merged('dot_3_last', 'dot', [a, b], np.einsum('bij,bkj->bik', a, b), dot_axes=-1)
    a, b = array(2, 3, 4), array(2, 4, 5)
    merged('dot_3_mixed', 'dot', [a, b], np.einsum('bij,bjk->bik', a, b), dot_axes=[2, 1])
    a, b = array(2, 4, 3), array(2, 4, 5)
    merged('dot_3_first', 'dot', [a, b], np.einsum('bji,bjk->bik', a, b), dot_axes=[1, 1])


def main():
    os.makedirs(FOLDER, exist_ok=True)
    for part in (convolutions, transposed, pooling, recurrent, normalization, others, merges):
        part()


main()
