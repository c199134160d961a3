"""Files that stay on a platform: described and checked as far as its STAC goes, since nobody here reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyproj

from upscaling.errors import bad_output
from upscaling.model import Bounds, FetchedAsset, Tile
from upscaling.results.cog import CogInfo

__all__ = ["UNREAD", "gdal_path", "stated_fields", "stated_place", "stated_raster"]

UNREAD = "stays on the platform: share of valid pixels, layout and checksum were not checked"
_TYPES = {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"}
_MULTIHASH = re.compile(r"[0-9a-f]{8,200}")
_CODE = re.compile(r"[A-Za-z]+:[A-Za-z0-9.]+")
_TOLERANCE = 0.01  # of a pixel, by which stated bounds may be off the tile's


def stated_fields(fetched: FetchedAsset) -> dict[str, Any]:
    """Return href, size and checksum of a STAC asset, as far as the platform gives usable ones."""
    size, checksum = fetched.stated.get("file:size"), fetched.stated.get("file:checksum")
    fields: dict[str, Any] = {"href": fetched.href}
    if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        fields["file:size"] = size
    if isinstance(checksum, str) and _MULTIHASH.fullmatch(checksum):
        fields["file:checksum"] = checksum
    return fields


def stated_raster(fetched: FetchedAsset, tile: Tile | None) -> tuple[CogInfo | None, list[str]]:
    """Return what a raster is by the platform's word, with an unknown (NaN) share of valid pixels.

    Parameters
    ----------
    tile
        The tile that it must cover, or None where any place is right.

    Returns
    -------
    (raster, unchecked)
        None where the platform does not say where it lies; and what could not be checked.

    Raises
    ------
    TileFailedError
        ``bad-output``: by the platform's word it is in another CRS, off the tile's lattice, or smaller than the tile.
    """
    crs, edges = _crs(fetched.stated), _numbers(fetched.stated.get("proj:bbox"), 4)
    shape = _numbers(fetched.stated.get("proj:shape"), 2)
    if crs is None or edges is None or shape is None or min(shape) < 1 or edges[0] >= edges[2] or edges[1] >= edges[3]:
        return None, ["stays on the platform, which does not say where it lies: its place was not checked"]
    rows, columns = int(shape[0]), int(shape[1])
    bounds = Bounds(*edges)
    pixel = (bounds.east - bounds.west) / columns, (bounds.north - bounds.south) / rows
    notes = _compared(fetched.path.name, crs, bounds, pixel, tile) if tile is not None else []
    bands = _bands(fetched)
    size = fetched.stated.get("file:size")
    raster = CogInfo(
        path=fetched.path,
        crs=crs,
        bounds=tile.bounds if tile is not None and not notes else bounds,
        shape=(rows, columns),
        transform=(pixel[0], 0.0, bounds.west, 0.0, -pixel[1], bounds.north),
        dtype=str(bands[0].get("data_type", "")) if bands else "",
        nodata=None,
        bands=bands,
        size=size if isinstance(size, int) else 0,
        sha256="",
        valid=math.nan,
        rewritten=False,
    )
    return raster, notes


def stated_place(fetched: FetchedAsset) -> tuple[Bounds, str] | None:
    """Return where a file lies by the platform's word: bounds and CRS, or None where it does not say."""
    crs, edges = _crs(fetched.stated), _numbers(fetched.stated.get("proj:bbox"), 4)
    if crs is not None and edges is not None:
        return Bounds(*edges), crs
    high = _numbers(fetched.stated.get("bbox"), 6)
    edges = [*high[:2], *high[3:5]] if high else _numbers(fetched.stated.get("bbox"), 4)
    return None if edges is None or edges[0] > edges[2] else (Bounds(*edges), "EPSG:4326")


def gdal_path(href: str) -> Path:
    """Return the path by which GDAL opens a file that lies elsewhere, without the ``//`` that a path cannot have."""
    scheme, _, rest = href.partition("://")
    virtual = {"s3": "vsis3", "gs": "vsigs", "az": "vsiaz", "abfs": "vsiadls", "abfss": "vsiadls"}.get(scheme)
    return Path(f"/{virtual}/{rest}") if virtual else Path(f"/vsicurl?url={quote(href, safe='')}")


def _compared(name: str, crs: str, bounds: Bounds, pixel: tuple[float, float], tile: Tile) -> list[str]:
    wanted = tile.bounds
    if crs != tile.crs and not pyproj.CRS(crs).equals(pyproj.CRS(tile.crs), ignore_axis_order=True):
        raise bad_output(f"{name} is in {crs}, tile {tile.id} in {tile.crs}")
    over = (
        (wanted.west - bounds.west) / pixel[0],
        (wanted.south - bounds.south) / pixel[1],
        (bounds.east - wanted.east) / pixel[0],
        (bounds.north - wanted.north) / pixel[1],
    )
    said = f"{name} has bounds {tuple(bounds)}, tile {tile.id} has {tuple(wanted)} in {tile.crs}"
    if min(over) < -_TOLERANCE:
        raise bad_output(f"does not cover the tile: {said}")
    if any(abs(edge - round(edge)) > _TOLERANCE for edge in over):
        raise bad_output(f"pixels are not on the tile's lattice: {said}")
    return ["reaches beyond the tile, and is not cut"] if max(over) > _TOLERANCE else []


def _crs(stated: Mapping[str, Any]) -> str | None:
    code, epsg, wkt = (stated.get(name) for name in ("proj:code", "proj:epsg", "proj:wkt2"))
    if isinstance(epsg, int) and not isinstance(epsg, bool):
        code = f"EPSG:{epsg}"
    text = code if isinstance(code, str) and _CODE.fullmatch(code) else wkt
    try:
        return text if isinstance(text, str) and pyproj.CRS(text) else None
    except pyproj.exceptions.CRSError:
        return None


def _numbers(value: Any, count: int) -> list[float] | None:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != count:
        return None
    good = all(isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in value)
    return [float(n) for n in value] if good else None


def _bands(fetched: FetchedAsset) -> tuple[dict[str, Any], ...]:
    """Return names, data types and nodata values, as far as they are any."""
    bands = []
    for facts in fetched.bands:
        band: dict[str, Any] = {"name": str(facts.get("name") or "")}
        if facts.get("data_type") in _TYPES:
            band["data_type"] = facts["data_type"]
        nodata = facts.get("nodata")
        if nodata in ("nan", "inf", "-inf") or (isinstance(nodata, int | float) and math.isfinite(nodata)):
            band["nodata"] = nodata
        bands.append(band)
    return tuple(bands)
