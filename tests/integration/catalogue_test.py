#!/usr/bin/python3
"""Every entry of the catalogue of custom objects, against NumPy."""
import math
import unittest

import numpy as np

from model_case import ModelCase
from model_files import layer

RANDOM = np.random.default_rng(11)


def values(*shape):
    return RANDOM.normal(size=shape).astype('float32')


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def erf(x):
    return np.vectorize(math.erf)(x)


def relu6(x):
    return np.clip(x, 0, 6)


def sparsemax(z):
    """arXiv:1602.02068, algorithm 1, row by row."""
    rows = []
    for row in z.reshape(-1, z.shape[-1]):
        order = np.sort(row)[::-1]
        sums = np.cumsum(order)
        k = np.arange(1, len(row) + 1)
        size = k[1 + k * order > sums].max()
        rows.append(np.maximum(row - (sums[size - 1] - 1) / size, 0))
    return np.array(rows).reshape(z.shape)


class CatalogueTest(ModelCase):

    # --- activations ---

    def test_activations_by_name_and_as_layers(self):
        x = values(3, 7) * 3
        tanh_gelu = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))
        softplus = np.log1p(np.exp(x))
        functions = {
            'bent_identity': (np.sqrt(x * x + 1) - 1) / 2 + x,
            'gelu_exact': 0.5 * x * (1 + erf(x / np.sqrt(2))),
            'gelu_tanh': tanh_gelu, 'gelu_new': tanh_gelu,
            'hard_swish': x * relu6(x + 3) / 6, 'hswish': x * relu6(x + 3) / 6,
            'h_sigmoid': relu6(x + 3) / 6,
            'lisht': x * np.tanh(x),
            'mish': x * np.tanh(softplus),
            'quick_gelu': x * sigmoid(1.702 * x),
            'relu6': relu6(x),
            'squared_relu': np.maximum(x, 0) ** 2,
            'swish': x * sigmoid(x),
            'Addons>mish': x * np.tanh(softplus),
            'Addons>hardshrink': np.where(abs(x) <= 0.5, 0, x),
            'Addons>softshrink': np.sign(x) * np.maximum(abs(x) - 0.5, 0),
            'Addons>tanhshrink': x - np.tanh(x),
            'Addons>snake': x + np.sin(x) ** 2,
            'Addons>sparsemax': sparsemax(x),
        }
        for name, expected in functions.items():
            with self.subTest(name):
                self.expect([layer('Activation', {'activation': name})], x, expected)
        layers = {
            'Mish': ({}, x * np.tanh(softplus)), 'Swish': ({'beta': 1.5}, x * sigmoid(1.5 * x)),
            'HSwish': ({}, x * relu6(x + 3) / 6), 'ReLU6': ({}, relu6(x)),
            'SineReLU': ({'epsilon': 0.01}, np.maximum(x, 0.01 * (np.sin(x) - np.cos(x)))),
            'Addons>GELU': ({'approximate': False}, 0.5 * x * (1 + erf(x / np.sqrt(2)))),
            'Addons>Sparsemax': ({'axis': -1}, sparsemax(x)),
            'FixedDropout': ({'rate': 0.2, 'noise_shape': None, 'seed': None}, x),
            'NonMasking': ({}, x),
        }
        for name, (config, expected) in layers.items():
            with self.subTest(name):
                self.expect([layer(name, config)], x, expected)

    def test_softmax_along_axis_1(self):
        x = values(2, 5, 3)
        self.expect([layer('Activation', {'activation': 'softMaxAxis1'})], x, softmax(x, 1))

    def test_pelu(self):
        x, alpha, beta = values(2, 4), abs(values(4)) + 0.5, abs(values(4)) + 0.5
        expected = np.where(x >= 0, alpha / beta * x, alpha * (np.exp(x / beta) - 1))
        self.expect([layer('PELU', {'shared_axes': None},
                           [('custom_1/alpha', alpha), ('custom_1/beta', beta)])], x, expected)

    # --- normalisation ---

    def test_instance_normalization_of_keras_contrib(self):
        x, gamma, beta = values(2, 5, 4, 3), values(3), values(3)
        y = (x - x.mean((1, 2), keepdims=True)) / (x.std((1, 2), keepdims=True) + 1e-2)
        config = {'axis': -1, 'epsilon': 1e-2, 'center': True, 'scale': True}
        weights = [('custom_1/gamma', gamma), ('custom_1/beta', beta)]
        self.expect([layer('InstanceNormalization', config, weights)], x, y * gamma + beta)

        y = (x - x.mean((1, 2, 3), keepdims=True)) / (x.std((1, 2, 3), keepdims=True) + 1e-2)
        config.update(axis=None, center=False)
        self.expect([layer('InstanceNormalization', config, [('custom_1/gamma', [1.5])])], x, 1.5 * y)

    def test_normalizations_of_addons(self):
        x, gamma, beta = values(2, 5, 4, 6), values(6), values(6)
        y = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-2)
        config = {'groups': 6, 'axis': -1, 'epsilon': 1e-2, 'center': True, 'scale': True}
        weights = [('custom_1/gamma', gamma), ('custom_1/beta', beta)]
        for name in ('InstanceNormalization', 'Addons>InstanceNormalization'):
            self.expect([layer(name, config, weights)], x, y * gamma + beta, version='2.4.0')

        groups = x.reshape(2, 5, 4, 3, 2)
        y = (groups - groups.mean((1, 2, 4), keepdims=True)) / np.sqrt(
            groups.var((1, 2, 4), keepdims=True) + 1e-2)
        config['groups'] = 3
        self.expect([layer('Addons>GroupNormalization', config, weights)], x,
                    y.reshape(x.shape) * gamma + beta, version='2.4.0')

    def test_group_normalization_of_keras_contrib(self):
        x, gamma, beta = values(2, 3, 4, 6), values(6), values(6)
        groups = x.reshape(2, 2, 3, 4, 3)
        y = (groups - groups.mean((2, 3, 4), keepdims=True)) / np.sqrt(
            groups.var((2, 3, 4), keepdims=True) + 1e-3)
        y = y * gamma.reshape(1, 2, 1, 1, 3) + beta.reshape(1, 2, 1, 1, 3)
        config = {'groups': 2, 'axis': -1, 'epsilon': 1e-3, 'center': True, 'scale': True}
        weights = [('custom_1/gamma', gamma), ('custom_1/beta', beta)]
        self.expect([layer('GroupNormalization', config, weights)], x, y.reshape(x.shape))

    def test_scaling_layers(self):
        x, gamma, beta = values(2, 3, 4, 5), values(5), values(5)
        weights = [('custom_1_gamma', gamma), ('custom_1_beta', beta)]
        self.expect([layer('Scale', {'axis': -1, 'momentum': 0.9}, weights)], x, x * gamma + beta)
        norm = x / np.sqrt((x ** 2).sum(-1, keepdims=True)) * gamma
        self.expect([layer('L2Normalization', {'gamma_init': 20}, weights[:1])], x, norm)
        self.expect([layer('Normalize', {}, weights[:1])], x, norm)

    def test_wrappers_that_normalize_weights(self):
        x, kernel, bias, g = values(2, 4), values(4, 3), values(3), values(3)
        dense = {'class_name': 'Dense', 'config': {
            'name': 'dense', 'trainable': True, 'units': 3, 'activation': 'linear',
            'use_bias': True}}
        y = x @ (kernel / np.sqrt((kernel ** 2).sum(0)) * g) + bias
        weights = [('custom_1/g', g), ('custom_1/kernel', kernel), ('custom_1/bias', bias),
                   ('custom_1/initialized', 1)]
        self.expect([layer('Addons>WeightNormalization', {'layer': dense, 'data_init': False},
                           weights)], x, y, version='2.4.0')
        weights = [('custom_1/kernel', kernel), ('custom_1/bias', bias), ('custom_1/sn_u', values(1, 3))]
        self.expect([layer('Addons>SpectralNormalization', {'layer': dense, 'power_iterations': 1},
                           weights)], x, x @ kernel + bias, version='2.4.0')

    # --- attention and sequences ---

    def test_attention_with_context(self):
        x, w, b, u = values(2, 6, 4), values(4, 4), values(4), values(4)
        a = np.exp(np.tanh(x @ w + b) @ u)
        a = a / (a.sum(1, keepdims=True) + 1e-7)
        weights = [('custom_1_W', w), ('custom_1_b', b), ('custom_1_u', u)]
        self.expect([layer('AttentionWithContext', {}, weights)], x, (x * a[..., None]).sum(1))

        # Somebody else's class of that name calls its arrays otherwise.
        other = [(name.replace('custom_1_', ''), data) for name, data in weights]
        self.refused([layer('AttentionWithContext', {}, other)], [(6, 4)], None,
                     'WEIGHT_ORDER_AMBIGUOUS')

    def test_attention_with_context_of_masked_sequences(self):
        tokens = np.array([[1, 2, 3, 0], [2, 0, 0, 0]], 'float32')
        table, w, b, u = values(4, 3), values(3, 3), values(3), values(3)
        x, mask = table[tokens.astype(int)], tokens != 0
        a = np.exp(np.tanh(x @ w + b) @ u) * mask
        a = a / (a.sum(1, keepdims=True) + 1e-7)
        embedding = layer('Embedding', {'input_dim': 4, 'output_dim': 3, 'mask_zero': True},
                          [('emb/embeddings', table)], name='emb')
        attention = layer('AttentionWithContext', {},
                          [('custom_1_W', w), ('custom_1_b', b), ('custom_1_u', u)], inputs=['emb'])
        self.expect([embedding, attention], tokens, (x * a[..., None]).sum(1))

    def test_attention_of_step_dim_on_demand(self):
        x, w, b = values(2, 6, 4), values(4), values(6)
        a = np.exp(np.tanh(x @ w + b))
        a = a / (a.sum(1, keepdims=True) + 1e-7)
        self.expect([layer('Attention', {}, [('custom_1_W', w), ('custom_1_b', b)])], x,
                    (x * a[..., None]).sum(1),
                    {'Attention': {'catalogue': 'Attention (step_dim)'}})

    def test_bahdanau_attention(self):
        encoder, decoder = values(2, 5, 4), values(2, 3, 6)
        wa, ua, va = values(4, 4), values(6, 4), values(4, 1)
        e = np.tanh((encoder @ wa)[:, None] + (decoder @ ua)[:, :, None]) @ va
        a = softmax(e[..., 0])
        self.expect([layer('AttentionLayer', {}, [('W_a', wa), ('U_a', ua), ('V_a', va)],
                           inputs=['input_1', 'input_2'])],
                    [encoder, decoder], [a @ encoder, a],
                    outputs=[['custom_1', 0, 0], ['custom_1', 0, 1]])

    def test_seq_self_attention(self):
        x, wt, wx, bh, wa, ba = values(2, 5, 4), values(4, 8), values(4, 8), values(8), values(8, 1), values(1)
        config = {'units': 8, 'attention_width': None, 'attention_type': 'additive',
                  'return_attention': True, 'history_only': False, 'use_additive_bias': True,
                  'use_attention_bias': True, 'attention_activation': 'sigmoid',
                  'attention_regularizer_weight': 0.0}
        weights = [('custom_1_Add_Wt', wt), ('custom_1_Add_Wx', wx), ('custom_1_Add_bh', bh),
                   ('custom_1_Add_Wa', wa), ('custom_1_Add_ba', ba)]
        e = (np.tanh((x @ wt)[:, :, None] + (x @ wx)[:, None] + bh) @ wa)[..., 0] + ba
        a = softmax(sigmoid(e))
        self.expect([layer('SeqSelfAttention', config, weights)], x, [a @ x, a],
                    outputs=[['custom_1', 0, 0], ['custom_1', 0, 1]])

        wa = values(4, 4)
        a = softmax(x @ wa @ x.transpose(0, 2, 1) + ba)
        config.update(attention_type='multiplicative', attention_activation=None,
                      return_attention=False)
        self.expect([layer('SeqSelfAttention', config,
                           [('custom_1_Mul_Wa', wa), ('custom_1_Mul_ba', ba)])], x, a @ x)
        config['attention_width'] = 3
        self.refused([layer('SeqSelfAttention', config,
                            [('custom_1_Mul_Wa', wa), ('custom_1_Mul_ba', ba)])], [(5, 4)], None,
                     'UNSUPPORTED_ARGUMENT')

    def test_seq_weighted_attention(self):
        x, w, b = values(2, 5, 4), values(4, 1), values(1)
        a = softmax((x @ w)[..., 0] + b)
        self.expect([layer('SeqWeightedAttention', {'use_bias': True, 'return_attention': False},
                           [('custom_1_W', w), ('custom_1_b', b)])], x, (x * a[..., None]).sum(1))

    def test_scaled_dot_product_attention(self):
        q, k, v = values(2, 3, 4), values(2, 5, 4), values(2, 5, 6)
        a = softmax(q @ k.transpose(0, 2, 1) / 2)
        self.expect([layer('ScaledDotProductAttention',
                           {'return_attention': False, 'history_only': False},
                           inputs=['input_1', 'input_2', 'input_3'])], [q, k, v], a @ v)

    def test_multi_head_attention_of_cyberzhg(self):
        x = values(2, 5, 6)
        names = ['Wq', 'bq', 'Wk', 'bk', 'Wv', 'bv', 'Wo', 'bo']
        arrays = {name: values(6, 6) if name[0] == 'W' else values(6) for name in names}

        def relu(t):
            return np.maximum(t, 0)

        def heads(t):
            return t.reshape(2, 5, 3, 2).transpose(0, 2, 1, 3)
        q, k, v = [relu(x @ arrays['W' + c] + arrays['b' + c]) for c in 'qkv']
        a = softmax(heads(q) @ heads(k).transpose(0, 1, 3, 2) / np.sqrt(2))
        y = (a @ heads(v)).transpose(0, 2, 1, 3).reshape(2, 5, 6)
        self.expect([layer('MultiHeadAttention',
                           {'head_num': 3, 'activation': 'relu', 'use_bias': True,
                            'history_only': False},
                           [('custom_1_' + name, arrays[name]) for name in names])],
                    x, relu(y @ arrays['Wo'] + arrays['bo']))

    def test_feed_forward(self):
        x, w1, b1, w2, b2 = values(2, 3, 4), values(4, 5), values(5), values(5, 4), values(4)
        self.expect([layer('FeedForward', {'units': 5, 'activation': 'relu', 'use_bias': True,
                                           'dropout_rate': 0.1},
                           [('custom_1_W1', w1), ('custom_1_b1', b1), ('custom_1_W2', w2),
                            ('custom_1_b2', b2)])],
                    x, np.maximum(x @ w1 + b1, 0) @ w2 + b2)

    def test_token_embedding_and_similarity(self):
        tokens, table, bias = np.array([[1, 2, 0]], 'float32'), values(4, 3), values(4)
        embedding = layer('TokenEmbedding', {'input_dim': 4, 'output_dim': 3, 'mask_zero': False},
                          [('tokens/embeddings', table)], name='tokens')
        similar = layer('EmbeddingSimilarity', {}, [('custom_1_bias', bias)])
        similar['entry']['inbound_nodes'] = [[['tokens', 0, 0, {}], ['tokens', 0, 1, {}]]]
        self.expect([embedding, similar], tokens, softmax(table[[[1, 2, 0]]] @ table.T + bias))

    def test_tcn_on_demand(self):
        x, filters = values(2, 9, 3), 4
        blocks, weights = [], []
        for k in range(4):
            shapes = [(2, 3 if k == 0 else filters, filters), (filters,),
                      (2, filters, filters), (filters,)]
            shapes += [(1, 3, filters), (filters,)] if k == 0 else []
            blocks.append([values(*shape) for shape in shapes])
            names = ['conv1D_0/kernel', 'conv1D_0/bias', 'conv1D_1/kernel', 'conv1D_1/bias',
                     'matching_conv1D/kernel', 'matching_conv1D/bias']
            weights += [('custom_1/residual_block_%d/%s' % (k, name), data)
                        for name, data in zip(names, blocks[k])]

        def causal(h, kernel, bias, dilation):
            before = np.concatenate([np.zeros((2, dilation, h.shape[2])), h], 1)[:, :h.shape[1]]
            return before @ kernel[0] + h @ kernel[1] + bias
        h, total = x, 0
        for k, block in enumerate(blocks):
            dilation = [1, 2][k % 2]
            a = np.maximum(causal(h, block[0], block[1], dilation), 0)
            b = np.maximum(causal(a, block[2], block[3], dilation), 0)
            total = total + b
            h = np.maximum((h @ block[4][0] + block[5] if k == 0 else h) + b, 0)
        config = {'nb_filters': filters, 'kernel_size': 2, 'nb_stacks': 2, 'dilations': [1, 2],
                  'padding': 'causal', 'use_skip_connections': True, 'dropout_rate': 0.1,
                  'return_sequences': False, 'activation': 'relu', 'use_batch_norm': False,
                  'use_layer_norm': False, 'use_weight_norm': False,
                  'kernel_initializer': 'he_normal'}
        objects = {'TCN': {'catalogue': 'TCN', 'parameters': {'input_dim': 3}}}
        self.expect([layer('TCN', config, weights)], x, total[:, -1], objects)
        config.update(use_skip_connections=False, return_sequences=True)
        self.expect([layer('TCN', config, weights)], x, h, objects)
        diagnosis = self.refused([layer('TCN', config, weights)], [(9, 3)], None, 'UNKNOWN_LAYER')
        self.assertIn('"catalogue": "TCN"', diagnosis['remedies'][0])

    # --- CRF ---

    def crf(self, x, test_mode, learn_mode='join', mask=None):
        n = 4
        arrays = dict(kernel=values(3, n), chain_kernel=values(n, n), bias=values(n),
                      left_boundary=values(n), right_boundary=values(n))
        config = {'units': n, 'learn_mode': learn_mode, 'test_mode': test_mode,
                  'use_boundary': True, 'use_bias': True, 'sparse_target': False,
                  'activation': 'linear', 'input_dim': 3, 'unroll': False}
        weights = [('custom_1/' + name, data) for name, data in arrays.items()]
        energy = x @ arrays['kernel'] + arrays['bias']
        energy[:, 0] += arrays['left_boundary']
        energy[:, -1] += arrays['right_boundary']
        return layer('CRF', config, weights), energy, arrays['chain_kernel']

    def test_crf_finds_the_best_path(self):
        x = values(3, 5, 3)
        crf, energy, chain = self.crf(x, 'viterbi')
        got, = self.predict_layers([crf], [x])
        # The class adds one step behind the last, whose label is 0.
        for row, e in zip(got, energy):
            paths = np.stack(np.meshgrid(*[range(4)] * 5, indexing='ij'), -1).reshape(-1, 5)
            cost = e[range(5), paths].sum(1) + chain[paths[:, :-1], paths[:, 1:]].sum(1)
            # The table of the last step is looked up twice.
            score = np.full(4, np.inf)
            for path, c in zip(paths, cost):
                score[path[-1]] = min(score[path[-1]], c)
            last = (score[:, None] + chain).argmin(0)
            end = last[last[0]]
            best = paths[np.where(paths[:, -1] == end, cost, np.inf).argmin()]
            np.testing.assert_array_equal(row.argmax(-1), best)
            np.testing.assert_array_equal(row.sum(-1), 1)

    def test_crf_marginals(self):
        x = values(2, 4, 3)
        crf, energy, chain = self.crf(x, None, 'marginal')
        expected = np.zeros((2, 4, 4))
        for row in range(2):
            e = energy[row]

            def pass_over(order):
                state, states = np.zeros(4), []
                for t in order:
                    state = np.log(np.exp(-(chain + (e[t] - state)[:, None])).sum(0))
                    states.append(state)
                return states
            forward, backward = pass_over(range(4)), pass_over(range(3, -1, -1))[::-1]
            alpha = np.array([np.zeros(4)] + forward[:-1])
            beta = np.array(backward[1:] + [np.zeros(4)])
            expected[row] = softmax(-(alpha + e + beta))
        self.expect([crf], x, expected)

    # --- images ---

    def test_rearranging_layers(self):
        x = values(2, 3, 4, 8)
        y = x.reshape(2, 3, 4, 2, 2, 2).transpose(0, 1, 3, 2, 4, 5).reshape(2, 6, 8, 2)
        self.expect([layer('PixelShuffler', {'size': [2, 2], 'data_format': None})], x, y)
        self.expect([layer('SubPixelUpscaling', {'scale_factor': 2, 'data_format': 'channels_last'})],
                    x, y)
        padded = np.pad(x, [(0, 0), (2, 2), (2, 2), (0, 0)], mode='reflect')
        self.expect([layer('ReflectionPadding2D', {'padding': [2, 2]})], x, padded)
        self.refused([layer('ReflectionPadding2D', {'padding': [1, 2]})], [(3, 4, 8)], None,
                     'UNSUPPORTED_ARGUMENT')

    def test_spatial_pyramid_pooling(self):
        x = values(2, 7, 5, 3)
        parts = []
        for n in (1, 2, 3):
            h, w = np.float32(7) / n, np.float32(5) / n
            for j in range(n):
                for i in range(n):
                    rows = slice(int(np.rint(j * h)), int(np.rint(j * h + h)))
                    columns = slice(int(np.rint(i * w)), int(np.rint(i * w + w)))
                    parts.append(x[:, rows, columns].max((1, 2)))
        self.expect([layer('SpatialPyramidPooling', {'pool_list': [1, 2, 3]})], x,
                    np.concatenate(parts, -1))

    def test_bilinear_upsampling_on_demand(self):
        x = values(1, 3, 4, 2)
        y = np.zeros((1, 6, 8, 2))
        for i in range(6):
            for j in range(8):
                r, c = i * 2 / 5, j * 3 / 7
                r0, c0 = min(int(r), 1), min(int(c), 2)
                dr, dc = r - r0, c - c0
                y[:, i, j] = ((1 - dr) * (1 - dc) * x[:, r0, c0] + dr * (1 - dc) * x[:, r0 + 1, c0]
                              + (1 - dr) * dc * x[:, r0, c0 + 1] + dr * dc * x[:, r0 + 1, c0 + 1])
        one = layer('BilinearUpsampling', {'upsampling': [2, 2], 'data_format': 'channels_last'})
        self.expect([one], x, y,
                    {'BilinearUpsampling': {'catalogue': 'BilinearUpsampling (align corners)'}})
        diagnosis = self.refused([one], [(3, 4, 2)], None, 'UNKNOWN_LAYER')
        self.assertIn('"catalogue": "BilinearUpsampling', ' '.join(diagnosis['remedies']))
        half = np.repeat(np.repeat(x, 2, 1), 2, 2)
        got, = self.predict_layers([one], [x], {'BilinearUpsampling': {
            'catalogue': 'BilinearUpsampling (half pixels)'}})
        np.testing.assert_allclose(got[:, 0, 0], half[:, 0, 0], rtol=1e-6)
        np.testing.assert_allclose(got[:, 1, 0], 0.75 * x[:, 0, 0] + 0.25 * x[:, 1, 0], rtol=1e-5)
        got, = self.predict_layers([one], [x], {'BilinearUpsampling': {
            'catalogue': 'BilinearUpsampling (legacy)'}})
        np.testing.assert_allclose(got[:, 1, 0], 0.5 * x[:, 0, 0] + 0.5 * x[:, 1, 0], rtol=1e-5)

    def test_capsules(self):
        x, w = values(2, 5, 3), values(4, 5, 6, 3)

        def squash(s):
            q = (s ** 2).sum(-1, keepdims=True)
            return q / (1 + q) / np.sqrt(q + 1e-7) * s
        u = np.einsum('bid,oied->boie', x, w)
        b = np.zeros(u.shape[:3])
        for _ in range(3):
            v = squash(np.einsum('boi,boie->boe', softmax(b, 1), u))
            b = b + np.einsum('boe,boie->boi', v, u)
        capsules = layer('CapsuleLayer', {'num_capsule': 4, 'dim_capsule': 6, 'routings': 3},
                         [('custom_1/W', w)])
        self.expect([capsules], x, v)
        length = np.sqrt((v ** 2).sum(-1) + 1e-7)
        self.expect([capsules, layer('Length', {}, name='out', inputs=['custom_1'])], x, length,
                    {'Length': {'catalogue': 'Length (capsules)'}})
        masked = (v * np.eye(4)[length.argmax(1)][..., None]).reshape(2, -1)
        self.expect([capsules, layer('Mask', {}, name='out', inputs=['custom_1'])], x, masked,
                    {'Mask': {'catalogue': 'Mask (capsules)'}})

    def test_rounding_layers_of_qkeras_on_demand(self):
        x, kernel, bias = values(3, 4), values(4, 5), values(5)
        image, filters = values(2, 5, 5, 2), values(3, 3, 2, 4)
        named = {name: {'catalogue': name} for name in ('QDense', 'QActivation', 'QConv2D')}
        bits = {'class_name': 'quantized_bits', 'config': {
            'bits': 4, 'integer': 1, 'symmetric': 1, 'keep_negative': True, 'alpha': 1.0}}

        def rounded(w):  # 3 bits beside the sign, one before the point
            return 2 * np.clip(np.rint(w * 8 / 2), -7, 7) / 8
        config = {'units': 5, 'activation': 'quantized_relu(6)', 'use_bias': True,
                  'kernel_quantizer': bits, 'bias_quantizer': 'quantized_bits(4,1,1,alpha=1)'}
        y = x @ rounded(kernel) + rounded(bias)
        self.expect([layer('QDense', config, [('custom_1/kernel', kernel), ('custom_1/bias', bias)])],
                    x, np.clip(np.rint(y * 64), 0, 63) / 64, named)
        self.expect([layer('QActivation', {'activation': 'quantized_relu(3,1)'})], x,
                    2 * np.clip(np.rint(x * 8 / 2), 0, 7) / 8, named)
        config = {'filters': 4, 'kernel_size': [3, 3], 'strides': [1, 1], 'padding': 'valid',
                  'activation': 'linear', 'use_bias': False, 'kernel_quantizer': bits,
                  'bias_quantizer': None}
        windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3), (1, 2))
        self.expect([layer('QConv2D', config, [('custom_1/kernel', filters)])], image,
                    np.einsum('nhwcij,ijcf->nhwf', windows, rounded(filters)), named)
        self.refused([layer('QActivation', {'activation': 'quantized_tanh(4)'})], [(4,)], named,
                     'UNSUPPORTED_ARGUMENT')

    def test_weighted_sums(self):
        a, b = values(2, 3), values(2, 3)
        two = ['input_1', 'input_2']
        self.expect([layer('Addons>StochasticDepth', {'survival_probability': 0.8}, inputs=two)],
                    [a, b], a + 0.8 * b)
        self.expect([layer('wBiFPNAdd', {'epsilon': 1e-4}, [('custom_1', [0.5, 2])], inputs=two)],
                    [a, b], (0.5 * a + 2 * b) / 2.5001)


if __name__ == '__main__':
    unittest.main()
