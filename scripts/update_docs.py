#!/usr/bin/python3
"""update_docs.py BINARY [--check]: writes the tables of the documentation.

A table stands between the lines <!-- h5serve COMMAND… --> and <!-- end -->, and is
what the binary prints for that command. With --check nothing is written, and the
exit status is 1 when a table is out of date or a link leads nowhere.
"""
import difflib
import glob
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TABLE = re.compile(r'(<!-- h5serve ([a-z -]+) -->\n)(.*?)(<!-- end -->)', re.S)
LINK = re.compile(r'\[[^\]]*\]\(([^)#\s]+)(?:#[^)\s]*)?\)')


def documents():
    return sorted(glob.glob(os.path.join(ROOT, '*.md')) +
                  glob.glob(os.path.join(ROOT, 'docs', '*.md')) +
                  glob.glob(os.path.join(ROOT, 'samples', '*.md')))


def with_tables(text, binary):
    """The text with every table as the binary prints it now."""
    def table(match):
        printed = subprocess.run([binary] + match.group(2).split(), check=True,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 encoding='utf-8').stdout
        return match.group(1) + printed.rstrip('\n') + '\n' + match.group(4)
    return TABLE.sub(table, text)


def dead_links(path, text):
    for target in LINK.findall(text):
        if '://' not in target and not os.path.exists(
                os.path.join(os.path.dirname(path), target)):
            yield target


def main():
    binary, check = os.path.abspath(sys.argv[1]), '--check' in sys.argv[2:]
    problems = 0
    for path in documents():
        name = os.path.relpath(path, ROOT)
        with open(path, encoding='utf-8') as file:
            old = file.read()
        for target in dead_links(path, old):
            print('%s: leads nowhere: %s' % (name, target))
            problems += 1
        new = with_tables(old, binary)
        if new == old:
            continue
        if check:
            problems += 1
            sys.stdout.writelines(difflib.unified_diff(
                old.splitlines(True), new.splitlines(True), name, name + ' (as it should be)'))
        else:
            with open(path, 'w', encoding='utf-8') as file:
                file.write(new)
            print('updated ' + name)
    if problems:
        sys.exit('%d problems; scripts/update_docs.py BINARY writes the tables anew' % problems)


if __name__ == '__main__':
    main()
