"""From overlaps of polygons and lattice cells to tiles: what a cell owns, what is more than a touch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from upscaling.area.lonlat import ground_area
from upscaling.grids.base import Selection
from upscaling.grids.lattice import Cells, Floats, Floors, Ints

__all__ = ["OwnedCells", "key_of", "owned", "sorted_cells"]


@dataclass(frozen=True)
class OwnedCells:
    """Cells under an AOI, each once, in the order of zone, i, j.

    Attributes
    ----------
    zone
        Which lattice the cell is of (zero where there is but one).
    fraction
        Share of the cell within the AOI.
    overlap
        Area of the AOI within what the cell owns.
    owner
        The part of the cell that it owns; None where that is all of it.
    dropped, dropped_area
        Cells left out since they share a touch, or less than ``min_overlap``: how many, and the shared area in m2.
    """

    zone: Ints
    i: Ints
    j: Ints
    fraction: Floats
    overlap: Floats
    owner: NDArray[Any]
    dropped: int
    dropped_area: float

    def owner_wkt(self) -> NDArray[Any]:
        """Return the owned part as WKT with a tenth of a millimetre; empty where that is the whole cell."""
        out = np.full(len(self.zone), "", dtype=object)
        part = self.owner != np.array(None)
        out[part] = shapely.to_wkt(self.owner[part], rounding_precision=4)
        return out

    def selection(self, **named: Any) -> Selection:
        """Return the tiles that these cells are, with the fields of a selection that only their grid knows."""
        return Selection(
            i=self.i,
            j=self.j,
            fraction=self.fraction,
            owner_wkt=self.owner_wkt(),
            dropped=self.dropped,
            dropped_area=self.dropped_area,
            **named,
        )


def key_of(i: Ints, j: Ints) -> Ints:
    """Return one number per cell that sorts like (i, j)."""
    return (i << 32) + j


def sorted_cells(cells: Cells) -> tuple[Ints, Cells]:
    """Sort the cells of a region by key; return the keys too. Pieces are brought to one way of writing them."""
    key = key_of(cells.i, cells.j)
    order = np.argsort(key)
    piece = shapely.normalize(cells.piece[order])
    return key[order], Cells(cells.polygon[order], cells.i[order], cells.j[order], cells.area[order], piece)


def _shares(
    cells: Cells, row_zone: Ints, key: Ints, cell_area: float, region: Callable[[int], tuple[Ints, Cells]] | None
) -> tuple[Floats, Floats, Any, Floats]:
    """Return of each overlap its area and length within what its cell owns, that part (None: all), and its area."""
    overlap, length = cells.area.copy(), np.full(len(cells.area), 4 * np.sqrt(cell_area))
    partial = cells.piece != np.array(None)
    length[partial] = shapely.length(cells.piece[partial])
    owner, owned_area = np.full(len(overlap), None, dtype=object), np.full(len(overlap), cell_area)
    if region is None:
        return overlap, length, owner, owned_area
    for index in np.unique(row_zone).tolist():
        rows = np.flatnonzero(row_zone == index)
        known, theirs = region(index)
        at = np.minimum(np.searchsorted(known, key[rows]), len(known) - 1)
        there = known[at] == key[rows]
        overlap[rows[~there]] = 0
        rows, at = rows[there], at[there]
        owner[rows], owned_area[rows] = theirs.piece[at], theirs.area[at]
    shared = np.flatnonzero((owner != np.array(None)) & (overlap > 0))
    inner, cut = owner[shared], partial[shared]
    inner[cut] = shapely.intersection(cells.piece[shared[cut]], inner[cut])
    overlap[shared], length[shared] = shapely.area(inner), shapely.length(inner)
    return overlap, length, owner, owned_area


def owned(
    cells: Cells,
    zone: Ints,
    least: Floors,
    cell_area: float,
    *,
    region: Callable[[int], tuple[Ints, Cells]] | None = None,
    min_overlap: float = 0.0,
    rank: Ints | None = None,
    metres: Floats | None = None,
    crs: str | None = None,
) -> OwnedCells:
    """Keep the cells whose owned part shares more than a touch with the AOI.

    Parameters
    ----------
    cells
        Overlaps of the AOI's polygons with lattice cells.
    zone
        The lattice of every polygon.
    least
        What each polygon's overlaps must exceed.
    cell_area
        Of a whole cell, in units of ``cells.area``.
    region
        Gives the sorted keys and cells of what a zone owns; None if every cell owns all of itself.
    min_overlap
        Least share of what a cell owns.
    rank
        Place of every zone in the order of tiles.
    metres
        Metres per unit of the lattice, per row of ``cells``; None if the lattice is in metres.
    crs
        Of the lattice, where its areas are not those on the ground (Mercator): what is dropped is measured there.
    """
    row_zone, key = zone[cells.polygon], key_of(cells.i, cells.j)
    overlap, length, owner, owned_area = _shares(cells, row_zone, key, cell_area, region)
    unit = np.ones(len(overlap)) if metres is None else metres
    good = least.passed(cells.polygon, overlap * unit**2, length * unit)

    touched = np.flatnonzero(overlap > 0)
    if not len(touched):
        none, void = np.empty(0, dtype=np.int64), np.empty(0)
        return OwnedCells(none, none, none, void, void, np.empty(0, dtype=object), 0, 0.0)
    place = row_zone[touched] if rank is None else rank[row_zone[touched]]
    order = touched[np.lexsort((cells.j[touched], cells.i[touched], place))]
    step = (np.diff(row_zone[order]) != 0) | (np.diff(key[order]) != 0)
    first = np.concatenate([[0], np.flatnonzero(step) + 1])
    area, within = np.add.reduceat(overlap[order], first), np.add.reduceat(cells.area[order], first)
    head = order[first]
    kept = np.logical_or.reduceat(good[order], first) & (area >= min_overlap * owned_area[head] * (1 - 1e-9))
    lost = float((area[~kept] * unit[head[~kept]] ** 2).sum())
    if crs is not None:
        rows = order[~np.repeat(kept, np.diff(np.append(first, len(order))))]
        lost = float(ground_area(cells.piece[rows], crs).sum())
    head = head[kept]
    return OwnedCells(
        row_zone[head],
        cells.i[head],
        cells.j[head],
        within[kept] / cell_area,
        area[kept],
        owner[head],
        int((~kept).sum()),
        lost,
    )
