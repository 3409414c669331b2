#!/usr/bin/python3
"""check_rpcs.py ROOT: docs/rpcs.md has every call of proto/, with tests that make it."""
import os
import re
import sys

SERVICE = re.compile(r'^service (\w+) \{(.*?)^\}', re.S | re.M)
PACKAGE = re.compile(r'^package ([\w.]+);', re.M)
RPC = re.compile(r'\brpc (\w+)\s*\(')
ROW = re.compile(r'^\| (\w+) \|.*\| (.*) \|$', re.M)
TEST = re.compile(r'`(\w+)\.(test_\w+)`')


def read(*parts):
    with open(os.path.join(*parts), encoding='utf-8') as file:
        return file.read()


def rpcs(root):
    """{service: {method}} of proto/."""
    services = {}
    for name in sorted(os.listdir(os.path.join(root, 'proto'))):
        if not name.endswith('.proto'):
            continue
        text = read(root, 'proto', name)
        for service, body in SERVICE.findall(text):
            services[PACKAGE.search(text).group(1) + '.' + service] = set(RPC.findall(body))
    return services


def test_body(text, name):
    """The source of a test, or None."""
    match = re.search(r'^    def %s\(.*?(?=^    def |^class |\Z)' % name, text, re.S | re.M)
    return match.group(0) if match else None


def helper_names(text, method):
    """Names of the functions of a test file that make the call."""
    return [name for name, body in re.findall(
        r'^    def (\w+)\(((?:.*?)(?=^    def |^class |\Z))', text, re.S | re.M)
            if makes(body, method) and not name.startswith('test_')]


def makes(source, method):
    python_client = {'GetModelMetadata': 'client.metadata', 'GetModelStatus': 'client.status',
                     'Predict': '.predict('}
    return '.%s' % method in source or python_client.get(method, '\0') in source


def problems(root):
    text = read(root, 'docs', 'rpcs.md')
    sections = dict(re.findall(r'^## ([\w.]+)\n(.*?)(?=^## |\Z)', text, re.S | re.M))
    for service, methods in sorted(rpcs(root).items()):
        rows = ROW.findall(sections.get(service, ''))
        listed = [method for method, _ in rows if method != 'call']
        for method in sorted(methods - set(listed)):
            yield '%s/%s has no row in docs/rpcs.md' % (service, method)
        for method in sorted(set(listed) - methods):
            yield '%s/%s is in docs/rpcs.md but not in proto/' % (service, method)
        for method, tests in rows:
            if method == 'call':
                continue
            if not TEST.findall(tests):
                yield '%s/%s names no test' % (service, method)
            for file, test in TEST.findall(tests):
                source = read(root, 'tests', 'integration', file + '_test.py')
                body = test_body(source, test)
                if body is None:
                    yield '%s.%s does not exist' % (file, test)
                elif not makes(body, method) and not any(
                        'self.%s(' % name in body for name in helper_names(source, method)):
                    yield '%s.%s does not call %s' % (file, test, method)


def main():
    found = list(problems(sys.argv[1]))
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
