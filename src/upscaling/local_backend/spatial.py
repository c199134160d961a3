"""Processes over space: filters and masks, statistics over polygons, and back to pixels."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from upscaling.local_backend.cube_processes import call, require, rewrap
from upscaling.local_backend.cubes import spatial_bounds
from upscaling.local_backend.errors import ProcessError
from upscaling.local_backend.save import transform_of

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

__all__ = ["PROCESSES", "inside_of", "outlines_of"]

log = logging.getLogger(__name__)

Process = Callable[..., Any]


def filter_bbox(data: xr.DataArray, extent: dict[str, Any]) -> xr.DataArray:
    """Keep the pixels whose centres lie in a bounding box."""
    bounds, _ = spatial_bounds(extent, _crs(data))
    x, y = data["x"].values, data["y"].values
    return _clipped(data, (x >= bounds.west) & (x <= bounds.east), (y >= bounds.south) & (y <= bounds.north))


def filter_spatial(data: xr.DataArray, geometries: Any) -> xr.DataArray:
    """Cut the cube to the geometries' bounds; pixels whose centres lie outside are no-data."""
    import numpy as np

    outlines = outlines_of(geometries, data)
    inside = np.any([inside_of(outline, data) for outline in outlines], axis=0)
    masked = rewrap(
        data, np.where(inside, data.transpose(..., "y", "x").values, np.nan), data.transpose(..., "y", "x").dims
    )
    return _clipped(masked, inside.any(axis=0), inside.any(axis=1))


def mask_polygon(data: xr.DataArray, mask: Any, replacement: float | None = None, inside: bool = False) -> xr.DataArray:
    """Replace the pixels outside (``inside``: within) polygons."""
    import numpy as np

    within = np.any([inside_of(outline, data) for outline in outlines_of(mask, data)], axis=0)
    leading = data.transpose(..., "y", "x")
    kept = ~within if inside else within
    return rewrap(leading, np.where(kept, leading.values, _number(replacement)), leading.dims).transpose(*data.dims)


def mask(data: xr.DataArray, mask: xr.DataArray, replacement: float | None = None) -> xr.DataArray:
    """Replace pixels where the mask is neither zero nor no-data.

    A mask without bands, or with one, applies to all bands; another pixel lattice is brought to that of the data
    (nearest neighbour).
    """
    import numpy as np
    import xarray as xr

    single = [
        d for d in mask.dims if mask.sizes[d] == 1 and (d not in data.dims or mask[d].values[0] not in data[d].values)
    ]
    mask = mask.squeeze(single, drop=True)
    if extra := [d for d in mask.dims if d not in data.dims]:
        raise ProcessError("DimensionMismatch", f"the mask has dimension {extra[0]!r}, which the data has not")
    if not all(np.array_equal(mask[d].values, data[d].values) for d in ("y", "x") if d in mask.dims):
        mask = resample_cube_spatial(mask, data)
    for d in mask.dims:
        if d not in {"x", "y"} and not np.array_equal(mask[d].values, data[d].values):
            raise ProcessError("LabelMismatch", f"labels of {d!r} differ between data and mask")
    hit = xr.DataArray((mask.values != 0) & ~_isnan(mask.values), dims=mask.dims).broadcast_like(
        xr.DataArray(np.empty(data.shape, bool), dims=data.dims)
    )
    values = np.where(hit.transpose(*data.dims).values, _number(replacement), data.values)
    return rewrap(data, values, data.dims)


def resample_cube_spatial(data: xr.DataArray, target: xr.DataArray, method: str = "near") -> xr.DataArray:
    """Bring a cube to the pixel lattice of another."""
    crs, transform = _crs(target), transform_of(target)
    return _warped(data, crs, transform, (target.sizes["y"], target.sizes["x"]), method)


def resample_spatial(
    data: xr.DataArray, resolution: Any = 0, projection: Any = None, method: str = "near", align: str = "upper-left"
) -> xr.DataArray:
    """Bring a cube to another resolution or CRS, from its upper left corner on."""
    import math

    from affine import Affine
    from rasterio.warp import calculate_default_transform

    if align != "upper-left":
        raise ProcessError("FeatureUnsupported", f"align {align!r} is not supported, only upper-left")
    transform, crs = transform_of(data), _crs(data)
    height, width = data.sizes["y"], data.sizes["x"]
    steps = list(resolution) if isinstance(resolution, list | tuple) else [resolution, resolution]
    if projection is None or _same(crs, projection):
        steps = [steps[0] or transform.a, steps[1] or -transform.e]
        corner = Affine(steps[0], 0.0, transform.c, 0.0, -steps[1], transform.f)
        size = [
            math.ceil(round(n * a / s, 6))
            for n, a, s in zip((width, height), (transform.a, -transform.e), steps, strict=True)
        ]
        wanted = crs
    else:
        wanted = f"EPSG:{projection}" if isinstance(projection, int) else str(projection)
        edges = (transform.c, transform.f + transform.e * height, transform.c + transform.a * width, transform.f)
        corner, *size = calculate_default_transform(
            crs, wanted, width, height, *edges, resolution=steps if steps[0] else None
        )
    return _warped(data, wanted, corner, (size[1], size[0]), method)


def _same(crs: str, other: Any) -> bool:
    from pyproj import CRS

    return bool(CRS.from_user_input(crs) == CRS.from_user_input(other))


def _warped(data: xr.DataArray, crs: str, transform: Any, shape: tuple[int, int], method: str) -> xr.DataArray:
    import numpy as np
    from rasterio.enums import Resampling
    from rasterio.warp import reproject

    names = {"near": "nearest", "cubicspline": "cubic_spline", "med": "med"}
    try:
        how = Resampling[names.get(method, method)]
    except KeyError as error:
        raise ProcessError("ProcessParameterInvalid", f"there is no resampling method {method!r}") from error
    leading = data.transpose(..., "y", "x")
    source = leading.values.reshape(-1, *leading.shape[-2:])
    source = source.astype(np.result_type(source.dtype, np.float32), copy=False)
    values = np.full((len(source), *shape), np.nan, source.dtype)
    for before, after in zip(source, values, strict=True):
        reproject(
            before,
            after,
            src_transform=transform_of(data),
            src_crs=_crs(data),
            src_nodata=np.nan,
            dst_transform=transform,
            dst_crs=crs,
            dst_nodata=np.nan,
            resampling=how,
        )
    shaped = values.reshape(*leading.shape[:-2], *shape)
    y = transform.f + transform.e * (np.arange(shape[0]) + 0.5)
    x = transform.c + transform.a * (np.arange(shape[1]) + 0.5)
    cube = rewrap(leading.drop_vars("spatial_ref", errors="ignore"), shaped, leading.dims, y=y, x=x)
    located: xr.DataArray = cube.rio.write_crs(crs).rio.write_transform(transform).transpose(*data.dims)
    return located


def aggregate_spatial(
    data: xr.DataArray, geometries: Any, reducer: Process, target_dimension: str | None = None, context: Any = None
) -> xr.DataArray:
    """Reduce the pixels of each geometry; the result has a dimension ``geometry`` instead of y and x.

    A pixel belongs to a geometry if its centre does; a geometry without a pixel centre takes all that it touches.
    """
    import numpy as np

    del target_dimension
    outlines = outlines_of(geometries, data)
    leading = data.transpose("y", "x", ...)
    results = []
    for outline in outlines:
        inside = inside_of(outline, data)
        if not inside.any():
            inside = inside_of(outline, data, touched=True)
        values = leading.values[inside] if inside.any() else np.full((1, *leading.shape[2:]), np.nan, leading.dtype)
        results.append(np.broadcast_to(call(reducer, data=values, context=context), leading.shape[2:]))
    labels = np.empty(len(outlines), object)
    labels[:] = outlines
    cube = rewrap(data, np.stack(results), ("geometry", *leading.dims[2:]), geometry=labels)
    return cube.transpose(*leading.dims[2:], "geometry")


def vector_to_raster(data: xr.DataArray, target: xr.DataArray) -> xr.DataArray:
    """Give every pixel of the target's lattice the values of the geometry that it lies in."""
    import numpy as np

    require(data, "geometry")
    leading = data.transpose("geometry", ...)
    shape = (target.sizes["y"], target.sizes["x"])
    values = np.full((*leading.shape[1:], *shape), np.nan, np.result_type(data.dtype, np.float32))
    for outline, content in zip(data["geometry"].values, leading.values, strict=True):
        np.copyto(values, content[..., np.newaxis, np.newaxis], where=inside_of(outline, target))
    like = target.isel({d: 0 for d in target.dims if d not in {"y", "x"}}, drop=True)
    labels = {str(d): leading[d].values for d in leading.dims[1:]}
    return rewrap(like, values, (*leading.dims[1:], "y", "x"), **labels)


def sar_backscatter(data: xr.DataArray, coefficient: str = "gamma0-terrain", **_: Any) -> xr.DataArray:
    """Return the data as they are: local files hold calibrated backscatter already, and the log says so."""
    log.warning("sar_backscatter: files are taken as %s already; nothing is computed", coefficient)
    return data


def _crs(data: xr.DataArray) -> str:
    for dimension in ("y", "x"):
        require(data, dimension)
    crs = data.rio.crs
    if crs is None:
        raise ProcessError("DimensionNotAvailable", "the cube has lost its CRS")
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_wkt())


def _clipped(data: xr.DataArray, columns: np.ndarray, rows: np.ndarray) -> xr.DataArray:
    import numpy as np

    if not columns.any() or not rows.any():
        raise ProcessError("NoDataAvailable", "no pixel of the cube lies in the extent")
    x, y = np.flatnonzero(columns), np.flatnonzero(rows)
    cut = data.isel(x=slice(x[0], x[-1] + 1), y=slice(y[0], y[-1] + 1))
    t = transform_of(data)
    located: xr.DataArray = cut.rio.write_transform(t @ t.translation(x[0], y[0]))
    return located


def outlines_of(value: Any, data: xr.DataArray) -> list[Any]:
    """Return the geometries of GeoJSON, or of a vector cube, in the CRS of ``data``."""
    import xarray as xr

    crs = _crs(data)
    if isinstance(value, xr.DataArray):
        require(value, "geometry")
        return list(value["geometry"].values)
    if not isinstance(value, dict):
        raise ProcessError("GeometryInvalid", f"geometries must be GeoJSON, got {type(value).__name__}")
    parts = value["features"] if "features" in value else value.get("geometries", [value])
    return [spatial_bounds({**part, "crs": value.get("crs")}, crs)[1].geoms[0] for part in parts]


def inside_of(outline: Any, data: xr.DataArray, *, touched: bool = False) -> np.ndarray:
    """Tell which pixels of a cube have their centre in an outline, or are touched by it."""
    from rasterio.features import geometry_mask

    shape = (data.sizes["y"], data.sizes["x"])
    found: np.ndarray = geometry_mask([outline], shape, transform_of(data), invert=True, all_touched=touched)
    return found


def _isnan(values: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


PROCESSES: dict[str, Process] = {
    "aggregate_spatial": aggregate_spatial,
    "filter_bbox": filter_bbox,
    "filter_spatial": filter_spatial,
    "mask": mask,
    "mask_polygon": mask_polygon,
    "resample_cube_spatial": resample_cube_spatial,
    "resample_spatial": resample_spatial,
    "sar_backscatter": sar_backscatter,
    "vector_to_raster": vector_to_raster,
}
