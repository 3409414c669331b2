#!/usr/bin/env python3
"""make_opcode_table.py INTERPRETER…  > model/bytecode/opcodes.def

Writes the table of CPython's opcodes from what the interpreters (2.7 and 3.6 to
3.13, one of each) say in their own `opcode` modules. 3.4 and 3.5 are told by how
they differ from 3.6: Lib/opcode.py of the branches 3.4, 3.5 and 3.6.
"""
import json
import subprocess
import sys

VERSIONS = ['2.7', '3.4', '3.5', '3.6', '3.7', '3.8', '3.9', '3.10', '3.11', '3.12', '3.13']

ASK = '''
import json, opcode, sys
caches = getattr(opcode, '_inline_cache_entries', {})
if isinstance(caches, list):
    caches = dict((opcode.opname[i], n) for i, n in enumerate(caches))
print(json.dumps(['%d.%d' % sys.version_info[:2],
                  dict((n, c) for n, c in opcode.opmap.items() if c < 256),
                  dict((n, c) for n, c in caches.items() if c)]))
'''

# What 3.6 brought, and what it took away.
ADDED_36 = ['SETUP_ANNOTATIONS', 'STORE_ANNOTATION', 'CALL_FUNCTION_EX', 'FORMAT_VALUE',
            'BUILD_CONST_KEY_MAP', 'BUILD_STRING', 'BUILD_TUPLE_UNPACK_WITH_CALL']
ONLY_35 = {'CALL_FUNCTION_VAR': 140, 'CALL_FUNCTION_VAR_KW': 142, 'MAKE_CLOSURE': 134}
# The same for 3.5.
ADDED_35 = ['BINARY_MATRIX_MULTIPLY', 'INPLACE_MATRIX_MULTIPLY', 'GET_AITER', 'GET_ANEXT',
            'BEFORE_ASYNC_WITH', 'GET_YIELD_FROM_ITER', 'GET_AWAITABLE', 'WITH_CLEANUP_START',
            'WITH_CLEANUP_FINISH', 'BUILD_LIST_UNPACK', 'BUILD_MAP_UNPACK',
            'BUILD_MAP_UNPACK_WITH_CALL', 'BUILD_TUPLE_UNPACK', 'BUILD_SET_UNPACK',
            'SETUP_ASYNC_WITH']
ONLY_34 = {'STORE_MAP': 54, 'WITH_CLEANUP': 81}

# 2.7 wrote its slices and prints into the names.
RENAMED = {'SLICE+0': 'SLICE_0', 'SLICE+1': 'SLICE_1', 'SLICE+2': 'SLICE_2', 'SLICE+3': 'SLICE_3'}

# Read by the decoder itself, or only ever made at run time.
NEVER_SAVED = {'CACHE', 'EXTENDED_ARG', 'RESERVED', 'ENTER_EXECUTOR', 'INTERPRETER_EXIT'}


def plain(name):
    name = RENAMED.get(name, name)
    return name.replace('+', '_')


def main():
    codes, caches = {}, {}
    for interpreter in sys.argv[1:]:
        version, opmap, cache = json.loads(subprocess.check_output([interpreter, '-c', ASK]))
        codes[version] = {plain(n): c for n, c in opmap.items()}
        caches[version] = cache
    codes['3.5'] = {n: c for n, c in codes['3.6'].items() if n not in ADDED_36}
    codes['3.5'].update(ONLY_35)
    codes['3.4'] = {n: c for n, c in codes['3.5'].items() if n not in ADDED_35}
    codes['3.4'].update(ONLY_34)
    missing = [v for v in VERSIONS if v not in codes]
    if missing:
        sys.exit('no interpreter for ' + ' '.join(missing))
    names = sorted({n for v in VERSIONS for n in codes[v] if not n.startswith('INSTRUMENTED_')}
                   - NEVER_SAVED)
    print('// CPython\'s opcodes by version; -1: not there. Written by '
          'scripts/make_opcode_table.py.')
    print('//')
    print('// OP(name, %s)' % ', '.join(VERSIONS))
    for name in names:
        print('OP(%s, %s)' % (name, ', '.join(str(codes[v].get(name, -1)) for v in VERSIONS)))
    print()
    print('// Inline cache entries, two bytes each, that follow an instruction.')
    print('// CACHES(name, 3.11, 3.12, 3.13)')
    cached = sorted({n for v in VERSIONS[-3:] for n in caches[v]} & set(names))
    for name in cached:
        print('CACHES(%s, %s)' % (name, ', '.join(str(caches[v].get(name, 0))
                                                  for v in VERSIONS[-3:])))


if __name__ == '__main__':
    main()
