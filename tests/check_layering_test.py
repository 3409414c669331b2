#!/usr/bin/python3
"""Plants violations and sees whether check_layering.py finds each."""
import os
import tempfile
import unittest

import check_layering


def violations(files):
    with tempfile.TemporaryDirectory() as root:
        for path, text in files.items():
            path = os.path.join(root, path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, 'w', encoding='utf-8') as file:
                file.write(text)
        return [text for _, _, text in check_layering.check(root)]


class LayeringTest(unittest.TestCase):

    def test_accepts_includes_to_the_left(self):
        self.assertEqual([], violations({
            'server/a.cc': '#include "model/load.h"\n#include "proto/x.pb.h"\n',
            'model/b.cc': '#include "compute/tensor.h"\n#include <vector>\n',
        }))

    def test_refuses_includes_to_the_right(self):
        self.assertEqual(['compute/ must not include model/'],
                         violations({'compute/a.cc': '#include "model/load.h"\n'}))
        self.assertEqual(['model/ must not include proto/'],
                         violations({'model/a.cc': '#include "proto/x.pb.h"\n'}))

    def test_keeps_libraries_at_home(self):
        for path, header in [('model/a.cc', 'hdf5.h'), ('server/a.cc', 'Eigen/Dense'),
                             ('compute/a.cc', 'nlohmann/json.hpp'), ('model/a.cc', 'grpcpp/grpcpp.h'),
                             ('model/a.cc', 'spdlog/spdlog.h'), ('compute/a.cc', 'prometheus/x.h'),
                             ('server/a.cc', 'immintrin.h'), ('server/a.cc', 'zip.h')]:
            found = violations({path: '#include <%s>\n' % header})
            self.assertEqual(1, len(found), '%s in %s: %s' % (header, path, found))
        self.assertEqual([], violations({'model/reader/a.cc': '#include <hdf5.h>\n'}))

    def test_keeps_json_out_of_headers(self):
        self.assertEqual(1, len(violations(
            {'model/a.h': '#pragma once\n#include <nlohmann/json.hpp>\n'})))

    def test_refuses_using_namespace_and_missing_guard(self):
        self.assertEqual(['using namespace'], violations({'model/a.cc': 'using namespace std;\n'}))
        self.assertEqual(['header without #pragma once'], violations({'model/a.h': 'int a;\n'}))

    def test_refuses_long_files(self):
        self.assertEqual(['more than 500 lines'], violations({'model/a.cc': '\n' * 501}))

    def test_refuses_unfinished_work_and_local_paths(self):
        unfinished = 'TO' + 'DO'
        self.assertEqual(['unfinished work'], violations({'model/a.cc': '// %s: x\n' % unfinished}))
        self.assertEqual(['a path of one machine'],
                         violations({'scripts/a.sh': 'cd %s\n' % '/'.join(['', 'home', 'me', ''])}))


if __name__ == '__main__':
    unittest.main()
