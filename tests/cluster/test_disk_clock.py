"""A node whose disk is full, one whose disk hangs, nodes whose clocks jump or run apart."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.cluster.conftest import SLOW, Load, acquire
from tests.support.cluster import Cluster
from tests.support.node import until

FAKETIME = next((str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)


def founding(cluster):
    return "--initial-cluster", ",".join(f"{n}={cluster.address(n)}" for n in cluster.founders)


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("no right to mount a small tmpfs")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk):
    with open(disk / "filler", "wb") as filler:
        try:
            while True:
                filler.write(b"x" * 65536)
                filler.flush()
        except OSError:
            pass


@pytest.mark.parametrize("whose", ["follower", "leader"])
def test_a_full_disk_of_one_node_stops_nobody_else(tmp_path, small_disk, whose):
    cluster = Cluster(tmp_path, 3)
    cluster.make("n2", *founding(cluster), data=small_disk / "data")
    with cluster:
        if whose == "leader":
            assert cluster["n1"].request("POST", "/v1/cluster/transfer", {"to": "n2"})[0] == 200
            until(lambda: cluster.leader() == "n2", "n2 leads")
        elif cluster.wait_leader() == "n2":
            assert cluster["n1"].request("POST", "/v1/cluster/transfer", {"to": "n1"})[0] == 200
            until(lambda: cluster.leader() == "n1", "n1 leads")
        tokens, number = {}, 0

        def grow(nodes, meta="m" * 2000):
            nonlocal number
            number += 1
            status, _, grant = cluster.ask(nodes[number % len(nodes)], "POST", f"/v1/locks/grow{number}/acquire",
                                           body={"ttl": "1h", "meta": meta}, timeout_s=8)
            assert status in (0, 201, 503, 504, 507), grant
            if status == 201:
                tokens[f"grow{number}"] = grant["token"]
            return status

        fill(small_disk)
        # Until it has to say that it is full: what is prepared on its disk is used up first.
        until(lambda: grow(["n1", "n3", "n2"]) and "disk is full" in cluster["n2"].log_text(), "n2 feels it", 60)
        before = len(tokens)
        until(lambda: grow(["n1", "n3"]) == 201 and len(tokens) > before + 100, "the others go on", 60)
        assert cluster["n2"].process.poll() is None, cluster["n2"].log_text()
        os.remove(small_disk / "filler")
        cluster.wait_ready(limit_s=60)
        until(lambda: cluster.member("n2")["lag"] < 100, "it catches up", 60)
        until(lambda: grow(["n2"]) == 201, "it takes part")
        for name in cluster.nodes:
            for lock, token in list(tokens.items())[::20]:
                assert cluster[name].request("GET", f"/v1/locks/{lock}/check?token={token}")[0] == 200


@pytest.mark.skipif(SLOW or not os.environ.get("TEST_SHIM"), reason="the shim goes with the plain build")
def test_a_hanging_disk_of_the_leader_moves_the_leadership(tmp_path):
    """Followers elect another one; the watchdog ends the process; started anew it is a member like the others."""
    trigger = tmp_path / "hang"
    cluster = Cluster(tmp_path, 3)
    cluster.make("n1", *founding(cluster), environment={"SHIM_HANG": str(trigger)}, preload=os.environ["TEST_SHIM"])
    with cluster:
        if cluster.wait_leader() != "n1":
            assert cluster["n2"].request("POST", "/v1/cluster/transfer", {"to": "n1"})[0] == 200
            until(lambda: cluster.leader() == "n1", "n1 leads")
        with Load(cluster, seed=31) as load:
            load.goes_on()
            trigger.touch()
            cluster.wait_leader(but="n1", among=["n2", "n3"])
            load.goes_on()
            assert cluster["n1"].wait_exit() == 1
            assert "hangs" in cluster["n1"].log_text()
            trigger.unlink()
            cluster.restart("n1")
            load.goes_on()


def faked(cluster, name, tmp_path, first, monotonic):
    """The node's clock is what stands in the file; the monotonic one too, or not."""
    clock = tmp_path / f"clock-{name}"
    clock.write_text(first + "\n")
    environment = {"FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1"}
    if not monotonic:
        environment["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
        environment["DONT_FAKE_MONOTONIC"] = "1"
    cluster.make(name, *founding(cluster), environment=environment, preload=FAKETIME)
    return clock


@pytest.mark.skipif(SLOW or not FAKETIME, reason="faketime goes with the plain build")
def test_wall_clocks_jump_under_load(tmp_path):
    cluster = Cluster(tmp_path, 3)
    clocks = {name: faked(cluster, name, tmp_path, offset, False) for name, offset in (("n1", "+0"), ("n2", "+1h"), ("n3", "-1h"))}
    with cluster:
        _, _, kept = acquire(cluster, "n1", "kept", ttl="1m")
        with Load(cluster, seed=32) as load:
            load.goes_on()
            for offset in ("+1h", "-1h", "+3d", "-30d", "+0"):
                clocks[cluster.wait_leader()].write_text(offset + "\n")
                load.goes_on(10)
            leader = cluster.wait_leader()
            cluster.kill9(leader)
            load.goes_on(10)
            clocks[leader].write_text("-5d\n")
            cluster.restart(leader)
            load.goes_on(10)
        for name in cluster.nodes:
            assert cluster[name].request("GET", f"/v1/locks/kept/check?token={kept['token']}")[0] == 200


@pytest.mark.skipif(SLOW or not FAKETIME, reason="faketime goes with the plain build")
def test_clocks_run_apart_under_load(tmp_path):
    """Half a per cent fast and slow, as leases allow for, every clock of the process."""
    cluster = Cluster(tmp_path, 3)
    for name, rate in (("n1", "+0 x1.005"), ("n2", "+0 x0.995"), ("n3", "+0 x1.0")):
        faked(cluster, name, tmp_path, rate, True)
    with cluster, Load(cluster, seed=33) as load:
        for to in ("n1", "n2", "n3"):
            assert cluster["n1"].request("POST", "/v1/cluster/transfer", {"to": to})[0] == 200
            load.goes_on(30)
