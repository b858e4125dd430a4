"""Judges what clients of locks were told, by nothing but what they asked, when, and what they were answered.

A history is a list of Op. `judge` raises Wrong for each of:

- not linearizable, lock by lock: no order of the operations explains every answer, each having its effect at one moment
  between call and answer. An operation without an answer may have its effect at any time after the call, or never.
- a promise broken: a lease that was granted or renewed ended before its TTL had passed on its owner's clock, counted
  from the sending of the request.
- two holders: two owners were told that they hold the lock at one time.
- tokens that come twice on a lock, or do not rise. (One entry may grant several locks: they share its index.)
- a call that was answered "not applied" shows up.

The order is searched as Wing and Gong, Lowe and Horn/Kroening do it: forward in time, with the set of all
situations that explain the answers so far. A situation is the holder and which of the running operations had their effect.
Log indexes are not looked at.
"""

from collections import defaultdict
from dataclasses import dataclass
from math import inf

NEVER = inf


class Wrong(AssertionError):
    pass


@dataclass
class Op:
    """kind and result:

    acquire  granted | held (holder: by whom)
    release  done | refused (a release again of what was released is done, and changes nothing)
    renew    done | refused
    check    done | refused
    get      seen (holder: owner or None)
    and each: unknown | not_applied

    `owner` is unique for each acquire, so it names the grant; a release, renewal or check carries the owner of the grant
    whose token it has."""

    kind: str
    name: str
    owner: str | None
    invoked: float
    returned: float = NEVER
    result: str = "unknown"
    holder: str | None = None
    token: int | None = None
    ttl_s: float = 0.0  # acquire: as asked; renew: as the lease has it; both in seconds of the owner's clock
    pace: float = 1.0  # seconds of the owner's clock in one of the judge's
    again: bool = False  # release: there was an earlier one of the same owner
    client: str = ""
    node: str = ""

    def __str__(self):
        end = "..." if self.returned == NEVER else f"{self.returned:.4f}"
        facts = "".join(f" {k}={v}" for k, v in (("holder", self.holder), ("token", self.token)) if v is not None)
        return f"[{self.invoked:.4f} {end}] {self.client}@{self.node} {self.kind} {self.name} {self.owner}: {self.result}{facts}"


def judge(history):
    applied = [op for op in history if op.result != "not_applied"]
    since = released(applied)
    for op in applied:
        op.again = op.kind == "release" and op.result == "done" and since[op.owner] < op.invoked
    check_tokens(applied)
    check_promises(applied)
    check_exclusion(applied)
    check_not_applied(history)
    for ops in by_lock(applied).values():
        check_linearizable(ops)


def by_lock(history):
    locks = defaultdict(list)
    for op in history:
        locks[op.name].append(op)
    return locks


def check_tokens(history):
    token_of, owner_of = {}, {}
    for op in history:
        if op.token is None or op.result not in ("granted", "seen") or (op.kind == "get" and op.holder is None):
            continue
        owner = op.owner if op.kind == "acquire" else op.holder
        if token_of.setdefault(owner, op.token) != op.token:
            raise Wrong(f"{owner} had token {token_of[owner]}, and later another: {op}")
        if owner_of.setdefault((op.name, op.token), owner) != owner:
            raise Wrong(f"the token of {owner_of[op.name, op.token]} comes twice: {op}")
    grants = [op for op in history if op.kind == "acquire" and op.result == "granted"]
    answered = sorted(grants, key=lambda op: op.returned)
    highest, place = None, 0
    for op in sorted(grants, key=lambda op: op.invoked):
        while place < len(answered) and answered[place].returned < op.invoked:
            if highest is None or answered[place].token > highest.token:
                highest = answered[place]
            place += 1
        if highest is not None and op.token <= highest.token:
            raise Wrong(f"a token fell: {op}\nafter {highest}")


def promised(history):
    """Owner -> until when its lease cannot end, by what it was told."""
    until = {}
    for op in history:
        if (op.kind, op.result) in (("acquire", "granted"), ("renew", "done")):
            until[op.owner] = max(until.get(op.owner, 0), op.invoked + op.ttl_s / op.pace)
    return until


def released(history):
    """Owner -> since when it may have released."""
    since = {}
    for op in history:
        if op.kind == "release":
            since[op.owner] = min(since.get(op.owner, NEVER), op.invoked)
    return since


def check_promises(history):
    """An answer that shows a lease ended, before the end that a grant or renewal answered earlier had promised."""
    since = released(history)
    for ops in by_lock(history).values():
        granted = {op.owner for op in ops if (op.kind, op.result) == ("acquire", "granted")}
        promises = sorted((op for op in ops if op.owner in granted and (op.kind, op.result) in (("acquire", "granted"), ("renew", "done"))),
                          key=lambda op: op.returned)
        standing, place = [], 0
        for op in sorted(ops, key=lambda op: op.returned):
            while place < len(promises) and promises[place].returned < op.returned:
                promise = promises[place]
                standing.append((min(promise.invoked + promise.ttl_s / promise.pace, since.get(promise.owner, NEVER)), promise))
                place += 1
            standing = [entry for entry in standing if entry[0] > op.returned]
            for end, promise in standing:
                if promise.returned < op.invoked and shows_ended(op, promise.owner):
                    raise Wrong(f"ended {end - op.returned:.3f} s before its time: {promise.owner}\npromised {promise}\nended    {op}")


def shows_ended(op, owner):
    if op.kind in ("renew", "check", "release") and op.result == "refused":
        return op.owner == owner
    if op.kind == "acquire" and op.result == "granted":
        return op.owner != owner
    return op.result in ("held", "seen") and op.holder != owner


def check_exclusion(history):
    """Between the answer to a grant and the release's sending or the promise's end nobody else is told of his grant. (A
    grant that is told after its promise's end says no more than that there was one.)"""
    until, since = promised(history), released(history)
    for name, ops in by_lock(history).items():
        holds = [(op.returned, min(until[op.owner], since.get(op.owner, NEVER)), op)
                 for op in ops if op.kind == "acquire" and op.result == "granted"]
        holds = sorted((hold for hold in holds if hold[0] < hold[1]), key=lambda hold: hold[0])
        for first, second in zip(holds, holds[1:]):
            if second[0] < first[1]:
                raise Wrong(f"two hold {name}: {first[2]}\nand {second[2]}")


def check_not_applied(history):
    refused = {op.owner: op for op in history if op.kind == "acquire" and op.result in ("not_applied", "held")}
    for op in history:
        if op.holder in refused and op.result in ("held", "seen"):
            raise Wrong(f"answered as not applied, and yet seen: {refused[op.holder]}\nseen by {op}")


def step(state, op):
    """The holder after op had its effect on a lock with this holder; False when the answer is not explained so."""
    kind, result = op.kind, op.result
    if kind == "acquire" and result in ("granted", "unknown"):
        return op.owner if state is None else False
    if kind in ("release", "expire") and result in ("done", "unknown"):
        return None if state == op.owner else state if op.again else False
    if kind == "get":
        return state if state == op.holder else False
    if kind == "acquire":
        return state if state is not None and state == op.holder else False
    if result == "done":
        return state if state == op.owner else False
    return state if state != op.owner else False


def optional_ops(ops):
    """What may happen beside the answered operations: effects of calls without an answer, ends of leases."""
    seen = {op.holder for op in ops} | {op.owner for op in ops if op.kind != "acquire" and op.result == "done"}
    until = promised(ops)
    for op in ops:
        if op.kind == "acquire" and op.result == "granted":
            yield Op("expire", op.name, op.owner, until[op.owner])
        elif op.kind == "acquire" and op.result == "unknown" and op.owner in seen:
            # What nobody has seen explains nothing that a free lock does not.
            yield op
            yield Op("expire", op.name, op.owner, max(op.invoked, until.get(op.owner, 0)))
        elif op.kind == "release" and op.result == "unknown":
            yield op


class Situations:
    """(holder, running operations that had their effect) -> least sets of optional ones that did. Of two situations that
    differ only in optional effects, the one with fewer can do whatever the other can."""

    def __init__(self):
        self.sets = {}

    def add(self, state, must, optional):
        known = self.sets.setdefault((state, must), [])
        if any(other & optional == other for other in known):
            return False
        known[:] = [other for other in known if other & optional != optional]
        known.append(optional)
        return True

    def __iter__(self):
        for (state, must), sets in self.sets.items():
            for optional in sets:
                yield state, must, optional


def check_linearizable(ops):
    """All of one lock."""
    events = [(op.invoked, 0, number, op, True) for number, op in enumerate(optional_ops(ops))]
    for number, op in enumerate(op for op in ops if op.result not in ("unknown", "not_applied")):
        events.append((op.invoked, 0, number, op, False))
        events.append((op.returned, 1, number, op, False))
    events.sort(key=lambda event: event[:3])
    running, possible = {}, defaultdict(dict)
    now = Situations()
    now.add(None, 0, 0)
    for _, end, number, op, is_optional in events:
        if is_optional:
            possible[None if op.kind == "acquire" else op.owner][number] = op
        elif not end:
            running[number] = op
        else:
            after = explain(now, number, running, possible)
            if not after.sets:
                raise Wrong(complaint(now, op, running, ops))
            now = after
            del running[number]


def explain(now, number, running, possible):
    """The situations in which the running operation `number` has had its effect. `possible` are the optional ones by the
    holder on whom they work."""
    seen, after = Situations(), Situations()
    todo = [situation for situation in now if seen.add(*situation)]
    while todo:
        state, must, optional = todo.pop()
        if must & 1 << number:
            after.add(state, must & ~(1 << number), optional)
            continue
        for other, op in running.items():
            new = False if must & 1 << other else step(state, op)
            if new is not False and seen.add(new, must | 1 << other, optional):
                todo.append((new, must | 1 << other, optional))
        for other, op in possible[state].items():
            new = False if optional & 1 << other else step(state, op)
            if new is not False and seen.add(new, must, optional | 1 << other):
                todo.append((new, must, optional | 1 << other))
    return after


def complaint(now, op, running, ops):
    holders = sorted({str(state) for state, _, _ in now})
    near = sorted((o for o in ops if o.returned > op.invoked - 5 and o.invoked <= op.returned), key=lambda o: o.invoked)
    return "\n".join([f"not linearizable: no order explains {op}", f"the lock was then held by one of: {', '.join(holders)}",
                      "operations still running: " + "; ".join(str(o) for o in running.values() if o is not op), "around it:"]
                     + [f"  {o}" for o in near[-40:]])
