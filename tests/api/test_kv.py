"""Keys over HTTP: raw values, metadata in headers, conditions, fences and guards, reads at a revision, transactions."""

import base64
import json
from urllib.parse import quote

import pytest

from conftest import Raw
from node import until
from test_statuses import lease, problem

ENVELOPE = {"key", "value", "size", "revision", "create_revision", "version", "lease", "expires_in_ms"}
JSON = {"Accept": "application/json"}
MIB = 1 << 20


@pytest.fixture
def key(name):
    return name.replace("lock", "kv")


def put(client, key, value=b"", query="", status=None, headers=None):
    got, head, answer = client.request("PUT", f"/v1/kv/{quote(key)}{query}", value, headers)
    assert got == status if status else got in (200, 201), answer
    return answer if status else answer["revision"]


def get(client, key, query=""):
    return client.request("GET", f"/v1/kv/{quote(key)}{query}", headers=JSON)[2]


def raw_request(node, method, target, headers=(), body=b""):
    with Raw(node.port) as raw:
        return raw.request(method, target, headers, body).reply(head_only=method == "HEAD")


# --- values are bytes ---


def test_a_value_comes_back_as_it_went(client, node, key):
    every_byte = bytes(range(256)) * 3
    put(client, key, every_byte, status=201)
    reply = raw_request(node, "GET", f"/v1/kv/{key}")
    assert (reply.status, reply.body) == (200, every_byte)
    assert reply.headers["content-type"] == "application/octet-stream"
    assert get(client, key)["value"] == {"base64": base64.b64encode(every_byte).decode()}


def test_the_metadata_are_in_headers(client, node, key):
    own = lease(client)
    first = put(client, key, b"1", f"?lease={own}")
    second = put(client, key, b"22", f"?lease={own}")
    reply = raw_request(node, "GET", f"/v1/kv/{key}")
    assert reply.headers["etag"] == f'"{second}"'
    assert (reply.headers["coord-revision"], reply.headers["coord-create-revision"]) == (str(second), str(first))
    assert (reply.headers["coord-version"], reply.headers["coord-lease"]) == ("2", own)
    assert 0 < int(reply.headers["coord-expires-in-ms"])
    envelope = get(client, key)
    assert set(envelope) == ENVELOPE
    assert (envelope["key"], envelope["value"], envelope["size"], envelope["version"]) == (key, "22", 2, 2)


def test_head_has_the_same_head(client, node, key):
    put(client, key, b"value")
    head = raw_request(node, "HEAD", f"/v1/kv/{key}")
    assert head.status == 200 and head.headers["content-length"] == "5"


def test_an_empty_value_is_a_value(client, node, key):
    put(client, key, b"", status=201)
    assert raw_request(node, "GET", f"/v1/kv/{key}").body == b""
    assert get(client, key)["value"] == ""


def test_a_mebibyte_and_no_more(client, node, key):
    value = bytes(i * 31 % 251 for i in range(MIB))
    put(client, key, value, status=201)
    assert raw_request(node, "GET", f"/v1/kv/{key}").body == value
    status, _, answer = client.request("PUT", f"/v1/kv/{key}", value + b"x")
    assert (status, answer["code"]) == (413, "body_too_large")


def test_keys_are_bytes_with_slashes(client, node, key):
    put(client, f"{key}/a/b", b"ab")
    assert get(client, f"{key}/a/b")["key"] == f"{key}/a/b"
    for tail, shown in (("%00x", f"{key}\0x"), ("%FF", f"{key}\xff")):
        target = f"/v1/kv/{key}{tail}"
        assert raw_request(node, "PUT", target, body=b"v").status == 201
        answer = json.loads(raw_request(node, "GET", target, ["Accept: application/json"]).body)
        assert answer["key"] == {"base64": base64.b64encode(shown.encode("latin-1")).decode()}
    put(client, f"{key}/ä", b"umlaut")
    assert get(client, f"{key}/ä")["key"] == f"{key}/ä"


def test_keys_have_480_bytes(client, key):
    put(client, key.ljust(480, "x"), b"v", status=201)
    status, _, answer = client.request("PUT", "/v1/kv/" + "x" * 481, b"v")
    assert status == 400 and answer["field"] == "key"


# --- conditions ---


def test_if_match(client, key):
    first = put(client, key, b"1")
    second = put(client, key, b"2", headers={"If-Match": f'"{first}"'})
    answer = put(client, key, b"3", status=412, headers={"If-Match": f'"{first}"'})
    assert (answer["code"], answer["revision"], answer["version"]) == ("precondition_failed", second, 2)
    status, _, answer = client.request("DELETE", f"/v1/kv/{key}", headers={"If-Match": f'"{first}"'})
    assert status == 412
    assert client.request("DELETE", f"/v1/kv/{key}?if_match={second}")[2]["deleted"] is True


def test_if_none_match(client, key):
    put(client, key, b"1", status=201, headers={"If-None-Match": "*"})
    answer = put(client, key, b"2", status=412, headers={"If-None-Match": "*"})
    assert answer["code"] == "precondition_failed"
    assert get(client, key)["value"] == "1"


def test_if_match_anything(client, key):
    assert put(client, key, b"1", status=412, headers={"If-Match": "*"})["revision"] is None
    assert client.request("DELETE", f"/v1/kv/{key}", headers={"If-Match": "*"})[0] == 412
    put(client, key, b"1")
    put(client, key, b"2", status=200, headers={"If-Match": "*"})
    assert client.request("DELETE", f"/v1/kv/{key}", headers={"If-Match": "*"})[2]["deleted"] is True


def test_404_and_deleting_nothing(client, node, key):
    problem(client.request("GET", f"/v1/kv/{key}"), 404, "key_not_found")
    status, _, answer = client.request("DELETE", f"/v1/kv/{key}")
    assert (status, answer["deleted"], answer["prev"]) == (200, False, None)
    put(client, key, b"v")
    answer = client.request("DELETE", f"/v1/kv/{key}?prev=true")[2]
    assert answer["deleted"] is True and answer["prev"]["value"] == "v"
    problem(client.request("GET", f"/v1/kv/{key}"), 404, "key_not_found")


def test_prev_gives_back_what_was_there(client, key):
    first = put(client, key, b"\xff1")
    answer = put(client, key, b"2", "?prev=true", status=200)
    assert answer["prev"] == {"value": {"base64": "/zE="}, "revision": first, "create_revision": first, "version": 1,
                              "lease": None}


def test_422_senseless(client, key):
    own = lease(client)
    problem(client.request("PUT", f"/v1/kv/{key}?ttl=5s&lease={own}", b""), 422, "senseless")
    problem(client.request("PUT", f"/v1/kv/{key}?if_match=1&if_none_match=true", b""), 422, "senseless")
    problem(client.request("DELETE", "/v1/kv"), 422, "senseless")


def test_400_names_the_field(client, key):
    for query in ("ttl=1ms", "colour=red", "if_match=0", "lease=77"):
        answer = put(client, key, b"", f"?{query}", status=400)
        assert answer["field"] == query.split("=")[0]


# --- leases ---


def test_a_key_goes_with_its_time(client, key):
    answer = put(client, key, b"v", "?ttl=500ms", status=201)
    assert answer["expires_in_ms"] == 500 and answer["lease"]
    until(lambda: client.request("GET", f"/v1/kv/{key}")[0] == 404, "the key is gone", 60)
    problem(client.request("GET", f"/v1/leases/{answer['lease']}"), 410, "lease_over")
    problem(client.request("PUT", f"/v1/kv/{key}?lease={answer['lease']}", b""), 410, "lease_over")


def test_keys_go_with_their_lease(client, key):
    own = lease(client)
    for tail in "cab":
        put(client, f"{key}/{tail}", b"v", f"?lease={own}")
    holds = client.request("GET", f"/v1/leases/{own}")[2]["holds"]
    assert holds == [{"path": f"/kv/{key}/{tail}"} for tail in "abc"]
    client.request("DELETE", f"/v1/leases/{own}")
    assert client.request("GET", f"/v1/kv?prefix={key}/&count_only=true")[2]["count"] == 0


# --- ranges and revisions ---


def test_lists_go_by_pages(client, key):
    names = [f"{key}/{i:03}" for i in range(25)]
    for each in reversed(names):
        put(client, each, each.encode())
    seen, cursor = [], ""
    while cursor is not None:
        page = client.request("GET", f"/v1/kv?prefix={key}/&limit=10{cursor and '&cursor=' + quote(cursor)}")[2]
        assert page["count"] == len(page["keys"]) and page["more"] == (page["cursor"] is not None)
        seen += [(entry["key"], entry["value"]) for entry in page["keys"]]
        cursor = page["cursor"]
    assert seen == [(each, each) for each in names]
    page = client.request("GET", f"/v1/kv?from={names[3]}&to={names[5]}&keys_only=true")[2]
    assert [(entry["key"], entry["value"], entry["size"]) for entry in page["keys"]] == [(each, "", len(each))
                                                                                        for each in names[3:5]]
    assert client.request("GET", f"/v1/kv?prefix={key}/&count_only=true")[2]["count"] == 25


def test_a_prefix_is_deleted_at_one_revision(client, key):
    before = [put(client, f"{key}/{tail}", b"v") for tail in "abc"][-1]
    status, _, answer = client.request("DELETE", f"/v1/kv?prefix={key}/&limit=2")
    assert (status, answer["deleted"], answer["more"]) == (200, 2, True)
    assert client.request("GET", f"/v1/kv?prefix={key}/&count_only=true")[2]["count"] == 1
    assert client.request("GET", f"/v1/kv?prefix={key}/&count_only=true&at={before}")[2]["count"] == 3
    answer = client.request("DELETE", f"/v1/kv?prefix={key}/")[2]
    assert (answer["deleted"], answer["more"]) == (1, False)
    assert client.request("GET", f"/v1/kv?prefix={key}/&count_only=true&at={answer['revision'] - 1}")[2]["count"] == 1


def test_the_past_can_be_read(client, node, key):
    first = put(client, key, b"one")
    second = put(client, key, b"two")
    gone = client.request("DELETE", f"/v1/kv/{key}")[2]["revision"]
    third = put(client, key, b"three")
    assert raw_request(node, "GET", f"/v1/kv/{key}?at={first}").body == b"one"
    assert get(client, key, f"?at={gone - 1}")["revision"] == second  # others write too: the numbers are not ours alone
    problem(client.request("GET", f"/v1/kv/{key}?at={gone}"), 404, "key_not_found")
    problem(client.request("GET", f"/v1/kv/{key}?at={third - 1}"), 404, "key_not_found")
    answer = problem(client.request("GET", f"/v1/kv/{key}?at={third + 100000}"), 422, "revision_ahead")
    assert answer["newest"] >= third


def test_410_beyond_the_history(own_node, key):
    node = own_node()
    value = b"x" * MIB
    with node.client() as client:
        first = put(client, key, b"one")
        for _ in range(67):  # of 64 MiB that are kept
            put(client, key, value)
        answer = problem(client.request("GET", f"/v1/kv/{key}?at={first}"), 410, "revision_gone")
        oldest = answer["oldest"]
        assert first < oldest and get(client, key, f"?at={oldest}")["version"] > 1


def test_a_read_waits_for_the_next_version(client, node, key):
    revision = put(client, key, b"one")
    with node.client() as waiter:
        waiter.send("GET", f"/v1/kv/{key}?wait=60s", headers={"If-None-Match": f'"{revision}"', **JSON})
        put(client, key, b"two")
        answer = json.loads(waiter.connection.getresponse().read())
    assert answer["value"] == "two"


# --- fences and guards ---


@pytest.fixture
def guarded(client, key):
    prefix = f"{key}/"
    status, _, guard = client.request("PUT", f"/v1/guards/{prefix}?lock={key}")
    assert status == 201 and (guard["prefix"], guard["lock"]) == (prefix, key)
    yield prefix
    assert client.request("DELETE", f"/v1/guards/{prefix}")[0] == 200


def test_428_without_the_fence(client, key, guarded):
    answer = put(client, guarded + "a", b"v", status=428)
    assert (answer["code"], answer["guard"], answer["lock"]) == ("guarded", guarded, key)
    problem(client.request("DELETE", f"/v1/kv/{guarded}a"), 428, "guarded")
    put(client, key, b"beside")
    assert client.request("DELETE", f"/v1/kv?prefix={key}")[0] == 200


def test_the_current_fence_opens(client, key, guarded):
    grant = client.request("POST", f"/v1/locks/{key}/acquire?ttl=60s")[2]
    fence = {"Coord-Fence": f"{key}:{grant['token']}"}
    put(client, guarded + "a", b"v", status=201, headers=fence)
    problem(client.request("DELETE", f"/v1/kv?prefix={guarded}"), 428, "guarded")
    client.request("POST", f"/v1/locks/{key}/release?token={grant['token']}")
    put(client, guarded + "a", b"w", status=412, headers=fence)
    other = client.request("POST", f"/v1/locks/{key}-other/acquire?ttl=60s")[2]
    put(client, guarded + "a", b"w", status=428, headers={"Coord-Fence": f"{key}-other:{other['token']}"})
    again = client.request("POST", f"/v1/locks/{key}/acquire?ttl=60s")[2]
    fence = {"Coord-Fence": f"{key}:{again['token']}"}
    assert client.request("DELETE", f"/v1/kv?prefix={guarded}", headers=fence)[2]["deleted"] == 1


def test_guards_can_be_seen(client, key, guarded):
    assert client.request("GET", f"/v1/guards/{guarded}")[2]["lock"] == key
    guards = client.request("GET", f"/v1/guards?prefix={guarded}")[2]["guards"]
    assert [guard["prefix"] for guard in guards] == [guarded]
    problem(client.request("GET", f"/v1/guards/{key}"), 404, "guard_not_found")


# --- transactions ---


def txn(client, **parts):
    return client.request("POST", "/v1/txn", parts)


def test_compare_and_swap(client, key):
    revision = put(client, key, b"one")
    condition = {"op": "kv.compare", "key": key, "revision": revision}
    change = {"op": "kv.put", "key": key, "value": "two"}
    status, _, answer = txn(client, **{"if": [condition], "then": [change], "else": [{"op": "kv.get", "key": key}]})
    assert status == 200 and answer["succeeded"] is True
    assert answer["results"][0]["result"]["version"] == 2
    answer = txn(client, **{"if": [condition], "then": [change], "else": [{"op": "kv.get", "key": key}]})[2]
    assert answer["succeeded"] is False and answer["results"][0]["result"]["value"] == "two"


def test_all_or_nothing_at_one_revision(client, key):
    names = [f"{key}/{tail}" for tail in "ab"]
    answer = txn(client, then=[{"op": "kv.put", "key": each, "value": each} for each in names])[2]
    assert {get(client, each)["revision"] for each in names} == {answer["revision"]}
    status, _, answer = txn(client, then=[{"op": "kv.put", "key": names[0], "value": "x"},
                                          {"op": "kv.put", "key": names[1], "value": "x", "if_none_match": True}])
    assert status == 409 and answer["code"] == "txn_refused"
    assert get(client, names[0])["value"] == names[0]


def test_a_key_changes_once_a_transaction(client, key):
    status, _, answer = txn(client, then=[{"op": "kv.put", "key": key, "value": "1"},
                                          {"op": "kv.delete", "key": key}])
    assert (status, answer["code"]) == (409, "txn_refused")
    problem(client.request("GET", f"/v1/kv/{key}"), 404, "key_not_found")


def test_not_there_is_a_condition(client, key):
    make = {"if": [{"op": "kv.compare", "key": key, "exists": False}],
            "then": [{"op": "kv.put", "key": key, "value": "made"}]}
    assert txn(client, **make)[2]["succeeded"] is True
    assert txn(client, **make)[2]["succeeded"] is False


def test_safe_retries(client, key):
    headers = {"Idempotency-Key": f"{key}-1"}
    body = {"then": [{"op": "kv.put", "key": key, "value": "1"}]}
    first = client.request("POST", "/v1/txn", body, headers)[2]
    status, head, again = client.request("POST", "/v1/txn", body, headers)
    assert status == 200 and again == first and head["Idempotency-Replayed"] == "true"
    assert get(client, key)["version"] == 1


# --- watches ---


def test_a_watch_sees_every_version(client, node, key):
    start = put(client, key, b"one") - 1
    put(client, key, b"two")
    client.request("DELETE", f"/v1/kv/{key}")
    with Raw(node.port) as raw:
        raw.request("GET", f"/v1/watch?prefix=/kv/{key}&since={start}", ["Accept: application/x-ndjson"])
        until(lambda: raw.more() and raw.pending.count(b'"type":"deleted"'), "the delete is told", 60)
        text = raw.pending.split(b"\r\n\r\n", 1)[1].decode()
    events = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    told = [(event["type"], event["data"].get("value"), event["data"]["prev"] and event["data"]["prev"]["value"])
            for event in events if event["type"] in ("put", "deleted")]
    assert told == [("put", "one", None), ("put", "two", "one"), ("deleted", None, "two")]


def gone_at(client, prefix, there, gone):
    """The first revision at which no key has the prefix; some had at `there`, none at `gone`."""
    while gone - there > 1:
        middle = (there + gone) // 2
        count = client.request("GET", f"/v1/kv?prefix={prefix}&count_only=true&at={middle}")[2]["count"]
        there, gone = (middle, gone) if count else (there, middle)
    return gone


def test_leases_on_which_much_hangs_do_not_end_in_one_entry(own_node):
    """An entry that ends several leases takes tens of thousands of keys at most: the node answers meanwhile."""
    with own_node().client() as client:
        leases = [lease(client, "6s") for _ in range(3)]
        renew = json.dumps({"ids": leases})
        for number, each in enumerate(leases):
            for first in range(0, 10000, 125):
                puts = [{"op": "kv.put", "key": f"much/{number}/{first + i}", "value": "", "lease": each} for i in range(125)]
                assert client.request("POST", "/v1/txn", json.dumps({"then": puts}))[2]["succeeded"]
                assert client.request("POST", "/v1/leases/renew", renew)[0] == 200
        there = client.request("GET", "/v1/kv?prefix=much/&count_only=true")[2]
        assert there["count"] == 30000
        assert client.request("POST", "/v1/leases/renew", renew)[0] == 200
        until(lambda: client.request("GET", "/v1/kv?prefix=much/&count_only=true")[2].get("count") == 0, "all keys are gone", 120)
        gone = client.request("GET", "/v1/kv?prefix=much/")[2]["revision"]
        assert len({gone_at(client, f"much/{n}/", there["revision"], gone) for n in range(3)}) >= 2
