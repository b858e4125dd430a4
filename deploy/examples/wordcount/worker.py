#!/usr/bin/env python3
"""A worker of the word count with Python's standard library: the same as worker.sh, which says what the tasks are.

    worker.py [NAME]        COORDD: one URL or several with spaces between them
"""

import collections
import http.client
import itertools
import json
import os
import re
import sys
import time
import urllib.parse
import uuid

QUEUE = "/v1/queues/wordcount"
REPEATABLE_S = 0.2


class Coordd:
    """Asks one node, and when that is of no use the next one."""

    def __init__(self, nodes):
        self.nodes = collections.deque(urllib.parse.urlsplit(node).netloc for node in nodes.split())
        self.connection = None

    def ask(self, method, path, body=None, key=None):
        """(status, answer). Repeats what may be repeated; `key` is the Idempotency-Key that makes it harmless."""
        headers = {"Idempotency-Key": key} if key else {}
        while True:
            try:
                if self.connection is None:
                    self.connection = http.client.HTTPConnection(self.nodes[0], timeout=90)
                text = json.dumps(body) if body is not None else None
                self.connection.request(method, path, body=text, headers=headers)
                response = self.connection.getresponse()
                answer = json.loads(response.read())
                if not (response.status >= 400 and answer.get("retryable")):
                    return response.status, answer
            except (OSError, http.client.HTTPException, ValueError):
                pass
            if self.connection is not None:
                self.connection.close()
                self.connection = None
            self.nodes.rotate(-1)
            time.sleep(REPEATABLE_S)


def part_of(word, parts):
    value = 0
    for letter in word:
        value = (value * 31 + ord(letter) - ord("a") + 1) % 65521
    return value % parts


def text_of(counts):
    return " ".join(f"{word} {number}" for word, number in sorted(counts.items()))


def map_words(payload):
    parts = [collections.Counter() for _ in range(payload["parts"])]
    with open(payload["map"], "rb") as file:
        for line in itertools.islice(file, payload["from"] - 1, payload["to"]):
            for word in re.findall("[a-z]+", line.decode("latin-1").translate(LOWER)):
                parts[part_of(word, len(parts))][word] += 1
    return {f"p{r}": text_of(part) for r, part in enumerate(parts)}


LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def reduce_words(coordd, task):
    counts = collections.Counter()
    for given in task["inputs"]:
        result = given["result"]
        if result is None:  # did not fit into the answer
            status, answer = coordd.ask("GET", f"{QUEUE}/tasks/{given['id']}")
            if status != 200:
                raise ValueError(f"map {given['id']}: {status}")
            result = answer["result"]
        pairs = iter(result[f"p{task['payload']['reduce']}"].split())
        for word, number in zip(pairs, pairs):
            counts[word] += int(number)
    return counts


def give_up(coordd, task, error):
    """No other worker could do it."""
    refusal = {"token": task["token"], "error": error[:1000], "permanent": True}
    return coordd.ask("POST", f"{QUEUE}/tasks/{task['id']}/fail", refusal)


def work(coordd, task):
    """(status, answer) of the request that ends the task."""
    payload, token, path = task["payload"], task["token"], f"{QUEUE}/tasks/{task['id']}"
    key = f"{task['id']}-{token}"
    try:
        if "map" in payload:
            return coordd.ask("POST", f"{path}/complete", {"token": token, "result": map_words(payload)}, key)
        sum_key = f"wordcount/{payload['job']}/{payload['reduce']}"
        put = {"op": "kv.put", "key": sum_key, "value": text_of(reduce_words(coordd, task))}
        done = {"op": "queue.complete", "queue": "wordcount", "id": task["id"], "token": token}
        return coordd.ask("POST", "/v1/txn", {"then": [put, done]}, key)
    except (OSError, ValueError) as error:
        return give_up(coordd, task, str(error))


def main():
    name = sys.argv[1] if len(sys.argv) > 1 else f"py-{os.getpid()}"
    coordd = Coordd(os.environ.get("COORDD", "http://localhost:7400"))
    while True:
        status, answer = coordd.ask("POST", f"{QUEUE}/claim", {"worker": name, "wait": "20s"}, uuid.uuid4().hex)
        if status != 200:
            sys.exit(f"{name}: {answer}")
        for task in answer["tasks"]:
            status, answer = work(coordd, task)
            if status in (409, 410):
                print(f"{name}: task {task['id']}: the claim was lost, somebody else has it", file=sys.stderr)
            elif status != 200:
                print(f"{name}: task {task['id']}: {answer}", file=sys.stderr)
                give_up(coordd, task, f"refused with {status}")


if __name__ == "__main__":
    main()
