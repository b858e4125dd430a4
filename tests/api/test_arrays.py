"""A JSON array as the body is an operation of its own; records are given by their fields as parameters too."""

import json

from conftest import Raw


def post(client, path, body=b"", *headers):
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return client.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body).reply()


def metric(client, operation):
    text = client.request("GET", "/metrics").reply().body.decode()
    return [line.split()[1] for line in text.splitlines() if line.startswith(f'coordd_requests_total{{operation="{operation}"')]


def test_an_array_means_the_other_operation(fake):
    with Raw(fake().port) as client:
        one = post(client, "/v1/things/now/parts", b'{"number":3}')
        assert one.status == 201 and set(json.loads(one.body)) == {"name", "token", "lease", "expires_in_ms"}
        many = post(client, "/v1/things/now/parts", b' \n[{"number":1,"text":"a"},{"number":2}]')
        answer = json.loads(many.body)
        assert many.status == 201 and answer["name"] == "now"
        assert [(holder["owner"], holder["token"]) for holder in answer["holders"]] == [("a", 1), ("", 2)]
        assert "coord-token" not in many.headers and many.headers["coord-revision"] == str(answer["revision"])
        assert metric(client, "thing.give") == ["1"] and metric(client, "thing.give_many") == ["1"]


def test_refusals_name_the_item(fake):
    with Raw(fake().port) as client:
        for body, field, what in (
            (b'[{"number":1},{"number":10}]', "parts[1].number", "must be from 0 to 9"),
            (b'[{"number":1},{"text":"x"}]', "parts[1].number", "is missing"),
            (b'[{"number":1,"colour":"red"}]', "parts[0].colour", "is unknown here"),
            (b'[{"number":1},7]', "parts", "must be an array of objects"),
            (b"[]", "parts", "must have at least 1 item"),
            (b'[{"number":1},{"number":1},{"number":1},{"number":1}]', "parts", "at most 3 items"),
        ):
            reply = post(client, "/v1/things/now/parts", body)
            problem = json.loads(reply.body)
            assert (reply.status, problem["code"], problem["field"]) == (400, "bad_field", field), problem
            assert what in problem["detail"], problem
        problem = json.loads(post(client, "/v1/things/now/parts", b'[{"number":1}').body)
        assert (problem["code"], problem["byte_offset"]) == ("bad_json", 13)
        assert metric(client, "thing.give_many") == ["1", "6"], "bad JSON, bad fields"


def test_other_fields_of_an_array_are_parameters(fake):
    """Those of the one operation are not all those of the many."""
    with Raw(fake().port) as client:
        problem = json.loads(post(client, "/v1/things/now/parts?number=1", b'[{"number":1}]').body)
        assert (problem["code"], problem["field"]) == ("bad_field", "number")
        problem = json.loads(post(client, "/v1/things/now/parts?name=x", b'[{"number":1}]').body)
        assert (problem["code"], problem["field"]) == ("bad_field", "name")


def test_only_where_the_table_says_so(fake):
    with Raw(fake().port) as client:
        problem = json.loads(post(client, "/v1/things/now/take", b"[]").body)
        assert (problem["code"], problem["detail"]) == ("bad_json", "the body must be one JSON object")


def test_a_body_that_is_too_large(fake):
    with Raw(fake().port) as client:
        body = b'[{"number":1,"text":"' + b"x" * (1536 * 1024) + b'"}]'
        reply = post(client, "/v1/things/now/parts", body)
        assert reply.status == 413 and json.loads(reply.body)["limit"] == 1536 * 1024


def test_a_wait_in_a_record_waits(fake):
    """The edge knows of it: a client that leaves is told of, and the answer may take that long."""
    edge = fake()
    for at, target, body in (
        ("query", "?ask.who=me&ask.wait=60s", b""),
        ("body", "", b'{"ask":{"who":"me","wait":"60s"}}'),
    ):
        client = Raw(edge.port)
        client.send(f"POST /v1/things/{at}/parts{target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        edge.line(f"call {at}")
        client.close()
        edge.line(f"gone {at}")


def test_fields_of_records_as_parameters(fake):
    with Raw(fake().port) as client:
        assert post(client, "/v1/things/now/parts?ask.who=me&number=3&ask.max=9").status == 201
        for query, field, what in (
            ("ask.max=9", "ask.who", "ask.who is missing"),
            ("ask.who=me&ask.max=10", "ask.max", "ask.max must be from 1 to 9"),
            ("ask.who=me&ask.who=you", "ask.who", "ask.who is given twice"),
            ("ask.colour=red", "ask.colour", "ask.colour is unknown here"),
        ):
            problem = json.loads(post(client, f"/v1/things/now/parts?{query}").body)
            assert (problem["code"], problem["field"], problem["detail"]) == ("bad_field", field, what)
        problem = json.loads(post(client, "/v1/things/now/parts?ask.who=me", b'{"ask":{"who":"you"}}').body)
        assert (problem["field"], problem["detail"]) == ("ask", "ask is given twice")
