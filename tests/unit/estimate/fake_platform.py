"""A fake openEO platform: documents that no real platform offers all at once, and a count of what was sent to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["FakePlatform", "fake_platform"]

COLLECTION = {
    "id": "SENTINEL2_L2A",
    "extent": {"spatial": {"bbox": [[-180, -56, 180, 83]]}, "temporal": {"interval": [["2015-07-04T00:00:00Z", None]]}},
}


@dataclass
class FakePlatform:
    """What it answers, by path; ``sent`` are the requests that would change something."""

    url: str = ""
    processes: set[str] = field(default_factory=set)
    collections: dict[str, Any] = field(default_factory=lambda: {"SENTINEL2_L2A": COLLECTION})
    me: dict[str, Any] = field(default_factory=lambda: {"user_id": "u", "budget": None})
    limits: dict[str, Any] = field(default_factory=dict)
    formats: tuple[str, ...] = ("GTiff", "netCDF")
    estimates: bool = False
    sent: list[str] = field(default_factory=list)

    def answer(self, path: str) -> dict[str, Any] | None:
        """Return the document at a path."""
        endpoints = [
            {"path": "/jobs", "methods": ["GET", "POST"]},
            *({"path": path, "methods": ["GET"]} for path in ("/me", "/credentials/basic")),
        ]
        if self.estimates:
            endpoints.append({"path": "/jobs/{job_id}/estimate", "methods": ["GET"]})
        links = [{"rel": "terms-of-service", "href": "https://example.org/terms"}]
        documents: dict[str, Any] = {
            "/": {"api_version": "1.2.0", "endpoints": endpoints, "links": links, **self.limits},
            "/processes": {"processes": [{"id": name} for name in sorted(self.processes)], "links": []},
            "/file_formats": {"input": {}, "output": {name: {} for name in self.formats}},
            "/me": self.me,
            "/jobs/j-1/estimate": {"costs": 7.5, "duration": "PT3M"},
            "/credentials/basic": {"access_token": "t"},
            **{f"/collections/{name}": content for name, content in self.collections.items()},
        }
        return documents.get(path.rstrip("/") or "/")


@contextmanager
def fake_platform() -> Iterator[FakePlatform]:
    """Serve one on a port of its own."""
    platform = FakePlatform()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = platform.answer(self.path.partition("?")[0])
            code = "CollectionNotFound" if self.path.startswith("/collections/") else "NotFound"
            body = json.dumps(content or {"code": code, "message": f"no {self.path}"}).encode()
            self.send_response(200 if content else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            platform.sent.append(self.path)
            self.send_error(500)

        do_PUT = do_PATCH = do_DELETE = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        platform.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield platform
        server.shutdown()
        thread.join()
