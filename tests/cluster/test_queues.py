"""Task queues over several nodes: whoever dies, each task that was acknowledged is done once, by one owner at a time."""

import json
import time

import pytest

from tests.support.checker_queues import NEVER, Claim, Enqueue, Told, judge, judge_done
from tests.support.cluster import Cluster
from tests.support.history_queues import QueueLoad
from tests.support.node import until

# --- the judge itself ---


def claim(id, token, start, end, how="complete", ended=None, result="done", held=3.0, group="", attempt=None):
    return Claim("w", id, token, attempt or token, f"m{id}", group, start, end, start + held, how, NEVER if ended is None else ended, result)


RIGHT = {
    "one after the other": [claim(1, 5, 0, 1, ended=2), claim(2, 6, 0, 1, ended=2)],
    "failed and tried again": [claim(1, 5, 0, 1, "fail", 2), claim(1, 9, 2, 3, ended=4)],
    "lost by its lease": [claim(1, 5, 0, 1, "", result=""), claim(1, 9, 3.1, 3.2, ended=4)],
    "a late end is refused": [claim(1, 5, 0, 1, ended=5, result="lost"), claim(1, 9, 3.1, 3.2, ended=4)],
    "nobody knows whether it failed": [claim(1, 5, 0, 1, "fail", 1.5, "unknown"), claim(1, 9, 2, 3, ended=4)],
    "a group in order": [claim(1, 5, 0, 1, "fail", 1, group="g"), claim(1, 6, 1, 2, ended=3, group="g"), claim(2, 7, 3, 4, ended=5, group="g")],
}
WRONG = {
    "two owners": [claim(1, 5, 0, 1, ended=2), claim(1, 6, 0.5, 1.5, ended=2, result="lost")],
    "before its lease was over": [claim(1, 5, 0, 1, "", result=""), claim(1, 9, 2.8, 2.9, ended=4)],
    "after it was done": [claim(1, 5, 0, 1, ended=2), claim(1, 9, 3, 4, "release", 5)],
    "tokens fall": [claim(1, 5, 8, 9, ended=9.5, result="lost"), claim(1, 6, 0, 1, "fail", 2)],
    "one token twice": [claim(1, 5, 0, 1, "fail", 1), claim(1, 5, 2, 3, ended=4)],
    "attempts do not rise": [claim(1, 5, 0, 1, "fail", 1, attempt=2), claim(1, 6, 2, 3, ended=4, attempt=2)],
    "a late end is taken": [claim(1, 5, 0, 1, "fail", 5), claim(1, 9, 3.1, 3.2, ended=4, result="lost")],
    "a group out of order": [claim(2, 5, 0, 1, ended=2, group="g"), claim(1, 6, 2, 3, ended=4, group="g")],
    "a group that goes past its head": [claim(1, 5, 0, 1, "fail", 1, group="g"), claim(2, 6, 2, 3, ended=3, group="g"), claim(1, 7, 4, 5, ended=6, group="g")],
    "made twice": [claim(1, 5, 0, 1, ended=2), Claim("w", 2, 6, 1, "m1", "", 2, 3, 5, "complete", 4, "done")],
}


def told(claims):
    return Told([Enqueue(marker, "", 0, 1, 0) for marker in sorted({c.marker for c in claims})], claims)


@pytest.mark.parametrize("name", RIGHT)
def test_the_judge_lets_pass(name):
    judge(told(RIGHT[name]))


@pytest.mark.parametrize("name", WRONG)
def test_the_judge_finds(name):
    with pytest.raises(AssertionError):
        judge(told(WRONG[name]))


def test_the_judge_counts_effects():
    history = told([claim(1, 5, 0, 1, ended=2)])
    history.enqueues[0].id = 1
    judge_done(history, {1: (1, "5")})
    for effects in ({}, {1: (2, "5")}, {1: (1, "6")}):
        with pytest.raises(AssertionError):
            judge_done(history, effects)


# --- nodes that die, hang and are cut off ---


def test_tasks_under_kill9(cluster):
    with QueueLoad(cluster, seed=1) as load:
        load.goes_on()
        for victim in ("leader", "follower", "leader", "all", "leader"):
            names = {"leader": lambda: [cluster.wait_leader()], "follower": lambda: cluster.followers()[:1], "all": lambda: list(cluster.nodes)}[victim]()
            cluster.kill9(*names)
            if victim != "all":
                load.goes_on()
            for name in names:
                cluster.restart(name, ready=False)
            cluster.wait_ready()
            load.goes_on()


def test_tasks_under_partitions(tmp_path):
    with Cluster(tmp_path, 3, proxied=True) as cluster, QueueLoad(cluster, seed=2) as load:
        for _ in range(2):
            load.goes_on()
            leader = cluster.wait_leader()
            others = [name for name in cluster.nodes if name != leader]
            cluster.proxy.split([leader], others)
            cluster.wait_leader(but=leader, among=others)
            load.goes_on()
            cluster.proxy.heal()
            cluster.wait_ready()
            load.goes_on()
            cluster.proxy.set(leader, others[0], hold=True)  # one way
            load.goes_on()
            cluster.proxy.heal()
            cluster.pause(leader)
            load.goes_on()
            cluster.resume(leader)
            cluster.proxy.split(*([name] for name in cluster.nodes))
            time.sleep(0.5)  # long enough that calls fail: there is nothing to wait for
            cluster.proxy.heal()
            cluster.wait_ready()


def test_a_worker_whose_node_dies_keeps_its_task(cluster):
    """A claim is the worker's, not its node's: it goes on at another one."""
    leader = cluster.wait_leader()
    asked, other = cluster.followers()
    made = cluster[other].request("POST", "/v1/queues/q/tasks", {"payload": 1})[2]
    claims = cluster[asked].request("POST", "/v1/queues/q/claim?worker=w&ttl=60s")[2]["tasks"]
    assert [task["id"] for task in claims] == [made["id"]]
    path = f"/v1/queues/q/tasks/{made['id']}"
    cluster.kill9(asked)
    assert cluster[other].request("POST", f"{path}/extend?token={claims[0]['token']}")[0] == 200
    cluster.kill9(leader)
    cluster.restart(asked)
    cluster.wait_leader(but=leader)
    answer = until(lambda: (a := cluster.ask(asked, "POST", f"{path}/complete?token={claims[0]['token']}"))[0] not in (0, 503, 504) and a, "it is answered", 60)
    assert answer[0] == 200, answer
    assert cluster.ask(other, "POST", f"{path}/complete?token={claims[0]['token'] - 1}")[2]["code"] == "claim_lost"
    assert cluster.ask(other, "GET", path)[2]["state"] == "done"


def test_a_waiting_claim_whose_node_dies_gets_nothing(cluster):
    """Its session ends before another is asked to wait that long; what comes then is the other's."""
    leader = cluster.wait_leader()
    asked, other = cluster.followers()
    client = cluster[asked].client()
    client.send("POST", "/v1/queues/q/claim?worker=dead&wait=5m")
    until(lambda: cluster[leader].request("GET", "/v1/queues/q")[2].get("waiting_claims") == 1, "it waits", 60)
    cluster.kill9(asked)
    until(lambda: cluster[leader].request("GET", "/v1/queues/q")[2]["waiting_claims"] == 0, "its wait is over", 60)
    made = cluster[leader].request("POST", "/v1/queues/q/tasks", {"payload": 1})[2]
    claims = cluster[other].request("POST", "/v1/queues/q/claim?worker=alive")[2]["tasks"]
    assert [task["id"] for task in claims] == [made["id"]]


def test_a_waiting_claim_outlives_the_leader(cluster):
    leader = cluster.wait_leader()
    asked = cluster.followers()[0]
    client = cluster[asked].client()
    client.send("POST", "/v1/queues/q/claim?worker=w&wait=5m")
    until(lambda: cluster[leader].request("GET", "/v1/queues/q")[2].get("waiting_claims") == 1, "it waits", 60)
    cluster.kill9(leader)
    new = cluster.wait_leader(but=leader)
    made = until(lambda: (a := cluster.ask(new, "POST", "/v1/queues/q/tasks", body={"payload": 1}))[0] == 201 and a[2], "it is made", 60)
    response = client.connection.getresponse()
    assert response.status == 200
    assert [task["id"] for task in json.loads(response.read())["tasks"]] == [made["id"]]


def test_a_claim_that_is_repeated_is_the_same(cluster):
    leader = cluster.wait_leader()
    for _ in range(3):
        cluster[leader].request("POST", "/v1/queues/q/tasks", {"payload": 1})
    asked = cluster.followers()[0]
    key = {"Idempotency-Key": "claim"}
    first = cluster.ask(asked, "POST", "/v1/queues/q/claim?worker=w&max=2&ttl=60s", headers=key)[2]
    cluster.kill9(leader)
    cluster.wait_leader(but=leader)
    for node in cluster.running():
        again = until(lambda: (a := cluster.ask(node, "POST", "/v1/queues/q/claim?worker=w&max=2&ttl=60s", headers=key))[0] == 200 and a, "it is answered", 60)
        assert again[1].get("Idempotency-Replayed") == "true"
        assert [(t["id"], t["token"]) for t in again[2]["tasks"]] == [(t["id"], t["token"]) for t in first["tasks"]]
