#!/usr/bin/python3
"""check_layering.py ROOT: keeps the order between the folders of the sources.

Includes point one way, config <- compute <- model <- server; libraries are
included only where they belong; files stay short; nothing is left unfinished.
Prints every violation as file:line: text, exit status 1 when there is any.
"""
import os
import re
import sys

# What the files of a folder may include.
MAY_INCLUDE = {
    'config': {'config'},
    'compute': {'compute', 'config'},
    'model': {'model', 'compute', 'config'},
    'proto': {'proto'},
    'server': {'server', 'model', 'compute', 'config', 'proto'},
    'tests': {'tests', 'server', 'model', 'compute', 'config', 'proto'},
}

# Library headers and the only places that may include them.
LIBRARIES = [
    (r'hdf5|H5\w*\.h', ('model/reader/',)),
    (r'seccomp\.h|linux/seccomp\.h|linux/filter\.h', ('model/reader/',)),
    (r'zip\.h', ('model/reader/', 'model/npz')),
    (r'Eigen/|unsupported/Eigen/', ('compute/',)),
    (r'\w*intrin\.h|cpuid\.h', ('compute/',)),
    (r'nlohmann/', ('config/', 'model/', 'server/')),
    (r'simdjson', ('server/',)),
    (r'openssl/', ('model/', 'server/')),
    (r'grpc|google/protobuf', ('server/',)),
    (r'prometheus/', ('server/',)),
    (r'spdlog/', ('server/',)),
    (r'Civet|civetweb', ('server/',)),
    (r'CLI/', ('server/',)),
    (r'dlfcn\.h', ('model/custom/',)),
    (r'benchmark/', ('tests/bench/',)),
]

# Headers of heavy libraries cost every file that includes them, so they stay out
# of our headers. Folders where they are allowed nevertheless:
HEAVY = [
    (r'nlohmann/json\.hpp', ()),
    (r'Eigen/', ('compute/kernels/',)),
    (r'spdlog/', ('server/log.h',)),
]

MAX_LINES = 500
# Files that may be longer, with the reason.
LONGER = {
    'compute/batcher.cc': 'one monitor: all of it works under the same lock',
    'model/dialect/config_keys.cc': 'one table',
    'model/functions/elementwise_functions.cc': 'one table',
    'model/functions/index_functions.cc': 'one table',
}

FORBIDDEN_EVERYWHERE = [
    (r'\b(?:TODO|FIXME|XXX)\b', 'unfinished work'),
    (r'not implemented yet', 'unfinished work'),
    (r'\b(?:GTEST_SKIP|DISABLED_\w+)', 'a test that does not run'),
    (r'(?<![\w.$}])/(?:home|root|Users|wor[k]|far[m])/', 'a path of one machine'),
    (r'\.\./shared', 'a path of one machine'),
]
FORBIDDEN_IN_SOURCES = [
    (r'^\s*using\s+namespace\b', 'using namespace'),
    (r'\babsl::(?:string_view|optional|variant|any)\b(?!\()', 'use the std type'),
]

SOURCE_FOLDERS = ('config', 'compute', 'model', 'proto', 'server')
TEXT_ENDINGS = ('.cc', '.h', '.def', '.py', '.sh', '.cmake', '.txt', '.proto', '.json', '.yaml',
                '.yml', '.mjs')
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def files_below(root):
    """Paths relative to `root` of everything that belongs to the project."""
    for folder, folders, files in os.walk(root):
        relative = os.path.relpath(folder, root)
        folders[:] = sorted(f for f in folders
                            if f not in ('build', 'node_modules', '__pycache__', '.git', '.cache'))
        for name in sorted(files):
            yield os.path.normpath(os.path.join(relative, name))


def check_include(path, opening, header):
    """What is wrong with one include line, or None."""
    folder = path.split('/')[0]
    target = header.split('/')[0]
    if target in MAY_INCLUDE and '/' in header:
        if target not in MAY_INCLUDE[folder]:
            return '%s/ must not include %s/' % (folder, target)
        if opening == '<':
            return 'own headers are included with quotes'
        return None
    if folder == 'tests':
        return None
    for pattern, places in LIBRARIES:
        if re.match(pattern, header) and not path.startswith(places):
            return '%s belongs to %s only' % (header, ', '.join(places))
    if path.endswith('.h'):
        for pattern, places in HEAVY:
            if re.match(pattern, header) and not (places and path.startswith(places)):
                return '%s does not belong into a header' % header
    if opening == '"' and '/' not in header:
        return 'includes are full paths from the root: %s' % header
    return None


def check_source(path, lines):
    folder = path.split('/')[0]
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if match:
            problem = check_include(path, match.group(1), match.group(2))
            if problem:
                yield number, problem
        code = line.split('//')[0]
        for pattern, meaning in FORBIDDEN_IN_SOURCES:
            if re.search(pattern, code) and not (folder == 'tests' and 'use the std' in meaning):
                yield number, meaning
    if path.endswith('.h') and not any(line.startswith('#pragma once') for line in lines):
        yield 1, 'header without #pragma once'


def check(root):
    """Yields (path, line, text) of every violation."""
    for path in files_below(root):
        if not path.endswith(TEXT_ENDINGS) or path == 'tests/check_layering.py':
            continue
        try:
            with open(os.path.join(root, path), encoding='utf-8') as file:
                lines = file.read().splitlines()
        except UnicodeDecodeError:
            yield path, 1, 'is not UTF-8'
            continue
        folder = path.split('/')[0]
        if path.endswith(('.cc', '.h')) and folder in MAY_INCLUDE:
            for number, text in check_source(path, lines):
                yield path, number, text
        if path.endswith(('.cc', '.h', '.py', '.cmake', '.mjs')):
            if len(lines) > MAX_LINES and path not in LONGER:
                yield path, len(lines), 'more than %d lines' % MAX_LINES
        for number, line in enumerate(lines, 1):
            for pattern, meaning in FORBIDDEN_EVERYWHERE:
                if re.search(pattern, line):
                    yield path, number, meaning


def main():
    violations = list(check(sys.argv[1] if len(sys.argv) > 1 else '.'))
    for path, number, text in violations:
        print('%s:%d: %s' % (path, number, text))
    if violations:
        sys.exit('%d violations' % len(violations))
    print('the folders are in order')


if __name__ == '__main__':
    main()
