"""How a tile or a time step is spelled for an input of an OGC process, and which inputs ask for one."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from upscaling.algorithms.ogc_process import CRS84, alternatives
from upscaling.binding.cwl import BBOX_NAMES, CRS_NAMES, GEOMETRY_NAMES
from upscaling.errors import ConfigError
from upscaling.model import Parameter, Step, Tile

__all__ = ["SPACE_FORMS", "TIME_FORMS", "space_form", "time_forms", "write_space", "write_time"]

_GEOJSON = {
    "geojson-geometry": "geojson",
    "geojson-feature": "feature",
    "geojson-feature-collection": "feature-collection",
}
_START, _END = re.compile(r"(^|_)(start|begin|from)", re.IGNORECASE), re.compile(r"(^|_)(end|stop|to|until)($|_)", re.I)


def _lonlat(tile: Tile) -> list[float]:
    from pyproj import Transformer

    transformer = Transformer.from_crs(tile.crs, "EPSG:4326", always_xy=True)
    return [float(edge) for edge in transformer.transform_bounds(*tile.bounds, densify_pts=21)]


def _outline(tile: Tile) -> dict[str, Any]:
    from upscaling.area.outline import footprint

    return tile.geometry or footprint(tile.bounds, tile.crs)


def _feature(tile: Tile) -> dict[str, Any]:
    return {"type": "Feature", "id": tile.id, "bbox": _lonlat(tile), "properties": {}, "geometry": _outline(tile)}


def _crs_uri(tile: Tile) -> str:
    if tile.epsg is None:
        raise ConfigError("the tiles' CRS has no EPSG code; use the form bbox-lonlat", key="algorithm.bind")
    return f"http://www.opengis.net/def/crs/EPSG/0/{tile.epsg}"


def _wkt(tile: Tile) -> str:
    import shapely

    return str(shapely.to_wkt(shapely.geometry.shape(_outline(tile)), rounding_precision=9))


def _code(tile: Tile) -> int:
    if tile.epsg is None:
        raise ConfigError("the tiles' CRS has no EPSG code", key="algorithm.bind")
    return tile.epsg


SPACE_FORMS: dict[str, Callable[[Tile], Any]] = {
    "bbox": lambda tile: {"bbox": list(tile.bounds), "crs": _crs_uri(tile)},
    "bbox-lonlat": lambda tile: {"bbox": _lonlat(tile), "crs": CRS84},
    "bbox-array": lambda tile: list(tile.bounds),
    "bbox-array-lonlat": _lonlat,
    "bbox-string": lambda tile: ",".join(map(_number, tile.bounds)),
    "bbox-string-lonlat": lambda tile: ",".join(map(_number, _lonlat(tile))),
    "geojson": _outline,
    "feature": _feature,
    "feature-collection": lambda tile: {"type": "FeatureCollection", "features": [_feature(tile)]},
    "wkt": _wkt,
    "epsg": _code,
    "tile-id": lambda tile: tile.id,
}
TIME_FORMS: dict[str, Callable[[Step], Any]] = {
    "time": lambda step: [step.start, step.end],
    "time-string": lambda step: f"{step.start}/{step.end}",
    "time-start": lambda step: step.start,
    "time-end": lambda step: step.end,
    "time-last-day": lambda step: (dt.date.fromisoformat(step.end) - dt.timedelta(days=1)).isoformat(),
}


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def space_form(parameter: Parameter) -> str | None:
    """Return the form of the tile that an input's schema and name ask for; ``bbox-auto`` where its CRS depends."""
    name = parameter.name.lower().replace("-", "_")
    for schema in alternatives(parameter.schema):
        form = _form_of(schema, name, parameter)
        if form:
            return form
    return None


def _form_of(schema: Mapping[str, Any], name: str, parameter: Parameter) -> str | None:
    members = set(schema.get("properties") or ())
    kind, text = schema.get("type"), parameter.description.lower()
    form = None
    if schema.get("format") == "ogc-bbox" or {"bbox", "crs"} <= members:
        form = "bbox-auto"
    elif schema.get("format") in _GEOJSON:
        form = _GEOJSON[str(schema["format"])]
    elif "geo+json" in str(schema.get("contentMediaType")) or {"type", "coordinates"} <= members:
        form = "geojson"
    elif {"type", "geometry"} <= members:
        form = "feature"
    elif {"type", "features"} <= members:
        form = "feature-collection"
    elif kind == "array" and name in BBOX_NAMES and (schema.get("items") or {}).get("type") in {"number", "integer"}:
        form = "bbox-array"
    elif kind == "string" and "enum" not in schema and "format" not in schema and name in GEOMETRY_NAMES:
        named = {"wkt": "wkt", "well-known": "wkt", "geojson": "geojson"}
        form = next((form for word, form in named.items() if word in text), None)
        form = form or ("bbox-string" if name in BBOX_NAMES else None)
    elif kind in {"string", "integer"} and name in CRS_NAMES and "enum" not in schema:
        form = "epsg"
    return form


def write_space(form: str, tile: Tile, parameter: Parameter) -> Any:
    """Return a tile in a form, as this input spells it."""
    if form == "bbox-auto":
        return _bbox_auto(tile, parameter)
    value = SPACE_FORMS[form](tile)
    types = {schema.get("type") for schema in alternatives(parameter.schema)}
    if form == "epsg" and "integer" not in types:
        return str(value) if str(parameter.default or "").isdigit() else f"EPSG:{value}"
    if form in _GEOJSON.values() and types <= {"string", None} and "string" in types:
        return json.dumps(value)
    return value


def _bbox_auto(tile: Tile, parameter: Parameter) -> dict[str, Any]:
    """Return the tile's own bounds where the schema lists its CRS, else its envelope in degrees."""
    listed = [
        str(name)
        for schema in alternatives(parameter.schema)
        for crs in alternatives((schema.get("properties") or {}).get("crs"))
        for name in crs.get("enum") or []
    ]
    own = [name for name in listed if re.search(rf"EPSG\W+(\d*\W+)?{tile.epsg}$", name, re.IGNORECASE)]
    if own:
        return {"bbox": list(tile.bounds), "crs": own[0]}
    # Servers made from CWL know the name without its address.
    degrees = [name for name in listed if name.endswith("CRS84")]
    return {"bbox": _lonlat(tile), "crs": degrees[0] if degrees else CRS84}


def _is_interval(parameter: Parameter) -> bool:
    return any(
        schema.get("type") == "array" and str((schema.get("items") or {}).get("format")).startswith("date")
        for schema in alternatives(parameter.schema)
    )


def _is_moment(parameter: Parameter) -> bool:
    return any(schema.get("type") == "string" and "enum" not in schema for schema in alternatives(parameter.schema))


def time_forms(parameters: list[Parameter]) -> dict[str, str]:
    """Return which of the inputs take a time step: the one interval, else a start and an end; else nothing."""
    intervals = [parameter for parameter in parameters if _is_interval(parameter)]
    if intervals:
        return {intervals[0].name: "time"} if len(intervals) == 1 else {}
    starts = [parameter for parameter in parameters if _START.search(parameter.name) and _is_moment(parameter)]
    ends = [parameter for parameter in parameters if _END.search(parameter.name) and _is_moment(parameter)]
    if len(starts) == len(ends) == 1:
        return {starts[0].name: "time-start", ends[0].name: "time-end"}
    return {}


def write_time(form: str, step: Step, parameter: Parameter) -> Any:
    """Return a time step in a form: dates, or date-times where the schema asks for them."""
    value = TIME_FORMS[form](step)
    formats = {str(schema.get("format")) for schema in alternatives(parameter.schema)}
    formats |= {str((schema.get("items") or {}).get("format")) for schema in alternatives(parameter.schema)}
    if "date-time" not in formats:
        return value
    if isinstance(value, list):
        return [f"{day}T00:00:00Z" for day in value]
    return "/".join(f"{day}T00:00:00Z" for day in value.split("/"))
