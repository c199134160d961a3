"""Faults through real Snakemake: its exit status is right, and the next run does what is missing, and only that."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.faults import proxy as at
from tests.faults.proxy import Answer, FaultyProxy, Forward, drop, drop_after, refuse, truncate
from tests.pixels import put_together, scene_ndvi, window
from tests.servers import EmbeddedBackend
from tests.workflow.conftest import CRS, Run, scene_run  # noqa: F401 -- a fixture

TILES = 12
SHORT = {"poll_seconds": [0.1, 1], "lag_seconds": 2, "outage_hours": 30 / 3600, "request_seconds": 5}


@pytest.fixture
def make(platform: EmbeddedBackend, proxy: FaultyProxy, scene_run: Callable[..., Run]) -> Callable[..., Run]:  # noqa: F811
    def make(name: str, **backend: Any) -> Run:
        run = scene_run(platform, run=name)
        ring = [[676100, 5150100], [679900, 5150100], [679900, 5152900], [676100, 5152900], [676100, 5150100]]
        (run.folder / "block.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring], "crs": CRS}))
        run.config["area"] = {"aoi": "block.geojson", "grid": "utm-1km"}
        run.config["backend"] = {**run.config["backend"], "url": proxy.url, "slots": 6, **SHORT, **backend}
        return run

    return make


def jobs_of(platform: EmbeddedBackend, run: Run) -> list[dict[str, Any]]:
    return [job for job in platform.jobs() if f" {run.config['run']} " in job["title"]]


@pytest.mark.slow
def test_a_storm_of_faults_over_a_whole_run(
    make: Callable[..., Run], proxy: FaultyProxy, platform: EmbeddedBackend, scene: Path
) -> None:
    """Every fifth request goes wrong in one of eight ways; the pixels are right all the same, each paid for once."""
    run, chance, met = make("storm"), random.Random(7), [0]
    ways = [
        refuse(429, "TooManyRequests"),
        refuse(500, "Internal"),
        refuse(502),
        refuse(503, act=True),
        drop,
        drop_after,
    ]
    ways += [refuse(403, "TokenInvalid"), truncate]

    def sometimes(forward: Forward, path: str) -> Answer:
        if path.startswith("/jobs") and chance.random() < 0.2 and not re.fullmatch(r"/jobs", path):
            met[0] += 1
            return chance.choice(ways)(forward, path)
        return forward()

    for method in ("GET", "POST"):
        proxy.spoil((method, ".*"), sometimes, times=None)
    done = run.gather()
    assert done.returncode == 0, done.stderr
    assert met[0] > TILES
    jobs = jobs_of(platform, run)
    assert len(jobs) == len({job["title"] for job in jobs}) == TILES
    expected, bounds = scene_ndvi(scene)
    pixels, where = put_together(run.results / "collection.json")
    np.testing.assert_array_equal(pixels, window(expected, bounds, where, strict=False))


@pytest.mark.slow
def test_a_tile_whose_results_are_not_there_is_missing_and_the_next_run_fetches_them(
    make: Callable[..., Run], proxy: FaultyProxy, platform: EmbeddedBackend
) -> None:
    run, lost = make("gone"), list[str]()

    def gone(forward: Forward, path: str) -> Answer:
        lost[:] = lost or [path]
        return refuse(410, "ResultLinkExpired", "too late")(forward, path) if path == lost[0] else forward()

    proxy.spoil(at.RESULTS, gone, times=None)
    done = run.snakemake()
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("error: tile ")]
    assert len(said) == 1
    assert "is finished and its results are not there" in said[0]
    assert "11 tiles that are done; 1 are missing" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(jobs_of(platform, run)) == TILES
    proxy.faults.clear()
    done = run.snakemake()
    assert done.returncode == 0, done.stderr
    assert len(jobs_of(platform, run)) == TILES, "a job that is paid was made again"


@pytest.mark.slow
def test_a_platform_that_goes_away_in_the_middle_leaves_a_run_that_goes_on_later(
    make: Callable[..., Run], proxy: FaultyProxy, platform: EmbeddedBackend
) -> None:
    run = make("away", outage_hours=3 / 3600)
    proxy.spoil(("GET", "/jobs/.*"), refuse(503), skip=40, times=None)
    done = run.snakemake()
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    proxy.faults.clear()
    done = run.snakemake()
    assert done.returncode == 0, done.stderr
    jobs = jobs_of(platform, run)
    assert len(jobs) == len({job["title"] for job in jobs}) == TILES


@pytest.mark.slow
def test_three_of_forty_tiles_fail_and_the_next_run_completes_the_collection(
    make: Callable[..., Run], proxy: FaultyProxy, platform: EmbeddedBackend, scene: Path
) -> None:
    run = make("three")
    ring = [[676100, 5148100], [683900, 5148100], [683900, 5152900], [676100, 5152900], [676100, 5148100]]
    (run.folder / "block.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring], "crs": CRS}))
    bad = ["utm-1km_32n_e0676_n5148", "utm-1km_32n_e0679_n5150", "utm-1km_32n_e0683_n5152"]

    def spoilt(job: dict[str, Any]) -> dict[str, Any]:
        named = any(tile in str(job.get("title")) for tile in bad)
        return {**job, "status": "error"} if named and job["status"] == "finished" else job

    proxy.spoil(at.JOB, at.edit(spoilt), times=None)
    proxy.spoil(at.LIST, at.edit(lambda page: {**page, "jobs": [spoilt(job) for job in page["jobs"]]}), times=None)
    done = run.snakemake()
    assert done.returncode != 0
    assert "37 tiles that are done; 3 are missing" in done.stderr
    assert "Traceback" not in done.stderr
    path = run.results / "collection.json"
    partial = json.loads(path.read_text())
    assert sorted(entry["tile"] for entry in partial["upscaling:missing"]) == bad
    assert all("error" in entry["reason"] for entry in partial["upscaling:missing"])
    assert (partial["upscaling:tiles"]["planned"], partial["upscaling:tiles"]["collected"]) == (40, 37)
    assert sum(link["rel"] == "item" for link in partial["links"]) == 37
    assert len(jobs_of(platform, run)) == 40

    proxy.faults.clear()
    done = run.snakemake()
    assert done.returncode == 0, done.stderr
    assert json.loads(path.read_text())["upscaling:missing"] == []
    expected, bounds = scene_ndvi(scene)
    pixels, where = put_together(path)
    np.testing.assert_array_equal(pixels, window(expected, bounds, where, strict=False))
    jobs = jobs_of(platform, run)
    assert len(jobs) == len({job["title"] for job in jobs}) == 40, "what the platform had finished was paid again"
