"""Members of a group of three nodes whose leader dies: nobody who is heard is failed, who is silent is, in its time."""

import json
import threading
import time

from tests.support.node import BROKEN, until

TTL_S, ELECTION_S, SLACK_S = 4.0, 10.0, 20.0  # the election, and a loaded machine
GROUP = "/v1/groups/lasting"


class Beats(threading.Thread):
    """Beats for members at whichever node answers; remembers when the last beat that was answered was sent."""

    def __init__(self, cluster, tokens):
        super().__init__(daemon=True)
        self.cluster, self.tokens, self.ending = cluster, tokens, threading.Event()
        self.sent = dict.fromkeys(tokens, time.monotonic())
        self.late, self.gone = [], []

    def run(self):
        place = 0
        while not self.ending.wait(0.2):
            place += 1
            sent = time.monotonic()
            items = [{"group": "lasting", "id": member, "token": token} for member, token in self.tokens.items()]
            try:
                status, _, answer = self.cluster[f"n{place % 3 + 1}"].request("POST", "/v1/heartbeats", json.dumps({"members": items}).encode())
            except BROKEN:
                continue
            if status != 200:
                continue
            for each in answer["ok"]:
                self.sent[each["id"]] = sent
            # Failed before the ttl of the last answered beat was over: a promise is broken.
            self.gone += [each for each in answer["gone"] if time.monotonic() < self.sent[each["id"]] + TTL_S]
            self.late += [each for each in answer["gone"] if time.monotonic() >= self.sent[each["id"]] + TTL_S]


def test_the_leader_dies_and_only_the_silent_one_fails(cluster):
    leader = cluster.wait_leader()
    assert cluster[leader].request("PUT", f"{GROUP}?guard=0")[0] == 201
    tokens = {}
    for i in range(6):
        status, _, made = cluster.ask(f"n{i % 3 + 1}", "PUT", f"{GROUP}/members/m{i}?ttl={int(TTL_S)}s", timeout_s=30)
        assert status == 201
        tokens[f"m{i}"] = made["token"]
    silent_since = time.monotonic()
    del tokens["m5"]
    beats = Beats(cluster, tokens)
    beats.start()
    cluster[leader].kill9()
    survivor = next(name for name in ("n1", "n2", "n3") if name != leader)

    def state(member):
        status, _, answer = cluster.ask(survivor, "GET", f"{GROUP}/members/{member}", timeout_s=60)
        return answer["state"] if status == 200 else None  # there may be no leader yet

    until(lambda: state("m5") == "failed", "the silent one is failed", 2 * TTL_S * 1.01 + ELECTION_S + SLACK_S)
    assert time.monotonic() - silent_since >= TTL_S
    beats.ending.set()
    beats.join(60)
    assert not beats.gone, beats.gone
    if not beats.late:  # a machine that stood still for a ttl is no fault of theirs
        assert all(until(lambda: state(member), "an answer") in ("alive", "suspect") for member in tokens)
