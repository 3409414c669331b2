"""Files that are no whole model: other formats, damaged or locked ones, weights alone."""
import contextlib
import fcntl
import gzip
import json
import os
import pickle
import zipfile
from unittest import mock

import h5py
import numpy as np

from provoke import (Case, INPUT, PROVOCATIONS, bytes_case, dense, model_case, provokes,
                     sequential, settings, sound, write_bytes)


@provokes('FILE_NOT_FOUND')
def _(folder):
    sound(folder)
    return Case(os.path.join(folder, 'modle.h5'))


@provokes('FILE_UNREADABLE')
def _(folder):
    path = os.path.join(folder, 'pipe.h5')
    os.mkfifo(path)
    return Case(path)


@provokes('IO_ERROR')
def _(folder):
    path = os.path.join(folder, 'unreadable.h5')
    os.rename(sound(folder), path)

    @contextlib.contextmanager
    def broken():
        preloaded = {'LD_PRELOAD': os.environ['FAILING_READ'],
                     'ASAN_OPTIONS': 'verify_asan_link_order=0'}
        with mock.patch.dict(os.environ, preloaded):
            yield
    return Case(path, around=broken())


@provokes('FILE_LOCKED')
def _(folder):
    path = sound(folder)
    os.truncate(path, os.path.getsize(path) // 2)

    @contextlib.contextmanager
    def locked():
        with open(path, 'r+b') as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # as HDF5 does
            yield
    return Case(path, around=locked())


PROVOCATIONS['EMPTY_FILE'] = bytes_case('model.h5', b'')
PROVOCATIONS['NOT_HDF5'] = bytes_case('model.h5', b'\x93NUMPY\x01\0' + bytes(100))
PROVOCATIONS['GIT_LFS_POINTER'] = bytes_case(
    'model.h5', b'version https://git-lfs.github.com/spec/v1\noid sha256:' + b'a' * 64 +
    b'\nsize 160769840\n')
PROVOCATIONS['HTML_OR_TEXT'] = bytes_case(
    'model.h5', b'<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>'
    b'</body></html>\n')
PROVOCATIONS['COMPRESSED_FILE'] = bytes_case('model.h5', gzip.compress(b'x' * 100, mtime=0))
PROVOCATIONS['WRONG_FORMAT_PB'] = bytes_case(
    'model.h5', b'\x08\x01\x12\x08\n\x06\n\x04\x08\x01\x12\x00')
PROVOCATIONS['WRONG_FORMAT_TFLITE'] = bytes_case('model.h5', b'\x1c\0\0\0TFL3' + bytes(64))
PROVOCATIONS['WRONG_FORMAT_ONNX'] = bytes_case(
    'model.onnx', b'\x08\x08\x12\x07pytorch\x1a\x051.9.0:\x04\n\x02\x12\x00')
PROVOCATIONS['WRONG_FORMAT_PICKLE'] = bytes_case('model.h5', pickle.dumps({'a': [1, 2]}))


@provokes('WRONG_FORMAT_TORCH')
def _(folder):
    path = os.path.join(folder, 'model.h5')
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('model/data.pkl', 'x')
        archive.writestr('model/data/0', 'y')
    return Case(path)


@provokes('KERAS_V3_ZIP')
def _(folder):
    path = os.path.join(folder, 'model.keras')
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('metadata.json', '{"keras_version": "3.4.1"}')
        archive.writestr('config.json', json.dumps(sequential([dense(**INPUT)])))
    return Case(path)


@provokes('SAVEDMODEL_DIR')
def _(folder):
    path = os.path.join(folder, 'model.h5')
    os.makedirs(os.path.join(path, 'variables'))
    write_bytes(os.path.join(path, 'saved_model.pb'), b'\x08\x01')
    return Case(path)


@provokes('TF_CHECKPOINT')
def _(folder):
    write_bytes(os.path.join(folder, 'model.h5.index'), b'x')
    write_bytes(os.path.join(folder, 'model.h5.data-00000-of-00001'), b'x')
    return Case(os.path.join(folder, 'model.h5'))


@provokes('TRUNCATED')
def _(folder):
    path = sound(folder)
    os.truncate(path, 1000)
    return Case(path)


@provokes('BEING_WRITTEN')
def _(folder):
    path = sound(folder, file_options={'libver': 'latest'})
    with h5py.File(path, 'a', libver='latest') as writer:
        writer.flush()
        with open(path, 'rb') as file:
            data = file.read()
    return Case(write_bytes(os.path.join(folder, 'copy.h5'), data))


@provokes('HDF5_CORRUPT')
def _(folder):
    path = sound(folder)
    with open(path, 'r+b') as file:
        data = file.read()
        at = data.index(b'TREE')
        file.seek(at)
        file.write(b'TROE')
    return Case(path)


@provokes('HDF5_UNSUPPORTED_FEATURE')
def _(folder):
    path = sound(folder)
    with h5py.File(path, 'r+') as file:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((3,))
        creation.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
        dataset = h5py.h5d.create(file['model_weights'].id, b'more', h5py.h5t.IEEE_F32LE,
                                  h5py.h5s.create_simple((3,)), creation)
        dataset.write_direct_chunk((0,), b'packed bytes')
    return Case(path)


@provokes('EXTERNAL_LINK')
def _(folder):
    path = sound(folder)
    with h5py.File(path, 'r+') as file:
        file['model_weights/more'] = h5py.ExternalLink('other.h5', '/x')
    return Case(path)


@provokes('READER_TIMEOUT')
def _(folder):
    path = sound(folder)
    with h5py.File(path, 'r+') as file:
        file['model_weights'].create_dataset('more', data=np.zeros(1 << 24, 'f4'),
                                             compression='gzip', chunks=(4096,))
    settings(folder, read_timeout='1ms')
    return Case(path)


@provokes('READER_MEMORY')
def _(folder):
    path = sound(folder)
    with h5py.File(path, 'r+') as file:
        file['model_weights'].create_dataset('more', shape=(1 << 20, 1 << 10), dtype='f8',
                                             chunks=(16, 16))[0, 0] = 1
    return Case(path)


# ---- HDF5, but no whole model

@provokes('WEIGHTS_ONLY')
def _(folder):
    path = os.path.join(folder, 'weights.h5')
    with h5py.File(path, 'w') as file:
        file.attrs['layer_names'] = np.array(['dense'], 'S')
        group = file.create_group('dense')
        group.attrs['weight_names'] = np.array(['dense/kernel:0'], 'S')
        group['dense/kernel:0'] = np.ones((3, 2), 'f4')
    return Case(path)


@provokes('NOT_A_KERAS_FILE')
def _(folder):
    path = os.path.join(folder, 'data.h5')
    with h5py.File(path, 'w') as file:
        file['images'] = np.ones(3)
    return Case(path)


@provokes('MODEL_CONFIG_INVALID')
def _(folder):
    return model_case(folder, [dense()], config='{"class_name": "Sequential", ')


@provokes('UNBUILT_MODEL')
def _(folder):
    layer = dense(**INPUT)
    return model_case(folder, [(layer[0], layer[1], {})])


@provokes('INCOMPLETE_SAVE')
def _(folder):
    path = sound(folder)
    with h5py.File(path, 'r+') as file:
        del file['model_weights/dense']
    return Case(path)


