"""Groups over HTTP: what each call answers, members that come, are silent and go. The state machine itself:
tests/unit/test_group*.c; refusals, shards, broadcasts, picks: test_groups_more.py."""

import itertools
import threading

import pytest

from node import until

numbers = itertools.count(1)


@pytest.fixture
def g():
    return f"/v1/groups/g{next(numbers)}"


def put(client, g, query=""):
    status, _, made = client.request("PUT", f"{g}?{query}")
    assert status in (200, 201), made
    return made


def join(client, g, member, query="ttl=5m"):
    status, _, made = client.request("PUT", f"{g}/members/{member}?{query}")
    assert status == 201, made
    return made["token"]


def beat(client, g, member, token, query=""):
    return client.request("POST", f"{g}/members/{member}/heartbeat?token={token}{query}")


def see(client, g, member, query=""):
    status, _, answer = client.request("GET", f"{g}/members/{member}{query}")
    assert status == 200, answer
    return answer


def get(client, g):
    status, _, answer = client.request("GET", g)
    assert status == 200, answer
    return answer


def counts(client, g):
    group = get(client, g)
    return tuple(group[state] for state in ("alive", "suspect", "failed", "left"))


def ids(client, g, query=""):
    status, _, answer = client.request("GET", f"{g}/members?{query}")
    assert status == 200, answer
    return [member["id"] for member in answer["members"]]


def moves(client, g, member):
    """(to, reason), oldest first."""
    status, _, answer = client.request("GET", f"{g}/history?id={member}")
    assert status == 200, answer
    return [(move["to"], move["reason"]) for move in reversed(answer["members"][0]["transitions"])]


def becomes(client, g, member, state):
    return until(lambda: see(client, g, member)["state"] == state and see(client, g, member), f"{member} is {state}")


class Beating:
    """Members that beat in one request each 200 ms, over a connection of their own."""

    def __init__(self, node, g, tokens):
        self.node, self.tokens, self.ending, self.gone = node, dict(tokens), threading.Event(), []
        self.group = g.split("/")[-1]
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        with self.node.client() as client:
            while not self.ending.wait(0.2):
                items = [{"group": self.group, "id": member, "token": token} for member, token in self.tokens.items()]
                status, _, answer = client.request("POST", "/v1/heartbeats", {"members": items})
                self.gone += answer["gone"] if status == 200 else [answer]

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join(60)


# --- joining ---


def test_a_member_joins(client, g):
    said = {"address": "10.0.0.1:80", "zone": "eu-1", "version": "2.1", "meta": {"rack": 7}, "tags": ["api", "blue"], "weight": 5, "ttl": "20s"}
    status, headers, made = client.request("PUT", f"{g}/members/n1", said)
    assert status == 201 and made["state"] == "alive" and made["token"] == int(headers["Coord-Revision"]) and made["lease"]
    assert (made["ttl_ms"], made["heartbeat_in_ms"]) == (20000, 6666) and 19000 < made["expires_in_ms"] <= 20000
    member = see(client, g, "n1")
    assert {key: member[key] for key in ("address", "zone", "version", "meta", "tags", "weight")} == {
        key: said[key] for key in ("address", "zone", "version", "meta", "tags", "weight")}
    assert member["eligible"] and not member["guarded"] and member["as_of"] is None and member["token"] == made["token"]
    assert counts(client, g) == (1, 0, 0, 0)


def test_a_member_that_says_nothing_has_the_defaults(client, g):
    status, _, made = client.request("PUT", f"{g}/members/n1")
    assert status == 201 and made["ttl_ms"] == 15000
    member = see(client, g, "n1")
    assert member["weight"] == 100 and member["address"] is None and member["zone"] is None and member["tags"] == []
    assert (member["health"], member["probation_until"], member["ejected_until"], member["flaps"]) == ("pass", None, None, 0)


def test_the_group_gives_the_ttl(client, g):
    put(client, g, "ttl=40s")
    assert client.request("PUT", f"{g}/members/n1")[2]["ttl_ms"] == 40000


def test_with_its_token_a_member_changes_what_it_said(client, g):
    token = join(client, g, "n1", "ttl=5m&zone=a&weight=3")
    status, _, changed = client.request("PUT", f"{g}/members/n1?token={token}&zone=b")
    assert status == 200 and changed["token"] == token
    assert (see(client, g, "n1")["zone"], see(client, g, "n1")["weight"]) == ("b", 100)
    assert counts(client, g) == (1, 0, 0, 0) and moves(client, g, "n1") == [("alive", "joined")]


def test_who_joins_again_takes_the_place(client, g):
    first = join(client, g, "n1")
    second = join(client, g, "n1")
    assert second > first and moves(client, g, "n1")[-1][1] == "taken_over"
    status, _, refused = beat(client, g, "n1", first)
    assert (status, refused["code"], refused["token"], refused["state"]) == (409, "member_fenced", second, "alive")
    assert beat(client, g, "n1", second)[0] == 200
    status, _, refused = client.request("PUT", f"{g}/members/n1?on_conflict=reject")
    assert (status, refused["code"]) == (409, "member_alive")


def test_a_member_leaves_and_comes_back(client, g):
    token = join(client, g, "n1")
    assert client.request("DELETE", f"{g}/members/n1?token={token}")[0] == 204
    assert client.request("DELETE", f"{g}/members/n1?token={token}")[0] == 204  # it has left: asked again
    assert counts(client, g) == (0, 0, 0, 1) and see(client, g, "n1")["state"] == "left"
    status, _, refused = beat(client, g, "n1", token)
    assert (status, refused["code"]) == (410, "member_gone")
    again = join(client, g, "n1")
    assert again > token and see(client, g, "n1")["state"] == "alive" and see(client, g, "n1")["flaps"] == 0
    assert moves(client, g, "n1") == [("alive", "joined"), ("left", "leaves"), ("alive", "rejoined")]


def test_an_operator_removes_a_member(client, g):
    join(client, g, "n1")
    status, _, refused = client.request("DELETE", f"{g}/members/n1")
    assert (status, refused["code"]) == (409, "member_fenced")
    assert client.request("DELETE", f"{g}/members/n1?force=true")[0] == 204
    assert moves(client, g, "n1")[-1] == ("left", "removed")


def test_what_hangs_on_a_membership_goes_with_it(client, g):
    made = client.request("PUT", f"{g}/members/n1?ttl=5m")[2]
    lock = f"/v1/locks/{g.split('/')[-1]}"
    assert client.request("POST", f"{lock}/acquire?lease={made['lease']}")[0] in (200, 201)
    assert client.request("DELETE", f"{g}/members/n1?token={made['token']}")[0] == 204
    assert client.request("POST", f"{lock}/acquire?ttl=10s")[0] in (200, 201)


# --- heartbeats, silence ---


def test_a_heartbeat(client, g):
    token = join(client, g, "n1", "ttl=30s")
    said = {"token": token, "load": 7, "inflight": 3, "capacity": 10, "metrics": {"p99": 12}}
    status, _, answer = client.request("POST", f"{g}/members/n1/heartbeat", said)
    assert status == 200 and answer["state"] == "alive" and answer["token"] == token and not answer["draining"] and not answer["leads"]
    assert 29000 < answer["expires_in_ms"] <= 30000 and answer["heartbeat_in_ms"] == 10000 and answer["broadcasts"] == 0
    member = see(client, g, "n1")
    assert (member["load"], member["inflight"], member["capacity"], member["metrics"]) == (7, 3, 10, {"p99": 12}) and member["as_of"]
    assert see(client, g, "n1", "?consistency=stale")["as_of"] is None  # only the leader's memory has it


def test_heartbeats_of_many(client, g):
    tokens = {f"n{i}": join(client, g, f"n{i}") for i in range(3)}
    group = g.split("/")[-1]
    items = [{"group": group, "id": member, "token": token, "load": 4} for member, token in tokens.items()]
    items += [{"group": group, "id": "n9", "token": 1}, {"group": group, "id": "n0", "token": tokens["n0"] + 1}, {"group": "none", "id": "a", "token": 1}]
    status, _, answer = client.request("POST", "/v1/heartbeats", {"members": items})
    assert status == 200 and answer["heartbeat_in_ms"] == 60000
    assert [(each["id"], each["expires_in_ms"]) for each in answer["ok"]] == [("n0", 300000), ("n1", 300000), ("n2", 300000)]
    assert [(each["id"], each["code"]) for each in answer["gone"]] == [("n9", "member_unknown"), ("n0", "member_fenced"), ("a", "member_unknown")]
    assert see(client, g, "n2")["load"] == 4


def test_heartbeats_are_not_logged(own_node, g):
    with own_node().client() as client:
        token = join(client, g, "n1")

        def committed():
            return client.request("GET", "/v1/cluster")[2]["commit_index"]

        before = committed()
        for _ in range(50):
            assert beat(client, g, "n1", token)[0] == 200
        assert committed() - before < 5  # what the node itself has to say now and then


def test_health_counts_once_it_was_said_twice(client, g):
    token = join(client, g, "n1")
    beat(client, g, "n1", token, "&health=fail")
    assert see(client, g, "n1")["health"] == "pass"
    beat(client, g, "n1", token, "&health=fail")
    until(lambda: see(client, g, "n1")["health"] == "fail", "its health counts")
    assert not see(client, g, "n1")["eligible"] and see(client, g, "n1")["state"] == "alive"
    beat(client, g, "n1", token, "&health=pass")
    beat(client, g, "n1", token, "&health=pass")
    until(lambda: see(client, g, "n1")["eligible"], "it is well again")


def test_who_is_silent_is_suspect_until_heard(client, g):
    put(client, g, "suspect=300ms")
    token = join(client, g, "n1")
    becomes(client, g, "n1", "suspect")
    assert counts(client, g) == (0, 1, 0, 0) and not see(client, g, "n1")["eligible"]
    assert beat(client, g, "n1", token)[0] == 200
    until(lambda: ("alive", "heard") in moves(client, g, "n1"), "it is cleared")
    assert beat(client, g, "n1", token)[0] == 200  # the same membership


def test_who_stays_silent_is_failed(client, g):
    put(client, g, "probation=1h")
    token = join(client, g, "n1", "ttl=1s")
    failed = becomes(client, g, "n1", "failed")
    assert failed["lease"] is None and counts(client, g) == (0, 0, 1, 0) and moves(client, g, "n1")[-1] == ("failed", "expired")
    status, _, refused = beat(client, g, "n1", token)
    assert (status, refused["code"]) == (410, "member_gone")
    status, _, back = client.request("PUT", f"{g}/members/n1?ttl=5m")
    assert status == 201 and back["state"] == "recovered" and back["token"] > token
    member = see(client, g, "n1")
    assert member["flaps"] == 1 and member["probation_until"] and not member["eligible"]


def test_probation_ends(client, g):
    put(client, g, "probation=300ms")
    token = join(client, g, "n1")
    assert client.request("POST", f"{g}/members/n1/fail?token={token}")[0] == 204
    assert moves(client, g, "n1")[-1] == ("failed", "forced")
    join(client, g, "n1")
    until(lambda: see(client, g, "n1")["state"] == "alive" and see(client, g, "n1")["eligible"], "its probation is over")


def test_those_that_are_heard_live_beside_one_that_is_not(node, client, g):
    tokens = {member: join(client, g, member, "ttl=2s") for member in ("a", "b", "c", "d")}
    del tokens["d"]
    with Beating(node, g, tokens) as beating:
        becomes(client, g, "d", "failed")
        assert counts(client, g)[2:] == (1, 0)
    assert not beating.gone


def test_those_that_failed_or_left_are_forgotten(client, g):
    put(client, g, "reap_failed=1s&reap_left=1s")
    client.request("DELETE", f"{g}/members/a?token={join(client, g, 'a')}")
    join(client, g, "b")
    assert client.request("POST", f"{g}/members/b/fail")[0] == 204
    until(lambda: counts(client, g) == (0, 0, 0, 0), "both are forgotten")
    assert client.request("GET", f"{g}/members/a")[2]["code"] == "member_unknown"


# --- the guard ---


def guarded_group(client, g, count=6):
    put(client, g, "guard_min=1&guard_max=1h")
    for i in range(count):
        join(client, g, f"n{i}", "ttl=1s")
    until(lambda: get(client, g)["guarded_since"], "it is guarded")
    return until(lambda: get(client, g)["guarded"] == count - 1 and get(client, g), "one failed, the guard keeps the others")


def test_too_many_at_once_stay_suspect(client, g):
    group = guarded_group(client, g)
    assert (group["alive"], group["suspect"], group["failed"]) == (0, 5, 1)
    (kept,) = [each for each in client.request("GET", f"{g}/members")[2]["members"] if each["id"] == "n5"]
    assert kept["guarded"] and kept["lease"] is None and kept["state"] == "suspect"
    for i in range(6):
        join(client, g, f"n{i}")
    group = until(lambda: get(client, g)["guarded_since"] is None and get(client, g), "the guard is over")
    assert (group["alive"], group["guarded"]) == (6, 0)
    assert client.request("GET", f"{g}/history")[2]["guarded_ms"] > 0


def test_an_operator_ends_the_guard(client, g):
    guarded_group(client, g)
    status, _, forced = client.request("POST", f"{g}/force")
    assert status == 200 and forced["failed"] + forced["left"] == 5
    until(lambda: counts(client, g) == (0, 0, 6, 0), "all are failed")
    assert get(client, g)["guarded_since"] is None and client.request("POST", f"{g}/force")[2]["failed"] == 0


def test_the_guard_ends_by_itself(client, g):
    put(client, g, "guard_min=1&guard_max=1s")
    for i in range(4):
        join(client, g, f"n{i}", "ttl=1s")
    until(lambda: get(client, g)["failed"] >= 2 and get(client, g)["guarded"], "the guard lets one fail")


def test_without_a_guard_all_fail(client, g):
    put(client, g, "guard=0")
    for i in range(6):
        join(client, g, f"n{i}", "ttl=1s")
    until(lambda: counts(client, g) == (0, 0, 6, 0), "all are failed")
    assert ("left", "removed") not in moves(client, g, "n1") and get(client, g)["guarded_since"] is None


# --- looking ---


def test_lists(client, g):
    join(client, g, "a", "ttl=5m&zone=x&tags=one&address=h1:1")
    assert client.request("PUT", f"{g}/members/b", {"ttl": "5m", "zone": "y", "tags": ["one", "two"], "address": "h2:2"})[0] == 201
    client.request("DELETE", f"{g}/members/c?token={join(client, g, 'c', 'ttl=5m&zone=y')}")
    assert client.request("POST", f"{g}/members/a/drain")[2]["state"] == "draining"
    assert ids(client, g) == ["a", "b", "c"]
    assert [ids(client, g, f"state={state}") for state in ("alive", "draining", "left", "failed")] == [["b"], ["a"], ["c"], []]
    assert ids(client, g, "zone=y") == ["b", "c"] and ids(client, g, "tag=one") == ["a", "b"] and ids(client, g, "tag=two") == ["b"]
    assert ids(client, g, "eligible=true") == ["b"]
    status, _, page = client.request("GET", f"{g}/members?limit=2")
    assert page["cursor"] == "b" and ids(client, g, "limit=2&cursor=b") == ["c"]
    status, _, text = client.request("GET", f"{g}/members?state=alive", headers={"Accept": "text/plain"})
    assert status == 200 and text.split() == ["b", "h2:2", "alive"]
    status, _, listed = client.request("GET", "/v1/groups?prefix=" + g.split("/")[-1])
    assert status == 200 and g.split("/")[-1] in [group["group"] for group in listed["groups"]]


def test_drain_and_back(client, g):
    token = join(client, g, "a")
    assert client.request("POST", f"{g}/members/a/drain?token={token}")[0] == 200
    assert beat(client, g, "a", token)[2]["draining"] and not see(client, g, "a")["eligible"]
    assert client.request("POST", f"{g}/members/a/drain?undo=true")[2]["state"] == "alive"
    assert see(client, g, "a")["eligible"]


def test_other_programs_read_it(client, g):
    join(client, g, "a", "ttl=5m&address=10.0.0.1:80&weight=7&zone=z")
    join(client, g, "b", "ttl=5m&address=10.0.0.2:80")
    join(client, g, "no-address", "ttl=5m")
    join(client, g, "evil", "ttl=5m&address=x%3B%7Dhttp%7B")
    client.request("POST", f"{g}/members/b/drain")
    status, headers, text = client.request("GET", f"{g}/nginx")
    assert (status, text) == (200, "server 10.0.0.1:80 weight=7;\n") and headers["Content-Type"].startswith("text/plain")
    status, headers, targets = client.request("GET", f"{g}/http_sd")
    assert status == 200 and headers["Content-Type"] == "application/json"
    assert targets == [{"targets": ["10.0.0.1:80"], "labels": {"__meta_coordd_group": g.split("/")[-1],
                                                               "__meta_coordd_member": "a", "__meta_coordd_zone": "z"}}]
    client.request("POST", f"{g}/members/a/drain")
    assert "down" in client.request("GET", f"{g}/nginx")[2] and client.request("GET", f"{g}/http_sd")[2] == []


def test_waits_until_enough_are_there(node, client, g):
    assert client.request("GET", f"{g}/wait?count=1&wait=100ms")[0] == 304
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(ask(node, f"{g}/wait?count=3&wait=5m")))
    waiting.start()
    for i in range(3):
        join(client, g, f"n{i}")
    waiting.join(60)
    assert answers[0][0] == 200 and answers[0][2]["count"] == 3
    client.request("POST", f"{g}/members/n0/drain")
    assert client.request("GET", f"{g}/wait?count=3&wait=0s")[0] == 200
    assert client.request("GET", f"{g}/wait?count=3&state=eligible&wait=0s")[0] == 304


def ask(node, path):
    with node.client() as client:
        return client.request("GET", path)


def test_who_leads(client, g):
    put(client, g, "leader=true")
    assert get(client, g)["leader"] is None
    token = join(client, g, "a")
    join(client, g, "b")
    first = get(client, g)
    assert first["leader"] == "a" and beat(client, g, "a", token)[2]["leads"] and see(client, g, "a")["leads"]
    client.request("DELETE", f"{g}/members/a?token={token}")
    second = get(client, g)
    assert second["leader"] == "b" and second["leader_token"] > first["leader_token"]
    join(client, g, "a")
    assert get(client, g)["leader"] == "b"


def test_history(client, g):
    put(client, g, "guard=0")
    join(client, g, "a")
    join(client, g, "b", "ttl=1s")
    becomes(client, g, "b", "failed")
    join(client, g, "b", "ttl=5m")
    status, _, history = client.request("GET", f"{g}/history")
    assert status == 200 and [each["id"] for each in history["members"]] == ["a", "b"]
    a, b = history["members"]
    assert (a["failures"], a["mttf_ms"], a["mttr_ms"], a["longest_outage_ms"]) == (0, None, None, 0) and a["ever"]["percent"] == 100
    assert (b["failures"], b["recoveries"], b["state"]) == (1, 1, "recovered")
    assert b["mttf_ms"] >= 1000 and b["mttr_ms"] == b["longest_outage_ms"] == b["ever"]["down_ms"] and b["last_1h"]["percent"] < 100
    assert history["all"]["failures"] == 1 and a["transitions"] == []
    assert [to for to, _ in moves(client, g, "b")] in (["alive", "failed", "alive"], ["alive", "suspect", "failed", "alive"])


def test_settings_and_delete(client, g):
    status, _, made = client.request("PUT", g, {"ttl": "9s", "detector": "phi", "phi": 60, "shards": 4, "leader": True})
    assert status == 201 and made["config"]["ttl_ms"] == 9000 and made["config"]["detector"] == "phi" and made["config"]["leader"]
    assert put(client, g)["config"]["ttl_ms"] == 15000  # what is not given becomes the default
    token = join(client, g, "a")
    status, _, refused = client.request("DELETE", g)
    assert (status, refused["code"]) == (409, "group_not_empty")
    assert client.request("DELETE", f"{g}?force=true")[0] == 204
    assert client.request("GET", g)[2]["code"] == "group_not_found"
    assert beat(client, g, "a", token)[2]["code"] == "group_not_found"
    assert join(client, g, "a") > token
