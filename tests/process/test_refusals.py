"""Data directories and command lines that are refused: one clear line, the offender's name, what to do; nothing is touched."""

import os
import shutil
import subprocess

import pytest

from tests.support.node import Node, binary


def run(directory, *arguments, environment=None):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("COORDD_")}
    clean.update(environment or {})
    done = subprocess.run([binary(), *arguments], cwd=directory, env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr + done.stdout


def refused(directory, *flags, code=1, environment=None):
    status, text = run(directory, "serve", "--listen", "127.0.0.1:0", *flags, environment=environment)
    assert status == code, text
    return text


def used(tmp_path):
    """A data directory that has seen some work."""
    with Node(tmp_path) as node, node.client() as client:
        for i in range(30):
            assert client.request("POST", f"/v1/locks/a{i}/acquire?ttl=1h")[0] == 201
    return tmp_path / "data"


def picture(data):
    return {path.relative_to(data): path.read_bytes() for path in sorted(data.rglob("*"))
            if path.is_file() and path.name not in ("LOCK", "lock.mdb")}


def test_a_directory_in_use(tmp_path):
    with Node(tmp_path) as node:
        text = refused(tmp_path, "--data-dir", str(node.data))
        assert str(node.pid) in text


def test_another_name(tmp_path):
    data = used(tmp_path)
    before = picture(data)
    text = refused(tmp_path, "--data-dir", str(data), "--name", "n2")
    assert "n1" in text and "n2" in text
    assert picture(data) == before


def test_no_directory(tmp_path):
    (tmp_path / "file").write_text("x")
    assert str(tmp_path / "file") in refused(tmp_path, "--data-dir", str(tmp_path / "file"))
    assert "missing" in refused(tmp_path, "--data-dir", str(tmp_path / "missing" / "data"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious").write_text("keep me")
    refused(tmp_path, "--data-dir", str(tmp_path / "other"))
    assert (tmp_path / "other" / "precious").read_text() == "keep me"


def damaged(tmp_path, damage):
    data = used(tmp_path)
    damage(data)
    before = picture(data)
    text = refused(tmp_path, "--data-dir", str(data))
    assert picture(data) == before
    return text


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0x10]))


def test_a_flipped_byte_in_the_log(tmp_path):
    log = "log/0000000001.log"
    text = damaged(tmp_path, lambda data: flip(data / log, 4096 + 300))
    assert "0000000001.log" in text


def test_a_truncated_state(tmp_path):
    def cut(data):
        with open(data / "state-1" / "data.mdb", "r+b") as file:
            file.truncate(5000)

    assert "data.mdb" in damaged(tmp_path, cut)


def test_a_missing_log(tmp_path):
    damaged(tmp_path, lambda data: os.remove(data / "log" / "0000000001.log"))


def test_a_missing_state(tmp_path):
    assert "state-1" in damaged(tmp_path, lambda data: shutil.rmtree(data / "state-1"))


def test_the_state_of_another_node(tmp_path):
    other = used(tmp_path / "other")

    def swap(data):
        shutil.rmtree(data / "state-1")
        shutil.copytree(other / "state-1", data / "state-1")

    damaged(tmp_path, swap)


@pytest.mark.parametrize("flags, names", [
    (["--colour", "red"], "--colour"),
    (["surplus"], "surplus"),
    (["--data-dir"], "--data-dir"),
    (["--api-threads", "0"], "--api-threads"),
    (["--api-threads", "many"], "--api-threads"),
    (["--api-threads=1x"], "--api-threads"),
    (["--name", "a", "--name", "b"], "--name"),
    (["--name", "has blank"], "--name"),
    (["--log-level", "loud"], "--log-level"),
    (["--heartbeat-ms", "500"], "--election-timeout-ms"),
    (["--config", "no-such-file"], "no-such-file"),
])
def test_bad_flags(tmp_path, flags, names):
    text = refused(tmp_path, *flags, code=2)
    assert names in text and text.count("\n") == 1
    assert not (tmp_path / "coordd-data").exists()


@pytest.mark.parametrize("environment, names", [
    ({"COORDD_COLOUR": "red"}, "COORDD_COLOUR"),
    ({"COORDD_API_THREADS": "none"}, "--api-threads"),
])
def test_bad_environment(tmp_path, environment, names):
    assert names in refused(tmp_path, code=2, environment=environment)


@pytest.mark.parametrize("lines, names", [
    ("colour = red\n", "colour"),
    ("api-threads\n", "file:1"),
    ("# fine\n\napi-threads = 1\napi-threads = 2\n", "file:4"),
    ("config = other\n", "config"),
    ("heartbeat-ms = fast\n", "--heartbeat-ms"),
    ("x" * 2000, "file:1"),
])
def test_bad_files(tmp_path, lines, names):
    (tmp_path / "file").write_text(lines)
    assert names in refused(tmp_path, "--config", "file", code=2)


def test_flags_beat_environment_beat_file(tmp_path):
    (tmp_path / "file").write_text("name = file\nlog-format = json\n")
    with Node(tmp_path, "--config", "file", "--name", "flag", environment={"COORDD_NAME": "environment"}) as node:
        assert node.request("GET", "/version")[2]["node"] == "flag"
        assert '"fact":"ready"' in node.log_text()
    with Node(tmp_path / "second", "--config", str(tmp_path / "file"), environment={"COORDD_NAME": "environment"}) as node:
        assert node.request("GET", "/version")[2]["node"] == "environment"


@pytest.mark.parametrize("listen", ["nowhere", "127.0.0.1", "127.0.0.1:99999", "127.0.0.1:x", "256.0.0.1:0"])
def test_bad_listen_addresses(tmp_path, listen):
    status, text = run(tmp_path, "serve", "--listen", listen)
    assert status in (1, 2) and listen in text


def test_an_address_in_use(tmp_path):
    with Node(tmp_path) as node:
        status, text = run(tmp_path, "serve", "--listen", f"127.0.0.1:{node.port}", "--data-dir", "other")
        assert status == 1 and str(node.port) in text


def test_version_and_help(tmp_path):
    assert run(tmp_path, "version")[0] == 0
    assert "--data-dir" in run(tmp_path, "serve", "--help")[1]
    assert run(tmp_path)[0] == 2
    assert run(tmp_path, "dance")[0] == 2
