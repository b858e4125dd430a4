"""Clients that take and give back locks under load, and remember what was acknowledged."""

import http.client
import threading

KILLED = (OSError, http.client.HTTPException)  # what a client sees of a server that dies


class Ledger:
    """The locks that several workers fight for: at any time at most one of them has been told that it holds one,
    and each grant carries a higher token than all before it."""

    def __init__(self, round_, count=3):
        self.names = [f"fought{round_}-{i}" for i in range(count)]
        self.mutex = threading.Lock()
        self.holder = {}  # name -> (worker, token), from the answer to the grant until the release is sent
        self.last = {}

    def took(self, name, worker, token):
        with self.mutex:
            assert name not in self.holder, f"{name} is held by {self.holder[name]}, and {worker} got it with {token}"
            assert token > self.last.get(name, 0), f"{name}: token {token} after {self.last[name]}"
            self.holder[name], self.last[name] = (worker, token), token

    def gives(self, name):
        with self.mutex:
            return self.holder.pop(name)[1]


class Worker(threading.Thread):
    """Takes and gives back locks of its own, each held over many steps, and in between one that all fight for."""

    def __init__(self, node, number, ledger=None):
        super().__init__()
        self.node, self.number, self.ledger = node, number, ledger
        self.held = {}  # own locks: name -> token, acknowledged
        self.open = set()  # names whose last request had no answer
        self.tokens = []
        self.stop = False
        self.error = None

    def names(self):
        return [f"w{self.number}-{i}" for i in range(20)]

    def run(self):
        try:
            with self.node.client() as client:
                step = 0
                while not self.stop:
                    self.own(client, self.names()[step % 20])
                    if self.ledger and step % 3 == 0:
                        self.fight(client, self.ledger.names[step // 3 % len(self.ledger.names)])
                    step += 1
        except KILLED:
            pass
        except BaseException as error:  # told to the test by finish()
            self.error = error

    def acquire(self, client, name, wait_ms):
        status, headers, answer = client.request("POST", f"/v1/locks/{name}/acquire?ttl=10m&owner={self.number}&wait={wait_ms}ms")
        if status == 423 and wait_ms:
            return 0
        assert status == 201, answer
        assert int(headers["Coord-Token"]) == answer["token"]
        self.tokens.append(answer["token"])
        return answer["token"]

    def release(self, client, name, token):
        status, _, answer = client.request("POST", f"/v1/locks/{name}/release?token={token}")
        assert status == 200, answer

    def own(self, client, name):
        self.open.add(name)
        if name in self.held:
            self.release(client, name, self.held[name])
            del self.held[name]
        else:
            self.held[name] = self.acquire(client, name, 0)
        self.open.discard(name)

    def fight(self, client, name):
        self.open.add(name)
        token = self.acquire(client, name, 200)
        if token:
            self.ledger.took(name, self.number, token)
            self.release(client, name, self.ledger.gives(name))
        self.open.discard(name)

    def finish(self):
        self.stop = True
        self.join()
        if self.error:
            raise self.error


def started(node, count, round_="", fight=True):
    ledger = Ledger(round_) if fight else None
    workers = [Worker(node, f"{round_}-{i}", ledger) for i in range(count)]
    for worker in workers:
        worker.start()
    return workers


def grants(workers):
    return sum(len(worker.tokens) for worker in workers)


def verify(client, workers):
    """What was acknowledged is there, what was given back is not; where no answer came both are right. Returns name
    -> token of all that is held."""
    found = {}
    left_open = set().union(*(worker.open for worker in workers))
    expected = {name: worker.held.get(name) for worker in workers for name in worker.names()}
    ledger = workers[0].ledger
    if ledger:
        expected |= {name: ledger.holder.get(name, (None, None))[1] for name in ledger.names}
    for name, token in expected.items():
        status, _, lock = client.request("GET", f"/v1/locks/{name}")
        assert status == 200, lock
        holding = [holder["token"] for holder in lock["holders"]]
        assert len(holding) <= 1, lock
        if name not in left_open:
            assert holding == ([token] if token else []), (name, token, lock)
        if holding:
            found[name] = holding[0]
    return found
