"""Bad disks: full, failing, hanging."""

import os
import shutil
import subprocess
import threading

import pytest

from tests.support.node import Node, until

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
    """The node may have taken the last of the room for its log meanwhile: then there is not even a filler."""
    try:
        with open(disk / "filler", "wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * 65536)
    except OSError:
        pass


def make_room(disk):
    (disk / "filler").unlink(missing_ok=True)


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
        make_room(small_disk)
        grow(client, tokens, 201)  # without a restart
        fill(small_disk)
        grow(client, tokens, 507)
        node.kill9()
        make_room(small_disk)
        node.start()
        with node.client() as again:
            for name, token in tokens.items():
                assert again.request("GET", f"/v1/locks/{name}/check?token={token}")[0] == 200
            assert again.request("GET", "/v1/locks/f3")[2]["holders"] == []


def shimmed(tmp_path, **files):
    if not SHIM or SANITIZED:
        pytest.skip("the shim goes with the plain build")
    return Node(tmp_path, environment={f"SHIM_{k.upper()}": str(v) for k, v in files.items()}, preload=SHIM)


def test_a_failing_disk_ends_the_process(tmp_path):
    trigger = tmp_path / "fail"
    node = shimmed(tmp_path, fail=trigger).start()
    with node.client() as client:
        _, _, kept = client.request("POST", "/v1/locks/kept/acquire?ttl=1h")
        trigger.touch()
        try:
            status, _, _ = client.request("POST", "/v1/locks/lost/acquire?ttl=1h")
            assert status >= 500
        except OSError:
            pass
        except Exception as error:  # the connection ended with the process
            assert "Remote end closed" in str(error) or "Connection" in type(error).__name__
    assert node.wait_exit() != 0
    assert "fatal" in node.log_text()
    trigger.unlink()
    node.start()
    assert node.request("GET", f"/v1/locks/kept/check?token={kept['token']}")[0] == 200
    assert node.stop() == 0


def test_a_hanging_disk_is_answered_and_ended_by_the_watchdog(tmp_path):
    trigger = tmp_path / "hang"
    node = shimmed(tmp_path, hang=trigger).start()
    answers = []

    def ask():
        answers.append(node.request("POST", "/v1/locks/a/acquire?ttl=1h"))

    trigger.touch()
    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: node.request("GET", "/livez")[0] == 503, "/livez tells")
    assert node.request("GET", "/version")[0] == 200
    asking.join()
    status, _, answer = answers[0]
    assert status == 504 and answer["code"] == "outcome_unknown" and answer["retryable"]
    assert node.wait_exit() == 1
    assert "hangs" in node.log_text()
    trigger.unlink()
    node.start()
    assert node.stop() == 0
