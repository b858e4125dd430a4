"""Heartbeats come to the leader from any node, and what it makes of them is known at all of them."""

import json
import threading
import time

import pytest

from tests.support.node import until

GROUP = "/v1/groups/web"


def put(cluster, **settings):
    query = "&".join(f"{key}={value}" for key, value in settings.items())
    assert cluster.ask(cluster.wait_leader(), "PUT", f"{GROUP}?{query}")[0] in (200, 201)


def join(cluster, node, member, ttl="30s"):
    status, _, answer = cluster.ask(node, "PUT", f"{GROUP}/members/{member}?ttl={ttl}", timeout_s=30)
    assert status == 201
    return answer["token"]


def beat(cluster, node, member, token, **said):
    query = "".join(f"&{key}={value}" for key, value in said.items())
    return cluster.ask(node, "POST", f"{GROUP}/members/{member}/heartbeat?token={token}{query}", timeout_s=30)


def look(cluster, node, member, more=""):
    status, _, answer = cluster.ask(node, "GET", f"{GROUP}/members/{member}{more}", timeout_s=30)
    assert status == 200
    return answer


def test_what_a_member_says_anywhere_is_known_everywhere(shared):
    token = join(shared, "n1", "said")
    nodes = shared.running()
    for i, node in enumerate(nodes * 3):
        status, _, answer = beat(shared, node, "said", token, load=i, inflight=2, capacity=4, metrics=i)
        assert status == 200 and answer["state"] == "alive" and 29000 < answer["expires_in_ms"] <= 30000
        for other in nodes:
            seen = look(shared, other, "said")
            assert (seen["load"], seen["inflight"], seen["capacity"], seen["metrics"]) == (i, 2, 4, str(i))
            assert seen["as_of"] and 29000 < seen["expires_in_ms"] <= 30000
    assert look(shared, nodes[0], "said", "?consistency=stale")["id"] == "said"


def test_heartbeats_leave_nothing_in_the_log(shared):
    token = join(shared, "n1", "silent")
    shared.ask("n1", "GET", f"{GROUP}/members")
    before = shared.view()["commit_index"]
    for i in range(90):
        assert beat(shared, f"n{i % 3 + 1}", "silent", token, load=i, health="pass")[0] == 200
    assert shared.view()["commit_index"] - before < 10  # what nodes say of themselves now and then


def test_batches_through_any_node(shared):
    tokens = {f"many{i}": join(shared, "n1", f"many{i}") for i in range(20)}
    for node in shared.running():
        items = [{"group": "web", "id": member, "token": token, "load": token} for member, token in tokens.items()]
        items.append({"group": "web", "id": "nobody", "token": 1})
        items.append({"group": "web", "id": "many0", "token": tokens["many0"] + 1})
        status, _, answer = shared[node].request("POST", "/v1/heartbeats", json.dumps({"members": items}).encode())
        assert status == 200 and answer["heartbeat_in_ms"] == 10000
        assert [each["id"] for each in answer["ok"]] == list(tokens)
        assert [(each["id"], each["code"]) for each in answer["gone"]] == [("nobody", "member_unknown"), ("many0", "member_fenced")]
    assert all(look(shared, "n1", member)["load"] == token for member, token in tokens.items())


def test_heartbeats_are_refused_alike_everywhere(shared):
    token = join(shared, "n1", "twice")
    later = join(shared, "n2", "twice")
    for node in shared.running():
        assert beat(shared, node, "twice", token)[2]["code"] == "member_fenced"
        assert beat(shared, node, "twice", later)[0] == 200
        assert beat(shared, node, "never", later)[2]["code"] == "member_unknown"
    assert shared["n3"].request("DELETE", f"{GROUP}/members/twice?token={later}")[0] == 204
    for node in shared.running():
        assert beat(shared, node, "twice", later)[2]["code"] == "member_gone"


def transitions(cluster, group, member):
    """(to, reason), newest first."""
    status, _, answer = cluster.ask("n1", "GET", f"/v1/groups/{group}/history?id={member}")
    assert status == 200
    return [(each["to"], each["reason"]) for each in answer["members"][0]["transitions"]]


def test_silence_makes_suspect_and_a_heartbeat_clears(shared):
    assert shared["n1"].request("PUT", "/v1/groups/quick?suspect=300ms")[0] in (200, 201)
    token = shared["n2"].request("PUT", "/v1/groups/quick/members/a?ttl=5m")[2]["token"]
    path = "/v1/groups/quick/members/a"
    for i, node in enumerate(shared.running()):
        until(lambda: shared[node].request("GET", path)[2]["state"] == "suspect", "it is suspect")
        assert shared[node].request("POST", f"{path}/heartbeat?token={token}")[0] == 200
        until(lambda: transitions(shared, "quick", "a").count(("alive", "heard")) > i, "it is cleared")
    assert transitions(shared, "quick", "a").count(("suspect", "silent")) >= 3


def test_reports_through_any_node_eject(shared):
    assert shared["n1"].request("PUT", "/v1/groups/calls?eject=50&eject_requests=20&eject_reporters=2&eject_max=100")[0] in (200, 201)
    assert shared["n1"].request("PUT", "/v1/groups/calls/members/a?ttl=5m")[0] == 201
    for i, node in enumerate(shared.running()):
        report = {"reporter": f"client{i}", "results": [{"id": "a", "ok": 1, "failed": 20}, {"id": "b", "ok": 1}]}
        status, _, answer = shared[node].request("POST", "/v1/groups/calls/reports", json.dumps(report).encode())
        assert status == 200 and (answer["taken"], answer["unknown"]) == (1, ["b"])
    until(lambda: shared["n2"].request("GET", "/v1/groups/calls/members/a")[2]["ejected_until"], "it is ejected")
    report["reporter"] = "stale"
    status, _, _ = shared["n2"].request("POST", "/v1/groups/calls/reports?consistency=stale", json.dumps(report).encode())
    assert status == 422


@pytest.mark.parametrize("node", ["leader", "follower"])
def test_a_long_poll_is_told_with_what_the_leader_knows(shared, node):
    at = shared.wait_leader() if node == "leader" else shared.followers()[0]
    token = join(shared, "n1", f"polled-{node}")
    beat(shared, "n1", f"polled-{node}", token, load=77)
    _, headers, _ = shared[at].request("GET", f"{GROUP}/members/polled-{node}")
    answers = []
    path = f"{GROUP}/members/polled-{node}?since={headers['Coord-Revision']}&wait=30s"
    poll = threading.Thread(target=lambda: answers.append(shared.ask(at, "GET", path, timeout_s=60)))
    poll.start()
    time.sleep(0.3)  # it waits by now, or finds the change at once: both are right
    assert shared["n2"].request("POST", f"{GROUP}/members/polled-{node}/drain")[0] == 200
    poll.join(60)
    status, _, answer = answers[0]
    assert status == 200 and answer["state"] == "draining" and answer["load"] == 77


class Beater(threading.Thread):
    """Members that beat at the nodes that answer, and remember what they were told."""

    def __init__(self, cluster, tokens, think_s=0.2):
        super().__init__(daemon=True)
        self.cluster, self.tokens, self.think_s = cluster, tokens, think_s
        self.ending, self.refused, self.answered, self.place = threading.Event(), [], 0, 0

    def run(self):
        while not self.ending.is_set():
            nodes = list(self.cluster.nodes)
            for member, token in self.tokens.items():
                try:
                    status, _, answer = self.cluster.ask(nodes[self.place % len(nodes)], "POST", f"{GROUP}/members/{member}/heartbeat?token={token}&load=9", timeout_s=1)
                except OSError:
                    status = 0
                if status == 200:
                    self.answered += 1
                elif status in (404, 409, 410):
                    self.refused.append(answer)
                else:
                    self.place += 1
            self.ending.wait(self.think_s)

    def goes_on(self, times=30):
        before = self.answered
        until(lambda: self.answered >= before + times, "heartbeats are answered")


def nobody_was_suspected(cluster, node, tokens):
    for member in tokens:
        seen = look(cluster, node, member)
        assert seen["state"] == "alive" and seen["since"] == seen["joined"], seen


@pytest.mark.parametrize("event", ["kill", "pause", "transfer"])
def test_who_beats_is_never_suspected_whoever_leads(cluster, event):
    """Suspicion after 20 s, ends of leases after 30: longer than any of this lasts without a leader."""
    tokens = {f"m{i}": join(cluster, "n1", f"m{i}") for i in range(5)}
    beater = Beater(cluster, tokens)
    beater.start()
    beater.goes_on()
    leader = cluster.wait_leader()
    if event == "kill":
        cluster.kill9(leader)
    elif event == "pause":
        cluster.pause(leader)
    else:
        cluster.ask(leader, "POST", "/v1/cluster/transfer", timeout_s=30)
    if event != "transfer":
        cluster.wait_leader(but=leader)
    beater.goes_on()
    if event == "pause":
        cluster.resume(leader)
    elif event == "kill":
        cluster.restart(leader)
    cluster.wait_ready(*cluster.nodes)
    beater.goes_on()
    beater.ending.set()
    beater.join()
    assert beater.refused == []
    for node in cluster.running():
        nobody_was_suspected(cluster, node, tokens)
        assert all(look(cluster, node, member)["load"] == 9 for member in tokens)
