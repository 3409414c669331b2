#!/usr/bin/python3
"""swaps.py H5SERVE [--swaps N] [--clients C] [--models M]: swaps under load, and many models.

1. C calls outstanding, first in peace, then while N files arrive by turns good, bad
   (another signature), corrupt and slowly written: failed requests, p99 of both, and
   the resident memory after the tenth and the last swap.
2. M models in one directory: time until all serve, memory, CPU time of idle rescans.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'integration'))
sys.path.insert(0, HERE)
import h5py  # noqa: E402

import make_models  # noqa: E402
from daemon import SAMPLES, Daemon, wait_until  # noqa: E402
from serving import cpu_seconds  # noqa: E402


def resident_mib(pid):
    with open(f'/proc/{pid}/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 2**20


def load(h5serve, daemon, clients, seconds):
    printed = subprocess.run(
        [h5serve, 'bench', '--connect', daemon.grpc, '--model', 'network', '--concurrency',
         str(clients), '--seconds', str(seconds), '--json'],
        stdout=subprocess.PIPE, encoding='utf-8').stdout
    return json.loads(printed)


class Swapper(threading.Thread):
    """Puts a new file into place again and again and waits for what comes of it."""

    KINDS = ('good', 'bad', 'corrupt', 'slow')

    def __init__(self, daemon, folder, swaps):
        super().__init__()
        self.daemon, self.folder, self.swaps = daemon, folder, swaps
        self.resident = []
        make_models.mlp(os.path.join(folder, 'bad.h5'), [100, 10])

    def content(self, kind, index):
        """Bytes of a file of which no other has the same: known content is not read again."""
        path = os.path.join(self.folder, 'bad.h5' if kind == 'bad' else 'network.h5')
        with h5py.File(path, 'r+') as file:
            file['model_weights/dense_1/dense_1/bias:0'][0] = index * 1e-6
        with open(path, 'rb') as file:
            data = file.read()
        if kind == 'corrupt':
            # Not truncated: that is given 15 s to become whole.
            data = data[:128] + b'%08d' % index * 200 + data[128 + 1600:]
        return data

    def loads(self):
        return sum(1 for entry in list(self.daemon.log)
                   if entry.get('message') in ('model serving', 'model refused'))

    def run(self):
        for index in range(self.swaps):
            kind = self.KINDS[index % len(self.KINDS)]
            before = self.loads()
            data = self.content(kind, index)
            target = os.path.join(self.daemon.models, 'network.h5')
            if kind == 'slow':
                with open(target, 'wb', buffering=0) as file:
                    for start in range(0, len(data), len(data) // 10 + 1):
                        file.write(data[start:start + len(data) // 10 + 1])
                        time.sleep(0.01)
            else:
                temporary = os.path.join(self.daemon.models, '.incoming')
                with open(temporary, 'wb') as file:
                    file.write(data)
                os.replace(temporary, target)
            wait_until(lambda: self.loads() > before, f'file {index} ({kind}) is dealt with')
            self.resident.append(resident_mib(self.daemon.process.pid))


def swaps(arguments):
    with Daemon() as daemon:
        make_models.mlp(os.path.join(daemon.folder, 'network.h5'), [784, 128, 10])
        shutil.copyfile(os.path.join(daemon.folder, 'network.h5'),
                        os.path.join(daemon.models, 'network.h5'))
        daemon.wait_ready()
        load(arguments.h5serve, daemon, arguments.clients, 1)
        steady = load(arguments.h5serve, daemon, arguments.clients, 5)
        swapper = Swapper(daemon, daemon.folder, arguments.swaps)
        swapper.start()
        during, failed, answered = [], 0, 0
        while swapper.is_alive():
            result = load(arguments.h5serve, daemon, arguments.clients, 5)
            failed += result['failed']
            answered += result['answered']
            during.append(result['p99_us'])
        swapper.join()
        kinds = {result: sum(1 for entry in daemon.log if entry.get('message') == 'model ' + result)
                 for result in ('serving', 'refused')}
    print(f'{arguments.swaps} files under {arguments.clients} clients: {answered} requests, '
          f'{failed} failed; {kinds["serving"]} loads served, {kinds["refused"]} refused')
    print(f'p99 in peace {steady["p99_us"]:.0f} us, during swaps {sorted(during)[len(during) // 2]:.0f} '
          f'us (median of {len(during)} runs): {sorted(during)[len(during) // 2] / steady["p99_us"]:.2f}x')
    if len(swapper.resident) > 10:
        print(f'resident {swapper.resident[9]:.1f} MiB after 10 files, {swapper.resident[-1]:.1f} '
              f'after all: {swapper.resident[-1] / swapper.resident[9]:.3f}x')


def many(arguments):
    daemon = Daemon('--poll-interval', '1s', '--load-threads', '2')
    for index in range(arguments.models):
        shutil.copyfile(os.path.join(SAMPLES, 'models', 'iris.h5'),
                        os.path.join(daemon.models, f'iris{index}.h5'))
    start = time.monotonic()
    with daemon:
        wait_until(lambda: daemon.get('/readyz')[0] == 200, 'all models serve', 600)
        ready = time.monotonic() - start
        pid = daemon.process.pid
        before = cpu_seconds(pid)
        time.sleep(10)
        idle = cpu_seconds(pid) - before
        print(f'{arguments.models} models: ready after {ready:.1f} s, '
              f'{resident_mib(pid):.0f} MiB resident, '
              f'{idle / 10 * 1000:.1f} ms CPU per idle second (a scan each second)')


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('h5serve')
    parser.add_argument('--swaps', type=int, default=200)
    parser.add_argument('--clients', type=int, default=32)
    parser.add_argument('--models', type=int, default=1000)
    arguments = parser.parse_args()
    os.environ['BINARY_UNDER_TEST'] = arguments.h5serve
    swaps(arguments)
    many(arguments)


if __name__ == '__main__':
    main()
