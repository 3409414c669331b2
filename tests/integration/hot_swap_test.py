#!/usr/bin/python3
"""A model is replaced again and again under steady load, and no request notices."""
import os
import shutil
import threading
import unittest

import grpc
import h5py
import numpy as np

from daemon import SAMPLES, Daemon, wait_until

REPLACEMENTS = 10
CALLERS = 4


def rotated_copy(source, target):
    """A copy of the digits model whose ten classes have moved by one."""
    shutil.copyfile(source, target)
    with h5py.File(target, 'r+') as file:
        weights = file['model_weights']

        def rotate(name, data):
            if isinstance(data, h5py.Dataset) and data.shape[-1:] == (10,):
                data[...] = np.roll(data[...], 1, axis=-1)

        weights.visititems(rotate)


class Load:
    """Threads that predict without a pause and remember what came."""

    def __init__(self, daemon, inputs, accepted):
        self.accepted = accepted
        self.failures, self.answers, self.versions = [], 0, set()
        self._inputs = inputs
        self._stop = threading.Event()
        self._lock = threading.Lock()
        clients = [daemon.client() for _ in range(CALLERS)]
        for client in clients:
            # What is measured begins when all are connected.
            grpc.channel_ready_future(client.channel).result(20)
        self._threads = [threading.Thread(target=self._run, args=(client,)) for client in clients]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, client):
        while not self._stop.is_set():
            failure, version = None, None
            try:
                outputs = client.predict('digits', self._inputs)['probabilities']
                if not any(np.allclose(outputs, good, atol=1e-4) for good in self.accepted):
                    failure = 'an answer that is neither model\'s'
                version = client.predict_raw('digits', self._inputs).model_spec.version.value
            except grpc.RpcError as error:
                failure = '%s: %s' % (error.code().name, error.details())
            with self._lock:
                self.answers += 1
                self.versions.add(version)
                if failure:
                    self.failures.append(failure)


class HotSwapTest(unittest.TestCase):

    def test_ten_replacements_under_load_fail_no_request(self):
        original = os.path.join(SAMPLES, 'models', 'digits.h5')
        inputs = dict(np.load(os.path.join(SAMPLES, 'data', 'digits.in.npz')))
        expected = np.load(os.path.join(SAMPLES, 'data', 'digits.out.npz'))['probabilities']
        rotated = np.roll(expected, 1, axis=-1)
        daemon = Daemon()
        paths = []
        for index in range(REPLACEMENTS + 1):
            path = os.path.join(daemon.folder, '%d.h5' % index)
            if index % 2:
                rotated_copy(original, path)
            else:
                shutil.copyfile(original, path)
            # The version of a flat file is its modification time.
            os.utime(path, (1700000000 + index, 1700000000 + index))
            paths.append(path)
        daemon.install(paths[0], 'digits.h5')

        with daemon:
            daemon.wait_ready()
            watch = daemon.client()
            with Load(daemon, inputs, [expected, rotated]) as load:
                for index in range(1, REPLACEMENTS + 1):
                    daemon.install(paths[index], 'digits.h5')
                    wait_until(lambda: watch.predict_raw('digits', inputs)
                               .model_spec.version.value == 1700000000 + index,
                               'version %d serves' % index)
                    answers = load.answers
                    wait_until(lambda: load.answers > answers + CALLERS, 'requests go on')
            loads = daemon.metric('h5serve_model_loads_total', model='digits', result='serving')
            bad = daemon.metric('h5serve_requests_total', model='digits') - daemon.metric(
                'h5serve_requests_total', model='digits', code='OK')

        self.assertEqual([], load.failures[:5])
        self.assertEqual(REPLACEMENTS + 1, len(load.versions))
        self.assertEqual(REPLACEMENTS + 1, loads)
        self.assertEqual(0, bad)


if __name__ == '__main__':
    unittest.main()
