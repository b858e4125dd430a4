"""Clients of keys at any node of a cluster, and the judge of what they were told.

    history = KeyHistory(cluster.http)
    workers = history.start(count=6, seed=1)
    ...                               # faults
    history.finish(workers)
    judge(history.calls, changes(...))   # all that ever happened to keys, as a node tells it

A revision is a place in the one order of all changes. So no order has to be searched for: every answer names its place, or
where its place must lie. `judge` raises Wrong where

- two writes have one place on a key, or a value was never written, or written by a call of which it was said that it was
  not applied;
- a call had its place before one that had ended when it began (over all keys);
- a condition held although another write lies between, or a read missed a write that lies before its place;
- a pair of keys that is only ever written together is seen apart;
- the events are not exactly the writes that were acknowledged, and some whose end is unknown.
"""

import bisect
import itertools
import json
import random
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from math import inf

from tests.support.checker import NEVER, Wrong
from tests.support.history import Caller

KEYS = ("a", "b/c", "b/d")
PAIR = ("pair/1", "pair/2")


@dataclass
class Call:
    kind: str  # put | delete | get | list
    keys: tuple
    value: int | None = None  # that it writes, unique
    expects: int | None = None  # if_match; 0: if_none_match
    invoked: float = 0.0
    returned: float = NEVER
    result: str = "unknown"  # written | unchanged | refused | seen | unknown | not_applied
    place: int = 0
    seen: int | None = None  # value; None: the key was not there
    client: str = ""
    node: str = ""


def changes(stream, until_place):
    """What a watch of /kv/ (tests/support/stream.py) tells up to that place: (place, key, value or None)."""
    told = []
    while not told or told[-1][0] < until_place:
        event = stream.event()
        value = event["data"].get("value")
        told.append((event["revision"], event["path"].removeprefix("/kv/"), None if value is None else int(value)))
    return told


class Client(threading.Thread):
    def __init__(self, history, number, seed):
        super().__init__(name=f"client {number}", daemon=True)
        self.history, self.random = history, random.Random(f"{seed}/{number}")
        self.caller = Caller(history.ports)
        self.node = self.random.choice(sorted(history.ports()))
        self.known = {}  # key -> the last revision that it was told
        self.ending, self.error = threading.Event(), None

    def run(self):
        try:
            while not self.ending.is_set():
                self.step()
        except BaseException as error:  # finish() raises it
            self.error = error
        self.caller.close()

    def step(self):
        dice, key = self.random.random(), self.random.choice(KEYS)
        if dice < 0.3:
            call = self.get(key)
        elif dice < 0.4:
            call = self.look_at_pair()
        elif dice < 0.5:
            call = self.write_pair()
        elif dice < 0.6:
            call = self.delete(key)
        else:
            call = self.put(key)
        if call.result in ("unknown", "not_applied"):
            self.node = self.random.choice(sorted(self.history.ports()))
            time.sleep(0.02)
        time.sleep(self.random.random() * 0.01)

    def record(self, call, method, path, body=None):
        call.client, call.node, call.invoked = self.name, self.node, time.monotonic()
        reply = self.caller.call(self.node, method, path, 3, body)
        now = time.monotonic()
        if not reply.unknown:
            call.returned = now
            call.result = "not_applied" if reply.not_applied else ""
        if not reply.unknown and not reply.not_applied:
            assert reply.status in (200, 201, 404, 412), f"{method} {path}: {reply.status} {reply.answer}"
            call.place = int(reply.headers["Coord-Revision"])
        self.history.add(call)
        return reply if call.result == "" else None

    def put(self, key):
        call = Call("put", (key,), next(self.history.values))
        query = ""
        if self.random.random() < 0.5:
            call.expects = self.known.get(key, 0)
            query = f"?if_match={call.expects}" if call.expects else "?if_none_match=true"
        reply = self.record(call, "PUT", f"/v1/kv/{key}{query}", str(call.value))
        if reply:
            call.result = "refused" if reply.status == 412 else "written"
            self.known[key] = call.place if call.result == "written" else reply.answer["revision"] or 0
        return call

    def delete(self, key):
        call = Call("delete", (key,))
        reply = self.record(call, "DELETE", f"/v1/kv/{key}")
        if reply:
            call.result = "written" if reply.answer["deleted"] else "unchanged"
            self.known[key] = 0
        return call

    def get(self, key):
        call = Call("get", (key,))
        reply = self.record(call, "GET", f"/v1/kv/{key}")
        if reply:
            call.result = "seen"
            call.seen = reply.answer if reply.status == 200 else None
            self.known[key] = call.place if reply.status == 200 else 0
        return call

    def write_pair(self):
        call = Call("put", PAIR, next(self.history.values))
        then = [{"op": "kv.put", "key": key, "value": str(call.value)} for key in PAIR]
        if self.record(call, "POST", "/v1/txn", json.dumps({"then": then})):
            call.result = "written"
        return call

    def look_at_pair(self):
        call = Call("list", PAIR)
        reply = self.record(call, "GET", "/v1/kv?prefix=pair/")
        if reply:
            call.result = "seen"
            seen = {(entry["value"], entry["revision"]) for entry in reply.answer["keys"]}
            if len(seen) > 1 or len(reply.answer["keys"]) not in (0, 2):
                raise Wrong(f"a pair that is written together is seen apart: {reply.answer['keys']}")
            call.seen = int(next(iter(seen))[0]) if seen else None
        return call


class KeyHistory:
    def __init__(self, ports):
        self.ports, self.calls, self.mutex = ports, [], threading.Lock()
        self.values = itertools.count(1)

    def add(self, call):
        with self.mutex:
            self.calls.append(call)

    def count(self, *results):
        with self.mutex:
            return sum(call.result in results for call in self.calls)

    def start(self, count=6, seed=1):
        clients = [Client(self, number, seed) for number in range(count)]
        for client in clients:
            client.start()
        return clients

    @staticmethod
    def failed(clients):
        return any(client.error for client in clients)

    @staticmethod
    def finish(clients):
        for client in clients:
            client.ending.set()
        for client in clients:
            client.join(60)
            assert not client.is_alive(), f"{client.name} does not end"
            if client.error:
                raise client.error


def judge(calls, events):
    writes = written(calls, events)
    for call in calls:
        if call.kind in ("get", "list") and call.result == "seen":
            check_read(call, writes[call.keys[0]])
        if call.result in ("written", "refused", "unchanged"):
            check_condition(call, writes[call.keys[0]])
    check_times(calls, writes)


def written(calls, events):
    """key -> [(place, value or None)], as the events tell; each of them is some call's, each acknowledged call is there."""
    writes, deletes = defaultdict(list), defaultdict(int)
    of_value = {call.value: call for call in calls if call.value}
    if [place for place, _, _ in events] != sorted(place for place, _, _ in events):
        raise Wrong("events are out of order")
    for place, key, value in events:
        call = of_value.get(value)
        if value is not None and (call is None or key not in call.keys or call.result in ("not_applied", "refused")):
            raise Wrong(f"{key} = {value} at {place} was written by none, or by {call}")
        if value is not None and call.result == "written" and call.place != place:
            raise Wrong(f"{call} is told at {place}")
        if value is not None and call.result == "unknown":
            call.place = place
        if writes[key] and writes[key][-1][0] == place:
            raise Wrong(f"{key} changes twice at {place}")
        if value is None and not any(change[1] is not None for change in writes[key][-1:]):
            raise Wrong(f"{key} is deleted at {place}, but was not there")
        writes[key].append((place, value))
        deletes[key] += value is None
    for call in calls:
        if call.kind == "delete" and call.result in ("written", "unknown"):
            deletes[call.keys[0]] -= 1
        for key in call.keys if call.result == "written" else ():
            if (call.place, call.value) not in writes[key]:
                raise Wrong(f"{call} is not among the events")
    if any(count > 0 for count in deletes.values()):
        raise Wrong(f"more deletes than were asked for: {dict(deletes)}")
    return writes


def before(changes, place):
    """The last change before the place, and the place of the next one."""
    at = bisect.bisect_left(changes, (place,))
    return changes[at - 1] if at else (0, None), changes[at][0] if at < len(changes) else inf


def check_read(call, changes):
    (place, value), _ = before(changes, call.place + 1)
    if value != call.seen or (call.kind == "get" and call.seen is not None and place != call.place):
        raise Wrong(f"{call} should have seen {value} of {place}")


def check_condition(call, changes):
    (place, value), _ = before(changes, call.place)
    if call.kind == "delete" and (value is not None) != (call.result == "written"):
        raise Wrong(f"{call}, but {value} of {place} was before it")
    holds = call.expects is None or (value is None if call.expects == 0 else value is not None and place == call.expects)
    if holds != (call.result != "refused"):
        raise Wrong(f"{call}, but {value} of {place} was before it")


def check_times(calls, writes):
    """Whoever began when another had ended has a place that is not before its."""
    ended = sorted((call.returned, call.place, call) for call in calls if call.place and call.returned != NEVER)
    highest, latest = list(itertools.accumulate((place for _, place, _ in ended), max)), [end for end, _, _ in ended]
    for call in calls:
        if not call.place:
            continue
        last = call.place
        if call.kind == "get" and call.seen is not None:  # the state that it read may be as late as the next change
            last = before(writes[call.keys[0]], call.place + 1)[1] - 1
        done = bisect.bisect_left(latest, call.invoked)
        if done and highest[done - 1] > last:
            raise Wrong(f"{call} has a place before {highest[done - 1]}, which was there when it began")
