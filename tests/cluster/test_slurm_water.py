"""On a real SLURM: four tools, scatters over staged items and their bands, over four tiles."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.cluster.conftest import ClusterRun, Slurm
from tests.conftest import ROOT
from tests.pixels import put_together
from tests.stac_products import expected_water, products_api
from tests.workflow.conftest import CRS

AREA = [[678000, 5150000], [686000, 5150000], [686000, 5152000], [678000, 5152000], [678000, 5150000]]

WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "every-step-is-a-job": ("local", {"batch_system": "slurm", "slots": 2, "chunk": 4}),
    "tiles-share-a-job": ("slurm", {"chunk": 2}),
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_four_tools_over_staged_items_both_ways_at_once(
    slurm: Slurm, cluster_run: Callable[..., ClusterRun], scene: Path, tmp_path: Path
) -> None:
    before = slurm.last_job()
    runs = {}
    with products_api(scene, tmp_path / "files") as api:
        for way, (profile, backend) in WAYS.items():
            run = cluster_run(profile, grid="utm-2km", folder=way, site={"runtime_min": 15}, **backend)
            area = {"type": "Polygon", "coordinates": [AREA], "crs": CRS}
            (run.folder / "scene.geojson").write_text(json.dumps(area))
            run.config["algorithm"] = {"source": f"{ROOT / 'cwl' / 'water.cwl'}#water"}
            time = ["2022-06-01", "2022-07-01"]
            run.config["stage_in"] = {"catalogue": api.url, "time": time, "max_cloud_cover": 30}
            runs[way] = run
        started = [run.start("--", "collect_items") for run in runs.values()]
        ends = [process.wait(900) for process in started]
    said = [(run.folder / "snakemake.out").read_text() for run in runs.values()]
    assert ends == [0, 0], "\n".join(said)
    expected = numpy_water(scene)
    for run in runs.values():
        assert len(run.items()) == 4
        found, _ = put_together(run.results / "collection.json")
        np.testing.assert_array_equal(found, expected)
    assert max(times for path, times in api.gets.items() if path.startswith("/files/")) == len(runs)
    jobs = slurm.jobs(before, "JobName")
    assert {job["State"] for job in jobs} == {"COMPLETED"}
    steps = [job["JobName"] for job in jobs if "toil_job" in job["JobName"]]
    assert len(jobs) - len(steps) == 2, "four tiles, two in a job"
    # Two items for a tile, three where the strips overlap; two bands of each.
    ran = Counter(step for name in steps for step in ("crop", "index", "threshold", "stac") if f".{step}" in name)
    assert ran == {"crop": 18, "index": 9, "threshold": 9, "stac": 4}


def numpy_water(scene: Path) -> NDArray[np.uint8]:
    """Return what the collection's raster over the area is to be."""
    products = expected_water(scene, ["west_a", "east_a", "whole_b"])
    west, north = AREA[0][0], AREA[2][1]
    inside = products[round((5154960 - north) / 10) :, round((west - 674990) / 10) :]
    height, width = (north - AREA[0][1]) // 10, (AREA[1][0] - west) // 10
    expected = np.full((height, width), 255, "uint8")
    inside = inside[:height, :width]
    expected[: inside.shape[0], : inside.shape[1]] = inside
    return expected
