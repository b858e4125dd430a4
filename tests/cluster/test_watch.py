"""Streams of events in a cluster: on any node, over failovers, restarts and snapshots, without a gap or a repetition."""

import itertools
import re
import threading
import urllib.request

import pytest

from tests.support.node import BROKEN, until
from tests.support.stream import Ended, Stream

PREFIX = "/kv/w/"


class Writer:
    """Puts numbered keys through whichever node answers, until it is stopped. What was refused or left open is known."""

    def __init__(self, cluster, names, large=0):
        self.cluster, self.names, self.large = cluster, names, large
        self.done, self.open = {}, set()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        for number in itertools.count(1):
            if self.stop.is_set():
                return
            name = self.names[number % len(self.names)]
            value = "v" * self.large or str(number)
            status, headers, _ = self.cluster.ask(name, "PUT", f"/v1/kv/w/{number:06}", body=value)
            if status in (200, 201):
                self.done[int(headers["Coord-Revision"])] = f"{PREFIX}{number:06}"
            else:
                self.open.add(f"{PREFIX}{number:06}")

    def more(self, count=20):
        before = len(self.done)
        until(lambda: len(self.done) >= before + count, f"{count} more writes", 60)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


class Follower:
    """Reads a watch, goes on at the next node when it breaks off, and keeps what it was told."""

    def __init__(self, cluster, names, form, since):
        self.cluster, self.form, self.last = cluster, form, since
        self.names = itertools.cycle(names)
        self.got, self.pending, self.breaks, self.refused = [], [], 0, set()
        self.stream = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def open(self):
        name = next(self.names)
        headers = {"Last-Event-ID": str(self.last)} if self.form == "sse" else {}
        query = "" if self.form == "sse" else f"&since={self.last}"
        self.pending = []
        stream = Stream(self.cluster.ports[name], f"/v1/watch?prefix={PREFIX}{query}", self.form, headers, timeout_s=15)
        self.stream = stream
        status, _ = stream.head()
        if status != 200:
            self.refused.add(status)
            raise Ended(False)
        return stream

    def run(self):
        while not self.stopping.is_set():
            try:
                self.read(self.open())
            except (Ended, AssertionError, *BROKEN):
                self.breaks += 1

    def read(self, stream):
        while not self.stopping.is_set():
            event = stream.any()
            if event["type"] == "end":
                continue
            assert event["type"] != "reset"
            if event["type"] != "bookmark":
                self.pending.append((event["revision"], event["path"]))
            if not event["more"]:
                self.got += self.pending
                self.pending = []
                assert event["revision"] >= self.last
                self.last = event["revision"]

    def reaches(self, revision):
        until(lambda: self.last >= revision, f"the watch reaches {revision}, from {self.last}", 60)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        if self.stream:
            try:
                self.stream.socket.shutdown(2)
            except OSError:
                pass
        self.thread.join()


def judge(follower, writer):
    """Each acknowledged write once, in order; besides them only writes whose fate was left open."""
    got = follower.got
    revisions = [revision for revision, _ in got]
    assert revisions == sorted(set(revisions)), "repeated or out of order"
    seen = dict(got)
    missing = {r: p for r, p in writer.done.items() if r > 0 and seen.get(r) != p}
    assert not missing, f"missing: {sorted(missing.items())[:5]} of {len(writer.done)}"
    assert {p for r, p in got if r not in writer.done} <= writer.open


@pytest.mark.parametrize("form", ["sse", "ndjson"])
def test_over_failovers(cluster, form):
    names = list(cluster.nodes)
    with Follower(cluster, names, form, 0) as follower:
        with Writer(cluster, names) as writer:
            writer.more()
            for _ in range(2):
                leader = cluster.wait_leader()
                cluster.kill9(leader)
                cluster.wait_leader(but=leader, limit_s=60)
                writer.more()
                cluster.restart(leader)
                writer.more()
        follower.reaches(max(writer.done))
    assert follower.breaks >= 1
    judge(follower, writer)


def test_every_node_tells_the_same(cluster):
    names = list(cluster.nodes)
    followers = [Follower(cluster, [name], "ndjson", 0) for name in names]
    for follower in followers:
        follower.__enter__()
    try:
        with Writer(cluster, names) as writer:
            writer.more(100)
        for follower in followers:
            follower.reaches(max(writer.done))
            judge(follower, writer)
    finally:
        for follower in followers:
            follower.__exit__()
    first = [e for e in followers[0].got if e[0] <= max(writer.done)]
    for follower in followers[1:]:
        assert [e for e in follower.got if e[0] <= max(writer.done)] == first


def test_rolling_restart(cluster):
    names = list(cluster.nodes)
    with Follower(cluster, names, "sse", 0) as follower:
        with Writer(cluster, names) as writer:
            writer.more()
            cluster.rolling_restart()
            writer.more()
        follower.reaches(max(writer.done))
    judge(follower, writer)


def first_index(cluster, name):
    """The oldest entry in the node's log."""
    with urllib.request.urlopen(f"http://127.0.0.1:{cluster.ports[name]}/metrics") as page:
        return int(re.search(r"^coordd_raft_first_index (\d+)$", page.read().decode(), re.M)[1])


def test_over_a_snapshot(tmp_path):
    """A follower that was away so long that it gets a snapshot: its streams are of the new state, whole."""
    from tests.support.cluster import Cluster
    with Cluster(tmp_path, 3, "--log-keep-mb", "0") as cluster:
        away = cluster.followers()[0]
        others = [name for name in cluster.nodes if name != away]
        with Writer(cluster, others, large=200_000) as writer:
            writer.more(10)
            stay = Follower(cluster, [away], "ndjson", 0)
            with stay:
                stay.reaches(min(writer.done))
                for more in (40, 80, 160, 320):  # until only a snapshot can help: sockets hold much for it
                    cluster.pause(away)
                    seen = max(writer.done)
                    while min(first_index(cluster, name) for name in others) <= seen:
                        writer.more(more)
                    cluster.resume(away)
                    stay.reaches(max(writer.done))
                    if "a received snapshot is this node's state now" in cluster[away].log_text():
                        break
                else:
                    pytest.skip("the sockets held all that it needed")
                writer.more(5)
                stay.reaches(max(writer.done))
        judge(stay, Done(writer, stay.last))


def test_a_node_that_is_cut_off_ends_its_streams(cluster):
    left, *others = list(cluster.nodes)
    stream = Stream(cluster.ports[left], f"/v1/watch?prefix={PREFIX}", "ndjson", timeout_s=90)
    stream.any()
    for name in others:
        cluster.pause(name)
    events, clean = stream.rest()
    assert clean and events[-1]["type"] == "end" and "no leader" in events[-1]["detail"]
    refused = Stream(cluster.ports[left], "/v1/watch")
    status, problem = refused.refusal()
    assert (status, problem["code"]) == (503, "no_leader")
    for name in others:
        cluster.resume(name)
    cluster.wait_ready(limit_s=60)
    with Stream(cluster.ports[left], "/v1/watch") as again:
        assert again.any()["type"] == "bookmark"
    stream.close(), refused.close()


class Done:
    def __init__(self, writer, last):
        self.done = {r: p for r, p in writer.done.items() if r <= last}
        self.open = writer.open | set(writer.done.values())


def test_a_long_poll_outlives_the_leader(cluster):
    follower = cluster.followers()[0]
    _, headers, _ = cluster.ask(follower, "PUT", "/v1/kv/p", body="1")
    leader = cluster.wait_leader()
    answer = {}

    def poll():
        answer["value"] = cluster.ask(follower, "GET", f"/v1/kv/p?since={headers['Coord-Revision']}&wait=120s", timeout_s=130)

    thread = threading.Thread(target=poll)
    thread.start()

    def waits():
        text = cluster.ask(follower, "GET", "/metrics")[2]
        return "coordd_http_requests_waiting 1" in text

    until(waits, "it waits", 30)
    cluster.kill9(leader)
    cluster.wait_leader(but=leader, limit_s=60)
    until(lambda: cluster.ask(follower, "PUT", "/v1/kv/p", body="2")[0] == 200, "a write", 60, 0.05)
    thread.join()
    status, _, value = answer["value"]
    assert (status, value) == (200, "2")
