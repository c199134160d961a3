"""Issue 2, Shows 4: the demo package over the real scene, one toil-cwl-runner per tile, through real Snakemake."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.pixels import put_together, scene_ndvi, window
from tests.servers import BIN
from tests.workflow.conftest import CRS, SCENE_AOI, Run

TILES = 30


@pytest.fixture
def package_run(scene: Path, tmp_path: Path) -> Callable[..., Run]:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "scene.geojson").write_text(json.dumps(SCENE_AOI | {"crs": CRS}))
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}

    def make(**backend: object) -> Run:
        config: dict[str, Any] = {
            "run": "package",
            "algorithm": {
                "source": str(ROOT / "cwl" / "ndvi.cwl"),
                "parameters": {"scene": str(scene), "datetime": "2022-06-12T10:10:00Z"},
            },
            "area": {"aoi": "scene.geojson", "grid": "utm-2km"},
            "backend": {"kind": "cwl", "slots": 2, **backend},
        }
        return Run(folder, environment, config)

    return make


@pytest.mark.parametrize("backend", [{"engine": "toil"}, {"engine": "cwltool", "chunk": 8}], ids=lambda b: b["engine"])
def test_tiles_of_the_package_equal_numpy(
    package_run: Callable[..., Run], scene: Path, backend: dict[str, Any]
) -> None:
    run = package_run(**backend)
    done = run.snakemake()
    assert done.returncode == 0, done.stderr
    expected, bounds = scene_ndvi(scene)
    collection = run.results / "collection.json"
    assert len(list(run.results.glob("tiles/*/item.json"))) == TILES
    np.testing.assert_array_equal(window(*put_together(collection), bounds), expected)
    item = json.loads(next(iter(run.results.glob("tiles/*/item.json"))).read_text())
    assert item["properties"]["datetime"] == "2022-06-12T10:10:00Z"
    assert backend["engine"] in item["properties"]["processing:software"]
    again = run.snakemake()
    assert again.returncode == 0
    assert "Nothing to be done" in again.stderr


def test_an_unknown_input_is_refused_before_anything_runs(package_run: Callable[..., Run]) -> None:
    run = package_run()
    run.config["algorithm"]["parameters"]["sceen"] = "x"
    done = run.snakemake()
    assert done.returncode != 0
    assert "error: config.yaml: algorithm.parameters.sceen" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(run.results.glob("logs/*"))
