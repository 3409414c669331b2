#!/usr/bin/python3
"""Every field of a request wrong in every way, over both gRPC APIs: the code that clients
look at, and a text that names what is wrong and what is right."""
import unittest

import grpc
import numpy as np

from bad_input_case import BadInputCase, feed
from h5serve_client import to_proto

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
OK = grpc.StatusCode.OK

# Shapes of the input "left", which takes (None, 3), with what the text must say.
BAD_SHAPES = [
    ((), ['left', '(None, 3)']), ((3,), ['left', '(None, 3)']), ((6,), ['left', '(None, 3)']),
    ((2, 3, 1), ['left', '(None, 3)']), ((2, 2), ['left', '(None, 3)']), ((3, 2), ['left', '(None, 3)']),
    ((-1, 3), ['left', 'negative']), ((2, -3), ['left', 'negative']),
    ((-2**63, 3), ['left', 'negative']), ((2**62, 3), ['left', 'bytes']),
    ((2**32, 2**32), ['left', '(None, 3)']), ((2**63 - 1, 3), ['left', 'bytes']),
    ((2**29, 3), ['left', 'bytes']), ((1,) * 9, ['left', '(None, 3)']),
    ((1,) * 1000, ['left', '1000 dimensions']), ((0, 3), ['left']),
    ((0, 2**40), ['left', '(None, 3)']), ((5, 3), ['left']),
]


class BadInputTest(BadInputCase):

    # --- TensorFlow Serving ---

    def predict_request(self):
        request = self.pb.PredictRequest()
        request.model_spec.name = 'pair'
        for name, array in feed().items():
            request.inputs[name].CopyFrom(to_proto(array))
        return request

    def predict_table(self, table):
        for what, change, code, pieces in table:
            with self.subTest(what):
                request = self.predict_request()
                change(request, request.inputs['left'])
                self.answered(self.client.prediction.Predict, request, code, pieces, what)

    def test_predict_model_spec(self):
        def spec(**fields):
            def change(request, tensor):
                for name, value in fields.items():
                    if name == 'version':
                        request.model_spec.version.value = value
                    else:
                        setattr(request.model_spec, name, value)
            return change

        self.predict_table([
            ('no spec', lambda request, tensor: request.ClearField('model_spec'), INVALID, ['name']),
            ('empty name', spec(name=''), INVALID, ['name']),
            ('unknown name', spec(name='nobody'), NOT_FOUND,
             ['Servable not found for request: Latest(nobody)']),
            ('path as name', spec(name='../../etc/passwd'), NOT_FOUND, ['Servable not found']),
            ('long name', spec(name='n' * 100000), NOT_FOUND, ['Servable not found']),
            ('name with zeros', spec(name='pair\0'), NOT_FOUND, ['Servable not found']),
            ('unknown version', spec(version=9), NOT_FOUND, ['Specific(pair, 9)']),
            ('negative version', spec(version=-1), NOT_FOUND, ['Specific(pair, -1)']),
            ('largest version', spec(version=2**63 - 1), NOT_FOUND, ['Specific(pair, 9223']),
            ('unknown label', spec(version_label='nightly'), INVALID, ['nightly']),
            ('empty label', spec(version_label=''), OK, []),
            ('known label', spec(version_label='stable'), OK, []),
            ('unknown signature', spec(signature_name='other'), PRECONDITION,
             ['Serving signature key "other" not found.']),
            ('long signature', spec(signature_name='x' * 100000), PRECONDITION, ['not found.']),
        ])

    def test_predict_inputs(self):
        def rename(request, tensor):
            request.inputs['wrong'].CopyFrom(tensor)
            del request.inputs['left']

        def many(request, tensor):
            for i in range(5000):
                request.inputs['n%d' % i].dtype = 1

        def other_rows(request, tensor):
            request.inputs['right'].CopyFrom(to_proto(np.ones((3, 2), np.float32)))

        self.predict_table([
            ('none', lambda request, tensor: request.ClearField('inputs'), INVALID,
             ['Missing but required: {left,right}']),
            ('one missing', lambda request, tensor: request.inputs.pop('left'), INVALID,
             ['Missing but required: {left}']),
            ('one too many', lambda request, tensor: request.inputs['more'].CopyFrom(tensor),
             INVALID, ['Sent extra: {more}']),
            ('renamed', rename, INVALID, ['Sent extra: {wrong}', 'required: {left}']),
            ('empty name', lambda request, tensor: request.inputs[''].CopyFrom(tensor), INVALID,
             ['Sent extra: {}']),
            ('thousands', many, INVALID, ['expected 2']),
            ('an empty tensor', lambda request, tensor: tensor.Clear(), INVALID,
             ['left', 'DT_FLOAT']),
            ('rows differ', other_rows, INVALID, ['right', '3', '2']),
        ])

    def test_predict_shapes(self):
        def shape(dims):
            def change(request, tensor):
                del tensor.tensor_shape.dim[:]
                for dim in dims:
                    tensor.tensor_shape.dim.add(size=dim)
            return change

        self.predict_table([(str(dims)[:60], shape(dims), INVALID, pieces)
                            for dims, pieces in BAD_SHAPES])
        self.predict_table([
            ('no shape', lambda request, tensor: tensor.ClearField('tensor_shape'), INVALID,
             ['left', '(None, 3)']),
            ('unknown rank', lambda request, tensor: setattr(tensor.tensor_shape, 'unknown_rank',
                                                             True), INVALID, ['left', 'rank']),
        ])

    def test_predict_types(self):
        def dtype(number):
            return lambda request, tensor: setattr(tensor, 'dtype', number)

        self.predict_table([('dtype %d' % number, dtype(number), INVALID, ['left', 'DT_FLOAT'])
                            for number in (0, 2, 3, 7, 8, 11, 14, 18, 19, 20, 21, 23, 24, 33, 101,
                                           4711, -1, 2**31 - 1)])

    def test_predict_contents(self):
        def content(data):
            return lambda request, tensor: setattr(tensor, 'tensor_content', data)

        def floats(count, field='float_val', value=1):
            def change(request, tensor):
                tensor.ClearField('tensor_content')
                getattr(tensor, field).extend([value] * count)
            return change

        good = feed()['left']
        values = good.copy()
        values[:] = np.nan
        self.predict_table([
            ('nothing', floats(0), INVALID, ['left', 'float_val', '(2, 3)']),
            ('too many', floats(7), INVALID, ['left', '7', '6']),
            ('other field', floats(6, 'int_val'), INVALID, ['left', 'float_val']),
            ('half field', floats(6, 'half_val'), INVALID, ['left', 'float_val']),
            ('string field', floats(6, 'string_val', b'x'), INVALID, ['left', 'float_val']),
            ('one value fills', floats(1), OK, []),
            ('short content', content(b'\0' * 23), INVALID, ['left', '23 bytes', 'expected 24']),
            ('long content', content(b'\0' * 25), INVALID, ['left', '25 bytes', 'expected 24']),
            ('one byte', content(b'\0'), INVALID, ['left', '1 bytes', 'expected 24']),
            ('NaN', content(values.tobytes()), OK, []),
            ('infinity', content(np.full((2, 3), np.inf, np.float32).tobytes()), OK, []),
            ('denormals', content(np.full((2, 3), 1e-45, np.float32).tobytes()), OK, []),
            ('version number', lambda request, tensor: setattr(tensor, 'version_number', -7), OK,
             []),
        ])

    def test_predict_strings(self):
        def request(change):
            request = self.pb.PredictRequest()
            request.model_spec.name = 'words'
            request.inputs['input_1'].CopyFrom(to_proto(np.array([['red', 'blue']])))
            change(request.inputs['input_1'])
            return request

        def content(tensor):
            tensor.ClearField('string_val')
            tensor.tensor_content = b'red'

        def huge(tensor):
            tensor.tensor_shape.dim[0].size = 2**40

        for what, change, code, pieces in [
                ('good', lambda tensor: None, OK, []),
                ('zeros and high bytes', lambda tensor: tensor.string_val.__setitem__(0, b'\0\xff'),
                 OK, []),
                ('in content', content, INVALID, ['input_1', 'string_val']),
                ('too many', lambda tensor: tensor.string_val.append(b'x'), INVALID,
                 ['input_1', '3']),
                ('none', lambda tensor: tensor.ClearField('string_val'), INVALID, ['input_1']),
                ('numbers', lambda tensor: setattr(tensor, 'dtype', 1), INVALID,
                 ['input_1', 'DT_STRING']),
                ('2^41 strings', huge, INVALID, ['input_1', 'bytes'])]:
            with self.subTest(what):
                self.answered(self.client.prediction.Predict, request(change), code, pieces, what)

    def test_predict_output_filter(self):
        self.predict_table([
            ('unknown', lambda request, tensor: request.output_filter.append('x'), INVALID,
             ['x', '{both}']),
            ('empty', lambda request, tensor: request.output_filter.append(''), INVALID,
             ['{both}']),
            ('twice', lambda request, tensor: request.output_filter.extend(['both', 'both']),
             INVALID, ['duplicate', 'both']),
            ('long', lambda request, tensor: request.output_filter.append('x' * 100000), INVALID,
             ['{both}']),
        ])

    def test_messages_larger_than_allowed(self):
        def large(request, tensor):
            tensor.tensor_content = b'\0' * (2 << 20)

        self.predict_table([('2 MiB', large, EXHAUSTED, ['larger than max'])])

    # --- Open Inference Protocol ---

    def infer_request(self, raw):
        request = self.oip.ModelInferRequest(model_name='pair')
        for name, array in feed().items():
            tensor = request.inputs.add(name=name, datatype='FP32', shape=array.shape)
            if raw:
                request.raw_input_contents.append(array.tobytes())
            else:
                tensor.contents.fp32_contents.extend(array.reshape(-1).tolist())
        return request

    def infer_table(self, table, forms=(False, True)):
        for raw in forms:
            for what, change, code, pieces in table:
                with self.subTest(what, raw=raw):
                    request = self.infer_request(raw)
                    change(request, request.inputs[0])
                    self.answered(self.infer_api.ModelInfer, request, code, pieces, what)

    def test_infer_model(self):
        def fields(**values):
            def change(request, tensor):
                for name, value in values.items():
                    setattr(request, name, value)
            return change

        self.infer_table([
            ('empty name', fields(model_name=''), INVALID, ['model_name']),
            ('unknown name', fields(model_name='nobody'), NOT_FOUND,
             ["Request for unknown model: 'nobody' is not found"]),
            ('long name', fields(model_name='n' * 100000), NOT_FOUND, ['unknown model']),
            ('unknown version', fields(model_version='9'), NOT_FOUND, ['9']),
            ('version in words', fields(model_version='latest'), INVALID, ['latest', 'integer']),
            ('version with spaces', fields(model_version=' 1'), INVALID, ['integer']),
            ('huge version', fields(model_version='9' * 40), INVALID, ['integer']),
            ('long id', fields(id='i' * 10000), OK, []),
        ])

    def test_infer_inputs(self):
        def rename(request, tensor):
            tensor.name = 'wrong'

        def remove(request, tensor):
            del request.inputs[0]
            if request.raw_input_contents:
                del request.raw_input_contents[0]

        def more(request, tensor):
            request.inputs.append(tensor)
            request.inputs[-1].name = 'more'
            if request.raw_input_contents:
                request.raw_input_contents.append(request.raw_input_contents[0])

        def twice(request, tensor):
            request.inputs[1].CopyFrom(tensor)

        def nothing(request, tensor):
            del request.inputs[:]
            del request.raw_input_contents[:]

        def rows(request, tensor):
            request.inputs[0].shape[:] = [1, 3]
            if request.raw_input_contents:
                request.raw_input_contents[0] = request.raw_input_contents[0][:12]
            else:
                del request.inputs[0].contents.fp32_contents[3:]

        self.infer_table([
            ('renamed', rename, INVALID, ['extra: {wrong}', 'required: {left}']),
            ('one missing', remove, INVALID, ['required: {left}']),
            ('one too many', more, INVALID, ['extra: {more}']),
            ('twice', twice, INVALID, ['left', 'more than once']),
            ('none', nothing, INVALID, ['required: {left,right}']),
            ('no name', lambda request, tensor: setattr(tensor, 'name', ''), INVALID,
             ['required: {left}']),
            ('no datatype', lambda request, tensor: setattr(tensor, 'datatype', ''), INVALID,
             ['left', 'FP32']),
            ('other datatype', lambda request, tensor: setattr(tensor, 'datatype', 'FP64'), INVALID,
             ['left', 'FP64', 'FP32']),
            ('lower case', lambda request, tensor: setattr(tensor, 'datatype', 'fp32'), INVALID,
             ['left', 'fp32', 'FP32']),
            ('long datatype', lambda request, tensor: setattr(tensor, 'datatype', 'F' * 100000),
             INVALID, ['left', 'FP32']),
            ('rows differ', rows, INVALID, ['right', '1', '2']),
        ])

    def test_infer_shapes(self):
        def shape(dims):
            def change(request, tensor):
                tensor.shape[:] = dims
            return change

        self.infer_table([(str(dims)[:60], shape(dims), INVALID, pieces)
                          for dims, pieces in BAD_SHAPES])

    def test_infer_typed_contents(self):
        def contents(field, values):
            def change(request, tensor):
                tensor.ClearField('contents')
                getattr(tensor.contents, field).extend(values)
            return change

        self.infer_table([
            ('none', lambda request, tensor: tensor.ClearField('contents'), INVALID,
             ['left', '0 values in fp32_contents', 'expected 6']),
            ('too few', contents('fp32_contents', [1] * 5), INVALID, ['left', '5 values', '6']),
            ('too many', contents('fp32_contents', [1] * 7), INVALID, ['left', '7 values', '6']),
            ('other field', contents('fp64_contents', [1] * 6), INVALID, ['left', 'fp32_contents']),
            ('NaN', contents('fp32_contents', [float('nan')] * 6), OK, []),
            ('raw for one', lambda request, tensor: request.raw_input_contents.append(b'\0' * 24),
             INVALID, ['1 raw_input_contents for 2 inputs']),
            ('raw as well', lambda request, tensor: request.raw_input_contents.extend(
                [b'\0' * 24, b'\0' * 16]), INVALID, ['left', 'along with']),
        ], forms=[False])

    def test_infer_raw_contents(self):
        def content(data):
            return lambda request, tensor: request.raw_input_contents.__setitem__(0, data)

        self.infer_table([
            ('empty', content(b''), INVALID, ['left', '0 bytes', 'expected 24']),
            ('short', content(b'\0' * 23), INVALID, ['left', '23 bytes', 'expected 24']),
            ('long', content(b'\0' * 25), INVALID, ['left', '25 bytes', 'expected 24']),
            ('NaN', content(b'\xff' * 24), OK, []),
            ('one more', lambda request, tensor: request.raw_input_contents.append(b''), INVALID,
             ['3 raw_input_contents for 2 inputs']),
            ('one less', lambda request, tensor: request.raw_input_contents.pop(), INVALID,
             ['1 raw_input_contents for 2 inputs']),
            ('typed as well', lambda request, tensor: tensor.contents.fp32_contents.append(1),
             INVALID, ['left', 'along with']),
        ], forms=[True])

    def test_infer_raw_strings(self):
        def request(data, shape=(1, 2)):
            request = self.oip.ModelInferRequest(model_name='words')
            request.inputs.add(name='input_1', datatype='BYTES', shape=shape)
            request.raw_input_contents.append(data)
            return request

        red = b'\x03\0\0\0red'
        for what, change, code, pieces in [
                ('good', request(red + red), OK, []),
                ('one only', request(red), INVALID, ['input_1', 'element 1']),
                ('one more', request(red * 3), INVALID, ['input_1', '7 bytes follow']),
                ('long length', request(red + b'\xff\xff\xff\xffred'), INVALID, ['4294967295']),
                ('cut length', request(red + b'\x03\0'), INVALID, ['element 1']),
                ('empty', request(b''), INVALID, ['input_1']),
                ('2^40 strings', request(red, (2**40, 2)), INVALID, ['input_1', 'bytes']),
                ('many strings', request(red, (15000, 2)), INVALID, ['input_1'])]:
            with self.subTest(what):
                self.answered(self.infer_api.ModelInfer, change, code, pieces, what)

    def test_infer_outputs_and_parameters(self):
        def output(name, **parameters):
            def change(request, tensor):
                asked = request.outputs.add(name=name)
                for key, value in parameters.items():
                    asked.parameters[key].int64_param = value
            return change

        def parameter(target, key, field, value):
            def change(request, tensor):
                setattr((tensor if target == 'input' else request).parameters[key], field, value)
            return change

        def twice(request, tensor):
            request.outputs.add(name='both')
            request.outputs.add(name='both')

        self.infer_table([
            ('unknown', output('x'), INVALID, ['x', '{both}']),
            ('no name', output(''), INVALID, ['{both}']),
            ('twice', twice, INVALID, ['duplicate', 'both']),
            ('no classes', output('both', classification=0), INVALID, ['both', 'positive']),
            ('-1 classes', output('both', classification=-1), INVALID, ['both', 'positive']),
            ('2^40 classes', output('both', classification=2**40), INVALID, ['both', 'positive']),
            ('many classes', output('both', classification=1000), OK, []),
            ('output in shared memory', output('both', shared_memory_region=1), INVALID,
             ['both', 'shared memory']),
            ('input in shared memory', parameter('input', 'shared_memory_region', 'string_param',
                                                 'x'), INVALID, ['left', 'shared memory']),
            ('unknown parameter', parameter('request', 'nonsense', 'bool_param', True), OK, []),
            ('timeout of no time', parameter('request', 'timeout', 'int64_param', -5), OK, []),
            ('priority of a string', parameter('request', 'priority', 'string_param', 'x'), OK, []),
        ])


if __name__ == '__main__':
    unittest.main()
