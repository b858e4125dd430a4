"""The judge of task queues: can all that clients were told be true? It knows nothing of logs.

A task that was acknowledged is made once and done once; a claim is nobody else's until it was ended by its holder or its
lease may have ended; tokens of a task rise in real time, attempts with them; what was completed is never handed out again;
whoever has lost a claim is never told that he ended it; the tasks of an ordered group are handed out in the order of ids,
none before the one before it was done.
"""

from dataclasses import dataclass, field

NEVER = float("inf")
SLACK = 0.02  # clocks may run apart by so much


@dataclass
class Enqueue:
    marker: str  # its payload, which no other task has
    group: str
    invoked: float = 0.0
    returned: float = NEVER
    id: int = 0  # 0: unknown whether it was made


@dataclass
class Claim:
    worker: str
    id: int
    token: int
    attempt: int
    marker: str
    group: str
    invoked: float
    returned: float
    held_until: float = 0.0  # as promised, renewals too
    end: str = ""            # complete, fail, release: asked for by the holder
    end_invoked: float = NEVER
    end_result: str = ""     # done, lost, unknown


@dataclass
class Told:
    enqueues: list = field(default_factory=list)
    claims: list = field(default_factory=list)


def by(claims, name):
    sorted_ = {}
    for claim in sorted(claims, key=lambda c: (c.token, c.id)):
        sorted_.setdefault(getattr(claim, name), []).append(claim)
    return sorted_


def judge_made(told):
    """Each task is there once, under one id."""
    ids = {}
    for marker, id in [(e.marker, e.id) for e in told.enqueues if e.id] + [(c.marker, c.id) for c in told.claims]:
        assert ids.setdefault(marker, id) == id, f"{marker} was made twice: {ids[marker]} and {id}"
    assert len(set(ids.values())) == len(ids), "an id stands for two tasks"
    known = {e.marker for e in told.enqueues}
    assert all(c.marker in known for c in told.claims), "a task that nobody made"


def judge_claims(claims):
    """Of one task, in the order of tokens."""
    for before, after in zip(claims, claims[1:]):
        assert before.token < after.token, f"{before} and {after} have the same token"
        assert before.attempt < after.attempt, f"attempts do not rise from {before} to {after}"
        assert before.invoked < after.returned, f"tokens fall in time from {after} to {before}"
        assert before.end_invoked < after.returned or after.returned > before.held_until, \
            f"handed out again before its claim was over: {before}, {after}"
        assert not (before.end == "complete" and before.end_result == "done"), f"handed out after it was done: {before}, {after}"
        assert before.end_result != "done" or before.end_invoked < after.returned, \
            f"ended by a claim that was lost: {before}, {after}"


def judge_group(group, claims):
    for before, after in zip(claims, claims[1:]):
        assert before.id <= after.id, f"group {group} is not in order: {before}, {after}"


def judge(told):
    judge_made(told)
    for claims in by(told.claims, "id").values():
        judge_claims(claims)
    for group, claims in by(told.claims, "group").items():
        if group:
            judge_group(group, claims)


def judge_done(told, effects):
    """effects: id -> (version, value) of the key that was put in the transaction that completed it."""
    tokens = {}
    for claim in told.claims:
        if claim.end == "complete":
            tokens.setdefault(claim.id, set()).add(str(claim.token))
    for enqueue in told.enqueues:
        if not enqueue.id:
            continue
        assert enqueue.id in effects, f"{enqueue} was not done"
    for id, (version, value) in effects.items():
        assert version == 1, f"task {id} was done {version} times"
        assert value in tokens.get(id, ()), f"task {id} was done by token {value}, which nobody completed it with"
    for claim in told.claims:
        if claim.end == "complete" and claim.end_result == "done":
            assert effects[claim.id][1] == str(claim.token), f"{claim} was told that it did what another did"
