"""Queues for those who have sh and curl: plain text, headers, the lines of the guide."""

import itertools
import re
import subprocess
from pathlib import Path

import pytest

numbers = itertools.count(1)
PLAIN = {"Accept": "text/plain"}


@pytest.fixture
def q():
    return f"/v1/queues/s{next(numbers)}"


def plain(client, method, path, body=None):
    status, headers, text = client.request(method, path, body, PLAIN)
    assert status < 300 and headers["Content-Type"] == "text/plain; charset=utf-8", (status, text)
    return headers, text


def test_a_claim_is_a_line_a_task(client, q):
    client.request("POST", f"{q}/tasks", [{"payload": "data/a b.txt"}, {"payload": {"n": [1, "x y"]}}, {"payload": "two\nlines"}, {}])
    headers, text = plain(client, "POST", f"{q}/claim?worker=w&max=9")
    lines = [line.split(" ", 2) for line in text.split("\n")]
    assert lines.pop() == [""] and [line[2] for line in lines] == ["data/a b.txt", '{"n":[1,"x y"]}', '"two\\nlines"', "-"]
    assert headers["Coord-Id"] == lines[0][0] and headers["Coord-Token"] == lines[0][1] and headers["Coord-Lease"]
    headers, text = plain(client, "POST", f"{q}/claim?worker=w")
    assert text == "" and headers["Content-Length"] == "0" and "Coord-Id" not in headers and "Coord-Token" not in headers


def test_an_enqueue_is_an_id(client, q):
    headers, text = plain(client, "POST", f"{q}/tasks?payload=1")
    assert re.fullmatch(r"\d+\n", text) and headers["Coord-Id"] == text.strip()
    _, text = plain(client, "POST", f"{q}/tasks", [{}, {}, {}])
    assert re.fullmatch(r"(\d+\n){3}", text)


def test_a_task_is_its_state_and_result(client, q):
    made = plain(client, "POST", f"{q}/tasks")[1].strip()
    assert plain(client, "GET", f"{q}/tasks/{made}")[1] == "ready -\n"
    _, token, _ = plain(client, "POST", f"{q}/claim")[1].split()
    assert re.fullmatch(r"\d+ false\n", plain(client, "POST", f"{q}/tasks/{made}/extend?token={token}")[1])
    assert plain(client, "POST", f"{q}/tasks/{made}/complete?token={token}&result=all+well")[1] == "done\n"
    assert plain(client, "GET", f"{q}/tasks/{made}?wait=1m")[1] == "done all well\n"
    assert plain(client, "GET", f"{q}/tasks?state=done")[1] == f"{made} done\n"
    assert plain(client, "GET", q)[1] == "0 0 0 0 1 0\n", "scheduled blocked ready claimed done dead"


def test_next_in_lines(client, q):
    client.request("POST", f"{q}/tasks", [{"payload": n} for n in range(2)])
    _, text = plain(client, "POST", f"{q}/claim")
    made, token, _ = text.split()
    _, text = plain(client, "POST", f"{q}/next", {"done": [{"id": made, "token": int(token)}], "claim": {"max": 5}})
    assert text.endswith(" 1\n") and text.count("\n") == 1


def test_what_has_no_line(client, q):
    status, _, problem = client.request("GET", "/v1/queues", headers=PLAIN)
    assert (status, problem["code"]) == (406, "not_acceptable")
    status, headers, problem = client.request("POST", f"{q}/tasks/1/complete?token=1", headers=PLAIN)
    assert (status, problem["code"]) == (404, "task_not_found") and headers["Content-Type"] == "application/problem+json"


def lines_of(page):
    guide = (Path(__file__).resolve().parents[2] / "api" / "guide" / page).read_text()
    return [line[4:] for line in re.sub(r"(?ms)^```$.*?^```$", "", guide).splitlines() if line.startswith("    ")]


def test_the_guide_runs(own_node, tmp_path):
    """Every line of api/guide/queues.md does what it says, against a node of its own."""
    lines, node = lines_of("queues.md"), own_node()
    assert len(lines) > 40
    script = "\n".join(["set -e -o pipefail; curl() { command curl -fsS \"$@\"; }"] + lines)
    done = subprocess.run(["bash", "-c", script.replace("localhost:7400", f"localhost:{node.port}")], cwd=tmp_path, capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert "410" in done.stderr and done.stderr.count("curl:") == 1, done.stderr
    assert done.stdout.count('"deduplicated":true') == 1 and '"cancel_requested"' in done.stdout
    tasks = node.request("GET", "/v1/queues/thumbs/tasks?state=done")[2]["tasks"]
    assert len(tasks) == 2
    assert {node.request("GET", f"/v1/queues/thumbs/tasks/{task['id']}")[2]["result"] for task in tasks} == {
        "made a thumb of a.jpg", "made a thumb of b c.jpg"}
    assert node.request("GET", "/v1/queues/jobs")[2]["dead"] == 0 and node.request("GET", "/v1/queues/index")[0] == 404
