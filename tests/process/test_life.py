"""A node's life: killed, stopped, frozen; its leases; its clients."""

import http.client
import os
import signal
import socket
import threading
import time

import pytest

from tests.support.node import Node, until

SLOW = bool(os.environ.get("TEST_SANITIZE"))


def acquire(client, name, **options):
    query = "&".join(f"{key}={value}" for key, value in options.items())
    return client.request("POST", f"/v1/locks/{name}/acquire?{query}")


class Worker(threading.Thread):
    """Takes and gives back locks of its own, and remembers what was acknowledged."""

    def __init__(self, node, number):
        super().__init__()
        self.node, self.number = node, number
        self.held = {}  # name -> token, acknowledged
        self.open = set()  # names whose last request had no answer
        self.tokens = []
        self.stop = False

    def run(self):
        try:
            with self.node.client() as client:
                step = 0
                while not self.stop:
                    name = f"w{self.number}-{step % 20}"
                    step += 1
                    self.open.add(name)
                    if name in self.held:
                        status, _, _ = client.request("POST", f"/v1/locks/{name}/release?token={self.held[name]}")
                        assert status == 200
                        del self.held[name]
                    else:
                        status, headers, answer = acquire(client, name, ttl="10m", owner=self.number)
                        assert status == 201, answer
                        assert int(headers["Coord-Token"]) == answer["token"]
                        self.held[name] = answer["token"]
                        self.tokens.append(answer["token"])
                    self.open.discard(name)
        except (OSError, http.client.HTTPException):
            pass  # killed


def test_kill9_loses_nothing_acknowledged(tmp_path):
    node = Node(tmp_path).start()
    tokens = []
    carried = {}  # held over the rounds: they stay held
    for kill in range(4 if SLOW else 10):
        workers = [Worker(node, f"{kill}-{i}") for i in range(4)]
        for worker in workers:
            worker.start()
        until(lambda: sum(len(w.tokens) for w in workers) > 40, "some locks were granted")
        node.kill9()
        for worker in workers:
            worker.stop = True
            worker.join()
        node.start()
        with node.client() as client:
            highest = max(tokens, default=0)
            for worker in workers:
                assert all(token > highest for token in worker.tokens)
                for i in range(20):
                    name = f"w{worker.number}-{i}"
                    _, _, lock = client.request("GET", f"/v1/locks/{name}")
                    holding = [holder["token"] for holder in lock["holders"]]
                    assert len(holding) <= 1
                    if name in worker.open:
                        continue  # unknown: both are right
                    assert holding == ([worker.held[name]] if name in worker.held else []), name
                    if holding:
                        carried[name] = holding[0]
            for name, token in carried.items():
                status, _, answer = client.request("GET", f"/v1/locks/{name}/check?token={token}")
                assert status == 200, (name, token, answer)
            new = [token for worker in workers for token in worker.tokens]
            assert len(set(new)) == len(new)
            tokens += new
    assert node.stop() == 0


def test_sigterm_answers_waiters_and_keeps_the_state(tmp_path):
    with Node(tmp_path) as node:
        with node.client() as client, node.client() as waiter:
            _, _, held = acquire(client, "a", ttl="10m")
            waiter.send("POST", "/v1/locks/a/acquire?wait=1m")
            until(lambda: client.request("GET", "/v1/locks/a")[2]["waiter_count"] == 1, "the waiter is in the queue")
            node.signal(signal.SIGTERM)
            start = time.monotonic()
            response = waiter.connection.getresponse()
            assert response.status == 503
            assert b'"shutting_down"' in response.read()
            assert response.getheader("Retry-After")
        assert node.wait_exit() == 0
        assert time.monotonic() - start < 30  # the wait would have been a minute
        node.start()
        _, _, lock = node.request("GET", "/v1/locks/a")
        assert [holder["token"] for holder in lock["holders"]] == [held["token"]]
        assert lock["waiters"] == []  # its client is gone


def test_a_frozen_node_expires_nobody_early(tmp_path):
    with Node(tmp_path) as node, node.client() as client:
        _, _, lock = acquire(client, "a", ttl="1s")
        for _ in range(3):
            node.signal(signal.SIGSTOP)
            time.sleep(3)  # not a wait for a condition: the freeze itself, three times the TTL
            client.send("POST", f"/v1/locks/a/renew?token={lock['token']}")
            node.signal(signal.SIGCONT)
            response = client.connection.getresponse()
            body = response.read()
            assert response.status == 200, body


def test_ttls_are_honest(tmp_path):
    """Never early by the client's count from sending; not much later than 1 % and two heartbeats, with room for a busy machine."""
    slack_s = 10
    with Node(tmp_path) as node, node.client() as client:
        leases = []
        for i in range(40):
            ttl_ms = 500 + i * 60
            sent = time.monotonic()
            status, _, answer = acquire(client, f"t{i}", ttl=f"{ttl_ms}ms")
            assert status == 201
            leases.append([f"t{i}", answer["token"], sent + ttl_ms / 1000, time.monotonic() + ttl_ms * 1.01 / 1000 + 0.2])
        while leases:
            for lease in list(leases):
                name, token, earliest, latest = lease
                status, _, _ = client.request("GET", f"/v1/locks/{name}/check?token={token}")
                seen = time.monotonic()
                if status == 412:
                    assert seen >= earliest, f"{name} ended {earliest - seen:.3f} s early"
                    leases.remove(lease)
                else:
                    assert status == 200
                    assert seen < latest + slack_s, f"{name} lives {seen - latest:.3f} s too long"


def test_renewals_keep_a_lease_alive(tmp_path):
    with Node(tmp_path) as node, node.client() as client:
        _, _, lock = acquire(client, "a", ttl="2s")
        end = time.monotonic() + 5
        while time.monotonic() < end:
            status, _, answer = client.request("POST", f"/v1/locks/a/renew?token={lock['token']}")
            assert status == 200, answer
            time.sleep(0.1)  # the pace of a client, not a wait
        until(lambda: client.request("GET", f"/v1/locks/a/check?token={lock['token']}")[0] == 412, "it ends when nobody renews")
        status, _, _ = client.request("POST", f"/v1/locks/a/renew?token={lock['token']}")
        assert status == 409


def test_a_waiter_whose_client_goes_away_leaves_the_queue(tmp_path):
    with Node(tmp_path) as node, node.client() as client:
        acquire(client, "a", ttl="10m")
        gone = node.client()
        gone.send("POST", "/v1/locks/a/acquire?wait=1m&owner=gone")
        until(lambda: client.request("GET", "/v1/locks/a")[2]["waiter_count"] == 1, "it waits")
        next_ = node.client()
        next_.send("POST", "/v1/locks/a/acquire?wait=1m&owner=next")
        until(lambda: client.request("GET", "/v1/locks/a")[2]["waiter_count"] == 2, "both wait")
        gone.close()
        until(lambda: [w["owner"] for w in client.request("GET", "/v1/locks/a")[2]["waiters"]] == ["next"],
              "the one that went away is noticed", 30)
        next_.close()


def test_a_grant_that_nobody_received_is_taken_back(tmp_path):
    with Node(tmp_path) as node, node.client() as client:
        for i in range(20):
            raw = socket.create_connection(("127.0.0.1", node.port))
            raw.sendall(f"POST /v1/locks/g{i}/acquire?ttl=10m&wait=1s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            raw.close()  # with a reset, while the request is on its way
        names = [f"g{i}" for i in range(20)]
        # Some answers were written before the reset was seen: those grants stand until their TTL, as any lost answer's does.
        until(lambda: all(len(client.request("GET", f"/v1/locks/{name}")[2]["waiters"]) == 0 for name in names), "nobody waits")


def test_many_wait_in_order(tmp_path):
    with Node(tmp_path) as node, node.client() as client:
        _, _, answer = acquire(client, "a", ttl="10m")
        waiters = []
        for i in range(30):
            waiter = node.client()
            waiter.send("POST", f"/v1/locks/a/acquire?wait=1m&ttl=10m&owner=w{i}")
            until(lambda: client.request("GET", "/v1/locks/a")[2]["waiter_count"] == i + 1, "it waits")
            waiters.append(waiter)
        last = answer["token"]
        for i, waiter in enumerate(waiters):
            assert client.request("POST", f"/v1/locks/a/release?token={last}")[0] == 200
            response = waiter.connection.getresponse()
            body = response.read()
            assert response.status == 201, body
            token = int(response.getheader("Coord-Token"))
            assert token > last
            last = token
            waiter.close()


def test_a_wait_ends_with_its_deadline(tmp_path):
    with Node(tmp_path) as node, node.client() as client:
        acquire(client, "a", ttl="10m", owner="x")
        start = time.monotonic()
        status, _, answer = acquire(client, "a", wait="300ms")
        assert status == 423 and answer["code"] == "lock_held" and answer["holder"]["owner"] == "x"
        assert time.monotonic() - start >= 0.3


@pytest.mark.parametrize("threads", [1, 3])
def test_several_api_threads_share_one_node(tmp_path, threads):
    with Node(tmp_path, "--api-threads", str(threads)) as node:
        workers = [Worker(node, i) for i in range(8)]
        for worker in workers:
            worker.start()
        until(lambda: sum(len(w.tokens) for w in workers) > 300, "300 locks were granted", 60)
        for worker in workers:
            worker.stop = True
        for worker in workers:
            worker.join()
        tokens = [token for worker in workers for token in worker.tokens]
        assert len(set(tokens)) == len(tokens)
