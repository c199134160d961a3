"""Bind a package's inputs to a tile: one CWL job order per tile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from upscaling.algorithms.cwl.types import MisfitError, conform, describe, members
from upscaling.errors import ConfigError
from upscaling.model import Algorithm, Bounds, Parameter, Tile

__all__ = ["FORMS", "bind_package", "tile_inputs"]

BBOX_NAMES = {
    "aoi",
    "area_of_interest",
    "bbox",
    "bounding_box",
    "boundingbox",
    "bounds",
    "extent",
    "region_of_interest",
    "roi",
    "spatial_extent",
}
GEOMETRY_NAMES = BBOX_NAMES | {"feature", "footprint", "geojson", "geometry", "polygon"}
CRS_NAMES = {"aoi_crs", "bbox_crs", "crs", "epsg", "epsg_code", "srs"}


def bind_package(
    algorithm: Algorithm,
    tile: Tile | None,
    parameters: Mapping[str, Any],
    bind: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the CWL job order of one tile.

    An input that ``parameters`` names gets that value. Of the others, one that ``bind`` names gets the tile in that
    form; else one whose type is a bounding-box or GeoJSON record gets the tile; else one whose name *and* type say
    that it holds an area or its CRS.

    Parameters
    ----------
    algorithm
        A pinned package.
    tile
        Its bounds are passed as they are, in its own CRS, where the package also takes a CRS; else as the longitude
        and latitude envelope, which is larger than a projected tile. None without an area: products by themselves.
    parameters
        Values by input name; a path stands for a File or a Directory.
    bind
        Input name → one of ``FORMS``.

    Raises
    ------
    ConfigError
        For an unknown name, a value that does not fit, a required input without a value, a file that is not there, or
        if no input takes the tile.
    """
    inputs = {parameter.name: parameter for parameter in algorithm.parameters}
    _refuse_unknown(algorithm, parameters, "algorithm.parameters")
    chosen = tile_inputs(algorithm, parameters, bind) if tile else {}
    if tile is None and bind:
        raise ConfigError("needs an area", key=f"algorithm.bind.{next(iter(bind))}")
    order = {name: _given(inputs[name], value) for name, value in parameters.items()}
    if tile is not None:
        projected = _is_projected(inputs, chosen, order, tile)
        for name, form in chosen.items():
            order[name] = _bound(inputs[name], form, tile, projected)
    missing = [parameter for parameter in inputs.values() if parameter.required and parameter.name not in order]
    if missing:
        first = missing[0]
        raise ConfigError(
            f"{algorithm.id} needs a value of type {describe(first.schema)}", key=f"algorithm.parameters.{first.name}"
        )
    return order


def tile_inputs(
    algorithm: Algorithm, parameters: Mapping[str, Any], bind: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the inputs that the tile fills, and the form that each gets.

    Raises
    ------
    ConfigError
        For a name or a form that does not exist, or if no input takes the tile.
    """
    inputs = {parameter.name: parameter for parameter in algorithm.parameters}
    chosen = dict(bind or {})
    _refuse_unknown(algorithm, parameters, "algorithm.parameters")
    _refuse_unknown(algorithm, chosen, "algorithm.bind")
    for name, form in chosen.items():
        if form not in FORMS:
            raise ConfigError(f"no form {form}; choose one of {', '.join(FORMS)}", key=f"algorithm.bind.{name}")
        if name in parameters:
            raise ConfigError(f"also has a value in algorithm.parameters.{name}", key=f"algorithm.bind.{name}")
    for name, parameter in inputs.items():
        automatic = _form_of(parameter)
        if name not in parameters and name not in chosen and automatic:
            chosen[name] = automatic
    if not any(form != "epsg" for form in chosen.values()):
        areas = [name for name in parameters if _form_of(inputs[name]) not in (None, "epsg")]
        held = f"; {areas[0]} has a fixed value in algorithm.parameters" if areas else ""
        raise ConfigError(
            f"no input of {algorithm.id} takes the tile{held}; name one and its form ({', '.join(FORMS)})",
            key="algorithm.bind",
        )
    return chosen


def _refuse_unknown(algorithm: Algorithm, names: Iterable[str], key: str) -> None:
    """Raise ConfigError for the first name that is no input of the package."""
    known = sorted(parameter.name for parameter in algorithm.parameters)
    for name in names:
        if name not in known:
            has = ", ".join(known) or "no input at all"
            raise ConfigError(f"{algorithm.id} has no input {name}; it has {has}", key=f"{key}.{name}")


def _given(parameter: Parameter, value: Any) -> Any:
    if value is None and not parameter.required:
        return None
    try:
        return conform(value, parameter.schema)
    except MisfitError as error:
        raise ConfigError(str(error), key=f"algorithm.parameters.{parameter.name}") from None


def _is_projected(inputs: Mapping[str, Parameter], chosen: Mapping[str, str], order: Any, tile: Tile) -> bool:
    """Return True if ``bbox`` is in the tile's CRS: if the package is told that CRS."""
    if "epsg" in chosen.values():
        return True
    for name, value in order.items():
        if _form_of(inputs[name]) == "epsg" and value is not None:
            if str(value) in (tile.crs, str(tile.epsg)):
                return True
            if str(value).rpartition(":")[2] not in ("4326", "CRS84"):
                raise ConfigError(
                    f"is {value}, but the tile is in {tile.crs}: leave it out", key=f"algorithm.parameters.{name}"
                )
    return False


def _form_of(parameter: Parameter) -> str | None:
    """Return the form that an input's type and name ask for, or None."""
    name = parameter.name.lower().replace("-", "_")
    forms = (_form_of_member(member, name, parameter) for member in members(parameter.schema))
    return next((form for form in forms if form), None)


def _form_of_member(member: Any, name: str, parameter: Parameter) -> str | None:
    form = None
    if isinstance(member, dict):
        fields = member.get("fields", {})
        if {"bbox", "crs"} <= set(fields):
            form = "eoap-bbox"
        elif {"type", "geometry"} <= set(fields):
            form = "feature"
        elif {"type", "coordinates"} <= set(fields) and "Polygon" in describe(fields["type"]):
            form = "geojson"
        elif name in BBOX_NAMES and member.get("items") in ("double", "float"):
            form = "bbox-array"
    elif name in CRS_NAMES:
        if member in ("int", "long") or (member == "string" and _is_epsg(parameter.default)):
            form = "epsg"
    elif member == "string" and name in GEOMETRY_NAMES:
        form = _form_of_string(name, parameter.description.lower())
    elif member == "File" and name in GEOMETRY_NAMES:
        form = "geojson"
    return form


def _form_of_string(name: str, description: str) -> str | None:
    if "wkt" in description or "well-known" in description:
        return None  # nothing here writes WKT; the user is told
    if "geojson" not in description and name in BBOX_NAMES:
        return "bbox"
    return "feature" if "feature" in description or name == "feature" else "geojson"


def _is_epsg(default: Any) -> bool:
    """Return True if a default (or its absence) allows for EPSG codes."""
    return default is None or str(default).isdigit() or str(default).upper().startswith("EPSG:")


def _bound(parameter: Parameter, form: str, tile: Tile, projected: bool) -> Any:
    key = f"algorithm.bind.{parameter.name}"
    reason = ""
    for member in members(parameter.schema):
        for value in FORMS[form](tile, member, parameter, projected):
            try:
                return conform(value, member)
            except MisfitError as error:
                reason = reason or str(error)
    if form == "epsg" and tile.epsg is None:
        raise ConfigError(f"the tiles' CRS has no EPSG code, which {parameter.name} takes", key=key)
    raise ConfigError(f"the form {form} does not fit {describe(parameter.schema)}: {reason}", key=key)


def _lonlat(tile: Tile) -> Bounds:
    """Return the tile's envelope in degrees, EPSG:4326, longitude first."""
    from pyproj import Transformer

    transformer = Transformer.from_crs(tile.crs, "EPSG:4326", always_xy=True)
    return Bounds(*transformer.transform_bounds(*tile.bounds, densify_pts=21))


def _outline(tile: Tile) -> dict[str, Any]:
    """Return the tile as a GeoJSON geometry in EPSG:4326."""
    if tile.geometry is not None:
        return tile.geometry
    import numpy as np
    import shapely
    from pyproj import Transformer

    transformer = Transformer.from_crs(tile.crs, "EPSG:4326", always_xy=True)
    box = shapely.box(*tile.bounds)
    dense = shapely.segmentize(box, box.length / 80)
    outline = shapely.transform(dense, lambda xy: np.column_stack(transformer.transform(*xy.T)))
    geometry: dict[str, Any] = json.loads(shapely.to_geojson(outline))
    return geometry


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _joined(values: Any) -> str:
    return ",".join(_number(value) for value in values)


# Each form gives the spellings to try for one type, in order; ``conform`` says which fits.
Form = Callable[[Tile, Any, Parameter, bool], list[Any]]


def _bbox(tile: Tile, _schema: Any, _parameter: Parameter, projected: bool) -> list[Any]:
    bounds = tile.bounds if projected else _lonlat(tile)
    return [_joined(bounds)]


def _bbox_lonlat(tile: Tile, _schema: Any, _parameter: Parameter, _projected: bool) -> list[Any]:
    return [_joined(_lonlat(tile))]


def _bbox_latlon(tile: Tile, _schema: Any, _parameter: Parameter, _projected: bool) -> list[Any]:
    west, south, east, north = _lonlat(tile)
    return [_joined((south, west, north, east))]


def _bbox_array(tile: Tile, schema: Any, _parameter: Parameter, projected: bool) -> list[Any]:
    bounds = tile.bounds if projected else _lonlat(tile)
    if isinstance(schema, dict) and schema.get("items") == "string":
        return [[_number(edge) for edge in bounds]]
    return [list(bounds)]


def _eoap_bbox(tile: Tile, _schema: Any, _parameter: Parameter, _projected: bool) -> list[Any]:
    # eoap/schemas ogc.yaml knows CRS84 only, and by its short name in a job order
    return [{"bbox": list(_lonlat(tile)), "crs": "CRS84"}]


def _as_type(value: dict[str, Any], tile: Tile, schema: Any) -> list[Any]:
    """Return a GeoJSON object as the record, string or File that the type asks for."""
    if schema == "string":
        return [json.dumps(value)]
    if schema == "File":
        return [{"class": "File", "basename": f"{tile.id}.geojson", "contents": json.dumps(value)}]
    if isinstance(schema, dict) and schema["type"] == "record":
        return [{name: value.get(name) for name in schema["fields"]}]
    return [value]


def _geojson(tile: Tile, schema: Any, _parameter: Parameter, _projected: bool) -> list[Any]:
    geometry = {**_outline(tile), "bbox": list(_lonlat(tile))}
    # eoap/schemas geojson.yaml types the coordinates of a Polygon as one ring, without the list of rings
    ring = {**geometry, "coordinates": geometry["coordinates"][0]}
    if isinstance(schema, dict):
        return _as_type(geometry, tile, schema) + _as_type(ring, tile, schema)
    return _as_type(_outline(tile), tile, schema)


def _feature(tile: Tile, schema: Any, parameter: Parameter, projected: bool) -> list[Any]:
    bbox = list(_lonlat(tile))
    feature = {"type": "Feature", "id": tile.id, "bbox": bbox, "properties": {}, "geometry": _outline(tile)}
    if isinstance(schema, dict) and schema["type"] == "record" and "geometry" in schema["fields"]:
        geometries: list[Any] = []
        for member in members(schema["fields"]["geometry"]):
            if isinstance(member, dict) and "Polygon" in describe(member.get("fields", {}).get("type", "null")):
                geometries += _geojson(tile, member, parameter, projected)
        return [{**_as_type(feature, tile, schema)[0], "geometry": geometry} for geometry in geometries]
    return _as_type(feature, tile, schema)


def _epsg(tile: Tile, schema: Any, parameter: Parameter, _projected: bool) -> list[Any]:
    if tile.epsg is None:
        return []
    if schema == "string":
        return [str(tile.epsg) if str(parameter.default or "").isdigit() else f"EPSG:{tile.epsg}"]
    return [tile.epsg]


def _tile_id(tile: Tile, _schema: Any, _parameter: Parameter, _projected: bool) -> list[Any]:
    return [tile.id]


FORMS: dict[str, Form] = {
    "bbox": _bbox,
    "bbox-lonlat": _bbox_lonlat,
    "bbox-latlon": _bbox_latlon,
    "bbox-array": _bbox_array,
    "eoap-bbox": _eoap_bbox,
    "geojson": _geojson,
    "feature": _feature,
    "epsg": _epsg,
    "tile-id": _tile_id,
}
