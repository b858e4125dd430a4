"""The clients and their judge, on a single node: a quiet one, and one that is killed."""

import time

from tests.support.checker import judge
from tests.support.history import History, Recorder, failed, finish, look_at_all, start
from tests.support.node import Node, until

LOCKS = 4


def names():
    return [f"h{i}" for i in range(LOCKS)]


def test_a_quiet_node(tmp_path):
    history = History()
    with Node(tmp_path) as node:
        workers = start(history, lambda: {"n1": node.port}, locks=LOCKS, think_s=0.002)
        until(lambda: history.count("granted") > 200 or failed(workers), "200 grants", 60)
        finish(workers)
        look_at_all(history, lambda: {"n1": node.port}, names())
    assert history.count("unknown") == history.count("not_applied") == 0
    judge(history.ops)


def test_a_killed_node(tmp_path):
    history = History()
    node = Node(tmp_path).start()
    port = {"n1": node.port}
    workers = start(history, lambda: port, locks=LOCKS, think_s=0.002)
    try:
        for _ in range(3):
            before = history.count("granted")
            until(lambda: history.count("granted") > before + 50 or failed(workers), "50 grants more", 60)
            node.kill9()
            node.start()
            port["n1"] = node.port
        finish(workers)
        look_at_all(history, lambda: port, names())
        assert node.stop() == 0
    finally:
        node.kill9()
    assert history.count("unknown") > 0
    judge(history.ops)


def test_calls_are_classed(tmp_path):
    history = History()
    node = Node(tmp_path).start()
    try:
        recorder = Recorder(history, lambda: {"n1": node.port}, "c")
        grant = recorder.acquire("n1", "a", 60)
        assert grant.result == "granted"
        assert recorder.acquire("n1", "a", 60).holder == grant.owner
        assert recorder.get("n1", "a").holder == grant.owner
        assert recorder.check("n1", grant).result == recorder.renew("n1", grant).result == recorder.release("n1", grant).result == "done"
        assert recorder.check("n1", grant).result == recorder.renew("n1", grant).result == "refused"
        assert recorder.release("n1", grant).result == "done"  # again
        assert recorder.get("n1", "a").holder is None
    finally:
        node.kill9()
    assert recorder.get("n1", "a").result == "unknown"  # on the kept connection: it may have been heard
    assert recorder.acquire("n1", "a", 60).result == "not_applied"  # nobody listens
    assert all(op.invoked <= op.returned for op in history.ops) and history.ops[-1].returned <= time.monotonic()
    judge(history.ops)
