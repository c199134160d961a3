"""An AOI in the planes of all UTM zones it lies in, all at once: the zones share one projection."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from upscaling.area.aoi import AOI
from upscaling.area.lonlat import MAX_STEP, folded, polygons_of, valid_polygons
from upscaling.grids.utm_zones import Zone, to_plane

__all__ = ["aoi_in_zones"]

Ints = NDArray[np.int64]


def aoi_in_zones(
    aoi: AOI, size: float, zones: tuple[Zone, ...], also: Ints | None = None
) -> tuple[Ints, Ints, NDArray[Any]]:
    """Bring an AOI into the plane of every zone it lies in, with a margin of a cell of ``size`` (m) around the zone.

    Parameters
    ----------
    also
        Indices of zones that are wanted even if the AOI lies only in their margin.

    Returns
    -------
    zone, part, polygon
        Indices into ``zones``; indices into ``aoi.parts``, or -1 where the AOI was given in that zone's CRS
        and its polygons are taken as they are; valid polygons in the zone's CRS.
    """
    parts = np.asarray(aoi.parts, dtype=object)
    tree = shapely.STRtree(parts)
    # a millimetre less: a zone that the AOI only touches is none of its zones
    regions = [shapely.union_all([shapely.box(*box) for box in zone.boxes]).buffer(-1e-8) for zone in zones]
    used = np.unique(tree.query(regions, predicate="intersects")[0])
    if also is not None:
        used = np.union1d(used, also)
    own = [index for index in used.tolist() if zones[index].crs == aoi.crs]
    zone, turn, boxes = _windows([index for index in used.tolist() if index not in own], aoi, size, zones)

    window, part = tree.query(boxes)
    clipped = shapely.intersection(shapely.segmentize(parts, MAX_STEP)[part], boxes[window])
    flat, source = shapely.get_parts(clipped, return_index=True)
    ok = (shapely.get_type_id(flat) == 3) & ~shapely.is_empty(flat)
    flat, window, part = flat[ok], window[source[ok]], part[source[ok]]
    # edges of a window lie outside the zone: they only must not bend into it
    zone, part, flat = _projected(zone[window], turn[window], part, shapely.segmentize(flat, 1.0), zones)
    for index in own:
        flat = np.append(flat, np.asarray(aoi.native, dtype=object))
        zone = np.append(zone, np.full(len(aoi.native), index))
        part = np.append(part, np.full(len(aoi.native), -1))
    return zone, part, flat


def _windows(
    used: list[int], aoi: AOI, size: float, zones: tuple[Zone, ...]
) -> tuple[Ints, NDArray[np.float64], NDArray[Any]]:
    """Return zone, turn (degrees) and lon/lat box of what a zone needs; two boxes for zones at the antimeridian."""
    high = min(84.5, float(np.abs(shapely.total_bounds(list(aoi.parts))[[1, 3]]).max()))
    up = 1.1 * size / 110e3 + 1.0
    side = min(60.0, 1.1 * size / 111e3 / np.cos(np.radians(high)) + 0.1)
    rows: list[tuple[float, ...]] = []
    for index in used:
        west, south, east, north = zones[index].hull
        south, north = max(south - up, -90.0), min(north + up, 90.0)
        if not zones[index].number:
            rows.append((index, 0.0, west, south, east, north))
            continue
        for turn in (-360.0, 0.0, 360.0):
            low, top = max(west - side + turn, -180.0), min(east + side + turn, 180.0)
            if low < top:
                rows.append((index, turn, low, south, top, north))
    table = np.array(rows, dtype=float).reshape(-1, 6)
    return table[:, 0].astype(np.int64), table[:, 1], np.asarray(shapely.box(*table[:, 2:].T), dtype=object)


def _projected(
    zone: Ints, turn: NDArray[np.float64], part: Ints, polygons: NDArray[Any], zones: tuple[Zone, ...]
) -> tuple[Ints, Ints, NDArray[Any]]:
    """Project lon/lat polygons to their zones; what that makes invalid is patched and exploded."""
    xy, row = shapely.get_coordinates(polygons, return_index=True)
    xy[:, 0] -= (np.array([z.central_meridian for z in zones])[zone] + turn)[row]
    at_pole = np.array([not z.number for z in zones])[zone]
    southern = np.array([z.south for z in zones])[zone]
    for polar in (False, True):
        for south in (False, True):
            kind = ((at_pole == polar) & (southern == south))[row]
            if kind.any():
                xy[kind] = to_plane(xy[kind], polar=polar, south=south)
    flat = shapely.set_coordinates(polygons.copy(), xy)
    flat = folded(flat, at_pole)
    bad = ~shapely.is_valid(flat) | (shapely.get_type_id(flat) != 3) | shapely.is_empty(flat)
    zone_of, part_of, out = [zone[~bad]], [part[~bad]], [flat[~bad]]
    for k in np.flatnonzero(bad):
        patched = valid_polygons(polygons_of([flat[k]]))
        out.append(patched)
        zone_of.append(np.full(len(patched), zone[k]))
        part_of.append(np.full(len(patched), part[k]))
    return np.concatenate(zone_of), np.concatenate(part_of), np.concatenate(out)
