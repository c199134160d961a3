"""Real back-ends: a subprocess on a free port, and the unmodified openeo client."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import openeo
import pystac
import pytest
import rasterio
from tests.servers import bound_to_this_process

START = """
import json, os
from pathlib import Path
from upscaling.local_backend.server import serve
given = json.loads(os.environ["TEST_BACKEND"])
serve(**{**given, "data": Path(given["data"]), "root": Path(given["root"])})
"""


class Backend:
    """One back-end process, which can be killed and started again in the same folder."""

    def __init__(
        self, data: Path, root: Path, slots: int, *, udf: bool = False, provider: tuple[str, str] | None = None
    ) -> None:
        self.data, self.root, self.slots, self.udf, self.provider = data, root, slots, udf, provider
        self.users = {"anna": "secret:word", "bert": "another"}
        self.start()

    def start(self) -> None:
        given = {"data": str(self.data), "root": str(self.root), "slots": self.slots, "users": self.users}
        given |= {"udf": self.udf, "provider": self.provider}
        self.process = subprocess.Popen(
            bound_to_this_process([sys.executable, "-c", START]),
            env={**os.environ, "TEST_BACKEND": json.dumps(given)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.printed = self.process.stdout.readline().strip()
        self.url = self.printed.removesuffix("/openeo/1.2")
        if not self.url.startswith("http://127.0.0.1:"):
            self.kill()
            pytest.fail("the back-end did not start")

    def connect(self, user: str = "anna") -> openeo.Connection:
        return openeo.connect(self.url).authenticate_basic(user, self.users[user])

    def kill(self) -> None:
        self.process.kill()
        self._reap()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> int:
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(timeout=120)


@pytest.fixture
def backend(tmp_path: Path, collections: Path) -> Iterator[Backend]:
    running = Backend(collections, tmp_path / "root", slots=2)
    yield running
    if running.process.poll() is None:
        running.kill()


@pytest.fixture(scope="session")
def standing(tmp_path_factory: pytest.TempPathFactory, collections: Path, issuer: str) -> Iterator[Backend]:
    """One back-end for all tests that leave it standing."""
    running = Backend(collections, tmp_path_factory.mktemp("standing"), slots=2, provider=(issuer, "public"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def registry() -> dict[str, Callable[..., Any]]:
    """All processes of the back-end."""
    from upscaling.local_backend.processes import base_registry

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return base_registry()


@pytest.fixture(scope="session")
def issuer() -> Iterator[str]:
    """An OpenID provider that gives user NAME the token ``of-NAME``."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place = f"http://127.0.0.1:{server.server_address[1]}"
            name = self.headers.get("Authorization", "").partition("Bearer of-")[2]
            if self.path == "/.well-known/openid-configuration":
                ends = {"userinfo_endpoint": f"{place}/userinfo", "token_endpoint": f"{place}/token"}
                self.answer(200, {"issuer": place, "scopes_supported": ["openid"], **ends})
            else:
                self.answer(200 if name else 401, {"sub": name})

        def do_POST(self) -> None:
            form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.answer(200, {"access_token": f"of-{form['client_id'][0]}", "token_type": "Bearer"})

        def answer(self, status: int, content: dict[str, Any]) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def collections(tmp_path_factory: pytest.TempPathFactory, scene: Path) -> Path:
    """The real scene, and a synthetic series in another collection: 3 dates, one of them in two halves."""
    folder = tmp_path_factory.mktemp("data")
    write_raster(folder / "june.tif", series()[0])
    write_raster(folder / "july-west.tif", series()[1][:, :, :30])
    write_raster(folder / "july-east.tif", series()[1][:, :, 30:], column=30)
    write_raster(folder / "august.tif", series()[2])
    items = [
        {"file": "august.tif", "datetime": "2022-08-01T10:00:00Z", "properties": {"eo:cloud_cover": 80}},
        {"file": "june.tif", "datetime": "2022-06-01T10:00:00Z", "properties": {"eo:cloud_cover": 10}},
        {"file": "july-west.tif", "datetime": "2022-07-01T10:00:00Z"},
        {"file": "july-east.tif", "datetime": "2022-07-01T10:00:00Z"},
    ]
    real = {"file": str(scene), "datetime": "2022-06-12T10:00:00Z", "bands": ["B04", "B03", "B02", "B08", "SCL"]}
    content = {
        "collections": {
            "SENTINEL2_L2A": {"title": "Real", "items": [real]},
            "SERIES": {"items": [{**item, "bands": ["B04", "B08", "SCL"]} for item in items]},
        }
    }
    path = folder / "collections.yaml"
    path.write_text(json.dumps(content))  # JSON is YAML
    return path


def series() -> np.ndarray:
    """Values of collection SERIES (t, bands, y, x): 3 dates, 3 bands, 40 x 50 pixels, 0 is no-data."""
    values = np.random.default_rng(7).integers(1, 5000, (3, 3, 40, 50)).astype("uint16")
    values[:, 2] = np.random.default_rng(8).integers(1, 12, (3, 40, 50))
    values[0, :, :5, :5] = 0
    return values


def write_raster(
    path: Path, values: np.ndarray, *, column: int = 0, crs: str = "EPSG:32632", nodata: float = 0
) -> None:
    count, height, width = values.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": values.dtype}
    transform = rasterio.Affine(10, 0, 600000 + 10 * column, 0, -10, 5000400)
    with rasterio.open(path, "w", crs=crs, transform=transform, nodata=nodata, **profile) as target:
        target.write(values)


def box(west: float, south: float, east: float, north: float, crs: Any = 32632) -> dict[str, Any]:
    return {"west": west, "south": south, "east": east, "north": north, "crs": crs}


SERIES_BOX = box(600000, 5000000, 600500, 5000400)


def wait(job: openeo.BatchJob, *ends: str, timeout: float = 60) -> str:
    """Poll until the job has one of the given statuses, or any final one."""
    final = ends or ("finished", "error", "canceled")
    limit = time.monotonic() + timeout
    while (status := job.status()) not in final:
        assert time.monotonic() < limit, f"job is {status}"
        time.sleep(0.05)
    return status


def run(connection: openeo.Connection, graph: Any, folder: Path, **options: Any) -> list[Path]:
    """Run a graph as a batch job that must succeed; return its downloaded files."""
    job = connection.create_job(graph, **options)
    job.start()
    assert wait(job) == "finished", [entry["message"] for entry in job.logs()]
    return sorted(job.get_results().download_files(folder, include_stac_metadata=False))


@pytest.fixture
def max_ndvi(shared_data: Path) -> Callable[..., dict[str, Any]]:
    """The catalogue's UDP max_ndvi as a flat graph with its parameters filled in."""
    path = shared_data / "apex_catalogue" / "vito" / "max_ndvi" / "openeo_udp" / "max_ndvi.json"
    text = json.dumps(json.loads(path.read_text())["process_graph"])

    def graph(bbox: dict[str, Any], extent: list[str | None]) -> dict[str, Any]:
        filled = text.replace('{"from_parameter": "bbox"}', json.dumps(bbox))
        result: dict[str, Any] = json.loads(filled.replace('{"from_parameter": "temporal_extent"}', json.dumps(extent)))
        return result

    return graph


class Gate:
    """Holds a job: a STAC item that is served only when the gate is open."""

    def __init__(self, raster: Path) -> None:
        self.opened, self.reached = threading.Event(), threading.Event()
        item = pystac.Item("held", None, None, datetime(2022, 6, 1, tzinfo=UTC), {})
        item.add_asset("data", pystac.Asset(f"file://{raster}", media_type=pystac.MediaType.COG))
        body = json.dumps(item.to_dict(include_self_link=False)).encode()
        gate = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                gate.reached.set()
                gate.opened.wait(200)
                with contextlib.suppress(OSError):  # the job may be dead by now
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def graph(self) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.server.server_address[1]}/item.json"
        return {"load": {"process_id": "load_stac", "arguments": {"url": url}, "result": True}}

    def close(self) -> None:
        self.opened.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def gate(collections: Path) -> Iterator[Gate]:
    held = Gate(collections.parent / "june.tif")
    yield held
    held.close()


def load(collection: str, extent: Any, time: Any = None, **arguments: Any) -> dict[str, Any]:
    return {
        "process_id": "load_collection",
        "arguments": {"id": collection, "spatial_extent": extent, "temporal_extent": time, **arguments},
    }
