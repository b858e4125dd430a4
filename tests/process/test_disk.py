"""Bad disks: full, failing, hanging."""

import os
import subprocess
import threading
import time

import pytest

from tests.support.node import Node, until
from workload import grants, started, verify

SHIM = os.environ.get("TEST_SHIM")
SANITIZED = bool(os.environ.get("TEST_SANITIZE"))


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("no right to mount a small tmpfs")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk):
    with open(disk / "filler", "wb") as filler:
        try:
            while True:
                filler.write(b"x" * 65536)
                filler.flush()
        except OSError:
            pass


def grow(client, tokens, wanted):
    """Takes new locks until the answer is the wanted status; every grant is remembered."""
    number = iter(range(10**6))

    def one():
        name = f"grow{len(tokens)}-{next(number)}"
        status, _, answer = client.request("POST", f"/v1/locks/{name}/acquire?ttl=1h")
        if status == 201:
            tokens[name] = answer["token"]
        return status == wanted

    until(one, f"a new lock is answered {wanted}")


def test_a_full_disk_lets_go_but_does_not_grow(tmp_path, small_disk):
    with Node(tmp_path, data=small_disk / "data") as node, node.client() as client:
        tokens = {}
        for i in range(50):
            status, _, answer = client.request("POST", f"/v1/locks/f{i}/acquire?ttl=1h")
            assert status == 201
            tokens[f"f{i}"] = answer["token"]
        fill(small_disk)
        grow(client, tokens, 507)
        _, _, answer = client.request("POST", "/v1/locks/refused/acquire?ttl=1h")
        assert answer["code"] == "storage_full" and not answer["retryable"]
        for i in range(25):
            name = f"f{i}"
            assert client.request("POST", f"/v1/locks/{name}/renew?token={tokens[name]}")[0] == 200
            assert client.request("POST", f"/v1/locks/{name}/release?token={tokens.pop(name)}")[0] == 200
        assert client.request("GET", "/v1/locks/f30")[2]["holders"]
        status, _, check = client.request("GET", f"/v1/locks/f30/check?token={tokens['f30']}")
        assert status == 200, check
        os.remove(small_disk / "filler")
        grow(client, tokens, 201)  # without a restart
        holds(client, tokens)
        for name in ("f3", "f24"):
            assert client.request("GET", f"/v1/locks/{name}")[2]["holders"] == []


def holds(client, tokens):
    for name, token in tokens.items():
        assert client.request("GET", f"/v1/locks/{name}/check?token={token}")[0] == 200, name


def test_a_node_killed_on_a_full_disk_loses_nothing(tmp_path, small_disk):
    with Node(tmp_path, data=small_disk / "data") as node:
        tokens = {}
        with node.client() as client:
            grow(client, tokens, 201)
            fill(small_disk)
            grow(client, tokens, 507)
            given_back = next(iter(tokens))
            assert client.request("POST", f"/v1/locks/{given_back}/release?token={tokens.pop(given_back)}")[0] == 200
        for _ in range(3):  # the disk is as full at each start
            node.kill9()
            node.start()
            with node.client() as client:
                holds(client, tokens)
                assert client.request("GET", f"/v1/locks/{given_back}")[2]["holders"] == []
                name = next(iter(tokens))
                assert client.request("POST", f"/v1/locks/{name}/renew?token={tokens[name]}")[0] == 200
                grow(client, tokens, 507)
                assert client.request("POST", f"/v1/locks/{name}/release?token={tokens.pop(name)}")[0] == 200
        os.remove(small_disk / "filler")
        with node.client() as client:
            grow(client, tokens, 201)
            holds(client, tokens)


def test_leases_expire_on_a_full_disk(tmp_path, small_disk):
    with Node(tmp_path, data=small_disk / "data") as node, node.client() as client:
        _, _, short = client.request("POST", "/v1/locks/short/acquire?ttl=2s")
        fill(small_disk)
        grow(client, {}, 507)
        until(lambda: client.request("GET", f"/v1/locks/short/check?token={short['token']}")[0] == 412, "it expires")


def shimmed(tmp_path, call, **files):
    if not SHIM or SANITIZED:
        pytest.skip("the shim goes with the plain build")
    environment = {f"SHIM_{key.upper()}": str(file) for key, file in files.items()} | {"SHIM_CALL": call}
    return Node(tmp_path, environment=environment, preload=SHIM)


CALLS = pytest.mark.parametrize("call", ["fdatasync", "pwrite"])


@CALLS
def test_a_failing_disk_ends_the_process(tmp_path, call):
    trigger = tmp_path / "fail"
    node = shimmed(tmp_path, call, fail=trigger).start()
    workers = started(node, 4)
    until(lambda: grants(workers) > 60, "some locks were granted")
    trigger.touch()
    assert node.wait_exit() != 0
    for worker in workers:
        worker.finish()
    said = [line for line in node.log_text().splitlines() if "fatal" in line]
    assert len(said) == 1 and "Input/output error" in said[0], node.log_text()
    assert node.launch().wait_exit() != 0  # the disk still fails
    assert node.log_text().count("Input/output error") == 1, node.log_text()
    trigger.unlink()
    node.start()
    with node.client() as client:
        verify(client, workers)
    assert node.stop() == 0


@CALLS
def test_a_hanging_disk_is_answered_and_ended_by_the_watchdog(tmp_path, call):
    trigger = tmp_path / "hang"
    node = shimmed(tmp_path, call, hang=trigger).start()
    _, _, kept = node.request("POST", "/v1/locks/kept/acquire?ttl=1h")
    answers = []

    def ask(path):
        sent = time.monotonic()
        answer = node.request("POST", path)
        answers.append((time.monotonic() - sent, answer))

    asking = [threading.Thread(target=ask, args=(path,)) for path in
              ("/v1/locks/a/acquire?ttl=1h", "/v1/locks/b/acquire?ttl=1h", f"/v1/locks/kept/renew?token={kept['token']}")]
    begin = time.monotonic()
    trigger.touch()
    for each in asking:
        each.start()
    until(lambda: node.request("GET", "/livez")[0] == 503, "/livez tells")
    assert node.request("GET", "/version")[0] == 200
    for each in asking:
        each.join()
    assert len(answers) == len(asking)
    for took_s, (status, _, answer) in answers:
        assert status == 504 and answer["code"] == "outcome_unknown" and answer["retryable"], answer
        assert 4 < took_s < 8
    assert node.wait_exit(30) == 1
    assert 9 < time.monotonic() - begin < 16
    assert len([line for line in node.log_text().splitlines() if "hangs" in line]) == 1
    trigger.unlink()
    node.start()
    assert node.request("GET", f"/v1/locks/kept/check?token={kept['token']}")[0] == 200
    assert node.stop() == 0
