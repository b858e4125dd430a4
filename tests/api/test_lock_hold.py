"""The connection is the lease: a stream that holds a lock as long as it is open."""

import pytest

from conftest import Raw
from node import until
from stream import Stream
from test_statuses import acquire, problem


@pytest.fixture
def hold(node, name):
    opened = []

    def make(query="", at=None, lock=None, **options):
        opened.append(Stream((at or node).port, f"/v1/locks/{lock or name}/hold{query}", method="POST", **options))
        return opened[-1]

    yield make
    for stream in opened:
        stream.close()


def look(client, name):
    return client.request("GET", f"/v1/locks/{name}")[2]


def waiters(client, name, count):
    until(lambda: look(client, name)["waiter_count"] == count, f"{count} waiters", limit_s=60)


def free(client, name):
    return until(lambda: not (found := look(client, name))["holders"] and found, "the lock is free", limit_s=60)


@pytest.mark.parametrize("form", ["sse", "ndjson"])
def test_a_lock_is_held_as_long_as_the_connection_is_open(client, hold, name, form):
    stream = hold("?owner=me&meta=%7B%22a%22:1%7D", form=form)
    first = stream.event()
    grant = first["data"]
    assert (first["type"], first["path"], first["revision"]) == ("held", f"/locks/{name}", grant["token"])
    assert (grant["name"], grant["owner"], grant["mode"]) == (name, "me", "exclusive")
    assert 0 < grant["expires_in_ms"] <= 10000
    holder = look(client, name)["holders"][0]
    assert (holder["owner"], holder["token"], holder["meta"]) == ("me", grant["token"], '{"a":1}')
    assert client.request("GET", f"/v1/locks/{name}/check?token={grant['token']}")[0] == 200
    stream.close()
    ended = free(client, name)["history"][0]
    assert (ended["token"], ended["reason"]) == (grant["token"], "released")


def test_the_next_one_has_it_when_the_first_one_closes(client, hold, name):
    one = hold("?owner=one")
    token = one.event()["data"]["token"]
    assert hold("?owner=two").refusal()[1]["code"] == "lock_held"
    two = hold("?owner=two&wait=5m")
    waiters(client, name, 1)
    one.close()
    event = two.event()
    assert (event["type"], event["data"]["owner"]) == ("held", "two") and event["data"]["token"] > token


def test_one_who_waits_and_goes_leaves_the_queue(client, hold, name):
    token = acquire(client, name)["token"]
    hold("?wait=5m").close()
    waiting = hold("?wait=5m")
    waiters(client, name, 1)
    waiting.close()
    waiters(client, name, 0)
    client.request("POST", f"/v1/locks/{name}/release?token={token}")
    free(client, name)


def test_a_wait_in_vain_is_a_refusal(client, hold, name):
    acquire(client, name)
    status, document = hold("?wait=50ms").refusal()
    assert (status, document["code"], document["holder"]["owner"]) == (423, "lock_held", "")


@pytest.mark.parametrize("what,type_", [("release?token={token}", "released"), ("break?reason=stuck", "broken")])
def test_the_stream_ends_when_the_hold_does(client, hold, name, what, type_):
    stream = hold("?owner=me")
    token = stream.event()["data"]["token"]
    assert client.request("POST", f"/v1/locks/{name}/" + what.format(token=token))[0] == 200
    events, clean = stream.rest()
    last = [e for e in events if e["type"] != "bookmark"]
    assert clean and [(e["type"], e["data"]["token"]) for e in last] == [(type_, token)]
    assert len(look(client, name)["history"]) == 1  # nothing was given back a second time


def test_handed_over(client, hold, name):
    stream = hold("?owner=me")
    token = stream.event()["data"]["token"]
    heir = client.request("POST", "/v1/leases?owner=heir")[2]["lease"]
    status, _, grant = client.request("POST", f"/v1/locks/{name}/transfer?token={token}&to={heir}")
    assert status == 200
    assert stream.event()["type"] == "transferred"
    assert stream.rest()[1]
    assert look(client, name)["holders"][0]["token"] == grant["token"]


def test_a_request_to_yield_is_an_event_and_others_ends_are_not(client, hold, name):
    one, two = hold("?mode=shared&owner=one"), hold("?mode=shared&owner=two")
    tokens = [one.event()["data"]["token"], two.event()["data"]["token"]]
    assert len(set(tokens)) == 2
    two.close()
    until(lambda: len(look(client, name)["holders"]) == 1, "one holder is left", limit_s=60)
    client.request("POST", f"/v1/locks/{name}/yield?owner=you&reason=please")
    event = one.event()
    assert (event["type"], event["data"]["owner"], event["data"]["reason"]) == ("yield", "you", "please")
    assert look(client, name)["holders"][0]["token"] == tokens[0]


def test_such_a_hold_needs_no_renewal(client, hold, name):
    token = hold().event()["data"]["token"]
    problem(client.request("POST", f"/v1/locks/{name}/renew?token={token}"), 422, "senseless")


def test_what_is_asked_for_must_make_sense(node, client, hold, name):
    assert hold("?permits=2").refusal()[1]["code"] == "senseless"
    assert hold("?ttl=5s").refusal()[0] == 400
    with Raw(node.port) as raw:
        reply = raw.request("POST", f"/v1/locks/{name}/hold", ["Accept: application/json"]).reply()
        assert reply.status == 406
    assert look(client, name)["holders"] == []


def test_a_node_that_stops_gives_back_what_its_connections_hold(own_node, hold):
    node = own_node()
    stream = hold("?owner=me", at=node, lock="a")
    assert stream.event()["type"] == "held"
    node.stop()
    events, clean = stream.rest()
    assert clean and events[-1]["type"] == "end"
    node.start()
    history = node.request("GET", "/v1/locks/a")[2]["history"]
    assert [past["reason"] for past in history] == ["released"]


def test_a_node_that_dies_loses_what_its_connections_hold(own_node, hold):
    node = own_node()
    stream = hold("?owner=me&delay=1s", at=node, lock="a")
    token = stream.event()["data"]["token"]
    node.kill9()
    assert not stream.rest()[1]
    node.start()
    with node.client() as client:
        past = free(client, "a")["history"][0]
        assert (past["token"], past["reason"]) == (token, "client_gone")
        assert acquire(client, "a")["token"] > token


def test_many_connections_hold_and_close(client, node, hold, name):
    streams = [hold(f"?mode=semaphore&limit=100&owner={i}") for i in range(100)]
    assert len({stream.event()["data"]["token"] for stream in streams}) == 100
    assert look(client, name)["used"] == 100
    last = hold("?mode=semaphore&limit=100&permits=100&wait=5m")
    waiters(client, name, 1)
    for stream in streams:
        stream.close()
    assert last.event()["data"]["permits"] == 100
