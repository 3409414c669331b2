#!/usr/bin/python3
"""The same over HTTP: every member of a body wrong in every way, for both REST APIs."""
import http.client
import json
import unittest

from bad_input_case import BadInputCase, feed


class BadHttpInputTest(BadInputCase):

    def post(self, path, body, headers=None):
        connection = http.client.HTTPConnection(self.daemon.http, timeout=30)
        connection.request('POST', path, body, headers or {})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, text

    def rest_table(self, path, table):
        for what, body, status, pieces in table:
            with self.subTest(what):
                got, text = self.post(path, body if isinstance(body, (str, bytes)) else
                                      json.dumps(body))
                self.assertEqual(status, got, (what, text))
                for piece in pieces:
                    self.assertIn(piece, json.loads(text)['error'] if status != 200 else text, what)

    def test_rest_predict(self):
        row = {'left': [1, 2, 3], 'right': [1, 2]}
        columns = {'left': [[1, 2, 3]], 'right': [[1, 2]]}
        changed = lambda **fields: dict(row, **fields)
        self.rest_table('/v1/models/pair:predict', [
            ('good rows', {'instances': [row, row]}, 200, []),
            ('good columns', {'inputs': columns}, 200, []),
            ('not an object', [row], 400, ['object']), ('nothing', {}, 400, ['instances']),
            ('both', {'instances': [row], 'inputs': columns}, 400, ['either']),
            ('rows without names', {'instances': [[1, 2, 3]]}, 400, ['2 inputs']),
            ('columns without names', {'inputs': [[1, 2, 3]]}, 400, ['2 inputs']),
            ('mixed rows', {'instances': [row, [1, 2, 3]]}, 400, ['some']),
            ('no rows', {'instances': []}, 400, ['empty']),
            ('missing', {'instances': [{'left': [1, 2, 3]}]}, 400, ['required: {right}']),
            ('extra', {'instances': [changed(more=1)]}, 400, ['extra: {more}']),
            ('twice', '{"instances": [{"left": [1,2,3], "left": [1,2,3], "right": [1,2]}]}', 400,
             ['left', 'more than once']),
            ('too short', {'instances': [changed(left=[1, 2])]}, 400, ['left', '(None, 3)']),
            ('a number', {'instances': [changed(left=1)]}, 400, ['left', '(None, 3)']),
            ('too deep', {'instances': [changed(left=[[[[[[[[[1]]]]]]]]])]}, 400, ['left']),
            ('ragged', {'instances': [row, changed(left=[1, 2])]}, 400, ['left', 'ragged']),
            ('strings', {'instances': [changed(left=['a', 'b', 'c'])]}, 400, ['left', 'string']),
            ('null', {'instances': [changed(left=[1, None, 3])]}, 400, ['left', 'null']),
            ('booleans', {'instances': [changed(left=[True, False, True])]}, 400,
             ['left', 'boolean']),
            ('other rows', {'inputs': dict(columns, right=[[1, 2], [3, 4]])}, 400, ['right']),
            ('signature', {'instances': [row], 'signature_name': 'x'}, 400,
             ['Serving signature key']),
            ('signature of a number', {'instances': [row], 'signature_name': 3}, 400,
             ['signature_name']),
            ('cut', '{"instances": [{"left"', 400, ['JSON']), ('empty', '', 400, ['JSON']),
            ('nested lists', '[' * 200000, 400, ['JSON']), ('bytes', b'\xff\xfe', 400, ['JSON']),
            ('large numbers', {'instances': [changed(left=[1e308, -1e308, 0])]}, 200, []),
        ])
        for path, status, piece in [('nobody', 404, 'Latest(nobody)'),
                                    ('pair/versions/9', 404, 'Specific(pair, 9)'),
                                    ('pair/versions/x', 404, 'Malformed'),
                                    ('pair/versions/-', 404, 'Malformed'),
                                    ('pair/labels/x', 400, 'x'), ('pair/labels/stable', 200, '')]:
            got, text = self.post('/v1/models/%s:predict' % path, json.dumps({'instances': [row]}))
            self.assertEqual(status, got, (path, text))
            self.assertIn(piece, text)

    def test_rest_infer(self):
        def body(change=None, **fields):
            value = {'inputs': [{'name': name, 'datatype': 'FP32', 'shape': list(array.shape),
                                 'data': array.reshape(-1).tolist()}
                                for name, array in feed().items()]}
            value.update(fields)
            if change:
                value['inputs'][0].update(change)
            return value

        def without(key):
            value = body()
            del value['inputs'][0][key]
            return value

        self.rest_table('/v2/models/pair/infer', [
            ('good', body(), 200, []), ('no inputs', {}, 400, ['inputs']),
            ('inputs of a number', {'inputs': 3}, 400, ['inputs']),
            ('input of a number', {'inputs': [3]}, 400, ['object']),
            ('no name', without('name'), 400, ['required: {left}']),
            ('no datatype', without('datatype'), 400, ['left', 'FP32']),
            ('no shape', without('shape'), 400, ['left', 'shape']),
            ('no data', without('data'), 400, ['left', 'data']),
            ('datatype', body({'datatype': 'FP64'}), 400, ['left', 'FP64', 'FP32']),
            ('shape of fractions', body({'shape': [2.5, 3]}), 400, ['left', 'integers']),
            ('negative', body({'shape': [-2, 3]}), 400, ['left', 'negative']),
            ('overflow', body({'shape': [2**62, 3]}), 400, ['left', 'bytes']),
            ('too large for integers', body({'shape': [2**64, 3]}), 400, ['JSON']),
            ('other rank', body({'shape': [6]}), 400, ['left', '(None, 3)']),
            ('empty batch', body({'shape': [0, 3], 'data': []}), 400, []),
            ('too few', body({'data': [1, 2]}), 400, ['left', '2', '6']),
            ('too many', body({'data': [1] * 7}), 400, ['left', '6']),
            ('strings', body({'data': ['a'] * 6}), 400, ['left', 'string']),
            ('data of a number', body({'data': 3}), 400, ['left']),
            ('binary without bytes', body({'parameters': {'binary_data_size': 24}}), 400,
             ['left', 'binary_data_size']),
            ('negative binary', body({'parameters': {'binary_data_size': -1}}), 400,
             ['left', 'binary_data_size']),
            ('unknown output', body(outputs=[{'name': 'x'}]), 400, ['x', '{both}']),
            ('outputs of a number', body(outputs=3), 400, ['outputs']),
            ('output of a number', body(outputs=[3]), 400, ['output']),
            ('classes', body(outputs=[{'name': 'both', 'parameters': {'classification': 0}}]), 400,
             ['both', 'positive']),
            ('id of a number', body(id=3), 400, ['id']),
            ('not JSON', 'x', 400, ['JSON']),
        ])
        for length in ('-1', '5', 'x', '99999999999999999999'):
            status, text = self.post('/v2/models/pair/infer', b'{}',
                                     {'Inference-Header-Content-Length': length})
            self.assertEqual(400, status)
            self.assertIn('Inference-Header-Content-Length', text)
        raw = {'Inference-Header-Content-Length': '0', 'Content-Type': 'application/octet-stream'}
        for model, piece in [('pair', 'one input'), ('words', 'one string')]:
            status, text = self.post('/v2/models/%s/infer' % model, b'red', raw)
            self.assertEqual(400, status, text)
            self.assertIn(piece, text)
        for path, status in [('nobody', 404), ('pair/versions/9', 404), ('pair/versions/x', 400)]:
            self.assertEqual(status, self.post('/v2/models/%s/infer' % path,
                                               json.dumps(body()))[0], path)


if __name__ == '__main__':
    unittest.main()
