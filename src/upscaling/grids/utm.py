"""``utm-<N>km``: square tiles in UTM, on a lattice anchored at E 0 / N 0 of each zone; UPS beyond 84 N and 80 S."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from upscaling.aoi import AOI
from upscaling.errors import ConfigError
from upscaling.grids.base import BaseGrid, Selection
from upscaling.grids.lattice import Lattice, cover, floors, least_of
from upscaling.grids.lonlat import lonlat_bounds, rolled, transformer
from upscaling.grids.utm_aoi import aoi_in_zones
from upscaling.grids.utm_zones import false_northing, owned_cells, utm_zones

__all__ = ["UtmCells", "UtmGrid", "make", "outlines", "utm_cells"]

_RADIUS = 6.46e6  # m: no place on the ellipsoid, at any scale of UTM, is farther from the axis
_POLAR_SEGMENTS = 32


@dataclass(frozen=True)
class UtmCells:
    """Lattice cells under an AOI, over all zones, in the order of zone, hemisphere, i, j.

    Attributes
    ----------
    zone
        Index into ``utm_zones()``.
    fraction
        Share of the cell within the AOI.
    owner
        The part of the cell within its zone; None where that is all of it.
    """

    zone: NDArray[np.int64]
    i: NDArray[np.int64]
    j: NDArray[np.int64]
    fraction: NDArray[np.float64]
    owner: NDArray[Any]
    dropped: int
    dropped_area: float

    @property
    def crs(self) -> NDArray[Any]:
        """EPSG code of each cell's zone."""
        return np.array([zone.crs for zone in utm_zones()], dtype=object)[self.zone]

    def owner_wkt(self) -> NDArray[Any]:
        """Return the owned part as WKT with a tenth of a millimetre; empty where that is the whole cell."""
        out = np.full(len(self.zone), "", dtype=object)
        part = self.owner != np.array(None)
        out[part] = shapely.to_wkt(self.owner[part], rounding_precision=4)
        return out


def utm_cells(aoi: AOI, size: float, min_overlap: float = 0.0) -> UtmCells:
    """Find the cells of side ``size`` (m) whose owned part shares more than a touch with the AOI.

    Every place on the globe is owned by one cell: cells at a zone's border overlap their neighbours', but what
    lies beyond the border belongs to the neighbour.
    """
    zones = utm_zones()
    zone_index, part, polygons = aoi_in_zones(aoi, size)
    cells = cover(polygons, Lattice(size, size), _near_zone(zone_index))
    least = least_of(floors(polygons), part, aoi.parts)
    row_zone = zone_index[cells.polygon]
    key = (cells.i << 32) + cells.j
    overlap, length = cells.area.copy(), np.full(len(cells.area), 4 * size)
    partial = cells.piece != np.array(None)
    length[partial] = shapely.length(cells.piece[partial])
    owner = np.full(len(cells.area), None, dtype=object)
    owned_area = np.full(len(cells.area), size * size)
    lat = shapely.total_bounds(list(aoi.parts))[[1, 3]]
    for index in np.unique(row_zone).tolist():
        rows = np.flatnonzero(row_zone == index)
        known, owned = owned_cells(zones[index], size, *lat)
        at = np.minimum(np.searchsorted(known, key[rows]), len(known) - 1)
        there = known[at] == key[rows]
        overlap[rows[~there]] = 0
        rows, at = rows[there], at[there]
        owner[rows], owned_area[rows] = owned.piece[at], owned.area[at]
    shared = np.flatnonzero((owner != np.array(None)) & (overlap > 0))
    inner = owner[shared]
    cut = partial[shared]
    inner[cut] = shapely.intersection(cells.piece[shared[cut]], inner[cut])
    overlap[shared], length[shared] = shapely.area(inner), shapely.length(inner)
    good = least.passed(cells.polygon, overlap, length)

    touched = np.flatnonzero(overlap > 0)
    if not len(touched):
        none = np.empty(0, dtype=np.int64)
        return UtmCells(none, none, none, np.empty(0), np.empty(0, dtype=object), 0, 0.0)
    order = touched[np.lexsort((cells.j[touched], cells.i[touched], _rank()[row_zone[touched]]))]
    step = (np.diff(row_zone[order]) != 0) | (np.diff(key[order]) != 0)
    first = np.concatenate([[0], np.flatnonzero(step) + 1])
    area, within = np.add.reduceat(overlap[order], first), np.add.reduceat(cells.area[order], first)
    head = order[first]
    kept = np.logical_or.reduceat(good[order], first) & (area >= min_overlap * owned_area[head] * (1 - 1e-9))
    head = head[kept]
    return UtmCells(
        row_zone[head],
        cells.i[head],
        cells.j[head],
        within[kept] / (size * size),
        owner[head],
        int((~kept).sum()),
        float(area[~kept].sum()),
    )


def _near_zone(zone_index: NDArray[np.int64]) -> Callable[[NDArray[np.int64], NDArray[np.float64]], NDArray[np.bool_]]:
    """Return what drops blocks that lie outside their polygon's zone for certain."""
    zones = utm_zones()
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


def _rank() -> NDArray[np.int64]:
    """Return the place of every zone in the order of tile ids."""
    labels = [zone.label for zone in utm_zones()]
    return np.argsort(np.argsort(labels))


def outlines(cells: UtmCells, bounds: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return outlines in EPSG:4326 (8 points on the long-way edges, 2 on the others; 32 in UPS) and their boxes.

    Parameters
    ----------
    bounds
        (n, 4) in each cell's CRS.
    """
    zones = utm_zones()
    out = np.empty(len(bounds), dtype=object)
    lonlat = np.empty((len(bounds), 4))
    polar = np.array([not zone.number for zone in zones])[cells.zone]
    fn = np.array([false_northing(zone.south) for zone in zones])[cells.zone]
    plain = np.flatnonzero(~polar)
    if len(plain):
        relative = bounds[plain] - fn[plain, None] * np.array([0, 1, 0, 1])
        unique, inverse = np.unique(relative, axis=0, return_inverse=True)
        xy = _densified(unique, 8, 2)
        lon, lat = transformer("EPSG:32631", "EPSG:4326").transform(xy[..., 0].ravel(), xy[..., 1].ravel())
        ring = np.stack([lon, lat], axis=-1).reshape(xy.shape)[inverse.ravel()]
        ring[..., 0] += np.array([zone.central_meridian - 3 for zone in zones])[cells.zone[plain], None]
        out[plain] = shapely.polygons(ring)
        lonlat[plain] = np.column_stack([ring.min(axis=1), ring.max(axis=1)])
    for south in (False, True):
        rows = np.flatnonzero(polar & (fn > 0 if south else fn == 0))
        if len(rows):
            xy = _densified(bounds[rows], _POLAR_SEGMENTS, _POLAR_SEGMENTS)
            change = transformer(f"EPSG:{5041 + south}", "EPSG:4326")
            lon, lat = change.transform(xy[..., 0].ravel(), xy[..., 1].ravel())
            out[rows] = rolled(shapely.polygons(np.stack([lon, lat], axis=-1).reshape(xy.shape)))
            lonlat[rows] = lonlat_bounds(out[rows])
    over = np.flatnonzero((lonlat[:, 0] < -180) | (lonlat[:, 2] > 180))
    if len(over):
        out[over] = rolled(out[over])
        lonlat[over] = lonlat_bounds(out[over])
    return out, lonlat


def _densified(bounds: NDArray[np.float64], across: int, up: int) -> NDArray[np.float64]:
    """Return closed rings (n, 2 * (across + up) + 1, 2) around boxes, anticlockwise."""
    s, t = np.linspace(0, 1, across + 1)[:-1], np.linspace(0, 1, up + 1)[:-1]
    u = np.concatenate([s, np.ones(up), 1 - s, np.zeros(up), [0.0]])
    v = np.concatenate([np.zeros(across), t, np.ones(across), 1 - t, [0.0]])
    x = bounds[:, [0]] * (1 - u) + bounds[:, [2]] * u
    y = bounds[:, [1]] * (1 - v) + bounds[:, [3]] * v
    return np.stack([x, y], axis=-1)


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
        outline, lonlat = outlines(cells, bounds)
        labels = [zone.label for zone in utm_zones()]
        east = (cells.i * self.size // self._unit).tolist()
        north = (cells.j * self.size // self._unit).tolist()
        d = self._digits
        places = [
            f"{labels[z]}_e{e:0{d}d}_n{n:0{d}d}" for z, e, n in zip(cells.zone.tolist(), east, north, strict=True)
        ]
        prefix, code = self.name + "_", self.name.replace("-", "").upper() + "-"
        return Selection(
            tile_id=np.array([prefix + place for place in places], dtype=object),
            grid_code=np.array([code + place.upper() for place in places], dtype=object),
            crs=cells.crs,
            bounds=bounds,
            i=cells.i,
            j=cells.j,
            fraction=cells.fraction,
            owner_wkt=cells.owner_wkt(),
            outline=outline,
            lonlat=lonlat,
            dropped=cells.dropped,
            dropped_area=cells.dropped_area,
        )


def make(name: str) -> UtmGrid:
    """Return the grid ``utm-<N>km`` (0.1 to 500 km, whole metres) or ``utm-<N>m``."""
    match = re.fullmatch(r"utm-([\d.]+)(k?)m", name.lower())
    metres = float(match.group(1)) * (1000 if match.group(2) else 1) if match else 0.0
    if not 100 <= metres <= 500_000 or abs(metres - round(metres)) > 1e-6:
        raise ConfigError(f"{name}: tiles of 0.1 to 500 km, in whole metres, are possible", key="area.grid")
    return UtmGrid(round(metres))
