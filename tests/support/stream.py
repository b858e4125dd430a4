"""A reader of streams of events, in either form, that shows every byte's fate: what came, how it ended.

    with Stream(port, "/v1/watch?prefix=/kv/") as stream:
        stream.event()            # the next one that is no bookmark and no heartbeat
        stream.until_revision(17) # everything up to it, bookmarks included

An event is the dict of its JSON; `id` of SSE is under "id" (None without one), `event:` under "event".
"""

import json
import socket
import time


class Ended(Exception):
    """The stream was ended by the server. `clean`: with the last chunk of its coding."""

    def __init__(self, clean):
        super().__init__("clean end" if clean else "cut off")
        self.clean = clean


class Stream:
    def __init__(self, port, path, form="sse", headers=None, timeout_s=60.0, receive_buffer=None, method="GET"):
        self.form, self.comments, self.seen = form, 0, []
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout_s)
        self.socket.connect(("127.0.0.1", port))
        accept = {"sse": "text/event-stream", "ndjson": "application/x-ndjson"}[form]
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Accept: {accept}"]
        lines += [f"{key}: {value}" for key, value in (headers or {}).items()]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.raw, self.text, self.queue = b"", b"", []
        self.status, self.headers = None, {}

    # -- bytes

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise Ended(False)
        self.raw += data

    def head(self):
        """Waits for the answer's head; (status, headers)."""
        while self.status is None:
            if b"\r\n\r\n" in self.raw:
                head, self.raw = self.raw.split(b"\r\n\r\n", 1)
                first, *lines = head.decode().split("\r\n")
                self.headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)}
                self.status = int(first.split(" ")[1])
            else:
                self.more()
        return self.status, self.headers

    def refusal(self):
        """The problem document of a stream that was refused."""
        status, headers = self.head()
        size = int(headers["content-length"])
        while len(self.raw) < size:
            self.more()
        return status, json.loads(self.raw[:size])

    def chunk(self):
        """One chunk of the transfer coding."""
        while b"\r\n" not in self.raw:
            self.more()
        line, rest = self.raw.split(b"\r\n", 1)
        size = int(line, 16)
        while len(rest) < size + 2:
            self.more()
            rest = self.raw.split(b"\r\n", 1)[1]
        assert rest[size:size + 2] == b"\r\n"
        self.raw = rest[size + 2:]
        if size == 0:
            raise Ended(True)
        return rest[:size]

    # -- events

    def parse(self):
        mark = b"\n\n" if self.form == "sse" else b"\n"
        while mark in self.text:
            block, self.text = self.text.split(mark, 1)
            if self.form == "ndjson":
                self.queue.append(json.loads(block))
                continue
            fields = {}
            for line in block.decode().split("\n"):
                key, value = line.split(": ", 1)
                assert key in ("", "id", "event", "data") and key not in fields, line
                fields[key] = value
            if list(fields) == [""]:
                self.comments += 1
                continue
            self.queue.append({**json.loads(fields["data"]), "id": fields.get("id"), "event": fields.get("event")})

    def any(self):
        """The next event of whatever kind."""
        if self.status is None:
            status, headers = self.head()
            assert status == 200, (status, self.raw)
            assert headers["transfer-encoding"] == "chunked"
        end = time.monotonic() + self.socket.gettimeout()
        while not self.queue:
            assert time.monotonic() < end, "nothing but comments"
            self.text += self.chunk()
            self.parse()
        event = self.queue.pop(0)
        self.seen.append(event)
        return event

    def event(self):
        """The next event of an object."""
        end = time.monotonic() + self.socket.gettimeout()
        while (event := self.any())["type"] == "bookmark":
            assert time.monotonic() < end, "nothing but bookmarks"
        return event

    def events(self, count):
        return [self.event() for _ in range(count)]

    def until_revision(self, revision):
        """Everything until it is said that all up to `revision` has been sent; events of objects only."""
        found, end = [], time.monotonic() + self.socket.gettimeout()
        while True:
            assert time.monotonic() < end, f"revision {revision} does not come"
            event = self.any()
            if event["type"] != "bookmark":
                found.append(event)
            if event["revision"] >= revision and not event["more"]:
                return found

    def rest(self):
        """(the events until the end, whether it was a clean one)."""
        found = []
        try:
            while True:
                found.append(self.any())
        except Ended as end:
            return found, end.clean
        except ConnectionError:
            return found, False

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
