"""From a real run's tiles to the mosaic, the verdict on the whole, and the report."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import rasterio

from tests.pixels import scene_ndvi, window
from tests.servers import EmbeddedBackend
from tests.workflow.conftest import Run
from upscaling.results.shapes import read_mosaics


def jobs(run: Run) -> set[str]:
    """The rules that a dry run names."""
    done = run.snakemake("-n")
    assert done.returncode == 0, done.stderr
    lines = (done.stdout + done.stderr).partition("Job stats:")[2].partition("\n\n")[0].splitlines()
    return {line.split()[0] for line in lines[3:] if line.strip()} - {"total"}


def test_the_mosaic_of_a_run_equals_numpy_and_is_redone_alone(
    backend: EmbeddedBackend, scene: object, scene_run: Callable[..., Run]
) -> None:
    run = scene_run(backend)
    done = run.snakemake()
    assert done.returncode == 0, done.stderr
    expected, bounds = scene_ndvi(scene)  # type: ignore[arg-type]
    (mosaic,) = read_mosaics(run.results)
    assert (mosaic["tiles"], mosaic["crs"], mosaic["cog"], mosaic["notices"]) == (30, "EPSG:32632", None, [])
    with rasterio.open(run.results / "mosaic" / mosaic["index"]) as dataset:
        np.testing.assert_array_equal(window(dataset.read(1), tuple(dataset.bounds), bounds), expected)
    quality = json.loads((run.results / "quality.json").read_text())
    assert quality["problems"] == []
    assert quality["planned"] == quality["items"] == 30
    assert quality["assets"][mosaic["asset"]]["coverage"] > 1 - 1e-6
    text = (run.results / "report.html").read_text()
    assert "finished <b>30</b>" in text
    assert "data:image/png;base64," in text, "the quicklook is not on the map"

    collection = json.loads((run.results / "collection.json").read_text())
    assert set(collection["assets"]) == {"items", "thumbnail", f"index-{mosaic['asset']}", "quality"}
    assert jobs(run) == set(), "the collection, with what was made of it, is newer than that"
    done = run.snakemake("--report", "snakemake.html")
    assert done.returncode == 0, done.stderr
    whole = (run.folder / "snakemake.html").read_text()
    assert "report.html" in whole
    assert mosaic["quicklook"] in whole
    run.config["mosaic"] = {"cog": True}
    assert jobs(run) == {"mosaic", "quality", "run_report", "all"}
    done = run.snakemake("--", "mosaic")
    assert done.returncode == 0, done.stderr
    (mosaic,) = read_mosaics(run.results)
    collection = json.loads((run.results / "collection.json").read_text())
    cog = collection["assets"][f"mosaic-{mosaic['asset']}"]
    assert cog["href"] == f"./mosaic/{mosaic['cog']}"
    assert {"quality", "thumbnail", "items"} < set(collection["assets"])
    assert jobs(run) == {"quality", "run_report", "all"}
    with rasterio.open(run.results / "mosaic" / mosaic["cog"]) as dataset:
        np.testing.assert_array_equal(window(dataset.read(1), tuple(dataset.bounds), bounds), expected)
