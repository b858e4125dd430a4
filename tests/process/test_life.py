"""A node's life: killed, stopped, frozen; its leases; its clients."""

import os
import signal
import socket
import time

import pytest

from tests.support.node import Node, until
from workload import grants, started, verify

SLOW = bool(os.environ.get("TEST_SANITIZE"))


def acquire(client, name, **options):
    query = "&".join(f"{key}={value}" for key, value in options.items())
    return client.request("POST", f"/v1/locks/{name}/acquire?{query}")


def test_kill9_loses_nothing_acknowledged(tmp_path):
    node = Node(tmp_path).start()
    tokens = set()
    carried = {}  # held over the rounds: they stay held
    for round_ in range(4 if SLOW else 10):
        workers = started(node, 4, round_)
        until(lambda: grants(workers) > 60 * (1 + round_ % 3) or any(w.error for w in workers), "some locks were granted")
        node.kill9()
        for worker in workers:
            worker.finish()
        node.start()
        with node.client() as client:
            found = verify(client, workers)
            new = [token for worker in workers for token in worker.tokens]
            assert len(set(new)) == len(new)
            new = set(new) | set(found.values())
            assert min(new) > max(tokens, default=0)
            tokens |= new
            carried |= found
            for name, token in carried.items():
                status, _, answer = client.request("GET", f"/v1/locks/{name}/check?token={token}")
                assert status == 200, (name, token, answer)
            some = next(iter(found))
            carried.pop(some)
            assert client.request("POST", f"/v1/locks/{some}/release?token={found[some]}")[0] == 200
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
        assert time.monotonic() - start < (10 if SLOW else 2)
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
            assert client.request("GET", f"/v1/locks/a/check?token={lock['token']}")[0] == 200
        until(lambda: client.request("GET", f"/v1/locks/a/check?token={lock['token']}")[0] == 412, "it ends when nobody renews")


def test_ttls_are_honest(tmp_path):
    """Never early by the client's count from sending; not much later than 1 % and two heartbeats, with room for a busy machine."""
    slack_s = 5 if SLOW else 1.5
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
        _, _, lock = acquire(client, "a", ttl="500ms")
        end = time.monotonic() + 3
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
              "the one that went away is noticed", 10 if SLOW else 2)
        next_.close()


def close_with_reset(raw):
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    raw.close()


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_grant_that_nobody_received_is_taken_back(tmp_path, reset):
    """While the node stands still the waiter goes away and the holder releases: when it goes on, the grant and the end
    of the waiter's connection meet, in whatever order."""
    with Node(tmp_path) as node, node.client() as client, node.client() as other:
        for i in range(10):
            name = f"g{i}"
            _, _, held = acquire(client, name, ttl="10m")
            waiter = node.client()
            waiter.send("POST", f"/v1/locks/{name}/acquire?ttl=10m&wait=1m")
            until(lambda: other.request("GET", f"/v1/locks/{name}")[2]["waiter_count"] == 1, "it waits")
            node.signal(signal.SIGSTOP)
            try:
                client.send("POST", f"/v1/locks/{name}/release?token={held['token']}")
                if reset:
                    close_with_reset(waiter.connection.sock)
                waiter.close()
            finally:
                node.signal(signal.SIGCONT)
            response = client.connection.getresponse()
            assert response.read() and response.status == 200

            def free():
                lock = other.request("GET", f"/v1/locks/{name}")[2]
                return not lock["holders"] and not lock["waiters"]

            until(free, f"{name} is free, and nobody waits", 10 if SLOW else 2)
            status, _, _ = acquire(client, name, ttl="10m")
            assert status == 201


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
        workers = started(node, 8)
        until(lambda: grants(workers) > 300 or any(w.error for w in workers), "300 locks were granted", 60)
        for worker in workers:
            worker.finish()
        tokens = [token for worker in workers for token in worker.tokens]
        assert len(set(tokens)) == len(tokens)
        with node.client() as client:
            verify(client, workers)
