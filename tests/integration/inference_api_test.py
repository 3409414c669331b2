#!/usr/bin/python3
"""The Open Inference Protocol over gRPC: every call, and requests wrong in every way."""
import os
import unittest

import grpc
import numpy as np

from daemon import SAMPLES, Daemon, wait_until
from h5serve_client import stubs

IRIS = os.path.join(SAMPLES, 'models', 'iris.h5')
NAME = 'measurements_input'


class InferenceApiTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon('--enable-admin', '--server-name', 'triton')
        cls.daemon.install(IRIS)
        cls.daemon.start()
        cls.addClassCleanup(cls.daemon.__exit__, None, None, None)
        cls.daemon.wait_ready()
        cls.channel = grpc.insecure_channel(cls.daemon.grpc)
        cls.addClassCleanup(cls.channel.close)
        cls.pb = stubs()['inference_pb2']
        cls.api = stubs()['inference_pb2_grpc'].GRPCInferenceServiceStub(cls.channel)
        cls.x = np.load(os.path.join(SAMPLES, 'data', 'iris.in.npz'))['i0'].astype(np.float32)
        cls.y = np.load(os.path.join(SAMPLES, 'data', 'iris.out.npz'))['o0']

    def request(self, raw=False, **changes):
        request = self.pb.ModelInferRequest(model_name='iris', id='7')
        tensor = request.inputs.add(name=NAME, datatype='FP32', shape=self.x.shape)
        if raw:
            request.raw_input_contents.append(self.x.tobytes())
        else:
            tensor.contents.fp32_contents.extend(self.x.reshape(-1).tolist())
        for field, value in changes.items():
            setattr(request, field, value)
        return request

    def refused(self, code, pieces, call):
        with self.assertRaises(grpc.RpcError) as caught:
            call()
        self.assertEqual(code, caught.exception.code(), caught.exception.details())
        for piece in pieces:
            self.assertIn(piece, caught.exception.details())

    # --- the server and its models ---

    def test_server_is_live_ready_and_named(self):
        self.assertTrue(self.api.ServerLive(self.pb.ServerLiveRequest()).live)
        self.assertTrue(self.api.ServerReady(self.pb.ServerReadyRequest()).ready)
        metadata = self.api.ServerMetadata(self.pb.ServerMetadataRequest())
        self.assertEqual('triton', metadata.name)
        self.assertIn('statistics', metadata.extensions)

    def test_model_is_described(self):
        metadata = self.api.ModelMetadata(self.pb.ModelMetadataRequest(name='iris'))
        (tensor,), (output,) = metadata.inputs, metadata.outputs
        self.assertEqual((NAME, 'FP32', [-1, 4]), (tensor.name, tensor.datatype, tensor.shape))
        self.assertEqual([-1, 3], output.shape)
        config = self.api.ModelConfig(self.pb.ModelConfigRequest(name='iris')).config
        self.assertEqual([4], config.input[0].dims)
        self.assertGreater(config.max_batch_size, 1)

    def test_model_ready(self):
        ready = lambda **fields: self.api.ModelReady(self.pb.ModelReadyRequest(**fields)).ready
        self.assertTrue(ready(name='iris'))
        self.assertFalse(ready(name='iris', version='99'))
        self.assertFalse(ready(name='nobody'))

    # --- inference ---

    def test_typed_in_typed_out(self):
        response = self.api.ModelInfer(self.request())
        self.assertEqual(('iris', '7', 'FP32', [3, 3]),
                         (response.model_name, response.id, response.outputs[0].datatype,
                          response.outputs[0].shape))
        self.assertFalse(response.raw_output_contents)
        got = np.array(response.outputs[0].contents.fp32_contents).reshape(3, 3)
        np.testing.assert_allclose(got, self.y, atol=1e-5)

    def test_raw_in_raw_out(self):
        response = self.api.ModelInfer(self.request(raw=True))
        self.assertFalse(response.outputs[0].HasField('contents'))
        got = np.frombuffer(response.raw_output_contents[0], np.float32).reshape(3, 3)
        np.testing.assert_allclose(got, self.y, atol=1e-5)

    def test_classification_lists_the_best(self):
        request = self.request()
        output = request.outputs.add(name='species')
        output.parameters['classification'].int64_param = 1
        response = self.api.ModelInfer(request)
        labels = [text.decode().split(':')[1]
                  for text in response.outputs[0].contents.bytes_contents]
        self.assertEqual([str(i) for i in self.y.argmax(1)], labels)

    def test_version_is_obeyed(self):
        version = self.api.ModelInfer(self.request()).model_version
        self.assertEqual(version,
                         self.api.ModelInfer(self.request(model_version=version)).model_version)
        self.refused(grpc.StatusCode.NOT_FOUND, ['Request for unknown model', '12345'],
                     lambda: self.api.ModelInfer(self.request(model_version='12345')))
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, ['latest'],
                     lambda: self.api.ModelInfer(self.request(model_version='latest')))

    def test_stream_answers_in_order_and_survives_errors(self):
        requests = [self.request(id='a'), self.request(id='b', model_name='nobody'),
                    self.request(raw=True, id='c')]
        responses = list(self.api.ModelStreamInfer(iter(requests)))
        self.assertEqual(['a', 'b', 'c'], [r.infer_response.id for r in responses])
        self.assertIn('unknown model', responses[1].error_message)
        self.assertEqual(['', ''], [responses[0].error_message, responses[2].error_message])

    def test_wrong_requests_are_named(self):
        def broken(change):
            request = self.request()
            change(request)
            return lambda: self.api.ModelInfer(request)

        def set_shape(shape):
            def change(request):
                request.inputs[0].shape[:] = shape
            return change

        def set_fields(**fields):
            def change(request):
                for name, value in fields.items():
                    setattr(request.inputs[0], name, value)
            return change

        invalid = grpc.StatusCode.INVALID_ARGUMENT
        for pieces, change in [
                (['wrong', NAME], set_fields(name='wrong')),
                ([NAME, 'FP64', 'FP32'], set_fields(datatype='FP64')),
                ([NAME, 'NONSENSE'], set_fields(datatype='NONSENSE')),
                ([NAME, '12', '20'], set_shape([5, 4])),
                ([NAME], set_shape([3, 2, 2])),
                ([NAME], set_shape([12])),
                ([NAME], set_shape([-3, 4])),
                ([NAME], set_shape([2 ** 62, 16])),
                ([NAME], set_shape([])),
                ([NAME, 'once'], lambda request: request.inputs.append(request.inputs[0])),
                ([NAME, 'Missing'], lambda request: request.ClearField('inputs')),
                (['nothing'], lambda request: request.outputs.add(name='nothing')),
                (['along with'], lambda request: request.raw_input_contents.append(
                    self.x.tobytes())),
        ]:
            self.refused(invalid, pieces, broken(change))
        empty = self.pb.ModelInferRequest(model_name='iris')
        empty.inputs.add(name=NAME, datatype='FP32', shape=[0, 4])
        self.refused(invalid, [NAME, 'empty'], lambda: self.api.ModelInfer(empty))
        self.refused(grpc.StatusCode.NOT_FOUND, ['Request for unknown model'],
                     lambda: self.api.ModelInfer(self.request(model_name='nobody')))
        self.refused(invalid, ['model_name'],
                     lambda: self.api.ModelInfer(self.request(model_name='')))

    def test_nan_passes_through(self):
        request = self.request()
        request.inputs[0].contents.fp32_contents[0] = float('nan')
        response = self.api.ModelInfer(request)
        self.assertTrue(np.isnan(response.outputs[0].contents.fp32_contents[0]))

    def test_statistics_rise_with_requests(self):
        def stats():
            request = self.pb.ModelStatisticsRequest(name='iris')
            return self.api.ModelStatistics(request).model_stats[0]
        before = stats()
        for _ in range(3):
            self.api.ModelInfer(self.request())
        after = stats()
        self.assertEqual(9, after.inference_count - before.inference_count)
        self.assertEqual(3, after.inference_stats.queue.count - before.inference_stats.queue.count)
        self.assertGreater(after.execution_count, before.execution_count)
        self.assertGreater(after.last_inference, 0)

    # --- repository, settings, shared memory ---

    def test_repository_loads_and_unloads(self):
        self.daemon.install(IRIS, 'second.h5')
        index = lambda: {model.name: model.state for model in self.api.RepositoryIndex(
            self.pb.RepositoryIndexRequest()).models}
        wait_until(lambda: index().get('second') == 'READY', 'the second model serves')

        self.api.RepositoryModelUnload(
            self.pb.RepositoryModelUnloadRequest(model_name='second'), timeout=30)
        wait_until(lambda: index().get('second') != 'READY', 'the second model is gone')
        # Other clients put the name into the first field.
        answer = self.api.RepositoryModelLoad(
            self.pb.RepositoryModelLoadRequest(repository_name='second'), timeout=30)

        self.assertTrue(answer.is_loaded)
        self.assertEqual('READY', index()['second'])
        with self.assertRaises(grpc.RpcError) as caught:
            self.api.RepositoryModelLoad(
                self.pb.RepositoryModelLoadRequest(model_name='nobody'), timeout=30)
        self.assertTrue(caught.exception.details().startswith("failed to load 'nobody', "))

    def test_settings_and_shared_memory_are_answered(self):
        trace = self.api.TraceSetting(self.pb.TraceSettingRequest())
        self.assertEqual(['OFF'], trace.settings['trace_level'].value)
        log = self.api.LogSettings(self.pb.LogSettingsRequest())
        self.assertTrue(log.settings['log_error'].bool_param)
        self.api.SystemSharedMemoryStatus(self.pb.SystemSharedMemoryStatusRequest())
        self.api.SystemSharedMemoryUnregister(self.pb.SystemSharedMemoryUnregisterRequest())
        self.api.CudaSharedMemoryStatus(self.pb.CudaSharedMemoryStatusRequest())
        self.refused(grpc.StatusCode.NOT_FOUND, ["'region'"],
                     lambda: self.api.SystemSharedMemoryStatus(
                         self.pb.SystemSharedMemoryStatusRequest(name='region')))
        self.refused(grpc.StatusCode.NOT_FOUND, ["'region'"],
                     lambda: self.api.CudaSharedMemoryStatus(
                         self.pb.CudaSharedMemoryStatusRequest(name='region')))
        self.api.CudaSharedMemoryUnregister(self.pb.CudaSharedMemoryUnregisterRequest())
        self.refused(grpc.StatusCode.UNIMPLEMENTED, ['region'],
                     lambda: self.api.SystemSharedMemoryRegister(
                         self.pb.SystemSharedMemoryRegisterRequest(name='region')))
        self.refused(grpc.StatusCode.UNIMPLEMENTED, ['GPUs not supported'],
                     lambda: self.api.CudaSharedMemoryRegister(
                         self.pb.CudaSharedMemoryRegisterRequest(name='region')))


    def test_settings_can_be_changed_as_far_as_they_exist(self):
        def trace(name, *values):
            request = self.pb.TraceSettingRequest()
            request.settings[name].value.extend(values)
            return lambda: self.api.TraceSetting(request)

        self.assertEqual(['OFF'], trace('trace_level', 'OFF')().settings['trace_level'].value)
        self.refused(grpc.StatusCode.UNIMPLEMENTED, ['trace'], trace('trace_level', 'TIMESTAMPS'))
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, ['nonsense'], trace('nonsense', 'x'))

        def log(name, **value):
            request = self.pb.LogSettingsRequest()
            for field, content in value.items():
                setattr(request.settings[name], field, content)
            return lambda: self.api.LogSettings(request)

        answer = log('log_verbose_level', uint32_param=1)()
        self.assertEqual(1, answer.settings['log_verbose_level'].uint32_param)
        answer = log('log_verbose_level', uint32_param=0)()
        self.assertEqual(0, answer.settings['log_verbose_level'].uint32_param)
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, ['nonsense'], log('nonsense', bool_param=True))
        self.refused(grpc.StatusCode.UNIMPLEMENTED, ['log_file'], log('log_file', string_param='x'))


class AdminTest(unittest.TestCase):

    def test_administrative_calls_are_off_by_default(self):
        with Daemon() as daemon:
            daemon.install(IRIS)
            daemon.wait_ready()
            pb = stubs()['inference_pb2']
            serving = stubs()['tensorflow_serving_pb2']
            channel = grpc.insecure_channel(daemon.grpc)
            api = stubs()['inference_pb2_grpc'].GRPCInferenceServiceStub(channel)
            models = stubs()['tensorflow_serving_pb2_grpc'].ModelServiceStub(channel)
            for code, text, call in [
                    (grpc.StatusCode.UNAVAILABLE, 'explicit model load / unload is not allowed',
                     lambda: api.RepositoryModelUnload(
                         pb.RepositoryModelUnloadRequest(model_name='iris'))),
                    (grpc.StatusCode.UNAVAILABLE, 'explicit model load / unload is not allowed',
                     lambda: api.RepositoryModelLoad(
                         pb.RepositoryModelLoadRequest(model_name='iris'))),
                    (grpc.StatusCode.PERMISSION_DENIED, 'enable-admin',
                     lambda: models.HandleReloadConfigRequest(serving.ReloadConfigRequest()))]:
                with self.assertRaises(grpc.RpcError) as caught:
                    call()
                self.assertEqual(code, caught.exception.code())
                self.assertIn(text, caught.exception.details())
            self.assertTrue(api.ModelReady(pb.ModelReadyRequest(name='iris')).ready)
            channel.close()


if __name__ == '__main__':
    unittest.main()
