"""Which pixel of a raster in one CRS lies under each pixel of another, to the pixel and without a formula for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["pixels_under"]

Floats = np.ndarray[Any, np.dtype[np.float64]]
Places = Callable[[Floats, Floats], tuple[Floats, Floats]]

# Every so many pixels a place is computed; between them it is interpolated.
STEP = 32
# Pixels; where interpolation may be further off than that, every place is computed.
COARSE = 0.05


def pixels_under(places: Places, columns: Floats, rows: Floats) -> tuple[Any, Any]:
    """Return row and column, as whole numbers, of the pixel under each pixel centre of a window; -1 where none is.

    They are those that ``places`` gives for each centre. It is asked for one in a thousand: the others are
    interpolated, and asked for where the interpolation's error, measured halfway between, could move them over a
    pixel's edge.

    Parameters
    ----------
    places
        Maps columns and rows of centres in the window's raster to columns and rows in the other, in pixels.
    columns, rows
        Of the centres, rising by one; shapes (width,) and (height,).
    """
    across, down = (np.append(axis[:-1:STEP], axis[-1]) for axis in (columns, rows))
    known = places(*np.meshgrid(across, down))
    error = _error(places, known, across, down)
    if not error <= COARSE:  # also where it is not a number
        column, row = (
            np.nan_to_num(found, nan=-1, posinf=-1, neginf=-1) for found in places(*np.meshgrid(columns, rows))
        )
        return _whole(row), _whole(column)
    column, row = (_between(values, across, down, columns, rows) for values in known)
    unsure = (np.abs(column - np.rint(column)) <= error) | (np.abs(row - np.rint(row)) <= error)
    i, j = np.nonzero(unsure)
    column[i, j], row[i, j] = places(columns[j], rows[i])
    return _whole(row), _whole(column)


def _whole(values: Floats) -> Any:
    return np.floor(values, out=values).astype(np.int64)


def _error(places: Places, known: tuple[Floats, Floats], across: Floats, down: Floats) -> float:
    """Return what interpolation may be off, in pixels: twice the sum of what it is halfway along both axes."""
    halfway = [(ends[1:] + ends[:-1]) / 2 for ends in (across, down)]
    sides = places(*np.meshgrid(halfway[0], down)), places(*np.meshgrid(across, halfway[1]))
    with np.errstate(invalid="ignore"):
        east = max(
            (np.abs((k[:, 1:] + k[:, :-1]) / 2 - s).max(initial=0) for k, s in zip(known, sides[0], strict=True))
        )
        south = max((np.abs((k[1:] + k[:-1]) / 2 - s).max(initial=0) for k, s in zip(known, sides[1], strict=True)))
    return float(2 * (east + south) + 1e-9)


def _between(values: Floats, across: Floats, down: Floats, columns: Floats, rows: Floats) -> Floats:
    """Interpolate linearly along the columns, then along the rows."""
    left = np.minimum(((columns - across[0]) // STEP).astype(int), max(len(across) - 2, 0))
    upper = np.minimum(((rows - down[0]) // STEP).astype(int), max(len(down) - 2, 0))
    widths, heights = np.diff(across, append=np.inf), np.diff(down, append=np.inf)
    share = (columns - across[left]) / widths[left]
    wide = values[:, left] + (values[:, np.minimum(left + 1, len(across) - 1)] - values[:, left]) * share
    share = ((rows - down[upper]) / heights[upper])[:, None]
    found: Floats = wide[upper] + (wide[np.minimum(upper + 1, len(down) - 1)] - wide[upper]) * share
    return found
