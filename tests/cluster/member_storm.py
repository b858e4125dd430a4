"""A measurement, not a test: many members of one group (without a guard) fail at one time, on three nodes.

    PYTHONPATH=. TEST_COORDD=build/coordd /usr/bin/python3 tests/cluster/member_storm.py [MEMBERS]

They join, beat once together, and are silent from then on. Told are how long the log took for all their failures, and
the latencies of the requests of writers beside it (as in storm.py) before and meanwhile. The goals: within 1 s; p99 below
twice that of before."""

import sys
import tempfile
import time

from tests.cluster.storm import Writer, percentiles
from tests.support.cluster import Cluster
from tests.support.node import until

TTL_S, TOGETHER = 32, 128


def join(client, count):
    members = []
    for first in range(0, count, TOGETHER):
        joins = [{"op": "group.join", "group": "g", "id": f"m{i}", "ttl": f"{TTL_S}s"} for i in range(first, min(count, first + TOGETHER))]
        status, _, answer = client.request("POST", "/v1/txn", {"then": joins})
        assert status == 200, answer
        members += [{"group": "g", "id": each["result"]["id"], "token": each["result"]["token"]} for each in answer["results"]]
    return members


def main(count):
    with tempfile.TemporaryDirectory() as directory, Cluster(directory, 3) as cluster:
        with cluster[cluster.wait_leader()].client(timeout_s=60) as client:
            client.request("PUT", "/v1/groups/g?guard=0&suspect=60s")
            members = join(client, count)
            for first in range(0, count, 10000):
                status, _, answer = client.request("POST", "/v1/heartbeats", {"members": members[first:first + 10000]})
                assert status == 200 and not answer["gone"], answer
            due = time.monotonic() + TTL_S * 1.01 + 0.1
            writers = [Writer(node, number) for number, node in enumerate(cluster.nodes.values())]
            for writer in writers:
                writer.start()
            until(lambda: client.request("GET", "/v1/groups/g")[2]["failed"] > 0, "they begin to fail", TTL_S + 30, 0.01)
            began = time.monotonic()
            until(lambda: client.request("GET", "/v1/groups/g")[2]["failed"] == count, "all have failed", 120, 0.01)
            failed = time.monotonic()
        for writer in writers:
            writer.ending = True
        for writer in writers:
            writer.join()
        print(f"the first one failed {began - due:+.2f} s, the last one {failed - due:+.2f} s after its time: within {failed - began:.2f} s")
        quiet = percentiles("10 s before", [took for w in writers for took in w.between(began - 11, began - 1)])
        storm = percentiles("meanwhile  ", [took for w in writers for took in w.between(began, failed)])
        print(f"within 1 s: {'yes' if failed - began < 1 else 'NO'}; p99 {storm / quiet:.1f} times that of before")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10000)
