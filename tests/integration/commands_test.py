#!/usr/bin/python3
"""The commands of the binary that need no server."""
import io
import json
import os
import pickle
import re
import shutil
import tempfile
import unittest
import zipfile

import h5py
import numpy as np

from daemon import SAMPLES, run

DIGITS = os.path.join(SAMPLES, 'models', 'digits.h5')
IRIS = os.path.join(SAMPLES, 'models', 'iris.h5')


def read(path):
    with open(path, 'rb') as file:
        return file.read()


class CommandsTest(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='h5serve-commands-')
        self.addCleanup(shutil.rmtree, self.folder)

    def write(self, name, data):
        path = os.path.join(self.folder, name)
        with open(path, 'wb') as file:
            file.write(data)
        return path

    def check(self, path):
        """(exit code, codes of the errors) of `check --json`."""
        result = run('check', '--json', path)
        report = json.loads(result.stdout)
        self.assertEqual(result.returncode == 0, report['servable'])
        return result.returncode, [entry['code'] for entry in report['diagnoses']
                                   if entry['severity'] == 'error']

    # --- check ---

    def test_check_accepts_the_samples(self):
        result = run('check', '--json', DIGITS, IRIS)

        self.assertEqual(0, result.returncode, result.stderr)
        digits, iris = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual(('3.15.1', '2.3.1'), (digits['keras_version'], iris['keras_version']))
        self.assertTrue(digits['servable'] and iris['servable'])
        self.assertEqual(['image'], [entry['name'] for entry in digits['inputs']])
        self.assertEqual('float32', digits['inputs'][0]['dtype'])
        self.assertEqual(['probabilities'], [entry['name'] for entry in digits['outputs']])
        for key in ('file', 'backend', 'dialect', 'layers', 'parameters', 'memory_bytes',
                    'diagnoses'):
            self.assertIn(key, digits)

    def test_check_tells_people_too(self):
        result = run('check', DIGITS)

        self.assertEqual(0, result.returncode)
        self.assertIn('digits.h5', result.stdout)

    def test_check_names_what_a_foreign_file_is(self):
        whole = read(IRIS)
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, 'w') as file:
            file.writestr('readme.txt', 'no model in here')
        for name, data, code in [
                ('empty.h5', b'', 'EMPTY_FILE'),
                ('cut.h5', whole[:len(whole) // 2], 'TRUNCATED'),
                ('pointer.h5', b'version https://git-lfs.github.com/spec/v1\noid sha256:'
                 + b'0' * 64 + b'\nsize 32976\n', 'GIT_LFS_POINTER'),
                ('page.h5', b'<!DOCTYPE html><html><body>404</body></html>', 'HTML_OR_TEXT'),
                ('pickle.h5', pickle.dumps({'weights': [1, 2]}, 2), 'WRONG_FORMAT_PICKLE'),
                ('random.h5', bytes(range(7, 250)) * 9, 'NOT_HDF5')]:
            self.assertEqual((1, [code]), self.check(self.write(name, data)), name)
        status, codes = self.check(self.write('zip.h5', archive.getvalue()))
        self.assertEqual(1, status)
        self.assertEqual(1, len(codes), codes)
        self.assertEqual((1, ['FILE_NOT_FOUND']),
                         self.check(os.path.join(self.folder, 'nothing.h5')))

    def test_check_refuses_weights_without_a_model(self):
        path = os.path.join(self.folder, 'weights.h5')
        with h5py.File(path, 'w') as file:
            file.attrs['layer_names'] = [b'dense']
            group = file.create_group('dense')
            group.attrs['weight_names'] = [b'dense/kernel:0']
            group.create_dataset('dense/kernel:0', data=np.zeros((2, 3), np.float32))

        self.assertEqual((1, ['WEIGHTS_ONLY']), self.check(path))

    def test_check_lists_every_problem(self):
        path = os.path.join(self.folder, 'two.h5')
        shutil.copyfile(IRIS, path)
        with h5py.File(path, 'r+') as file:
            config = json.loads(file.attrs['model_config'])
            first, second = config['config']['layers'][:2]
            first['class_name'], second['class_name'] = 'Flux', 'Capacitor'
            file.attrs['model_config'] = json.dumps(config)

        result = run('check', path)

        self.assertEqual(1, result.returncode)
        for word in ('UNKNOWN_LAYER', 'Flux', 'Capacitor'):
            self.assertIn(word, result.stdout)

    def test_check_wants_files(self):
        self.assertEqual(2, run('check').returncode)
        self.assertEqual(2, run('check', '--no-such-flag', IRIS).returncode)

    def test_check_of_several_files_goes_on_after_a_bad_one(self):
        bad = self.write('bad.h5', b'')

        result = run('check', '--json', bad, IRIS)

        self.assertEqual(1, result.returncode)
        self.assertEqual([False, True],
                         [json.loads(line)['servable'] for line in result.stdout.splitlines()])

    # --- summary and predict ---

    def test_summary_shows_layers_and_parameters(self):
        result = run('summary', DIGITS)

        self.assertEqual(0, result.returncode, result.stderr)
        for word in ('conv_1 (Conv2D)', '(None, 8, 8, 16)', 'probabilities (Dense)'):
            self.assertIn(word, result.stdout)
        self.assertRegex(result.stdout, r'(?i)total param\w*: *[\d,]+')

    def test_predict_reads_and_writes_npz(self):
        outputs = os.path.join(self.folder, 'out.npz')

        result = run('predict', DIGITS, os.path.join(SAMPLES, 'data', 'digits.in.npz'),
                     '-o', outputs)

        self.assertEqual(0, result.returncode, result.stderr)
        expected = np.load(os.path.join(SAMPLES, 'data', 'digits.out.npz'))['probabilities']
        with np.load(outputs) as got:
            self.assertEqual(['probabilities'], got.files)
            np.testing.assert_allclose(got['probabilities'], expected, atol=1e-5)

    def test_predict_takes_inputs_by_position_npy_and_json(self):
        x = np.load(os.path.join(SAMPLES, 'data', 'iris.in.npz'))['i0']
        expected = np.load(os.path.join(SAMPLES, 'data', 'iris.out.npz'))['o0']
        name = json.loads(run('check', '--json', IRIS).stdout)['inputs'][0]['name']
        positional = os.path.join(self.folder, 'positional.npz')
        np.savez(positional, i0=x)
        single = os.path.join(self.folder, 'single.npy')
        np.save(single, x)
        text = self.write('in.json', json.dumps({name: x.tolist()}).encode())

        for inputs in (positional, single, text):
            result = run('predict', IRIS, inputs)

            self.assertEqual(0, result.returncode, result.stderr)
            (values,) = json.loads(result.stdout).values()
            np.testing.assert_allclose(values, expected, atol=1e-5)

    def test_predict_refuses_with_the_diagnosis(self):
        result = run('predict', self.write('empty.h5', b''),
                     os.path.join(SAMPLES, 'data', 'iris.in.npz'))

        self.assertEqual(1, result.returncode)
        self.assertIn('EMPTY_FILE', result.stdout + result.stderr)

    # --- tables ---

    def test_tables_are_printed(self):
        for command, word in [('layers', 'Dense'), ('metrics', 'h5serve_model_loads_total'),
                              ('options', 'batching.max_batch_size'),
                              ('failures', 'WEIGHTS_ONLY')]:
            for flags in ((), ('--markdown',)):
                result = run(command, *flags)

                self.assertEqual(0, result.returncode, result.stderr)
                self.assertIn(word, result.stdout)

    def test_layers_tell_eras_and_arguments(self):
        layers = {row['layer']: row for row in json.loads(run('layers', '--json').stdout)}

        self.assertEqual(['Keras 1', 'Keras 2', 'tf.keras', 'Keras 3'], layers['Dense']['eras'])
        self.assertEqual(['Keras 1'], layers['SReLU']['eras'])
        self.assertEqual(['tf.keras', 'Keras 3'], layers['MultiHeadAttention']['eras'])
        self.assertIn('dilation_rate', layers['Conv2D']['arguments'])
        self.assertIn('Convolution2D', layers['Conv2D']['aliases'])
        self.assertFalse(layers['TorchModuleWrapper']['computed'])
        text = run('layers', env=dict(os.environ, COLUMNS='80')).stdout
        self.assertLessEqual(max(map(len, text.splitlines())), 80)

    def test_version_names_libraries(self):
        result = run('--version')

        self.assertEqual(0, result.returncode)
        self.assertTrue(re.search(r'h5serve \d+\.\d+', result.stdout), result.stdout)


if __name__ == '__main__':
    unittest.main()
