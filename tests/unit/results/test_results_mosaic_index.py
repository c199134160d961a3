"""What the index of a mosaic says of its tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import shapely

from tests.unit.results.tiny_tiles import NEXT, NORTH, UTM, WEST, ones, tile
from upscaling.errors import UpscalingError
from upscaling.results.mosaic import mosaic_parts
from upscaling.results.parts import Part


def index(folder: Path, *parts: Part, **options: Any) -> tuple[dict[str, str], Any]:
    """The facts and the rows of a mosaic's index."""
    target = mosaic_parts(parts, folder / "m.gti.gpkg", **options)
    facts = pyogrio.read_info(target, layer="tiles")["layer_metadata"]
    return facts, pyogrio.read_dataframe(target)


def test_the_index_of_one_lattice_has_its_bounds_and_finest_pixels(tmp_path: Path) -> None:
    coarse = tile(tmp_path, "a", ones(), nodata=0)
    fine = tile(tmp_path, "b", ones(8, 16), 4, pixel=(2.5, 5.0), nodata=0)
    facts, rows = index(tmp_path, coarse, fine)
    assert [float(facts[name]) for name in ("MINX", "MINY", "MAXX", "MAXY")] == [WEST, NORTH - 40, WEST + 80, NORTH]
    assert (facts["RESX"], facts["RESY"], facts["SRS"], facts["RESAMPLING"]) == ("2.5", "5.0", UTM, "NEAREST")
    assert (facts["LOCATION_FIELD"], facts["SORT_FIELD"], facts["SORT_FIELD_ASC"]) == ("location", "rank", "YES")
    assert list(rows["location"]) == ["a.tif", "b.tif"]
    assert list(rows["rank"]) == [0, 0]
    # GDAL drops tiles on whose edge a window's edge lies: outlines end a thousandth of a pixel inside.
    assert rows.geometry[0].bounds == pytest.approx((WEST + 0.0025, NORTH - 39.9975, WEST + 39.9975, NORTH - 0.0025))
    facts, _ = index(tmp_path, coarse, resolution=20.0, resampling="bilinear")
    assert (facts["RESX"], facts["RESY"], facts["RESAMPLING"]) == ("20.0", "20.0", "BILINEAR")


@pytest.mark.parametrize(
    ("columns", "nodata", "told"),
    [
        ((0, 4), 0, None),  # the first tile speaks for all
        ((0, 4), None, None),
        ((0, 5), None, "YES"),  # without it, the gap would be a valid 0
        ((0, 3), None, None),  # one on the other covers no gap
        ((0, 5), 0, None),
    ],
)
def test_what_no_tile_covers_is_no_data(
    tmp_path: Path, columns: tuple[int, int], nodata: Any, told: str | None
) -> None:
    parts = [tile(tmp_path, f"t{column}", ones(), column, nodata=nodata) for column in columns]
    facts, _ = index(tmp_path, *parts)
    assert facts.get("MASK_BAND") == told
    with rasterio.open(tmp_path / "m.gti.gpkg") as mosaic:
        expected = {column + number for column in columns for number in range(4)}
        seen = np.flatnonzero(mosaic.dataset_mask()[0])
    assert set(seen) == expected


def test_a_gap_is_seen_behind_tiles_that_lie_on_each_other(tmp_path: Path) -> None:
    parts = [tile(tmp_path, f"t{column}", ones(), column) for column in (0, 1, 6)]
    assert index(tmp_path, *parts)[0]["MASK_BAND"] == "YES"


def test_tiles_of_two_zones_lie_on_whole_pixels_and_reach_over_their_outlines(tmp_path: Path) -> None:
    there = pyproj.Transformer.from_crs(UTM, NEXT, always_xy=True)
    x, y = there.transform(WEST, NORTH)
    parts = [tile(tmp_path, "a", ones(40, 40), nodata=0)]
    other = tile(tmp_path, "b", ones(40, 40), (x - WEST) // 10, (NORTH - y) // 10, crs=NEXT, nodata=0)
    facts, rows = index(tmp_path, *parts, other, crs=UTM)
    for name, low in (("MINX", True), ("MINY", True), ("MAXX", False), ("MAXY", False)):
        assert float(facts[name]) % 10 == 0, (name, low)
    edges = [float(facts[name]) for name in ("MINX", "MINY", "MAXX", "MAXY")]
    outline = shapely.total_bounds(rows.geometry.values)
    assert edges[0] <= WEST and edges[3] >= NORTH
    assert edges[2] - edges[0] <= 600 and edges[3] - edges[1] <= 600
    assert rows.geometry[0].area == pytest.approx(400**2, rel=1e-3)
    assert rows.geometry[1].area > 430**2
    assert outline[0] < edges[0] + 20
    facts, _ = index(tmp_path, *parts, other)
    assert facts["SRS"] == "EPSG:4326"
    pixel = float(facts["RESX"])
    assert pixel == pytest.approx(10 / 111_320, rel=0.01)
    assert float(facts["MINX"]) / pixel == pytest.approx(round(float(facts["MINX"]) / pixel), abs=1e-6)


def test_no_data_of_a_tile_that_is_rewritten_does_not_hide_the_one_below(tmp_path: Path) -> None:
    values = ones(dtype="int64")
    values[:, :2] = 0
    parts = [tile(tmp_path, "a", ones(dtype="int64", value=7), nodata=0), tile(tmp_path, "b", values, 2, nodata=0)]
    for order in (parts, parts[::-1]):
        index(tmp_path, *order)
        with rasterio.open(tmp_path / "m.gti.gpkg") as mosaic:
            assert mosaic.read(1)[0].tolist() == [7, 7, 7, 7, 1, 1]


def test_of_two_zones_only_tiles_with_several_bands_are_warped_each_band_with_its_own_no_data(tmp_path: Path) -> None:
    x, y = pyproj.Transformer.from_crs(UTM, NEXT, always_xy=True).transform(WEST, NORTH)
    there = {"column": (x - WEST) // 10, "row": (NORTH - y) // 10, "crs": NEXT, "nodata": 0}
    plain = [tile(tmp_path, "a", ones(9, 9), nodata=0), tile(tmp_path, "b", ones(9, 9), **there)]
    assert list(index(tmp_path, *plain, crs=UTM)[1]["location"]) == ["a.tif", "b.tif"]
    values = np.stack([ones(9, 9, value=1), ones(9, 9, value=2)])
    values[1, :, 4:] = 0
    parts = [tile(tmp_path, "c", values, -200, nodata=0), tile(tmp_path, "d", values, **there)]
    assert list(index(tmp_path, *parts, crs=UTM)[1]["location"]) == ["c.tif", "m/d_there0.vrt"]
    with rasterio.open(tmp_path / "m.gti.gpkg") as mosaic:
        first, second = (mosaic.read(band)[:, 100:] for band in (1, 2))
    assert (set(np.unique(first)), set(np.unique(second))) == ({0, 1}, {0, 2})
    assert 30 < (second > 0).sum() < (first > 0).sum() * 0.6


def test_each_tiles_own_part_lies_on_top(tmp_path: Path) -> None:
    parts = [tile(tmp_path, "a", ones(value=1), nodata=0), tile(tmp_path, "b", ones(value=2), 2, nodata=0)]
    owners = {
        "a": shapely.to_wkt(shapely.box(WEST, NORTH - 40, WEST + 30, NORTH)),
        "b": shapely.to_wkt(shapely.box(WEST + 30, NORTH - 40, WEST + 60, NORTH)),
    }
    _, rows = index(tmp_path, *parts, owners=owners)
    assert sorted(rows["rank"]) == [0, 0, 1, 1]
    with rasterio.open(tmp_path / "m.gti.gpkg") as mosaic:
        assert mosaic.read(1)[0].tolist() == [1, 1, 1, 2, 2, 2]
    _, rows = index(tmp_path, *parts, owners={"a": owners["a"]})  # the other is its own everywhere
    assert sorted(rows["rank"]) == [0, 1, 1]
    with rasterio.open(tmp_path / "m.gti.gpkg") as mosaic:
        assert set(mosaic.read(1)[0, [0, 1, 4, 5]].tolist()) == {1, 2}


def test_tiles_with_other_numbers_of_bands_are_refused(tmp_path: Path) -> None:
    parts = [tile(tmp_path, "a", ones()), tile(tmp_path, "b", np.ones((2, 4, 4), "uint8"))]
    with pytest.raises(UpscalingError, match=r"^tiles have different numbers of bands: 1, 2$"):
        mosaic_parts(parts, tmp_path / "m.gti.gpkg")
