"""A small Python client of h5serve: gRPC stubs made from proto/ at run time.

    client = Client('127.0.0.1:8500')
    outputs = client.predict('digits', {'image': array})

Needs grpcio, protobuf, numpy and the programs protoc and grpc_python_plugin
(Debian: python3-grpcio python3-protobuf python3-numpy protobuf-compiler
protobuf-compiler-grpc).
"""
import glob
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import time

import grpc
import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# NumPy type -> number of tensorflow.DataType.
DATA_TYPES = {
    'float32': 1, 'float64': 2, 'int32': 3, 'uint8': 4, 'int16': 5, 'int8': 6, 'str': 7,
    'int64': 9, 'bool': 10, 'uint16': 17, 'float16': 19, 'uint32': 22, 'uint64': 23,
}
NUMPY_TYPES = {number: name for name, number in DATA_TYPES.items()}
# tensorflow.DataType -> the field of a TensorProto that holds values one by one.
VALUE_FIELDS = {
    1: 'float_val', 2: 'double_val', 3: 'int_val', 4: 'int_val', 5: 'int_val', 6: 'int_val',
    9: 'int64_val', 10: 'bool_val', 17: 'int_val', 22: 'uint32_val', 23: 'uint64_val',
}
_stubs = {}


def stubs():
    """The generated modules by name: tensorflow_serving_pb2, inference_pb2_grpc, …"""
    if _stubs:
        return _stubs
    folder = tempfile.mkdtemp(prefix='h5serve-stubs-')
    try:
        protos = sorted(glob.glob(os.path.join(ROOT, 'proto', '*.proto')))
        subprocess.run(
            ['protoc', '-I', ROOT, '--python_out=' + folder, '--grpc_python_out=' + folder,
             '--plugin=protoc-gen-grpc_python=' + shutil.which('grpc_python_plugin')] + protos,
            check=True)
        sys.path.insert(0, folder)
        for path in protos:
            name = os.path.basename(path)[:-len('.proto')]
            for module in (name + '_pb2', name + '_pb2_grpc'):
                if os.path.exists(os.path.join(folder, 'proto', module + '.py')):
                    _stubs[module] = importlib.import_module('proto.' + module)
        sys.path.remove(folder)
    finally:
        shutil.rmtree(folder)
    return _stubs


def to_proto(array):
    """The array as a tensorflow.TensorProto."""
    array = np.asarray(array)
    proto = stubs()['tensorflow_pb2'].TensorProto()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if array.dtype.kind in 'USO':
        proto.dtype = DATA_TYPES['str']
        proto.string_val.extend(x if isinstance(x, bytes) else str(x).encode()
                                for x in array.reshape(-1).tolist())
    else:
        proto.dtype = DATA_TYPES[array.dtype.name]
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
    return proto


def from_proto(proto):
    """The tensorflow.TensorProto as an array."""
    shape = [dimension.size for dimension in proto.tensor_shape.dim]
    if proto.dtype == DATA_TYPES['str']:
        return np.array(list(proto.string_val), dtype=object).reshape(shape)
    dtype = np.dtype(NUMPY_TYPES[proto.dtype])
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    if dtype == np.float16:
        return np.array(proto.half_val, np.uint16).view(np.float16).reshape(shape)
    return np.array(getattr(proto, VALUE_FIELDS[proto.dtype]), dtype).reshape(shape)


class Client:
    """Calls of one server. Errors are grpc.RpcError."""

    def __init__(self, address, options=()):
        self.channel = grpc.insecure_channel(address, options=list(options))
        module = stubs()['tensorflow_serving_pb2_grpc']
        self.prediction = module.PredictionServiceStub(self.channel)
        self.models = module.ModelServiceStub(self.channel)

    def wait(self, seconds):
        """Returns once the server accepts calls, or raises grpc.FutureTimeoutError."""
        grpc.channel_ready_future(self.channel).result(timeout=seconds)

    def wait_for_model(self, name, seconds):
        """Returns once the model answers, or raises the last grpc.RpcError."""
        end = time.monotonic() + seconds
        self.wait(seconds)
        while True:
            try:
                return self.metadata(name)
            except grpc.RpcError as error:
                if time.monotonic() > end:
                    raise error
            time.sleep(0.05)

    def _spec(self, request, name, version):
        request.model_spec.name = name
        if isinstance(version, str):
            request.model_spec.version_label = version
        elif version is not None:
            request.model_spec.version.value = version
        return request

    def predict_raw(self, name, inputs, version=None, timeout=30):
        """The PredictResponse for {input name: array}."""
        request = self._spec(stubs()['tensorflow_serving_pb2'].PredictRequest(), name, version)
        for key, array in inputs.items():
            request.inputs[key].CopyFrom(to_proto(array))
        return self.prediction.Predict(request, timeout=timeout)

    def predict(self, name, inputs, version=None, timeout=30):
        """{output name: array} for {input name: array}."""
        response = self.predict_raw(name, inputs, version, timeout)
        return {key: from_proto(proto) for key, proto in response.outputs.items()}

    def metadata(self, name, version=None, timeout=10):
        """The SignatureDefMap of a model."""
        module = stubs()['tensorflow_serving_pb2']
        request = self._spec(module.GetModelMetadataRequest(), name, version)
        request.metadata_field.append('signature_def')
        response = self.prediction.GetModelMetadata(request, timeout=timeout)
        signatures = module.SignatureDefMap()
        response.metadata['signature_def'].Unpack(signatures)
        return signatures

    def status(self, name, version=None, timeout=10):
        """[(version, state name, error code, message)] of a model."""
        module = stubs()['tensorflow_serving_pb2']
        request = self._spec(module.GetModelStatusRequest(), name, version)
        response = self.models.GetModelStatus(request, timeout=timeout)
        states = module.ModelVersionStatus.State
        return [(entry.version, states.Name(entry.state), entry.status.error_code,
                 entry.status.error_message) for entry in response.model_version_status]
