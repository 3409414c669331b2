"""Writes model files as the releases of Keras do, with h5py."""
import json

import h5py
import numpy as np


def write(path, version, backend, config, weights, names='variable', storage=None, libver=None,
          cast=None, top_level=False):
    """`weights`: [(layer, [(name, array)])]. `names`: 'variable' (h5py 3), 'fixed' (h5py 2)
    or 'chunked' (weight_names0, weight_names1, …). `storage`: options of every dataset that
    is no scalar; `cast`: function of every array."""
    with h5py.File(path, 'w', libver=libver) as file:
        file.attrs['keras_version'] = version
        if backend:
            file.attrs['backend'] = backend
        file.attrs['model_config'] = json.dumps(config).encode()
        group = file.create_group('model_weights')
        if backend:
            group.attrs['keras_version'], group.attrs['backend'] = version, backend
        write_names(group, 'layer_names', [layer for layer, _ in weights], names)
        for layer, arrays in weights:
            inner = group.create_group(layer)
            write_names(inner, 'weight_names', [name for name, _ in arrays], names)
            for name, array in arrays:
                array = np.asarray(array, 'f4') if np.asarray(array).dtype.kind == 'f' else array
                array = cast(array) if cast else array
                options = storage if storage and np.ndim(array) > 0 else {}
                inner.create_dataset(name, data=array, **options)
        if top_level:
            group.create_group('top_level_model_weights').attrs['weight_names'] = []


def write_names(group, attribute, values, kind):
    values = [value.encode() for value in values]
    if not values:
        group.attrs[attribute] = []
    elif kind == 'variable':
        group.attrs[attribute] = values
    elif kind == 'fixed':
        group.attrs[attribute] = np.array(values)
    else:
        # As save_attributes_to_hdf5_group does it, with a smaller limit.
        for i, part in enumerate(np.array_split(np.array(values), min(3, len(values)))):
            group.attrs['%s%d' % (attribute, i)] = part


def save_case(folder, name, inputs, outputs):
    np.savez('%s/%s.in.npz' % (folder, name), **{'i%d' % i: x for i, x in enumerate(inputs)})
    np.savez('%s/%s.out.npz' % (folder, name),
             **{'o%d' % i: np.asarray(y, 'f4') for i, y in enumerate(outputs)})
