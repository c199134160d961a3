"""Processes over whole cubes that run a callback, or that openeo-processes-dask lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from upscaling.local_backend.arrays import stacked
from upscaling.local_backend.cubes import ProcessError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["PROCESSES"]


def _call(process: Callable[..., Any], labels: Any = None, **named: Any) -> Any:
    return process(named_parameters=named, axis=0, keepdims=False, dim_labels=labels)


def _require(data: xr.DataArray, dimension: str) -> None:
    if dimension not in data.dims:
        raise ProcessError(
            "DimensionNotAvailable", f"the cube has no dimension {dimension!r}, only {', '.join(map(str, data.dims))}"
        )


def _leading(data: xr.DataArray, dimension: str) -> Any:
    return data.transpose(dimension, ...).values


def _like(data: xr.DataArray, values: Any, dims: tuple[Any, ...], **labels: Any) -> xr.DataArray:
    """Wrap values with the coordinates of ``data``, less those of dimensions that are gone or relabelled."""
    import numpy as np
    import xarray as xr

    shape = tuple(len(labels[d]) if d in labels else data.sizes[d] for d in dims)
    coords = {k: v for k, v in data.coords.items() if set(v.dims) <= set(dims) - set(labels)}
    return xr.DataArray(
        np.broadcast_to(np.asarray(values), shape),
        coords | {k: list(v) for k, v in labels.items()},
        dims,
        attrs=data.attrs,
    )


def reduce_dimension(
    data: xr.DataArray, reducer: Callable[..., Any], dimension: str, context: Any = None
) -> xr.DataArray:
    """Reduce one dimension away."""
    _require(data, dimension)
    values = _call(reducer, data[dimension].values, data=_leading(data, dimension), context=context)
    rest = tuple(d for d in data.dims if d != dimension)
    return _like(data, values, rest)


def apply(data: xr.DataArray, process: Callable[..., Any], context: Any = None) -> xr.DataArray:
    """Apply a process to every pixel."""
    return _like(data, _call(process, x=data.values, context=context), data.dims)


PROCESSES: dict[str, Callable[..., Any]] = {
    "apply": apply,
    "reduce_dimension": reduce_dimension,
}
_ = stacked
