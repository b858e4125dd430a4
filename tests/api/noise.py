"""TEST_NOISE=1: somebody else who writes to the shared node all the time, in every way there is. What a test says must
hold nevertheless: revisions, lists, counts and events of the whole node are not its own."""

import itertools
import threading


class Noise:
    """Writes in turn, with names of its own, until it is stopped; then none of its calls may have been refused."""

    def __init__(self, node, pause_s=0.005):
        self.node, self.pause_s, self.ending, self.error, self.calls = node, pause_s, threading.Event(), None, 0
        self.thread = threading.Thread(target=self.run, name="noise", daemon=True)

    def run(self):
        try:
            with self.node.client() as client:
                for number in itertools.count():
                    self.turn(client, number)
                    if self.ending.is_set():
                        return
        except BaseException as error:  # stop() raises it
            self.error = error

    def call(self, client, method, path, *allowed, body=None):
        status, _, answer = client.request(method, path, body)
        assert status in (200, 201, 204, *allowed), f"{method} {path}: {status} {answer}"
        self.calls += 1
        self.ending.wait(self.pause_s)
        return answer

    def turn(self, client, number):
        call, slot = lambda *words, **more: self.call(client, *words, **more), number % 20
        call("PUT", f"/v1/kv/noise/{slot}", body=f"{number}")
        lease = call("POST", "/v1/leases?ttl=1s&owner=noise")["lease"]
        call("PUT", f"/v1/kv/noise/leased/{slot}?lease={lease}", 410, body=b"")
        call("POST", f"/v1/locks/noise-{slot}/acquire?ttl=1s", 409, 423)
        call("POST", f"/v1/elections/noise-{slot}/campaign?candidate=n{number}&ttl=1s", 409, 423)
        call("PUT", f"/v1/groups/noise-{slot % 3}/members/m{slot}?ttl=1s", 409)
        call("POST", f"/v1/groups/noise-{slot % 3}/broadcast", 404, 409, body={"name": "n", "payload": number})
        call("PUT", "/v1/schedules/noise?queue=noise-0&every=1s")
        call("POST", f"/v1/queues/noise-{slot % 3}/tasks", body={"payload": number})
        for task in call("POST", f"/v1/queues/noise-{slot % 3}/claim?worker=noise&ttl=1s&max=3")["tasks"]:
            if int(task["id"]) % 2:  # the others come back when their leases end
                call("POST", f"/v1/queues/noise-{slot % 3}/tasks/{task['id']}/complete?token={task['token']}", 409, 410)
        call("DELETE", f"/v1/kv/noise/{(slot + 7) % 20}", 404)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join(60)
        assert not self.thread.is_alive() and self.error is None, repr(self.error)
