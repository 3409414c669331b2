#!/usr/bin/python3
"""TLS with certificates that change, authorisation, the unix socket, health, signals."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import grpc
import numpy as np

from daemon import SAMPLES, Daemon, wait_until
from h5serve_client import Client, stubs

IRIS = os.path.join(SAMPLES, 'models', 'iris.h5')
NAME = 'measurements_input'
X = np.array([[5.1, 3.5, 1.4, 0.2]], np.float32)


def openssl(*arguments):
    subprocess.run(['openssl'] + list(arguments), check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Certificates:
    """A folder with an authority and what it signs."""

    def __init__(self, folder):
        self.folder = folder
        self.make_authority('ca')

    def path(self, name):
        return os.path.join(self.folder, name)

    def read(self, name):
        with open(self.path(name), 'rb') as file:
            return file.read()

    def make_authority(self, name):
        openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
                '-keyout', self.path(name + '.key'), '-out', self.path(name + '.pem'), '-days', '2',
                '-subj', '/CN=' + name)

    def sign(self, name, common_name='localhost', authority='ca'):
        openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout',
                self.path(name + '.key'), '-out', self.path(name + '.csr'),
                '-subj', '/CN=' + common_name)
        with open(self.path('san'), 'w') as file:
            file.write('subjectAltName=DNS:localhost,IP:127.0.0.1\n')
        openssl('x509', '-req', '-in', self.path(name + '.csr'), '-CA', self.path(authority + '.pem'),
                '-CAkey', self.path(authority + '.key'), '-CAcreateserial', '-days', '2',
                '-extfile', self.path('san'), '-out', self.path(name + '.pem'))


class TransportTest(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='h5serve-transport-')
        self.addCleanup(shutil.rmtree, self.folder)

    def start(self, *flags):
        daemon = Daemon(*flags)
        daemon.install(IRIS)
        daemon.start()
        self.addCleanup(daemon.__exit__, None, None, None)
        daemon.wait_ready()
        return daemon

    def predict(self, channel, **options):
        """The outputs over a channel of one's own making."""
        pb, codec = stubs()['tensorflow_serving_pb2'], stubs()['tensorflow_pb2']
        request = pb.PredictRequest()
        request.model_spec.name = 'iris'
        tensor = request.inputs[NAME]
        tensor.dtype = codec.DT_FLOAT
        for size in X.shape:
            tensor.tensor_shape.dim.add(size=size)
        tensor.float_val.extend(X.reshape(-1).tolist())
        stub = stubs()['tensorflow_serving_pb2_grpc'].PredictionServiceStub(channel)
        return stub.Predict(request, timeout=20, **options).outputs['species'].float_val

    def test_mutual_tls_lets_in_whom_the_authority_signed(self):
        certificates = Certificates(self.folder)
        certificates.sign('server')
        certificates.sign('client', 'tester')
        certificates.make_authority('stranger')
        certificates.sign('thief', 'thief', 'stranger')
        daemon = self.start('--tls-certificate', certificates.path('server.pem'),
                            '--tls-key', certificates.path('server.key'),
                            '--tls-client-authority', certificates.path('ca.pem'))

        def channel(name=None):
            key = certificates.read(name + '.key') if name else None
            chain = certificates.read(name + '.pem') if name else None
            return grpc.secure_channel(daemon.grpc, grpc.ssl_channel_credentials(
                certificates.read('ca.pem'), key, chain))

        with channel('client') as good:
            self.assertEqual(3, len(self.predict(good)))
        for bad in (channel(), channel('thief'), grpc.insecure_channel(daemon.grpc)):
            with bad, self.assertRaises(grpc.RpcError) as caught:
                self.predict(bad)
            self.assertEqual(grpc.StatusCode.UNAVAILABLE, caught.exception.code())

    def test_certificates_are_read_again_when_they_change(self):
        certificates = Certificates(self.folder)
        certificates.sign('server')
        daemon = self.start('--tls-certificate', certificates.path('server.pem'),
                            '--tls-key', certificates.path('server.key'))
        certificates.make_authority('ca2')
        certificates.sign('new', authority='ca2')
        for kind in ('.key', '.pem'):
            os.replace(certificates.path('new' + kind), certificates.path('server' + kind))

        def works():
            with grpc.secure_channel(daemon.grpc, grpc.ssl_channel_credentials(
                    certificates.read('ca2.pem'))) as channel:
                try:
                    return len(self.predict(channel)) == 3
                except grpc.RpcError:
                    return False

        wait_until(works, 'the new certificate is in use', 40)

    def test_policy_decides_who_may_call_what(self):
        policy = os.path.join(self.folder, 'policy.json')
        with open(policy, 'w') as file:
            json.dump({'name': 'test', 'allow_rules': [
                {'name': 'predict', 'request': {'paths': [
                    '/tensorflow.serving.PredictionService/Predict']}}]}, file)
        daemon = self.start('--authorization-policy', policy)
        with grpc.insecure_channel(daemon.grpc) as channel:
            self.assertEqual(3, len(self.predict(channel)))
            pb = stubs()['inference_pb2']
            with self.assertRaises(grpc.RpcError) as caught:
                stubs()['inference_pb2_grpc'].GRPCInferenceServiceStub(channel).ServerLive(
                    pb.ServerLiveRequest(), timeout=20)
        self.assertEqual(grpc.StatusCode.PERMISSION_DENIED, caught.exception.code())

    def test_bad_transport_options_are_refused(self):
        for flags in (('--tls-certificate', '/nonexistent.pem', '--tls-key', '/nonexistent.key'),
                      ('--authorization-policy', '/nonexistent.json'), ('--threads', 'many')):
            with self.assertRaises(AssertionError):
                Daemon(*flags).start()

    def test_unix_socket_has_its_permissions(self):
        path = os.path.join(self.folder, 'grpc.sock')
        self.start('--unix-socket', path, '--unix-socket-mode', '0600')

        self.assertEqual(0o600, os.stat(path).st_mode & 0o777)
        with grpc.insecure_channel('unix:' + path) as channel:
            self.assertEqual(3, len(self.predict(channel)))

    def health(self, channel, method, service):
        """A call of grpc.health.v1.Health; statuses are 1 SERVING, 2 NOT_SERVING, 3 unknown."""
        kind = channel.unary_unary if method == 'Check' else channel.unary_stream
        call = kind('/grpc.health.v1.Health/' + method, lambda text: text, lambda data: data)
        name = service.encode()
        return call(bytes([10, len(name)]) + name if name else b'', timeout=30)

    def test_health_of_the_server_and_of_each_model(self):
        daemon = self.start()
        with grpc.insecure_channel(daemon.grpc) as channel:
            for service in ('', 'tensorflow.serving.PredictionService', 'PredictionService',
                            'inference.GRPCInferenceService', 'model/iris'):
                wait_until(lambda: self.health(channel, 'Check', service) == b'\x08\x01',
                           'health of "%s"' % service)
            with self.assertRaises(grpc.RpcError) as caught:
                self.health(channel, 'Check', 'model/nobody')
            self.assertEqual(grpc.StatusCode.NOT_FOUND, caught.exception.code())
            watch = self.health(channel, 'Watch', 'model/later')
            self.assertEqual(b'\x08\x03', next(watch))
            daemon.install(IRIS, 'later.h5')
            status = next(watch)
            while status != b'\x08\x01':
                status = next(watch)
            watch.cancel()

    def test_reflection_and_channelz(self):
        def services(channel):
            call = channel.stream_stream(
                '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo')
            return next(call(iter([b'\x3a\x00']), timeout=20))

        def servers(channel):
            return channel.unary_unary('/grpc.channelz.v1.Channelz/GetServers')(b'', timeout=20)

        with grpc.insecure_channel(self.start('--enable-admin').grpc) as channel:
            self.assertIn(b'tensorflow.serving.PredictionService', services(channel))
            self.assertIn(b'inference.GRPCInferenceService', services(channel))
            self.assertGreater(len(servers(channel)), 10)
        with grpc.insecure_channel(self.start('--enable-reflection=false').grpc) as channel:
            for call in (services, servers):
                with self.assertRaises(grpc.RpcError) as caught:
                    call(channel)
                self.assertEqual(grpc.StatusCode.UNIMPLEMENTED, caught.exception.code())

    def test_requests_in_flight_survive_a_stop(self):
        daemon = self.start('--drain-delay', '300ms')
        client = Client(daemon.grpc)
        failures, answered, stop = [], [0], threading.Event()

        def ask():
            while not stop.is_set():
                try:
                    client.predict('iris', {NAME: X})
                    answered[0] += 1
                except grpc.RpcError as error:
                    failures.append((time.monotonic(), error.code()))
                    return

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: answered[0] > 20, 'requests are answered')
        stopped_at = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: daemon.get('/readyz')[0] == 503, 'the server is not ready')
        for thread in threads:
            thread.join(30)

        self.assertEqual(0, daemon.stop())
        client.channel.close()
        # Only what was sent after listening ended may fail, and as UNAVAILABLE.
        for when, code in failures:
            self.assertEqual(grpc.StatusCode.UNAVAILABLE, code)
            self.assertGreater(when - stopped_at, 0.25)

    def test_hangup_reads_the_configuration_again(self):
        config = os.path.join(self.folder, 'config.json')

        def write(text):
            with open(config, 'w') as file:
                file.write(text)

        write('{"log": {"level": "info"}}')
        daemon = self.start('--config', config)
        write('{"log": {"levle": "debug"}}')
        daemon.process.send_signal(signal.SIGHUP)
        line = wait_until(lambda: daemon.find_log(
            'the new configuration is refused, the old one kept'), 'the refusal is logged')
        self.assertIn('did you mean log.level?', line['error'])

        write('{"log": {"level": "debug"}, "server_name": "other"}')
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: daemon.find_log('configuration read again'), 'the reload is logged')
        self.assertIsNotNone(daemon.find_log('the new value takes effect after a restart',
                                             option='server_name'))
        with grpc.insecure_channel(daemon.grpc) as channel:
            self.assertEqual(3, len(self.predict(channel)))


if __name__ == '__main__':
    unittest.main()
