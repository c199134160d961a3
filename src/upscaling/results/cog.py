"""Check a raster that came back, and make it a Cloud Optimized GeoTIFF on the tile's own pixels."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.errors import bad_output
from upscaling.model import Bounds, Tile
from upscaling.results.bands import WIDE, bands_of, copy_facts, exact_nodata, has_mask
from upscaling.results.raster_header import check_header, keep_horizontal
from upscaling.util.files import move, sha256_file, written_whole

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from rasterio.windows import Window

__all__ = [
    "BLOCK",
    "GDAL_OPTIONS",
    "CogInfo",
    "cog_options",
    "ensure_cog",
    "is_cog",
    "is_tiff",
]

# Little and big endian, classic and BigTIFF.
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# What is left of a pixel after a lattice has been through a platform's floating point.
PIXEL_TOLERANCE = 1e-3
HINT = "; if the algorithm reprojects, or its pixels do not divide a tile, set collection.exact: false"
BLOCK = 512
CHUNK_SAMPLES = 1 << 24
# Sidecar files would not travel with the COG, so they are not read either.
GDAL_OPTIONS: dict[str, Any] = {
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_TIFF_INTERNAL_MASK": "YES",
}


@dataclass(frozen=True, slots=True)
class CogInfo:
    """What one checked raster is.

    Attributes
    ----------
    crs
        ``EPSG:<n>``, or WKT2 where the CRS has no code.
    bounds
        Edges in ``crs``; where a tile was expected they are the tile's own numbers.
    shape
        Rows, columns.
    transform
        Six numbers in rasterio's order: x = a*col + b*row + c, y = d*col + e*row + f.
    nodata
        None for an integer raster without one: all its pixels are valid.
    bands
        In file order: ``name`` (may be empty), ``data_type``, ``nodata`` and, where set, ``unit``,
        ``raster:scale``, ``raster:offset`` (STAC 1.1 ``bands``).
    size
        In bytes.
    valid
        Share of pixels, 0 to 1, with a valid value in at least one band.
    rewritten
        False if the file is, bit for bit, the one that came.
    left_out
        A line for what the raster had and a COG does not keep.
    """

    path: Path
    crs: str
    bounds: Bounds
    shape: tuple[int, int]
    transform: tuple[float, float, float, float, float, float]
    dtype: str
    nodata: float | None
    bands: tuple[dict[str, Any], ...]
    size: int
    sha256: str
    valid: float
    rewritten: bool
    left_out: tuple[str, ...] = ()


def is_tiff(path: Path) -> bool:
    """Tell a TIFF by its first bytes, whatever its name."""
    if path.is_dir():
        return False
    with path.open("rb") as stream:
        return stream.read(4) in TIFF_MAGIC


def ensure_cog(source: Path, target: Path, *, expect: Tile | None) -> CogInfo:
    """Put a checked COG at ``target``.

    The file is read to its last block. With ``expect`` its CRS must be the tile's, its pixels must lie on
    the lattice that starts at the tile's corner, and it must cover the tile: what lies outside the tile is cut
    off. A strictly valid COG is moved as it is; anything else is rewritten by GDAL's COG driver with every
    pixel, band description, scale and offset kept. A floating-point raster without nodata gets NaN.

    Parameters
    ----------
    source
        A GeoTIFF; gone afterwards.
    target
        Written by rename.
    expect
        The tile that was asked for, or None where any place is right.

    Raises
    ------
    TileFailedError
        ``bad-output``: not a TIFF, not readable, rotated, in another CRS, off the lattice, smaller than the tile.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    if not is_tiff(source):
        raise bad_output(f"{source.name} is not a TIFF file")
    with rasterio.Env(**GDAL_OPTIONS), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(source, driver="GTiff") as dataset:
                left_out = check_header(dataset)
                seen = None if left_out else _seen(dataset, expect)
            if seen is None:
                keep_horizontal(source)
                with rasterio.open(source, driver="GTiff") as dataset:
                    seen = _seen(dataset, expect)
        except RasterioError as error:
            raise bad_output(f"{source.name} cannot be read to the last block: {error}") from error
        valid, plan, facts = seen
        rewrite = plan is not None or not is_cog(source)
        if rewrite:
            _write_cog(source, target, plan)
            with rasterio.open(target, driver="GTiff") as dataset:
                facts = _facts(dataset, expect)
        else:
            move(source, target)
        size, checksum = target.stat().st_size, sha256_file(target)
        return CogInfo(
            path=target, size=size, sha256=checksum, valid=valid, rewritten=rewrite, left_out=left_out, **facts
        )


def _seen(dataset: DatasetReader, expect: Tile | None) -> tuple[float, _Rewrite | None, dict[str, Any]]:
    """Return the share of valid pixels, what must change, and what a CogInfo says of the raster if nothing must."""
    window = _window(dataset, expect)
    valid = _valid_share(dataset, window)
    plan = _Rewrite.of(dataset, window)
    return valid, plan, _facts(dataset, expect) if plan is None else {}


def _same_crs(first: Any, second: Any) -> bool:
    import pyproj

    return bool(first == second) or pyproj.CRS(first).equals(pyproj.CRS(second), ignore_axis_order=True)


def _window(dataset: DatasetReader, expect: Tile | None) -> Window:
    """Return the part of the raster that is the tile; raise if it is not there."""
    from rasterio.crs import CRS
    from rasterio.windows import Window

    name, transform = Path(dataset.name).name, dataset.transform
    if dataset.crs is None:
        raise bad_output(f"{name} has no CRS")
    if transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
        raise bad_output(f"{name} is rotated or not north-up: transform {tuple(transform)[:6]}")
    whole = Window(0, 0, dataset.width, dataset.height)
    if expect is None:
        return whole
    where = f"{name} has bounds {_text(dataset.bounds)} in {_crs_text(dataset.crs)}, "
    where += f"tile {expect.id} has {_text(expect.bounds)} in {expect.crs}"
    if not _same_crs(dataset.crs, CRS.from_user_input(expect.crs)):
        raise bad_output(f"another CRS than the tile's: {where}{HINT}")
    bounds = expect.bounds
    edges = (
        (bounds.west - transform.c) / transform.a,
        (bounds.north - transform.f) / transform.e,
        (bounds.east - transform.c) / transform.a,
        (bounds.south - transform.f) / transform.e,
    )
    left, top, right, bottom = (round(edge) for edge in edges)
    if any(abs(edge - round(edge)) > PIXEL_TOLERANCE for edge in edges):
        raise bad_output(f"pixels of {transform.a:g} x {-transform.e:g} are not on the tile's lattice: {where}{HINT}")
    if left < 0 or top < 0 or right > dataset.width or bottom > dataset.height:
        raise bad_output(f"does not cover the tile: {where}")
    return Window(left, top, right - left, bottom - top)


def _text(bounds: tuple[float, float, float, float]) -> str:
    return "(" + ", ".join(f"{value:.10g}" for value in bounds) + ")"


def _crs_text(crs: Any) -> str:
    """``EPSG:<n>``, or WKT2."""
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_wkt(version="WKT2_2019"))


def _chunks(dataset: DatasetReader, window: Window) -> Iterator[Window]:
    """Cut a window into bands of whole block rows, of bounded size in memory."""
    from rasterio.windows import Window

    block = dataset.block_shapes[0][0]
    rows = max(1, CHUNK_SAMPLES // (dataset.count * window.width))
    rows = max(block, rows // block * block)
    start, stop = window.row_off, window.row_off + window.height
    while start < stop:
        end = min(stop, (start // block) * block + rows)  # on block borders, so that no block is read twice
        yield Window(window.col_off, start, window.width, end - start)
        start = end


def _valid_share(dataset: DatasetReader, window: Window) -> float:
    import numpy as np
    from rasterio.enums import ColorInterp

    count, heeded = 0, dataset.nodata is None or exact_nodata(dataset) is not None
    # a band of opacity says what is valid; it is always valid itself
    bands = [i for i, meaning in enumerate(dataset.colorinterp, 1) if meaning != ColorInterp.alpha]
    for chunk in _chunks(dataset, window):
        values = dataset.read(bands or None, window=chunk, masked=heeded)
        valid = ~np.ma.getmaskarray(values)
        if np.issubdtype(values.dtype, np.inexact):
            valid &= ~np.isnan(np.ma.getdata(values))
        count += int(valid.any(axis=0).sum())
    return float(count / (window.width * window.height))


def is_cog(path: Path) -> bool:
    """Tell whether a file is a strictly valid cloud-optimised GeoTIFF."""
    from rio_cogeo.cogeo import cog_validate

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        valid, faults, doubts = cog_validate(path, strict=True, quiet=True)
    return bool(valid) or not [fault for fault in (*faults, *doubts) if not _tiled_all_the_same(path, fault)]


def _tiled_all_the_same(path: Path, fault: str) -> bool:
    """Whether rio-cogeo takes an image or an overview for strips only because it is exactly one block wide."""
    import rasterio

    found = re.fullmatch(r"Overview of index (\d+) is not tiled|The file is greater than .* but is not tiled", fault)
    if found is None:
        return False
    level = {} if found[1] is None else {"overview_level": int(found[1])}
    with rasterio.open(path, driver="GTiff", **level) as image:
        return all(height == width for height, width in image.block_shapes)


@dataclass(frozen=True, slots=True)
class _Rewrite:
    """What must change besides the layout of the file."""

    window: Window
    nodata: float | int | None

    @classmethod
    def of(cls, dataset: DatasetReader, window: Window) -> _Rewrite | None:
        crop = (window.width, window.height) != (dataset.width, dataset.height)
        name_nodata = dataset.nodata is None and dataset.dtypes[0].startswith("float")
        name_nodata &= "alpha" not in {meaning.name for meaning in dataset.colorinterp}
        nodata = math.nan if name_nodata else exact_nodata(dataset)
        # GDAL rounds what no value can be equal to, and would take 0 for 0.5
        void = nodata is None and dataset.nodata is not None
        twice = has_mask(dataset) and nodata is not None  # one way to say it: readers heed the one or the other
        return cls(window, nodata) if crop or name_nodata or twice or void else None


@contextmanager
def _staged(source: Path, plan: _Rewrite | None, beside: Path) -> Iterator[Path]:
    """Yield a file with the pixels and facts the COG is to have: ``source`` itself, or a cropped copy."""
    if plan is None:
        yield source
        return
    import rasterio
    from rasterio.windows import Window

    staged, view = beside.with_suffix(".staged.tif"), beside.with_suffix(".staged.vrt")
    try:
        with rasterio.open(source, driver="GTiff") as src:
            wide = src.dtypes[0] in WIDE
            profile = {
                "driver": "GTiff",
                "width": plan.window.width,
                "height": plan.window.height,
                "count": src.count,
                "dtype": src.dtypes[0],
                "crs": src.crs,
                "transform": _shifted(src.transform, plan.window),
                "nodata": None if wide else plan.nodata,
                "tiled": True,
                "blockxsize": BLOCK,
                "blockysize": BLOCK,
                "bigtiff": "IF_SAFER",
            }
            with rasterio.open(staged, "w", **profile) as dst:
                copy_facts(src, dst)
                masked = has_mask(src)
                for chunk in _chunks(src, plan.window):
                    here = Window(0, chunk.row_off - plan.window.row_off, chunk.width, chunk.height)
                    values = src.read(window=chunk)
                    if masked and plan.nodata is not None:
                        values[:, src.dataset_mask(window=chunk) == 0] = plan.nodata
                    dst.write(values, window=here)
                    if masked and plan.nodata is None:
                        dst.write_mask(src.dataset_mask(window=chunk), window=here)
        yield _with_nodata(staged, plan.nodata, view) if wide and plan.nodata is not None else staged
    finally:
        staged.unlink(missing_ok=True)
        view.unlink(missing_ok=True)


def _with_nodata(path: Path, nodata: float | int, view: Path) -> Path:
    """Write a VRT of a raster that declares a nodata value, which rasterio does not write as it is; return it."""
    from rasterio.shutil import copy

    copy(path, view, driver="VRT")
    text = re.sub(r"(<VRTRasterBand [^>]*>)", rf"\1<NoDataValue>{nodata}</NoDataValue>", view.read_text("utf-8"))
    view.write_text(text, "utf-8")
    return view


def _shifted(transform: Any, window: Window) -> Any:
    """Return the transform of a window; rasterio's own function warns of affine 3."""
    column, row = window.col_off * transform.a, window.row_off * transform.e
    return type(transform)(transform.a, 0, transform.c + column, 0, transform.e, transform.f + row)


def _write_cog(source: Path, target: Path, plan: _Rewrite | None) -> None:
    import rasterio
    from rasterio.errors import RasterioError
    from rasterio.shutil import copy

    with written_whole(target) as temporary, _staged(source, plan, temporary) as staged:
        with rasterio.open(staged) as dataset:
            try:
                copy(dataset, temporary, driver="COG", BIGTIFF="IF_SAFER", **cog_options(dataset))
            except RasterioError as error:
                raise bad_output(f"{source.name} cannot be written as a COG: {error}") from error
        if not is_cog(temporary):
            raise bad_output(f"{source.name} could not be made a valid COG")
    source.unlink()


def cog_options(dataset: Any) -> dict[str, Any]:
    """Return what GDAL's COG driver is asked for, by the type of the values."""
    dtype = dataset.dtypes[0]
    return {
        "BLOCKSIZE": BLOCK,
        "COMPRESS": "DEFLATE",
        "PREDICTOR": "NO" if dtype.startswith("complex") else "YES",  # 2 or 3 by data type
        "OVERVIEWS": "AUTO",
        # an integer may be a class: the mean of two classes is a third one
        "OVERVIEW_RESAMPLING": "AVERAGE" if dtype.startswith("float") else "NEAREST",
    }


def _facts(dataset: DatasetReader, expect: Tile | None) -> dict[str, Any]:
    """Return what a CogInfo says of the raster itself."""
    transform = dataset.transform
    return {
        "crs": _crs_text(dataset.crs),
        "bounds": expect.bounds if expect else Bounds(*dataset.bounds),
        "shape": (dataset.height, dataset.width),
        "transform": (transform.a, transform.b, transform.c, transform.d, transform.e, transform.f),
        "dtype": dataset.dtypes[0],
        "nodata": exact_nodata(dataset),
        "bands": bands_of(dataset),
    }
