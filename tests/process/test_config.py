"""What `coordd serve` is told: everything unknown or out of range is refused by name, before anything is touched."""

import json

import pytest

from tests.support.node import Node


@pytest.mark.parametrize("arguments, named", [
    (["--colour", "red"], "--colour"),
    (["colour"], "colour"),
    (["--listen"], "--listen"),
    (["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"], "--listen"),
    (["--heartbeat-ms", "soon"], "--heartbeat-ms"),
    (["--heartbeat-ms", "-1"], "--heartbeat-ms"),
    (["--heartbeat-ms", "100x"], "--heartbeat-ms"),
    (["--heartbeat-ms", "9"], "--heartbeat-ms"),
    (["--heartbeat-ms", "99999999999999999999"], "--heartbeat-ms"),
    (["--election-timeout-ms", "100"], "--election-timeout-ms"),
    (["--api-threads", "0"], "--api-threads"),
    (["--api-threads", "65"], "--api-threads"),
    (["--log-format", "xml"], "--log-format"),
    (["--log-format", ""], "--log-format"),
    (["--log-level", "loud"], "--log-level"),
    (["--name", ""], "--name"),
    (["--name", "a b"], "--name"),
    (["--name", "x" * 64], "--name"),
    (["--config", "/nowhere/at/all"], "/nowhere/at/all"),
])
def test_a_bad_flag_is_refused_by_name(run, tmp_path, arguments, named):
    code, said = run("serve", *arguments)
    assert code == 2
    assert named in said and said.count("\n") == 1
    assert not (tmp_path / "coordd-data").exists()


@pytest.mark.parametrize("variable, value, named", [
    ("COORDD_COLOUR", "red", "COORDD_COLOUR"),
    ("COORDD_DATA_DIRECTORY", "x", "COORDD_DATA_DIRECTORY"),
    ("COORDD_data_dir", "x", "COORDD_data_dir"),
    ("COORDD_", "x", "COORDD_"),
    ("COORDD_HEARTBEAT_MS", "soon", "heartbeat-ms"),
    ("COORDD_LOG_FORMAT", "xml", "log-format"),
])
def test_a_bad_variable_is_refused_by_name(run, tmp_path, variable, value, named):
    code, said = run("serve", environment={variable: value})
    assert code == 2
    assert named in said and said.count("\n") == 1
    assert not (tmp_path / "coordd-data").exists()


@pytest.mark.parametrize("text, line, named", [
    ("# a comment\ncolour = red\n", 2, "colour"),
    ("data-dir\n", 1, "key = value"),
    ("\n\nheartbeat-ms = 100\nheartbeat-ms = 100\n", 4, "heartbeat-ms"),
    ("config = other\n", 1, "config"),
    ("data-dir = " + "x" * 1100 + "\n", 1, "1,000"),
])
def test_a_bad_line_of_the_file_is_refused_by_number(run, tmp_path, text, line, named):
    file = tmp_path / "settings"
    file.write_text(text)
    code, said = run("serve", "--config", file)
    assert code == 2
    assert f"{file}:{line}:" in said and named in said and said.count("\n") == 1


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1", "127.0.0.1:", "127.0.0.1:port", "127.0.0.1:70000",
                                    "999.1.1.1:7400", "192.0.2.1:7400"])
def test_an_address_that_cannot_be_had_is_refused(run, tmp_path, listen):
    code, said = run("serve", "--data-dir", tmp_path / "data", "--listen", listen)
    assert code == 1
    refusals = [line for line in said.splitlines() if "refused to start" in line]
    assert len(refusals) == 1 and listen in refusals[0]


def test_a_port_in_use_is_refused(run, node, tmp_path):
    code, said = run("serve", "--data-dir", tmp_path / "other", "--listen", f"127.0.0.1:{node.port}")
    assert code == 1
    assert f"127.0.0.1:{node.port}" in said and "in use" in said


def test_flag_then_variable_then_file(tmp_path):
    file = tmp_path / "settings"
    file.write_text("# where and how\n  name =  from-file \nheartbeat-ms=50\nlog-format = json\n")
    with Node(tmp_path, "--config", str(file), "--log-format", "text",
              environment={"COORDD_NAME": "from-variable", "COORDD_LOG_FORMAT": "json"}) as node:
        assert "fact=ready" in node.log_text()
        assert node.request("GET", "/version")[2]["node"] == "from-variable"


def test_json_log_lines_are_json(tmp_path):
    with Node(tmp_path, "--log-format", "json") as node:
        lines = [json.loads(line) for line in node.log_text().splitlines()]
        assert lines[-1]["fact"] == "ready" and {"time", "level"} <= lines[-1].keys()


@pytest.mark.parametrize("arguments, code", [([], 2), (["dance"], 2), (["version"], 0), (["help"], 0),
                                             (["serve", "--help"], 0)])
def test_usage(run, arguments, code):
    assert run(*arguments)[0] == code
