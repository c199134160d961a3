"""The demo package over the real scene, one toil-cwl-runner per tile, through real Snakemake."""

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

TILES = 6
# Notes the table that it was given, and gives the scene.
NOTES = """
cwlVersion: v1.2
class: CommandLineTool
inputs:
  bbox: string
  journal: {type: string, inputBinding: {position: 1}}
  table: {type: File, inputBinding: {position: 2}}
  scene: {type: File, inputBinding: {position: 3}}
baseCommand: [sh, -c, 'cat "$1" >> "$0"; cp "$2" out.tif']
outputs: {out: {type: File, outputBinding: {glob: out.tif}}}
"""


@pytest.fixture
def package_run(scene: Path, tmp_path: Path) -> Callable[..., Run]:
    folder = work_folder(tmp_path)

    def make(**backend: object) -> Run:
        return Run(folder, environment(), package_config(scene, "utm-5km", slots=2, **backend))

    return make


@pytest.mark.parametrize(
    "backend", [{"engine": "toil", "chunk": 3}, {"engine": "cwltool", "chunk": 2}], ids=lambda b: b["engine"]
)
def test_tiles_of_the_package_equal_numpy(
    package_run: Callable[..., Run], scene: Path, backend: dict[str, Any]
) -> None:
    run = package_run(**backend)
    done = run.gather()
    assert done.returncode == 0, done.stderr
    expected, bounds = scene_ndvi(scene)
    collection = run.results / "collection.json"
    assert len(list(run.results.glob("tiles/*/item.json"))) == TILES
    np.testing.assert_array_equal(window(*put_together(collection), bounds), expected)
    item = json.loads(next(iter(run.results.glob("tiles/*/item.json"))).read_text())
    assert item["properties"]["datetime"] == "2022-06-12T10:10:00Z"
    assert backend["engine"] in item["properties"]["processing:software"]
    again = run.gather()
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


def test_a_file_that_was_edited_runs_again_what_it_is_a_parameter_of(scene: Path, tmp_path: Path) -> None:
    config = package_config(scene, "none", engine="cwltool")
    (tmp_path / "notes.cwl").write_text(NOTES)
    tables = [tmp_path / name for name in ("a.csv", "b.csv")]
    for table in tables:
        table.write_text(f"{table.name}\n")
    journal = tmp_path / "journal"
    config["algorithm"] = {
        "source": str(tmp_path / "notes.cwl"),
        "parameters": {"scene": str(scene), "journal": str(journal)},
    }
    config["for_each"] = {"parameters": {"table": [str(table) for table in tables]}}
    config["collection"] = {"exact": False}
    run = Run(work_folder(tmp_path), environment(), config)
    done = run.gather()
    assert done.returncode == 0, done.stderr
    assert sorted(journal.read_text().split()) == ["a.csv", "b.csv"]
    tables[0].touch()
    tables[1].write_text("edited\n")
    again = run.gather()
    assert again.returncode == 0, again.stderr
    assert sorted(journal.read_text().split()) == ["a.csv", "b.csv", "edited"]
