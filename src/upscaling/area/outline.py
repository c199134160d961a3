"""Outlines in longitude and latitude, also across the antimeridian and around a pole (RFC 7946)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import shapely

from upscaling.area.lonlat import METRES_PER_DEGREE, cut_at_antimeridian, narrowest, rings, transformer
from upscaling.errors import ConfigError
from upscaling.model import Bounds, Tile

__all__ = ["bbox_of", "footprint", "lonlat_edges", "tile_outline", "union_bbox"]

DIGITS = 7  # about a centimetre
# A straight edge in a projection is a curve in degrees: in UTM a chord of 4 km departs from it by less than a metre.
CHORD, FEWEST, MOST = 4_000.0, 4, 200

TOLERANCE = 0.5  # metres that a tile's outline may leave its straight edges: far less than half a pixel
_MOST_CHORDS = 256  # per edge, all of one length
_MOST_POINTS = 20_000  # of an outline whose chords are shorter near a pole
_POLE = 90 - 1e-9


def footprint(bounds: Bounds, crs: str) -> dict[str, Any]:
    """Return the outline of a rectangle as GeoJSON in EPSG:4326.

    Edges are densified; an outline across the antimeridian becomes a MultiPolygon cut at 180 degrees, one around
    a pole reaches to the pole. Exterior rings run counter-clockwise.

    Parameters
    ----------
    bounds
        Edges in ``crs``.
    crs
        ``EPSG:<n>`` or WKT2.
    """
    west, south, east, north = bounds
    edge = 0.0 if _in_degrees(crs) else max(east - west, north - south)
    segments = min(MOST, max(FEWEST, math.ceil(edge / CHORD)))
    lon, lat = transformer(crs, "EPSG:4326").transform(*_around(bounds, segments), errcheck=True)
    lon = np.degrees(np.unwrap(np.radians(lon)))
    if abs(lon[-1] - lon[0]) > 180:  # once around the Earth: a pole is inside
        pole = 90.0 if lat.mean() > 0 else -90.0
        lon, lat = np.append(lon, [lon[-1], lon[0]]), np.append(lat, [pole, pole])
    return _as_geojson(cut_at_antimeridian(shapely.Polygon(np.column_stack([lon, lat])), short_way=False))


def _as_geojson(parts: list[Any]) -> dict[str, Any]:
    """Return polygons of degrees as GeoJSON, united, the easternmost first, exterior rings counter-clockwise."""
    whole = shapely.union_all(parts, grid_size=10.0 ** -(DIGITS + 2))
    united = shapely.get_parts(shapely.orient_polygons(whole))
    polygons = [part for part in united if part.geom_type == "Polygon" and part.area > 0]
    polygons.sort(key=lambda polygon: -polygon.bounds[0])
    rings = [[np.round(np.asarray(polygon.exterior.coords), DIGITS).tolist()] for polygon in polygons]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


def lonlat_edges(bounds: Bounds, crs: str) -> Bounds:
    """Return the envelope of a rectangle in degrees, EPSG:4326; west > east across the antimeridian.

    Raises
    ------
    ConfigError
        If an edge has no longitude and latitude.
    """
    edges = Bounds(*transformer(crs, "EPSG:4326").transform_bounds(*bounds, densify_pts=21))
    if not np.isfinite(edges).all():
        raise ConfigError(f"bounds {list(bounds)} have no longitude and latitude in {crs[:40]}", key="area.grid")
    if max(-edges.south, edges.north) >= _POLE and not _in_degrees(crs) and (outline := _adaptive_outline(bounds, crs)):
        exact = Bounds(*bbox_of(outline))  # an edge through a pole spans more than its points do
        return edges if np.allclose(edges, exact, atol=1e-6) else exact
    return edges


def tile_outline(tile: Tile, *, afresh: bool = False) -> dict[str, Any]:
    """Return a tile's outline as GeoJSON in EPSG:4326; that of a rectangle follows its edges to half a metre.

    The plan's outline stays where it does, and where it is a shape within the bounds (a hexagon, a polygon of the user,
    a tile that is clipped).

    Parameters
    ----------
    afresh
        Whether that of a rectangle is made with as few points as it takes, whatever the plan has.
    """
    given = tile.geometry or footprint(tile.bounds, tile.crs)
    off = _off(given, tile)
    if off is None or (off <= _tolerance(tile.bounds) and not afresh):
        return given
    return _even_outline(tile.bounds, tile.crs) or _adaptive_outline(tile.bounds, tile.crs) or given


def _off(outline: dict[str, Any], tile: Tile) -> float | None:
    """Return how far an outline leaves the edges of the tile's bounds, halfway between its points.

    None if it is not the outline of the bounds, but of a shape within them.
    """
    polygons = outline["coordinates"] if outline["type"] == "MultiPolygon" else [outline["coordinates"]]
    if outline["type"] not in {"Polygon", "MultiPolygon"} or any(len(rings) != 1 for rings in polygons):
        return None
    west, south, east, north = tile.bounds
    change = transformer(tile.crs, "EPSG:4326")
    area = most = 0.0
    near = 1e-5 * max(east - west, north - south)  # the digits of the outline: 20 cm in 20 km
    for (ring,) in polygons:
        lon, lat = np.asarray(ring, dtype=float)[:, :2].T
        x, y = change.transform(lon, lat, direction="INVERSE")
        area += abs(float(np.dot(x[1:] - x[0], np.diff(y)) - np.dot(y[1:] - y[0], np.diff(x)))) / 2
        cut = (np.abs(lon) >= 180) | (np.abs(lat) >= _POLE) if len(polygons) > 1 or np.ptp(lon) >= 359 else lon > 1e9
        if not (cut | (_off_edges((x, y), tile.bounds) < near)).all():
            return None
        halfway = change.transform((lon[1:] + lon[:-1]) / 2, (lat[1:] + lat[:-1]) / 2, direction="INVERSE")
        most = max(most, float(np.where(cut[1:] & cut[:-1], 0, _off_edges(halfway, tile.bounds)).max()))
    return most if area > 0.99 * (east - west) * (north - south) else None


def _off_edges(points: tuple[Any, Any], bounds: Bounds) -> Any:
    """Return how far points are from the nearest edge of a rectangle, prolonged."""
    (x, y), (west, south, east, north) = points, bounds
    return np.minimum.reduce([np.abs(x - west), np.abs(x - east), np.abs(y - south), np.abs(y - north)])


def _tolerance(bounds: Bounds) -> float:
    """Return the tolerance in the unit of the bounds: no tile is under 360 m in metres, or over 360 in degrees."""
    return TOLERANCE if max(map(abs, bounds)) > 360 else TOLERANCE / METRES_PER_DEGREE


def _around(bounds: Bounds, chords: int) -> tuple[Any, Any]:
    """Return a closed ring along the edges, counter-clockwise from the south-west corner."""
    x, y = rings(np.array([bounds]), chords, chords)[0].T
    return x, y


def _even_outline(bounds: Bounds, crs: str) -> dict[str, Any] | None:
    """Return an outline with as many equal chords per edge as it takes; None at the antimeridian and at a pole."""
    change, tolerance, chords = transformer(crs, "EPSG:4326"), _tolerance(bounds), 1
    while chords <= _MOST_CHORDS:
        lon, lat = change.transform(*_around(bounds, chords))
        if np.abs(np.diff(lon)).max() > 180 or (np.abs(lat).max() >= _POLE and not _in_degrees(crs)):
            return None
        halfway = (lon[1:] + lon[:-1]) / 2, (lat[1:] + lat[:-1]) / 2
        if _off_edges(change.transform(*halfway, direction="INVERSE"), bounds).max() <= tolerance:
            ring = np.round(np.column_stack([lon, lat]), DIGITS).tolist()
            return {"type": "Polygon", "coordinates": [ring]}
        chords *= 2
    return None


def _adaptive_outline(bounds: Bounds, crs: str) -> dict[str, Any] | None:
    """Return an outline with shorter chords where meridians meet, cut at the antimeridian and closed at a pole."""
    change, tolerance = transformer(crs, "EPSG:4326"), _tolerance(bounds)
    x, y = _around(bounds, FEWEST)
    while True:
        lon, lat = change.transform(x, y)
        turn = (np.diff(lon) + 180) % 360 - 180
        # an edge through the pole, or to it, is a meridian: straight in degrees too
        straight = (np.maximum(np.abs(lat[1:]), np.abs(lat[:-1])) >= _POLE) | (np.abs(turn) > 180 - 1e-6)
        halfway = (lon[:-1] + turn / 2 + 180) % 360 - 180, (lat[1:] + lat[:-1]) / 2
        off = _off_edges(change.transform(*halfway, direction="INVERSE"), bounds)
        split = np.flatnonzero(~straight & ~(off <= tolerance))
        if not len(split):
            break
        if len(x) + len(split) > _MOST_POINTS:
            return None
        x = np.insert(x, split + 1, (x[split] + x[split + 1]) / 2)
        y = np.insert(y, split + 1, (y[split] + y[split + 1]) / 2)
    try:
        return _as_geojson(cut_at_antimeridian(shapely.Polygon(np.column_stack([lon, lat]))))
    except ConfigError:
        return None  # round a pole and over the equator


@cache
def _in_degrees(crs: str) -> bool:
    import pyproj

    return bool(pyproj.CRS.from_user_input(crs).is_geographic)


def bbox_of(geometry: dict[str, Any]) -> list[float]:
    """Return ``[west, south, east, north]`` in degrees; west > east across the antimeridian (RFC 7946, 5.2)."""
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    boxes = []
    for polygon in polygons:
        points = np.asarray(polygon[0])[:, :2]
        boxes.append([*points.min(axis=0).tolist(), *points.max(axis=0).tolist()])
    return union_bbox(boxes)


def union_bbox(boxes: Iterable[list[float]]) -> list[float]:
    """Return the smallest ``[west, south, east, north]`` around boxes; they and it may cross the antimeridian."""
    array = np.asarray(list(boxes), dtype=float).reshape(-1, 4)
    west, east = narrowest(array[:, 0], array[:, 2])
    return [west, float(array[:, 1].min()), east, float(array[:, 3].max())]
