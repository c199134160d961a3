"""A tile at the edge of its UTM zone is processed as it is, not as the lon/lat box around it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from tests.servers import EmbeddedBackend, scene_collections
from tests.workflow.conftest import Run

# At 47 N the zone border, 12 E, lies at 728 km east of zone 32: a lon/lat box of a 2 km tile there is a sixth larger.
WEST, NORTH, PIXELS = 722_000, 5_212_000, 800


@pytest.fixture
def edge_backend(tmp_path: Path) -> Iterator[EmbeddedBackend]:
    path = tmp_path / "edge.tif"
    values = np.random.default_rng(3).integers(1, 9000, (5, PIXELS, PIXELS), dtype="uint16")
    profile = {
        "driver": "GTiff",
        "count": 5,
        "dtype": "uint16",
        "nodata": 0,
        "crs": "EPSG:32632",
        "transform": Affine(10, 0, WEST, 0, -10, NORTH),
        "width": PIXELS,
        "height": PIXELS,
    }
    with rasterio.open(path, "w", **profile) as target:
        target.write(values)
    server = EmbeddedBackend(scene_collections(path, tmp_path), tmp_path / "backend").start()
    yield server
    server.stop()


def test_tiles_at_a_zone_border_keep_their_bounds(edge_backend: EmbeddedBackend, scene_run: Callable[..., Run]) -> None:
    # west of 12 E only: zone 32
    run = scene_run(edge_backend, area={"aoi": [11.955, 47.0, 11.985, 47.015], "grid": "utm-2km"})
    done = run.gather()
    assert done.returncode == 0, done.stderr
    items = sorted(run.results.glob("tiles/*/item.json"))
    assert len(items) >= 2
    with rasterio.open(edge_backend.data.parent / "edge.tif") as source:
        scene = source.read().astype("float32")
    ndvi = (scene[3] - scene[0]) / (scene[3] + scene[0])
    for path in items:
        item = json.loads(path.read_text())
        (asset,) = item["assets"].values()
        with rasterio.open(path.parent / asset["href"]) as tile:
            bounds, pixels = tile.bounds, tile.read(1)
            assert tile.crs.to_epsg() == 32632
        assert (bounds.right - bounds.left, bounds.top - bounds.bottom) == (2000, 2000)
        assert bounds.left % 2000 == bounds.bottom % 2000 == 0
        row, column = round((NORTH - bounds.top) / 10), round((bounds.left - WEST) / 10)
        np.testing.assert_array_equal(pixels, ndvi[row : row + 200, column : column + 200])
