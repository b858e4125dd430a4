"""L11: a resource that keeps the highest token refuses whoever was paused while its locks ended. The resource and the
curl client are those of deploy/examples/fencing; the tokens are real grants of a real node."""

import importlib.util
import os
import signal
import subprocess
import sys
import threading

from tests.support.cluster import free_ports
from tests.support.node import TOP, Client, Node, until

EXAMPLE = TOP / "deploy" / "examples" / "fencing"
LOCKS = 1000

# The holder: takes all locks, says so, and when told to (by then it has slept) writes to each with the token that it has.
HOLDER = """
import sys
from tests.support.node import Client
coordd, resource, count = Client(int(sys.argv[1])), Client(int(sys.argv[2])), int(sys.argv[3])
tokens = []
for i in range(count):
    status, _, grant = coordd.request("POST", f"/v1/locks/fenced-{i}/acquire?ttl=500ms&owner=holder")
    assert status == 201, grant
    tokens.append(grant["token"])
print("holds", flush=True)
sys.stdin.readline()
for i, token in enumerate(tokens):
    print(resource.request("PUT", f"/fenced-{i}", "the holder", {"Fence": str(token)})[0], flush=True)
"""


def load_resource():
    spec = importlib.util.spec_from_file_location("fencing_resource", EXAMPLE / "resource.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def serve():
    server = load_resource().serve(0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_a_paused_holder_is_refused_each_time(tmp_path):
    server = serve()
    port = server.server_address[1]
    with Node(tmp_path) as node:
        holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(node.port), str(port), str(LOCKS)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        try:
            assert holder.stdout.readline() == "holds\n"
            holder.send_signal(signal.SIGSTOP)
            holder.stdin.write("write\n")
            holder.stdin.flush()
            with node.client() as coordd, Client(port) as resource:
                for i in range(LOCKS):
                    status, _, grant = coordd.request("POST", f"/v1/locks/fenced-{i}/acquire?ttl=1m&wait=30s&owner=next")
                    assert status == 201, grant
                    assert resource.request("PUT", f"/fenced-{i}", "the next one", {"Fence": str(grant["token"])})[0] == 200
                holder.send_signal(signal.SIGCONT)
                answers = holder.communicate(timeout=60)[0].split()
                assert answers == ["412"] * LOCKS
                for i in range(LOCKS):
                    assert resource.request("GET", f"/fenced-{i}")[2] == "the next one"
        finally:
            holder.kill()
            holder.wait()
            server.shutdown()
            server.server_close()


def test_the_resource_keeps_the_rule():
    """Equal tokens write again; higher ones write; lower ones never do, whatever came between; none is refused."""
    documents = load_resource().Documents()
    assert documents.write("a", 7, b"1") is None
    assert documents.write("a", 7, b"2") is None
    assert documents.write("a", 6, b"3") == 7
    assert documents.write("b", 6, b"4") is None
    assert documents.write("a", 9, b"5") is None
    assert documents.write("a", 8, b"6") == 9
    assert documents.read("a") == (9, b"5") and documents.read("b") == (6, b"4") and documents.read("c") is None
    server = serve()
    with Client(server.server_address[1]) as client:
        for fence in ({}, {"Fence": ""}, {"Fence": "-1"}, {"Fence": "1.5"}, {"Fence": "seven"}):
            assert client.request("PUT", "/a", "x", fence)[0] == 428
        assert client.request("GET", "/a")[0] == 404
    server.shutdown()
    server.server_close()


def test_the_example_runs(tmp_path):
    with Node(tmp_path) as node:
        environment = {**os.environ, "COORDD": f"http://127.0.0.1:{node.port}", "PORT": str(free_ports(1)[0]), "TTL": "500ms"}
        done = subprocess.run(["sh", str(EXAMPLE / "demo.sh")], env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done
        lines = done.stdout.splitlines()
        assert lines[-2].startswith("first is refused (412)") and lines[-1] == "the report is still the second one's", lines
        until(lambda: node.request("GET", "/v1/locks/report")[2]["holders"] == [], "nobody holds it any more")
