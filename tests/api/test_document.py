"""The OpenAPI document is enough to drive every operation, and every reply has what it promises."""

import base64
import os
import random
import re
from urllib.parse import quote, urlencode

import pytest

from node import read_response


@pytest.fixture(scope="module")
def document(node):
    return node.request("GET", "/v1/openapi.json")[2]


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def resolve(document, schema):
    while "$ref" in schema:
        place = document
        for part in schema["$ref"].lstrip("#/").split("/"):
            place = place[part]
        schema = place
    return schema


def check(document, schema, value, where):
    """The parts of JSON Schema that the document uses."""
    schema = resolve(document, schema)
    if "oneOf" in schema:
        errors = []
        for choice in schema["oneOf"]:
            try:
                check(document, choice, value, where)
                return
            except AssertionError as error:
                errors.append(error)
        raise errors[0]
    for part in schema.get("allOf", []):
        check(document, part, value, where)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", type(None): "null"}
    assert not kinds or names[type(value)] in kinds, f"{where}: {value!r} is not {kinds}"
    if "enum" in schema:
        assert value in schema["enum"], where
    if "const" in schema:
        assert value == schema["const"], where
    if schema.get("format") == "date-time" and value is not None:
        assert re.match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", value), where
    if isinstance(value, dict):
        for key in schema.get("required", []):
            assert key in value, f"{where}.{key} is missing"
        properties = schema.get("properties")
        for key, member in value.items():
            if properties is not None and key in properties:
                check(document, properties[key], member, f"{where}.{key}")
            elif properties is not None and "problem" not in where:
                raise AssertionError(f"{where}.{key} is not documented")
    if isinstance(value, list) and "items" in schema:
        for i, item in enumerate(value):
            check(document, schema["items"], item, f"{where}[{i}]")


# --- values from schemas ---


class Maker:
    """Makes values that a schema allows. `known` gives those of some names."""

    def __init__(self, document, seed, known):
        self.document, self.random, self.known = document, random.Random(seed), known

    def value(self, schema, name=None):
        schema = resolve(self.document, schema)
        if name in self.known and self.random.random() < 0.7:
            return self.known[name]
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.random.choice(schema["enum"])
        if "oneOf" in schema:
            return self.value(self.random.choice(schema["oneOf"]))
        kind = schema.get("type")
        if kind == "object":
            if "base64" in schema["properties"]:
                return {"base64": base64.b64encode(self.random.randbytes(self.random.randrange(1, 9))).decode()}
            return self.object(schema)
        if kind == "array":
            return [self.value(schema["items"]) for _ in range(self.random.randrange(schema.get("minItems", 0), min(3, schema["maxItems"]) + 1))]
        if kind == "string":
            return self.text(schema)
        if kind == "boolean":
            return self.random.random() < 0.5
        if kind == "integer":
            top = min(schema["maximum"], schema["minimum"] + self.random.choice((0, 1, 5, 1 << 53)))
            return self.random.randrange(schema["minimum"], top + 1)
        assert kind is None, schema
        return self.random.choice([1, "x", [True], {"a": {"b": []}}])  # any JSON; null is the same as none

    def object(self, schema):
        wanted = set(schema.get("required", []))
        return {name: self.value(part, name) for name, part in schema["properties"].items()
                if name in wanted or self.random.random() < 0.4}

    def text(self, schema):
        pattern = schema.get("pattern")
        if pattern == "^L[0-9a-f]+$":
            return self.random.choice((self.known["lease"], "L1"))
        if pattern:
            assert pattern == "^[0-9]+(ms|s|m|h|d)?$", pattern
            return "30s"
        size = self.random.randrange(max(1, schema.get("minLength", 0)), min(schema.get("maxLength", 9), 9) + 1)
        return "".join(self.random.choice("abcä/%+ &") for _ in range(size))


def in_query(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(value) if all(isinstance(item, str) for item in value) else None
    if isinstance(value, dict) and "base64" in value:
        return base64.b64decode(value["base64"])
    return value if isinstance(value, (str, int)) else None


# --- driving ---


class Api:
    """The operations of the document, by name."""

    def __init__(self, document):
        self.document = document
        self.paths = {operation["operationId"]: (method, path, operation) for method, path, operation in operations(document)}

    def arguments(self, name):
        """Parameter or member -> schema, without what all requests of a kind may have."""
        method, path, operation = self.paths[name]
        found = {each: schema for each, schema in self.parameters(name).items() if "." not in each}
        return found | self.members(name)

    def parameters(self, name):
        """With the fields of records: claim.max."""
        return {p["name"]: p["schema"] for p in self.paths[name][2]["parameters"] if "$ref" not in p}

    def members(self, name):
        """Of the object, where an array may stand too."""
        body = self.paths[name][2].get("requestBody", {}).get("content", {}).get("application/json")
        schema = resolve(self.document, body["schema"]) if body else {}
        return schema.get("oneOf", [schema])[0].get("properties", {})

    def call(self, client, name, arguments, rng=None, headers=None):
        """With some in the query and the others in the body, where the document allows both. Everything that comes back
        is as documented. Gives status and answer; the answer of a stream is None."""
        method, path, operation = self.paths[name]
        places = {p["name"]: p["in"] for p in operation["parameters"] if "$ref" not in p}
        members, query, body = self.members(name), {}, {}
        for key, value in arguments.items():
            text = in_query(value)
            if isinstance(value, dict) and value and (rng or random).random() < 0.5 and all(f"{key}.{part}" in places for part in value):
                query.update({f"{key}.{part}": in_query(of_part) for part, of_part in value.items()})
            elif places.get(key) == "path":
                path = path.replace("{%s}" % key, quote(text if isinstance(text, bytes) else str(text), safe=""))
            elif key not in members or (key in places and text is not None and (rng or random).random() < 0.5):
                query[key] = text
            else:
                body[key] = value
        assert "{" not in path, (name, arguments)
        client.send(method, path + ("?" + urlencode(query) if query else ""), body or None, headers)
        return self.reply(client, name)

    def reply(self, client, name):
        operation = self.paths[name][2]
        response = client.connection.getresponse()
        kind, status = (response.getheader("Content-Type") or "").split(";")[0], response.status
        documented = operation["responses"].get(str(status)) or operation["responses"]["2XX" if status < 300 else "default"]
        if kind == "text/event-stream":  # has no end; what it says: test_watch.py
            assert kind in documented["content"]
            first = response.read1(64)
            assert first[:1] in b":ide", first
            client.close()
            return status, None
        status, _, answer = read_response(response)
        assert status in (204, 304) or kind in documented["content"], (name, status, kind)
        if status in (204, 304):
            assert "content" not in documented and answer == ""
        elif status < 300 and kind == "application/json":
            check(self.document, documented["content"][kind]["schema"], answer, name)
        elif status >= 300:
            check(self.document, documented["content"][kind]["schema"], answer, name + " problem")
            assert resolve(self.document, {"$ref": "#/components/schemas/problem"})["x-codes"][answer["code"]] == status
        return status, answer


@pytest.fixture(scope="module")
def api(document):
    return Api(document)


def test_the_document_is_whole(api, document):
    assert document["openapi"] == "3.1.0"
    assert set(api.paths) >= {"lease.create", "lock.acquire", "lock.hold", "election.campaign", "kv.put", "kv.get", "txn", "watch", "wait"}
    for name, (method, path, operation) in api.paths.items():
        assert operation["summary"], name
        in_path = {p["name"] for p in operation["parameters"] if p.get("in") == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path)), name
        assert set(operation["x-required"]) <= set(api.arguments(name)), name
        headers = {resolve(document, p)["name"] for p in operation["parameters"] if resolve(document, p)["in"] == "header"}
        if "if_match" in api.arguments(name):
            assert "If-Match" in headers, name
        if method in ("PUT", "DELETE") and not name.startswith("cluster."):
            assert headers >= {"Idempotency-Key", "Coord-Fence"}, name


def situation(client, name):
    """Something of everything, and the arguments that name it."""
    lease = client.request("POST", "/v1/leases?ttl=10m")[2]["lease"]
    lock = client.request("POST", f"/v1/locks/{name}/acquire?lease={lease}")[2]["token"]
    term = client.request("POST", f"/v1/elections/{name}/campaign?candidate=me&lease={lease}")[2]["token"]
    revision = client.request("PUT", f"/v1/kv/{name}", b"value")[2]["revision"]
    guard = client.request("PUT", f"/v1/guards/{name}-guarded/?lock={name}")
    assert guard[0] in (200, 201), guard
    client.request("POST", f"/v1/queues/{name}/tasks")
    task = client.request("POST", f"/v1/queues/{name}/claim?lease={lease}")[2]["tasks"][0]
    schedule = client.request("PUT", f"/v1/schedules/{name}?queue={name}&every=1h")
    assert schedule[0] == 201, schedule
    group = client.request("PUT", f"/v1/groups/{name}")
    assert group[0] == 201, group
    member = client.request("PUT", f"/v1/groups/{name}/members/m1?ttl=10m")[2]["token"]
    sent = client.request("POST", f"/v1/groups/{name}/broadcast?name=news")[2]["number"]
    return {"lease": lease, "id": lease, "ids": [lease], "name": name, "names": [name + "1", name + "2"], "key": name, "at": revision,
            "prefix": name, "lock": name, "candidate": "me", "value": "x", "to": "nobody", "node": "n1", "until": "revision:1",
            "token": {"lock": lock, "election": term, "queue": task["token"], "group": member}, "task": task["id"],
            "group": name, "member": "m1", "number": sent, "reporter": "me", "results": [{"id": "m1", "ok": 1}],
            "members": [{"group": name, "id": "m1", "token": member}],
            "queue": name, "schedule": name, "progress": 1, "every": "1h", "cron": "*/5 * * * *", "time_zone": "Europe/Berlin"}


def of_operation(known, operation):
    """What some operations call by the same name: each has its own."""
    kind = operation.split(".")[0]
    known["token"] = known["token"].get(kind, 1)
    if kind == "queue":
        known["id"] = known["task"]
    if kind == "group":
        known["id"] = "m1"
    if operation == "group.shard_ack":
        known["number"] = 0  # of a shard
    if operation == "queue.put":
        known["lease"] = "10s"  # a duration there
    return known


def without_waiting(arguments, wait_ms):
    for each in [arguments] + [value for value in arguments.values() if isinstance(value, dict)]:
        if "wait" in each:
            each["wait"] = wait_ms


# What this situation does not give: one node has no members to move about, and nobody waits.
NEEDS = {"lock.transfer", "election.transfer", "lock.yield", "lock.release_many", "cluster.add", "cluster.promote", "cluster.remove",
         "cluster.transfer", "group.shard_ack"}
GONE = {"lease.revoke": 1, "lock.release": 2, "lock.break": 2, "election.resign": 2, "election.break": 2, "kv.delete": 2, "kv.delete_prefix": 2,
        "guard.delete": 2, "queue.delete": 2, "schedule.delete": 2, "group.leave": 2, "group.fail": 2, "group.delete": 2}

# Texts that have a syntax of their own, or must name something.
SYNTAX = {"peer", "until", "cursor", "id", "path", "types", "since", "min_revision", "initial", "cron", "time_zone"}


@pytest.mark.parametrize("where", ["query", "body"])
def test_every_operation_succeeds_with_what_the_document_says_it_needs(client, api, name, where):
    """Path, and what is required; nothing else. As parameters, and as members of the body."""
    rng = random.Random()
    rng.random = (lambda: 0.0) if where == "query" else (lambda: 1.0)
    for operation in sorted(set(api.paths) - NEEDS, key=lambda o: GONE.get(o, 0)):
        known = situation(client, f"{name}-{operation.replace('.', '-')}-{where}")
        method, path, described = api.paths[operation]
        wanted = set(described["x-required"]) | set(re.findall(r"{(\w+)}", path))
        if operation == "guard.delete" or operation == "guard.get":
            known["prefix"] += "-guarded/"
        if operation == "kv.delete_prefix":
            wanted.add("prefix")  # or a range: one of them
        if operation in ("lock.hold", "lock.acquire", "election.campaign"):
            known["name"] += "-new"
        if operation == "group.leave":
            wanted.add("token")  # or force: one of them
        if operation == "schedule.put":
            wanted.add("every")  # or cron: one of them
        known = of_operation(known, operation)
        arguments = {key: known[key] for key in wanted}
        if operation in ("queue.delete", "group.delete"):
            arguments["force"] = True  # it has a claimed task, a member
        status, answer = api.call(client, operation, arguments, rng)
        assert status < 300, (operation, arguments, answer)


def test_every_operation_with_any_arguments(own_node, api, name):
    """Values made from the schemas, some of things that are there. Never a 400, but where a text has a syntax of its own."""
    node = own_node()
    seen = {}
    turns = 8 if "thread" in os.environ.get("TEST_SANITIZE", "") else 25  # of threads, arguments say little
    with node.client() as client:
        for seed in range(turns):
            for operation in sorted(api.paths):
                known = situation(client, f"{name}-{seed}-{operation}")
                known = of_operation(known, operation) | {"wait": 20}
                if operation.startswith("cluster."):
                    known["name"] = "n9"  # not this node itself
                maker = Maker(api.document, f"{seed}/{operation}", known)
                method, path, described = api.paths[operation]
                wanted = set(described["x-required"]) | set(re.findall(r"{(\w+)}", path))
                arguments = {key: maker.value(schema, key) for key, schema in api.arguments(operation).items()
                             if key in wanted or maker.random.random() < 0.4}
                if operation == "group.wait":
                    arguments["wait"] = 20  # waits unless it is told not to
                without_waiting(arguments, 20)
                if method == "PUT" and operation == "kv.put":
                    arguments.pop("value", None)  # the body is
                status, answer = api.call(client, operation, arguments, maker.random)
                nobody = operation == "group.pick" and answer["code"] == "nobody_eligible" if status == 503 else False
                assert status < 500 or nobody or operation.startswith("cluster."), (operation, arguments, answer)
                if status == 400:
                    assert re.split(r"[.\[]", answer.get("field", ""))[-1] in SYNTAX, (operation, arguments, answer)
                seen.setdefault(operation, set()).add(status)
    assert set(seen) == set(api.paths)
    assert all(min(statuses) < 500 for statuses in seen.values()), seen


def wrong_values(api, schema):
    """Those that the schema forbids: of other types, and around its limits."""
    schema = resolve(api.document, schema)
    choices = schema.get("oneOf", [schema])
    kinds = {c.get("type") for c in choices if c.get("type")}
    for value, kind in ((True, "boolean"), (7, "integer"), ("text", "string"), ([7], "array"), ({"x": 1}, "object"), (1.5, "number")):
        if kinds and kind not in kinds:
            yield value
    for choice in choices:
        if choice.get("type") == "integer":
            yield choice["minimum"] - 1
            yield choice["maximum"] + 1
        if "maxLength" in choice and "oneOf" not in schema:
            yield "x" * (choice["maxLength"] + 1)
        if choice.get("minLength", 0) > 0:
            yield ""
        if "enum" in choice:
            yield "none of them"
        if "pattern" in choice and kinds <= {"string", "integer"}:
            yield "no match"


def somewhere(path):
    return re.sub(r"{\w+}", "L1", path.replace("{number}", "1"))


def test_every_operation_refuses_what_the_document_forbids(client, api, name):
    """Each member of each body, with each wrong value: 400 that names it."""
    tried = 0
    for operation, (method, path, _) in sorted(api.paths.items()):
        for place, members in (("body", api.members(operation)), ("query", api.arguments(operation) | api.parameters(operation))):
            for member, schema in members.items():
                schema = resolve(api.document, schema)
                kinds = {choice.get("type") for choice in schema.get("oneOf", [schema])}
                if "{%s}" % member in path or (place == "query" and "array" in kinds):
                    continue
                for value in wrong_values(api, schema):
                    digits = isinstance(value, int) and not isinstance(value, bool)
                    if place == "query" and not (isinstance(value, str) or (digits and "integer" in kinds)):
                        continue  # there everything is a text
                    target = somewhere(path)
                    body = None
                    if place == "body":
                        body = {member: value}
                    else:
                        target += f"?{member}={quote(str(value))}"
                    status, _, answer = client.request(method, target, body)
                    assert status == 400 and answer["code"] == "bad_field", (operation, place, member, value, answer)
                    named = answer["field"] if "." in member else re.split(r"[.\[]", answer["field"])[0]
                    assert named == member, (operation, member, value, answer)
                    tried += 1
        status, _, answer = client.request(method, somewhere(path) + "?no_such=1")
        assert (status, answer["field"]) == (400, "no_such"), operation
    assert tried > 300, tried


def test_every_operation_says_what_is_missing(client, api, name):
    for operation, (method, path, described) in sorted(api.paths.items()):
        for missing in described["x-required"]:
            known = {"token": 1, "ids": "L1", "names": "a", "lease": "L1", "candidate": "x", "value": "x", "to": "x", "node": "n1", "name": "n9",
                     "id": "00000000000000aa", "peer": "127.0.0.1:1", "lock": "a", "until": "revision:1", "progress": 1, "queue": "a",
                     "key": "a", "member": "m1", "reporter": "me"}
            lists = {"results": [{"id": "m1"}], "members": []}  # in the body only
            given = {key: (known | lists)[key] for key in described["x-required"] if key != missing}
            query, body = {k: v for k, v in given.items() if k in known}, {k: v for k, v in given.items() if k in lists}
            status, _, answer = client.request(method, somewhere(path) + ("?" + urlencode(query) if query else ""), body or None)
            assert (status, answer["code"], answer["field"]) == (400, "bad_field", missing), (operation, answer)


def test_every_operation_of_transactions(client, api, document, name):
    """Each that the document lets stand in one, with arguments made from its schema there; all in one go where that works."""
    choices = [resolve(document, choice) for choice in document["components"]["schemas"]["operation"]["oneOf"]]
    names = {choice["properties"]["op"]["const"] for choice in choices}
    assert names >= {"kv.compare", "kv.put", "lock.check", "lock.release", "election.check", "lease.revoke", "txn"}
    assert not names & {"lock.renew", "lease.renew", "watch", "lock.hold", "cluster.add", "guarded"}
    done = set()
    for seed in range(15):
        for choice in choices:
            operation = choice["properties"]["op"]["const"]
            known = situation(client, f"{name}-{seed}-{operation}")
            known = of_operation(known, operation) | {"wait": 0, "if": [], "then": [], "else": []}
            maker = Maker(document, f"{seed}/{operation}", known)
            item = maker.object(choice)
            without_waiting(item, 0)
            client.send("POST", "/v1/txn", {"then": [item]})
            status, answer = api.reply(client, "txn")
            if status == 200:
                (result,) = answer["results"]
                done.add(operation)
            elif status == 409:
                (result,) = answer["refused"]
            else:
                assert status == 422 or re.split(r"[.\[]", answer["field"])[-1] in SYNTAX, (item, answer)
                continue
            assert result["op"] == operation and 200 <= result["status"] < 500, result
            if result["status"] < 300 and result["result"] is not None and operation in api.paths:
                shape = api.paths[operation][2]["responses"]["2XX"]["content"].get("application/json", {"schema": {}})
                check(document, shape["schema"], result["result"], operation)
    assert done >= names - NEEDS - {"wait", "lock.acquire_many"}, names - done


def test_refusals_match_the_document(client, api, name):
    known = situation(client, name)
    for operation, (method, path, described) in api.paths.items():
        of_holders = path.startswith(("/v1/locks/{name}", "/v1/elections/{name}")) and method == "POST"
        if not of_holders or operation in ("lock.break", "lock.yield", "election.break"):
            continue
        wanted = set(described["x-required"]) | {"name"}
        arguments = {key: known[key] for key in wanted} | ({"candidate": "you"} if "candidate" in wanted else {})
        if "token" in wanted:
            arguments["token"] = known["token"][operation.split(".")[0]] - 1
        status, _ = api.call(client, operation, arguments)
        assert status in (409, 423), (operation, status)
