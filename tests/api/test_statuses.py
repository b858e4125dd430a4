"""Every status and code of leases and locks over HTTP, with the facts that ride along."""

import re

TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
LEASE = re.compile(r"^L[0-9a-f]+$")


def problem(answer, status, code, retryable=False):
    got, headers, document = answer
    assert (got, document["code"]) == (status, code), document
    assert headers["Content-Type"] == "application/problem+json"
    assert document["type"] == "urn:coordd:" + code
    assert document["status"] == status and document["retryable"] is retryable
    assert isinstance(document["title"], str) and isinstance(document["detail"], str)
    assert (headers["Retry-After"] == "1") == (status in (429, 503))
    return document


def acquire(client, name, query="", status=201):
    got, _, grant = client.request("POST", f"/v1/locks/{name}/acquire?{query}")
    assert got == status, grant
    return grant


def lease(client, ttl="30s"):
    status, _, made = client.request("POST", f"/v1/leases?ttl={ttl}&owner=tests")
    assert status == 201, made
    return made["lease"]


def test_200_201_a_grant_and_the_same_again(client, name):
    own = lease(client)
    status, headers, grant = client.request("POST", f"/v1/locks/{name}/acquire?lease={own}&owner=me")
    assert status == 201
    assert set(grant) == {"name", "token", "lease", "owner", "mode", "permits", "count", "expires_in_ms", "waited_ms"}
    assert grant["name"] == name and grant["owner"] == "me" and grant["mode"] == "exclusive"
    assert grant["permits"] == 1 and grant["waited_ms"] == 0 and grant["lease"] == own
    assert 0 < grant["expires_in_ms"] <= 30000
    assert int(headers["Coord-Token"]) == grant["token"] and headers["Coord-Lease"] == own
    status, _, again = client.request("POST", f"/v1/locks/{name}/acquire?lease={own}&owner=me")
    assert (status, again["token"]) == (200, grant["token"])


def test_204_nothing_to_say(client):
    own = lease(client)
    status, headers, body = client.request("DELETE", f"/v1/leases/{own}")
    assert (status, body) == (204, "")
    assert headers["Content-Length"] is None and headers["Content-Type"] is None
    assert int(headers["Coord-Revision"]) > 0
    assert client.request("GET", "/readyz")[0] == 200


def test_404_no_such_lease(client):
    problem(client.request("GET", "/v1/leases/Lfffffffffff"), 404, "lease_not_found")
    problem(client.request("POST", "/v1/leases/Lfffffffffff/renew"), 404, "lease_not_found")


def test_410_the_lease_is_over(client, name):
    own = lease(client)
    client.request("DELETE", f"/v1/leases/{own}")
    answer = client.request("POST", f"/v1/locks/{name}/acquire?lease={own}")
    assert answer[0] in (404, 410)
    problem(answer, answer[0], "lease_over" if answer[0] == 410 else "lease_not_found")


def test_410_a_waiter_whose_lease_ends(client, node, name):
    acquire(client, name, "ttl=60s")
    own = lease(client)
    with node.client() as waiter:
        waiter.send("POST", f"/v1/locks/{name}/acquire?lease={own}&wait=60s")
        waits(client, name, 1)
        assert client.request("DELETE", f"/v1/leases/{own}")[0] == 204
        problem(answer_of(waiter), 410, "lease_over")


def answer_of(client):
    from node import read_answer

    return read_answer(client.connection)


def waits(client, name, count):
    from node import until

    def as_many():
        view = client.request("GET", f"/v1/locks/{name}")[2]
        return len(view["waiters"]) == count and view

    return until(as_many, f"{count} wait for {name}")


def test_423_the_lock_is_held(client, name):
    held = acquire(client, name, "ttl=45s&owner=ci-42")
    document = problem(client.request("POST", f"/v1/locks/{name}/acquire?owner=other"), 423, "lock_held")
    assert document["title"] == "the lock is held"
    assert document["holder"]["owner"] == "ci-42" and TIME.match(document["holder"]["since"])
    assert 0 < document["holder"]["expires_in_ms"] <= 45000
    assert document["holder"]["token"] == held["token"]
    assert document["waiters"] == 0 and document["position"] is None


def test_423_after_waiting_in_vain(client, name):
    acquire(client, name, "ttl=45s&owner=ci-42")
    document = problem(client.request("POST", f"/v1/locks/{name}/acquire?wait=150ms"), 423, "lock_held")
    assert document["holder"]["owner"] == "ci-42"
    assert client.request("GET", f"/v1/locks/{name}")[2]["waiters"] == []


def test_409_a_stale_token(client, name):
    grant = acquire(client, name)
    for action in ("release", "renew", "transfer"):
        query = f"token={grant['token'] - 1}" + ("&to=x" if action == "transfer" else "")
        assert problem(client.request("POST", f"/v1/locks/{name}/{action}?{query}"), 409, "stale_token")["name"] == name


def test_409_nobody_holds_it(client, name):
    problem(client.request("POST", f"/v1/locks/{name}/break?reason=tests"), 409, "lock_not_held")


def test_409_another_mode_in_use(client, name):
    own = lease(client)
    acquire(client, name, f"mode=semaphore&limit=3&lease={own}")
    problem(client.request("POST", f"/v1/locks/{name}/acquire?mode=shared&lease={own}"), 409, "mode_conflict")


def test_409_another_limit(client, name):
    acquire(client, name, "mode=semaphore&limit=3")
    document = problem(client.request("POST", f"/v1/locks/{name}/acquire?mode=semaphore&limit=4"), 409, "limit_mismatch")
    assert document["mode"] == "semaphore"


def test_409_a_deadlock_is_refused(client, node, name):
    """Two readers that both want to become the writer wait for each other."""
    one, two = lease(client), lease(client)
    acquire(client, name, f"lease={one}&mode=shared")
    acquire(client, name, f"lease={two}&mode=shared")
    with node.client() as waiter:
        waiter.send("POST", f"/v1/locks/{name}/acquire?lease={one}&wait=60s")
        waits(client, name, 1)
        problem(client.request("POST", f"/v1/locks/{name}/acquire?lease={two}&wait=60s"), 409, "deadlock")


def test_409_a_wait_is_broken_off(client, node, name):
    token = acquire(client, name)["token"]
    own = lease(client)
    with node.client() as waiter, node.client() as second:
        waiter.send("POST", f"/v1/locks/{name}/acquire?lease={own}&wait=60s")
        waits(client, name, 1)
        second.send("POST", f"/v1/locks/{name}/acquire?lease={own}&wait=60s")
        problem(answer_of(waiter), 409, "wait_broken_off")
        client.request("POST", f"/v1/locks/{name}/release?token={token}")
        assert answer_of(second)[0] == 201


def test_404_nobody_of_that_name_waits(client, name):
    token = acquire(client, name)["token"]
    problem(client.request("POST", f"/v1/locks/{name}/transfer?token={token}&to=nobody"), 404, "waiter_not_found")


def test_412_a_stale_fence(client, name):
    token = acquire(client, name)["token"]
    status, _, check = client.request("GET", f"/v1/locks/{name}/check?token={token}")
    assert status == 200 and check["token"] == token
    problem(client.request("GET", f"/v1/locks/{name}/check?token={token - 1}"), 412, "fenced")


def test_422_senseless(client, name):
    problem(client.request("POST", f"/v1/locks/{name}/acquire?limit=3"), 422, "senseless")
    problem(client.request("POST", f"/v1/locks/{name}/acquire?mode=semaphore&limit=3&permits=4"), 422, "permits_exceed_limit")


def test_404_unknown_paths(client):
    for path in ("/", "/v1", "/v1/", "/v2/locks", "/v1/locks/", "/v1/locks/x/", "/v1/locks/x/acquire/", "/v1/locks/x/y/z",
                 "/healthz/", "/HEALTHZ", "/v1/openapi.json/"):
        problem(client.request("GET", path), 404, "route_not_found")


def test_405_tells_the_methods(client, name):
    for method, path, allow in (("GET", f"/v1/locks/{name}/acquire", ["POST"]),
                                ("DELETE", f"/v1/locks/{name}", ["GET", "HEAD"]),
                                ("PUT", "/v1/leases/L1", ["GET", "HEAD", "DELETE"]),
                                ("OPTIONS", f"/v1/locks/{name}", ["GET", "HEAD"]),
                                ("PATCH", "/v1/leases/renew", ["POST", "GET", "HEAD", "DELETE"]),
                                ("POST", "/healthz", ["GET", "HEAD"]),
                                ("DELETE", "/metrics", ["GET", "HEAD"])):
        answer = client.request(method, path)
        assert problem(answer, 405, "method_not_allowed")["allow"] == allow
        assert answer[1]["Allow"] == ", ".join(allow)


def test_406_no_such_representation(client, name):
    problem(client.request("POST", f"/v1/locks/{name}/acquire", headers={"Accept": "text/html"}), 406, "not_acceptable")
    problem(client.request("GET", "/v1/leases", headers={"Accept": "text/plain"}), 406, "not_acceptable")
    assert client.request("GET", f"/v1/locks/{name}")[2]["holders"] == []


def test_503_this_node_is_behind(client):
    ahead = int(client.request("GET", "/v1/locks")[1]["Coord-Revision"]) + 1000000
    problem(client.request("GET", f"/v1/locks?min_revision={ahead}"), 503, "min_revision_ahead", retryable=True)


def test_renewal_and_release(client, name):
    grant = acquire(client, name, "ttl=20s")
    status, headers, renewed = client.request("POST", f"/v1/locks/{name}/renew?token={grant['token']}")
    assert status == 200 and 0 < renewed["expires_in_ms"] <= 20000
    assert int(headers["Coord-Token"]) == grant["token"]
    assert int(headers["Coord-Expires-In-Ms"]) == renewed["expires_in_ms"]
    assert client.request("POST", f"/v1/locks/{name}/release", {"token": grant["token"]})[0] == 200
    view = client.request("GET", f"/v1/locks/{name}")[2]
    assert view["holders"] == [] and view["history"][0]["token"] == grant["token"]


def test_a_lease_and_what_hangs_on_it(client, name):
    own = lease(client, "20s")
    assert LEASE.match(own)
    acquire(client, name, f"lease={own}")
    status, headers, view = client.request("GET", f"/v1/leases/{own}")
    assert status == 200 and view["owner"] == "tests" and view["ttl_ms"] == 20000
    assert name in str(view)
    assert headers["ETag"] == f'"{headers["Coord-Revision"]}"'
    status, _, renewed = client.request("POST", "/v1/leases/renew", {"ids": [own, "Lfffffffffff"]})
    assert status == 200 and own in str(renewed) and "Lfffffffffff" in str(renewed)
    assert client.request("DELETE", f"/v1/leases/{own}")[0] == 204
    assert client.request("GET", f"/v1/locks/{name}")[2]["holders"] == []


def test_lists_go_by_prefix_and_page(client, name):
    for i in range(5):
        acquire(client, f"{name}-page-{i}")
    seen, cursor = [], None
    while True:
        path = f"/v1/locks?prefix={name}-page-&limit=2" + (f"&cursor={cursor}" if cursor else "")
        status, _, page = client.request("GET", path)
        assert status == 200 and len(page["locks"]) <= 2
        seen += [lock["name"] for lock in page["locks"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert seen == [f"{name}-page-{i}" for i in range(5)]
