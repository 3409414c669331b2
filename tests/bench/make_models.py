#!/usr/bin/python3
"""make_models.py FOLDER: the networks that benchmarks measure, with random weights.

Files as Keras 2.3.1 writes them, made with h5py alone.
"""
import json
import os
import sys

import h5py
import numpy as np


def dense(name, units, activation, inputs=None):
    config = {'name': name, 'trainable': True, 'dtype': 'float32', 'units': units,
              'activation': activation, 'use_bias': True}
    if inputs:
        config['batch_input_shape'] = [None, inputs]
    return {'class_name': 'Dense', 'config': config}


def write(path, layers, weights):
    config = {'class_name': 'Sequential', 'config': {'name': 'network', 'layers': layers}}
    with h5py.File(path, 'w') as file:
        file.attrs['model_config'] = json.dumps(config).encode()
        file.attrs['keras_version'] = b'2.3.1'
        file.attrs['backend'] = b'tensorflow'
        group = file.create_group('model_weights')
        names = [layer['config']['name'] for layer in layers]
        group.attrs['layer_names'] = [name.encode() for name in names]
        group.attrs['keras_version'] = b'2.3.1'
        group.attrs['backend'] = b'tensorflow'
        for name in names:
            layer = group.create_group(name)
            arrays = weights.get(name, [])
            layer.attrs['weight_names'] = [f'{name}/{role}:0'.encode() for role, _ in arrays]
            for role, array in arrays:
                layer[f'{name}/{role}:0'] = array


def mlp(path, sizes):
    random = np.random.default_rng(1)
    layers, weights = [], {}
    for i, (inputs, units) in enumerate(zip(sizes, sizes[1:])):
        name = f'dense_{i + 1}'
        last = i + 2 == len(sizes)
        layers.append(dense(name, units, 'softmax' if last else 'relu', None if i else inputs))
        kernel = random.normal(0, 1 / np.sqrt(inputs), (inputs, units)).astype(np.float32)
        weights[name] = [('kernel', kernel), ('bias', np.zeros(units, np.float32))]
    write(path, layers, weights)


def image(path):
    """A tiny network on a large image: what counts is moving the request."""
    random = np.random.default_rng(2)
    layers = [{'class_name': 'GlobalAveragePooling2D',
               'config': {'name': 'pool', 'trainable': True, 'dtype': 'float32',
                          'data_format': 'channels_last',
                          'batch_input_shape': [None, 224, 224, 3]}},
              dense('dense_1', 10, 'softmax')]
    kernel = random.normal(0, 1, (3, 10)).astype(np.float32)
    write(path, layers, {'dense_1': [('kernel', kernel), ('bias', np.zeros(10, np.float32))]})


def main(folder):
    os.makedirs(folder, exist_ok=True)
    mlp(os.path.join(folder, 'mlp_small.h5'), [784, 128, 10])
    mlp(os.path.join(folder, 'mlp_big.h5'), [1024, 4096, 4096, 1000])
    image(os.path.join(folder, 'image.h5'))


if __name__ == '__main__':
    main(sys.argv[1])
