"""Judges what clients of keys were told, by nothing but what they asked, when, and what they were answered.

An object is a group of keys that operations touch together (a single key, or the accounts of a bank); a state is the values
of its keys. Each call names what it expects of the state and what it writes:

    done      its expectations held, and what it writes stands (a read writes nothing)
    refused   one of them did not hold; nothing was changed
    unknown   one or the other, at any time after the call
    not_applied

and what it saw, which must be what stood there when it had its effect. `judge` raises Wrong when no order explains all answers,
each having its effect at one moment between call and answer; and when a value is seen of a call that was not applied or refused.

Every value is written by one call only, so a value tells whose it is. Therefore an unknown write that nobody has seen need not be
considered: between it and the next write nobody looked (a refusal comes with what it saw), so it explains nothing.

Revisions are not looked at. The search is that of checker.py.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from tests.support.checker import NEVER, Situations, Wrong

ABSENT = None


@dataclass
class Call:
    what: str
    group: str
    invoked: float
    returned: float = NEVER
    result: str = "unknown"
    expects: dict = field(default_factory=dict)  # key -> value, ABSENT: there is no such key
    writes: dict = field(default_factory=dict)
    saw: dict = field(default_factory=dict)
    client: str = ""
    node: str = ""

    def __str__(self):
        end = "..." if self.returned == NEVER else f"{self.returned:.4f}"
        facts = "".join(f" {name} {value}" for name, value in (("expects", self.expects), ("writes", self.writes), ("saw", self.saw)) if value)
        return f"[{self.invoked:.4f} {end}] {self.client}@{self.node} {self.what} {self.group}: {self.result}{facts}"


def judge(history, initial=None):
    """`initial`: group -> {key: value}; other keys are absent."""
    check_writers(history)
    groups = defaultdict(list)
    for call in history:
        if call.result != "not_applied":
            groups[call.group].append(call)
    for group, calls in groups.items():
        check_group(calls, (initial or {}).get(group, {}))


def check_writers(history):
    writer = {}
    for call in history:
        for key, value in call.writes.items():
            if writer.setdefault((call.group, key, value), call) is not call:
                raise AssertionError(f"the test writes {value} twice")
    for call in history:
        for key, value in call.saw.items():
            wrote = writer.get((call.group, key, value))
            if wrote and wrote.result in ("not_applied", "refused"):
                raise Wrong(f"answered as {wrote.result}, and yet seen: {wrote}\nseen by {call}")


def step(keys, state, call):
    """The state after the call; False when its answer is not explained so."""
    if any(state[keys[key]] != value for key, value in call.saw.items()):
        return False
    held = all(state[keys[key]] == value for key, value in call.expects.items())
    if held == (call.result == "refused"):
        return False
    if held and call.writes:
        after = list(state)
        for key, value in call.writes.items():
            after[keys[key]] = value
        return tuple(after)
    return state


def check_group(calls, initial):
    names = sorted({key for call in calls for part in (call.expects, call.writes, call.saw) for key in part} | set(initial))
    keys = {name: place for place, name in enumerate(names)}
    seen = {pair for call in calls for part in (call.saw, call.expects) for pair in part.items()}
    events, optional = [], {}
    for number, call in enumerate(sorted(calls, key=lambda call: call.invoked)):
        if call.result == "unknown":
            if any(write in seen for write in call.writes.items()):
                optional[number] = call
                events.append((call.invoked, 0, number, call))
        else:
            events += [(call.invoked, 0, number, call), (call.returned, 1, number, call)]
    events.sort(key=lambda event: event[:3])
    now, running, possible = Situations(), {}, {}
    now.add(tuple(initial.get(name, ABSENT) for name in names), 0, 0)
    for _, end, number, call in events:
        if number in optional:
            possible[number] = call
        elif not end:
            running[number] = call
        else:
            after = explain(keys, now, number, running, possible)
            if not after.sets:
                raise Wrong(complaint(names, now, call, running.values(), calls))
            now = after
            del running[number]


def explain(keys, now, number, running, possible):
    """The situations in which the running call `number` has had its effect."""
    seen, after = Situations(), Situations()
    todo = [situation for situation in now if seen.add(*situation)]
    while todo:
        state, must, optional = todo.pop()
        if must >> number & 1:
            after.add(state, must & ~(1 << number), optional)
            continue
        for other, call in running.items():
            new = False if must >> other & 1 else step(keys, state, call)
            if new is not False and seen.add(new, must | 1 << other, optional):
                todo.append((new, must | 1 << other, optional))
        for other, call in possible.items():
            new = False if optional >> other & 1 else step(keys, state, call)
            if new is not False and seen.add(new, must, optional | 1 << other):
                todo.append((new, must, optional | 1 << other))
    return after


def complaint(names, now, call, running, calls):
    states = sorted({str(dict(zip(names, state))) for state, _, _ in now})
    near = sorted((c for c in calls if c.returned > call.invoked - 2 and c.invoked <= call.returned), key=lambda c: c.invoked)
    return "\n".join([f"not linearizable: no order explains {call}", "there stood then one of: " + "; ".join(states[:5]),
                      "still running: " + "; ".join(str(c) for c in running if c is not call), "around it:"] + [f"  {c}" for c in near[-40:]])
