#!/usr/bin/python3
"""check_deploy.py BINARY ROOT: are the names that deploy/ uses real?

Every metric of the rules and dashboards must be one that the binary exports, and
every option of the manifests and the Dockerfile one that it knows.
"""
import glob
import json
import os
import re
import subprocess
import sys

# A recording rule is named level:metric:operation; those are not exported.
METRIC = re.compile(r'(?<![\w:])(h5serve_[a-z0-9_]+|process_[a-z0-9_]+)(?![\w:])')
VARIABLE = re.compile(r'\bH5SERVE_[A-Z0-9_]+\b')
FLAG = re.compile(r'(?<![\w-])--([a-z][a-z0-9._-]+)')
# Flags in deploy/ and the Dockerfile that belong to other programs.
FOREIGN_LINES = re.compile(r'\b(cmake|useradd|docker|apt-get|promtool|kubectl|COPY)\b')


def printed(binary, *command):
    return subprocess.run([binary] + list(command), check=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, encoding='utf-8').stdout


def exported_names(rows):
    """Names of the samples of the metrics that `h5serve metrics --json` lists."""
    names = set()
    for row in rows:
        names.add(row['metric'])
        if row['kind'] == 'histogram':
            names.update(row['metric'] + suffix for suffix in ('_bucket', '_sum', '_count'))
    return names


def expressions(path, text):
    """The parts of a file that hold PromQL."""
    if path.endswith('.json'):
        found = []

        def walk(value):
            if isinstance(value, dict):
                found.extend(value[key] for key in ('expr', 'query')
                             if isinstance(value.get(key), str))
                for item in value.values():
                    walk(item)
            elif isinstance(value, list):
                for item in value:
                    walk(item)

        walk(json.loads(text))
        return '\n'.join(found)
    return text


def main():
    binary, root = os.path.abspath(sys.argv[1]), sys.argv[2]
    metrics = exported_names(json.loads(printed(binary, 'metrics', '--json')))
    options = json.loads(printed(binary, 'options', '--json'))
    variables = {row['variable'] for row in options}
    flags = {row['flag'].lstrip('-') for row in options}
    if not metrics or not options:
        sys.exit('the tables of the binary were not understood')

    problems, uses = [], 0
    files = [path for path in glob.glob(os.path.join(root, 'deploy', '**'), recursive=True)
             if os.path.isfile(path)] + [os.path.join(root, 'Dockerfile')]
    for path in sorted(files):
        name = os.path.relpath(path, root)
        with open(path, encoding='utf-8') as file:
            text = file.read()
        if name.startswith(('deploy/prometheus', 'deploy/grafana')):
            for metric in METRIC.findall(expressions(path, text)):
                uses += 1
                if metric not in metrics:
                    problems.append('%s: no such metric: %s' % (name, metric))
        for variable in VARIABLE.findall(text):
            uses += 1
            if variable not in variables:
                problems.append('%s: no such option: %s' % (name, variable))
        for line in text.splitlines():
            for flag in [] if FOREIGN_LINES.search(line) else FLAG.findall(line):
                uses += 1
                if flag not in flags:
                    problems.append('%s: no such flag: --%s' % (name, flag))
    for problem in sorted(set(problems)):
        print(problem)
    if problems or not uses:
        sys.exit(1)
    print('%d uses of metrics and options, all real' % uses)


if __name__ == '__main__':
    main()
