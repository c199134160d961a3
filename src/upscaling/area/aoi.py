"""The area of interest: whatever a user gives, as clean polygons in its own CRS and in EPSG:4326."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from upscaling.area.lonlat import (
    MAX_STEP,
    area_km2,
    cut_at_antimeridian,
    jumps,
    lonlat_bounds,
    polygons_of,
    project,
    to_lonlat,
    valid_polygons,
)
from upscaling.area.texts import from_text_file, given_area, parse_crs
from upscaling.area.vector import crs_name, declared_crs, read_vector, split_layer
from upscaling.errors import ConfigError

__all__ = ["AOI", "aoi_from_polygons", "read_aoi"]

_KEY = "area.aoi"
_LONLAT = "EPSG:4326"


@dataclass(frozen=True, slots=True)
class AOI:
    """An area of interest: valid two-dimensional polygons without overlaps.

    Attributes
    ----------
    parts
        shapely polygons in EPSG:4326 (longitude, latitude), within -180..180, cut at the antimeridian.
    crs
        The CRS it was given in: ``EPSG:<n>``, or WKT2 where it has no code.
    native
        The same area in ``crs``, untouched by any reprojection.
    source
        What it was read from, for messages.
    notices
        What was patched, dropped or assumed, one line each.
    sha256
        Over the content in canonical form: the same area in the same CRS has the same hash, whatever file it is in.
    """

    parts: tuple[Any, ...]
    crs: str
    native: tuple[Any, ...]
    source: str
    sha256: str
    notices: tuple[str, ...] = ()

    @property
    def geometry(self) -> Any:
        """All of it as one shapely MultiPolygon in EPSG:4326."""
        return shapely.MultiPolygon(list(self.parts))

    @property
    def bbox(self) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees; west > east where it crosses the antimeridian (RFC 7946, 5.2)."""
        west, south, east, north = lonlat_bounds([self.geometry])[0].tolist()
        return west, south, east, north

    @property
    def area_km2(self) -> float:
        """Its area on the WGS 84 ellipsoid."""
        return area_km2(self.parts)

    def polygons_in(self, crs: str) -> NDArray[Any]:
        """Return the polygons in ``crs``: as they were given if that is their CRS, else densified and reprojected.

        Edges then lie within about a centimetre of where they belong.
        """
        if crs == self.crs:
            return np.asarray(self.native, dtype=object)
        if crs == _LONLAT:
            return np.asarray(self.parts, dtype=object)
        return project(shapely.segmentize(np.asarray(self.parts, dtype=object), MAX_STEP / 5), crs)

    def intersection(self, other: AOI) -> AOI:
        """Return the area that both cover, in the CRS of this one."""
        tree = shapely.STRtree(theirs := other.polygons_in(self.crs))
        mine, found = tree.query(list(self.native), predicate="intersects")
        native = shapely.get_parts(list(self.native))
        polygons = polygons_of(shapely.intersection(native[mine], theirs[found])) if len(mine) else native[:0]
        if not len(polygons):
            raise ConfigError(f"{self.source} and {other.source} have no area in common", key=_KEY)
        return aoi_from_polygons(polygons, self.crs, f"{self.source} within {other.source}", self.notices)


def read_aoi(spec: str | Path | Sequence[float] | Mapping[str, Any], *, base: Path = Path(), key: str = _KEY) -> AOI:
    """Read an area of interest.

    Parameters
    ----------
    spec
        A vector file that GDAL or geopandas reads (``file.gpkg|layername=name`` where it has several layers; also
        zipped); the address of GeoJSON; ``[west, south, east, north]`` in degrees, west > east across the antimeridian
        (of six numbers, as STAC has them for heights, the four count); WKT or hexadecimal WKB (``SRID=<n>;`` in front
        for another CRS than EPSG:4326); a GeoJSON mapping or text; or ``-`` for GeoJSON on standard input. GeoJSON
        without a ``crs`` member is EPSG:4326; with one, it is in that CRS.
    base
        Folder that a relative path starts from.
    key
        The configuration key to blame.

    Raises
    ------
    ConfigError
        If it cannot be read, has no CRS, no polygon, no area, or lies outside the range of its CRS.
    """
    try:
        given = given_area(spec, base)
        if given is None:
            return _from_file(str(spec), base)
        return _build(given.geometries, given.crs, given.name, given.notices, as_it_stands=given.as_it_stands)
    except ConfigError as error:
        whose = key if error.key in {_KEY, None} else error.key
        raise ConfigError(error.message, key=whose, file=error.file, choices=error.choices) from None


def _from_file(text: str, base: Path) -> AOI:
    with suppress(OSError, ValueError, RuntimeError):  # of what is no name of a file
        place = split_layer(text, base)[0]
        if given := from_text_file(place):
            return _build(given.geometries, given.crs, place.name, given.notices)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frame, path = read_vector(text, base, key=_KEY, columns=[])
    notices = tuple(f"{path.name}: {' '.join(str(w.message).split())}" for w in caught if w.category is RuntimeWarning)
    try:
        _check_declared(path, crs_name(frame.crs))
        return _build(list(frame.geometry.values), crs_name(frame.crs), path.name, notices)
    except ConfigError as error:
        raise ConfigError(error.message, key=error.key, file=path) from None


def _check_declared(path: Path, read_as: str) -> None:
    """Refuse a CRS of old GeoJSON that GDAL takes for longitude and latitude: unknown, or not at the top."""
    named = declared_crs(path)
    if named and parse_crs(named, path.name) != _LONLAT and read_as == _LONLAT:
        where = "inside of a feature or geometry, where it is not read: name it at the top of the file"
        raise ConfigError(f"{path.name} names the CRS {named} {where}"[:300], key=_KEY)


def _build(
    geometries: Sequence[Any], crs: str, name: str, notices: tuple[str, ...] = (), *, as_it_stands: bool = False
) -> AOI:
    """Clean what was read: polygons only, two-dimensional, valid, without overlaps, within -180..180."""
    found = list(notices)
    given = [g for g in geometries if g is not None and not g.is_empty]
    if not given:
        raise ConfigError(f"{name} is empty: it has no geometry", key=_KEY)
    if any(g.has_z for g in given):
        found.append(f"{name}: heights (Z) were dropped")
    flat = shapely.force_2d(given)
    polygons = polygons_of(flat)
    if not len(polygons):
        kinds = ", ".join(sorted({g.geom_type for g in given}))
        raise ConfigError(f"{name} has no polygon, only {kinds}: an area is needed", key=_KEY)
    if others := _count_others(flat):
        found.append(f"{name}: {others} point(s) or line(s) were dropped, an area is made of polygons")
    coordinates = shapely.get_coordinates(polygons)
    if not np.isfinite(coordinates).all():
        raise ConfigError(f"{name} has coordinates that are not numbers", key=_KEY)

    definition = pyproj.CRS.from_user_input(crs)
    if not (definition.is_geographic or definition.is_projected):
        raise ConfigError(f"{name}: {definition.name} is no CRS of a map (geographic or projected)", key=_KEY)
    if definition.is_geographic:
        x, y = coordinates[np.argmax(np.abs(coordinates).max(axis=1))].tolist()
        if np.abs(coordinates[:, 1]).max() > 90 or np.abs(coordinates[:, 0]).max() > 540:
            swapped = np.abs(coordinates[:, 0]).max() <= 90 and np.abs(coordinates[:, 1]).max() <= 180
            advice = "longitude comes first" if swapped else "name its CRS (GeoJSON without crs is EPSG:4326)"
            raise ConfigError(
                f"{name} has the coordinate ({x:g}, {y:g}), which is no longitude/latitude: {advice}",
                key=_KEY,
            )
        polygons, crossing = _within_180(polygons, name, as_it_stands=as_it_stands)
        if crossing:
            found.append(
                f"{name}: {crossing} polygon(s) with edges over more than 180 degrees of longitude were read as "
                "crossing the antimeridian (add vertices to the edge if the long way was meant)"
            )
    if patched := int((~shapely.is_valid(polygons)).sum()) if len(polygons) else 0:
        found.append(f"{name}: {patched} invalid polygon(s) were patched (rings that cross or touch themselves)")
        polygons = valid_polygons(polygons)
    return aoi_from_polygons(polygons, crs, name, tuple(found))


def _within_180(polygons: Any, name: str, *, as_it_stands: bool) -> tuple[Any, int]:
    """Return polygons cut at the antimeridian, and how many were read as crossing it the short way."""
    pieces: list[Any] = []
    crossing = 0
    for polygon in polygons:
        short_way = not as_it_stands and jumps(polygon)
        crossing += short_way
        outside = polygon.bounds[0] < -180 or polygon.bounds[2] > 180
        try:
            pieces += cut_at_antimeridian(polygon, short_way=short_way) if short_way or outside else [polygon]
        except ConfigError as error:
            raise ConfigError(f"{name}: {error.message}", key=_KEY) from None
    return np.asarray(pieces, dtype=object), crossing


def _count_others(geometries: NDArray[Any]) -> int:
    flat = shapely.get_parts(geometries)
    while np.any(shapely.get_type_id(flat) == 7):
        flat = shapely.get_parts(flat)
    return int((~np.isin(shapely.get_type_id(flat), (3, 6))).sum())


def aoi_from_polygons(polygons: NDArray[Any], crs: str, source: str, notices: tuple[str, ...] = ()) -> AOI:
    """Make an AOI of valid polygons in ``crs`` (EPSG:4326: within -180..180), united where they overlap.

    Raises
    ------
    ConfigError
        If they have no area, or lie outside the range of ``crs``.
    """
    polygons = polygons[shapely.area(polygons) > 0] if len(polygons) else polygons
    if not len(polygons):
        raise ConfigError(f"{source} has no area", key=_KEY)
    if len(polygons) > 1:
        tree = shapely.STRtree(polygons)
        if len(tree.query(polygons, predicate="intersects")[0]) > len(polygons):
            polygons = polygons_of([shapely.disjoint_subset_union_all(polygons)])
    native = np.asarray(sorted(shapely.normalize(polygons), key=lambda p: p.wkb), dtype=object)
    sha = hashlib.sha256(crs.encode())
    for blob in shapely.to_wkb(native, byte_order=1, output_dimension=2):
        sha.update(blob)

    parts = native
    if crs != _LONLAT:
        definition = pyproj.CRS.from_user_input(crs)
        unit = definition.axis_info[0].unit_conversion_factor if definition.axis_info else 1.0
        step = np.degrees(unit) if definition.is_geographic else unit  # of one degree or metre
        extent = float(np.ptp(shapely.total_bounds(native).reshape(2, 2), axis=0).max())
        longest = max((0.025 if definition.is_geographic else 2000) / step, extent / 50_000)  # no end of points
        try:
            parts = polygons_of(to_lonlat(native, crs, longest))
        except ConfigError as error:
            raise ConfigError(f"{source}: {error.message}", key=_KEY) from None
        if not len(parts):
            raise ConfigError(f"{source} has no area", key=_KEY)
        notices += _within_area_of_use(parts, definition, crs, source)
    return AOI(tuple(parts), crs, tuple(native), source, sha.hexdigest(), notices)


def _within_area_of_use(parts: NDArray[np.object_], definition: Any, crs: str, source: str) -> tuple[str, ...]:
    """Refuse an AOI wholly outside the area its CRS is made for (the CRS is then a wrong label); tell if partly."""
    use = definition.area_of_use
    if use is None:
        return ()
    boxes = [shapely.box(use.west, use.south, use.east, use.north)]
    if use.west > use.east:
        boxes = [shapely.box(use.west, use.south, 180, use.north), shapely.box(-180, use.south, use.east, use.north)]
    area = shapely.union_all(boxes)
    short = crs if len(crs) < 20 else str(definition.name)
    if not shapely.intersects(parts, area).any():
        west, south, east, north = (float(v) for v in shapely.total_bounds(parts))
        raise ConfigError(
            f"{source}: with the CRS {short} it lies at {west:.4g}..{east:.4g} E, {south:.4g}..{north:.4g} N, outside "
            f"the area of that CRS ({use.west:g}..{use.east:g} E, {use.south:g}..{use.north:g} N): is the CRS right?",
            key=_KEY,
        )
    if not shapely.covers(area.buffer(0.5), parts).all():
        return (f"{source}: a part lies outside the area that {short} is made for, where it distorts",)
    return ()
