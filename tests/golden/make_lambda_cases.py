#!/usr/bin/python3
"""make_lambda_cases.py INTERPRETERS FOLDER [CODE.json]

Writes models with one Lambda layer each into FOLDER: bytecode compiled by the
Pythons below INTERPRETERS (2.7.x, 3.6.x … 3.13.x; one folder each, as pyenv has
them), stored as the Keras of each era stored it, with inputs and the outputs
that NumPy computes. What the code means is written twice, as source and as NumPy,
so that neither can hide a mistake of the other. 3.4 and 3.5 are written from
2.7's bytecode, whose instructions they share.

CODE.json becomes what tests/unit/model/lambda_code.json holds: bare code of some
sources in every version, and of others that must be refused.

    tests/golden/make_lambda_cases.py ~/.pyenv/versions /tmp/cases
    tar -C /tmp/cases --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -c . |
        xz -9e > tests/golden/cases/lambda-numpy.tar.xz
"""
import base64
import glob
import json
import os
import subprocess
import sys
import zlib

import h5py
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lambda_refused import REFUSED  # noqa: E402
from lambda_sources import CASES  # noqa: E402

import lambda_more_sources  # noqa: E402,F401 adds to CASES
import lambda_wild_sources  # noqa: E402,F401 adds to CASES
import lambda_language_sources  # noqa: E402,F401 adds to CASES

VERSIONS = ['2.7', '3.4', '3.5', '3.6', '3.7', '3.8', '3.9', '3.10', '3.11', '3.12', '3.13']
BORROWED = {'3.4': '2.7', '3.5': '2.7'}
# Eras of Keras that stored functions in their own ways.
ERAS = ['k1', 'k2raw', 'k2', 'tfk', 'k3']

COMPILE = r'''
from __future__ import division
import base64, json, marshal, sys
CODE = type((lambda: 0).__code__)
def dump(code):
    return base64.b64encode(marshal.dumps(code)).decode('ascii')
def parts(code):  # of 2.7, for the writer of later layouts
    def constant(c):
        if isinstance(c, CODE): return ['code', parts(c)]
        if isinstance(c, tuple): return ['tuple', [constant(x) for x in c]]
        if c is None: return ['none', None]
        if c is Ellipsis: return ['ellipsis', None]
        return [type(c).__name__, c]
    return dict(argcount=code.co_argcount, nlocals=code.co_nlocals, stacksize=code.co_stacksize,
                flags=code.co_flags & 0xff, code=base64.b64encode(code.co_code).decode('ascii'),
                consts=[constant(c) for c in code.co_consts], names=code.co_names,
                varnames=code.co_varnames, freevars=code.co_freevars, cellvars=code.co_cellvars,
                name=code.co_name)
result = []
for source in json.load(sys.stdin):
    if source is None:
        result.append(None)
        continue
    space = {}
    if source.lstrip().startswith('lambda'):
        function = eval(compile(source.strip(), '<string>', 'eval',
                                0x2000 if sys.version_info[0] == 2 else 0, True), space)
    else:
        exec(source, space)
        function = space['f']
    code = function.__code__
    closure = None
    if function.__closure__:
        closure = [c.cell_contents for c in function.__closure__]
    result.append([dump(code), function.__defaults__, closure,
                   parts(code) if sys.version_info[0] == 2 else None])
print(json.dumps(result))
'''

# Instructions of 2.7 that 3.4 and 3.5 have under another number, or not at all.
RENUMBERED = {94: 145}  # LIST_APPEND
ABSENT = {21, 30, 31, 32, 33, 50, 54, 58, 71, 72, 99, 132, 134, 13, 8, 5, 143, 81}


def marshalled(part, version):
    """Code object in the layout of 3.4 to 3.7; None when 2.7's cannot be had there."""
    def i32(n):
        return int(n).to_bytes(4, 'little', signed=True)

    def text(s):
        return b'u' + i32(len(s.encode())) + s.encode()

    def names(items):
        return b')' + bytes([len(items)]) + b''.join(text(s) for s in items)

    def constant(c):
        kind, value = c
        if kind == 'none':
            return b'N'
        if kind == 'ellipsis':
            return b'.'
        if kind == 'bool':
            return b'T' if value else b'F'
        if kind in ('int', 'long'):
            return b'i' + i32(value)
        if kind == 'float':
            return b'g' + np.float64(value).tobytes()
        if kind in ('str', 'unicode'):
            return text(value)
        if kind == 'tuple':
            return b')' + bytes([len(value)]) + b''.join(constant(x) for x in value)
        raise ValueError(kind)

    code = bytearray(base64.b64decode(part['code']))
    at = 0
    true_false = {n for n, name in enumerate(part['names']) if name in ('True', 'False', 'None')}
    consts = list(part['consts'])
    while at < len(code):
        op = code[at]
        if op in ABSENT:
            return None
        code[at] = RENUMBERED.get(op, op)
        if op >= 90:
            argument = code[at + 1] | code[at + 2] << 8
            if op == 116 and argument in true_false:  # LOAD_GLOBAL True
                name = part['names'][argument]
                consts.append(['none', None] if name == 'None' else ['bool', name == 'True'])
                code[at], code[at + 1], code[at + 2] = 100, len(consts) - 1, 0
        at += 3 if op >= 90 else 1
    try:
        stored = [constant(c) for c in consts]
    except ValueError:
        return None
    if len(stored) > 255:
        return None
    return (b'\xe3' + b''.join(i32(n) for n in (part['argcount'], 0, part['nlocals'],
                                                part['stacksize'], part['flags'] | 0x40)) +
            b's' + i32(len(code)) + bytes(code) + b')' + bytes([len(stored)]) + b''.join(stored) +
            names(part['names']) + names(part['varnames']) + names(part['freevars']) +
            names(part['cellvars']) + text('<string>') + text(part['name']) + i32(1) +
            b's' + i32(0))


def interpreter(folder, version):
    found = sorted(glob.glob(os.path.join(folder, version + '.*', 'bin', 'python')))
    if not found:
        sys.exit('no Python %s below %s' % (version, folder))
    return found[-1]


def compiled(folder, only=None):
    """{version: [[code, defaults, closure, parts] or None for each source]}"""
    result = {}
    for version in VERSIONS:
        if version in BORROWED:
            continue
        sources = only or [c['source'] if version in c.get('versions', VERSIONS) else None
                           for c in CASES]
        run = subprocess.run([interpreter(folder, version), '-c', COMPILE],
                             input=json.dumps(sources), capture_output=True, text=True)
        if run.returncode:
            sys.exit('Python %s: %s' % (version, run.stderr))
        result[version] = json.loads(run.stdout)
    for version, source in BORROWED.items():
        rows = []
        for row in result[source]:
            code = marshalled(row[3], version) if row else None
            rows.append([base64.b64encode(code).decode(), row[1], row[2], None] if code else None)
        result[version] = rows
    return result


def wrapped(text):
    return ''.join(text[i:i + 76] + '\n' for i in range(0, len(text), 76))


def stored(era, row):
    raw = base64.b64decode(row[0])
    if era in ('k1', 'k2raw'):
        # As marshal.dumps(…).decode('raw_unicode_escape') did.
        return [raw.decode('raw_unicode_escape'), row[1], row[2]]
    code = wrapped(row[0])
    if era == 'k3':
        return {'class_name': '__lambda__',
                'config': {'code': code, 'defaults': row[1], 'closure': row[2]}}
    return [code, row[1], row[2]]


def config(case, era, row, inputs):
    """model_config of a functional model with the Lambda, in the dialect of the era"""
    names = ['in_%d' % i for i in range(len(inputs))]
    function = stored(era, row)
    arguments = case.get('arguments', {})
    layers = []
    for name, value in zip(names, inputs):
        shape = [None] + list(value.shape[1:])
        if case.get('open'):
            shape = [None] * value.ndim
        if era == 'k3':
            layers.append({'module': 'keras.layers', 'class_name': 'InputLayer', 'name': name,
                           'config': {'batch_shape': shape, 'dtype': str(value.dtype),
                                      'sparse': False, 'name': name},
                           'registered_name': None, 'inbound_nodes': []})
        else:
            layers.append({'class_name': 'InputLayer', 'name': name, 'inbound_nodes': [],
                           'config': {'batch_input_shape': shape, 'name': name, 'sparse': False,
                                      'dtype' if era != 'k1' else 'input_dtype':
                                      str(value.dtype)}})
    layer = {'name': 'the_lambda', 'trainable': True, 'function': function}
    layer['arguments'] = arguments
    if era == 'k3':
        layer['dtype'] = {'module': 'keras', 'class_name': 'DTypePolicy',
                          'config': {'name': 'float32'}, 'registered_name': None}
        tensors = [{'class_name': '__keras_tensor__',
                    'config': {'shape': [None] + list(v.shape[1:]), 'dtype': str(v.dtype),
                               'keras_history': [n, 0, 0]}} for n, v in zip(names, inputs)]
        call = {'args': [tensors if len(tensors) > 1 else tensors[0]], 'kwargs': {}}
        layers.append({'module': 'keras.layers', 'class_name': 'Lambda', 'name': 'the_lambda',
                       'config': layer, 'registered_name': None, 'inbound_nodes': [call]})
        made = 'Functional'
    else:
        layer.update({'function_type': 'lambda', 'output_shape': None,
                      'output_shape_type': 'raw'})
        if era == 'tfk':
            layer.update({'dtype': 'float32', 'module': '__main__', 'output_shape_module': None})
        nodes = [[n, 0, 0] + ([{}] if era != 'k1' else []) for n in names]
        layers.append({'class_name': 'Lambda', 'name': 'the_lambda', 'config': layer,
                       'inbound_nodes': [nodes]})
        made = 'Functional' if era == 'tfk' else 'Model'
    outputs = [['the_lambda', 0, i] for i in range(case.get('outputs', 1))]
    return {'class_name': made,
            'config': {'name': 'model', 'layers': layers, 'input_layers':
                       [[n, 0, 0] for n in names], 'output_layers': outputs}}


WRITERS = {'k1': ('1.2.2', 'tensorflow'), 'k2raw': ('2.1.1', 'tensorflow'),
           'k2': ('2.2.4', 'tensorflow'), 'tfk': ('2.6.0', 'tensorflow'),
           'k3': ('3.3.3', 'tensorflow')}


def write(path, case, era, row, inputs, outputs):
    made = config(case, era, row, inputs)
    version, backend = WRITERS[era]
    with h5py.File(path + '.h5', 'w') as f:
        f.attrs['keras_version'] = version
        f.attrs['backend'] = case.get('backend', backend)
        f.attrs['model_config'] = json.dumps(made)
        group = f.create_group('model_weights')
        layers = [entry['name'] for entry in made['config']['layers']]
        group.attrs['layer_names'] = np.array(layers, 'S')
        group.attrs['keras_version'] = version
        group.attrs['backend'] = backend
        for name in layers:
            group.create_group(name).attrs['weight_names'] = np.zeros((0,))
    np.savez(path + '.in.npz', **{'i%d' % i: x for i, x in enumerate(inputs)})
    np.savez(path + '.out.npz', **{'o%d' % i: np.asarray(x) for i, x in enumerate(outputs)})


def write_code(codes, refused, path):
    """Bare code for the unit tests: some sources in every version, and what is refused."""
    rows = []
    for index, case in enumerate(CASES):
        if not case.get('all'):
            continue
        for version in VERSIONS:
            row = codes[version][index]
            if row:
                rows.append({'name': case['name'], 'python': version, 'inputs': case['inputs'],
                             'arguments': case.get('arguments', {}), 'function': row[:3]})
    for index, (name, _, inputs, says) in enumerate(REFUSED):
        for version in VERSIONS:
            row = refused[version][index]
            if row:
                rows.append({'name': name, 'python': version, 'inputs': inputs, 'refused': says,
                             'function': row[:3]})
    with open(path, 'w') as f:
        f.write('[\n' + ',\n'.join(json.dumps(row, sort_keys=True) for row in rows) + '\n]\n')


def main():
    folder, target = sys.argv[1:3]
    codes = compiled(os.path.expanduser(folder))
    os.makedirs(target, exist_ok=True)
    written = {}
    for index, case in enumerate(CASES):
        random = np.random.RandomState(zlib.crc32(case['name'].encode()))
        inputs = []
        for shape in case['inputs']:
            if shape and shape[0] == 'int':
                inputs.append(random.randint(0, shape[1], (3,) + tuple(shape[2:])).astype('int32'))
            else:
                inputs.append(random.uniform(-1, 1, (3,) + tuple(shape)).astype('float32'))
        outputs = case['numpy'](inputs if len(inputs) > 1 else inputs[0])
        if not isinstance(outputs, (list, tuple)):
            outputs = [outputs]
        outputs = [np.asarray(o, 'float32' if np.asarray(o).dtype.kind == 'f' else None)
                   for o in outputs]
        case['outputs'] = len(outputs)
        able = [v for v in VERSIONS if codes[v][index]]
        # Each version and each era comes around.
        picked = {able[(index * 3) % len(able)], able[(index * 3 + 5) % len(able)]}
        if case.get('all'):
            picked = set(able)
        for turn, version in enumerate(sorted(picked)):
            eras = [e for e in ERAS if e in case.get('eras', ERAS)]
            era = eras[(index + turn) % len(eras)]
            name = '%s_py%s_%s' % (case['name'], version.replace('.', ''), era)
            write(os.path.join(target, name), case, era, codes[version][index], inputs, outputs)
            written[name] = {'source': case['source'], 'python': version}
    with open(os.path.join(target, 'sources.json'), 'w') as f:
        json.dump(written, f, indent=1, sort_keys=True)
    if len(sys.argv) > 3:
        write_code(codes, compiled(os.path.expanduser(folder), [r[1] for r in REFUSED]),
                   sys.argv[3])
    print('%d cases, %d sources' % (len(written), len(CASES)))


if __name__ == '__main__':
    main()
