"""Leaders as a stream, long polls for a change of leader, retries under a key, and transactions by a leader's token."""

import pytest

from conftest import Raw
from node import read_answer, until
from stream import Stream
from test_election import act, campaign, look, wait_for
from test_statuses import lease, problem


@pytest.fixture
def observe(node, name):
    opened = []

    def make(query="", at=None, **options):
        opened.append(Stream((at or node).port, f"/v1/elections/{name}/observe{query}", **options))
        return opened[-1]

    yield make
    for stream in opened:
        stream.close()


@pytest.mark.parametrize("form", ["sse", "ndjson"])
def test_the_leader_now_then_every_change(client, observe, name, form):
    first = campaign(client, name, "candidate=a&value=here")
    stream = observe(form=form)
    present = stream.event()
    assert (present["type"], present["path"]) == ("present", f"/elections/{name}")
    assert present["data"]["leader"]["token"] == first["token"] and present["data"]["leader"]["value"] == "here"
    assert 0 < present["data"]["leader"]["expires_in_ms"] <= 30000
    act(client, name, "proclaim", first["token"], "&value=there")
    campaign(client, name + "x", "candidate=other")  # of another election
    act(client, name, "resign", first["token"])
    second = campaign(client, name, "candidate=b")
    client.request("POST", f"/v1/elections/{name}/break?reason=stuck")
    events = stream.events(4)
    assert [e["type"] for e in events] == ["proclaimed", "ended", "elected", "ended"]
    assert events[0]["data"] == {"candidate": "a", "value": "there", "token": first["token"]}
    ended = events[1]["data"]
    assert set(ended) == {"candidate", "token", "since", "ended", "reason", "detail"}
    assert (ended["token"], ended["reason"], ended["detail"]) == (first["token"], "resigned", None)
    assert events[2]["data"] == {"candidate": "b", "value": None, "token": second["token"], "lease": second["lease"]}
    assert events[2]["revision"] == second["token"] > first["token"]
    assert (events[3]["data"]["reason"], events[3]["data"]["detail"]) == ("broken", "stuck")
    assert all(e["path"] == f"/elections/{name}" for e in events)


def test_an_observer_goes_on_where_it_was(client, observe, name):
    tokens = []
    with observe() as stream:
        assert stream.event()["data"]["leader"] is None
        for who in "ab":
            tokens.append(campaign(client, name, f"candidate={who}")["token"])
            act(client, name, "resign", tokens[-1])
        last = stream.events(3)[2]["revision"]
    for who in "cd":
        tokens.append(campaign(client, name, f"candidate={who}")["token"])
        act(client, name, "resign", tokens[-1])
    for query, headers in ((f"?since={last}", {}), ("", {"Last-Event-ID": str(last)})):
        events = observe(query, headers=headers).events(5)
        assert [e["type"] for e in events] == ["ended", "elected", "ended", "elected", "ended"]
        assert [e["data"]["token"] for e in events] == [tokens[1], tokens[2], tokens[2], tokens[3], tokens[3]]


def test_a_handover_is_one_step(client, node, observe, name):
    """The end of one term and the beginning of the next are of one revision: an observer never sees a gap."""
    token = campaign(client, name, "candidate=a")["token"]
    stream = observe()
    stream.event()
    with node.client() as next_one:
        next_one.send("POST", f"/v1/elections/{name}/campaign?candidate=b&wait=60s")
        wait_for(client, name, ["b"])
        act(client, name, "resign", token)
        new = read_answer(next_one.connection)[2]["token"]
    ended, elected = stream.events(2)
    assert (ended["type"], ended["revision"], ended["more"]) == ("ended", new, True)
    assert (elected["type"], elected["revision"], elected["more"]) == ("elected", new, False)


def test_the_path_and_the_prefix_watch_too(client, node, name):
    with Stream(node.port, f"/v1/watch?prefix=/elections/{name}") as under, \
            Stream(node.port, f"/v1/watch?path=/elections/{name}%2Fa&types=elected") as one:
        under.any(), one.any()
        first = campaign(client, f"{name}%2Fa", "candidate=x")["token"]
        second = campaign(client, f"{name}%2Fb", "candidate=y")["token"]
        act(client, f"{name}%2Fa", "resign", first)
        third = campaign(client, f"{name}%2Fa", "candidate=z")["token"]
        assert [(e["type"], e["path"][-1], e["data"]["token"]) for e in under.events(4)] == [
            ("elected", "a", first), ("elected", "b", second), ("ended", "a", first), ("elected", "a", third)]
        assert [e["data"]["token"] for e in one.events(2)] == [first, third]


def test_a_long_poll_waits_for_the_next_leader(client, node, name):
    token = campaign(client, name, "candidate=a")["token"]
    revision = look(client, name)["revision"]
    assert client.request("GET", f"/v1/elections/{name}?since={revision}&wait=200ms")[0] == 304
    with node.client() as poll, node.client() as listed, node.client() as until_leader:
        poll.send("GET", f"/v1/elections/{name}?since={revision}&wait=60s")
        until_leader.send("GET", f"/v1/wait?until=election:{name}x:leader&wait=60s")
        now = client.request("GET", f"/v1/elections?prefix={name}")[2]["revision"]
        listed.send("GET", f"/v1/elections?prefix={name}&since={now}&wait=60s")
        act(client, name, "resign", token)
        view = read_answer(poll.connection)[2]
        assert view["leader"] is None and view["revision"] > revision
        assert read_answer(listed.connection)[2]["elections"][0]["leader"] is None
        campaign(client, name + "x", "candidate=b")
        assert read_answer(until_leader.connection)[2]["until"][0]["holds"] is True


def test_a_campaign_is_repeated_safely(client, node, name):
    key = {"Idempotency-Key": f"key-{name}"}
    path = f"/v1/elections/{name}/campaign?candidate=a"
    _, _, first = client.request("POST", path, headers=key)
    status, headers, again = client.request("POST", path, headers=key)
    assert (status, again["token"], headers["Idempotency-Replayed"]) == (201, first["token"], "true")
    problem(client.request("POST", path + "b", headers=key), 422, "idempotency_key_reused")
    assert look(client, name)["candidates"] == []
    waiting, key = path + "&wait=60s", {"Idempotency-Key": f"wait-{name}"}
    with Raw(node.port) as gone:
        gone.request("POST", waiting, headers=[f"Idempotency-Key: wait-{name}"])
        wait_for(client, name, ["a"])
        act(client, name, "resign", first["token"])
        token = until(lambda: (look(client, name)["leader"] or {}).get("token"), "the next one leads")
    status, headers, again = client.request("POST", waiting, headers=key)
    assert (status, again["token"], headers["Idempotency-Replayed"]) == (201, token, "true")


def test_a_leader_writes_under_its_token(client, name):
    own = lease(client)
    old = campaign(client, name, f"candidate=a&lease={own}")["token"]

    def write(token, value):
        return client.request("POST", "/v1/txn", {
            "if": [{"op": "election.check", "name": name, "token": token}],
            "then": [{"op": "kv.put", "key": name, "value": value},
                     {"op": "election.proclaim", "name": name, "token": token, "value": value}],
            "else": [{"op": "election.get", "name": name}]})

    status, _, done = write(old, "1")
    assert (status, done["succeeded"]) == (200, True)
    assert look(client, name)["leader"]["value"] == "1"
    client.request("DELETE", f"/v1/leases/{own}")
    new = campaign(client, name, "candidate=b")["token"]
    status, _, done = write(old, "2")
    assert (status, done["succeeded"]) == (200, False)
    assert done["results"][0]["result"]["leader"]["token"] == new
    assert client.request("GET", f"/v1/kv/{name}")[2] == "1"
    refused = client.request("POST", "/v1/txn", {"then": [{"op": "kv.put", "key": name, "value": "3"},
                                                          {"op": "election.resign", "name": name, "token": old}]})
    assert problem(refused, 409, "txn_refused")["refused"][0]["code"] == "not_leader"
    assert client.request("GET", f"/v1/kv/{name}")[2] == "1"
