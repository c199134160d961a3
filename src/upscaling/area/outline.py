"""Outlines in longitude and latitude, also across the antimeridian and around a pole (RFC 7946)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np

from upscaling.model import Bounds

__all__ = ["bbox_of", "footprint", "union_bbox"]

DIGITS = 7  # about a centimetre
# A straight edge in a projection is a curve in degrees: in UTM a chord of 4 km departs from it by less than a metre.
CHORD, FEWEST, MOST = 4_000.0, 4, 200


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
    import shapely
    from shapely.affinity import translate

    to_lonlat, geographic = _to_lonlat(crs)
    west, south, east, north = bounds
    edge = 0.0 if geographic else max(east - west, north - south)
    segments = min(MOST, max(FEWEST, math.ceil(edge / CHORD)))
    steps = np.arange(segments) / segments
    x = np.concatenate([west + steps * (east - west), np.full(segments, east)])
    x = np.concatenate([x, east - steps * (east - west), np.full(segments, west)])
    y = np.concatenate([np.full(segments, south), south + steps * (north - south)])
    y = np.concatenate([y, np.full(segments, north), north - steps * (north - south)])
    lon, lat = to_lonlat.transform(x, y, errcheck=True)
    lon = np.degrees(np.unwrap(np.radians(np.append(lon, lon[0]))))
    lat = np.append(lat, lat[0])
    if abs(lon[-1] - lon[0]) > 180:  # once around the Earth: a pole is inside
        pole = 90.0 if lat.mean() > 0 else -90.0
        lon, lat = np.append(lon, [lon[-1], lon[0]]), np.append(lat, [pole, pole])
    shape = shapely.Polygon(np.column_stack([lon, lat]))
    parts = []
    for turn in (-360.0, 0.0, 360.0):
        part = shapely.intersection(shape, shapely.box(-180 + turn, -90, 180 + turn, 90))
        parts.append(translate(part, -turn))
    whole = shapely.orient_polygons(shapely.union_all(parts, grid_size=10.0 ** -(DIGITS + 2)))
    polygons = [part for part in shapely.get_parts(whole) if part.geom_type == "Polygon" and part.area > 0]
    rings = [_ring(polygon) for polygon in sorted(polygons, key=lambda polygon: -polygon.bounds[0])]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


@cache
def _to_lonlat(crs: str) -> tuple[Any, bool]:
    """Return the transformer, which can take a tenth of a second to find, and whether the CRS is in degrees already."""
    import pyproj

    system = pyproj.CRS.from_user_input(crs)
    return pyproj.Transformer.from_crs(system, "EPSG:4326", always_xy=True), system.is_geographic


def _ring(polygon: Any) -> list[list[list[float]]]:
    return [np.round(np.asarray(polygon.exterior.coords), DIGITS).tolist()]


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
    west, south, east, north = array.T
    box_south, box_north = float(south.min()), float(north.max())
    east = np.where(east < west, east + 360, east)
    order = np.argsort(west, kind="stable")
    west, east = west[order], np.maximum.accumulate(east[order])
    # The widest gap on the circle is what the smallest box leaves out; the one over the antimeridian wins a tie.
    gaps = np.append(west[1:] - east[:-1], west[0] + 360 - east[-1])
    widest = int(np.flatnonzero(gaps == gaps.max())[-1])
    if gaps[widest] <= 0:
        return [-180.0, box_south, 180.0, box_north]
    if widest == len(west) - 1:
        box_west, box_east = float(west[0]), float(east[-1])
    else:
        box_west, box_east = float(west[widest + 1]), float(east[widest])
    box_west, box_east = (value - 360 if value > 180 else value for value in (box_west, box_east))
    return [box_west, box_south, box_east, box_north]
