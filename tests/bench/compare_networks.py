#!/usr/bin/python3
"""compare_networks.py OURS OTHER [--rounds N] [--column cpu_min_us]

Runs two commands in turn, N times, and prints for each network, batch size and
number of threads the least time of both and how often OURS fits into OTHER.
Both print lines of tab-separated columns under a header that names them, as
networks_bench does:

    model batch threads min_us median_us cpu_min_us cpu_median_us gflops

Machines are shared: only minima of runs in turn can be compared. With one
thread the CPU time is the better column where others use the machine too.
"""
import argparse
import shlex
import subprocess


def measure(command, column, least):
    """updates {(model, batch, threads): least time} with one run of a command"""
    output = subprocess.run(shlex.split(command), stdout=subprocess.PIPE, check=True, text=True)
    header = None
    for line in output.stdout.splitlines():
        fields = line.split('\t')
        if line.startswith('#') or len(fields) < 4:
            continue
        if header is None:
            header = fields
            continue
        row = dict(zip(header, fields))
        key = (row['model'], int(row['batch']), int(row['threads']))
        least[key] = min(float(row[column]), least.get(key, float('inf')))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('ours')
    parser.add_argument('other')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--column', default='min_us')
    arguments = parser.parse_args()
    ours, other = {}, {}
    for _ in range(arguments.rounds):
        measure(arguments.ours, arguments.column, ours)
        measure(arguments.other, arguments.column, other)
    print('| network | batch | threads | h5serve µs | other µs | ratio |')
    print('| --- | --- | --- | --- | --- | --- |')
    for key, time in ours.items():
        if key in other:
            model, batch, threads = key
            print(f'| {model} | {batch} | {threads} | {time:.1f} | {other[key]:.1f} | '
                  f'{other[key] / time:.2f} |')


if __name__ == '__main__':
    main()
