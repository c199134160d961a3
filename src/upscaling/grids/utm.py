"""``utm-<N>km``: square tiles in UTM, on a lattice anchored at E 0 / N 0 of each zone; UPS beyond 84 N and 80 S."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from upscaling.area.aoi import AOI
from upscaling.area.lonlat import lonlat_bounds, rolled, unprojected
from upscaling.grids.base import BaseGrid, Selection
from upscaling.grids.family import Family, metres_of
from upscaling.grids.lattice import Lattice, cover, floors, least_of
from upscaling.grids.owners import OwnedCells, owned
from upscaling.grids.utm_aoi import aoi_in_zones
from upscaling.grids.utm_zones import Zone, false_northing, owned_cells, utm_zones

__all__ = ["FAMILIES", "UtmGrid", "outlines", "utm_cells"]

_RADIUS = 6.46e6  # m: no place on the ellipsoid, at any scale of UTM, is farther from the axis
_CHUNK = 50_000  # outlines made at once: their rings take as much memory again


def utm_cells(aoi: AOI, size: float, min_overlap: float = 0.0, zones: tuple[Zone, ...] = utm_zones()) -> OwnedCells:
    """Find the cells of side ``size`` (m) whose owned part shares more than a touch with the AOI.

    Every place on the globe is owned by one cell: cells at a zone's border overlap their neighbours', but what
    lies beyond the border belongs to the neighbour.
    """
    zone_index, part, polygons = aoi_in_zones(aoi, size, zones)
    cells = cover(polygons, Lattice(size, size), _near_zone(zone_index, zones))
    low, high = shapely.total_bounds(list(aoi.parts))[[1, 3]]
    return owned(
        cells,
        zone_index,
        least_of(floors(polygons), part, aoi.parts),
        size * size,
        region=lambda index: owned_cells(zones[index], size, low, high),
        min_overlap=min_overlap,
        rank=np.argsort(np.argsort([zone.label for zone in zones])),
    )


def _near_zone(
    zone_index: NDArray[np.int64], zones: tuple[Zone, ...]
) -> Callable[[NDArray[np.int64], NDArray[np.float64]], NDArray[np.bool_]]:
    """Return what drops blocks that lie outside their polygon's zone for certain."""
    half = np.array([np.abs(np.array(zone.shape)[:, [0, 2]]).max() for zone in zones])[zone_index]
    fn = np.array([false_northing(zone.south) for zone in zones])[zone_index]
    south = np.array([zone.south for zone in zones])[zone_index]
    polar = np.array([not zone.number for zone in zones])[zone_index]

    def keep(polygon: NDArray[np.int64], edges: NDArray[np.float64]) -> NDArray[np.bool_]:
        low, high = edges[:, 1] - fn[polygon], edges[:, 3] - fn[polygon]
        nearest = np.where((low < 0) & (high > 0), 0.0, np.minimum(np.abs(low), np.abs(high)))
        reach = np.radians(half[polygon]) * _RADIUS * np.cos(np.minimum(nearest / _RADIUS, np.pi / 2))
        inside = (edges[:, 0] < 500_000 + reach) & (edges[:, 2] > 500_000 - reach)
        inside &= np.where(south[polygon], low < 0, high > 0)
        return np.asarray(inside | polar[polygon])

    return keep


def outlines(
    zone: NDArray[np.int64], bounds: NDArray[np.float64], zones: tuple[Zone, ...] = utm_zones()
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return outlines in EPSG:4326 and their boxes.

    A point every 2.5 km along edges of constant northing and every 10 km along the others keeps an outline within
    some decimetres of the tile.

    Parameters
    ----------
    zone
        Index into ``zones`` of every box.
    bounds
        (n, 4) in the CRS of the zone; all of one width.
    """
    out = np.empty(len(bounds), dtype=object)
    lonlat = np.empty((len(bounds), 4))
    polar = np.array([not each.number for each in zones])[zone]
    fn = np.array([false_northing(each.south) for each in zones])[zone]
    plain = np.flatnonzero(~polar)
    if len(plain):  # tiles that lie alike in their zones are projected once
        relative = bounds[plain] - fn[plain, None] * np.array([0, 1, 0, 1])
        key = (relative[:, 0].astype(np.int64) << 32) + relative[:, 1].astype(np.int64)
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        side = float(bounds[0, 2] - bounds[0, 0])
        ring = unprojected(relative[first], "EPSG:32631", int(np.ceil(side / 2500)), int(np.ceil(side / 10_000)))
        shift = np.array([each.central_meridian - 3.0 for each in zones])[zone[plain]]
        lonlat[plain] = np.column_stack([ring.min(axis=1), ring.max(axis=1)])[inverse]
        lonlat[plain] += shift[:, None] * np.array([1, 0, 1, 0])
        for start in range(0, len(plain), _CHUNK):
            rows = slice(start, start + _CHUNK)
            part = ring[inverse[rows]]
            part[..., 0] += shift[rows, None]
            out[plain[rows]] = shapely.polygons(part)
    away = np.hypot(*(bounds[:, :2] + bounds[:, 2:] - 4e6).T) / 2  # from the pole; a kilometre bends most there
    for south in (False, True):
        for near in (False, True):
            rows_at_pole = np.flatnonzero(polar & ((fn > 0) == south) & ((away < 400e3) == near))
            if len(rows_at_pole):
                n = int(np.ceil((bounds[0, 2] - bounds[0, 0]) / (600 if near else 1200)))
                ring = unprojected(bounds[rows_at_pole], f"EPSG:{5041 + south}", n, n)
                out[rows_at_pole] = rolled(shapely.polygons(ring))
                lonlat[rows_at_pole] = lonlat_bounds(out[rows_at_pole])
    over = np.flatnonzero((lonlat[:, 0] < -180) | (lonlat[:, 2] > 180))
    if len(over):
        out[over] = rolled(out[over])
        lonlat[over] = lonlat_bounds(out[over])
    return out, lonlat


class UtmGrid(BaseGrid):
    """Squares of N km in the UTM zone of their place."""

    authority = "lattice as in openeo-aggregator's utm-10km, utm-20km, utm-100km"
    crs = "EPSG:326zz / EPSG:327zz (UPS: EPSG:5041 / EPSG:5042)"

    def __init__(self, size: int) -> None:
        self.size = size
        km, metres = divmod(size, 1000)
        self.cell_size = f"{km} km" if not metres else f"{size} m"
        self.name = "utm-" + self.cell_size.replace(" ", "")
        self.title = f"UTM, {self.cell_size}"
        self.definition = (
            f"Squares of {self.cell_size} in each UTM zone "
            "(exceptions of Norway and Svalbard; UPS beyond 84 N and 80 S), "
            "lattice at E 0 / N 0; a tile at a zone's border owns its part within the zone"
        )
        self._unit, self._digits = (1, 7) if metres else (1000, 4)

    def select(self, aoi: AOI, min_overlap: float) -> Selection:
        """Find the tiles under an AOI."""
        cells = utm_cells(aoi, self.size, min_overlap)
        bounds = Lattice(self.size, self.size).bounds(cells.i, cells.j)
        outline, lonlat = outlines(cells.zone, bounds)
        ids, codes = self._names(cells)
        return cells.selection(
            tile_id=ids,
            grid_code=codes,
            crs=np.array([zone.crs for zone in utm_zones()], dtype=object)[cells.zone],
            bounds=bounds,
            outline=outline,
            lonlat=lonlat,
        )

    def _names(self, cells: OwnedCells) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return ids and codes; every part is spelled once, for there may be a million tiles."""
        digits, unit = self._digits, self._unit
        zone = [f"{zone.label}_e" for zone in utm_zones()]
        first_i, first_j = int(cells.i.min(initial=0)), int(cells.j.min(initial=0))
        east = [f"{i * self.size // unit:0{digits}d}_n" for i in range(first_i, int(cells.i.max(initial=0)) + 1)]
        north = [f"{j * self.size // unit:0{digits}d}" for j in range(first_j, int(cells.j.max(initial=0)) + 1)]
        where = cells.zone.tolist(), (cells.i - first_i).tolist(), (cells.j - first_j).tolist()
        out = []
        for prefix, upper in ((f"{self.name}_", False), (f"{self.name.replace('-', '').upper()}-", True)):
            z_, e_, n_ = ([text.upper() if upper else text for text in texts] for texts in (zone, east, north))
            z_ = [prefix + text for text in z_]
            out.append(np.array([z_[z] + e_[i] + n_[j] for z, i, j in zip(*where, strict=True)], dtype=object))
        return out[0], out[1]


def _make(number: str, kilo: str) -> UtmGrid:
    return UtmGrid(metres_of(number, kilo, 100))


FAMILIES = (Family(0, "utm-<N>km", r"utm-(\d+(?:\.\d+)?)(k?)m", "utm-20km", _make),)
