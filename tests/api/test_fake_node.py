"""What a real node does too rarely: hanging, answering late, and barriers in the middle of a flood."""

import json
import os
import re
import signal
import time

from conftest import Raw
from node import until


def test_504_when_the_node_hangs(fake):
    """5 s after the wait that was asked for; a query is 503, for it changed nothing. All at once, so once 5 s."""
    edge = fake()
    begin = time.monotonic()
    plain = Raw(edge.port).request("POST", "/v1/things/plain/take")
    waiting = Raw(edge.port).request("POST", "/v1/things/waiting/take?wait=1s")
    query = Raw(edge.port).request("GET", "/v1/things/query")
    reply = query.reply()
    took = time.monotonic() - begin
    assert reply.status == 503 and json.loads(reply.body)["code"] == "overloaded" and reply.headers["retry-after"] == "1"
    assert 4.9 < took < 30
    reply = plain.reply()
    problem = json.loads(reply.body)
    assert (reply.status, problem["code"], problem["retryable"]) == (504, "outcome_unknown", True)
    assert waiting.reply().status == 504
    assert time.monotonic() - begin > 5.9
    edge.line("gone waiting")
    assert edge.seen("gone plain") is None
    assert plain.request("POST", "/v1/things/now/take").reply().status == 201, "the connection is still good"
    edge.tell("answer")
    edge.line("undelivered plain")
    edge.line("undelivered waiting")
    assert edge.seen("undelivered query") is None


def test_livez_and_readyz_fail_when_the_node_hangs(fake):
    edge = fake()
    with Raw(edge.port) as client:
        assert client.request("GET", "/livez").reply().status == 200
        until(lambda: client.request("GET", "/livez").reply().status == 503, "livez fails", pause_s=0.1)
        for path in ("/livez", "/readyz", "/healthz"):
            reply = client.request("GET", path).reply()
            assert reply.status == 503 and json.loads(reply.body)["code"] == "overloaded"
        edge.tell("turn")
        until(lambda: client.request("GET", "/livez").reply().status == 200, "livez is well again")
        edge.tell("ready 0")
        until(lambda: client.request("GET", "/readyz").reply().status == 503, "readyz fails")
        assert client.request("GET", "/livez").reply().status == 200


def test_a_grant_for_a_client_that_left_goes_back(fake):
    edge = fake()
    leaving = Raw(edge.port).request("POST", "/v1/things/left/take?wait=60s")
    staying = Raw(edge.port).request("POST", "/v1/things/stayed/take?wait=60s")
    edge.line("call left")
    edge.line("call stayed")
    leaving.close()
    edge.line("gone left")
    edge.tell("answer")
    edge.line("undelivered left")
    assert staying.reply().status == 201
    assert edge.seen("undelivered stayed") is None and edge.seen("gone stayed") is None


def test_a_plain_request_whose_client_died_goes_back_too(fake):
    edge = fake()
    dying = Raw(edge.port).request("POST", "/v1/things/died/take")
    edge.line("call died")
    dying.reset()
    with Raw(edge.port) as client:
        until(lambda: b"coordd_http_clients_gone_total 1\n" in client.request("GET", "/metrics").reply().body, "it is noticed")
    edge.tell("answer")
    edge.line("undelivered died")


def test_what_has_no_undo_is_dropped(fake):
    edge = fake()
    leaving = Raw(edge.port).request("DELETE", "/v1/things/dropped")
    edge.line("call dropped")
    leaving.reset()
    with Raw(edge.port) as client:
        until(lambda: b"coordd_http_clients_gone_total 1\n" in client.request("GET", "/metrics").reply().body, "it is noticed")
        edge.tell("answer")
        until(lambda: b"coordd_http_requests_under_way 0\n" in client.request("GET", "/metrics").reply().body, "it came back")
    assert edge.seen("undelivered") is None


def test_barriers_come_from_every_thread(fake):
    edge = fake(3)
    edge.tell("barrier 5")
    until(lambda: sum(line.startswith("barrier 5 ") for line in list(edge.lines)) == 3, "three notices")
    edge.tell("barrier 6")
    edge.tell("barrier 7")
    until(lambda: sum(line.startswith("barrier 7 ") for line in list(edge.lines)) == 3, "three more")
    assert sum(line.startswith("barrier 6 ") for line in edge.lines) == 3


def test_a_barrier_stands_behind_all_that_came_before(fake):
    """The process is stopped; requests arrive on old and new connections, more than one pass takes; then it goes on
    and a barrier is asked for at once. A leader may let leases expire only after it."""
    edge = fake()
    old = [Raw(edge.port) for _ in range(400)]
    for each in old:
        assert each.request("GET", "/version").reply().status == 200
    os.kill(edge.process.pid, signal.SIGSTOP)
    new = [Raw(edge.port) for _ in range(300)]
    for each in old + new:
        each.request("POST", "/v1/things/now/take")
    edge.tell("barrier 1")
    os.kill(edge.process.pid, signal.SIGCONT)
    line = edge.line("barrier 1 ")
    assert int(re.search(r"after (\d+) calls", line).group(1)) == 700
    for each in old + new:
        assert each.reply().status == 201
        each.close()


def test_503_too_many_requests_wait(fake):
    """16,384 requests may wait on one node. It takes a while to send them."""
    edge = fake(1, 18000)
    crowd = []
    for _ in range(16384):
        crowd.append(Raw(edge.port).request("POST", "/v1/things/crowd/take?wait=10m"))
    with Raw(edge.port) as client:
        until(lambda: b"coordd_http_requests_waiting 16384\n" in client.request("GET", "/metrics").reply().body, "all wait", 120, 0.05)
        reply = client.request("POST", "/v1/things/more/take?wait=60s").reply()
        problem = json.loads(reply.body)
        assert (reply.status, problem["code"], problem["limit"]) == (503, "overloaded", 16384)
        assert client.request("POST", "/v1/things/now/take").reply().status == 201, "what does not wait is served"
    for each in crowd:
        each.close()
    until(lambda: edge.lines.count("gone crowd") == 16384, "all have gone", 120, 0.05)


def test_stopping_with_calls_that_nobody_answers(fake):
    edge = fake()
    clients = [Raw(edge.port).request("POST", "/v1/things/kept/take?wait=60s") for _ in range(3)]
    until(lambda: edge.lines.count("call kept") == 3, "they are with the node")
    begin = time.monotonic()
    edge.stop()
    assert time.monotonic() - begin < 20
    for each in clients:
        assert each.reply().status == 201, "the node answers all before it stops"
        assert each.closed()
