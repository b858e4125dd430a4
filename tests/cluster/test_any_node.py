"""Any node takes any request, and all of them tell one story."""

import threading

import pytest

from tests.support.checker import judge
from tests.support.history import History, failed, finish, look_at_all, start
from tests.support.node import until


def acquire(cluster, node, name, **options):
    query = "&".join(f"{key}={value}" for key, value in options.items())
    return cluster[node].request("POST", f"/v1/locks/{name}/acquire?{query}")


def waiters(cluster, node, name):
    return cluster[node].request("GET", f"/v1/locks/{name}")[2]["waiter_count"]


def test_every_reply_names_node_leader_and_term(shared):
    leader = shared.wait_leader()
    for name in shared.running():
        _, headers, _ = shared[name].request("GET", "/v1/locks/none")
        assert (headers["Coord-Node"], headers["Coord-Leader"]) == (name, leader)
        assert int(headers["Coord-Term"]) >= 1


def test_acquire_here_renew_there_release_elsewhere(shared):
    nodes = shared.running()
    token = 0
    for i in range(30):
        a, b, c = (nodes[(i + k * (1 + i // 3 % 2)) % 3] for k in range(3))
        status, _, grant = acquire(shared, a, "moving", ttl="10s", owner=i)
        assert status == 201 and grant["token"] > token
        token = grant["token"]
        status, _, answer = shared[b].request("POST", f"/v1/locks/moving/renew?token={token}")
        assert status == 200 and 9000 < answer["expires_in_ms"] <= 10000
        status, _, answer = acquire(shared, c, "moving", ttl="10s")
        assert status == 423 and answer["holder"]["owner"] == str(i)
        assert shared[c].request("POST", f"/v1/locks/moving/release?token={token}")[0] == 200


def test_a_read_elsewhere_sees_what_was_written(shared):
    nodes = shared.running()
    for i in range(60):
        writer, reader = nodes[i % 3], nodes[(i + 1 + i // 3 % 2) % 3]
        _, _, grant = acquire(shared, writer, f"seen{i}", ttl="1m")
        _, _, lock = shared[reader].request("GET", f"/v1/locks/seen{i}")
        assert [h["token"] for h in lock["holders"]] == [grant["token"]]
        assert 0 < lock["holders"][0]["expires_in_ms"] <= 60000
        shared[reader].request("POST", f"/v1/locks/seen{i}/release?token={grant['token']}")
        assert shared[writer].request("GET", f"/v1/locks/seen{i}")[2]["holders"] == []


def test_min_revision_reads_ones_own_writes_anywhere(shared):
    nodes = shared.running()
    for i in range(30):
        writer, reader = nodes[i % 3], nodes[(i + 1) % 3]
        _, headers, grant = acquire(shared, writer, f"own{i}", ttl="1m")
        revision = headers["Coord-Revision"] or grant["token"]
        status, headers, lock = shared[reader].request("GET", f"/v1/locks/own{i}?consistency=stale&min_revision={revision}")
        assert status == 200 and [h["token"] for h in lock["holders"]] == [grant["token"]]
        assert "Coord-Age-Ms" in headers


def test_stale_reads_tell_their_age(shared):
    acquire(shared, "n1", "aged", ttl="1m")
    for name in shared.running():
        until(lambda: shared[name].request("GET", "/v1/locks/aged?consistency=stale")[2]["holders"], "it has come here")
        _, headers, _ = shared[name].request("GET", "/v1/locks/aged?consistency=stale")
        assert 0 <= int(headers["Coord-Age-Ms"]) < 10000


@pytest.mark.parametrize("keeper", ["leader", "follower"])
def test_waiters_on_followers_get_it_in_order(shared, keeper):
    leader = shared.wait_leader()
    first, second = shared.followers()
    at = leader if keeper == "leader" else first
    name = f"queue-{keeper}"
    _, _, grant = acquire(shared, at, name, ttl="1m")
    clients = []
    for number, node in enumerate([first, second, leader, second, first]):
        client = shared[node].client()
        client.send("POST", f"/v1/locks/{name}/acquire?ttl=1m&wait=1m&owner=w{number}")
        until(lambda: waiters(shared, second, name) == number + 1, "it waits")
        clients.append(client)
    token = grant["token"]
    for number, client in enumerate(clients):
        assert shared[[leader, first, second][number % 3]].request("POST", f"/v1/locks/{name}/release?token={token}")[0] == 200
        response = client.connection.getresponse()
        body = response.read()
        assert response.status == 201, body
        assert int(response.getheader("Coord-Token")) > token
        token = int(response.getheader("Coord-Token"))
        client.close()


def test_a_wait_on_a_follower_ends_with_its_deadline(shared):
    follower = shared.followers()[0]
    _, _, grant = acquire(shared, shared.wait_leader(), "vain", ttl="1m", owner="x")
    status, _, answer = acquire(shared, follower, "vain", wait="300ms")
    assert status == 423 and answer["holder"]["owner"] == "x"
    assert waiters(shared, follower, "vain") == 0
    shared[follower].request("POST", f"/v1/locks/vain/release?token={grant['token']}")


def test_a_waiter_on_a_follower_whose_client_goes_away_leaves_the_queue(shared):
    follower, other = shared.followers()
    acquire(shared, follower, "left", ttl="10s")
    gone = shared[follower].client()
    gone.send("POST", "/v1/locks/left/acquire?wait=1m")
    until(lambda: waiters(shared, other, "left") == 1, "it waits")
    gone.close()
    until(lambda: waiters(shared, other, "left") == 0, "it has left", 10)


def test_leases_live_anywhere(shared):
    nodes = shared.running()
    for i in range(6):
        a, b, c = nodes[i % 3], nodes[(i + 1) % 3], nodes[(i + 2) % 3]
        status, _, lease = shared[a].request("POST", "/v1/leases?ttl=10s&owner=o")
        assert status == 201
        key = lease["id"] if "id" in lease else lease["lease"]
        status, _, grant = acquire(shared, b, f"hung{i}", lease=key)
        assert status == 201 and grant["lease"] == key
        status, _, answer = shared[c].request("POST", f"/v1/leases/{key}/renew")
        assert status == 200 and 9000 < answer["expires_in_ms"] <= 10000
        status, _, answer = shared[b].request("POST", "/v1/leases/renew", {"ids": [key]})
        assert status == 200, answer
        assert shared[c].request("DELETE", f"/v1/leases/{key}")[0] in (200, 204)
        assert shared[a].request("GET", f"/v1/locks/hung{i}")[2]["holders"] == []
        assert shared[b].request("POST", f"/v1/leases/{key}/renew")[0] in (404, 410)


def test_many_clients_on_all_nodes(shared):
    history = History()
    workers = start(history, shared.http, count=8, seed=3, locks=4, think_s=0.002)
    until(lambda: history.count("granted") > 150 or failed(workers), "150 grants", 60)
    finish(workers)
    look_at_all(history, shared.http, [f"h{i}" for i in range(4)])
    assert history.count("unknown") == history.count("not_applied") == 0
    judge(history.ops)


def test_one_connection_a_thread_on_every_node(shared):
    """Own locks under load on all nodes at once: every token once, all rising for each client."""
    tokens, errors = [], []

    def work(node, number):
        try:
            mine = []
            with shared[node].client() as client:
                for _ in range(100):
                    status, _, grant = client.request("POST", f"/v1/locks/own-{number}/acquire?ttl=1m")
                    assert status == 201, grant
                    assert client.request("POST", f"/v1/locks/own-{number}/release?token={grant['token']}")[0] == 200
                    mine.append(grant["token"])
            assert mine == sorted(mine)
            tokens.extend(mine)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(shared.running()[i % 3], i)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert len(set(tokens)) == len(tokens) == 600
