"""Writes model files as Keras 2 writes them, layer by layer, for tests.

    write('m.h5', [layer('Scale', {'axis': -1}, [('scale_gamma', gamma)])], (4,))
"""
import json

import h5py
import numpy as np


def layer(class_name, config=None, weights=(), name=None, inputs=('input_1',), **entry):
    """One layer: its class, stored config, arrays as (name, values), and what it is called on."""
    return dict(class_name=class_name, config=dict(config or {}), weights=list(weights),
                name=name or 'custom_1', inputs=list(inputs), entry=entry)


def write(path, layers, *shapes, version='2.3.1', outputs=None, dtype='float32'):
    """A functional model: inputs input_1, … of these shapes (without batch), then the layers."""
    entries = []
    for i, shape in enumerate(shapes, 1):
        entries.append({'class_name': 'InputLayer', 'name': 'input_%d' % i, 'inbound_nodes': [],
                        'config': {'name': 'input_%d' % i, 'dtype': dtype, 'sparse': False,
                                   'batch_input_shape': [None] + list(shape)}})
    for one in layers:
        config = dict({'name': one['name'], 'trainable': True}, **one['config'])
        entries.append(dict({'class_name': one['class_name'], 'name': one['name'], 'config': config,
                             'inbound_nodes': [[[name, 0, 0, {}] for name in one['inputs']]]},
                            **one['entry']))
    outputs = outputs or [[layers[-1]['name'], 0, 0]]
    config = {'class_name': 'Model', 'config': {
        'name': 'model_1', 'layers': entries, 'output_layers': outputs,
        'input_layers': [['input_%d' % i, 0, 0] for i in range(1, len(shapes) + 1)]}}
    with h5py.File(path, 'w') as file:
        file.attrs['keras_version'] = version.encode()
        file.attrs['backend'] = b'tensorflow'
        file.attrs['model_config'] = json.dumps(config).encode()
        group = file.create_group('model_weights')
        names = [entry['name'] for entry in entries]
        group.attrs['layer_names'] = [name.encode() for name in names]
        for name in names:
            weights = [w for one in layers if one['name'] == name for w in one['weights']]
            own = group.create_group(name)
            own.attrs['weight_names'] = [(label + ':0').encode() for label, _ in weights]
            for label, values in weights:
                own.create_dataset(label + ':0', data=np.asarray(values, 'float32'))
    return path
