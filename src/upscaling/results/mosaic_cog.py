"""A mosaic as one Cloud Optimized GeoTIFF."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
from rasterio import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.shutil import copy
from rasterio.vrt import WarpedVRT
from rasterio.warp import calculate_default_transform
from rasterio.windows import Window

from upscaling.results.bands import WIDE, as_vrt, copy_facts, has_mask
from upscaling.results.cog import BLOCK, cog_options
from upscaling.util.files import written_whole

__all__ = ["write_mosaic_cog"]

# Bytes; GDAL would take a twentieth of the machine's memory for its cache.
CACHE, WINDOW = 128 << 20, 64 << 20
# So many times its pixels' size the disk must have free: the staged file, its overviews, the COG, and some air.
ROOM = 3


def write_mosaic_cog(
    mosaic: Path,
    target: Path,
    *,
    band: int | None = None,
    crs: str | None = None,
    resolution: float | None = None,
    resampling: str = "nearest",
) -> Path:
    """Write a mosaic as one COG, in its own CRS and resolution or in others.

    Its pixels are first staged in a plain file beside it, if the disk has room for that: GDAL's COG driver reads all
    of them twice, and from the tiles that costs more than from one file.

    Parameters
    ----------
    band
        Write this band only, from 1; all of them by default.
    crs, resolution
        Reproject to these; pixels then lie on whole multiples of ``resolution`` (units of ``crs``).
    resampling
        A name that GDAL knows, for that reprojection.
    """
    with written_whole(target) as temporary, ExitStack() as stack:
        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=CACHE, GDAL_TIFF_INTERNAL_MASK=True))
        source = stack.enter_context(rasterio.open(_band_view(mosaic, band) if band else mosaic))
        view, opacity = source, False
        if crs or resolution:
            view, opacity = stack.enter_context(_warped(source, crs, resolution, resampling))
        if opacity or _can_stage(view, target.parent):
            staged = temporary.with_suffix(".staged.tif")
            view = stack.enter_context(_staged(view, source, staged, opacity=opacity))
            # overviews, too, lie there for a moment
            stack.enter_context(rasterio.Env(COG_TMP_COMPRESSION="NONE"))
        copy(view, temporary, driver="COG", BIGTIFF="IF_SAFER", NUM_THREADS="ALL_CPUS", **cog_options(view))
    return target


def _band_view(mosaic: Path, band: int) -> str:
    """Return a VRT, as text, that shows one band of a mosaic with all that is said of it."""
    view = as_vrt(mosaic.resolve())
    for shown in view.findall("VRTRasterBand"):
        if shown.get("band") == str(band):
            shown.set("band", "1")
        else:
            view.remove(shown)
    return ElementTree.tostring(view, encoding="unicode")


@contextmanager
def _warped(dataset: Any, crs: str | None, resolution: float | None, resampling: str) -> Iterator[tuple[Any, bool]]:
    """Yield a view of a dataset in another CRS and on a lattice anchored at zero, and whether it has one band more.

    That is a band of opacity: without a nodata value or such a band, what lies outside would be a valid 0.
    """
    given = {"resolution": resolution} if resolution else {}
    system = crs or dataset.crs
    wide, width, height = calculate_default_transform(
        dataset.crs, system, dataset.width, dataset.height, *dataset.bounds, **given
    )
    pixel = resolution or wide.a
    low = np.floor(np.array([wide.c, wide.f - height * pixel]) / pixel + 1e-9)
    high = np.ceil(np.array([wide.c + width * pixel, wide.f]) / pixel - 1e-9)
    columns, rows = (high - low).astype(int).tolist()
    transform = Affine(pixel, 0, float(low[0]) * pixel, 0, -pixel, float(high[1]) * pixel)
    grid = {"crs": system, "transform": transform, "width": columns, "height": rows}
    opacity = dataset.nodata is None and ColorInterp.alpha not in dataset.colorinterp
    fixed = {"UNIFIED_SRC_NODATA": "NO"}  # each band has its own no data
    with WarpedVRT(dataset, resampling=Resampling[resampling], add_alpha=opacity, **fixed, **grid) as view:
        yield view, opacity


def _can_stage(view: Any, folder: Path) -> bool:
    """Whether the disk has room for the pixels of a view as they are, and rasterio writes its nodata value as it is."""
    try:
        size = np.dtype(view.dtypes[0]).itemsize
    except TypeError:  # numpy has no complex integers
        return False
    if view.dtypes[0] in WIDE:
        return False
    needed = ROOM * view.width * view.height * view.count * size
    free = shutil.disk_usage(folder).free
    if free < needed:
        text = "the COG is written from the tiles, which takes longer: staging needs %.1f GB, %s has %.1f GB free"
        logging.getLogger(__name__).info(text, needed / 1e9, folder, free / 1e9)
    return bool(free >= needed)


@contextmanager
def _staged(view: Any, source: Any, path: Path, *, opacity: bool) -> Iterator[Any]:
    """Yield a plain file with the pixels of a view, and what its source says of them; it is removed afterwards.

    Parameters
    ----------
    opacity
        The view's last band is not one of the source's; it becomes the file's mask.
    """
    masked = not opacity and has_mask(view)
    profile = {name: getattr(view, name) for name in ("width", "height", "crs", "transform", "nodata")}
    profile |= {"driver": "GTiff", "count": source.count, "dtype": view.dtypes[0], "bigtiff": "YES", "sparse_ok": True}
    profile |= {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK}
    try:
        with rasterio.open(path, "w", **profile) as target:
            copy_facts(source, target)
            for window in _windows(view):
                values = view.read(window=window)
                target.write(values[: source.count], window=window)
                if opacity:
                    target.write_mask(np.real(values[-1]) > 0, window=window)
                elif masked:
                    target.write_mask(view.dataset_mask(window=window), window=window)
        with rasterio.open(path) as target:
            yield target
    finally:
        path.unlink(missing_ok=True)


def _windows(view: Any) -> Iterator[Any]:
    """Yield windows of whole blocks: large, as a tile's blocks are read anew for each, but bounded in memory."""
    pixel = view.count * np.dtype(view.dtypes[0]).itemsize
    side = max(BLOCK, math.isqrt(WINDOW // pixel) // BLOCK * BLOCK)
    for row in range(0, view.height, side):
        for column in range(0, view.width, side):
            yield Window(column, row, min(side, view.width - column), min(side, view.height - row))
