"""The network between the nodes of a cluster, in a process of its own: every node is reached through one port
here, and each direction between two nodes is a link that can be held, delayed, dripped, flipped and reset.

    with Proxy({"n1": 7401, "n2": 7402}) as proxy:    # name -> the node's peer port
        proxy.ports["n1"]                             # where the others reach n1
        proxy.pids({"n1": 4711, "n2": 4712})          # who dials is told by the process that owns the socket
        proxy.set("n1", "n2", hold=True)              # what n1 sends to n2 stays here, over whatever connection
        proxy.heal()

A held link loses nothing: what was sent comes late, as over TCP after a repaired cable. Whoever is none of the nodes
(a test with a socket of its own) is "?" and has links too.
"""

import asyncio
import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading

CHUNK = 65536
HEAD = 1 << 20  # what is kept of the beginning of a connection, for a replay


class Link:
    """What happens to bytes from one node to another."""

    def __init__(self):
        self.free = asyncio.Event()
        self.free.set()
        self.delay_s = 0.0
        self.rate = 0  # bytes per second; 0: no bound
        self.flips = 0  # chunks that shall lose a bit
        self.resets = 0  # chunks that shall be cut in the middle, with the connection
        self.passed = 0
        self.flipped = 0
        self.cut = 0

    def set(self, hold=None, delay_s=None, rate=None, flip=None, reset=None):
        if hold is not None:
            self.free.clear() if hold else self.free.set()
        self.delay_s = self.delay_s if delay_s is None else delay_s
        self.rate = self.rate if rate is None else rate
        self.flips += flip or 0
        self.resets += reset or 0


class Connection:
    def __init__(self, dialler, target, near, far):
        self.dialler, self.target = dialler, target
        self.near, self.far = near, far  # (reader, writer) towards the dialler and towards the target
        self.deaf = False  # half open: the target is gone and the dialler is not told
        self.head = bytearray()  # what the dialler began with

    def abort(self):
        for _, writer in (self.near, self.far):
            break_off(writer)


def break_off(writer):
    raw = writer.get_extra_info("socket")
    if raw is not None:
        try:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
    writer.transport.abort()


class Network:
    def __init__(self, nodes):
        self.nodes = nodes  # name -> peer port
        self.pids = {}
        self.links = {}
        self.connections = set()
        self.latest = {}  # (dialler, target) -> connection
        self.ports = {}

    def link(self, source, target):
        return self.links.setdefault((source, target), Link())

    async def listen(self, name):
        server = await asyncio.start_server(lambda r, w: self.accept(name, r, w), "127.0.0.1", 0, limit=CHUNK)
        self.ports[name] = server.sockets[0].getsockname()[1]
        return self.ports[name]

    async def accept(self, target, reader, writer):
        dialler = owner(writer.get_extra_info("peername")[1], writer.get_extra_info("sockname")[1], self.pids)
        await self.link(dialler, target).free.wait()
        await self.link(target, dialler).free.wait()
        try:
            far = await asyncio.open_connection("127.0.0.1", self.nodes[target], limit=CHUNK)
        except OSError:
            break_off(writer)
            return
        connection = Connection(dialler, target, (reader, writer), far)
        self.connections.add(connection)
        self.latest[dialler, target] = connection
        try:
            await asyncio.gather(self.pump(connection, reader, far[1], self.link(dialler, target)),
                                 self.pump(connection, far[0], writer, self.link(target, dialler)))
        finally:
            self.connections.discard(connection)

    async def pump(self, connection, reader, writer, link):
        try:
            while data := await reader.read(CHUNK):
                if connection.deaf:
                    continue
                if reader is connection.near[0]:
                    connection.head += data[:HEAD - len(connection.head)]
                await link.free.wait()
                if link.delay_s:
                    await asyncio.sleep(link.delay_s)
                if link.resets:
                    link.resets -= 1
                    link.cut += 1
                    writer.write(data[:len(data) // 2])
                    await writer.drain()
                    connection.abort()
                    return
                if link.flips:
                    link.flips -= 1
                    link.flipped += 1
                    data = bytearray(data)
                    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
                await self.forward(data, writer, link)
            if not connection.deaf:
                await link.free.wait()
                writer.close()
        except (OSError, asyncio.IncompleteReadError):
            if not connection.deaf:
                connection.abort()

    async def forward(self, data, writer, link):
        while link.rate and data:
            part, data = data[:max(1, link.rate // 20)], data[max(1, link.rate // 20):]
            writer.write(bytes(part))
            link.passed += len(part)
            await writer.drain()
            await asyncio.sleep(len(part) / link.rate)
        writer.write(bytes(data))
        link.passed += len(data)
        await writer.drain()

    def between(self, a, b):
        return [c for c in self.connections if {c.dialler, c.target} == {a, b}]

    async def command(self, op, **what):
        if op == "add":
            self.nodes[what["name"]] = what["port"]
            return await self.listen(what["name"])
        if op == "pids":
            self.pids = what["pids"]
        elif op == "set":
            self.link(what.pop("source"), what.pop("target")).set(**what)
        elif op == "heal":
            for link in self.links.values():
                link.set(hold=False, delay_s=0, rate=0)
                link.flips = link.resets = 0
        elif op == "kill":
            for connection in self.between(what["a"], what["b"]):
                connection.abort()
        elif op == "half_open":
            for connection in self.between(what["a"], what["b"]):
                connection.deaf = True
                break_off(connection.far[1])
        elif op == "head":
            latest = self.latest.get((what["source"], what["target"]))
            return latest.head.hex() if latest else ""
        elif op == "stats":
            return {f"{a}>{b}": {"passed": k.passed, "flipped": k.flipped, "cut": k.cut} for (a, b), k in self.links.items()}
        else:
            raise ValueError(op)
        return None


def inode_of(port, dialled):
    """Of the socket on loopback from that local port to the dialled one (sock_diag(7)). Reading /proc/net/tcp instead takes
    so long, after thousands of connections of other tests, that no greeting is finished in time."""
    address = socket.inet_aton("127.0.0.1")
    ids = struct.pack("!HH4s12x4s12x", port, dialled, address, address) + struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
    request = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0xFFFFFFFF) + ids
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as diag:
        diag.send(struct.pack("=IHHII", 16 + len(request), 20, 1, 1, 0) + request)
        answer = diag.recv(4096)
    return struct.unpack_from("=I", answer, 16 + 68)[0] if struct.unpack_from("=IH", answer)[1] == 20 else None


def owner(port, dialled, pids):
    """The node whose process has that socket; "?" when none has."""
    inode = inode_of(port, dialled)
    for name, pid in pids.items():
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                try:
                    if os.readlink(f"/proc/{pid}/fd/{fd}") == f"socket:[{inode}]":
                        return name
                except OSError:
                    continue
        except OSError:
            continue
    return "?"


async def serve(nodes):
    network = Network(nodes)
    for name in nodes:
        await network.listen(name)
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    print(json.dumps(network.ports), flush=True)
    while line := await orders.readline():
        print(json.dumps(await network.command(**json.loads(line))), flush=True)


class Proxy:
    """The side of the tests."""

    def __init__(self, nodes):
        self.process = subprocess.Popen([sys.executable, __file__, json.dumps(nodes)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.mutex = threading.Lock()
        self.names = list(nodes)
        self.ports = json.loads(self.process.stdout.readline())

    def order(self, op, **what):
        with self.mutex:
            self.process.stdin.write(json.dumps({"op": op, **what}) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())

    def add(self, name, port):
        self.names.append(name)
        self.ports[name] = self.order("add", name=name, port=port)

    def pids(self, pids):
        self.order("pids", pids=pids)

    def set(self, source, target, **what):
        """hold, delay_s, rate; flip and reset count the next chunks that shall suffer it."""
        self.order("set", source=source, target=target, **what)

    def both(self, a, b, **what):
        self.set(a, b, **what)
        self.set(b, a, **what)

    def split(self, *groups):
        """Only nodes of the same group hear each other; who is in no group hears nobody."""
        for a in self.names:
            for b in self.names:
                if a != b:
                    self.set(a, b, hold=not any(a in group and b in group for group in groups))

    def heal(self):
        self.order("heal")

    def kill(self, a, b):
        """Resets the connections between the two."""
        self.order("kill", a=a, b=b)

    def half_open(self, a, b):
        """Who accepted sees the end of the connection, who dialled sees nothing."""
        self.order("half_open", a=a, b=b)

    def head(self, source, target):
        """The first bytes that source sent over the latest connection that it made to target."""
        return bytes.fromhex(self.order("head", source=source, target=target))

    def stats(self):
        return self.order("stats")

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
