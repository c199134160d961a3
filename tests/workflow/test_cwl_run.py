"""Issue 2, Shows 4: the demo package over the real scene, one toil-cwl-runner per tile, through real Snakemake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pixels import put_together, scene_ndvi, window
from tests.servers import environment
from tests.workflow.conftest import Run, package_config, work_folder

TILES = 30


@pytest.fixture
def package_run(scene: Path, tmp_path: Path) -> Callable[..., Run]:
    folder = work_folder(tmp_path)

    def make(**backend: object) -> Run:
        return Run(folder, environment(), package_config(scene, "utm-2km", slots=2, **backend))

    return make


@pytest.mark.parametrize(
    "backend", [{"engine": "toil", "chunk": 15}, {"engine": "cwltool", "chunk": 8}], ids=lambda b: b["engine"]
)
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
