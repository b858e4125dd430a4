"""Waits in a circle, requests to yield, events and figures of locks, over HTTP."""

import re
import threading

from node import until
from stream import Stream
from test_statuses import acquire, lease, problem


def look(client, name):
    return client.request("GET", f"/v1/locks/{name}")[2]


def test_a_deadlock_is_refused_with_its_circle(client, node, name):
    a, b = f"{name}-a", f"{name}-b"
    one, two = lease(client), lease(client)
    acquire(client, a, f"lease={one}&owner=one")
    acquire(client, b, f"lease={two}&owner=two")
    with node.client() as waiting:
        waiting.send("POST", f"/v1/locks/{b}/acquire?lease={one}&wait=5m&owner=one")
        until(lambda: look(client, b)["waiter_count"] == 1, "one waits", limit_s=60)
        document = problem(client.request("POST", f"/v1/locks/{a}/acquire?lease={two}&wait=5m&owner=two"), 409,
                           "deadlock")
        assert document["cycle"] == [
            {"lease": two, "owner": "two", "waits_for": a, "held_by": one, "queued": False},
            {"lease": one, "owner": "one", "waits_for": b, "held_by": two, "queued": False}]
        assert look(client, a)["waiter_count"] == 0
        problem(client.request("POST", "/v1/locks/acquire", {"names": [a], "lease": two, "wait": "5m"}), 409, "deadlock")
        client.request("DELETE", f"/v1/leases/{two}")
        assert waiting.connection.getresponse().status == 201


def test_workers_that_lock_in_any_order_never_hang(node, client, name):
    """Each takes two locks one after the other, in its own order; who is refused lets go and begins again."""
    locks = [f"{name}-{i}" for i in range(4)]
    counts = {"done": 0, "deadlocks": 0}
    wrong = []
    mutex = threading.Lock()

    def work(number):
        with node.client(timeout_s=700) as own:
            mine = own.request("POST", "/v1/leases?ttl=1h")[2]["lease"]
            for turn in range(8):
                pair = [locks[(number + turn) % 4], locks[(number * 3 + turn * 2 + 1) % 4]]
                if pair[0] == pair[1]:
                    pair[1] = locks[(number + turn + 1) % 4]
                while True:
                    grants = []
                    for each in pair:
                        status, _, answer = own.request("POST", f"/v1/locks/{each}/acquire?lease={mine}&wait=10m")
                        if status != 201:
                            break
                        grants.append(answer)
                    for grant in grants:
                        own.request("POST", f"/v1/locks/{grant['name']}/release?token={grant['token']}")
                    with mutex:
                        if len(grants) == 2:
                            counts["done"] += 1
                        elif answer["code"] == "deadlock":
                            counts["deadlocks"] += 1
                        else:
                            wrong.append(answer)
                    if len(grants) == 2 or wrong:
                        break

    workers = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong and counts["done"] == 48, (wrong, counts)


def test_a_holder_hears_of_a_request_to_yield(client, name):
    own = lease(client)
    problem(client.request("POST", f"/v1/locks/{name}/yield"), 409, "lock_not_held")
    token = acquire(client, name, f"lease={own}")["token"]
    renewed = client.request("POST", f"/v1/locks/{name}/renew?token={token}")[2]
    assert (renewed["yield"], renewed["waiters"], renewed["waiter_priority"]) == (None, 0, 0)
    status, _, answer = client.request("POST", f"/v1/locks/{name}/yield", {"owner": "ops", "reason": "deploy"})
    assert (status, answer) == (200, {"name": name, "holders": 1, "waiters": 0})
    renewed = client.request("POST", f"/v1/locks/{name}/renew?token={token}")[2]
    assert (renewed["yield"]["owner"], renewed["yield"]["reason"]) == ("ops", "deploy")
    renewed = client.request("POST", f"/v1/leases/{own}/renew")[2]
    assert [(each["path"], each["yield"]["owner"]) for each in renewed["yield"]] == [(f"/locks/{name}", "ops")]


def test_the_life_of_a_lock_as_events(client, node, name):
    with Stream(node.port, f"/v1/watch?path=/locks/{name}") as stream:
        stream.any()
        one = acquire(client, name, "owner=me&mode=shared")
        client.request("POST", f"/v1/locks/{name}/release?token={one['token']}")
        two = acquire(client, name, "owner=you")
        client.request("POST", f"/v1/locks/{name}/break?reason=stuck")
        events = stream.events(4)
    assert [(e["type"], e["data"]["token"]) for e in events] == [
        ("acquired", one["token"]), ("released", one["token"]), ("acquired", two["token"]), ("broken", two["token"])]
    assert events[0]["data"] == {"token": one["token"], "owner": "me", "mode": "shared", "permits": 1,
                                 "lease": one["lease"], "waited_ms": 0, "replaces": None}
    assert (events[3]["data"]["owner"], events[3]["data"]["detail"]) == ("you", "stuck")
    assert all(e["path"] == f"/locks/{name}" and e["revision"] >= e["data"]["token"] for e in events)


def test_a_lock_can_be_waited_for(client, node, name):
    token = acquire(client, name)["token"]
    since = look(client, name)["revision"]
    with node.client() as waiting:
        waiting.send("GET", f"/v1/locks/{name}?since={since}&wait=5m")
        client.request("POST", f"/v1/locks/{name}/release?token={token}")
        response = waiting.connection.getresponse()
        assert response.status == 200 and b'"holders":[]' in response.read()


def test_leases_tell_their_beginning_and_end(client, node):
    with Stream(node.port, "/v1/watch?prefix=/leases/") as stream:
        stream.any()
        own = client.request("POST", "/v1/leases?ttl=30s&owner=watched")[2]["lease"]
        client.request("DELETE", f"/v1/leases/{own}")
        events = [e for e in stream.events(2) if e["path"] == f"/leases/{own}"]
    assert [(e["type"], e["data"]["owner"]) for e in events] == [("granted", "watched"), ("ended", "watched")]
    assert events[1]["data"]["reason"] == "revoked"


def test_what_hangs_on_a_lease_is_shown_whatever_it_is(client, name):
    own = lease(client)
    acquire(client, name, f"lease={own}")
    assert client.request("POST", f"/v1/elections/{name}/campaign?candidate=me&lease={own}")[0] == 201
    assert client.request("PUT", f"/v1/kv/{name}?lease={own}", "value")[0] in (200, 201)
    paths = [each["path"] for each in client.request("GET", f"/v1/leases/{own}")[2]["holds"]]
    assert paths == [f"/locks/{name}", f"/elections/{name}", f"/kv/{name}"]


def test_the_busiest_locks_have_figures(client, own_node):
    node = own_node()
    with node.client() as own:
        for i in range(30):
            for _ in range(i + 1):
                token = acquire(own, f"lock%22{i}")["token"]
                own.request("POST", f"/v1/locks/lock%22{i}/release?token={token}")
        acquire(own, "lock%2229")
        own.request("POST", "/v1/locks/lock%2229/break")
        text = own.request("GET", "/metrics")[2]
    found = dict(re.findall(r'^coordd_lock_acquired_total\{lock="lock\\"(\d+)"\} (\d+)$', text, re.M))
    assert {int(k): int(v) for k, v in found.items()} == {i: i + 1 + (i == 29) for i in range(10, 30)}
    assert 'coordd_lock_ended_total{lock="lock\\"29",reason="broken"} 1' in text
    assert 'coordd_lock_ended_total{lock="lock\\"29",reason="released"} 30' in text
