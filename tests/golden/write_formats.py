#!/usr/bin/python3
"""write_formats.py FOLDER: model files in forms that the other cases lack.

CNTK, cuDNN layers, names in several attributes, packed and newer HDF5, other number
types, and the marks of releases of tf.keras between 2.6 and 2.15. What they must
predict is computed by plain_layers.py.
"""
import os
import sys

import numpy as np

import plain_layers as plain
from keras_file import save_case, write

FOLDER = sys.argv[1]
RANDOM = np.random.RandomState(7)


def array(*shape):
    return np.round(RANDOM.uniform(-1, 1, shape), 3).astype('f4')


def release(version):
    return tuple(int(part) for part in version.split('-')[0].split('.'))


def sequential(layers, dialect='2.2.4'):
    if release(dialect) < (2, 2, 3):
        return {'class_name': 'Sequential', 'config': layers}
    return {'class_name': 'Sequential', 'config': {'name': 'sequential_1', 'layers': layers}}


def entry(class_name, name, **config):
    return {'class_name': class_name, 'config': dict(config, name=name, trainable=True)}


def model(name, version, backend, config, weights, inputs, outputs, **options):
    write('%s/%s.h5' % (FOLDER, name), version, backend, config, weights, **options)
    save_case(FOLDER, name, inputs, outputs)


# --- a small network for everything that is about storage ---

def network(suffix=':0', dtype='float32'):
    """Conv2D, BatchNormalization, MaxPooling2D, Flatten, Dense; (config, weights, predict)."""
    kernel, bias = array(3, 3, 2, 4), array(4)
    gamma, beta, mean, variance = array(4), array(4), array(4), array(4) ** 2 + 0.5
    matrix, offset = array(36, 3), array(3)
    config = sequential([
        entry('Conv2D', 'conv', batch_input_shape=[None, 6, 6, 2], dtype=dtype, filters=4,
              kernel_size=[3, 3], strides=[1, 1], padding='same', data_format='channels_last',
              dilation_rate=[1, 1], activation='relu', use_bias=True),
        entry('BatchNormalization', 'bn', axis=-1, momentum=0.99, epsilon=0.001, center=True,
              scale=True),
        entry('MaxPooling2D', 'pool', pool_size=[2, 2], padding='valid', strides=[2, 2],
              data_format='channels_last'),
        entry('Flatten', 'flatten', data_format='channels_last'),
        entry('Dense', 'dense', units=3, activation='softmax', use_bias=True)])
    weights = [
        ('conv', [('conv/kernel' + suffix, kernel), ('conv/bias' + suffix, bias)]),
        ('bn', [('bn/gamma' + suffix, gamma), ('bn/beta' + suffix, beta),
                ('bn/moving_mean' + suffix, mean), ('bn/moving_variance' + suffix, variance)]),
        ('pool', []), ('flatten', []),
        ('dense', [('dense/kernel' + suffix, matrix), ('dense/bias' + suffix, offset)])]

    def predict(x, seen=lambda a: a):
        y = plain.act('relu')(plain.conv(x, seen(kernel), seen(bias), padding='same'))
        y = plain.batch_norm(y, seen(gamma), seen(beta), seen(mean), seen(variance), 0.001)
        y = plain.pool(y, (2, 2), (2, 2), 'valid', False).reshape(len(x), -1)
        return plain.softmax(y @ seen(matrix) + seen(offset))

    return config, weights, predict


def storage():
    variants = {
        'gzip': dict(storage=dict(compression='gzip', chunks=True)),
        'gzip_shuffle': dict(storage=dict(compression='gzip', shuffle=True, chunks=True)),
        'lzf_fletcher': dict(storage=dict(compression='lzf', fletcher32=True)),
        'chunked_resizable': dict(storage=dict(chunks=True, maxshape=None)),
        'latest': dict(libver='latest'),
        'latest_gzip': dict(libver='latest', storage=dict(compression='gzip', chunks=True)),
        'names_fixed': dict(names='fixed'),
        'names_chunked': dict(names='chunked'),
        'names_chunked_latest': dict(names='chunked', libver='latest'),
    }
    for name, options in variants.items():
        config, weights, predict = network()
        x = array(3, 6, 6, 2)
        model('storage_' + name, '2.2.4', 'tensorflow', config, weights, [x], [predict(x)],
              **options)


def bfloat16(a):
    """The values that are left in 16 bits, rounded to even, and their bytes."""
    bits = np.asarray(a, '<f4').view('<u4').astype('u8')
    bits = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype('<u2')
    return (bits.astype('<u4') << 16).view('<f4').reshape(np.shape(a)), bits


def number_types():
    for name, dtype in (('float16', '<f2'), ('float16_big', '>f2'), ('float64', '<f8'),
                        ('float64_big', '>f8'), ('float32_big', '>f4')):
        config, weights, predict = network()
        x = array(2, 6, 6, 2)
        model('weights_' + name, '2.3.1', 'tensorflow', config, weights, [x],
              [predict(x, lambda a, d=dtype: a.astype(d).astype('f8'))],
              cast=lambda a, d=dtype: a.astype(d))
    config, weights, predict = network(suffix='')
    x = array(2, 6, 6, 2)
    model('weights_bfloat16_opaque', '3.5.0', 'jax', config, weights, [x],
          [predict(x, lambda a: bfloat16(a)[0])],
          cast=lambda a: bfloat16(a)[1].view('V2').reshape(a.shape))


# --- CNTK ---

def cntk():
    """Names have no ':0', kernels are not flipped, and padding is not Theano's."""
    config, weights, predict = network(suffix='')
    x = array(2, 6, 6, 2)
    model('cntk_network', '2.2.4', 'cntk', config, weights, [x], [predict(x)], names='fixed')
    kernel, bias = array(4, 3, 5), array(5)
    config = sequential([entry('Conv1D', 'c', batch_input_shape=[None, 9, 3], filters=5,
                               kernel_size=[4], strides=[2], padding='valid', dilation_rate=[1],
                               activation='tanh', use_bias=True)], '2.1.6')
    x = array(2, 9, 3)
    model('cntk_conv1d', '2.1.6', 'cntk', config, [('c', [('c/kernel', kernel), ('c/bias', bias)])],
          [x], [np.tanh(plain.conv(x, kernel, bias, [2]))], names='fixed')
    kernel, recurrent, bias = array(3, 16), array(4, 16), array(16)
    config = sequential([entry('LSTM', 'l', batch_input_shape=[None, 5, 3], units=4,
                               activation='tanh', recurrent_activation='hard_sigmoid',
                               use_bias=True, return_sequences=True, implementation=1)])
    x = array(2, 5, 3)
    y, _, _ = plain.steps(x, None, plain.zeros(x, 4, 2),
                          plain.lstm_step(kernel, recurrent, bias, gate='hard_sigmoid'))
    model('cntk_lstm', '2.2.4', 'cntk', config,
          [('l', [('l/kernel', kernel), ('l/recurrent_kernel', recurrent), ('l/bias', bias)])],
          [x], [y], names='fixed')


# --- cuDNN ---

def cudnn(kernel, gates):
    """A kernel in the order of cuDNN: each gate's matrix transposed, its buffer reshaped."""
    return np.concatenate([part.T.ravel().reshape(part.shape)
                           for part in np.split(kernel, gates, -1)], -1)


def lstm_weights(inputs, units):
    kernel, recurrent, bias = array(inputs, 4 * units), array(units, 4 * units), array(8 * units)
    stored = [cudnn(kernel, 4), cudnn(recurrent, 4), bias]
    return plain.lstm_step(kernel, recurrent, bias[:4 * units] + bias[4 * units:]), stored


def gru_weights(inputs, units):
    kernel, recurrent, bias = array(inputs, 3 * units), array(units, 3 * units), array(6 * units)
    stored = [cudnn(kernel, 3), cudnn(recurrent, 3), bias]
    return plain.gru_step(kernel, recurrent, bias.reshape(2, -1), reset_after=True), stored


def named(prefix, arrays):
    names = ('kernel', 'recurrent_kernel', 'bias')
    return [('%s/%s:0' % (prefix, name), a) for name, a in zip(names, arrays)]


def cudnn_layers():
    common = dict(batch_input_shape=[None, 5, 3], units=4, return_state=False, stateful=False,
                  go_backwards=False)
    plain_keys = dict(activation='tanh', use_bias=True, implementation=1, unroll=False)
    for kind, make, count, extra in (
            ('LSTM', lstm_weights, 2, dict(recurrent_activation='sigmoid')),
            ('GRU', gru_weights, 1, dict(recurrent_activation='sigmoid', reset_after=True))):
        for version in ('2.1.6', '2.2.4', '2.3.1', '2.2.4-tf'):
            for sequences in (False, True):
                step, stored = make(3, 4)
                x = array(2, 5, 3)
                y, last, _ = plain.steps(x, None, plain.zeros(x, 4, count), step)
                config = sequential([entry('CuDNN' + kind, 'rnn', return_sequences=sequences,
                                           **common)], version)
                model('cudnn_%s_%s_%d' % (kind.lower(), version, sequences), version, 'tensorflow',
                      config, [('rnn', named('rnn', stored))], [x], [y if sequences else last])
        # Weights of the one layer below the config of the other.
        step, stored = make(3, 4)
        x = array(2, 5, 3)
        y, last, _ = plain.steps(x, None, plain.zeros(x, 4, count), step, backwards=True)
        config = sequential([entry(kind, 'rnn', return_sequences=True,
                                   **dict(common, go_backwards=True), **plain_keys, **extra)])
        model('cudnn_%s_in_plain' % kind.lower(), '2.2.4', 'tensorflow', config,
              [('rnn', named('rnn', stored))], [x], [y])
        forward, one = make(3, 4)
        backward, two = make(3, 4)
        a, _, _ = plain.steps(x, None, plain.zeros(x, 4, count), forward)
        b, _, _ = plain.steps(x, None, plain.zeros(x, 4, count), backward, backwards=True)
        inner = entry('CuDNN' + kind, 'rnn', return_sequences=True, units=4, return_state=False,
                      stateful=False, go_backwards=False)
        config = sequential([entry('Bidirectional', 'both', batch_input_shape=[None, 5, 3],
                                   merge_mode='concat', layer=inner)])
        model('cudnn_%s_bidirectional' % kind.lower(), '2.2.4', 'tensorflow', config,
              [('both', named('both/forward_rnn', one) + named('both/backward_rnn', two))], [x],
              [np.concatenate([a, b[:, ::-1]], -1)])


# --- releases of tf.keras ---

def module(version, class_name, config, package='keras.initializers'):
    """An object in a config: since 2.13 it names its module."""
    if release(version) < (2, 13):
        return {'class_name': class_name, 'config': config}
    return {'module': package, 'class_name': class_name, 'config': config, 'registered_name': None}


def tf_entry(version, class_name, name, inbound=None, **config):
    """A layer as get_config of that release wrote it."""
    config = dict(config, name=name, trainable=True, dtype='float32')
    if class_name in ('Dense', 'Conv2D', 'LSTM', 'GRU'):
        config.update(kernel_initializer=module(version, 'GlorotUniform', {'seed': None}),
                      bias_initializer=module(version, 'Zeros', {}), kernel_regularizer=None,
                      bias_regularizer=None, activity_regularizer=None, kernel_constraint=None,
                      bias_constraint=None)
    layer = {'class_name': class_name, 'config': config}
    if release(version) >= (2, 13):
        layer.update(module='keras.layers', registered_name=None)
    if release(version) >= (2, 12):
        layer['build_config'] = {'input_shape': [None, 4]}
    if inbound is not None:
        layer.update(name=name, inbound_nodes=inbound)
    return layer


def functional(layers, inputs, outputs):
    return {'class_name': 'Functional', 'config': {
        'name': 'model', 'trainable': True, 'layers': layers,
        'input_layers': [[name, 0, 0] for name in inputs],
        'output_layers': [[name, 0, 0] for name in outputs]}}


def input_layer(version, name, shape, dtype='float32'):
    return {'class_name': 'InputLayer', 'name': name, 'inbound_nodes': [], 'config': {
        'batch_input_shape': [None] + shape, 'dtype': dtype, 'sparse': False, 'ragged': False,
        'name': name}}


def tf_image(version):
    """Conv2D, BatchNormalization, an operation, GlobalAveragePooling2D, Dense."""
    kernel, bias, matrix, offset = array(3, 3, 3, 4), array(4), array(4, 2), array(2)
    gamma, beta, mean, variance = array(4), array(4), array(4), array(4) ** 2 + 0.5
    batch_norm = dict(axis=[3], momentum=0.99, epsilon=0.001, center=True, scale=True)
    if release(version) >= (2, 12):
        batch_norm['synchronized'] = False
    layers = [
        input_layer(version, 'image', [7, 7, 3]),
        tf_entry(version, 'Conv2D', 'conv', [[['image', 0, 0, {}]]], filters=4, kernel_size=[3, 3],
                 strides=[2, 2], padding='same', data_format='channels_last',
                 dilation_rate=[1, 1], groups=1, activation='linear', use_bias=True),
        tf_entry(version, 'BatchNormalization', 'bn', [[['conv', 0, 0, {}]]], **batch_norm),
        tf_entry(version, 'TFOpLambda', 'tf.math.multiply',
                 [['bn', 0, 0, {'y': 0.5, 'name': None}]], function='math.multiply'),
        tf_entry(version, 'TFOpLambda', 'tf.nn.relu',
                 [['tf.math.multiply', 0, 0, {'name': None}]], function='nn.relu'),
        tf_entry(version, 'GlobalAveragePooling2D', 'pool', [[['tf.nn.relu', 0, 0, {}]]],
                 data_format='channels_last', keepdims=False),
        tf_entry(version, 'Dense', 'dense', [[['pool', 0, 0, {}]]], units=2, use_bias=True,
                 activation='softmax')]
    weights = [('image', []), ('conv', [('conv/kernel:0', kernel), ('conv/bias:0', bias)]),
               ('bn', [('bn/gamma:0', gamma), ('bn/beta:0', beta), ('bn/moving_mean:0', mean),
                       ('bn/moving_variance:0', variance)]),
               ('tf.math.multiply', []), ('tf.nn.relu', []), ('pool', []),
               ('dense', [('dense/kernel:0', matrix), ('dense/bias:0', offset)])]
    x = array(2, 7, 7, 3)
    y = plain.conv(x, kernel, bias, [2, 2], 'same')
    y = plain.batch_norm(y, gamma, beta, mean, variance, 0.001)
    y = plain.act('relu')(0.5 * y).mean(axis=(1, 2))
    model('tf_keras_%s_image' % version, version, 'tensorflow',
          functional(layers, ['image'], ['dense']), weights, [x],
          [plain.softmax(y @ matrix + offset)], top_level=True)


def tf_text(version):
    """Embedding with mask, Bidirectional LSTM, a slice, MultiHeadAttention, LayerNormalization."""
    table = array(11, 6)
    cells = [[array(6, 12), array(3, 12), array(12)] for _ in range(2)]
    heads = [array(6, 2, 4), array(2, 4), array(6, 2, 4), array(2, 4), array(6, 2, 4), array(2, 4),
             array(2, 4, 6), array(6)]
    gamma, beta = array(6), array(6)
    recurrent = dict(
        units=3, activation='tanh', recurrent_activation='sigmoid', use_bias=True,
        unit_forget_bias=True, return_sequences=True, return_state=False, go_backwards=False,
        stateful=False, unroll=False, time_major=False, dropout=0.0, recurrent_dropout=0.0,
        implementation=2)
    # The layer takes the masks of its inputs since 2.10 alone; one given counts always.
    causal = {} if release(version) < (2, 10) else {'use_causal_mask': True}
    layers = [
        input_layer(version, 'ids', [5], 'int64'),
        tf_entry(version, 'Embedding', 'table', [[['ids', 0, 0, {}]]], input_dim=11, output_dim=6,
                 mask_zero=True, input_length=None),
        tf_entry(version, 'Bidirectional', 'both', [[['table', 0, 0, {}]]], merge_mode='concat',
                 layer={'class_name': 'LSTM', 'config': dict(recurrent, name='lstm')}),
        tf_entry(version, 'MultiHeadAttention', 'heads',
                 [[['both', 0, 0, dict({'value': ['both', 0, 0]}, **causal)]]], num_heads=2,
                 key_dim=4, value_dim=4, dropout=0.0, use_bias=True, output_shape=None,
                 attention_axes=[1], query_shape=[None, 5, 6], key_shape=[None, 5, 6],
                 value_shape=[None, 5, 6]),
        tf_entry(version, 'LayerNormalization', 'norm', [[['heads', 0, 0, {}]]], axis=[2],
                 epsilon=1e-6, center=True, scale=True),
        tf_entry(version, 'SlicingOpLambda', 'tf.__operators__.getitem',
                 [['norm', 0, 0, {'slice_spec': [
                     {'start': None, 'stop': None, 'step': None}, -1]}]],
                 function='__operators__.getitem')]
    scope = ('both/forward_lstm/lstm_cell_1', 'both/backward_lstm/lstm_cell_2')
    parts = ('query', 'key', 'value', 'attention_output')
    weights = [('ids', []), ('table', [('table/embeddings:0', table)]),
               ('both', named(scope[0], cells[0]) + named(scope[1], cells[1])),
               ('heads', [('heads/%s/%s:0' % (part, role), heads[2 * i + k])
                          for i, part in enumerate(parts)
                          for k, role in enumerate(('kernel', 'bias'))]),
               ('norm', [('norm/gamma:0', gamma), ('norm/beta:0', beta)]),
               ('tf.__operators__.getitem', [])]
    ids = RANDOM.randint(1, 11, (3, 5)).astype('i8')
    ids[0, 3:] = 0
    ids[1, 4:] = 0
    mask, x = ids != 0, table[ids].astype('f8')
    halves = [plain.steps(x, mask, plain.zeros(x, 3, 2), plain.lstm_step(*cell), backwards=back,
                          zero_output=True)[0] for cell, back in zip(cells, (False, True))]
    x = np.concatenate([halves[0], halves[1][:, ::-1]], -1)
    keep = mask[:, None, :] & mask[:, :, None] if release(version) >= (2, 10) else None
    y = plain.multi_head(x, x, x, heads, keep, causal=bool(causal))
    y = plain.layer_norm(y, gamma, beta, 1e-6)[:, -1]
    model('tf_keras_%s_text' % version, version, 'tensorflow',
          functional(layers, ['ids'], ['tf.__operators__.getitem']), weights, [ids], [y],
          top_level=release(version) >= (2, 9),
          names='fixed' if release(version) < (2, 7) else 'variable')


def main():
    os.makedirs(FOLDER, exist_ok=True)
    storage()
    number_types()
    cntk()
    cudnn_layers()
    for version in ('2.6.0', '2.7.0', '2.8.0', '2.12.0', '2.15.0'):
        tf_image(version)
        tf_text(version)


main()
