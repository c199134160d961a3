"""The pixel under each pixel of another lattice: the same as by the formula for each, wherever on Earth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from upscaling.area.lonlat import transformer
from upscaling.results import nearest
from upscaling.results.nearest import pixels_under

PLACES = {
    "two zones": ("EPSG:32632", "EPSG:32633", (760_000.0, 5_160_000.0), 10.0),
    "lon/lat of a zone": ("EPSG:4326", "EPSG:32632", (8.95, 47.05), 9e-5),
    "equal area of a zone": ("EPSG:3035", "EPSG:32632", (4_321_000.0, 2_700_000.0), 10.0),
    "beside the pole": ("EPSG:3413", "EPSG:4326", (-900.0, 1_100.0), 20.0),
    "over the antimeridian": ("EPSG:32660", "EPSG:4326", (695_000.0, 1_000_000.0), 100.0),
    "coarse pixels": ("EPSG:4326", "EPSG:32632", (6.0, 49.0), 0.01),
}


@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (70, 1), (65, 33), (150, 230)])
@pytest.mark.parametrize("place", PLACES)
def test_each_pixel_is_the_one_that_the_formula_gives(place: str, shape: tuple[int, int]) -> None:
    there, here, (west, north), size = PLACES[place]
    to_tile = transformer(there, here)
    east, south = to_tile.transform(west, north)
    pixel = 1e-4 if here == "EPSG:4326" else 10.0

    def places(columns: Any, rows: Any) -> tuple[Any, Any]:
        x, y = to_tile.transform(west + (columns - 99.5) * size, north - (rows + 0.5) * size)
        return (x - east) / pixel, (south - y) / pixel

    columns, rows = np.arange(100, 100 + shape[1], dtype=float), np.arange(5, 5 + shape[0], dtype=float)
    row, column = pixels_under(places, columns, rows)
    right = places(*np.meshgrid(columns, rows))
    np.testing.assert_array_equal(column, np.floor(right[0]))
    np.testing.assert_array_equal(row, np.floor(right[1]))


def test_few_places_are_asked_for_and_none_that_is_no_place_is_a_pixel() -> None:
    asked = list[int]()

    def shifted(columns: Any, rows: Any) -> tuple[Any, Any]:
        asked.append(columns.size)
        return columns * 1.01 + 0.3, rows - 0.2

    axis = np.arange(1000, dtype=float)
    row, column = pixels_under(shifted, axis, axis)
    assert sum(asked) < 1000 * 1000 / 50
    np.testing.assert_array_equal(column[0], np.floor(axis * 1.01 + 0.3))
    np.testing.assert_array_equal(row[:, 0], np.floor(axis - 0.2))
    row, column = pixels_under(lambda columns, rows: (columns * np.inf, rows), axis[1:4], axis[:2])
    assert (column == -1).all()


def test_an_error_of_the_interpolation_is_seen_along_both_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A saddle is exact in the middle of each cell, and nowhere else."""
    monkeypatch.setattr(nearest, "COARSE", 10.0)

    def saddle(columns: Any, rows: Any) -> tuple[Any, Any]:
        return columns + 1e-3 * (columns**2 - rows**2), rows + 2e-3 * columns * rows

    axis = np.arange(200, dtype=float)
    row, column = pixels_under(saddle, axis, axis)
    right = saddle(*np.meshgrid(axis, axis))
    np.testing.assert_array_equal(column, np.floor(right[0]))
    np.testing.assert_array_equal(row, np.floor(right[1]))
