"""What is asked before a task: tiles over an area, and the parameters of an algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import Response

from upscaling.errors import ConfigError, UpscalingError
from upscaling.service.prepare import pinned
from upscaling.service.store import BACKEND_KINDS
from upscaling.service.tasks import RefusedError

if TYPE_CHECKING:
    from upscaling.service.access.auth import User
    from upscaling.service.api.forms import ParamRequest, TileRequest
    from upscaling.service.tasks import Tasks

__all__ = ["parameters", "selection", "steps", "tiles"]

_SUBTYPES = {
    **dict.fromkeys(("date-time", "date", "datetime"), "datetime"),
    **dict.fromkeys(("temporal-interval", "date-interval"), "date-interval"),
    **dict.fromkeys(("bounding-box", "ogc-bbox"), "bounding-box"),
    **dict.fromkeys(("geojson", "polygon", "feature-collection", "geojson-geometry"), "polygon"),
}
_TYPES = {
    "boolean": "boolean",
    "integer": "integer",
    "number": "double",
    "string": "string",
    "array": "array-string",
}
_ORIGINAL = {"20x20km": "apex-20x20km", "250x250km": "apex-250x250km"}


def selection(aoi: Any, grid: str, most: int) -> Any:
    """Return the tile table of a grid over an area.

    Parameters
    ----------
    aoi
        GeoJSON: Polygon, MultiPolygon, Feature, FeatureCollection or GeometryCollection; or a box of four numbers.
    most
        More tiles than this are refused.

    Raises
    ------
    RefusedError
        One line that says what is wrong with the area or the grid.
    """
    from upscaling.area.aoi import read_aoi
    from upscaling.grids import get_grid

    try:
        found = get_grid(_ORIGINAL.get(grid, grid))
    except ConfigError as error:
        raise RefusedError(error.message, key="grid") from None
    try:
        table = found.tiles(read_aoi(aoi))
    except UpscalingError as error:
        raise RefusedError(error.message, key="aoi") from None
    if len(table) > most:
        raise RefusedError(f"{len(table)} tiles are more than a task may have here ({most}): choose larger tiles")
    return table


def steps(time: Mapping[str, str] | None) -> int | None:
    """Return how many steps a time dimension has; None without one.

    Raises
    ------
    RefusedError
        If its dates or its step are wrong.
    """
    from pydantic import ValidationError

    from upscaling.config import Time
    from upscaling.planning.dimensions import time_steps

    if time is None:
        return None
    try:
        return len(time_steps(Time.model_validate(time)))
    except ConfigError as error:
        raise RefusedError(error.message, key=error.key or "time") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise RefusedError(first["msg"], key=".".join(map(str, ("time", *first["loc"])))) from None


def tiles(body: TileRequest, most: int) -> Response:
    """Return the tiles of a grid over an area as a GeometryCollection; their names stand beside, in ``tile_ids``."""
    import shapely

    table = selection(body.aoi, body.grid, most)
    outlines = [orjson.Fragment(text) for text in shapely.to_geojson(table.geometry.values)]
    content = {"type": "GeometryCollection", "geometries": outlines, "tile_ids": list(table["tile_id"])}
    return Response(orjson.dumps(content), status_code=201, media_type="application/json")


def parameters(tasks: Tasks, user: User, body: ParamRequest) -> list[dict[str, Any]]:
    """Return the parameters of an algorithm in the contract's types.

    Raises
    ------
    RefusedError
        If the service must not be asked, or has no such algorithm.
    """
    kind = BACKEND_KINDS[str(body.label)]
    endpoint, application = body.service.endpoint, body.service.application
    settings = tasks.settings
    if kind == "openeo" and not tasks.may_read(user, application):
        raise RefusedError("this service reads no algorithms from there", key="service.application")
    if settings.platform(endpoint, kind) is None:
        raise RefusedError("this service does not use that platform", key="service.endpoint")
    namespace = f"/{body.service.namespace.strip('/')}" if body.service.namespace else ""
    config = {
        "run": "run",
        "algorithm": {"source": settings.mirrored(application) if kind == "openeo" else application},
        "for_each": {"table": "values.csv"},
        "backend": {"kind": kind, "url": settings.mirrored(endpoint.rstrip("/") + namespace)},
    }
    return [_parameter(parameter) for parameter in pinned(config).algorithm.parameters]


def _parameter(parameter: Any) -> dict[str, Any]:
    schemas = parameter.schema if isinstance(parameter.schema, list) else [parameter.schema]
    first = next((one for one in schemas if isinstance(one, Mapping) and one.get("type") != "null"), {})
    described = {
        "name": parameter.name,
        "type": _type(schemas),
        "optional": not parameter.required,
        "description": parameter.description or "",
        "options": list(first.get("enum") or []),
    }
    if not parameter.required:
        described["default"] = parameter.default
    return described


def _type(schemas: list[Any]) -> str:
    """Return the contract's type of a parameter: the first of its schemas that has one."""
    for schema in schemas:
        if not isinstance(schema, Mapping):
            continue
        subtype, kind = str(schema.get("subtype") or schema.get("format") or ""), schema.get("type")
        if subtype in _SUBTYPES:
            return _SUBTYPES[subtype]
        if {"west", "east"} <= set(schema.get("properties", {})):
            return "bounding-box"
        kinds = [kind] if isinstance(kind, str) else list(kind or [])
        for name, named in _TYPES.items():
            if name in kinds:
                return named
    return "string"
