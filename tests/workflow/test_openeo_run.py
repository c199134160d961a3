"""The real scene on the embedded back-end, through real Snakemake."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.conftest import ROOT
from tests.pixels import put_together, scene_ndvi, window
from tests.servers import EmbeddedBackend
from tests.workflow.conftest import Run
from upscaling.results.validate import validate_collection

TILES = 30  # 6 columns (674 to 684 km) by 5 rows (5146 to 5154 km) of 2 km tiles touch the scene with their inside


def todo(run: Run, *arguments: str) -> set[str]:
    """The targets a dry run names."""
    done = run.snakemake("-n", *arguments)
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    return {
        line.partition("tile ")[2].partition(":")[0] if "tile " in line else "collection"
        for line in text.splitlines()
        if line.startswith("Job ") and (": tile " in line or "the STAC collection" in line)
    }


def test_tiles_equal_numpy_and_the_untiled_run_and_only_what_changed_is_redone(
    backend: EmbeddedBackend, scene: Path, shared_data: Path, scene_run: Callable[..., Run]
) -> None:
    run = scene_run(backend)
    names = todo(run)
    assert len(names) == TILES + 1
    assert "utm-2km_32n_e0674_n5146" in names

    done = run.gather()
    assert done.returncode == 0, done.stderr
    expected, bounds = scene_ndvi(scene)
    tiled = window(*put_together(run.results / "collection.json"), bounds)
    np.testing.assert_array_equal(tiled, expected)

    assert validate_collection(run.results / "collection.json", shared_data / "stac_schemas") == []

    untiled = scene_run(backend, run="untiled", area={"aoi": "scene.geojson", "grid": "none"})
    done = untiled.gather()
    assert done.returncode == 0, done.stderr
    whole = window(*put_together(untiled.results / "collection.json"), bounds)
    np.testing.assert_array_equal(tiled, whole)

    # Nothing to do; nothing after a change of slots; one tile and the collection after its folder is gone; all tiles
    # after a change of a parameter.
    run = scene_run(backend)
    assert todo(run) == set()
    run.config["backend"] = {**run.config["backend"], "slots": 7, "timeout_hours": 1}
    assert todo(run) == set()
    shutil.rmtree(run.results / "tiles" / "utm-2km_32n_e0676_n5150")
    assert todo(run) == {"utm-2km_32n_e0676_n5150", "collection"}
    before = len(backend.jobs())
    assert run.snakemake().returncode == 0
    assert len(backend.jobs()) == before, "a finished job was paid for again, only its files were gone"
    assert todo(run) == set()
    run.config["algorithm"] = {
        **run.config["algorithm"],
        "parameters": {"temporal_extent": ["2022-06-02", "2022-07-01"]},
    }
    assert len(todo(run)) == TILES + 1


def test_killed_in_the_middle_and_run_again_there_is_one_job_per_tile(
    backend: EmbeddedBackend, scene: Path, scene_run: Callable[..., Run]
) -> None:
    run = scene_run(backend)
    process = run.start()
    deadline = time.monotonic() + 120
    while len(list(run.results.glob("tiles/*/item.json"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None, "the run ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = len(list(run.results.glob("tiles/*/item.json")))
    assert 5 <= finished < TILES

    done = run.gather()
    assert done.returncode == 0, done.stderr
    titles = [job["title"] for job in backend.jobs()]
    assert len(titles) == TILES
    assert len(set(titles)) == TILES
    expected, bounds = scene_ndvi(scene)
    np.testing.assert_array_equal(window(*put_together(run.results / "collection.json"), bounds), expected)


def test_a_run_whose_first_tiles_fail_alike_stops_submitting(
    backend: EmbeddedBackend, scene_run: Callable[..., Run]
) -> None:
    run = scene_run(backend)
    definition = json.loads(Path(run.config["algorithm"]["source"]).read_text())
    definition["process_graph"]["loadcollection1"]["arguments"]["bands"] = ["B04", "B99"]
    (run.folder / "broken.json").write_text(json.dumps(definition))
    run.config["algorithm"] = {**run.config["algorithm"], "source": "broken.json"}
    run.config["backend"] = {**run.config["backend"], "stop_after": 4}
    done = run.snakemake()
    assert done.returncode != 0
    assert "stopping results/real: the first 4 tiles failed alike" in done.stderr
    # Some more may have been created, to wait for their start; that costs nothing.
    jobs = backend.jobs()
    assert 4 <= len([job for job in jobs if job["status"] != "created"]) <= 4 + backend.slots
    assert len(jobs) <= 4 + 2 * backend.slots
    assert "Traceback" not in done.stderr


def test_a_failing_tile_leaves_the_others_and_says_why(backend: EmbeddedBackend, scene_run: Callable[..., Run]) -> None:
    """An AOI that reaches beyond the data: with a graph that cannot work there, those tiles fail, the others stand."""
    run = scene_run(backend)
    definition = json.loads(Path(run.config["algorithm"]["source"]).read_text())
    definition["process_graph"]["loadcollection1"]["arguments"]["bands"] = ["B04", "B99"]
    broken = run.folder / "broken.json"
    broken.write_text(json.dumps(definition))
    run.config["algorithm"] = {**run.config["algorithm"], "source": "broken.json"}
    run.config["area"] = {"aoi": [11.30, 46.48, 11.31, 46.49], "grid": "utm-2km"}
    done = run.snakemake()
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("error: tile ")]
    assert said, done.stderr
    assert all("B99" in line for line in said)
    assert "Traceback" not in done.stderr


def test_the_workflow_can_be_imported_under_another_folder(
    backend: EmbeddedBackend, scene_run: Callable[..., Run]
) -> None:
    run = scene_run(backend, area={"aoi": [11.30, 46.48, 11.31, 46.49], "grid": "utm-2km"})
    run.config = {"upscale": run.config}
    (run.folder / "Snakefile").write_text(
        f"""
configfile: "config.yaml"

module upscale:
    snakefile: "{ROOT / "Snakefile"}"
    config: config["upscale"]
    pathvars:
        results="elsewhere/deep"

use rule * from upscale as upscale_*

rule mine:
    default_target: True
    input: rules.upscale_all.input
"""
    )
    run.write()
    done = subprocess.run(
        ["snakemake", "--cores", "2", "--configfile", "config.yaml"],
        cwd=run.folder,
        env=run.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    collection = json.loads((run.folder / "elsewhere/deep/real/collection.json").read_text())
    assert collection["type"] == "Collection"
    assert not (run.folder / "results").exists()
