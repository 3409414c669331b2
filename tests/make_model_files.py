#!/usr/bin/python3
"""make_model_files.py FOLDER: writes small model files of every kind for the tests.

Most of them hold the same two layers, so that a test can compare what is read:
dense/kernel 2x3 of 0..5, dense/bias of 0.5, 1.5, 2.5.
"""
import io
import json
import os
import sys
import zipfile

import h5py
import numpy as np
from h5py import h5a, h5d, h5p, h5s, h5t

KERNEL = np.arange(6, dtype='<f4').reshape(2, 3)
BIAS = np.array([0.5, 1.5, 2.5], '<f4')
CONFIG = {'class_name': 'Sequential', 'config': {'name': 'm', 'layers': [
    {'class_name': 'Dense', 'config': {'name': 'dense', 'units': 3, 'batch_input_shape': [None, 2],
                                       'activation': 'linear'}},
    {'class_name': 'Dropout', 'config': {'name': 'dropout', 'rate': 0.5}}]}}


PADDINGS = {'fixed_null_padded': h5t.STR_NULLPAD, 'fixed_null_terminated': h5t.STR_NULLTERM,
            'fixed_space_padded': h5t.STR_SPACEPAD}


def write_strings(target, name, values, kind):
    """An attribute: one string of scalar shape, or a list of them."""
    if kind.startswith('variable'):
        target.attrs.create(name, values, dtype=h5py.string_dtype(
            'utf-8' if kind == 'variable_utf8' else 'ascii'))
        return
    scalar = isinstance(values, bytes)
    items = [values] if scalar else values
    size = max([len(item) for item in items]) + 1
    string = h5t.C_S1.copy()
    string.set_size(size)
    string.set_strpad(PADDINGS[kind])
    space = h5s.create(h5s.SCALAR) if scalar else h5s.create_simple((len(items),))
    attribute = h5a.create(target.id, name.encode(), string, space)
    fill = b' ' if kind == 'fixed_space_padded' else b'\0'
    data = np.array([item.ljust(size, fill) for item in items], 'S%d' % size)
    attribute.write(data.reshape(()) if scalar else data, string)


def write_model(file, kind='variable_ascii', config=None, **dataset):
    """A whole model in the way of Keras 2."""
    text = json.dumps(CONFIG).encode() if config is None else config
    write_strings(file, 'keras_version', b'2.3.1', kind)
    write_strings(file, 'backend', b'tensorflow', kind)
    write_strings(file, 'model_config', text, kind)
    weights = file.create_group('model_weights')
    write_strings(weights, 'layer_names', [b'dense', b'dropout'], kind)
    write_strings(weights, 'keras_version', b'2.3.1', kind)
    write_strings(weights, 'backend', b'tensorflow', kind)
    dense = weights.create_group('dense')
    write_strings(dense, 'weight_names', [b'dense/kernel:0', b'dense/bias:0'], kind)
    dense.create_dataset('dense/kernel:0', data=KERNEL, **dataset)
    dense.create_dataset('dense/bias:0', data=BIAS, **dataset)
    weights.create_group('dropout').attrs['weight_names'] = []
    return weights


def strings(folder):
    for kind in ('variable_ascii', 'variable_utf8', 'fixed_null_padded', 'fixed_null_terminated',
                 'fixed_space_padded'):
        with h5py.File(f'{folder}/strings_{kind}.h5', 'w') as file:
            write_model(file, kind)
    with h5py.File(f'{folder}/strings_null_space.h5', 'w') as file:
        weights = write_model(file)
        del weights['dropout'].attrs['weight_names']
        h5a.create(weights['dropout'].id, b'weight_names', h5t.C_S1, h5s.create(h5s.NULL))
    with h5py.File(f'{folder}/strings_one_element.h5', 'w') as file:
        write_model(file)
        file.attrs['backend'] = np.array([b'theano'])
        del file['model_weights'].attrs['backend']
    with h5py.File(f'{folder}/strings_latin1.h5', 'w') as file:
        write_model(file, config=json.dumps(CONFIG).encode().replace(b'"m"', b'"\xe9"'))
    with h5py.File(f'{folder}/strings_chunked.h5', 'w') as file:
        weights = write_model(file)
        names = weights.attrs['layer_names']
        del weights.attrs['layer_names']
        weights.attrs['layer_names0'] = names[:1]
        weights.attrs['layer_names1'] = names[1:]
        dense = weights['dense']
        names = dense.attrs['weight_names']
        del dense.attrs['weight_names']
        for i, name in enumerate(names):
            dense.attrs['weight_names%d' % i] = np.array([name], 'S')
    with h5py.File(f'{folder}/strings_dense_attributes.h5', 'w', libver='latest') as file:
        write_model(file)
        for i in range(20):
            file.attrs['extra%d' % i] = 'x' * i


def names(folder):
    with h5py.File(f'{folder}/names_with_slash.h5', 'w') as file:
        weights = write_model(file)
        weights.attrs['layer_names'] = [b'block', b'block/conv', '//ä/.'.encode()]
        weights['block/conv'] = h5py.SoftLink('/model_weights/dense')
        weights['block'].attrs['weight_names'] = [b'own:0']
        weights['block/own:0'] = BIAS
        group = weights.create_group('ä')
        group.attrs['weight_names'] = [b'w']
        group['w'] = BIAS


def arrays(folder):
    with h5py.File(f'{folder}/arrays_types.h5', 'w') as file:
        weights = write_model(file)
        values = np.array([[0, 1, 2], [3, 4, 100]])
        for name in ('<f2', '>f2', '<f4', '>f4', '<f8', '>f8', '|i1', '>i2', '<i4', '>i4', '>i8',
                     '|u1', '>u2', '>u4', '<u8', '>u8'):
            weights['types/' + name] = values.astype(name)
        weights['types/bool'] = values > 2
        weights['types/bfloat16_opaque'] = (values.astype('<f4').view('<u4') >> 16).astype(
            '<u2').view('V2')
        bfloat16 = h5t.IEEE_F32LE.copy()
        bfloat16.set_fields(15, 7, 8, 0, 7)
        bfloat16.set_size(2)
        bfloat16.set_ebias(127)
        dataset = h5d.create(weights['types'].id, b'bfloat16_float', bfloat16,
                             h5s.create_simple((2, 3)))
        dataset.write(h5s.ALL, h5s.ALL, values.astype('<f4'), h5t.NATIVE_FLOAT)
        weights['types/scalar'] = np.float32(7)
        weights['types/empty'] = np.zeros((0, 4), 'f4')
        weights['types/null'] = h5py.Empty('f4')
        weights['types/text'] = np.array(['a', 'bé', ''], dtype=h5py.string_dtype())
        weights['types/bytes'] = np.array([[b'ab'], [b'c']])
        weights['types/complex'] = values.astype('c8')
        weights['types/long_double'] = values.astype('g')
        weights['types/rank13'] = np.zeros([1] * 13, 'f4')
        weights['types/hard_link'] = weights['dense/dense/kernel:0']
    for name, options in {
            'gzip': dict(compression='gzip', chunks=True), 'shuffle': dict(
                compression='gzip', shuffle=True, chunks=True),
            'fletcher32': dict(fletcher32=True), 'chunked': dict(chunks=(1,)),
            'lzf': dict(compression='lzf')}.items():
        with h5py.File(f'{folder}/arrays_{name}.h5', 'w') as file:
            weights = write_model(file)
            for path, data in (('dense/kernel:0', KERNEL), ('dense/bias:0', BIAS)):
                del weights['dense'][path]
                if name == 'chunked':
                    options = dict(chunks=(1,) * data.ndim)
                weights['dense'].create_dataset(path, data=data, **options)
            weights['long'] = np.zeros(0)
            weights.create_dataset('long2', data=np.arange(5000, dtype='f4') // 16, **(
                options if name != 'chunked' else {'chunks': (7,)}))
    with h5py.File(f'{folder}/arrays_compact.h5', 'w') as file:
        weights = write_model(file)
        del weights['dense/dense/bias:0']
        creation = h5p.create(h5p.DATASET_CREATE)
        creation.set_layout(h5d.COMPACT)
        dataset = h5d.create(weights['dense/dense'].id, b'bias:0', h5t.IEEE_F32LE,
                             h5s.create_simple((3,)), creation)
        dataset.write(h5s.ALL, h5s.ALL, BIAS)
    with h5py.File(f'{folder}/arrays_latest.h5', 'w', libver='latest') as file:
        write_model(file)
    with h5py.File(f'{folder}/arrays_user_block.h5', 'w', userblock_size=1024) as file:
        write_model(file)
    with h5py.File(f'{folder}/arrays_optimizer.h5', 'w') as file:
        write_model(file)
        file['optimizer_weights/m/kernel:0'] = KERNEL
        file['optimizer_weights/far'] = h5py.ExternalLink('other.h5', '/x')


def refused(folder):
    with h5py.File(f'{folder}/refused_external_link.h5', 'w') as file:
        write_model(file)['more'] = h5py.ExternalLink('other.h5', '/x')
    with h5py.File(f'{folder}/refused_external_storage.h5', 'w') as file:
        write_model(file).create_dataset('more', shape=(3,), dtype='f4',
                                         external=[('/etc/passwd', 0, 12)])
    with h5py.File(f'{folder}/refused_virtual.h5', 'w') as file:
        layout = h5py.VirtualLayout(shape=(3,), dtype='f4')
        layout[:] = h5py.VirtualSource('other.h5', 'x', shape=(3,))
        write_model(file).create_virtual_dataset('more', layout)
    with h5py.File(f'{folder}/refused_filter.h5', 'w') as file:
        weights = write_model(file)
        creation = h5p.create(h5p.DATASET_CREATE)
        creation.set_chunk((3,))
        creation.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
        dataset = h5d.create(weights.id, b'more', h5t.IEEE_F32LE, h5s.create_simple((3,)), creation)
        dataset.write_direct_chunk((0,), b'packed bytes')
    with h5py.File(f'{folder}/refused_never_written.h5', 'w') as file:
        write_model(file).create_dataset('more', shape=(3,), dtype='f4')
    with h5py.File(f'{folder}/refused_missing_group.h5', 'w') as file:
        del write_model(file)['dropout']
    with h5py.File(f'{folder}/refused_no_weight_names.h5', 'w') as file:
        del write_model(file)['dense'].attrs['weight_names']
    with h5py.File(f'{folder}/refused_no_layer_names.h5', 'w') as file:
        del write_model(file).attrs['layer_names']
    with h5py.File(f'{folder}/refused_no_weights.h5', 'w') as file:
        write_model(file)
        del file['model_weights']


def hostile(folder):
    with h5py.File(f'{folder}/hostile_cycle.h5', 'w') as file:
        weights = write_model(file)
        weights['dense/again'] = file['/']
        weights['dense/itself'] = h5py.SoftLink('/model_weights/dense')
        weights['nowhere'] = h5py.SoftLink('nowhere')
    with h5py.File(f'{folder}/hostile_doubling.h5', 'w') as file:
        group = write_model(file)
        for _ in range(40):
            group = group.create_group('a')
            group.parent['b'] = group
    with h5py.File(f'{folder}/hostile_deep.h5', 'w') as file:
        group = write_model(file)
        for _ in range(500):
            group = group.create_group('g')
    with h5py.File(f'{folder}/hostile_unwritten_giant.h5', 'w') as file:
        write_model(file).create_dataset('more', shape=(1 << 18, 1 << 18), dtype='f8',
                                         chunks=(1024, 1024))
    with h5py.File(f'{folder}/hostile_nearly_unwritten_giant.h5', 'w') as file:
        write_model(file).create_dataset('more', shape=(1 << 20, 1 << 10), dtype='f8',
                                         chunks=(16, 16))[0, 0] = 1
    with h5py.File(f'{folder}/hostile_giant_chunk.h5', 'w') as file:
        dataset = write_model(file).create_dataset(
            'more', shape=(1 << 29,), dtype='f4', chunks=(1 << 29,), compression='gzip')
        import zlib
        packer = zlib.compressobj(9)
        packed = b''.join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
        dataset.id.write_direct_chunk((0,), packed)
    with h5py.File(f'{folder}/hostile_many_large.h5', 'w') as file:
        weights = write_model(file)
        for i in range(40):
            weights.create_dataset('more%d' % i, data=np.zeros(1 << 20, 'f4'), compression='gzip',
                                   compression_opts=9, chunks=(1 << 20,))


def other_kinds(folder):
    with h5py.File(f'{folder}/kind_save_weights.h5', 'w') as file:
        write_strings(file, 'layer_names', [b'dense'], 'fixed_null_padded')
        group = file.create_group('dense')
        write_strings(group, 'weight_names', [b'dense/kernel:0'], 'fixed_null_padded')
        group['dense/kernel:0'] = KERNEL
    with h5py.File(f'{folder}/kind_keras0.h5', 'w') as file:
        file.attrs['nb_layers'] = 1
        file['layer_0/param_0'] = KERNEL
        file['layer_0'].attrs['nb_params'] = 1
    with h5py.File(f'{folder}/kind_keras3_weights.h5', 'w') as file:
        file['layers/dense/vars/0'] = KERNEL
        file['layers/dense/vars/1'] = BIAS
        file.create_group('optimizer/vars')
    with h5py.File(f'{folder}/kind_optimizer.h5', 'w') as file:
        file['optimizer_weights/m'] = KERNEL
    with h5py.File(f'{folder}/kind_foreign.h5', 'w') as file:
        file['images'] = KERNEL
        file['labels'] = np.array(['a', 'b'], dtype=h5py.string_dtype())
        file.attrs['title'] = 'a set of data'
    with h5py.File(f'{folder}/kind_aborted.h5', 'w') as file:
        file.create_group('model_weights')
        file.attrs['keras_version'] = '2.15.0'


def archives(folder):
    weights = io.BytesIO()
    with h5py.File(weights, 'w') as file:
        file['layers/dense/vars/0'] = KERNEL
        file['layers/dense/vars/1'] = BIAS
        file['optimizer/vars/0'] = KERNEL
        file['vars'] = np.array(['v'], dtype=h5py.string_dtype())
    config = json.dumps(CONFIG)
    metadata = json.dumps({'keras_version': '3.4.1', 'date_saved': '2024-07-01@10:00:00'})
    whole = {'metadata.json': metadata, 'config.json': config, 'model.weights.h5': weights.getvalue(),
             'assets/layers/lookup/vocabulary.txt': 'a\nb\n'}
    variants = {
        'archive_stored.keras': (whole, zipfile.ZIP_STORED),
        'archive_deflated.h5': (whole, zipfile.ZIP_DEFLATED),
        'archive_no_weights.keras': ({k: v for k, v in whole.items() if 'weights' not in k},
                                     zipfile.ZIP_STORED),
        'archive_no_config.keras': ({k: v for k, v in whole.items() if k != 'config.json'},
                                    zipfile.ZIP_STORED),
        'archive_bomb.keras': (dict(whole, **{'model.weights.h5': bytes(1 << 28)}),
                               zipfile.ZIP_DEFLATED),
        'zip_torch.pt': ({'model/data.pkl': 'x', 'model/data/0': 'y'}, zipfile.ZIP_STORED),
        'zip_arrays.npz': ({'a.npy': 'x'}, zipfile.ZIP_STORED),
        'zip_saved_model.zip': ({'m/saved_model.pb': 'x'}, zipfile.ZIP_STORED),
        'zip_of_model.zip': ({'model.h5': 'x', 'readme.txt': 'y'}, zipfile.ZIP_STORED)}
    for name, (members, method) in variants.items():
        with zipfile.ZipFile(f'{folder}/{name}', 'w', method) as archive:
            for member, content in members.items():
                archive.writestr(member, content)


def numpy_files(folder):
    values = np.arange(24).reshape(2, 3, 4)
    named = {'little': values.astype('<f4'), 'fortran': np.asfortranarray(values.astype('>f8')),
             'big': values.astype('>i4'), 'text': np.array(['aé', '', '日本😀']),
             'big_text': np.array(['x', 'yy']).astype('>U3'), 'bytes': np.array([b'ab', b'c']),
             'fortran_text': np.asfortranarray(np.array([['a', 'b'], ['c', 'dd']])),
             'half': values.astype('f2'), 'bool': values > 4, 'scalar': np.float64(3),
             'empty': np.zeros((0, 3), 'f4'), 'bfloat16': np.array([0x3F80], '<u2').view('V2')}
    np.savez(f'{folder}/numpy_plain.npz', **named)
    np.savez_compressed(f'{folder}/numpy_packed.npz', **named)
    np.save(f'{folder}/numpy_one.npy', named['fortran'])
    np.savez(f'{folder}/numpy_objects.npz', a=np.array(['a', 1], dtype=object))
    np.savez(f'{folder}/numpy_complex.npz', a=np.zeros(3, 'c8'))


def main():
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    for part in (strings, names, arrays, refused, hostile, other_kinds, archives, numpy_files):
        part(folder)


main()
