"""A real service, as a process of its own, over the embedded openEO back-end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.servers import PASSWORD, USER, EmbeddedBackend, environment, free_port, listening, object_storage, stopped

ROOT = Path(__file__).resolve().parents[2]
UDP = ROOT / "config" / "demo" / "ndvi_composite.json"
AREA = {
    "type": "Polygon",
    "coordinates": [[[11.30, 46.46], [11.34, 46.46], [11.34, 46.49], [11.30, 46.49], [11.30, 46.46]]],
}


@dataclass
class Service:
    """``upscaling serve`` on a port of its own; it keeps its folder over a restart."""

    folder: Path
    settings: dict[str, Any]
    port: int = field(default_factory=free_port)
    variables: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Service:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "settings.yaml"
        path.write_text(yaml.safe_dump({"folder": str(self.folder / "data"), **self.settings}))
        command = [sys.executable, "-m", "upscaling", "serve", str(path), "--port", str(self.port)]
        log = self.folder / "service.log"
        self.process = listening(command, self.port, log, variables=environment(**self.variables))
        return self

    def stop(self, sign: int = signal.SIGTERM) -> None:
        stopped(self.process, sign)
        self.process = None

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, f"{self.url}{path}", **{"timeout": 60, **options})

    def ended(self, task: int, seconds: float = 480) -> dict[str, Any]:
        """The task, when it has come to its end."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.call("GET", f"/upscale_tasks/{task}").json()
            if found["status"] in {"finished", "failed", "canceled"}:
                return dict(found)
            time.sleep(0.5)
        raise AssertionError(f"task {task} did not end: {json.dumps(found)[:2000]}")


def platform_of(backend: EmbeddedBackend, **more: Any) -> dict[str, Any]:
    """The settings of a platform whose account is the embedded back-end's."""
    variables = {"OPENEO_AUTH_USERNAME": "TEST_PLATFORM_USER", "OPENEO_AUTH_PASSWORD": "TEST_PLATFORM_PASSWORD"}
    options = {"poll_seconds": [0.2, 1.0], "outage_hours": 0.1}  # a run that outlives its test ends soon
    return {"endpoint": backend.url, "auth": "basic", "slots": 2, "environment": variables, "options": options, **more}


ACCOUNT = {"TEST_PLATFORM_USER": USER, "TEST_PLATFORM_PASSWORD": PASSWORD}


@pytest.fixture(scope="package")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBackend]:
    """The embedded back-end over the demo's generated scenes."""
    from upscaling.demo.data import make_demo_data

    folder = tmp_path_factory.mktemp("backend")
    started = EmbeddedBackend(make_demo_data(folder / "data"), folder / "root").start()
    yield started
    started.stop()


@pytest.fixture(scope="package")
def storage() -> Iterator[str]:
    """An object storage with a bucket."""
    with object_storage() as url:
        yield url


def local_service(backend: EmbeddedBackend, storage: str, folder: Path) -> Service:
    """Return a started service without log-in that may publish to an object storage."""
    keys = {"AWS_ACCESS_KEY_ID": "TEST_S3_KEY", "AWS_SECRET_ACCESS_KEY": "TEST_S3_SECRET"}
    products = {"name": "products", "s3": "s3://bucket/products", "endpoint": storage, "environment": keys}
    products["public_url"] = f"{storage}/bucket/products"
    settings = {"platforms": [platform_of(backend)], "sources": [str(UDP.parent)], "publish": [products]}
    variables = {**ACCOUNT, "TEST_S3_KEY": "key", "TEST_S3_SECRET": "very-secret"}
    return Service(folder, settings, variables=variables).start()


@pytest.fixture(scope="package")
def service(backend: EmbeddedBackend, storage: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A local service without log-in."""
    started = local_service(backend, storage, tmp_path_factory.mktemp("service"))
    yield started
    started.stop()


def upscaling_request(backend: EmbeddedBackend, values: list[Any], **more: Any) -> dict[str, Any]:
    """A body of ``POST /upscale_tasks`` over areas."""
    return {
        "title": "NDVI",
        "label": "openeo",
        "service": {"endpoint": backend.url, "application": str(UDP)},
        "parameters": {"temporal_extent": ["2023-06-01", "2023-07-01"]},
        "format": "gtiff",
        "dimension": {"name": "spatial_extent", "values": values},
        **more,
    }


__all__ = ["ACCOUNT", "AREA", "UDP", "Service", "platform_of", "upscaling_request"]
