"""Schedules on three nodes whose leaders die: each nominal time is met once, by whoever leads."""

from datetime import datetime

from tests.support.node import until
from tests.support.stream import Stream


def look(cluster, node):
    status, _, view = cluster.ask(node, "GET", "/v1/schedules/s", timeout_s=30)
    return view if status == 200 else {"counts": {"fired": 0}}


def seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def test_each_second_is_met_once_whoever_leads(quick):
    cluster = quick
    leader = cluster.wait_leader()
    query = "queue=q&every=1s&overlap=allow&misfire=all&misfire_max=1000&jitter=300ms"
    status, _, made = cluster.ask(leader, "PUT", f"/v1/schedules/s?{query}", timeout_s=30)
    assert status == 201
    for _ in range(4):
        leader = cluster.wait_leader()
        other = cluster.followers()[0]
        before = look(cluster, other)["counts"]["fired"]
        until(lambda node=other, fired=before: look(cluster, node)["counts"]["fired"] > fired, "it fires")
        cluster.kill9(leader)
        cluster.wait_leader(but=leader)
        cluster.restart(leader)
        cluster.wait_ready()
    node = cluster.wait_leader()
    until(lambda: cluster.ask(node, "POST", "/v1/schedules/s/pause", timeout_s=30)[0] == 200, "it is paused")
    view = look(cluster, node)
    counts = view["counts"]
    assert counts["fired"] >= 4
    assert (counts["skipped_misfire"], counts["skipped_overlap"], counts["refused"]) == (0, 0, 0)
    with Stream(cluster.ports[node], f"/v1/watch?prefix=/schedules/&since={made['revision']}") as stream:
        met = []
        while len(met) < counts["fired"]:
            event = stream.event()
            if event["type"] == "fired":
                met.append(event["data"])
    nominal = [round(seconds(run["nominal"]) - seconds(made["created"]), 3) for run in met]
    assert nominal == [float(number) for number in range(1, len(met) + 1)], nominal
    tasks = cluster.ask(node, "GET", "/v1/queues/q/tasks?limit=1000", timeout_s=30)[2]["tasks"]
    assert sorted(task["id"] for task in tasks) == sorted(run["task"] for run in met)
    views = [look(cluster, name) for name in cluster.nodes]
    assert views[0] == views[1] == views[2]
