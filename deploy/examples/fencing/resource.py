#!/usr/bin/env python3
"""A thing worth protecting: documents that remember the highest fencing token they were written with.

    PUT /NAME   header "Fence: TOKEN", body: the new text. 200; 412 when a higher token has been here before
    GET /NAME   the text, with its token in the same header; 404 when nobody has written it

It never asks the lock service anything. Tokens of one lock only rise, so whoever comes with a lower one held
the lock before somebody else did, whatever it still believes. The comparison and the write are one step: here a
mutex makes them so, in a database it is one statement:

    UPDATE documents SET text = $1, token = $2 WHERE name = $3 AND token <= $2
"""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Documents:
    def __init__(self):
        self.mutex = threading.Lock()
        self.documents = {}  # name -> (token, text)

    def write(self, name, token, text):
        """None, or the token that is in the way."""
        with self.mutex:
            newest = self.documents.get(name, (0, b""))[0]
            if token < newest:
                return newest
            self.documents[name] = (token, text)
            return None

    def read(self, name):
        with self.mutex:
            return self.documents.get(name)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is one packet
    disable_nagle_algorithm = True
    documents = None

    def reply(self, status, text, token=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        if token is not None:
            self.send_header("Fence", str(token))
        self.end_headers()
        self.wfile.write(text)

    def do_PUT(self):
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fence = self.headers.get("Fence", "")
        if not fence.isascii() or not fence.isdigit():
            self.reply(428, b"a Fence header with the token is needed\n")
            return
        newer = self.documents.write(self.path, int(fence), text)
        if newer is not None:
            self.reply(412, f"token {fence} is stale: {newer} was here\n".encode(), newer)
        else:
            self.reply(200, b"written\n", int(fence))

    def do_GET(self):
        found = self.documents.read(self.path)
        if found is None:
            self.reply(404, b"nobody has written it\n")
        else:
            self.reply(200, found[1], found[0])

    def log_message(self, *_):
        pass


def serve(port):
    """A server that is not running yet; port 0: any."""

    class Own(Handler):
        documents = Documents()

    server = ThreadingHTTPServer(("127.0.0.1", port), Own)
    server.daemon_threads = True
    return server


if __name__ == "__main__":
    serve(int(sys.argv[1]) if len(sys.argv) > 1 else 8080).serve_forever()
