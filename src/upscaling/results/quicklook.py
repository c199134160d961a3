"""A picture of a raster."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from upscaling.util.files import written_whole

__all__ = ["RAMP", "write_quicklook"]

# Anchors of a colour ramp from dark blue over green to yellow, even in lightness (after viridis).
RAMP = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))


def write_quicklook(
    raster: Path, target: Path, *, size: int = 1024, colours: Mapping[int, tuple[int, int, int, int]] | None = None
) -> tuple[float, float] | None:
    """Write a PNG of a raster, no-data transparent: three bands or more as red, green, blue, else one in colours.

    Returns the values at the two ends of the colours; None for classes, for red, green and blue, and without any value.

    Parameters
    ----------
    colours
        Value -> red, green, blue, opacity, for a first band of classes.
    size
        Pixels of the longer side, at most.
    """
    with rasterio.open(raster) as dataset:
        width, height = float(dataset.width), float(dataset.height)
        if dataset.crs and dataset.crs.is_geographic:
            width *= float(np.cos(np.radians((dataset.bounds.top + dataset.bounds.bottom) / 2)))
        scale = min(1.0, size / max(width, height))
        shape = (max(1, round(height * scale)), max(1, round(width * scale)))
        bands = [1, 2, 3] if dataset.count >= 3 and not colours else [1]
        values = dataset.read(bands, out_shape=(len(bands), *shape), masked=True)
    if np.iscomplexobj(values):  # built anew: abs() keeps a complex fill value
        values = np.ma.MaskedArray(np.abs(values.data), np.ma.getmaskarray(values))
    values = values.astype("float64")
    valid = ~np.ma.getmaskarray(values).any(axis=0) & np.isfinite(values.data).all(axis=0)
    picture = np.zeros((4, *shape), "uint8")
    scale_of = None
    if colours:
        for value, colour in colours.items():
            picture[:, valid & (values[0].data == value)] = np.array(colour, "uint8")[:, np.newaxis]
    else:
        ranges = [_range(band.data, valid) for band in values]
        scale_of = ranges[0] if len(bands) == 1 and valid.any() else None
        stretched = [_stretched(band.data, valid, *ends) for band, ends in zip(values, ranges, strict=True)]
        picture[:3] = np.array(stretched) * 255 if len(bands) == 3 else _coloured(stretched[0])
        picture[3] = valid * 255
    picture[:3, ~valid] = 0
    profile = {"driver": "PNG", "width": shape[1], "height": shape[0], "count": 4, "dtype": "uint8"}
    with written_whole(target) as temporary, MemoryFile() as memory, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a picture lies nowhere
        with memory.open(**profile) as png:
            png.write(picture)
        temporary.write_bytes(memory.read())
    return scale_of


def _range(values: np.ndarray[Any, Any], valid: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Return the 2nd and the 98th percentile."""
    if not valid.any():
        return 0.0, 0.0
    low, high = np.percentile(values[valid], [2, 98]).tolist()
    return float(low), float(high)


def _stretched(
    values: np.ndarray[Any, Any], valid: np.ndarray[Any, Any], low: float, high: float
) -> np.ndarray[Any, Any]:
    """Scale a range to 0…1."""
    stretched: np.ndarray[Any, Any] = np.clip((np.where(valid, values, low) - low) / ((high - low) or 1.0), 0, 1)
    return stretched


def _coloured(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    places = np.linspace(0, 1, len(RAMP))
    return np.array([np.interp(values, places, [colour[channel] for colour in RAMP]) for channel in range(3)])
