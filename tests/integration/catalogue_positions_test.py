#!/usr/bin/python3
"""The catalogue's layers that know places in a sequence, against NumPy."""
import unittest

import numpy as np

from model_case import ModelCase
from model_files import layer

RANDOM = np.random.default_rng(12)


def values(*shape):
    return RANDOM.normal(size=shape).astype('float32')


class CataloguePositionsTest(ModelCase):

    def test_position_embeddings(self):
        x, table = values(2, 5, 4), values(9, 4)
        config = {'input_dim': 9, 'output_dim': 4, 'mode': 'add', 'mask_zero': False}
        weights = [('custom_1_embeddings', table)]
        self.expect([layer('PositionEmbedding', config, weights)], x, x + table[:5])
        config['mode'] = 'concat'
        tiled = np.broadcast_to(table[:5], (2, 5, 4))
        self.expect([layer('PositionEmbedding', config, weights)], x, np.concatenate([x, tiled], -1))
        config.update(mode='expand', input_dim=4)
        tokens = np.array([[-7, -1, 0, 2, 4]], 'float32')
        self.expect([layer('PositionEmbedding', config, weights)], tokens,
                    table[np.clip(tokens, -4, 4).astype(int) + 4])

    def test_sine_embeddings(self):
        x = values(2, 5, 6)

        def angles(positions, size):
            table = np.zeros(positions.shape + (size,))
            for i in range(size // 2):
                angle = positions / 10000 ** (2 * i / size)
                table[..., 2 * i], table[..., 2 * i + 1] = np.sin(angle), np.cos(angle)
            return table
        self.expect([layer('TrigPosEmbedding', {'mode': 'add', 'output_dim': None})], x,
                    x + angles(np.arange(5.0), 6))
        expected = np.concatenate([x, np.broadcast_to(angles(np.arange(5.0), 4), (2, 5, 4))], -1)
        self.expect([layer('TrigPosEmbedding', {'mode': 'concat', 'output_dim': 4})], x, expected)
        positions = np.array([[0, 3, 7]], 'float32')
        self.expect([layer('TrigPosEmbedding', {'mode': 'expand', 'output_dim': 4})], positions,
                    angles(positions, 4))

    def test_position_layers_of_keras_nlp(self):
        x, table = values(2, 5, 6), values(9, 6)
        config = {'sequence_length': 9, 'initializer': {'class_name': 'GlorotUniform', 'config': {}}}
        self.expect([layer('keras_nlp>PositionEmbedding', config,
                           [('custom_1/embeddings', table)])], x,
                    np.broadcast_to(table[:5], (2, 5, 6)))
        angle = np.arange(5)[:, None] / 100 ** (np.array([0, 0, 2, 2, 4, 4]) / 6)
        expected = np.where(np.arange(6) % 2, np.cos(angle), np.sin(angle))
        self.expect([layer('keras_nlp>SinePositionEncoding', {'max_wavelength': 100})], x,
                    np.broadcast_to(expected, (2, 5, 6)))


if __name__ == '__main__':
    unittest.main()
