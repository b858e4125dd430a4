"""Requests that wait for a change: long polls and waits for conditions, over HTTP."""

import itertools
import signal
import time

import pytest

from node import read_answer, until

numbers = itertools.count(1)


@pytest.fixture
def base():
    return f"p{next(numbers)}"


def put(client, key, value="x"):
    status, headers, answer = client.request("PUT", f"/v1/kv/{key}", value)
    assert status in (200, 201), answer
    return int(headers["Coord-Revision"])


def poll(node, path, headers=None):
    client = node.client()
    client.send("GET", path, headers=headers)
    return client


def waiting(client, count):
    text = client.request("GET", "/metrics")[2]
    line = next(line for line in text.splitlines() if line.startswith("coordd_http_requests_waiting "))
    return int(line.split()[1]) >= count


def test_a_long_poll_ends_with_a_change(client, node, base):
    client.request("POST", f"/v1/locks/{base}/acquire?ttl=60s&owner=one")
    _, headers, view = client.request("GET", f"/v1/locks/{base}")
    for by_tag in (False, True):
        assert headers["ETag"] == f'"{view["revision"]}"'
        seen = {"If-None-Match": headers["ETag"]} if by_tag else None
        waiter = poll(node, f"/v1/locks/{base}?wait=60s" + ("" if by_tag else f"&since={view['revision']}"), seen)
        until(lambda: waiting(client, 1), "it waits")
        put(client, base + "-other")
        token = view["holders"][0]["token"] if view["holders"] else None
        if token:
            client.request("POST", f"/v1/locks/{base}/release?token={token}")
        else:
            client.request("POST", f"/v1/locks/{base}/acquire?ttl=60s&owner=two")
        status, headers, changed = read_answer(waiter.connection)
        assert status == 200 and changed["revision"] > view["revision"] and headers["ETag"] == f'"{changed["revision"]}"'
        view = changed
        waiter.close()


@pytest.mark.parametrize("consistency", ["", "&consistency=stale"])
def test_a_long_poll_without_a_change(client, base, consistency):
    put(client, base)
    _, headers, _ = client.request("GET", f"/v1/kv/{base}")
    begin = time.monotonic()
    status, again, body = client.request("GET", f"/v1/kv/{base}?wait=300ms{consistency}", headers={"If-None-Match": headers["ETag"]})
    assert time.monotonic() - begin >= 0.3
    assert (status, body, again["ETag"], again["Content-Length"]) == (304, "", headers["ETag"], None)
    assert client.request("GET", f"/v1/kv/{base}?since={headers['Coord-Revision']}{consistency}")[0] == 304
    assert client.request("GET", f"/v1/kv/{base}", headers={"If-None-Match": '"1"'})[0] == 200
    assert client.request("GET", f"/v1/kv/{base}", headers={"If-None-Match": '"other"'})[0] == 200


def test_a_long_poll_that_is_late_is_answered_at_once(client, base):
    first = put(client, base, "a")
    put(client, base, "b")
    status, _, answer = client.request("GET", f"/v1/kv/{base}?since={first}&wait=60s", headers={"Accept": "application/json"})
    assert (status, answer["value"]) == (200, "b")


def test_a_long_poll_of_what_is_not_there(client, node, base):
    revision = put(client, base + "-other")
    waiter = poll(node, f"/v1/kv/{base}?since={revision}&wait=60s")
    until(lambda: waiting(client, 1), "it waits")
    put(client, base, "now")
    assert read_answer(waiter.connection)[0] == 200
    waiter.close()
    client.request("DELETE", f"/v1/kv/{base}")
    assert client.request("GET", f"/v1/kv/{base}?since={revision}&wait=60s")[0] == 404


def test_a_long_poll_of_a_list(client, node, base):
    _, headers, page = client.request("GET", f"/v1/locks?prefix={base}")
    waiter = poll(node, f"/v1/locks?prefix={base}&since={page['revision']}&wait=60s")
    until(lambda: waiting(client, 1), "it waits")
    client.request("POST", f"/v1/locks/x{base}/acquire?ttl=60s")
    client.request("POST", f"/v1/locks/{base}-7/acquire?ttl=60s")
    status, _, page = read_answer(waiter.connection)
    assert status == 200 and [lock["name"] for lock in page["locks"]] == [f"{base}-7"]
    waiter.close()
    status, headers, _ = client.request("GET", f"/v1/locks?prefix={base}&since={page['revision']}&wait=100ms")
    assert status == 304 and int(headers["Coord-Revision"]) >= page["revision"]


def test_many_long_polls_on_one_object(client, node, base):
    revision = put(client, base)
    waiters = [poll(node, f"/v1/kv/{base}?since={revision}&wait=60s") for _ in range(400)]
    until(lambda: waiting(client, 400), "all wait")
    put(client, base, "changed")
    for waiter in waiters:
        status, _, value = read_answer(waiter.connection)
        assert (status, value) == (200, "changed")
        waiter.close()


def test_long_polls_whose_clients_go_away(client, node, base):
    revision = put(client, base)
    waiters = [poll(node, f"/v1/kv/{base}?since={revision}&wait=600s") for _ in range(20)]
    until(lambda: waiting(client, 20), "all wait")
    for waiter in waiters:
        waiter.close()
    until(lambda: not waiting(client, 1), "nobody waits", 10)


@pytest.mark.parametrize("query, field", [
    ("wait=1s", "wait"), ("since=1&wait=601s", "wait"), ("since=1&wait=x", "wait"), ("since=1&wait=1s&wait=1s", "wait"),
    ("since=-1", "since"),
])
def test_refusals_of_long_polls(client, base, query, field):
    status, _, problem = client.request("GET", f"/v1/locks/{base}?{query}")
    assert (status, problem["code"], problem["field"]) == (400, "bad_field", field)


def test_since_and_a_tag_exclude_each_other(client, base):
    status, _, problem = client.request("GET", f"/v1/locks/{base}?since=1", headers={"If-None-Match": '"1"'})
    assert (status, problem["field"]) == (400, "since")


def test_what_waits_when_the_node_stops(own_node, base):
    node = own_node()
    with node.client() as client:
        revision = put(client, base)
        waiters = [poll(node, f"/v1/kv/{base}?since={revision}&wait=60s"), poll(node, f"/v1/wait?until=key:{base}:absent")]
        until(lambda: waiting(client, 2), "both wait")
    node.signal(signal.SIGTERM)
    for waiter in waiters:
        status, headers, problem = read_answer(waiter.connection)
        assert (status, problem["code"], headers["Retry-After"]) == (503, "shutting_down", "1")
        waiter.close()
    assert node.wait_exit() == 0


# -- waits for conditions

def test_waits(client, node, base):
    token = client.request("POST", f"/v1/locks/{base}/acquire?ttl=60s")[2]["token"]
    cases = [
        (f"lock:{base}:free", lambda: client.request("POST", f"/v1/locks/{base}/release?token={token}")),
        (f"election:{base}:leader", lambda: client.request("POST", f"/v1/elections/{base}/campaign?ttl=60s&candidate=c")),
        (f"key:{base}:exists", lambda: put(client, base, "1")),
        (f"key:{base}:=a:%3D2", lambda: put(client, base, "a:=2")),
        (f"key:{base}:absent", lambda: client.request("DELETE", f"/v1/kv/{base}")),
    ]
    for condition, act in cases:
        waiter = poll(node, f"/v1/wait?until={condition}&wait=60s")
        until(lambda: waiting(client, 1), "it waits")
        act()
        status, _, answer = read_answer(waiter.connection)
        assert status == 200 and [c["holds"] for c in answer["until"]] == [True], answer
        waiter.close()


def test_waits_for_all_and_for_any(client, node, base):
    both = f"until=key:{base}a:exists,key:{base}b:exists"
    every, one = poll(node, f"/v1/wait?{both}"), poll(node, f"/v1/wait?{both}&any=true")
    until(lambda: waiting(client, 2), "both wait")
    put(client, base + "b")
    status, _, answer = read_answer(one.connection)
    assert status == 200 and [c["holds"] for c in answer["until"]] == [False, True]
    assert client.request("GET", f"/v1/wait?{both}&wait=0")[0] == 304
    put(client, base + "a")
    status, _, answer = read_answer(every.connection)
    assert status == 200 and [c["holds"] for c in answer["until"]] == [True, True]
    assert [c["condition"] for c in answer["until"]] == [f"key:{base}a:exists", f"key:{base}b:exists"]
    every.close(), one.close()


def test_a_wait_for_a_revision(own_node, base):
    node = own_node()
    with node.client() as client:
        revision = put(client, base)
        assert client.request("GET", f"/v1/wait?until=revision:{revision}")[0] == 200
        waiter = poll(node, f"/v1/wait?until=revision:{revision + 3}")
        until(lambda: waiting(client, 1), "it waits")
        for _ in range(3):
            put(client, base)
        status, _, answer = read_answer(waiter.connection)
        assert status == 200 and answer["revision"] >= revision + 3
        waiter.close()


def test_a_wait_in_vain(client, base):
    begin = time.monotonic()
    status, _, body = client.request("GET", f"/v1/wait?until=key:{base}:exists&wait=250ms")
    assert (status, body) == (304, "") and time.monotonic() - begin >= 0.25


@pytest.mark.parametrize("until_, code", [
    ("", "bad_field"), ("lock:x:held", "senseless"), ("nothing", "senseless"), ("queue:x:empty", "senseless"),
    ("key::exists", "senseless"), ("revision:x", "senseless"), ("lock:free", "senseless"),
    (",".join(["key:a:exists"] * 17), "bad_field"), ("lock:" + "a" * 256 + ":free", "bad_field"),
])
def test_refusals_of_waits(client, until_, code):
    status, _, problem = client.request("GET", f"/v1/wait?until={until_}")
    assert (status, problem["code"]) == (422 if code == "senseless" else 400, code), problem


def test_a_condition_with_a_comma_goes_into_the_body(client, base):
    put(client, base, "a,b")
    status, _, answer = client.request("GET", "/v1/wait", {"until": [f"key:{base}:=a,b"]})
    assert status == 200, answer
