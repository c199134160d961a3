"""A server that answers as it was told: recorded shapes of servers that cannot be run here."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], Any]


class Replay:
    """``answers``: "METHOD /path" -> an answer, a list of them (the last is repeated), or a function of the request."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | list[Answer] | Callable[[Any, bytes], Answer]] = {}
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        replay = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                replay.requests.append((self.command, self.path, dict(self.headers), body))
                known = f"{self.command} {self.path}"
                told = replay.answers.get(known) or replay.answers.get(known.partition("?")[0])
                if isinstance(told, list):
                    told = told.pop(0) if len(told) > 1 else told[0]
                elif callable(told):
                    told = told(self, body)
                status, headers, content = told or (404, {}, b"nothing here")
                kind = (
                    {}
                    if "Content-Type" in headers or isinstance(content, bytes)
                    else {"Content-Type": "application/json"}
                )
                content = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {**kind, **headers}.items():
                    self.send_header(name, value.replace("{base}", replay.base))
                if status != 204:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if status != 204:
                    self.wfile.write(content)

            do_GET = do_POST = do_DELETE = do_PUT = answer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
