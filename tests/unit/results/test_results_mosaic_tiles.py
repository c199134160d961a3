"""What tiles hold, and how they are rewritten where GDAL would change them."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import shapely

from tests.unit.results.tiny_tiles import NEXT, NORTH, UTM, WEST, ones, tile
from upscaling.results import mosaic_tiles
from upscaling.results.mosaic_tiles import (
    Lattice,
    TileKind,
    exact_part,
    own_part,
    relative_path,
    row_windows,
    tile_kind,
)


def kind_of(folder: Path, *bands: tuple[str, Any]) -> TileKind:
    """The kind of tiles of which the first is there, and the others are known by their items."""
    dtype, nodata = bands[0]
    first = tile(folder, "a", ones(dtype=dtype), nodata=nodata)
    return tile_kind([replace(first, bands=(band,)) for band in bands])


@pytest.mark.parametrize(
    ("bands", "dtype", "nodata", "mixed"),
    [
        ([("uint8", None)], "Byte", None, False),
        ([("uint8", 0), ("uint8", 0)], "Byte", 0, False),
        ([("uint8", 0), ("uint8", 1)], "Byte", None, True),
        ([("uint8", 0), ("uint8", None)], "Byte", None, True),
        ([("uint8", 0), ("int16", 0)], "Int16", None, True),
        ([("int8", 0), ("uint8", 0)], "Int16", None, True),
        ([("float32", math.nan), ("float32", "nan")], "Float32", math.nan, False),
        ([("uint16", 7), ("None", 7)], "UInt16", 7, False),
        ([("complex64", 0), ("cint16", 0)], "CFloat32", None, True),
        ([("complex64", None), ("cfloat32", None)], "CFloat32", None, False),
    ],
)
def test_the_type_and_nodata_value_of_tiles(
    tmp_path: Path, bands: list[tuple[str, Any]], dtype: str, nodata: Any, mixed: bool
) -> None:
    kind = kind_of(tmp_path, *bands)
    assert (kind.count, kind.dtype, kind.mixed, kind.alpha) == (1, dtype, mixed, False)
    assert kind.nodata == nodata or (math.isnan(nodata) and math.isnan(kind.nodata or 0))


@pytest.mark.parametrize(
    ("dtype", "nodata", "blurred"),
    [
        ("int32", (1 << 21) - 1, False),
        ("int32", 1 << 21, True),
        ("int32", -(1 << 21), True),
        ("uint32", 1 << 21, True),
        ("float32", 1e30, False),
        ("int16", 32767, False),
        ("complex64", 0, True),
        ("complex64", None, False),
        ("int32", None, False),
    ],
)
def test_large_nodata_values_of_32_bit_integers_blur(tmp_path: Path, dtype: str, nodata: Any, blurred: bool) -> None:
    kind = kind_of(tmp_path, (dtype, nodata))
    assert kind.blurred is blurred
    assert kind.needs_exact(one_lattice=True) is blurred


@pytest.mark.parametrize(
    ("dtype", "nodata", "odd"),
    [
        ("float32", float(np.float32(0.1)), False),
        ("float64", 0.1, False),
        ("float64", 1 / 3, True),
        ("float64", -1.7976931348623157e308, True),
        ("float32", -3.4028234663852886e38, False),
        ("float32", math.nan, False),
        ("int16", 3, False),
    ],
)
def test_nodata_values_that_15_digits_would_change(tmp_path: Path, dtype: str, nodata: float, odd: bool) -> None:
    kind = kind_of(tmp_path, (dtype, nodata))
    assert kind.odd is odd
    assert kind.needs_exact(one_lattice=True) is False
    assert kind.needs_exact(one_lattice=False) is odd


@pytest.mark.parametrize(
    ("given", "one", "several"),
    [
        ({}, False, False),
        ({"wide": True}, True, True),
        ({"blurred": True}, True, True),
        ({"odd": True}, False, True),
        ({"nodata": None}, False, True),
        ({"nodata": None, "alpha": True}, False, False),
        ({"dtype": "Int8"}, False, False),
        ({"dtype": "Int8", "count": 2}, False, True),
        ({"count": 2}, False, False),
    ],
)
def test_tiles_are_rewritten_where_gdal_would_change_them(given: dict[str, Any], one: bool, several: bool) -> None:
    plain = {"count": 1, "dtype": "Byte", "nodata": 0, "mixed": False, "alpha": False, "wide": False, "blurred": False}
    kind = TileKind(**{**plain, "odd": False, **given})
    assert (kind.needs_exact(one_lattice=True), kind.needs_exact(one_lattice=False)) == (one, several)


def test_only_pixels_whose_centre_lies_in_it_are_a_tiles_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mosaic_tiles, "ROWS", 2)
    values = np.arange(1, 17, dtype="uint8").reshape(4, 4)
    owner = shapely.to_wkt(shapely.box(WEST + 6, NORTH - 34, WEST + 26, NORTH - 4))
    for name, nodata in (("a", 0), ("b", None)):
        own = own_part(tile(tmp_path, name, values, nodata=nodata), owner, tmp_path / "own")
        with rasterio.open(own.path) as dataset:
            assert dataset.nodata == nodata
            inside = np.zeros((4, 4), bool)
            inside[0:3, 1:3] = True
            assert np.array_equal(dataset.dataset_mask() > 0, inside)
            assert np.array_equal(dataset.read(1)[inside], values[inside])
    wide = own_part(tile(tmp_path, "c", values.astype("int64"), nodata=0), owner, tmp_path / "own")
    with rasterio.open(wide.path) as dataset:
        assert dataset.nodata is None
        assert np.array_equal(dataset.dataset_mask() > 0, inside)


def lattice(column: float = 0, row: float = 0, crs: str = UTM) -> Lattice:
    return Lattice(crs, WEST + column * 10, NORTH - row * 10, (10.0, 10.0))


def test_a_tile_on_the_lattice_loses_its_nodata_value_and_keeps_what_is_valid(tmp_path: Path) -> None:
    values = np.array([[0, 1], [2, 0]], "int64")
    given = tile(tmp_path, "a", values, nodata=0)
    masked = exact_part(given, lattice(), tmp_path / "there", masked=True)
    with rasterio.open(masked.path) as dataset:
        assert masked.path.suffix == ".tif"
        assert dataset.nodata is None
        assert (dataset.dataset_mask() > 0).tolist() == (values != 0).tolist()
        assert dataset.read(1).tolist() == values.tolist()
    plain = exact_part(given, lattice(), tmp_path / "there", masked=False)
    with rasterio.open(plain.path) as dataset:
        assert plain.path.suffix == ".vrt"
        assert dataset.nodata is None
        assert (dataset.dataset_mask() > 0).all()
        assert dataset.read(1).tolist() == values.tolist()
    shutil.move(tmp_path / "there", tmp_path / "elsewhere")
    (tmp_path / "elsewhere").rename(tmp_path / "again")
    with rasterio.open(tmp_path / "again" / plain.path.name) as dataset:
        assert dataset.read(1).tolist() == values.tolist(), "its path is relative"
    without = tile(tmp_path, "b", values)
    assert exact_part(without, lattice(), tmp_path / "there", masked=True) is without


def test_a_tile_of_another_zone_is_written_with_the_pixel_under_each_centre(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mosaic_tiles, "ROWS", 7)
    values = np.arange(1, 401, dtype="int64").reshape(20, 20)
    values[3, 3] = 0
    given = tile(tmp_path, "a", values, nodata=0)
    to_next = pyproj.Transformer.from_crs(UTM, NEXT, always_xy=True)
    x, y = to_next.transform(WEST, NORTH)
    grid = Lattice(NEXT, math.floor(x) - 500.0, math.floor(y) + 500.0, (10.0, 5.0))
    moved = exact_part(given, grid, tmp_path / "there", masked=True)
    assert (moved.crs, moved.pixel) == (NEXT, (10.0, 5.0))
    with rasterio.open(moved.path) as dataset, rasterio.open(given.path) as source:
        assert moved.bounds == tuple(dataset.bounds)
        assert (dataset.transform.c - grid.west) % 10 == (grid.north - dataset.transform.f) % 5 == 0
        rows, columns = np.indices(dataset.shape)
        centres = dataset.transform @ (columns + 0.5, rows + 0.5)
        east, north = pyproj.Transformer.from_crs(NEXT, UTM, always_xy=True).transform(*centres)
        column, row = (np.floor(place).astype(int) for place in ~source.transform @ (east, north))
        inside = (column >= 0) & (row >= 0) & (column < 20) & (row < 20)
        shown = values[np.where(inside, row, 0), np.where(inside, column, 0)]
        valid = inside & (shown != 0)
        assert dataset.nodata is None
        assert np.array_equal(dataset.dataset_mask() > 0, valid)
        assert np.array_equal(dataset.read(1)[valid], shown[valid])
        assert set(np.unique(shown[valid])) == set(range(1, 401)) - {64}
        assert not inside[0].any() and not inside[-1].any() and not inside[:, 0].any() and not inside[:, -1].any()
        assert inside[3:-3, 3:-3].mean() > 0.5


def test_rows_are_read_in_pieces_from_top_to_bottom() -> None:
    windows = [(w.col_off, w.row_off, w.width, w.height) for w in row_windows(7, mosaic_tiles.ROWS * 2 + 3)]
    assert windows == [(0, 0, 7, 1024), (0, 1024, 7, 1024), (0, 2048, 7, 3)]


def test_paths_are_relative_unless_gdal_names_them(tmp_path: Path) -> None:
    assert relative_path(tmp_path / "a" / "b.tif", tmp_path / "m") == "../a/b.tif"
    assert relative_path(Path("/vsis3/bucket/b.tif"), tmp_path) == "/vsis3/bucket/b.tif"
