#!/usr/bin/python3
"""write_arguments.py FOLDER: one layer a file, arguments drawn at random.

Combinations of padding, strides, dilation, groups, channel orders, directions, states,
masks and axes, in the ways of Keras 2.3 and 3. What they must predict is computed by
plain_layers.py.
"""
import os
import sys

import numpy as np

import plain_layers as plain
from keras_file import save_case, write

FOLDER = sys.argv[1]
RANDOM = np.random.RandomState(11)
CHOICE = RANDOM.choice
VERSIONS = {'2.3.1': 'tensorflow', '2.11.0': 'tensorflow', '3.8.0': 'jax'}
COUNTS = {}


def array(*shape):
    return np.round(RANDOM.uniform(-1, 1, shape), 3).astype('f4')


def pick(*values):
    return values[RANDOM.randint(len(values))]


def model(layers, inputs, outputs, weights, version=None, graph=None):
    """A Sequential of (class, config), or with `graph` a functional model of
    (class, config, names of the layers before)."""
    version = version or pick(*VERSIONS)
    keras3 = version >= '3'
    entries, groups = [], []
    for i, layer in enumerate(layers):
        class_name, config = layer[0], dict(layer[1])
        config.setdefault('name', '%s_%d' % (class_name.lower(), i))
        entry = {'class_name': class_name, 'config': config}
        if graph is None and i == 0:
            if keras3:
                entries.append({'class_name': 'InputLayer', 'config': {
                    'batch_shape': [None] + list(inputs[0].shape[1:]), 'name': 'input',
                    'dtype': 'float32'}})
            else:
                config['batch_input_shape'] = [None] + list(inputs[0].shape[1:])
        if graph is not None:
            entry['name'] = config['name']
            entry['inbound_nodes'] = inbound(layer[2], keras3)
            if class_name == 'InputLayer':
                config['batch_shape' if keras3 else 'batch_input_shape'] = [None] + list(
                    inputs[i].shape[1:])
                config['dtype'] = str(inputs[i].dtype)
        entries.append(entry)
        suffix = '' if keras3 else ':0'
        groups.append((config['name'], [('%s/%s%s' % (config['name'], name, suffix), value)
                                        for name, value in weights.get(i, [])]))
    config = {'name': 'model', 'layers': entries}
    if graph is not None:
        config.update(input_layers=[[name, 0, 0] for name in graph[0]],
                      output_layers=[[name, 0, k] for name, k in graph[1]])
    kind = 'Sequential' if graph is None else 'Model' if version == '2.3.1' else 'Functional'
    label = layers[-1][0].lower() if graph is None else layers[len(inputs)][0].lower()
    COUNTS[label] = COUNTS.get(label, 0) + 1
    name = '%s_%02d_%s' % (label, COUNTS[label], version)
    write('%s/%s.h5' % (FOLDER, name), version, VERSIONS[version],
          {'class_name': kind, 'config': config}, groups)
    save_case(FOLDER, name, inputs, outputs)


def inbound(names, keras3):
    """Names of the layers before: a list of tensors, or several arguments as a tuple."""
    if not names:
        return []
    if not keras3:
        return [[[name, 0, 0, {}] for name in names]]
    tensors = [{'class_name': '__keras_tensor__', 'config': {
        'shape': [None], 'dtype': 'float32', 'keras_history': [name, 0, 0]}} for name in names]
    arguments = tensors if isinstance(names, tuple) or len(tensors) == 1 else [tensors]
    return [{'args': arguments, 'kwargs': {}}]


# --- convolution and pooling ---

def ordered(x, first):
    return plain.first(x) if first else x


def convolutions():
    for case in range(60):
        rank = case % 3 + 1
        kernel_size = [int(k) for k in CHOICE([1, 2, 3, 4], rank)]
        dilated = case % 4 == 0
        strides = [1] * rank if dilated else [int(s) for s in CHOICE([1, 2, 3], rank)]
        dilation = [int(d) for d in CHOICE([1, 2, 3], rank)] if dilated else [1] * rank
        first, biased = bool(case % 2), case % 5 != 0
        padding = pick('valid', 'same', 'causal') if rank == 1 else pick('valid', 'same')
        if first and padding == 'causal':
            padding = 'same'
        groups = pick(1, 2) if case % 3 else 1
        channels, filters = 2 * groups, groups * pick(1, 3)
        activation = pick('linear', 'relu', 'tanh', 'elu')
        x = array(2, *[int(n) for n in CHOICE([10, 11, 12], rank)], channels)
        kernel, bias = array(*kernel_size, channels // groups, filters), array(filters)
        y = plain.act(activation)(plain.conv(x, kernel, bias if biased else None, strides, padding,
                                             dilation, groups))
        config = dict(filters=filters, kernel_size=kernel_size, strides=strides, padding=padding,
                      dilation_rate=dilation, activation=activation, use_bias=biased,
                      data_format='channels_first' if first else 'channels_last')
        version = pick('2.11.0', '3.8.0')
        if groups > 1 or pick(0, 1):
            config['groups'] = groups
        model([('Conv%dD' % rank, config)], [ordered(x, first)], [ordered(y, first)],
              {0: [('kernel', kernel)] + [('bias', bias)] * biased}, version)


def depthwise_and_separable():
    for case in range(40):
        rank = case % 2 + 1
        kernel_size = [int(k) for k in CHOICE([1, 2, 3, 4], rank)]
        step = pick(1, 2, 3)
        rate = pick(1, 2) if step == 1 else 1
        strides, dilation = [step] * rank, [rate] * rank
        padding, first, multiplier = pick('valid', 'same'), bool(case % 4 > 1), pick(1, 2, 3)
        x = array(2, *[int(n) for n in CHOICE([9, 10, 11], rank)], 3)
        kernel, common = array(*kernel_size, 3, multiplier), dict(
            kernel_size=kernel_size, strides=strides, padding=padding, dilation_rate=dilation,
            depth_multiplier=multiplier, use_bias=True, activation='tanh',
            data_format='channels_first' if first else 'channels_last')
        y = plain.depthwise(x, kernel, None, strides, padding, dilation)
        if case % 8 < 4:
            bias = array(3 * multiplier)
            version = pick('2.11.0', '3.8.0')
            role = 'kernel' if version >= '3' else 'depthwise_kernel'
            model([('DepthwiseConv%dD' % rank, common)], [ordered(x, first)],
                  [ordered(np.tanh(y + bias), first)], {0: [(role, kernel), ('bias', bias)]},
                  version)
        else:
            pointwise, bias = array(*[1] * rank, 3 * multiplier, 4), array(4)
            y = np.tanh(y @ pointwise.reshape(-1, 4) + bias)
            model([('SeparableConv%dD' % rank, dict(common, filters=4))], [ordered(x, first)],
                  [ordered(y, first)], {0: [('depthwise_kernel', kernel),
                                            ('pointwise_kernel', pointwise), ('bias', bias)]})


def transposed():
    for case in range(48):
        rank = case % 3 + 1
        kernel_size = [int(k) for k in CHOICE([1, 2, 3, 4, 5], rank)]
        strides = [int(s) for s in CHOICE([1, 2, 3], rank)]
        padding, first = pick('valid', 'same'), bool(case % 2)
        extra = [int(RANDOM.randint(s)) for s in strides] if case % 4 == 3 else None
        if extra and padding == 'same':
            # Sizes that no forward convolution reaches are an error of TensorFlow.
            extra = [e if k >= s else 0 for e, k, s in zip(extra, kernel_size, strides)]
            kernel_size = [max(k, s) for k, s in zip(kernel_size, strides)]
        x = array(2, *[int(n) for n in CHOICE([3, 4, 5], rank)], 2)
        kernel, bias = array(*kernel_size, 3, 2), array(3)
        y = plain.conv_transpose(x, kernel, bias, strides, padding, extra)
        config = dict(filters=3, kernel_size=kernel_size, strides=strides, padding=padding,
                      output_padding=extra, use_bias=True, activation='linear',
                      dilation_rate=[1] * rank,
                      data_format='channels_first' if first else 'channels_last')
        model([('Conv%dDTranspose' % rank, config)], [ordered(x, first)], [ordered(y, first)],
              {0: [('kernel', kernel), ('bias', bias)]}, pick('2.11.0', '3.8.0'))


def pooling():
    for case in range(48):
        rank, average, first = case % 3 + 1, bool(case % 2), bool(case % 4 > 1)
        size = [int(k) for k in CHOICE([1, 2, 3, 4], rank)]
        strides = [int(s) for s in CHOICE([1, 2, 3, 4], rank)] if case % 5 else None
        padding = pick('valid', 'same')
        x = array(2, *[int(n) for n in CHOICE([7, 8, 9], rank)], 2)
        y = plain.pool(x, size, strides or size, padding, average)
        model([('%sPooling%dD' % ('Average' if average else 'Max', rank), dict(
            pool_size=size, strides=strides, padding=padding,
            data_format='channels_first' if first else 'channels_last'))],
              [ordered(x, first)], [ordered(y, first)], {})
    for case in range(12):
        rank, average, first = case % 3 + 1, bool(case % 2), bool(case % 4 > 1)
        keep = case % 5 == 0
        x = array(2, *[3, 4, 5][:rank], 2)
        reduce = np.mean if average else np.max
        y = reduce(ordered(x, first), axis=tuple(a + 1 + first for a in range(rank)), keepdims=keep)
        model([('Global%sPooling%dD' % ('Average' if average else 'Max', rank), dict(
            keepdims=keep, data_format='channels_first' if first else 'channels_last'))],
              [ordered(x, first)], [y], {}, pick('2.11.0', '3.8.0'))


# --- normalization ---

def normalizations():
    for case in range(24):
        rank = case % 3 + 2
        x = array(3, *[4, 5, 6][:rank - 1])
        axis = int(RANDOM.randint(1, rank))
        n = x.shape[axis]
        epsilon = float(pick(1e-3, 1e-5, 0.1))
        scaled, centered = case % 4 != 0, case % 5 != 0
        gamma, beta, mean, variance = array(n), array(n), array(n), array(n) ** 2 + 0.25
        y = plain.batch_norm(x, gamma if scaled else np.ones(n), beta if centered else np.zeros(n),
                             mean, variance, epsilon, axis)
        version = pick(*VERSIONS)
        stored = axis if version != '2.11.0' else [axis]
        if version == '3.8.0' and case % 2:
            stored = axis - rank
        weights = [('gamma', gamma)] * scaled + [('beta', beta)] * centered
        model([('BatchNormalization', dict(axis=stored, epsilon=epsilon, scale=scaled,
                                           center=centered, momentum=0.9))], [x], [y],
              {0: weights + [('moving_mean', mean), ('moving_variance', variance)]}, version)
    for case in range(8):
        x = array(2, 3, 4, 5)
        axes = [(-1,), (2, 3), (1, 2, 3), (1,)][case % 4]
        shape = [x.shape[a] for a in axes]
        gamma, beta = array(*shape), array(*shape)
        spread = [x.shape[a] if a in [b % 4 for b in axes] else 1 for a in range(4)]
        y = plain.layer_norm(x, gamma.reshape(spread), beta.reshape(spread), 1e-5, axes)
        model([('LayerNormalization', dict(axis=list(axes), epsilon=1e-5))], [x], [y],
              {0: [('gamma', gamma), ('beta', beta)]}, pick('2.11.0', '3.8.0'))
    for case in range(8):
        groups, axis = [(2, -1), (3, -1), (6, -1), (-1, -1), (2, 1), (4, 1), (1, 2), (1, -1)][case]
        x = array(2, 4, 5, 6)
        n = x.shape[axis]
        gamma, beta = array(n), array(n)
        moved = np.moveaxis(x, axis, -1).astype('f8')
        parts = np.split(moved, n if groups < 0 else groups, -1)
        parts = [(p - p.mean(axis=(1, 2, 3), keepdims=True)) / np.sqrt(
            p.var(axis=(1, 2, 3), keepdims=True) + 1e-3) for p in parts]
        y = np.moveaxis(np.concatenate(parts, -1) * gamma + beta, -1, axis)
        model([('GroupNormalization', dict(groups=groups, axis=axis, epsilon=1e-3))], [x], [y],
              {0: [('gamma', gamma), ('beta', beta)]}, pick('2.11.0', '3.8.0'))


# --- recurrent ---

def cell(kind, inputs, units, reset_after=True, biased=True):
    gates = {'LSTM': 4, 'GRU': 3, 'SimpleRNN': 1}[kind]
    kernel, recurrent = array(inputs, gates * units), array(units, gates * units)
    shape = (2, gates * units) if kind == 'GRU' and reset_after else (gates * units,)
    bias = array(*shape)
    used = bias if biased else np.zeros(shape)
    activation, gate = pick('tanh', 'relu', 'linear'), pick('sigmoid', 'tanh')
    config = dict(units=units, activation=activation, use_bias=biased)
    if kind == 'LSTM':
        step = plain.lstm_step(kernel, recurrent, used, activation, gate)
    elif kind == 'GRU':
        step = plain.gru_step(kernel, recurrent, used, activation, gate, reset_after)
        config['reset_after'] = reset_after
    else:
        step = plain.simple_step(kernel, recurrent, used, activation)
    if kind != 'SimpleRNN':
        config['recurrent_activation'] = gate
    weights = [('kernel', kernel), ('recurrent_kernel', recurrent)] + [('bias', bias)] * biased
    return config, step, weights


def recurrent():
    for case in range(54):
        kind = ['LSTM', 'GRU', 'SimpleRNN'][case % 3]
        config, step, weights = cell(kind, 3, 4, bool(RANDOM.randint(2)), bool(case % 5))
        backwards, sequences = bool(case % 2), bool(case % 4 > 1)
        masked, stated = bool(case % 3 == 1), bool(case % 7 == 0)
        x = array(3, 6, 3) * 0.5
        if masked:
            x[0, 4:] = x[1, :2] = x[2, 2:4] = 0
        count = 2 if kind == 'LSTM' else 1
        y, last, states = plain.steps(x, np.any(x != 0, -1) if masked else None,
                                      plain.zeros(x, 4, count), step, backwards)
        config.update(return_sequences=sequences, return_state=stated, go_backwards=backwards,
                      stateful=False, unroll=bool(case % 2), name='rnn', dropout=0.1,
                      recurrent_dropout=0.1)
        outputs = [y if sequences else last] + (states if stated else [])
        version = pick(*VERSIONS)
        if stated:
            model([('InputLayer', dict(name='x'), []), (kind, config, ['x'])], [x], outputs,
                  {1: weights}, version,
                  graph=(['x'], [('rnn', k) for k in range(len(outputs))])) if not masked else None
        else:
            before = [('Masking', dict(mask_value=0.0))] if masked else []
            model(before + [(kind, config)], [x], outputs, {len(before): weights}, version)


def directions():
    for case in range(30):
        kind = ['LSTM', 'GRU', 'SimpleRNN'][case % 3]
        mode = ['concat', 'sum', 'mul', 'ave'][case % 4]
        sequences, masked = bool(case % 2), case % 5 == 0
        version = pick(*VERSIONS)
        config, step, weights = cell(kind, 3, 4, True)
        other, second, more = cell(kind, 3, 4, True)
        # Both directions share their config.
        config['activation'], config['recurrent_activation'] = 'tanh', 'sigmoid'
        arrays = [np.asarray(w) for _, w in weights], [np.asarray(w) for _, w in more]
        make = {'LSTM': lambda a: plain.lstm_step(*a),
                'GRU': lambda a: plain.gru_step(*a, reset_after=True),
                'SimpleRNN': lambda a: plain.simple_step(*a)}[kind]
        if kind == 'SimpleRNN':
            del config['recurrent_activation']
        x = array(3, 6, 3)
        if masked:
            x[0, 4:] = x[1, :2] = 0
        mask = np.any(x != 0, -1) if masked else None
        zero = version != '2.3.1' and sequences
        states = plain.zeros(x, 4, 2 if kind == 'LSTM' else 1)
        a, a_last, _ = plain.steps(x, mask, states, make(arrays[0]), False, zero)
        b, b_last, _ = plain.steps(x, mask, states, make(arrays[1]), True, zero)
        a, b = (a, b[:, ::-1]) if sequences else (a_last, b_last)
        y = {'concat': lambda: np.concatenate([a, b], -1), 'sum': lambda: a + b,
             'mul': lambda: a * b, 'ave': lambda: (a + b) / 2}[mode]()
        config.update(return_sequences=sequences, name='inner')
        wrapper = dict(layer={'class_name': kind, 'config': config}, merge_mode=mode)
        if version >= '3':
            wrapper['backward_layer'] = {'class_name': kind, 'config': dict(
                config, go_backwards=True, name='backward_inner')}
        stored = [('forward_inner/' + n, w) for n, w in weights] + [
            ('backward_inner/' + n, w) for n, w in more]
        before = [('Masking', dict(mask_value=0.0))] if masked else []
        model(before + [('Bidirectional', wrapper)], [x], [y], {len(before): stored}, version)


# --- several inputs ---

def merges():
    functions = {'Add': lambda v: sum(v), 'Multiply': lambda v: np.prod(np.broadcast_arrays(*v), 0),
                 'Average': lambda v: sum(v) / len(v),
                 'Maximum': lambda v: np.max(np.broadcast_arrays(*v), 0),
                 'Minimum': lambda v: np.min(np.broadcast_arrays(*v), 0)}
    shapes = [[(3, 4), (3, 4)], [(3, 4), (1, 4), (3, 1)], [(1, 4), (3, 1)], [(4,), (3, 4)],
              [(3, 4, 2), (4, 2)], [(5,), (5,), (5,), (5,)]]
    for class_name, function in functions.items():
        for chosen in shapes:
            values = [array(2, *shape) for shape in chosen]
            rank = max(v.ndim for v in values)
            # A lower rank is filled up behind the batch.
            fit = [v.reshape(v.shape[:1] + (1,) * (rank - v.ndim) + v.shape[1:]) for v in values]
            several(class_name, {}, values, function(fit))
    for axis in (1, 2, 3, -1, -2, -3):
        values = []
        for size in (1, 3, 2):
            shape = [2, 3, 4, 5]
            shape[axis] = size
            values.append(array(*shape))
        several('Concatenate', dict(axis=axis), values, np.concatenate(values, axis))
    for a, b, axes in ((array(2, 5), array(2, 5), 1), (array(2, 3, 4), array(2, 4, 5), [2, 1]),
                       (array(2, 3, 4), array(2, 5, 4), -1), (array(2, 4), array(2, 5, 4), [1, 2]),
                       (array(2, 4, 3), array(2, 4), [1, 1]), (array(2, 4, 3), array(2, 4, 5), 1)):
        for normalize in (False, True):
            i, k = axes if isinstance(axes, list) else (axes % a.ndim, axes % b.ndim)
            x, y = np.moveaxis(a, i, -1).astype('f8'), np.moveaxis(b, k, -1).astype('f8')
            if normalize:
                x = x / np.linalg.norm(x, axis=-1, keepdims=True)
                y = y / np.linalg.norm(y, axis=-1, keepdims=True)
            result = np.stack([np.tensordot(p, q, (-1, -1)) for p, q in zip(x, y)])
            several('Dot', dict(axes=axes, normalize=normalize), [a, b],
                    result.reshape(2, -1) if result.ndim == 1 else result)


def several(class_name, config, values, result):
    names = ['x%d' % i for i in range(len(values))]
    model([('InputLayer', dict(name=name), []) for name in names] +
          [(class_name, dict(config, name='merged'), names)], values, [result], {},
          graph=(names, [('merged', 0)]))


# --- shapes ---

def shapes():
    for rank in (1, 2, 3):
        for first in (False, True):
            order = 'channels_first' if first else 'channels_last'
            x = array(2, *[4, 5, 6][:rank], 3)
            sides = [[i, 2 - i % 2] for i in range(rank)]
            y = np.pad(x, [(0, 0)] + [tuple(s) for s in sides] + [(0, 0)])
            version = pick('2.11.0', '3.8.0')
            if rank > 1 or not first:
                model([('ZeroPadding%dD' % rank, dict(padding=sides if rank > 1 else sides[0],
                                                      data_format=order))],
                      [ordered(x, first)], [ordered(y, first)], {}, version)
                cut = tuple(slice(a, n - b) for (a, b), n in zip(sides, x.shape[1:]))
                model([('Cropping%dD' % rank, dict(cropping=sides if rank > 1 else sides[0],
                                                   data_format=order))],
                      [ordered(x, first)], [ordered(x[(slice(None),) + cut], first)], {}, version)
                sizes = [2, 3, 1][:rank]
                y = x
                for axis, size in enumerate(sizes):
                    y = np.repeat(y, size, axis + 1)
                model([('UpSampling%dD' % rank, dict(size=sizes if rank > 1 else 2,
                                                     data_format=order))],
                      [ordered(x, first)], [ordered(y, first)], {}, version)
            model([('Flatten', dict(data_format=order))], [ordered(x, first)], [x.reshape(2, -1)],
                  {}, version)
    x = array(2, 3, 4, 5)
    for target in ([-1], [60], [5, -1, 2], [4, 15], [-1, 5], [3, 4, 5, 1]):
        model([('Reshape', dict(target_shape=target))], [x], [x.reshape([2] + target)], {})
    for dims in ([3, 1, 2], [2, 1, 3], [3, 2, 1], [1, 2, 3]):
        model([('Permute', dict(dims=dims))], [x], [x.transpose([0] + dims)], {})
    x = array(2, 5)
    model([('RepeatVector', dict(n=4))], [x], [np.repeat(x[:, None], 4, 1)], {})


def einsum():
    for equation, x, shape, bias, axes in (
            ('abc,cd->abd', (2, 3, 4), (4, 5), (5,), 'd'), ('ab,bc->ac', (2, 4), (4, 5), None, None),
            ('abcd,cde->abe', (2, 3, 4, 5), (4, 5, 6), (3, 6), 'be'),
            ('abc,bd->adc', (2, 3, 4), (3, 5), (5, 1), 'd'),
            ('abc,cde->abde', (2, 3, 4), (4, 5, 6), (5, 6), 'de'),
            ('...x,xy->...y', (2, 3, 4), (4, 7), (7,), 'y')):
        value, kernel = array(*x), array(*shape)
        y = np.einsum(equation, value, kernel)
        weights = [('kernel', kernel)]
        if bias:
            weights.append(('bias', array(*bias)))
            y = y + weights[1][1]
        model([('EinsumDense', dict(equation=equation, output_shape=list(y.shape[1:]),
                                    bias_axes=axes, activation='tanh'))], [value], [np.tanh(y)],
              {0: weights}, pick('2.11.0', '3.8.0'))


def main():
    os.makedirs(FOLDER, exist_ok=True)
    for part in (convolutions, depthwise_and_separable, transposed, pooling, normalizations,
                 recurrent, directions, merges, shapes, einsum):
        part()


main()
