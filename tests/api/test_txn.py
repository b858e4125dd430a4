"""Transactions over HTTP: any operations of any primitives, all or nothing, in one entry."""

import json
import subprocess
import threading
from pathlib import Path

import pytest

from conftest import Raw
from test_statuses import acquire, lease, problem

MIB = 1 << 20


@pytest.fixture
def key(name):
    return name.replace("lock", "txn")


def txn(client, then=(), conditions=(), otherwise=(), status=200, headers=None):
    body = {"if": list(conditions), "then": list(then), "else": list(otherwise)}
    answer = client.request("POST", "/v1/txn", {k: v for k, v in body.items() if v}, headers)
    assert answer[0] == status, answer[2]
    return answer[2]


def refused(client, body, code="txn_refused", status=409):
    return problem(client.request("POST", "/v1/txn", body), status, code)


def put(key, value="", **more):
    return {"op": "kv.put", "key": key, "value": value, **more}


def value_of(client, key):
    status, _, answer = client.request("GET", f"/v1/kv/{key}", headers={"Accept": "application/json"})
    return answer["value"] if status == 200 else None


# --- what it does ---


def test_nothing_is_done_well(client):
    status, headers, answer = client.request("POST", "/v1/txn")
    assert status == 200 and set(answer) == {"succeeded", "results", "revision"}
    assert answer["succeeded"] is True and answer["results"] == []
    assert int(headers["Coord-Revision"]) == answer["revision"] > 0


def test_operations_of_several_primitives_at_one_revision(client, name, key):
    token = acquire(client, name)["token"]
    answer = txn(client, [put(key, "done"), {"op": "lock.release", "name": name, "token": token},
                          {"op": "election.campaign", "name": key, "candidate": "n1"}, {"op": "lease.create", "ttl": "5s"}])
    assert [r["op"] for r in answer["results"]] == ["kv.put", "lock.release", "election.campaign", "lease.create"]
    assert [(r["status"], r["code"]) for r in answer["results"]] == [
        (201, "created"), (200, "ok"), (201, "created"), (201, "created")]
    assert answer["results"][0]["result"]["revision"] == answer["revision"]
    assert answer["results"][2]["result"]["token"] == answer["revision"]
    assert client.request("GET", f"/v1/locks/{name}")[2]["holders"] == []
    assert client.request("GET", f"/v1/elections/{key}")[2]["leader"]["candidate"] == "n1"
    made = answer["results"][3]["result"]["lease"]
    assert client.request("GET", f"/v1/leases/{made}")[2]["ttl_ms"] == 5000


def test_each_operation_sees_those_before_it(client, key):
    answer = txn(client, [{"op": "kv.get", "key": key}, put(key, "now"), {"op": "kv.get", "key": key},
                          {"op": "kv.list", "prefix": key}])
    assert answer["results"][0]["code"] == "key_not_found"
    assert answer["results"][2]["result"]["value"] == "now"
    assert [k["key"] for k in answer["results"][3]["result"]["keys"]] == [key]


def test_results_are_those_of_the_operations_alone(client, name, key):
    """The same members as the operation's own reply has."""
    alone = client.request("POST", f"/v1/locks/{name}/acquire?owner=me")[2]
    within = txn(client, [{"op": "lock.acquire", "name": key, "owner": "me"}])["results"][0]["result"]
    assert set(alone) == set(within)
    view = client.request("GET", f"/v1/locks/{key}")[2]
    within = txn(client, [{"op": "lock.get", "name": key}])["results"][0]["result"]
    within["holders"][0]["expires_in_ms"] = view["holders"][0]["expires_in_ms"]
    assert within == view | {"revision": within["revision"]}


def test_expires_in_ms_within_a_transaction_counts_down(client, key):
    grant = txn(client, [{"op": "lock.acquire", "name": key, "ttl": "20s"}])["results"][0]["result"]
    assert 0 < grant["expires_in_ms"] <= 20000
    assert client.request("POST", f"/v1/locks/{key}/release?token={grant['token']}")[0] == 200


def test_a_waiter_is_granted_by_a_transaction(client, node, name, key):
    token = acquire(client, name)["token"]
    with Raw(node.port) as waiter:
        waiter.request("POST", f"/v1/locks/{name}/acquire?wait=60s&owner=next")
        while not client.request("GET", f"/v1/locks/{name}")[2]["waiters"]:
            pass
        answer = txn(client, [put(key), {"op": "lock.release", "name": name, "token": token}])
        grant = json.loads(waiter.reply().body)
    assert (grant["owner"], grant["token"]) == ("next", answer["revision"])


# --- conditions ---


def holds(client, *conditions):
    return txn(client, conditions=conditions)["succeeded"]


def test_conditions_on_locks_elections_and_leases(client, name, key):
    token = acquire(client, name)["token"]
    term = client.request("POST", f"/v1/elections/{key}/campaign?candidate=n1")[2]["token"]
    own = lease(client)
    assert holds(client, {"op": "lock.check", "name": name, "token": token})
    assert not holds(client, {"op": "lock.check", "name": name, "token": token - 1})
    assert holds(client, {"op": "election.check", "name": key, "token": term})
    assert not holds(client, {"op": "election.check", "name": key, "token": term - 1})
    assert holds(client, {"op": "lease.get", "id": own})
    assert not holds(client, {"op": "lease.get", "id": "Lfffffffffff"})
    assert holds(client, {"op": "lock.get", "name": "never held"})


def test_conditions_on_keys(client, key):
    first = client.request("PUT", f"/v1/kv/{key}", b"5")[2]["revision"]
    for fact, wrong in (({"value": "5"}, {"value": "6"}), ({"revision": first}, {"revision": first + 1}),
                        ({"version": 1}, {"version": 2}), ({"exists": True}, {"exists": False})):
        assert holds(client, {"op": "kv.compare", "key": key, **fact}), fact
        assert not holds(client, {"op": "kv.compare", "key": key, **wrong}), wrong
    assert holds(client, {"op": "kv.compare", "key": key + "x", "exists": False})
    assert holds(client, {"op": "kv.compare", "key": key, "value": {"base64": "NQ=="}})


def test_all_conditions_must_hold(client, key):
    yes, no = {"op": "kv.compare", "key": key, "exists": False}, {"op": "kv.compare", "key": key, "exists": True}
    for conditions, succeeded in (([], True), ([yes], True), ([yes, yes], True), ([yes, no], False), ([no, yes], False)):
        answer = txn(client, [{"op": "lock.get", "name": "then"}], conditions, [{"op": "lock.get", "name": "else"}])
        assert answer["succeeded"] is succeeded
        assert [r["result"]["name"] for r in answer["results"]] == ["then" if succeeded else "else"]


def test_the_other_branch_is_all_or_nothing_too(client, key):
    answer = refused(client, {"if": [{"op": "kv.compare", "key": key, "exists": True}],
                              "else": [put(key), {"op": "lock.release", "name": key, "token": 1}]})
    assert (answer["succeeded"], answer["position"]) == (False, 1)
    assert value_of(client, key) is None


def test_a_condition_that_makes_no_sense_is_none_that_fails(client, key):
    """A revision that is still to come, say: neither branch is done."""
    answer = refused(client, {"if": [{"op": "kv.compare", "key": key, "exists": False}, {"op": "kv.get", "key": key, "at": (1 << 53) - 1}],
                              "then": [put(key, "then")], "else": [put(key, "else")]})
    assert (answer["succeeded"], answer["position"]) == (False, 1)
    assert (answer["refused"][0]["op"], answer["refused"][0]["code"]) == ("kv.get", "revision_ahead")
    assert value_of(client, key) is None


def test_nested_transactions_decide_first(client, key):
    """Conditions of nested ones look at the state before, too."""
    absent = {"op": "kv.compare", "key": key, "exists": False}
    answer = txn(client, [put(key, "outer"), {"op": "txn", "if": [absent], "then": [put(key + "2", "then")],
                                              "else": [put(key + "2", "else")]}])
    inner = answer["results"][1]
    assert (inner["op"], inner["status"], inner["result"]["succeeded"]) == ("txn", 200, True)
    assert inner["result"]["revision"] == answer["revision"]
    assert value_of(client, key + "2") == "then"


# --- refusals ---


def test_a_refused_operation_undoes_all(client, node, name, key):
    token = acquire(client, name)["token"]
    own = lease(client)
    answer = refused(client, {"then": [
        put(key, "1", lease=own), {"op": "lock.release", "name": name, "token": token},
        {"op": "election.campaign", "name": key, "candidate": "x"}, {"op": "lease.revoke", "id": own},
        {"op": "lock.release", "name": key, "token": 7}]})
    assert (answer["succeeded"], answer["position"]) == (True, 4)
    (operation,) = answer["refused"]
    assert (operation["op"], operation["status"], operation["code"]) == ("lock.release", 409, "stale_token")
    assert operation["result"]["name"] == key
    assert value_of(client, key) is None
    assert client.request("GET", f"/v1/locks/{name}/check?token={token}")[0] == 200
    assert client.request("GET", f"/v1/elections/{key}")[2]["leader"] is None
    assert client.request("GET", f"/v1/leases/{own}")[2]["holds"] == []
    status, _, renewed = client.request("POST", f"/v1/leases/{own}/renew")
    assert status == 200 and renewed["expires_in_ms"] > 0


def test_each_refusal_says_why(client, name, key):
    acquire(client, name, "owner=me")
    revision = client.request("PUT", f"/v1/kv/{key}", b"1")[2]["revision"]
    for operation, status, code, fact in (
            ({"op": "lock.acquire", "name": name}, 423, "lock_held", {"waiters": 0}),
            (put(key, if_match=revision - 1), 412, "precondition_failed", {"revision": revision}),
            (put(key, if_none_match=True), 412, "precondition_failed", {"version": 1}),
            ({"op": "lease.revoke", "id": "Lfffffffffff"}, 404, "lease_not_found", {}),
            ({"op": "election.resign", "name": key, "token": 3}, 409, "not_leader", {})):
        answer = refused(client, {"then": [{"op": "lock.get", "name": name}, operation]})
        (one,) = answer["refused"]
        assert (answer["position"], one["op"], one["status"], one["code"]) == (1, operation["op"], status, code)
        for fact_name, value in fact.items():
            assert one["result"][fact_name] == value


def test_a_nested_refusal_has_its_own_position(client, key):
    answer = refused(client, {"then": [put(key), {"op": "txn", "then": [put(key + "2"), put(key, if_match=1)]}]})
    assert answer["position"] == 1
    (inner,) = answer["refused"]
    assert (inner["op"], inner["status"], inner["result"]["position"]) == ("txn", 409, 1)
    assert value_of(client, key) is None and value_of(client, key + "2") is None


def test_what_is_refused_is_not_seen_by_watches(client, key):
    before = client.request("PUT", f"/v1/kv/{key}", b"1")[2]["revision"]
    refused(client, {"then": [put(key, "2"), put(key + "x", if_match=9)]})
    answer = client.request("GET", f"/v1/kv/{key}", headers={"Accept": "application/json"})[2]
    assert (answer["revision"], answer["version"]) == (before, 1)


def test_once_an_entry(client, name, key):
    """A token is the revision of its entry, so an entry grants a lock once, and changes a key once."""
    answer = refused(client, {"then": [{"op": "lock.acquire", "name": name, "mode": "shared"},
                                       {"op": "lock.acquire", "name": name, "mode": "shared"}]})
    assert (answer["position"], answer["refused"][0]["code"]) == (1, "senseless")
    answer = refused(client, {"then": [put(key, "1"), put(key, "2")]})
    assert "duplicate key" in answer["refused"][0]["detail"]


# --- what is no transaction ---


@pytest.mark.parametrize("body, why", [
    ({"if": [{"op": "lock.acquire", "name": "a"}]}, "a condition must be a query"),
    ({"if": [{"op": "txn"}]}, "a condition must be a query"),
    ({"then": [{"op": "lock.acquire", "name": "a", "wait": "5s"}]}, "a transaction does not wait"),
    ({"else": [{"op": "election.campaign", "name": "a", "candidate": "x", "wait": 1}]}, "a transaction does not wait"),
    ({"if": [{"op": "wait", "until": ["revision:1"], "wait": "5s"}]}, "a transaction does not wait"),
    ({"then": [{"op": "txn", "then": [{"op": "txn", "then": [{"op": "txn", "then": [{"op": "txn"}]}]}]}]}, "4 deep"),
    ({"then": [{"op": "txn", "if": [{"op": "kv.compare", "key": "a", "exists": True}] * 64, "else": [{"op": "lock.get", "name": "a"}] * 64}]},
     "at most 128"),
])
def test_422_senseless(client, body, why):
    assert why in refused(client, body, "senseless", 422)["detail"]


@pytest.mark.parametrize("body, field", [
    ({"then": [{"op": "kv.put", "key": "a"}, {"op": "lock.release", "name": "x", "token": "7"}]}, "then[1].token"),
    ({"then": [{"op": "lock.release", "name": "x"}]}, "then[0].token"),
    ({"if": [{"op": "kv.compare", "key": "a", "exists": 1}]}, "if[0].exists"),
    ({"else": [{"op": "kv.put", "key": ""}]}, "else[0].key"),
    ({"then": [{"op": "kv.put", "key": "k" * 481}]}, "then[0].key"),
    ({"then": [{"op": "kv.put", "key": "a", "colour": 1}]}, "then[0].colour"),
    ({"then": [{"op": "lock.acquire", "name": "a", "ttl": "1ms"}]}, "then[0].ttl"),
    ({"then": [{"op": "txn", "then": [{"op": "txn", "else": [{"op": "kv.get"}]}]}]}, "then[0].then[0].else[0].key"),
    ({"then": [{"op": "kv.get", "key": "a"}, {"op": "kv.putt", "key": "a"}]}, "then[1].op"),
    ({"then": [{"op": "lock.renew", "name": "a", "token": 1}]}, "then[0].op"),
    ({"then": [{"op": "watch"}]}, "then[0].op"),
    ({"then": [{"op": "guarded"}]}, "then[0].op"),
    ({"then": [{"op": "wait.cancel", "index": 1}]}, "then[0].op"),
    ({"then": [{"op": "lease.expire"}]}, "then[0].op"),
    ({"then": [{"op": "cluster.get"}]}, "then[0].op"),
    ({"then": [{"key": "a"}]}, "then[0].op"),
    ({"then": [{"op": 7}]}, "then[0].op"),
    ({"then": ["kv.get"]}, "then"),
    ({"then": {"op": "kv.get"}}, "then"),
    ({"if": [{"op": "lock.get", "name": "a"}] * 129}, "if"),
    ({"when": []}, "when"),
    ({"then": [{"op": "kv.put", "key": "a", "value": {"base64": "??"}}]}, "then[0].value"),
])
def test_400_names_the_field_by_its_path(client, body, field):
    answer = refused(client, body, "bad_field", 400)
    assert answer["field"] == field, answer


def test_400_a_member_twice(client):
    status, _, answer = client.request("POST", "/v1/txn", '{"then":[{"op":"kv.put","key":"a","key":"b"}]}')
    assert (status, answer["code"]) == (400, "bad_json")


def test_128_operations(client, key):
    answer = txn(client, [put(f"{key}/{i}") for i in range(128)])
    assert len(answer["results"]) == 128
    assert client.request("GET", f"/v1/kv?prefix={key}/&limit=1000")[2]["count"] == 128
    refused(client, {"then": [put(f"{key}/{i}") for i in range(129)]}, "bad_field", 400)


def test_bodies_up_to_a_mebibyte_and_a_half(client, key):
    room = MIB * 3 // 2 - len(json.dumps({"then": [put(key), put(key + "2")]}))
    values = ["x" * MIB, "y" * (room - MIB)]
    answer = txn(client, [put(key, values[0]), put(key + "2", values[1])])
    assert answer["succeeded"]
    assert value_of(client, key) == values[0] and value_of(client, key + "2") == values[1]
    answer = refused(client, {"then": [put(key, values[0]), put(key + "2", values[1] + "z")]}, "body_too_large", 413)
    assert answer["limit"] == MIB * 3 // 2


def test_answers_too_large_change_nothing(client, key):
    client.request("PUT", f"/v1/kv/{key}", b"x" * MIB)
    look = {"op": "kv.get", "key": key}
    assert len(txn(client, [look])["results"][0]["result"]["value"]) == MIB
    answer = refused(client, {"then": [put(key + "2"), look, look]}, "senseless", 422)
    assert "read less" in answer["detail"]
    assert value_of(client, key + "2") is None


# --- as people write it ---


def test_the_guide_runs(own_node):
    """Every line of api/guide/keys.md does what it says, against a node of its own."""
    guide = Path(__file__).resolve().parents[2] / "api" / "guide" / "keys.md"
    lines = [line[4:] for line in guide.read_text().splitlines() if line.startswith("    ")]
    assert len(lines) > 10
    node = own_node()
    script = "\n".join(["set -e -o pipefail; curl() { command curl -fsS \"$@\"; }"] + lines)
    done = subprocess.run(["bash", "-c", script.replace("localhost:7400", f"localhost:{node.port}")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "debug=off" in done.stdout and '"succeeded":true' in done.stdout
    assert node.request("GET", "/v1/kv/leader")[2] == "n2"
    assert node.request("PUT", "/v1/kv/deploy/target", b"v3")[2]["code"] == "guarded"


# --- together ---


def test_amounts_move_and_their_sum_stays(node, key):
    """Eight clients move amounts between three keys, each by compare and put; a ninth reads all of them at once."""
    keys = [f"{key}/{i}" for i in range(3)]
    with node.client() as client:
        txn(client, [put(k, "100") for k in keys])
    errors, moved = [], []

    def move(number):
        try:
            with node.client() as client:
                for i in range(40):
                    source, target = keys[(number + i) % 3], keys[(number + i * 7 + 1) % 3]
                    if source == target:
                        continue
                    before = [client.request("GET", f"/v1/kv/{k}", headers={"Accept": "application/json"})[2] for k in (source, target)]
                    answer = txn(client, [put(source, str(int(before[0]["value"]) - 1)), put(target, str(int(before[1]["value"]) + 1))],
                                 [{"op": "kv.compare", "key": b["key"], "revision": b["revision"]} for b in before],
                                 [{"op": "kv.list", "prefix": key + "/"}])
                    if answer["succeeded"]:
                        moved.append(number)
                    else:
                        assert sum(int(k["value"]) for k in answer["results"][0]["result"]["keys"]) == 300
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=move, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]
    assert len(moved) >= 40
    listed = node.request("GET", f"/v1/kv?prefix={key}/")[2]["keys"]
    assert sum(int(k["value"]) for k in listed) == 300
    assert sum(k["version"] for k in listed) == 3 + 2 * len(moved)
