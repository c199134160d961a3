"""An openEO platform in memory whose jobs end at once, and which may be as hostile as a test wants."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["FakeHostilePlatform"]

ENDPOINTS = [("/jobs", ["GET", "POST"]), ("/credentials/basic", ["GET"]), ("/credentials/oidc", ["GET"])]


@dataclass
class FakeHostilePlatform:
    """Basic and OIDC log-in (it is its own identity provider), jobs, logs, results.

    Attributes
    ----------
    results
        job id -> result document.
    files
        path below ``/files`` -> bytes, or a function that gives pieces, or a redirect (str).
    runs_for
        Seconds that a job runs.
    rotate
        Whether each refresh token is good for one use.
    life
        Requests for which a token is good, if there is a limit.
    """

    results: Callable[[str], dict[str, Any]] = lambda job_id: {"type": "Collection", "assets": {}, "links": []}
    files: dict[str, Any] = field(default_factory=dict)
    runs_for: float = 0.0
    rotate: bool = False
    life: int | None = None

    def __post_init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.calls: Counter[str] = Counter()
        self.seen: list[tuple[str, str, str]] = []  # method, path, Authorization
        self.tokens: dict[str, int] = {}
        self.refresh = {"refresh-0"}
        self.log_ins = 0
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        platform = self

        class Handler(_Handler):
            owner = platform

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def token(self) -> str:
        self.log_ins += 1
        name = f"token-{self.log_ins:04d}-very-secret"
        self.tokens[name] = 0
        return name

    def answer(self, method: str, path: str, query: str, headers: Any, body: bytes) -> tuple[int, dict[str, str], Any]:
        with self._lock:
            secret = headers.get("Authorization", "")
            self.seen.append((method, path, secret))
            public = self._public(method, path, secret, body)
            if public is not None:
                return public
            token = secret.rpartition("/")[2]
            used = self.tokens.get(token)
            if used is None or (self.life is not None and used >= self.life):
                return 403, {}, {"code": "TokenInvalid", "message": "Authorization token has expired or is invalid."}
            self.tokens[token] = used + 1
            return self._private(method, path, query, body)

    def _public(self, method: str, path: str, secret: str, body: bytes) -> tuple[int, dict[str, str], Any] | None:
        if path == "/":
            endpoints = [{"path": place, "methods": methods} for place, methods in ENDPOINTS]
            return 200, {}, {"api_version": "1.2.0", "backend_version": "0", "endpoints": endpoints, "links": []}
        if path == "/credentials/oidc":
            provider = {"id": "idp", "issuer": self.url, "title": "x", "scopes": ["openid"],
                        "default_clients": [{"id": "default-client", "grant_types": ["refresh_token"]}]}  # fmt: skip
            return 200, {}, {"providers": [provider]}
        if path == "/.well-known/openid-configuration":
            return 200, {}, {"issuer": self.url, "token_endpoint": f"{self.url}/token", "scopes_supported": ["openid"]}
        if path == "/token":
            return self._give_token(dict(re.findall(r"([^&=]+)=([^&]*)", body.decode())))
        if path == "/credentials/basic":
            given = base64.b64decode(secret.removeprefix("Basic ")).decode()
            if given != "hostile-user:hostile-password":
                return 403, {}, {"code": "CredentialsInvalid", "message": "Credentials are not correct."}
            return 200, {}, {"access_token": self.token()}
        if path.startswith("/files"):
            found = self.files.get(path.removeprefix("/files"))
            if isinstance(found, str):
                return 302, {"Location": found}, b""
            return (404, {}, b"") if found is None else (200, {}, found)
        return None

    def _give_token(self, form: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        self.calls[form["grant_type"]] += 1
        if form["grant_type"] == "client_credentials" and form.get("client_secret") == "client-secret-of-ours":
            return 200, {}, {"access_token": self.token(), "token_type": "Bearer"}
        given = form.get("refresh_token")
        if form["grant_type"] == "refresh_token" and given in self.refresh:
            more = {}
            if self.rotate:
                self.refresh = {f"refresh-{self.log_ins + 1}"}
                more = {"refresh_token": next(iter(self.refresh))}
            return 200, {}, {"access_token": self.token(), "token_type": "Bearer", **more}
        return 400, {}, {"error": "invalid_grant"}

    def _private(self, method: str, path: str, query: str, body: bytes) -> tuple[int, dict[str, str], Any]:
        self.calls[f"{method} {re.sub('job-[0-9]+', 'ID', path)}"] += 1
        if path == "/jobs" and method == "POST":
            job_id = f"job-{len(self.jobs):05d}"
            sent = json.loads(body)
            self.jobs[job_id] = {
                "id": job_id,
                "title": sent["title"],
                "status": "created",
                "created": _now(),
                "costs": 1,
            }
            return 201, {"OpenEO-Identifier": job_id, "Location": f"{self.url}/jobs/{job_id}"}, b""
        for job in self.jobs.values():
            if job["status"] == "running" and time.monotonic() > job["started"] + self.runs_for:
                job["status"] = "finished"
        if path == "/jobs":
            return 200, {}, {"jobs": list(reversed(self.jobs.values())), "links": []}
        _, _, job_id, *rest = path.split("/")
        job = self.jobs.get(job_id)
        if job is None:
            return 404, {}, {"code": "JobNotFound", "message": "no such job"}
        if rest == ["results"] and method == "POST":
            job |= {"status": "running", "started": time.monotonic(), "starts": job.get("starts", 0) + 1}
            return 202, {}, b""
        if rest == ["results"]:
            return 200, {}, self.results(job_id)
        return 200, {}, job


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: FakeHostilePlatform

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        owner = self.owner
        with owner._lock:
            owner.at_once += 1
            owner.most_at_once = max(owner.most_at_once, owner.at_once)
        try:
            path, _, query = self.path.partition("?")
            status, headers, content = owner.answer(self.command, path, query, self.headers, body)
            self._send(status, headers, content)
        except OSError:
            self.close_connection = True
        finally:
            with owner._lock:
                owner.at_once -= 1

    def _send(self, status: int, headers: dict[str, str], content: Any) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if callable(content):
            self.send_header("Connection", "close")
            self.close_connection = True
            self.end_headers()
            pieces: Iterator[bytes] = content()
            for piece in pieces:
                self.wfile.write(piece)
            return
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_DELETE = _serve

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 -- the base class's name
        """Say nothing."""
