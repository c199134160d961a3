"""Tiles as a mosaic needs them: what they hold, cut to their own part, and in a form that GDAL's tile index keeps."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
import shapely
from rasterio import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.features import geometry_mask
from rasterio.shutil import copy
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from upscaling.area.lonlat import transformer
from upscaling.errors import UpscalingError
from upscaling.model import Bounds
from upscaling.results.bands import WIDE, as_vrt, copy_facts, exact_nodata
from upscaling.results.cog import BLOCK, GDAL_OPTIONS
from upscaling.results.nearest import pixels_under
from upscaling.results.parts import Part
from upscaling.util.files import write_whole, written_whole

__all__ = ["Lattice", "TileKind", "exact_part", "own_part", "relative_path", "row_windows", "tile_kind", "warped_part"]

_GDAL_TYPES = {"uint8": "Byte", "cint16": "CInt16", "complex_int16": "CInt16"}
_GDAL_TYPES |= {"complex64": "CFloat32", "cfloat32": "CFloat32", "complex128": "CFloat64", "cfloat64": "CFloat64"}
_NUMPY_TYPES = {"cint16": "complex64", "complex_int16": "complex64", "cfloat32": "complex64", "cfloat64": "complex128"}
# Integers beyond this are equal to GDAL's tile index when they differ by one: two units in the last place of float32.
BLURRED, SHARP = ("int32", "uint32"), 1 << 21
ROWS = 1024


@dataclass(frozen=True, slots=True)
class TileKind:
    """What the tiles of one mosaic hold.

    Attributes
    ----------
    dtype
        GDAL's name of a type that holds the values of every tile.
    nodata
        The value that all tiles declare; None without one, or where they declare several.
    mixed
        Whether tiles differ in type or nodata value, so that the first of them does not speak for all.
    alpha
        Whether a band of opacity tells what is valid.
    wide
        Whether values are 64-bit integers, which GDAL's tile index and its warper take through floating point.
    blurred
        Whether GDAL's tile index would take values near the nodata value for it, as it compares 32-bit integers as
        floating-point numbers and calls those equal that are nearly so; or does not compare them, as complex numbers.
    """

    count: int
    dtype: str
    nodata: float | int | None
    mixed: bool
    alpha: bool
    wide: bool
    blurred: bool
    odd: bool

    def needs_exact(self, *, one_lattice: bool) -> bool:
        """Whether tiles must be rewritten, as GDAL 3.10 would change them.

        Where it reprojects, what lies beside a tile without a nodata value becomes valid, and int8 becomes uint8.
        """
        by_mask = self.nodata is None and not self.alpha
        return (
            self.wide
            or self.blurred
            or (not one_lattice and (by_mask or self.odd or (self.dtype == "Int8" and self.count > 1)))
        )


@dataclass(frozen=True, slots=True)
class Lattice:
    """Pixels of a mosaic: CRS, north-west corner, width and height of a pixel."""

    crs: str
    west: float
    north: float
    pixel: tuple[float, float]


def tile_kind(parts: Sequence[Part]) -> TileKind:
    """Return what these tiles hold; one file is opened, the rest is read off the items.

    Raises
    ------
    UpscalingError
        The tiles have different numbers of bands.
    """
    with rasterio.open(parts[0].path) as dataset:
        count, dtypes, nodata = dataset.count, set(dataset.dtypes), exact_nodata(dataset)
        alpha = ColorInterp.alpha in dataset.colorinterp
    counts = {len(part.bands) for part in parts if part.bands} | {count}
    if len(counts) > 1:
        raise UpscalingError(f"tiles have different numbers of bands: {', '.join(map(str, sorted(counts)))}")
    told = {band for part in parts for band in part.bands}
    dtypes |= {dtype for dtype, _ in told if dtype != "None"}
    values = {_comparable(value) for _, value in told} | {_comparable(nodata)}
    one_type = dtypes.pop() if len({_gdal_type(dtype) for dtype in dtypes}) == 1 else ""
    mixed = not one_type or len(values) > 1
    if not one_type:
        one_type = str(np.result_type(*(_NUMPY_TYPES.get(dtype, dtype) for dtype in dtypes)))
    least = 0 if _gdal_type(one_type).startswith("C") else SHARP if one_type in BLURRED else math.inf
    blurred = any(isinstance(value, float) and abs(value) >= least for value in values)
    odd = isinstance(nodata, float) and not math.isnan(nodata) and not _is_written_whole(nodata, one_type)
    return TileKind(
        count, _gdal_type(one_type), None if mixed else nodata, mixed, alpha, one_type in WIDE, blurred, odd
    )


def _is_written_whole(nodata: float, dtype: str) -> bool:
    """Return whether GDAL's 15 digits of a nodata value are that value to this type."""
    if dtype not in ("float32", "float64"):
        return True
    with np.errstate(over="ignore"):
        written = np.array(float(f"{nodata:.15g}")).astype(dtype)
        return bool(np.isfinite(written) and written == np.array(nodata).astype(dtype))


def _gdal_type(dtype: str) -> str:
    return _GDAL_TYPES.get(dtype) or dtype.replace("int", "Int").replace("uI", "UI").replace("float", "Float")


def _comparable(value: Any) -> str | float | None:
    """Return a nodata value in one form: STAC writes NaN as text."""
    if value is None:
        return None
    number = float(value)
    return "nan" if math.isnan(number) else number


def relative_path(path: Path, folder: Path) -> str:
    """Return a file's path as seen from a folder; GDAL's own name for a file that is elsewhere."""
    if str(path).startswith("/vsi"):
        return str(path)
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def own_part(part: Part, owner: str, folder: Path) -> Part:
    """Write a copy of a tile in which only its own part is valid, and return it.

    Parameters
    ----------
    owner
        WKT in the tile's CRS. A pixel belongs to it when its centre does.
    """
    shape = shapely.from_wkt(owner)
    path = folder / f"{part.item}.tif"
    with rasterio.open(part.path) as source, _raster(path, source, **_without_nodata(source)) as target:
        for window, values, valid in _rows(source):
            owned = geometry_mask([shape], valid.shape, _moved(source.transform, window), invert=True)
            _write(target, window, values, np.logical_and(valid, owned), owned)
    return replace(part, path=path)


def _without_nodata(source: Any) -> dict[str, None]:
    """Return that a copy has a mask in place of the nodata value, where rasterio does not write that as it is."""
    return {"nodata": None} if source.dtypes[0] in WIDE else {}


def exact_part(part: Part, lattice: Lattice, folder: Path, *, masked: bool) -> Part:
    """Return a tile in a form in which GDAL's tile index shows each of its values as it is.

    One in another CRS is written on the mosaic's pixels, nearest neighbour. It declares no nodata value, as GDAL
    compares that through floating point.

    Parameters
    ----------
    masked
        Write it with a mask in its place, as another tile may lie below.
    """
    if part.crs != lattice.crs:
        return _on_lattice(part, lattice, folder / f"{part.item}_there{part.rank}.tif")
    with rasterio.open(part.path) as dataset:
        if exact_nodata(dataset) is None:
            return part
        path = folder / f"{part.item}_there{part.rank}.{'tif' if masked else 'vrt'}"
        if masked:
            with _raster(path, dataset, nodata=None) as target:
                for window, values, valid in _rows(dataset):
                    _write(target, window, values, valid, valid)
        else:
            write_whole(path, _plain_view(part.path, path.parent))
    return replace(part, path=path)


def _plain_view(path: Path, folder: Path) -> str:
    """Return a VRT, as text, of a raster without its nodata value."""
    view = as_vrt(path.resolve() if path.exists() else path)
    for band in view.findall("VRTRasterBand"):
        for old in band.findall("NoDataValue"):
            band.remove(old)
        for source in band.findall("ComplexSource"):
            source.tag = "SimpleSource"
            for old in source.findall("NODATA"):
                source.remove(old)
    for name in view.iter("SourceFilename"):
        name.text = relative_path(path, folder)
        name.set("relativeToVRT", "0" if name.text.startswith("/vsi") else "1")
    return ElementTree.tostring(view, encoding="unicode")


def warped_part(part: Part, lattice: Lattice, folder: Path, resampling: str) -> Part:
    """Return a VRT of a tile on the mosaic's pixels in which each band has its own no data.

    GDAL's tile index would reproject a pixel that is valid in one of its bands as valid in all of them.
    """
    grid = _grid_on(part, lattice)
    path = folder / f"{part.item}_there{part.rank}.vrt"
    options = {"resampling": Resampling[resampling], "UNIFIED_SRC_NODATA": "NO", **grid}
    with written_whole(path) as temporary, rasterio.open(part.path) as source, WarpedVRT(source, **options) as view:
        copy(view, temporary, driver="VRT")
    return _moved_to(part, path, grid)


def _grid_on(part: Part, lattice: Lattice) -> dict[str, Any]:
    """Return the pixels of a mosaic that a tile covers, as a raster's CRS, transform, width and height."""
    to_mosaic = transformer(part.crs, lattice.crs)
    (across, down), box = lattice.pixel, to_mosaic.transform_bounds(*part.bounds, densify_pts=21)
    left, right = math.floor((box[0] - lattice.west) / across) - 1, math.ceil((box[2] - lattice.west) / across) + 1
    top, bottom = math.floor((lattice.north - box[3]) / down) - 1, math.ceil((lattice.north - box[1]) / down) + 1
    transform = Affine(across, 0, lattice.west + left * across, 0, -down, lattice.north - top * down)
    return {"crs": lattice.crs, "transform": transform, "width": right - left, "height": bottom - top}


def _moved_to(part: Part, path: Path, grid: Mapping[str, Any]) -> Part:
    west, north = grid["transform"].c, grid["transform"].f
    across, down = grid["transform"].a, -grid["transform"].e
    bounds = Bounds(west, north - grid["height"] * down, west + grid["width"] * across, north)
    return replace(part, path=path, crs=grid["crs"], bounds=bounds, pixel=(across, down))


def _on_lattice(part: Part, lattice: Lattice, path: Path) -> Part:
    """Write a tile on a mosaic's pixels, each with the value of the tile's pixel under its centre."""
    to_tile = transformer(lattice.crs, part.crs)
    grid = _grid_on(part, lattice)
    corner, width = grid["transform"], grid["width"]
    with rasterio.open(part.path) as source, _raster(path, source, nodata=None, **grid) as target:
        values, valid, inverse = source.read(), source.dataset_mask() > 0, ~source.transform

        def places(columns: Any, rows: Any) -> tuple[Any, Any]:
            x, y = corner.c + (columns + 0.5) * corner.a, corner.f + (rows + 0.5) * corner.e
            east, north = to_tile.transform(x, y)
            return inverse.a * east + inverse.c, inverse.e * north + inverse.f

        for window in row_windows(width, grid["height"]):
            rows = window.row_off + np.arange(window.height, dtype=float)
            row, column = pixels_under(places, np.arange(width, dtype=float), rows)
            inside = (column >= 0) & (row >= 0) & (column < source.width) & (row < source.height)
            row, column = np.where(inside, row, 0), np.where(inside, column, 0)
            _write(target, window, values[:, row, column], inside & valid[row, column], inside)
    return _moved_to(part, path, grid)


def _moved(transform: Affine, window: Any) -> Affine:
    return Affine(transform.a, 0, transform.c, 0, transform.e, transform.f + window.row_off * transform.e)


def row_windows(width: int, height: int) -> Iterator[Any]:
    """Yield windows of whole rows from top to bottom."""
    for start in range(0, height, ROWS):
        yield Window(0, start, width, min(ROWS, height - start))


def _rows(source: Any) -> Iterator[tuple[Any, np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    for window in row_windows(source.width, source.height):
        yield window, source.read(window=window), source.dataset_mask(window=window) > 0


@contextmanager
def _raster(path: Path, source: Any, **changes: Any) -> Iterator[Any]:
    """Open a new GeoTIFF for a tile's pixels, with what the tile says of its bands."""
    profile = {
        "driver": "GTiff",
        **{name: getattr(source, name) for name in ("width", "height", "count", "crs", "transform", "nodata")},
        "dtype": source.dtypes[0],
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "deflate",
        "zlevel": 1,
        "bigtiff": "IF_SAFER",
        **changes,
    }
    with ExitStack() as stack:
        temporary = stack.enter_context(written_whole(path))
        stack.enter_context(rasterio.Env(**GDAL_OPTIONS))
        target = stack.enter_context(rasterio.open(temporary, "w", **profile))
        copy_facts(source, target)
        yield target


def _write(target: Any, window: Any, values: Any, valid: Any, keep: Any) -> None:
    """Write rows: what is not to be kept becomes no data, in the way in which the raster says so."""
    if target.nodata is not None:
        target.write(np.where(keep, values, np.array(target.nodata).astype(values.dtype)), window=window)
    elif ColorInterp.alpha in target.colorinterp:
        values[target.colorinterp.index(ColorInterp.alpha)] *= keep
        target.write(values, window=window)
    else:
        target.write(values, window=window)
        target.write_mask(valid, window=window)
