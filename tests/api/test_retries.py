"""Safe retries: the first answer to an Idempotency-Key is kept and given again, and its request is done once."""

import json
import threading
import uuid

import pytest

from conftest import Raw
from node import read_answer, until
from test_statuses import acquire, lease, problem

MIB = 1 << 20


@pytest.fixture
def retry():
    """A key that nobody has used."""
    return f"retry-{uuid.uuid4()}"


def keyed(client, retry, path, body=None, method="POST", **headers):
    return client.request(method, path, body, {"Idempotency-Key": retry, **headers})


def replayed(answer):
    value = answer[1]["Idempotency-Replayed"]
    assert value in (None, "true")
    return value == "true"


def waiters(client, name):
    return client.request("GET", f"/v1/locks/{name}")[2]["waiters"]


# --- the first answer, again ---


def test_a_repetition_is_given_the_first_answer(client, node, retry):
    first = keyed(client, retry, "/v1/leases?ttl=20s&owner=me")
    assert first[0] == 201 and not replayed(first)
    for _ in range(3):
        with node.client() as other:
            again = keyed(other, retry, "/v1/leases?ttl=20s&owner=me")
        assert again[0] == 201 and replayed(again)
        assert again[2]["lease"] == first[2]["lease"] and set(again[2]) == set(first[2])
        assert again[1]["Coord-Lease"] == first[1]["Coord-Lease"]


def test_query_and_body_mean_the_same_request(client, name, retry):
    first = keyed(client, retry, f"/v1/locks/{name}/acquire?owner=me&ttl=20s")
    again = keyed(client, retry, f"/v1/locks/{name}/acquire", {"ttl": 20000, "owner": "me"})
    assert replayed(again) and again[2]["token"] == first[2]["token"]


def test_quoted_or_bare(client, retry):
    first = keyed(client, retry, "/v1/leases")
    assert keyed(client, f'"{retry}"', "/v1/leases")[2]["lease"] == first[2]["lease"]


def test_expires_in_ms_is_that_of_now(client, node, retry):
    """What is left of the lease when the answer leaves, not when it was first given."""
    first = keyed(client, retry, "/v1/leases?ttl=20s")[2]
    until(lambda: client.request("GET", f"/v1/leases/{first['lease']}")[2]["expires_in_ms"] < 19990, "time passes")
    assert keyed(client, retry, "/v1/leases?ttl=20s")[2]["expires_in_ms"] < 19990
    put = f"/v1/kv/{retry}?ttl=20s"
    first = keyed(client, retry + "kv", put, b"1", "PUT")[2]
    until(lambda: client.request("GET", f"/v1/leases/{first['lease']}")[2]["expires_in_ms"] < 19990, "time passes")
    assert 0 < keyed(client, retry + "kv", put, b"1", "PUT")[2]["expires_in_ms"] < 19990


def test_a_grant_that_is_over_is_told_as_such(client, name, retry):
    path = f"/v1/locks/{name}/acquire?ttl=500ms"
    first = keyed(client, retry, path)[2]
    until(lambda: not client.request("GET", f"/v1/locks/{name}")[2]["holders"], "its lease ends", 60)
    again = keyed(client, retry, path)
    assert replayed(again) and (again[2]["token"], again[2]["expires_in_ms"]) == (first["token"], 0)
    assert client.request("GET", f"/v1/locks/{name}")[2]["holders"] == []


def test_a_grant_once_released_is_not_granted_again(client, name, retry):
    grant = keyed(client, retry, f"/v1/locks/{name}/acquire?owner=me")[2]
    assert client.request("POST", f"/v1/locks/{name}/release?token={grant['token']}")[0] == 200
    again = keyed(client, retry, f"/v1/locks/{name}/acquire?owner=me")
    assert replayed(again) and again[2]["token"] == grant["token"]
    assert client.request("GET", f"/v1/locks/{name}")[2]["holders"] == []


def test_refusals_are_answers(client, name, retry):
    acquire(client, name, "owner=other")
    path = f"/v1/locks/{name}/acquire?owner=me"
    held = keyed(client, retry, path)
    problem(held, 423, "lock_held")
    client.request("POST", f"/v1/locks/{name}/break?reason=test")
    again = keyed(client, retry, path)
    assert replayed(again)
    assert problem(again, 423, "lock_held")["holder"]["owner"] == "other"
    assert keyed(client, retry + "2", path)[0] == 201


def test_any_write_takes_a_key(client, name, retry):
    """PUT and DELETE as well, raw bodies and 204s."""
    key = f"/v1/kv/{name}"
    first = keyed(client, retry + "a", key, b"\xff\x00", "PUT")
    assert first[0] == 201
    again = keyed(client, retry + "a", key, b"\xff\x00", "PUT")
    assert replayed(again) and (again[0], again[2]) == (201, first[2])
    assert again[1]["Coord-Revision"] == str(first[2]["revision"])
    deleted = keyed(client, retry + "b", key, method="DELETE")
    assert deleted[2]["deleted"] is True
    again = keyed(client, retry + "b", key, method="DELETE")
    assert replayed(again) and again[2] == deleted[2]
    own = lease(client)
    assert keyed(client, retry + "c", f"/v1/leases/{own}", method="DELETE")[0] == 204
    again = keyed(client, retry + "c", f"/v1/leases/{own}", method="DELETE")
    assert (again[0], again[2]) == (204, "") and replayed(again)


def test_transactions_are_done_once(client, name, retry):
    body = {"then": [{"op": "kv.put", "key": name, "value": "1"}, {"op": "lock.acquire", "name": name}, {"op": "kv.get", "key": name}]}
    first = keyed(client, retry, "/v1/txn", body)
    again = keyed(client, retry, "/v1/txn", body)
    assert replayed(again) and again[2]["revision"] == first[2]["revision"]
    assert [r["code"] for r in again[2]["results"]] == ["created", "created", "ok"]
    refused = {"then": [{"op": "kv.put", "key": name, "if_match": 1}]}
    first = problem(keyed(client, retry + "2", "/v1/txn", refused), 409, "txn_refused")
    client.request("DELETE", f"/v1/kv/{name}")
    answer = keyed(client, retry + "2", "/v1/txn", refused)
    assert replayed(answer) and problem(answer, 409, "txn_refused") == first


def test_the_largest_answer_is_kept(client, name, retry):
    client.request("PUT", f"/v1/kv/{name}", bytes(i % 251 for i in range(MIB)))
    body = {"then": [{"op": "kv.get", "key": name}]}
    first = keyed(client, retry, "/v1/txn", body)
    assert first[0] == 200
    again = keyed(client, retry, "/v1/txn", body)
    assert replayed(again) and again[2] == first[2]


# --- another request ---


def test_422_the_key_belongs_to_another_request(client, name, retry):
    path = f"/v1/locks/{name}/acquire"
    keyed(client, retry, path + "?owner=a")
    for other in (path + "?owner=b", path + "?owner=a&ttl=31s", path.replace(name, name + "x") + "?owner=a", "/v1/leases"):
        problem(keyed(client, retry, other), 422, "idempotency_key_reused")
    assert client.request("GET", f"/v1/locks/{name}x")[2]["holders"] == []
    key = f"/v1/kv/{name}"
    keyed(client, retry + "v", key, b"1", "PUT")
    problem(keyed(client, retry + "v", key, b"2", "PUT"), 422, "idempotency_key_reused")
    assert client.request("GET", key)[2] == "1"


def test_400_is_not_kept(client, name, retry):
    """What never reached the log leaves the key free."""
    problem(keyed(client, retry, f"/v1/locks/{name}/acquire?ttl=1ms"), 400, "bad_field")
    assert keyed(client, retry, f"/v1/locks/{name}/acquire")[0] == 201


@pytest.mark.parametrize("bad", ["", '""', "a b", "a\tb", "k\xe4se", "x" * 256, '"' + "x" * 256 + '"'])
def test_400_what_is_no_key(client, bad):
    answer = problem(keyed(client, bad, "/v1/leases"), 400, "bad_field")
    assert answer["field"] == "Idempotency-Key"


def test_a_key_of_255(client, retry):
    for quotes in ("", '"'):
        assert keyed(client, quotes + retry.ljust(255, "x") + quotes, "/v1/leases")[0] == 201


def test_400_two_keys(raw, retry):
    with raw() as socket:
        reply = socket.request("POST", "/v1/leases", [f"Idempotency-Key: {retry}", f"Idempotency-Key: {retry}"]).reply()
    assert reply.status == 400 and json.loads(reply.body)["field"] == "headers"


def test_reads_and_renewals_are_done_again_anyway(client, name, retry):
    token = acquire(client, name)["token"]
    for _ in range(2):
        for method, path in (("GET", f"/v1/locks/{name}"), ("POST", f"/v1/locks/{name}/renew?token={token}")):
            answer = keyed(client, retry, path, method=method)
            assert answer[0] == 200 and not replayed(answer)
    assert keyed(client, "not a key", f"/v1/locks/{name}", method="GET")[0] == 200


# --- waits ---


def test_409_while_a_wait_is_under_way(client, node, name, retry):
    token = acquire(client, name)["token"]
    path = f"/v1/locks/{name}/acquire?owner=me&wait=60s"
    with node.client() as waiting:
        waiting.send("POST", path, headers={"Idempotency-Key": retry})
        until(lambda: waiters(client, name), "it waits")
        problem(keyed(client, retry, path), 409, "duplicate_in_flight", retryable=True)
        problem(keyed(client, retry, path.replace("60s", "61s")), 422, "idempotency_key_reused")
        client.request("POST", f"/v1/locks/{name}/release?token={token}")
        granted = read_answer(waiting.connection)
    assert granted[0] == 201 and not replayed(granted)
    again = keyed(client, retry, path)
    assert again[0] == 201 and replayed(again) and again[2]["token"] == granted[2]["token"]


def test_a_wait_in_vain_is_an_answer(client, name, retry):
    token = acquire(client, name)["token"]
    path = f"/v1/locks/{name}/acquire?owner=me&wait=20ms"
    problem(keyed(client, retry, path), 423, "lock_held")
    client.request("POST", f"/v1/locks/{name}/release?token={token}")
    again = keyed(client, retry, path)
    assert replayed(again)
    problem(again, 423, "lock_held")


def test_a_client_that_goes_away_frees_the_key(client, node, name, retry):
    token = acquire(client, name)["token"]
    path = f"/v1/locks/{name}/acquire?owner=me&wait=60s"
    with Raw(node.port) as going:
        going.request("POST", path, [f"Idempotency-Key: {retry}"])
        until(lambda: waiters(client, name), "it waits")
    until(lambda: not waiters(client, name), "it is taken out of the queue", 60)
    with node.client() as waiting:
        waiting.send("POST", path, headers={"Idempotency-Key": retry})
        until(lambda: waiters(client, name), "the repetition waits")
        client.request("POST", f"/v1/locks/{name}/release?token={token}")
        granted = read_answer(waiting.connection)
    assert granted[0] == 201 and not replayed(granted)


def test_a_grant_that_could_not_be_delivered_waits_for_its_owner(client, node, name, retry):
    """Without a key such a grant is taken back; with one, who asks again is told of it."""
    path = f"/v1/locks/{name}/acquire?owner=me&wait=60s&ttl=60s"
    for _ in range(20):
        token = acquire(client, name, "owner=other")["token"]
        with Raw(node.port) as going:
            going.request("POST", path, [f"Idempotency-Key: {retry}"])
            until(lambda: waiters(client, name), "it waits")
            client.send("POST", f"/v1/locks/{name}/release?token={token}")
            going.reset()
        assert read_answer(client.connection)[0] == 200
        until(lambda: not waiters(client, name), "it waits no more", 60)
        holders = client.request("GET", f"/v1/locks/{name}")[2]["holders"]
        if not holders:
            continue  # it was gone before the grant: nobody has the lock, and the key is free
        answer = keyed(client, retry, path)
        assert answer[0] == 201 and replayed(answer) and answer[2]["token"] == holders[0]["token"]
        return
    answer = keyed(client, retry, path)
    assert answer[0] == 201 and not replayed(answer)


# --- what is not kept, and what lasts ---


def test_503_is_not_kept(own_node):
    node = own_node()
    token = acquire(node, "a")["token"]
    path = "/v1/locks/a/acquire?owner=me&wait=60s"
    with node.client() as waiting:
        waiting.send("POST", path, headers={"Idempotency-Key": "k"})
        until(lambda: waiters(node, "a"), "it waits")
        node.signal(15)
        problem(read_answer(waiting.connection), 503, "shutting_down", retryable=True)
    assert node.wait_exit() == 0
    node.start()
    assert node.request("POST", f"/v1/locks/a/release?token={token}")[0] == 200
    answer = keyed(node, "k", path)
    assert answer[0] == 201 and not replayed(answer)


def test_answers_outlive_the_node(own_node):
    node = own_node()
    first = keyed(node, "k", "/v1/kv/a", b"1", "PUT")
    acquire(node, "l", "owner=other&ttl=60s")
    held = keyed(node, "held", "/v1/locks/l/acquire?owner=me")[2]
    node.kill9()
    node.start()
    again = keyed(node, "k", "/v1/kv/a", b"1", "PUT")
    assert replayed(again) and again[2] == first[2]
    problem(keyed(node, "k", "/v1/kv/a", b"2", "PUT"), 422, "idempotency_key_reused")
    again = keyed(node, "held", "/v1/locks/l/acquire?owner=me")
    assert replayed(again) and again[2]["holder"]["token"] == held["holder"]["token"]
    assert node.stop() == 0
    node.start()
    assert replayed(keyed(node, "k", "/v1/kv/a", b"1", "PUT"))


def test_a_wait_under_a_key_ends_with_its_node(own_node):
    """A kill leaves the wait in the state; the session of the node that had the client ends, and the key is free."""
    node = own_node()
    token = acquire(node, "a", "ttl=60s")["token"]
    path = "/v1/locks/a/acquire?owner=me&wait=60s"
    with Raw(node.port) as going:
        going.request("POST", path, ["Idempotency-Key: k"])
        until(lambda: waiters(node, "a"), "it waits")
        node.kill9()
    node.start()
    until(lambda: not waiters(node, "a"), "its wait is over", 60)
    assert node.request("POST", f"/v1/locks/a/release?token={token}")[0] == 200
    answer = keyed(node, "k", path)
    assert answer[0] == 201 and not replayed(answer)


def test_many_at_once_with_one_key(node, name, retry):
    """Twenty clients send the same: one does it, all are told the same."""
    answers, mutex = [], threading.Lock()

    def ask():
        with node.client() as client:
            answer = keyed(client, retry, f"/v1/locks/{name}/acquire?owner=me")
        with mutex:
            answers.append(answer)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(replayed, answers)) == [False] + [True] * 19
    assert len({(a[0], a[2]["token"], a[2]["count"]) for a in answers}) == 1
    assert node.request("GET", f"/v1/locks/{name}")[2]["holders"][0]["token"] == answers[0][2]["token"]
