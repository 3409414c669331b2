"""Base of the tests of wrong requests: a daemon with models of which little is wrong."""
import json
import os
import shutil
import tempfile
import unittest

import grpc
import numpy as np

from daemon import Daemon
from h5serve_client import stubs
from model_files import layer, write


def feed(values=2):
    """The arrays of a good request."""
    return {'left': np.arange(3 * values, dtype=np.float32).reshape(values, 3),
            'right': np.ones((values, 2), np.float32)}


class BadInputCase(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        folder = tempfile.mkdtemp(prefix='h5serve-bad-input-')
        cls.addClassCleanup(shutil.rmtree, folder)
        cls.daemon = Daemon('--grpc-max-message-size', '1MiB')
        cls.addClassCleanup(cls.daemon.__exit__, None, None, None)
        path = write(os.path.join(folder, 'pair.h5'),
                     [layer('Concatenate', {'axis': -1}, (), 'both', ('input_1', 'input_2'))],
                     (3,), (2,))
        cls.daemon.install(path, 'pair/1.h5')
        with open(os.path.join(cls.daemon.models, 'pair', 'model.json'), 'w') as file:
            json.dump({'names': {'input_1': 'left', 'input_2': 'right'}, 'labels': {'stable': 1}},
                      file)
        cls.daemon.install(write(os.path.join(folder, 'words.h5'), [layer('StringLookup', {
            'vocabulary': ['red'], 'dtype': 'int64', 'output_mode': 'int'}, (), 'lookup')], (2,),
                                 dtype='string', version='2.8.0'), 'words.h5')
        cls.daemon.start()
        cls.daemon.wait_ready()
        cls.client = cls.daemon.client()
        cls.pb = stubs()['tensorflow_serving_pb2']
        cls.oip = stubs()['inference_pb2']
        cls.infer_api = stubs()['inference_pb2_grpc'].GRPCInferenceServiceStub(cls.client.channel)

    def tearDown(self):
        # Nothing that was refused has hurt.
        answer = self.client.predict('pair', feed())
        np.testing.assert_array_equal(answer['both'], np.hstack(list(feed().values())))

    def answered(self, call, request, code, pieces, what):
        """The call ends with `code` and a text that has the pieces; or with an answer."""
        try:
            call(request, timeout=20)
        except grpc.RpcError as error:
            self.assertEqual(code, error.code(), (what, error.details()))
            for piece in pieces:
                self.assertIn(piece, error.details(), what)
            return
        self.assertEqual(code, grpc.StatusCode.OK, what)
