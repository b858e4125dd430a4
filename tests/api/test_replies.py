"""What every reply carries: headers, newline, HEAD, plain text, stale reads."""

import json

import pytest


def acquire(client, name, query=""):
    status, _, grant = client.request("POST", f"/v1/locks/{name}/acquire?{query}")
    assert status == 201, grant
    return grant


PATHS = ["/healthz", "/livez", "/readyz", "/version", "/metrics", "/v1/openapi.json", "/v1/locks", "/v1/nowhere",
         "/v1/locks/%zz", "/v1/locks?x=y", "/v1/leases/Lff"]


@pytest.mark.parametrize("path", PATHS)
def test_every_reply_names_the_node(client, path):
    _, headers, _ = client.request("GET", path)
    assert headers["Coord-Node"] == "n1" and headers["Coord-Leader"] == "n1" and int(headers["Coord-Term"]) >= 1
    assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Server"] == "coordd" and headers["Date"].endswith("GMT")


@pytest.mark.parametrize("path", PATHS)
def test_every_body_ends_in_a_newline(raw, path):
    reply = raw().request("GET", path).reply()
    assert reply.body.endswith(b"\n") and int(reply.headers["content-length"]) == len(reply.body)
    if "json" in reply.headers["content-type"]:
        json.loads(reply.body)


@pytest.mark.parametrize("path", PATHS)
def test_head_is_get_without_the_body(raw, path):
    connection = raw()
    got = connection.request("GET", path).reply()
    head = connection.request("HEAD", path).reply(head_only=True)
    assert head.status == got.status
    changing = {"date", "coord-revision"} | ({"content-length"} if path == "/metrics" or path.endswith("z") else set())
    assert set(head.headers) == set(got.headers)
    assert {k: v for k, v in head.headers.items() if k not in changing} == {
        k: v for k, v in got.headers.items() if k not in changing}
    assert connection.request("GET", "/version").reply().status == 200
    assert connection.pending == b""


def test_header_names_are_written_for_people(raw, name):
    reply = raw().request("POST", f"/v1/locks/{name}/acquire").reply()
    for header in (b"Coord-Node", b"Coord-Leader", b"Coord-Term", b"Coord-Token", b"Coord-Lease", b"Coord-Revision",
                   b"Coord-Expires-In-Ms", b"Content-Type", b"Content-Length"):
        assert b"\r\n" + header + b": " in reply.head


def test_a_grant_in_headers(client, name):
    status, headers, grant = client.request("POST", f"/v1/locks/{name}/acquire?ttl=20s")
    assert status == 201
    assert headers["Coord-Token"] == str(grant["token"]) and headers["Coord-Lease"] == grant["lease"]
    assert headers["Coord-Expires-In-Ms"] == "20000" and int(headers["Coord-Revision"]) >= grant["token"]
    assert headers["ETag"] is None and headers["Coord-Age-Ms"] is None and headers["Retry-After"] is None


def test_the_etag_of_one_object_is_its_revision(client, name):
    acquire(client, name)
    _, headers, view = client.request("GET", f"/v1/locks/{name}")
    assert headers["ETag"] == f'"{view["revision"]}"' and headers["Coord-Revision"] == str(view["revision"])
    _, headers, listed = client.request("GET", "/v1/locks")
    assert headers["ETag"] == f'"{listed["revision"]}"'  # lists can be waited for, too


def test_refusals_have_no_token_header(client, name):
    acquire(client, name)
    _, headers, _ = client.request("POST", f"/v1/locks/{name}/acquire")
    assert headers["Coord-Token"] is None and headers["Coord-Lease"] is None
    assert int(headers["Coord-Revision"]) > 0


def test_stale_reads_tell_their_age(client, name):
    acquire(client, name)
    status, headers, _ = client.request("GET", f"/v1/locks/{name}?consistency=stale")
    assert status == 200 and int(headers["Coord-Age-Ms"]) >= 0
    assert client.request("GET", f"/v1/locks/{name}?consistency=linearizable")[1]["Coord-Age-Ms"] is None


def test_min_revision_reads_what_was_written(client, name):
    _, headers, _ = client.request("POST", f"/v1/locks/{name}/acquire?owner=me")
    revision = headers["Coord-Revision"]
    view = client.request("GET", f"/v1/locks/{name}?consistency=stale&min_revision={revision}")[2]
    assert view["holders"][0]["owner"] == "me"


def test_plain_text_is_one_bare_line(client, name):
    plain = {"Accept": "text/plain"}
    assert client.request("GET", f"/v1/locks/{name}", headers=plain)[2] == "free\n"
    status, headers, line = client.request("POST", f"/v1/locks/{name}/acquire?owner=ci-42&ttl=20s", headers=plain)
    assert status == 201 and headers["Content-Type"].startswith("text/plain")
    assert line == headers["Coord-Token"] + "\n"
    token, owner, left = client.request("GET", f"/v1/locks/{name}", headers=plain)[2].split()
    assert token == line.strip() and owner == "ci-42" and 0 < int(left) <= 20000
    status, headers, problem = client.request("POST", f"/v1/locks/{name}/acquire", headers=plain)
    assert status == 423 and problem["code"] == "lock_held"
    assert client.request("GET", f"/v1/locks/{name}", headers={"Accept": "application/json, text/plain, */*"})[2]["name"] == name


def test_get_changes_nothing(own_node, name):
    with own_node().client() as client:
        before = client.request("GET", "/v1/locks")[1]["Coord-Revision"]
        for path in (f"/v1/locks/{name}", "/v1/leases", f"/v1/locks/{name}/acquire", f"/v1/locks/{name}/check?token=1"):
            client.request("GET", path)
        assert client.request("GET", "/v1/locks")[1]["Coord-Revision"] == before
