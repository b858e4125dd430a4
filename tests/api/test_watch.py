"""Streams of events, over HTTP."""

import itertools
import json
import os
import threading
import time

import pytest

from node import until
from stream import Stream

numbers = itertools.count(1)
SLOW = bool(os.environ.get("TEST_SANITIZE"))


@pytest.fixture
def base():
    return f"w{next(numbers)}"


def put(client, key, value="x", query=""):
    status, headers, answer = client.request("PUT", f"/v1/kv/{key}{query}", value)
    assert status in (200, 201), answer
    return int(headers["Coord-Revision"])


def told(events):
    return [(e["type"], e["path"], e["revision"]) for e in events]


@pytest.fixture
def watch(node):
    opened = []

    def make(path, form="sse", at=None, **options):
        opened.append(Stream((at or node).port, path, form, **options))
        return opened[-1]

    yield make
    for stream in opened:
        stream.close()


def streams(client):
    text = client.request("GET", "/metrics")[2]
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("coordd_http_streams ")))


# -- what a stream tells

@pytest.mark.parametrize("form", ["sse", "ndjson"])
def test_events_come_in_order_under_a_prefix(client, watch, base, form):
    stream = watch(f"/v1/watch?prefix=/kv/{base}/", form)
    first = stream.any()
    assert first["type"] == "bookmark"
    assert stream.headers["content-type"] == {"sse": "text/event-stream", "ndjson": "application/x-ndjson"}[form]
    assert stream.headers["coord-node"] and stream.headers["cache-control"] == "no-store"
    revisions = [put(client, f"{base}/{i}", str(i)) for i in range(20)]
    put(client, f"other-{base}")
    client.request("DELETE", f"/v1/kv/{base}/3")
    events = stream.events(21)
    assert told(events[:20]) == [("put", f"/kv/{base}/{i}", r) for i, r in enumerate(revisions)]
    assert (events[20]["type"], events[20]["path"]) == ("deleted", f"/kv/{base}/3")
    assert [e["data"]["value"] for e in events[:20]] == [str(i) for i in range(20)]
    assert all(e["revision"] > first["revision"] and not e["more"] and e["time"] for e in events)
    if form == "sse":
        assert [e["id"] for e in events] == [str(e["revision"]) for e in events]


def test_one_object_alone(client, watch, base):
    stream = watch(f"/v1/watch?path=/kv/{base}")
    stream.any()
    put(client, f"{base}0")
    revision = put(client, base)
    assert told(stream.events(1)) == [("put", f"/kv/{base}", revision)]


def test_only_some_types(client, watch, base):
    stream = watch(f"/v1/watch?prefix=/kv/{base}&types=deleted,expired")
    stream.any()
    put(client, base)
    client.request("DELETE", f"/v1/kv/{base}")
    assert stream.event()["type"] == "deleted"


def test_all_primitives_in_one_stream(client, watch, base):
    stream = watch("/v1/watch")
    stream.any()
    revision = put(client, base)
    token = client.request("POST", f"/v1/locks/{base}/acquire?ttl=60s")[2]["token"]
    client.request("POST", f"/v1/locks/{base}/release?token={token}")
    lease = client.request("POST", "/v1/leases?ttl=60s")[2]["lease"]
    events = []
    while (event := stream.event())["path"] != f"/leases/{lease}":
        events.append(event)
    assert told(e for e in events if base in e["path"])[:2] == [("put", f"/kv/{base}", revision),
                                                                 ("acquired", f"/locks/{base}", token)]
    assert "released" in [e["type"] for e in events if base in e["path"]]


def test_paths_and_values_are_bytes(client, watch, base):
    stream = watch("/v1/watch?prefix=/kv/%ff" + base, "ndjson")
    stream.any()
    put(client, "%ff" + base, b"\xfe\x00")
    event = stream.event()
    import base64
    assert base64.b64decode(event["path"]["base64"]) == b"/kv/\xff" + base.encode()
    assert base64.b64decode(event["data"]["value"]["base64"]) == b"\xfe\x00"


def many(client, base, count):
    then = [{"op": "kv.put", "key": f"{base}/{i}", "value": str(i)} for i in range(count)]
    status, _, answer = client.request("POST", "/v1/txn", {"then": then})
    assert status == 200, answer
    return answer["revision"]


@pytest.mark.parametrize("form", ["sse", "ndjson"])
def test_a_revision_is_whole_and_only_its_last_event_can_be_resumed_from(client, watch, base, form):
    live = watch(f"/v1/watch?prefix=/kv/{base}/", form)
    some = watch(f"/v1/watch?path=/kv/{base}/4", form)
    start = live.any()["revision"]
    some.any()
    revision = many(client, base, 10)
    late = watch(f"/v1/watch?prefix=/kv/{base}/&since={start}", form)
    for stream in (live, late):
        events = stream.events(10)
        assert told(events) == [("put", f"/kv/{base}/{i}", revision) for i in range(10)]
        assert [e["more"] for e in events] == [True] * 9 + [False]
        if form == "sse":
            assert [e["id"] for e in events] == [None] * 9 + [str(revision)]
    event = some.event()
    assert (event["path"], event["more"]) == (f"/kv/{base}/4", False)


# -- going on

@pytest.mark.parametrize("form", ["sse", "ndjson"])
def test_resuming_leaves_no_gap_and_repeats_nothing(client, watch, base, form):
    stop = threading.Event()
    written = []

    def write(node_client):
        while not stop.is_set():
            written.append(put(node_client, f"{base}/{len(written)}"))

    with_client = client
    stream = watch(f"/v1/watch?prefix=/kv/{base}/", form)
    last = stream.any()["revision"]
    writer = threading.Thread(target=write, args=(with_client,))
    writer.start()
    got = []
    try:
        for count in (1, 7, 30, 2, 100):
            got += stream.events(count)
            last = got[-1]["revision"]
            stream.close()
            if form == "sse":  # as EventSource does: the same request, with the last id
                stream = watch(f"/v1/watch?prefix=/kv/{base}/&since=1", form, headers={"Last-Event-ID": got[-1]["id"]})
            else:
                stream = watch(f"/v1/watch?prefix=/kv/{base}/&since={last}", form)
    finally:
        stop.set()
        writer.join()
    got += stream.until_revision(written[-1])
    assert [e["revision"] for e in got] == written


def test_since_the_beginning(own_node, watch):
    node = own_node()
    with node.client() as client:
        revisions = [put(client, f"k{i}") for i in range(50)]
        stream = watch("/v1/watch?prefix=/kv/&since=0", at=node)
        assert stream.any() == {"revision": 0, "more": False, "type": "bookmark", "id": "0", "event": "bookmark"}
        assert [e["revision"] for e in stream.events(50)] == revisions


def test_over_a_restart(own_node, watch, base):
    node = own_node()
    with node.client() as client:
        revisions = [put(client, f"{base}{i}") for i in range(5)]
    stream = watch("/v1/watch?prefix=/kv/&since=0", at=node)
    assert [e["revision"] for e in stream.events(3)] == revisions[:3]
    node.kill9()
    node.start()
    with node.client() as client:
        revisions.append(put(client, f"{base}5"))
    stream = watch(f"/v1/watch?prefix=/kv/&since={revisions[2]}", at=node)
    assert [e["revision"] for e in stream.events(3)] == revisions[3:]


def test_a_revision_still_to_come(client, watch, base):
    revision = put(client, base)
    stream = watch(f"/v1/watch?prefix=/kv/{base}&since={revision + 1}")
    revisions = [put(client, base) for _ in range(3)]
    expected = [each for each in revisions if each > revision + 1]  # that one may be another test's
    assert [e["revision"] for e in stream.events(len(expected))] == expected


def test_a_revision_that_does_not_come(client, watch):
    status, problem = watch("/v1/watch?since=1000000000").refusal()
    assert (status, problem["code"], problem["retryable"]) == (503, "min_revision_ahead", True)


# -- the present state first

@pytest.mark.parametrize("form", ["sse", "ndjson"])
def test_the_present_state_first(client, watch, base, form):
    for i in range(150):
        put(client, f"{base}/{i:03}", str(i))
    client.request("DELETE", f"/v1/kv/{base}/007")
    put(client, f"{base}x")
    stream = watch(f"/v1/watch?prefix=/kv/{base}/&initial=true", form)
    events = []
    while (event := stream.any())["type"] != "bookmark":
        events.append(event)
    assert [e["path"] for e in events] == [f"/kv/{base}/{i:03}" for i in range(150) if i != 7]
    assert {e["type"] for e in events} == {"present"} and all(e["more"] for e in events)
    assert [e["data"]["value"] for e in events[:3]] == ["0", "1", "2"]
    if form == "sse":
        assert {e["id"] for e in events} == {None} and event["id"] == str(event["revision"])
    revision = put(client, f"{base}/new")
    assert told(stream.events(1)) == [("put", f"/kv/{base}/new", revision)]


def test_the_present_state_of_locks_elections_and_leases(client, watch, base):
    token = client.request("POST", f"/v1/locks/{base}/acquire?ttl=60s&owner=me")[2]["token"]
    client.request("POST", f"/v1/elections/{base}/campaign?ttl=60s&candidate=c1")
    lease = client.request("POST", "/v1/leases?ttl=60s&owner=mine")[2]["lease"]
    stream = watch("/v1/watch?prefix=/&initial=true")
    events = {}
    while (event := stream.any())["type"] != "bookmark":
        if event["type"] != "present":
            continue  # of other tests' leases that end meanwhile
        path = json.dumps(event["path"]) if isinstance(event["path"], dict) else event["path"]
        assert path not in events
        events[path] = event["data"]
    holder = events[f"/locks/{base}"]["holders"][0]
    assert (holder["owner"], holder["token"]) == ("me", token) and 0 < holder["expires_in_ms"] <= 60000
    assert events[f"/elections/{base}"]["leader"]["candidate"] == "c1"
    assert events[f"/leases/{lease}"]["owner"] == "mine"


def test_the_present_state_of_one_object(client, watch, base):
    put(client, base, "v")
    put(client, base + "/below", "v")
    stream = watch(f"/v1/watch?path=/kv/{base}&initial=true")
    event = stream.any()
    assert (event["type"], event["path"], event["data"]["value"]) == ("present", f"/kv/{base}", "v")
    assert stream.any()["type"] == "bookmark"
    stream = watch(f"/v1/watch?path=/kv/{base}-none&initial=true")
    assert stream.any()["type"] == "bookmark"


def test_the_present_state_while_it_changes(client, node, watch, base):
    """Whoever applies what the stream tells, in order, has the state at every revision that can be resumed from."""
    keys = [f"{base}/{i:04}" for i in range(300)]
    for i in range(0, 300, 100):
        client.request("POST", "/v1/txn", {"then": [{"op": "kv.put", "key": k, "value": "0"} for k in keys[i:i + 100]]})
    stop = threading.Event()
    wrote = []

    def write():
        with node.client() as other:
            for n in itertools.count(1):
                if stop.is_set():
                    return
                key = keys[n * 7919 % 300]
                wrote.append((put(other, key, str(n)), key, str(n)))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        until(lambda: len(wrote) > 20, "some writes")
        for _ in range(5):
            stream = watch(f"/v1/watch?prefix=/kv/{base}/&initial=true", "ndjson")
            state, shown = {}, {}
            while (event := stream.any())["type"] != "bookmark":
                assert event["more"]
                assert shown.get(event["path"], 0) <= event["revision"], "an older state after a newer one"
                assert event["type"] == "put" or event["path"] not in shown, "shown twice"
                shown[event["path"]] = event["revision"]
                state[event["path"][len("/kv/"):]] = event["data"]["value"]
            revision = event["revision"]
            until(lambda: wrote[-1][0] > revision, "a later write")
            expected = dict.fromkeys(keys, "0")
            expected.update({key: value for r, key, value in list(wrote) if r <= revision})
            assert state == expected
            later = [r for r, _, _ in list(wrote) if r > revision]
            assert [e["revision"] for e in stream.events(len(later))] == later
            stream.close()
    finally:
        stop.set()
        writer.join()


# -- signs of life, ends

@pytest.mark.parametrize("form", ["sse", "ndjson"])
def test_signs_of_life(client, watch, base, form):
    quiet = watch(f"/v1/watch?path=/kv/{base}", form)
    first = quiet.any()["revision"]
    revision = put(client, base + "-other")
    begin = time.monotonic()
    assert quiet.until_revision(revision) == []
    assert time.monotonic() - begin < 30
    if form == "sse":
        assert quiet.comments >= 1 and quiet.seen[-1]["event"] == "bookmark"
        assert int(quiet.seen[-1]["id"]) >= revision > first
    else:
        again = quiet.any()  # also when nothing happens
        assert again["type"] == "bookmark" and again["revision"] >= revision


def test_the_end_of_the_node_is_told(own_node, watch):
    node = own_node()
    with node.client() as client:
        put(client, "a")
    both = [watch("/v1/watch", form, at=node) for form in ("sse", "ndjson")]
    for stream in both:
        stream.any()
    assert node.stop() == 0
    for stream in both:
        events, clean = stream.rest()
        assert clean and events[-1]["type"] == "end" and "shutting down" in events[-1]["detail"]


def test_a_client_that_goes_away_is_noticed(client, watch):
    before = streams(client)
    opened = [watch("/v1/watch") for _ in range(10)]
    for stream in opened:
        stream.any()
    assert streams(client) == before + 10
    for stream in opened[:5]:
        stream.close()
    until(lambda: streams(client) <= before + 5, "five streams are gone", 10)
    import socket
    for stream in opened[5:]:
        stream.socket.shutdown(socket.SHUT_WR)
    until(lambda: streams(client) <= before, "the others are gone", 10)


def test_limits(own_node, watch):
    node = own_node("--streams-max", "3")
    opened = [watch("/v1/watch", at=node) for _ in range(3)]
    for stream in opened:
        stream.any()
    status, problem = watch("/v1/watch", at=node).refusal()
    assert (status, problem["code"], problem["limit"]) == (503, "overloaded", 3)
    opened[0].close()

    def accepted():
        stream = watch("/v1/watch", at=node)
        return stream.head()[0] == 200

    until(accepted, "there is room again")


def test_several_threads(own_node, watch):
    node = own_node("--api-threads", "3")
    with node.client() as client:
        opened = [watch("/v1/watch?prefix=/kv/", ("sse", "ndjson")[i % 2], at=node) for i in range(30)]
        for stream in opened:
            stream.any()
        revisions = [put(client, f"k{i}") for i in range(20)]
        for stream in opened:
            assert [e["revision"] for e in stream.events(20)] == revisions
        for stream in opened:
            stream.close()
        until(lambda: streams(client) == 0, "all are gone", 10)


# -- slow readers, trimmed history

def resident_mb(client):
    text = client.request("GET", "/metrics")[2]
    line = next(line for line in text.splitlines() if line.startswith("process_resident_memory_bytes "))
    return int(line.split()[1]) / 1e6


def fill(client, megabytes, key="big"):
    for i in range(megabytes):
        put(client, f"{key}/{i % 8}", b"v" * 1_000_000)


class Slowly:
    """Reads a little from a stream all the time, so that it does not count as dead: enough at once for the kernel to
    open its window again."""

    def __init__(self, stream):
        self.stream, self.stop = stream, threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stop.wait(0.1):
            self.stream.raw += self.stream.socket.recv(32768)

    def __enter__(self):
        return self.stream

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def test_a_slow_reader_catches_up(own_node, watch):
    node = own_node()
    with node.client() as client:
        slow = watch("/v1/watch?prefix=/kv/", "ndjson", at=node, receive_buffer=65536)
        slow.head()
        with Slowly(slow):
            revisions = []
            for i in range(30):
                revisions.append(put(client, f"big/{i % 8}", b"v" * 300_000))
        assert [e["revision"] for e in slow.events(30)] == revisions
        last = put(client, "small")
        assert [e["revision"] for e in slow.events(1)] == [last]


def test_a_reader_that_is_too_slow_gets_a_last_event(own_node, watch):
    node = own_node()
    with node.client() as client:
        slow = watch("/v1/watch?prefix=/kv/", at=node, receive_buffer=65536)
        slow.head()
        with Slowly(slow):
            fill(client, 90)
        events, clean = slow.rest()
        assert clean and events[-1]["type"] == "reset" and events[-1]["event"] == "reset"
        assert events[-1]["id"] is None and "initial=true" in events[-1]["detail"]
        revisions = [e["revision"] for e in events[:-1] if e["type"] == "put"]
        assert len(revisions) < 80 and revisions == sorted(set(revisions))
        oldest = events[-1]["revision"]
        late = watch(f"/v1/watch?prefix=/kv/&since={oldest - 1}", at=node)
        status, problem = late.refusal()
        assert (status, problem["code"], problem["retryable"]) == (410, "revision_gone", False)
        assert problem["oldest"] >= oldest and problem["revision"] > oldest
        good = watch(f"/v1/watch?prefix=/kv/&since={problem['oldest']}", at=node)
        assert good.event()["revision"] > problem["oldest"]


def test_readers_that_read_nothing_are_bounded_and_cut_off(own_node, watch):
    node = own_node()
    with node.client() as client:
        put(client, "big/0")
        idle = resident_mb(client)
        dead = [watch(f"/v1/watch?prefix=/kv/&types=put,{'x' * (i + 1)}", at=node, receive_buffer=4096) for i in range(40)]
        for stream in dead:
            stream.head()
        fill(client, 60)
        grown = resident_mb(client) - idle
        assert grown < (1000 if SLOW else 260), f"{grown} MB"
        until(lambda: streams(client) == 0, "the kernel has cut them off", 60)


# -- refusals

@pytest.mark.parametrize("query, status, code", [
    ("since=x", 400, "bad_field"), ("since=1&since=2", 400, "bad_field"), ("since=9007199254740992", 400, "bad_field"),
    ("prefix=locks", 422, "senseless"), ("prefix=/a&path=/b", 422, "senseless"), ("nonsense=1", 400, "bad_field"),
    ("since=1&initial=true", 400, "bad_field"), ("initial=maybe", 400, "bad_field"), ("wait=1s", 400, "bad_field"),
    ("consistency=stale", 400, "bad_field"), ("path=/" + "a" * 500, 400, "bad_field"),
])
def test_refusals(client, query, status, code):
    got, _, problem = client.request("GET", f"/v1/watch?{query}")
    assert (got, problem["code"]) == (status, code)


def test_forms(client, watch):
    status, _, problem = client.request("GET", "/v1/watch", headers={"Accept": "application/json"})
    assert (status, problem["code"]) == (406, "not_acceptable")
    status, _, problem = client.request("GET", "/v1/watch", headers={"Last-Event-ID": "abc"})
    assert (status, problem["field"]) == (400, "Last-Event-ID")
    for accept, kind in (("*/*", "text/event-stream"), ("application/x-ndjson, */*;q=0.1", "application/x-ndjson")):
        client.send("HEAD", "/v1/watch", headers={"Accept": accept})
        response = client.connection.getresponse()
        assert (response.status, response.getheader("Content-Type"), response.read()) == (200, kind, b"")
    status, headers, _ = client.request("POST", "/v1/watch")
    assert status == 405 and headers["Allow"] == "GET, HEAD"
