#!/usr/bin/python3
"""The sample models, served over the network by the real daemon."""
import os
import unittest

import grpc
import numpy as np

from daemon import SAMPLES, Daemon, wait_until


def sample(name):
    """The stored (inputs, outputs) of a sample model."""
    arrays = []
    for part in ('in', 'out'):
        with np.load(os.path.join(SAMPLES, 'data', '%s.%s.npz' % (name, part))) as file:
            arrays.append(dict(file))
    return arrays


class FirstLightTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        for name in ('digits.h5', 'iris.h5'):
            cls.daemon.install(os.path.join(SAMPLES, 'models', name))
        cls.daemon.start()
        cls.addClassCleanup(cls.daemon.__exit__, None, None, None)
        cls.daemon.wait_ready()
        cls.client = cls.daemon.client()

    def test_digits_predicts_what_keras_predicted(self):
        inputs, outputs = sample('digits')

        got = self.client.predict('digits', inputs)

        self.assertEqual(['probabilities'], list(got))
        np.testing.assert_allclose(got['probabilities'], outputs['probabilities'], atol=1e-5)

    def test_iris_predicts_what_keras_predicted(self):
        inputs, outputs = sample('iris')
        signature = self.client.metadata('iris').signature_def['serving_default']
        (input_name,), (output_name,) = list(signature.inputs), list(signature.outputs)

        got = self.client.predict('iris', {input_name: inputs['i0']})

        np.testing.assert_allclose(got[output_name], outputs['o0'], atol=1e-5)

    def test_version_in_service_is_available(self):
        (version, state, code, _), = self.client.status('digits')

        self.assertEqual(('AVAILABLE', 0), (state, code))
        got = self.client.predict('digits', sample('digits')[0], version=version)
        self.assertIn('probabilities', got)

    def check_refused(self, code, pieces, call):
        with self.assertRaises(grpc.RpcError) as caught:
            call()
        self.assertEqual(code, caught.exception.code())
        for piece in pieces:
            self.assertIn(piece, caught.exception.details())

    def test_bad_requests_are_named(self):
        images = sample('digits')[0]['image']
        predict = self.client.predict

        self.check_refused(grpc.StatusCode.NOT_FOUND, ['nobody'],
                           lambda: predict('nobody', {'image': images}))
        self.check_refused(grpc.StatusCode.INVALID_ARGUMENT, ['image', 'picture'],
                           lambda: predict('digits', {'picture': images}))
        self.check_refused(grpc.StatusCode.INVALID_ARGUMENT, ['image'],
                           lambda: predict('digits', {'image': images.astype('float64')}))
        self.check_refused(grpc.StatusCode.INVALID_ARGUMENT, ['image'],
                           lambda: predict('digits', {'image': images[:, :7]}))
        self.check_refused(grpc.StatusCode.INVALID_ARGUMENT, ['image'],
                           lambda: predict('digits', {}))

    def test_corrupted_file_changes_nothing_but_the_metrics(self):
        inputs, outputs = sample('iris')
        signature = self.client.metadata('iris').signature_def['serving_default']
        (input_name,), (output_name,) = list(signature.inputs), list(signature.outputs)
        with open(os.path.join(SAMPLES, 'models', 'iris.h5'), 'rb') as file:
            whole = file.read()

        self.daemon.install_bytes(whole[:len(whole) // 2], 'iris.h5')
        wait_until(lambda: self.daemon.metric('h5serve_model_loads_total', model='iris',
                                              result='refused', reason='TRUNCATED'),
                   'the refusal is counted')

        got = self.client.predict('iris', {input_name: inputs['i0']})
        np.testing.assert_allclose(got[output_name], outputs['o0'], atol=1e-5)
        self.assertEqual(200, self.daemon.get('/readyz')[0])


if __name__ == '__main__':
    unittest.main()
