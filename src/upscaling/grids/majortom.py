"""``majortom-<N>km``: the grid of Major TOM: rows of equal latitude, columns of about N km at the row's lower edge.

Source: Francis & Czerkawski 2024 (arXiv:2402.12095) and grid.py of ESA-PhiLab/Major-TOM: rows count from the equator
(U, D), columns from Greenwich (R, L), the Earth is a sphere of 6378.137 km, rows start within 85 S to 85 N.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from upscaling.area.aoi import AOI
from upscaling.errors import ConfigError
from upscaling.grids.base import BaseGrid, Selection
from upscaling.grids.family import Family
from upscaling.grids.lattice import MAX_CELLS, Ints
from upscaling.grids.planar import within_domain
from upscaling.grids.shapes import ring_selection

__all__ = ["FAMILIES", "MajorTomGrid"]

_RADIUS = 6378.137
_LIMIT = 85.0


class MajorTomGrid(BaseGrid):
    """Cells of about N x N km between parallels and meridians."""

    authority = "ESA Phi-lab (Major TOM)"
    crs = "the UTM zone of the cell's lower left corner"

    def __init__(self, size: int) -> None:
        self.size = size
        self.name, self.cell_size = f"majortom-{size}km", f"about {size} km"
        self.title = f"Major TOM grid, {size} km"
        self.definition = (
            "Rows of equal latitude from the equator, columns of equal longitude within a row; a tile is the box "
            "around its cell in UTM, outward to 10 m, and owns the cell"
        )
        self._rows = math.ceil(math.pi * _RADIUS / size)
        self._height = 180 / self._rows

    def columns(self, row: Ints) -> Ints:
        """Return the number of cells in rows (0 starts at the equator, -1 ends there)."""
        around = 2 * math.pi * _RADIUS * np.cos(np.radians(row * self._height))
        return np.asarray(np.ceil(around / self.size), dtype=np.int64)

    def select(self, aoi: AOI, min_overlap: float) -> Selection:
        """Find the cells under an AOI."""
        first = math.ceil(-_LIMIT / self._height - 1e-12)
        last = math.floor(_LIMIT / self._height + 1e-12)
        within_domain(aoi, (-180.0, first * self._height, 180.0, (last + 1) * self._height), self.name)
        found: list[NDArray[np.int64]] = []
        for part in aoi.parts:
            west, south, east, north = part.bounds
            row = np.arange(
                max(math.floor(south / self._height), first), min(math.floor(north / self._height), last) + 1
            )
            count = self.columns(row)
            low = np.floor(west * count / 360).astype(np.int64)
            high = np.floor(east * count / 360).astype(np.int64)
            each = high - low + 1
            if each.sum() > MAX_CELLS:
                raise ConfigError(f"more than {MAX_CELLS:,} cells of {self.name} would be searched", key="area.grid")
            start = np.repeat(np.cumsum(each) - each, each)
            column = np.repeat(low, each) + np.arange(each.sum()) - start
            count = np.repeat(count, each)
            leftmost = -(count // 2)  # the cell that holds 180 E is the last one, whole
            found.append(np.column_stack([np.repeat(row, each), (column - leftmost) % count + leftmost]))
        cells = np.unique(np.concatenate(found), axis=0)
        row, column = cells.T
        width = 360 / self.columns(row)
        west, south = column * width, row * self._height
        rings = np.stack(
            [
                np.column_stack([west, south]),
                np.column_stack([west + width, south]),
                np.column_stack([west + width, south + self._height]),
                np.column_stack([west, south + self._height]),
            ],
            axis=1,
        )
        names = [f"{abs(r)}{'U' if r >= 0 else 'D'}_{abs(c)}{'R' if c >= 0 else 'L'}" for r, c in cells.tolist()]
        ids = np.array([f"{self.name}_{name.lower()}" for name in names], dtype=object)
        codes = np.array([f"MAJORTOM-{self.size}-{name}" for name in names], dtype=object)
        return ring_selection(
            aoi, ids=ids, codes=codes, ij=cells, rings=rings, anchor=rings[:, 0], min_overlap=min_overlap
        )


def _make(size: str) -> MajorTomGrid:
    if not 1 <= int(size) <= 1000:
        raise ConfigError(f"majortom-{size}km: cells of 1 to 1000 km are possible", key="area.grid")
    return MajorTomGrid(int(size))


FAMILIES = (Family(8, "majortom-<N>km", r"majortom-(\d{1,9})km", "majortom-10km", _make),)
