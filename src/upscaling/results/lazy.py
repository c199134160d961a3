"""A raster as an xarray array that is read where it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray as xr
from rasterio.windows import Window
from xarray.backends import BackendArray
from xarray.core import indexing

__all__ = ["open_raster"]


def open_raster(path: Path, *, name: str | None = None) -> xr.DataArray:
    """Return a raster that GDAL opens as an array of band, y and x; only windows that are used are read.

    The coordinates are those of the pixels' centres in the raster's CRS.
    """
    with rasterio.open(path) as source:
        a, b, c, d, e, f = tuple(source.transform)[:6]
        if b or d:
            raise ValueError(f"{path} is rotated")
        attributes: dict[str, Any] = {} if source.nodata is None else {"_FillValue": source.nodata}
        reference = xr.Variable((), 0, {"crs_wkt": source.crs.to_wkt(), "GeoTransform": f"{c} {a} {b} {f} {d} {e}"})
        bands = [text or f"band_{number}" for number, text in enumerate(source.descriptions, 1)]
        return xr.DataArray(
            xr.Variable(("band", "y", "x"), indexing.LazilyIndexedArray(_RasterArray(path, source)), attributes),
            coords={
                "band": bands,
                "y": ("y", f + (np.arange(source.height) + 0.5) * e, {"standard_name": "projection_y_coordinate"}),
                "x": ("x", c + (np.arange(source.width) + 0.5) * a, {"standard_name": "projection_x_coordinate"}),
                "spatial_ref": reference,
            },
            name=name,
        )


class _RasterArray(BackendArray):
    """Reads windows of a file; opened for each, so that it can be sent to other processes and threads."""

    def __init__(self, path: Path, source: Any) -> None:
        self._path = path
        self.shape = (source.count, source.height, source.width)
        self.dtype = np.dtype(source.dtypes[0])

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        bands = np.atleast_1d(np.arange(self.shape[0])[key[0]])
        rows, columns = (
            np.atleast_1d(np.arange(size)[part]) for size, part in zip(self.shape[1:], key[1:], strict=True)
        )
        if not (bands.size and rows.size and columns.size):
            return np.empty((bands.size, rows.size, columns.size), self.dtype)
        top, left = int(rows.min()), int(columns.min())
        window = Window(left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1)
        with rasterio.open(self._path) as source:
            values = source.read([int(band) + 1 for band in bands], window=window)
        values = values[:, rows - top][:, :, columns - left]
        return values[tuple(0 if isinstance(part, int | np.integer) else slice(None) for part in key)]
