"""The catalogue's processes as a run executes them: planned, bound to a tile, sent, fetched, and made an item.

That each graph computes what its formula says is shown process by process in ``tests/backend/local_backend``; here the
way there counts: the tile's exact edges in every form that a process asks for, the time step, and a few values.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
from tests.servers import PASSWORD, USER, EmbeddedBackend

from upscaling.config import Config
from upscaling.errors import TileFailedError
from upscaling.execution.tile import run_tile
from upscaling.planning.make import make_plan

from .conftest import EDGES, in_tile

TIME = {"intervals": [["2022-06-01", "2022-08-01"]]}
RASTERS = {
    "apa_aquatic_plants_algae": 100,  # metres a pixel
    "atmospheric_resistant_vegetation_index": 10,
    "bap_composite": 10,
    "barren_soil": 10,
    "cloudless_mosaic": 10,
    "cohen_braaten_yang_cloud_detection": 10,
    "enhanced_vegetation_index": 10,
    "fire_boundary": 10,
    "hollstein_cloud_detection": 10,
    "leaf_area_index": 10,
    "mago_water_quality": 10,
    "max_ndvi": 10,
    "max_ndvi_composite": 10,
    "plant-senescence-reflectance-index": 10,
    "sentinel1_stats": 10,
}
PICTURES, TABLES = {"bais2", "ndci_cyanobacteria"}, {"timeseries_statistics"}
NOT_HERE = {  # what the platform says; a namespace that was lost on the way would not be named
    "cropsar1d": "this back-end has no process 'cropsar1d' in namespace 'vito'",
    "cropsar2d": "this back-end has no process 'cropsar2d' in namespace 'vito'",
    "sen2like_processing": "this back-end has no process 'sen2like'",
    "wind_turbine_detection": "this back-end has no process 'wind_turbine_detection' in namespace 'apex'",
    "scmap_composite": "th_S2_s2cr_buffered_stac_yflip_no_t.json is not on this host",
}


def area() -> list[float]:
    """A box in degrees well within one tile."""
    to_lonlat = pyproj.Transformer.from_crs(32632, 4326, always_xy=True)
    west, south, east, north = EDGES
    return [*to_lonlat.transform(west + 300, south + 300), *to_lonlat.transform(east - 300, north - 300)]


@pytest.fixture(scope="module")
def outcomes(
    platform: EmbeddedBackend, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any] | str]:
    """Run every process of the catalogue over one tile; of each its item, or why it failed."""
    root = tmp_path_factory.mktemp("runs")
    paths = {path.stem: path for path in shared_data.glob("apex_catalogue/*/*/openeo_udp/*.json")}

    def run(name: str) -> dict[str, Any] | str:
        config = Config.parse(
            {
                "run": name,
                "algorithm": {
                    "source": str(paths[name]),
                    "parameters": {"bands": ["B04"]} if name in TABLES else {},
                },
                "area": {"aoi": area(), "grid": "utm-1km"},
                "time": None if name == "wind_turbine_detection" else TIME,
                "backend": {"kind": "openeo", "url": platform.url, "auth": "basic", "poll_seconds": [0.1, 0.3]},
            }
        )
        (target,) = make_plan(config, root / name).tiles
        try:
            item = run_tile(target, config=config, run_folder=root / name)
        except TileFailedError as error:
            return str(error)
        content: dict[str, Any] = json.loads(item.read_text())
        for asset in content["assets"].values():
            asset["file"] = str((item.parent / asset["href"]).resolve())
        return content

    names = [*RASTERS, *PICTURES, *TABLES, *NOT_HERE]
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(platform.slots) as workers:
        patch.setenv("OPENEO_AUTH_USERNAME", USER)
        patch.setenv("OPENEO_AUTH_PASSWORD", PASSWORD)
        slow_first = sorted(names, key=lambda name: name not in {*TABLES, "bap_composite", "sentinel1_stats"})
        return dict(zip(slow_first, workers.map(run, slow_first), strict=True))


@pytest.fixture
def executed(outcomes: dict[str, dict[str, Any] | str]) -> Callable[[str], dict[str, Any]]:
    def item(name: str) -> dict[str, Any]:
        found = outcomes[name]
        assert isinstance(found, dict), found
        return found

    return item


def pixels(item: dict[str, Any]) -> np.ndarray:
    with rasterio.open(item["assets"]["data"]["file"]) as source:
        values = source.read(masked=True)
        return np.ma.filled(values.astype("float32"), np.nan)


@pytest.mark.parametrize("name", sorted(RASTERS))
def test_a_raster_has_exactly_the_edges_of_its_tile(executed: Callable[[str], dict[str, Any]], name: str) -> None:
    item = executed(name)
    assert item["properties"]["start_datetime"].startswith("2022-06-01")
    for asset in item["assets"].values():
        with rasterio.open(asset["file"]) as source:
            assert source.crs.to_epsg() == 32632
            assert tuple(source.bounds) == EDGES
            assert source.res == (RASTERS[name], RASTERS[name])
            assert np.isfinite(np.ma.filled(source.read(masked=True).astype("float64"), np.nan)).mean() > 0.3


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_a_picture_arrives(executed: Callable[[str], dict[str, Any]], name: str) -> None:
    assets = executed(name)["assets"].values()
    assert {asset["type"] for asset in assets} == {"image/png"}
    assert all(Path(asset["file"]).read_bytes().startswith(b"\x89PNG") for asset in assets)


@pytest.mark.parametrize("name", sorted(NOT_HERE))
def test_what_a_platform_does_not_have_it_says(outcomes: dict[str, dict[str, Any] | str], name: str) -> None:
    found = outcomes[name]
    assert isinstance(found, str)
    assert NOT_HERE[name] in found
    assert "\n" not in found


def test_max_ndvi_is_numpy_to_the_bit(executed: Callable[[str], dict[str, Any]]) -> None:
    red, nir = in_tile("B04", "B08")
    np.testing.assert_array_equal(pixels(executed("max_ndvi"))[0], np.nanmax((nir - red) / (nir + red), axis=0))


def test_barren_soil_is_its_formula(executed: Callable[[str], dict[str, Any]]) -> None:
    def first(values: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(values[0]), values[1], values[0]) / np.float32(10000)

    blue, red, nir, swir = map(first, in_tile("B02", "B04", "B08", "B11"))
    index = ((swir + red) - (nir + blue)) / ((swir + red) + (nir + blue))
    np.testing.assert_allclose(pixels(executed("barren_soil")), [2.5 * index, nir, swir], rtol=2e-5, atol=1e-6)


def test_sentinel1_stats_are_numpy(executed: Callable[[str], dict[str, Any]]) -> None:
    got = pixels(executed("sentinel1_stats"))
    assert got.shape == (14, 100, 100)
    for number, band in enumerate(in_tile("B01", "B02")):  # the files call them VH and VV in that collection
        spread = np.nanstd(band, axis=0, ddof=1)
        expected = [np.nanmin(band, axis=0), np.nanmax(band, axis=0), np.nanmean(band, axis=0), spread]
        np.testing.assert_allclose(got[7 * number : 7 * number + 4], expected, rtol=2e-5, atol=1e-3)


def test_statistics_of_a_polygon_are_those_of_the_tiles_pixels(executed: Callable[[str], dict[str, Any]]) -> None:
    """The tile goes there as a polygon in degrees: not one pixel more or less than the tile has may count."""
    (red,) = in_tile("B04")
    with Path(executed("timeseries_statistics")["assets"]["data"]["file"]).open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    values = {name: float(value) for name, value in row.items() if name.startswith("B04_")}
    statistics = {"min": np.nanmin, "max": np.nanmax, "mean": np.nanmean}
    for name, statistic in statistics.items():
        assert values[f"B04_{name}"] == pytest.approx(statistic(red, axis=0).mean(dtype="float64"), rel=1e-5)


def test_18_of_the_24_run(outcomes: dict[str, dict[str, Any] | str]) -> None:
    """RAMONA, without any area, is not among those that were tried: it reads other hosts."""
    assert sum(isinstance(found, dict) for found in outcomes.values()) == 18
    assert len(outcomes) == 23
