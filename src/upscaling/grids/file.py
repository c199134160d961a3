"""``file``: the user's own tiles, from any vector file with an id column."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.affinity import translate

from upscaling.area.aoi import AOI
from upscaling.area.lonlat import cut_at_antimeridian, ground_area, polygons_of, shapes_to_lonlat
from upscaling.area.vector import crs_name, read_vector
from upscaling.errors import ConfigError
from upscaling.grids.base import BaseGrid, Selection
from upscaling.grids.family import Family
from upscaling.grids.shapes import overlaps

__all__ = ["FAMILIES", "FileGrid"]

_KEY = "area.grid"
_ID_COLUMNS = ("tile_id", "id", "tile", "name")


class FileGrid(BaseGrid):
    """Tiles as they lie in a file; a tile is the box around its feature and owns the feature.

    Parameters
    ----------
    path
        GeoPackage, GeoJSON, FlatGeobuf, GeoParquet, Shapefile, or another file that GDAL reads
        (``file.gpkg|layername=name`` where it has several layers).
    id_column
        Column of ids; without it the first of ``tile_id``, ``id``, ``tile``, ``name`` that there is.
    base
        Folder that a relative path starts from.
    """

    name = "file"
    title = "Tiles of a vector file"
    authority = "the file's author"
    cell_size = "as in the file"
    crs = "that of the file"

    def __init__(self, path: str | Path, id_column: str | None = None, base: Path = Path()) -> None:
        self.path, self.id_column, self.base = path, id_column, base
        self.definition = f"Features of {path}; bounds are the boxes around them, in the CRS of the file"

    def select(self, aoi: AOI, min_overlap: float) -> Selection:
        """Find the features under an AOI."""
        frame, path = read_vector(str(self.path), self.base, key=_KEY)
        if not len(frame):
            raise ConfigError("has no features", key=_KEY, file=path)
        ids = self._ids(frame, path)
        crs = crs_name(frame.crs)
        geometry = np.asarray(frame.geometry.values, dtype=object)
        lacking = shapely.is_missing(geometry) | shapely.is_empty(geometry)
        wrong = lacking | ~np.isin(shapely.get_type_id(geometry), (3, 6)) | ~shapely.is_valid(geometry)
        if wrong.any():
            why = "no geometry" if lacking[wrong][0] else "a geometry that is not a valid polygon"
            raise ConfigError(f"feature {ids[np.argmax(wrong)]!r} has {why}", key=_KEY, file=path)
        geometry = shapely.force_2d(geometry)
        geometry, within = _in_range(geometry) if frame.crs.is_geographic else (geometry, geometry)
        shared = overlaps(
            within, aoi.polygons_in(crs), geographic=frame.crs.is_geographic, min_overlap=min_overlap, crs=crs
        )
        order = np.argsort(ids[shared.found])
        found, share = shared.found[order], shared.share[order]
        geometry, within, bounds = geometry[found], within[found], shapely.bounds(geometry[found])
        box = shapely.box(*bounds.T)
        filled = shapely.area(geometry) / shapely.area(box)
        whole = filled >= 1 - 1e-9
        outline = within if crs == "EPSG:4326" else self._outlines(geometry, crs, path)
        return Selection(
            tile_id=ids[found],
            crs=crs,
            bounds=bounds,
            i=found,
            j=np.zeros(len(found), dtype=np.int64),
            fraction=share * filled,
            owner_wkt=np.where(whole, "", shapely.to_wkt(shapely.normalize(geometry), rounding_precision=9)),
            outline=outline,
            dropped=shared.dropped,
            dropped_area=shared.dropped_area,
            notices=[*_overlaps(geometry, ids[found], path), *_uncovered(aoi, outline, path)],
        )

    def _outlines(self, geometry: NDArray[Any], crs: str, path: Path) -> NDArray[Any]:
        if not len(geometry):
            return geometry
        span = float(np.median(np.ptp(shapely.bounds(shapely.get_parts(geometry)).reshape(-1, 2, 2), axis=1)))
        try:
            return shapes_to_lonlat(geometry, crs, span / 8)
        except ConfigError as error:
            raise ConfigError(error.message, key=_KEY, file=path) from None

    def _ids(self, frame: Any, path: Path) -> NDArray[Any]:
        columns = [str(column) for column in frame.columns if column != frame.geometry.name]
        column = self.id_column or next((name for name in _ID_COLUMNS if name in columns), None)
        if column not in columns:
            asked = f"no column {self.id_column!r}" if self.id_column else f"no column of {', '.join(_ID_COLUMNS)}"
            raise ConfigError(f"has {asked} for the ids of tiles; it has: {', '.join(columns)}", key=_KEY, file=path)
        values = frame[column]
        if values.isna().any():
            raise ConfigError(
                f"column {column!r} has {int(values.isna().sum())} tiles without an id", key=_KEY, file=path
            )
        given = [str(int(v)) if isinstance(v, float) and v.is_integer() else str(v) for v in values.tolist()]
        safe = [_safe(text) for text in given]
        seen: dict[str, str] = {}
        for text, tile in zip(given, safe, strict=True):
            if not tile or len(tile) > 100:
                words = "is longer than 100 characters" if tile else "has no letter a to z, digit, _ or -"
                raise ConfigError(f"id {text[:40]!r} {words}, for the name of a folder", key=_KEY, file=path)
            if tile in seen:
                same = f"ids {seen[tile]!r} and {text!r} both make the folder name {tile!r}"
                why = f"id {text!r} is there twice" if seen[tile] == text else same
                raise ConfigError(f"column {column!r}: {why}; ids must be unique", key=_KEY, file=path)
            seen[tile] = text
        return np.array(safe, dtype=object)


def _safe(text: str) -> str:
    """Spell an id with [a-z0-9_-]: accents fall away, anything else becomes a hyphen."""
    plain = unicodedata.normalize("NFKD", text.strip().lower()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9_-]+", "-", plain).strip("-")


def _in_range(geometry: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return features of longitudes 0 to 360 with their longitudes from -180, and cut at the antimeridian.

    One that crosses it keeps its longitudes beyond 180 in the first, where it is one piece.
    """
    shift = np.where(shapely.bounds(geometry)[:, 0] >= 180, -360.0, 0.0)
    moved = geometry.copy()
    for k in np.flatnonzero(shift):
        moved[k] = translate(geometry[k], shift[k])
    within = moved.copy()
    for k in np.flatnonzero((shapely.bounds(moved)[:, 2] > 180) | (shapely.bounds(moved)[:, 0] < -180)):
        parts = [part for one in shapely.get_parts(moved[k]) for part in cut_at_antimeridian(one, short_way=False)]
        within[k] = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    return moved, within


def _uncovered(aoi: AOI, outline: NDArray[Any], path: Path) -> list[str]:
    """Tell about a part of the area in which no tile lies: nothing is processed there."""
    if not len(outline):
        return []
    rest = polygons_of([shapely.difference(aoi.geometry, shapely.union_all(outline, grid_size=1e-9))])
    missed, whole = float(ground_area(rest).sum()) / 1e6 if len(rest) else 0.0, aoi.area_km2
    if missed < max(1e-4 * whole, 0.01):
        return []
    at = rest[0].representative_point()
    return [
        f"{path.name}: no tile lies in {missed:,.1f} of the area's {whole:,.1f} km2, as at {at.x:.2f} E, {at.y:.2f} N:"
        " nothing is processed there"
    ]


def _overlaps(geometry: NDArray[Any], ids: NDArray[Any], path: Path) -> list[str]:
    """Tell about tiles that overlap: what both own is counted and mosaicked twice."""
    left, right = shapely.STRtree(geometry).query(geometry, predicate="intersects")
    pair = left < right
    left, right = left[pair], right[pair]
    shared = shapely.area(shapely.intersection(geometry[left], geometry[right]))
    double = shared > 1e-6 * np.minimum(shapely.area(geometry[left]), shapely.area(geometry[right]))
    if not double.any():
        return []
    k = int(np.argmax(double))
    return [f"{path.name}: {int(double.sum())} pair(s) of tiles overlap, as {ids[left[k]]} and {ids[right[k]]} do: "
            "what both cover is processed twice"]  # fmt: skip


def _make(path: str | Path | None = None, id_column: str | None = None, base: Path = Path()) -> FileGrid:
    if path is None:
        raise ConfigError("grid 'file' needs the path of a file of tiles", key=_KEY)
    return FileGrid(path, id_column, base)


FAMILIES = (Family(10, "file", r"file", "file", _make),)
