"""The fault table and random kills, on a real pygeoapi that tells what its jobs were sent: none lost, none twice."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from tests.backend.ogcapi.servers import Pygeoapi
from tests.faults.proxy import TRANSIENT, FaultyProxy, drop_after, refuse, say, truncate
from tests.pixels import put_together, scene_ndvi, window
from tests.servers import environment
from tests.workflow.conftest import Run, work_folder

from upscaling.backends.ogcapi import jobs as ogcapi_jobs
from upscaling.config import Config
from upscaling.execution.tile import run_tile
from upscaling.planning.ensure import ensure_plan
from upscaling.planning.plan import keep_config

CREATE, STATUS = ("POST", r"/processes/ndvi/execution"), ("GET", r"/jobs/[^/]+")
RESULTS, LIST = ("GET", r"/jobs/[^/]+/results"), ("GET", r"/jobs")
KILLS, SLOTS = 20, 4
_number = itertools.count(1)


@pytest.fixture(scope="module")
def platform(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pygeoapi]:
    running = Pygeoapi(tmp_path_factory.mktemp("pygeoapi"), scene, echo=True)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def faulty(platform: Pygeoapi) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(platform.port)
    yield proxy
    proxy.close()


@pytest.fixture
def one_tile(
    faulty: FaultyProxy, platform: Pygeoapi, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], None]:
    """See one tile through, and check its pixels, and that the server ran it once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ogcapi_jobs, "_OTHERS", (0.05, 0.05))
    config = Config.parse(
        {
            "run": "faults",
            "algorithm": {
                "source": f"http://127.0.0.1:{faulty.port}/processes/ndvi",
                # Work of this test alone: the same inputs again would be the same work.
                "parameters": {"seconds": next(_number) / 1000},
            },
            "area": {"aoi": [11.31, 46.485, 11.311, 46.486], "grid": "utm-1km"},
            "backend": {"kind": "ogcapi", "poll_seconds": [0.05, 0.2]},
        }
    )
    folder = tmp_path / "results" / "faults"
    plan = ensure_plan(config, folder)
    keep_config(config, folder)
    (tile,) = plan.tiles
    before = len(platform.executions)

    def see_through() -> None:
        item = json.loads(run_tile(tile, config=config, run_folder=folder).read_text())
        expected, bounds = scene_ndvi(scene)
        (asset,) = item["assets"].values()
        with rasterio.open(folder / "tiles" / tile / asset["href"]) as source:
            wanted = window(expected, bounds, source.bounds, strict=False)
            np.testing.assert_array_equal(source.read(1), wanted)
        assert len(platform.executions) == before + 1, "the tile ran twice"

    return see_through


@pytest.mark.parametrize("fault", TRANSIENT)
@pytest.mark.parametrize("where", ["create", "status", "results"])
def test_transient_faults_are_waited_out(
    where: str, fault: str, one_tile: Callable[[], None], faulty: FaultyProxy
) -> None:
    faulty.spoil({"create": CREATE, "status": STATUS, "results": RESULTS}[where], TRANSIENT[fault], times=2)
    one_tile()


@pytest.mark.parametrize("where", ["status", "results"])
def test_half_an_answer_is_none(where: str, one_tile: Callable[[], None], faulty: FaultyProxy) -> None:
    faulty.spoil({"status": STATUS, "results": RESULTS}[where], truncate, times=2)
    one_tile()


def test_results_that_are_not_ready_are_no_results(one_tile: Callable[[], None], faulty: FaultyProxy) -> None:
    faulty.spoil(RESULTS, say(202, b'{"status": "running"}', "application/json"), times=2)
    one_tile()


def test_a_job_list_that_is_out_of_reach_is_waited_for(one_tile: Callable[[], None], faulty: FaultyProxy) -> None:
    faulty.spoil(CREATE, drop_after)
    faulty.spoil(LIST, refuse(503), times=3)
    one_tile()


@pytest.mark.slow
def test_twenty_random_kills(scene: Path, tmp_path: Path) -> None:
    """kill -9 of the whole process group at random moments, until all is done.

    A job sleeps for twice as long as a run may live: each run begins at most a job per slot, and so there is work left
    for the last kill, however fast the machine.
    """
    server = Pygeoapi(tmp_path / "pygeoapi", scene, echo=True)
    server.start()
    config: dict[str, Any] = {
        "run": "kills",
        "algorithm": {"source": f"{server.url}/processes/ndvi", "parameters": {"seconds": 5}},
        "area": {"aoi": "scene.geojson", "grid": "utm-1km"},
        "backend": {"kind": "ogcapi", "slots": SLOTS, "poll_seconds": [0.2, 1]},
    }
    run = Run(work_folder(tmp_path), environment(), config)
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    print("seed", seed)
    kills = 0
    try:
        for _kill in range(KILLS):
            process = run.start()
            sent = len(server.executions)
            deadline = time.monotonic() + 200
            while len(server.executions) == sent and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(chance.uniform(0, 2.5))
            if process.poll() is None:
                kills += 1
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                break
            process.wait()
        done = run.gather()
        assert done.returncode == 0, done.stderr
        tiles = len((run.results / "plan" / "tiles.csv").read_text().splitlines()) - 1
        assert tiles > KILLS * SLOTS
        sent_inputs = [json.dumps(inputs, sort_keys=True) for inputs in server.executions]
        assert kills == KILLS
        assert len(set(sent_inputs)) == tiles
        assert len(sent_inputs) == tiles, "a tile ran twice"
        expected, bounds = scene_ndvi(scene)
        np.testing.assert_array_equal(window(*put_together(run.results / "collection.json"), bounds), expected)
        assert not re.search("Traceback", done.stderr)
    finally:
        server.stop()
