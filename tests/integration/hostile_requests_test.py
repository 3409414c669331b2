#!/usr/bin/python3
"""Requests that lie about their tensors are refused, and the daemon goes on."""
import os
import unittest

import grpc
import numpy as np

from daemon import SAMPLES, Daemon
from h5serve_client import stubs, to_proto

REFUSALS = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND,
            grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.UNIMPLEMENTED}


class HostileRequestsTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        cls.daemon.install(os.path.join(SAMPLES, 'models', 'digits.h5'))
        cls.daemon.start()
        cls.addClassCleanup(cls.daemon.__exit__, None, None, None)
        cls.daemon.wait_ready()
        cls.client = cls.daemon.client()
        cls.images = np.load(os.path.join(SAMPLES, 'data', 'digits.in.npz'))['image']

    def tearDown(self):
        self.assertEqual((10, 10), self.client.predict(
            'digits', {'image': self.images})['probabilities'].shape)

    def predict(self, change):
        """The status code of a good request after change(its tensor, the request)."""
        request = stubs()['tensorflow_serving_pb2'].PredictRequest()
        request.model_spec.name = 'digits'
        tensor = request.inputs['image']
        tensor.CopyFrom(to_proto(self.images))
        change(tensor, request)
        try:
            self.client.prediction.Predict(request, timeout=20)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    def test_good_request_is_answered(self):
        self.assertEqual(grpc.StatusCode.OK, self.predict(lambda tensor, request: None))

    def test_shapes_that_lie(self):
        def sizes(*values):
            def change(tensor, request):
                del tensor.tensor_shape.dim[:]
                for value in values:
                    tensor.tensor_shape.dim.add(size=value)
            return change

        for values in [(-1, 8, 8, 1), (2**62, 8, 8, 1), (2**31, 2**31, 8, 1), (11, 8, 8, 1),
                       (9, 8, 8, 1), (0, 8, 8, 1), (10, 8, 8), (640,), (), (1,) * 300,
                       (2**32, 2**32, 1, 1), (10, 8, 8, -2**63)]:
            self.assertIn(self.predict(sizes(*values)), REFUSALS, values)

    def test_contents_that_lie(self):
        def content(data):
            def change(tensor, request):
                tensor.tensor_content = data
            return change

        def both(tensor, request):
            tensor.float_val.extend([1.0] * 640)

        def other_field(tensor, request):
            tensor.ClearField('tensor_content')
            tensor.int_val.extend([1] * 640)

        def too_many(tensor, request):
            tensor.ClearField('tensor_content')
            tensor.float_val.extend([1.0] * 641)

        for change in (content(b'\0' * 2559), content(b'\0' * 2561), content(b'\0'), other_field,
                       too_many):
            self.assertIn(self.predict(change), REFUSALS)
        self.assertIn(self.predict(both), REFUSALS | {grpc.StatusCode.OK})

    def test_types_that_lie(self):
        for dtype in (0, 2, 3, 7, 8, 18, 20, 21, 23, 101, 4711, -1):
            def change(tensor, request, dtype=dtype):
                tensor.dtype = dtype
            self.assertIn(self.predict(change), REFUSALS, dtype)

    def test_names_that_are_not_there(self):
        def more(tensor, request):
            request.inputs['extra'].CopyFrom(to_proto(self.images))

        def signature(tensor, request):
            request.model_spec.signature_name = 'x' * 100000

        def version(tensor, request):
            request.model_spec.version.value = -7

        def name(tensor, request):
            request.model_spec.name = '../../etc/passwd'

        def output(tensor, request):
            request.output_filter.append('nothing')

        for change in (more, signature, version, name, output):
            self.assertIn(self.predict(change), REFUSALS)

    def test_bytes_that_are_no_message(self):
        call = self.client.channel.unary_unary('/tensorflow.serving.PredictionService/Predict')
        for data in (b'\xff' * 100, b'\x0a\xff\xff\xff\xff\x0f', bytes(range(256)) * 16):
            with self.assertRaises(grpc.RpcError):
                call(data, timeout=20)

    def test_values_that_are_not_numbers(self):
        for value in (np.nan, np.inf, 3e38):
            images = self.images.copy()
            images[3, 2, 2, 0] = value
            try:
                outputs = self.client.predict('digits', {'image': images})['probabilities']
            except grpc.RpcError as error:
                self.assertIn(error.code(), REFUSALS)
                continue
            # The other rows of the batch must not suffer.
            expected = np.load(os.path.join(SAMPLES, 'data', 'digits.out.npz'))['probabilities']
            np.testing.assert_allclose(outputs[4:], expected[4:], atol=1e-5)


if __name__ == '__main__':
    unittest.main()
