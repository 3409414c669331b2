#!/usr/bin/python3
"""predict_test.py BINARY ARCHIVE [KNOWN_FAILURES]

Unpacks an archive of golden cases and runs `BINARY predict` on each. Outputs must
agree by position: max|a-b| / max(1, max|b|) <= 1e-4. Cases listed in
KNOWN_FAILURES (FOLDER/CASE, one a line) are reported and do not count; all
others must agree. Exit status 1 otherwise.
"""
import os
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np

TOLERANCE = 1e-4


def arrays(path):
    with np.load(path, allow_pickle=False) as archive:
        return [archive[name] for name in archive.files]


def run(binary, model):
    """None, or why the outputs are not the expected ones"""
    stem = os.path.splitext(model)[0]
    output = stem + '.got.npz'
    done = subprocess.run([binary, 'predict', model, stem + '.in.npz', '-o', output],
                          capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        return (done.stdout + done.stderr).strip()[-300:]
    got, want = arrays(output), arrays(stem + '.out.npz')
    if len(got) != len(want):
        return '%d outputs, expected %d' % (len(got), len(want))
    for a, b in zip(got, want):
        if a.shape != b.shape:
            return 'shape %s, expected %s' % (a.shape, b.shape)
        a, b = a.astype('float64'), b.astype('float64')
        if b.size and not np.abs(a - b).max() <= TOLERANCE * max(1.0, np.abs(b).max()):
            return 'differs by %g' % np.abs(a - b).max()
    return None


def main():
    binary, archive = sys.argv[1:3]
    known = set()
    if len(sys.argv) > 3:
        known = {line.strip() for line in open(sys.argv[3]) if line.strip() and line[0] != '#'}
    bad = 0
    with tempfile.TemporaryDirectory(prefix='golden-') as folder:
        with tarfile.open(archive) as tar:
            tar.extractall(folder)
        models = sorted(os.path.join(top, name) for top, _, names in os.walk(folder)
                        for name in names if name.endswith(('.h5', '.keras')))
        if not models:
            sys.exit('no cases in ' + archive)
        with ThreadPoolExecutor(2) as pool:
            for model, why in zip(models, pool.map(lambda m: run(binary, m), models)):
                group = os.path.basename(archive).split('.tar')[0]
                case = '%s/%s' % (group, os.path.splitext(os.path.basename(model))[0])
                if why is None:
                    continue
                print('known' if case in known else 'FAIL', case, why)
                bad += case not in known
    print('%d cases, %d unexpected' % (len(models), bad))
    sys.exit(bad != 0)


main()
