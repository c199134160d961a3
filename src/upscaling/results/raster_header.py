"""See that a raster's header is one that can be worked with, before its pixels are read."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from upscaling.errors import bad_output

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

__all__ = ["check_header", "keep_horizontal"]

_LARGEST_READ = 4 << 30  # bytes of one row of blocks, which is read at once
_LONGEST_PIXEL = 1e7  # in units of the CRS: a quarter of the way around the world


def check_header(dataset: DatasetReader) -> tuple[str, ...]:
    """Return a line for each vertical part of a GeoTIFF's CRS, which a COG does not keep.

    Raises
    ------
    TileFailedError
        ``bad-output``: pixels without a size, a CRS that says no place, or more bands than can be read.
    """
    import numpy as np
    import pyproj
    from rasterio.errors import RasterioError

    name, transform, bounds = Path(dataset.name).name, dataset.transform, dataset.bounds
    try:
        bytes_of_value = np.dtype(dataset.dtypes[0]).itemsize
    except TypeError:  # numpy does not know all of GDAL's data types
        return ()
    numbers = tuple(transform)[:6]
    flat = bounds.left == bounds.right or bounds.bottom == bounds.top
    if flat or not all(map(math.isfinite, numbers)) or max(abs(transform.a), abs(transform.e)) > _LONGEST_PIXEL:
        raise bad_output(
            f"{name} has pixels of {transform.a:g} x {-transform.e:g}, at {transform.c:g}, {transform.f:g}"
        )
    size = dataset.count * dataset.block_shapes[0][0] * dataset.width * bytes_of_value
    if size > _LARGEST_READ:
        raise bad_output(f"{name} has {dataset.count} bands: a row of its blocks is {size / 1e9:.0f} GB")
    if dataset.crs is None:
        return ()
    try:
        _, vertical = _parts(dataset.crs.to_wkt(version="WKT2_2019"))
    except (pyproj.exceptions.CRSError, RasterioError) as error:
        raise bad_output(f"{name} has a CRS that cannot be used: {str(error)[:200]}") from error
    return tuple(f"{part}, the vertical CRS: a COG keeps the horizontal one" for part in vertical)


def keep_horizontal(path: Path) -> None:
    """Give a GeoTIFF with a compound CRS its horizontal part."""
    import rasterio

    with rasterio.open(path, "r+", driver="GTiff") as dataset:
        horizontal, _ = _parts(dataset.crs.to_wkt(version="WKT2_2019"))
        dataset.crs = rasterio.crs.CRS.from_user_input(horizontal)


@lru_cache(maxsize=64)
def _parts(wkt: str) -> tuple[str, tuple[str, ...]]:
    """Return the horizontal part of a CRS (its code, or WKT), and the names of the others."""
    import pyproj

    system = pyproj.CRS.from_user_input(wkt)
    horizontal, *vertical = system.sub_crs_list if system.is_compound else [system]
    code = horizontal.to_epsg()
    return f"EPSG:{code}" if code else horizontal.to_wkt(), tuple(part.name for part in vertical)
