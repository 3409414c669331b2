"""What provocations of failure codes are made of.

A provocation is a function of a folder, named by @provokes('CODE'). It writes the
smallest file and settings there that provoke the code, and returns a Case.
"""
import contextlib
import json
import os

import h5py
import numpy as np

PROVOCATIONS = {}


class Case:
    """A path for `h5serve check`, and a context manager for the call."""

    def __init__(self, path, around=None):
        self.path = path
        self.around = around or contextlib.nullcontext()


def provokes(code):
    def register(function):
        PROVOCATIONS[code] = function
        return function
    return register


# ---- models

def dense(name='dense', **config):
    return ('Dense', dict({'name': name, 'units': 2, 'activation': 'linear'}, **config),
            {'kernel:0': np.ones((3, 2), 'f4'), 'bias:0': np.zeros(2, 'f4')})


def plain(class_name, **config):
    return (class_name, dict({'name': class_name.lower()}, **config), {})


INPUT = {'batch_input_shape': [None, 3]}


def sequential(layers):
    return {'class_name': 'Sequential', 'config': {'name': 'm', 'layers': [
        {'class_name': c, 'config': config} for c, config, _ in layers]}}


def functional(layers, outputs):
    """Layers are (class, config, arrays, inbound_nodes)."""
    return {'class_name': 'Model', 'config': {
        'name': 'm',
        'layers': [{'class_name': c, 'name': config['name'], 'config': config, 'inbound_nodes': n}
                   for c, config, _, n in layers],
        'input_layers': [['input', 0, 0]], 'output_layers': outputs}}


INPUT_LAYER = ('InputLayer', dict(name='input', dtype='float32', **INPUT), {}, [])


def write(path, layers, config=None, version='2.3.1', backend='tensorflow', training=None,
          file_options=None):
    """A whole model; returns the path."""
    with h5py.File(path, 'w', **(file_options or {})) as file:
        file.attrs['keras_version'] = version
        file.attrs['backend'] = backend
        text = config if isinstance(config, str) else json.dumps(config or sequential(layers))
        file.attrs['model_config'] = text
        if training:
            file.attrs['training_config'] = json.dumps(training)
        weights = file.create_group('model_weights')
        weights.attrs['keras_version'] = version
        weights.attrs['backend'] = backend
        weights.attrs['layer_names'] = np.array([l[1]['name'] for l in layers], 'S')
        for layer in layers:
            name, arrays = layer[1]['name'], layer[2]
            group = weights.create_group(name)
            group.attrs['weight_names'] = np.array(['%s/%s' % (name, key) for key in arrays], 'S')
            for key, value in arrays.items():
                group['%s/%s' % (name, key)] = value
    return path


def write_bytes(path, data):
    with open(path, 'wb') as file:
        file.write(data)
    return path


def model_case(folder, layers, **options):
    return Case(write(os.path.join(folder, 'model.h5'), layers, **options))


def sound(folder, **options):
    return write(os.path.join(folder, 'model.h5'), [dense(**INPUT)], **options)


def settings(folder, **values):
    with open(os.path.join(folder, 'model.json'), 'w') as file:
        json.dump(values, file)


def bytes_case(name, data):
    return lambda folder: Case(write_bytes(os.path.join(folder, name), data))
