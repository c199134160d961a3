"""Issue 5, Show 6: after `upscaling plan` and `pull` a whole run needs no network, not even the loopback of before."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT, missing
from tests.containers import Podman
from tests.fake_stac_api import FakeStacApi
from tests.pixels import put_together, scene_ndvi, window
from tests.servers import BIN
from tests.stac_products import make_items
from tests.workflow.conftest import CRS, SCENE_AOI, Run
from tests.workflow.test_stage_in_run import AREA, JUNE, assert_is_water

# In a network namespace of its own there is a loopback, and no way out.
ALONE = ["unshare", "--net", "sh", "-c", 'ip link set lo up && test -z "$(ip route)" && exec "$@"', "alone"]


@dataclass
class LonelyRun(Run):
    """A run without a network."""

    def command(self, *arguments: str) -> list[str]:
        return [*ALONE, *super().command(*arguments)]


@pytest.fixture(scope="module")
def alone() -> None:
    if not shutil.which("ip") or subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        missing("unshare --net and ip, for root")


@pytest.fixture
def web() -> Iterator[str]:
    """The folder of the demo package on the web, that is on the loopback of here."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(ROOT / "cwl")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def upscaling(run: Run, *arguments: str) -> str:
    run.write()
    said = subprocess.run(
        ["upscaling", *arguments], cwd=run.folder, env=run.environment, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    return said.stdout


@pytest.mark.slow
def test_a_package_of_the_web_in_its_image(
    alone: None, podman: Podman, ndvi_image: str, web: str, scene: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "scene.geojson").write_text(json.dumps(SCENE_AOI | {"crs": CRS}))
    path = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    config = {
        "run": "alone",
        "algorithm": {
            "source": f"{web}/ndvi.cwl#ndvi",
            "parameters": {"scene": str(scene), "datetime": "2022-06-12T10:10:00Z"},
        },
        "area": {"aoi": "scene.geojson", "grid": "utm-10km"},
        "backend": {"kind": "cwl", "container": "podman", "site": {"container_cache": "images"}},
    }
    run = LonelyRun(folder, {**os.environ, **podman.environment, **path}, config)
    assert run.snakemake("-n").returncode != 0, "there is a network: the package could be had without a plan"
    upscaling(run, "plan", "config.yaml")
    upscaling(run, "pull", "config.yaml")
    podman("rmi", "--force", ndvi_image)
    done = run.snakemake()
    assert done.returncode == 0, done.stderr
    expected, bounds = scene_ndvi(scene)
    np.testing.assert_array_equal(window(*put_together(run.results / "collection.json"), bounds), expected)


@pytest.mark.slow
def test_four_tools_over_items_of_a_stac_api(alone: None, scene: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "area.geojson").write_text(json.dumps(AREA | {"crs": CRS}))
    with FakeStacApi(tmp_path / "files") as server:
        server.items = make_items(scene, server.folder, href=f"{server.url}/files")
        stage_in = {"catalogue": server.url, "collections": ["s2"], "max_cloud_cover": 30, "time": JUNE}
        config = {
            "run": "water",
            "algorithm": {"source": f"{ROOT / 'cwl' / 'water.cwl'}#water"},
            "area": {"aoi": "area.geojson", "grid": "utm-2km"},
            "stage_in": stage_in,
            "backend": {"kind": "cwl", "engine": "cwltool", "slots": 2, "chunk": 8},
        }
        run = LonelyRun(folder, {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}, config)
        upscaling(run, "plan", "config.yaml")
        upscaling(run, "pull", "config.yaml")
    shutil.rmtree(tmp_path / "files")
    done = run.snakemake()
    assert done.returncode == 0, done.stderr
    assert_is_water(run, scene, ["west_a", "east_a", "whole_b"])
