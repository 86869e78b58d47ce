"""A web server on this machine that breaks off, ignores ranges or lies, as told."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flatlab.data.files.resume import Resume


class Shelf:
    """What the server holds and how it behaves: `cuts` are the bytes after which it hangs up, one a request."""

    def __init__(self):
        self.files, self.cuts, self.ranges, self.shift, self.encoding = {}, [], True, 0, None
        self.asked = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"


class Handler(BaseHTTPRequestHandler):
    shelf: Shelf

    def do_GET(self):
        shelf, wanted = self.shelf, self.headers.get("Range")
        shelf.asked.append((self.path[1:], wanted))
        body, start = shelf.files.get(self.path[1:]), 0
        if body is None:
            return self.send_error(404)
        if wanted and shelf.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) + shelf.shift
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if shelf.encoding:
            self.send_header("Content-Encoding", shelf.encoding)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        cut = shelf.cuts.pop(0) if shelf.cuts else None
        self.wfile.write(body[start:][:cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """A shelf that is served; a broken connection is taken up again at once."""
    shelf = Shelf()
    web = ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Handler,), {"shelf": shelf}))
    shelf.port = web.server_port
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(Resume.__init__, "__defaults__", (0.0, (5.0, 5.0)))
    yield shelf
    web.shutdown()
    thread.join()
    web.server_close()


@pytest.fixture
def nowhere():
    """An address where nobody listens."""
    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port = web.server_port
    web.server_close()
    return f"http://127.0.0.1:{port}/"
