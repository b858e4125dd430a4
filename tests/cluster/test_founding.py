"""A cluster is founded once, by those who were named, in whatever order they come."""

import itertools

import pytest

from tests.cluster.conftest import PACE
from tests.support.cluster import Cluster
from tests.support.node import until


def agreed(cluster):
    """Every running node tells the same cluster, leader and members; returns it."""
    cluster.wait_ready()

    def same():
        views = [cluster.view(name) for name in cluster.running()]
        if not all(views):
            return None
        facts = [(v["cluster_id"], v["leader"], sorted((m["name"], m["id"], m["peer"]) for m in v["members"])) for v in views]
        return views[0] if all(f == facts[0] for f in facts) and all(m["healthy"] for m in views[0]["members"]) else None

    return until(same, "all tell the same, and are well", 60)


def works(cluster, name="a"):
    for node in cluster.running():
        status, _, grant = cluster[node].request("POST", f"/v1/locks/{name}/acquire?ttl=10s&wait=5s")
        assert status == 201, grant
        status, _, answer = cluster[node].request("POST", f"/v1/locks/{name}/release?token={grant['token']}")
        assert status == 200, answer


@pytest.mark.parametrize("count", [3, 5])
def test_all_at_once(tmp_path, count):
    with Cluster(tmp_path, count, *PACE) as cluster:
        view = agreed(cluster)
        assert [m["name"] for m in view["members"]] == cluster.founders
        assert len({m["id"] for m in view["members"]}) == count
        assert sorted(m["role"] for m in view["members"]) == ["follower"] * (count - 1) + ["leader"]
        works(cluster)


@pytest.mark.parametrize("order", list(itertools.permutations(["n1", "n2", "n3"]))[1:], ids="-".join)
def test_in_any_order(tmp_path, order):
    cluster = Cluster(tmp_path, 3, *PACE)
    try:
        for number, name in enumerate(order):
            cluster.launch(name)
            if number < 2:
                until(lambda: cluster.ask(name, "GET", "/readyz")[0] == 503, "it listens")
                until(lambda: "belongs to no cluster yet" in cluster[name].log_text(), "it says that it waits")
                assert cluster.ask(name, "POST", "/v1/locks/a/acquire?ttl=10s")[0] == 503
        agreed(cluster)
        works(cluster)
        cluster.end()
    finally:
        cluster.close()


@pytest.mark.parametrize("victim", ["n1", "n2"])
def test_one_restarts_in_the_middle(tmp_path, victim):
    cluster = Cluster(tmp_path, 3, *PACE)
    try:
        cluster.launch(victim)
        until(lambda: "belongs to no cluster yet" in cluster[victim].log_text(), "it waits")
        cluster.kill9(victim)
        other = "n2" if victim == "n1" else "n1"
        cluster.launch(other, victim)
        until(lambda: cluster.ask(victim, "GET", "/readyz")[0] == 503, "it listens")
        cluster.kill9(victim)
        cluster.launch("n3", victim)
        agreed(cluster)
        works(cluster)
        cluster.end()
    finally:
        cluster.close()


def test_killed_all_while_it_is_founded(tmp_path):
    """Whatever was on their disks when the power went, they become one cluster."""
    cluster = Cluster(tmp_path, 3, *PACE)
    try:
        for round_ in range(6):
            cluster.launch()
            until(lambda: any("founding the cluster" in n.log_text() or "took office" in n.log_text() or "following" in n.log_text()
                              or round_ == 0 for n in cluster.nodes.values()), "it goes on", 30, 0.0005)
            cluster.kill9(*cluster.nodes)
        cluster.launch()
        agreed(cluster)
        works(cluster)
        cluster.end()
    finally:
        cluster.close()


def test_restarted_as_a_whole(quick):
    _, _, grant = quick["n1"].request("POST", "/v1/locks/kept/acquire?ttl=1h")
    before = agreed(quick)
    quick.kill9(*quick.nodes)
    quick.launch()
    after = agreed(quick)
    assert after["cluster_id"] == before["cluster_id"] and after["term"] > before["term"]
    for name in quick.nodes:
        assert quick[name].request("GET", f"/v1/locks/kept/check?token={grant['token']}")[0] == 200
    works(quick)
