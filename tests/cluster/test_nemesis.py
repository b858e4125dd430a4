"""Everything at once: faults drawn from a seed, while clients on all nodes write down what they are told.

NEMESIS_FAULTS (12) of them, NEMESIS_SEED, NEMESIS_ONLY (kinds, comma-separated); long ones by hand:

    NEMESIS_FAULTS=100 PYTHONPATH=. TEST_COORDD=build/coordd /usr/bin/python3 -m pytest -q -s tests/cluster/test_nemesis.py
"""

import os
import random
import time

import pytest

from tests.cluster.conftest import PACE, SLOW, Load
from tests.support.cluster import Cluster
from tests.support.node import until

FAULTS = int(os.environ.get("NEMESIS_FAULTS", "12"))
SEED = int(os.environ.get("NEMESIS_SEED", "1"))
ONLY = os.environ.get("NEMESIS_ONLY", "").split(",")


class Nemesis:
    """Each fault returns how to undo it, or None. Up to `overlap` stand at one time."""

    def __init__(self, cluster, load, seed):
        self.cluster, self.load, self.random = cluster, load, random.Random(seed)
        self.standing = []
        self.counts = {}
        self.joined = 0

    def some(self):
        """A node that runs: often the leader."""
        leader = self.cluster.leader()
        if leader and self.random.random() < 0.5:
            return leader
        running = self.cluster.running()
        return self.random.choice(running) if running else None

    def restart(self, name):
        if name in self.cluster.nodes and name not in self.cluster.running():
            self.cluster.restart(name, ready=False)

    def kill9(self):
        name = self.some()
        self.cluster.kill9(name)
        return lambda: self.restart(name)

    def kill9_two(self):
        names = self.random.sample(self.cluster.running(), min(2, len(self.cluster.running())))
        self.cluster.kill9(*names)
        return lambda: [self.restart(name) for name in names]

    def kill9_all(self):
        names = self.cluster.running()
        self.cluster.kill9(*names)
        return lambda: [self.restart(name) for name in names]

    def stop(self):
        name = self.some()
        self.cluster.stop(name)
        return lambda: self.restart(name)

    def pause(self):
        name = self.some()
        self.cluster.pause(name)
        return lambda: name in self.cluster.paused and self.cluster.resume(name)

    def transfer(self):
        name = self.random.choice(self.cluster.running())
        self.cluster.ask(name, "POST", "/v1/cluster/transfer", timeout_s=3)

    def split(self):
        names = list(self.cluster.nodes)
        self.random.shuffle(names)
        cut = self.random.randrange(1, len(names))
        self.cluster.proxy.split(names[:cut], names[cut:])
        return self.cluster.proxy.heal

    def split_off_leader(self):
        leader = self.cluster.leader() or self.random.choice(list(self.cluster.nodes))
        self.cluster.proxy.split([leader], [name for name in self.cluster.nodes if name != leader])
        return self.cluster.proxy.heal

    def one_way(self):
        names = list(self.cluster.nodes)
        for _ in range(self.random.randrange(1, len(names))):
            a, b = self.random.sample(names, 2)
            self.cluster.proxy.set(a, b, hold=True)
        return self.cluster.proxy.heal

    def behind(self):
        """One is left behind; then the leader dies, and the one that lags may be the first to stand."""
        leader = self.cluster.leader()
        others = [name for name in self.cluster.running() if name != leader]
        if not leader or not others:
            return None
        lags = self.random.choice(others)
        for name in self.cluster.nodes:
            if name != lags:
                self.cluster.proxy.set(name, lags, hold=True)
        self.watch()
        self.cluster.kill9(leader)
        for name in self.cluster.nodes:  # what was held is lost with the connections
            self.cluster.proxy.kill(name, lags)
        self.cluster.proxy.heal()
        return lambda: self.restart(leader)

    def slow(self):
        for a in self.cluster.nodes:
            for b in self.cluster.nodes:
                if a != b and self.random.random() < 0.5:
                    self.cluster.proxy.set(a, b, delay_s=self.random.choice((0.01, 0.05, 0.2, 0.6)))
        return self.cluster.proxy.heal

    def drip(self):
        a, b = self.random.sample(list(self.cluster.nodes), 2)
        self.cluster.proxy.both(a, b, rate=self.random.choice((300, 3000)))
        return self.cluster.proxy.heal

    def break_connections(self):
        for _ in range(3):
            a, b = self.random.sample(list(self.cluster.nodes), 2)
            self.cluster.proxy.set(a, b, reset=self.random.randrange(1, 4))
            self.cluster.proxy.half_open(b, a)

    def flip(self):
        for _ in range(3):
            a, b = self.random.sample(list(self.cluster.nodes), 2)
            self.cluster.proxy.set(a, b, flip=self.random.randrange(1, 4))

    def member(self):
        """A new node joins, or the one that had joined leaves."""
        extra = [name for name in self.cluster.nodes if name not in self.cluster.founders]
        if extra:
            name = extra[0]
            for node in self.cluster.running():
                status, _, _ = self.cluster.ask(node, "DELETE", f"/v1/cluster/members/{name}", timeout_s=3)
                if status in (200, 204, 404):
                    self.cluster.kill9(name)
                    self.cluster.nodes.pop(name)
                    break
        else:
            through = self.some()
            if through:
                self.joined += 1
                self.cluster.join(f"n{len(self.cluster.founders) + self.joined}", through)

    FAULTS = (kill9, kill9, kill9_two, kill9_all, stop, pause, pause, transfer, split, split_off_leader, one_way, behind, behind, slow, drip,
              break_connections, flip, member)

    def strike(self):
        fault = self.random.choice([fault for fault in self.FAULTS if ONLY == [""] or fault.__name__ in ONLY])
        if not self.cluster.running() and fault not in (Nemesis.split, Nemesis.slow):
            return
        undo = fault(self)
        self.counts[fault.__name__] = self.counts.get(fault.__name__, 0) + 1
        if undo:
            self.standing.append(undo)
        self.watch()

    def watch(self):
        """For a while, that the fault may be felt; a cluster that can work gets on with it."""
        before, begun, wait_s = self.load.history.count("granted"), time.monotonic(), self.random.uniform(0.3, 2.5)
        grants = self.random.choice((5, 20))

        def felt():
            self.crashed()
            return self.load.history.count("granted") > before + grants or time.monotonic() - begun > wait_s

        until(felt, "the fault is felt", 20, 0.02)

    def crashed(self):
        for name, node in self.cluster.nodes.items():
            if node.process is not None and node.process.poll() not in (None, 0, -9):
                raise AssertionError(f"{name} ended with {node.process.poll()}:\n{node.log_text()[-5000:]}")
        for worker in self.load.workers:
            if worker.error:
                raise worker.error

    def undo_some(self, keep):
        while len(self.standing) > keep:
            self.standing.pop(self.random.randrange(len(self.standing)))()
            self.watch()

    def run(self, faults):
        while sum(self.counts.values()) < faults:
            self.strike()
            self.undo_some(self.random.choice((0, 1, 1, 2)))
            if self.random.random() < 0.3:
                self.recover()
        self.recover()

    def recover(self):
        """Without faults it works again, by itself."""
        self.undo_some(0)
        self.cluster.proxy.heal()
        for name in list(self.cluster.paused):
            self.cluster.resume(name)
        for name in list(self.cluster.nodes):
            self.restart(name)
        self.cluster.wait_ready(limit_s=60)
        self.load.goes_on(20)


@pytest.mark.parametrize("count", [3, 5])
def test_nemesis(tmp_path, count):
    with Cluster(tmp_path, count, *PACE, proxied=True) as cluster, Load(cluster, seed=SEED, think_s=0.02) as load:
        nemesis = Nemesis(cluster, load, f"{SEED}/{count}")
        try:
            nemesis.run(FAULTS if not SLOW else FAULTS // 3)
        except BaseException:
            print(cluster.logs(60))
            raise
        history = load.history
        print(f"{count} nodes, {sum(nemesis.counts.values())} faults {nemesis.counts}; {len(history.ops)} calls: {history.count('granted')} grants, "
              f"{history.count('unknown')} unknown, {history.count('not_applied')} not applied")
