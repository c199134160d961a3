"""The forms of a tile and a time step: what a parameter can get of them, whatever the platform.

A form is added here alone, as an entry of ``FORMS``. How a platform writes it for a parameter's type (an object, a
list, text, a File) is the platform's ``encode``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from upscaling.area.outline import lonlat_edges, tile_outline
from upscaling.errors import ConfigError
from upscaling.model import Bounds, Step, Tile

__all__ = ["FORMS", "Box", "Form", "number_text"]


class Box(NamedTuple):
    """A bounding box, before a platform writes it: edges, and the CRS that they are in."""

    edges: Bounds
    crs: str


@dataclass(frozen=True, slots=True)
class Form:
    """A form of a tile or a time step: what is written (JSON, or a ``Box``), and the words that describe it.

    Attributes
    ----------
    of
        ``area`` (the tile's place, or its name), ``crs`` (not enough to run on) or ``step``.
    """

    write: Callable[[Any], Any]
    words: str
    of: Literal["area", "crs", "step"] = "area"


def _own(tile: Tile) -> Box:
    # Projected bounds with their CRS: a lon/lat box of a UTM tile grows by up to a fifth when it is projected back.
    return Box(tile.bounds, tile.crs)


def _degrees(tile: Tile) -> Box:
    edges = lonlat_edges(tile.bounds, tile.crs)
    if edges.west > edges.east:
        raise ConfigError(
            f"tile {tile.id} crosses the antimeridian: no bounding box in degrees can say that; leave it out of the"
            " area, or bind `bbox` or `geojson`",
            key="algorithm.bind",
        )
    return Box(edges, "EPSG:4326")


def _flipped(tile: Tile) -> tuple[float, float, float, float]:
    west, south, east, north = _degrees(tile).edges
    return south, west, north, east


def _corners(box: Box, crs: Any = None) -> dict[str, Any]:
    west, south, east, north = box.edges
    corners = {"west": west, "south": south, "east": east, "north": north}
    return corners if crs is None else {**corners, "crs": crs}


def _feature(tile: Tile) -> dict[str, Any]:
    # RFC 7946, 5.2: the bbox of GeoJSON may cross the antimeridian, with west > east.
    bbox = list(lonlat_edges(tile.bounds, tile.crs))
    return {"type": "Feature", "id": tile.id, "bbox": bbox, "properties": {}, "geometry": tile_outline(tile)}


def _wkt(tile: Tile) -> str:
    import shapely

    return str(shapely.to_wkt(shapely.geometry.shape(tile_outline(tile)), rounding_precision=9))


def _code(tile: Tile) -> int | str:
    return tile.epsg if tile.epsg is not None else tile.crs


def _last_day(step: Step) -> str:
    return (dt.date.fromisoformat(step.end) - dt.timedelta(days=1)).isoformat()


def number_text(value: float) -> str:
    """Return a number as text, without ``.0``."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _joined(edges: Iterable[float], separator: str = ",") -> str:
    return separator.join(map(number_text, edges))


FORMS: dict[str, Form] = {
    "bbox": Form(_own, "bounding box in the tile's CRS"),
    "bbox-lonlat": Form(_degrees, "bounding box in degrees"),
    "bbox-auto": Form(_own, "bounding box in the tile's CRS if the algorithm takes that, else in degrees"),
    "bbox-epsg-number": Form(lambda t: _corners(_own(t), _code(t)), "west, south, east, north and the CRS's number"),
    "bbox-epsg-text": Form(lambda t: _corners(_own(t), t.crs), "west, south, east, north and the CRS as `EPSG:<n>`"),
    "bbox-plain": Form(lambda t: _corners(_own(t)), "west, south, east, north in the tile's CRS, which is not named"),
    "bbox-lonlat-text": Form(lambda t: _corners(_degrees(t), "EPSG:4326"), "box in degrees, CRS as `EPSG:4326`"),
    "bbox-lonlat-plain": Form(lambda t: _corners(_degrees(t)), "west, south, east, north in degrees, without a CRS"),
    "bbox-array": Form(lambda t: list(t.bounds), "[west, south, east, north] in the tile's CRS"),
    "bbox-array-lonlat": Form(lambda t: list(_degrees(t).edges), "[west, south, east, north] in degrees"),
    "bbox-string": Form(lambda t: _joined(t.bounds), "west,south,east,north in the tile's CRS"),
    "bbox-string-lonlat": Form(lambda t: _joined(_degrees(t).edges), "west,south,east,north in degrees"),
    "bbox-latlon": Form(lambda t: _joined(_flipped(t)), "south,west,north,east in degrees"),
    "bbox-spaces": Form(lambda t: _joined(t.bounds, " "), "`west south east north` in the tile's CRS"),
    "bbox-spaces-lonlat": Form(lambda t: _joined(_degrees(t).edges, " "), "`west south east north` in degrees"),
    "eoap-bbox": Form(lambda t: {"bbox": list(_degrees(t).edges), "crs": "CRS84"}, "bbox and CRS84 (eoap/schemas)"),
    "geojson": Form(tile_outline, "GeoJSON polygon in degrees"),
    "feature": Form(_feature, "GeoJSON Feature in degrees"),
    "feature-collection": Form(
        lambda t: {"type": "FeatureCollection", "features": [_feature(t)]}, "GeoJSON FeatureCollection in degrees"
    ),
    "wkt": Form(_wkt, "WKT polygon in degrees"),
    "epsg": Form(_code, "EPSG code", "crs"),
    "tile-id": Form(lambda t: t.id, "the tile's id"),
    "time": Form(lambda step: [step.start, step.end], "[start, end)", "step"),
    "time-string": Form(lambda step: f"{step.start}/{step.end}", "start/end", "step"),
    "time-start": Form(lambda step: step.start, "start", "step"),
    "time-end": Form(lambda step: step.end, "end", "step"),
    "time-last-day": Form(_last_day, "last day", "step"),
}
"""What a parameter can take from a job's tile and time step; ``algorithm.bind`` chooses by these names."""
