"""How a job can end other than well, and what comes of it: canceled, lost by the platform, paid and not acceptable."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.faults import proxy as at
from tests.faults.conftest import MAX_NDVI, Tiles, only_class
from tests.faults.proxy import FaultyProxy, edit, say
from tests.planned import everywhere, planned_run, tiles_of
from tests.servers import PASSWORD, USER, EmbeddedBackend
from upscaling.cli.app import app
from upscaling.config import Config
from upscaling.errors import ErrorClass, UpscalingError
from upscaling.execution.tile import run_tile
from upscaling.monitor.platform_jobs import discard_results
from upscaling.monitor.progress import read_states

Make = Callable[..., Tiles]
LOST = "Diagnostics: Container released on a *lost* node. Exit status: -100."


@pytest.fixture
def slow_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedBackend]:
    """Jobs take ten minutes."""
    monkeypatch.setenv("OPENEO_AUTH_USERNAME", USER)
    monkeypatch.setenv("OPENEO_AUTH_PASSWORD", PASSWORD)
    server = EmbeddedBackend(everywhere(tmp_path), tmp_path / "slow", simulate=(600, 600)).start()
    yield server
    server.stop()


def state_of(run: Path) -> str:
    return str(read_states(run)[0].state)


def becomes(run: Path, state: str) -> bool:
    end = time.monotonic() + 200
    while state_of(run) != state and time.monotonic() < end:
        time.sleep(0.05)
    return state_of(run) == state


@pytest.mark.parametrize("who", ["on the platform", "upscaling cancel"])
def test_a_job_is_seen_running_and_once_canceled_is_a_class_of_its_own(
    who: str, slow_platform: EmbeddedBackend, tmp_path: Path
) -> None:
    run = planned_run(tmp_path, slow_platform.url, columns=1, rows=1, poll_seconds=[0.1, 0.3], lag_seconds=1)
    (tile,) = tiles_of(run)
    ends: list[str] = []

    def see_through() -> None:
        try:
            run_tile(tile, run_folder=run)
        except UpscalingError as error:
            ends.append(str(error))

    thread = threading.Thread(target=see_through, daemon=True)
    thread.start()
    assert becomes(run, "running")
    (job,) = slow_platform.jobs()
    if who == "on the platform":
        import openeo

        openeo.connect(slow_platform.url).authenticate_basic(USER, PASSWORD).job(job["id"]).stop()
        thread.join(200)
    else:  # while a process that outlived Snakemake still waits for the job
        said = CliRunner().invoke(app, ["cancel", str(run)])
        assert said.exit_code == 0, said.output
        thread.join(200)
    assert "was canceled on the platform" in ends[0]
    (state,) = read_states(run)
    assert (state.state, state.error_class) == ("canceled", ErrorClass.CANCELED)
    assert [entry["status"] for entry in slow_platform.jobs()] == ["canceled"]


def broken(shared_data: Path, folder: Path) -> Path:
    definition = json.loads((shared_data / MAX_NDVI).read_text())
    definition["process_graph"]["loadcollection1"]["arguments"]["bands"] = ["B04", "B99"]
    path = folder / "broken.json"
    path.write_text(json.dumps(definition))
    return path


def say_lost(content: Any) -> None:
    content["logs"] = [{"id": "1", "level": "error", "message": LOST}]


def test_a_job_that_the_platform_lost_is_made_again(
    tiles: Make, proxy: FaultyProxy, shared_data: Path, tmp_path: Path
) -> None:
    run = tiles(1, source=broken(shared_data, tmp_path))
    proxy.spoil(at.LOGS, edit(say_lost))
    assert only_class(run.run()) == {ErrorClass.PERMANENT}  # of the second job, which did fail by itself
    assert len(run.jobs()) == 2
    assert "lost the job; submitted again (1 of 2)" in run.receipt()["history"][0]["why"]


def test_a_platform_that_goes_on_losing_jobs_is_not_paid_for_ever(
    tiles: Make, proxy: FaultyProxy, shared_data: Path, tmp_path: Path
) -> None:
    run = tiles(1, source=broken(shared_data, tmp_path), resubmit_lost=1)
    proxy.spoil(at.LOGS, edit(say_lost), times=None)
    assert only_class(run.run()) == {ErrorClass.LOST}
    assert len(run.jobs()) == 2
    assert only_class(run.run()) == {ErrorClass.LOST}
    assert len(run.jobs()) == 4  # the next run has its own count


def too_small(shared_data: Path, folder: Path) -> Path:
    """A process whose raster is smaller than the tile that it is asked for."""
    definition = json.loads((shared_data / MAX_NDVI).read_text())
    graph = definition["process_graph"]
    (last,) = (name for name, node in graph.items() if node.pop("result", None))
    box = {"west": 676200, "south": 5150200, "east": 676800, "north": 5150800, "crs": 32632}
    arguments = {"data": {"from_node": last}, "extent": box}
    graph["cut"] = {"process_id": "filter_bbox", "arguments": arguments, "result": True}
    path = folder / "small.json"
    path.write_text(json.dumps(definition))
    return path


def test_a_job_whose_raster_is_refused_is_paid_once_and_a_changed_check_takes_it(
    tiles: Make, proxy: FaultyProxy, shared_data: Path, tmp_path: Path
) -> None:
    run = tiles(1, source=too_small(shared_data, tmp_path))
    for _ in range(2):
        assert only_class(run.run()) == {ErrorClass.OUTPUT}
        assert len(run.jobs()) == 1
        assert (run.receipt()["state"], run.receipt()["error"]["class"]) == ("finished", "bad-output")
        assert state_of(run.folder) == "failed"
    run.config = Config.parse({**run.config.model_dump(), "collection": {"exact": False}})
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == 1
    assert (run.receipt()["state"], run.receipt()["error"]) == ("done", None)


def test_only_on_demand_a_refused_job_is_made_and_paid_again(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(1)
    proxy.spoil(at.DOWNLOAD, say(200, b"II*\0" + bytes(4000), "image/tiff"), times=3)
    assert only_class(run.run()) == {ErrorClass.OUTPUT}
    (tile,) = run.plan.tiles
    assert discard_results(run.folder, [tile]) == [tile]
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == 2
    assert discard_results(run.folder, [tile]) == []
