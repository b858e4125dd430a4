"""The breaker of a group's member on a real node: reports open it, time half-opens it, probes close it or open it again."""

import itertools

import pytest

from node import until
from stream import Stream

numbers = itertools.count(1)
SETTINGS = "eject=50&eject_requests=10&eject_reporters=2&eject_for=1s&eject_for_max=1s&eject_max=50&guard=0"


@pytest.fixture
def g(client):
    group = f"/v1/groups/breaker{next(numbers)}"
    assert client.request("PUT", f"{group}?{SETTINGS}")[0] == 201
    for member, zone in (("a", "x"), ("b", "x"), ("c", "y")):
        assert client.request("PUT", f"{group}/members/{member}?ttl=5m&zone={zone}")[0] == 201
    return group


def member(client, g, which="a"):
    return client.request("GET", f"{g}/members/{which}")[2]


def pick(client, g, query=""):
    status, _, picked = client.request("GET", f"{g}/pick?{query}")
    assert status == 200, picked
    return picked


def report(client, g, reporter, **result):
    status, _, answer = client.request("POST", f"{g}/reports", {"reporter": reporter, "results": [{"id": "a", **result}]})
    assert status == 200 and answer["taken"] == 1, answer


def fails(client, g, calls):
    for reporter in ("gateway-1", "gateway-2"):
        report(client, g, reporter, failed=calls)


def ejected(client, g):
    """Once more reported as failing until it is open (a trial that nobody calls may have ended in between)."""
    def is_open():
        now = member(client, g)
        if now["breaker"] == "closed":
            fails(client, g, 20)
        return now if now["breaker"] == "open" else None

    return until(is_open, "it is ejected")


def on_trial(client, g):
    def is_half_open():
        now = member(client, g)
        if now["breaker"] == "closed":
            fails(client, g, 20)
        return now if now["breaker"] == "half_open" else None

    return until(is_half_open, "it is half-open")


def in_a_trial(client, g, do):
    """What do() saw of one and the same trial, from its beginning."""
    def seen():
        ejected(client, g)
        began = on_trial(client, g)["half_open_until"]
        result = do()
        return (result,) if member(client, g)["half_open_until"] == began else None

    return until(seen, "a trial that lasted")[0]


def test_from_closed_to_closed(client, node, g):
    path = g.removeprefix("/v1") + "/members/a"
    assert (member(client, g)["breaker"], member(client, g)["half_open_until"]) == ("closed", None)
    with Stream(node.port, f"/v1/watch?path={path}&types=ejected,half_open,unejected") as stream:
        stream.head()
        now = ejected(client, g)
        assert now["ejected_until"] and not now["eligible"] and now["state"] == "alive"
        now = on_trial(client, g)
        assert now["half_open_until"] and now["ejected_until"] is None and not now["eligible"]
        report(client, g, "gateway-1", ok=3)
        until(lambda: member(client, g)["breaker"] == "closed", "it is closed")
        assert member(client, g)["eligible"]
        events = stream.events(3)
    assert [event["type"] for event in events] == ["ejected", "half_open", "unejected"]
    assert [event["data"]["breaker"] for event in events] == ["open", "half_open", "closed"]
    assert events[0]["data"]["until_ms"] and events[1]["data"]["until_ms"] and not events[2]["data"]["until_ms"]


def test_a_trial_that_fails_opens_it_again(client, node, g):
    path = g.removeprefix("/v1") + "/members/a"
    with Stream(node.port, f"/v1/watch?path={path}&types=ejected,half_open,unejected") as stream:
        stream.head()
        seen = []

        def opened_again():
            now = member(client, g)
            if now["breaker"] != "open":
                fails(client, g, 20 if now["breaker"] == "closed" else 3)
            return now["breaker"] == "open" and now["ejected_until"]

        first = until(opened_again, "it is ejected")
        until(lambda: (opened_again() or first) != first, "and once more")
        while seen[-2:] != ["half_open", "ejected"]:  # not by way of a trial that ended by itself
            until(opened_again, "it is ejected")
            seen += [event["type"] for event in stream.events(1)]
    assert seen[0] == "ejected"


def test_probes_go_first_and_are_few(client, g):
    picks = in_a_trial(client, g, lambda: [pick(client, g, "policy=random") for _ in range(10)])
    assert [picked["probe"] for picked in picks] == [True, False, False] * 2 + [True] + [False] * 3
    assert all((picked["id"] == "a") == picked["probe"] and not picked["panic"] for picked in picks)


def test_probes_keep_to_the_zone_and_to_what_is_left_out(client, g):
    queries = ("zone=y", "exclude=a", "zone=x&exclude=a", "zone=x")
    picks = in_a_trial(client, g, lambda: [pick(client, g, query) for query in queries])
    assert [picked["probe"] for picked in picks] == [False, False, False, True] and picks[3]["id"] == "a"


def test_it_owns_nothing_before_it_is_closed(client, g):
    def owners():
        return client.request("GET", f"{g}/owners?key={key}")[2]["owners"]

    key = next(key for key in map(str, range(1000)) if client.request("GET", f"{g}/owners?key={key}")[2]["owners"] == ["a"])
    others, picked = in_a_trial(client, g, lambda: (owners(), pick(client, g, f"policy=hash&key={key}")))
    assert others != ["a"] and picked["id"] == "a" and picked["probe"]  # one of the keys that are its own
    report(client, g, "gateway-1", ok=3)
    until(lambda: owners() == ["a"], "it owns its key again")


def test_the_settings(client, g):
    config = client.request("GET", g)[2]["config"]
    assert config["eject_probes"] == 3
    for probes in (0, 1001, "x"):
        assert client.request("PUT", f"{g}?eject_probes={probes}")[0] in (400, 422)
    assert client.request("PUT", f"{g}?{SETTINGS}&eject_probes=1")[2]["config"]["eject_probes"] == 1
    assert client.request("GET", f"{g}/members?breaker=ajar")[0] in (400, 422)
    assert sum(picked["probe"] for picked in in_a_trial(client, g, lambda: [pick(client, g) for _ in range(10)])) == 1
    report(client, g, "gateway-1", ok=1)
    until(lambda: member(client, g)["breaker"] == "closed", "one call is enough")
