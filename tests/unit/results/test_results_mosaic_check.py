"""Whether a mosaic shows its tiles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest

from tests.unit.results.tiny_tiles import NEXT, NORTH, UTM, WEST, ones, tile
from upscaling.results.mosaic_check import MosaicDifference, compare_mosaics
from upscaling.results.parts import Part


def differences(parts: list[Part], mosaic: Path, step: str = "") -> list[tuple[str, float]]:
    found = list(compare_mosaics(parts, {step: [mosaic]}))
    assert all(isinstance(one, MosaicDifference) and one.mosaic == mosaic.name for one in found)
    return [(one.item, one.share) for one in found]


def shown(folder: Path, values: Any, **given: Any) -> Path:
    """A raster in place of a mosaic."""
    return tile(folder, "mosaic", values, **given).path


def test_the_share_is_of_the_valid_pixels_that_are_shown_otherwise(tmp_path: Path) -> None:
    part = tile(tmp_path, "a", ones(), 2, 1, nodata=0)
    whole = np.zeros((6, 8), "uint8")
    whole[1:5, 2:6] = 1
    assert differences([part], shown(tmp_path, whole, nodata=0)) == []
    whole[1, 2], whole[4, 5] = 9, 0
    assert differences([part], shown(tmp_path, whole, nodata=0)) == [("a", 2 / 16)]
    some = ones()
    some[:, :2] = 0
    assert differences([tile(tmp_path, "b", some, 2, 1, nodata=0)], shown(tmp_path, whole, nodata=0)) == [("b", 1 / 8)]
    nothing = tile(tmp_path, "c", ones() * 0, 2, 1, nodata=0)
    assert differences([nothing], shown(tmp_path, whole, nodata=0)) == []


def test_what_is_not_a_number_is_not_compared(tmp_path: Path) -> None:
    values = np.ones((4, 4), "float32")
    values[0, :2] = np.nan
    part, whole = tile(tmp_path, "a", values), np.ones((4, 4), "float32")
    assert differences([part], shown(tmp_path, whole)) == []
    whole[3, 3] = np.nan
    assert differences([part], shown(tmp_path, whole)) == [("a", 1 / 14)]


def test_tiles_off_the_lattice_or_of_other_pixels_are_not_compared(tmp_path: Path) -> None:
    mosaic = shown(tmp_path, np.zeros((8, 8), "uint8"))
    for column, row in ((0.5, 0), (0, 0.5), (0.002, 0), (0, 0.002)):
        assert differences([tile(tmp_path, "a", ones(), column, row)], mosaic) == []
    assert differences([tile(tmp_path, "a", ones(), 0.0001, 0.0001)], mosaic) == [("a", 1.0)]
    for pixel in ((10, 5), (5, 10), (20, 20), (10.0001, 10)):
        assert differences([tile(tmp_path, "a", ones(), pixel=pixel)], mosaic) == []


def test_of_many_tiles_some_are_compared_and_of_large_ones_the_upper_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [tile(tmp_path, f"t{number}", ones(), 4 * number) for number in range(5)]
    mosaic = shown(tmp_path, np.zeros((4, 20), "uint8"))
    assert [name for name, _ in differences(parts, mosaic)] == ["t0", "t1", "t2", "t3", "t4"]
    monkeypatch.setattr("upscaling.results.mosaic_check.TILES", 2)
    assert [name for name, _ in differences(parts, mosaic)] == ["t0", "t3"]
    monkeypatch.setattr("upscaling.results.mosaic_check.TILES", 3)
    assert [name for name, _ in differences(parts, mosaic)] == ["t0", "t2", "t4"]
    whole = np.ones((4, 4), "uint8")
    whole[2:] = 0
    mosaic = shown(tmp_path, whole)
    for pixels, share in ((16, 8 / 16), (12, 4 / 12), (8, 0), (1, 0)):
        monkeypatch.setattr("upscaling.results.mosaic_check.PIXELS", pixels)
        assert differences(parts[:1], mosaic) == ([("t0", share)] if share else [])


def test_tiles_on_top_of_each_other_are_left_out_and_those_side_by_side_are_not(tmp_path: Path) -> None:
    mosaic = shown(tmp_path, np.zeros((4, 20), "uint8"))

    def compared(*columns: int) -> list[str]:
        parts = [tile(tmp_path, f"t{column}", ones(), column) for column in columns]
        return [name for name, _ in differences(parts, mosaic)]

    assert compared(0, 4, 8) == ["t0", "t4", "t8"]
    assert compared(0, 3, 8) == ["t8"]
    assert compared(0, 3, 6) == []
    first = tile(tmp_path, "a", ones())
    zone = replace(tile(tmp_path, "b", ones(), crs=NEXT), bounds=first.bounds)
    assert "a" in [name for name, _ in differences([first, zone], mosaic)]


def test_tiles_of_the_step_that_are_here_are_compared(tmp_path: Path) -> None:
    mosaic = shown(tmp_path, np.zeros((4, 4), "uint8"))
    part = replace(tile(tmp_path, "a_2023-06", ones()), tile="a")
    far = replace(part, path=Path("/vsis3/bucket/b.tif"))
    assert differences([part, far], mosaic, "2023-06") == [("a_2023-06", 1.0)]
    assert differences([part], mosaic, "2023-07") == []
    steps = list(compare_mosaics([part, replace(part, item="a_2023-05")], {"2023-06": [mosaic], "2023-05": [mosaic]}))
    assert [one.item for one in steps] == ["a_2023-05", "a_2023-06"]


def test_a_tile_of_another_crs_is_looked_for_at_points(tmp_path: Path) -> None:
    to_next = pyproj.Transformer.from_crs(UTM, NEXT, always_xy=True)
    x, y = to_next.transform(WEST + 500, NORTH - 500)
    values = np.ones((60, 60), "float32")
    values[:, 30:] = np.nan
    part = tile(tmp_path, "a", values, (x - 300 - WEST) // 10, (NORTH - y - 300) // 10, crs=NEXT, nodata=0)
    whole = np.ones((100, 100), "float32")
    assert differences([part], shown(tmp_path, whole, nodata=0)) == []
    whole[:50] = 0
    ((_, share),) = differences([part], shown(tmp_path, whole, nodata=0))
    assert 0.35 < share < 0.65
    whole[:50] = np.nan
    assert differences([part], shown(tmp_path, whole, nodata=0)) == [("a", share)]
    whole[:] = 1
    whole[:, 60:] = 0  # there the tile has no data
    assert differences([part], shown(tmp_path, whole, nodata=0)) == []
    whole[:] = 0
    assert differences([part], shown(tmp_path, whole, nodata=0)) == [("a", 1.0)]
    empty = tile(tmp_path, "b", values * np.nan, (x - 300 - WEST) // 10, (NORTH - y - 300) // 10, crs=NEXT)
    assert differences([empty], shown(tmp_path, whole, nodata=0)) == []


def test_points_lie_in_the_middle_of_pixels_and_those_at_a_tiles_edge_have_fewer_neighbours(tmp_path: Path) -> None:
    to_next = pyproj.Transformer.from_crs(UTM, NEXT, always_xy=True)
    x, y = to_next.transform(WEST + 50, NORTH - 50)
    column, row = (x - 20 - WEST) // 10, (NORTH - y - 20) // 10
    rows, columns = np.indices((10, 10))
    east, north = to_next.transform(WEST + 10 * columns + 5, NORTH - 10 * rows - 5)
    across, down = (east - WEST) / 10 - column, (NORTH - north) / 10 - row
    for valid, edge in ((4, 4.2), (3, 2.5)):  # rows and columns of the tile
        values = ones(value=0)
        values[:valid, :valid] = 1
        part = tile(tmp_path, "a", values, column, row, crs=NEXT, nodata=0)
        whole = (across > -0.2) & (across < edge) & (down > -0.2) & (down < edge)
        assert differences([part], shown(tmp_path, whole.astype("uint8"), nodata=0)) == []
