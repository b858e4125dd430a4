"""The judge of histories: right ones pass, and every kind of wrong one is found."""

import random

import pytest

from tests.support.checker import NEVER, Op, Wrong, judge


def acquire(owner, start, end, token, ttl_s=10.0, name="a"):
    return Op("acquire", name, owner, start, end, "granted", token=token, ttl_s=ttl_s)


def held(owner, start, end, holder, name="a"):
    return Op("acquire", name, owner, start, end, "held", holder=holder, ttl_s=10)


def lost(owner, start, ttl_s=10.0, name="a"):
    return Op("acquire", name, owner, start, ttl_s=ttl_s)


def release(owner, start, end, result="done", name="a"):
    return Op("release", name, owner, start, end, result)


def renew(owner, start, end, result="done", ttl_s=10.0, name="a"):
    return Op("renew", name, owner, start, end, result, ttl_s=ttl_s)


def check(owner, start, end, result="done", name="a"):
    return Op("check", name, owner, start, end, result)


def get(start, end, holder, token=None, name="a"):
    return Op("get", name, None, start, end, "seen", holder=holder, token=token)


RIGHT = {
    "one after the other": [acquire("x", 0, 1, 5), release("x", 2, 3), acquire("y", 4, 5, 9), check("x", 6, 7, "refused"), check("y", 6, 7)],
    "a waiter gets it when it is released": [acquire("x", 0, 1, 5), acquire("y", 1, 9, 9), release("x", 7, 8)],
    "the answer to the release comes last": [acquire("x", 0, 1, 5), release("x", 2, 9), acquire("y", 3, 4, 9), get(5, 6, "y", 9)],
    "a lease ends at its time": [acquire("x", 0, 1, 5, ttl_s=2), acquire("y", 1, 2.1, 9), renew("x", 3, 4, "refused")],
    "a renewed lease ends later": [acquire("x", 0, 1, 5, ttl_s=2), renew("x", 1, 1.5, ttl_s=2), get(2.5, 2.6, "x", 5), acquire("y", 2.7, 3.1, 9)],
    "a lost grant is seen, and gives way at any time": [lost("x", 0), get(1, 2, "x", 5), acquire("y", 3, 4, 9)],
    "a lost grant comes late": [lost("x", 0), acquire("y", 1, 2, 5), release("y", 3, 4), held("z", 5, 6, "x")],
    "a lost grant is never seen": [lost("x", 0), acquire("y", 1, 2, 5)],
    "a lost release has its effect": [acquire("x", 0, 1, 5), release("x", 2, NEVER, "unknown"), acquire("y", 3, 4, 9)],
    "a lost release has none yet": [acquire("x", 0, 1, 5), release("x", 2, NEVER, "unknown"), held("y", 3, 4, "x")],
    "a release again after a lost one": [acquire("x", 0, 1, 5), release("x", 2, NEVER, "unknown"), release("x", 4, 5, "refused")],
    "not applied, not there": [Op("acquire", "a", "x", 0, 1, "not_applied"), get(2, 3, None)],
    "two locks": [acquire("x", 0, 1, 5), acquire("y", 0, 1, 6, name="b"), get(2, 3, "x", 5), get(2, 3, "y", 6, name="b")],
    "a release again": [acquire("x", 0, 1, 5), release("x", 2, 3), release("x", 4, 5), acquire("y", 6, 7, 9), release("x", 8, 9), get(10, 11, "y", 9)],
    "a lost release, and again": [acquire("x", 0, 1, 5), release("x", 2, NEVER, "unknown"), release("x", 4, 5), get(6, 7, None)],
    "told of a grant when it may be over": [acquire("x", 0, 9, 5, ttl_s=2), acquire("y", 3, 4, 9), get(5, 6, "y", 9)],
    "one entry grants two locks": [acquire("x", 0, 3, 5), acquire("y", 0, 3, 5, name="b")],
    "reads beside a grant": [acquire("x", 0, 5, 5), get(1, 4, None), get(1, 4, "x", 5), get(2, 5, "x", 5)],
}

WRONG = {
    "two hold it": [acquire("x", 0, 1, 5), acquire("y", 2, 3, 9)],
    "two hold it, both running": [acquire("x", 0, 3, 5), acquire("y", 0, 3, 9), get(4, 5, "x", 5)],
    "held by nobody": [held("y", 3, 4, "x"), acquire("x", 5, 6, 9)],
    "held by somebody who released": [acquire("x", 0, 1, 5), release("x", 2, 3), held("y", 4, 5, "x")],
    "a stale read: free": [acquire("x", 0, 1, 5), get(2, 3, None)],
    "a stale read: the one before": [acquire("x", 0, 1, 5), release("x", 2, 3), acquire("y", 4, 5, 9), get(6, 7, "x", 5)],
    "reads go backwards": [acquire("x", 0, 9, 5), get(1, 2, "x", 5), get(3, 4, None)],
    "a grant forgotten": [acquire("x", 0, 1, 5), check("x", 2, 3, "refused")],
    "a release forgotten": [acquire("x", 0, 1, 5), release("x", 2, 3), get(4, 5, "x", 5)],
    "a release that was refused and yet done": [acquire("x", 0, 1, 5), release("x", 2, 3, "refused"), get(4, 5, None)],
    "a lost grant has its effect before the call": [get(0, 1, "x", 5), lost("x", 2)],
    "a lost grant comes twice": [lost("x", 0), get(1, 2, "x", 5), get(3, 4, None), get(5, 6, "x", 5)],
    "a lost release takes the lock of another": [acquire("x", 0, 1, 5), release("x", 2, 3, "unknown"), acquire("y", 4, 5, 9), get(6, 7, None)],
    "not applied, and yet there": [Op("acquire", "a", "x", 0, 1, "not_applied"), get(2, 3, "x", 5)],
    "held in vain, and yet there": [acquire("x", 0, 1, 5), held("y", 2, 3, "x"), release("x", 4, 5), get(6, 7, "y", 9)],
    "a refused release not applied, and yet done": [acquire("x", 0, 1, 5), Op("release", "a", "x", 2, 3, "not_applied"), get(4, 5, None)],
    "a token twice": [acquire("x", 0, 1, 5), release("x", 2, 3), acquire("y", 4, 5, 5)],
    "a token falls": [acquire("x", 0, 1, 5), release("x", 2, 3), acquire("y", 4, 5, 4)],
    "a token falls, on another lock": [acquire("x", 0, 1, 5), acquire("y", 4, 5, 4, name="b")],
    "a holder's token changes": [acquire("x", 0, 1, 5), get(2, 3, "x", 6)],
    "ended early": [acquire("x", 0, 1, 5, ttl_s=4), acquire("y", 2, 3, 9)],
    "ended early, seen by a check": [acquire("x", 0, 1, 5, ttl_s=4), check("x", 2, 3, "refused")],
    "ended early after a renewal": [acquire("x", 0, 1, 5, ttl_s=4), renew("x", 3, 3.5, ttl_s=4), get(5, 6, None)],
    "ended early, seen by a renewal": [acquire("x", 0, 1, 5, ttl_s=4), renew("x", 2, 3, "refused", ttl_s=4)],
    "ended early for a slow clock": [Op("acquire", "a", "x", 0, 1, "granted", token=5, ttl_s=10, pace=0.99), get(10, 10.05, None)],
    "renewed after its end": [acquire("x", 0, 1, 5, ttl_s=1), get(2, 3, None), renew("x", 4, 5)],
    "a release of what had ended": [acquire("x", 0, 1, 5, ttl_s=1), get(2, 3, None), release("x", 4, 5)],
    "a release again takes the lock of another": [acquire("x", 0, 1, 5), release("x", 2, 3), acquire("y", 4, 5, 9), release("x", 6, 7), get(8, 9, None)],
    "a renewal of what was released": [acquire("x", 0, 1, 5), release("x", 2, 3), renew("x", 4, 5)],
}


@pytest.mark.parametrize("what", RIGHT)
def test_right(what):
    judge(RIGHT[what])


@pytest.mark.parametrize("what", WRONG)
def test_wrong(what):
    with pytest.raises(Wrong):
        judge(WRONG[what])


def simulated(seed, clients=6, steps=120):
    """What clients of a true lock see: each call has its effect at a moment between call and answer, and some lose
    their answer."""
    rng = random.Random(seed)
    now, token, holder, ops = 0.0, 0, None, []
    idle = {f"c{i}": None for i in range(clients)}  # client -> its grant
    running = []
    for number in range(steps):
        now += rng.uniform(0.1, 1)
        free = [c for c in idle if all(op.client != c for op, _ in running)]
        if free and rng.random() < 0.7:
            client = rng.choice(free)
            grant = idle[client]
            if grant and rng.random() < 0.7:
                op = Op("release", "a", grant.owner, now, token=grant.token, client=client)
            elif rng.random() < 0.5:
                op = Op("get", "a", None, now, client=client)
            else:
                op = Op("acquire", "a", f"{client}.{number}", now, ttl_s=1e6, client=client)
            running.append((op, False))
        for place, (op, had) in enumerate(running):
            if had or rng.random() < 0.5:
                continue
            running[place] = (op, True)
            if op.kind == "get":
                op.result, op.holder, op.token = "seen", holder and holder.owner, holder and holder.token
            elif op.kind == "release":
                op.result = "done" if holder and holder.owner == op.owner else "refused"
                holder = None if op.result == "done" else holder
            elif holder:
                op.result, op.holder = "held", holder.owner
            else:
                token += rng.randrange(1, 4)
                op.result, op.token, holder = "granted", token, op
        for entry in [entry for entry in running if rng.random() < 0.4]:
            op, had = entry
            if not had and rng.random() < 0.9:
                continue
            running.remove(entry)
            ops.append(op)
            now += 0.01
            op.returned = now
            if rng.random() < 0.1 or not had:
                op.result, op.returned, op.holder, op.token = "unknown", NEVER, None, None
            elif op.kind == "acquire" and op.result == "granted":
                idle[op.client] = op
            elif op.kind == "release":
                idle[op.client] = None
        if holder and idle.get(holder.client) is not holder and rng.random() < 0.05:
            if any(op is holder and op.result == "unknown" for op in ops):
                holder = None  # the server takes back what nobody was told
    for op, _ in running:
        op.result, op.returned, op.holder, op.token = "unknown", NEVER, None, None
        ops.append(op)
    return ops


@pytest.mark.parametrize("seed", range(40))
def test_simulated_histories_are_right(seed):
    judge(simulated(seed))


def spoil(ops, rng):
    """One answer changed to one that cannot be."""
    seen = [op for op in ops if op.result in ("seen", "held")]
    op = rng.choice(seen)
    op.holder, op.token = "nobody.ever", None


@pytest.mark.parametrize("seed", range(40))
def test_a_spoiled_history_is_found(seed):
    ops = simulated(seed)
    spoil(ops, random.Random(seed))
    with pytest.raises(Wrong):
        judge(ops)


@pytest.mark.parametrize("seed", range(40))
def test_a_swapped_pair_of_reads_is_found(seed):
    """Two reads, one wholly before the other, with a grant that no other explains between them, exchange answers."""
    ops = simulated(seed)
    end = max(op.invoked for op in ops) + 10
    ops += [acquire("late", end, end + 1, 10**6), release("late", end + 4, end + 5)]
    before = get(end - 2, end - 1, None)
    after = get(end + 2, end + 3, "late", 10**6)
    before.holder, after.holder, before.token, after.token = after.holder, before.holder, after.token, before.token
    with pytest.raises(Wrong):
        judge(ops + [before, after])
