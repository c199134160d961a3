"""A proxy in front of a real back-end that makes things go wrong: where, how often and how, each test says."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = [
    "CREATE", "DELETE", "DOWNLOAD", "JOB", "LIST", "LOGS", "RESULTS", "START", "Answer", "Dropped", "FaultyProxy",
    "delay", "drop", "drop_after", "edit", "endless", "forget", "refuse", "say", "slow", "truncate", "unsized",
]  # fmt: skip

# Where: method and path below the API's root.
CREATE, LIST = ("POST", r"/jobs"), ("GET", r"/jobs")
START, RESULTS, DELETE = ("POST", r"/jobs/[^/]+/results"), ("GET", r"/jobs/[^/]+/results"), ("DELETE", r"/jobs/[^/]+")
JOB, LOGS = ("GET", r"/jobs/[^/]+"), ("GET", r"/jobs/[^/]+/logs")
DOWNLOAD = ("GET", r"/jobs/[^/]+/results/assets/.*")
PREFIX = "/openeo/1.2"
HTML = b"<!DOCTYPE html><html><body><h1>It works!</h1></body></html>"


class Dropped(Exception):
    """The connection is closed without another word."""


@dataclass
class Answer:
    """What goes back to the client; ``pieces`` takes the place of the body, and may come slowly, or never end."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    pieces: Iterator[bytes] | None = None
    length: int | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @json.setter
    def json(self, value: Any) -> None:
        self.body = json.dumps(value).encode()


Forward = Callable[[], Answer]
Action = Callable[[Forward, str], Answer]


@dataclass
class Fault:
    method: str
    pattern: str
    action: Action
    skip: int
    times: int | None
    met: int = 0

    def takes(self, method: str, path: str) -> bool:
        if method != self.method or not re.fullmatch(self.pattern, path):
            return False
        self.met += 1
        return self.met > self.skip and (self.times is None or self.met <= self.skip + self.times)


# --- what goes wrong ---


def refuse(
    status: int,
    code: str | None = None,
    message: str = "as the test wants",
    *,
    retry_after: Any = None,
    act: bool = False,
) -> Action:
    """Answer with an error: openEO's JSON if there is a code, else a web page. ``act``: the back-end did act."""

    def action(forward: Forward, path: str) -> Answer:
        if act:
            forward()
        body = json.dumps({"code": code, "message": message, "id": "r-1"}).encode() if code else HTML
        headers = {"Content-Type": "application/json" if code else "text/html"}
        if retry_after is not None:
            headers["Retry-After"] = str(retry_after)
        return Answer(status, headers, body)

    return action


def drop(forward: Forward, path: str) -> Answer:
    """Close the connection before the back-end hears of it."""
    raise Dropped


def drop_after(forward: Forward, path: str) -> Answer:
    """Close the connection after the back-end has acted."""
    forward()
    raise Dropped


def delay(seconds: float, *, act: bool = True) -> Action:
    """Let the client wait; its patience may end before."""

    def action(forward: Forward, path: str) -> Answer:
        answer = forward() if act else Answer(504, {}, HTML)
        time.sleep(seconds)
        return answer

    return action


def truncate(forward: Forward, path: str) -> Answer:
    """Declare the whole length, and close after half of it."""
    answer = forward()
    answer.length, answer.pieces = len(answer.body), iter([answer.body[: len(answer.body) // 2]])
    return answer


def unsized(forward: Forward, path: str) -> Answer:
    """Give half the body with no length, so that nothing but checksum or content tells."""
    answer = forward()
    answer.headers["Connection"] = "close"
    answer.length, answer.pieces = -1, iter([answer.body[: len(answer.body) // 2]])
    return answer


def endless(forward: Forward, path: str) -> Answer:
    """Never stop sending."""
    answer = forward()

    def pieces() -> Iterator[bytes]:
        yield answer.body or b"{"
        while True:
            yield b" " * 65536

    answer.length, answer.pieces = -1, pieces()
    return answer


def slow(pause: float, size: int = 1) -> Action:
    """Send ``size`` bytes every ``pause`` seconds."""

    def action(forward: Forward, path: str) -> Answer:
        answer = forward()

        def pieces() -> Iterator[bytes]:
            for start in range(0, len(answer.body), size):
                time.sleep(pause)
                yield answer.body[start : start + size]

        answer.length, answer.pieces = len(answer.body), pieces()
        return answer

    return action


def say(status: int, body: bytes, kind: str = "text/html", **headers: str) -> Action:
    """Answer with this instead; the back-end is not asked."""
    return lambda forward, path: Answer(status, {"Content-Type": kind, **headers}, body)


def edit(change: Callable[[Any], Any]) -> Action:
    """Change the JSON of an answer; None leaves it as it is."""

    def action(forward: Forward, path: str) -> Answer:
        answer = forward()
        content = answer.json
        changed = change(content)
        answer.json = content if changed is None else changed
        return answer

    return action


def forget(forward: Forward, path: str) -> Answer:
    """Take a request for done without passing it on."""
    return Answer(202, {"Content-Type": "application/json"}, b"")


TRANSIENT: dict[str, Action] = {
    "429": refuse(429, "TooManyRequests", retry_after=0),
    "429 as a web page": refuse(429, retry_after="Sat, 01 Jan 2000 00:00:00 GMT"),
    "500": refuse(500, "Internal"),
    "502 as a web page": refuse(502),
    "503": refuse(503, retry_after="soon"),
    "504": refuse(504),
    "dropped before": drop,
    "dropped after": drop_after,
    "502 after": refuse(502, act=True),
}
"""What passes, wherever it happens."""


class FaultyProxy:
    """Passes requests on to a back-end on this machine, and spoils those that it is told to.

    Attributes
    ----------
    seen
        (method, path below the API's root, status or None if the connection was dropped), in order.
    times
        When each of them came in, by the monotonic clock.
    secrets
        Authorization headers that came in.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream, self.faults = upstream, list[Fault]()
        self.seen: list[tuple[str, str, int | None]] = []
        self.times: list[float] = []
        self.secrets: set[str] = set()
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PREFIX}"

    def spoil(self, where: tuple[str, str], action: Action, *, skip: int = 0, times: int | None = 1) -> FaultyProxy:
        """Spoil requests like ``where``: all after the first ``skip``, ``times`` of them (None: for ever)."""
        self.faults.append(Fault(*where, action, skip, times))
        return self

    def count(self, where: tuple[str, str]) -> int:
        """How many requests came in for ``where``."""
        method, pattern = where
        return sum(m == method and re.fullmatch(pattern, path) is not None for m, path, _ in self.seen)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        path = target.partition("?")[0].removeprefix(PREFIX)
        with self._lock:
            self.secrets |= {value for name, value in headers.items() if name.lower() == "authorization"}
            fault = next((fault for fault in self.faults if fault.takes(method, path)), None)
            self.seen.append((method, path, None))
            self.times.append(time.monotonic())
            place = len(self.seen) - 1

        def forward() -> Answer:
            upstream = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=60)
            try:
                upstream.request(method, target, body or None, headers)  # with our Host: links come back through us
                reply = upstream.getresponse()
                kept = {k: v for k, v in reply.getheaders() if k.lower() not in {"content-length", "connection",
                                                                                  "transfer-encoding"}}  # fmt: skip
                return Answer(reply.status, kept, reply.read())
            except OSError:
                raise Dropped from None
            finally:
                upstream.close()

        answer = fault.action(forward, path) if fault else forward()
        self.seen[place] = (method, path, answer.status)
        return answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: FaultyProxy

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            answer = self.owner.answer(self.command, self.path, dict(self.headers.items()), body)
        except Dropped:
            self.close_connection = True
            return
        try:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            length = len(answer.body) if answer.length is None else answer.length
            if length >= 0:
                self.send_header("Content-Length", str(length))
            else:
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            sent = 0
            for piece in answer.pieces or iter([answer.body]):
                self.wfile.write(piece)
                sent += len(piece)
            if sent != length:
                self.close_connection = True
        except OSError:  # the client has had enough
            self.close_connection = True

    do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = do_HEAD = _serve

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 -- the base class's name
        """Say nothing."""
