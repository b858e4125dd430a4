"""Who belongs to the cluster: join, promote, remove, new addresses, emptied disks, and members that were long away."""

import shutil
import threading
import time

import pytest

from tests.cluster.conftest import PACE, SLOW, Load, acquire
from tests.support.cluster import Cluster, free_ports
from tests.support.node import until


@pytest.fixture
def cluster(quick):
    return quick


def role(cluster, name, at=None):
    member = cluster.member(name, at)
    return member["role"] if member else None


def voters(cluster):
    view = cluster.view()
    return sorted(m["name"] for m in view["members"] if m["role"] in ("leader", "follower")) if view else []


def works_everywhere(cluster):
    for name in cluster.running():
        status, _, grant = acquire(cluster, name, "works", ttl="10s", wait="5s")
        assert status == 201, grant
        assert cluster[name].request("POST", f"/v1/locks/works/release?token={grant['token']}")[0] == 200


def write_much(cluster, nodes, megabytes, prefix):
    """Locks with 4 KiB of meta each, held for long; returns name -> token."""
    tokens, errors = {}, []
    meta = "m" * 4000

    def work(number):
        try:
            with cluster[nodes[number % len(nodes)]].client() as client:
                for i in range(megabytes * 256 // 4):
                    name = f"{prefix}-{number}-{i}"
                    status, _, grant = client.request("POST", f"/v1/locks/{name}/acquire", {"ttl": "2h", "meta": meta})
                    assert status == 201, grant
                    tokens[name] = grant["token"]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    return tokens


def has_all(cluster, name, tokens):
    with cluster[name].client() as client:
        for lock, token in tokens.items():
            status, _, answer = client.request("GET", f"/v1/locks/{lock}/check?token={token}")
            assert status == 200, (name, lock, answer)


def test_join_promote_remove_under_load(cluster):
    with Load(cluster, seed=21) as load:
        load.goes_on()
        cluster.join("n4")
        cluster.wait_ready("n4")
        until(lambda: role(cluster, "n4") == "follower", "n4 caught up and votes")
        load.goes_on()
        cluster.join("n5", cluster.followers()[0])  # through a follower
        until(lambda: role(cluster, "n5") == "follower", "n5 caught up and votes")
        assert voters(cluster) == ["n1", "n2", "n3", "n4", "n5"]
        load.goes_on()
        cluster.wait_ready()
        works_everywhere(cluster)
        for name in ("n2", "n1"):
            def removed(name=name):
                status, _, answer = cluster["n3"].request("DELETE", f"/v1/cluster/members/{name}")
                assert status in (200, 204, 503, 504), answer
                return status in (200, 204)

            until(removed, f"{name} is removed", 60, 0.1)
            until(lambda: name not in voters(cluster), f"{name} is no member")
            cluster.kill9(name)
            cluster.nodes.pop(name)
            load.goes_on()
        assert voters(cluster) == ["n3", "n4", "n5"]
        load.goes_on()
    works_everywhere(cluster)


def test_a_joined_node_remembers_after_restart(cluster):
    cluster.join("n4")
    until(lambda: role(cluster, "n4") == "follower", "n4 votes")
    cluster.kill9("n4")
    cluster.restart("n4")  # with --join, and a directory that has its place already
    cluster.kill9("n1", "n4")
    cluster.restart("n4")
    works_everywhere(cluster)
    cluster.restart("n1")
    cluster.kill9(*cluster.nodes)
    cluster.launch()
    cluster.wait_ready()
    assert len(voters(cluster)) == 4


def test_the_leader_is_removed(calm):
    calm.join("n4")
    until(lambda: role(calm, "n4") == "follower", "n4 votes")
    leader = calm.wait_leader()
    others = [name for name in calm.nodes if name != leader]
    status, _, answer = calm[leader].request("DELETE", f"/v1/cluster/members/{leader}")
    assert status in (200, 204), answer
    new = calm.wait_leader(but=leader, among=others)
    assert voters_at(calm, new) == sorted(others)
    for name in others:
        assert acquire(calm, name, f"after-{name}", ttl="10s", wait="5s")[0] == 201
    until(lambda: calm.ask(leader, "POST", "/v1/locks/x/acquire?ttl=10s")[0] in (0, 503), "the removed one serves nobody")
    term = calm.standing(new)[1]
    begun = time.monotonic()
    until(lambda: time.monotonic() - begun > 3, "three election timeouts", 10)
    assert calm.standing(new) == (new, term), "the removed one disturbs"
    calm.stop(leader)


@pytest.mark.parametrize("how", ["down", "paused"])
def test_who_was_away_hears_that_it_was_removed(calm, how):
    """Nothing of it comes by the log: who greets without being a member is told. It says so, and keeps its data."""
    leader, victim = calm.wait_leader(), calm.followers()[0]
    stays = [name for name in calm.nodes if name not in (leader, victim)][0]
    if how == "down":
        calm.kill9(victim)
    else:
        calm.pause(victim)
    until(lambda: not calm.member(victim, leader)["healthy"], "it is missed")
    status, _, answer = calm[leader].request("DELETE", f"/v1/cluster/members/{victim}")
    assert status == 200, answer
    _, _, grant = acquire(calm, leader, "later", ttl="1h")
    begun = time.monotonic()
    until(lambda: time.monotonic() - begun > 2.5, "longer than the leader goes on sending it the log", 10)
    if how == "down":
        calm.launch(victim)
    else:
        calm.resume(victim)
    note = "this node was removed from the cluster"
    until(lambda: note in calm[victim].log_text(), "it says so", 60)
    until(lambda: (calm.view(victim) or {}).get("note") == note, "its view says so", 60)
    view = calm.view(victim)
    assert view["leader"] is None and victim not in [m["name"] for m in view["members"]], view
    for method, path in (("POST", "/v1/locks/x/acquire?ttl=10s"), ("GET", "/v1/locks/later"), ("POST", "/v1/cluster/transfer?to=" + stays)):
        status, _, answer = calm.ask(victim, method, path)
        assert status == 503 and answer["detail"] == note, answer
    assert calm.ask(victim, "GET", "/readyz")[0] == 503
    assert calm.view(leader)["note"] is None and calm.view(leader)["leader"] == leader
    assert calm[victim].log_text().count(note) == 1
    calm.stop(victim)
    assert (calm[victim].data / "log").is_dir() and any(calm[victim].data.glob("state-*/data.mdb"))
    assert calm[stays].request("GET", f"/v1/locks/later/check?token={grant['token']}")[0] == 200
    calm.nodes.pop(victim)


def voters_at(cluster, name):
    return sorted(m["name"] for m in cluster.view(name)["members"] if m["role"] in ("leader", "follower"))


def test_refusals(calm):
    leader = calm.wait_leader()
    status, _, answer = calm[leader].request("DELETE", "/v1/cluster/members/nobody")
    assert status == 404, answer
    status, _, answer = calm[leader].request("POST", "/v1/cluster/transfer", {"to": "nobody"})
    assert status == 404, answer
    view = calm.view()
    taken = [m for m in view["members"] if m["name"] == "n2"][0]
    status, _, answer = calm[leader].request("POST", "/v1/cluster/members", {"name": "n2", "id": "00000000000000aa", "peer": "127.0.0.1:1"})
    assert status == 409, answer
    status, _, answer = calm[leader].request("POST", "/v1/cluster/members", {"name": "n9", "id": taken["id"], "peer": "127.0.0.1:1"})
    assert status == 409, answer
    # A learner that is not there never becomes a voter.
    status, _, answer = calm[leader].request("POST", "/v1/cluster/members", {"name": "n9", "id": "00000000000000aa", "peer": "127.0.0.1:1"})
    assert status in (200, 201) and answer["role"] == "learner", answer
    status, _, answer = calm[leader].request("POST", "/v1/cluster/members/n9/promote")
    assert status in (409, 503) and role(calm, "n9") == "learner", answer
    assert calm[leader].request("DELETE", "/v1/cluster/members/n9")[0] in (200, 204)
    # With one of three down, the removal of another would leave one of two.
    dead, follower = calm.followers()
    calm.kill9(dead)
    until(lambda: not calm.member(dead)["healthy"], "it is missed")
    status, _, answer = calm[leader].request("DELETE", f"/v1/cluster/members/{follower}")
    assert status in (409, 503), answer
    assert len(voters(calm)) == 3
    works_everywhere(calm)
    # The dead one may go: two of two are left.
    assert calm[leader].request("DELETE", f"/v1/cluster/members/{dead}")[0] in (200, 204)
    works_everywhere(calm)


def test_an_emptied_disk_does_not_vote(cluster):
    """Its votes and entries are gone with it: it says what to do. Removed and added anew it is a member again."""
    victim = cluster.followers()[0]
    leader, term = cluster.wait_leader(), cluster.standing(cluster.wait_leader())[1]
    old = cluster.member(victim)["id"]
    _, _, grant = acquire(cluster, leader, "kept", ttl="1h")
    cluster.kill9(victim)
    shutil.rmtree(cluster[victim].data)
    cluster.launch(victim)
    assert cluster[victim].wait_exit() != 0
    said = cluster[victim].log_text()
    assert "data directory is empty" in said and "/v1/cluster/members/" in said and "--join" in said, said
    # Without its vote two of three have to be there: with one of them dead nothing is committed.
    other = [name for name in cluster.nodes if name not in (leader, victim)][0]
    cluster.kill9(other)
    cluster.launch(victim)
    status, _, answer = acquire(cluster, leader, "b", ttl="10s", timeout_s=15)
    assert status in (503, 504), answer
    assert "votes" not in cluster[victim].log_text() and cluster.ask(victim, "GET", "/readyz")[0] in (0, 503)
    cluster.kill9(victim)
    cluster.restart(other)
    cluster.wait_ready()
    status, _, answer = cluster[other].request("DELETE", f"/v1/cluster/members/{victim}")
    assert status in (200, 204), answer
    shutil.rmtree(cluster[victim].data, ignore_errors=True)
    cluster.join(victim, other)
    until(lambda: role(cluster, victim) == "follower", "it is a member again")
    assert cluster.member(victim)["id"] != old
    cluster.wait_ready(victim)
    assert cluster[victim].request("GET", f"/v1/locks/kept/check?token={grant['token']}")[0] == 200


def test_a_new_address_heals_by_itself(cluster):
    for victim in (cluster.followers()[0], cluster.wait_leader()):
        cluster.kill9(victim)
        cluster.wait_leader()
        cluster.peer_ports[victim] = free_ports(1)[0]
        cluster.make(victim, "--initial-cluster", ",".join(f"{n}={cluster.address(n)}" for n in cluster.founders))
        cluster.restart(victim)
        until(lambda: cluster.member(victim)["peer"] == cluster.address(victim) and cluster.member(victim)["healthy"], "the new address is known")
        works_everywhere(cluster)
    # All of them know: the two that moved find each other without the third.
    third = [name for name in cluster.nodes if cluster.member(name)["peer"] == cluster.address(name)]
    assert len(third) == 3
    cluster.kill9(*cluster.nodes)
    cluster.launch()
    cluster.wait_ready()
    works_everywhere(cluster)


@pytest.mark.skipif(SLOW, reason="much to write")
@pytest.mark.parametrize("how", ["away", "joins"])
def test_a_member_that_is_far_behind_gets_a_snapshot(tmp_path, how):
    """The log it needs is trimmed: it gets the state, with everything in it, and votes afterwards."""
    with Cluster(tmp_path, 3, *PACE, "--log-keep-mb", "0") as cluster:
        before = write_much(cluster, ["n1"], 1, "before")
        late = "n4" if how == "joins" else cluster.followers()[0]
        if how == "away":
            cluster.kill9(late)
        stayed = [name for name in cluster.nodes if name != late]
        while_away = write_much(cluster, [cluster.wait_leader(among=stayed)], 16, "away")
        name, token = while_away.popitem()
        assert cluster[stayed[0]].request("POST", f"/v1/locks/{name}/release?token={token}")[0] == 200
        with Load(cluster, seed=22) as load:
            if how == "joins":
                cluster.join(late)
                cluster.wait_ready(late)
            else:
                cluster.restart(late)
            load.goes_on()
        until(lambda: cluster.member(late)["lag"] < 100, "it has caught up")
        until(lambda: role(cluster, late) in ("follower", "leader"), "it votes")
        assert "a received snapshot is this node's state now" in cluster[late].log_text()
        some = dict(list(while_away.items())[::10])
        has_all(cluster, late, before)
        has_all(cluster, late, some)
        assert cluster[late].request("GET", f"/v1/locks/{name}")[2]["holders"] == []
        # Killed right after: what it switched to is durable.
        cluster.kill9(late)
        cluster.restart(late)
        has_all(cluster, late, some)
        # And it counts: with another one dead the two serve.
        if how == "away":
            dead = [n for n in cluster.nodes if n not in (late, cluster.wait_leader())][0]
            cluster.kill9(dead)
            works_everywhere(cluster)


@pytest.mark.skipif(SLOW, reason="much to write")
def test_a_snapshot_is_interrupted(tmp_path):
    """The receiver is killed while it receives, then the sender."""
    with Cluster(tmp_path, 3, *PACE, "--log-keep-mb", "0", proxied=True) as cluster:
        leader, late = cluster.wait_leader(), cluster.followers()[0]
        cluster.kill9(late)
        tokens = write_much(cluster, [leader], 16, "away")
        for other in cluster.running():
            cluster.proxy.set(other, late, rate=5_000_000)
        cluster.launch(late)
        until(lambda: "receiving a snapshot" in cluster[late].log_text(), "it receives")
        cluster.kill9(late)
        cluster.launch(late)
        until(lambda: "receiving a snapshot" in cluster[late].log_text(), "it receives again")
        cluster.kill9(leader)
        cluster.restart(leader, ready=False)
        cluster.wait_ready(limit_s=60)
        until(lambda: "a received snapshot is this node's state now" in cluster[late].log_text(), "it has it", 60)
        cluster.proxy.heal()
        has_all(cluster, late, dict(list(tokens.items())[::10]))
