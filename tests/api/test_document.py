"""The OpenAPI document is enough to drive every operation, and every reply has what it promises."""

import re

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


def test_the_document_lists_leases_and_locks(document):
    assert document["openapi"] == "3.1.0"
    names = {operation["operationId"] for _, _, operation in operations(document)}
    assert names >= {"lease.create", "lease.renew", "lease.renew_many", "lease.get", "lease.list", "lease.revoke",
                     "lock.acquire", "lock.renew", "lock.release", "lock.transfer", "lock.break", "lock.get",
                     "lock.list", "lock.check"}
    for _, path, operation in operations(document):
        assert operation["summary"], operation["operationId"]
        in_path = {p["name"] for p in operation["parameters"] if p.get("in") == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path))


def example(name, parameter):
    """A value that the schema allows."""
    schema = parameter["schema"]
    if "enum" in schema:
        return schema["enum"][0]
    if "oneOf" in schema:
        return "30s"
    if schema.get("type") == "boolean":
        return "true"
    if schema.get("type") == "integer":
        return str(schema["minimum"])
    return name


def drive(client, document, method, path, operation, known, name):
    """One call with every path parameter and the query parameters of `known`."""
    query = []
    for parameter in operation["parameters"]:
        parameter = resolve(document, parameter)
        value = known.get(parameter["name"])
        if parameter["in"] == "path":
            path = path.replace("{%s}" % parameter["name"], str(value or example(name, parameter)))
        elif value is not None:
            query.append(f"{parameter['name']}={value}")
    client.send(method, path + ("?" + "&".join(query) if query else ""))
    response = client.connection.getresponse()
    if response.getheader("Content-Type") == "text/event-stream":  # has no end; what it says: test_watch.py
        client.close()
        return response.status, None
    status, _, answer = read_response(response)
    if status == 204:
        assert "content" not in operation["responses"]["2XX"] and answer == ""
    elif status < 300:
        schema = operation["responses"]["2XX"]["content"]["application/json"]["schema"]
        check(document, schema, answer, operation["operationId"])
    else:
        schema = operation["responses"]["default"]["content"]["application/problem+json"]["schema"]
        check(document, schema, answer, operation["operationId"] + " problem")
        assert resolve(document, {"$ref": "#/components/schemas/problem"})["x-codes"][answer["code"]] == status
    return status, answer


def test_every_operation_is_driven_from_the_document(client, document, name):
    lease = client.request("POST", "/v1/leases")[2]["lease"]
    token = client.request("POST", f"/v1/locks/{name}/acquire?lease={lease}")[2]["token"]
    known = {"id": lease, "ids": lease, "lease": lease, "token": token, "name": name, "to": "nobody", "node": "n1",
             "peer": "127.0.0.1:1", "candidate": "me", "value": "here", "lock": name,
             "names": name, "until": "revision:1"}
    last = {"DELETE": 2, "POST": 1, "GET": 0}
    done = {}
    for method, path, operation in sorted(operations(document), key=lambda o: (last.get(o[0], 1), o[2]["operationId"])):
        status, answer = drive(client, document, method, path, operation, known, name)
        assert status != 400, (operation["operationId"], answer)
        done[operation["operationId"]] = status
    succeeded = {n for n, status in done.items() if status < 300}
    assert succeeded >= {"lease.create", "lease.renew", "lease.renew_many", "lease.get", "lease.list", "lease.revoke",
                         "lock.acquire", "lock.get", "lock.list", "lock.check", "lock.break", "election.campaign",
                         "election.get", "election.list", "cluster.get",
                         "cluster.can_stop"}, done


def test_refusals_match_the_document(client, document, name):
    holder = client.request("POST", f"/v1/locks/{name}/acquire?owner=me")[2]["token"]
    client.request("POST", f"/v1/elections/{name}/campaign?candidate=me")
    known = {"name": name, "token": holder - 1, "to": "x", "candidate": "you", "value": "here"}
    for_anybody = {"lock.break", "lock.yield", "election.break"}
    for method, path, operation in operations(document):
        of_holders = path.startswith(("/v1/locks/{name}", "/v1/elections/{name}")) and method == "POST"
        if of_holders and operation["operationId"] not in for_anybody:
            status, _ = drive(client, document, method, path, operation, known, name)
            assert status in (409, 423), (operation["operationId"], status)


def test_every_documented_limit_holds(client, document, name):
    """One below the minimum and one above the maximum of each number is refused by name."""
    tried = 0
    for method, path, operation in operations(document):
        for parameter in operation["parameters"]:
            parameter = resolve(document, parameter)
            schema = next((s for s in parameter["schema"].get("oneOf", [parameter["schema"]]) if s.get("type") == "integer"), None)
            if parameter["in"] != "query" or not schema:
                continue
            for value in (schema["minimum"] - 1, schema["maximum"] + 1):
                target = re.sub(r"{id}", "L1", re.sub(r"{name}", name, path))
                status, _, problem = client.request(method, f"{target}?{parameter['name']}={value}")
                assert (status, problem["code"], problem.get("field")) == (400, "bad_field", parameter["name"]), problem
                tried += 1
    assert tried >= 20
