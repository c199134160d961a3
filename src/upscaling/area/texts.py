"""An area as text, numbers or GeoJSON: bounding boxes, WKT, WKB, GeoJSON; and the CRS that it names."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyproj
import shapely

from upscaling.area.vector import crs_name
from upscaling.errors import ConfigError

__all__ = ["Given", "from_text_file", "given_area", "parse_crs"]

_KEY = "area.aoi"
_LONLAT = "EPSG:4326"
_WIDEST_ACROSS = 300  # degrees, of a box with west > east: a wider one has them in the wrong order
_NAME = 250  # characters that a file's name may have
_STRAIGHT = r"(?:MULTI)?(?:POLYGON|POINT|LINESTRING)|GEOMETRYCOLLECTION"
_CURVED = r"CIRCULARSTRING|COMPOUNDCURVE|(?:CURVE|POLYHEDRAL)?(?:POLYGON|SURFACE)|MULTI(?:CURVE|SURFACE)|TIN|TRIANGLE"
_AFTER = r"\s*(?:Z|M|ZM)?\s*(?:\(|EMPTY\b)"  # so that polygon.geojson is the name of a file
_WKT = re.compile(rf"^\s*(?:(?:SRID=|EPSG:)(\d+)\s*;)?\s*(?:{_STRAIGHT}){_AFTER}", re.IGNORECASE)
_CURVED_WKT = re.compile(rf"^\s*(?:(?:SRID=|EPSG:)\d+\s*;)?\s*(?:{_CURVED}){_AFTER}", re.IGNORECASE)
_WKB = re.compile(r"^\s*(?:\\x|0x)?0[01](?:[0-9a-f]{2}){8,}\s*$", re.IGNORECASE)
_BBOX = re.compile(r"^\s*[^,()\[\]/\\]+(\s*,\s*[^,()\[\]/\\]+){3,5}\s*$")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
_NUMBERS = re.compile(rf"^\s*[\[(]?\s*{_NUMBER}(?:(?:\s*,\s*|\s+){_NUMBER}){{3,5}}\s*[\])]?\s*$", re.IGNORECASE)
_LARGEST_TEXT = 10_000_000  # bytes of a file of WKT
_REMOTE = ("http://", "https://")


class Given(NamedTuple):
    """Geometries as they were given, with their CRS.

    Attributes
    ----------
    as_it_stands
        Whether longitudes beyond 180 degrees are meant so.
    """

    geometries: Sequence[Any]
    crs: str
    name: str
    notices: tuple[str, ...] = ()
    as_it_stands: bool = False


def given_area(spec: str | Path | Sequence[float] | Mapping[str, Any], base: Path) -> Given | None:
    """Return the geometries of what is itself an area; None for what can only be a file.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    if isinstance(spec, Mapping):
        return _from_geojson(spec, "GeoJSON")
    if isinstance(spec, str):
        return _from_text(spec, base)
    return None if isinstance(spec, Path) else _from_bbox(spec)


def _from_text(text: str, base: Path) -> Given | None:  # noqa: PLR0911 -- one a kind
    """Read text that is itself the AOI; None if it can only be a path."""
    if text == "-":
        return _from_geojson_text(sys.stdin.read(), "standard input")
    if text.lstrip().startswith("{"):
        return _from_geojson_text(text, "GeoJSON")
    if text.startswith(_REMOTE):
        return _from_geojson_text(_fetched(text), text.partition("?")[0])
    if _WKT.match(text):
        return _from_wkt(text)
    if _CURVED_WKT.match(text):
        raise ConfigError("the WKT has curves or surfaces, and areas are made of straight edges: convert it", key=_KEY)
    if _WKB.match(text):
        return _from_wkb(text)
    if len(text) < _NAME and "\0" not in text and (base / text).exists():
        return None
    if _NUMBERS.match(text):
        return _from_bbox(re.findall(_NUMBER, text, re.IGNORECASE))
    if _BBOX.match(text):
        return _from_bbox([part.strip() for part in text.split(",")])
    return None


def from_text_file(path: Path) -> Given | None:
    """Return the geometries in a file of WKT; None for any other."""
    if path.suffix.lower() not in {".wkt", ".txt"} or not path.is_file() or path.stat().st_size > _LARGEST_TEXT:
        return None
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    return _from_wkt(text) if _WKT.match(text) else None


def _fetched(url: str) -> str:
    from upscaling.http.web import fetch_text

    try:
        text = fetch_text(url)
    except ConfigError as error:
        raise ConfigError(error.message, key=_KEY, file=error.file) from None
    if not text.lstrip().startswith("{"):
        raise ConfigError(
            "is no GeoJSON: download other formats, and name the file", key=_KEY, file=url.partition("?")[0]
        )
    return text


def _from_bbox(spec: Sequence[Any]) -> Given:
    name = f"bbox {', '.join(map(str, spec))}"[:80]
    try:
        edges = [float(number) for number in spec]
        west, south, east, north = edges if len(edges) == 4 else (*edges[:2], *edges[3:5])  # without the heights
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{name} is not west, south, east, north in degrees", key=_KEY) from None
    if len(edges) not in {4, 6} or not all(map(math.isfinite, edges)):
        raise ConfigError(f"{name} is not west, south, east, north in degrees", key=_KEY)
    if not (-360 <= west <= 360 and -360 <= east <= 360 and -90 <= south <= 90 and -90 <= north <= 90):
        raise ConfigError(f"{name} is not in degrees: longitude within -360..360, latitude within -90..90", key=_KEY)
    if south >= north or west == east:
        raise ConfigError(f"{name} has no area: west, south, east, north with south < north are needed", key=_KEY)
    notices: tuple[str, ...] = ()
    if west > east:
        east += 360
        if east - west > _WIDEST_ACROSS:
            wide = f"{name} would go {east - west:g} degrees round the world"
            raise ConfigError(f"{wide}: west, south, east, north are needed, and west > east crosses 180", key=_KEY)
        notices = (f"{name} crosses the antimeridian (west > east)",)
    if east - west > 360:
        raise ConfigError(f"{name} is more than 360 degrees wide", key=_KEY)
    return Given([shapely.box(west, south, east, north)], _LONLAT, name, notices, as_it_stands=True)


def _from_wkb(text: str) -> Given:
    digits = re.sub(r"^\s*(\\x|0x)?", "", text.strip())
    try:
        geometry = shapely.from_wkb(bytes.fromhex(digits))
    except (shapely.errors.GEOSException, ValueError) as error:
        raise ConfigError(f"the WKB cannot be read: {' '.join(str(error).split())}", key=_KEY) from None
    srid = int(shapely.get_srid(geometry))
    return Given([geometry], parse_crs(f"EPSG:{srid}", "WKB") if srid else _LONLAT, "WKB")


def _from_wkt(text: str) -> Given:
    match = _WKT.match(text)
    srid = match.group(1) if match else None
    try:
        geometry = shapely.from_wkt(text.split(";", 1)[1] if srid else text)
    except (shapely.errors.GEOSException, ValueError) as error:
        raise ConfigError(f"the WKT cannot be read: {' '.join(str(error).split())[:200]}", key=_KEY) from None
    return Given([geometry], parse_crs(f"EPSG:{srid}", "WKT") if srid else _LONLAT, "WKT")


def _from_geojson_text(text: str, name: str) -> Given:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name} is not JSON: {error}", key=_KEY) from None
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} is not a GeoJSON object", key=_KEY)
    return _from_geojson(value, name)


def _from_geojson(value: Mapping[str, Any], name: str) -> Given:
    kind = value.get("type")
    if kind == "FeatureCollection":
        features = value.get("features")
        if not isinstance(features, list) or not all(isinstance(feature, Mapping) for feature in features):
            raise ConfigError(f"{name} is a FeatureCollection without a list of features", key=_KEY)
    else:
        features = [value]
    members = [_geometry_in(feature, name) for feature in features]
    try:
        geometries = [shapely.from_geojson(json.dumps(member)) for member in members if member]
    except (shapely.errors.GEOSException, TypeError, ValueError, RecursionError) as error:
        what = " ".join(str(error).split())[:200]
        raise ConfigError(f"{name} holds a geometry that is not valid GeoJSON: {what}", key=_KEY) from None
    # PostGIS writes it into the geometry.
    named_by = [h["crs"] for h in (value, *features, *members) if isinstance(h, Mapping) and h.get("crs")]
    if not named_by:
        return Given(geometries, _LONLAT, name)
    crs = named_by[0]
    if any(other != crs for other in named_by):
        raise ConfigError(f"{name} names several CRS: bring its features into one", key=_KEY)
    properties = crs.get("properties") if isinstance(crs, Mapping) else None
    named = properties if isinstance(properties, Mapping) else {}
    code = named.get("name", named.get("code", named.get("href")))
    return Given(geometries, parse_crs(code, name), name)


def _geometry_in(feature: Mapping[str, Any], name: str) -> Any:
    """Return the geometry of a feature, or what stands in place of one: a geometry."""
    if "features" in feature:
        raise ConfigError(f"{name} is a FeatureCollection with another among its features", key=_KEY)
    is_geometry = "geometry" not in feature and feature.get("type") != "Feature"
    return feature if is_geometry else feature.get("geometry")


def parse_crs(code: Any, name: str) -> str:
    """Return the CRS that a code, name or address stands for, as ``crs_name``; ConfigError if it is not known."""
    try:
        return crs_name(pyproj.CRS.from_user_input(int(code) if str(code).isdigit() else code))
    except (pyproj.exceptions.CRSError, ValueError, OverflowError):
        raise ConfigError(f"{name} has a CRS that is not known: {code!r}"[:200], key=_KEY) from None
