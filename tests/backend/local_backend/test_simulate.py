"""The mode for load tests: jobs without pixels."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openeo
import pytest
import rasterio
from openeo.rest import OpenEoApiError
from tests.servers import PASSWORD, USER, EmbeddedBackend

from upscaling.local_backend.errors import ProcessError
from upscaling.local_backend.simulate import duration_of, write_result


def load(extent: Any) -> dict[str, Any]:
    return {
        "load": {
            "process_id": "load_collection",
            "arguments": {"id": "S2", "spatial_extent": extent, "temporal_extent": None},
            "result": True,
        }
    }


@pytest.fixture
def connection(tmp_path: Path, collections: Path) -> Iterator[openeo.Connection]:
    server = EmbeddedBackend(collections, tmp_path / "root", slots=2, simulate=(0.5, 1.0)).start()
    yield openeo.connect(server.url).authenticate_basic(USER, PASSWORD)
    server.stop()


def test_simulated_jobs_keep_to_limit_and_time_and_can_be_canceled(
    connection: openeo.Connection, tmp_path: Path
) -> None:
    graph = load({"west": 500_005, "south": 5_000_000, "east": 501_005, "north": 5_000_500, "crs": 32632})
    jobs = [connection.create_job(graph) for _ in range(3)]
    for job in jobs[:2]:
        job.start()
    with pytest.raises(OpenEoApiError, match=r"concurrent job limit \(2\) is reached"):
        jobs[2].start()
    jobs[1].stop()
    while jobs[0].status() in {"queued", "running"}:
        time.sleep(0.05)
    assert [job.status() for job in jobs] == ["finished", "canceled", "created"]
    described = jobs[0].describe()
    taken = duration_of(jobs[0].job_id, (0.5, 1.0))
    assert 0.5 <= taken <= 1.0
    assert described["usage"]["duration"]["value"] == pytest.approx(taken, abs=1e-3)
    assert described["costs"] == pytest.approx(1.0005, abs=1e-5)  # 1 a job and 1 per 1,000 km²; this is half a km²
    jobs[0].get_results().download_file(tmp_path / "one.tif")
    with rasterio.open(tmp_path / "one.tif") as raster:
        assert (raster.bounds, raster.crs.to_epsg()) == ((500_005, 5_000_000, 501_005, 5_000_500), 32632)
        assert raster.shape == (50, 100)
        assert (raster.read() == 1).all()


def test_an_extent_in_degrees_is_met_at_its_edges(tmp_path: Path) -> None:
    write_result(load({"west": 11.0, "south": 46.0, "east": 11.1, "north": 46.05}), tmp_path)
    with rasterio.open(tmp_path / "output" / "openEO.tif") as raster:
        assert tuple(raster.bounds) == pytest.approx((11.0, 46.0, 11.1, 46.05), abs=1e-12)
        assert raster.shape == (557, 1113)
    asset = json.loads((tmp_path / "result.json").read_text())["assets"]["openEO.tif"]
    assert asset["bbox"] == pytest.approx([11.0, 46.0, 11.1, 46.05])


@pytest.mark.parametrize("extent", [None, {"west": 1, "south": 0, "east": 0, "north": 1}, {"type": "nonsense"}])
def test_what_cannot_be_simulated_is_an_error_of_the_job(extent: Any, tmp_path: Path) -> None:
    with pytest.raises(ProcessError):
        write_result(load(extent), tmp_path)
