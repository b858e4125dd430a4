"""A real coordd process on a loopback port of its own, for tests that doubt the whole program.

    with Node(tmp_path) as node:
        status, headers, answer = node.request("POST", "/v1/locks/a/acquire?ttl=30s")

The data lie in DIRECTORY/data, what the process wrote on standard error in DIRECTORY/log. The binary is that of
the environment variable TEST_COORDD (ctest sets it). Nothing here waits for time to pass: `until` waits for a
condition and fails when it does not come.
"""

import http.client
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
READY = re.compile(r'(?:fact=ready\b.*\blisten=|"fact":"ready".*"listen":")([0-9.]+|\[[0-9a-f:]+\]):(\d+)')
COMPLAINTS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "runtime error:")
BROKEN = (OSError, http.client.HTTPException, json.JSONDecodeError)  # what a client sees of a node that dies or hangs


def binary():
    return os.environ.get("TEST_COORDD") or str(TOP / "build" / "coordd")


def until(condition, what, limit_s=60.0, pause_s=0.002):
    """The first true value of condition(); fails when there is none within limit_s."""
    end = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit_s:g} s: {what}")
        time.sleep(pause_s)


def read_answer(connection):
    """(status, headers, JSON or text) of the request that was sent on the connection."""
    return read_response(connection.getresponse())


def read_response(response):
    data = response.read()
    if "json" in (response.getheader("Content-Type") or ""):
        return response.status, response.headers, json.loads(data)
    return response.status, response.headers, data.decode("utf-8", "replace")


class Client:
    """One kept-open connection."""

    def __init__(self, port, host="127.0.0.1", timeout_s=60.0):
        self.connection = http.client.HTTPConnection(host, port, timeout=timeout_s)

    def send(self, method, path, body=None, headers=None):
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if body is None and method in ("POST", "PUT"):
            body = b""
        self.connection.request(method, path, body=body, headers=headers or {})

    def request(self, method, path, body=None, headers=None):
        self.send(method, path, body, headers)
        return read_answer(self.connection)

    def close(self):
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Node:
    def __init__(self, directory, *flags, environment=None, preload=None, data=None):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.data = Path(data) if data else self.directory / "data"
        self.log = self.directory / "log"
        self.flags = list(flags)
        self.environment = dict(environment or {})
        self.preload = preload
        self.process = None
        self.port = 0
        self.log_start = 0

    @property
    def pid(self):
        return self.process.pid

    def launch(self):
        """Starts the process without waiting for anything."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("COORDD_")}
        environment.update(self.environment)
        if self.preload:
            environment["LD_PRELOAD"] = str(self.preload)
        flags = ["--data-dir", str(self.data)] + self.flags
        if "--listen" not in flags:
            flags += ["--listen", "127.0.0.1:0"]
        self.log_start = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([binary(), "serve"] + flags, env=environment, cwd=self.directory,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def start(self, limit_s=60.0):
        """Starts it and waits for the log line `ready`."""
        self.launch()

        def ready():
            match = READY.search(self.log_text())
            if not match and self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode} before it was ready:\n{self.log_text()}")
            return match

        try:
            self.port = int(until(ready, "the node is ready", limit_s).group(2))
        except AssertionError:
            self.kill9()
            raise
        return self

    def log_text(self):
        """What this run of the process has logged so far."""
        with open(self.log, "rb") as log:
            log.seek(self.log_start)
            return log.read().decode("utf-8", "replace")

    def wait_exit(self, limit_s=60.0):
        try:
            code = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end within {limit_s:g} s:\n{self.log_text()}") from None
        self.check_log()
        return code

    def check_log(self):
        for complaint in COMPLAINTS:
            assert complaint not in self.log_text(), self.log_text()

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, limit_s=60.0):
        """SIGTERM; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait_exit(limit_s)

    def kill9(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def client(self, timeout_s=60.0):
        return Client(self.port, timeout_s=timeout_s)

    def request(self, method, path, body=None, headers=None, timeout_s=60.0):
        with self.client(timeout_s) as client:
            return client.request(method, path, body, headers)

    def __enter__(self):
        return self if self.process is not None else self.start()

    def __exit__(self, kind, *_):
        if self.process is None:
            return
        if kind is None and self.process.poll() is None:
            assert self.stop() == 0, self.log_text()
        else:
            self.kill9()
