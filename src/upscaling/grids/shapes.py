"""Tiles of any shape: which of them an AOI covers, and their boxes in a projected CRS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from upscaling.area.aoi import AOI
from upscaling.area.lonlat import METRES_PER_DEGREE, cut_at_antimeridian, ground_area, lonlat_bounds
from upscaling.grids.base import Selection
from upscaling.grids.clip import snapped
from upscaling.grids.lattice import Floats, Floors, Ints, floors, least_of
from upscaling.grids.utm_zones import to_plane, utm_zones, zones_of

__all__ = ["Overlaps", "overlaps", "ring_selection"]


@dataclass(frozen=True)
class Overlaps:
    """Shapes that share an area with an AOI.

    Attributes
    ----------
    found
        Indices of the shapes that share more than a touch and ``min_overlap``.
    share
        Of every found shape: the part of its area within the AOI.
    dropped, dropped_area
        The others that share an area: how many, and how much in m2.
    """

    found: Ints
    share: Floats
    dropped: int
    dropped_area: float


def overlaps(
    shapes: NDArray[Any], polygons: NDArray[Any], *, geographic: bool, min_overlap: float = 0.0, crs: str = "EPSG:4326"
) -> Overlaps:
    """Find the shapes (valid polygons) that share more than a touch with an AOI's polygons in the same CRS.

    Parameters
    ----------
    geographic
        Coordinates are degrees: areas are then those on the ellipsoid.
    min_overlap
        Least share of a shape's area.
    crs
        In which the coordinates are, where they are no degrees: what is dropped is measured on the ground.
    """
    hit, row = shapely.STRtree(shapes).query(polygons, predicate="intersects")
    if not len(row):
        return Overlaps(np.empty(0, dtype=np.int64), np.empty(0), 0, 0.0)
    pieces = shapes[row]
    shapely.prepare(polygons)
    cut = ~shapely.contains_properly(polygons[hit], pieces)
    pieces[cut] = shapely.intersection(pieces[cut], polygons[hit[cut]])
    length = shapely.length(pieces)
    if geographic:
        area, length = ground_area(pieces), length * METRES_PER_DEGREE
        nothing = Floors(np.zeros(len(polygons)), np.zeros(len(polygons)))
        least = least_of(nothing, np.arange(len(polygons)), polygons)
    else:
        area, least = shapely.area(pieces), floors(polygons)
    passed = least.passed(hit, area, length)
    share = np.bincount(row, weights=area, minlength=len(shapes))
    touched = np.flatnonzero(share > 0)
    size = ground_area(shapes[touched]) if geographic else shapely.area(shapes[touched])
    kept = np.bincount(row, weights=passed, minlength=len(shapes))[touched] > 0
    kept &= share[touched] >= min_overlap * size * (1 - 1e-9)
    found, lost = touched[kept], touched[~kept]
    lost_area = share[lost] if geographic else ground_area(pieces[np.isin(row, lost)], crs)
    return Overlaps(found, share[found] / size[kept], len(lost), float(lost_area.sum()))


def lonlat_rings(rings: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Make polygons of lon/lat rings that are all taken the short way round.

    Parameters
    ----------
    rings
        (n, k, 2) in degrees, open.

    Returns
    -------
    unrolled, polygons
        The rings in continuous longitudes, and polygons cut at the antimeridian and closed over a pole.
    """
    turned = rings.copy()
    steps = np.diff(rings[..., 0], axis=1)
    steps -= 360 * np.round(steps / 360)
    turned[:, 1:, 0] = rings[:, :1, 0] + np.cumsum(steps, axis=1)
    closing = rings[:, 0, 0] - turned[:, -1, 0]
    closed = np.abs(closing) <= 180  # else the ring goes round a pole
    polygons = np.asarray(shapely.polygons(turned), dtype=object)
    odd = ~closed | (turned[..., 0].min(axis=1) < -180) | (turned[..., 0].max(axis=1) > 180)
    for k in np.flatnonzero(odd):
        parts = cut_at_antimeridian(shapely.Polygon(rings[k]))
        polygons[k] = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    return turned, polygons


def ring_selection(
    aoi: AOI,
    *,
    ids: NDArray[Any],
    codes: NDArray[Any],
    ij: Ints,
    rings: NDArray[np.float64],
    anchor: NDArray[np.float64],
    min_overlap: float,
) -> Selection:
    """Select tiles that are lon/lat polygons; each gets the box around it in its UTM zone (or UPS), outward to 10 m.

    Parameters
    ----------
    ids, codes, ij
        Of every candidate; ``ij`` (n, 2).
    rings
        (n, k, 2) in degrees, open, edges straight in longitude/latitude.
    anchor
        (n, 2) the points whose zones are taken.
    """
    unrolled, polygons = lonlat_rings(rings)
    shared = overlaps(polygons, np.asarray(aoi.parts, dtype=object), geographic=True, min_overlap=min_overlap)
    order = np.argsort(ids[shared.found])
    found, share = shared.found[order], shared.share[order]
    crs, planes = _in_utm(unrolled[found], anchor[found])
    bounds = snapped(shapely.bounds(planes).reshape(-1, 4), 10.0)
    return Selection(
        tile_id=ids[found],
        grid_code=codes[found],
        crs=crs,
        bounds=bounds,
        i=ij[found, 0],
        j=ij[found, 1],
        fraction=share * shapely.area(planes) / shapely.area(shapely.box(*bounds.T)),
        owner_wkt=np.asarray(shapely.to_wkt(planes, rounding_precision=4), dtype=object),
        outline=polygons[found],
        lonlat=lonlat_bounds(polygons[found]),
        dropped=shared.dropped,
        dropped_area=shared.dropped_area,
    )


def _segments(rings: NDArray[np.float64]) -> Ints:
    """Return into how many chords (a power of two) edges are cut so that none is more than a centimetre off.

    It follows from the tile alone: neighbours in different zones then agree on their common edge, from any AOI.
    """
    height = np.ptp(rings[..., 1], axis=1) * METRES_PER_DEGREE
    bend = np.tan(np.radians(np.clip(np.abs(rings[..., 1]).max(axis=1), 30, 89)))
    return np.asarray(2 ** np.ceil(np.log2(np.maximum(height / 714 * np.sqrt(bend), 1))), dtype=np.int64)


def _in_utm(unrolled: NDArray[np.float64], anchor: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the CRS of every anchor's zone, and the polygons in it, edges densified."""
    zones = utm_zones()
    index = zones_of(*anchor.T)
    crs = np.array([zone.crs for zone in zones], dtype=object)[index]
    planes = np.empty(len(unrolled), dtype=object)
    following = np.roll(unrolled, -1, axis=1)
    following[:, -1, 0] -= 360 * np.round((following[:, -1, 0] - unrolled[:, -1, 0]) / 360)
    segments = _segments(unrolled)
    for one in np.unique(index).tolist():
        for n in np.unique(segments[index == one]).tolist():
            rows, zone = np.flatnonzero((index == one) & (segments == n)), zones[one]
            t = np.linspace(0, 1, n + 1)[:-1, None]
            dense = unrolled[rows][:, :, None] * (1 - t) + following[rows][:, :, None] * t
            relative = dense.reshape(len(rows), -1, 2) - np.array([zone.central_meridian, 0.0])
            flat = to_plane(relative.reshape(-1, 2), polar=not zone.number, south=zone.south)
            made = np.asarray(shapely.polygons(flat.reshape(relative.shape)), dtype=object)
            planes[rows] = made if zone.number else shapely.make_valid(made, method="structure")
    return crs, planes
