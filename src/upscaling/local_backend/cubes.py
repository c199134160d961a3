"""Read scenes into a data cube: dimensions t, bands, y, x on the collection's own pixel lattice."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from upscaling.local_backend.data import BandFile, Collection, Raster, Scene
from upscaling.local_backend.errors import ProcessError
from upscaling.model import Bounds

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

__all__ = ["load_cube", "spatial_bounds", "temporal_bounds"]

log = logging.getLogger(__name__)

# One cube must fit into memory with room for what is computed from it.
MAX_CUBE_BYTES = 8 * 2**30


def load_cube(
    collection: Collection,
    *,
    spatial_extent: Any = None,
    temporal_extent: Any = None,
    bands: Sequence[str] | None = None,
    properties: dict[str, Callable[[Any], bool]] | None = None,
    allow_empty: bool = False,
    used: list[Scene] | None = None,
) -> xr.DataArray:
    """Load what ``load_collection`` asks for.

    Parameters
    ----------
    spatial_extent
        Bounding box (``west``, ``south``, ``east``, ``north``, ``crs``; EPSG:4326 by default), GeoJSON, or None: all.
        A box in the collection's CRS is snapped outward to its pixel lattice and covered whole; a box in another
        CRS is reprojected with densified edges first.
    temporal_extent
        Half-open interval of RFC 3339 dates or date-times; either end may be None.
    bands
        Names in the order wanted; None for all.
    properties
        STAC property name to predicate; a scene that lacks the property is kept.
    allow_empty
        Return a cube of no-data instead of raising where there is nothing.
    used
        Gets the scenes that were read, for ``derived_from`` links and the results' time.

    Returns
    -------
    xarray.DataArray
        Dimensions ``t``, ``bands``, ``y`` (north to south), ``x``; float32 (float64 where the files need it) with NaN
        for no-data; values bit-identical to the files where these lie on the cube's lattice, else nearest neighbour.

    Raises
    ------
    ProcessError
        ``NoDataAvailable``, ``BandNotFound``, ``SpatialExtentInvalid``, ``TemporalExtentInvalid``, ``CubeTooLarge``.
    """
    import numpy as np

    names = list(bands) if bands else collection.bands
    if unknown := [name for name in names if name not in collection.bands]:
        known = ", ".join(collection.bands)
        raise ProcessError("BandNotFound", f"{collection.id} has no band {', '.join(unknown)}; it has {known}")
    start, end = temporal_bounds(temporal_extent)
    scenes = [s for s in collection.scenes if (not start or s.datetime >= start) and (not end or s.datetime < end)]
    scenes = _filtered(scenes, properties or {})
    lattice, outline = _target(collection, spatial_extent)
    scenes = [s for s in scenes if any(n in s.bands for n in names) and _overlaps(s.raster, lattice)]
    if not scenes and not allow_empty:
        raise ProcessError(
            "NoDataAvailable",
            f"{collection.id} has no data for spatial extent {spatial_extent} and temporal extent {temporal_extent}",
        )
    times = sorted({s.datetime for s in scenes}) or [start or datetime(1970, 1, 1, tzinfo=UTC)]
    kinds = [s.bands[n].dtype for s in (scenes or collection.scenes) for n in names if n in s.bands]
    dtype = np.result_type(np.float32, *kinds)
    shape = (len(times), len(names), lattice.height, lattice.width)
    if (size := math.prod(shape) * dtype.itemsize) > MAX_CUBE_BYTES:
        raise ProcessError(
            "CubeTooLarge", f"a cube of {shape} (t, bands, y, x) needs {size / 2**30:.1f} GiB: use smaller tiles"
        )
    values = np.full(shape, np.nan, dtype)
    for scene in scenes:
        for number, name in enumerate(names):
            if name in scene.bands:
                _mosaic(values[times.index(scene.datetime), number], scene.bands[name], lattice)
    if outline is not None:
        values[..., _outside(outline, lattice)] = np.nan
    if not allow_empty and np.isnan(values).all():
        raise ProcessError(
            "NoDataAvailable", f"all pixels of {collection.id} in spatial extent {spatial_extent} are no-data"
        )
    if used is not None:
        used += scenes
    log.info("loaded %s: %d scenes, %s (t, bands, y, x) in %s", collection.id, len(scenes), shape, lattice.crs)
    return _labelled(values, times, names, lattice)


def temporal_bounds(extent: Any) -> tuple[datetime | None, datetime | None]:
    """Parse a half-open temporal interval; either end, or all of it, may be None."""
    if extent is None:
        return None, None
    if not isinstance(extent, list | tuple) or len(extent) != 2:
        raise ProcessError("TemporalExtentInvalid", f"temporal extent must be [start, end], got {extent!r}")
    start, end = (_instant(value) for value in extent)
    if start and end and start >= end:
        raise ProcessError(
            "TemporalExtentEmpty", f"temporal extent {extent!r} ends before it starts (the end is excluded)"
        )
    return start, end


def _instant(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError as error:
        raise ProcessError("TemporalExtentInvalid", f"{value!r} is not an RFC 3339 date or date-time") from error
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def spatial_bounds(extent: Any, crs: str) -> tuple[Bounds, Any]:
    """Return a spatial extent's bounds in ``crs``, and its outline as a shapely geometry where it is GeoJSON."""
    from pyproj import CRS, Transformer
    from pyproj.exceptions import CRSError
    from shapely.errors import ShapelyError
    from shapely.geometry import GeometryCollection, shape
    from shapely.ops import transform

    if not isinstance(extent, dict):
        raise ProcessError("SpatialExtentInvalid", f"spatial extent must be an object, got {extent!r}")
    is_box = all(key in extent for key in ("west", "south", "east", "north"))
    reference = extent.get("crs")
    if isinstance(reference, dict):  # GeoJSON of before RFC 7946: {"type": "name", "properties": {"name": "EPSG:…"}}
        reference = reference.get("properties", {}).get("name")
    try:
        source = CRS.from_user_input(4326 if reference in (None, "") else reference)
        projection = Transformer.from_crs(source, CRS.from_user_input(crs), always_xy=True)
        if is_box:
            box = Bounds(*(float(extent[key]) for key in Bounds._fields))
            if not (box.west < box.east and box.south < box.north and all(map(math.isfinite, box))):
                raise ProcessError("SpatialExtentInvalid", f"spatial extent {extent!r} is empty")
            if source == CRS.from_user_input(crs):
                return box, None
            return Bounds(*projection.transform_bounds(*box, densify_pts=101)), None
        parts = (
            [f["geometry"] for f in extent["features"]] if "features" in extent else [extent.get("geometry", extent)]
        )
        outline = GeometryCollection([shape(part) for part in parts]).segmentize(_segment(source))
        outline = transform(projection.transform, outline)
        return Bounds(*outline.bounds), outline
    except (CRSError, ShapelyError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProcessError("SpatialExtentInvalid", f"spatial extent {extent!r} cannot be read: {error}") from error


def _segment(crs: Any) -> float:
    return 0.01 if crs.is_geographic else 1000.0  # about a kilometre


def _filtered(scenes: Iterable[Scene], properties: dict[str, Callable[[Any], bool]]) -> list[Scene]:
    kept = list(scenes)
    for name, accepts in properties.items():
        if missing := sum(name not in s.properties for s in kept):
            log.warning("filter on %s is ignored for %d scenes that do not have it", name, missing)
        kept = [s for s in kept if name not in s.properties or accepts(s.properties[name])]
    return kept


def _target(collection: Collection, extent: Any) -> tuple[Raster, Any]:
    """Choose the pixel lattice and cut it to the extent; it must not depend on time, or series would not align.

    The lattice is that of the collection's scenes in the extent's own CRS, else of the scenes that the extent touches.
    """
    candidates = list(collection.scenes)
    if extent is None:
        crs = candidates[0].raster.crs
        edges = [s.raster.bounds for s in candidates if s.raster.crs == crs]
        west, south, east, north = zip(*edges, strict=True)
        return _snapped(_finest(candidates, crs), Bounds(min(west), min(south), max(east), max(north))), None
    systems = {crs: spatial_bounds(extent, crs) for crs in dict.fromkeys(s.raster.crs for s in candidates)}
    own = [crs for crs in systems if "west" in extent and _same_crs(crs, extent.get("crs"))]
    touched = [s.raster.crs for s in candidates if _intersect(s.raster.bounds, systems[s.raster.crs][0])]
    crs = (own or touched or list(systems))[0]
    bounds, outline = systems[crs]
    return _snapped(_finest(candidates, crs), bounds), outline


def _finest(scenes: Iterable[Scene], crs: str) -> Raster:
    return min((s.raster for s in scenes if s.raster.crs == crs), key=lambda raster: abs(raster.transform.a))


def _same_crs(crs: str, wanted: Any) -> bool:
    from pyproj import CRS

    return bool(CRS.from_user_input(crs) == CRS.from_user_input(wanted or 4326))


def _snapped(base: Raster, bounds: Bounds) -> Raster:
    """Cut the lattice of ``base`` outward to ``bounds``; a millionth of a pixel is rounding, not extent."""
    from affine import Affine

    t = base.transform
    west = math.floor((bounds.west - t.c) / t.a + 1e-6)
    east = math.ceil((bounds.east - t.c) / t.a - 1e-6)
    top = math.floor((bounds.north - t.f) / t.e + 1e-6)
    bottom = math.ceil((bounds.south - t.f) / t.e - 1e-6)
    origin = Affine(t.a, 0.0, t.c + west * t.a, 0.0, t.e, t.f + top * t.e)
    return Raster(base.crs, origin, max(east - west, 1), max(bottom - top, 1))


def _overlaps(raster: Raster, lattice: Raster) -> bool:
    from pyproj import Transformer

    edges = lattice.bounds
    if raster.crs != lattice.crs:
        projection = Transformer.from_crs(lattice.crs, raster.crs, always_xy=True)
        edges = Bounds(*projection.transform_bounds(*edges, densify_pts=101))
    return _intersect(raster.bounds, edges)


def _intersect(a: Bounds, b: Bounds) -> bool:
    return a.west < b.east and b.west < a.east and a.south < b.north and b.south < a.north


def _mosaic(target: np.ndarray, band: BandFile, lattice: Raster) -> None:
    """Fill the pixels of ``target`` that are still NaN from one band of one file."""
    import numpy as np
    import rasterio
    from rasterio.vrt import WarpedVRT
    from rasterio.windows import Window

    if (place := _offset(band.raster, lattice)) is None:
        with (
            rasterio.open(band.path) as source,
            WarpedVRT(
                source,
                crs=lattice.crs,
                transform=lattice.transform,
                width=lattice.width,
                height=lattice.height,
                src_nodata=band.nodata,
                add_alpha=band.nodata is None,
            ) as warped,
        ):
            values = warped.read(band.number)
            valid = warped.read(warped.count) > 0 if band.nodata is None else _valid(values, band.nodata)
        view = target
    else:
        column, row = place
        left, right = max(column, 0), min(column + lattice.width, band.raster.width)
        top, bottom = max(row, 0), min(row + lattice.height, band.raster.height)
        if left >= right or top >= bottom:
            return
        with rasterio.open(band.path) as source:
            values = source.read(band.number, window=Window(left, top, right - left, bottom - top))
        valid = _valid(values, band.nodata)
        view = target[top - row : bottom - row, left - column : right - column]
    np.copyto(view, values, where=valid & np.isnan(view), casting="unsafe")


def _valid(values: np.ndarray, nodata: float | None) -> np.ndarray:
    import numpy as np

    if nodata is None or math.isnan(nodata):
        return np.asarray(~np.isnan(values))
    return np.asarray(values != nodata)


def _offset(raster: Raster, lattice: Raster) -> tuple[int, int] | None:
    """Column and row of the lattice's corner in the raster, or None where the two do not share a pixel lattice."""
    a, b = raster.transform, lattice.transform
    if raster.crs != lattice.crs or not (math.isclose(a.a, b.a, rel_tol=1e-9) and math.isclose(a.e, b.e, rel_tol=1e-9)):
        return None
    column, row = (b.c - a.c) / a.a, (b.f - a.f) / a.e
    if abs(column - round(column)) > 1e-4 or abs(row - round(row)) > 1e-4:
        return None
    return round(column), round(row)


def _outside(outline: Any, lattice: Raster) -> np.ndarray:
    """Mark the pixels whose centres are outside the outline, the rule of the openEO process."""
    from rasterio.features import geometry_mask

    shape = (lattice.height, lattice.width)
    found: np.ndarray = geometry_mask([outline], out_shape=shape, transform=lattice.transform)
    return found


def _labelled(values: np.ndarray, times: list[datetime], names: list[str], lattice: Raster) -> xr.DataArray:
    import numpy as np
    import rioxarray  # noqa: F401  (registers .rio)
    import xarray as xr

    t = lattice.transform
    cube = xr.DataArray(
        values,
        dims=("t", "bands", "y", "x"),
        coords={
            "t": np.array([time.replace(tzinfo=None) for time in times], "datetime64[ns]"),
            "bands": np.array(names, dtype=object).astype(str),
            "y": t.f + t.e * (np.arange(lattice.height) + 0.5),
            "x": t.c + t.a * (np.arange(lattice.width) + 0.5),
        },
    )
    located: xr.DataArray = cube.rio.write_crs(lattice.crs).rio.write_transform(t)
    return located
