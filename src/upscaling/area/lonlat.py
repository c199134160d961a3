"""Polygons between a projected CRS and longitude/latitude: densified, cut at the antimeridian, closed at the poles.

A ring that crosses the antimeridian jumps by almost 360 degrees from one vertex to the next, and a ring around a
pole does not close. Both are unrolled to continuous longitudes here, closed over the pole where needed, and cut at
+-180 (RFC 7946, 3.1.9), with straight lines in longitude/latitude as that standard defines them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.affinity import translate

from upscaling.errors import ConfigError

__all__ = [
    "MAX_STEP",
    "METRES_PER_DEGREE",
    "area_km2",
    "cut_at_antimeridian",
    "folded",
    "ground_area",
    "jumps",
    "lonlat_bounds",
    "narrowest",
    "polygons_of",
    "project",
    "rings",
    "rolled",
    "shapes_to_lonlat",
    "to_lonlat",
    "transformer",
    "unprojected",
    "unroll",
    "valid_polygons",
]

MAX_STEP = 0.05
"""Longest edge in degrees before a reprojection: the chord then stays within 0.3 m of the line, at any latitude."""

METRES_PER_DEGREE = 111_320.0
"""Along the equator, and about that along every meridian."""

_POLE = 90 - 1e-9


@lru_cache(maxsize=256)
def transformer(source: str, target: str) -> Any:
    """Return a pyproj Transformer between two CRS (any text pyproj reads), x before y on both sides."""
    import pyproj

    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def rings(bounds: NDArray[np.float64], across: int, up: int) -> NDArray[np.float64]:
    """Return closed rings (n, 2 * (across + up) + 1, 2) around boxes, anticlockwise."""
    s, t = np.linspace(0, 1, across + 1)[:-1], np.linspace(0, 1, up + 1)[:-1]
    u = np.concatenate([s, np.ones(up), 1 - s, np.zeros(up), [0.0]])
    v = np.concatenate([np.zeros(across), t, np.ones(across), 1 - t, [0.0]])
    x = bounds[:, [0]] * (1 - u) + bounds[:, [2]] * u
    y = bounds[:, [1]] * (1 - v) + bounds[:, [3]] * v
    return np.stack([x, y], axis=-1)


def unprojected(bounds: NDArray[np.float64], crs: str, across: int, up: int) -> NDArray[np.float64]:
    """Return such rings around boxes in ``crs``, in longitude and latitude."""
    xy = rings(bounds, across, up)
    lon, lat = transformer(crs, "EPSG:4326").transform(xy[..., 0].ravel(), xy[..., 1].ravel())
    return np.stack([lon, lat], axis=-1).reshape(xy.shape)


def polygons_of(geometries: Iterable[Any]) -> NDArray[Any]:
    """Return the non-empty polygons in ``geometries``, exploded; lines and points fall away."""
    flat = shapely.get_parts(np.asarray(list(geometries), dtype=object))
    while np.any(shapely.get_type_id(flat) > 3):
        flat = shapely.get_parts(flat)
    return np.asarray(flat[(shapely.get_type_id(flat) == 3) & ~shapely.is_empty(flat)], dtype=object)


def valid_polygons(polygons: NDArray[Any]) -> NDArray[Any]:
    """Make the invalid ones valid (method "structure": shells are united, holes cut out of them) and explode."""
    bad = ~shapely.is_valid(polygons)
    if not bad.any():
        return polygons
    patched = shapely.make_valid(polygons[bad], method="structure", keep_collapsed=False)
    return np.concatenate([polygons[~bad], polygons_of(patched)])


def _with_poles(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give a vertex at a pole its neighbours' longitudes, and an edge over a pole the two vertices it lacks."""
    out: list[tuple[float, float]] = []
    n = len(ring)
    for k in range(n):
        lon, lat = ring[k]
        before, after = ring[k - 1], ring[(k + 1) % n]
        if abs(lat) >= _POLE:
            pole = float(np.copysign(90, lat))
            out += [(float(other[0]), pole) for other in (before, after) if abs(other[1]) < _POLE]
            continue
        out.append((float(lon), float(lat)))
        turn = abs((after[0] - lon + 180) % 360 - 180)
        if abs(after[1]) < _POLE and turn > 180 - 1e-6:
            if abs(lat) < 80:
                raise ConfigError("an edge spans 180 degrees of longitude: add vertices so that its way is clear")
            pole = float(np.copysign(90, lat))
            out += [(float(lon), pole), (float(after[0]), pole)]
    return np.asarray(out, dtype=float)


def unroll(ring: NDArray[np.float64]) -> Any:
    """Return the polygon inside a lon/lat ring, in continuous longitudes (they may leave -180..180).

    Parameters
    ----------
    ring
        Vertices (n, 2) in degrees, closed or not. Every edge is taken the short way round.

    Raises
    ------
    ConfigError
        If the ring goes round a pole and lies on both sides of the equator: which pole is inside is not known then.
    """
    ring = np.asarray(ring, dtype=float)
    if len(ring) > 1 and np.array_equal(ring[0], ring[-1]):
        ring = ring[:-1]
    ring = _with_poles(ring)
    if len(ring) < 3:
        return shapely.Polygon()
    steps = np.diff(ring[:, 0], append=ring[0, 0])
    steps -= 360 * np.round(steps / 360)
    lon = ring[0, 0] + np.concatenate([[0.0], np.cumsum(steps)])
    lat = np.append(ring[:, 1], ring[0, 1])
    if abs(lon[-1] - lon[0]) > 180:
        if lat.min() < 0 < lat.max():
            raise ConfigError("a ring goes round a pole and over the equator: cut the polygon in two")
        pole = float(np.copysign(90, lat.mean()))
        lon, lat = np.append(lon, [lon[-1], lon[0]]), np.append(lat, [pole, pole])
    return shapely.Polygon(np.column_stack([lon, lat]))


def cut_at_antimeridian(polygon: Any, *, short_way: bool = True) -> list[Any]:
    """Return the parts of a lon/lat polygon within -180..180.

    Parameters
    ----------
    polygon
        Its longitudes may run beyond +-180.
    short_way
        Take every edge the short way round (a jump from 179 to -179 crosses the antimeridian); False takes the
        longitudes as they stand.
    """

    def parts(ring: Any) -> Any:
        inside = unroll(shapely.get_coordinates(ring)) if short_way else shapely.Polygon(ring)
        if inside.is_empty:
            return inside
        west, _, east, _ = inside.bounds
        if not inside.is_valid:
            inside = shapely.make_valid(inside, method="structure", keep_collapsed=False)
        pieces = []
        for turn in range(int(np.floor((west + 180) / 360)), int(np.ceil((east + 180) / 360))):
            piece = shapely.intersection(inside, shapely.box(-180 + 360 * turn, -90, 180 + 360 * turn, 90))
            pieces += [translate(p, -360 * turn) if turn else p for p in polygons_of([piece])]
        return shapely.union_all(pieces)

    if polygon.is_empty:
        return []
    result = parts(polygon.exterior)
    if len(polygon.interiors):
        result = shapely.difference(result, shapely.union_all([parts(hole) for hole in polygon.interiors]))
    return list(polygons_of([result]))


def jumps(polygon: Any) -> bool:
    """Say whether a lon/lat polygon must be read the short way round: an edge jumps over the antimeridian.

    Edges of exactly 360 degrees are the border of the map (the whole world, Antarctica) as long as the polygon is
    valid as it stands.
    """
    rings = [polygon.exterior, *polygon.interiors]
    steps = np.concatenate([np.abs(np.diff(shapely.get_coordinates(ring)[:, 0])) for ring in rings])
    if not (steps > 180).any():
        return False
    return bool(((steps > 180) & (steps < 360 - 1e-9)).any()) or not polygon.is_valid


def to_lonlat(polygons: NDArray[Any], crs: str, step: float) -> NDArray[Any]:
    """Reproject polygons to EPSG:4326, each to a Polygon, or a MultiPolygon where the antimeridian cuts it.

    Parameters
    ----------
    polygons
        In ``crs``.
    step
        Longest edge, in units of ``crs``, before the reprojection.

    Raises
    ------
    ConfigError
        If a coordinate has no place on the globe, or ``crs`` has no relation to it.
    """
    import pyproj

    try:
        change = transformer(crs, "EPSG:4326")
    except pyproj.exceptions.ProjError as error:
        raise ConfigError(f"its CRS cannot be brought to longitude/latitude: {error}") from error
    dense = shapely.segmentize(polygons, step)
    flat = shapely.transform(dense, change.transform, interleaved=False)
    if not np.isfinite(shapely.get_coordinates(flat)).all():
        raise ConfigError("it has coordinates outside the range of its CRS")
    return rolled(flat)


def shapes_to_lonlat(shapes: NDArray[Any], crs: str, step: float) -> NDArray[Any]:
    """Reproject shapes of one or several polygons each to EPSG:4326, as `to_lonlat` does polygons."""
    if not len(shapes):
        return shapes
    parts, index = shapely.get_parts(shapes, return_index=True)
    lonlat = to_lonlat(parts, crs, step)
    out = np.empty(len(shapes), dtype=object)
    for k in range(len(shapes)):
        pieces = polygons_of(lonlat[index == k])
        out[k] = pieces[0] if len(pieces) == 1 else shapely.MultiPolygon(list(pieces))
    return out


def rolled(polygons: Any) -> NDArray[Any]:
    """Cut those of many lon/lat polygons that jump over the antimeridian or touch a pole; leave the others alone."""
    given: NDArray[Any] = np.asarray(polygons, dtype=object)
    xy, index = shapely.get_coordinates(given, return_index=True)
    same = index[1:] == index[:-1]
    odd = np.zeros(len(given), dtype=bool)
    odd[index[1:][same & (np.abs(np.diff(xy[:, 0])) > 179)]] = True
    odd[index[(np.abs(xy[:, 1]) > _POLE) | (np.abs(xy[:, 0]) > 180)]] = True
    if not odd.any():
        return given
    out = given.copy()
    for k in np.flatnonzero(odd):
        cut = cut_at_antimeridian(given[k])
        out[k] = cut[0] if len(cut) == 1 else shapely.MultiPolygon(cut)
    return out


def project(polygons: NDArray[Any], crs: str) -> NDArray[Any]:
    """Reproject lon/lat polygons (densified already) to ``crs``; patched and exploded.

    Raises
    ------
    ConfigError
        If a point has no place in ``crs``.
    """
    flat = shapely.transform(polygons, transformer("EPSG:4326", crs).transform, interleaved=False)
    if not np.isfinite(shapely.get_coordinates(flat)).all():
        raise ConfigError(f"the AOI has points that have no place in {crs}", key="area.grid")
    return valid_polygons(folded(flat, np.abs(shapely.bounds(polygons)[:, [1, 3]]).max(axis=1) >= _POLE))


def folded(flat: NDArray[Any], polar: NDArray[np.bool_]) -> NDArray[Any]:
    """Repair projected polygons that touch a pole: the map's edges there fold up to a point and a seam at +-180."""
    if polar.any():
        flat = flat.copy()
        flat[polar] = shapely.set_precision(shapely.make_valid(flat[polar], method="structure"), 1e-3)
    return flat


def lonlat_bounds(geometries: Sequence[Any] | NDArray[Any]) -> NDArray[np.float64]:
    """Return (n, 4) west, south, east, north in degrees; west > east where a geometry is cut by the antimeridian."""
    geometries = np.asarray(geometries, dtype=object)
    bounds = shapely.bounds(geometries)
    wide = (bounds[:, 0] == -180) & (bounds[:, 2] == 180) & (shapely.get_type_id(geometries) == 6)
    for k in np.flatnonzero(wide):
        boxes = shapely.bounds(shapely.get_parts(geometries[k]))
        bounds[k, [0, 2]] = narrowest(boxes[:, 0], boxes[:, 2])
    return np.asarray(bounds, dtype=float)


def narrowest(west: NDArray[np.float64], east: NDArray[np.float64]) -> tuple[float, float]:
    """Return west and east of the narrowest box around boxes; they and it cross the antimeridian where west > east."""
    order = np.argsort(west, kind="stable")
    start, reach = west[order], np.maximum.accumulate(np.where(east < west, east + 360, east)[order])
    reach = np.maximum(reach, reach[-1] - 360)  # what boxes over the antimeridian cover at the start of the circle
    # The widest gap on the circle is what the box leaves out; the one over the antimeridian wins a tie.
    gaps = np.append(start[1:], start[0] + 360) - reach
    widest = int(np.flatnonzero(gaps == gaps.max())[-1])
    if gaps[widest] <= 1e-6:
        return -180.0, 180.0
    edges = float(start[(widest + 1) % len(start)]), float(reach[widest])
    first, last = (edge - 360 if edge > 180 else edge for edge in edges)
    return first, last


def area_km2(polygons: Sequence[Any] | NDArray[Any]) -> float:
    """Return the area of lon/lat polygons on the WGS 84 ellipsoid.

    In the cylindrical equal-area projection the area is the integral of y over x along the rings; Simpson's rule
    along every edge keeps it exact where that projection bends edges most, at the poles.
    """
    change = transformer("EPSG:4326", "+proj=cea +ellps=WGS84")
    dense = shapely.orient_polygons(shapely.segmentize(np.asarray(polygons, dtype=object), 0.05))
    xy, ring = shapely.get_coordinates(shapely.get_rings(dense), return_index=True)
    middle = (xy[1:] + xy[:-1]) / 2
    x, y = change.transform(xy[:, 0], xy[:, 1])
    y_middle = change.transform(middle[:, 0], middle[:, 1])[1]
    strips = (x[:-1] - x[1:]) * (y[:-1] + 4 * y_middle + y[1:]) / 6
    return float(strips[ring[1:] == ring[:-1]].sum() / 1e6)


def ground_area(geometries: NDArray[Any], crs: str = "EPSG:4326") -> NDArray[np.float64]:
    """Return the area in m2 of each of many small geometries, given in ``crs``, on the WGS 84 ellipsoid."""
    if crs != "EPSG:4326":
        geometries = shapely.transform(geometries, transformer(crs, "EPSG:4326").transform, interleaved=False)
    change = transformer("EPSG:4326", "+proj=cea +ellps=WGS84")
    flat = shapely.transform(shapely.segmentize(geometries, 0.1), change.transform, interleaved=False)
    return np.asarray(shapely.area(flat), dtype=float)
