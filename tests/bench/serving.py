#!/usr/bin/python3
"""serving.py H5SERVE EMPTY_SERVER [--seconds S] [--rounds N]: what serving costs.

Measures, turn by turn in one run, the daemon and an empty gRPC callback handler
with the same payload over loopback TCP, and prints minima and ratios:

* 784 floats in, 10 out, the network 784-128-10, 16 and 64 calls outstanding
* a 224x224x3 float image into a tiny network: CPU time per request
* mlp_big (1024-4096-4096-1000) with 64 calls outstanding, batches against none
"""
import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'integration'))
sys.path.insert(0, HERE)
import make_models  # noqa: E402
from daemon import Daemon  # noqa: E402


def cpu_seconds(pid):
    with open(f'/proc/{pid}/stat') as file:
        fields = file.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


class Empty:
    def __init__(self, path, inputs, outputs):
        self.process = subprocess.Popen([path, '127.0.0.1:0', str(inputs), str(outputs)],
                                        stdout=subprocess.PIPE, encoding='utf-8')
        self.address = '127.0.0.1:' + self.process.stdout.readline().strip()

    def stop(self):
        self.process.kill()
        self.process.wait()


def load(h5serve, address, model, concurrency, seconds, pid):
    before = cpu_seconds(pid)
    printed = subprocess.run(
        [h5serve, 'bench', '--connect', address, '--model', model, '--concurrency',
         str(concurrency), '--seconds', str(seconds), '--json'],
        check=True, stdout=subprocess.PIPE, encoding='utf-8').stdout
    result = json.loads(printed)
    assert result['failed'] == 0 and result['answered'] > 0, result
    result['cpu_us'] = (cpu_seconds(pid) - before) / result['answered'] * 1e6
    return result


def best(results):
    return {'rate': max(r['requests_per_second'] for r in results),
            'p99': min(r['p99_us'] for r in results),
            'cpu': min(r['cpu_us'] for r in results)}


def against_empty(arguments, daemon, model, inputs, outputs, concurrency):
    empty = Empty(arguments.empty_server, inputs, outputs)
    ours, theirs = [], []
    for _ in range(arguments.rounds):
        theirs.append(load(arguments.h5serve, empty.address, model, concurrency,
                           arguments.seconds, empty.process.pid))
        ours.append(load(arguments.h5serve, daemon.grpc, model, concurrency, arguments.seconds,
                         daemon.process.pid))
    empty.stop()
    a, b = best(ours), best(theirs)
    print(f'{model:>10} {concurrency:>4} outstanding: '
          f'{a["rate"]:9.0f} requests/s, empty {b["rate"]:9.0f}: {a["rate"] / b["rate"]:5.1%}; '
          f'p99 {a["p99"]:7.0f} us, empty {b["p99"]:7.0f}: {a["p99"] / b["p99"]:.2f}x; '
          f'CPU {a["cpu"]:6.1f} us, empty {b["cpu"]:6.1f}: {a["cpu"] / b["cpu"]:.2f}x', flush=True)


def batching(arguments, models):
    rates = {}
    for size in (1, 64):
        with Daemon('--batching-max-batch-size', str(size), models=models) as daemon:
            daemon.wait_ready()
            results = [load(arguments.h5serve, daemon.grpc, 'mlp_big', 64, arguments.seconds,
                            daemon.process.pid) for _ in range(arguments.rounds)]
        rates[size] = best(results)['rate']
        print(f'   mlp_big   64 outstanding, max_batch_size {size:>2}: {rates[size]:9.0f} requests/s',
              flush=True)
    print(f'   mlp_big batches against none: {rates[64] / rates[1]:.1f}x')


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('h5serve')
    parser.add_argument('empty_server')
    parser.add_argument('--seconds', type=int, default=3)
    parser.add_argument('--rounds', type=int, default=3)
    arguments = parser.parse_args()
    os.environ['BINARY_UNDER_TEST'] = arguments.h5serve
    with tempfile.TemporaryDirectory(prefix='h5serve-bench-') as models:
        make_models.main(models)
        with Daemon(models=models) as daemon:
            daemon.wait_ready()
            for concurrency in (16, 64):
                against_empty(arguments, daemon, 'mlp_small', 784, 10, concurrency)
            against_empty(arguments, daemon, 'image', 224 * 224 * 3, 10, 16)
        batching(arguments, models)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f'CPU seconds in all: {usage.ru_utime + usage.ru_stime:.0f}')


if __name__ == '__main__':
    main()
