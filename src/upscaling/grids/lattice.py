"""The cells of a regular lattice that polygons cover, found by halving blocks: the cost follows the border's length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from upscaling.area.lonlat import polygons_of
from upscaling.errors import ConfigError

__all__ = ["MAX_CELLS", "Cells", "Floors", "Lattice", "cover", "floors", "least_of"]

MAX_CELLS = 5_000_000
"""More cells than this are refused: a tile table of that size is a slip of the pen, not a plan."""

_SLIVER_AREA = 100.0  # m2: one pixel of 10 m
_SLIVER_WIDTH = 0.5  # m: wider than the deviation of an outline that went through longitude/latitude and back

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Lattice:
    """A regular lattice: cell (i, j) has its lower left corner at ``x0 + i * dx``, ``y0 + j * dy``."""

    dx: float
    dy: float
    x0: float = 0.0
    y0: float = 0.0

    def bounds(self, i: Ints, j: Ints, blocks: int = 1) -> Floats:
        """Return (n, 4) xmin, ymin, xmax, ymax of blocks of ``blocks`` x ``blocks`` cells."""
        edges = [self.x0 + i * blocks * self.dx, self.y0 + j * blocks * self.dy]
        edges += [self.x0 + (i + 1) * blocks * self.dx, self.y0 + (j + 1) * blocks * self.dy]
        return np.column_stack(edges).astype(float)


@dataclass(frozen=True)
class Cells:
    """Cells under polygons: one row per polygon and cell that share an area.

    Attributes
    ----------
    polygon
        Index of the polygon.
    i, j
        Lattice index.
    area
        Shared area, in square units of the lattice.
    piece
        The shared polygon; None where the cell is covered wholly.
    """

    polygon: Ints
    i: Ints
    j: Ints
    area: Floats
    piece: NDArray[Any]


@dataclass(frozen=True)
class Floors:
    """What a polygon's overlap with a cell must exceed: an area in m2 and a mean width in m."""

    area: Floats
    width: Floats

    def passed(self, polygon: Ints, area: Floats, length: Floats) -> NDArray[np.bool_]:
        """Say which overlaps (area and perimeter, in m2 and m) are more than a touch."""
        width = 2 * area / np.maximum(length, 1e-12)
        return np.asarray((area > self.area[polygon]) & (width > self.width[polygon]))


def floors(polygons: NDArray[Any]) -> Floors:
    """Return the floors of polygons in metres.

    A shared area of one 10 m pixel, or a seam thinner than half a metre, is a touch and not an overlap; but
    for an AOI (or a part of one) that is itself small the floor sinks with it, so that it never falls away whole.
    """
    area, length = shapely.area(polygons), shapely.length(polygons)
    return Floors(
        np.minimum(_SLIVER_AREA, 1e-3 * area), np.minimum(_SLIVER_WIDTH, 0.05 * 2 * area / np.maximum(length, 1e-12))
    )


def least_of(own: Floors, part: Ints, parts: Sequence[Any] | NDArray[Any]) -> Floors:
    """Replace the floors of polygons that are cut out of lon/lat ``parts`` by those of the parts (-1: keep)."""
    from_part = part >= 0
    if not from_part.any():
        return own
    flat = np.asarray(parts, dtype=object)
    xy, row = shapely.get_coordinates(flat, return_index=True)
    bounds = shapely.bounds(flat)
    stretch = np.cos(np.radians((bounds[:, 1] + bounds[:, 3]) / 2))  # good to a percent around their own middle
    metres = np.column_stack([xy[:, 0] * stretch[row], xy[:, 1]]) * 111_320
    whole = floors(shapely.set_coordinates(flat.copy(), metres))
    area, width = own.area.copy(), own.width.copy()
    area[from_part], width[from_part] = whole.area[part[from_part]], whole.width[part[from_part]]
    return Floors(area, width)


def cover(
    polygons: NDArray[Any], lattice: Lattice, keep: Callable[[Ints, Floats], NDArray[np.bool_]] | None = None
) -> Cells:
    """Find the cells that share an area with valid polygons.

    Parameters
    ----------
    polygons
        In the CRS of the lattice.
    keep
        Given polygon indices and the bounds (n, 4) of blocks, says which blocks may hold a wanted cell.

    Raises
    ------
    ConfigError
        If there would be more than MAX_CELLS cells.
    """
    _refuse_too_many(polygons, lattice, keep)
    origin, size = np.array([lattice.x0, lattice.y0]), np.array([lattice.dx, lattice.dy])
    unit = np.asarray(shapely.transform(polygons, lambda xy: (xy - origin) / size), dtype=object)
    box = np.floor(shapely.bounds(unit)).reshape(-1, 4).astype(np.int64)
    lo_i, lo_j, hi_i, hi_j = box.T
    level_of = np.ceil(np.log2(np.maximum(hi_i - lo_i, hi_j - lo_j) + 1)).astype(int)

    whole = [(np.empty(0, np.int64),) * 3]
    owner = i = j = np.empty(0, dtype=np.int64)
    piece, area = np.empty(0, dtype=object), np.empty(0)
    for level in range(int(level_of.max(initial=0)), -1, -1):
        side = 1 << level
        # four children of every block left over from the level above; pieces are in cells from their block's corner
        step_i, step_j = np.tile([0, 1, 0, 1], len(i)), np.tile([0, 0, 1, 1], len(i))
        owner, i, j = np.repeat(owner, 4), np.repeat(i * 2, 4) + step_i, np.repeat(j * 2, 4) + step_j
        piece = _shifted(np.repeat(piece, 4), step_i * side, step_j * side)
        start = np.flatnonzero(level_of == level)
        for step in ((0, 0), (1, 0), (0, 1), (1, 1)) if len(start) else ():  # at most 2 x 2 blocks hold a polygon
            first_i, first_j = lo_i[start] // side + step[0], lo_j[start] // side + step[1]
            held = (first_i * side <= hi_i[start]) & (first_j * side <= hi_j[start])
            new = _shifted(unit[start[held]], first_i[held] * side, first_j[held] * side)
            owner, i, j = np.append(owner, start[held]), np.append(i, first_i[held]), np.append(j, first_j[held])
            piece = np.append(piece, new)
        near = shapely.bounds(piece).reshape(-1, 4)
        wanted = (near[:, 0] < side) & (near[:, 2] > 0) & (near[:, 1] < side) & (near[:, 3] > 0)
        if keep is not None:
            wanted &= keep(owner, lattice.bounds(i, j, side))
        owner, i, j = owner[wanted], i[wanted], j[wanted]
        piece, area = _clipped(piece[wanted], side)
        full = area >= side * side * (1 - 1e-12)
        whole.append(_spread(owner[full], i[full], j[full], side))
        rest = (area > 0) & ~full
        owner, i, j, piece, area = owner[rest], i[rest], j[rest], piece[rest], area[rest]
    full_owner, full_i, full_j = (np.concatenate(column) for column in zip(*whole, strict=True))
    n = len(full_owner)
    piece = _shifted(piece, -i, -j)
    return Cells(
        np.append(full_owner, owner),
        np.append(full_i, i),
        np.append(full_j, j),
        np.append(np.ones(n), area) * (lattice.dx * lattice.dy),
        np.append(np.full(n, None, dtype=object), shapely.transform(piece, lambda xy: xy * size + origin)),
    )


def _shifted(geometry: NDArray[Any], x: Ints, y: Ints) -> NDArray[Any]:
    """Move each geometry's origin to (x, y)."""
    moved = geometry.copy()
    xy, row = shapely.get_coordinates(moved, return_index=True)
    return np.asarray(shapely.set_coordinates(moved, xy - np.column_stack([x, y])[row]), dtype=object)


def _clipped(piece: NDArray[Any], side: int) -> tuple[NDArray[Any], Floats]:
    """Clip polygons to (0, 0, side, side).

    GEOS clips by one rectangle ten times faster than it intersects, but does not promise a valid result: what is
    not valid is done again the careful way.
    """
    clipped = np.asarray(shapely.clip_by_rect(piece, 0.0, 0.0, float(side), float(side)), dtype=object)
    again = np.flatnonzero(~shapely.is_valid(clipped))
    if len(again):
        clipped[again] = shapely.intersection(piece[again], shapely.box(0, 0, side, side))
    mixed = ~np.isin(shapely.get_type_id(clipped), (3, 6)) & ~shapely.is_empty(clipped)
    for k in np.flatnonzero(mixed):  # the polygon also touches the block along a line or in a point
        clipped[k] = shapely.MultiPolygon(list(polygons_of([clipped[k]])))
    return clipped, shapely.area(clipped)


def _spread(owner: Ints, i: Ints, j: Ints, side: int) -> tuple[Ints, Ints, Ints]:
    """Return all cells of wholly covered blocks."""
    step = np.arange(side, dtype=np.int64)
    cells_i = (i[:, None, None] * side + step[None, :, None] + np.zeros((1, 1, side), np.int64)).ravel()
    cells_j = (j[:, None, None] * side + step[None, None, :] + np.zeros((1, side, 1), np.int64)).ravel()
    return np.repeat(owner, side * side), cells_i, cells_j


def _refuse_too_many(
    polygons: NDArray[Any], lattice: Lattice, keep: Callable[[Ints, Floats], NDArray[np.bool_]] | None
) -> None:
    """Estimate the number of cells from the area (an upper bound is not needed, the order of size is)."""
    estimate = float(shapely.area(polygons).sum()) / (lattice.dx * lattice.dy)
    if estimate > MAX_CELLS * (1 if keep is None else 3):
        raise ConfigError(
            f"about {float(f'{estimate:.2g}'):,.0f} tiles would be needed, more than {MAX_CELLS:,}: "
            "choose larger tiles or a smaller AOI",
            key="area.grid",
        )
