"""A fake STAC API, and the files of its items: the little that a search needs, and every bad manner on request.

It is no real server: it knows bbox, datetime, collections, the query extension and paging by POST, and counts.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["FakeStacApi"]

CONFORMANCE = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#query",
]


@dataclass
class FakeStacApi:
    """Serves ``items``, and files below ``folder`` at ``/files``."""

    folder: Path
    items: list[dict[str, Any]] = field(default_factory=list)
    page: int = 2
    conformance: list[str] = field(default_factory=lambda: list(CONFORMANCE))
    searches: list[dict[str, Any]] = field(default_factory=list)
    gets: Counter[str] = field(default_factory=Counter)
    tokens: set[str] = field(default_factory=set)
    misbehave: Callable[[str, BaseHTTPRequestHandler], bool] = lambda _path, _handler: False

    def __enter__(self) -> FakeStacApi:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def search(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = [item for item in self.items if self._fits(item, asked)]
        start = int(asked.get("token", 0))
        shown = found[start : start + self.page]
        links = []
        if start + self.page < len(found):
            body = {"token": start + self.page}
            links = [{"rel": "next", "href": f"{self.url}/search", "method": "POST", "body": body, "merge": True}]
        for item in shown:
            own = f"{self.url}/collections/{item['collection']}/items/{item['id']}"
            item["links"] = [{"rel": "self", "href": own, "type": "application/geo+json"}]
        return {"type": "FeatureCollection", "features": shown, "links": links}

    def _fits(self, item: dict[str, Any], asked: dict[str, Any]) -> bool:
        west, south, east, north = asked.get("bbox") or (-180, -90, 180, 90)
        box = item["bbox"]
        start, _, end = (asked.get("datetime") or "0/9").partition("/")
        signs = {"lte": lambda a, b: a <= b, "lt": lambda a, b: a < b, "eq": lambda a, b: a == b,
                 "gt": lambda a, b: a > b, "in": lambda a, b: a in b}  # fmt: skip
        return (
            (not asked.get("collections") or item["collection"] in asked["collections"])
            and box[0] <= east and box[2] >= west and box[1] <= north and box[3] >= south
            and start <= item["properties"]["datetime"] <= end
            and all(
                signs[word](item["properties"].get(name), value)
                for name, form in (asked.get("query") or {}).items()
                for word, value in form.items()
            )
        )  # fmt: skip

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def say(self, content: Any, status: int = 200) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/geo+json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if api.misbehave(self.path, self):
                    return
                api.searches.append(body)
                api.tokens.add(self.headers.get("Authorization", ""))
                self.say(api.search(body))

            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                api.gets[path] += 1
                api.tokens.add(self.headers.get("Authorization", ""))
                if api.misbehave(path, self):
                    return
                if path == "/":
                    links = [
                        {"rel": "self", "href": api.url},
                        {"rel": "root", "href": api.url},
                        {"rel": "search", "href": f"{api.url}/search", "method": "POST"},
                        {"rel": "search", "href": f"{api.url}/search", "method": "GET"},
                    ]
                    head = {"type": "Catalog", "stac_version": "1.0.0", "id": "fake", "description": "a fake"}
                    self.say({**head, "conformsTo": api.conformance, "links": links})
                elif path.startswith("/collections/"):
                    self.say(next(item for item in api.items if item["id"] == path.rpartition("/")[2]))
                elif path.startswith("/files/") and (api.folder / path[7:]).is_file():
                    self.send_file(api.folder / path[7:])
                else:
                    self.say({"code": "NotFound"}, 404)

            def send_file(self, path: Path) -> None:
                content, start = path.read_bytes(), 0
                asked = self.headers.get("Range", "")
                if asked.startswith("bytes=") and asked.endswith("-"):
                    start = int(asked[6:-1])
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                self.wfile.write(content[start:])

        return Handler
