"""The cells of a regular lattice that polygons cover, found by halving blocks: the cost follows the border's length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from upscaling.errors import ConfigError
from upscaling.grids.lonlat import polygons_of

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
    box = shapely.bounds(polygons)
    lo_i = np.floor((box[:, 0] - lattice.x0) / lattice.dx).astype(np.int64)
    lo_j = np.floor((box[:, 1] - lattice.y0) / lattice.dy).astype(np.int64)
    hi_i = np.floor((box[:, 2] - lattice.x0) / lattice.dx).astype(np.int64)
    hi_j = np.floor((box[:, 3] - lattice.y0) / lattice.dy).astype(np.int64)
    cells = np.maximum(hi_i - lo_i, hi_j - lo_j) + 1
    level_of = np.ceil(np.log2(np.maximum(cells, 1))).astype(int)

    whole: list[tuple[Ints, Ints, Ints]] = []
    part: list[Any] = []
    owner = np.empty(0, dtype=np.int64)
    geometry = np.empty(0, dtype=object)
    i = j = np.empty(0, dtype=np.int64)
    for level in range(int(level_of.max(initial=0)), -1, -1):
        side = 1 << level
        if len(owner):  # four children of every block left over from the level above
            owner, geometry = np.repeat(owner, 4), np.repeat(geometry, 4)
            i = np.repeat(i * 2, 4) + np.tile([0, 1, 0, 1], len(i))
            j = np.repeat(j * 2, 4) + np.tile([0, 0, 1, 1], len(j))
        start = np.flatnonzero(level_of == level)
        if len(start):  # a polygon starts where at most two by two blocks hold it
            for step_i in (0, 1):
                for step_j in (0, 1):
                    first_i, first_j = lo_i[start] // side + step_i, lo_j[start] // side + step_j
                    held = (first_i * side <= hi_i[start]) & (first_j * side <= hi_j[start])
                    owner, i = np.append(owner, start[held]), np.append(i, first_i[held])
                    j, geometry = np.append(j, first_j[held]), np.append(geometry, polygons[start[held]])
        if not len(owner):
            continue
        edges = lattice.bounds(i, j, side)
        near = shapely.bounds(geometry)
        wanted = (near[:, 0] < edges[:, 2]) & (near[:, 2] > edges[:, 0])
        wanted &= (near[:, 1] < edges[:, 3]) & (near[:, 3] > edges[:, 1])
        if keep is not None:
            wanted &= keep(owner, edges)
        owner, i, j, geometry, edges = owner[wanted], i[wanted], j[wanted], geometry[wanted], edges[wanted]
        clipped = shapely.intersection(geometry, shapely.box(*edges.T))
        mixed = ~np.isin(shapely.get_type_id(clipped), (3, 6))
        for k in np.flatnonzero(mixed):  # the polygon also touches the block along a line or in a point
            clipped[k] = shapely.MultiPolygon(list(polygons_of([clipped[k]])))
        area = shapely.area(clipped)
        full = area >= side * side * lattice.dx * lattice.dy * (1 - 1e-12)
        whole.append(_spread(owner[full], i[full], j[full], side))
        rest = (area > 0) & ~full
        owner, i, j, geometry = owner[rest], i[rest], j[rest], clipped[rest]
        if level == 0:
            part = [owner, i, j, area[rest], geometry]
    spread = [np.concatenate(column) if column else np.empty(0, np.int64) for column in zip(*whole, strict=True)] or [
        np.empty(0, np.int64)
    ] * 3
    if not part:
        part = [np.empty(0, np.int64)] * 3 + [np.empty(0), np.empty(0, object)]
    n = len(spread[0])
    return Cells(
        np.append(spread[0], part[0]),
        np.append(spread[1], part[1]),
        np.append(spread[2], part[2]),
        np.append(np.full(n, lattice.dx * lattice.dy), part[3]),
        np.append(np.full(n, None, dtype=object), part[4]),
    )


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
            f"about {estimate:.2g} tiles would be needed, more than {MAX_CELLS:,}: "
            "choose larger tiles or a smaller AOI",
            key="area.grid",
        )
