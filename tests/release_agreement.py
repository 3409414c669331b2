#!/usr/bin/python3
"""release_agreement.py H5SERVE MATRIX FOLDER [options]

Compares what `h5serve check` says of releases of Keras with what those releases
really did. MATRIX is JSON: {"files": {"PATH below FOLDER": {"RELEASE": "ok…" or
"error: TYPE: MESSAGE"}}}. Two things are counted: whether check says loads or
does not load, and where both say that it does not, whether check names the same
cause first. Exit status 1 below --minimum.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import re
import subprocess
import sys

# Errors as Keras prints them, and the cause that stands for each.
CAUSES = [
    ('UNREADABLE', r'Unable to open file \((file signature not found|truncated)'),
    ('FILE_NAME', r'accessible `\.keras` zip file'),
    ('NO_MODEL_CONFIG', r'No model (config )?found|Cannot create group in read.only mode'),
    ('SEQUENTIAL_FORM', r'KeyError: 0$|pop expected at most 1 argument'),
    ('LAMBDA_SAFE_MODE', r'Requested the deserialization of a `Lambda`'),
    ('LAMBDA_BYTECODE', r'bad marshal data|EOF read where object expected|code\(\) (takes|arg)'),
    ('LAMBDA_FUNCTION_NAME', r'Unknown function in Lambda'),
    ('UNKNOWN_INITIALIZER', r'Unknown initializer'),
    ('UNKNOWN_ACTIVATION', r'(Unknown|Invalid) activation function|interpret activation'),
    ('REGULARIZER_FORM', r'Improper config format'),
    ('UNKNOWN_CLASS', r'(Unknown|Invalid) layer:'),
    ('INTEGER_EMBEDDING', r"local variable 'NORM'|inner function of scan"),
    ('MISSING_ON_BACKEND', r'NotImplementedError'),
    ('OPTIMIZER_ARGUMENT', r'keyword argument passed to optimizer|Argument\(s\) not recognized'),
    ('OPTIMIZER_CLASS', r'Unknown optimizer'),
    ('LOSS_NAME', r"Could not deserialize 'keras\.(metrics|losses)|Could not locate function"),
    ('NODE_INDEX', r'Invalid Functional model configuration|node index out of bounds'),
    ('MISSING_ARGUMENT', r'missing \d+ required positional'),
    ('UNKNOWN_ARGUMENT', r'unexpected keyword|Keyword argument not understood|'
                         r'Unrecognized keyword|got multiple values for keyword'),
    ('WRAPPED_LAYER_FORM', r'Could not locate class|could not be deserialized properly'),
    ('INPUT_SHAPE_MISREAD',
     r'expected ndim|Kernel shape must have the same|fully-defined|tuple index out of range|'
     r'unsupported operand type'),
    ('WEIGHT_SHAPE', r'Shape mismatch|Weight count mismatch|Layer count mismatch'),
    ('CONSTRUCTOR', r'Error when deserializing class'),
]
# Errors whose text does not tell apart causes that check does tell apart.
ALSO = {
    'UNREADABLE': {'CONTAINER', 'FILE_NAME'},
    'WRAPPED_LAYER_FORM': {'UNKNOWN_CLASS', 'OPTIMIZER_CLASS', 'MODULE_PATH'},
    'WEIGHT_SHAPE': {'INPUT_SHAPE_MISREAD', 'ARGUMENT_MISREAD'},
    'CONSTRUCTOR': {'UNKNOWN_ARGUMENT', 'MISSING_ARGUMENT', 'INITIALIZER_ARGUMENT',
                    'ARGUMENT_MISREAD', 'UNKNOWN_ACTIVATION'},
}


def cause_of(error):
    for cause, pattern in CAUSES:
        if re.search(pattern, error):
            return cause
    return 'OTHER'


def line_of(release):
    return 'keras3' if release.startswith('3.') else 'keras'


def said_of(report, release, backend):
    """(loads, causes in order, errors) as check reports it, or None"""
    for entry in report.get('releases', []):
        if entry['line'] != line_of(release) or release not in entry['releases']:
            continue
        met = [o for o in entry['obstacles'] if o['only_with'] in ('', backend)]
        return not met, [o['cause'] for o in met], [o['error'] for o in met]
    return None


def check(h5serve, path):
    run = subprocess.run([h5serve, 'check', '--json', path], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE)
    try:
        return json.loads(run.stdout)
    except ValueError:
        return {'releases': []}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('h5serve')
    parser.add_argument('matrix')
    parser.add_argument('folder')
    parser.add_argument('--jobs', type=int, default=1)
    parser.add_argument('--minimum', type=float, default=0.95)
    parser.add_argument('--filter', default='')
    parser.add_argument('--every', type=int, default=1, help='a sample: every Nth file')
    parser.add_argument('--keras-backend', default='theano',
                        help='backend the releases before Keras 3 ran on (theano)')
    parser.add_argument('--show', type=int, default=40, help='disagreements to list (40)')
    options = parser.parse_args()

    with open(options.matrix) as stream:
        matrix = json.load(stream)['files']
    files = [f for f in sorted(matrix) if re.search(options.filter, f)
             and os.path.exists(os.path.join(options.folder, f))][::options.every]
    if not files:
        sys.exit('no file of the matrix lies below ' + options.folder)
    count = collections.defaultdict(collections.Counter)
    problems = []

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        paths = [os.path.join(options.folder, f) for f in files]
        reports = pool.map(lambda path: check(options.h5serve, path), paths)
        for name, report in zip(files, reports):
            for release, did in matrix[name].items():
                backend = options.keras_backend if line_of(release) == 'keras' else ''
                said = said_of(report, release, backend)
                loaded = did.startswith('ok')
                tally = count[release]
                tally['files'] += 1
                if said is None or said[0] != loaded:
                    problems.append((release, name, did, said))
                    continue
                tally['agree'] += 1
                if loaded:
                    continue
                tally['refused'] += 1
                cause = cause_of(did)
                if said[1][0] == cause or said[1][0] in ALSO.get(cause, ()):
                    tally['same cause'] += 1
                else:
                    problems.append((release, name, did, said))
    for release, name, did, said in problems[:options.show]:
        print('%-7s %s\n        did   %s\n        said  %s' % (release, name, did[:200], said))
    worst = 1.0
    for release, tally in sorted(count.items()):
        agree = tally['agree'] / tally['files']
        same = tally['same cause'] / max(1, tally['refused'])
        worst = min(worst, agree, same if tally['refused'] else 1.0)
        print('Keras %-7s %5d files  agree %6.2f %%  refused by both %5d  same cause %6.2f %%'
              % (release, tally['files'], 100 * agree, tally['refused'], 100 * same))
    sys.exit(0 if worst >= options.minimum else 1)


if __name__ == '__main__':
    main()
