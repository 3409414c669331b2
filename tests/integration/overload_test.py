#!/usr/bin/python3
"""More work than there is time for: what is refused, dropped, put first, and counted."""
import http.client
import json
import os
import shutil
import tempfile
import threading
import unittest

import grpc
import numpy as np

from daemon import SAMPLES, Daemon, wait_until
from h5serve_client import stubs, to_proto
from model_files import layer, write

STEPS, FEATURES, UNITS = 3000, 4, 256
# Seconds of work, so that a client on a busy machine finds some of it undone.
BACKLOG = 150


def slow_model(path):
    """A recurrent network that takes 10 ms or more for a row."""
    random = np.random.default_rng(1)
    return write(path, [layer('SimpleRNN', {
        'units': UNITS, 'activation': 'tanh', 'use_bias': True, 'return_sequences': False,
        'return_state': False, 'go_backwards': False, 'stateful': False, 'unroll': False,
        'dropout': 0.0, 'recurrent_dropout': 0.0}, [
            ('rnn/kernel', random.normal(0, 0.1, (FEATURES, UNITS))),
            ('rnn/recurrent_kernel', random.normal(0, 0.02, (UNITS, UNITS))),
            ('rnn/bias', np.zeros(UNITS))], 'rnn')], (STEPS, FEATURES))


class OverloadTest(unittest.TestCase):

    def start(self, *flags, **settings):
        """A daemon with one thread, the slow model and a quick one."""
        folder = tempfile.mkdtemp(prefix='h5serve-overload-')
        self.addCleanup(shutil.rmtree, folder)
        if '--batching-max-batch-size' not in flags:
            flags += ('--batching-max-batch-size', '1')
        self.daemon = Daemon('--threads', '1', *flags)
        self.daemon.install(slow_model(os.path.join(folder, 'slow.h5')), 'slow/1.h5')
        with open(os.path.join(self.daemon.models, 'slow', 'model.json'), 'w') as file:
            json.dump(settings, file)
        self.daemon.install(os.path.join(SAMPLES, 'models', 'iris.h5'))
        self.daemon.start()
        self.addCleanup(self.daemon.__exit__, None, None, None)
        self.daemon.wait_ready()
        self.client = self.daemon.client()
        self.pb = stubs()['tensorflow_serving_pb2']

    def request(self, rows=1):
        request = self.pb.PredictRequest()
        request.model_spec.name = 'slow'
        request.inputs['input_1'].CopyFrom(to_proto(np.ones((rows, STEPS, FEATURES), np.float32)))
        return request

    def send(self, timeout=300, metadata=(), rows=1):
        return self.client.prediction.Predict.future(self.request(rows), timeout=timeout,
                                                     metadata=metadata)

    def backlog(self, **options):
        """Calls of which many still wait."""
        calls = [self.send(**options) for _ in range(BACKLOG)]
        wait_until(lambda: self.daemon.metric('h5serve_queue_rows', model='slow') > BACKLOG / 3,
                   'the requests wait')
        self.addCleanup(lambda: [call.cancel() for call in calls])
        return calls

    def dropped(self, reason):
        return self.daemon.metric('h5serve_requests_dropped_total', model='slow', reason=reason)

    def test_a_full_queue_refuses_at_once_and_says_when_to_come_again(self):
        self.start('--batching-max-queue-rows', '4')
        calls = [self.send() for _ in range(40)]
        codes = [call.code() for call in calls]

        refused = [call for call in calls if call.code() != grpc.StatusCode.OK]
        self.assertGreaterEqual(codes.count(grpc.StatusCode.OK), 4)
        self.assertGreater(len(refused), 0)
        for call in refused:
            self.assertEqual(grpc.StatusCode.RESOURCE_EXHAUSTED, call.code())
            self.assertIn('the queue of model slow is full', call.details())
            pushback = dict(call.trailing_metadata())['grpc-retry-pushback-ms']
            self.assertGreaterEqual(int(pushback), 1)
        self.assertEqual(len(refused), self.dropped('queue_full'))

    def test_http_says_429(self):
        self.start('--batching-max-queue-rows', '2')
        body = json.dumps({'instances': np.ones((1, STEPS, FEATURES)).tolist()})
        refused = threading.Event()

        def ask():
            while not refused.is_set():
                connection = http.client.HTTPConnection(self.daemon.http, timeout=60)
                connection.request('POST', '/v1/models/slow:predict', body)
                response = connection.getresponse()
                response.read()
                connection.close()
                if response.status != 200:
                    answers.append((response.status, response.headers['Retry-After']))
                    refused.set()

        answers = []
        calls = [self.send() for _ in range(20)]
        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        self.assertEqual((429, '1'), answers[0])
        for call in calls:
            call.code()

    def test_who_cannot_be_served_in_time_is_told_so(self):
        self.start()
        self.send().result()
        calls = self.backlog()
        hurried = self.send(timeout=0.3)
        self.assertEqual(grpc.StatusCode.DEADLINE_EXCEEDED, hurried.code())
        self.assertFalse(calls[-1].done())
        self.assertEqual(1, self.dropped('deadline'))

    def test_cancelled_requests_are_not_computed(self):
        self.start()
        calls = self.backlog()
        for call in calls[20:]:
            call.cancel()
        for call in calls[:20]:
            self.assertEqual(grpc.StatusCode.OK, call.code())
        computed = lambda: self.daemon.metric('h5serve_batches_total', model='slow')
        wait_until(lambda: self.dropped('cancelled') + computed() == BACKLOG, 'the rest was dropped')
        self.assertGreater(self.dropped('cancelled'), 10)

    def test_low_priority_waits(self):
        self.start()
        low = self.backlog(metadata=[('h5serve-priority', 'low')])
        for call in [self.send() for _ in range(3)]:
            self.assertEqual(grpc.StatusCode.OK, call.code())
        self.assertFalse(low[-1].done())
        self.assertFalse(low[-5].done())

    def test_one_model_does_not_starve_another(self):
        self.start()
        calls = self.backlog()
        self.client.predict('iris', {'measurements_input': np.ones((1, 4), np.float32)})
        self.assertFalse(calls[-1].done())

    def test_large_requests_are_split_and_joined(self):
        self.start()
        one = self.client.predict('slow', {'input_1': np.ones((1, STEPS, FEATURES), np.float32)})
        many = self.client.predict('slow', {'input_1': np.ones((5, STEPS, FEATURES), np.float32)})
        np.testing.assert_allclose(many['rnn'], np.repeat(one['rnn'], 5, 0), atol=1e-6)
        self.assertEqual(6, self.daemon.metric('h5serve_batches_total', model='slow'))

    def test_every_start_of_a_batch_is_counted(self):
        self.start('--batching-max-batch-size', '4', batching={'max_batch_delay_us': 20000})
        count = lambda model, trigger: self.daemon.metric('h5serve_batches_total', model=model,
                                                          trigger=trigger)
        self.send().result()
        self.assertEqual(1, count('slow', 'delay'))
        for call in [self.send() for _ in range(12)]:
            self.assertEqual(grpc.StatusCode.OK, call.code())
        self.assertGreaterEqual(count('slow', 'full'), 1)
        for _ in range(5):
            self.client.predict('iris', {'measurements_input': np.ones((1, 4), np.float32)})
        self.assertGreaterEqual(count('iris', 'inline') + count('iris', 'idle'), 5)
        self.assertEqual(4, self.daemon.metric('h5serve_batch_limit_rows', model='slow'))
        self.assertGreater(self.daemon.metric('h5serve_queue_seconds_sum', model='slow'), 0.01)


if __name__ == '__main__':
    unittest.main()
