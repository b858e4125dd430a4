"""Locks held by connections, in a cluster: what becomes of them when nodes die, lead no more, or are cut off."""

import select
import threading
import time

import pytest

from tests.cluster.conftest import acquire
from tests.support.cluster import Cluster
from tests.support.node import until
from tests.support.stream import Stream


@pytest.fixture
def hold():
    opened = []

    def make(node, name, query=""):
        opened.append(Stream(node.port, f"/v1/locks/{name}/hold{query}", method="POST", form="ndjson", timeout_s=120))
        return opened[-1]

    yield make
    for stream in opened:
        stream.close()


def in_background(cluster, at, name):
    """Waits for the lock at that node; (answer, when)."""
    got = []

    def wait():
        while True:
            status, _, answer = acquire(cluster, at, name, timeout_s=120, wait="100s", ttl="1m", owner="next")
            if status != 503:  # there was no leader yet
                break
        got.append((status, answer, time.monotonic()))

    thread = threading.Thread(target=wait)
    thread.start()
    return thread, got


def test_a_hold_outlives_the_leader(cluster, hold):
    leader = cluster.wait_leader()
    follower = cluster.followers()[0]
    stream = hold(cluster[follower], "a", "?owner=me")
    token = stream.event()["data"]["token"]
    cluster.kill9(leader)
    others = [name for name in cluster.nodes if name != leader]
    cluster.wait_leader(among=others)
    until(lambda: cluster.ask(follower, "POST", "/v1/locks/a/yield?owner=you")[0] == 200, "asked to yield", 60)
    event = stream.event()
    assert (event["type"], event["data"]["token"]) == ("yield", token)
    status, _, lock = cluster.ask(follower, "GET", "/v1/locks/a")
    assert status == 200 and lock["holders"][0]["token"] == token
    stream.close()
    until(lambda: cluster.ask(follower, "GET", "/v1/locks/a")[2].get("holders") == [], "it is given back", 60)


def test_a_node_that_dies_frees_what_its_connections_held(cluster, hold):
    leader = cluster.wait_leader()
    follower, other = cluster.followers()[:2]
    stream = hold(cluster[follower], "a", "?owner=me")
    token = stream.event()["data"]["token"]
    thread, got = in_background(cluster, leader, "a")
    until(lambda: cluster.ask(other, "GET", "/v1/locks/a")[2].get("waiter_count") == 1, "the next one waits", 60)
    cluster.kill9(follower)
    killed = time.monotonic()
    assert not stream.rest()[1]
    thread.join()
    status, grant, at = got[0]
    print(f"granted {at - killed:.1f} s after the kill")
    assert status == 201 and grant["token"] > token
    history = cluster.ask(leader, "GET", "/v1/locks/a")[2]["history"]
    assert (history[0]["token"], history[0]["reason"]) == (token, "expired")


def test_a_node_that_is_cut_off_says_that_the_hold_is_lost(tmp_path, hold):
    with Cluster(tmp_path, 3, proxied=True) as cluster:
        leader = cluster.wait_leader()
        follower, other = cluster.followers()[:2]
        stream = hold(cluster[follower], "a", "?owner=me")
        token = stream.event()["data"]["token"]
        thread, got = in_background(cluster, other, "a")
        until(lambda: cluster.ask(leader, "GET", "/v1/locks/a")[2].get("waiter_count") == 1, "the next one waits", 60)
        cluster.proxy.split([follower], [leader, other])
        events, clean = stream.rest()
        lost_at = time.monotonic()
        assert clean and events[-1]["type"] == "lost" and "cut off" in events[-1]["detail"]
        thread.join()
        status, grant, at = got[0]
        print(f"lost {at - lost_at:.2f} s before the next grant")
        assert status == 201 and grant["token"] > token
        cluster.proxy.heal()
        cluster.wait_ready()
        again = hold(cluster[follower], "b")
        assert again.event()["type"] == "held"


def next_holder(streams):
    """The one stream whose answer has begun."""
    ready, _, _ = select.select([s.socket for s in streams], [], [], 60)
    assert len(ready) == 1, f"{len(ready)} hold it"
    return next(s for s in streams if s.socket is ready[0])


def test_holds_by_connections_of_all_nodes_exclude_each_other(shared, hold):
    names = list(shared.nodes)
    until(lambda: shared.leader(), "a leader", 60)
    tokens, streams = [], [hold(shared[names[i % 3]], "a", "?wait=5m") for i in range(9)]
    until(lambda: shared.ask(names[0], "GET", "/v1/locks/a")[2].get("waiter_count") == 8, "eight wait", 60)
    while streams:
        holder = next_holder(streams)
        tokens.append(holder.event()["data"]["token"])
        streams.remove(holder)
        holder.close()
    assert tokens == sorted(tokens) and len(set(tokens)) == 9
