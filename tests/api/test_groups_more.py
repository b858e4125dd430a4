"""Groups over HTTP: picks, owners, shards, reports, broadcasts, every refusal, the guide's lines."""

import itertools
import subprocess
import threading
from collections import Counter
from pathlib import Path

import pytest

from node import until

numbers = itertools.count(1)
KEYS = [f"user-{i}" for i in range(400)]


@pytest.fixture
def g():
    return f"/v1/groups/more{next(numbers)}"


def put(client, g, query=""):
    status, _, made = client.request("PUT", f"{g}?{query}")
    assert status in (200, 201), made
    return made


def join(client, g, member, query="ttl=5m"):
    status, _, made = client.request("PUT", f"{g}/members/{member}?{query}")
    assert status == 201, made
    return made["token"]


def leave(client, g, member):
    assert client.request("DELETE", f"{g}/members/{member}?force=true")[0] == 204


def beat(client, g, member, token, query=""):
    status, _, answer = client.request("POST", f"{g}/members/{member}/heartbeat?token={token}{query}")
    assert status == 200, answer
    return answer


def pick(client, g, query=""):
    status, _, picked = client.request("GET", f"{g}/pick?{query}")
    assert status == 200, picked
    return picked


def picks(client, g, query, count=60):
    return Counter(pick(client, g, query)["id"] for _ in range(count))


# --- picks ---


def test_a_pick(client, g):
    token = join(client, g, "a", "ttl=5m&address=h:1&zone=z")
    picked = pick(client, g)
    assert (picked["id"], picked["address"], picked["zone"], picked["token"]) == ("a", "h:1", "z", token)
    assert picked["candidates"] == 1 and not picked["panic"]
    status, _, text = client.request("GET", f"{g}/pick", headers={"Accept": "text/plain"})
    assert status == 200 and text.split() == ["a", "h:1"]


def test_policies(client, g):
    tokens = {member: join(client, g, member) for member in "abc"}
    tokens["d"] = join(client, g, "d", "ttl=5m&weight=1")
    assert set(picks(client, g, "policy=round_robin", 8).values()) == {2}
    assert set(picks(client, g, "policy=random")) > {"a"} and set(picks(client, g, "")) >= {"a", "b", "c"}
    weighted = picks(client, g, "policy=weighted", 200)
    assert weighted["d"] < 20 and min(weighted[member] for member in "abc") > 20
    for member, load in zip("abcd", (9, 1, 9, 9)):
        beat(client, g, member, tokens[member], f"&load={load}")
    assert picks(client, g, "policy=least_loaded", 20) == {"b": 20}
    assert picks(client, g, "policy=two_choices")["b"] > 15


def test_a_key_is_picked_for_its_owner(client, g):
    for member in "abc":
        join(client, g, member)
    for key in KEYS[:20]:
        owner = pick(client, g, f"policy=hash&key={key}")["id"]
        assert pick(client, g, f"policy=hash&key={key}")["id"] == owner
        assert client.request("GET", f"{g}/owners?key={key}")[2]["owners"] == [owner]
    assert client.request("GET", f"{g}-of-nobody/owners?key=k")[0] == 404
    put(client, f"{g}-of-nobody")
    assert client.request("GET", f"{g}-of-nobody/owners?key=k")[2]["owners"] == []


def test_zones_several_and_those_left_out(client, g):
    for member, zone in (("a", "x"), ("b", "x"), ("c", "y")):
        join(client, g, member, f"ttl=5m&zone={zone}")
    assert set(picks(client, g, "zone=x")) == {"a", "b"} and set(picks(client, g, "zone=y")) == {"c"}
    assert set(picks(client, g, "zone=nowhere&policy=round_robin", 6)) == {"a", "b", "c"}
    assert client.request("GET", f"{g}/pick?zone=nowhere&zone_rule=only")[2]["code"] == "nobody_eligible"
    several = pick(client, g, "n=5")
    assert sorted(each["id"] for each in several["all"]) == ["a", "b", "c"] and several["all"][0]["id"] == several["id"]
    assert set(picks(client, g, "exclude=a", 20)) == {"b", "c"}


def test_panic_picks_among_all_that_are_up(client, g):
    for member in "abcd":
        join(client, g, member)
    for member in "abc":
        client.request("POST", f"{g}/members/{member}/drain")
        picked = pick(client, g)
        assert picked["panic"] == (member == "c") and picked["candidates"] == {"a": 3, "b": 2, "c": 4}[member]


def test_only_a_members_own_keys_move(client, g):
    def owners():
        return {key: client.request("GET", f"{g}/owners?key={key}&n=2")[2]["owners"] for key in KEYS}

    for member in "abcd":
        join(client, g, member)
    four = owners()
    shares = Counter(first for first, _ in four.values())
    assert set(shares) == set("abcd") and all(60 < share < 140 for share in shares.values())
    join(client, g, "e", "ttl=5m&weight=200")
    five = owners()
    assert all(five[key][0] in (four[key][0], "e") for key in KEYS)
    assert 90 < sum(first == "e" for first, _ in five.values()) < 180  # a third
    leave(client, g, "e")
    assert owners() == four
    leave(client, g, "a")
    three = owners()
    for key in KEYS:  # its keys go to the second of each
        assert three[key][0] == (four[key][1] if four[key][0] == "a" else four[key][0])


# --- shards ---


def shards(client, g, query=""):
    status, _, answer = client.request("GET", f"{g}/shards?{query}")
    assert status == 200, answer
    return answer["shards"]


def shared(client, g, **wanted):
    """The shards, once the members have as many as wanted and none is on the move."""
    def there():
        now = shards(client, g)
        return now if Counter(shard["owner"] for shard in now if shard["state"] == "owned") == wanted else None

    return until(there, f"the shares {wanted}")


def test_shards_have_one_owner_each(client, g):
    put(client, g, "shards=12&rebalance=0s")
    assert {shard["state"] for shard in shards(client, g)} == {"free"}
    join(client, g, "a")
    first = shared(client, g, a=12)
    assert [shard["number"] for shard in first] == list(range(12)) and all(shard["token"] > 0 for shard in first)
    assert len(shards(client, g, "member=a")) == 12 and shards(client, g, "member=b") == []
    (one,) = shards(client, g, "key=user-7")
    assert shards(client, g, "key=user-7") == [one]


def test_shards_are_handed_over_in_two_steps(client, g):
    put(client, g, "shards=12&rebalance=0s&move_limit=4")
    join(client, g, "a")
    before = {shard["number"]: shard["token"] for shard in shared(client, g, a=12)}
    join(client, g, "b")
    moving = until(lambda: [shard for shard in shards(client, g) if shard["state"] == "revoking"], "some are to move")
    assert len(moving) <= 4 and all((shard["owner"], shard["next"], shard["token"]) == ("a", "b", before[shard["number"]]) for shard in moving)
    status, _, refused = client.request("POST", f"{g}/shards/{moving[0]['number']}/ack?token={moving[0]['token'] + 1}")
    assert (status, refused["code"]) == (409, "shard_not_owned")
    acknowledged = set()

    def hand_over():
        for shard in shards(client, g):
            if shard["state"] == "revoking":
                status, _, given = client.request("POST", f"{g}/shards/{shard['number']}/ack?token={shard['token']}")
                assert status == 200 and given["owner"] == "b" and given["token"] > shard["token"]
                acknowledged.add(shard["number"])
        return len(acknowledged) == 6

    until(hand_over, "six are handed over")
    after = shared(client, g, a=6, b=6)
    assert {shard["number"] for shard in after if shard["owner"] == "b"} == acknowledged
    status, _, refused = client.request("POST", f"{g}/shards/{moving[0]['number']}/ack?token={moving[0]['token']}")
    assert (status, refused["code"]) == (409, "shard_not_owned")  # it was: late


def test_who_leaves_lets_go_of_its_shards(client, g):
    put(client, g, "shards=8&rebalance=0s")
    join(client, g, "a")
    before = shared(client, g, a=8)
    join(client, g, "b")
    leave(client, g, "a")
    after = shared(client, g, b=8)
    assert all(new["token"] > old["token"] for old, new in zip(before, after))


def test_who_fails_lets_go_after_a_time(client, g):
    put(client, g, "shards=4&rebalance=1s&guard=0")
    join(client, g, "a", "ttl=1s")
    shared(client, g, a=4)
    join(client, g, "b")
    shared(client, g, b=4)
    assert client.request("GET", f"{g}/members/a")[2]["state"] == "failed"


def test_who_drains_is_asked_for_its_shards(client, g):
    put(client, g, "shards=4&rebalance=0s")
    join(client, g, "a")
    shared(client, g, a=4)
    join(client, g, "b", "ttl=5m&weight=0")
    assert client.request("PUT", f"{g}/members/c?ttl=5m")[0] == 201
    client.request("POST", f"{g}/members/a/drain")
    until(lambda: all((shard["state"], shard["next"]) == ("revoking", "c") for shard in shards(client, g)), "all are to move")


# --- reports ---


def report(client, g, reporter, *results):
    return client.request("POST", f"{g}/reports", {"reporter": reporter, "results": list(results)})


def test_who_fails_its_callers_is_ejected_and_comes_back(client, g):
    put(client, g, "eject=50&eject_requests=10&eject_reporters=2&eject_for=1s&eject_max=50")
    for member in "ab":
        join(client, g, member)
    bad, good = {"id": "a", "ok": 1, "failed": 9, "slow": 5}, {"id": "b", "ok": 20}
    status, _, answer = report(client, g, "r1", bad, good, {"id": "zz", "ok": 1})
    assert status == 200 and (answer["taken"], answer["unknown"]) == (2, ["zz"])
    assert client.request("GET", f"{g}/members/a")[2]["ejected_until"] is None  # one reporter alone is not believed
    assert report(client, g, "r2", bad, good)[0] == 200
    ejected = until(lambda: client.request("GET", f"{g}/members/a")[2]["ejected_until"] and client.request("GET", f"{g}/members/a")[2], "it is ejected")
    assert ejected["state"] == "alive"
    until(lambda: client.request("GET", f"{g}/members/a")[2]["breaker"] != "open", "it is on trial")
    assert report(client, g, "r1", {"id": "a", "ok": 3})[0] == 200
    until(lambda: client.request("GET", f"{g}/members/a")[2]["eligible"], "it may be picked again")
    assert client.request("GET", f"{g}/members/b")[2]["ejected_until"] is None


def test_not_too_many_are_ejected(client, g):
    put(client, g, "eject=50&eject_requests=10&eject_reporters=1&eject_for=1h&eject_max=40")
    for member in "abcd":
        join(client, g, member)
    for _ in range(3):
        for member in "abcd":
            assert report(client, g, "r", {"id": member, "failed": 20})[0] == 200
    members = until(lambda: [member for member in client.request("GET", f"{g}/members")[2]["members"] if member["ejected_until"]], "one is ejected")
    assert len(members) == 1  # a second one would be half of them


# --- broadcasts ---


def send(client, g, **broadcast):
    status, _, sent = client.request("POST", f"{g}/broadcast", broadcast)
    assert status == 201, sent
    return sent


def acknowledge(client, g, number, member, token, **more):
    return client.request("POST", f"{g}/broadcasts/{number}/ack", {"member": member, "token": token, **more})


def test_a_broadcast_is_acknowledged_by_all(client, g):
    tokens = {member: join(client, g, member) for member in "abc"}
    sent = send(client, g, name="reload", payload={"version": 7})
    number = sent["number"]
    assert (sent["state"], sent["targeted"], sent["wanted"], sent["acked"], sent["coverage"]) == ("open", 3, 3, 0, 0) and sent["missing"] == ["a", "b", "c"]
    assert beat(client, g, "a", tokens["a"])["broadcasts"] == 1
    status, _, waiting = client.request("GET", f"{g}/broadcasts?member=a")
    assert [(each["number"], each["payload"]) for each in waiting["broadcasts"]] == [(number, {"version": 7})]
    status, _, answer = acknowledge(client, g, number, "a", tokens["a"], response={"done": True})
    assert status == 200 and (answer["acked"], answer["coverage"]) == (1, 33.33)
    assert acknowledge(client, g, number, "a", tokens["a"])[2]["acked"] == 1  # once more: no more
    assert client.request("GET", f"{g}/broadcasts?member=a")[2]["broadcasts"] == [] and beat(client, g, "a", tokens["a"])["broadcasts"] == 0
    acknowledge(client, g, number, "b", tokens["b"])
    seen = client.request("GET", f"{g}/broadcasts/{number}")[2]
    assert [(ack["id"], ack["response"]) for ack in seen["acks"]] == [("a", {"done": True}), ("b", None)] and seen["missing"] == ["c"]
    assert acknowledge(client, g, number, "c", tokens["c"])[2]["state"] == "satisfied"


def test_some_are_enough(client, g):
    tokens = {member: join(client, g, member, f"ttl=5m&zone={zone}&tags={tag}") for member, zone, tag in (("a", "x", "t"), ("b", "y", "t"), ("c", "y", "u"))}
    assert send(client, g, name="n", zone="y")["missing"] == ["b", "c"] and send(client, g, name="n", tag="t")["missing"] == ["a", "b"]
    sent = send(client, g, name="n", percent=50)
    assert sent["wanted"] == 2
    sent = send(client, g, name="n", count=1)
    assert acknowledge(client, g, sent["number"], "b", tokens["b"])[2]["state"] == "satisfied"
    assert acknowledge(client, g, sent["number"], "c", tokens["c"])[2]["acked"] == 2
    nobody = send(client, g, name="n", zone="nowhere")
    assert (nobody["state"], nobody["targeted"], nobody["coverage"]) == ("satisfied", 0, 100)
    assert len(client.request("GET", f"{g}/broadcasts")[2]["broadcasts"]) == 5


def test_broadcasts_end_in_their_time(client, g):
    tokens = {member: join(client, g, member) for member in "ab"}
    partial, expired = send(client, g, name="n", timeout="1s")["number"], send(client, g, name="n", timeout="1s")["number"]
    acknowledge(client, g, partial, "a", tokens["a"])
    until(lambda: client.request("GET", f"{g}/broadcasts/{partial}?wait=30s")[2]["state"] == "partial", "it is partial")
    assert client.request("GET", f"{g}/broadcasts/{expired}?wait=30s")[2]["state"] == "expired"


def test_who_waits_is_told_when_a_broadcast_is_over(node, client, g):
    token = join(client, g, "a")
    number = send(client, g, name="n", timeout="5m")["number"]
    assert client.request("GET", f"{g}/broadcasts/{number}?wait=50ms")[0] == 304
    answers = []

    def wait():
        with node.client() as other:
            answers.append(other.request("GET", f"{g}/broadcasts/{number}?wait=5m"))

    waiting = threading.Thread(target=wait)
    waiting.start()
    acknowledge(client, g, number, "a", token)
    waiting.join(60)
    assert answers[0][0] == 200 and answers[0][2]["state"] == "satisfied"


# --- refusals ---


def test_nothing_is_known_of_a_group_that_is_not(client, g):
    for method, path, body in (("GET", "", None), ("DELETE", "", None), ("GET", "/members", None), ("GET", "/members/a", None),
                               ("POST", "/members/a/heartbeat?token=1", None), ("DELETE", "/members/a?token=1", None),
                               ("POST", "/members/a/drain", None), ("POST", "/members/a/fail", None), ("PUT", "/members/a?token=1", None),
                               ("GET", "/history", None), ("POST", "/force", None), ("GET", "/pick", None), ("GET", "/owners?key=k", None),
                               ("POST", "/reports", {"reporter": "r", "results": [{"id": "a"}]}), ("GET", "/shards", None),
                               ("POST", "/shards/0/ack?token=1", None), ("POST", "/broadcast?name=n", None), ("GET", "/broadcasts", None),
                               ("GET", "/broadcasts/1", None), ("POST", "/broadcasts/1/ack?member=a&token=1", None),
                               ("GET", "/nginx", None), ("GET", "/http_sd", None)):
        status, _, refused = client.request(method, g + path, body)
        assert (status, refused["code"], refused["retryable"]) == (404, "group_not_found", False), (method, path)


def test_nothing_is_known_of_a_member_that_is_not(client, g):
    put(client, g)
    for method, path in (("GET", "/members/a"), ("POST", "/members/a/heartbeat?token=1"), ("DELETE", "/members/a?token=1"), ("POST", "/members/a/drain"),
                         ("POST", "/members/a/fail"), ("PUT", "/members/a?token=1"), ("GET", "/history?id=a"), ("POST", "/broadcasts/1/ack?member=a&token=1")):
        status, _, refused = client.request(method, g + path)
        assert (status, refused["code"], refused["id"]) == (404, "member_unknown", "a"), (method, path)


def test_another_token_is_refused(client, g):
    token = join(client, g, "a")
    for method, path in (("POST", "/members/a/heartbeat?"), ("DELETE", "/members/a?"), ("POST", "/members/a/drain?"), ("POST", "/members/a/fail?"),
                         ("PUT", "/members/a?"), ("POST", "/broadcasts/1/ack?member=a&")):
        status, _, refused = client.request(method, f"{g}{path}token={token + 1}")
        assert (status, refused["code"], refused["token"], refused["state"]) == (409, "member_fenced", token, "alive"), (method, path)
    leave(client, g, "a")
    for method, path in (("POST", "/members/a/heartbeat?"), ("POST", "/members/a/drain?"), ("POST", "/members/a/fail?"), ("PUT", "/members/a?"),
                         ("POST", "/broadcasts/1/ack?member=a&")):
        status, _, refused = client.request(method, f"{g}{path}token={token}")
        assert (status, refused["code"], refused["state"]) == (410, "member_gone", "left"), (method, path)


@pytest.mark.parametrize("method, path, status, code", [
    ("GET", "/pick?policy=hash", 422, "senseless"),
    ("GET", "/pick?policy=random&key=k", 422, "senseless"),
    ("GET", "/pick?consistency=stale", 422, "senseless"),
    ("GET", "/pick", 503, "nobody_eligible"),
    ("POST", "/shards/0/ack?token=1", 404, "shard_not_found"),
    ("GET", "/broadcasts/1", 404, "broadcast_not_found"),
    ("PUT", "/members/a?ttl=999ms", 400, None),
    ("PUT", "/members/a?weight=10001", 400, None),
    ("PUT", "/members/a?on_conflict=maybe", 400, None),
    ("PUT", "?guard=101", 400, None),
    ("PUT", "?shards=4097", 400, None),
    ("POST", "/members/a/heartbeat", 400, None),
    ("POST", "/broadcast", 400, None),
    ("GET", "/members?state=asleep", 400, None),
    ("GET", "/owners", 400, None),
])
def test_what_makes_no_sense_is_refused(client, g, method, path, status, code):
    put(client, g)
    got, _, refused = client.request(method, g + path)
    assert got == status and (code is None or refused["code"] == code), refused


def test_a_full_group_takes_nobody_new(client, g):
    put(client, g, "max_members=1")
    token = join(client, g, "a")
    status, _, refused = client.request("PUT", f"{g}/members/b")
    assert (status, refused["code"], refused["retryable"]) == (429, "group_full", True)
    assert join(client, g, "a") > token  # who is there already may come back


def test_the_ttl_of_a_membership_is_for_good(client, g):
    token = join(client, g, "a")
    assert client.request("PUT", f"{g}/members/a?token={token}&ttl=9s")[0] == 422
    assert client.request("PUT", f"{g}/members/a?token={token}&ttl=5m")[0] == 200


def test_a_broadcast_is_for_those_that_were_there(client, g):
    join(client, g, "a")
    number = send(client, g, name="n")["number"]
    late = join(client, g, "b")
    status, _, refused = acknowledge(client, g, number, "b", late)
    assert (status, refused["code"]) == (409, "not_targeted")
    status, _, refused = acknowledge(client, g, number + 1, "b", late)
    assert (status, refused["code"]) == (404, "broadcast_not_found")


# --- as people write it ---


def test_the_guide_runs(own_node):
    """Every line of api/guide/groups.md does what it says, against a node of its own."""
    guide = Path(__file__).resolve().parents[2] / "api" / "guide" / "groups.md"
    lines = [line[4:] for line in guide.read_text().splitlines() if line.startswith("    ")]
    assert len(lines) > 30
    node = own_node()
    script = "\n".join(["set -e -o pipefail; curl() { command curl -fsS \"$@\"; }"] + lines)
    done = subprocess.run(["bash", "-c", script.replace("localhost:7400", f"localhost:{node.port}")],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert '"state":"satisfied"' in done.stdout and "n1 10.0.0.1:80 alive" in done.stdout
    assert node.request("GET", "/v1/groups/web")[0] == 404
    assert sum(shard["owner"] == "b" for shard in node.request("GET", "/v1/groups/workers/shards")[2]["shards"]) == 1
