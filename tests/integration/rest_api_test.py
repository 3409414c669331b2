#!/usr/bin/python3
"""The HTTP port: TensorFlow Serving's REST, the Open Inference Protocol's, and the pages."""
import http.client
import json
import os
import tempfile
import unittest

import numpy as np

from daemon import SAMPLES, Daemon

NAME = 'measurements_input'


class RestApiTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon('--http-max-body-size', '1MiB')
        cls.daemon.install(os.path.join(SAMPLES, 'models', 'iris.h5'))
        cls.daemon.start()
        cls.addClassCleanup(cls.daemon.__exit__, None, None, None)
        cls.daemon.wait_ready()
        cls.x = np.load(os.path.join(SAMPLES, 'data', 'iris.in.npz'))['i0'].astype(np.float32)
        cls.y = np.load(os.path.join(SAMPLES, 'data', 'iris.out.npz'))['o0']

    def call(self, method, path, body=None, headers=None):
        """(status, headers, bytes) of one request."""
        connection = http.client.HTTPConnection(self.daemon.http, timeout=30)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, response.headers, data

    def post(self, path, value, status=200):
        got, _, body = self.call('POST', path, json.dumps(value))
        self.assertEqual(status, got, body)
        return json.loads(body)

    def get(self, path, status=200):
        got, _, body = self.call('GET', path)
        self.assertEqual(status, got, body)
        return json.loads(body)

    # --- TensorFlow Serving ---

    def test_rows_and_columns(self):
        path = '/v1/models/iris:predict'
        for body, key in [({'instances': self.x.tolist()}, 'predictions'),
                          ({'instances': [{NAME: row} for row in self.x.tolist()]}, 'predictions'),
                          ({'inputs': self.x.tolist()}, 'outputs'),
                          ({'inputs': {NAME: self.x.tolist()},
                            'signature_name': 'serving_default'}, 'outputs')]:
            np.testing.assert_allclose(self.post(path, body)[key], self.y, atol=1e-5)

    def test_status_and_metadata(self):
        (entry,) = self.get('/v1/models/iris')['model_version_status']
        self.assertEqual('AVAILABLE', entry['state'])
        self.assertEqual('OK', entry['status']['error_code'])
        metadata = self.get('/v1/models/iris/versions/%s/metadata' % entry['version'])
        inputs = metadata['metadata']['signature_def']['signature_def']['serving_default']['inputs']
        self.assertEqual('DT_FLOAT', inputs[NAME]['dtype'])
        self.get('/v1/models/nobody', 404)
        self.get('/v1/models/iris/versions/77', 404)
        self.get('/v1/models/iris/nonsense', 404)

    def test_python_tokens_and_integers_are_numbers(self):
        status, _, body = self.call('POST', '/v1/models/iris:predict',
                                    '{"instances": [[1, 2, 3, NaN]]}')
        self.assertEqual(200, status, body)
        self.assertTrue(np.isnan(json.loads(body)['predictions'][0][0]))

    def test_examples_are_classified(self):
        examples = [{NAME: row} for row in self.x.tolist()]
        results = self.post('/v1/models/iris:classify', {'examples': examples})['results']
        np.testing.assert_allclose([[score for _, score in row] for row in results], self.y,
                                   atol=1e-5)
        error = self.post('/v1/models/iris:regress', {'examples': examples}, 400)['error']
        self.assertIn('regression', error)

    def test_wrong_bodies_are_400(self):
        path = '/v1/models/iris:predict'
        for body, piece in [
                ({}, 'instances'), ({'instances': [], 'inputs': []}, 'either'),
                ({'instances': []}, 'empty'), ({'instances': 3}, 'list'),
                ({'instances': [[1, 2, 3]]}, NAME), ({'instances': [[1, 2, 3, 4], [1]]}, 'ragged'),
                ({'instances': [['a', 'b', 'c', 'd']]}, 'string'),
                ({'instances': [{'wrong': [1, 2, 3, 4]}]}, 'wrong'),
                ({'instances': [[1, 2, 3, 4]], 'signature_name': 'x'}, 'not found'),
                ([], 'object')]:
            self.assertIn(piece, self.post(path, body, 400)['error'])
        for text in ('', '{', '[' * 100000, '{"instances": [1e999]}', '\xff'):
            status, _, _ = self.call('POST', path, text.encode('latin-1'))
            self.assertEqual(400, status, text[:30])

    def test_limits_hold(self):
        status, _, _ = self.call('POST', '/v1/models/iris:predict', b' ' * (1 << 21))
        self.assertEqual(413, status)
        status, headers, _ = self.call('GET', '/v1/models/iris:predict')
        self.assertEqual((405, 'POST'), (status, headers['Allow']))

    # --- Open Inference Protocol ---

    def infer(self, **changes):
        body = {'id': '9', 'inputs': [{'name': NAME, 'datatype': 'FP32', 'shape': [3, 4],
                                       'data': self.x.tolist()}]}
        body['inputs'][0].update(changes)
        return body

    def test_infer_with_nested_and_flat_data(self):
        for data in (self.x.tolist(), self.x.reshape(-1).tolist()):
            answer = self.post('/v2/models/iris/infer', self.infer(data=data))
            self.assertEqual(('iris', '9'), (answer['model_name'], answer['id']))
            (output,) = answer['outputs']
            self.assertEqual([3, 3], output['shape'])
            np.testing.assert_allclose(np.reshape(output['data'], (3, 3)), self.y, atol=1e-5)

    def test_infer_with_binary_data(self):
        body = self.infer()
        del body['inputs'][0]['data']
        body['inputs'][0]['parameters'] = {'binary_data_size': self.x.nbytes}
        body['parameters'] = {'binary_data_output': True}
        header = json.dumps(body).encode()
        status, headers, answer = self.call(
            'POST', '/v2/models/iris/infer', header + self.x.tobytes(),
            {'Inference-Header-Content-Length': str(len(header))})
        self.assertEqual(200, status, answer)
        length = int(headers['Inference-Header-Content-Length'])
        (output,) = json.loads(answer[:length])['outputs']
        self.assertEqual(36, output['parameters']['binary_data_size'])
        np.testing.assert_allclose(np.frombuffer(answer[length:], np.float32).reshape(3, 3),
                                   self.y, atol=1e-5)

    def test_raw_body_is_the_only_input(self):
        status, headers, answer = self.call(
            'POST', '/v2/models/iris/infer', self.x.tobytes(),
            {'Inference-Header-Content-Length': '0', 'Content-Type': 'application/octet-stream'})
        self.assertEqual(200, status, answer)
        length = int(headers['Inference-Header-Content-Length'])
        np.testing.assert_allclose(np.frombuffer(answer[length:], np.float32).reshape(3, 3),
                                   self.y, atol=1e-5)

    def test_wrong_infer_requests_are_400(self):
        for changes, piece in [({'name': 'wrong'}, 'wrong'), ({'datatype': 'FP64'}, 'FP32'),
                               ({'shape': [2, 4]}, NAME), ({'shape': [3]}, NAME),
                               ({'shape': 'x'}, 'shape'), ({'shape': [-1, 4]}, 'negative'),
                               ({'data': None}, NAME),
                               ({'parameters': {'binary_data_size': 48}}, 'binary_data_size')]:
            self.assertIn(piece, self.post('/v2/models/iris/infer', self.infer(**changes),
                                           400)['error'])
        self.post('/v2/models/nobody/infer', self.infer(), 404)

    def test_server_and_model_are_described(self):
        self.assertEqual('h5serve', self.get('/v2')['name'])
        self.assertEqual([-1, 4], self.get('/v2/models/iris')['inputs'][0]['shape'])
        self.assertEqual([4], self.get('/v2/models/iris/config')['input'][0]['dims'])
        self.assertEqual('iris', self.get('/v2/models/iris/stats')['model_stats'][0]['name'])
        for path in ('/v2/health/live', '/v2/health/ready', '/v2/models/iris/ready'):
            self.assertEqual(200, self.call('GET', path)[0])
        self.assertEqual(400, self.call('GET', '/v2/models/nobody/ready')[0])
        status, _, body = self.call('POST', '/v2/repository/index', '{}')
        self.assertEqual('READY', json.loads(body)[0]['state'])
        self.assertEqual(503, self.call('POST', '/v2/repository/models/iris/unload')[0])

    # --- pages ---

    def test_pages(self):
        status, headers, body = self.call('GET', '/')
        self.assertEqual(200, status)
        self.assertIn(b'<title>h5serve</title>', body)
        (model,) = self.get('/status.json')['models']
        self.assertEqual(('iris', 'serving', '2.3.1'),
                         (model['name'], model['state'], model['keras_version']))
        self.get('/nothing', 404)
        self.assertEqual(405, self.call('POST', '/metrics')[0])

    def test_metrics_are_counted_under_known_names_only(self):
        self.post('/v1/models/nobody-%d:predict' % os.getpid(), {'instances': [1]}, 404)
        self.post('/v1/models/iris:predict', {'instances': self.x.tolist()})
        text = self.call('GET', '/metrics')[2].decode()
        self.assertNotIn('nobody', text)
        self.assertEqual(text.count('# TYPE h5serve_requests_total counter'), 1)
        self.assertGreaterEqual(self.daemon.metric('h5serve_requests_total', model='iris',
                                                   method='rest/predict', code='OK'), 1)
        self.assertGreaterEqual(self.daemon.metric('h5serve_batches_total', model='iris'), 1)


class TokenTest(unittest.TestCase):

    def test_token_guards_all_but_the_probes(self):
        with tempfile.NamedTemporaryFile('w', suffix='.token') as token:
            token.write('secret\n')
            token.flush()
            with Daemon('--http-token-file', token.name) as daemon:
                daemon.install(os.path.join(SAMPLES, 'models', 'iris.h5'))
                daemon.wait_ready()
                self.assertEqual(401, daemon.get('/metrics')[0])
                self.assertEqual(200, daemon.get('/livez')[0])
                connection = http.client.HTTPConnection(daemon.http, timeout=30)
                connection.request('GET', '/metrics', headers={'Authorization': 'Bearer secret'})
                self.assertEqual(200, connection.getresponse().status)
                connection.close()


if __name__ == '__main__':
    unittest.main()
