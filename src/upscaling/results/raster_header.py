"""See that a raster's header is one that can be worked with, before its pixels are read."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

from upscaling.errors import ErrorClass, TileFailedError

__all__ = ["check_header"]

_LARGEST_READ = 4 << 30  # bytes of one row of blocks, which is read at once
_LONGEST_PIXEL = 1e7  # in units of the CRS: a quarter of the way around the world


def check_header(path: Path) -> list[str]:
    """Check size, pixels and CRS of a GeoTIFF; give one with a compound CRS its horizontal part.

    Returns
    -------
    A line for what is not kept: a vertical CRS.

    Raises
    ------
    TileFailedError
        ``bad-output``: pixels without a size, a CRS that says no place, or more bands than can be read.
    """
    import numpy as np
    import pyproj
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    with rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(path, driver="GTiff") as dataset:
                transform, crs, bounds = dataset.transform, dataset.crs, dataset.bounds
                size = dataset.count * dataset.block_shapes[0][0] * dataset.width * np.dtype(dataset.dtypes[0]).itemsize
                count = dataset.count
        except (RasterioError, TypeError) as error:  # numpy does not know all of GDAL's data types
            if isinstance(error, TypeError):
                return []
            raise _bad(f"{path.name} cannot be read: {error}") from error
        numbers = tuple(transform)[:6]
        flat = bounds.left == bounds.right or bounds.bottom == bounds.top
        if flat or not all(map(math.isfinite, numbers)) or max(abs(transform.a), abs(transform.e)) > _LONGEST_PIXEL:
            raise _bad(
                f"{path.name} has pixels of {transform.a:g} x {-transform.e:g}, at {transform.c:g}, {transform.f:g}"
            )
        if size > _LARGEST_READ:
            raise _bad(f"{path.name} has {count} bands: a row of its blocks is {size / 1e9:.0f} GB")
        if crs is None:
            return []
        try:
            system = pyproj.CRS.from_user_input(crs.to_wkt(version="WKT2_2019"))
        except (pyproj.exceptions.CRSError, RasterioError) as error:
            raise _bad(f"{path.name} has a CRS that cannot be used: {str(error)[:200]}") from error
        if not system.is_compound:
            return []
        horizontal, *vertical = system.sub_crs_list
        with rasterio.open(path, "r+", driver="GTiff") as dataset:
            code = horizontal.to_epsg()
            dataset.crs = rasterio.crs.CRS.from_user_input(f"EPSG:{code}" if code else horizontal.to_wkt())
        return [f"{part.name}, the vertical CRS: a COG keeps the horizontal one" for part in vertical]


def _bad(message: str) -> TileFailedError:
    return TileFailedError(message, error_class=ErrorClass.OUTPUT)
