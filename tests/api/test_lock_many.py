"""Several locks in one request, over HTTP."""

import threading

from conftest import Raw
from node import read_answer, until
from test_statuses import acquire, lease, problem

FIELDS = {"locks", "token", "lease", "owner", "mode", "expires_in_ms", "waited_ms"}


def look(client, name):
    return client.request("GET", f"/v1/locks/{name}")[2]


def waiters(client, name, count):
    until(lambda: look(client, name)["waiter_count"] == count, f"{count} waiters", limit_s=60)


def test_all_or_none(client, name):
    a, b, c = f"{name}-a", f"{name}-b", f"{name}-c"
    status, headers, grant = client.request("POST", "/v1/locks/acquire", {"names": [a, b], "owner": "me", "ttl": "5s"})
    assert status == 201 and set(grant) == FIELDS
    assert grant["locks"] == [{"name": a, "token": grant["token"]}, {"name": b, "token": grant["token"]}]
    assert int(headers["Coord-Token"]) == grant["token"] and headers["Coord-Lease"] == grant["lease"]
    assert 0 < grant["expires_in_ms"] <= 5000
    held = problem(client.request("POST", f"/v1/locks/acquire?names={c},{b}"), 423, "lock_held")
    assert (held["name"], held["holder"]["owner"]) == (b, "me")
    assert look(client, c)["holders"] == []
    assert client.request("POST", f"/v1/locks/{a}/renew?token={grant['token']}")[0] == 200
    assert client.request("POST", f"/v1/leases/{grant['lease']}/renew")[0] == 200
    status, _, released = client.request("POST", f"/v1/locks/release?lease={grant['lease']}&token={grant['token']}")
    assert (status, released["names"]) == (200, [a, b])
    problem(client.request("GET", f"/v1/leases/{grant['lease']}"), 410, "lease_over")


def test_a_wait_for_all(client, node, name):
    a, b = f"{name}-a", f"{name}-b"
    token = acquire(client, a)["token"]
    with node.client() as other:
        other.send("POST", f"/v1/locks/acquire?names={b},{a}&wait=5m&owner=both")
        waiters(client, a, 1)
        waiting = look(client, b)["waiters"][0]
        assert (waiting["owner"], waiting["position"], waiting["locks"]) == ("both", 1, 2)
        problem(client.request("POST", f"/v1/locks/{b}/acquire"), 423, "lock_held")  # it is kept for the one who waits
        client.request("POST", f"/v1/locks/{a}/release?token={token}")
        status, _, grant = read_answer(other.connection)
    assert status == 201 and [each["name"] for each in grant["locks"]] == [b, a]
    assert grant["token"] > token and grant["waited_ms"] >= 0


def test_a_client_that_goes_leaves_all_queues_and_a_wait_in_vain_is_over(client, node, name):
    a, b = f"{name}-a", f"{name}-b"
    acquire(client, a)
    with Raw(node.port) as raw:
        raw.request("POST", f"/v1/locks/acquire?names={a},{b}&wait=5m")
        waiters(client, b, 1)
    waiters(client, a, 0)
    problem(client.request("POST", f"/v1/locks/acquire?names={a},{b}&wait=50ms"), 423, "lock_held")
    assert look(client, a)["waiter_count"] == look(client, b)["waiter_count"] == 0
    acquire(client, b)


def test_the_first_that_is_free(client, node, name):
    a, b = f"{name}-a", f"{name}-b"
    acquire(client, a)
    status, _, grant = client.request("POST", f"/v1/locks/acquire?names={a},{b}&any=true")
    assert (status, grant["locks"]) == (201, [{"name": b, "token": grant["token"]}])
    with node.client() as other:
        other.send("POST", f"/v1/locks/acquire?names={a},{b}&any=true&wait=5m")
        waiters(client, b, 1)
        client.request("POST", f"/v1/locks/{b}/release?token={grant['token']}")
        assert read_answer(other.connection)[2]["locks"][0]["name"] == b
    assert look(client, a)["waiter_count"] == 0


def test_refusals(client, name):
    own = lease(client)
    problem(client.request("POST", "/v1/locks/acquire", {"names": ["x", "x"]}), 422, "senseless")
    problem(client.request("POST", "/v1/locks/acquire", {"names": []}), 400, "bad_field")
    problem(client.request("POST", "/v1/locks/acquire", {"names": ["x"], "lease": own, "ttl": "5s"}), 422, "senseless")
    problem(client.request("POST", "/v1/locks/acquire", {"names": [f"n{i}" for i in range(65)]}), 400, "bad_field")
    problem(client.request("POST", "/v1/locks/acquire", {"names": ["x"], "mode": "semaphore"}), 400, "bad_field")
    problem(client.request("POST", "/v1/locks/acquire", {"names": ["x"], "lease": "Lffffffffff"}), 404, "lease_not_found")
    acquire(client, name, f"lease={own}")
    both = {"names": [name, f"{name}-b"], "lease": own}
    assert problem(client.request("POST", "/v1/locks/acquire", both), 409, "partly_held")["name"] == name
    problem(client.request("POST", f"/v1/locks/release?lease={own}&token=0"), 400, "bad_field")


def test_the_same_lease_gets_the_same_again(client, name):
    own = lease(client)
    request = {"names": [f"{name}-a", f"{name}-b"], "lease": own}
    _, _, grant = client.request("POST", "/v1/locks/acquire", request)
    status, _, again = client.request("POST", "/v1/locks/acquire", request)
    assert status == 200 and again["locks"] == grant["locks"]


def test_overlapping_requests_in_any_order_all_come_to_their_turn(node, client, name):
    names = [f"{name}-{i}" for i in range(5)]
    done, wrong = [], []

    def work(number):
        with node.client(timeout_s=120) as own:
            for turn in range(10):
                mine = [names[(number + turn + k * (1 + number % 4)) % 5] for k in range(3)]
                mine = list(dict.fromkeys(mine))
                status, _, grant = own.request("POST", "/v1/locks/acquire", {"names": mine, "wait": "10m", "ttl": "1h"})
                if status != 201:
                    wrong.append(grant)
                    return
                for each in grant["locks"]:
                    check = own.request("GET", f"/v1/locks/{each['name']}/check?token={each['token']}")[0]
                    if check != 200:
                        wrong.append(each)
                own.request("POST", f"/v1/locks/release?lease={grant['lease']}&token={grant['token']}")
                done.append(number)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong and len(done) == 80
    for each in names:
        view = look(client, each)
        assert view["holders"] == [] and view["waiter_count"] == 0
