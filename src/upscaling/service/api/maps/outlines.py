"""Outlines of tiles for a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from upscaling.grids.outlines import own_parts
from upscaling.monitor.report.map import tile_indices
from upscaling.planning.plan import tile_table
from upscaling.service.states import RunStates

if TYPE_CHECKING:
    import numpy as np

__all__ = ["of_run", "of_table"]

_SIMPLER = 0.002  # of a ring's width: two pixels where it fills a screen
_DECIMALS = 6  # of a degree: 11 cm


def of_run(states: RunStates) -> bytes:
    """Return ``tiles`` (names) and ``outlines`` (rings of longitude and latitude in degrees) of a run, as JSON."""
    if states.outlines is None:
        states.outlines = orjson.dumps(_of_jobs(states), option=orjson.OPT_SERIALIZE_NUMPY)
    return states.outlines


def _of_jobs(states: RunStates) -> dict[str, Any]:
    names, rings = [], []
    parts = _own_parts(states)
    for work in states.jobs():
        names.append(work["id"])
        geometry = (work.get("tile") or {}).get("geometry")
        found = [parts.get(work["id"]), geometry, *(work.get("parameters") or {}).values()]
        rings.append(next(filter(None, map(_outline, found)), None))
    return {"tiles": names, "outlines": _simpler(rings)}


def _own_parts(states: RunStates) -> dict[str, Any]:
    """Return the own parts of those tiles of a run that overlap tiles of another zone, as GeoJSON, by job."""
    import pyarrow.parquet as pq
    import shapely

    with tile_table(states.plan.folder) as path:
        if not path.is_file():
            return {}
        table = pq.read_table(path, columns=["tile_id", "geometry", "crs", "owner_wkt"]).to_pandas()
    tile_of = dict(zip(states.plan.tiles, tile_indices(states.states, table["tile_id"]), strict=True))
    shared = (table["owner_wkt"].fillna("") != "").to_numpy()
    if not shared.any():
        return {}
    shapes = shapely.from_wkb(table["geometry"].to_numpy())
    shapes[shared] = own_parts(shapes[shared], table["owner_wkt"].to_numpy()[shared], table["crs"].to_numpy()[shared])
    return {job: orjson.loads(shapely.to_geojson(shapes[n])) for job, n in tile_of.items() if n >= 0 and shared[n]}


def of_table(table: Any) -> dict[str, Any]:
    """Return a tile table for a map: names, outlines in degrees, areas in km² (geodesic, WGS 84)."""
    import shapely
    from pyproj import Geod

    geod = Geod(ellps="WGS84")
    shown = own_parts(table.geometry.values, table["owner_wkt"].to_numpy(), table["crs"].to_numpy())
    texts = shapely.to_geojson(shown).tolist()
    areas = [abs(geod.geometry_area_perimeter(geometry)[0]) / 1e6 for geometry in table.geometry]
    return {
        "tiles": [str(name) for name in table["tile_id"]],
        "outlines": _simpler([_rings(orjson.loads(text)) for text in texts]),
        "km2": round(sum(areas), 3),
        "notices": list(table.attrs.get("notices", [])),
    }


def _outline(value: Any) -> list[Any] | None:
    """Return the rings of an area in degrees, as parameters hold it; None for other values."""
    if not isinstance(value, Mapping):
        return None
    if value.get("type") in {"Polygon", "MultiPolygon"}:
        return _rings(value)
    edges = [value.get(name) for name in ("west", "south", "east", "north")]
    if value.get("crs", 4326) in {4326, "EPSG:4326"} and all(isinstance(edge, int | float) for edge in edges):
        west, south, east, north = edges
        return [[[west, south], [east, south], [east, north], [west, north], [west, south]]]
    return None


def _rings(geometry: Mapping[str, Any]) -> list[Any]:
    parts = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    return [[place[:2] for place in part[0]] for part in parts]


def _simpler(tiles: Sequence[list[Any] | None]) -> list[list[np.ndarray[Any, Any]] | None]:
    """Return rings without the places that nobody sees: a tile's edges have many, and it is drawn from its corners."""
    import numpy as np
    import shapely

    rings = [ring for tile in tiles for ring in tile or ()]
    if not rings:
        return [None] * len(tiles)
    places = np.array([place for ring in rings for place in ring], dtype="float64")
    lines = shapely.linestrings(places, indices=np.repeat(np.arange(len(rings)), [len(ring) for ring in rings]))
    boxes = shapely.bounds(lines)
    widths = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    simple = shapely.simplify(lines, _SIMPLER * widths, preserve_topology=False)
    kept, ring = shapely.get_coordinates(simple, return_index=True)
    found = iter(np.split(np.round(kept, _DECIMALS), np.flatnonzero(np.diff(ring)) + 1))
    return [[next(found) for _ in tile] if tile else None for tile in tiles]
