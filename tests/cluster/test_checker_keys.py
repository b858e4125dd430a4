"""The judge of histories of keys: right ones pass, and every kind of wrong one is found."""

import random

import pytest

from tests.support.checker import NEVER, Wrong
from tests.support.checker_keys import ABSENT, Call, judge


def put(value, start, end, key="a", result="done"):
    return Call("put", "g", start, end if result != "unknown" else NEVER, result, writes={key: value})


def cas(old, new, start, end, key="a", result="done", saw=None):
    return Call("cas", "g", start, end if result != "unknown" else NEVER, result, {key: old}, {key: new}, {key: saw} if saw else {})


def get(value, start, end, key="a"):
    return Call("get", "g", start, end, "done", saw={key: value})


def move(old, new, start, end, result="done", saw=None):
    return Call("move", "g", start, end if result != "unknown" else NEVER, result, old, new, saw or {})


RIGHT = {
    "one after the other": [get(ABSENT, 0, 1), put(1, 2, 3), get(1, 4, 5), put(2, 6, 7), get(2, 8, 9)],
    "reads beside a put": [put(1, 0, 9), get(ABSENT, 1, 4), get(1, 1, 4), get(1, 5, 6)],
    "a lost put has its effect late": [put(1, 0, 0, result="unknown"), get(ABSENT, 1, 2), put(2, 3, 4), get(1, 5, 6)],
    "a lost put has none": [put(1, 0, 0, result="unknown"), put(2, 1, 2), get(2, 3, 4)],
    "compare and set": [put(1, 0, 1), cas(1, 2, 2, 3), cas(1, 3, 4, 5, result="refused", saw=2), get(2, 6, 7)],
    "a lost one explains the next": [put(1, 0, 1), cas(1, 2, 2, 3, result="unknown"), cas(2, 3, 4, 5), get(3, 6, 7)],
    "a lost one explains a lost one": [cas(ABSENT, 1, 0, 1, result="unknown"), cas(1, 2, 2, 3, result="unknown"), get(2, 4, 5)],
    "two at once, one wins": [put(0, 0, 1), cas(0, 1, 2, 5), cas(0, 2, 2, 5, result="refused", saw=1)],
    "not applied": [Call("put", "g", 0, 1, "not_applied", writes={"a": 1}), get(ABSENT, 2, 3)],
    "two keys in one": [move({"a": ABSENT, "b": ABSENT}, {"a": 1, "b": 1}, 0, 1), move({"a": 1, "b": 1}, {"a": 2, "b": 2}, 2, 3),
                        move({"a": 1, "b": 1}, {"a": 3, "b": 3}, 4, 5, "refused", {"a": 2, "b": 2})],
    "half of what was expected": [put(1, 0, 1), move({"a": 1, "b": 1}, {"a": 2, "b": 2}, 2, 3, "refused", {"a": 1, "b": ABSENT})],
}

WRONG = {
    "an acknowledged put is lost": [put(1, 0, 1), get(ABSENT, 2, 3)],
    "an old value comes back": [put(1, 0, 1), put(2, 2, 3), get(1, 4, 5)],
    "reads go back": [put(1, 0, 9), get(1, 1, 2), get(ABSENT, 3, 4)],
    "a value of the future": [get(1, 0, 1), put(1, 2, 3)],
    "never written": [get(7, 0, 1)],
    "done twice": [put(1, 0, 1), put(2, 2, 3), get(2, 4, 5), get(1, 6, 7)],
    "two win": [put(0, 0, 1), cas(0, 1, 2, 5), cas(0, 2, 2, 5)],
    "refused though it held": [put(0, 0, 1), cas(0, 1, 2, 3, result="refused", saw=0)],
    "refused by nothing": [put(0, 0, 1), cas(0, 1, 2, 3, result="refused")],
    "not applied and seen": [Call("put", "g", 0, 1, "not_applied", writes={"a": 1}), get(1, 2, 3)],
    "refused and seen": [put(0, 0, 1), put(5, 0, 9), cas(0, 1, 2, 3, result="refused", saw=5), get(1, 4, 5)],
    "half of it": [move({}, {"a": 1, "b": 1}, 0, 1), Call("get", "g", 2, 3, "done", saw={"a": 1, "b": ABSENT})],
    "half of it, unknown": [move({}, {"a": 1, "b": 1}, 0, 1, "unknown"), Call("get", "g", 2, 3, "done", saw={"a": 1, "b": ABSENT})],
    "two moves see one state": [move({}, {"a": 1, "b": 1}, 0, 1), move({"a": 1}, {"a": 2}, 2, 5), move({"a": 1}, {"a": 3, "b": 3}, 2, 5)],
    "skewed snapshots": [move({}, {"a": 1, "b": 1}, 0, 1), put(2, 2, 9, "a"), put(3, 2, 9, "b"),
                         Call("get", "g", 3, 4, "done", saw={"a": 2, "b": 1}), Call("get", "g", 5, 6, "done", saw={"a": 1, "b": 3})],
}


@pytest.mark.parametrize("what", RIGHT)
def test_right(what):
    judge(RIGHT[what])


@pytest.mark.parametrize("what", WRONG)
def test_wrong(what):
    with pytest.raises(Wrong):
        judge(WRONG[what])


def test_an_initial_state():
    judge([get(5, 0, 1), cas(5, 6, 2, 3)], {"g": {"a": 5}})
    with pytest.raises(Wrong):
        judge([get(ABSENT, 0, 1)], {"g": {"a": 5}})


def test_a_value_written_twice_is_the_tests_own_fault():
    with pytest.raises(AssertionError, match="twice"):
        judge([put(1, 0, 1), put(1, 2, 3)])


def simulated(seed, clients=6, steps=200):
    """What clients of true keys see; some lose their answer, some their request."""
    rng = random.Random(seed)
    now, state, calls, running, known = 0.0, {"a": ABSENT, "b": ABSENT}, [], [], [dict.fromkeys("ab")]
    for number in range(steps):
        now += rng.uniform(0.1, 1)
        if len(running) < clients:
            keys = rng.choice(("a", "b", "ab"))
            what = rng.choice(("get", "put", "cas", "cas"))
            seen = rng.choice(known[-3:])
            call = Call(what, "g", now, client=f"c{number}")
            call.expects = {key: seen[key] for key in keys} if what == "cas" else {}
            call.writes = {key: f"{number}{key}" for key in keys} if what != "get" else {}
            running.append([call, False])
        for entry in running:
            call, had = entry
            if had or rng.random() < 0.5:
                continue
            held = all(state[key] == value for key, value in call.expects.items())
            entry[1], call.result = True, "done" if held else "refused"
            if call.what == "get" or not held:
                call.saw = dict(state)
                known.append(dict(state))
            if held:
                state.update(call.writes)
        for entry in [entry for entry in running if rng.random() < 0.4]:
            call, had = entry
            if not had and rng.random() < 0.9:
                continue
            running.remove(entry)
            calls.append(call)
            now += 0.01
            call.returned = now
            if not had or rng.random() < 0.1:
                call.result, call.returned, call.saw = "unknown", NEVER, {}
    for call, _ in running:
        call.result, call.returned, call.saw = "unknown", NEVER, {}
        calls.append(call)
    calls.append(Call("get", "g", now + 1, now + 2, "done", saw=dict(state)))
    return calls


@pytest.mark.parametrize("seed", range(40))
def test_simulated_histories_are_right(seed):
    judge(simulated(seed))


@pytest.mark.parametrize("seed", range(40))
def test_a_spoiled_history_is_found(seed):
    """The last word is an older one, or a value of nobody."""
    calls = simulated(seed)
    last = calls[-1]
    older = [call.saw for call in calls[:-10] if call.saw and call.returned < last.invoked - 20 and call.saw["a"] != last.saw["a"]]
    late = [call for call in calls if call.writes and call.result == "unknown"]
    last.saw = older[0] if older and not late else {"a": "nobody's", "b": last.saw["b"]}
    with pytest.raises(Wrong):
        judge(calls)


@pytest.mark.parametrize("seed", range(20))
def test_a_lost_write_is_found(seed):
    """A write that was answered as done, and that somebody saw, is said to have been refused or not applied."""
    calls = simulated(seed)
    seen = {pair for call in calls for pair in call.saw.items()}
    done = [call for call in calls if call.result == "done" and any(pair in seen for pair in call.writes.items())]
    call = random.Random(seed).choice(done)
    call.result = "not_applied"
    with pytest.raises(Wrong):
        judge(calls)
