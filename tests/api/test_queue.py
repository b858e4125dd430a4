"""Task queues over HTTP: what each call answers when all goes well. The state machine itself: tests/unit/test_queue_*.c."""

import itertools
import re
import threading
import time

import pytest

from node import until

numbers = itertools.count(1)


@pytest.fixture
def q():
    return f"/v1/queues/q{next(numbers)}"


def enqueue(client, q, **task):
    status, _, made = client.request("POST", f"{q}/tasks", task)
    assert status == 201, made
    return made["id"]


def claim(client, q, query="worker=w"):
    status, _, answer = client.request("POST", f"{q}/claim?{query}")
    assert status == 200, answer
    return answer["tasks"]


def take(client, q, **task):
    """A task of its own, claimed: its path, and the token as a query."""
    made = enqueue(client, q, **task)
    (claimed,) = claim(client, q)
    assert claimed["id"] == made
    return f"{q}/tasks/{made}", f"token={claimed['token']}"


def see(client, q, made, query=""):
    status, _, task = client.request("GET", f"{q}/tasks/{made}{query}")
    assert status == 200, task
    return task


# --- making tasks ---


def test_enqueue_answers_what_it_made(client, q):
    status, headers, made = client.request("POST", f"{q}/tasks", {"payload": {"to": "a@b"}, "priority": 3, "key": "k", "group": "g"})
    assert status == 201 and made == {"id": made["id"], "queue": q.split("/")[-1], "state": "ready", "deduplicated": False}
    assert re.fullmatch(r"[1-9]\d*", made["id"]) and headers["Coord-Id"] == made["id"]
    task = see(client, q, made["id"])
    assert task["payload"] == {"to": "a@b"} and (task["priority"], task["key"], task["group"]) == (3, "k", "g")
    assert (task["attempts"], task["failures"], task["losses"], task["releases"]) == (0, 0, 0, 0)
    assert task["state"] == "ready" and task["result"] is None and task["worker"] is None and task["dead_reason"] is None


def test_every_option_works_as_a_parameter(client, q):
    done = enqueue(client, q)
    query = ("payload=hello+world&priority=15&delay=1h&key=k&group=g&ttl=2h&timeout=3m&deadline=3h&max_attempts=4&max_losses=2"
             f"&after={done}&on_dep_fail=run&dedup=waiting&duplicate=reject")
    status, _, made = client.request("POST", f"{q}/tasks?{query}")
    assert status == 201 and made["state"] == "blocked"
    task = see(client, q, made["id"])
    assert task["payload"] == "hello world" and task["priority"] == 15 and task["after"] == [done]
    assert (task["max_attempts"], task["max_losses"], task["timeout_ms"]) == (4, 2, 180000)


def test_ids_are_of_the_whole_cluster(client, q):
    ids = [int(enqueue(client, queue)) for queue in (q, q + "-other") * 3]
    assert ids == sorted(set(ids)), "the next one of all, whichever queue it is for"


def test_the_states_that_a_task_begins_in(client, q):
    ready = enqueue(client, q)
    for task, state in (({"delay": "1h"}, "scheduled"), ({"not_before": int(time.time() * 1000) + 3600_000}, "scheduled"),
                        ({"after": [ready]}, "blocked"), ({"not_before": 1}, "ready")):
        assert client.request("POST", f"{q}/tasks", task)[2]["state"] == state, task


def test_an_array_is_all_or_none(client, q):
    status, headers, answer = client.request("POST", f"{q}/tasks", [{"payload": n} for n in range(1000)])
    assert status == 201 and len(answer["tasks"]) == 1000 and headers["Coord-Id"] == answer["tasks"][0]["id"]
    ids = [int(made["id"]) for made in answer["tasks"]]
    assert ids == list(range(ids[0], ids[0] + 1000))
    status, _, problem = client.request("POST", f"{q}/tasks", [{"payload": 1}, {"payload": 2, "after": ["999999999"]}])
    assert (status, problem["code"]) == (404, "task_not_found") and "#2 of the tasks" in problem["detail"]
    assert client.request("GET", q)[2]["ready"] == 1000


def test_tasks_of_an_array_may_need_those_before(client, q):
    status, _, answer = client.request("POST", f"{q}/tasks", [{"payload": 1}, {"payload": 2}, {"payload": 3, "after": ["#1", "#2"]}])
    first, second, third = (made["id"] for made in answer["tasks"])
    assert status == 201 and [made["state"] for made in answer["tasks"]] == ["ready", "ready", "blocked"]
    for result, task in (("a", first), ("b", second)):
        (claimed,) = claim(client, q)
        assert claimed["id"] == task
        assert client.request("POST", f"{q}/tasks/{task}/complete?token={claimed['token']}&result={result}")[0] == 200
    until(lambda: see(client, q, third)["state"] == "ready", "what it needs is done")
    (claimed,) = claim(client, q)
    assert claimed["id"] == third
    assert sorted((one["id"], one["state"], one["result"]) for one in claimed["inputs"]) == sorted([(first, "done", "a"), (second, "done", "b")])


def test_a_key_is_for_one_live_task(client, q):
    made = enqueue(client, q, key="k", payload=1)
    status, _, again = client.request("POST", f"{q}/tasks", {"key": "k", "payload": 2})
    assert status == 200 and again["id"] == made and again["deduplicated"] is True
    status, _, problem = client.request("POST", f"{q}/tasks", {"key": "k", "duplicate": "reject"})
    assert (status, problem["code"], problem["id"], problem["state"]) == (409, "task_duplicate", made, "ready")
    status, _, replaced = client.request("POST", f"{q}/tasks", {"key": "k", "payload": 3, "duplicate": "replace"})
    assert status == 200 and replaced["id"] == made and see(client, q, made)["payload"] == 3
    assert enqueue(client, q, key="k", dedup="off") != made
    assert client.request("DELETE", f"{q}/tasks/{made}")[0] == 200
    assert enqueue(client, q, key="k") != made, "the key is free with its task"


# --- claims ---


def test_a_claim_tells_all_that_a_worker_needs(client, q):
    made = enqueue(client, q, payload=[1], key="k", group="g", timeout="1m", deadline="1h")
    status, headers, answer = client.request("POST", f"{q}/claim?worker=w1&ttl=20s")
    (task,) = answer["tasks"]
    assert status == 200 and (task["id"], task["payload"], task["key"], task["group"], task["attempt"]) == (made, [1], "k", "g", 1)
    assert headers["Coord-Id"] == made and headers["Coord-Token"] == str(task["token"]) and headers["Coord-Lease"] == task["lease"]
    assert headers["Coord-Expires-In-Ms"] == str(task["expires_in_ms"]) and 0 < task["expires_in_ms"] <= 20000
    assert task["timeout_ms"] == 60000 and task["deadline"] and task["inputs"] == [] and task["progress"] is None
    seen = see(client, q, made)
    assert (seen["state"], seen["worker"], seen["attempts"], seen["token"]) == ("claimed", "w1", 1, task["token"])
    assert client.request("GET", f"/v1/leases/{task['lease']}")[2]["ttl_ms"] == 20000


def test_no_tasks_is_an_empty_list(client, q):
    status, headers, answer = client.request("POST", f"{q}/claim")
    assert status == 200 and answer["tasks"] == [] and "Coord-Token" not in headers and "Coord-Id" not in headers
    begin = time.monotonic()
    assert claim(client, q, "wait=300ms") == [] and time.monotonic() - begin > 0.29


def test_a_claim_waits_for_a_task(node, client, q):
    got = []

    def work():
        with node.client() as other:
            got.extend(claim(other, q, "worker=w&wait=60s&max=5"))

    worker = threading.Thread(target=work)
    worker.start()
    until(lambda: client.request("GET", q)[0] == 200 and client.request("GET", q)[2]["waiting_claims"] == 1, "the claim waits")
    made = enqueue(client, q)
    worker.join(60)
    assert [task["id"] for task in got] == [made]


def test_claims_take_several_and_share_a_lease(client, q):
    ids = [made["id"] for made in client.request("POST", f"{q}/tasks", [{}] * 5)[2]["tasks"]]
    tasks = claim(client, q, "worker=w&max=3")
    assert [task["id"] for task in tasks] == ids[:3] and len({task["lease"] for task in tasks}) == 1
    lease = client.request("POST", "/v1/leases?ttl=1m")[2]["lease"]
    assert {task["lease"] for task in claim(client, q, f"worker=w&max=256&lease={lease}")} == {lease}
    held = client.request("GET", f"/v1/leases/{lease}")[2]
    assert any(f"{q[3:]}/tasks/{ids[3]}" in str(each) for each in held.values()), held


def test_a_retried_claim_gets_the_same_tasks(client, q):
    enqueue(client, q), enqueue(client, q)
    first = client.request("POST", f"{q}/claim?worker=w", headers={"Idempotency-Key": f"claim-{q}"})
    again = client.request("POST", f"{q}/claim?worker=w", headers={"Idempotency-Key": f"claim-{q}"})
    assert again[1]["Idempotency-Replayed"] == "true"
    assert [(t["id"], t["token"]) for t in again[2]["tasks"]] == [(t["id"], t["token"]) for t in first[2]["tasks"]]
    assert client.request("GET", q)[2]["claimed"] == 1


def test_a_retried_array_is_made_once(client, q):
    first = client.request("POST", f"{q}/tasks", [{}, {}], {"Idempotency-Key": f"many-{q}"})
    again = client.request("POST", f"{q}/tasks", [{}, {}], {"Idempotency-Key": f"many-{q}"})
    assert first[0] == again[0] == 201 and again[2] == first[2] and again[1]["Idempotency-Replayed"] == "true"
    status, _, problem = client.request("POST", f"{q}/tasks", [{}, {}, {}], {"Idempotency-Key": f"many-{q}"})
    assert (status, problem["code"]) == (422, "idempotency_key_reused")
    assert client.request("GET", q)[2]["ready"] == 2


def test_a_lease_that_ends_gives_its_task_back(client, q):
    assert client.request("PUT", q, {"backoff": 0})[0] == 201
    made = enqueue(client, q)
    lease = client.request("POST", "/v1/leases?ttl=1m")[2]["lease"]
    (task,) = claim(client, q, f"worker=w&lease={lease}")
    assert client.request("DELETE", f"/v1/leases/{lease}")[0] in (200, 204)
    seen = see(client, q, made)
    assert (seen["state"], seen["losses"], seen["failures"]) == ("ready", 1, 0)
    status, _, problem = client.request("POST", f"{q}/tasks/{made}/complete?token={task['token']}")
    assert (status, problem["code"], problem["state"]) == (410, "claim_lost", "ready")


def test_a_claim_whose_worker_left_comes_back(node, client, q):
    waiting = node.client()
    waiting.send("POST", f"{q}/claim?worker=gone&wait=60s")
    until(lambda: client.request("GET", q)[2].get("waiting_claims") == 1, "the claim waits")
    waiting.connection.sock.close()
    until(lambda: client.request("GET", q)[2]["waiting_claims"] == 0, "it is gone")
    made = enqueue(client, q)
    assert see(client, q, made)["state"] == "ready"


# --- the end of a claim ---


def test_complete_with_a_result_and_once_more(client, q):
    path, token = take(client, q)
    status, headers, told = client.request("POST", f"{path}/complete?{token}", {"result": {"n": 1}})
    assert status == 200 and told["state"] == "done" and headers["Coord-Id"] == told["id"]
    assert client.request("POST", f"{path}/complete?{token}")[2]["state"] == "done", "the first answer may have been lost"
    task = client.request("GET", path)[2]
    assert task["result"] == {"n": 1} and task["history"][0]["end"] == "done" and task["worker"] == "w"


def test_fail_tries_again_later(client, q):
    path, token = take(client, q)
    status, _, told = client.request("POST", f"{path}/fail?{token}&error=no+route&retry_after=1h")
    assert status == 200 and (told["state"], told["failures"]) == ("scheduled", 1) and told["not_before"]
    task = client.request("GET", path)[2]
    assert (task["error"], task["history"][0]["end"], task["history"][0]["error"]) == ("no route", "failed", "no route")
    path, token = take(client, q)
    told = client.request("POST", f"{path}/fail?{token}&permanent=true")[2]
    assert (told["state"], told["dead_reason"]) == ("dead", "permanent")


def test_release_costs_nothing(client, q):
    path, token = take(client, q, max_attempts=1)
    told = client.request("POST", f"{path}/release?{token}")[2]
    assert (told["state"], told["releases"], told["failures"], told["losses"]) == ("ready", 1, 0, 0)
    (task,) = claim(client, q)
    told = client.request("POST", f"{path}/release?token={task['token']}&delay=1h")[2]
    assert (told["state"], told["releases"], task["attempt"]) == ("scheduled", 2, 2)


def test_extend_and_progress(client, q):
    path, token = take(client, q)
    status, headers, told = client.request("POST", f"{path}/extend?{token}")
    assert status == 200 and 0 < told["expires_in_ms"] <= told["ttl_ms"] == 30000 and not told["cancel_requested"]
    assert headers["Coord-Expires-In-Ms"] == str(told["expires_in_ms"]) and headers["Coord-Lease"] == told["lease"]
    assert client.request("POST", f"{path}/progress?{token}", {"progress": {"pages": 7}})[0] == 200
    assert client.request("GET", path)[2]["progress"] == {"pages": 7}
    client.request("POST", f"{path}/release?{token}")
    (again,) = claim(client, q)
    assert again["progress"] == {"pages": 7}, "for the next attempt"


def test_next_finishes_and_takes_more(client, q):
    client.request("POST", f"{q}/tasks", [{"payload": n} for n in range(5)])
    one, two, three = claim(client, q, "worker=w&max=3")
    body = {"done": [{"id": one["id"], "token": one["token"], "result": 1}, {"id": two["id"], "token": two["token"] - 1}, {"id": "99999999", "token": 1}],
            "failed": [{"id": three["id"], "token": three["token"], "error": "x", "permanent": True}], "claim": {"worker": "w", "max": 2}}
    status, headers, answer = client.request("POST", f"{q}/next", body)
    assert status == 200
    assert [(each["id"], each["code"], each["state"]) for each in answer["finished"]] == [
        (one["id"], "done", "done"), (two["id"], "claim_lost", "claimed"), ("99999999", "task_not_found", None), (three["id"], "failed", "dead")]
    assert [task["payload"] for task in answer["tasks"]] == [3, 4] and headers["Coord-Id"] == answer["tasks"][0]["id"]
    assert headers["Coord-Token"] == str(answer["token"])
    answer = client.request("POST", f"{q}/next", {"done": [{"id": task["id"], "token": task["token"]} for task in answer["tasks"]]})[2]
    assert answer["tasks"] == [] and len(answer["finished"]) == 2


def test_next_waits_within_its_claim(node, client, q):
    """The wait stands in a record; as a parameter too."""
    begin = time.monotonic()
    assert client.request("POST", f"{q}/next", {"claim": {"worker": "w", "wait": "300ms"}})[2]["tasks"] == []
    assert time.monotonic() - begin > 0.29
    with node.client() as other:
        other.send("POST", f"{q}/next?claim.worker=w&claim.max=2&claim.wait=60s")
        until(lambda: client.request("GET", q)[2].get("waiting_claims") == 1, "it waits")
        made = enqueue(client, q, payload=7)
        answer = other.connection.getresponse().read()
        assert f'"id":"{made}"'.encode() in answer


def test_a_result_can_be_waited_for(node, client, q):
    made = enqueue(client, q)
    status, _, body = client.request("GET", f"{q}/tasks/{made}?wait=200ms")
    assert status == 304 and body == ""
    with node.client() as other:
        other.send("GET", f"{q}/tasks/{made}?wait=60s")
        (task,) = claim(client, q)
        client.request("POST", f"{q}/tasks/{made}/complete?token={task['token']}&result=42")
        assert b'"result":"42"' in other.connection.getresponse().read()


def test_cancel(client, q):
    made = enqueue(client, q)
    status, _, told = client.request("DELETE", f"{q}/tasks/{made}?reason=changed+my+mind")
    assert status == 200 and (told["state"], told["cancel_reason"]) == ("cancelled", "changed my mind")
    path, token = take(client, q)
    told = client.request("DELETE", f"{path}?reason=stop")[2]
    assert (told["state"], told["cancel_requested"]) == ("claimed", True)
    extended = client.request("POST", f"{path}/extend?{token}")[2]
    assert (extended["cancel_requested"], extended["cancel_reason"]) == (True, "stop")
    lease = client.request("GET", path)[2]["lease"]
    assert "stop" in str(client.request("POST", f"/v1/leases/{lease}/renew")[2]), "the holder of the lease is told"
    assert client.request("POST", f"{path}/release?{token}")[2]["state"] == "cancelled"
    path, token = take(client, q)
    assert client.request("DELETE", f"{path}?grace=0")[2]["state"] == "cancelled", "at once"
    assert client.request("POST", f"{path}/complete?{token}")[0] == 410


# --- in a transaction ---


def test_a_task_is_done_together_with_its_effect(client, q):
    path, token = take(client, q)
    name, made = q.split("/")[-1], path.split("/")[-1]
    token = int(token.split("=")[1])
    wrong = [{"op": "kv.put", "key": name, "value": "wrong"}, {"op": "queue.complete", "queue": name, "id": made, "token": token + 1}]
    status, _, answer = client.request("POST", "/v1/txn", {"then": wrong})
    assert (status, answer["code"], answer["refused"][0]["code"]) == (409, "txn_refused", "claim_lost")
    assert client.request("GET", f"/v1/kv/{name}")[0] == 404
    right = [{"op": "kv.put", "key": name, "value": "right"}, {"op": "queue.complete", "queue": name, "id": made, "token": token},
             {"op": "queue.enqueue_many", "queue": name, "tasks": [{"payload": 1}, {"payload": 2}]},
             {"op": "queue.claim", "queue": name, "worker": "w"}]
    status, _, answer = client.request("POST", "/v1/txn", {"then": right})
    assert status == 200 and [each["status"] for each in answer["results"]] == [201, 200, 201, 200]
    assert answer["results"][3]["result"]["tasks"][0]["payload"] == 1
    for waits in ({"op": "queue.claim", "queue": name, "wait": 5}, {"op": "queue.next", "queue": name, "claim": {"wait": 5}}):
        status, _, answer = client.request("POST", "/v1/txn", {"then": [waits]})
        assert (status, answer["code"]) == (422, "senseless") and "does not wait" in answer["detail"], waits


# --- figures ---


def test_metrics_show_how_queues_stand(client, q):
    path, token = take(client, q)
    client.request("POST", f"{path}/complete?{token}")
    enqueue(client, q)
    name = q.split("/")[-1]
    lines = [f'coordd_queue_tasks{{queue="{name}",state="ready"}} 1', f'coordd_queue_tasks{{queue="{name}",state="done"}} 1',
             f'coordd_queue_events_total{{queue="{name}",event="enqueued"}} 2', f'coordd_queue_attempts_total{{queue="{name}",outcome="done"}} 1',
             f'coordd_queue_run_seconds_count{{queue="{name}"}} 1', f'coordd_queue_claims_waiting{{queue="{name}"}} 0']
    until(lambda: set(lines) <= set(client.request("GET", "/metrics")[2].splitlines()), "a look was taken")
    until(lambda: f'coordd_queue_oldest_ready_seconds{{queue="{name}"}} 0.000' not in client.request("GET", "/metrics")[2], "it grows older")
    status, _, shown = client.request("GET", q)
    assert shown["oldest_ready_ms"] > 0 and shown["totals"]["done"] == 1 and shown["rates"]["1m"]["done"] == 1
