"""How long nobody gets a lock when the leader dies, stops or hands over. A measurement, not a test:

    PYTHONPATH=. TEST_COORDD=build/coordd /usr/bin/python3 tests/cluster/failover.py [rounds]

Three nodes with the default timings, under load: 6 clients that each take a lock of their own and give it back, one call
after the other, 3 of them only at the two nodes that stay. Printed are, of those 3 and over all rounds: the time from the event (the
signal, the call) to the first grant that was asked for after it, and the longest time without a grant from the event until
another node leads and everybody has had 20 grants more. Times of whole clients in Python, their own milliseconds included.
"""

import statistics
import sys
import tempfile
import threading
import time

from tests.support.cluster import Cluster
from tests.support.history import Caller
from tests.support.node import until


class Taker(threading.Thread):
    """Acquires and releases a lock of its own, one after the other, at the nodes it is given, and remembers when."""

    def __init__(self, cluster, number):
        super().__init__(daemon=True)
        self.cluster, self.lock = cluster, f"own{number}"
        self.caller = Caller(cluster.http)
        self.nodes = list(cluster.nodes)
        self.place = number
        self.grants = []  # (sent, answered)
        self.ending = False

    def run(self):
        token = None
        while not self.ending:
            node = self.nodes[self.place % len(self.nodes)]
            sent = time.monotonic()
            if token is None:
                reply = self.caller.call(node, "POST", f"/v1/locks/{self.lock}/acquire?ttl=1s&wait=2s", timeout_s=4)
                if reply.status == 201:
                    token = reply.answer["token"]
                    self.grants.append((sent, time.monotonic()))
            else:
                reply = self.caller.call(node, "POST", f"/v1/locks/{self.lock}/release?token={token}", timeout_s=4)
                token = None
            if reply.status not in (200, 201):
                self.place += 1
                time.sleep(0.005)


def measure(cluster, event, gone):
    """(worst client's time to a grant, longest time without one) around the event."""
    takers = [Taker(cluster, number) for number in range(6)]
    stayers = takers[:3]
    for taker in stayers:
        taker.nodes = [name for name in cluster.nodes if name != gone]
    for taker in takers:
        taker.start()
    until(lambda: all(len(t.grants) > 20 for t in takers), "load", 30)
    begun = time.monotonic()
    event()
    until(lambda: any(leader not in (None, gone) and leader == name for name in stayers[0].nodes
                      for leader, _ in [cluster.standing(name)]), "another one leads", 30)
    before = [len(t.grants) for t in stayers]
    until(lambda: all(len(t.grants) > n + 20 for n, t in zip(before, stayers)), "20 grants more", 30)
    for taker in takers:
        taker.ending = True
    for taker in takers:
        taker.join()
    first = max(min(answered for sent, answered in t.grants if sent >= begun) - begun for t in stayers)
    stall = max(b - max(a, begun) for t in stayers for (_, a), (_, b) in zip(t.grants, t.grants[1:]) if b > begun)
    return first, stall


def table(title, results):
    for what, values in zip(("first grant, slowest client", "longest time without one"), zip(*results)):
        values = sorted(values)
        print(f"{title:14} {what:28} median {statistics.median(values):.3f} s   worst {values[-1]:.3f} s   best {values[0]:.3f} s", flush=True)


def main(rounds):
    with tempfile.TemporaryDirectory() as directory, Cluster(directory, 3) as cluster:
        killed, stopped, moved = [], [], []
        for _ in range(rounds):
            leader = cluster.wait_leader()
            killed.append(measure(cluster, lambda: cluster[leader].process.kill(), leader))
            cluster.kill9(leader)
            cluster.restart(leader)
            leader = cluster.wait_leader()
            stopped.append(measure(cluster, cluster[leader].process.terminate, leader))
            cluster[leader].wait_exit()
            cluster.restart(leader)
            leader = cluster.wait_leader()
            other = cluster.followers()[0]
            moved.append(measure(cluster, lambda: cluster[other].request("POST", "/v1/cluster/transfer", {"to": other}), leader))
            cluster.wait_ready()
        print(f"{rounds} rounds each, 3 nodes, heartbeat 100 ms, election 1 s, 6 clients")
        table("kill -9", killed)
        table("graceful stop", stopped)
        table("transfer", moved)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
