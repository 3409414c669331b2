#!/usr/bin/python3
"""loading.py H5SERVE [--mib N] [--rounds R] [FILE…]: time and memory of loading.

For each file (by default one of N MiB of Dense layers made on the spot): the time
of a load in the daemon beside that of reading all its datasets with h5py, turn by
turn, and the peak of the memory of the daemon and its reading child beside the
bytes of the weights. Memory counts what the load adds; shared pages once (PSS).
"""
import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'integration'))
sys.path.insert(0, HERE)
import make_models  # noqa: E402
from daemon import Daemon, wait_until  # noqa: E402

READ = '''
import sys, time, h5py
start = time.perf_counter()
total = 0
def visit(name, data):
    global total
    if isinstance(data, h5py.Dataset):
        total += data[()].nbytes
with h5py.File(sys.argv[1], 'r') as file:
    file['model_weights'].visititems(visit)
print(time.perf_counter() - start, total)
'''


def h5py_seconds(path):
    printed = subprocess.run([sys.executable, '-c', READ, path], check=True,
                             stdout=subprocess.PIPE, encoding='utf-8').stdout.split()
    return float(printed[0]), int(printed[1])


def pss(pid):
    try:
        with open(f'/proc/{pid}/smaps_rollup') as file:
            for line in file:
                if line.startswith('Pss:'):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def children(pid):
    try:
        found = []
        for task in os.listdir(f'/proc/{pid}/task'):
            with open(f'/proc/{pid}/task/{task}/children') as file:
                found += file.read().split()
        return found
    except OSError:
        return []


class Peak(threading.Thread):
    def __init__(self, pid):
        super().__init__()
        self.pid, self.peak, self.ended = pid, 0, threading.Event()
        self.start_bytes = pss(pid)

    def run(self):
        while not self.ended.is_set():
            now = pss(self.pid) + sum(pss(child) for child in children(self.pid))
            self.peak = max(self.peak, now)
            time.sleep(0.001)

    def stop(self):
        self.ended.set()
        self.join()
        return self.peak - self.start_bytes


def load_once(path):
    with Daemon() as daemon:
        wait_until(lambda: daemon.get('/livez')[0] == 200, 'the daemon lives')
        peak = Peak(daemon.process.pid)
        peak.start()
        os.symlink(os.path.abspath(path), os.path.join(daemon.models, 'model.h5'))

        def ended():
            for entry in daemon.log:
                if entry.get('message') in ('model serving', 'model refused'):
                    return entry
        entry = wait_until(ended, 'the load ends', 300)
        memory = peak.stop()
    assert entry['message'] == 'model serving', entry
    return sum(v for k, v in entry.items() if k.endswith('_ms')) / 1000, memory, entry


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('h5serve')
    parser.add_argument('files', nargs='*')
    parser.add_argument('--mib', type=int, default=100)
    parser.add_argument('--rounds', type=int, default=5)
    arguments = parser.parse_args()
    os.environ['BINARY_UNDER_TEST'] = arguments.h5serve
    with tempfile.TemporaryDirectory(prefix='h5serve-bench-') as folder:
        files = arguments.files
        if not files:
            files = [os.path.join(folder, 'dense.h5')]
            layers = 4
            width = int((arguments.mib * 2**20 / 4 / layers) ** 0.5)
            make_models.mlp(files[0], [width] * (layers + 1))
        for path in files:
            ours, theirs, peaks = [], [], []
            for _ in range(arguments.rounds):
                seconds, weights = h5py_seconds(path)
                theirs.append(seconds)
                seconds, memory, entry = load_once(path)
                if not ours or seconds < min(ours):
                    best = entry
                ours.append(seconds)
                peaks.append(memory)
            phases = ' '.join(f'{k[:-3]} {v:.0f}' for k, v in best.items() if k.endswith('_ms'))
            print(f'{os.path.basename(path)}: {weights / 2**20:.1f} MiB of weights; '
                  f'load {min(ours):.3f} s, h5py {min(theirs):.3f} s: '
                  f'{min(ours) / min(theirs):.2f}x; peak memory {min(peaks) / 2**20:.0f} MiB: '
                  f'{min(peaks) / weights:.2f}x; ms: {phases}', flush=True)


if __name__ == '__main__':
    main()
