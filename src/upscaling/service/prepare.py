"""From a request to an ordinary run folder: configuration, table of values, plan. Runs in a process of its own."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.errors import ConfigError, UpscalingError

if TYPE_CHECKING:
    from upscaling.algorithms.catalogue import Pinned

__all__ = ["begin", "pinned", "plan_config", "plan_request"]

_FORMATS = {"gtiff": "GTiff", "netcdf": "netCDF", "geojson": "GeoJSON", "json": "JSON"}  # contract -> openEO
_TABLE = "values.csv"


def plan_config(folder: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``config.yaml`` and the plan into a folder.

    Returns
    -------
    ``targets``, ``run`` and ``notices`` of the plan; or ``error``, ``key`` where the configuration was refused.
    """
    import yaml

    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
    with contextlib.chdir(path):  # paths of a configuration count from where it is used
        try:
            return _planned()
        except UpscalingError as error:
            return {"error": error.message, "key": getattr(error, "key", None)}


def _planned() -> dict[str, Any]:
    from upscaling.config import load_config
    from upscaling.planning.ensure import ensure_plan

    config = load_config(Path("config.yaml"))
    plan = ensure_plan(config, Path("results") / config.run)
    with (plan.folder / "jobs.ndjson").open(encoding="utf-8") as stream:
        example = json.loads(stream.readline() or "{}").get("parameters", {})
    return {
        "targets": len(plan.tiles),
        "run": config.run,
        "notices": list(plan.facts["notices"]),
        "example": example,
        "tiles": plan.facts["tiles"],
        "steps": plan.facts["steps"],
    }


def plan_request(folder: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Plan a request of the Dispatch API: one row of a table for each value of its dimension.

    Parameters
    ----------
    request
        ``run`` (its name), ``kind`` (of the back-end), ``source``, ``url``, ``parameters``, ``format``,
        ``backend`` (further keys), and ``dimension`` with ``name`` and ``values``, or None for a single job.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    backend = {"kind": request["kind"], "url": request["url"], **request["backend"]}
    algorithm: dict[str, Any] = {"source": request["source"], "parameters": dict(request["parameters"])}
    if request["format"] and request["kind"] == "openeo":
        algorithm["output_format"] = _FORMATS[request["format"]]
    config = {
        "run": request["run"],
        "algorithm": algorithm,
        "for_each": {"table": _TABLE, "id": "job"},
        "backend": backend,
    }
    try:
        schemas = {parameter.name: parameter.schema for parameter in pinned(config).algorithm.parameters}
    except UpscalingError as error:
        return {"error": error.message, "key": "service.application"}
    dimension = request["dimension"]
    algorithm["parameters"] = {
        name: _as_asked(value, schemas.get(name)) for name, value in request["parameters"].items()
    }
    if dimension is not None:
        algorithm["parameters"].pop(dimension["name"], None)
    _write_table(path / _TABLE, dimension, schemas)
    return plan_config(folder, config)


def _write_table(path: Path, dimension: Mapping[str, Any] | None, schemas: Mapping[str, Any]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        if dimension is None:
            rows.writerows([["job"], ["job-000001"]])
            return
        rows.writerow(["job", dimension["name"]])
        for number, value in enumerate(dimension["values"], 1):
            asked = _as_asked(value, schemas.get(dimension["name"]))
            rows.writerow([f"job-{number:06d}", asked if isinstance(asked, str) else json.dumps(asked)])


def pinned(config: Mapping[str, Any]) -> Pinned:
    """Return what a configuration's algorithm is; its copy is not kept.

    Raises
    ------
    ConfigError
        If it cannot be found, read or run.
    """
    from upscaling.config import Config
    from upscaling.planning.make import pin_for

    with tempfile.TemporaryDirectory() as scratch:
        return pin_for(Config.parse(config), Path(scratch))


def _as_asked(value: Any, schema: Any) -> Any:
    """Return an area as a bounding box where the parameter asks for one: callers of the contract send GeoJSON."""
    if not isinstance(value, Mapping) or value.get("type") not in {"Polygon", "MultiPolygon", "Feature"}:
        return value
    geometry = value.get("geometry") if value["type"] == "Feature" else value
    schemas = schema if isinstance(schema, list) else [schema]
    for one in schemas:
        if isinstance(one, Mapping) and one.get("subtype") == "bounding-box":
            west, south, east, north = _bounds(geometry)
            return {"west": west, "south": south, "east": east, "north": north, "crs": 4326}
        if isinstance(one, Mapping) and one.get("format") == "ogc-bbox":
            return {"bbox": list(_bounds(geometry)), "crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"}
    return value


def _bounds(geometry: Any) -> tuple[float, float, float, float]:
    import shapely

    try:
        west, south, east, north = shapely.from_geojson(json.dumps(geometry)).bounds
    except (shapely.GEOSException, ValueError, TypeError):
        raise ConfigError("is no GeoJSON polygon", key="parameters") from None
    return west, south, east, north


def begin(service: int) -> None:
    """Prepare a process for planning: let it end with its service (a process id), and import what it needs."""
    threading.Thread(target=_end_with, args=(service,), daemon=True).start()
    import geopandas  # noqa: F401 -- half a second that the first request would wait for

    import upscaling.planning.make  # noqa: F401


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)
