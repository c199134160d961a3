"""The real scene cut into tiles, rasters as platforms write them, and what a job gives."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio import Affine
from rasterio.shutil import copy

from upscaling.model import Bounds, FetchedAsset, Outcome, Tile
from upscaling.results.mosaic import mosaic_parts
from upscaling.results.parts import read_rasters

RUN = "bolzano"
TEMPORAL = ("2022-06-01", "2022-07-01")
PRR = {
    "project": "demo",
    "contract_number": "4000",
    "project_website": "https://example.org",
    "project_description": "A project.",
    "variables": ["ndvi"],
    "missions": ["sentinel-2"],
    "parameters": [{"name": "normalized_difference_vegetation_index"}],
}


def tile_at(east: int, north: int, size: int = 2000) -> Tile:
    bounds = Bounds(east, north, east + size, north + size)
    name = f"utm-2km_32n_e{east // 1000:04d}_n{north // 1000:05d}"
    return Tile(name, "EPSG:32632", bounds, grid_code=f"UTM2KM-32N_E{east // 1000:04d}_N{north // 1000:05d}")


# The twelve tiles of 2 km that lie wholly inside the real scene.
TILES = [tile_at(east, north) for north in range(5148000, 5154000, 2000) for east in range(676000, 684000, 2000)]


def write_raster(path: Path, values: np.ndarray, west: float, north: float, **profile: Any) -> Path:
    """Write an untiled GeoTIFF of 10 m pixels, as a platform might."""
    values = values[np.newaxis] if values.ndim == 2 else values
    settings = {
        "driver": "GTiff",
        "count": values.shape[0],
        "height": values.shape[1],
        "width": values.shape[2],
        "dtype": values.dtype,
        "crs": "EPSG:32632",
        "transform": Affine(10, 0, west, 0, -10, north),
        **profile,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **settings) as dataset:
        dataset.write(values)
    return path


def declare(path: Path, nodata: str) -> None:
    """Let a GeoTIFF declare a nodata value, whatever its type."""
    plain, view = path.with_suffix(".plain.tif"), path.with_suffix(".vrt")
    path.rename(plain)
    copy(plain, view, driver="VRT")
    text = re.sub(r"(<VRTRasterBand [^>]*>)", rf"\1<NoDataValue>{nodata}</NoDataValue>", view.read_text())
    view.write_text(text)
    copy(view, path, driver="COG")  # of GDAL's two drivers the one that keeps blocks of zeros
    plain.unlink()


@cache
def scene_bounds(scene: Path) -> Bounds:
    with rasterio.open(scene) as dataset:
        return Bounds(*dataset.bounds)


@cache
def ndvi(scene: Path) -> np.ndarray:
    """NDVI of the whole scene, NaN where a band has no data."""
    with rasterio.open(scene) as dataset:
        red, nir = dataset.read([1, 4]).astype("float32")
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((red == 0) | (nir == 0), np.nan, (nir - red) / (nir + red)).astype("float32")


def cut(scene: Path, values: np.ndarray, tile: Tile) -> np.ndarray:
    left, _, _, top = scene_bounds(scene)
    column, row = round((tile.bounds.west - left) / 10), round((top - tile.bounds.north) / 10)
    return values[..., row : row + 200, column : column + 200]


def outcome_of(*assets: FetchedAsset) -> Outcome:
    job = {
        "id": "j-123",
        "backend": "https://user:secret@openeo.example/openeo/1.2?token=secret",
        "costs": 4,
        "usage": {"cpu": {"value": 12, "unit": "cpu-seconds"}},
        "token": "secret",
    }
    inputs = ("https://user:secret@stac.example/items/a?sig=secret", "/home/someone/secret.json")
    return Outcome(assets, job, inputs, {"openeo-processes-dask": "2026.9.1"})


def write_mosaic(collection: Path, target: Path, *, asset: str, step: str = "", **options: Any) -> Path:
    """Write the mosaic of one asset and time step of a collection."""
    return mosaic_parts(
        [part for part in read_rasters(collection).parts[asset] if part.step == step], target, **options
    )
