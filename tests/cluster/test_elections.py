"""Terms of office on three nodes while Raft leaders die: places are kept, tokens rise, nobody leads twice at once."""

import itertools
import threading
import time

from tests.support.history import Caller
from tests.support.node import BROKEN, until
from tests.support.stream import Ended, Stream

TTL_S = 5.0
MARGIN_S = 1.0  # for answers that are long on their way, and clocks that run apart


def view(cluster, node, name):
    return cluster[node].request("GET", f"/v1/elections/{name}")[2]


def test_candidates_keep_their_places_when_the_leader_dies(cluster):
    leader = cluster.wait_leader()
    first, second = cluster.followers()
    status, _, term = cluster.ask(first, "POST", "/v1/elections/e/campaign?candidate=c&ttl=1m", timeout_s=30)
    assert status == 201
    clients = []
    for number, node in enumerate([first, second, first, second]):
        client = cluster[node].client(timeout_s=60)
        client.send("POST", f"/v1/elections/e/campaign?ttl=1m&wait=1m&candidate=c{number}&priority={number // 2}")
        until(lambda: view(cluster, first, "e")["candidate_count"] == number + 1, "it waits", 60)
        clients.append(client)
    cluster.kill9(leader)
    cluster.wait_leader(but=leader)
    cluster.wait_ready()
    queue = view(cluster, second, "e")["candidates"]
    assert [c["candidate"] for c in queue] == ["c2", "c3", "c0", "c1"]
    token = term["token"]
    for number in (2, 3, 0, 1):
        assert cluster.ask(first, "POST", f"/v1/elections/e/resign?token={token}", timeout_s=30)[0] == 200
        response = clients[number].connection.getresponse()
        body = response.read()
        assert response.status == 201, body
        assert int(response.getheader("Coord-Token")) > token
        token = int(response.getheader("Coord-Token"))
    for client in clients:
        client.close()
    history = view(cluster, first, "e")["history"]
    assert [t["candidate"] for t in history] == ["c0", "c3", "c2", "c"]


class Candidate(threading.Thread):
    """Campaigns, proclaims in its term and resigns, at whatever node answers; notes when it could know that it led."""

    def __init__(self, cluster, number, terms):
        super().__init__(daemon=True)
        self.who, self.terms = f"c{number}", terms
        self.caller = Caller(cluster.http)
        self.nodes = itertools.islice(itertools.cycle(cluster.nodes), number, None)
        self.node = next(self.nodes)
        self.ending, self.failure = threading.Event(), None

    def call(self, what, query):
        reply = self.caller.call(self.node, "POST", f"/v1/elections/e/{what}?{query}", timeout_s=TTL_S)
        if reply.status not in (200, 201, 409, 423):
            self.node = next(self.nodes)
            time.sleep(0.02)
        return reply

    def serve(self):
        sent = time.monotonic()
        reply = self.call("campaign", f"candidate={self.who}&ttl={TTL_S:g}s&wait=2s&value={self.who}")
        if reply.status != 201:
            return
        known, token = time.monotonic(), reply.answer["token"]
        counted = known if reply.answer["waited_ms"] else sent
        over = counted + reply.answer["expires_in_ms"] / 1000 - MARGIN_S
        for step in range(3):
            proclaimed = self.call("proclaim", f"token={token}&value={self.who}-{step}")
            if proclaimed.status == 200:
                assert (proclaimed.answer["token"], proclaimed.answer["candidate"]) == (token, self.who)
            else:
                assert proclaimed.status != 409 or time.monotonic() > over, f"{token} ended early: {proclaimed.answer}"
        self.terms.append((token, known, min(time.monotonic(), over), self.who))
        self.call("resign", f"token={token}")

    def run(self):
        try:
            while not self.ending.is_set():
                self.serve()
        except Exception as failure:
            self.failure = failure
        self.caller.close()


class Observer(threading.Thread):
    """Reads the stream of leaders, and goes on at the next node when the one it reads from dies."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster, self.node, self.since, self.elected, self.streams = cluster, None, 0, [], 0
        self.ending, self.failure = threading.Event(), None

    def read(self, node):
        query, of_entry = f"?since={self.since}" if self.since else "", []
        with Stream(self.cluster.http()[node], f"/v1/elections/e/observe{query}", timeout_s=8) as stream:
            if stream.head()[0] != 200:
                return
            self.node, self.streams = node, self.streams + 1
            while not self.ending.is_set():
                event = stream.any()
                if event["type"] == "elected":
                    of_entry.append(event["data"]["token"])
                if not event["more"]:
                    self.elected += of_entry
                    self.since, of_entry = event["revision"], []

    def run(self):
        try:
            for node in itertools.cycle(self.cluster.nodes):
                if self.ending.is_set():
                    return
                try:
                    self.read(node)
                except (Ended, *BROKEN):
                    pass
                time.sleep(0.02)
        except Exception as failure:
            self.failure = failure


def test_nobody_leads_twice_at_once_while_nodes_die(cluster):
    terms = []
    candidates = [Candidate(cluster, number, terms) for number in range(6)]
    observer = Observer(cluster)
    observer.start()

    def go_on(count):
        until(lambda: len(terms) >= count or any(c.failure for c in candidates), f"{count} terms", 120, 0.01)
        assert [c.failure for c in candidates] == [None] * len(candidates)

    for candidate in candidates:
        candidate.start()
    go_on(20)
    for whom in ("the leader", "the observer's"):
        victim = cluster.wait_leader(limit_s=60) if whom == "the leader" else observer.node
        cluster.kill9(victim)
        go_on(len(terms) + 10)
        cluster.restart(victim)
        go_on(len(terms) + 20)
    for candidate in candidates:
        candidate.ending.set()
    for candidate in candidates:
        candidate.join(60)
    assert [c.failure for c in candidates] == [None] * len(candidates)
    terms.sort()
    tokens = [token for token, _, _, _ in terms]
    assert len(set(tokens)) == len(tokens)
    for (token, _, to_s, who), (later, from_s, _, other) in zip(terms, terms[1:]):
        assert from_s >= to_s, f"{who} still led with {token} when {other} did with {later}"
    until(lambda: observer.failure or observer.since >= tokens[-1], "the observer has seen all terms", 60, 0.01)
    observer.ending.set()
    assert observer.failure is None and observer.streams > 1
    assert observer.elected == sorted(set(observer.elected)), "tokens only rise, and none comes twice"
    assert set(tokens) <= set(observer.elected)
    history = view(cluster, cluster.wait_leader(limit_s=60), "e")["history"]
    ended = [t["token"] for t in history]
    assert ended == sorted(ended, reverse=True)
    known = {token: who for token, _, _, who in terms}
    for term in history:
        assert known.get(term["token"], term["candidate"]) == term["candidate"]
