"""Issue 5, Show 3 on a real SLURM: four tools, scatters over staged items and their bands, over twelve tiles."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cluster.conftest import ClusterRun, Slurm
from tests.conftest import ROOT
from tests.fake_stac_api import FakeStacApi
from tests.pixels import put_together
from tests.stac_products import expected_water, make_items
from tests.workflow.conftest import CRS

AREA = [[678000, 5148000], [686000, 5148000], [686000, 5154000], [678000, 5154000], [678000, 5148000]]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("profile", "backend"),
    [("local", {"batch_system": "slurm", "slots": 6, "options": ["--statePollingWait=2"]}), ("slurm", {"chunk": 3})],
    ids=["every-step-is-a-job", "tiles-share-a-job"],
)
def test_four_tools_over_staged_items(
    slurm: Slurm,
    cluster_run: Callable[..., ClusterRun],
    scene: Path,
    tmp_path: Path,
    profile: str,
    backend: dict[str, Any],
) -> None:
    run, before = cluster_run(profile, grid="utm-2km", site={"runtime_min": 15}, **backend), slurm.last_job()
    (run.folder / "scene.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [AREA], "crs": CRS}))
    run.config["algorithm"] = {"source": f"{ROOT / 'cwl' / 'water.cwl'}#water"}
    with FakeStacApi(tmp_path / "files") as api:
        api.items = make_items(scene, api.folder, href=f"{api.url}/files")
        time = ["2022-06-01", "2022-07-01"]
        run.config["stage_in"] = {"catalogue": api.url, "time": time, "max_cloud_cover": 30}
        done = run.snakemake()
    assert done.returncode == 0, done.stderr
    assert len(run.items()) == 12
    found, (west, _, _, north) = put_together(run.results / "collection.json")
    products = expected_water(scene, ["west_a", "east_a", "whole_b"])
    inside = products[round((5154960 - north) / 10) :, round((west - 674990) / 10) :][: found.shape[0]]
    expected = np.full(found.shape, 255, "uint8")
    expected[:, : inside.shape[1]] = inside
    np.testing.assert_array_equal(found, expected)
    assert max(times for path, times in api.gets.items() if path.startswith("/files/")) == 1
    jobs = slurm.jobs(before, "JobName")
    assert {job["State"] for job in jobs} == {"COMPLETED"}
    if profile == "slurm":
        assert len(jobs) == 4
        return
    # Two items for a tile, three where the strips overlap; two bands of each.
    ran = Counter(
        step for job in jobs for step in ("crop", "index", "threshold", "stac") if f".{step}" in job["JobName"]
    )
    assert ran == {"crop": 54, "index": 27, "threshold": 27, "stac": 12}
