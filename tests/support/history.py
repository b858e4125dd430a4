"""Clients of locks that fight for a few names at any node of a cluster, and write down what they asked and were told.

    history = History()
    workers = start(history, lambda: {"n1": 7400, "n2": 7410}, count=6, seed=1)
    ...                      # faults
    finish(workers)          # raises what a client found wrong
    judge(history.ops)       # tests/support/checker.py

A call ends in one of three ways: answered; `not_applied` (the connection was refused, or the answer says so: 503, 429,
507); `unknown` (504, or no answer). Times are of CLOCK_MONOTONIC.
"""

import http.client
import json
import random
import threading
import time

from tests.support.checker import NEVER, Op
from tests.support.node import BROKEN

NOT_APPLIED = (429, 503, 507)


class History:
    def __init__(self):
        self.ops = []
        self.mutex = threading.Lock()

    def add(self, op):
        with self.mutex:
            self.ops.append(op)

    def count(self, result=None, kind=None):
        with self.mutex:
            return sum((result is None or op.result == result) and (kind is None or op.kind == kind) for op in self.ops)

    def last(self, *results):
        """When the latest of these results came."""
        with self.mutex:
            return max((op.returned for op in self.ops if op.result in results), default=0.0)


class Reply:
    def __init__(self, status=0, headers=None, answer=None, sure=False):
        self.status, self.headers, self.answer = status, headers, answer
        self.not_applied = status in NOT_APPLIED or (status == 0 and sure)
        self.unknown = status == 504 or (status == 0 and not sure)


class Caller:
    """One client: a connection to each node, made when it is needed."""

    def __init__(self, ports):
        self.ports = ports  # a function: node -> port
        self.connections = {}

    def call(self, node, method, path, timeout_s=3.0, body=None, headers=None):
        port = self.ports().get(node)
        connection = self.connections.get(node)
        if connection is None or connection.port != port:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
            try:
                connection.connect()
            except OSError:
                return Reply(sure=True)
            self.connections[node] = connection
        connection.sock.settimeout(timeout_s)
        try:
            connection.request(method, path, body=body if body is not None else b"" if method == "POST" else None, headers=headers or {})
            response = connection.getresponse()
            answer = json.loads(response.read())
        except BROKEN:
            self.drop(node)
            return Reply()
        if response.will_close:
            self.drop(node)
        return Reply(response.status, response.headers, answer)

    def drop(self, node):
        connection = self.connections.pop(node, None)
        if connection is not None:
            connection.close()

    def close(self):
        for node in list(self.connections):
            self.drop(node)


class Recorder(Caller):
    """Calls on locks, each written down."""

    def __init__(self, history, ports, client, pace=1.0):
        super().__init__(ports)
        self.history, self.client, self.pace = history, client, pace
        self.number = 0

    def record(self, op, method, path, timeout_s, results):
        """results: status -> result; 0 stands for what is neither named nor a known kind of failure."""
        op.client, op.pace = self.client, self.pace
        op.invoked = time.monotonic()
        reply = self.call(op.node, method, path, timeout_s)
        now = time.monotonic()
        if reply.unknown:
            op.result = "unknown"
        elif reply.not_applied:
            op.result = "not_applied"
        else:
            assert reply.status in results, f"{method} {path} at {op.node}: {reply.status} {reply.answer}"
            op.result = results[reply.status]
        op.returned = NEVER if reply.unknown else now
        if op.kind == "acquire" and op.result == "granted":
            op.token = reply.answer["token"]
            assert reply.answer["expires_in_ms"] <= op.ttl_s * 1000, reply.answer
        elif op.kind == "acquire" and op.result == "held":
            op.holder = (reply.answer["holder"] or {}).get("owner")
        elif op.kind == "get" and op.result == "seen":
            holders = reply.answer["holders"]
            assert len(holders) <= 1, reply.answer
            op.holder = holders[0]["owner"] if holders else None
            op.token = holders[0]["token"] if holders else None
        self.history.add(op)
        return op

    def acquire(self, node, name, ttl_s, wait_s=0.0):
        self.number += 1
        owner = f"{self.client}.{self.number}"
        op = Op("acquire", name, owner, 0, node=node, ttl_s=ttl_s)
        path = f"/v1/locks/{name}/acquire?owner={owner}&ttl={int(ttl_s * 1000)}ms&wait={int(wait_s * 1000)}ms"
        return self.record(op, "POST", path, wait_s + 4, {201: "granted", 423: "held"})

    def release(self, node, grant):
        op = Op("release", grant.name, grant.owner, 0, token=grant.token, node=node)
        path = f"/v1/locks/{grant.name}/release?token={grant.token}"
        return self.record(op, "POST", path, 3, {200: "done", 409: "refused", 410: "refused"})

    def renew(self, node, grant):
        op = Op("renew", grant.name, grant.owner, 0, token=grant.token, node=node, ttl_s=grant.ttl_s)
        path = f"/v1/locks/{grant.name}/renew?token={grant.token}"
        return self.record(op, "POST", path, max(1.0, grant.ttl_s), {200: "done", 409: "refused", 410: "refused"})

    def check(self, node, grant):
        op = Op("check", grant.name, grant.owner, 0, token=grant.token, node=node)
        return self.record(op, "GET", f"/v1/locks/{grant.name}/check?token={grant.token}", 3, {200: "done", 412: "refused"})

    def get(self, node, name):
        return self.record(Op("get", name, None, 0, node=node), "GET", f"/v1/locks/{name}", 3, {200: "seen"})


class Worker(threading.Thread):
    """Takes a lock, perhaps renews, checks and looks at it, gives it back or lets it end; at a node of its
    choice, another one when that fails. Its clock runs up to 1 % fast or slow, as leases allow for."""

    TTLS_S = (0.5, 0.5, 1.0, 2.0)
    WAITS_S = (0.0, 0.0, 0.2, 1.0, 2.0)

    def __init__(self, history, ports, number, seed, names, think_s):
        super().__init__(name=f"client {number}", daemon=True)
        self.random = random.Random(f"{seed}/{number}")
        self.recorder = Recorder(history, ports, f"c{number}", pace=self.random.uniform(0.99, 1.01))
        self.ports, self.names, self.think_s = ports, names, think_s
        self.node = self.random.choice(sorted(ports()))
        self.ending = threading.Event()
        self.error = None

    def run(self):
        try:
            while not self.ending.is_set():
                self.round()
        except BaseException as error:  # finish() raises it
            self.error = error
        finally:
            self.recorder.close()

    def move(self, always=False):
        if always or self.random.random() < 0.2:
            self.node = self.random.choice(sorted(self.ports()))

    def pause(self, longest_s):
        self.ending.wait(self.random.uniform(0, longest_s))

    def done(self, op):
        """Moves on to another node when this one does not answer."""
        if op.result in ("unknown", "not_applied"):
            self.move(True)
            self.pause(0.1)
        else:
            self.move()
        return op

    def round(self):
        name = self.random.choice(self.names)
        self.pause(self.think_s)
        grant = self.done(self.recorder.acquire(self.node, name, self.random.choice(self.TTLS_S), self.random.choice(self.WAITS_S)))
        if grant.result != "granted":
            self.done(self.recorder.get(self.node, name))
            return
        for _ in range(self.random.choice((0, 0, 1, 2, 5))):
            act = self.random.choice((self.recorder.renew, self.recorder.renew, self.recorder.check))
            if self.done(act(self.node, grant)).result == "refused":
                return
            self.pause(min(self.think_s, grant.ttl_s / 3))
        if self.random.random() < 0.05:
            return  # it ends by itself
        while self.done(self.recorder.release(self.node, grant)).result in ("unknown", "not_applied") and not self.ending.is_set():
            pass


def start(history, ports, count=6, seed=0, locks=6, think_s=0.02):
    workers = [Worker(history, ports, number, seed, [f"h{i}" for i in range(locks)], think_s) for number in range(count)]
    for worker in workers:
        worker.start()
    return workers


def failed(workers):
    return any(worker.error for worker in workers)


def finish(workers, limit_s=30.0):
    for worker in workers:
        worker.ending.set()
    for worker in workers:
        worker.join(limit_s)
        assert not worker.is_alive(), f"{worker.name} hangs"
    for worker in workers:
        if worker.error:
            raise worker.error


def look_at_all(history, ports, names, limit_s=10.0):
    """The last word of every node on every lock."""
    recorder = Recorder(history, ports, "last")
    for node in sorted(ports()):
        for name in names:
            end = time.monotonic() + limit_s
            while recorder.get(node, name).result != "seen":
                assert time.monotonic() < end, f"{node} does not answer"
    recorder.close()
