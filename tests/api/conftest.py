"""Fixtures: a real node shared by the tests of a file, one of its own where a test ends it, and the edge alone."""

import itertools
import os
import resource
import socket
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from node import Node, until  # noqa: E402
from noise import Noise  # noqa: E402

numbers = itertools.count(1)

# Crowds of clients need descriptors; the nodes inherit the limit.
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


@pytest.fixture(scope="session")
def node(tmp_path_factory):
    with Node(tmp_path_factory.mktemp("node")) as shared, Noise(shared) if os.environ.get("TEST_NOISE") else nullcontext():
        yield shared


@pytest.fixture
def own_node(tmp_path):
    made = []

    def make(*flags, **options):
        made.append(Node(tmp_path / f"node{len(made)}", *flags, **options).start())
        return made[-1]

    yield make
    for each in made:
        each.kill9()
        each.check_log()


@pytest.fixture
def client(node):
    with node.client() as connection:
        yield connection


@pytest.fixture
def name():
    return f"lock-{next(numbers)}"


class Reply:
    """One response as it lay on the wire."""

    def __init__(self, head, body):
        first, *lines = head.split(b"\r\n")
        self.version, status, self.reason = first.decode().split(" ", 2)
        self.status = int(status)
        self.head = head
        self.headers = {}
        for line in lines:
            key, value = line.decode().split(":", 1)
            assert key.lower() not in self.headers, f"{key} stands twice"
            self.headers[key.lower()] = value.strip()
        self.body = body


class Raw:
    """A socket that sends exactly what it is told. Closed at the end of its test at the latest."""

    opened = []

    def __init__(self, port, timeout_s=60.0, receive_buffer=None):
        self.socket = socket.socket()
        Raw.opened.append(self)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout_s)
        self.socket.connect(("127.0.0.1", port))
        self.pending = b""

    def send(self, text):
        self.socket.sendall(text if isinstance(text, bytes) else text.encode())
        return self

    def request(self, method, target, headers=(), body=b"", version="HTTP/1.1", host="localhost"):
        lines = [f"{method} {target} {version}"]
        if host is not None:
            lines.append(f"Host: {host}")
        lines += list(headers)
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return self

    def more(self):
        data = self.socket.recv(65536)
        self.pending += data
        return data

    def reply(self, head_only=False):
        while b"\r\n\r\n" not in self.pending:
            if not self.more():
                raise EOFError(f"closed after {self.pending!r}")
        head, self.pending = self.pending.split(b"\r\n\r\n", 1)
        reply = Reply(head, b"")
        if reply.status == 100:
            return self.reply(head_only)
        size = 0 if head_only else int(reply.headers.get("content-length", "0"))
        while len(self.pending) < size:
            if not self.more():
                raise EOFError("closed within a body")
        reply.body, self.pending = self.pending[:size], self.pending[size:]
        return reply

    def closed(self):
        """True once the server has closed; fails on data."""
        try:
            data = self.socket.recv(1)
        except ConnectionResetError:
            return True
        assert data == b"", data
        return True

    def close(self):
        self.socket.close()

    def reset(self):
        """Ends the connection with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@pytest.fixture(autouse=True)
def all_closed():
    yield
    while Raw.opened:
        Raw.opened.pop().close()


@pytest.fixture
def raw(node):
    return lambda **options: Raw(node.port, **options)


class Fake:
    """fake_node.c: the edge in front of a node that does as it is told."""

    def __init__(self, threads=1, connections=4096):
        self.process = subprocess.Popen([os.environ["TEST_FAKE_NODE"], str(threads), str(connections)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lines = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        self.port = int(self.line("port ").split()[1])

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.decode().rstrip("\n"))

    def seen(self, start):
        return next((line for line in list(self.lines) if line.startswith(start)), None)

    def line(self, start, limit_s=60.0):
        """The first line that begins so, once it is there."""
        return until(lambda: self.seen(start), f"the line {start!r} among {self.lines[-5:]}", limit_s)

    def tell(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def stop(self):
        self.tell("stop")
        self.reader.join(60)
        errors = self.process.communicate(timeout=60)[1].decode()
        assert self.process.returncode == 0, errors
        assert "runtime error" not in errors and "Sanitizer" not in errors, errors


@pytest.fixture
def fake():
    made = []

    def make(*settings):
        made.append(Fake(*settings))
        return made[-1]

    yield make
    for each in made:
        if each.process.poll() is None:
            each.stop()
