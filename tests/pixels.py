"""What the real scene's NDVI is, by numpy alone, and what a run's tiles say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

__all__ = ["put_together", "scene_ndvi"]

Pixels = NDArray[np.float32]
PIXEL = 10.0


def scene_ndvi(scene: Path) -> tuple[Pixels, tuple[float, float, float, float]]:
    """NDVI in float32, NaN where a band is 0, and the scene's bounds."""
    with rasterio.open(scene) as source:
        red, nir = (source.read(band).astype("float32") for band in (1, 4))
        bounds = tuple(source.bounds)
    red[red == 0] = np.nan
    nir[nir == 0] = np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        return (nir - red) / (nir + red), bounds


def put_together(collection: Path) -> tuple[Pixels, tuple[float, float, float, float]]:
    """Read every tile that a collection links, at its own place; a pixel that two tiles give, or none, is an error.

    Tiles without data are left out.
    """
    links = [link["href"] for link in json.loads(collection.read_text())["links"] if link["rel"] == "item"]
    tiles: list[tuple[Pixels, Any]] = []
    for href in links:
        item_path = collection.parent / href
        item = json.loads(item_path.read_text())
        if item["properties"].get("upscaling:nodata"):
            continue
        (asset,) = item["assets"].values()
        with rasterio.open(item_path.parent / asset["href"]) as source:
            assert [source.bounds.left, source.bounds.bottom, source.bounds.right, source.bounds.top] == item[
                "properties"
            ]["proj:bbox"]
            assert source.res == (PIXEL, PIXEL)
            tiles.append((source.read(1), source.bounds))
    west, south = min(b.left for _, b in tiles), min(b.bottom for _, b in tiles)
    east, north = max(b.right for _, b in tiles), max(b.top for _, b in tiles)
    shape = (round((north - south) / PIXEL), round((east - west) / PIXEL))
    whole = np.full(shape, np.nan, "float32")
    times = np.zeros(shape, int)
    for pixels, bounds in tiles:
        row, column = round((north - bounds.top) / PIXEL), round((bounds.left - west) / PIXEL)
        place = np.s_[row : row + pixels.shape[0], column : column + pixels.shape[1]]
        whole[place] = pixels
        times[place] += 1
    assert times.min() == times.max() == 1, "the tiles leave a gap or overlap"
    return whole, (west, south, east, north)


def window(pixels: Pixels, bounds: Any, inner: Any, *, strict: bool = True) -> Pixels:
    """Cut the bounds ``inner`` out of ``pixels``, and see (``strict``) that what is around them is no data."""
    row, column = round((bounds[3] - inner[3]) / PIXEL), round((inner[0] - bounds[0]) / PIXEL)
    height, width = round((inner[3] - inner[1]) / PIXEL), round((inner[2] - inner[0]) / PIXEL)
    outside = pixels.copy()
    outside[row : row + height, column : column + width] = np.nan
    assert not strict or np.isnan(outside).all(), "there are pixels outside the scene"
    return pixels[row : row + height, column : column + width]
