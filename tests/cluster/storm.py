"""A measurement, not a test (L8 of leases.md): many leases end at one time, on three nodes.

    PYTHONPATH=. TEST_COORDD=build/coordd /usr/bin/python3 tests/cluster/storm.py [LEASES [locks]]

Makes LEASES leases (100,000), or as many locks, each on a lease of its own; renews all of them at one time in a few
requests; then nobody renews them any more. Beside it writers acquire and release locks of their own. Told are how
long after their time the last lease was gone, and the latencies of the writers' requests in the 10 s before and
while the leases end. The goals: gone within 2 s; p99 below twice that of before."""

import re
import selectors
import socket
import sys
import tempfile
import threading
import time

from tests.support.cluster import Cluster
from tests.support.node import until

TTL_S, DEPTH, CONNECTIONS = 60.0, 32, 16
ID = re.compile(rb'"lease":"(L[0-9a-f]+)"')


class Pipe:
    """Sends many requests down one connection without waiting, and takes what the answers name."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.under_way, self.pending = 0, b""

    def send(self, paths):
        self.socket.sendall(b"".join(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n" % path for path in paths))
        self.under_way += len(paths)

    def take(self):
        self.pending += self.socket.recv(1 << 18)
        found = ID.findall(self.pending)
        assert b"application/problem+json" not in self.pending, self.pending[:500]
        if found:
            self.pending = self.pending[self.pending.rindex(found[-1]) + len(found[-1]):]
        self.under_way -= len(found)
        return found


def make(ports, count, path):
    """That many POSTs of path % number, dealt out to the ports; returns the leases they made."""
    leases, sent = [], 0
    with selectors.DefaultSelector() as selector:
        pipes = [Pipe(ports[i % len(ports)]) for i in range(CONNECTIONS)]
        for pipe in pipes:
            selector.register(pipe.socket, selectors.EVENT_READ, pipe)
        ready = pipes
        while len(leases) < count:
            for pipe in ready:
                more = min(DEPTH - pipe.under_way, count - sent)
                if more > 0:
                    pipe.send([path % number for number in range(sent, sent + more)])
                    sent += more
            ready = [key.data for key, _ in selector.select()]
            for pipe in ready:
                leases += pipe.take()
    for pipe in pipes:
        pipe.socket.close()
    return [lease.decode() for lease in leases]


class Writer(threading.Thread):
    """Acquires and releases a lock of its own, about 50 times a second, and writes down how long each request took."""

    def __init__(self, node, number):
        super().__init__(daemon=True)
        self.node, self.number, self.ending, self.took = node, number, False, []

    def call(self, client, path):
        begun = time.monotonic()
        status, _, answer = client.request("POST", path)
        self.took.append((begun, time.monotonic() - begun))
        assert status in (200, 201), answer
        return answer

    def run(self):
        with self.node.client() as client:
            while not self.ending:
                grant = self.call(client, f"/v1/locks/writer-{self.number}/acquire?ttl=30s")
                self.call(client, f"/v1/locks/writer-{self.number}/release?token={grant['token']}")
                time.sleep(0.02)

    def between(self, begin, end):
        return [took for begun, took in self.took if begin <= begun <= end]


def gauge(node, name):
    text = node.request("GET", "/metrics")[2]
    return int(float(re.search(rf"^coordd_{name} (\S+)$", text, re.M).group(1)))


def percentiles(what, times):
    times = sorted(times)
    at = {p: times[min(len(times) - 1, int(len(times) * p / 100))] * 1000 for p in (50, 99, 100)}
    print(f"{what}: {len(times)} requests, p50 {at[50]:.1f} ms, p99 {at[99]:.1f} ms, longest {at[100]:.1f} ms", flush=True)
    return at[99]


def renew_all(node, leases):
    """When the last of the requests was sent: from then on they hold for their TTL."""
    for place in range(0, len(leases), 10000):
        sent = time.monotonic()
        status, _, answer = node.request("POST", "/v1/leases/renew", {"ids": leases[place:place + 10000]}, timeout_s=60)
        assert status == 200, answer
    return sent


def main(count, locks):
    with tempfile.TemporaryDirectory() as directory, Cluster(directory, 3) as cluster:
        leader = cluster[cluster.wait_leader()]
        before = gauge(leader, "leases")
        begun = time.monotonic()
        path = b"/v1/locks/storm-%%d/acquire?ttl=%ds" if locks else b"/v1/leases?ttl=%ds"
        path %= int(TTL_S)
        leases = make(list(cluster.ports.values()), count, path if locks else path + b"&owner=o%d")
        print(f"{count} {'locks' if locks else 'leases'} made in {time.monotonic() - begun:.1f} s", flush=True)
        first = time.monotonic()
        renewed = renew_all(leader, leases)
        print(f"renewed in {time.monotonic() - first:.2f} s", flush=True)
        writers = [Writer(node, number) for number, node in enumerate(cluster.nodes.values())]
        for writer in writers:
            writer.start()
        due = renewed + TTL_S * 1.01 + 0.1  # by then the leader may end the last one; the first ones, a little before
        until(lambda: gauge(leader, "leases") < before + count, "they begin to end", TTL_S + 30, 0.02)
        began = time.monotonic()
        until(lambda: gauge(leader, "leases") <= before + len(writers), "all are gone", 120, 0.02)
        gone = time.monotonic()
        until(lambda: time.monotonic() > gone + 1, "a second more", 10)
        for writer in writers:
            writer.ending = True
        for writer in writers:
            writer.join()
        print(f"the first one ended {began - due:+.2f} s, the last one {gone - due:+.2f} s after the time of the last", flush=True)
        quiet = percentiles("10 s before", [took for w in writers for took in w.between(began - 11, began - 1)])
        storm = percentiles("meanwhile  ", [took for w in writers for took in w.between(began, gone)])
        print(f"gone within 2 s: {'yes' if gone - due < 2 else 'NO'}; p99 {storm / quiet:.1f} times that of before")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100000, "locks" in sys.argv[2:])
