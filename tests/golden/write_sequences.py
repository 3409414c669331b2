#!/usr/bin/python3
"""write_sequences.py FOLDER: attention, recurrent convolutions, wrappers and states.

What they must predict is computed by plain_layers.py.
"""
import os
import sys

import numpy as np

import plain_layers as plain
from keras_file import save_case, write

FOLDER = sys.argv[1]
RANDOM = np.random.RandomState(31)
BACKENDS = {'2.2.4': 'tensorflow', '2.3.1': 'tensorflow', '2.11.0': 'tensorflow', '3.8.0': 'jax',
            '3.15.1': 'jax'}
MULTI_BACKEND = ('2.2.4', '2.3.1')


def array(*shape):
    return np.round(RANDOM.uniform(-1, 1, shape), 3).astype('f4')


def pick(*values):
    return values[RANDOM.randint(len(values))]


def sequential(name, layers, x, y, weights, version):
    """`layers`: (class, config); `weights` of the last one, names below its own."""
    entries = [{'class_name': kind, 'config': dict({'name': 'l%d' % i}, **config)}
               for i, (kind, config) in enumerate(layers)]
    shape = [None] + list(x.shape[1:])
    if version >= '3':
        entries.insert(0, {'class_name': 'InputLayer', 'config': {
            'batch_shape': shape, 'dtype': str(x.dtype), 'name': 'x'}})
    else:
        entries[0]['config'].update(batch_input_shape=shape, dtype=str(x.dtype))
    groups = [(entry['config']['name'], []) for entry in entries]
    suffix = '' if version >= '3' else ':0'
    groups[-1] = (groups[-1][0], [('l/%s%s' % (role, suffix), value) for role, value in weights])
    write('%s/%s_%s.h5' % (FOLDER, name, version), version, BACKENDS[version],
          {'class_name': 'Sequential', 'config': {'name': 'model', 'layers': entries}}, groups)
    save_case(FOLDER, '%s_%s' % (name, version), [x], [y])


def functional(name, class_name, config, inputs, call, outputs, weights, version, masked=False):
    """One layer; `call`: its inbound node from the names of the inputs, or of the first one
    masked, "mask"."""
    names = ['x%d' % i for i in range(len(inputs))]
    shape = 'batch_shape' if version >= '3' else 'batch_input_shape'
    layers = [{'class_name': 'InputLayer', 'name': n, 'inbound_nodes': [], 'config': {
        shape: [None] + list(x.shape[1:]), 'dtype': str(x.dtype), 'name': n}}
              for n, x in zip(names, inputs)]
    if masked:
        layers.append({'class_name': 'Masking', 'name': 'mask', 'config': dict(
            name='mask', mask_value=0.0), 'inbound_nodes': [[['x0', 0, 0, {}]]]})
    layers.append({'class_name': class_name, 'name': 'l', 'config': dict(config, name='l'),
                   'inbound_nodes': [call]})
    suffix = '' if version >= '3' else ':0'
    write('%s/%s_%s.h5' % (FOLDER, name, version), version, BACKENDS[version],
          {'class_name': 'Model' if version in MULTI_BACKEND else 'Functional',
           'config': {'name': 'model', 'layers': layers,
                      'input_layers': [[n, 0, 0] for n in names],
                      'output_layers': [['l', 0, k] for k in range(len(outputs))]}},
          [(layer['name'], []) for layer in layers[:-1]] + [('l', [('l/%s%s' % (role, suffix), value)
                                             for role, value in weights])])
    save_case(FOLDER, '%s_%s' % (name, version), inputs, outputs)


def tensor(name):
    return {'class_name': '__keras_tensor__', 'config': {
        'shape': [None], 'dtype': 'float32', 'keras_history': [name, 0, 0]}}


# --- convolutions over time ---

def conv_lstm():
    for case in range(18):
        rank = case % 3 + 1
        version = pick('2.11.0', '3.8.0') if rank != 2 else pick('2.2.4', '2.11.0', '3.8.0')
        first, backwards, sequences = bool(case % 2), bool(case // 2 % 2), bool(case // 3 % 2)
        step, padding = pick(1, 2), pick('same', 'valid')
        size, gate = [3, 2, 3][:rank], pick('sigmoid', 'tanh')
        kernel, recurrent = array(*size, 2, 12) * 0.5, array(*size, 3, 12) * 0.5
        bias, x = array(12), array(2, 4, *[6, 5, 4][:rank], 2)

        def cell(value, states):
            h, c = states
            z = plain.conv(value, kernel, bias, [step] * rank, padding) + plain.conv(
                h, recurrent, padding='same')
            i, f, g, o = np.split(z, 4, -1)
            c = plain.act(gate)(f) * c + plain.act(gate)(i) * np.tanh(g)
            h = plain.act(gate)(o) * np.tanh(c)
            return h, [h, c]

        start = np.zeros(plain.conv(x[:, 0], kernel, None, [step] * rank, padding).shape[:-1] + (3,))
        y, last, _ = plain.steps(x, None, [start, start], cell, backwards)
        y = y if sequences else last
        if first:
            x, y = np.moveaxis(x, -1, 2), np.moveaxis(y, -1, 2 if sequences else 1)
        sequential('conv_lstm%d_%02d' % (rank, case), [('ConvLSTM%dD' % rank, dict(
            filters=3, kernel_size=size, strides=[step] * rank, padding=padding,
            data_format='channels_first' if first else 'channels_last',
            dilation_rate=[1] * rank, activation='tanh', recurrent_activation=gate, use_bias=True,
            return_sequences=sequences, go_backwards=backwards))], x, y,
                   [('kernel', kernel), ('recurrent_kernel', recurrent), ('bias', bias)], version)


def locally_connected():
    for case in range(8):
        first, step = bool(case % 2), pick(1, 2)
        if case < 4:
            x, places = array(2, 8, 3), (8 - 3) // step + 1
            kernel, bias = array(places, 9, 4), array(places, 4)
            y = np.stack([x[:, p * step:p * step + 3].reshape(2, -1) @ kernel[p] + bias[p]
                          for p in range(places)], 1)
            if first:
                continue
            sequential('local1_%d' % case, [('LocallyConnected1D', dict(
                filters=4, kernel_size=[3], strides=[step], padding='valid', activation='linear',
                use_bias=True, data_format='channels_last'))], x, y,
                       [('kernel', kernel), ('bias', bias)], pick('2.2.4', '2.3.1', '2.11.0'))
            continue
        x = array(2, 6, 7, 3)
        rows, columns = (6 - 3) // step + 1, (7 - 2) // step + 1
        kernel, bias = array(rows * columns, 18, 4), array(rows, columns, 4)
        y = np.zeros((2, rows, columns, 4))
        for r in range(rows):
            for c in range(columns):
                patch = x[:, r * step:r * step + 3, c * step:c * step + 2]
                patch = plain.first(patch) if first else patch
                y[:, r, c] = patch.reshape(2, -1) @ kernel[r * columns + c]
        # Keras reshapes the bias to channels_first where one would move its last axis.
        y = plain.first(y) + bias.reshape(4, rows, columns) if first else y + bias
        sequential('local2_%d' % case, [('LocallyConnected2D', dict(
            filters=4, kernel_size=[3, 2], strides=[step, step], padding='valid',
            activation='linear', use_bias=True,
            data_format='channels_first' if first else 'channels_last'))],
                   plain.first(x) if first else x, y,
                   [('kernel', kernel), ('bias', bias)], pick('2.2.4', '2.3.1'))


# --- states and wrappers ---

def lstm(inputs, units):
    arrays = [array(inputs, 4 * units), array(units, 4 * units), array(4 * units)]
    config = dict(units=units, activation='tanh', recurrent_activation='sigmoid', use_bias=True)
    return config, arrays, list(zip(('kernel', 'recurrent_kernel', 'bias'), arrays))


def states():
    for version in BACKENDS:
        for backwards in (False, True):
            config, arrays, weights = lstm(3, 4)
            x, h, c = array(2, 5, 3), array(2, 4), array(2, 4)
            y, _, last = plain.steps(x, None, [h, c], plain.lstm_step(*arrays), backwards)
            config.update(return_sequences=True, return_state=True, go_backwards=backwards)
            call = ({'args': [tensor('x0')], 'kwargs': {
                'initial_state': [tensor('x1'), tensor('x2')]}} if version >= '3'
                    else [['x%d' % i, 0, 0, {}] for i in range(3)])
            functional('lstm_states_%d' % backwards, 'LSTM', config, [x, h, c], call,
                       [y] + last, weights, version)
        config, one, stored = lstm(3, 4)
        _, two, more = lstm(3, 4)
        config.update(return_sequences=True, return_state=True, name='inner')
        x, start = array(2, 5, 3), [array(2, 4) for _ in range(4)]
        a, _, ends = plain.steps(x, None, start[:2], plain.lstm_step(*one))
        b, _, other = plain.steps(x, None, start[2:], plain.lstm_step(*two), True)
        wrapper = dict(layer={'class_name': 'LSTM', 'config': config}, merge_mode='sum')
        call = ({'args': [tensor('x0')], 'kwargs': {
            'initial_state': [tensor('x%d' % i) for i in range(1, 5)]}} if version >= '3'
                else [['x%d' % i, 0, 0, {}] for i in range(5)])
        functional('bidirectional_states', 'Bidirectional', wrapper, [x] + start, call,
                   [a + b[:, ::-1]] + ends + other,
                   [('forward_inner/' + n, w) for n, w in stored] +
                   [('backward_inner/' + n, w) for n, w in more], version)


def masked_starts():
    """What comes before the first valid step: on TensorFlow, Keras 2 gives the first state."""
    for version in ('2.2.4', '2.3.1', '2.11.0'):
        for case in range(4):
            sequences, unrolled = bool(case % 2), case > 1
            config, arrays, weights = lstm(3, 4)
            x, h, c = array(3, 5, 3), array(3, 4), array(3, 4)
            x[0, :2] = x[1] = 0
            mask = np.any(x != 0, -1)
            y, last, _ = plain.steps(x, mask, [h, c], plain.lstm_step(*arrays))
            if version in MULTI_BACKEND and not unrolled:
                late = np.cumsum(mask, 1) > 0
                y = np.where(late[..., None], y, h[:, None])
                last = y[:, -1]
            config.update(return_sequences=sequences, unroll=unrolled)
            functional('masked_start_%d' % case, 'LSTM', config, [x, h, c],
                       [['mask', 0, 0, {}], ['x1', 0, 0, {}], ['x2', 0, 0, {}]],
                       [y if sequences else last], weights, version, masked=True)


def masked_stacks():
    for version in ('2.3.1', '2.11.0'):
        for case in range(4):
            sequences, backwards = bool(case % 2), case > 1
            parts = [lstm(3, 4), lstm(4, 4)]
            x = array(3, 5, 3)
            x[0, 3:] = x[1, :2] = x[2, 2] = 0
            mask = np.any(x != 0, -1)
            one, one_last, _ = plain.steps(x, mask, plain.zeros(x, 4, 2),
                                           plain.lstm_step(*parts[0][1]), backwards)
            order = mask[:, ::-1] if backwards else mask
            y, last, _ = plain.steps(one, order, plain.zeros(x, 4, 2),
                                     plain.lstm_step(*parts[1][1]))
            if version in MULTI_BACKEND:
                # The first state is the first cell's.
                y = np.where(order[..., None], y, one)
                last = np.where(order[:, -1:], last, one_last)
            cells = [{'class_name': 'LSTMCell', 'config': dict(config, name='c%d' % i)}
                     for i, (config, _, _) in enumerate(parts)]
            sequential('masked_stack_%d' % case, [('Masking', dict(mask_value=0.0)), ('RNN', dict(
                cell={'class_name': 'StackedRNNCells', 'config': dict(name='s', cells=cells)},
                return_sequences=sequences, go_backwards=backwards))], x, y if sequences else last,
                       [('c%d/%s' % (i, n), w) for i, (_, _, stored) in enumerate(parts)
                        for n, w in stored], version)


def time_major():
    """tf.keras alone can have time before batch."""
    for case in range(4):
        config, arrays, weights = lstm(3, 4)
        sequences, both = bool(case % 2), case > 1
        config.update(return_sequences=sequences, time_major=True, name='inner')
        x = array(2, 5, 3)
        y, last, _ = plain.steps(x, None, plain.zeros(x, 4, 2), plain.lstm_step(*arrays))
        y = y if sequences else last
        layer = ('LSTM', dict(config, name='l'))
        if both:
            _, other, more = lstm(3, 4)
            z, last, _ = plain.steps(x, None, plain.zeros(x, 4, 2), plain.lstm_step(*other), True)
            y = np.concatenate([y, z[:, ::-1] if sequences else last], -1)
            weights = [('f/' + n, w) for n, w in weights] + [('b/' + n, w) for n, w in more]
            layer = ('Bidirectional', dict(name='l', merge_mode='concat', layer={
                'class_name': 'LSTM', 'config': config}))
        sequential('time_major_%d' % case, [layer], x.transpose(1, 0, 2),
                   y.transpose(1, 0, 2) if sequences else y, weights, '2.11.0')


def wrappers():
    for version in BACKENDS:
        config, arrays, weights = lstm(3, 4)
        _, other, more = lstm(3, 4)
        config.update(return_sequences=False, name='inner')
        x = array(2, 3, 5, 3)
        rows = x.reshape(6, 5, 3)
        ends = [plain.steps(rows, None, plain.zeros(rows, 4, 2), plain.lstm_step(*a), back)[1]
                for a, back in ((arrays, False), (other, True))]
        sequential('td_bidirectional', [('TimeDistributed', dict(layer={
            'class_name': 'Bidirectional', 'config': dict(name='both', merge_mode='concat', layer={
                'class_name': 'LSTM', 'config': config})}))], x,
                   np.concatenate(ends, -1).reshape(2, 3, 8),
                   [('f/' + n, w) for n, w in weights] + [('b/' + n, w) for n, w in more], version)
        matrix, bias = array(3, 2), array(2)
        x = array(2, 3, 4, 5, 3)
        dense = {'class_name': 'Dense', 'config': dict(name='d', units=2, activation='tanh')}
        sequential('td_td_dense', [('TimeDistributed', dict(layer={
            'class_name': 'TimeDistributed', 'config': dict(name='t', layer=dense)}))], x,
                   np.tanh(x @ matrix + bias), [('kernel', matrix), ('bias', bias)], version)
        kernel, bias = array(3, 3, 2, 4), array(4)
        x = array(2, 3, 7, 8, 2)
        y = plain.conv(x.reshape(6, 7, 8, 2), kernel, bias, [2, 1], 'same')
        sequential('td_conv', [('TimeDistributed', dict(layer={
            'class_name': 'Conv2D', 'config': dict(
                name='c', filters=4, kernel_size=[3, 3], strides=[2, 1], padding='same',
                data_format='channels_last', activation='linear')}))], x,
                   y.reshape((2, 3) + y.shape[1:]), [('kernel', kernel), ('bias', bias)], version)


def stacks():
    for version in ('2.3.1', '2.11.0', '3.8.0'):
        for backwards in (False, True):
            parts = [lstm(3, 4), lstm(4, 2), lstm(2, 3)]
            x = array(2, 5, 3)
            y = x
            for i, (_, arrays, _) in enumerate(parts):
                y, last, _ = plain.steps(y, None, plain.zeros(y, arrays[1].shape[0], 2),
                                         plain.lstm_step(*arrays), backwards and i == 0)
            cells = [{'class_name': 'LSTMCell', 'config': dict(config, name='c%d' % i)}
                     for i, (config, _, _) in enumerate(parts)]
            sequential('stack_%d' % backwards, [('RNN', dict(
                cell={'class_name': 'StackedRNNCells', 'config': dict(name='s', cells=cells)},
                return_sequences=True, go_backwards=backwards))], x, y,
                       [('c%d/%s' % (i, n), w) for i, (_, _, stored) in enumerate(parts)
                        for n, w in stored], version)


# --- attention ---

def attention():
    for version in ('2.11.0', '3.8.0'):
        for case in range(8):
            scaled, keyed, causal = bool(case % 2), bool(case // 2 % 2), bool(case // 4)
            q, v = array(2, 4, 3), array(2, 5, 3)
            k = array(2, 5, 3) if keyed else v
            additive = case in (3, 6)
            scale = array(3) if additive else array()
            scores = (np.sum(np.tanh(q[:, :, None] + k[:, None]) * (scale if scaled else 1), -1)
                      if additive else q @ k.transpose(0, 2, 1) * (scale if scaled else 1))
            if causal:
                scores = np.where(np.tril(np.ones((4, 5), bool)), scores, -1e9)
            y = plain.softmax(scores.astype('f8')) @ v
            names = ['x0', 'x1'] + ['x2'] * keyed
            extra = {'use_causal_mask': True} if causal else {}
            call = ({'args': [[tensor(n) for n in names]], 'kwargs': extra} if version >= '3'
                    else [[n, 0, 0, extra] for n in names])
            functional('%sattention_%d' % ('additive_' if additive else '', case),
                       'AdditiveAttention' if additive else 'Attention',
                       dict(use_scale=scaled, dropout=0.2), [q, v] + [k] * keyed, call, [y],
                       [('scale', scale)] * scaled, version)


def heads():
    for version in ('2.11.0', '3.8.0'):
        for case in range(6):
            width, out = pick(2, 3), 6
            count, causal, masked = pick(1, 2, 3), case % 2 == 1, case > 3
            q, v, k = array(2, 4, 6), array(2, 5, 3), array(2, 5, 4)
            shapes = [(6, count, width), (count, width), (4, count, width), (count, width),
                      (3, count, 5), (count, 5), (count, 5, out), (out,)]
            arrays = [array(*shape) for shape in shapes]
            mask = RANDOM.rand(2, 4, 5) > 0.3
            mask[:, :, 0] = True
            y = plain.multi_head(q, v, k, arrays, mask if masked else None, causal)
            names = ['%s/%s' % (part, role) for part in ('query', 'key', 'value',
                                                         'attention_output')
                     for role in ('kernel', 'bias')]
            extra = {'use_causal_mask': True} if causal else {}
            inputs = [q, v, k] + [mask] * masked
            if version >= '3':
                if masked:
                    extra['attention_mask'] = tensor('x3')
                call = {'args': [tensor('x0'), tensor('x1'), tensor('x2')], 'kwargs': extra}
            else:
                extra.update(value=['x1', 0, 0], key=['x2', 0, 0])
                if masked:
                    extra['attention_mask'] = ['x3', 0, 0]
                call = [['x0', 0, 0, extra]]
            functional('heads_%d' % case, 'MultiHeadAttention', dict(
                num_heads=count, key_dim=width, value_dim=5, use_bias=True, dropout=0.1,
                output_shape=None, attention_axes=None), inputs, call, [y],
                       list(zip(names, arrays)), version)


def grouped():
    """Grouped heads are those of MultiHeadAttention with key and value repeated."""
    for gated in (False, True):
        q, v = array(2, 4, 6), array(2, 5, 3)
        parts = {'query': (6, 4, 3), 'key': (3, 2, 3), 'gate': (6, 4, 3), 'value': (3, 2, 3),
                 'attention_output': (4, 3, 6)}
        weights = [('%s/%s' % (part, role), array(*shape)) for part, full in parts.items()
                   if part != 'gate' or gated
                   for role, shape in (('kernel', full), ('bias', full[-1:] if part ==
                                                         'attention_output' else full[1:]))]
        w = {name: value.astype('f8') for name, value in weights}

        def project(x, part):
            y = np.einsum('btd,dhk->bthk', x, w[part + '/kernel']) + w[part + '/bias']
            return np.repeat(y, 4 // y.shape[2], 2)

        scores = np.einsum('bthk,bshk->bhts', project(q, 'query'), project(v, 'key')) / np.sqrt(3)
        context = np.einsum('bhts,bshk->bthk', plain.softmax(scores), project(v, 'value'))
        if gated:
            context = context * plain.sigmoid(project(q, 'gate'))
        y = np.einsum('bthk,hkd->btd', context, w['attention_output/kernel'])
        functional('grouped_%d' % gated, 'GroupedQueryAttention', dict(
            head_dim=3, num_query_heads=4, num_key_value_heads=2, use_gate=gated, use_bias=True),
                   [q, v], {'args': [tensor('x0'), tensor('x1')], 'kwargs': {}},
                   [y + w['attention_output/bias']], weights, '3.15.1')


def main():
    os.makedirs(FOLDER, exist_ok=True)
    for part in (conv_lstm, locally_connected, states, masked_starts, masked_stacks, time_major,
                 wrappers, stacks, attention, heads, grouped):
        part()


main()
