"""A whole run through Snakemake with OIDC: no secret is in a file, on a command line, or in what is printed."""

from __future__ import annotations

import io
import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import rasterio
from openeo.rest.auth.config import RefreshTokenStore

from tests.conftest import ROOT
from tests.faults.hostile import FakeHostilePlatform
from tests.servers import environment as user_environment
from tests.workflow.conftest import CRS, Run

SECRETS = re.compile(rb"client-secret-of-ours|token-\d+-very-secret|refresh-\d+|input-very-secret")


class FakePlatformWithRasters(FakeHostilePlatform):
    """Has the demo's collection, and gives every tile a raster of ones at its place."""

    bodies = b""  # of all creations of jobs

    def answer(self, method: str, path: str, query: str, headers: Any, body: bytes) -> tuple[int, dict[str, str], Any]:
        self.bodies += body if (method, path) == ("POST", "/jobs") else b""
        if path == "/processes":
            return 200, {}, {"processes": []}
        if path.startswith("/collections/"):
            return 200, {}, {"id": "SENTINEL2_L2A", "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}}}
        return super().answer(method, path, query, headers, body)

    def raster_of(self, job_id: str) -> dict[str, Any]:
        found = re.search(r"_e(\d+)_n(\d+)$", str(self.jobs[job_id]["title"]))
        assert found
        west, south = 1000 * int(found[1]), 1000 * int(found[2])
        profile = {"driver": "GTiff", "count": 1, "width": 100, "height": 100, "dtype": "uint8", "crs": "EPSG:32632"}
        content = io.BytesIO()
        with rasterio.open(
            content, "w", transform=rasterio.Affine(10, 0, west, 0, -10, south + 1000), **profile
        ) as file:
            file.write(np.ones((1, 100, 100), "uint8"))
        self.files[f"/{job_id}.tif"] = content.getvalue()
        return {"assets": {"a.tif": {"href": f"{self.url}/files/{job_id}.tif", "type": "image/tiff"}}}


def run_of(platform: FakePlatformWithRasters, folder: Path, environment: dict[str, str]) -> Run:
    folder.mkdir()
    ring = [[500100, 5000100], [501900, 5000100], [501900, 5001900], [500100, 5001900], [500100, 5000100]]
    (folder / "aoi.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring], "crs": CRS}))
    config = {
        "run": "secrets",
        "algorithm": {
            "source": "algorithm.json",
            "parameters": {"temporal_extent": ["2023-06-01", "2023-09-01"], "password": "${env:MY_PASSWORD}"},
        },
        "area": {"aoi": "aoi.geojson", "grid": "utm-1km"},
        "backend": {"kind": "openeo", "url": platform.url, "auth": "oidc", "slots": 2, "poll_seconds": [0.1, 0.3]},
    }
    algorithm = json.loads((ROOT / "config/demo/ndvi_composite.json").read_text())
    secret = {"name": "password", "description": "of a data service", "schema": {"type": "string"}}
    algorithm["parameters"].append(secret)
    load = next(node for node in algorithm["process_graph"].values() if node["process_id"] == "load_collection")
    load["arguments"]["password"] = {"from_parameter": "password"}
    (folder / "algorithm.json").write_text(json.dumps(algorithm))
    environment = {**environment, "MY_PASSWORD": "input-very-secret"}
    clean = {name: value for name, value in user_environment().items() if not name.startswith("OPENEO_")}
    return Run(folder, {**clean, **environment}, config)


def watched(run: Run) -> tuple[int, bytes]:
    """See a run through; return its exit status, and all command lines of its processes."""
    process, lines = run.start(), set[str]()
    while process.poll() is None:
        try:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        except psutil.Error:
            break
        for member in family:
            try:
                lines.add("\0".join(member.cmdline()))
            except psutil.Error:
                continue
        time.sleep(0.1)  # a tenth of what any of them lives
    try:
        status = process.wait(300)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return status, "\n".join(sorted(lines)).encode()


@pytest.mark.parametrize("how", ["client credentials", "refresh token"])
def test_no_secret_of_oidc_is_left_anywhere(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = FakePlatformWithRasters(runs_for=0.5, life=6, rotate=True)
    platform.results = platform.raster_of
    home = tmp_path / "home"  # of the user: the one place for tokens
    environment = {"HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "XDG_CONFIG_HOME": str(home / "config")}
    if how == "client credentials":
        environment |= {"OPENEO_AUTH_METHOD": "client_credentials", "OPENEO_AUTH_CLIENT_ID": "ours"}
        environment |= {"OPENEO_AUTH_CLIENT_SECRET": "client-secret-of-ours"}
    else:
        monkeypatch.setenv("XDG_DATA_HOME", environment["XDG_DATA_HOME"])
        store: Callable[..., None] = RefreshTokenStore().set_refresh_token
        store(issuer=platform.url, client_id="default-client", refresh_token="refresh-0")
    try:
        run = run_of(platform, tmp_path / "work", environment)
        status, commands = watched(run)
    finally:
        platform.close()
    out = (run.folder / "snakemake.out").read_bytes()
    assert status == 0, out.decode()[-3000:]
    assert len(list(run.results.glob("tiles/*/item.json"))) == len(platform.jobs) == 4
    assert platform.bodies.count(b"input-very-secret") >= 4  # sent again where the token had just run out
    assert platform.log_ins > 1, "no token expired: the renewal was not seen"
    assert b"snakemake" in commands
    assert b"upscaling.execution.worker" in commands
    assert SECRETS.search(commands) is None
    assert (run.folder / ".snakemake").is_dir()
    for path in run.folder.rglob("*"):  # what was printed is there, too
        if path.is_file():
            found = SECRETS.search(path.read_bytes())
            assert found is None, (path, found)
