"""Schedules over HTTP: what is set and shown, every refusal, firings by a real clock, restarts, the guide's lines."""

import json
import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest

from node import until
from test_statuses import TIME, problem

VIEW = {"schedule", "queue", "cron", "every_ms", "time_zone", "time_zone_rule", "payload", "priority", "key", "group",
        "ttl_ms", "timeout_ms", "overlap", "misfire", "misfire_max", "jitter_ms", "start", "end", "paused", "next",
        "counts", "runs", "created", "revision"}
COUNTS = {"fired", "manual", "skipped_overlap", "skipped_misfire", "deduplicated", "refused"}
RUN = {"nominal", "fired", "outcome", "task", "count", "detail"}


def put(client, name, query, status=201, body=None):
    got, _, view = client.request("PUT", f"/v1/schedules/{name}?{query}", body)
    assert got == status, view
    assert set(view) == VIEW and set(view["counts"]) == COUNTS
    return view


def look(client, name):
    status, headers, view = client.request("GET", f"/v1/schedules/{name}")
    assert status == 200 and headers["ETag"] == f'"{view["revision"]}"'
    return view


# --- what is set and shown ---


def test_201_200_all_of_it(client, name):
    config = {"queue": "reports", "cron": "*/5 9-17 * * mon-fri", "time_zone": "Europe/Berlin", "payload": {"a": [1]},
              "priority": 3, "key": "k", "group": "g", "ttl": "1h", "timeout": "10m", "overlap": "queue_one",
              "misfire": "all", "misfire_max": 7, "jitter": "90s", "start": 1893456000000, "end": 1924992000000,
              "paused": False}
    view = put(client, name, "", 201, config)
    shown = {"schedule": name, "queue": "reports", "cron": "*/5 9-17 * * mon-fri", "every_ms": None,
             "time_zone": "Europe/Berlin", "time_zone_rule": "CET-1CEST,M3.5.0,M10.5.0/3", "payload": {"a": [1]},
             "priority": 3, "key": "k", "group": "g", "ttl_ms": 3600000, "timeout_ms": 600000,
             "overlap": "queue_one", "misfire": "all", "misfire_max": 7, "jitter_ms": 90000,
             "start": "2030-01-01T00:00:00.000Z", "end": "2031-01-01T00:00:00.000Z", "paused": False,
             "next": "2030-01-01T08:00:00.000Z", "runs": []}
    assert {field: view[field] for field in shown} == shown
    assert view["counts"] == dict.fromkeys(COUNTS, 0) and TIME.match(view["created"])
    again = put(client, name, "", 200, config)
    assert again == view == look(client, name)
    assert put(client, name, "queue=reports&every=1h", 200)["payload"] is None


def test_defaults(client, name):
    view = put(client, name, "queue=q&cron=@daily")
    shown = {"every_ms": None, "time_zone": "UTC", "time_zone_rule": "UTC0", "payload": None, "priority": 8, "key": None,
             "group": None, "ttl_ms": None, "timeout_ms": None, "overlap": "skip", "misfire": "once",
             "misfire_max": 100, "jitter_ms": 0, "start": None, "end": None, "paused": False}
    assert {field: view[field] for field in shown} == shown
    assert view["next"].endswith("T00:00:00.000Z")


def test_a_rule_instead_of_a_name(client, name):
    view = put(client, name, "queue=q&cron=@daily&time_zone=%3C-03%3E3")
    assert (view["time_zone"], view["time_zone_rule"]) == ("<-03>3", "<-03>3")
    assert view["next"].endswith("T03:00:00.000Z")


def test_lists_by_prefix(client, name):
    for number in range(5):
        put(client, f"{name}-{number}", f"queue=q&every={number + 1}h&paused={str(number == 0).lower()}")
    status, _, page = client.request("GET", f"/v1/schedules?prefix={name}-&limit=3")
    assert status == 200 and set(page) == {"schedules", "cursor", "revision"}
    assert [item["schedule"] for item in page["schedules"]] == [f"{name}-{number}" for number in range(3)]
    assert set(page["schedules"][0]) == {"schedule", "queue", "cron", "every_ms", "time_zone", "paused", "next", "last",
                                         "last_outcome", "revision"}
    assert page["schedules"][0]["paused"] and page["schedules"][0]["next"] is None
    assert TIME.match(page["schedules"][1]["next"]) and page["schedules"][1]["last"] is None
    rest = client.request("GET", f"/v1/schedules?prefix={name}-&limit=3&cursor={page['cursor']}")[2]
    assert [item["schedule"] for item in rest["schedules"]] == [f"{name}-3", f"{name}-4"] and rest["cursor"] is None


def test_a_name_with_a_slash(client, name):
    view = put(client, f"{name}%2Fa%20b", "queue=q&every=1h")
    assert view["schedule"] == f"{name}/a b"
    assert client.request("DELETE", f"/v1/schedules/{name}%2Fa%20b")[0] == 204


# --- refusals ---


@pytest.mark.parametrize("query, field, says", [
    ("every=1h", "queue", "is missing"),
    ("queue=q&cron=61%20*%20*%20*%20*", "cron", "minutes must be 0 to 59"),
    ("queue=q&cron=*%20*%20*%20*", "cron", "must have 5 fields"),
    ("queue=q&cron=0%200%2030%202%20*", "cron", "names a day that never comes"),
    ("queue=q&cron=@daily&time_zone=Mars/Olympus", "time_zone", "Europe/Berlin"),
    ("queue=q&cron=@daily&time_zone=", "time_zone", "must be a time zone"),
    ("queue=q&cron=@daily&time_zone=Africa/Casablanca", "time_zone", "follows no yearly rule"),
    ("queue=q&every=999ms", "every", "must be from 1000 ms"),
    ("queue=q&every=soon", "every", "must be a duration"),
    ("queue=q&every=1h&overlap=maybe", "overlap", "allow, skip, queue_one, cancel_running"),
    ("queue=q&every=1h&misfire=maybe", "misfire", "skip, once, all"),
    ("queue=q&every=1h&misfire_max=0", "misfire_max", "from 1 to 1000"),
    ("queue=q&every=1h&misfire_max=1001", "misfire_max", "from 1 to 1000"),
    ("queue=q&every=1h&priority=16", "priority", "from 0 to 15"),
    ("queue=q&every=1h&jitter=25h", "jitter", "from 0 ms to 86400000 ms"),
    ("queue=q&every=1h&start=tomorrow", "start", "must be an integer"),
    ("queue=q&every=1h&paused=perhaps", "paused", "true or false"),
    ("queue=q&every=1h&key=" + "k" * 129, "key", "128 bytes"),
    ("queue=q&every=1h&timezone=UTC", "timezone", "is unknown"),
    ("queue=q&every=1h&every=2h", "every", "is given twice"),
])
def test_400_names_the_field(client, name, query, field, says):
    document = problem(client.request("PUT", f"/v1/schedules/{name}?{query}"), 400, "bad_field")
    assert document["field"] == field and says in document["detail"]
    problem(client.request("GET", f"/v1/schedules/{name}"), 404, "schedule_not_found")


@pytest.mark.parametrize("body, field", [
    ({"queue": "q", "cron": 5}, "cron"),
    ({"queue": "q", "cron": "@daily", "time_zone": 1}, "time_zone"),
    ({"queue": "q", "cron": ["@daily"]}, "cron"),
    ({"queue": "q", "cron": "@daily", "time_zone": True}, "time_zone"),
    ({"queue": "q", "every": "1h", "payload": "x" * 65536}, "payload"),
])
def test_400_wrong_types_in_json(client, name, body, field):
    document = problem(client.request("PUT", f"/v1/schedules/{name}", body), 400, "bad_field")
    assert document["field"] == field


@pytest.mark.parametrize("query, says", [
    ("queue=q", "give either cron or every"),
    ("queue=q&cron=@daily&every=1h", "give either cron or every"),
    ("queue=q&every=1h&jitter=1h", "jitter must be less than every"),
    ("queue=q&every=1h&start=2000&end=1000", "end is before start"),
])
def test_422_no_sense(client, name, query, says):
    assert says in problem(client.request("PUT", f"/v1/schedules/{name}?{query}"), 422, "senseless")["detail"]


def test_404_405(client, name):
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/run"), ("POST", "/pause"), ("POST", "/resume")):
        problem(client.request(method, f"/v1/schedules/{name}{path}"), 404, "schedule_not_found")
    status, headers, _ = client.request("GET", f"/v1/schedules/{name}/run")
    assert status == 405 and headers["Allow"] == "POST"


# --- run, pause, resume, delete ---


def test_run_now(client, name):
    put(client, name, f"queue={name}&every=1h&paused=true&priority=2", 201)
    status, _, made = client.request("POST", f"/v1/schedules/{name}/run")
    assert status == 201
    assert set(made) == {"schedule", "id", "queue", "state", "deduplicated"}
    assert (made["schedule"], made["queue"], made["state"], made["deduplicated"]) == (name, name, "ready", False)
    assert client.request("POST", f"/v1/schedules/{name}/run")[0] == 201
    view = look(client, name)
    assert view["counts"]["manual"] == 2 and len(view["runs"]) == 2
    assert set(view["runs"][1]) == RUN
    assert (view["runs"][1]["outcome"], view["runs"][1]["task"], view["runs"][1]["nominal"]) == ("manual", made["id"], None)
    task = client.request("GET", f"/v1/queues/{name}/tasks/{made['id']}")[2]
    assert (task["priority"], task["origin"]) == (2, f"@{name}")


def test_one_bare_line(client, name):
    plain = {"Accept": "text/plain"}
    for number, query in enumerate(("queue=q&cron=0%200%201%201%20*", "queue=q&every=1h&paused=true")):
        assert client.request("PUT", f"/v1/schedules/{name}-{number}?{query}")[0] == 201
    line = client.request("GET", f"/v1/schedules/{name}-0", headers=plain)[2]
    assert TIME.match(line.strip()) and "-01-01T00:00:00.000Z" in line
    assert client.request("GET", f"/v1/schedules/{name}-1", headers=plain)[2] == "-\n"
    listed = client.request("GET", f"/v1/schedules?prefix={name}-", headers=plain)[2]
    assert listed == f"{name}-0 {line}{name}-1 -\n"
    assert client.request("POST", f"/v1/schedules/{name}-1/run", headers=plain)[2].strip().isdigit()


def test_run_now_is_safe_to_retry(client, name):
    put(client, name, f"queue={name}&every=1h")
    key = {"Idempotency-Key": name}
    first = client.request("POST", f"/v1/schedules/{name}/run", headers=key)
    again = client.request("POST", f"/v1/schedules/{name}/run", headers=key)
    assert again[2] == first[2] and again[1]["Idempotency-Replayed"] == "true"
    assert look(client, name)["counts"]["manual"] == 1


def test_run_now_says_what_the_queue_says(client, name):
    assert client.request("PUT", f"/v1/queues/{name}?max_len=1")[0] == 201
    put(client, name, f"queue={name}&every=1h&key=one")
    first = client.request("POST", f"/v1/schedules/{name}/run")[2]
    status, _, same = client.request("POST", f"/v1/schedules/{name}/run")
    assert (status, same["id"], same["deduplicated"]) == (200, first["id"], True)
    put(client, name, f"queue={name}&every=1h", 200)
    problem(client.request("POST", f"/v1/schedules/{name}/run"), 429, "queue_full", True)
    assert client.request("POST", f"/v1/queues/{name}/drain")[0] == 200
    problem(client.request("POST", f"/v1/schedules/{name}/run"), 409, "queue_draining")
    counts = look(client, name)["counts"]
    assert (counts["manual"], counts["deduplicated"]) == (1, 1)


def test_pause_and_resume(client, name):
    put(client, name, "queue=q&cron=@hourly")
    for _ in range(2):
        status, _, view = client.request("POST", f"/v1/schedules/{name}/pause")
        assert (status, view["paused"], view["next"]) == (200, True, None)
    assert look(client, name)["paused"]
    status, _, view = client.request("POST", f"/v1/schedules/{name}/resume")
    assert (status, view["paused"]) == (200, False) and TIME.match(view["next"])
    assert put(client, name, "queue=q&cron=@hourly&paused=true", 200)["next"] is None


def test_delete(client, name):
    put(client, name, "queue=q&every=1h")
    status, _, body = client.request("DELETE", f"/v1/schedules/{name}")
    assert (status, body) == (204, "")
    problem(client.request("DELETE", f"/v1/schedules/{name}"), 404, "schedule_not_found")


def test_in_a_transaction(client, name):
    then = [{"op": "schedule.put", "schedule": name, "queue": name, "every": "1h"},
            {"op": "schedule.run", "schedule": name}, {"op": "schedule.pause", "schedule": name}]
    status, _, done = client.request("POST", "/v1/txn", {"then": then})
    assert status == 200 and [r["status"] for r in done["results"]] == [201, 201, 200]
    assert look(client, name)["paused"]
    then = [{"op": "schedule.delete", "schedule": name}, {"op": "schedule.run", "schedule": name}]
    refused = problem(client.request("POST", "/v1/txn", {"then": then}), 409, "txn_refused")
    assert refused["position"] == 1
    assert look(client, name)["counts"]["manual"] == 1


# --- firings ---


def test_it_fires(client, name):
    put(client, name, f"queue={name}&every=1s&overlap=allow")
    put_at = look(client, name)
    until(lambda: look(client, name)["counts"]["fired"] >= 3, "it fires")
    view = look(client, name)
    assert view["runs"][0]["outcome"] == "fired" and view["created"] == put_at["created"]
    tasks = client.request("GET", f"/v1/queues/{name}/tasks")[2]["tasks"]
    assert {run["task"] for run in view["runs"]} <= {task["id"] for task in tasks}
    nominal = [run["nominal"] for run in view["runs"]]
    assert len(set(nominal)) == len(nominal)
    assert {time_text[-5:] for time_text in nominal} == {put_at["created"][-5:]}, "whole seconds from the making"


def test_a_long_poll_sees_it_fire(client, node, name):
    view = put(client, name, f"queue={name}&every=1s")
    status, _, later = node.request("GET", f"/v1/schedules/{name}?since={view['revision']}&wait=60s", timeout_s=90)
    assert status == 200 and later["counts"]["fired"] == 1


def test_a_worker_gets_it(client, node, name):
    put(client, name, f"queue={name}&every=1s&payload=report")
    status, _, claim = node.request("POST", f"/v1/queues/{name}/claim?worker=w&wait=60s", timeout_s=90)
    assert status == 200
    task = claim["tasks"][0]
    assert (task["payload"], task["origin"]) == ("report", f"@{name}")
    until(lambda: look(client, name)["counts"]["skipped_overlap"] >= 1, "the next one waits for the end of it")
    assert look(client, name)["counts"]["fired"] == 1
    done = client.request("POST", f"/v1/queues/{name}/tasks/{task['id']}/complete?token={task['token']}")
    assert done[0] == 200
    until(lambda: look(client, name)["counts"]["fired"] >= 2, "it fires again")


def test_restarts_lose_and_repeat_nothing(own_node):
    """Killed again and again: with misfire=all each second is met once, whatever was missed."""
    node = own_node()
    view = put(node, "s", "queue=q&every=1s&overlap=allow&misfire=all&misfire_max=1000")
    for _ in range(4):
        fired = look(node, "s")["counts"]["fired"]
        until(lambda: look(node, "s")["counts"]["fired"] > fired, "it fires")
        node.kill9()
        time.sleep(1.5)  # an outage: what the clock does meanwhile is the point
        node.start()
    until(lambda: look(node, "s")["counts"]["fired"] >= 8, "what was missed is made up for")
    node.request("POST", "/v1/schedules/s/pause")
    counts = look(node, "s")["counts"]
    assert counts["skipped_misfire"] == counts["skipped_overlap"] == counts["refused"] == 0
    with node.client() as client:
        client.send("GET", f"/v1/watch?prefix=/schedules/s&since={view['revision'] - 1}",
                    headers={"Accept": "application/x-ndjson"})
        nominal = fired_times(client, counts["fired"])
    assert len(nominal) == len(set(nominal)) == counts["fired"]
    seconds = sorted(milliseconds(text) for text in nominal)
    assert all(after - before == 1000 for before, after in zip(seconds, seconds[1:]))
    tasks = node.request("GET", "/v1/queues/q/tasks?limit=1000")[2]["tasks"]
    assert len(tasks) == counts["fired"]


def fired_times(client, wanted):
    response, times = client.connection.getresponse(), []
    while len(times) < wanted:
        event = json.loads(response.readline())
        if event.get("type") == "fired":
            times.append(event["data"]["nominal"])
    client.close()
    return times


def milliseconds(text):
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


# --- as people write it ---


def test_the_guide_runs(own_node):
    """Every line of api/guide/schedules.md does what it says, against a node of its own."""
    guide = Path(__file__).resolve().parents[2] / "api" / "guide" / "schedules.md"
    lines = [line[4:] for line in guide.read_text().splitlines() if line.startswith("    ")]
    assert len(lines) > 8
    node = own_node()
    script = "\n".join(["set -e -o pipefail; curl() { command curl -fsS \"$@\"; }"] + lines)
    done = subprocess.run(["bash", "-c", script.replace("localhost:7400", f"localhost:{node.port}")],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert look(node, "nightly")["counts"]["manual"] == 1
