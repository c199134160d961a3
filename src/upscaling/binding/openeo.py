"""Bind an openEO process: schema, description and use in the graph choose the form of a tile and a step."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from upscaling.algorithms.graph import corner_reads, udf_reads, uses_of
from upscaling.algorithms.udp import subtypes
from upscaling.area.outline import tile_outline
from upscaling.binding.base import Binder as BaseBinder
from upscaling.binding.base import (
    Choice,
    MomentKind,
    date_pair,
    error_words,
    refuse_unknown,
    schema_error,
)
from upscaling.binding.forms import Box
from upscaling.errors import ConfigError
from upscaling.model import Algorithm, Coordinates, Parameter, Tile
from upscaling.util.files import read_json

__all__ = [
    "Binder",
    "Coordinates",
    "alternatives",
    "check_arguments",
    "check_value",
    "space_choice",
    "temporal_extent",
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

_SAYS_DEGREES = re.compile(
    r"EPSG:?\s?4326|WGS\s?84|CRS\s?84|\blon(gitude)?s?\b.{0,8}\blat|\blat.{0,8}\blon|degrees", re.IGNORECASE
)
_SAYS_ONLY_A_DEFAULT = re.compile(r"default|unless|\be\.g|for example|\bcrs\b(?!\s?84)", re.IGNORECASE)
_GEOJSON_FORMS = {"Polygon": "geojson", "Feature": "feature", "FeatureCollection": "feature-collection"}
_CRS_NAMES = re.compile(r"\b(\w+) = [^\n]*\bcrs['\"](?:[\])]|,[^)\n]*\))[^\n.]*$", re.MULTILINE)
_WANTS_TEXT = (
    r"(?:crs['\"](?:\])?(?:,[^)\n]*)?\)?|\b{names})\s*(?:\.(?:r?split|r?partition|startswith|endswith|upper|lower|casefold"
    r"|[lr]?strip|replace|removeprefix|removesuffix|isdigit)\b|\[-?\d*:|==\s*['\"]EPSG)"
    r"|['\"]EPSG:?['\"] in [^\n]*(?:crs|\b{names}\b)|\bre\.\w+\([^\n]*(?:crs['\"]|\b{names}\b)"
    r"|from_string\([^)\n]*(?:crs|\b{names}\b)"
)
_PLACE_KEY = re.compile(
    r"(^|_)(basin|burst|catchment|cell|city|country|district|field|frame|geohash|granule|h3|iso[23]|item|lake|mgrs"
    r"|municipality|nuts|parcel|plot|product|province|quadkey|region|scene|site|station|tile)s?(_|$)",
    re.IGNORECASE,
)
_SAME_BOX = {
    "bbox": {"bbox", "bbox-epsg-text"},
    "bbox-lonlat": {"bbox-lonlat", "bbox-lonlat-text", "bbox-lonlat-plain"},
}

# What schemas are tried with: boxes in metres and in degrees, and GeoJSON of each kind.
_METRES = {"west": 500_000.0, "south": 5_000_000.0, "east": 510_000.0, "north": 5_010_000.0}
_DEGREES = {"west": 9.0, "south": 45.1, "east": 9.1, "north": 45.2}
_POLYGON = {"type": "Polygon", "coordinates": [[[9.0, 45.0], [9.1, 45.0], [9.1, 45.1], [9.0, 45.0]]]}
_FEATURE = {"type": "Feature", "id": "t", "properties": {}, "geometry": _POLYGON}
_SAMPLES = {
    "geojson": _POLYGON,
    "feature": _FEATURE,
    "feature-collection": {"type": "FeatureCollection", "features": [_FEATURE]},
}


class Binder(BaseBinder):
    """The arguments of every job of a run of an openEO process."""

    def __init__(
        self, algorithm: Algorithm, parameters: Mapping[str, Any], bind: Mapping[str, str], **run: Any
    ) -> None:
        self._graph = read_json(algorithm.path)["process_graph"]
        super().__init__(algorithm, parameters, bind, **run)

    def given(self, parameter: Parameter, value: Any, key: str) -> Any:
        """Check a value against its schema, and return it as it is."""
        check_value(parameter, value, self._graph, key=key)
        return value

    def take_space(self, free: Sequence[Parameter]) -> dict[str, Choice]:
        """Return every free spatial parameter: one that is forgotten would stay on its default place."""
        return {p.name: choice for p in free if (choice := space_choice(p, self._graph))}

    def without_space(self, free: Sequence[Parameter]) -> None:
        """Refuse a run without an area where a place is left open, unless another parameter says which (a burst)."""
        keyed = any(_PLACE_KEY.search(name) for name in {*self.parameters, *self.each})
        for name in self.take_space(free):
            parameter = self.known[name]
            if keyed and not parameter.required and parameter.default is None:
                continue
            stays = "has no value" if parameter.required else "would stay on its default"
            raise ConfigError(f"{name} of {self.algorithm.id} {stays}: give an area", key="area")

    def bound(self, parameter: Parameter, form: str) -> Choice:
        """Return the choice for a form; `bbox` and `bbox-lonlat` as the schema wants their CRS."""
        own = space_choice(parameter, self._graph)
        same = own is not None and own.form in _SAME_BOX.get(form, ())
        return own if own and same else Choice(form)

    def tile_for(self, choice: Choice, tile: Tile | None) -> Tile | None:
        """Return the tile, for outlines with an outline of its own: that of the plan has more points than it takes."""
        if tile is None or choice.form not in {"geojson", "feature", "feature-collection", "wkt"}:
            return tile
        return dataclasses.replace(tile, geometry=tile_outline(tile, afresh=True))

    @staticmethod
    def moment(parameter: Parameter) -> MomentKind | None:
        """Return what a parameter's subtype or format says of time."""
        if _is_interval(parameter):
            return "interval"
        texts = [schema for schema in alternatives(parameter.schema) if schema.get("type") == "string"]
        kinds = {schema.get("subtype") or schema.get("format") for schema in texts}
        if kinds & {"date", "date-time"}:
            return "date-time" if "date-time" in kinds and not kinds & {"date", None} else "date"
        return "text" if None in kinds and not any("enum" in schema for schema in texts) else None

    def encode(self, parameter: Parameter, choice: Choice, value: Any, at: Coordinates) -> Any:  # noqa: ARG002
        """Return a form's value for this parameter: boxes as openEO has them, text where only text is taken."""
        if isinstance(value, Box):
            west, south, east, north = value.edges
            authority, _, code = value.crs.partition(":")
            crs = int(code) if authority == "EPSG" and code.isdigit() else value.crs
            value = {"west": west, "south": south, "east": east, "north": north, "crs": crs}
        if isinstance(value, dict):
            value = _without_bbox(value)
        if not _takes_only_text(parameter):
            return value
        if choice.form == "epsg" and isinstance(value, int):
            return f"EPSG:{value}"
        return json.dumps(value) if isinstance(value, dict) else value

    def left_out(self, parameter: Parameter, *, space: bool) -> None:  # noqa: ARG002 -- as the base has it
        """Refuse a required parameter without a value."""
        if parameter.required:
            raise ConfigError(_wanted(self.algorithm, parameter), key=f"algorithm.parameters.{parameter.name}")


def _without_bbox(value: dict[str, Any]) -> dict[str, Any]:
    """Return GeoJSON without the bbox of features, which some platforms' readers take for a property."""
    if value.get("type") == "FeatureCollection":
        return {**value, "features": [_without_bbox(feature) for feature in value["features"]]}
    return {name: entry for name, entry in value.items() if name != "bbox"} if value.get("type") == "Feature" else value


def _takes_only_text(parameter: Parameter) -> bool:
    return {schema.get("type") for schema in alternatives(parameter.schema)} == {"string"}


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
    return schema_error({"anyOf": list(schemas)}, value, draft7=True) is None


def takes_polygons(parameter: Parameter, graph: Mapping[str, Any]) -> bool:
    """Return whether a value of GeoJSON may stand for a parameter, whatever its schema says."""
    uses = uses_of(graph, parameter.name)
    return bool(uses & (_POLYGONS_ONLY | _EITHER)) and not uses & _BOX_ONLY


def space_choice(parameter: Parameter, graph: Mapping[str, Any]) -> Choice | None:
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
        return _polygon_choice(parameter, objects, f"goes to {_named(uses & _POLYGONS_ONLY)}")
    if "bounding-box" in types:
        return _box_choice(parameter, [s for s in own if s.get("subtype") == "bounding-box"], graph)
    if types & {"geojson", "datacube"} and not uses & _BOX_ONLY:
        kind = "geojson" if "geojson" in types else "a vector cube"
        return _polygon_choice(parameter, objects, f"its type is {kind}")
    return Choice("bbox", f"goes to {_named(uses & (_BOX_ONLY | _EITHER))}")


def _named(uses: set[tuple[str, str]]) -> str:
    return ".".join(min(uses))


def _may_be_object(schema: Mapping[str, Any]) -> bool:
    given = schema.get("type", "object")
    return "object" in ([given] if isinstance(given, str) else given)


def _box_choice(parameter: Parameter, schemas: Sequence[Mapping[str, Any]], graph: Mapping[str, Any]) -> Choice:
    knows_crs = any("crs" in schema.get("properties", {"crs": {}}) for schema in schemas)
    says = " ".join(
        str(part) for schema in schemas for part in (schema.get("title"), schema.get("description")) if part
    )
    text = f"{parameter.description} {says}"
    why = ""
    if _SAYS_DEGREES.search(text) and not _SAYS_ONLY_A_DEFAULT.search(text):
        why = "its description asks for degrees"
    used = _use_of_crs(parameter.name, graph)
    if knows_crs and not why and not (used and used.form == "bbox-lonlat"):
        if fits(schemas, {**_METRES, "crs": 32632}) and not (used and used.form == "bbox-epsg-text"):
            return Choice("bbox", "its type is bounding-box")
        if fits(schemas, {**_METRES, "crs": "EPSG:32632"}):
            return used or Choice("bbox-epsg-text", "its schema takes the CRS as text")
        why = "its schema admits no other CRS"
    why = why or (used.why if used else "its schema admits no other CRS")
    for form, crs in (("bbox-lonlat", 4326), ("bbox-lonlat-text", "EPSG:4326")):
        if knows_crs and fits(schemas, {**_DEGREES, "crs": crs}):
            return Choice(form, why)
    return Choice("bbox-lonlat-plain", why)


def _use_of_crs(parameter: str, graph: Mapping[str, Any]) -> Choice | None:
    """Return what the graph's own use of a box says of its CRS: a UDF wants text, or nothing reads the CRS."""
    read = corner_reads(graph, parameter)
    if read and "crs" not in read:
        return Choice("bbox-lonlat", f"the graph takes {', '.join(sorted(read))} out of it, and no crs")
    codes = udf_reads(graph, parameter)
    if not codes or uses_of(graph, parameter) - {("run_udf", "context")}:
        return None
    if not any(re.search(r"\bcrs\b", code) for code in codes):
        return Choice("bbox-lonlat", "a UDF alone reads it, and no crs of it")
    if any(map(_takes_crs_as_text, codes)):
        return Choice("bbox-epsg-text", "a UDF reads its crs as text")
    return None


def _takes_crs_as_text(code: str) -> bool:
    names = "|".join(sorted({"crs", *_CRS_NAMES.findall(code)}))
    return re.search(_WANTS_TEXT.replace("{names}", f"(?:{names})"), code) is not None


def _polygon_choice(parameter: Parameter, objects: Sequence[Mapping[str, Any]], why: str) -> Choice:
    # What a bounding box asks for (west, south …) does not count where the graph needs a polygon all the same.
    schemas = [schema for schema in objects if schema.get("subtype") != "bounding-box"] or [{}]
    order = sorted(_SAMPLES, key=lambda form: form != _hinted(parameter, schemas))
    form = next((form for form in order if fits(schemas, _SAMPLES[form])), order[0])
    return Choice(form, why)


def _hinted(parameter: Parameter, schemas: Sequence[Mapping[str, Any]]) -> str:
    """Return the form that a default, an example or the description shows, where the schema leaves it open."""
    examples = [parameter.default, *(example for schema in schemas for example in schema.get("examples", []))]
    for example in examples:
        if isinstance(example, Mapping) and example.get("type") in _GEOJSON_FORMS:
            return _GEOJSON_FORMS[example["type"]]
    text = " ".join([parameter.description, *(str(schema.get("description", "")) for schema in schemas)])
    collections, plain = re.search(r"feature\s?collection", text, re.I), re.search(r"polygon|geometry", text, re.I)
    return "feature-collection" if collections and not plain else "geojson"


def _is_interval(parameter: Parameter) -> bool:
    return "temporal-interval" in subtypes(parameter.schema)


def _is_geojson(value: Any) -> bool:
    kinds = {"Polygon", "MultiPolygon", "GeometryCollection", "Feature", "FeatureCollection"}
    return isinstance(value, Mapping) and value.get("type") in kinds


def _wanted(algorithm: Algorithm, parameter: Parameter) -> str:
    description = " ".join(parameter.description.split())
    short = textwrap.shorten(description, 120, placeholder=" …")
    also = "; a time dimension fills it too" if _is_interval(parameter) else ""
    return f"is required by {algorithm.id}{f' ({short})' if short else ''}{also}"


def check_arguments(algorithm: Algorithm, arguments: Mapping[str, Any], *, key: str) -> None:
    """Check the arguments of one call, as a benchmark scenario makes it.

    Raises
    ------
    ConfigError
        For a name that the process does not have, a value that does not fit, or a required one that is missing.
        A value from another node of the scenario's graph is not looked at.
    """
    known = {parameter.name: parameter for parameter in algorithm.parameters}
    graph = read_json(algorithm.path)["process_graph"]
    refuse_unknown(algorithm, arguments, known, key)
    for name, value in arguments.items():
        if not (isinstance(value, Mapping) and "from_node" in value):
            check_value(known[name], value, graph, key=f"{key}.{name}")
    for parameter in algorithm.parameters:
        if parameter.required and parameter.name not in arguments:
            raise ConfigError(_wanted(algorithm, parameter), key=f"{key}.{parameter.name}")


def check_value(parameter: Parameter, value: Any, graph: Mapping[str, Any], *, key: str) -> None:
    """Check a value against a parameter's schema; of several alternatives it must fit one.

    GeoJSON is taken for a bounding box where the parameter goes to a process of ``graph`` that takes polygons.

    Raises
    ------
    ConfigError
        Names ``key`` and what is wrong; intervals must also be dates, in order.
    """
    if _is_geojson(value) and takes_polygons(parameter, graph):
        return
    schemas = list(alternatives(parameter.schema))
    failures = [schema_error(schema, value, draft7=True) for schema in schemas]
    if failures and all(failures):
        fitting = [error for error in failures if error.absolute_path or error.validator != "type"]
        kinds = [str(schema.get("subtype") or schema.get("type")) for schema in schemas]
        if fitting or len(schemas) == 1:
            raise ConfigError(error_words((fitting or failures)[0]), key=key)
        raise ConfigError(f"{value!r} is none of: {', '.join(kinds)}", key=key)
    if _is_interval(parameter) and isinstance(value, list) and len(value) == 2:
        _check_interval(value, key)


def _check_interval(value: Sequence[Any], key: str) -> None:
    moments = [_moment(text, key) for text in value]
    if moments == [None, None]:
        raise ConfigError("is open at both ends", key=key)
    if None not in moments and moments[0] >= moments[1]:  # type: ignore[operator]  # neither is None
        raise ConfigError(f"must be [start, end) with start before end (found {list(value)})", key=key)


def _moment(text: Any, key: str) -> str | None:
    """Return a date or date-time as a string that sorts; a year or a month stands for its first day."""
    if text is None:
        return None
    try:
        whole = str(text) + "-01-01"[len(str(text)) - 4 :] if len(str(text)) in (4, 7) else str(text)
        found = dt.datetime.fromisoformat(whole)
    except ValueError:
        raise ConfigError(f"{text!r} is no date (2023-06-01) or date-time (2023-06-01T00:00:00Z)", key=key) from None
    return found.astimezone(dt.UTC).isoformat() if found.tzinfo else f"{found.isoformat()}+00:00"


def temporal_extent(algorithm: Algorithm, arguments: Mapping[str, Any]) -> tuple[str | None, str | None] | None:
    """Return the first temporal interval among arguments and defaults, for items where nothing better is known.

    Returns
    -------
    (start, end) as openEO has them (half-open), or None if the process has no temporal interval, and no start and
    end date.
    """
    for parameter in algorithm.parameters:
        if _is_interval(parameter):
            value = arguments.get(parameter.name, parameter.default)
            if isinstance(value, list) and len(value) == 2:
                return value[0], value[1]
    pair = date_pair({parameter.name: Binder.moment(parameter) for parameter in algorithm.parameters})
    if pair is None:
        return None
    defaults = {parameter.name: parameter.default for parameter in algorithm.parameters}
    start, end = (arguments.get(name, defaults[name]) for name in pair)
    return (start, end) if isinstance(start, str) and isinstance(end, str) else None
