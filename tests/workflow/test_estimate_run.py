"""A pilot, its estimate, and the run after it, on the embedded back-end with simulated costs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.planned import everywhere
from tests.servers import EmbeddedBackend
from tests.workflow.conftest import Run

COLUMNS, ROWS = 6, 5
FLOOR = 2.0
PILOT = ("--yes", "--json")


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[EmbeddedBackend]:
    """Jobs of a fraction of a second that cost 2 at least, and 3 per km²."""
    server = EmbeddedBackend(
        everywhere(tmp_path), tmp_path / "backend", slots=4, simulate=(0.05, 0.6), costs=(FLOOR, 3.0, 7)
    )
    yield server.start()
    server.stop()


@pytest.fixture
def run(backend: EmbeddedBackend, tmp_path: Path) -> Run:
    folder = tmp_path / "work"
    folder.mkdir()
    west, south, east, north = 500_000, 5_000_000, 500_000 + COLUMNS * 1000, 5_000_000 + ROWS * 1000
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    (folder / "aoi.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring], "crs": crs}))
    config: dict[str, Any] = {
        "run": "pilot",
        "algorithm": {
            "source": str(ROOT / "config/demo/ndvi_composite.json"),
            "parameters": {"temporal_extent": ["2023-06-01", "2023-09-01"]},
        },
        "area": {"aoi": "aoi.geojson", "grid": "utm-1km"},
        "backend": {
            "kind": "openeo", "url": backend.url, "auth": "basic", "slots": 4, "poll_seconds": [0.1, 0.5],
        },
        "budget": 1000,
        "mosaic": {},
    }  # fmt: skip
    return Run(folder, backend.environment, config)


def estimated(run: Run, *words: str) -> dict[str, Any]:
    answer = run.upscaling("estimate", "config.yaml", *words)
    assert answer.returncode == 0, answer.stderr + answer.stdout
    return dict(json.loads(answer.stdout))


def test_a_killed_pilot_pays_nothing_twice_and_the_run_costs_what_was_estimated(
    run: Run, backend: EmbeddedBackend
) -> None:
    before = estimated(run, "--json")
    assert (before["basis"], before["verdict"], before["jobs"]) == ("rough", None, 30)
    answers = {check["name"]: check["answer"] for check in before["checks"]}
    assert (answers["platform"], answers["processes"], answers["format"]) == ("yes", "yes", "yes")

    run.write()
    command = ["upscaling", "estimate", "config.yaml", "--pilot", "12", *PILOT]
    with (run.folder / "pilot.out").open("wb") as out:
        killed = subprocess.Popen(
            command, cwd=run.folder, env=run.environment, stdout=out, stderr=out, start_new_session=True
        )
    deadline = time.monotonic() + 120
    while not list(run.results.glob("tiles/*/item.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert 0 < len(list(run.results.glob("tiles/*/item.json"))) < 30

    after = estimated(run, "--pilot", "12", *PILOT)
    assert (after["basis"], after["finished"]) == ("pilot", 12)
    assert after["verdict"] == after["budget"]["verdict"] == "feasible"
    assert after["minimum_charge"] >= FLOOR
    jobs = backend.jobs()
    assert len({job["title"] for job in jobs}) == len(jobs) == 12
    assert after["spent"] == pytest.approx(sum(job["costs"] for job in jobs), abs=1e-3)
    again = estimated(run, "--pilot", "12", *PILOT)  # nothing is left to run
    assert (again["cost"], len(backend.jobs())) == (after["cost"], 12)

    assert run.snakemake().returncode == 0
    jobs = backend.jobs()
    assert len(jobs) == 30
    actual = sum(job["costs"] for job in jobs)
    assert after["cost"]["p05"] <= actual <= after["cost"]["p95"]  # of this world: its seed is fixed
    end = estimated(run, "--json", "--offline")
    assert end["cost"]["p05"] == pytest.approx(end["cost"]["p95"]) == pytest.approx(actual, abs=1e-3)

    shown = run.upscaling("status", "results/pilot").stdout
    assert "cost: " in shown
    assert "estimate from 30 finished jobs of 30" in (run.results / "report.html").read_text()
    assert run.snakemake("--", "estimate").returncode == 0
    assert json.loads((run.results / "estimate.json").read_text())["cost"] == end["cost"]

    run.config["run"] = "another"  # knows what the first one cost
    rough = estimated(run, "--json", "--offline")
    assert (rough["basis"], rough["verdict"]) == ("rough", None)
    assert "30 earlier jobs of this algorithm (results/history.ndjson)" in rough["rests_on"]
    assert rough["cost"]["p10"] <= actual <= rough["cost"]["p90"]
    assert rough["minimum_charge"] >= FLOOR
