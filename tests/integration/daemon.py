"""Runs the real daemon on ports of its own choice, for tests.

    with Daemon() as daemon:
        daemon.install(path_of_a_model, 'digits.h5')
        daemon.wait_ready()
        daemon.client().predict(…)

The path of the executable comes from the environment variable BINARY_UNDER_TEST. The
ports are read from the log line `listening`, whose fields are `grpc` and `http`.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, 'samples'))
from h5serve_client import Client  # noqa: E402

SAMPLES = os.path.join(ROOT, 'samples')
# Sanitizers make everything slower; waits end early when what they wait for comes.
PATIENCE_SECONDS = 60


def binary():
    return os.environ['BINARY_UNDER_TEST']


def wait_until(condition, what, seconds=PATIENCE_SECONDS):
    """The first true value of condition(), or AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError('waited %g s in vain for: %s' % (seconds, what))
        time.sleep(0.02)


class Daemon:
    """One process with a model directory of its own; `with` starts and stops it.

    Attributes: models (directory), grpc and http (addresses), log (list of
    dicts, one a log line), process.
    """

    def __init__(self, *flags, environment=None, models=None):
        self.folder = tempfile.mkdtemp(prefix='h5serve-test-')
        self.models = models or os.path.join(self.folder, 'models')
        os.makedirs(self.models, exist_ok=True)
        self.flags = list(flags)
        self.environment = environment or {}
        self.log = []
        self.process = None
        self.grpc = self.http = None
        self._clients = []

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, error, trace):
        try:
            if kind is not None:
                sys.stderr.write(self.log_text())
            code = self.stop()
            if kind is None and code != 0:
                raise AssertionError('the daemon ended with %d\n%s' % (code, self.log_text()))
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        command = [binary(), 'serve', '--models', self.models, '--listen', '127.0.0.1:0',
                   '--http', '127.0.0.1:0', '--log.format', 'json', '--settle-seconds', '50ms'] + self.flags
        if '--poll-interval' not in self.flags:
            command += ['--poll-interval', '1s']
        self.log = []
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        env=dict(os.environ, **self.environment))
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        wait_until(lambda: self.find_log('listening') or not self.running(),
                   'the log line "listening"')
        line = self.find_log('listening')
        if line is None:
            self.stop()
            raise AssertionError('the daemon did not start\n' + self.log_text())
        self.grpc, self.http = line['grpc'], line.get('http')
        return self

    def _read_log(self):
        for line in self.process.stderr:
            text = line.decode('utf-8', 'replace').rstrip('\n')
            try:
                self.log.append(json.loads(text))
            except ValueError:
                self.log.append({'message': text})

    def log_text(self):
        return ''.join(json.dumps(entry) + '\n' for entry in self.log)

    def find_log(self, message, **fields):
        """The first log line whose message is `message` with these fields, or None."""
        for entry in list(self.log):
            if entry.get('message') == message and all(
                    entry.get(name) == value for name, value in fields.items()):
                return entry
        return None

    def running(self):
        return self.process.poll() is None

    def stop(self, seconds=PATIENCE_SECONDS):
        """SIGTERM; the exit code. The process is killed when it takes longer."""
        for client in self._clients:
            client.channel.close()
        self._clients = []
        if self.process is None:
            return 0
        if self.running():
            self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        self.process.stderr.close()
        return self.process.returncode

    # --- models ---

    def install(self, source, name=None):
        """Puts a copy of a file, of its age, into the model directory by rename."""
        target = os.path.join(self.models, name or os.path.basename(source))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        temporary = os.path.join(os.path.dirname(target), '.incoming')
        shutil.copy2(source, temporary)
        os.replace(temporary, target)
        return target

    def install_bytes(self, data, name):
        source = os.path.join(self.folder, 'incoming')
        with open(source, 'wb') as file:
            file.write(data)
        return self.install(source, name)

    # --- clients ---

    def client(self):
        client = Client(self.grpc)
        self._clients.append(client)
        return client

    def get(self, path, data=None):
        """(status, text) of an HTTP request; a POST when there is data."""
        try:
            with urllib.request.urlopen('http://%s%s' % (self.http, path), data, 30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def wait_ready(self):
        wait_until(lambda: self.get('/readyz')[0] == 200, '/readyz answers 200')

    def metrics(self):
        """{'name{label="value"}': number} of every sample."""
        samples = {}
        for line in self.get('/metrics')[1].splitlines():
            match = re.match(r'([^#\s{]+(?:\{.*\})?)\s+(\S+)', line)
            if match:
                samples[match.group(1)] = float(match.group(2))
        return samples

    def metric(self, name, **labels):
        """Sum of the samples of a metric that carry these labels."""
        total = 0.0
        for key, value in self.metrics().items():
            if key.split('{')[0] == name and all(
                    '%s="%s"' % (label, text) in key for label, text in labels.items()):
                total += value
        return total


def run(*arguments, **options):
    """A finished command of the binary; output is text."""
    return subprocess.run([binary()] + list(arguments), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120,
                          **options)
