"""Groups over HTTP: what a member finds when it comes back or is late."""

import itertools
import threading

import pytest
from node import until

numbers = itertools.count(1)


@pytest.fixture
def g():
    return f"/v1/groups/returns{next(numbers)}"


def ask(client, method, path, status):
    came, _, answer = client.request(method, path)
    assert came == status, answer
    return answer


def owned(client, g, member):
    return {shard["number"]: shard["token"] for shard in ask(client, "GET", f"{g}/shards?member={member}", 200)["shards"]
            if shard["state"] == "owned"}


def test_a_member_that_failed_has_its_shards_again_in_the_answer_to_its_join(client, g):
    ask(client, "PUT", f"{g}?shards=8&rebalance=1h", 201)
    ask(client, "PUT", f"{g}/members/a?ttl=5m", 201)
    before = until(lambda: owned(client, g, "a"), "the first member has all")
    ask(client, "PUT", f"{g}/members/b?ttl=5m", 201)
    ask(client, "POST", f"{g}/members/a/fail", 204)
    assert owned(client, g, "a") == owned(client, g, "b") == {}
    made = ask(client, "PUT", f"{g}/members/a?ttl=5m", 201)
    assert made["state"] == "recovered"
    after = owned(client, g, "a")
    assert after.keys() == before.keys() and all(after[number] > before[number] for number in after)


def test_who_is_late_is_told_of_a_broadcast_that_is_satisfied(client, g):
    tokens = {member: ask(client, "PUT", f"{g}/members/{member}?ttl=5m", 201)["token"] for member in "ab"}
    sent = ask(client, "POST", f"{g}/broadcast?name=reload&percent=50&timeout=1h", 201)
    done = ask(client, "POST", f"{g}/broadcasts/{sent['number']}/ack?member=a&token={tokens['a']}", 200)
    assert done["state"] == "satisfied"
    beats = {member: ask(client, "POST", f"{g}/members/{member}/heartbeat?token={token}", 200)
             for member, token in tokens.items()}
    assert (beats["a"]["broadcasts"], beats["b"]["broadcasts"]) == (0, 1)


def test_who_waits_for_a_broadcast_hears_that_its_group_is_deleted(client, node, g):
    ask(client, "PUT", f"{g}/members/a?ttl=5m", 201)
    sent = ask(client, "POST", f"{g}/broadcast?name=reload&timeout=1h", 201)
    answers = []

    def wait():
        with node.client() as other:
            answers.append(other.request("GET", f"{g}/broadcasts/{sent['number']}?wait=5m"))

    waiter = threading.Thread(target=wait)
    waiter.start()
    ask(client, "DELETE", f"{g}?force=true", 204)
    waiter.join()
    assert answers[0][0] == 404
