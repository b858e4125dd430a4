"""Queues as watches and long polls see them: a queue changes with its tasks."""

import itertools
import threading

import pytest

from stream import Stream

numbers = itertools.count(1)


@pytest.fixture
def q():
    return f"/v1/queues/watched{next(numbers)}"


@pytest.fixture
def watch(node):
    opened = []

    def make(path):
        opened.append(Stream(node.port, path, "sse"))
        return opened[-1]

    yield make
    for stream in opened:
        stream.close()


def post(client, path, body=None):
    status, _, answer = client.request("POST", path, body)
    assert status in (200, 201), answer
    return answer


def test_the_life_of_a_task_is_told(client, q, watch):
    path = q.removeprefix("/v1")
    stream = watch(f"/v1/watch?prefix={path}/tasks/")
    made = post(client, f"{q}/tasks", {"payload": 1, "key": "k", "group": "g"})["id"]
    token = post(client, f"{q}/claim?worker=w")["tasks"][0]["token"]
    post(client, f"{q}/tasks/{made}/fail?token={token}&retry_after=1&error=oops")
    ready, claimed, failed = stream.events(3)
    assert [e["type"] for e in (ready, claimed, failed)] == ["ready", "claimed", "scheduled"]
    for event in (ready, claimed, failed):
        assert event["path"] == f"{path}/tasks/{made}"
        data = event["data"]
        assert (data["id"], data["queue"], data["key"], data["group"]) == (made, q.split("/")[-1], "k", "g")
        assert data["state"] == event["type"]
    assert ready["data"]["worker"] is None and ready["data"]["token"] is None
    assert (claimed["data"]["worker"], claimed["data"]["token"], claimed["data"]["outcome"]) == ("w", token, None)
    assert (failed["data"]["outcome"], failed["data"]["error"], failed["data"]["token"]) == ("failed", "oops", token)
    assert (failed["data"]["attempts"], failed["data"]["failures"]) == (1, 1) and failed["data"]["not_before"]


def test_the_present_state_shows_queues(client, q, watch):
    path = q.removeprefix("/v1")
    post(client, f"{q}/tasks", {"payload": 1})
    stream = watch(f"/v1/watch?prefix={path}&initial=true")
    (present,) = stream.events(1)
    assert (present["type"], present["path"]) == ("present", path)
    assert present["data"]["ready"] == 1 and present["data"]["config"]["max_attempts"] == 10


def test_a_long_poll_of_a_queue_ends_when_a_task_of_it_changes(client, node, q):
    post(client, f"{q}/tasks", {"payload": 1})
    revision = client.request("GET", q)[2]["revision"]
    assert client.request("GET", f"{q}?since={revision}&wait=0")[0] == 304
    answers = []

    def poll():
        with node.client() as connection:
            answers.append(connection.request("GET", f"{q}?since={revision}&wait=60s"))

    waits = threading.Thread(target=poll)
    waits.start()
    post(client, f"{q}/tasks", {"payload": 2})
    waits.join(60)
    assert [(status, answer["ready"]) for status, _, answer in answers] == [(200, 2)]
