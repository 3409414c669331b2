#!/usr/bin/python3
"""Files arrive by every tool people use; each content is loaded once, and only whole."""
import hashlib
import os
import shutil
import subprocess
import time
import unittest

import h5py
import numpy as np

from daemon import SAMPLES, Daemon, wait_until

IRIS = os.path.join(SAMPLES, 'models', 'iris.h5')
INPUT = 'measurements_input'
X = np.array([[5.1, 3.5, 1.4, 0.2]], np.float32)


def digest(path):
    with open(path, 'rb') as file:
        return hashlib.sha256(file.read()).hexdigest()


def variant(target, seed):
    """The iris model with other weights; its digest."""
    shutil.copyfile(IRIS, target)
    random = np.random.default_rng(seed)
    with h5py.File(target, 'r+') as file:

        def scramble(name, data):
            if isinstance(data, h5py.Dataset) and data.dtype == np.float32:
                data[...] = random.normal(size=data.shape)

        file['model_weights'].visititems(scramble)
    return digest(target)


class ArrivalTest(unittest.TestCase):

    flags = ()

    def setUp(self):
        self.daemon = Daemon(*self.flags)
        self.sources = os.path.join(self.daemon.folder, 'sources')
        os.mkdir(self.sources)
        self.daemon.start()
        self.addCleanup(shutil.rmtree, self.daemon.folder, ignore_errors=True)
        self.addCleanup(lambda: self.assertEqual(0, self.daemon.stop()))

    def source(self, seed):
        path = os.path.join(self.sources, '%d.h5' % seed)
        return path, variant(path, seed)

    def place(self, *parts):
        return os.path.join(self.daemon.models, *parts)

    def loaded(self, result):
        return [entry for entry in list(self.daemon.log)
                if entry.get('message') == 'model ' + result]

    def served(self):
        """Digests that came into service, in order."""
        return [entry['sha256'] for entry in self.loaded('serving')]

    def expect_served(self, *digests):
        """Exactly these contents have come into service, and nothing was refused."""
        wait_until(lambda: self.served()[-1:] == [digests[-1]], 'the last content serves')
        time.sleep(0.3)  # whatever else would be loaded wrongly
        self.assertEqual(list(digests), self.served())
        self.assertEqual([], self.loaded('refused'))

    def tool(self, *command):
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)

    def test_cp(self):
        first, a = self.source(1)
        second, b = self.source(2)
        self.tool('cp', first, self.place('iris.h5'))
        self.expect_served(a)
        self.tool('cp', second, self.place('iris.h5'))
        self.expect_served(a, b)

    def test_mv(self):
        first, a = self.source(1)
        second, b = self.source(2)
        self.tool('mv', first, self.place('iris.h5'))
        self.expect_served(a)
        self.tool('mv', second, self.place('iris.h5'))
        self.expect_served(a, b)

    def test_rsync(self):
        first, a = self.source(1)
        second, b = self.source(2)
        self.tool('rsync', first, self.place('iris.h5'))
        self.expect_served(a)
        self.tool('rsync', '--ignore-times', second, self.place('iris.h5'))
        self.expect_served(a, b)

    def test_rsync_inplace(self):
        first, a = self.source(1)
        second, b = self.source(2)
        self.tool('rsync', '--inplace', first, self.place('iris.h5'))
        self.expect_served(a)
        self.tool('rsync', '--inplace', '--ignore-times', second, self.place('iris.h5'))
        self.expect_served(a, b)

    def test_hard_link(self):
        first, a = self.source(1)
        second, b = self.source(2)
        self.tool('ln', first, self.place('iris.h5'))
        self.expect_served(a)
        self.tool('ln', '-f', second, self.place('iris.h5'))
        self.expect_served(a, b)

    def test_symbolic_link(self):
        first, a = self.source(1)
        second, b = self.source(2)
        self.tool('ln', '-s', first, self.place('iris.h5'))
        self.expect_served(a)
        self.tool('ln', '-sfn', second, self.place('iris.h5'))
        self.expect_served(a, b)

    def test_slow_copy(self):
        first, a = self.source(1)
        with open(first, 'rb') as file:
            data = file.read()
        with open(self.place('iris.h5'), 'wb', buffering=0) as file:
            step = len(data) // 20 + 1
            for start in range(0, len(data), step):
                file.write(data[start:start + step])
                time.sleep(0.03)
        self.expect_served(a)

    def test_h5py_in_place(self):
        self.tool('cp', IRIS, self.place('iris.h5'))
        before = digest(IRIS)
        self.expect_served(before)
        after = variant(self.place('iris.h5'), 3)
        # Copying the original over itself is no news; what h5py then writes is.
        wait_until(lambda: self.served()[-1:] == [after], 'what h5py wrote serves')
        self.assertEqual([before, after], self.served())

    def test_config_map(self):
        """Kubernetes: name -> ..data/name, ..data -> ..TIMESTAMP, moved as a whole."""
        first, a = self.source(1)
        second, b = self.source(2)
        os.mkdir(self.place('..2026_1'))
        shutil.copyfile(first, self.place('..2026_1', 'iris.h5'))
        os.symlink('..2026_1', self.place('..data'))
        os.symlink('..data/iris.h5', self.place('iris.h5'))
        self.expect_served(a)
        os.mkdir(self.place('..2026_2'))
        shutil.copyfile(second, self.place('..2026_2', 'iris.h5'))
        os.symlink('..2026_2', self.place('..data_tmp'))
        os.rename(self.place('..data_tmp'), self.place('..data'))
        shutil.rmtree(self.place('..2026_1'))
        self.expect_served(a, b)

    def test_version_folders(self):
        first, a = self.source(1)
        second, b = self.source(2)
        os.makedirs(self.place('iris', '1'))
        self.tool('cp', first, self.place('iris', '1', 'model.h5'))
        self.expect_served(a)
        folder = os.path.join(self.sources, '2')
        os.mkdir(folder)
        shutil.copyfile(second, os.path.join(folder, 'model.h5'))
        self.tool('mv', folder, self.place('iris', '2'))
        self.expect_served(a, b)

    def test_replaced_directory(self):
        first, a = self.source(1)
        second, b = self.source(2)
        self.tool('cp', first, self.place('iris.h5'))
        self.expect_served(a)
        fresh = os.path.join(self.daemon.folder, 'fresh')
        os.mkdir(fresh)
        shutil.copyfile(second, os.path.join(fresh, 'iris.h5'))
        os.rename(self.daemon.models, os.path.join(self.daemon.folder, 'old'))
        os.rename(fresh, self.daemon.models)
        self.expect_served(a, b)

    def test_strange_names_harm_nobody(self):
        """FIFOs, loops, folders named like files, odd names; a good model serves on."""
        os.mkfifo(self.place('fifo.h5'))
        os.symlink('loop.h5', self.place('loop.h5'))
        os.symlink('nowhere', self.place('dangling.h5'))
        os.mkdir(self.place('folder.h5'))
        good, content = self.source(1)
        encoded = os.fsencode(self.daemon.models)
        names = [b'with space.h5', b'quote\'s "all".h5', b'\xff\xfe.h5', b'n' * 252 + b'.h5']
        for name in names:
            shutil.copyfile(good, os.path.join(encoded, name))
        wait_until(lambda: len(self.served()) >= 3, 'models with odd names serve')
        self.assertEqual({content}, set(self.served()))
        client = self.daemon.client()
        outputs = client.predict('with space', {INPUT: X})
        self.assertEqual((1, 3), next(iter(outputs.values())).shape)
        status, text = self.daemon.get('/status.json')
        self.assertEqual(200, status, text)

    def test_ten_thousand_other_files(self):
        for i in range(10000):
            open(self.place('file%d.%s' % (i, 'h5.part' if i % 2 else 'txt')), 'w').close()
        good, content = self.source(1)
        shutil.copyfile(good, self.place('m.h5'))
        wait_until(lambda: self.served() == [content], 'the model among them serves')


class PollingTest(ArrivalTest):
    """The same without inotify."""

    flags = ('--no-inotify', '--poll-interval', '250ms')


if __name__ == '__main__':
    unittest.main()
