"""Requests under conditions: fences, entity tags; and values as raw bodies, with what surrounds them."""

import base64
import json
from urllib.parse import quote

import pytest

from conftest import Raw
from node import until
from test_statuses import acquire, problem

MIB = 1 << 20
ENVELOPE = {"Accept": "application/json"}


@pytest.fixture
def key(name):
    return name.replace("lock", "key")


def fenced(client, lock, token, method, path, body=None, **headers):
    return client.request(method, path, body, {"Coord-Fence": f"{quote(lock, safe='')}:{token}", **headers})


def put(client, key, value=b"", headers=None, query=""):
    return client.request("PUT", f"/v1/kv/{key}{query}", value, headers)


def exists(client, key):
    return client.request("GET", f"/v1/kv/{key}")[0] == 200


# --- Coord-Fence ---


def test_a_fence_lets_its_holder_write_and_nobody_else(client, name, key):
    token = acquire(client, name)["token"]
    assert fenced(client, name, token, "PUT", f"/v1/kv/{key}", b"1")[0] == 201
    for wrong in (token - 1, token + 1, 1, (1 << 53) - 1):
        answer = problem(fenced(client, name, wrong, "PUT", f"/v1/kv/{key}", b"2"), 412, "fenced")
        assert f"token {wrong} is not current on the lock {name}" in answer["detail"]
    assert client.request("GET", f"/v1/kv/{key}")[2] == "1"
    client.request("POST", f"/v1/locks/{name}/release?token={token}")
    problem(fenced(client, name, token, "PUT", f"/v1/kv/{key}", b"3"), 412, "fenced")
    problem(fenced(client, key + "never", token, "PUT", f"/v1/kv/{key}", b"3"), 412, "fenced")
    later = acquire(client, name)["token"]
    problem(fenced(client, name, token, "DELETE", f"/v1/kv/{key}"), 412, "fenced")
    assert fenced(client, name, later, "DELETE", f"/v1/kv/{key}")[2]["deleted"] is True


def test_any_write_can_be_fenced(client, name, key):
    token = acquire(client, name)["token"]
    for method, path, status in (("POST", "/v1/leases", 201), ("POST", f"/v1/locks/{key}/acquire", 201),
                                 ("POST", f"/v1/elections/{key}/campaign?candidate=x", 201), ("POST", "/v1/txn", 200),
                                 ("DELETE", f"/v1/kv?prefix={key}", 200)):
        assert fenced(client, name, token, method, path)[0] == status
        problem(fenced(client, name, token + 1, method, path), 412, "fenced")


def test_an_expired_holder_is_fenced(client, name, key):
    """What the fence is for: who did not notice that its lease ended."""
    token = acquire(client, name, "ttl=500ms")["token"]
    until(lambda: not client.request("GET", f"/v1/locks/{name}")[2]["holders"], "its lease ends", 60)
    problem(fenced(client, name, token, "PUT", f"/v1/kv/{key}", b"late"), 412, "fenced")
    assert not exists(client, key)


def test_each_shared_holder_has_a_fence(client, name, key):
    first, second = (acquire(client, name, f"mode=shared&owner={o}")["token"] for o in "ab")
    for token in (first, second):
        assert fenced(client, name, token, "PUT", f"/v1/kv/{key}", b"")[0] in (200, 201)


@pytest.mark.parametrize("lock", ["a:b", "a/b", "100%", "a%3Ab", "käse", ":", "with space", "a:1:2"])
def test_names_in_a_fence_are_percent_encoded_once(client, lock, key):
    grant = client.request("POST", f"/v1/locks/{quote(lock, safe='')}/acquire")[2]
    assert grant["name"] == lock
    status, _, answer = fenced(client, lock, grant["token"], "PUT", f"/v1/kv/{key}", b"")
    assert status == 201, answer
    client.request("POST", f"/v1/locks/{quote(lock, safe='')}/release?token={grant['token']}")


def test_a_plain_colon_stands_for_itself(client, name, key):
    token = acquire(client, f"{name}:x")["token"]
    assert put(client, key, b"", {"Coord-Fence": f"{name}:x:{token}"})[0] == 201


@pytest.mark.parametrize("fence", ["", "deploy", "deploy:", ":7", "deploy:0", "deploy:x", "deploy:-1", "deploy: 7", "a%:7",
                                   "a%2:7", "a%00b:7", "%FF:7", "x" * 256 + ":7", "deploy:9007199254740992"])
def test_400_what_is_no_fence(client, key, fence):
    answer = problem(put(client, key, b"", {"Coord-Fence": fence}), 400, "bad_field")
    assert answer["field"] == "Coord-Fence"
    assert not exists(client, key)


def test_400_a_fence_on_what_writes_nothing(client, name):
    token = acquire(client, name)["token"]
    for method, path in (("GET", f"/v1/locks/{name}"), ("GET", "/v1/kv"), ("GET", "/v1/cluster"),
                         ("POST", f"/v1/locks/{name}/renew?token={token}")):
        status, _, answer = fenced(client, name, token, method, path)
        assert (status, answer["field"]) == (400, "Coord-Fence")


def test_400_two_fences(raw, key):
    with raw() as socket:
        reply = socket.request("PUT", f"/v1/kv/{key}", ["Coord-Fence: a:1", "coord-fence: b:2"], b"v").reply()
    assert reply.status == 400 and json.loads(reply.body)["field"] == "headers"


def test_a_fence_and_a_key_together(client, name, key):
    """A repetition is told what the first one was, also when the fence has fallen since."""
    token = acquire(client, name)["token"]
    first = fenced(client, name, token, "PUT", f"/v1/kv/{key}", b"1", **{"Idempotency-Key": key})
    client.request("POST", f"/v1/locks/{name}/release?token={token}")
    again = fenced(client, name, token, "PUT", f"/v1/kv/{key}", b"1", **{"Idempotency-Key": key})
    assert (again[0], again[2]) == (201, first[2]) and again[1]["Idempotency-Replayed"] == "true"
    problem(fenced(client, name, token, "PUT", f"/v1/kv/{key}", b"2", **{"Idempotency-Key": key + "2"}), 412, "fenced")
    later = acquire(client, name)["token"]
    # what the fence refused was not done: the same key with the right fence is
    answer = fenced(client, name, later, "PUT", f"/v1/kv/{key}", b"2", **{"Idempotency-Key": key + "2"})
    assert answer[0] == 200 and answer[1]["Idempotency-Replayed"] is None


def test_guards_hold_for_every_way_to_write(client, name, key):
    """428 without the fence of the guard's lock: puts, deletes, deletes by prefix, transactions."""
    token = acquire(client, name)["token"]
    other = acquire(client, key)["token"]
    assert client.request("PUT", f"/v1/guards/{key}/?lock={name}")[0] in (200, 201)
    within = f"{key}/within"
    writes = [("PUT", f"/v1/kv/{within}", b"v"), ("DELETE", f"/v1/kv/{within}", None), ("DELETE", f"/v1/kv?prefix={key}", None)]
    assert fenced(client, name, token, "PUT", f"/v1/kv/{within}", b"v")[0] == 201
    for method, path, body in writes:
        for answer in (client.request(method, path, body), fenced(client, key, other, method, path, body)):
            assert problem(answer, 428, "guarded")["lock"] == name
    txn = {"then": [{"op": "kv.put", "key": within, "value": "t"}]}
    refused = problem(client.request("POST", "/v1/txn", txn), 409, "txn_refused")["refused"][0]
    assert (refused["status"], refused["code"], refused["result"]["lock"]) == (428, "guarded", name)
    assert fenced(client, name, token, "POST", "/v1/txn", txn)[0] == 200
    for method, path, body in writes[:2]:
        assert fenced(client, name, token, method, path, body)[0] == 200
    assert put(client, key + "beside", b"v")[0] == 201
    assert exists(client, key + "beside") and not exists(client, within)


# --- If-Match, If-None-Match ---


def test_the_etag_of_a_read_is_the_condition_of_a_write(client, key):
    etag = put(client, key, b"1")[1]["ETag"]  # bytes are stored as they are, so a put says it, too
    assert client.request("GET", f"/v1/kv/{key}")[1]["ETag"] == etag
    status, headers, _ = put(client, key, b"2", {"If-Match": etag})
    assert status == 200 and headers["Coord-Version"] == "2"
    answer = problem(put(client, key, b"3", {"If-Match": etag}), 412, "precondition_failed")
    assert str(answer["revision"]) == headers["Coord-Revision"]
    problem(client.request("DELETE", f"/v1/kv/{key}", headers={"If-Match": etag}), 412, "precondition_failed")
    etag = client.request("HEAD", f"/v1/kv/{key}")[1]["ETag"]
    assert client.request("DELETE", f"/v1/kv/{key}", headers={"If-Match": etag})[2]["deleted"] is True
    problem(put(client, key, b"4", {"If-Match": etag}), 412, "precondition_failed")


def test_one_of_many_makes_the_key(node, key):
    """If-None-Match: * lets one through, whoever is first."""
    statuses = []
    for i in range(5):
        statuses.append(node.request("PUT", f"/v1/kv/{key}", str(i), {"If-None-Match": "*"})[0])
    assert statuses == [201, 412, 412, 412, 412]
    assert node.request("GET", f"/v1/kv/{key}")[2] == "0"


@pytest.mark.parametrize("header, value, field", [
    ("If-Match", "913", "If-Match"), ("If-Match", 'W/"913"', "If-Match"), ("If-Match", '"1", "2"', "If-Match"),
    ("If-Match", "", "If-Match"), ("If-Match", '"abc"', "If-Match"), ("If-Match", '"0"', "if_match"),
    ("If-None-Match", '"913"', "If-None-Match"), ("If-None-Match", "", "If-None-Match")])
def test_400_what_is_no_condition(client, key, header, value, field):
    answer = problem(put(client, key, b"", {header: value}), 400, "bad_field")
    assert answer["field"] == field
    assert not exists(client, key)


def test_400_conditions_where_there_are_none(client, name, key):
    for method, path, headers in (("POST", f"/v1/locks/{name}/acquire", {"If-Match": '"1"'}),
                                  ("POST", f"/v1/locks/{name}/acquire", {"If-None-Match": "*"}),
                                  ("DELETE", f"/v1/kv/{key}", {"If-None-Match": "*"}),
                                  ("GET", f"/v1/kv/{key}", {"If-Match": '"1"'})):
        answer = problem(client.request(method, path, headers=headers), 400, "bad_field")
        assert answer["field"] == next(iter(headers))


def test_400_a_condition_in_two_places(client, key):
    answer = problem(put(client, key, b"", {"If-Match": '"5"'}, "?if_match=5"), 400, "bad_field")
    assert answer["field"] == "if_match"
    answer = problem(put(client, key, b"", {"If-None-Match": "*"}, "?if_none_match=true"), 400, "bad_field")
    assert answer["field"] == "if_none_match"


# --- raw bodies ---


def test_the_body_is_the_value_whatever_it_is_called(client, key):
    """JSON, forms, escapes: nothing is read out of it."""
    for body, kind in ((b'{"value":"x"}', "application/json"), (b"a=1&b=%41", "application/x-www-form-urlencoded"),
                       (b"\xef\xbb\xbf{", "text/plain; charset=utf-16"), (b"\r\n\0\r\n", "nonsense")):
        assert put(client, key, body, {"Content-Type": kind})[0] in (200, 201)
        client.send("GET", f"/v1/kv/{key}")
        assert client.connection.getresponse().read() == body


def test_a_chunked_body(raw, client, key):
    with raw() as socket:
        socket.request("PUT", f"/v1/kv/{key}", ["Transfer-Encoding: chunked"])
        for chunk in (b"one", b"", b"two"):
            if chunk:
                socket.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        assert socket.send(b"0\r\n\r\n").reply().status == 201
    assert client.request("GET", f"/v1/kv/{key}")[2] == "onetwo"


def test_a_value_in_the_query(client, key):
    assert put(client, key, b"", query="?value=from%20here")[0] == 201
    assert client.request("GET", f"/v1/kv/{key}")[2] == "from here"
    answer = problem(put(client, key, b"body", query="?value=query"), 400, "bad_field")
    assert answer["field"] == "value"


def test_sizes_around_the_limit(client, key):
    for size in (0, 1, MIB - 1, MIB):
        assert put(client, key, b"x" * size)[0] in (200, 201)
        assert int(client.request("HEAD", f"/v1/kv/{key}")[1]["Content-Length"]) == size
    for size in (MIB + 1, MIB * 3 // 2):
        assert problem(put(client, key, b"y" * size), 413, "body_too_large")["limit"] == MIB
    assert problem(put(client, key, b"y" * (MIB * 3 // 2 + 1)), 413, "body_too_large")["limit"] >= MIB
    assert len(client.request("GET", f"/v1/kv/{key}")[2]) == MIB


@pytest.mark.parametrize("tail, shown", [
    ("%00", b"\0"), ("%FF%FE", b"\xff\xfe"), ("/", b"/"), ("//", b"//"), ("/a/../b/.", b"/a/../b/."), ("%2F%2e", b"/."),
    ("a%2Fb", b"a/b"), ("%25", b"%"), ("%2525", b"%25"), ("+", b"+"), ("%20", b" "), ("%0d%0a", b"\r\n"), ("%C3%A4", "ä".encode())])
def test_keys_are_any_bytes(node, key, tail, shown):
    whole = key.encode() + shown
    with Raw(node.port) as socket:
        assert socket.request("PUT", f"/v1/kv/{key}{tail}", body=whole).reply().status == 201
        reply = socket.request("GET", f"/v1/kv/{key}{tail}").reply()
        assert (reply.status, reply.body) == (200, whole)
        envelope = json.loads(socket.request("GET", f"/v1/kv/{key}{tail}", ["Accept: application/json"]).reply().body)
        told = envelope["key"]
        assert (told.encode() if isinstance(told, str) else base64.b64decode(told["base64"])) == whole
        body = json.dumps({"if": [{"op": "kv.compare", "key": told, "value": envelope["value"]}]}).encode()
        assert json.loads(socket.request("POST", "/v1/txn", body=body).reply().body)["succeeded"] is True
        assert json.loads(socket.request("DELETE", f"/v1/kv/{key}{tail}").reply().body)["deleted"] is True
        assert socket.request("GET", f"/v1/kv/{key}{tail}").reply().status == 404


def test_escapes_spell_the_same_path(node, key):
    with Raw(node.port) as socket:
        assert socket.request("PUT", f"/v1/%6bv/{key}", body=b"v").reply().status == 201
        assert socket.request("GET", f"/%76%31/kv/{key.replace('k', '%6B')}").reply().body == b"v"
        for path in ("/v1/kv/%", "/v1/kv/a%2", "/v1/kv/%xx"):
            reply = socket.request("GET", path).reply()
            assert (reply.status, json.loads(reply.body)["code"]) == (400, "bad_path")
        assert socket.request("GET", "/v1/kv/").reply().status == 404
        reply = socket.request("POST", f"/v1/kv/{key}").reply()
        assert reply.status == 405 and set(reply.headers["allow"].split(", ")) == {"GET", "HEAD", "PUT", "DELETE"}


# --- forms of the answer ---


@pytest.mark.parametrize("accept, kind", [
    (None, "application/octet-stream"), ("*/*", "application/octet-stream"), ("application/octet-stream", "application/octet-stream"),
    ("application/json", "application/json"), ("text/plain", "application/octet-stream"), ("image/png", "application/octet-stream"),
    ("application/json, */*;q=0.5", "application/json"), ("application/json;q=0.5, */*", "application/octet-stream")])
def test_raw_unless_json_is_preferred(node, key, accept, kind):
    with Raw(node.port) as socket:
        socket.request("PUT", f"/v1/kv/{key}", body=b"{}").reply()
        for method in ("GET", "HEAD"):
            reply = socket.request(method, f"/v1/kv/{key}", [f"Accept: {accept}"] if accept else []).reply(method == "HEAD")
            assert (reply.status, reply.headers["content-type"]) == (200, kind)
            assert reply.headers["x-content-type-options"] == "nosniff"  # it is bytes of a stranger
            if method == "GET":
                assert (reply.body == b"{}") == (kind != "application/json")
        # refusals are documents in any case
        reply = socket.request("GET", f"/v1/kv/{key}x", [f"Accept: {accept}"] if accept else []).reply()
        assert (reply.status, reply.headers["content-type"]) == (404, "application/problem+json")


def test_head_and_get_agree(node, key):
    with Raw(node.port) as socket:
        socket.request("PUT", f"/v1/kv/{key}?ttl=60s", body=b"12345").reply()
        get = socket.request("GET", f"/v1/kv/{key}").reply()
        head = socket.request("HEAD", f"/v1/kv/{key}").reply(head_only=True)
        differ = {"date", "coord-expires-in-ms"}
        assert {k: v for k, v in get.headers.items() if k not in differ} == {k: v for k, v in head.headers.items() if k not in differ}
        assert head.headers["content-length"] == "5"
        assert 0 < int(head.headers["coord-expires-in-ms"]) <= int(get.headers["coord-expires-in-ms"]) <= 60000
        missing = socket.request("HEAD", f"/v1/kv/{key}x").reply(head_only=True)
        assert missing.status == 404 and missing.headers.get("etag") is None
