"""Connections: keep-alive, pipelining, slow and silent clients, limits, and who may ask."""

import json
import os
import resource
import socket
import time
from pathlib import Path

import pytest

from conftest import Raw
from node import until


def code(reply):
    return json.loads(reply.body)["code"]


def connections(node):
    text = node.request("GET", "/metrics")[2]
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("coordd_http_connections "))


# --- one connection, many requests


def test_a_connection_is_kept(raw, name):
    connection = raw()
    for i in range(50):
        reply = connection.request("POST", f"/v1/locks/{name}-{i}/acquire").reply()
        assert reply.status == 201 and reply.headers["connection"] == "keep-alive"


def test_close_is_honoured(raw):
    connection = raw().request("GET", "/version", ["Connection: close"])
    assert connection.reply().headers["connection"] == "close"
    assert connection.closed()


def test_http_1_0_closes(raw):
    connection = raw().request("GET", "/v1/locks", version="HTTP/1.0")
    assert connection.reply().status == 200
    assert connection.closed()


def test_pipelined_requests_are_answered_in_order(raw, name):
    connection = raw()
    lines = []
    for i in range(20):
        lines.append(f"POST /v1/locks/{name}-{i}/acquire?owner={i} HTTP/1.1\r\nHost: localhost\r\n\r\n")
        lines.append("GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")
        lines.append(f"GET /v1/locks/{name}-{i} HTTP/1.1\r\nHost: localhost\r\n\r\n")
    connection.send("".join(lines))
    for i in range(20):
        grant = connection.reply()
        assert grant.status == 201 and json.loads(grant.body)["owner"] == str(i)
        assert connection.reply().status == 200
        assert json.loads(connection.reply().body)["holders"][0]["owner"] == str(i)


def test_a_request_in_single_bytes(raw, name):
    connection = raw()
    body = b'{"owner":"slow"}'
    text = f"POST /v1/locks/{name}/acquire HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    for i in range(len(text)):
        connection.send(text[i:i + 1])
    reply = connection.reply()
    assert reply.status == 201 and json.loads(reply.body)["owner"] == "slow"


def test_head_and_body_in_two_segments_cost_no_delay(raw, name):
    """Without a quick acknowledgement each request after the first few takes 40 ms."""
    connection = raw()
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    took = []
    for i in range(90):
        begin = time.monotonic()
        connection.send(f"POST /v1/locks/{name}-{i}/acquire HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n")
        connection.send("{}")
        assert connection.reply().status == 201
        took.append(time.monotonic() - begin)
    assert sorted(took)[40] < 0.035, took


def test_expect_100_continue(raw, name):
    connection = raw()
    connection.request("POST", f"/v1/locks/{name}/acquire", ["Expect: 100-continue", "Content-Length: 13"])
    while b"\r\n\r\n" not in connection.pending:
        assert connection.more()
    assert connection.pending.startswith(b"HTTP/1.1 100 ")
    reply = connection.send(b'{"owner":"x"}').reply()
    assert reply.status == 201
    assert connection.request("GET", f"/v1/locks/{name}").reply().status == 200


def test_another_expectation_is_refused(raw):
    reply = raw().request("POST", "/v1/locks/x/acquire", ["Expect: miracles", "Content-Length: 2"]).send(b"{}").reply()
    assert reply.status == 400 and code(reply) == "bad_request"


# --- what is no HTTP, and too much of it


@pytest.mark.parametrize("text", [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                                  b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /v1/locks HTTP/1.1\r\nHost : x\r\n\r\n"])
def test_bytes_that_are_not_http_1_close(raw, text):
    connection = raw().send(text)
    assert connection.reply().status == 400
    assert connection.closed()


def test_no_http_2(raw):
    upgrade = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"]
    assert raw().request("GET", "/version", upgrade).reply().status == 200


def test_431_headers_too_large(raw):
    assert raw().request("GET", "/version", ["X-Filler: " + "x" * 15000]).reply().status == 200
    reply = raw().request("GET", "/version", ["X-Filler: " + "x" * 17000]).reply()
    assert reply.status == 431 and code(reply) == "headers_too_large"
    assert json.loads(reply.body)["limit"] == 16384
    reply = raw().request("GET", "/v1/locks?prefix=" + "x" * 17000).reply()
    assert reply.status == 431


def test_too_many_headers(raw):
    assert raw().request("GET", "/version", [f"X-{i}: y" for i in range(200)]).reply().status == 400


def test_a_folded_header_is_refused(raw):
    reply = raw().request("GET", "/version", ["X-Long: a", " b"]).reply()
    assert reply.status == 400 and code(reply) == "bad_request"


def test_http_1_0_has_no_bodies(raw, name):
    reply = raw().request("POST", f"/v1/locks/{name}/acquire", body=b"{}", version="HTTP/1.0").reply()
    assert reply.status == 400 and code(reply) == "bad_request"
    reply = raw().request("POST", f"/v1/locks/{name}/acquire", ["Transfer-Encoding: chunked"], version="HTTP/1.0")
    assert reply.send(b"0\r\n\r\n").reply().status == 400


def test_a_broken_length_is_refused(raw, name):
    for length in ("-1", "x", "1 2", "+3"):
        reply = raw().request("POST", f"/v1/locks/{name}/acquire", [f"Content-Length: {length}"]).reply()
        assert reply.status == 400 and code(reply) == "bad_request"


# --- who may ask


@pytest.mark.parametrize("host", ["localhost", "localhost:7400", "LOCALHOST", "127.0.0.1:1", "127.3.4.5", "[::1]:7400", "n1"])
def test_hosts_of_this_node(raw, host):
    assert raw().request("GET", "/v1/locks", host=host).reply().status == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "10.0.0.1", "n2:7400"])
def test_403_foreign_hosts(raw, host):
    for method, target in (("GET", "/v1/locks"), ("POST", "/v1/locks/x/acquire"), ("GET", "/metrics"), ("GET", "/version")):
        reply = raw().request(method, target, host=host).reply()
        assert reply.status == 403 and code(reply) == "bad_host"
    assert raw().request("GET", "/healthz", host=host).reply().status == 200


def test_a_host_that_was_configured(own_node):
    node = own_node("--hosts", "coordd.example,other.example")
    with Raw(node.port) as one:
        assert one.request("GET", "/v1/locks", host="coordd.example:80").reply().status == 200
        assert one.request("GET", "/v1/locks", host="other.example").reply().status == 200
        assert one.request("GET", "/v1/locks", host="evil.example").reply().status == 403


def test_400_without_a_host(raw):
    reply = raw().request("GET", "/v1/locks", host=None).reply()
    assert reply.status == 400 and code(reply) == "bad_request"


@pytest.mark.parametrize("header", ["Origin: http://evil.example", "Origin: null", "Origin: http://localhost:3000",
                                    "Sec-Fetch-Site: cross-site"])
def test_403_pages_of_other_sites(raw, name, header):
    for method, target in (("POST", f"/v1/locks/{name}/acquire"), ("GET", "/v1/locks"), ("GET", "/metrics")):
        reply = raw().request(method, target, [header]).reply()
        assert reply.status == 403 and code(reply) == "cross_site"
    assert raw().request("GET", "/readyz", [header]).reply().status == 200


def test_pages_of_its_own_may_ask(raw, name):
    own = ["Origin: http://localhost", "Sec-Fetch-Site: same-origin"]
    assert raw().request("POST", f"/v1/locks/{name}/acquire", own).reply().status == 201


# --- clients that are slow, silent or many


def test_slow_and_idle_clients_are_cut_off(raw):
    """One budget of 10 s for a request to arrive; several at once, so the test takes it once."""
    begin = time.monotonic()
    idle, head, body = raw(), raw(), raw()
    head.send("GET /version HT")
    body.request("POST", "/v1/locks/slow/acquire", ["Content-Length: 100"])
    kept = raw().request("GET", "/version")
    assert kept.reply().status == 200

    def drip():
        for slow in (head, body):
            try:
                slow.send("x")
            except OSError:
                pass
        return time.monotonic() - begin > 9.5

    until(drip, "bytes came one by one", pause_s=0.5)
    for connection in (idle, head, body, kept):
        assert connection.closed()
    assert time.monotonic() - begin < 20


def test_a_client_that_never_reads_is_cut_off(own_node):
    node = own_node()
    silent = Raw(node.port, receive_buffer=4096)
    silent.socket.setblocking(False)
    request = b"GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"

    def stuffed():
        try:
            silent.socket.send(request * 20)
            return False
        except BlockingIOError:
            return True

    until(stuffed, "the server reads no more of it")
    assert node.request("GET", "/version")[0] == 200
    until(lambda: connections(node) == 1, "only the asking connection is left", limit_s=40, pause_s=0.2)
    silent.close()


def test_connections_have_a_cap(own_node):
    node = own_node("--connections-max", "8")
    full = [Raw(node.port) for _ in range(8)]
    for each in full:
        assert each.request("GET", "/version").reply().status == 200
    late = Raw(node.port, timeout_s=0.3)
    late.request("GET", "/version")
    with pytest.raises(TimeoutError):
        late.reply()
    full.pop().close()
    late.socket.settimeout(20)
    assert late.reply().status == 200
    for each in full:
        assert each.request("GET", "/version").reply().status == 200
        each.close()
    late.close()


def test_want_of_descriptors_neither_spins_nor_lasts(own_node):
    """The kernel has no descriptor for one more connection: the listener rests and tries again."""
    node = own_node()
    before = resource.prlimit(node.pid, resource.RLIMIT_NOFILE)
    highest = max(int(fd) for fd in os.listdir(f"/proc/{node.pid}/fd"))
    resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (highest + 1, before[1]))
    crowd = [Raw(node.port, timeout_s=0.2).request("GET", "/version") for _ in range(20)]
    cpu_ticks = cpu(node)
    with pytest.raises(TimeoutError):
        for each in crowd:
            each.reply()
    with pytest.raises(TimeoutError):
        crowd[-1].reply()
    spent_s = (cpu(node) - cpu_ticks) / os.sysconf("SC_CLK_TCK")
    assert spent_s < 0.2, f"{spent_s} s of CPU while there was nothing to do"
    resource.prlimit(node.pid, resource.RLIMIT_NOFILE, before)
    crowd[-1].socket.settimeout(20)
    assert crowd[-1].reply().status == 200
    for each in crowd:
        each.close()


def cpu(node):
    fields = Path(f"/proc/{node.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_many_connections_come_and_go(node):
    begin = connections(node)
    for _ in range(5):
        batch = [Raw(node.port) for _ in range(100)]
        for each in batch:
            each.request("GET", "/version")
        for each in batch[::2]:
            assert each.reply().status == 200
        for i, each in enumerate(batch):
            each.reset() if i % 3 else each.close()
    until(lambda: connections(node) <= begin + 1, "all have gone")


def test_several_threads_serve_one_port(own_node):
    node = own_node("--api-threads", "3")
    many = [Raw(node.port) for _ in range(30)]
    for i, each in enumerate(many):
        each.request("POST", f"/v1/locks/threads/acquire?owner={i}&wait=60s")
    until(lambda: len(node.request("GET", "/v1/locks/threads")[2]["waiters"]) == 29, "29 wait")
    served = 0
    for _ in range(30):
        holder = node.request("GET", "/v1/locks/threads")[2]["holders"][0]
        reply = many[int(holder["owner"])].reply()
        assert reply.status == 201 and json.loads(reply.body)["token"] == holder["token"]
        assert node.request("POST", f"/v1/locks/threads/release?token={holder['token']}")[0] == 200
        served += 1
    assert served == 30
    for each in many:
        each.close()
    assert node.stop() == 0
