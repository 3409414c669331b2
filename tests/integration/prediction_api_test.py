#!/usr/bin/python3
"""TensorFlow Serving's gRPC API: every call, every element type, versions and labels."""
import json
import os
import shutil
import tempfile
import unittest

import grpc
import numpy as np

from daemon import SAMPLES, Daemon, wait_until
from h5serve_client import from_proto, stubs, to_proto
from model_files import layer, write

IRIS = os.path.join(SAMPLES, 'models', 'iris.h5')
NAME = 'measurements_input'
# numpy type -> (tensorflow.DataType, field of a TensorProto)
TYPES = {'float32': (1, 'float_val'), 'float64': (2, 'double_val'), 'int32': (3, 'int_val'),
         'uint8': (4, 'int_val'), 'int16': (5, 'int_val'), 'int8': (6, 'int_val'),
         'int64': (9, 'int64_val'), 'bool': (10, 'bool_val'), 'uint16': (17, 'int_val'),
         'float16': (19, 'half_val'), 'uint32': (22, 'uint32_val'), 'uint64': (23, 'uint64_val')}


def dense(name, units, rows, **config):
    """A Dense layer whose kernel is 1, 2, 3, …"""
    kernel = np.arange(1, rows * units + 1, dtype='float32').reshape(rows, units)
    return layer('Dense', dict({'units': units, 'activation': 'linear', 'use_bias': False}, **config),
                 [('%s/kernel' % name, kernel)], name)


class PredictionApiTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix='h5serve-prediction-')
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.daemon = Daemon('--enable-admin')
        cls.addClassCleanup(cls.daemon.__exit__, None, None, None)
        cls.daemon.install(IRIS, 'iris/1.h5')
        cls.daemon.install(IRIS, 'iris/2.h5')
        cls.settings('iris', {'versions': 'all', 'labels': {'stable': 1}})
        cls.make('twins', [dense('one', 2, 3), dense('two', 1, 3)], (3,),
                 outputs=[['one', 0, 0], ['two', 0, 0]])
        cls.make('price', [dense('price', 1, 3)], (3,))
        cls.make('renamed', [dense('one', 2, 3)], (3,))
        cls.settings('renamed', {'names': {'input_1': 'x', 'one': 'y'}})
        cls.make('words', [layer('StringLookup', {
            'max_tokens': None, 'num_oov_indices': 1, 'mask_token': None, 'oov_token': '[UNK]',
            'vocabulary': ['red', 'green'], 'invert': False, 'output_mode': 'int',
            'dtype': 'int64'}, (), 'lookup')], (2,), dtype='string', version='2.8.0')
        for dtype in list(TYPES) + ['bfloat16']:
            cls.make('echo_' + dtype, [layer('Reshape', {'target_shape': [2, 2], 'dtype': dtype})],
                     (4,), dtype=dtype)
        cls.daemon.start()
        cls.daemon.wait_ready()
        cls.client = cls.daemon.client()
        # Ready is who has one version.
        wait_until(lambda: [entry[1] for entry in cls.client.status('iris')] == ['AVAILABLE'] * 2,
                   'both versions serve')
        cls.pb = stubs()['tensorflow_serving_pb2']
        cls.tf = stubs()['tensorflow_pb2']
        cls.x = np.load(os.path.join(SAMPLES, 'data', 'iris.in.npz'))['i0'].astype(np.float32)
        cls.y = np.load(os.path.join(SAMPLES, 'data', 'iris.out.npz'))['o0']

    @classmethod
    def settings(cls, model, values):
        folder = os.path.join(cls.daemon.models, model)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, 'model.json'), 'w') as file:
            json.dump(values, file)

    @classmethod
    def make(cls, model, layers, *shapes, **options):
        path = write(os.path.join(cls.folder, model + '.h5'), layers, *shapes, **options)
        cls.daemon.install(path, '%s/1.h5' % model)

    def request(self, model, **inputs):
        request = self.pb.PredictRequest()
        request.model_spec.name = model
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(to_proto(array))
        return request

    def predict(self, request):
        response = self.client.prediction.Predict(request, timeout=20)
        return {name: from_proto(proto) for name, proto in response.outputs.items()}

    def refused(self, code, piece, call, request):
        with self.assertRaises(grpc.RpcError) as caught:
            call(request, timeout=20)
        self.assertEqual(code, caught.exception.code(), caught.exception.details())
        self.assertIn(piece, caught.exception.details())

    # --- Predict ---

    def test_every_element_type_typed_and_packed(self):
        for dtype, (number, field) in TYPES.items():
            x = np.array([[0, 1, 2, 3], [1, 1, 0, 7]]).astype(dtype)
            packed = self.request('echo_' + dtype, input_1=x)
            typed = self.request('echo_' + dtype, input_1=x)
            tensor = typed.inputs['input_1']
            tensor.ClearField('tensor_content')
            values = x.view(np.uint16) if dtype == 'float16' else x
            getattr(tensor, field).extend(values.reshape(-1).tolist())
            for request in (packed, typed):
                self.assertEqual(number, request.inputs['input_1'].dtype)
                (output,) = self.client.prediction.Predict(request, timeout=20).outputs.values()
                self.assertEqual(self.declared('echo_' + dtype), output.dtype)
                np.testing.assert_array_equal(from_proto(output), x.reshape(2, 2, 2), dtype)

    def declared(self, model):
        """The type of the only output, as the signature says."""
        (info,) = self.client.metadata(model).signature_def['serving_default'].outputs.values()
        return info.dtype

    def test_bfloat16_in_both_forms(self):
        values = np.array([[0, 1, -2, 0.5]], np.float32)
        bits = (values.view(np.uint32) >> 16).astype(np.uint16)
        for packed in (True, False):
            request = self.pb.PredictRequest()
            request.model_spec.name = 'echo_bfloat16'
            tensor = request.inputs['input_1']
            tensor.dtype = 14
            for size in bits.shape:
                tensor.tensor_shape.dim.add(size=size)
            if packed:
                tensor.tensor_content = bits.tobytes()
            else:
                tensor.half_val.extend(bits.reshape(-1).tolist())
            (output,) = self.client.prediction.Predict(request, timeout=20).outputs.values()
            np.testing.assert_array_equal(from_proto(output), values.reshape(1, 2, 2))

    def test_strings(self):
        outputs = self.predict(self.request('words', input_1=np.array([['green', 'x'],
                                                                       ['red', 'red']])))
        self.assertEqual([[2, 0], [1, 1]], outputs['lookup'].tolist())

    def test_one_value_fills_a_tensor(self):
        request = self.request('price', input_1=np.zeros((2, 3), np.float32))
        request.inputs['input_1'].ClearField('tensor_content')
        request.inputs['input_1'].float_val.append(1)
        self.assertEqual([[6], [6]], self.predict(request)['price'].tolist())

    def test_output_filter(self):
        request = self.request('twins', input_1=np.ones((1, 3), np.float32))
        self.assertEqual({'one', 'two'}, set(self.predict(request)))
        request.output_filter.append('two')
        self.assertEqual({'two': [[6.0]]},
                         {name: y.tolist() for name, y in self.predict(request).items()})
        request.output_filter.append('two')
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, 'duplicate', self.client.prediction.Predict,
                     request)
        request.output_filter[1] = 'three'
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, 'three', self.client.prediction.Predict,
                     request)

    def test_names_for_clients(self):
        outputs = self.predict(self.request('renamed', x=np.ones((1, 3), np.float32)))
        self.assertEqual({'y'}, set(outputs))
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, 'Missing but required: {x}',
                     self.client.prediction.Predict,
                     self.request('renamed', input_1=np.ones((1, 3), np.float32)))

    def test_version_and_label(self):
        request = self.request('iris', **{NAME: self.x})
        answer = lambda: self.client.prediction.Predict(request, timeout=20).model_spec
        self.assertEqual((2, 'iris', 'serving_default'),
                         (answer().version.value, answer().name, answer().signature_name))
        request.model_spec.version.value = 1
        self.assertEqual(1, answer().version.value)
        request.model_spec.version_label = 'stable'
        self.assertEqual(1, answer().version.value)
        request.model_spec.version_label = 'nightly'
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, 'nightly', self.client.prediction.Predict,
                     request)
        request.model_spec.version.value = 77
        self.refused(grpc.StatusCode.NOT_FOUND, 'Servable not found for request: Specific(iris, 77)',
                     self.client.prediction.Predict, request)
        request.model_spec.name = 'nobody'
        request.model_spec.ClearField('version')
        self.refused(grpc.StatusCode.NOT_FOUND, 'Servable not found for request: Latest(nobody)',
                     self.client.prediction.Predict, request)

    # --- examples ---

    def examples(self, kind, model, rows, name='input_1'):
        request = getattr(self.pb, kind + 'Request')()
        request.model_spec.name = model
        for row in rows:
            feature = request.input.example_list.examples.add().features.feature[name]
            feature.float_list.value.extend(row)
        return request

    def test_classify(self):
        request = self.examples('Classification', 'iris', self.x.tolist(), NAME)
        response = self.client.prediction.Classify(request, timeout=20)
        scores = [[one.score for one in row.classes] for row in response.result.classifications]
        np.testing.assert_allclose(scores, self.y, atol=1e-5)
        self.assertEqual(['0', '1', '2'],
                         [one.label for one in response.result.classifications[0].classes])
        self.assertEqual(2, response.model_spec.version.value)

    def test_regress(self):
        response = self.client.prediction.Regress(
            self.examples('Regression', 'price', [[1, 1, 1], [0, 0, 2]]), timeout=20)
        self.assertEqual([6, 6], [one.value for one in response.result.regressions])
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, 'regression', self.client.prediction.Regress,
                     self.examples('Regression', 'iris', self.x.tolist(), NAME))

    def test_context_fills_what_examples_lack(self):
        request = self.pb.RegressionRequest()
        request.model_spec.name = 'price'
        listed = request.input.example_list_with_context
        listed.context.features.feature['input_1'].float_list.value.extend([1, 1, 1])
        listed.examples.add()
        own = listed.examples.add().features.feature['input_1']
        own.float_list.value.extend([0, 0, 1])
        response = self.client.prediction.Regress(request, timeout=20)
        self.assertEqual([6, 3], [one.value for one in response.result.regressions])

    def test_wrong_examples_are_named(self):
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        regress = self.client.prediction.Regress
        for piece, rows, name in [('got 2 values, expected 3', [[1, 1]], 'input_1'),
                                  ('input_1', [[1, 1, 1]], 'other'), ('empty', [], 'input_1')]:
            self.refused(invalid, piece, regress, self.examples('Regression', 'price', rows, name))
        request = self.examples('Regression', 'price', [[1, 1, 1]])
        feature = request.input.example_list.examples[0].features.feature['input_1']
        feature.bytes_list.value.append(b'x')
        self.refused(invalid, 'float_list', regress, request)

    def multi(self, *tasks):
        request = self.pb.MultiInferenceRequest()
        for model, method, signature in tasks:
            task = request.tasks.add(method_name='tensorflow/serving/' + method)
            task.model_spec.name = model
            task.model_spec.signature_name = signature
        feature = request.input.example_list.examples.add().features.feature['input_1']
        feature.float_list.value.extend([1, 1, 1])
        return request

    def test_multi_inference(self):
        call = self.client.prediction.MultiInference
        response = call(self.multi(('price', 'regress', ''), ('price', 'classify', '')), timeout=20)
        self.assertEqual(6, response.results[0].regression_result.regressions[0].value)
        self.assertEqual(6, response.results[1].classification_result.classifications[0]
                         .classes[0].score)
        for code, piece, tasks in [
                (grpc.StatusCode.INVALID_ARGUMENT, 'no tasks', ()),
                (grpc.StatusCode.INVALID_ARGUMENT, 'same model',
                 (('price', 'regress', ''), ('twins', 'classify', ''))),
                (grpc.StatusCode.INVALID_ARGUMENT, 'Duplicate',
                 (('price', 'regress', ''), ('price', 'regress', ''))),
                (grpc.StatusCode.INVALID_ARGUMENT, 'Duplicate',
                 (('price', 'regress', ''), ('price', 'regress', 'serving_default'))),
                (grpc.StatusCode.UNIMPLEMENTED, 'predict', (('price', 'predict', ''),)),
                (grpc.StatusCode.FAILED_PRECONDITION, 'other', (('price', 'regress', 'other'),))]:
            self.refused(code, piece, call, self.multi(*tasks))

    # --- what is there ---

    def test_metadata_is_a_signature(self):
        signature = self.client.metadata('iris').signature_def['serving_default']
        self.assertEqual('tensorflow/serving/predict', signature.method_name)
        info = signature.inputs[NAME]
        self.assertEqual((1, [-1, 4]), (info.dtype, [d.size for d in info.tensor_shape.dim]))
        self.assertEqual([-1, 3], [d.size for d in signature.outputs['species'].tensor_shape.dim])
        # Some clients put the version into the label.
        self.assertIn('serving_default', self.client.metadata('iris', 'stable').signature_def)
        for fields, piece in [((), 'metadata_field'), (('nonsense',), 'nonsense')]:
            request = self.pb.GetModelMetadataRequest(metadata_field=fields)
            request.model_spec.name = 'iris'
            self.refused(grpc.StatusCode.INVALID_ARGUMENT, piece,
                         self.client.prediction.GetModelMetadata, request)

    def test_status_of_every_version(self):
        self.assertEqual([(1, 'AVAILABLE', 0), (2, 'AVAILABLE', 0)],
                         sorted(entry[:3] for entry in self.client.status('iris')))
        self.assertEqual([1], [entry[0] for entry in self.client.status('iris', 1)])
        for model, version in (('nobody', None), ('iris', 9)):
            with self.assertRaises(grpc.RpcError) as caught:
                self.client.status(model, version)
            self.assertEqual(grpc.StatusCode.NOT_FOUND, caught.exception.code())

    # --- configuration by call ---

    def reload(self, *models):
        request = self.pb.ReloadConfigRequest()
        configs = request.config.model_config_list.config
        for name, fields in models:
            configs.add(name=name, base_path=os.path.join(self.daemon.models, name), **fields)
        return request

    def everything(self, *changed):
        changed = dict(changed)
        return self.reload(*((name, changed.get(name, {}))
                             for name in sorted(os.listdir(self.daemon.models))))

    def test_reload_sets_labels_and_unloads_what_is_not_listed(self):
        call = self.client.models.HandleReloadConfigRequest
        response = call(self.everything(('iris', {'version_labels': {'stable': 1, 'next': 2}})),
                        timeout=60)
        self.assertEqual(0, response.status.error_code)
        request = self.request('iris', **{NAME: self.x})
        request.model_spec.version_label = 'next'
        response = self.client.prediction.Predict(request, timeout=20)
        self.assertEqual(2, response.model_spec.version.value)

        policy = self.pb.ServableVersionPolicy()
        policy.all.SetInParent()
        call(self.everything(('iris', {'model_version_policy': policy})), timeout=60)
        policy.latest.num_versions = 1
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, 'model.json', call,
                     self.everything(('iris', {'model_version_policy': policy})))
        self.refused(grpc.StatusCode.FAILED_PRECONDITION, 'broken', call,
                     self.everything(('iris', {'version_labels': {'broken': 9}})))
        request = self.everything()
        kept = [config for config in request.config.model_config_list.config
                if config.name != 'twins']
        request.config.model_config_list.ClearField('config')
        request.config.model_config_list.config.extend(kept)
        call(request, timeout=60)
        wait_until(lambda: all(entry[1] != 'AVAILABLE' for entry in self.client.status('twins')),
                   'the model that is not listed is gone')
        call(self.everything(), timeout=60)
        self.assertEqual({'one', 'two'}, set(self.predict(
            self.request('twins', input_1=np.ones((1, 3), np.float32)))))

    def test_wrong_reloads_change_nothing(self):
        call = self.client.models.HandleReloadConfigRequest
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        self.refused(invalid, 'model_config_list', call, self.pb.ReloadConfigRequest())
        twice = self.reload(('iris', {}), ('iris', {}))
        self.refused(invalid, 'twice', call, twice)
        self.refused(grpc.StatusCode.NOT_FOUND, 'nobody', call, self.reload(('nobody', {})))
        self.refused(invalid, 'no name', call, self.reload(('', {})))
        elsewhere = self.reload(('iris', {}))
        elsewhere.config.model_config_list.config[0].base_path = '/etc'
        self.refused(invalid, '/etc', call, elsewhere)
        self.assertEqual({'AVAILABLE'}, {entry[1] for entry in self.client.status('iris')})


if __name__ == '__main__':
    unittest.main()
