#!/usr/bin/python3
"""Files with flipped bytes and missing ends: refused or served, never more than that."""
import json
import os
import random
import shutil
import tempfile
import unittest

from daemon import SAMPLES, run

# The seeds are fixed: a failure names the one that shows it again.
FLIPPED_FILES = 120
CUTS = 24


class DamagedFilesTest(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='h5serve-damaged-')
        self.addCleanup(shutil.rmtree, self.folder)
        self.whole = {}
        for name in ('digits.h5', 'iris.h5'):
            with open(os.path.join(SAMPLES, 'models', name), 'rb') as file:
                self.whole[name] = file.read()

    def check(self, variants):
        """The reports of `check` over {name: bytes}, one for each."""
        paths = []
        for name, data in variants.items():
            paths.append(os.path.join(self.folder, name))
            with open(paths[-1], 'wb') as file:
                file.write(data)
        result = run('check', '--json', *paths)
        self.assertIn(result.returncode, (0, 1), result.stderr)
        reports = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual(paths, [report['file'] for report in reports])
        for report in reports:
            errors = [entry for entry in report['diagnoses'] if entry['severity'] == 'error']
            self.assertEqual(report['servable'], not errors, report)
            self.assertNotIn('INTERNAL_ERROR', [entry['code'] for entry in errors], report)
            for entry in errors:
                self.assertTrue(entry['message'] and entry['remedies'], report)
        return reports

    def test_flipped_bytes(self):
        variants = {}
        for seed in range(FLIPPED_FILES):
            source = random.Random(seed)
            name = source.choice(sorted(self.whole))
            data = bytearray(self.whole[name])
            # The first kilobytes hold the structure; most of the rest is weights.
            reach = source.choice([1024, 8192, len(data)])
            for _ in range(source.randint(1, 8)):
                data[source.randrange(min(reach, len(data)))] = source.randrange(256)
            variants['flipped-%d-%s' % (seed, name)] = bytes(data)

        self.check(variants)

    def test_missing_ends(self):
        variants = {}
        for index in range(CUTS):
            data = self.whole['iris.h5']
            variants['cut-%d.h5' % index] = data[:len(data) * index // CUTS]

        reports = self.check(variants)

        self.assertFalse(any(report['servable'] for report in reports))


if __name__ == '__main__':
    unittest.main()
