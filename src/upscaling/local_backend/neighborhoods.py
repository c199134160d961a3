"""Processes that look at a cube piece by piece: windows with a margin, and the pixels of polygons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from upscaling.local_backend.cube_processes import call, require, rewrap
from upscaling.local_backend.errors import ProcessError
from upscaling.local_backend.spatial import inside_of, outlines_of

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

__all__ = ["PROCESSES", "apply_windows"]

Process = Callable[..., Any]


def apply_windows(
    data: xr.DataArray, process: Process, size: list[dict[str, Any]], overlap: Any = None, context: Any = None
) -> xr.DataArray:
    """Apply a process to windows of x and y, each with a margin that is cut off from the result.

    All windows are of one size with their margins; beyond the cube there is no data.

    Raises
    ------
    ProcessError
        ``FeatureUnsupported`` for sizes that are not in pixels, and for parts of other dimensions.
        ``ProcessFailed``: the process gave back another size than it was given.
    """
    import numpy as np

    for name in ("y", "x"):
        require(data, name)
    sizes, margins = _pixels(size), _pixels(overlap or [])
    leading = data.transpose(..., "y", "x")
    for name, value in sizes.items():
        if name not in {"x", "y"} and value not in (None, leading.sizes.get(name)):
            raise ProcessError("FeatureUnsupported", f"a window takes all labels of {name!r}, not {value} of them")
    height, width = (sizes.get(name) or leading.sizes[name] for name in ("y", "x"))
    up, left = margins.get("y") or 0, margins.get("x") or 0
    made = np.full(leading.shape, np.nan, np.result_type(leading.dtype, np.float32))
    for top in range(0, leading.sizes["y"], height):
        for west in range(0, leading.sizes["x"], width):
            window = _window(leading, (top - up, height + 2 * up), (west - left, width + 2 * left))
            found = _same_size(call(process, labelled=window, data=window.values, context=context), window)
            inner = found[..., up : up + height, left : left + width]
            target = made[..., top : top + height, west : west + width]
            target[...] = inner[..., : target.shape[-2], : target.shape[-1]]
    return rewrap(leading, made, leading.dims).transpose(*data.dims)


def _pixels(parts: list[dict[str, Any]]) -> dict[str, int | None]:
    """Return dimension -> pixels of the parts of ``size`` or ``overlap``; None for all."""
    found: dict[str, int | None] = {}
    for part in parts:
        value = part.get("value")
        if value is not None and (part.get("unit") not in (None, "px") or not isinstance(value, int) or value < 0):
            raise ProcessError("FeatureUnsupported", f"{part['dimension']}: only whole numbers of pixels are supported")
        found[part["dimension"]] = value
    return found


def _window(leading: xr.DataArray, rows: tuple[int, int], columns: tuple[int, int]) -> xr.DataArray:
    """Return a part of a cube, by first pixel and size; what lies beyond the cube is no data, with its coordinates."""
    import numpy as np
    import xarray as xr

    place, labels = {}, {}
    for name, (first, count) in (("y", rows), ("x", columns)):
        known = leading[name].values
        step = known[1] - known[0] if len(known) > 1 else 1.0
        labels[name] = known[0] + step * np.arange(first, first + count)
        place[name] = (max(first, 0), min(first + count, len(known)))
    values = np.full((*leading.shape[:-2], rows[1], columns[1]), np.nan, np.result_type(leading.dtype, np.float32))
    (top, bottom), (west, east) = place["y"], place["x"]
    values[..., top - rows[0] : bottom - rows[0], west - columns[0] : east - columns[0]] = leading.values[
        ..., top:bottom, west:east
    ]
    coords = {name: leading.coords[name] for name in leading.coords if not {"x", "y"} & set(leading.coords[name].dims)}
    return xr.DataArray(values, {**coords, **labels}, leading.dims, attrs=leading.attrs)


def _same_size(found: Any, window: xr.DataArray) -> np.ndarray:
    import numpy as np

    values = np.asarray(found)
    if values.shape != window.shape:
        raise ProcessError("ProcessFailed", f"the process returned the shape {values.shape} for {window.shape}")
    return values


def apply_polygon(
    data: xr.DataArray,
    process: Process,
    *,
    polygons: Any = None,
    geometries: Any = None,
    mask_value: float | None = None,
    context: Any = None,
) -> xr.DataArray:
    """Apply a process to the pixels of each polygon; pixels of none have ``mask_value``, no data by default.

    Raises
    ------
    ProcessError
        ``GeometriesOverlap``: a pixel's centre lies in two polygons.
    """
    import numpy as np

    given = geometries if polygons is None else polygons
    if given is None:
        raise ProcessError("ProcessParameterRequired", "needs 'geometries'")
    leading = data.transpose(..., "y", "x")
    fill = np.nan if mask_value is None else mask_value
    made = np.full(leading.shape, fill, np.result_type(leading.dtype, np.float32))
    for inside, rows, columns in _parts(leading, given):
        chunk = leading.isel(y=rows, x=columns)
        chunk = chunk.copy(data=np.where(inside[rows, columns], chunk.values, fill))
        found = _same_size(call(process, labelled=chunk, data=chunk.values, x=chunk.values, context=context), chunk)
        made[..., rows, columns] = np.where(inside[rows, columns], found, made[..., rows, columns])
    return rewrap(leading, made, leading.dims).transpose(*data.dims)


def _parts(leading: xr.DataArray, geometries: Any) -> Iterator[tuple[np.ndarray, slice, slice]]:
    """Yield, for each polygon with pixels, which these are, and their rows and columns."""
    import numpy as np

    taken = np.zeros((leading.sizes["y"], leading.sizes["x"]), bool)
    for outline in outlines_of(geometries, leading):
        inside = inside_of(outline, leading)
        if (inside & taken).any():
            raise ProcessError("GeometriesOverlap", "a pixel lies in two of the polygons")
        taken |= inside
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        if len(rows):
            yield inside, slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def chunk_polygon(
    data: xr.DataArray, chunks: Any, process: Process, mask_value: float | None = None, context: Any = None
) -> xr.DataArray:
    """Apply a process to the pixels of each polygon: the older name of ``apply_polygon``."""
    return apply_polygon(data, process, polygons=chunks, mask_value=mask_value, context=context)


PROCESSES: dict[str, Process] = {"apply_polygon": apply_polygon, "chunk_polygon": chunk_polygon}
