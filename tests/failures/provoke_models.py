"""Models that cannot be served, or only with a warning."""
import hashlib
import os

import h5py
import numpy as np

from provoke import (Case, INPUT, INPUT_LAYER, PROVOCATIONS, dense, functional, model_case, plain,
                     provokes, sequential, settings, sound, write, write_bytes)


# ---- versions, backends, defaults

@provokes('UNSUPPORTED_VERSION')
def _(folder):
    settings(folder, compatibility={'keras_versions': '>=3.0'})
    return Case(sound(folder))


@provokes('WARN_NEWER_VERSION')
def _(folder):
    return Case(sound(folder, version='4.0.0'))


@provokes('INFO_VERSION')
def _(folder):
    return Case(sound(folder))


def keras1_up_sampling(folder):
    path = write(os.path.join(folder, 'model.h5'), [], version='1.2.2', config={
        'class_name': 'Sequential', 'config': [{
            'class_name': 'UpSampling2D',
            'config': {'name': 'up', 'size': [2, 2], 'batch_input_shape': [None, 2, 2, 1],
                       'input_dtype': 'float32'}}]})
    with h5py.File(path, 'r+') as file:
        for holder in (file, file['model_weights']):
            del holder.attrs['backend']
        del file['model_weights'].attrs['keras_version']
    return Case(path)


PROVOCATIONS['UNKNOWN_BACKEND'] = keras1_up_sampling
PROVOCATIONS['ASSUMED_DATA_FORMAT'] = keras1_up_sampling


@provokes('WARN_BACKEND_CONVERTED')
def _(folder):
    layer = ('Conv1D', {'name': 'conv', 'filters': 1, 'kernel_size': [2],
                        'batch_input_shape': [None, 4, 1]},
             {'kernel': np.ones((2, 1, 1), 'f4'), 'bias': np.zeros(1, 'f4')})
    return model_case(folder, [layer], backend='theano')


@provokes('ASSUMED_DEFAULT')
def _(folder):
    path = sound(folder)
    with h5py.File(path, 'r+') as file:
        weights = file['model_weights']
        weights.attrs['layer_names'] = np.array(['renamed'], 'S')
        weights.move('dense', 'renamed')
    return Case(path)


@provokes('INFERRED_INPUT_SHAPE')
def _(folder):
    return model_case(folder, [dense()])


# ---- layers

@provokes('UNKNOWN_CONFIG_KEY')
def _(folder):
    return model_case(folder, [dense(sparkle=3, **INPUT)])


@provokes('INVALID_CONFIG_VALUE')
def _(folder):
    return model_case(folder, [dense(batch_input_shape=[None, 'three'])])


@provokes('UNKNOWN_LAYER')
def _(folder):
    return model_case(folder, [plain('MyCustomLayer', units=64, **INPUT), dense()])


@provokes('CUSTOM_MODEL_CLASS')
def _(folder):
    return model_case(folder, [], config={'class_name': 'MyModel', 'config': {'units': 3}})


@provokes('UNKNOWN_ACTIVATION')
def _(folder):
    return model_case(folder, [dense(**dict(INPUT, activation='sparkle'))])


# lambda x: print(x), of Python 3.11
BYTECODE = ('YwEAAAAAAAAAAAAAAAMAAAADAAAA8yAAAACXAHQBAAAAAAAAAAAAAHwApgEAAKsBAAAAAAAAAABTAKkBTqkB'
            '2gVwcmludCkB2gF4cwEAAAAg+ghtb2RlbC5wefoIPGxhbWJkYT5yBgAAAAIAAADzDAAAAIAAjUWQIYlIjEiA'
            'APMAAAAA')


@provokes('LAMBDA_BYTECODE')
def _(folder):
    return model_case(folder, [plain('Lambda', function=[BYTECODE, None, None],
                                     function_type='lambda', **INPUT)])


@provokes('LAMBDA_NAMED_FUNCTION')
def _(folder):
    return model_case(folder, [plain('Lambda', function='scale', function_type='function',
                                     module='train', **INPUT)])


@provokes('UNSUPPORTED_OP')
def _(folder):
    layers = [INPUT_LAYER, ('TFOpLambda', {'name': 'op', 'function': 'sparkle'}, {},
                            [['input', 0, 0, {}]])]
    return model_case(folder, layers, version='2.10.0',
                      config=functional(layers, [['op', 0, 0]]))


@provokes('UNSUPPORTED_LAYER')
def _(folder):
    return model_case(folder, [plain('TFSMLayer', filepath='saved_model',
                                     call_endpoint='serve', batch_input_shape=[None, 3])],
                      version='3.8.0')


@provokes('UNSUPPORTED_ARGUMENT')
def _(folder):
    return model_case(folder, [plain('UpSampling2D', size=[2, 3], interpolation='bilinear',
                                     data_format='channels_last',
                                     batch_input_shape=[None, 4, 4, 1])], backend='theano')


@provokes('QUANTIZED_UNSUPPORTED')
def _(folder):
    return model_case(folder, [dense(dtype='int4_from_float32', **INPUT)], version='3.15.1')


@provokes('FEATURE_COLUMNS_UNSUPPORTED')
def _(folder):
    return model_case(folder, [plain('DenseFeatures', feature_columns=[
        {'class_name': 'NumericColumn', 'config': {'key': 'age'}}], **INPUT)], version='2.10.0')


@provokes('VOCABULARY_MISSING')
def _(folder):
    return model_case(folder, [plain('StringLookup', output_mode='int', dtype='string',
                                     batch_input_shape=[None, 1])], version='2.10.0')


@provokes('VOCABULARY_FILE_EXTERNAL')
def _(folder):
    return model_case(folder, [plain('StringLookup', vocabulary='/data/words.txt', dtype='string',
                                     batch_input_shape=[None, 1])], version='2.10.0')


@provokes('STATEFUL_RNN')
def _(folder):
    layer = ('SimpleRNN', {'name': 'rnn', 'units': 2, 'stateful': True,
                           'batch_input_shape': [1, 4, 3]},
             {'kernel:0': np.ones((3, 2), 'f4'), 'recurrent_kernel:0': np.zeros((2, 2), 'f4'),
              'bias:0': np.zeros(2, 'f4')})
    return model_case(folder, [layer])


@provokes('BATCH_DEPENDENT')
def _(folder):
    arrays = {key: np.ones(3, 'f4') for key in ('bn_gamma', 'bn_beta', 'bn_running_mean',
                                                'bn_running_std')}
    layer = ('BatchNormalization', {'name': 'bn', 'mode': 2, 'axis': -1, 'epsilon': 1e-3,
                                    'input_dtype': 'float32', **INPUT}, arrays)
    return model_case(folder, [layer], version='1.2.2', config={
        'class_name': 'Sequential', 'config': [{'class_name': layer[0], 'config': layer[1]}]})


# ---- graphs and shapes

@provokes('GRAPH_INVALID')
def _(folder):
    layers = [INPUT_LAYER, dense() + ([[['nowhere', 0, 0, {}]]],)]
    return model_case(folder, layers, config=functional(layers, [['dense', 0, 0]]))


@provokes('NO_OUTPUTS')
def _(folder):
    return model_case(folder, [INPUT_LAYER], config=functional([INPUT_LAYER], []))


@provokes('SHAPE_INFERENCE_FAILED')
def _(folder):
    return model_case(folder, [plain('Reshape', target_shape=[2, 2], **INPUT)])


# ---- weights

@provokes('WEIGHT_MISSING')
def _(folder):
    path = sound(folder)
    with h5py.File(path, 'r+') as file:
        del file['model_weights/dense/dense/bias:0']
    return Case(path)


@provokes('WEIGHT_COUNT_MISMATCH')
def _(folder):
    layer = dense(**INPUT)
    return model_case(folder, [(layer[0], layer[1], dict(layer[2], more=np.ones(2, 'f4')))])


@provokes('WEIGHT_SHAPE_MISMATCH')
def _(folder):
    layer = dense(**INPUT)
    layer[2]['kernel:0'] = np.ones((5, 7), 'f4')
    return model_case(folder, [layer])


@provokes('WEIGHT_ORDER_AMBIGUOUS')
def _(folder):
    inner = [dense('a', units=3), dense('b', units=3)]
    model = sequential(inner)
    model['config']['name'] = 'inner'
    arrays = {'b/kernel:0': np.ones((3, 3), 'f4'), 'a/bias:0': np.zeros(3, 'f4'),
              'b/kernel_1:0': np.ones((3, 3), 'f4'), 'b/bias:0': np.zeros(3, 'f4')}
    layers = [INPUT_LAYER, ('Sequential', model['config'], arrays, [[['input', 0, 0, {}]]])]
    return model_case(folder, layers, config=functional(layers, [['inner', 1, 0]]))


@provokes('WEIGHT_DTYPE_UNSUPPORTED')
def _(folder):
    layer = dense(**INPUT)
    layer[2]['kernel:0'] = np.ones((3, 2), 'c8')
    return model_case(folder, [layer])


@provokes('WEIGHT_NONFINITE')
def _(folder):
    layer = dense(**INPUT)
    layer[2]['bias:0'][0] = np.nan
    return model_case(folder, [layer])


@provokes('UNUSED_WEIGHTS')
def _(folder):
    path = sound(folder)
    with h5py.File(path, 'r+') as file:
        file['model_weights/left_over'] = np.ones(3, 'f4')
    return Case(path)


@provokes('RNN_LAYOUT_CONFLICT')
def _(folder):
    layer = ('GRU', {'name': 'gru', 'units': 2, 'reset_after': False,
                          'batch_input_shape': [None, 4, 3]},
             {'kernel:0': np.ones((3, 6), 'f4'), 'recurrent_kernel:0': np.ones((2, 6), 'f4'),
              'bias:0': np.zeros(12, 'f4')})
    return model_case(folder, [layer])


@provokes('INFO_TRAINING_CONFIG_IGNORED')
def _(folder):
    return Case(sound(folder, training={
        'optimizer_config': {'class_name': 'SGD', 'config': {'lr': 0.1}}, 'loss': 'mse'}))


# ---- proving and policy

@provokes('NONFINITE_OUTPUT')
def _(folder):
    layer = dense(**INPUT)
    layer[2]['kernel:0'][:] = np.inf
    layer[2]['bias:0'][:] = -np.inf
    return model_case(folder, [layer])


@provokes('GOLDEN_MISMATCH')
def _(folder):
    path = sound(folder)
    np.savez(path + '.golden.npz', **{'inputs/dense_input': np.ones((1, 3), 'f4'),
                                      'outputs/dense': np.full((1, 2), 7, 'f4')})
    return Case(path)


@provokes('GOLDEN_MISSING')
def _(folder):
    settings(folder, compatibility={'golden': 'require'})
    return Case(sound(folder))


@provokes('GOLDEN_INVALID')
def _(folder):
    path = sound(folder)
    write_bytes(path + '.golden.npz', b'not a zip')
    return Case(path)


@provokes('DIGEST_MISMATCH')
def _(folder):
    path = sound(folder)
    write_bytes(path + '.sha256', hashlib.sha256(b'another file').hexdigest().encode())
    return Case(path)


@provokes('SETTINGS_INVALID')
def _(folder):
    settings(folder, batchin={'max_batch_size': 3})
    return Case(sound(folder))


@provokes('RESOURCE_LIMIT')
def _(folder):
    settings(folder, max_file_size='1 KiB')
    return Case(sound(folder))


# ---- definitions of custom objects

def defined(folder, definition, **config):
    settings(folder, custom_objects={'MyScale': definition})
    return model_case(folder, [plain('MyScale', **dict(INPUT, **config))])


@provokes('CUSTOM_LAYER_CONFIG')
def _(folder):
    return defined(folder, {'expression': 'x * factor', 'parameters': {'factor': 2}},
                   factor=3, power=2)


@provokes('CUSTOM_DEFINITION_INVALID')
def _(folder):
    return defined(folder, {'expression': 'x * sigmoid(beta x)'})


@provokes('CUSTOM_PLUGIN_FAILED')
def _(folder):
    return defined(folder, {'plugin': '/opt/libscale_plugin.so'})


@provokes('INFO_CATALOGUE')
def _(folder):
    return model_case(folder, [plain('DropPath', **INPUT)])
