"""Leaders die, freeze, leave and hand over; what was acknowledged stays, and the service goes on."""

import http.client
import threading
import time

import pytest

from tests.cluster.conftest import PACE, SLOW, Load, acquire
from tests.support.cluster import Cluster
from tests.support.node import until


@pytest.fixture
def cluster(quick):
    return quick


def test_kill9_under_load(cluster):
    with Load(cluster, seed=1) as load:
        load.goes_on()
        for victim in ("leader", "follower", "leader"):
            name = cluster.wait_leader() if victim == "leader" else cluster.followers()[0]
            cluster.kill9(name)
            load.goes_on()
            cluster.restart(name)
            load.goes_on()


def test_two_of_five_die(tmp_path):
    with Cluster(tmp_path, 5, *PACE) as cluster, Load(cluster, seed=2) as load:
        load.goes_on()
        for _ in range(2):
            dead = [cluster.wait_leader(), cluster.followers()[0]]
            cluster.kill9(*dead)
            load.goes_on()
            cluster.launch(*dead)
            cluster.wait_ready(*dead)
            load.goes_on()


def test_all_die_at_once(cluster):
    with Load(cluster, seed=3) as load:
        load.goes_on()
        cluster.kill9(*cluster.nodes)
        cluster.launch()
        cluster.wait_ready()
        load.goes_on()


def test_a_waiting_acquire_survives_the_leaders_death(cluster):
    """Its place in the queue is state: it is granted in its turn, whoever leads then."""
    leader = cluster.wait_leader()
    first, second = cluster.followers()
    _, _, held = acquire(cluster, first, "a", ttl="1m")
    clients = []
    for number, node in enumerate([first, second, first, second]):
        client = cluster[node].client()
        client.send("POST", f"/v1/locks/a/acquire?ttl=1m&wait=1m&owner=w{number}")
        until(lambda: cluster[first].request("GET", "/v1/locks/a")[2]["waiter_count"] == number + 1, "it waits")
        clients.append(client)
    cluster.kill9(leader)
    cluster.wait_leader(but=leader)
    cluster.wait_ready()
    lock = cluster[second].request("GET", "/v1/locks/a")[2]
    assert [w["owner"] for w in lock["waiters"]] == ["w0", "w1", "w2", "w3"]
    token = held["token"]
    for client in clients:
        assert cluster[first].request("POST", f"/v1/locks/a/release?token={token}")[0] == 200
        response = client.connection.getresponse()
        body = response.read()
        assert response.status == 201, body
        assert int(response.getheader("Coord-Token")) > token
        token = int(response.getheader("Coord-Token"))
        client.close()


@pytest.mark.parametrize("comes_back", [False, True], ids=["gone", "restarted"])
def test_waiters_of_a_dead_node_leave_the_queue(cluster, comes_back):
    """Their clients are gone with it; those behind them are served."""
    follower, leader = cluster.followers()[0], cluster.wait_leader()
    _, _, held = acquire(cluster, leader, "a", ttl="1m")
    gone, kept = cluster[follower].client(), cluster[leader].client()
    gone.send("POST", "/v1/locks/a/acquire?ttl=1m&wait=1m&owner=gone")
    until(lambda: cluster[leader].request("GET", "/v1/locks/a")[2]["waiter_count"] == 1, "it waits")
    kept.send("POST", "/v1/locks/a/acquire?ttl=1m&wait=1m&owner=kept")
    until(lambda: cluster[leader].request("GET", "/v1/locks/a")[2]["waiter_count"] == 2, "both wait")
    cluster.kill9(follower)
    if comes_back:
        cluster.restart(follower)
    until(lambda: [w["owner"] for w in cluster[leader].request("GET", "/v1/locks/a")[2]["waiters"]] == ["kept"], "one has left", 30, 0.05)
    assert cluster[leader].request("POST", f"/v1/locks/a/release?token={held['token']}")[0] == 200
    response = kept.connection.getresponse()
    body = response.read()
    assert response.status == 201, body
    gone.close()
    kept.close()


def test_leases_outlive_the_leader(cluster):
    """Renewed by turns at whoever runs, through four deaths of the leader: never ended. Not renewed any more: it ends."""
    _, _, grant = acquire(cluster, "n1", "a", ttl="4s")
    answered = time.monotonic()
    for _ in range(4):
        leader = cluster.wait_leader()
        cluster.kill9(leader)
        cluster.wait_leader(but=leader)

        def renewed():
            for name in cluster.running():
                status, _, answer = cluster.ask(name, "POST", f"/v1/locks/a/renew?token={grant['token']}", timeout_s=4)
                assert status in (0, 200, 503, 504), answer
                if status == 200:
                    return True
            return False

        until(renewed, "renewed")
        cluster.restart(leader)
        until(renewed, "renewed")
        answered = time.monotonic()
    name = cluster.running()[0]
    until(lambda: cluster[name].request("GET", f"/v1/locks/a/check?token={grant['token']}")[0] == 412, "it ends")
    assert time.monotonic() - answered > 3.9


def test_graceful_stop_hands_over(tmp_path):
    """Without an election by timeout, which would take 3 s and more."""
    with Cluster(tmp_path, 3, "--election-timeout-ms", "3000") as cluster, Load(cluster, seed=4) as load:
        load.goes_on()
        for _ in range(3):
            leader = cluster.wait_leader()
            other = cluster.followers()[0]
            begun = time.monotonic()
            stopping = threading.Thread(target=cluster.stop, args=(leader,))
            stopping.start()
            until(lambda: cluster.standing(other)[0] not in (None, leader), "another one leads", 60, 0.001)
            status, _, grant = acquire(cluster, other, "next", ttl="500ms", wait="5s")
            took = time.monotonic() - begun
            assert status == 201, grant
            stopping.join()
            print(f"graceful stop: next grant after {took:.3f} s")
            assert took < (5 if SLOW else 3)
            cluster.restart(leader)
            load.goes_on()


def test_transfer(calm):
    with Load(calm, seed=5) as load:
        load.goes_on()
        for to in (None, "n1", "n2", "n3", "n1"):
            leader, term = calm.wait_leader(), max(calm.standing(n)[1] for n in calm.running())
            begun = time.monotonic()
            body = {"to": to} if to else None
            status, _, answer = calm[calm.running()[0]].request("POST", "/v1/cluster/transfer", body)
            assert status == 200, answer
            if to == leader:
                continue
            new = calm.wait_leader(but=leader)
            status, _, grant = acquire(calm, new, "next", ttl="500ms", wait="5s")
            print(f"transfer: next grant after {time.monotonic() - begun:.3f} s")
            assert status == 201, grant
            assert to in (None, new) and calm.standing(new)[1] > term
            load.goes_on(5)


def test_a_frozen_leader_expires_nobody(cluster):
    """L1: frozen for three times the TTL while its clients renew at the new leader; thawed, it ends nothing, and answers no
    stale read."""
    leader = cluster.wait_leader()
    others = cluster.followers()
    ttl_s = 3.0
    grants = {}
    stop, errors, renewals = threading.Event(), [], [0]

    def renew():
        """Each lease in its turn, at either of the others that answers."""
        try:
            while not stop.wait(0.05):
                for name, token in list(grants.items()):
                    for other in list(others):
                        status, _, answer = cluster.ask(other, "POST", f"/v1/locks/{name}/renew?token={token}", timeout_s=0.7)
                        assert status in (0, 200, 503, 504), (name, answer)
                        renewals[0] += status == 200
                        if status == 200:
                            break
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        for i in range(6):
            status, _, grant = acquire(cluster, leader, f"l{i}", ttl=f"{int(ttl_s * 1000)}ms")
            assert status == 201
            grants[f"l{i}"] = grant["token"]
        until(lambda: renewals[0] > 12 or errors, "they are renewed")
        old = cluster.wait_leader()
        others[:] = [n for n in cluster.nodes if n != old]
        cluster.pause(old)
        reader = cluster[old].client()
        frozen = time.monotonic()
        new = cluster.wait_leader(but=old)
        _, _, fresh = acquire(cluster, new, "fresh", ttl="500ms", wait="5s")
        reader.send("GET", "/v1/locks/fresh")  # waits for the thaw
        until(lambda: time.monotonic() - frozen > 3 * ttl_s, "the freeze itself", 30)
        cluster[new].request("POST", f"/v1/locks/fresh/release?token={fresh['token']}")
        _, _, fresh = acquire(cluster, new, "fresh", ttl="10s", wait="5s")
        before = renewals[0]
        cluster.resume(old)
        try:
            response = reader.connection.getresponse()
            body = response.read()
        except http.client.RemoteDisconnected:  # frozen for longer than an idle connection lives
            response = None
        if response and response.status == 200:
            assert f'"token":{fresh["token"]}'.encode() in body, body
        elif response:
            assert response.status == 503, body
        reader.close()
        cluster.wait_ready()
        until(lambda: renewals[0] > before + 40 or errors, "renewals go on")
        for name, token in grants.items():
            assert cluster[cluster.wait_leader()].request("GET", f"/v1/locks/{name}/check?token={token}")[0] == 200
        cluster[new].request("POST", f"/v1/locks/fresh/release?token={fresh['token']}")
    finally:
        stop.set()
        thread.join()
        for name in list(cluster.paused):
            cluster.resume(name)
    assert not errors, errors


def test_frozen_nodes_under_load(cluster):
    """Thawed leaders and followers answer nothing stale: the judge sees every read."""
    with Load(cluster, seed=6) as load:
        load.goes_on()
        for victim in ("leader", "follower", "leader"):
            name = cluster.wait_leader() if victim == "leader" else cluster.followers()[0]
            cluster.pause(name)
            load.goes_on()
            cluster.resume(name)
            load.goes_on()


def test_loss_of_quorum(cluster):
    """503 that names who is missing; stale reads go on and tell their age; then it recovers by itself."""
    leader = cluster.wait_leader()
    _, _, grant = acquire(cluster, leader, "kept", ttl="1m")
    left, dead = cluster.followers()[0], [leader, cluster.followers()[1]]
    until(lambda: cluster[left].request("GET", "/v1/locks/kept?consistency=stale")[2]["holders"], "it has come here")
    cluster.kill9(*dead)
    until(lambda: cluster.ask(left, "GET", "/readyz")[0] == 503, "it is not ready any more")

    def refused():
        status, headers, answer = acquire(cluster, left, "a", ttl="10s")
        assert status in (503, 504), answer
        return (headers, answer) if status == 503 else None

    headers, answer = until(refused, "503")
    assert answer["retryable"] and int(headers["Retry-After"]) >= 1
    assert all(name in answer["detail"] for name in dead), answer
    begun = time.monotonic()
    status, _, answer = cluster.ask(left, "GET", "/v1/locks/kept")
    assert status == 503 and time.monotonic() - begun < 20, answer
    ages = []
    for _ in range(2):
        status, headers, lock = cluster.ask(left, "GET", "/v1/locks/kept?consistency=stale")
        assert status == 200 and [h["token"] for h in lock["holders"]] == [grant["token"]]
        ages.append(int(headers["Coord-Age-Ms"]))
        until(lambda: time.monotonic() - begun > 1.5, "some time", 10)
    assert ages[1] > ages[0] and ages[1] >= 1000
    assert not cluster.can_stop(left)
    cluster.restart(dead[0])
    for name in cluster.running():
        assert cluster[name].request("GET", f"/v1/locks/kept/check?token={grant['token']}")[0] == 200
    cluster.restart(dead[1])
    assert acquire(cluster, dead[1], "a", ttl="10s")[0] == 201


@pytest.mark.parametrize("count", [3, 5])
def test_can_stop_tells_the_truth(tmp_path, count):
    with Cluster(tmp_path, count) as cluster:
        spare = (count - 1) // 2
        for _ in range(spare):
            cluster.wait_leader()
            until(lambda: all(cluster.can_stop(name) for name in cluster.running()), "anyone may go")
            cluster.kill9(cluster.followers()[0])
            until(lambda: all(not cluster.member(name)["healthy"] for name in cluster.nodes if name not in cluster.running()), "it is missed")
        left = cluster.running()
        for name in left:
            status, _, answer = cluster.ask(left[0], "GET", f"/v1/cluster/can-stop?node={name}")
            assert status == 200 and answer["node"] == name and not answer["can_stop"] and answer["reason"], answer


def test_rolling_restart_under_load(cluster):
    with Load(cluster, seed=7) as load:
        for _ in range(2):
            cluster.rolling_restart()
            load.goes_on(10)
