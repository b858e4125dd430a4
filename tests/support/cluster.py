"""Several coordd processes on loopback that are one cluster.

    with Cluster(tmp_path, 3) as cluster:            # started, and ready
        leader = cluster.leader()
        cluster[leader].kill9()
        cluster.wait_leader(but=leader)

Nodes are named n1, n2, ...; each keeps its ports over restarts. With proxied=True they reach each other through
`cluster.proxy` (tests/support/proxy.py).
"""

import random
import signal
import socket
import time
from pathlib import Path

from tests.support.node import BROKEN, Node, until

BLOCK = 32
_guard = None


def free_ports(count):
    """Below the range from which the kernel gives ports to diallers, from a block that this process keeps for itself."""
    global _guard
    while True:
        if _guard is None:
            base = 10000 + BLOCK * random.randrange(600)
            guard = socket.socket()
            try:
                guard.bind(("127.0.0.1", base))
            except OSError:
                guard.close()
                continue
            _guard = [guard, base, 1]
        guard, base, next_ = _guard
        found = []
        for port in range(base + next_, base + BLOCK):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            found.append(port)
            if len(found) == count:
                _guard[2] = port + 1 - base
                return found
        _guard = None  # the old guard's block is used up; its socket closes with it


QUICK = ["--heartbeat-ms", "50", "--election-timeout-ms", "500"]


class Cluster:
    def __init__(self, directory, count=3, *flags, proxied=False, environment=None, secret="a secret of the cluster"):
        self.directory = Path(directory)
        self.flags, self.environment = list(flags), dict(environment or {})
        self.nodes, self.ports, self.peer_ports, self.paused = {}, {}, {}, set()
        self.proxy = None
        self.secret = self.directory / "secret"
        self.secret.write_text(secret + "\n")
        self.secret.chmod(0o600)
        self.founders = [f"n{i + 1}" for i in range(count)]
        for name in self.founders:
            self.ports[name], self.peer_ports[name] = free_ports(2)
        if proxied:
            from tests.support.proxy import Proxy
            self.proxy = Proxy(self.peer_ports)
        for name in self.founders:
            self.make(name, "--initial-cluster", ",".join(f"{n}={self.address(n)}" for n in self.founders))

    def address(self, name):
        """By which the others reach it."""
        return f"127.0.0.1:{self.proxy.ports[name] if self.proxy else self.peer_ports[name]}"

    def make(self, name, *flags, **options):
        if name not in self.ports:
            self.ports[name], self.peer_ports[name] = free_ports(2)
            if self.proxy:
                self.proxy.add(name, self.peer_ports[name])
        node = Node(self.directory / name, "--name", name, "--listen", f"127.0.0.1:{self.ports[name]}",
                    "--peer-listen", f"127.0.0.1:{self.peer_ports[name]}", "--advertise-peer", self.address(name),
                    "--cluster-secret-file", str(self.secret), *flags, *self.flags,
                    environment=self.environment | options.pop("environment", {}), **options)
        node.port = self.ports[name]
        self.nodes[name] = node
        return node

    def join(self, name, through=None, *flags):
        """Starts a node that asks to be added."""
        self.make(name, "--join", self.address(through or self.leader()), *flags)
        return self.launch(name)

    def __getitem__(self, name):
        return self.nodes[name]

    def launch(self, *names):
        for name in names or self.nodes:
            self.nodes[name].launch()
        self.tell_proxy()
        return self

    def tell_proxy(self):
        if self.proxy:
            self.proxy.pids({name: node.pid for name, node in self.nodes.items() if node.process is not None})

    def start(self, limit_s=60.0):
        self.launch()
        self.wait_ready(limit_s=limit_s)
        return self

    def running(self):
        """Names of those that run and are not paused."""
        return [name for name, node in self.nodes.items()
                if node.process is not None and node.process.poll() is None and name not in self.paused]

    def http(self, names=None):
        """name -> port of the API: of those, or of all, also those that do not run."""
        return {name: self.ports[name] for name in (names if names is not None else list(self.nodes))}

    # -- looking

    def ask(self, name, method, path, timeout_s=5.0, **options):
        """(status, headers, answer), or (0, {}, None) when it does not answer."""
        try:
            return self.nodes[name].request(method, path, timeout_s=timeout_s, **options)
        except BROKEN:
            return 0, {}, None

    def standing(self, name):
        """(whom it takes for the leader, or None; the term)."""
        status, headers, _ = self.ask(name, "GET", "/version", timeout_s=2.0)
        if not status:
            return None, 0
        return headers.get("Coord-Leader") or None, int(headers.get("Coord-Term") or 0)

    def leader(self, among=None):
        """Who says itself that it leads, in the highest term of those who do; None: nobody."""
        found = [(term, name) for name in (among or self.running()) for leader, term in [self.standing(name)] if leader == name]
        return max(found)[1] if found else None

    def followers(self):
        leader = self.wait_leader()
        return [name for name in self.running() if name != leader]

    def wait_leader(self, but=None, among=None, limit_s=60.0):
        def found():
            leader = self.leader(among)
            return leader if leader != but else None

        return until(found, f"a leader other than {but}" if but else "a leader", limit_s, 0.01)

    def wait_ready(self, *names, limit_s=60.0):
        for name in names or self.running():
            def ready(name=name):
                assert self.nodes[name].process.poll() is None, f"{name} ended:\n{self.nodes[name].log_text()}"
                return self.ask(name, "GET", "/readyz", timeout_s=2.0)[0] == 200

            try:
                until(ready, f"{name} is ready", limit_s, 0.01)
            except AssertionError as error:
                raise AssertionError(f"{error}\n{self.logs()}") from None

    def view(self, name=None):
        """GET /v1/cluster as that node tells it."""
        name = name or self.running()[0]
        status, _, answer = self.ask(name, "GET", "/v1/cluster")
        return answer if status == 200 else None

    def member(self, name, at=None):
        view = self.view(at)
        found = [m for m in view["members"] if m["name"] == name] if view else []
        return found[0] if found else None

    def logs(self, lines=25):
        return "\n".join(f"--- {name}\n" + "\n".join(node.log_text().splitlines()[-lines:])
                         for name, node in self.nodes.items() if node.log.exists())

    # -- doing

    def kill9(self, *names):
        for name in names:
            self.nodes[name].kill9()
            self.paused.discard(name)

    def stop(self, name, limit_s=60.0):
        assert self.nodes[name].stop(limit_s) == 0, self.nodes[name].log_text()

    def restart(self, name, ready=True):
        self.launch(name)
        if ready:
            self.wait_ready(name)

    def pause(self, name):
        self.nodes[name].signal(signal.SIGSTOP)
        self.paused.add(name)

    def resume(self, name):
        self.nodes[name].signal(signal.SIGCONT)
        self.paused.discard(name)

    def rolling_restart(self):
        """One after the other, the leader last; each is caught up before the next one goes."""
        for name in self.followers() + [self.wait_leader()]:
            until(lambda: self.can_stop(name), f"{name} may stop", 60, 0.02)
            self.stop(name)
            self.restart(name)

    def can_stop(self, name, at=None):
        status, _, answer = self.ask(at or name, "GET", f"/v1/cluster/can-stop?node={name}")
        return status == 200 and answer["can_stop"]

    def close(self):
        for name in list(self.paused):
            self.resume(name)
        for node in self.nodes.values():
            if node.process is not None:
                node.kill9()
        if self.proxy:
            self.proxy.close()

    def __enter__(self):
        try:
            return self if any(node.process for node in self.nodes.values()) else self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.end()
        finally:
            self.close()

    def end(self):
        """Ends all that run by SIGTERM; no log may have complaints."""
        for name in list(self.paused):
            self.resume(name)
        running = self.running()
        for name in running:
            self.nodes[name].signal(signal.SIGTERM)
        for name in running:
            code = self.nodes[name].wait_exit()
            assert code == 0, (name, code, self.nodes[name].log_text())
        for node in self.nodes.values():
            if node.log.exists():
                node.check_log()
