"""Tiles of a few pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rasterio import Affine

from tests.unit.results.results_helpers import write_raster
from upscaling.model import Bounds
from upscaling.results.parts import Part

UTM, NEXT = "EPSG:32632", "EPSG:32633"
WEST, NORTH = 700_000.0, 5_150_000.0


def tile(
    folder: Path, name: str, values: Any, column: float = 0, row: float = 0, crs: str = UTM, **profile: Any
) -> Part:
    """A tile of 10 m pixels that begins so many pixels east and south of the corner."""
    values = np.atleast_3d(np.asarray(values)).transpose(2, 0, 1) if np.ndim(values) < 3 else np.asarray(values)
    across, down = profile.pop("pixel", (10, 10))
    west, north = WEST + column * 10, NORTH - row * 10
    transform = Affine(across, 0, west, 0, -down, north)
    path = write_raster(folder / f"{name}.tif", values, 0, 0, crs=crs, transform=transform, **profile)
    bounds = Bounds(west, north - values.shape[1] * down, west + values.shape[2] * across, north)
    bands = tuple((str(values.dtype), profile.get("nodata")) for _ in values)
    return Part(name, name, path, crs, bounds, (across, down), bands=bands)


def ones(rows: int = 4, columns: int = 4, dtype: str = "uint8", value: int = 1) -> np.ndarray:
    return np.full((rows, columns), value, dtype)
