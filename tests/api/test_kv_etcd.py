"""Keys beside Debian's etcd: the same random requests to both, the same answers, but for the names of revisions and leases.

Where no etcd is installed there is nothing to compare with."""

import base64
import http.client
import json
import random
import shutil
import socket
import subprocess
from urllib.parse import quote

import pytest

from node import BROKEN, until

pytestmark = pytest.mark.skipif(shutil.which("etcd") is None, reason="no etcd here")

KEYS = ("k/a", "k/a/b", "k/b", "k/c", "l")
RANGES = (("k/", "k0"), ("k/a", "k/b"), ("k/b", "m"), ("x", "y"))
RESULTS = {"equal": "EQUAL", "not_equal": "NOT_EQUAL", "greater": "GREATER", "less": "LESS"}
STEPS = 250


def b64(text):
    return base64.b64encode(text.encode()).decode()


def unb64(text):
    return base64.b64decode(text).decode()


class Etcd:
    def __init__(self, directory):
        ports = []
        for _ in range(2):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                ports.append(probe.getsockname()[1])
        self.port = ports[0]
        client, peer = (f"http://127.0.0.1:{port}" for port in ports)
        self.process = subprocess.Popen(
            ["etcd", "--data-dir", str(directory), "--listen-client-urls", client, "--advertise-client-urls", client,
             "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
             "--unsafe-no-fsync"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.connection = None
        try:
            until(self.answers, "etcd answers", 60, 0.05)
        except BaseException:
            self.end()
            raise

    def answers(self):
        try:
            return self.call("kv/range", key=b64("a"))
        except BROKEN:
            self.connection = None
            return None

    def call(self, what, **body):
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        self.connection.request("POST", f"/v3/{what}", json.dumps(body))
        return json.loads(self.connection.getresponse().read())

    def end(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def etcd(tmp_path_factory):
    running = Etcd(tmp_path_factory.mktemp("etcd"))
    yield running
    running.end()


class Both:
    """Whatever is asked here is asked of both."""

    def __init__(self, etcd, client, seed):
        self.etcd, self.client, self.random = etcd, client, random.Random(seed)
        self.revisions = {}  # ours -> etcd's
        self.leases = {}  # ours -> etcd's
        self.prefix = f"{seed}."

    def key(self):
        return self.prefix + self.random.choice(KEYS)

    def range(self):
        first, end = self.random.choice(RANGES)
        return self.prefix + first, self.prefix + end

    def ours(self, method, path, body=None):
        status, _, answer = self.client.request(method, path, body, {"Accept": "application/json"})
        assert status < 500, answer
        return status, answer

    def same(self, entry, kv):
        """A key of ours and one of etcd's."""
        assert self.revisions[entry["revision"]] == int(kv["mod_revision"])
        assert self.revisions[entry["create_revision"]] == int(kv["create_revision"])
        assert entry["version"] == int(kv["version"]) and entry["value"] == unb64(kv.get("value", ""))
        assert self.leases.get(entry["lease"], 0) == int(kv.get("lease", 0))

    def put(self):
        key, value = self.key(), str(self.random.randrange(10)) * self.random.randrange(3)
        lease = self.random.choice([None, None, *self.leases])
        _, ours = self.ours("PUT", f"/v1/kv/{quote(key)}?prev=true{'&lease=' + lease if lease else ''}", value)
        theirs = self.etcd.call("kv/put", key=b64(key), value=b64(value), lease=self.leases.get(lease, 0), prev_kv=True)
        self.revisions[ours["revision"]] = int(theirs["header"]["revision"])
        assert (ours["prev"] is None) == ("prev_kv" not in theirs)
        if ours["prev"]:
            self.same(ours["prev"], theirs["prev_kv"])

    def delete(self):
        if self.random.random() < 0.7:
            key = self.key()
            _, ours = self.ours("DELETE", f"/v1/kv/{quote(key)}")
            theirs = self.etcd.call("kv/deleterange", key=b64(key))
        else:
            first, end = self.range()
            _, ours = self.ours("DELETE", f"/v1/kv?from={quote(first)}&to={quote(end)}")
            theirs = self.etcd.call("kv/deleterange", key=b64(first), range_end=b64(end))
        assert int(ours["deleted"]) == int(theirs.get("deleted", 0))
        if ours["deleted"]:
            self.revisions[ours["revision"]] = int(theirs["header"]["revision"])

    def grant(self):
        _, ours = self.ours("POST", "/v1/leases?ttl=1h")
        theirs = self.etcd.call("lease/grant", TTL=3600)
        self.leases[ours["lease"]] = int(theirs["ID"])

    def revoke(self):
        if not self.leases:
            return
        lease, theirs = self.leases.popitem()
        assert self.client.request("DELETE", f"/v1/leases/{lease}")[0] == 204
        self.etcd.call("lease/revoke", ID=theirs)

    def look(self, ours_at=None):
        first, end = self.range()
        limit = self.random.choice([1, 2, 100])
        at = f"&at={ours_at}" if ours_at else ""
        status, ours = self.ours("GET", f"/v1/kv?from={quote(first)}&to={quote(end)}&limit={limit}{at}")
        assert status == 200, ours
        theirs = self.etcd.call("kv/range", key=b64(first), range_end=b64(end), limit=limit,
                                revision=self.revisions[ours_at] if ours_at else 0)
        assert [entry["key"] for entry in ours["keys"]] == [unb64(kv["key"]) for kv in theirs.get("kvs", [])]
        assert ours["more"] is theirs.get("more", False)
        for entry, kv in zip(ours["keys"], theirs.get("kvs", [])):
            if entry["lease"] is None or entry["lease"] in self.leases:
                self.same(entry, kv)
        count = self.ours("GET", f"/v1/kv?from={quote(first)}&to={quote(end)}&count_only=true{at}")[1]["count"]
        assert count == int(theirs.get("count", 0))

    def condition(self):
        """One of ours, and the same for etcd."""
        result = self.random.choice(list(RESULTS))
        ours, theirs = {"op": "kv.compare", "result": result}, {"result": RESULTS[result]}
        if self.random.random() < 0.6:
            key = self.key()
            ours["key"], theirs["key"] = key, b64(key)
        else:
            first, end = self.range()
            ours |= {"from": first, "to": end}
            theirs |= {"key": b64(first), "range_end": b64(end)}
        target = self.random.choice(["revision", "create_revision", "version", "value", "lease"])
        ours["target"] = target
        theirs["target"] = {"revision": "MOD", "create_revision": "CREATE"}.get(target, target.upper())
        if target in ("revision", "create_revision"):
            number = self.random.choice([0, *list(self.revisions)[-8:]])
            ours[target], theirs[theirs["target"].lower() + "_revision"] = number, self.revisions.get(number, 0)
        elif target == "version":
            ours[target] = theirs[target] = self.random.randrange(4)
        elif target == "value":
            value = str(self.random.randrange(10)) * self.random.randrange(3)
            ours |= {"value": value} if value else {}
            theirs["value"] = b64(value)
        else:
            lease = self.random.choice([None, *self.leases])
            ours |= {"lease": lease} if lease else {}
            theirs["lease"] = self.leases.get(lease, 0)
            if result in ("greater", "less"):  # ids are of different kinds
                ours["result"], theirs["result"] = "equal", "EQUAL"
        return ours, theirs

    def transaction(self):
        conditions = [self.condition() for _ in range(self.random.randrange(3))]
        keys = self.random.sample(KEYS, 2)
        ours = {"if": [c[0] for c in conditions],
                "then": [{"op": "kv.put", "key": self.prefix + keys[0], "value": "t"},
                         {"op": "kv.get", "key": self.prefix + keys[0]}, {"op": "kv.delete", "key": self.prefix + keys[1]}],
                "else": [{"op": "kv.delete", "key": self.prefix + keys[0]}]}
        theirs = {"compare": [c[1] for c in conditions],
                  "success": [{"request_put": {"key": b64(self.prefix + keys[0]), "value": b64("t")}},
                              {"request_range": {"key": b64(self.prefix + keys[0])}},
                              {"request_delete_range": {"key": b64(self.prefix + keys[1])}}],
                  "failure": [{"request_delete_range": {"key": b64(self.prefix + keys[0])}}]}
        status, our = self.ours("POST", "/v1/txn", ours)
        assert status == 200, (our, ours)
        their = self.etcd.call("kv/txn", **theirs)
        assert our["succeeded"] is their.get("succeeded", False), (ours, theirs)
        last, theirs_last = our["results"][-1]["result"], their["responses"][-1]["response_delete_range"]
        assert int(last["deleted"]) == int(theirs_last.get("deleted", 0))
        if our["succeeded"] or last["deleted"]:
            self.revisions[our["revision"]] = int(their["header"]["revision"])
        if our["succeeded"]:
            self.same(our["results"][1]["result"], their["responses"][1]["response_range"]["kvs"][0])

    def step(self):
        dice = self.random.random()
        if dice < 0.35:
            self.put()
        elif dice < 0.5:
            self.delete()
        elif dice < 0.55:
            self.grant()
        elif dice < 0.58:
            self.revoke()
        elif dice < 0.85:
            self.transaction()
        elif self.revisions:
            self.look(self.random.choice(list(self.revisions)))
        self.look()


@pytest.mark.parametrize("seed", range(1, 5))
def test_keys_are_as_etcd_has_them(etcd, client, seed):
    both = Both(etcd, client, seed)
    for _ in range(STEPS):
        both.step()
    effects = sorted(both.revisions.items())
    theirs = [revision for _, revision in effects]
    assert theirs == sorted(theirs) and len(effects) > STEPS // 4
