#!/usr/bin/python3
"""overload.py H5SERVE [--seconds S] [--check]: a queue that is held full.

Starts calls of mlp_big at four times the rate that the daemon answers, without waiting
for answers, and prints what becomes of them:

* accepted calls: their p99, against the bound that the queue promises: the batches that
  fit into the queue, and the one that runs, at the duration batches have meanwhile
* the daemon's memory, at the start and at its highest
* how soon after the end a call is as fast as before

With --check, exits with 1 when a bound does not hold.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'integration'))
sys.path.insert(0, HERE)
import make_models  # noqa: E402
from daemon import Daemon  # noqa: E402

QUEUE_ROWS = 64
OVERLOAD = 4
# Time that a call spends outside the queue: client and server share the CPUs.
ELSEWHERE_SECONDS = 0.05
RECOVERY_SECONDS = 1.0
# The bound is made of mean durations; the slowest hundredth may meet slower batches.
SPREAD = 1.25
GROWTH_BYTES = 64 << 20


def bench(arguments, daemon, *flags):
    printed = subprocess.run(
        [arguments.h5serve, 'bench', '--connect', daemon.grpc, '--model', 'mlp_big', '--json',
         *map(str, flags)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        encoding='utf-8').stdout
    return json.loads(printed)


def resident_bytes(pid):
    with open('/proc/%d/statm' % pid) as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


class Watch(threading.Thread):
    """The highest memory of a process until it is told to stop."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.highest, self.go_on = pid, 0, True

    def run(self):
        while self.go_on:
            self.highest = max(self.highest, resident_bytes(self.pid))
            time.sleep(0.2)


def single_call_seconds(client):
    start = time.monotonic()
    client.predict('mlp_big', {'dense_1_input': np.zeros((1, 1024), np.float32)})
    return time.monotonic() - start


def batches(daemon):
    """(count, seconds) of the batches computed so far."""
    return (daemon.metric('h5serve_compute_seconds_count', model='mlp_big'),
            daemon.metric('h5serve_compute_seconds_sum', model='mlp_big'))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('h5serve')
    parser.add_argument('--seconds', type=float, default=60)
    parser.add_argument('--check', action='store_true')
    arguments = parser.parse_args()
    os.environ['BINARY_UNDER_TEST'] = arguments.h5serve
    with tempfile.TemporaryDirectory(prefix='h5serve-bench-') as models:
        make_models.mlp(os.path.join(models, 'mlp_big.h5'), [1024, 4096, 4096, 1000])
        with Daemon('--batching-max-batch-size', '1', '--batching-max-queue-rows', str(QUEUE_ROWS),
                    models=models) as daemon:
            daemon.wait_ready()
            return measure(arguments, daemon)


def measure(arguments, daemon):
    client = daemon.client()
    before = sorted(single_call_seconds(client) for _ in range(21))[10]
    capacity = bench(arguments, daemon, '--concurrency', 16, '--seconds', 3)['requests_per_second']
    rate = OVERLOAD * capacity
    print(f'capacity {capacity:.0f} requests/s, offered {rate:.0f} for {arguments.seconds:g} s; '
          f'at most {QUEUE_ROWS} wait', flush=True)
    # What a full queue needs is there after a second of it.
    bench(arguments, daemon, '--rate', rate, '--seconds', 1)
    memory = resident_bytes(daemon.process.pid)
    watch = Watch(daemon.process.pid)
    watch.start()
    count, seconds = batches(daemon)
    result = bench(arguments, daemon, '--rate', rate, '--seconds', arguments.seconds)
    ended = time.monotonic()
    while single_call_seconds(client) > 2 * before + 0.005:
        pass
    recovery = time.monotonic() - ended
    watch.go_on = False
    watch.join()
    count, seconds = (b - a for a, b in zip((count, seconds), batches(daemon)))

    workers = int(next(line['threads'] for line in daemon.log if line.get('threads')))
    batch = seconds / count
    bound = (QUEUE_ROWS / workers + 1) * batch + ELSEWHERE_SECONDS
    p99 = result['p99_us'] / 1e6
    growth = watch.highest - memory
    print(f'accepted {result["answered"]}, {result["requests_per_second"]:.0f} requests/s; refused '
          f'{result["failed"]}; {workers} workers, a batch takes {batch * 1e3:.2f} ms')
    print(f'p99 of the accepted {p99 * 1e3:.1f} ms, bound {bound * 1e3:.1f} ms: {p99 / bound:.2f}x')
    print(f'memory {memory >> 20} MiB, highest {watch.highest >> 20} MiB')
    print(f'recovery {recovery * 1e3:.0f} ms (a call alone takes {before * 1e3:.1f} ms)', flush=True)
    good = p99 <= SPREAD * bound and growth <= GROWTH_BYTES and recovery <= RECOVERY_SECONDS
    if result['failed'] == 0:
        print('nothing was refused: the queue was never full')
        good = False
    return 0 if good or not arguments.check else 1


if __name__ == '__main__':
    sys.exit(main())
