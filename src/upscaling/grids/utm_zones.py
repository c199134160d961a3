"""UTM zones with the exceptions of Norway and Svalbard, and UPS at the poles: who owns which place on the globe.

A zone is a region in longitude/latitude. All zones share one transverse Mercator around their central meridian, so
what is computed for one central meridian holds for all of them. Source: DMA TM 8358.2, sections 2-1 to 2-3.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from upscaling.area.lonlat import transformer
from upscaling.grids.lattice import Cells, Lattice, cover
from upscaling.grids.owners import sorted_cells

__all__ = ["Zone", "false_northing", "from_plane", "owned_cells", "to_plane", "utm_zones"]
__all__ += ["zone_cells", "zone_of", "zones_of"]

_EXCEPTIONS = {  # zone: (west, south, east, north) north of the equator
    31: [(0, 0, 6, 56), (0, 56, 3, 64), (0, 64, 6, 72), (0, 72, 9, 84)],
    32: [(6, 0, 12, 56), (3, 56, 12, 64), (6, 64, 12, 72)],
    33: [(12, 0, 18, 72), (9, 72, 21, 84)],
    34: [(18, 0, 24, 72)],
    35: [(24, 0, 30, 72), (21, 72, 33, 84)],
    36: [(30, 0, 36, 72)],
    37: [(36, 0, 42, 72), (33, 72, 42, 84)],
}
Boxes = tuple[tuple[float, float, float, float], ...]
_STRIP = 0.2  # degrees of latitude: a zone's cells are made in strips that are a multiple of this
_BEND = 0.2  # degrees: a parallel bends away from a row of cells by less than half of this
_SAGITTA = 4e-3  # m: how far the chords of a parallel may lie off it; those of meridians stay within 1 mm


@dataclass(frozen=True)
class Zone:
    """A UTM zone of one hemisphere (``number`` 1..60), or UPS (``number`` 0).

    Attributes
    ----------
    boxes
        Its region: (west, south, east, north) in degrees.
    """

    number: int
    south: bool
    boxes: Boxes

    @property
    def crs(self) -> str:
        """EPSG:326zz, EPSG:327zz, or EPSG:5041/5042 (UPS with easting first)."""
        if not self.number:
            return "EPSG:5042" if self.south else "EPSG:5041"
        return f"EPSG:{(32700 if self.south else 32600) + self.number}"

    @property
    def label(self) -> str:
        """As it stands in tile ids: ``33n``, ``07s``, ``ups-n``."""
        hemisphere = "s" if self.south else "n"
        return f"{self.number:02d}{hemisphere}" if self.number else f"ups-{hemisphere}"

    @property
    def central_meridian(self) -> int:
        """Degrees east; 0 for UPS."""
        return 6 * self.number - 183 if self.number else 0

    @property
    def shape(self) -> Boxes:
        """Its region relative to the central meridian: the same for most zones."""
        cm = self.central_meridian
        return tuple((west - cm, south, east - cm, north) for west, south, east, north in self.boxes)

    @property
    def hull(self) -> tuple[float, float, float, float]:
        """The box around its region, in degrees."""
        box = np.array(self.boxes)
        return float(box[:, 0].min()), float(box[:, 1].min()), float(box[:, 2].max()), float(box[:, 3].max())


@lru_cache(maxsize=1)
def utm_zones() -> tuple[Zone, ...]:
    """Return all 120 half zones and the two UPS caps; their regions fill the globe without overlap."""
    zones = []
    for number in range(1, 61):
        west = 6.0 * number - 186
        boxes = _EXCEPTIONS.get(number, [(west, 0, west + 6, 84)])
        zones.append(Zone(number, False, tuple((float(w), float(s), float(e), float(n)) for w, s, e, n in boxes)))
        zones.append(Zone(number, True, ((west, -80.0, west + 6, 0.0),)))
    zones.append(Zone(0, False, ((-180.0, 84.0, 180.0, 90.0),)))
    zones.append(Zone(0, True, ((-180.0, -90.0, 180.0, -80.0),)))
    return tuple(zones)


def zones_of(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the index into ``utm_zones()`` of the zone of every point (its west and south edges belong to a zone)."""
    column = np.floor((np.asarray(lon, dtype=float) + 180) / 6).astype(np.int64) % 60
    lat = np.asarray(lat, dtype=float)
    zone = 2 * column + (lat < 0)
    turned = (np.asarray(lon, dtype=float) + 180) % 360 - 180
    for number, boxes in _EXCEPTIONS.items():
        for west, south, east, north in boxes:
            zone[(turned >= west) & (turned < east) & (lat >= south) & (lat < north)] = 2 * (number - 1)
    zone[lat >= 84] = 120
    zone[lat < -80] = 121
    return np.asarray(zone, dtype=np.int64)


def zone_of(lon: float, lat: float) -> Zone:
    """Return the zone that a point lies in."""
    return utm_zones()[int(zones_of(np.array([lon]), np.array([lat]))[0])]


def false_northing(south: bool) -> float:
    """Return what UTM adds to northings, in metres."""
    return 1e7 if south else 0.0


def to_plane(xy: NDArray[np.float64], *, polar: bool, south: bool) -> NDArray[np.float64]:
    """Project (n, 2) longitude relative to the central meridian (UPS: longitude) and latitude, to metres."""
    if polar:
        return np.column_stack(transformer("EPSG:4326", f"EPSG:{5041 + south}").transform(xy[:, 0], xy[:, 1]))
    x, y = transformer("EPSG:4326", "EPSG:32631").transform(xy[:, 0] + 3, xy[:, 1])
    return np.column_stack([x, y + false_northing(south)])


def from_plane(xy: NDArray[np.float64], *, south: bool) -> NDArray[np.float64]:
    """Return longitude relative to the central meridian, and latitude, of UTM coordinates (n, 2) in metres."""
    lon, lat = transformer("EPSG:32631", "EPSG:4326").transform(xy[:, 0], xy[:, 1] - false_northing(south))
    return np.column_stack([lon - 3, lat])


def _region(shape: Boxes, *, polar: bool, south: bool) -> Any:
    """Return a region in the plane, its curved edges as chords within _SAGITTA."""
    if polar:
        lat = shape[0][3 if south else 1]
        radius = abs(to_plane(np.array([[0.0, lat]]), polar=True, south=south)[0, 1] - 2e6)
        lon = np.linspace(-180, 180, int(np.ceil(2 * np.pi / np.sqrt(8 * _SAGITTA / radius))))
        return shapely.Polygon(to_plane(np.column_stack([lon, np.full(len(lon), lat)]), polar=True, south=south))
    joined: Any = shapely.union_all([shapely.box(*box) for box in shape])
    ring = shapely.get_coordinates(joined.exterior)
    points = []
    for (x0, y0), (x1, y1) in itertools.pairwise(ring):
        if y0 == y1:  # a parallel: its radius of curvature in the plane is about R / tan(latitude)
            step = np.sqrt(8 * _SAGITTA / max(np.tan(np.radians(abs(y0))), 1e-9) * 6.37e6)
            n = np.radians(abs(x1 - x0)) * 6.37e6 * np.cos(np.radians(y0)) / step
        else:  # a meridian; 0.008 divides _STRIP: the same points in any extent
            n = abs(y1 - y0) / 0.008
        t = np.linspace(0, 1, int(np.ceil(n - 1e-6)) + 1)[:-1, None]
        points.append(np.array([x0, y0]) * (1 - t) + np.array([x1, y1]) * t)
    return shapely.Polygon(to_plane(np.concatenate(points), polar=False, south=south))


@lru_cache(maxsize=64)
def zone_cells(shape: Boxes, polar: bool, south: bool, size: float) -> tuple[NDArray[np.int64], Cells]:
    """Return the cells of a zone's shape with the part of each within it, sorted by ``(i << 32) + j``."""
    region = _region(shape, polar=polar, south=south)
    return sorted_cells(cover(np.array([region], dtype=object), Lattice(size, size)))


def owned_cells(zone: Zone, size: float, south: float, north: float) -> tuple[NDArray[np.int64], Cells]:
    """Return the cells of side ``size`` (m, lattice at E 0, N 0) of a zone, with the part of each within the zone.

    Only those between two latitudes (and somewhat beyond) are computed. The first array is ``(i << 32) + j``, sorted.
    """
    if not zone.number:
        return zone_cells(zone.shape, True, zone.south, size)
    reach = 2.2 * size / 110e3 + _BEND
    low = round(_STRIP * float(np.floor((south - reach) / _STRIP)), 6)
    high = round(_STRIP * float(np.ceil((north + reach) / _STRIP)), 6)
    boxes = ((w, max(s, low), e, min(n, high)) for w, s, e, n in zone.shape)
    return zone_cells(tuple(box for box in boxes if box[1] < box[3]), False, zone.south, size)
