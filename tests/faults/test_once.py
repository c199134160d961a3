"""One table over the three back-ends: whatever happens, a tile is paid once, is not lost, and is what was asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from tests.backend.ogcapi.servers import Pygeoapi
from tests.faults import proxy as at
from tests.faults.proxy import Answer, Dropped, FaultyProxy, Forward, drop_after, edit, refuse
from tests.pixels import scene_ndvi, window
from tests.servers import PASSWORD, USER, EmbeddedBackend
from tests.workflow.conftest import CRS, MAX_NDVI, package_config
from upscaling.backends.ogcapi import jobs as ogcapi_jobs
from upscaling.config import Config
from upscaling.execution.tile import run_tile
from upscaling.planning.ensure import ensure_plan
from upscaling.planning.plan import keep_config

AREA = [[676100, 5150100], [676900, 5150100], [676900, 5150900], [676100, 5150900], [676100, 5150100]]


@dataclass
class Case:
    """One tile on one back-end."""

    kind: str
    config: Config
    folder: Path
    scene: Path
    jobs: Callable[[], int]
    proxy: FaultyProxy | None = None

    @property
    def tile(self) -> str:
        (name,) = ensure_plan(self.config, self.folder).tiles
        return name

    def run(self) -> None:
        """Run the tile and compare its pixels."""
        tile = self.tile
        item = json.loads(run_tile(tile, config=self.config, run_folder=self.folder).read_text())
        expected, bounds = scene_ndvi(self.scene)
        (asset,) = item["assets"].values()
        with rasterio.open(self.folder / "tiles" / tile / asset["href"]) as source:
            wanted = window(expected, bounds, source.bounds, strict=False)
            np.testing.assert_array_equal(source.read(1), wanted)
        receipt = json.loads((self.folder / "receipts" / f"{tile}.json").read_text())
        assert receipt["state"] == "done"

    def spoil(self, where: str, action: at.Action, times: int | None) -> None:
        assert self.proxy is not None
        places = {
            "openeo": {"create": at.CREATE, "results": at.RESULTS, "state": at.JOB},
            "ogcapi": {
                "create": ("POST", r"/processes/ndvi/execution"),
                "results": ("GET", r"/jobs/[^/]+/results"),
                "state": ("GET", r"/jobs/[^/]+"),
            },
        }
        self.proxy.spoil(places[self.kind][where], action, times=times)


@pytest.fixture(scope="module")
def pygeoapi(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pygeoapi]:
    running = Pygeoapi(tmp_path_factory.mktemp("pygeoapi"), scene, echo=True)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def case_of(
    platform: EmbeddedBackend,
    pygeoapi: Pygeoapi,
    scene: Path,
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[str], Case]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ogcapi_jobs, "_OTHERS", (0.05, 0.05))
    monkeypatch.setenv("OPENEO_AUTH_USERNAME", USER)
    monkeypatch.setenv("OPENEO_AUTH_PASSWORD", PASSWORD)
    monkeypatch.delenv("UPSCALING_SESSION", raising=False)
    (tmp_path / "scene.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [AREA], "crs": CRS}))
    opened: list[FaultyProxy] = []

    def make(kind: str) -> Case:
        values: dict[str, Any] = {"area": {"aoi": "scene.geojson", "grid": "utm-1km"}, "run": tmp_path.name[:60]}
        proxy: FaultyProxy | None = None
        jobs = sum_of_nothing
        if kind == "cwl":
            values = {**package_config(scene, "utm-1km", engine="cwltool", slots=1), "run": values["run"]}
        else:
            proxy = FaultyProxy(platform.port if kind == "openeo" else pygeoapi.port)
            opened.append(proxy)
        if kind == "openeo":
            assert proxy is not None
            values["algorithm"] = {
                "source": str(shared_data / MAX_NDVI),
                "parameters": {"temporal_extent": ["2022-06-01", "2022-07-01"]},
            }
            values["backend"] = {
                "kind": "openeo", "url": proxy.url, "auth": "basic", "poll_seconds": [0.05, 0.3],
                "lag_seconds": 2, "outage_hours": 60 / 3600,
            }  # fmt: skip
            before = len(platform.jobs())
            jobs = lambda: len(platform.jobs()) - before  # noqa: E731
        elif kind == "ogcapi":
            assert proxy is not None
            # Work of this test alone: the same inputs again would be the same work.
            seconds = (1 + len(pygeoapi.executions)) / 1000
            source = f"http://127.0.0.1:{proxy.port}/processes/ndvi"
            values["algorithm"] = {"source": source, "parameters": {"seconds": seconds}}
            values["backend"] = {"kind": "ogcapi", "poll_seconds": [0.05, 0.4]}
            before = len(pygeoapi.executions)
            jobs = lambda: len(pygeoapi.executions) - before  # noqa: E731
        config = Config.parse(values)
        folder = tmp_path / "results" / config.run
        ensure_plan(config, folder)
        keep_config(config, folder)
        return Case(kind, config, folder, scene, jobs, proxy)

    yield make
    for proxy in opened:
        proxy.close()


def sum_of_nothing() -> int:
    """Return the jobs of a platform that has none."""
    return 0


def sent_twice(forward: Forward, path: str) -> Answer:
    """Let the platform act twice, and close the connection: a gateway that repeats what it was sent."""
    forward()
    forward()
    raise Dropped


# Fault -> where it strikes, what happens, how often; and the jobs that there may be then.
NOT_THERE = refuse(404, "ResultsNotFound", "No such results, result-not-there")
FAULTS: dict[str, tuple[str, at.Action, int, int]] = {
    "the answer is lost": ("create", drop_after, 1, 1),
    "the request is sent twice": ("create", sent_twice, 1, 2),
    "results are not there for a moment": ("results", NOT_THERE, 4, 1),
    "results are not finished for a moment": (
        "results",
        refuse(400, "JobNotFinished", "Job not finished, not ready"),
        3,
        1,
    ),
    "the job is not known for a moment": ("state", refuse(404, "JobNotFound", "no-such-job: job not found"), 2, 1),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["openeo", "ogcapi"])
def test_a_tile_is_paid_once(kind: str, fault: str, case_of: Callable[[str], Case]) -> None:
    where, action, times, jobs = FAULTS[fault]
    case = case_of(kind)
    case.spoil(where, action, times)
    case.run()
    assert case.jobs() == jobs


def test_a_list_that_is_empty_for_a_moment_is_not_taken_for_no_data(case_of: Callable[[str], Case]) -> None:
    case = case_of("openeo")
    case.spoil("results", edit(lambda document: {**document, "assets": {}, "links": []}), 3)
    case.run()
    assert case.jobs() == 1


@pytest.mark.parametrize("kind", ["openeo", "ogcapi", "cwl"])
def test_what_lies_on_this_disk_is_restored_though_the_platform_dropped_it(
    kind: str, case_of: Callable[[str], Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The item of a finished tile is removed, as Snakemake does it after kill -9, and the platform has nothing more."""
    case = case_of(kind)
    case.run()
    before = case.jobs()
    (case.folder / "tiles" / case.tile / "item.json").unlink()
    shutil.rmtree(case.folder / "scratch", ignore_errors=True)
    if case.proxy is not None:
        for where in ("create", "state", "results"):
            case.spoil(where, refuse(404, "JobNotFound", "no-such-job"), None)
    else:
        from upscaling.backends.cwl.backend import CwlBackend

        monkeypatch.setattr(CwlBackend, "run", lambda *_: pytest.fail("the package ran again"))
    case.run()
    assert case.jobs() == before


@pytest.mark.parametrize("kind", ["openeo", "ogcapi", "cwl"])
def test_another_plan_under_a_tile_submits_nothing(kind: str, case_of: Callable[[str], Case]) -> None:
    """Snakemake asked for one work, and the plan on disk says another."""
    case = case_of(kind)
    tile = case.tile
    asked = ensure_plan(case.config, case.folder).tiles[tile].key
    values = case.config.model_dump(mode="json")
    other = {"openeo": {"temporal_extent": ["2021-06-01", "2021-07-01"]}, "ogcapi": {"seconds": 0.9}}
    values["algorithm"]["parameters"] |= other.get(kind, {"datetime": "2021-06-12T10:10:00Z"})
    ensure_plan(Config.parse(values), case.folder)
    with pytest.raises(Exception, match="would be other work than was asked for"):
        run_tile(tile, key=asked, config=case.config, run_folder=case.folder)
    assert case.jobs() == 0
    assert not (case.folder / "receipts" / f"{tile}.json").exists()
