"""Safe retries and transactions over several nodes: the first answer stands whoever dies, and each effect is there once."""

import json
import threading
import time

import pytest

from tests.cluster.conftest import SLOW, acquire
from tests.cluster.test_members import write_much
from tests.support.cluster import Cluster
from tests.support.history import Caller
from tests.support.history_keys import KeyLoad
from tests.support.node import BROKEN, until


def keyed(cluster, node, key, method, path, body=None, timeout_s=10.0):
    return cluster.ask(node, method, path, timeout_s=timeout_s, body=body, headers={"Idempotency-Key": key})


def replayed(answer):
    return answer[1].get("Idempotency-Replayed") == "true"


def repeated(cluster, node, key, method, path, body=None):
    """Again and again, until it is an answer."""
    def answered():
        answer = keyed(cluster, node, key, method, path, body)
        return answer if answer[0] not in (0, 503, 504) else None

    return until(answered, f"{node} answers", 60, 0.02)


def entry(cluster, node, key):
    return cluster.ask(node, "GET", f"/v1/kv/{key}", headers={"Accept": "application/json"})[2]


@pytest.mark.parametrize("victim", ["leader", "asked", "asked leader"])
def test_the_first_answer_stands_when_a_node_dies(cluster, victim):
    leader = cluster.wait_leader()
    asked = leader if victim == "asked leader" else cluster.followers()[0]
    body = {"then": [{"op": "kv.put", "key": "a", "value": "1"}, {"op": "lock.acquire", "name": "l", "ttl": "5m"}]}
    first = keyed(cluster, asked, "txn", "POST", "/v1/txn", body)
    refused = keyed(cluster, asked, "held", "POST", "/v1/locks/l/acquire?owner=other")
    assert first[0] == 200 and refused[0] == 423
    dead = leader if victim == "leader" else asked
    cluster.kill9(dead)
    cluster.wait_leader(among=cluster.running())
    for node in cluster.running():
        again = repeated(cluster, node, "txn", "POST", "/v1/txn", body)
        assert again[0] == 200 and replayed(again) and again[2]["revision"] == first[2]["revision"]
        assert again[2]["results"][1]["result"]["token"] == first[2]["results"][1]["result"]["token"]
        again = repeated(cluster, node, "held", "POST", "/v1/locks/l/acquire?owner=other")
        assert again[0] == 423 and replayed(again)
        assert again[2]["holder"]["token"] == refused[2]["holder"]["token"]
        assert repeated(cluster, node, "txn", "POST", "/v1/txn", {"then": []})[2]["code"] == "idempotency_key_reused"
    cluster.restart(dead)
    again = repeated(cluster, dead, "txn", "POST", "/v1/txn", body)
    assert replayed(again) and again[2]["revision"] == first[2]["revision"]
    assert entry(cluster, dead, "a")["version"] == 1


class Burst(threading.Thread):
    """Puts one key after the other until its node is gone, or it shall end; what was answered is written down."""

    def __init__(self, cluster, node, number):
        super().__init__(daemon=True)
        self.cluster, self.node, self.number = cluster, node, number
        self.asked, self.answers = 0, {}
        self.ending = False
        self.error = None

    def run(self):
        try:
            with self.cluster[self.node].client(timeout_s=5) as client:
                while not self.ending:
                    i = self.asked
                    self.asked += 1
                    status, _, answer = client.request("PUT", f"/v1/kv/{self.number}/{i}", b"x", {"Idempotency-Key": f"{self.number}.{i}"})
                    if status in (503, 504):
                        return
                    self.answers[i] = (status, answer)
        except BROKEN:
            return
        except BaseException as error:
            self.error = error


@pytest.mark.parametrize("victim", ["leader", "asked", "both"])
def test_what_was_under_way_is_done_once(tmp_path, victim):
    """Clients stream puts to one node; nodes are killed in the middle; then everything is repeated elsewhere."""
    with Cluster(tmp_path, 5 if victim == "both" else 3) as cluster:
        leader, asked = cluster.wait_leader(), cluster.followers()[0]
        bursts = [Burst(cluster, asked, number) for number in range(4)]
        for burst in bursts:
            burst.start()
        until(lambda: sum(len(b.answers) for b in bursts) > 100, "they are at it")
        cluster.kill9(*{"leader": [leader], "asked": [asked], "both": [leader, asked]}[victim])
        for burst in bursts:
            burst.ending = True
        for burst in bursts:
            burst.join(60)
            assert not burst.is_alive()
            assert not burst.error, burst.error
        cluster.wait_leader(among=cluster.running())
        nodes = cluster.running()
        unsure = 0
        for burst in bursts:
            first = max(0, burst.asked - 30)
            for i in range(first, burst.asked):
                key, path = f"{burst.number}.{i}", f"/v1/kv/{burst.number}/{i}"
                answer = repeated(cluster, nodes[i % len(nodes)], key, "PUT", path, b"x")
                assert (answer[0], answer[2]["version"]) == (201, 1), answer[2]
                if i in burst.answers:
                    assert replayed(answer) and (answer[0], answer[2]) == burst.answers[i]
                else:
                    unsure += 1
                again = repeated(cluster, nodes[(i + 1) % len(nodes)], key, "PUT", path, b"x")
                assert replayed(again) and again[2] == answer[2]
                assert entry(cluster, nodes[0], f"{burst.number}/{i}")["version"] == 1
        assert unsure >= 1 or victim == "leader"  # who asked a follower may have been answered after all


def test_a_wait_under_a_key_whose_node_dies(cluster):
    """It is in flight until the session of the node that had the client is over; then the key is free for another."""
    leader = cluster.wait_leader()
    asked, other = cluster.followers()
    token = acquire(cluster, leader, "l", ttl="5m")[2]["token"]
    path = "/v1/locks/l/acquire?owner=me&wait=5m"
    client = cluster[asked].client()
    client.send("POST", path, headers={"Idempotency-Key": "k"})
    until(lambda: cluster[leader].request("GET", "/v1/locks/l")[2]["waiter_count"] == 1, "it waits")
    status, _, answer = keyed(cluster, other, "k", "POST", path)
    assert (status, answer["code"]) == (409, "duplicate_in_flight")
    cluster.kill9(asked)
    until(lambda: cluster[leader].request("GET", "/v1/locks/l")[2]["waiter_count"] == 0, "its wait is over", 60)
    waiting = cluster[other].client()
    waiting.send("POST", path, headers={"Idempotency-Key": "k"})
    until(lambda: cluster[leader].request("GET", "/v1/locks/l")[2]["waiter_count"] == 1, "the repetition waits")
    assert cluster[leader].request("POST", f"/v1/locks/l/release?token={token}")[0] == 200
    response = waiting.connection.getresponse()
    grant = json.loads(response.read())
    assert response.status == 201 and grant["owner"] == "me"
    again = keyed(cluster, leader, "k", "POST", path)
    assert again[0] == 201 and replayed(again) and again[2]["token"] == grant["token"]


def test_an_answer_given_while_nobody_listened(cluster):
    """The wait hangs on a lease of the client's own, so it outlives the node: the repetition elsewhere is told of the grant."""
    leader = cluster.wait_leader()
    asked, other = cluster.followers()
    own = cluster[other].request("POST", "/v1/leases?ttl=5m")[2]["lease"]
    token = acquire(cluster, leader, "l", ttl="5m")[2]["token"]
    path = f"/v1/locks/l/acquire?lease={own}&wait=5m"
    client = cluster[asked].client()
    client.send("POST", path, headers={"Idempotency-Key": "k"})
    until(lambda: cluster[leader].request("GET", "/v1/locks/l")[2]["waiter_count"] == 1, "it waits")
    cluster.kill9(asked)
    assert cluster[leader].request("POST", f"/v1/locks/l/release?token={token}")[0] == 200
    answer = repeated(cluster, other, "k", "POST", path)
    assert answer[0] in (200, 201), answer[2]
    assert cluster[other].request("GET", "/v1/locks/l")[2]["holders"][0]["token"] == answer[2]["token"]


@pytest.mark.skipif(SLOW, reason="much to write")
def test_answers_come_with_a_snapshot(tmp_path):
    """A follower that was long away has the log no more: it knows the keys from the state it was sent."""
    with Cluster(tmp_path, 3, "--log-keep-mb", "0") as cluster:
        late = cluster.followers()[0]
        early = keyed(cluster, late, "early", "PUT", "/v1/kv/early", b"1")
        cluster.kill9(late)
        leader = cluster.wait_leader(among=cluster.running())
        first = keyed(cluster, leader, "away", "PUT", "/v1/kv/away", b"1")
        assert (early[0], first[0]) == (201, 201)
        write_much(cluster, [leader], 16, "away")
        cluster.restart(late)
        until(lambda: cluster.member(late)["lag"] < 100, "it has caught up", 60)
        assert "a received snapshot is this node's state now" in cluster[late].log_text()
        for key, answer in (("early", early), ("away", first)):
            again = repeated(cluster, late, key, "PUT", f"/v1/kv/{key}", b"1")
            assert replayed(again) and (again[0], again[2]) == (201, answer[2])
            assert repeated(cluster, late, key, "PUT", f"/v1/kv/{key}", b"2")[0] == 422
        # and it knows them on its own when it leads
        def led():
            cluster.ask(leader, "POST", f"/v1/cluster/transfer?to={late}")
            return cluster.leader() == late

        until(led, "it leads", 60, 0.1)
        again = repeated(cluster, late, "away", "PUT", "/v1/kv/away", b"1")
        assert replayed(again) and again[2] == first[2]
        assert entry(cluster, leader, "away")["version"] == 1


def test_a_fence_holds_at_every_node(cluster):
    """A holder that is cut off from its lock's fate is refused wherever it writes."""
    leader = cluster.wait_leader()
    token = acquire(cluster, leader, "l", ttl="5m")[2]["token"]
    caller = Caller(cluster.http)
    for node in cluster.running():
        reply = caller.call(node, "PUT", f"/v1/kv/{node}", body=b"1", headers={"Coord-Fence": f"l:{token}"})
        assert reply.status == 201
    assert cluster[leader].request("POST", "/v1/locks/l/break?reason=test")[0] == 200
    for node in cluster.running():
        reply = caller.call(node, "PUT", f"/v1/kv/{node}", body=b"2", headers={"Coord-Fence": f"l:{token}"})
        assert (reply.status, reply.answer["code"]) == (412, "fenced")
    cluster.kill9(leader)
    cluster.wait_leader(but=leader)
    for node in cluster.running():
        until(lambda: caller.call(node, "PUT", f"/v1/kv/{node}", body=b"3", headers={"Coord-Fence": f"l:{token}"}).status == 412, "fenced", 60)
        assert entry(cluster, node, node)["value"] == "1"
    caller.close()


# --- histories ---


def test_keys_under_kill9(cluster):
    with KeyLoad(cluster, seed=1) as load:
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


def test_keys_under_partitions(tmp_path):
    with Cluster(tmp_path, 3, proxied=True) as cluster, KeyLoad(cluster, seed=2) as load:
        for _ in range(3):
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
            cluster.proxy.split(*([name] for name in cluster.nodes))
            time.sleep(0.5)  # long enough that calls fail: there is nothing to wait for
            cluster.proxy.heal()
            cluster.wait_ready()


def test_keys_under_everything(tmp_path):
    with Cluster(tmp_path, 5, proxied=True) as cluster, KeyLoad(cluster, seed=3, count=8) as load:
        for i in range(4):
            load.goes_on()
            leader = cluster.wait_leader()
            others = [name for name in cluster.running() if name != leader]
            cluster.proxy.split([leader, others[0]], others[1:])
            cluster.pause(others[1 + i % 3])
            time.sleep(0.3)
            cluster.proxy.heal()
            cluster.resume(others[1 + i % 3])
            cluster.kill9(leader)
            load.goes_on()
            cluster.restart(leader)
    assert load.replayed()  # otherwise it was too quiet to show anything
