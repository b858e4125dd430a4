"""Whatever is malformed, unknown, repeated, out of range or of the wrong type is 400 and named."""

import json

import pytest


def refused(answer, code, field=None):
    status, headers, problem = answer
    assert status == 400, problem
    assert headers["Content-Type"] == "application/problem+json"
    assert problem["code"] == code and problem["status"] == 400
    assert problem["type"] == "urn:coordd:" + code
    assert problem["retryable"] is False and problem["title"] and problem["detail"]
    if field is not None:
        assert problem["field"] == field
        assert field in problem["detail"]
    return problem


QUERIES = [
    ("colour=red", "colour"),
    ("TTL=3s", "TTL"),
    ("ttl=3s&ttl=3s", "ttl"),
    ("name=other", "name"),
    ("ttl=499ms", "ttl"),
    ("ttl=0", "ttl"),
    ("ttl=25h", "ttl"),
    ("ttl=-3s", "ttl"),
    ("ttl=3.5s", "ttl"),
    ("ttl=3%20s", "ttl"),
    ("ttl=3sec", "ttl"),
    ("ttl=", "ttl"),
    ("ttl", "ttl"),
    ("ttl=99999999999999999999s", "ttl"),
    ("wait=11m", "wait"),
    ("mode=both", "mode"),
    ("mode=Exclusive", "mode"),
    ("permits=0", "permits"),
    ("permits=1000001", "permits"),
    ("permits=1e3", "permits"),
    ("permits=+1", "permits"),
    ("priority=256", "priority"),
    ("reentrant=yes", "reentrant"),
    ("reentrant=1", "reentrant"),
    ("lease=3", "lease"),
    ("lease=L", "lease"),
    ("lease=LZZ", "lease"),
    ("owner=%ff", "owner"),
    ("owner=a%00b", "owner"),
    ("owner=a%0Ab", "owner"),
    ("owner=" + "x" * 256, "owner"),
    ("owner=%", "owner"),
    ("owner=%4", "owner"),
    ("owner=%zz", "owner"),
    ("consistency=stale", "consistency"),
    ("min_revision=1", "min_revision"),
]


@pytest.mark.parametrize("query,field", QUERIES, ids=[q[:32] for q, _ in QUERIES])
def test_query_parameters_are_checked(client, name, query, field):
    refused(client.request("POST", f"/v1/locks/{name}/acquire?{query}"), "bad_field", field)
    assert client.request("GET", f"/v1/locks/{name}")[2]["holders"] == []


BODIES = [
    ({"colour": "red"}, "colour"),
    ({"colour": None}, "colour"),
    ({"": 1}, '""'),
    ({"name": "other"}, "name"),
    ({"ttl": "3 s"}, "ttl"),
    ({"ttl": 499}, "ttl"),
    ({"ttl": 3000.5}, "ttl"),
    ({"ttl": -1}, "ttl"),
    ({"ttl": True}, "ttl"),
    ({"ttl": ["3s"]}, "ttl"),
    ({"permits": "1"}, "permits"),
    ({"permits": 1.0}, "permits"),
    ({"permits": 2 ** 60}, "permits"),
    ({"reentrant": "true"}, "reentrant"),
    ({"reentrant": 1}, "reentrant"),
    ({"owner": 7}, "owner"),
    ({"owner": {"a": 1}}, "owner"),
    ({"owner": "a\nb"}, "owner"),
    ({"lease": 768}, "lease"),
    ({"mode": 1}, "mode"),
    ({"mode": "both"}, "mode"),
    ({"meta": "x" * 5000}, "meta"),
]


@pytest.mark.parametrize("body,field", BODIES, ids=[json.dumps(b)[:32] for b, _ in BODIES])
def test_members_of_bodies_are_checked(client, name, body, field):
    refused(client.request("POST", f"/v1/locks/{name}/acquire", body), "bad_field", field)
    assert client.request("GET", f"/v1/locks/{name}")[2]["holders"] == []


def test_a_field_may_come_once_from_path_query_and_body_together(client, name):
    refused(client.request("POST", f"/v1/locks/{name}/acquire?owner=a", {"owner": "a"}), "bad_field", "owner")
    status, _, grant = client.request("POST", f"/v1/locks/{name}/acquire?owner=a", {"ttl": "4s"})
    assert (status, grant["owner"], grant["expires_in_ms"]) == (201, "a", 4000)


TEXTS = [
    (b"{", 1),
    (b'{"owner":', 9),
    (b'{"owner":"a"}x', 14),
    (b"{} {}", 4),
    (b"{'owner':'a'}", 2),
    (b'{"owner":"a","owner":"a"}', 20),
    (b'{"meta":{"a":1,"a":2}}', 18),
    (b'{"owner":"\xff"}', 10),
    (b'{"owner":"\\u0000"}', 17),
    (b"[]", 0),
    (b"1", 0),
    (b"null", 0),
    (b'{"permits":9223372036854775808}', 30),
    (b"[" * 100000, 32),
    (b'{"meta":' + b"[" * 32 + b"]" * 32 + b"}", 39),
    (b"\x00", 0),
]


@pytest.mark.parametrize("body,offset", TEXTS, ids=[repr(t[:24]) for t, _ in TEXTS])
def test_bad_json_tells_the_byte(client, name, body, offset):
    problem = refused(client.request("POST", f"/v1/locks/{name}/acquire", body), "bad_json")
    if body != b"\x00":
        assert problem["byte_offset"] == offset
    assert client.request("GET", f"/v1/locks/{name}")[2]["holders"] == []


def test_a_required_field_is_missed_by_name(client, name):
    refused(client.request("POST", f"/v1/locks/{name}/release"), "bad_field", "token")
    refused(client.request("POST", f"/v1/locks/{name}/release", {}), "bad_field", "token")
    refused(client.request("POST", f"/v1/locks/{name}/release", {"token": None}), "bad_field", "token")


@pytest.mark.parametrize("given,ms", [("30s", 30000), ("1500ms", 1500), ("2m", 120000), ("1h", 3600000), ("24h", 86400000),
                                      ("1d", 86400000), ("2500", 2500), ("500ms", 500)])
def test_durations_in_all_forms(client, name, given, ms):
    grants = [client.request("POST", f"/v1/locks/{name}/acquire?ttl={given}"),
              client.request("POST", f"/v1/locks/{name}-2/acquire", {"ttl": given})]
    if given.isdigit():
        grants.append(client.request("POST", f"/v1/locks/{name}-3/acquire", {"ttl": int(given)}))
    for status, headers, grant in grants:
        assert status == 201, grant
        assert grant["expires_in_ms"] == ms == int(headers["Coord-Expires-In-Ms"])


PATHS = [
    "/v1/locks/%",
    "/v1/locks/%4",
    "/v1/locks/%zz",
    "/v1/locks/..",
    "/v1/locks/%2e%2e",
    "/v1/locks/.",
    "/v1/../v1/locks/x",
    "//v1/locks/x",
    "/v1//locks",
    "/v1/locks//acquire",
    "/v1/locks/%00",
    "/v1/locks/a%00b",
    "/v1/locks/a%1fb",
    "/v1/locks/%ff",
    "/v1/locks/%C0%AF",
    "http://localhost/v1/locks/x",
    "*",
]


@pytest.mark.parametrize("path", PATHS)
def test_malformed_paths(raw, path):
    reply = raw().request("GET", path).reply()
    assert reply.status == 400
    assert json.loads(reply.body)["code"] == "bad_path"


@pytest.mark.parametrize("encoded,plain", [("a%2Fb", "a/b"), ("a%2fb%2Fc", "a/b/c"), ("100%2525", "100%25"), ("a+b", "a+b"),
                                           ("%C3%A4", "ä"), ("a%20b", "a b"), ("%3F%23%26", "?#&"), ("...", "..."),
                                           ("%2F..%2F", "/../"), ("%7B%22%7D", '{"}')])
def test_names_are_decoded_once(client, encoded, plain):
    status, _, grant = client.request("POST", f"/v1/locks/{encoded}/acquire?ttl=1m")
    assert status == 201 and grant["name"] == plain
    assert client.request("GET", f"/v1/locks/{encoded}")[2]["name"] == plain
    assert client.request("POST", f"/v1/locks/{encoded}/release?token={grant['token']}")[0] == 200


def test_names_have_a_limit_in_bytes(client):
    longest = "x" * 253
    assert client.request("POST", f"/v1/locks/{longest}%C3%A4/acquire")[0] == 201
    refused(client.request("POST", f"/v1/locks/{longest}x%C3%A4/acquire"), "bad_field", "name")


def test_plus_is_a_space_in_queries_only(client, name):
    assert client.request("POST", f"/v1/locks/{name}/acquire?owner=a+b%2Bc")[2]["owner"] == "a b+c"


def test_meta_takes_any_json_and_gives_it_back(client, name):
    for i, meta in enumerate([{"b": [1, None, False], "a": 0.1}, "text", 19.99, 9007199254740993, True, [], {}, "ä\n\"\\"]):
        lock = f"{name}-{i}"
        assert client.request("POST", f"/v1/locks/{lock}/acquire", {"meta": meta})[0] == 201
        got = client.request("GET", f"/v1/locks/{lock}")[2]["holders"][0]["meta"]
        assert got == meta and type(got) is type(meta)
    assert client.request("POST", f"/v1/locks/{name}/acquire?meta=plain")[0] == 201
    assert client.request("GET", f"/v1/locks/{name}")[2]["holders"][0]["meta"] == "plain"


@pytest.mark.parametrize("body", [b"", b" \r\n\t ", b"{}", b' {"owner":null} '])
def test_an_empty_body_is_no_arguments(client, name, body):
    assert client.request("POST", f"/v1/locks/{name}/acquire", body)[0] == 201


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "application/json", ""])
def test_the_content_type_is_not_policed(client, name, kind):
    status, _, grant = client.request("POST", f"/v1/locks/{name}/acquire", b'{"owner":"x"}', {"Content-Type": kind})
    assert status == 201 and grant["owner"] == "x"


def test_a_body_too_large(client, name):
    status, _, problem = client.request("POST", f"/v1/locks/{name}/acquire", b" " * (1536 * 1024) + b"{}")
    assert (status, problem["code"], problem["limit"]) == (413, "body_too_large", 1536 * 1024)
    assert client.request("POST", f"/v1/locks/{name}/acquire", b" " * (1024 * 1024 - 2) + b"{}")[0] == 201


def test_a_body_far_too_large_is_refused_by_its_length(raw, name):
    reply = raw().request("POST", f"/v1/locks/{name}/acquire", ["Content-Length: 100000000"]).reply()
    problem = json.loads(reply.body)
    assert (reply.status, problem["code"], problem["limit"]) == (413, "body_too_large", 1536 * 1024)
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["coord-node"] == "n1" and reply.headers["connection"] == "close"


def test_a_chunked_body(raw, name):
    connection = raw().request("POST", f"/v1/locks/{name}/acquire", ["Transfer-Encoding: chunked"])
    reply = connection.send(b'7\r\n{"owner\r\n6\r\n":"x"}\r\n0\r\n\r\n').reply()
    assert reply.status == 201 and json.loads(reply.body)["owner"] == "x"
    bad = raw().request("POST", f"/v1/locks/{name}/acquire", ["Transfer-Encoding: chunked"]).send(b"zz\r\n\r\n").reply()
    assert bad.status == 400 and json.loads(bad.body)["code"] == "bad_request"
