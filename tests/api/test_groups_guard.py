"""The guard over all groups, and what /metrics says of members, on a node of its own."""

import re

from node import until
from stream import Stream

GROUPS = 14


def metrics(client):
    status, _, text = client.request("GET", "/metrics")
    assert status == 200
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))


def shows(client, **wanted):
    """All of the values, at the same time: the node looks once a second."""
    def seen():
        values = metrics(client)
        return all(values.get(key) == str(value) for key, value in wanted.items()) and values
    return until(seen, f"/metrics shows {wanted}")


def join(client, group, member="a", query="ttl=2s"):
    status, _, made = client.request("PUT", f"/v1/groups/{group}/members/{member}?{query}")
    assert status == 201, made
    return made["token"]


def get(client, group):
    status, _, answer = client.request("GET", f"/v1/groups/{group}")
    assert status == 200, answer
    return answer


def beat_together(client, groups):
    """All were heard at the same time; who was slow to come joins again."""
    tokens = {group: join(client, group) for group in groups}

    def heard():
        answer = client.request("POST", "/v1/heartbeats", {"members": [
            {"group": group, "id": "a", "token": token} for group, token in tokens.items()]})[2]
        for each in answer["gone"]:
            tokens[each["group"]] = join(client, each["group"])
        return not answer["gone"]

    until(heard, "one request for all of them")
    return tokens


def test_small_groups_that_fall_silent_together_are_kept(own_node):
    """At most half of them may fail: then the silence of the others is the leader's own."""
    node = own_node()
    groups = [f"small{i}" for i in range(GROUPS)]
    with node.client() as client, Stream(node.port, "/v1/watch?prefix=/groups/&types=guarded") as stream:
        for group in groups:
            assert client.request("PUT", f"/v1/groups/{group}?guard_max=1h&probation=0s")[0] == 201
        beat_together(client, groups)
        until(lambda: all(get(client, group)["alive"] == 0 and (get(client, group)["failed"] or get(client, group)["guarded"])
                          for group in groups), "the time of all is over")
        seen = [get(client, group) for group in groups]
        kept = [each for each in seen if each["guarded"]]
        assert 2 * len(kept) >= GROUPS, seen
        assert {each["guarded_for"] for each in kept} == {"all"} and all(each["guarded_since"] for each in kept)
        assert {stream.event()["data"]["guarded_for"] for _ in kept} == {"all"}
        values = shows(client, coordd_groups_guarded=len(kept), coordd_members_guarded=len(kept))
        assert values['coordd_members{state="suspect"}'] == str(len(kept))
        assert values['coordd_members{state="failed"}'] == str(GROUPS - len(kept))
        assert int(values['coordd_member_events_total{event="guarded"}']) >= len(kept)  # some perhaps before they beat together
        answer = client.request("POST", f"/v1/groups/{kept[0]['group']}/force")[2]
        assert (answer["failed"], answer["left"]) == (1, 0)
        for each in kept[1:]:
            join(client, each["group"], query="ttl=5m")
            assert get(client, each["group"])["guarded_for"] is None
        shows(client, coordd_groups_guarded=0, coordd_members_guarded=0)


def test_groups_without_a_guard_are_left_alone(own_node):
    node = own_node()
    groups = [f"free{i}" for i in range(GROUPS)]
    with node.client() as client:
        for group in groups:
            assert client.request("PUT", f"/v1/groups/{group}?guard=0")[0] == 201
        beat_together(client, groups)
        until(lambda: all(get(client, group)["failed"] == 1 for group in groups), "all are failed")
        assert metrics(client).get('coordd_member_events_total{event="guarded"}') is None


def test_metrics_of_members(own_node):
    node = own_node()
    with node.client() as client:
        tokens = {member: join(client, "web", member, "ttl=5m") for member in "abcd"}
        join(client, "db", "a", "ttl=5m")
        assert client.request("POST", "/v1/groups/web/members/b/drain")[0] == 200
        assert client.request("DELETE", f"/v1/groups/web/members/c?token={tokens['c']}")[0] == 204
        assert client.request("POST", "/v1/groups/web/members/d/fail")[0] == 204
        for _ in range(3):
            assert client.request("POST", f"/v1/groups/web/members/a/heartbeat?token={tokens['a']}")[0] == 200
        assert client.request("POST", "/v1/schedules/s/run")[0] == 404
        assert client.request("PUT", "/v1/schedules/s?queue=q&every=1h")[0] == 201
        assert client.request("POST", "/v1/schedules/s/run")[0] in (200, 201)
        values = shows(client, coordd_groups=2, coordd_heartbeats_total=3, coordd_schedules=1)
        assert [values[f'coordd_members{{state="{state}"}}'] for state in ("alive", "draining", "suspect", "failed", "left")] == \
            ["2", "1", "0", "1", "1"]
        assert values['coordd_group_members{group="web",state="draining"}'] == "1"
        assert values['coordd_group_guarded{group="db"}'] == "0"
        assert values['coordd_group_events_total{group="web",event="joined"}'] == "4"
        assert values['coordd_schedule_runs_total{outcome="manual"}'] == "1"
        text = client.request("GET", "/metrics")[2]
        assert len(re.findall(r"^# TYPE coordd_members gauge$", text, re.M)) == 1
