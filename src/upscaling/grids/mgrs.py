"""``mgrs-100km``: the 100 km squares of the Military Grid Reference System, and their names.

Source: DMA TM 8358.1, chapter 3 (lettering of zones, bands and squares, UTM and UPS).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upscaling.area.aoi import AOI
from upscaling.area.lonlat import transformer
from upscaling.grids.base import BaseGrid, Selection
from upscaling.grids.family import Family
from upscaling.grids.lattice import Ints, Lattice
from upscaling.grids.utm import outlines, utm_cells
from upscaling.grids.utm_zones import Zone, false_northing, utm_zones

__all__ = ["FAMILIES", "SIDE", "MgrsGrid", "square_names"]

SIDE = 100_000

_BANDS = "CDEFGHJKLMNPQRSTUVWX"
_COLUMNS = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_POLAR_WEST, _POLAR_EAST = "JKLPQRSTUXYZ", "ABCFGHJKLPQR"
_POLAR_ROWS = "ABCDEFGHJKLMNPQRSTUVWXYZ"


def square_names(zone: Zone, i: Ints, j: Ints) -> list[str]:
    """Return the names of squares (lower left corner at E 100 km * i, N 100 km * j), as 33UWP.

    A square that lies in two latitude bands is named by the band of its centre, as in the Sentinel-2 tiling grid.
    """
    if not zone.number:
        return [_polar_name(zone.south, e, n) for e, n in zip(i.tolist(), j.tolist(), strict=True)]
    centre = (j + 0.5) * SIDE - false_northing(zone.south)
    lat = transformer("EPSG:32631", "EPSG:4326").transform((i + 0.5) * SIDE, centre)[1]
    band = np.clip((np.asarray(lat) + 80) // 8, 0, 19).astype(int)
    columns = _COLUMNS[(zone.number - 1) % 3]
    shift = 0 if zone.number % 2 else 5
    return [
        f"{zone.number:02d}{_BANDS[b]}{columns[e - 1]}{_ROWS[(n + shift) % 20]}"
        for b, e, n in zip(band.tolist(), i.tolist(), j.tolist(), strict=True)
    ]


def _polar_name(south: bool, i: int, j: int) -> str:
    west = i < 20
    column = _POLAR_WEST[i - 8] if west else _POLAR_EAST[i - 20]
    return ("AB" if south else "YZ")[not west] + column + _POLAR_ROWS[j - (8 if south else 13)]


class MgrsGrid(BaseGrid):
    """100 km squares, each owning its part within its UTM zone."""

    name = "mgrs-100km"
    title = "MGRS 100 km squares"
    definition = "100 km squares of UTM zones and UPS caps, named by zone, band (of the centre), column and row"
    authority = "NGA (DMA TM 8358.1)"
    cell_size = "100 km"
    crs = "EPSG:326zz / EPSG:327zz (UPS: EPSG:5041 / EPSG:5042)"

    def select(self, aoi: AOI, min_overlap: float) -> Selection:
        """Find the squares under an AOI."""
        cells = utm_cells(aoi, SIDE, min_overlap)
        zones = utm_zones()
        bounds = Lattice(SIDE, SIDE).bounds(cells.i, cells.j)
        outline, lonlat = outlines(cells.zone, bounds)
        names: NDArray[np.object_] = np.empty(len(cells.zone), dtype=object)
        for index in np.unique(cells.zone).tolist():
            rows = cells.zone == index
            names[rows] = square_names(zones[index], cells.i[rows], cells.j[rows])
        return cells.selection(
            tile_id=[f"{self.name}_{name.lower()}" for name in names],
            grid_code=[f"MGRS-{name}" for name in names],
            crs=np.array([zone.crs for zone in zones], dtype=object)[cells.zone],
            bounds=bounds,
            outline=outline,
            lonlat=lonlat,
        )


FAMILIES = (Family(2, "mgrs-100km", r"mgrs-100km", "mgrs-100km", MgrsGrid),)
