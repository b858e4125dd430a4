"""Clients that change keys at any node of a cluster, and write down what they asked and were told (checker_keys.py).

    with KeyLoad(cluster, seed=1) as load:
        ...                      # faults
                                 # and at the end the judgement

Two kinds of objects: registers, single keys that are put, compared and set; and a bank, whose accounts exchange amounts by
transactions. Every value is "AMOUNT:WHO.NUMBER", so it is written by one call only.

Half of the writes carry an Idempotency-Key. Such a call is repeated, with the same key, at one node after the other until
there is an answer: for the judge it is one call, which must have its effect once.
"""

import json
import random
import threading
import time

from tests.support.checker import NEVER
from tests.support.checker_keys import ABSENT, Call, judge
from tests.support.history import Caller, History, failed, finish
from tests.support.node import until

REGISTERS = [f"register{i}" for i in range(3)]
ACCOUNTS = [f"bank/{i}" for i in range(4)]
AMOUNT = 100
GIVE_UP_S = 20.0


def compare(key, value):
    return {"op": "kv.compare", "key": key, "exists": False} if value is ABSENT else {"op": "kv.compare", "key": key, "value": value}


def read(key):
    return {"op": "kv.get", "key": key}


def put(key, value):
    return {"op": "kv.put", "key": key, "value": value}


class KeyWorker(threading.Thread):
    def __init__(self, history, ports, number, seed, think_s):
        super().__init__(name=f"client {number}", daemon=True)
        self.random = random.Random(f"{seed}/{number}")
        self.history, self.ports, self.think_s = history, ports, think_s
        self.caller = Caller(ports)
        self.client, self.number = f"c{number}.{seed}", 0
        self.node = self.random.choice(sorted(ports()))
        self.ending = threading.Event()
        self.error = None
        self.replayed = 0

    def run(self):
        try:
            while not self.ending.is_set():
                self.ending.wait(self.random.uniform(0, self.think_s))
                self.random.choice((self.round_of_register, self.round_of_bank))()
        except BaseException as error:  # finish() raises it
            self.error = error
        finally:
            self.caller.close()

    def value(self, amount):
        self.number += 1
        return f"{amount}:{self.client}.{self.number}"

    def move_on(self, always=True):
        if always or self.random.random() < 0.1:
            self.node = self.random.choice(sorted(self.ports()))

    # -- one call

    def ask(self, call, method, path, body, once):
        """The reply, or None; the call's end is noted."""
        headers = {} if once else {"Idempotency-Key": f"{self.client}.{self.number}.{call.what}"}
        call.client, call.node, call.invoked = self.client, self.node, time.monotonic()
        unknown = False
        while True:
            # Some are impatient: what they give up on may still be done.
            reply = self.caller.call(self.node, method, path, self.random.choice((0.1, 0.3, 1.0, 3.0)), body, headers)
            answered = not reply.unknown and not reply.not_applied
            unknown |= reply.unknown
            if answered or once or time.monotonic() > call.invoked + GIVE_UP_S:
                break
            self.move_on()
            time.sleep(self.random.uniform(0, 0.1))
        call.returned = time.monotonic()
        self.move_on(always=not answered)
        if not answered:
            call.result = "unknown" if unknown else "not_applied"
            call.returned = NEVER if unknown else call.returned
        else:
            self.replayed += reply.headers.get("Idempotency-Replayed") == "true"
        return reply if answered else None

    def done(self, call):
        self.history.add(call)
        return call

    def txn(self, call, keys):
        """Compares what is expected, then writes or reads `keys`."""
        body = {"if": [compare(k, v) for k, v in call.expects.items()],
                "then": [put(k, v) for k, v in call.writes.items()] or [read(k) for k in keys],
                "else": [read(k) for k in keys]}
        once = not call.writes or self.random.random() < 0.5
        reply = self.ask(call, "POST", "/v1/txn", json.dumps(body), once)
        if reply:
            assert reply.status == 200, reply.answer
            results = reply.answer["results"]
            call.result = "done" if reply.answer["succeeded"] else "refused"
            if call.result == "refused" or not call.writes:
                call.saw = {k: r["result"]["value"] if r["status"] == 200 else ABSENT for k, r in zip(keys, results)}
        return self.done(call)

    # -- what clients do

    def round_of_register(self):
        key = self.random.choice(REGISTERS)
        if self.random.random() < 0.3:
            value = self.value(0)
            call = Call("put", key, 0, writes={key: value})
            reply = self.ask(call, "PUT", f"/v1/kv/{key}", value.encode(), self.random.random() < 0.5)
            if reply:
                assert reply.status in (200, 201), reply.answer
                call.result = "done"
            self.done(call)
            return
        seen = self.txn(Call("read", key, 0), [key])
        if seen.result == "done" and self.random.random() < 0.7:
            self.txn(Call("set", key, 0, expects=dict(seen.saw), writes={key: self.value(0)}), [key])

    def round_of_bank(self):
        seen = self.txn(Call("read", "bank", 0), ACCOUNTS)
        for _ in range(3):
            if not seen.saw or ABSENT in seen.saw.values():
                return
            source, target = self.random.sample(ACCOUNTS, 2)
            amounts = {k: int(v.split(":")[0]) for k, v in seen.saw.items()}
            moved = self.random.randrange(1, 20)
            expects = {k: seen.saw[k] for k in (source, target)}
            writes = {source: self.value(amounts[source] - moved), target: self.value(amounts[target] + moved)}
            seen = self.txn(Call("move", "bank", 0, expects=expects, writes=writes), ACCOUNTS)


class KeyLoad:
    """Clients at all nodes, and afterwards the judgement of all they were told."""

    def __init__(self, cluster, count=6, seed=0, think_s=0.02):
        self.cluster, self.history = cluster, History()
        opened = {key: f"{AMOUNT}:opened" for key in ACCOUNTS}
        status, _, answer = cluster[cluster.wait_leader()].request("POST", "/v1/txn", {"then": [put(k, v) for k, v in opened.items()]})
        assert status == 200, answer
        self.initial = {"bank": opened}
        self.workers = [KeyWorker(self.history, cluster.http, number, seed, think_s) for number in range(count)]
        for worker in self.workers:
            worker.start()

    def goes_on(self, writes=20, limit_s=60.0):
        def done():
            with self.history.mutex:
                return sum(bool(op.writes) and op.result == "done" for op in self.history.ops)

        before = done()
        until(lambda: done() >= before + writes or failed(self.workers), f"{writes} more writes", limit_s, 0.01)

    def judged(self):
        finish(self.workers, limit_s=60)
        last = KeyWorker(self.history, self.cluster.http, 99, "last", 0)
        for last.node in sorted(self.cluster.http()):
            for group, keys in [("bank", ACCOUNTS)] + [(key, [key]) for key in REGISTERS]:
                node = last.node
                until(lambda: last.txn(Call("read", group, 0, node=node), keys).result == "done", f"{node} reads {group}", 60)
                last.node = node
        last.caller.close()
        self.sums()
        judge(self.history.ops, self.initial)
        return self

    def sums(self):
        """Whoever saw all accounts saw all the money."""
        for call in self.history.ops:
            if len(call.saw) == len(ACCOUNTS):
                total = sum(int(value.split(":")[0]) for value in call.saw.values())
                assert total == AMOUNT * len(ACCOUNTS), call

    def replayed(self):
        return sum(worker.replayed for worker in self.workers)

    def told(self):
        results = [op.result for op in self.history.ops if op.writes]
        counts = {name: results.count(name) for name in ("done", "refused", "unknown", "not_applied")}
        return f"{len(self.history.ops)} calls, writes {counts}, {self.replayed()} replayed"

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.judged()
            print(self.told())
        for worker in self.workers:
            worker.ending.set()
