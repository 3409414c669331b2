#!/usr/bin/python3
"""protocol_fuzz.py BINARY SECONDS [--seed N]: random and mutated messages to a daemon.

Every method of every service of proto/, the HTTP port, and bytes that are no HTTP at
all, to both ports. The daemon must go on, answer good requests rightly in between,
keep its memory bounded, and end with 0; built with AddressSanitizer it also tells of
leaks then. The last messages before a crash are printed.
"""
import argparse
import base64
import collections
import json
import os
import random
import socket
import sys
import tempfile
import threading
import time

import grpc
import numpy as np
from google.protobuf import message_factory

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'integration'))
from daemon import SAMPLES, Daemon  # noqa: E402
from h5serve_client import stubs, to_proto  # noqa: E402
from model_files import layer, write  # noqa: E402

THREADS = 2
CHECK_EVERY_SECONDS = 5
# Growth of the daemon's memory, after the first checks, that would be a leak.
ALLOWED_GROWTH_BYTES = 256 << 20
NAMES = ['iris', 'pair', 'words', 'left', 'right', 'measurements_input', 'species', 'both',
         'input_1', 'lookup', 'serving_default', 'signature_def', 'FP32', 'BYTES', 'INT64', 'BOOL',
         'tensorflow/serving/classify', 'tensorflow/serving/regress', 'shared_memory_region',
         'classification', 'priority', 'timeout', 'log_verbose_level', 'trace_level', 'nobody', '',
         '1', '2', '-1', '../..', '\0', 'é', 'x' * 5000]
INTEGERS = [0, 1, 2, 3, 4, 7, 8, 9, 10, 14, 19, 127, 255, 256, 65535, 2**31 - 1, 2**32 - 1, 2**62,
            2**63 - 1, -1, -2, -128, -2**31, -2**63]
FLOATS = [0.0, -0.0, 1.0, 5.1, -1e-45, 1e38, 1e308, float('inf'), float('-inf'), float('nan')]


class Messages:
    """Makes messages of any type."""

    def __init__(self, rng):
        self.rng = rng

    def scalar(self, field):
        kind = field.cpp_type
        if kind == field.CPPTYPE_STRING:
            if field.type == field.TYPE_BYTES:
                return self.rng.choice([b'', b'\0' * 12, b'\x03\0\0\0red', self.rng.randbytes(
                    self.rng.choice([1, 4, 8, 12, 16, 24, 48, 5000]))])
            return self.rng.choice(NAMES).replace('\0', 'z')
        if kind == field.CPPTYPE_BOOL:
            return self.rng.random() < 0.5
        if kind in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
            return self.rng.choice(FLOATS)
        bits = 32 if kind in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32, field.CPPTYPE_ENUM) else 64
        low, high = -2**(bits - 1), 2**(bits - 1) - 1
        if kind in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64):
            low, high = 0, 2**bits - 1
        return min(max(self.rng.choice(INTEGERS), low), high)

    def change(self, message, depth=0):
        """Sets or clears some field of a message, at any depth."""
        fields = message.DESCRIPTOR.fields
        if not fields:
            return
        field = self.rng.choice(fields)
        value = getattr(message, field.name)
        repeated = field.label == field.LABEL_REPEATED
        is_message = field.cpp_type == field.CPPTYPE_MESSAGE
        if self.rng.random() < 0.1:
            message.ClearField(field.name)
        elif repeated and is_message and field.message_type.GetOptions().map_entry:
            entry = field.message_type.fields_by_name
            key = self.scalar(entry['key'])
            if value and self.rng.random() < 0.6:
                key = self.rng.choice(list(value))
            if entry['value'].cpp_type == field.CPPTYPE_MESSAGE:
                self.change(value[key], depth + 1)
            else:
                value[key] = self.scalar(entry['value'])
        elif repeated and is_message:
            if value and self.rng.random() < 0.7:
                self.change(self.rng.choice(value), depth + 1)
            elif depth < 12:
                self.change(value.add(), depth + 1)
        elif repeated:
            for _ in range(self.rng.choice([1, 1, 1, 3, 4, 12, 1000])):
                value.append(self.scalar(field))
        elif is_message:
            if depth < 12:
                value.SetInParent()
                self.change(value, depth + 1)
        else:
            setattr(message, field.name, self.scalar(field))

    def damage(self, data):
        """Bytes with some of them changed, added or gone."""
        data = bytearray(data)
        for _ in range(self.rng.choice([1, 1, 2, 5, 20])):
            at = self.rng.randrange(len(data) + 1)
            what = self.rng.randrange(5)
            if what == 0 and at < len(data):
                data[at] ^= 1 << self.rng.randrange(8)
            elif what == 1:
                data[at:at] = self.rng.randbytes(self.rng.choice([1, 2, 8]))
            elif what == 2:
                del data[at:at + self.rng.choice([1, 2, 8, 64])]
            elif what == 3:
                data[at:at] = self.rng.choice([b'\xff' * 9 + b'\x01', b'\x80\x80\x80\x80\x10', b'\0'])
            else:
                data[at:at] = data[at:at + 50] * self.rng.choice([1, 3])
        return bytes(data)


def methods():
    """[(path, request class, is stream)] of every method of proto/."""
    found = []
    for name, module in sorted(stubs().items()):
        if name.endswith('_grpc'):
            continue
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                found.append(('/%s/%s' % (service.full_name, method.name),
                              message_class(method.input_type),
                              method.name == 'ModelStreamInfer'))
    return found


def message_class(descriptor):
    if hasattr(message_factory, 'GetMessageClass'):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory().GetPrototype(descriptor)


def good_messages():
    """Requests that are answered, to mutate: {class name: [message]}."""
    tfs, oip = stubs()['tensorflow_serving_pb2'], stubs()['inference_pb2']
    x = np.array([[5.1, 3.5, 1.4, 0.2]], np.float32)
    predict = tfs.PredictRequest()
    predict.model_spec.name = 'iris'
    predict.inputs['measurements_input'].CopyFrom(to_proto(x))
    pair = tfs.PredictRequest()
    pair.model_spec.name = 'pair'
    pair.inputs['input_1'].CopyFrom(to_proto(np.ones((2, 3), np.float32)))
    pair.inputs['input_2'].CopyFrom(to_proto(np.ones((2, 2), np.float32)))
    words = tfs.PredictRequest()
    words.model_spec.name = 'words'
    words.inputs['input_1'].CopyFrom(to_proto(np.array([['red', 'blue']])))
    classify = tfs.ClassificationRequest()
    classify.model_spec.name = 'iris'
    feature = classify.input.example_list.examples.add().features.feature['measurements_input']
    feature.float_list.value.extend([1, 2, 3, 4])
    regress = tfs.RegressionRequest(model_spec=classify.model_spec, input=classify.input)
    multi = tfs.MultiInferenceRequest(input=classify.input)
    multi.tasks.add(model_spec=classify.model_spec, method_name='tensorflow/serving/classify')
    infer = oip.ModelInferRequest(model_name='iris')
    infer.inputs.add(name='measurements_input', datatype='FP32', shape=[1, 4]
                     ).contents.fp32_contents.extend([1, 2, 3, 4])
    raw = oip.ModelInferRequest(model_name='iris')
    raw.inputs.add(name='measurements_input', datatype='FP32', shape=[1, 4])
    raw.raw_input_contents.append(x.tobytes())
    text = oip.ModelInferRequest(model_name='words')
    text.inputs.add(name='input_1', datatype='BYTES', shape=[1, 2])
    text.raw_input_contents.append(b'\x03\0\0\0red' * 2)
    good = collections.defaultdict(list)
    for message in (predict, pair, words, classify, regress, multi, infer, raw, text):
        good[message.DESCRIPTOR.full_name].append(message)
    return good


class Attacker(threading.Thread):
    """Sends until the end; keeps what it sent last."""

    def __init__(self, daemon, seed, end):
        super().__init__()
        self.daemon_process = daemon
        self.rng = random.Random(seed)
        self.messages = Messages(self.rng)
        self.end = end
        self.sent = 0
        self.last = collections.deque(maxlen=20)
        self.codes = collections.Counter()
        self.error = None

    def run(self):
        try:
            self.good = good_messages()
            self.methods = methods()
            # Most of what can go wrong is in the methods that take tensors.
            self.rich = [method for method in self.methods
                         if method[1].DESCRIPTOR.full_name in self.good]
            self.channel = grpc.insecure_channel(self.daemon_process.grpc)
            while time.monotonic() < self.end and self.daemon_process.running():
                self.rng.choice([self.call, self.call, self.call, self.call, self.post, self.post,
                                 self.garbage])()
                self.sent += 1
            self.channel.close()
        except Exception as error:  # of this program: told by main
            self.error = error
            raise

    # --- gRPC ---

    def body(self, kind):
        good = self.good.get(kind.DESCRIPTOR.full_name)
        message = kind()
        if good:
            message.CopyFrom(self.rng.choice(good))
        for _ in range(self.rng.choice([0, 1, 1, 2, 3, 10])):
            self.messages.change(message)
        data = message.SerializeToString()
        return self.messages.damage(data) if self.rng.random() < 0.4 else data

    def call(self):
        path, kind, stream = self.rng.choice(self.rich if self.rng.random() < 0.7 else self.methods)
        bodies = [self.body(kind) for _ in range(self.rng.choice([1, 2, 5]) if stream else 1)]
        self.last.append((path, bodies))
        timeout = self.rng.choice([0.0001, 0.002, 5, 5, 5])
        metadata = self.rng.choice([(), (('h5serve-priority', 'low'),), (('triton_grpc_error', 'true'),),
                                    (('grpc-timeout', 'x'),), (('x-bin', b'\xff'),)])
        try:
            if stream:
                call = self.channel.stream_stream(path)(iter(bodies), timeout=timeout,
                                                        metadata=metadata)
                for _ in call:
                    if self.rng.random() < 0.1:
                        call.cancel()
            else:
                future = self.channel.unary_unary(path).future(bodies[0], timeout=timeout,
                                                               metadata=metadata)
                if self.rng.random() < 0.05:
                    future.cancel()
                future.result()
            self.codes['OK'] += 1
        except grpc.RpcError as error:
            self.codes[error.code().name] += 1
        except grpc.FutureCancelledError:
            self.codes['cancelled here'] += 1

    # --- HTTP ---

    def value(self, depth=0):
        kind = self.rng.randrange(9 if depth < 6 else 6)
        if kind == 0:
            return self.rng.choice(INTEGERS)
        if kind == 1:
            return self.rng.choice(FLOATS)
        if kind == 2:
            return self.rng.choice(NAMES)
        if kind == 3:
            return self.rng.choice([None, True, False])
        if kind == 4:
            return {'b64': self.rng.choice(['', 'QQ==', '!', 'A'])}
        if kind == 5:
            return [1.0, 2.0, 3.0, 4.0]
        if kind < 8:
            return [self.value(depth + 1) for _ in range(self.rng.randrange(4))]
        return {self.rng.choice(NAMES): self.value(depth + 1) for _ in range(self.rng.randrange(3))}

    def document(self):
        tensor = {'name': 'measurements_input', 'datatype': 'FP32', 'shape': [1, 4],
                  'data': [1, 2, 3, 4]}
        body = self.rng.choice([
            {'instances': [[1, 2, 3, 4]]}, {'inputs': {'measurements_input': [[1, 2, 3, 4]]}},
            {'instances': [{'input_1': [1, 2, 3], 'input_2': [1, 2]}]},
            {'examples': [{'measurements_input': [1, 2, 3, 4]}]},
            {'inputs': [tensor], 'id': '1', 'outputs': [{'name': 'species', 'parameters': {
                'binary_data': True, 'classification': 2}}]}])
        body = json.loads(json.dumps(body))
        for _ in range(self.rng.choice([0, 1, 2, 4])):
            at = body
            while True:
                keys = list(at) if isinstance(at, dict) else list(range(len(at)))
                if not keys:
                    break
                key = self.rng.choice(keys)
                if isinstance(at[key], (dict, list)) and self.rng.random() < 0.7:
                    at = at[key]
                    continue
                at[key] = self.value()
                break
        return json.dumps(body).encode('utf-8', 'surrogatepass')

    def post(self):
        path = self.rng.choice(['/v1/models/iris:predict', '/v1/models/pair:predict',
                                '/v1/models/words:predict', '/v1/models/iris:classify',
                                '/v1/models/iris:regress', '/v2/models/iris/infer',
                                '/v2/models/words/infer', '/v2/repository/index', '/v1/models/iris',
                                '/v2/models/iris', '/status.json', '/', '/metrics',
                                '/v1/models/%ff%00/..:predict', '//', '/v2/models/iris/versions/x'])
        body = self.document()
        headers = []
        if self.rng.random() < 0.3:
            body = self.messages.damage(body)
        if 'infer' in path and self.rng.random() < 0.5:
            cut = self.rng.choice([len(body), len(body), 0, len(body) // 2, -1, 2**64])
            headers.append(b'Inference-Header-Content-Length: %d' % cut)
            body += self.rng.randbytes(self.rng.choice([0, 16, 7]))
        length = self.rng.choice([len(body)] * 8 + [0, -1, len(body) + 9, 2**63])
        headers.append(b'Content-Length: %d' % length)
        if self.rng.random() < 0.05:
            headers.append(b'Transfer-Encoding: chunked')
            body = b'%x\r\n%s\r\n0\r\n\r\n' % (len(body), body)
        head = b'\r\n'.join([b'%s %s HTTP/1.1' % (
            self.rng.choice([b'POST'] * 6 + [b'GET', b'HEAD', b'PUT', b'X']), path.encode()),
            b'Host: x', b'Connection: close'] + headers) + b'\r\n\r\n'
        data = head + body
        self.send(self.daemon_process.http, self.messages.damage(data)
                  if self.rng.random() < 0.1 else data)

    def garbage(self):
        data = self.rng.choice([
            self.rng.randbytes(self.rng.choice([1, 9, 24, 300])),
            b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + self.rng.randbytes(60),
            self.messages.damage(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0'
                                 b'\0\0\4\1\5\0\0\0\1\x82\x86\x84\x41'),
            b'GET /' + b'a' * 20000 + b' HTTP/1.1\r\n\r\n', b'GET / HTTP/1.1\r\n' + b'A: b\r\n' * 500])
        self.send(self.rng.choice([self.daemon_process.http, self.daemon_process.grpc]), data)

    def send(self, address, data):
        self.last.append((address, data))
        host, port = address.rsplit(':', 1)
        try:
            with socket.create_connection((host, int(port)), 5) as connection:
                connection.settimeout(0.5)
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(65536)
                self.codes['HTTP ' + answer[9:12].decode('latin-1')
                           if answer.startswith(b'HTTP/1.1') else 'other'] += 1
        except OSError:
            self.codes['broken'] += 1


def resident_bytes(pid):
    with open('/proc/%d/statm' % pid) as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def check(daemon, api, client, expected):
    """A good request is answered rightly, whatever was unloaded meanwhile."""
    oip = stubs()['inference_pb2']
    x = np.array([[5.1, 3.5, 1.4, 0.2]], np.float32)
    for attempt in range(20):
        try:
            for name in ('iris', 'pair', 'words'):
                api.RepositoryModelLoad(oip.RepositoryModelLoadRequest(model_name=name), timeout=60)
            got = client.predict('iris', {'measurements_input': x}, timeout=60)['species']
            break
        except grpc.RpcError as error:
            # It may have been unloaded again at once.
            if attempt == 19 or error.code() not in (grpc.StatusCode.ABORTED,
                                                     grpc.StatusCode.NOT_FOUND):
                raise
    if expected is not None:
        np.testing.assert_allclose(got, expected, atol=1e-6)
    return got


def install(daemon, folder):
    daemon.install(os.path.join(SAMPLES, 'models', 'iris.h5'), 'iris/1.h5')
    daemon.install(write(os.path.join(folder, 'pair.h5'), [layer(
        'Concatenate', {'axis': -1}, (), 'both', ('input_1', 'input_2'))], (3,), (2,)), 'pair/1.h5')
    daemon.install(write(os.path.join(folder, 'words.h5'), [layer('StringLookup', {
        'vocabulary': ['red'], 'dtype': 'int64', 'output_mode': 'int'}, (), 'lookup')], (2,),
                         dtype='string', version='2.8.0'), 'words/1.h5')


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('binary')
    parser.add_argument('seconds', type=float)
    parser.add_argument('--seed', type=int, default=None)
    arguments = parser.parse_args()
    os.environ['BINARY_UNDER_TEST'] = os.path.abspath(arguments.binary)
    seed = arguments.seed if arguments.seed is not None else random.randrange(2**32)
    print('seed', seed, flush=True)
    daemon = Daemon('--enable-admin', '--http-timeout', '2s')
    with tempfile.TemporaryDirectory(prefix='h5serve-fuzz-') as folder:
        install(daemon, folder)
    daemon.start()
    daemon.wait_ready()
    client = daemon.client()
    api = stubs()['inference_pb2_grpc'].GRPCInferenceServiceStub(client.channel)
    expected = check(daemon, api, client, None)
    end = time.monotonic() + arguments.seconds
    attackers = [Attacker(daemon, seed * THREADS + i, end) for i in range(THREADS)]
    for attacker in attackers:
        attacker.start()
    highest = 0
    started = time.monotonic()
    problem = None
    try:
        while any(attacker.is_alive() for attacker in attackers):
            time.sleep(min(CHECK_EVERY_SECONDS, max(0.1, end - time.monotonic())))
            check(daemon, api, client, expected)
            memory = resident_bytes(daemon.process.pid)
            if time.monotonic() - started < min(60, arguments.seconds / 3):
                highest = max(highest, memory)
            elif memory > highest + ALLOWED_GROWTH_BYTES:
                problem = 'memory grew from %d to %d MiB' % (highest >> 20, memory >> 20)
                break
    except Exception as error:
        problem = repr(error)
    for attacker in attackers:
        attacker.end = 0
        attacker.join()
    counts = sum((attacker.codes for attacker in attackers), collections.Counter())
    print('%d messages: %s' % (sum(attacker.sent for attacker in attackers),
                               ', '.join('%s %d' % pair for pair in counts.most_common())))
    problem = problem or next((repr(a.error) for a in attackers if a.error), None)
    code = daemon.stop()
    if code != 0:
        problem = problem or 'the daemon ended with %d' % code
    if problem is None:
        return 0
    print('FAILED: %s\n%s' % (problem, daemon.log_text()[-20000:]))
    for attacker in attackers:
        for what, data in attacker.last:
            parts = data if isinstance(data, list) else [data]
            print(what, ' '.join(base64.b64encode(part[:3000]).decode() for part in parts))
    return 1


if __name__ == '__main__':
    sys.exit(main())
