"""An S3 server that can fail, a finished run on real pixels, and a STAC API that answers as badly as told."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.servers import object_storage
from tests.unit.results.results_helpers import cut, ndvi, outcome_of, write_raster
from upscaling.config import Config
from upscaling.model import FetchedAsset
from upscaling.planning.make import make_plan
from upscaling.planning.plan import job_of, keep_config
from upscaling.results.gather import gather
from upscaling.results.item import build_item
from upscaling.results.products import make_mosaics

BUCKET = "bucket"
AOI = [11.3135, 46.484, 11.338, 46.5]  # within four of the scene's tiles


@dataclass
class S3:
    """A moto server: where it is, what was put, and what to answer instead."""

    url: str = ""
    puts: Counter[str] = field(default_factory=Counter)
    order: list[str] = field(default_factory=list)
    refuse: Callable[[str, str], int | None] = lambda method, key: None

    def __call__(self, application: Any) -> Any:
        def answer(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
            status = self.refuse(method, path)
            if status is not None:
                start(f"{status} told to", [("Content-Type", "text/plain"), ("Content-Length", "0")])
                return []
            if method == "PUT" and path.count("/") > 1:
                self.puts[path] += 1
                self.order.append(path)
            return application(environ, start)  # type: ignore[no-any-return]

        return answer


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    facts = S3()
    for name, value in {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "very-secret"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    with object_storage(BUCKET, facts) as facts.url:
        facts.puts.clear()
        facts.order.clear()
        yield facts


@pytest.fixture
def finished(tmp_path: Path, scene: Path, shared_data: Path) -> tuple[Config, Path]:
    """A run whose tiles hold the real scene's NDVI, collected, with its mosaic as a COG."""
    folder = tmp_path / "results" / "real"
    values: dict[str, Any] = {
        "run": "real",
        "algorithm": {
            "source": str(shared_data / "apex_catalogue/vito/max_ndvi/openeo_udp/max_ndvi.json"),
            "parameters": {"temporal_extent": ["2022-06-01", "2022-07-01"]},
        },
        "area": {"aoi": AOI, "grid": "utm-2km"},
        "backend": {"kind": "openeo", "url": "https://openeo.example", "auth": "none"},
        "collection": {"license": "CC-BY-4.0"},
        "mosaic": {"cog": True},
    }
    config = Config.parse(values)
    plan = make_plan(config, folder)
    keep_config(config, folder)
    for name in plan.tiles:
        job = job_of(plan, folder, name)
        west, north = job.tile.bounds.west, job.tile.bounds.north
        values_here = cut(scene, ndvi(scene), job.tile)
        path = write_raster(job.scratch / "openEO.tif", values_here, west, north, nodata=np.nan)
        item = build_item(job, outcome_of(FetchedAsset(path, "openEO.tif")), temporal=("2022-06-01", "2022-07-01"))
        (job.folder / "item.json").write_text(json.dumps(item))
    gather(config=config, run_folder=folder)
    make_mosaics(config, folder)
    return config, folder


@dataclass
class FakeStacApi:
    """The transaction extension over two dictionaries.

    ``faults`` are answered first, one per request that writes: a status, or 0 for a connection that closes.
    """

    url: str = ""
    bulk: bool = False
    token: str = ""
    collections: dict[str, Any] = field(default_factory=dict)
    items: dict[str, Any] = field(default_factory=dict)
    faults: list[int] = field(default_factory=list)
    written: Counter[str] = field(default_factory=Counter)
    lock: Any = field(default_factory=threading.Lock)

    def answer(self, method: str, path: str, body: Any, token: str) -> tuple[int, Any]:
        parts = path.strip("/").split("/")
        if method == "GET" and path == "/":
            conforms = ["https://api.stacspec.org/v1.0.0/ogcapi-features/extensions/transaction"]
            return 200, {"conformsTo": conforms, "links": [{"rel": "service-desc", "href": f"{self.url}/api"}]}
        if method == "GET" and path == "/api":
            return 200, {"paths": {"/collections/{collection_id}/bulk_items": {}} if self.bulk else {}}
        if self.token and token != f"Bearer {self.token}":
            return 401, {"detail": "who are you?"}
        self.written[f"{method} {path}"] += 1
        if self.faults:
            return self.faults.pop(0), {"detail": "told to"}
        if parts[0] != "collections" or (len(parts) > 1 and parts[1] not in self.collections):
            return 404, {"detail": "no such collection"}
        kept = self.collections if len(parts) < 3 else self.items
        if method == "PUT":
            if parts[-1] not in kept:
                return 404, {"detail": "nothing to update"}
            kept[parts[-1]] = body
            return 200, body
        if parts[-1] == "bulk_items":
            if not self.bulk:
                return 405, {}
            self.items.update(body["items"])
            return 200, "done"
        if body["id"] in kept:
            return 409, {"detail": "already there"}
        kept[body["id"]] = body
        return 201, body


@pytest.fixture
def stac_api() -> Iterator[FakeStacApi]:
    api = FakeStacApi()

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            with api.lock:
                status, content = api.answer(self.command, self.path, body, self.headers.get("Authorization", ""))
            if status == 0:
                self.close_connection = True
                return
            text = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            if status == 429:
                self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = _do

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield api
        server.shutdown()
        thread.join()
