#!/usr/bin/python3
"""A client in another language: @grpc/grpc-js, which npm installs from its lock file."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest

import numpy as np

from daemon import ROOT, SAMPLES, Daemon

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'node')


class NodeClientTest(unittest.TestCase):

    def test_node_predicts_what_keras_predicted(self):
        image = np.load(os.path.join(SAMPLES, 'data', 'digits.in.npz'))['image']
        expected = np.load(os.path.join(SAMPLES, 'data', 'digits.out.npz'))['probabilities']
        folder = tempfile.mkdtemp(prefix='h5serve-node-')
        self.addCleanup(shutil.rmtree, folder)
        for name in os.listdir(HERE):
            if os.path.isfile(os.path.join(HERE, name)):
                shutil.copy(os.path.join(HERE, name), folder)
        subprocess.run(['npm', 'ci', '--silent', '--no-audit', '--no-fund'], cwd=folder, check=True,
                       stdin=subprocess.DEVNULL)

        with Daemon() as daemon:
            daemon.install(os.path.join(SAMPLES, 'models', 'digits.h5'))
            daemon.wait_ready()
            request = dict(model='digits', name='image', shape=image.shape,
                           values=image.reshape(-1).tolist())
            answer = subprocess.run(['node', 'predict.mjs', daemon.grpc, ROOT], cwd=folder,
                                    input=json.dumps(request), stdout=subprocess.PIPE, text=True,
                                    check=True).stdout

        answer = json.loads(answer)
        self.assertEqual('probabilities', answer['name'])
        got = np.array(answer['values']).reshape(answer['shape'])
        np.testing.assert_allclose(got, expected, atol=1e-5)


if __name__ == '__main__':
    unittest.main()
