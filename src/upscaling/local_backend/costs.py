"""What jobs cost, before and after: play money, to try budgets with."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from upscaling.local_backend.errors import ProcessError

__all__ = ["CREDITS_PER_JOB", "LOADERS", "charge", "edges_of", "km2_of", "most_km2"]

# A credit per job that ran, and one per 1,000 km² of result.
CREDITS_PER_JOB, CREDITS_PER_KM2 = 1.0, 0.001
LOADERS = {"load_collection", "load_stac"}

Edges = tuple[float, float, float, float]


def charge(area_km2: float) -> float:
    """Return the cost of a job by the area of its result."""
    return round(CREDITS_PER_JOB + CREDITS_PER_KM2 * area_km2, 6)


def km2_of(edges: Edges) -> float:
    """Return the area of a box in degrees on the ellipsoid."""
    from pyproj import Geod

    west, south, east, north = edges
    corners = [west, east, east, west], [south, south, north, north]
    return float(abs(Geod(ellps="WGS84").polygon_area_perimeter(*corners)[0]) / 1e6)


def edges_of(extent: Any) -> tuple[Edges, int | str] | None:
    """Return the edges of a box or GeoJSON and their CRS (an EPSG code, or a text); None where there is neither."""
    import shapely

    if not isinstance(extent, Mapping):
        return None
    if "west" in extent:
        west, south, east, north = (float(extent[edge]) for edge in ("west", "south", "east", "north"))
        return (west, south, east, north), extent.get("crs") or 4326
    outline = shapely.from_geojson(json.dumps(extent), on_invalid="ignore")
    if outline is None or outline.is_empty:
        return None
    return outline.bounds, 4326


def most_km2(graph: Mapping[str, Any], collections: Sequence[Mapping[str, Any]], processes: Collection[str]) -> float:
    """Return the largest area that a graph's result can have: the box around all that it loads.

    Raises
    ------
    ProcessError
        ``EstimateComplexity``: only the run itself shows what is loaded.
    """
    known = {entry["id"]: entry["extent"]["spatial"]["bbox"][0] for entry in collections}
    boxes = []
    for name, node in graph.items():
        if node["process_id"] not in processes:
            raise _too_complex(f"node {name!r} is process {node['process_id']!r}, which may load anything")
        if node["process_id"] in LOADERS:
            whole = known if node["process_id"] == "load_collection" else {}
            boxes.append(_loaded(name, node.get("arguments") or {}, whole))
    if not boxes:
        return 0.0
    sides = list(zip(*boxes, strict=True))
    return km2_of((min(sides[0]), min(sides[1]), max(sides[2]), max(sides[3])))


def _loaded(name: str, arguments: Mapping[str, Any], known: Mapping[str, Sequence[float]]) -> Edges:
    """Return the box in degrees that a loader reads at most."""
    from pyproj import CRS, Transformer
    from pyproj.exceptions import ProjError

    try:
        found = edges_of(arguments.get("spatial_extent"))
        if found is not None:
            edges, crs = found
            west, south, east, north = Transformer.from_crs(
                CRS.from_user_input(crs), 4326, always_xy=True
            ).transform_bounds(*edges)
            return west, south, east, north
    except (KeyError, TypeError, ValueError, ProjError) as error:
        raise _too_complex(f"node {name!r}: its spatial extent cannot be read: {error}") from error
    whole = known.get(str(arguments.get("id")))
    if whole is None:
        raise _too_complex(f"node {name!r} loads without a spatial extent")
    west, south, east, north = whole
    return west, south, east, north


def _too_complex(why: str) -> ProcessError:
    return ProcessError("EstimateComplexity", f"The process is too complex to calculate an estimate: {why}.")
