"""Keys on three nodes while nodes die, stop and hang: one order of all changes, and every answer in its place."""

import dataclasses

import pytest

from tests.support.checker import Wrong
from tests.support.keys import Call, KeyHistory, changes, judge
from tests.support.node import until
from tests.support.stream import Stream


def told_by(cluster, name, place):
    with Stream(cluster.ports[name], "/v1/watch?prefix=/kv/&since=0") as stream:
        return changes(stream, place)


class Load:
    """Clients of keys on all nodes, and afterwards the judgement, by what each node tells of the past."""

    def __init__(self, cluster, seed=1):
        self.cluster, self.history = cluster, KeyHistory(cluster.http)
        self.clients = self.history.start(seed=seed)

    def goes_on(self, writes=40):
        enough = self.history.count("written") + writes
        until(lambda: self.history.count("written") >= enough or self.history.failed(self.clients), f"{writes} writes", 120, 0.01)

    def judged(self):
        self.history.finish(self.clients)
        self.cluster.wait_ready(limit_s=60)
        names = self.cluster.running()
        status, headers, _ = self.cluster.ask(names[0], "PUT", "/v1/kv/end", timeout_s=30, body="0")
        assert status == 201
        tales = [told_by(self.cluster, name, int(headers["Coord-Revision"])) for name in names]
        assert tales.count(tales[0]) == len(names)
        judge(self.history.calls, tales[0][:-1])

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        for client in self.clients:
            client.ending.set()
        if kind is None:
            self.judged()


def test_on_a_good_day(cluster):
    with Load(cluster) as load:
        load.goes_on(300)
    assert load.history.count("unknown") == 0
    assert min(load.history.count(result) for result in ("refused", "unchanged", "seen")) > 0


def test_while_leaders_are_killed(cluster):
    with Load(cluster, seed=2) as load:
        for _ in range(3):
            load.goes_on()
            victim = cluster.wait_leader(limit_s=60)
            cluster.kill9(victim)
            load.goes_on()
            cluster.restart(victim)
        load.goes_on()


def test_while_all_are_killed(cluster):
    with Load(cluster, seed=3) as load:
        for _ in range(2):
            load.goes_on()
            names = cluster.running()
            cluster.kill9(*names)
            for name in names:
                cluster.restart(name, ready=False)
            load.goes_on()


def test_while_leaders_hang_and_hand_over(cluster):
    with Load(cluster, seed=4) as load:
        for _ in range(2):
            load.goes_on()
            victim = cluster.wait_leader(limit_s=60)
            cluster.pause(victim)
            cluster.wait_leader(but=victim, among=cluster.running(), limit_s=60)
            load.goes_on()
            cluster.resume(victim)
            load.goes_on()
            cluster.ask(victim, "POST", "/v1/cluster/transfer", timeout_s=10)


def test_the_keys_of_a_lease_go_together_after_a_failover(cluster):
    leader = cluster.wait_leader()
    first, second = cluster.followers()
    status, _, made = cluster.ask(first, "POST", "/v1/leases?ttl=2s", timeout_s=30)
    assert status == 201
    for tail in "cab":
        assert cluster.ask(second, "PUT", f"/v1/kv/hosts/{tail}?lease={made['lease']}", timeout_s=30, body="1")[0] == 201
    cluster.kill9(leader)

    def gone():
        status, _, answer = cluster.ask(first, "GET", "/v1/kv?prefix=hosts/&count_only=true")
        return status == 200 and answer["count"] == 0

    until(gone, "they are gone", 60)
    with Stream(cluster.ports[second], "/v1/watch?prefix=/kv/hosts/&since=0") as stream:
        told = [stream.event() for _ in range(6)]
    assert [event["type"] for event in told] == ["put"] * 3 + ["deleted"] * 3
    assert [event["path"] for event in told[3:]] == [f"/kv/hosts/{tail}" for tail in "abc"]
    assert {event["data"]["reason"] for event in told[3:]} == {"expired"}
    assert len({event["revision"] for event in told[3:]}) == 1


# --- the judge ---

PUT_1 = Call("put", ("a",), 1, None, 0, 1, "written", 10)
PUT_2 = Call("put", ("a",), 2, 10, 2, 3, "written", 20)
GET_2 = Call("get", ("a",), None, None, 4, 5, "seen", 20, 2)
EVENTS = [(10, "a", 1), (20, "a", 2)]


def changed(call, **facts):
    return dataclasses.replace(call, **facts)


def test_the_judge_lets_right_histories_pass():
    judge([PUT_1, PUT_2, GET_2], EVENTS)
    judge([changed(PUT_1, result="unknown", place=0, returned=float("inf")), PUT_2, GET_2], EVENTS)
    judge([PUT_1, PUT_2, changed(GET_2, invoked=1.5, place=10, seen=1)], EVENTS)
    judge([PUT_1, PUT_2, Call("delete", ("a",), None, None, 6, 7, "written", 30),
           Call("get", ("a",), None, None, 8, 9, "seen", 35, None),
           Call("put", ("a",), 3, 0, 8, 9, "written", 40)], EVENTS + [(30, "a", None), (40, "a", 3)])


@pytest.mark.parametrize("calls, events", [
    ([PUT_1, PUT_2], EVENTS[:1]),  # lost
    ([PUT_1, changed(PUT_2, result="not_applied", place=0)], EVENTS),  # done all the same
    ([PUT_1, PUT_2], EVENTS + [(30, "a", 2)]),  # twice
    ([PUT_1, PUT_2], EVENTS + [(30, "a", 7)]),  # by nobody
    ([PUT_1, PUT_2], EVENTS + [(30, "a", None)]),  # deleted by nobody
    ([PUT_1, changed(PUT_2, expects=9)], EVENTS),  # another revision was before it
    ([PUT_1, changed(PUT_2, expects=0)], EVENTS),  # the key was there
    ([PUT_1, changed(PUT_2, result="refused")], EVENTS[:1]),  # the condition held
    ([PUT_1, PUT_2, changed(GET_2, place=10, seen=1)], EVENTS),  # an old value
    ([PUT_1, PUT_2, changed(GET_2, seen=1)], EVENTS),  # another value
    ([PUT_1, PUT_2, changed(GET_2, place=25, seen=None)], EVENTS),  # not there
    ([changed(PUT_1, invoked=4, returned=5), changed(PUT_2, expects=None, place=20)], EVENTS),  # places against time
    ([PUT_1, PUT_2, Call("delete", ("a",), None, None, 6, 7, "unchanged", 30)], EVENTS),  # it was there
])
def test_the_judge_finds_what_is_wrong(calls, events):
    with pytest.raises(Wrong):
        judge(calls, events)
