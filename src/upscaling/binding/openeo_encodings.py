"""How a tile or a time step is spelled for one openEO parameter: as its schema and its use in the graph ask."""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upscaling.algorithms.udp import subtypes, uses_of
from upscaling.errors import ConfigError
from upscaling.model import Parameter, Step, Tile

__all__ = [
    "SPACE_FORMS",
    "TIME_FORMS",
    "Spelling",
    "alternatives",
    "date_pair",
    "fits",
    "space_form",
    "takes_polygons",
    "time_spelling",
]

# Where a process takes polygons and no bounding box, whatever the parameter that goes there is typed: in the APEx
# catalogue two are typed bounding-box (whittaker, mogpr_s2). From openEO processes 2.0.0 and those that CDSE adds.
_POLYGONS_ONLY = {
    *(("aggregate_spatial", "geometries"), ("apply_polygon", "geometries"), ("apply_polygon", "polygons")),
    *(("chunk_polygon", "chunks"), ("filter_spatial", "geometries"), ("filter_vector", "geometries")),
    *(("get_geometries", "feature_collection"), ("load_geojson", "data"), ("mask_polygon", "mask")),
    *(("vector_buffer", "geometries"), ("vector_reproject", "data"), ("vector_to_raster", "data")),
}
_BOX_ONLY = {("filter_bbox", "extent")}
_EITHER = {("load_collection", "spatial_extent"), ("load_stac", "spatial_extent"), ("load_result", "spatial_extent")}

_TOLERANCE_M = 0.5  # an outline in degrees may leave the tile's straight edges by this: far less than half a pixel
_MOST_CHORDS = 256  # per edge
_SAYS_DEGREES = re.compile(
    r"EPSG:?\s?4326|WGS\s?84|CRS\s?84|\blon(gitude)?s?\b.{0,8}\blat|\blat.{0,8}\blon|degrees", re.IGNORECASE
)
_SAYS_ONLY_A_DEFAULT = re.compile(r"default|unless|\be\.g|for example|\bcrs\b(?!\s?84)", re.IGNORECASE)
_DAY = r"([_\W]?(date|time|day))?"
_START = re.compile(rf"((date|time)[_\W])?(start|begin|from){_DAY}", re.IGNORECASE)
_END = re.compile(rf"((date|time)[_\W])?(end|stop|until|to){_DAY}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Spelling:
    """A form, how exactly this parameter wants it, and why it was chosen."""

    form: str
    write: Callable[[Any], Any]
    why: str = "algorithm.bind"


def _bbox(tile: Tile, *, as_text: bool = False) -> dict[str, Any]:
    # Projected bounds with their CRS: a lon/lat box of a UTM tile grows by up to a fifth when it is projected back.
    west, south, east, north = tile.bounds
    crs = tile.crs if as_text else tile.epsg or tile.crs
    return {"west": west, "south": south, "east": east, "north": north, "crs": crs}


def _bbox_lonlat(tile: Tile, *, crs: int | str | None = 4326) -> dict[str, Any]:
    west, south, east, north = _transformer(tile.crs).transform_bounds(*tile.bounds, densify_pts=21)
    if west > east:
        raise ConfigError(
            f"tile {tile.id} crosses the antimeridian: no bounding box in degrees can say that; leave it out of the"
            " area, or bind `bbox` or `geojson`",
            key="algorithm.bind",
        )
    box: dict[str, Any] = {"west": west, "south": south, "east": east, "north": north}
    return box if crs is None else {**box, "crs": crs}


@functools.lru_cache(maxsize=64)
def _transformer(crs: str) -> Any:
    from pyproj import Transformer

    return Transformer.from_crs(crs, "EPSG:4326", always_xy=True)


def _geojson(tile: Tile) -> dict[str, Any]:
    """Return the outline in degrees; that of a rectangle follows the tile's edges to half a metre."""
    from upscaling.area.outline import footprint

    given = tile.geometry or footprint(tile.bounds, tile.crs)
    return (_fine_outline(tile) if _is_rectangle(given, tile) else None) or given


def _is_rectangle(outline: Mapping[str, Any], tile: Tile) -> bool:
    """Whether an outline is that of the tile's bounds, and not of a shape within them (a hexagon, an own polygon)."""
    import numpy as np

    if outline["type"] != "Polygon" or len(outline["coordinates"]) != 1:
        return False
    lon, lat = np.asarray(outline["coordinates"][0], dtype=float)[:, :2].T
    x, y = _transformer(tile.crs).transform(lon, lat, direction="INVERSE")
    area = abs(float(np.dot(x[1:] - x[0], np.diff(y)) - np.dot(y[1:] - y[0], np.diff(x)))) / 2
    west, south, east, north = tile.bounds
    near = 1e-5 * max(east - west, north - south)  # the digits of the outline: 20 cm in 20 km
    return bool(_off_edges(x, y, tile).max() < near and area > 0.99 * (east - west) * (north - south))


def _off_edges(x: Any, y: Any, tile: Tile) -> Any:
    """Return how far points are from the nearest edge of the tile, prolonged."""
    import numpy as np

    west, south, east, north = tile.bounds
    return np.minimum.reduce([np.abs(x - west), np.abs(x - east), np.abs(y - south), np.abs(y - north)])


def _fine_outline(tile: Tile) -> dict[str, Any] | None:
    """Return the outline of the bounds, with as many chords per edge as it takes; None across the antimeridian."""
    import numpy as np

    west, south, east, north = tile.bounds
    transformer = _transformer(tile.crs)
    tolerance = _TOLERANCE_M if max(map(abs, tile.bounds)) > 360 else _TOLERANCE_M / 111_320
    chords = 1
    while True:
        steps = np.arange(chords) / chords
        x = np.concatenate([west + steps * (east - west), np.full(chords, east)])
        x = np.concatenate([x, east - steps * (east - west), np.full(chords + 1, west)])
        y = np.concatenate([np.full(chords, south), south + steps * (north - south)])
        y = np.concatenate([y, np.full(chords, north), north - np.append(steps, 1) * (north - south)])
        lon, lat = transformer.transform(x, y)
        if np.abs(np.diff(lon)).max() > 180:
            return None
        halfway = (lon[1:] + lon[:-1]) / 2, (lat[1:] + lat[:-1]) / 2
        x, y = transformer.transform(*halfway, direction="INVERSE")
        if _off_edges(x, y, tile).max() <= tolerance or chords >= _MOST_CHORDS:
            break
        chords *= 2
    ring = np.round(np.column_stack([lon, lat]), 7).tolist()  # 7 digits: a centimetre
    return {"type": "Polygon", "coordinates": [ring]}


def _feature(tile: Tile) -> dict[str, Any]:
    return {"type": "Feature", "id": tile.id, "properties": {}, "geometry": _geojson(tile)}


def _feature_collection(tile: Tile) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": [_feature(tile)]}


SPACE_FORMS: dict[str, Callable[[Tile], Any]] = {
    "bbox": _bbox,
    "bbox-lonlat": _bbox_lonlat,
    "geojson": _geojson,
    "feature": _feature,
    "feature-collection": _feature_collection,
    "epsg": lambda tile: tile.epsg or tile.crs,
    "tile-id": lambda tile: tile.id,
}
TIME_FORMS: dict[str, Callable[[Step], Any]] = {
    "time": lambda step: [step.start, step.end],
    "time-start": lambda step: step.start,
    "time-end": lambda step: step.end,
    "time-last-day": lambda step: (dt.date.fromisoformat(step.end) - dt.timedelta(days=1)).isoformat(),
}
_GEOJSON_FORMS = {"Polygon": "geojson", "Feature": "feature", "FeatureCollection": "feature-collection"}


def alternatives(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the alternatives of a parameter's schema: of a list of schemas, ``anyOf`` and ``oneOf``."""
    if isinstance(schema, list):
        for entry in schema:
            yield from alternatives(entry)
    elif isinstance(schema, Mapping):
        nested = [*schema.get("anyOf", []), *schema.get("oneOf", [])]
        if nested:
            yield from alternatives(nested)
        else:
            yield schema


def fits(schemas: Sequence[Mapping[str, Any]], value: Any) -> bool:
    """Return whether a value fits one of the schemas."""
    from jsonschema import Draft7Validator

    return Draft7Validator({"anyOf": list(schemas)}).is_valid(value)


def takes_polygons(parameter: Parameter, graph: Mapping[str, Any]) -> bool:
    """Return whether a value of GeoJSON may stand for a parameter, whatever its schema says."""
    uses = uses_of(graph, parameter.name)
    return bool(uses & (_POLYGONS_ONLY | _EITHER)) and not uses & _BOX_ONLY


def space_form(parameter: Parameter, graph: Mapping[str, Any]) -> Spelling | None:
    """Return how a tile is written for a parameter, or None if it does not hold a place.

    The use in the graph decides between box and polygon where only one of them can go there; else a bounding box in
    the tile's own CRS is preferred, because it has exactly the tile's edges.
    """
    uses = uses_of(graph, parameter.name)
    own = list(alternatives(parameter.schema))
    types = subtypes(parameter.schema)
    objects = [schema for schema in own if _may_be_object(schema)]
    if not objects or not (types & {"bounding-box", "geojson"} or uses & (_POLYGONS_ONLY | _BOX_ONLY | _EITHER)):
        return None
    if uses & _POLYGONS_ONLY and not uses & _BOX_ONLY:
        return _polygon_spelling(parameter, objects, f"goes to {_named(uses & _POLYGONS_ONLY)}")
    if "bounding-box" in types:
        return _box_spelling(parameter, [s for s in own if s.get("subtype") == "bounding-box"])
    if types & {"geojson", "datacube"} and not uses & _BOX_ONLY:
        kind = "geojson" if "geojson" in types else "a vector cube"
        return _polygon_spelling(parameter, objects, f"its type is {kind}")
    return Spelling("bbox", _bbox, f"goes to {_named(uses & (_BOX_ONLY | _EITHER))}")


def _named(uses: set[tuple[str, str]]) -> str:
    return ".".join(min(uses))


def _may_be_object(schema: Mapping[str, Any]) -> bool:
    given = schema.get("type", "object")
    return "object" in ([given] if isinstance(given, str) else given)


def _box_spelling(parameter: Parameter, schemas: Sequence[Mapping[str, Any]]) -> Spelling:
    corners = {"west": 500_000.0, "south": 5_000_000.0, "east": 510_000.0, "north": 5_010_000.0}
    degrees = {"west": 9.0, "south": 45.1, "east": 9.1, "north": 45.2}
    knows_crs = any("crs" in schema.get("properties", {"crs": {}}) for schema in schemas)
    says = " ".join(
        str(part) for schema in schemas for part in (schema.get("title"), schema.get("description")) if part
    )
    text = f"{parameter.description} {says}"
    in_degrees = bool(_SAYS_DEGREES.search(text)) and not _SAYS_ONLY_A_DEFAULT.search(text)
    if knows_crs and not in_degrees:
        if fits(schemas, {**corners, "crs": 32632}):
            return Spelling("bbox", _bbox, "its type is bounding-box")
        if fits(schemas, {**corners, "crs": "EPSG:32632"}):
            return Spelling("bbox", functools.partial(_bbox, as_text=True), "its type is bounding-box")
    why = "its description asks for degrees" if in_degrees else "its schema admits no other CRS"
    for crs in (4326, "EPSG:4326", None):
        if (knows_crs or crs is None) and fits(schemas, degrees if crs is None else {**degrees, "crs": crs}):
            return Spelling("bbox-lonlat", functools.partial(_bbox_lonlat, crs=crs), why)
    return Spelling("bbox-lonlat", functools.partial(_bbox_lonlat, crs=None), why)


def _polygon_spelling(parameter: Parameter, objects: Sequence[Mapping[str, Any]], why: str) -> Spelling:
    ring = [[9.0, 45.0], [9.1, 45.0], [9.1, 45.1], [9.0, 45.0]]
    polygon = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "id": "t", "properties": {}, "geometry": polygon}
    samples = {
        "geojson": polygon,
        "feature": feature,
        "feature-collection": {"type": "FeatureCollection", "features": [feature]},
    }
    # What a bounding box asks for (west, south …) does not count where the graph needs a polygon all the same.
    schemas = [schema for schema in objects if schema.get("subtype") != "bounding-box"] or [{}]
    order = sorted(samples, key=lambda form: form != _hinted(parameter, schemas))
    form = next((form for form in order if fits(schemas, samples[form])), order[0])
    return Spelling(form, SPACE_FORMS[form], why)


def _hinted(parameter: Parameter, schemas: Sequence[Mapping[str, Any]]) -> str:
    """Return the form that a default, an example or the description shows, where the schema leaves it open."""
    examples = [parameter.default, *(example for schema in schemas for example in schema.get("examples", []))]
    for example in examples:
        if isinstance(example, Mapping) and example.get("type") in _GEOJSON_FORMS:
            return _GEOJSON_FORMS[example["type"]]
    text = " ".join([parameter.description, *(str(schema.get("description", "")) for schema in schemas)])
    collections, plain = re.search(r"feature\s?collection", text, re.I), re.search(r"polygon|geometry", text, re.I)
    return "feature-collection" if collections and not plain else "geojson"


def date_pair(parameters: Sequence[Parameter]) -> tuple[Parameter, Parameter] | None:
    """Return the parameters for the first and the last day, if exactly one of each is among ``parameters``."""
    starts, ends = ([p for p in parameters if _is_date(p, pattern)] for pattern in (_START, _END))
    return (starts[0], ends[0]) if len(starts) == len(ends) == 1 else None


def _is_date(parameter: Parameter, pattern: re.Pattern[str]) -> bool:
    """Whether a parameter is a date by its type, or a plain string by the whole of its name."""
    texts = [schema for schema in alternatives(parameter.schema) if schema.get("type") == "string"]
    kinds = {schema.get("subtype") or schema.get("format") for schema in texts}
    if kinds & {"date", "date-time"}:
        return any(pattern.fullmatch(part) for part in (parameter.name, *re.split(r"[_\W]", parameter.name)))
    plain = None in kinds and not any("enum" in schema for schema in texts)
    return plain and pattern.fullmatch(parameter.name) is not None


def time_spelling(form: str, parameter: Parameter, why: str) -> Spelling:
    """Return how a time step is written for a parameter: as dates, or as date-times where no date is admitted."""
    kinds = {schema.get("subtype") or schema.get("format") for schema in alternatives(parameter.schema)}
    if form == "time" or "date-time" not in kinds or kinds & {"date", None}:
        return Spelling(form, TIME_FORMS[form], why)
    return Spelling(form, lambda step: f"{TIME_FORMS[form](step)}T00:00:00Z", why)
