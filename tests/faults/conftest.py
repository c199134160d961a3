"""A few real tiles on the real embedded back-end, through a proxy that spoils what a test wants spoilt."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from tests.faults.proxy import FaultyProxy
from tests.pixels import scene_ndvi, window
from tests.servers import PASSWORD, USER, EmbeddedBackend, scene_collections
from tests.workflow.conftest import CRS, MAX_NDVI
from upscaling.config import Config
from upscaling.errors import ErrorClass, UpscalingError
from upscaling.execution.tile import run_tile
from upscaling.execution.worker import import_libraries
from upscaling.planning.ensure import ensure_plan
from upscaling.planning.plan import Plan, keep_config

_number = itertools.count(1)


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Iterator[EmbeddedBackend]:
    """One back-end for all faults; it allows three jobs at a time."""
    folder = tmp_path_factory.mktemp("platform")
    scene = shared_data / "sentinel2" / "S2_L2A_sample.tif"
    server = EmbeddedBackend(scene_collections(scene, folder), folder / "backend", slots=3).start()
    yield server
    server.stop()


@pytest.fixture
def proxy(platform: EmbeddedBackend) -> Iterator[FaultyProxy]:
    """A proxy of this test's own: its address makes the test's work different from all other tests'."""
    faulty = FaultyProxy(platform.port)
    yield faulty
    faulty.close()


@dataclass
class Tiles:
    """A run of a few tiles in this process, one thread each, as the worker does it."""

    config: Config
    folder: Path
    plan: Plan
    platform: EmbeddedBackend
    scene: Path

    def run(self, only: str | None = None) -> dict[str, UpscalingError | None]:
        """See all tiles through at the same time; return what each one ended with."""
        ends: dict[str, Any] = {}

        def see_through(tile: str) -> None:
            try:
                run_tile(tile, config=self.config, run_folder=self.folder)
            except BaseException as error:  # what it was is what the test asks
                ends[tile] = error
            else:
                ends[tile] = None

        wanted = [only] if only else list(self.plan.tiles)
        threads = [threading.Thread(target=see_through, args=(tile,), daemon=True) for tile in wanted]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(400)
            assert not thread.is_alive(), "a tile came to no end"
        for error in ends.values():
            assert error is None or isinstance(error, UpscalingError), repr(error)
            assert error is None or "\n" not in str(error)
        self.check_items(ends)
        return ends

    def check_items(self, ends: dict[str, Any]) -> None:
        """A tile that ended well has the right pixels, one that did not has no item."""
        expected, bounds = scene_ndvi(self.scene)
        for tile, error in ends.items():
            path = self.folder / "tiles" / tile / "item.json"
            assert path.exists() == (error is None), f"{tile}: {error}"
            if error is not None:
                continue
            (asset,) = json.loads(path.read_text())["assets"].values()
            with rasterio.open(path.parent / asset["href"]) as source:
                np.testing.assert_array_equal(
                    source.read(1), window(expected, bounds, source.bounds, strict=False), err_msg=tile
                )

    def receipt(self, tile: str | None = None) -> dict[str, Any]:
        name = tile or next(iter(self.plan.tiles))
        content: dict[str, Any] = json.loads((self.folder / "receipts" / f"{name}.json").read_text())
        return content

    def jobs(self) -> list[dict[str, Any]]:
        """The platform's jobs of this run, asked for without the proxy."""
        return [job for job in self.platform.jobs() if f" {self.config.run} " in str(job["title"])]


@pytest.fixture
def tiles(
    proxy: FaultyProxy, platform: EmbeddedBackend, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Tiles]:
    """Make a run of ``columns`` tiles of 1 km.

    It is patient, as a loaded machine may need seconds for an answer; a test of silence brings its own patience.
    """
    monkeypatch.setenv("OPENEO_AUTH_USERNAME", USER)
    monkeypatch.setenv("OPENEO_AUTH_PASSWORD", PASSWORD)
    monkeypatch.delenv("UPSCALING_SESSION", raising=False)
    import_libraries("openeo")  # as the process of a run's tiles does

    def make(columns: int = 2, source: Path | None = None, grid: str = "utm-1km", **backend: Any) -> Tiles:
        east = 676_000 + 1000 * columns
        ring = [[676100, 5150100], [east - 100, 5150100], [east - 100, 5150900], [676100, 5150900], [676100, 5150100]]
        area = tmp_path / "area.geojson"
        area.write_text(json.dumps({"type": "Polygon", "coordinates": [ring], "crs": CRS}))
        run = f"faults{next(_number)}"
        config = Config.parse(
            {
                "run": run,
                "algorithm": {
                    "source": str(source or shared_data / MAX_NDVI),
                    "parameters": {"temporal_extent": ["2022-06-01", "2022-07-01"]},
                },
                "area": {"aoi": str(area), "grid": grid},
                "backend": {
                    "kind": "openeo",
                    "url": proxy.url,
                    "auth": "basic",
                    "poll_seconds": [0.05, 0.3],
                    "lag_seconds": 0.8,
                    "outage_hours": 300 / 3600,
                    "request_seconds": 30,
                    **backend,
                },
            }
        )
        folder = tmp_path / "results" / run
        plan = ensure_plan(config, folder)
        keep_config(config, folder)
        assert len(plan.tiles) == columns
        return Tiles(config, folder, plan, platform, shared_data / "sentinel2" / "S2_L2A_sample.tif")

    return make


def only_class(ends: dict[str, Any]) -> set[ErrorClass]:
    return {error.error_class for error in ends.values() if error is not None}
