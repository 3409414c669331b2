"""Base of tests that write models and look what the binary makes of them."""
import json
import os
import shutil
import tempfile
import unittest

import numpy as np

from daemon import run
from model_files import write


class ModelCase(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='h5serve-models-')
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write_json(self, name, value):
        with open(self.path(name) + '.new', 'w') as file:
            json.dump(value, file)
        os.replace(self.path(name) + '.new', self.path(name))
        return self.path(name)

    def flags(self, objects):
        return ['--custom-objects', self.write_json('objects.json', objects)] if objects else []

    def check(self, model, objects=None, *flags):
        """(servable, diagnoses by code)"""
        result = run('check', '--json', model, *self.flags(objects), *flags)
        self.assertIn(result.returncode, (0, 1), result.stderr)
        report = json.loads(result.stdout)
        return report['servable'], {entry['code']: entry for entry in report['diagnoses']}

    def refused(self, layers, shapes, objects=None, code=None, **options):
        """The error `code` of a model that is not served."""
        model = write(self.path('m.h5'), layers, *shapes, **options)
        servable, found = self.check(model, objects)
        self.assertFalse(servable)
        self.assertIn(code, found, found)
        self.assertEqual('error', found[code]['severity'])
        return found[code]

    def predict(self, model, inputs, objects=None, *flags):
        np.savez(self.path('in.npz'), **{'i%d' % i: x for i, x in enumerate(inputs)})
        result = run('predict', model, self.path('in.npz'), '-o', self.path('out.npz'),
                     *self.flags(objects), *flags)
        self.assertEqual(0, result.returncode, result.stderr)
        with np.load(self.path('out.npz')) as arrays:
            return [arrays[name] for name in arrays.files]

    def predict_layers(self, layers, inputs, objects=None, *flags, **options):
        model = write(self.path('m.h5'), layers, *[x.shape[1:] for x in inputs], **options)
        return self.predict(model, inputs, objects, *flags)

    def expect(self, layers, inputs, expected, objects=None, *flags, **options):
        """Inputs and expected outputs: an array, or a list of them."""
        inputs = inputs if isinstance(inputs, list) else [inputs]
        expected = expected if isinstance(expected, list) else [expected]
        got = self.predict_layers(layers, inputs, objects, *flags, **options)
        self.assertEqual(len(expected), len(got))
        for a, b in zip(got, expected):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)
