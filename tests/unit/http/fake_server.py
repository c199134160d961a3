"""A server that serves one file in every wrong way: the contract of downloads is held against it."""

from __future__ import annotations

import gzip
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

CONTENT = b"II*\0" + hashlib.shake_128(b"pixels").digest(300_000)
OTHER = b"II*\0" + hashlib.shake_128(b"others").digest(300_000)
PACKED = gzip.compress(CONTENT, 1)
HALF = 150_000
Answer = Callable[["Handler", int], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        fake: FakeServer = self.server.fake
        path = self.path.partition("?")[0]
        fake.requests.append((path, dict(self.headers)))
        answer = fake.answers.get(path)
        if answer is None:
            self.reply(404, b'{"code": "NotFound", "message": "no such thing"}')
            return
        answer(self, sum(1 for asked, _ in fake.requests if asked == path))

    @property
    def start(self) -> int:
        """The first byte that is asked for."""
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))

    def reply(self, status: int, body: bytes = b"", *, length: int | None = None, **headers: str) -> None:
        """Send an answer; one that is shorter than its length ends with the connection."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length != -1:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        if length is not None and length != len(body):
            self.close_connection = True

    def part(self, body: bytes, start: int, *, sent: int | None = None, **headers: str) -> None:
        """Send a file from a byte on, as it should be done; ``sent`` bytes of it."""
        if start >= len(body):
            self.reply(416, Content_Range=f"bytes */{len(body)}")
            return
        rest = body[start:]
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.reply(206 if start else 200, rest[:sent], length=len(rest), **headers)

    def log_message(self, *args: Any) -> None:
        pass


@dataclass
class FakeServer:
    url: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def asked(self, path: str) -> list[dict[str, str]]:
        return [headers for asked, headers in self.requests if asked == path]


@contextmanager
def fake_server() -> Iterator[FakeServer]:
    class Server(ThreadingHTTPServer):
        daemon_threads = True
        fake: FakeServer

        def handle_error(self, *args: Any) -> None:
            """Say nothing: clients that go away are what is tested."""

    server = Server(("127.0.0.1", 0), Handler)
    server.fake = FakeServer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.fake
    finally:
        server.shutdown()
        server.server_close()


# --- the faults ---


def broken(handler: Handler, number: int) -> None:
    handler.part(CONTENT, handler.start, sent=HALF if number == 1 else None, ETag='"1"')


def broken_ranges_ignored(handler: Handler, number: int) -> None:
    handler.part(CONTENT, 0, sent=HALF if number == 1 else None)


def broken_without_length(handler: Handler, number: int) -> None:
    if number == 1:
        handler.reply(200, CONTENT[:HALF], length=-1)
    else:
        handler.part(CONTENT, handler.start)


def broken_chunks(handler: Handler, number: int) -> None:
    if number > 1:
        handler.part(CONTENT, handler.start)
        return
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"%x\r\n%s\r\n40000\r\n%s" % (HALF, CONTENT[:HALF], CONTENT[HALF : HALF + 1000]))
    handler.close_connection = True


def stored_as_gzip(handler: Handler, number: int) -> None:
    sent = HALF if number == 1 else None
    handler.part(PACKED, handler.start, sent=sent, Content_Encoding="gzip", ETag='"1"')


def not_gzip(handler: Handler, number: int) -> None:
    if number == 1:
        handler.reply(200, CONTENT, Content_Encoding="gzip")
    else:
        handler.part(CONTENT, handler.start)


def continued_elsewhere(handler: Handler, number: int) -> None:
    if not handler.start:
        handler.part(CONTENT, 0, sent=HALF if number == 1 else None)
        return
    rest = CONTENT[HALF + 1000 :]
    handler.reply(206, rest, Content_Range=f"bytes {HALF + 1000}-{len(CONTENT) - 1}/{len(CONTENT)}")


def continued_nowhere(handler: Handler, number: int) -> None:
    if handler.start:
        handler.reply(206, CONTENT[handler.start :])
    else:
        handler.part(CONTENT, 0, sent=HALF if number == 1 else None)


def no_more(handler: Handler, number: int) -> None:
    if handler.start:
        handler.reply(416)
    else:
        handler.part(CONTENT, 0, sent=HALF if number == 1 else None)


def changed_meanwhile(handler: Handler, number: int) -> None:
    if number == 1:
        handler.part(OTHER, 0, sent=HALF, ETag='"old"')
    else:  # does not know If-Range
        handler.part(CONTENT, handler.start, ETag='"new"')


def web_page(handler: Handler, number: int) -> None:
    if number < 3:
        handler.reply(200, b"\n<!DOCTYPE html><html>please log in</html>")
    else:
        handler.part(CONTENT, handler.start)


def busy(handler: Handler, number: int) -> None:
    if number == 1:
        handler.reply(503, b"{}", Retry_After=formatdate(time.time() + 90, usegmt=True))
    elif number == 2:
        handler.reply(429, b"{}", Retry_After="2")
    else:
        handler.part(CONTENT, handler.start)


def trickling(handler: Handler, number: int) -> None:
    if number > 1:
        handler.part(CONTENT, handler.start)
        return
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(CONTENT)))
    handler.end_headers()
    for position in range(2000):
        handler.wfile.write(CONTENT[position : position + 1])
        time.sleep(0.01)
    handler.close_connection = True


def endless(handler: Handler, number: int) -> None:
    handler.reply(200, b"II*\0" + bytes(3_000_000), length=-1)


def bomb(handler: Handler, number: int) -> None:
    handler.reply(200, gzip.compress(bytes(50_000_000), 1), Content_Encoding="gzip")


def whole(handler: Handler, number: int) -> None:
    handler.part(CONTENT, handler.start)


def out_of_the_web(handler: Handler, number: int) -> None:
    handler.reply(302, Location="file:///etc/passwd")


def in_a_circle(handler: Handler, number: int) -> None:
    handler.reply(302, b"x" * 1000, Location=handler.path)
