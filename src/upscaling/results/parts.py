"""The rasters of a collection: where each lies, read off its table of items or, without one, off the items."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import rasterio
import shapely

from upscaling.errors import UpscalingError
from upscaling.model import Bounds
from upscaling.results.profile import is_raster
from upscaling.results.remote_assets import gdal_path
from upscaling.results.shapes import Item, read_stac
from upscaling.util.text import plain_text

__all__ = ["Part", "Rasters", "read_rasters", "why_unread"]

_FIELDS = ("nodata", "proj:code", "proj:wkt2", "proj:bbox", "proj:transform", "upscaling:tile")


@dataclass(frozen=True, slots=True)
class Part:
    """One raster of a collection: its file and its ``bounds`` in ``crs``; the higher rank lies on top.

    Attributes
    ----------
    path
        Of a file that lies elsewhere: GDAL's name for it (``/vsi…``).
    pixel
        Width and height of a pixel in units of ``crs``.
    bands
        Data type (as STAC names it) and nodata value of each band, as far as the item tells them.
    """

    item: str
    tile: str
    path: Path
    crs: str
    bounds: Bounds
    pixel: tuple[float, float]
    rank: int = 0
    bands: tuple[tuple[str, Any], ...] = ()

    @property
    def elsewhere(self) -> bool:
        """Whether the file is not on this machine."""
        return str(self.path).startswith("/vsi")

    @property
    def step(self) -> str:
        """What the item's id says besides the tile."""
        return self.item.removeprefix(self.tile).strip("_")


@dataclass(slots=True)
class Rasters:
    """All rasters of a collection.

    Attributes
    ----------
    parts
        Asset -> its rasters.
    outlines, names
        GeoJSON geometries (or None) and ids of all items, with or without a raster.
    empty
        Ids of the items without any asset: tiles without data.
    damaged
        A line for each item that is left out.
    """

    parts: dict[str, list[Part]] = field(default_factory=dict)
    outlines: list[dict[str, Any] | None] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    empty: set[str] = field(default_factory=set)
    damaged: list[str] = field(default_factory=list)


def read_rasters(collection: Path) -> Rasters:
    """Return the rasters of all assets of a collection, and the outlines and ids of its items.

    Raises
    ------
    UpscalingError
        A collection cannot be read; an item that cannot be is left out.
    """
    found = Rasters()
    for item, folder in _items(collection, found.damaged):
        found.names.append(item["id"])
        found.outlines.append(item["geometry"])
        if not item["assets"]:
            found.empty.add(item["id"])
        for key, described in (item["assets"] or {}).items():
            facts = {**item["properties"], **_given(described or {})}
            crs, box = facts.get("proj:code") or facts.get("proj:wkt2"), facts.get("proj:bbox")
            if not described or not box or not crs or "proj:transform" not in facts:
                continue
            if described.get("type") and not is_raster(described):  # one of the item's other files
                continue
            tile = facts.get("upscaling:tile", item["id"])
            path = gdal_path(described["href"]) if "://" in described["href"] else folder / described["href"]
            half = len(box) // 2  # three numbers in each where it has heights
            bounds, transform = Bounds(*box[:2], *box[half : half + 2]), facts["proj:transform"]
            bands = tuple(
                (str(band.get("data_type")), band.get("nodata", facts.get("nodata")))
                for band in filter(None, facts.get("bands") or ())
            )
            part = Part(item["id"], tile, path, crs, bounds, (transform[0], -transform[4]), bands=bands)
            found.parts.setdefault(key, []).append(part)
    return found


def why_unread(part: Part) -> str:
    """Return why a raster cannot be read where its item says; nothing if it can."""
    try:
        with rasterio.open(part.path) as dataset:
            if any(abs(a - b) > max(dataset.res) for a, b in zip(dataset.bounds, part.bounds, strict=True)):
                return "its file lies elsewhere than its item says"
            for _, window in dataset.block_windows(1):
                dataset.read(window=window)
    except OSError as error:  # as rasterio's are
        return plain_text(error.__cause__ or error) or type(error).__name__  # the cause has GDAL's own words
    return ""


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _items(collection: Path, damaged: list[str]) -> Iterator[tuple[dict[str, Any], Path]]:
    """Yield the items and the folder that their links are relative to."""
    content = read_stac(collection)
    for asset in (content.get("assets") or {}).values():
        table = collection.parent / asset["href"]
        if "stac-items" in (asset.get("roles") or ()) and table.is_file():
            try:
                yield from ((item, collection.parent) for item in _rows(table))
            except (OSError, ValueError, LookupError) as error:  # as Arrow's are
                raise UpscalingError(f"{table}: cannot be read: {error}; delete {collection} and run again") from None
            return
    for link in content.get("links", ()):
        path = collection.parent / link["href"]
        if link["rel"] == "child":
            yield from _items(path, damaged)
        elif link["rel"] == "item":
            try:
                yield read_stac(path, Item), path.parent
            except UpscalingError as error:
                damaged.append(f"left out: {error}")


def _rows(table: Path) -> Iterator[dict[str, Any]]:
    """Yield what a mosaic needs of every item from STAC GeoParquet: a thousand files are slow to open."""
    with pq.ParquetFile(table) as source:
        there = source.schema_arrow.names
        columns = [name for name in ("id", "geometry", "assets", *_FIELDS) if name in there]
        for batch in source.iter_batches(columns=columns):
            rows = batch.to_pylist()
            outlines = shapely.to_geojson(shapely.from_wkb([row["geometry"] for row in rows]))
            for row, outline in zip(rows, outlines, strict=True):
                yield {
                    "id": row["id"],
                    "geometry": orjson.loads(outline) if outline else None,
                    "properties": _given({name: row.get(name) for name in _FIELDS}),
                    "assets": {key: _given(asset) for key, asset in (row.get("assets") or {}).items() if asset},
                }
