"""Every refusal of the queues' calls: its status, its code, the facts that ride with it; and nothing is changed."""

import itertools

import pytest

from test_queue import claim, enqueue, see, take

numbers = itertools.count(1)


@pytest.fixture
def q():
    return f"/v1/queues/r{next(numbers)}"


def refused(client, method, path, status, code, body=None, headers=None):
    got, _, problem = client.request(method, path, body, headers)
    assert (got, problem["code"]) == (status, code), problem
    assert problem["detail"] and problem["retryable"] is (status in (429, 503))
    return problem


# --- what is not there ---


@pytest.mark.parametrize("method, rest", [
    ("GET", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/drain"), ("POST", "/purge"), ("POST", "/redrive"),
    ("GET", "/tasks"), ("GET", "/workers")])
def test_a_queue_that_is_not_there(client, q, method, rest):
    refused(client, method, q + rest, 404, "queue_not_found")


@pytest.mark.parametrize("method, rest", [
    ("GET", ""), ("DELETE", ""), ("POST", "/complete?token=1"), ("POST", "/fail?token=1"), ("POST", "/release?token=1"), ("POST", "/extend?token=1"),
    ("POST", "/progress?token=1&progress=1")])
def test_a_task_that_is_not_there(client, q, method, rest):
    enqueue(client, q)
    other = enqueue(client, q + "-other")
    for made in ("999999999", "0", "x", "01", "18446744073709551616", other):
        refused(client, method, f"{q}/tasks/{made}{rest}", 404, "task_not_found")
    refused(client, method, f"/v1/queues/no-such/tasks/{other}{rest}", 404, "task_not_found")


@pytest.mark.parametrize("method, rest", [
    ("POST", "/complete"), ("POST", "/fail"), ("POST", "/release"), ("POST", "/extend"), ("POST", "/progress")])
def test_calls_of_a_claim_need_its_token(client, q, method, rest):
    made = enqueue(client, q)
    problem = refused(client, method, f"{q}/tasks/{made}{rest}", 400, "bad_field")
    assert problem["field"] == "token"


def test_methods_that_a_path_does_not_know(client, q):
    for method, path, allow in (("POST", q, "PUT, GET, HEAD, DELETE"), ("PUT", q + "/tasks", "POST, GET, HEAD"), ("GET", q + "/claim", "POST"),
                                ("POST", q + "/tasks/1", "DELETE, GET, HEAD"), ("GET", q + "/tasks/1/complete", "POST")):
        status, headers, problem = client.request(method, path)
        assert (status, problem["code"]) == (405, "method_not_allowed")
        assert sorted(headers["Allow"].split(", ")) == sorted(allow.split(", ")), path


# --- fields ---


LIMITS = [
    ("priority=16", "priority"), ("priority=-1", "priority"), ("priority=high", "priority"), ("delay=367d", "delay"), ("delay=1w", "delay"),
    ("key=" + "k" * 129, "key"), ("group=" + "g" * 129, "group"), ("ttl=367d", "ttl"), ("timeout=x", "timeout"), ("deadline=367d", "deadline"),
    ("on_dep_fail=ignore", "on_dep_fail"), ("dedup=maybe", "dedup"), ("duplicate=merge", "duplicate"), ("max_attempts=1000001", "max_attempts"),
    ("not_before=soon", "not_before"), ("colour=red", "colour"), ("priority=1&priority=2", "priority")]


@pytest.mark.parametrize("query, field", LIMITS)
def test_a_field_out_of_range_is_named(client, q, query, field):
    assert refused(client, "POST", f"{q}/tasks?{query}", 400, "bad_field")["field"] == field
    assert client.request("GET", q)[0] == 404, "nothing was made"


def test_items_of_an_array_are_named(client, q):
    for body, field in (([{}, {"priority": 16}], "tasks[1].priority"), ([{"colour": 1}], "tasks[0].colour"), ([{}, {"after": [1]}], "tasks[1].after"),
                        ([7], "tasks"), ([], "tasks"), ([{}] * 1001, "tasks"), ([{"queue": "x"}], "tasks[0].queue")):
        assert refused(client, "POST", f"{q}/tasks", 400, "bad_field", body)["field"].startswith(field), body
    refused(client, "POST", f"{q}/tasks?priority=3", 400, "bad_field", [{}])
    refused(client, "POST", f"{q}/tasks", 400, "bad_json", "[{},")
    assert client.request("GET", q)[0] == 404


def test_sizes(client, q):
    """A payload of 1 MiB, a result of 64 KiB, progress of 4 KiB, an error of 1 KiB; not a byte more."""
    fits, too_long = "x" * (1024 * 1024 - 2), "x" * (1024 * 1024 - 1)
    made = enqueue(client, q, payload=fits)
    assert see(client, q, made)["payload"] == fits
    assert refused(client, "POST", f"{q}/tasks", 400, "bad_field", {"payload": too_long})["field"] == "payload"
    refused(client, "POST", f"{q}/tasks", 413, "body_too_large", {"payload": "x" * (1536 * 1024)})
    (task,) = claim(client, q)
    path = f"{q}/tasks/{made}"
    for call, field, most in (("progress", "progress", 4096 - 2), ("fail", "error", 1024), ("complete", "result", 65536 - 2)):
        body = {"token": task["token"], field: "x" * (most + 1)}
        assert refused(client, "POST", f"{path}/{call}", 400, "bad_field", body)["field"] == field
        body = {"token": task["token"], field: "x" * most}
        if call == "fail":
            continue
        assert client.request("POST", f"{path}/{call}", body)[0] == 200, call


def test_settings_out_of_range_are_named(client, q):
    for query, field in (("lease=499", "lease"), ("lease=25h", "lease"), ("max_attempts=0", "max_attempts"), ("max_losses=1001", "max_losses"),
                         ("backoff_factor=11", "backoff_factor"), ("backoff_jitter=101", "backoff_jitter"), ("rate_per=999", "rate_per"),
                         ("rate_burst=0", "rate_burst"), ("max_len=0", "max_len"), ("aging=25h", "aging"), ("group_on_fail=stop", "group_on_fail"),
                         ("dedup=yes", "dedup"), ("retain_max=0", "retain_max"), ("concurrency=-1", "concurrency"), ("speed=1", "speed")):
        assert refused(client, "PUT", f"{q}?{query}", 400, "bad_field")["field"] == field


def test_fields_of_next_are_named(client, q):
    for body, field in (({"done": [{"id": "1"}]}, "done[0].token"), ({"done": [{"token": 1}]}, "done[0].id"), ({"claim": {"max": 257}}, "claim.max"),
                        ({"claim": {"waits": 1}}, "claim.waits"), ({"claim": 1}, "claim"), ({"failed": [{"id": "1", "token": 0}]}, "failed[0].token"),
                        ({"done": [{"id": "1", "token": 1}] * 257}, "done")):
        assert refused(client, "POST", f"{q}/next", 400, "bad_field", body)["field"] == field
    assert refused(client, "POST", f"{q}/next?claim.max=257", 400, "bad_field")["field"] == "claim.max"


# --- what makes no sense ---


def test_fields_that_contradict_each_other(client, q):
    made = enqueue(client, q)
    for method, path, body in (
            ("POST", "/tasks", {"delay": "1s", "not_before": 1}), ("POST", "/tasks", {"delay": "2h", "deadline": "1h"}),
            ("POST", "/tasks", {"dedup": "live"}), ("POST", "/tasks", {"duplicate": "reject"}),
            ("POST", "/tasks", {"key": "k", "dedup": "off", "duplicate": "reject"}), ("POST", "/tasks", {"not_before": 253402300799999}),
            ("POST", "/tasks", [{}, {"duplicate": "reject"}]),
            ("PUT", "", {"backoff": "1h", "backoff_max": "1m"}), ("PUT", "", {"dead_letter": q.split("/")[-1]}),
            ("POST", "/claim", {"ttl": "10s", "lease": "L1"}), ("POST", "/next", {"claim": {"ttl": "10s", "lease": "L1"}}),
            ("POST", f"/tasks/{made}/fail", {"token": 1, "permanent": True, "retry_after": "1s"}),
            ("GET", "/tasks?cursor=x", None), ("POST", "/purge?cursor=1.2", None), ("POST", "/redrive?cursor=9.9.9", None)):
        refused(client, method, q + path, 422, "senseless", body)
    assert client.request("GET", q)[2]["totals"]["enqueued"] == 1


def test_a_task_that_needs_one_that_is_not_there(client, q):
    for after in (["999999999"], ["x"], ["#1"]):
        refused(client, "POST", f"{q}/tasks", 404, "task_not_found", {"after": after})
    problem = refused(client, "POST", f"{q}/tasks", 404, "task_not_found", [{}, {"after": ["#2"]}])
    assert "#2 of the tasks" in problem["detail"]


# --- the state says no ---


def test_a_claim_that_is_lost(client, q):
    assert client.request("PUT", q, {"backoff": 0})[0] == 201
    path, token = take(client, q)
    stale = int(token.split("=")[1])
    client.request("POST", f"{path}/release?{token}")
    (again,) = claim(client, q, "worker=w2")
    for call, rest in (("complete", "&result=late"), ("fail", ""), ("release", ""), ("extend", ""), ("progress", "&progress=1")):
        for wrong in (stale, again["token"] + 1):
            problem = refused(client, "POST", f"{path}/{call}?token={wrong}{rest}", 410, "claim_lost")
            assert (problem["state"], problem["attempt"], problem["worker"]) == ("claimed", 2, "w2") and problem["since"]
    task = client.request("GET", path)[2]
    assert (task["state"], task["token"], task["result"], task["progress"]) == ("claimed", again["token"], None, None)
    client.request("POST", f"{path}/complete?token={again['token']}")
    for call, rest in (("complete", ""), ("fail", ""), ("release", ""), ("extend", ""), ("progress", "&progress=1")):
        problem = refused(client, "POST", f"{path}/{call}?token={stale}{rest}", 410, "claim_lost")
        assert problem["state"] == "done"
    for call, rest in (("fail", ""), ("release", ""), ("extend", ""), ("progress", "&progress=1")):
        refused(client, "POST", f"{path}/{call}?token={again['token']}{rest}", 410, "claim_lost")


def test_a_task_that_is_over_is_not_cancelled(client, q):
    path, token = take(client, q)
    client.request("POST", f"{path}/complete?{token}")
    problem = refused(client, "DELETE", path, 409, "task_over")
    assert problem["state"] == "done"
    made = enqueue(client, q)
    assert client.request("DELETE", f"{q}/tasks/{made}")[0] == 200
    status, _, problem = client.request("DELETE", f"{q}/tasks/{made}")
    assert status == 200 or problem["code"] == "task_over", problem


def test_a_lease_that_is_not_there(client, q):
    enqueue(client, q)
    refused(client, "POST", f"{q}/claim?lease=L1fffffffffffff", 404, "lease_not_found")
    refused(client, "POST", f"{q}/next", 404, "lease_not_found", {"claim": {"lease": "L1fffffffffffff"}})
    assert client.request("GET", q)[2]["ready"] == 1


def test_a_full_queue(client, q):
    assert client.request("PUT", q, {"max_len": 2})[0] == 201
    enqueue(client, q)
    problem = refused(client, "POST", f"{q}/tasks", 429, "queue_full", [{}, {}])
    assert (problem["queue"], problem["max_len"]) == (q.split("/")[-1], 2)
    enqueue(client, q, delay="1h")
    status, headers, problem = client.request("POST", f"{q}/tasks", {})
    assert (status, problem["code"], problem["len"]) == (429, "queue_full", 2) and headers["Retry-After"]
    claim(client, q)
    enqueue(client, q)


def test_a_queue_that_drains(client, q):
    made = enqueue(client, q)
    assert client.request("POST", f"{q}/drain")[2]["draining"] is True
    problem = refused(client, "POST", f"{q}/tasks", 409, "queue_draining", {})
    assert problem["draining"] is True
    refused(client, "POST", f"{q}/tasks", 409, "queue_draining", [{}])
    assert [task["id"] for task in claim(client, q)] == [made], "what is there is worked off"
    assert client.request("POST", f"{q}/resume")[2]["draining"] is False
    enqueue(client, q)


def test_a_paused_queue_hands_nothing_out(client, q):
    made = enqueue(client, q)
    assert client.request("POST", f"{q}/pause")[2]["paused"] is True
    assert claim(client, q) == []
    enqueue(client, q)
    assert client.request("POST", f"{q}/resume")[2]["paused"] is False
    assert [task["id"] for task in claim(client, q)] == [made]


def test_a_queue_with_live_tasks_is_not_deleted(client, q):
    made = enqueue(client, q)
    refused(client, "DELETE", q, 409, "queue_not_empty")
    assert client.request("DELETE", f"{q}?force=true")[0] == 200
    refused(client, "GET", q, 404, "queue_not_found")
    refused(client, "GET", f"{q}/tasks/{made}", 404, "task_not_found")


def test_claims_that_wait_end_with_the_queue(node, client, q):
    from node import until
    client.request("PUT", q)
    with node.client() as other:
        other.send("POST", f"{q}/claim?wait=60s")
        until(lambda: client.request("GET", q)[2]["waiting_claims"] == 1, "the claim waits")
        assert client.request("DELETE", f"{q}?force=true")[0] == 200
        response = other.connection.getresponse()
        assert response.status == 404 and b"queue_not_found" in response.read()


def test_only_dead_tasks_are_redriven(client, q):
    path, token = take(client, q)
    client.request("POST", f"{path}/fail?{token}&permanent=true")
    made = path.split("/")[-1]
    status, _, answer = client.request("POST", f"{q}/redrive?id={made}")
    assert status == 200 and answer["redriven"] == 1 and client.request("GET", path)[2]["state"] == "ready"
    (task,) = claim(client, q)
    client.request("POST", f"{path}/complete?token={task['token']}")
    refused(client, "POST", f"{q}/redrive?id={made}", 409, "task_over")
    refused(client, "POST", f"{q}/redrive?id=999999999", 404, "task_not_found")


def test_a_stale_fence_stops_any_write(client, q):
    name = q.split("/")[-1]
    token = client.request("POST", f"/v1/locks/{name}/acquire?ttl=1m")[2]["token"]
    fence = {"Coord-Fence": f"{name}:{token + 1}"}
    refused(client, "POST", f"{q}/tasks", 412, "fenced", {}, fence)
    refused(client, "POST", f"{q}/tasks", 412, "fenced", [{}], fence)
    refused(client, "POST", f"{q}/claim", 412, "fenced", None, fence)
    assert client.request("POST", f"{q}/tasks", [{}], {"Coord-Fence": f"{name}:{token}"})[0] == 201
