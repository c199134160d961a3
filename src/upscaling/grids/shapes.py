"""Tiles of any shape: which of them an AOI covers, and their boxes in a projected CRS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from upscaling.grids.lattice import Floats, Floors, Ints, floors, least_of
from upscaling.grids.lonlat import ground_area

__all__ = ["Overlaps", "overlaps"]

_METRES_PER_DEGREE = 111_320.0


@dataclass(frozen=True)
class Overlaps:
    """Shapes that share an area with an AOI.

    Attributes
    ----------
    found
        Indices of the shapes that share more than a touch and ``min_overlap``.
    share
        Of every found shape: the part of its area within the AOI.
    dropped, dropped_area
        The others that share an area: how many, and how much in m2.
    """

    found: Ints
    share: Floats
    dropped: int
    dropped_area: float


def overlaps(shapes: NDArray[Any], polygons: NDArray[Any], *, geographic: bool, min_overlap: float = 0.0) -> Overlaps:
    """Find the shapes (valid polygons) that share more than a touch with an AOI's polygons in the same CRS.

    Parameters
    ----------
    geographic
        Coordinates are degrees: areas are then those on the ellipsoid.
    min_overlap
        Least share of a shape's area.
    """
    hit, row = shapely.STRtree(shapes).query(polygons, predicate="intersects")
    if not len(row):
        return Overlaps(np.empty(0, dtype=np.int64), np.empty(0), 0, 0.0)
    pieces = shapely.intersection(shapes[row], polygons[hit])
    length = shapely.length(pieces)
    if geographic:
        area, length = ground_area(pieces), length * _METRES_PER_DEGREE
        nothing = Floors(np.zeros(len(polygons)), np.zeros(len(polygons)))
        least = least_of(nothing, np.arange(len(polygons)), polygons)
    else:
        area, least = shapely.area(pieces), floors(polygons)
    passed = least.passed(hit, area, length)
    share = np.bincount(row, weights=area, minlength=len(shapes))
    touched = np.flatnonzero(share > 0)
    size = ground_area(shapes[touched]) if geographic else shapely.area(shapes[touched])
    kept = np.bincount(row, weights=passed, minlength=len(shapes))[touched] > 0
    kept &= share[touched] >= min_overlap * size * (1 - 1e-9)
    found, lost = touched[kept], touched[~kept]
    return Overlaps(found, share[found] / size[kept], len(lost), float(share[lost].sum()))
