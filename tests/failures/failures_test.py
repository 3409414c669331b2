#!/usr/bin/python3
"""Every failure code is provoked, and its text is what people are to read.

expected.txt holds what `h5serve check` prints for each code; after a deliberate
change `failures_test.py --update` writes it anew, to be read before it is
committed. BINARY_UNDER_TEST is the path of the executable.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(1, os.path.join(os.path.dirname(HERE), 'integration'))
import provoke_files  # noqa: E402,F401
import provoke_models  # noqa: E402,F401
from daemon import Daemon, wait_until  # noqa: E402
from provoke import INPUT, PROVOCATIONS, dense, sound, write  # noqa: E402

BINARY = os.environ.get('BINARY_UNDER_TEST', 'h5serve')
EXPECTED = os.path.join(HERE, 'expected.txt')
# Codes that no file can provoke, and why.
UNPROVOKED = {
    'INTERNAL_ERROR': 'a defect of h5serve, by definition none that is known',
    'READER_CRASHED': 'depends on the defects of the installed HDF5; the tests of damaged files '
                      'meet it',
}
# Codes that need a version in service.
IN_SERVICE = {'SIGNATURE_CHANGED'}


def run(case, *flags):
    with case.around:
        return subprocess.run([BINARY, 'check'] + list(flags) + [case.path],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, encoding='utf-8',
                              env=dict(os.environ, COLUMNS='100'))


def all_codes():
    listed = subprocess.run([BINARY, 'failures', '--json'], check=True, stdout=subprocess.PIPE,
                            encoding='utf-8').stdout
    return [row['code'].strip('`') for row in json.loads(listed)]


def provoke(code):
    """(text, report) of `check` on a file that provokes `code`."""
    with tempfile.TemporaryDirectory(prefix='h5serve-failure-') as folder:
        text = run(PROVOCATIONS[code](folder))
        clean = text.stdout.replace(folder, 'DIR').split('  which Keras loads it')[0]
    with tempfile.TemporaryDirectory(prefix='h5serve-failure-') as folder:
        report = run(PROVOCATIONS[code](folder), '--json')
    return clean, text, report


def finding(text, code):
    """The paragraph about `code` in the text for people."""
    paragraphs = re.split(r'(?m)^  (?=(?:error|warning|info) [A-Z_0-9]+$)', text)
    return next((p.rstrip() for p in paragraphs if re.match(r'\w+ %s$' % code, p.split('\n')[0])),
                None)


def read_expected():
    with open(EXPECTED, encoding='utf-8') as file:
        return dict(re.findall(r'(?ms)^== (\w+)\n(.*?)\n(?=\n== |\n?\Z)', file.read()))


class FailuresTest(unittest.TestCase):
    maxDiff = None

    def test_every_code_is_provoked(self):
        codes = set(all_codes())

        self.assertEqual(set(), codes - set(PROVOCATIONS) - set(UNPROVOKED) - IN_SERVICE)
        self.assertEqual(set(), (set(PROVOCATIONS) | set(UNPROVOKED) | IN_SERVICE) - codes)

    def test_texts(self):
        expected = read_expected()
        for code in sorted(PROVOCATIONS):
            with self.subTest(code=code):
                clean, text, report = provoke(code)
                self.assertIn(text.returncode, (0, 1), text.stderr)
                self.assertEqual(expected.get(code), finding(clean, code), clean + text.stderr)
                entries = [e for e in json.loads(report.stdout)['diagnoses'] if e['code'] == code]
                self.assertTrue(entries)
                for entry in entries:
                    self.assertTrue(entry['message'])
                    self.assertTrue(entry['remedies'] or entry['severity'] == 'info', entry)
                    self.assertFalse(entry['message'].endswith('.'), entry)

    def test_signature_in_service(self):
        with tempfile.TemporaryDirectory() as folder, Daemon() as daemon:
            daemon.install(sound(folder), 'm.h5')
            daemon.wait_ready()
            other = write(os.path.join(folder, 'other.h5'), [dense('renamed', **INPUT)])
            daemon.install(other, 'm.h5')

            wait_until(lambda: daemon.find_log('model refused', reason='SIGNATURE_CHANGED'),
                       'the refusal')
            self.assertEqual(200, daemon.get('/readyz')[0])

    def test_reports_are_deterministic(self):
        for code in ('UNKNOWN_LAYER', 'UNBUILT_MODEL', 'WEIGHT_MISSING'):
            with tempfile.TemporaryDirectory(prefix='h5serve-failure-') as folder:
                case = PROVOCATIONS[code](folder)
                self.assertEqual(run(case, '--json').stdout, run(case, '--json').stdout)


def update():
    with open(EXPECTED, 'w', encoding='utf-8') as file:
        for code in all_codes():
            if code in PROVOCATIONS:
                clean, text, _ = provoke(code)
                found = finding(clean, code)
                if found is None:
                    print('%s is not provoked:\n%s%s' % (code, clean, text.stderr))
                file.write('== %s\n%s\n\n' % (code, found))


if __name__ == '__main__':
    if sys.argv[1:] == ['--update']:
        update()
    else:
        unittest.main()
