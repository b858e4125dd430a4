"""Clients of a task queue at any node of a cluster, who write down what they asked and were told (checker_queues.py).

    with QueueLoad(cluster, seed=1) as load:
        ...                      # faults
                                 # and at the end all tasks are done, and judged

Who makes tasks does so under an Idempotency-Key, again and again until it is answered. Workers claim (half of them under
a key as well), renew now and then, and end a claim: mostly by a transaction that completes the task and puts a key, so
that it can be seen how often it was done; some fail, are given back, or are forgotten.
"""

import json
import random
import threading
import time

from tests.support.checker_queues import SLACK, Claim, Enqueue, Told, judge, judge_done
from tests.support.history import Caller, failed, finish
from tests.support.node import until

QUEUE = "jobs"
GROUPS = ["", "", "g1", "g2"]
GIVE_UP_S = 60.0
LEASE_S = 3.0


class Client(threading.Thread):
    def __init__(self, load, number, what):
        super().__init__(name=f"{what} {number}", daemon=True)
        self.load, self.told, self.mutex = load, load.told, load.mutex
        self.random = random.Random(f"{load.seed}/{what}/{number}")
        self.client, self.number = f"{what}{number}.{load.seed}", 0
        self.caller = Caller(load.cluster.http)
        self.node = self.random.choice(sorted(load.cluster.http()))
        self.ending = threading.Event()
        self.error = None
        self.replayed = 0

    def run(self):
        try:
            while not self.ending.is_set():
                self.ending.wait(self.random.uniform(0, 0.03))
                self.round()
        except BaseException as error:  # finish() raises it
            self.error = error
        finally:
            self.caller.close()

    def move_on(self):
        self.node = self.random.choice(sorted(self.load.cluster.http()))

    def ask(self, method, path, body=None, keyed=False, timeout_s=None):
        """(reply, when the call that was answered was sent); the reply is None when nobody knows."""
        self.number += 1
        headers = {"Idempotency-Key": f"{self.client}.{self.number}"} if keyed else {}
        body = json.dumps(body).encode() if body is not None else None
        give_up = time.monotonic() + GIVE_UP_S
        while True:
            sent = time.monotonic()
            reply = self.caller.call(self.node, method, path, timeout_s or self.random.choice((0.3, 1.0, 3.0)), body, headers)
            in_flight = reply.status == 409 and reply.answer["code"] == "duplicate_in_flight"
            if not reply.unknown and not reply.not_applied and not in_flight:
                self.replayed += reply.headers.get("Idempotency-Replayed") == "true"
                return reply, sent
            self.move_on()
            if not keyed or sent > give_up:
                return None, sent
            time.sleep(self.random.uniform(0, 0.1))


class Maker(Client):
    def round(self):
        many = self.random.choice((1, 1, 3))
        tasks = [Enqueue(f"{self.client}.{self.number}.{i}", self.random.choice(GROUPS)) for i in range(many)]
        body = [{"payload": task.marker, **({"group": task.group} if task.group else {})} for task in tasks]
        with self.mutex:
            self.told.enqueues.extend(tasks)
        invoked = time.monotonic()
        reply, _ = self.ask("POST", f"/v1/queues/{QUEUE}/tasks", body if many > 1 else body[0], keyed=True)
        if reply is None:
            return
        assert reply.status == 201, reply.answer
        for task, made in zip(tasks, reply.answer["tasks"] if many > 1 else [reply.answer], strict=True):
            assert not made["deduplicated"], made
            task.invoked, task.returned, task.id = invoked, time.monotonic(), int(made["id"])


class Worker(Client):
    def round(self):
        keyed = self.random.random() < 0.5
        wait_ms = self.random.choice((0, 0, 300, 1000))
        body = {"worker": self.client, "max": self.random.randrange(1, 4), "wait": wait_ms, "ttl": int(LEASE_S * 1000)}
        reply, sent = self.ask("POST", f"/v1/queues/{QUEUE}/claim", body, keyed, timeout_s=wait_ms / 1000 + self.random.choice((0.5, 2.0)))
        if reply is None:
            return
        assert reply.status == 200, reply.answer
        now = time.monotonic()
        claims = []
        for task in reply.answer["tasks"]:
            left_s = (task["expires_in_ms"] or 0) / 1000
            claims.append(Claim(self.client, int(task["id"]), task["token"], task["attempt"], task["payload"], task["group"] or "", sent, now,
                                held_until=sent + left_s * (1 - SLACK)))
        with self.mutex:
            self.told.claims.extend(claims)
        for claim in claims:
            self.work(claim)

    def path(self, claim, what):
        return f"/v1/queues/{QUEUE}/tasks/{claim.id}/{what}"

    def work(self, claim):
        time.sleep(self.random.choice((0, 0, 0.01, 0.05)))
        dice = self.random.random()
        if dice < 0.2:
            reply, sent = self.ask("POST", self.path(claim, "extend"), {"token": claim.token})
            if reply and reply.status == 200:
                claim.held_until = max(claim.held_until, sent + LEASE_S * (1 - SLACK))
            elif reply:
                assert reply.status in (404, 410), reply.answer
        if dice > 0.98 and not self.load.ending:
            return  # it vanished: the task is lost by its lease
        self.end(claim, "fail" if 0.2 < dice < 0.26 else "release" if 0.26 < dice < 0.32 else "complete")

    def end(self, claim, how):
        # Only the lease may take it away from the one who has said nothing.
        claim.end, claim.end_invoked = how, time.monotonic()
        if how == "complete":
            body = {"then": [{"op": "queue.complete", "queue": QUEUE, "id": str(claim.id), "token": claim.token},
                             {"op": "kv.put", "key": f"done/{claim.id}", "value": str(claim.token)}]}
            reply, _ = self.ask("POST", "/v1/txn", body, keyed=True)
            lost = reply and reply.status == 409 and reply.answer["code"] == "txn_refused"
        else:
            reply, _ = self.ask("POST", self.path(claim, how), {"token": claim.token}, keyed=True)
            lost = reply and reply.status == 410 and reply.answer["code"] == "claim_lost"
        assert not reply or reply.status == 200 or lost, reply.answer
        claim.end_result = "unknown" if not reply else "lost" if lost else "done"


class QueueLoad:
    """Makers and workers at all nodes, and afterwards the judgement of all they were told."""

    def __init__(self, cluster, makers=2, workers=5, seed=0):
        self.cluster, self.seed = cluster, seed
        self.told, self.mutex, self.ending = Told(), threading.Lock(), False
        settings = {"backoff": 100, "backoff_max": 1000, "max_attempts": 1000, "max_losses": 1000}
        status, _, answer = cluster[cluster.wait_leader()].request("PUT", f"/v1/queues/{QUEUE}", settings)
        assert status in (200, 201), answer
        self.makers = [Maker(self, number, "maker") for number in range(makers)]
        self.workers = [Worker(self, number, "worker") for number in range(workers)]
        for client in self.makers + self.workers:
            client.start()

    def done(self):
        with self.mutex:
            return sum(claim.end == "complete" and claim.end_result == "done" for claim in self.told.claims)

    def goes_on(self, tasks=20, limit_s=60.0):
        before = self.done()
        until(lambda: self.done() >= before + tasks or failed(self.makers + self.workers), f"{tasks} more tasks are done", limit_s, 0.01)

    def queue(self):
        status, _, answer = self.cluster.ask(self.cluster.running()[0], "GET", f"/v1/queues/{QUEUE}")
        return answer if status == 200 else None

    def is_empty(self):
        queue = self.queue()
        return bool(queue) and not any(queue[state] for state in ("scheduled", "blocked", "ready", "claimed"))

    def effects(self):
        found, cursor = {}, ""
        while True:
            status, _, answer = self.cluster.ask(self.cluster.running()[0], "GET", f"/v1/kv?prefix=done/&limit=100{cursor}")
            assert status == 200, answer
            for entry in answer["keys"]:
                found[int(entry["key"].removeprefix("done/"))] = (entry["version"], entry["value"])
            if not answer["cursor"]:
                return found
            cursor = f"&cursor={answer['cursor']}"

    def judged(self):
        finish(self.makers, limit_s=90)
        self.ending = True
        until(lambda: self.is_empty() or failed(self.workers), "all tasks are over", 90, 0.05)
        finish(self.workers, limit_s=90)
        judge(self.told)
        judge_done(self.told, self.effects())
        queue = self.queue()
        assert queue["done"] == len(self.effects()) and not queue["dead"], queue

    def summary(self):
        results = [f"{claim.end}: {claim.end_result}" for claim in self.told.claims]
        replayed = sum(client.replayed for client in self.makers + self.workers)
        return f"{len(self.told.enqueues)} tasks, {({r: results.count(r) for r in sorted(set(results))})}, {replayed} replayed"

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.judged()
                print(self.summary())
        finally:
            for client in self.makers + self.workers:
                client.ending.set()
