"""Health, version, metrics."""

import re

from node import until


def test_health(client):
    for path in ("/healthz", "/readyz", "/livez"):
        status, headers, page = client.request("GET", path)
        assert status == 200 and page["status"] == "ok" and page["ready"] is True
        assert page["node"] == "n1" and page["leader"] == "n1" and page["role"] == "leader"
        assert page["phase"] == "running" and page["storage_full"] is False and page["turn_age_ms"] < 5000


def test_health_needs_no_host(raw):
    for path in ("/healthz", "/readyz", "/livez"):
        assert raw().request("GET", path, version="HTTP/1.0", host=None).reply().status == 200
    assert raw().request("GET", "/version", version="HTTP/1.0", host=None).reply().status == 400


def test_version(client):
    page = client.request("GET", "/version")[2]
    assert page["name"] == "coordd" and page["node"] == "n1"
    assert re.match(r"^\d+\.\d+\.\d+$", page["version"]) and re.match(r"^[0-9a-f]{16}$", page["cluster_id"])


SAMPLE = re.compile(r"^([a-z_]+)(\{[a-z]+=\"[^\"]*\"(?:,[a-z]+=\"[^\"]*\")*\})? (\d+(?:\.\d+)?)$")


def metrics(client):
    status, headers, text = client.request("GET", "/metrics")
    assert status == 200 and headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    samples, types, helped = {}, {}, set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped.add(line.split()[2])
        elif line.startswith("# TYPE "):
            _, _, metric, kind = line.split()
            assert metric in helped and metric not in types
            types[metric] = kind
        else:
            match = SAMPLE.match(line)
            assert match, line
            key = match.group(1) + (match.group(2) or "")
            assert key not in samples, f"{key} stands twice"
            samples[key] = float(match.group(3))
    for key in samples:
        metric = key.split("{")[0]
        base = re.sub(r"_(bucket|sum|count)$", "", metric)
        assert metric in types or types.get(base) == "histogram", f"{metric} has no type"
    return samples


def test_metrics_count_requests_by_operation_and_code(own_node, name):
    with own_node().client() as client:
        before = metrics(client)
        for _ in range(3):
            client.request("POST", f"/v1/locks/{name}/acquire")
        client.request("GET", "/v1/nowhere")
        after = metrics(client)

        def grown(key):
            return after.get(key, 0) - before.get(key, 0)

        assert grown('coordd_requests_total{operation="lock.acquire",code="created"}') == 1
        assert grown('coordd_requests_total{operation="lock.acquire",code="lock_held"}') == 2
        assert grown('coordd_requests_total{operation="none",code="route_not_found"}') == 1
        assert grown('coordd_requests_total{operation="page",code="ok"}') == 1
        assert grown('coordd_request_duration_seconds_count{operation="lock.acquire"}') == 3
        assert grown('coordd_request_duration_seconds_bucket{operation="lock.acquire",le="+Inf"}') == 3
        until(lambda: metrics(client)["coordd_raft_applied_index"] >= before["coordd_raft_applied_index"] + 3,
              "the node has shown the entries of the three calls")
        assert grown("coordd_http_response_body_bytes_total") > 300


def test_metrics_tell_of_node_and_process(client, node, name):
    values = metrics(client)
    assert values["coordd_ready"] == 1 and values["coordd_storage_full"] == 0
    assert values['coordd_role{role="leader"}'] == 1 and values['coordd_role{role="follower"}'] == 0
    assert values["coordd_raft_commit_index"] <= values["coordd_raft_last_index"]
    assert values["coordd_http_connections"] >= 1 and values["coordd_http_connections_max"] >= 1000
    assert values["process_resident_memory_bytes"] > 1 << 20
    assert 5 < values["process_open_fds"] < 200
    assert values["process_cpu_seconds_total"] > 0
    with node.client() as waiter:
        token = client.request("POST", f"/v1/locks/{name}/acquire")[2]["token"]
        waiter.send("POST", f"/v1/locks/{name}/acquire?wait=60s")
        until(lambda: metrics(client)["coordd_http_requests_waiting"] == 1, "one request waits")
        client.request("POST", f"/v1/locks/{name}/release?token={token}")
        until(lambda: metrics(client)["coordd_http_requests_waiting"] == 0, "no request waits")


def test_buckets_rise(client):
    values = metrics(client)
    rows = {}
    for key, value in values.items():
        match = re.match(r'coordd_request_duration_seconds_bucket\{operation="([^"]+)",le="([^"]+)"\}', key)
        if match:
            rows.setdefault(match.group(1), []).append(value)
    assert rows
    for values_of_row in rows.values():
        assert values_of_row == sorted(values_of_row) and len(values_of_row) == 12
