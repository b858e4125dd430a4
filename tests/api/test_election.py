"""Elections over HTTP: every status and code with its facts, waits, and what outlives a leader or a node."""

import json
import threading
import time

from conftest import Raw
from node import read_answer, until
from test_statuses import TIME, lease, problem

LEADER = {"candidate", "value", "token", "since", "lease", "expires_in_ms"}
HELD = {"name", "leader", "token", "candidates", "position"}


def campaign(client, name, query, status=201):
    got, _, term = client.request("POST", f"/v1/elections/{name}/campaign?{query}")
    assert got == status, term
    return term


def act(client, name, what, token, more=""):
    return client.request("POST", f"/v1/elections/{name}/{what}?token={token}{more}")


def look(client, name):
    status, headers, view = client.request("GET", f"/v1/elections/{name}")
    assert status == 200 and headers["ETag"] == f'"{view["revision"]}"'
    return view


def wait_for(client, name, candidates):
    until(lambda: [c["candidate"] for c in look(client, name)["candidates"]] == candidates, f"{candidates} wait")


# --- what is said of a term ---


def test_201_a_term_of_office(client, name):
    status, headers, term = client.request("POST", f"/v1/elections/{name}/campaign?candidate=n1&value=10.0.0.1&ttl=20s")
    assert status == 201
    assert set(term) == {"name", "token", "lease", "candidate", "value", "expires_in_ms", "waited_ms"}
    assert (term["name"], term["candidate"], term["value"], term["waited_ms"]) == (name, "n1", "10.0.0.1", 0)
    assert 0 < term["expires_in_ms"] <= 20000
    assert (int(headers["Coord-Token"]), headers["Coord-Lease"]) == (term["token"], term["lease"])
    assert 0 < int(headers["Coord-Expires-In-Ms"]) <= 20000
    view = look(client, name)
    assert set(view) == {"name", "leader", "token", "candidates", "candidate_count", "history", "revision"}
    assert set(view["leader"]) == LEADER
    assert (view["leader"]["token"], view["leader"]["lease"]) == (term["token"], term["lease"])
    assert TIME.match(view["leader"]["since"]) and 0 < view["leader"]["expires_in_ms"] <= 20000
    assert (view["token"], view["candidates"], view["history"]) == (term["token"], [], [])
    assert client.request("GET", f"/v1/leases/{term['lease']}")[2]["holds"] == [{"path": f"/elections/{name}"}]


def test_200_an_election_never_held(client, name):
    assert look(client, name) == {"name": name, "leader": None, "token": None, "candidates": [], "candidate_count": 0,
                                  "history": [], "revision": 0}


def test_200_the_same_lease_has_the_same_term(client, name):
    own = lease(client)
    first = campaign(client, name, f"candidate=n1&lease={own}&value=a")
    again = campaign(client, name, f"candidate=n1&lease={own}&wait=60s", 200)
    assert (again["token"], again["value"]) == (first["token"], "a")
    assert campaign(client, name, f"candidate=n1&lease={own}&value=b", 200)["value"] == "b"
    assert look(client, name)["leader"]["value"] == "b"


def test_one_bare_line(client, name):
    plain = {"Accept": "text/plain"}
    assert client.request("GET", f"/v1/elections/{name}", headers=plain)[2] == "free\n"
    status, headers, line = client.request("POST", f"/v1/elections/{name}/campaign?candidate=n1", headers=plain)
    assert status == 201 and line == headers["Coord-Token"] + "\n"
    token, candidate, ms = client.request("GET", f"/v1/elections/{name}", headers=plain)[2].split()
    assert (token, candidate) == (headers["Coord-Token"], "n1") and 0 < int(ms) <= 30000


def test_a_value_is_any_json(client, name):
    value = {"host": "10.0.0.1", "ports": [5432, 5433], "leader": None}
    body = {"candidate": "n1", "value": value, "ttl": "20s", "priority": 3}
    status, _, term = client.request("POST", f"/v1/elections/{name}/campaign", body)
    assert (status, term["value"]) == (201, value)
    for value in ([1, 2], 7, "x", False, "ü\n", {}, "v" * 4094):
        body = {"token": term["token"], "value": value}
        status, _, proclaimed = client.request("POST", f"/v1/elections/{name}/proclaim", body)
        assert (status, proclaimed["value"], proclaimed["token"]) == (200, value, term["token"])
        assert look(client, name)["leader"]["value"] == value
    body = {"token": term["token"], "value": "v" * 4095}
    assert problem(client.request("POST", f"/v1/elections/{name}/proclaim", body), 400, "bad_field")["field"] == "value"


def test_names_are_any_text(client, name):
    path = f"{name}%2Feu%20west%2F%C3%BC"
    token = campaign(client, path, "candidate=%C3%A4%2F1")["token"]
    view = look(client, path)
    assert (view["name"], view["leader"]["candidate"]) == (f"{name}/eu west/ü", "ä/1")
    assert act(client, path, "resign", token)[0] == 200
    problem(client.request("GET", "/v1/elections/" + "n" * 256), 400, "bad_field")
    assert look(client, "n" * 255)["leader"] is None
    problem(client.request("POST", f"/v1/elections/{name}/campaign?candidate=" + "n" * 256), 400, "bad_field")


# --- refusals ---


def test_400_what_a_campaign_must_be(client, name):
    for query, field in (("", "candidate"), ("candidate=", "candidate"), ("candidate=n1&ttl=499ms", "ttl"),
                         ("candidate=n1&wait=601s", "wait"), ("candidate=n1&priority=256", "priority"),
                         ("candidate=n1&owner=me", "owner"), ("candidate=n1&candidate=n2", "candidate")):
        answer = client.request("POST", f"/v1/elections/{name}/campaign?{query}")
        assert problem(answer, 400, "bad_field")["field"] == field
    for what in ("resign", "proclaim", "transfer", "renew"):
        answer = client.request("POST", f"/v1/elections/{name}/{what}?value=1&to=x" if what == "proclaim" else
                                f"/v1/elections/{name}/{what}")
        problem(answer, 400, "bad_field")
    assert look(client, name)["revision"] == 0


def test_404_405_what_is_not_there(client, name):
    assert client.request("PUT", f"/v1/elections/{name}/campaign?candidate=x")[1]["Allow"] == "POST"
    problem(client.request("POST", f"/v1/elections/{name}/veto"), 404, "route_not_found")
    problem(client.request("POST", f"/v1/elections/{name}/campaign?candidate=x&lease=Lfffffffffff"), 404,
            "lease_not_found")


def test_409_only_the_leader_may(client, name):
    nobody = problem(act(client, name, "resign", 1), 409, "not_leader")
    assert nobody["leader"] is None and HELD <= set(nobody)
    old = campaign(client, name, "candidate=old")["token"]
    assert act(client, name, "resign", old)[0] == 200
    new = campaign(client, name, "candidate=new&value=here")["token"]
    assert new > old
    for what, more in (("proclaim", "&value=1"), ("transfer", "&to=x"), ("renew", "")):
        refused = problem(act(client, name, what, old, more), 409, "not_leader")
        assert set(refused["leader"]) == LEADER
        assert (refused["leader"]["candidate"], refused["leader"]["token"], refused["token"]) == ("new", new, new)
    assert look(client, name)["leader"]["value"] == "here"


def test_a_resignation_may_be_repeated(client, name):
    token = campaign(client, name, "candidate=x")["token"]
    first = act(client, name, "resign", token)
    assert (first[0], first[2]) == (200, {"name": name, "token": token, "candidates": 0})
    revision = look(client, name)["revision"]
    assert act(client, name, "resign", token)[0] == 200
    assert look(client, name)["revision"] == revision
    problem(act(client, name, "resign", token + 1), 409, "not_leader")


def test_410_the_lease_is_over(client, name):
    own = lease(client)
    client.request("DELETE", f"/v1/leases/{own}")
    problem(client.request("POST", f"/v1/elections/{name}/campaign?candidate=x&lease={own}"), 410, "lease_over")


def test_200_412_is_the_token_current(client, name):
    term = campaign(client, name, "candidate=x")
    status, _, checked = client.request("GET", f"/v1/elections/{name}/check?token={term['token']}")
    assert status == 200 and checked["current"] is True and checked["candidate"] == "x"
    assert checked["lease"] == term["lease"] and 0 < checked["expires_in_ms"] <= 30000
    problem(client.request("GET", f"/v1/elections/{name}/check?token={term['token'] - 1}"), 412, "fenced")
    act(client, name, "resign", term["token"])
    refused = problem(client.request("GET", f"/v1/elections/{name}/check?token={term['token']}"), 412, "fenced")
    assert (refused["leader"], refused["token"]) == (None, term["token"])


def test_422_what_contradicts_itself(client, name):
    own = lease(client)
    problem(client.request("POST", f"/v1/elections/{name}/campaign?candidate=x&lease={own}&ttl=5s"), 422, "senseless")
    campaign(client, name, f"candidate=x&lease={own}")
    answer = client.request("POST", f"/v1/elections/{name}/campaign?candidate=y&lease={own}")
    assert "another candidate" in problem(answer, 422, "senseless")["detail"]


def test_423_somebody_else_leads(client, name):
    term = campaign(client, name, "candidate=x&value=here")
    held = problem(client.request("POST", f"/v1/elections/{name}/campaign?candidate=y"), 423, "election_held")
    assert HELD <= set(held) and held["leader"]["value"] == "here"
    assert (held["leader"]["token"], held["candidates"], held["position"]) == (term["token"], 0, None)


def test_an_operator_breaks_a_term(client, name):
    problem(client.request("POST", f"/v1/elections/{name}/break?reason=x"), 409, "nobody_leads")
    token = campaign(client, name, "candidate=stuck")["token"]
    status, _, broken = client.request("POST", f"/v1/elections/{name}/break", {"reason": "stuck since noon"})
    assert (status, broken) == (200, {"name": name, "candidate": "stuck", "token": token})
    past = look(client, name)["history"][0]
    assert (past["token"], past["reason"], past["detail"]) == (token, "broken", "stuck since noon")
    problem(act(client, name, "proclaim", token, "&value=1"), 409, "not_leader")


# --- waits ---


def test_the_next_leads_when_one_resigns(client, node, name):
    token = campaign(client, name, "candidate=0")["token"]
    waiting = [node.client() for _ in range(4)]
    for i, each in enumerate(waiting):
        each.send("POST", f"/v1/elections/{name}/campaign?candidate={i + 1}&wait=60s&ttl=20s&value=v{i + 1}")
        wait_for(client, name, [str(k + 1) for k in range(i + 1)])
    assert [c["position"] for c in look(client, name)["candidates"]] == [1, 2, 3, 4]
    for i, each in enumerate(waiting):
        assert act(client, name, "resign", token)[2]["candidates"] == 4 - i
        status, headers, term = read_answer(each.connection)
        assert (status, term["candidate"], term["value"]) == (201, str(i + 1), f"v{i + 1}")
        assert term["token"] > token and int(headers["Coord-Token"]) == term["token"]
        assert 0 < term["expires_in_ms"] <= 20000 and term["waited_ms"] >= 0
        token = term["token"]
        each.close()
    assert [t["candidate"] for t in look(client, name)["history"]] == ["3", "2", "1", "0"]


def test_priority_goes_first(client, node, name):
    token = campaign(client, name, "candidate=leader")["token"]
    with node.client() as low, node.client() as high:
        low.send("POST", f"/v1/elections/{name}/campaign?candidate=low&wait=60s")
        wait_for(client, name, ["low"])
        high.send("POST", f"/v1/elections/{name}/campaign?candidate=high&wait=60s&priority=9")
        wait_for(client, name, ["high", "low"])
        act(client, name, "resign", token)
        assert read_answer(high.connection)[2]["candidate"] == "high"


def test_a_wait_ends_at_its_deadline(client, name):
    token = campaign(client, name, "candidate=x")["token"]
    for wait, ms in (("0", 0), ("200ms", 200), ("1s", 1000)):
        begin = time.monotonic()
        answer = client.request("POST", f"/v1/elections/{name}/campaign?candidate=y&wait={wait}")
        assert (time.monotonic() - begin) * 1000 >= ms
        assert problem(answer, 423, "election_held")["leader"]["token"] == token
    assert look(client, name)["candidates"] == []


def test_a_client_that_leaves_gives_its_place_up(client, node, name):
    token = campaign(client, name, "candidate=x")["token"]
    first, second = Raw(node.port), Raw(node.port)
    first.request("POST", f"/v1/elections/{name}/campaign?candidate=first&wait=60s")
    wait_for(client, name, ["first"])
    second.request("POST", f"/v1/elections/{name}/campaign?candidate=second&wait=60s")
    wait_for(client, name, ["first", "second"])
    first.close()
    wait_for(client, name, ["second"])
    act(client, name, "resign", token)
    assert json.loads(second.reply().body)["candidate"] == "second"


def test_the_place_of_a_lease_is_kept(client, node, name):
    token = campaign(client, name, "candidate=x")["token"]
    own = lease(client)
    with Raw(node.port) as first:
        first.request("POST", f"/v1/elections/{name}/campaign?candidate=kept&lease={own}&wait=60s")
        wait_for(client, name, ["kept"])
    with node.client() as again, node.client() as third:
        third.send("POST", f"/v1/elections/{name}/campaign?candidate=later&wait=60s")
        wait_for(client, name, ["kept", "later"])
        held = problem(client.request("POST", f"/v1/elections/{name}/campaign?candidate=kept&lease={own}"), 423,
                       "election_held")
        assert (held["position"], held["candidates"]) == (1, 2)
        revision = look(client, name)["revision"]
        again.send("POST", f"/v1/elections/{name}/campaign?candidate=kept&lease={own}&wait=60s")
        until(lambda: look(client, name)["revision"] > revision, "the newer request has the place")
        act(client, name, "resign", token)
        term = read_answer(again.connection)[2]
        assert (term["candidate"], term["lease"]) == ("kept", own)


def test_a_newer_request_breaks_the_older_wait_off(client, node, name):
    leads, own = campaign(client, name, "candidate=x")["lease"], lease(client)
    with node.client() as first, node.client() as second:
        first.send("POST", f"/v1/elections/{name}/campaign?candidate=y&lease={own}&wait=60s")
        wait_for(client, name, ["y"])
        assert client.request("POST", f"/v1/leases/{leads}/renew")[2]["waiters"] == 1
        assert client.request("POST", f"/v1/leases/{own}/renew")[2]["waiters"] == 0
        second.send("POST", f"/v1/elections/{name}/campaign?candidate=y&lease={own}&wait=60s")
        problem(read_answer(first.connection), 409, "wait_broken_off")
        client.request("DELETE", f"/v1/leases/{own}")
        problem(read_answer(second.connection), 410, "lease_over")
    assert look(client, name)["candidates"] == []


def test_the_office_is_handed_over(client, node, name):
    token = campaign(client, name, "candidate=a")["token"]
    problem(act(client, name, "transfer", token, "&to=c"), 404, "candidate_not_found")
    with node.client() as b, node.client() as c:
        b.send("POST", f"/v1/elections/{name}/campaign?candidate=b&wait=60s")
        wait_for(client, name, ["b"])
        c.send("POST", f"/v1/elections/{name}/campaign?candidate=c&wait=60s")
        wait_for(client, name, ["b", "c"])
        status, headers, term = act(client, name, "transfer", token, "&to=c")
        assert status == 200 and term["candidate"] == "c" and term["token"] > token
        assert int(headers["Coord-Token"]) == term["token"]
        assert read_answer(c.connection)[2]["token"] == term["token"]
        wait_for(client, name, ["b"])
        problem(act(client, name, "transfer", token, "&to=b"), 409, "not_leader")
        past = look(client, name)["history"][0]
        assert (past["candidate"], past["reason"]) == ("a", "transferred")
        assert TIME.match(past["since"]) and TIME.match(past["ended"])


# --- what ends and what lasts ---


def test_a_leader_that_lost_its_lease_can_change_nothing(client, node, name):
    old = campaign(client, name, "candidate=old&ttl=500ms&value=here")
    with node.client() as other:
        other.send("POST", f"/v1/elections/{name}/campaign?candidate=new&wait=60s&value=there")
        status, _, new = read_answer(other.connection)
    assert status == 201 and new["token"] > old["token"]
    for what, more in (("proclaim", "&value=still"), ("resign", ""), ("transfer", "&to=new"), ("renew", "")):
        refused = problem(act(client, name, what, old["token"], more), 409, "not_leader")
        assert refused["leader"]["token"] == new["token"]
    view = look(client, name)
    assert (view["leader"]["value"], view["history"][0]["reason"]) == ("there", "expired")
    problem(client.request("POST", f"/v1/leases/{old['lease']}/renew"), 410, "lease_over")


def test_a_leader_that_renews_stays(client, name):
    term = campaign(client, name, "candidate=x&ttl=1s")
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        status, headers, renewed = act(client, name, "renew", term["token"])
        assert status == 200, renewed
        assert set(renewed) == {"name", "token", "lease", "expires_in_ms", "candidates"}
        assert (renewed["token"], renewed["lease"]) == (term["token"], term["lease"])
        assert 0 < renewed["expires_in_ms"] <= 1000 and int(headers["Coord-Token"]) == term["token"]
        time.sleep(0.05)
    assert look(client, name)["leader"]["token"] == term["token"]
    until(lambda: look(client, name)["leader"] is None, "its term ends when it renews no more", 60)


def test_one_leader_at_a_time_among_many(node, name):
    """Eight clients campaign, proclaim and resign: the tokens of the terms are distinct, and rise in the history."""
    tokens, lock = [], threading.Lock()

    def serve(who):
        with node.client(timeout_s=60) as client:
            for _ in range(10):
                term = campaign(client, name, f"candidate={who}&wait=60s")
                assert look(client, name)["leader"]["token"] == term["token"]
                assert act(client, name, "proclaim", term["token"], f"&value={who}")[0] == 200
                view = look(client, name)["leader"]
                assert (view["candidate"], view["value"]) == (who, who)
                with lock:
                    tokens.append(term["token"])
                assert act(client, name, "resign", term["token"])[0] == 200

    threads = [threading.Thread(target=serve, args=(f"c{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 80 and tokens == sorted(set(tokens))
    view = node.request("GET", f"/v1/elections/{name}")[2]
    assert [t["token"] for t in view["history"]] == sorted(tokens, reverse=True)[:16]
    assert {t["reason"] for t in view["history"]} == {"resigned"}


def test_lists_by_prefix_and_page(client, name):
    for i in range(5):
        campaign(client, f"{name}%2F{i}", f"candidate=c{i}&value={i}")
    listed, cursor = [], None
    for _ in range(3):
        query = f"prefix={name}%2F&limit=2" + (f"&cursor={cursor}" if cursor else "")
        status, headers, page = client.request("GET", f"/v1/elections?{query}")
        assert status == 200 and set(page) == {"elections", "cursor", "revision"}
        assert int(headers["Coord-Revision"]) == page["revision"]
        listed += page["elections"]
        cursor = page["cursor"] and page["cursor"].replace("/", "%2F")
    assert cursor is None
    assert [e["name"] for e in listed] == [f"{name}/{i}" for i in range(5)]
    assert [e["leader"]["value"] for e in listed] == [str(i) for i in range(5)]
    assert set(listed[0]) == {"name", "leader", "token", "candidates", "revision"} and set(listed[0]["leader"]) == LEADER


def test_leader_queue_and_history_outlive_the_node(own_node):
    node = own_node()
    own = lease(node, "60s")
    token = campaign(node, "e", "candidate=a&ttl=60s")["token"]
    assert act(node, "e", "resign", token)[0] == 200
    token = campaign(node, "e", "candidate=b&ttl=60s&value=v")["token"]
    with Raw(node.port) as waiting, Raw(node.port) as going:
        waiting.request("POST", f"/v1/elections/e/campaign?candidate=c&lease={own}&wait=60s")
        wait_for(node, "e", ["c"])
        going.request("POST", "/v1/elections/e/campaign?candidate=d&wait=60s")
        wait_for(node, "e", ["c", "d"])
        node.kill9()
    node.start()
    view = look(node, "e")
    assert (view["leader"]["token"], view["leader"]["value"]) == (token, "v")
    assert view["history"][0]["candidate"] == "a"
    wait_for(node, "e", ["c"])  # d hung on a connection of the process that is gone
    assert act(node, "e", "resign", token)[0] == 200
    term = campaign(node, "e", f"candidate=c&lease={own}", 200)
    assert term["token"] > token and term["lease"] == own


def test_a_stale_read_knows_no_deadlines_it_cannot_know(client, name):
    term = campaign(client, name, "candidate=x")
    status, headers, view = client.request("GET", f"/v1/elections/{name}?consistency=stale")
    assert status == 200 and int(headers["Coord-Age-Ms"]) >= 0
    assert view["leader"]["token"] == term["token"]
