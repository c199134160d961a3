"""Processes over whole cubes that run a callback over values, and the merging of cubes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from upscaling.local_backend.errors import ProcessError

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

__all__ = ["PROCESSES", "call", "replace_axis", "require", "rewrap"]

Process = Callable[..., Any]


def call(process: Process, labels: Any = None, labelled: Any = None, **named: Any) -> Any:
    """Run a callback: arrays lie along the first axis, whose labels are ``labels``; as a cube they are ``labelled``."""
    return process(named_parameters=named, axis=0, keepdims=False, dim_labels=labels, labelled=labelled)


def require(data: xr.DataArray, dimension: str) -> None:
    """Raise ``DimensionNotAvailable`` if the cube lacks the dimension."""
    if dimension not in data.dims:
        known = ", ".join(map(str, data.dims))
        raise ProcessError("DimensionNotAvailable", f"the cube has no dimension {dimension!r}, only {known}")


def rewrap(data: xr.DataArray, values: Any, dims: Sequence[Any], **labels: Any) -> xr.DataArray:
    """Wrap values with the coordinates of ``data``, except those of dimensions gone or given as ``labels``."""
    import numpy as np
    import xarray as xr

    shape = tuple(len(labels[d]) if d in labels else data.sizes[d] for d in dims)
    coords: dict[Any, Any] = {k: v for k, v in data.coords.items() if set(v.dims) <= set(dims) - set(labels)}
    coords |= {k: np.asarray(v) for k, v in labels.items()}
    return xr.DataArray(np.broadcast_to(np.asarray(values), shape), coords, list(dims), attrs=data.attrs)


def reduce_dimension(data: xr.DataArray, reducer: Process, dimension: str, context: Any = None) -> xr.DataArray:
    """Reduce one dimension away."""
    import numpy as np

    require(data, dimension)
    leading = data.transpose(dimension, ...)
    values = call(reducer, data[dimension].values, leading, data=leading.values, context=context)
    if np.ndim(values) == leading.ndim and len(values) == 1:  # a UDF that keeps the dimension, with one label
        values = values[0]
    return rewrap(data, values, leading.dims[1:])


def reduce_spatial(data: xr.DataArray, reducer: Process, context: Any = None) -> xr.DataArray:
    """Reduce x and y away."""
    for dimension in ("y", "x"):
        require(data, dimension)
    leading = data.transpose("y", "x", ...)
    values = leading.values.reshape(-1, *leading.shape[2:])
    return rewrap(data, call(reducer, data=values, context=context), leading.dims[2:])


def apply(data: xr.DataArray, process: Process, context: Any = None) -> xr.DataArray:
    """Apply a process to every pixel."""
    return rewrap(data, call(process, labelled=data, x=data.values, context=context), data.dims)


def replace_axis(values: np.ndarray, result: Any) -> np.ndarray:
    """Bring what a callback made of ``values`` into shape: new elements first, all other pixels as they were.

    A callback may return an array of pixels, one value per pixel, or an array of plain numbers.
    """
    import numpy as np

    found = np.asarray(result)
    rest = values.shape[1:]
    if found.ndim < values.ndim:
        is_array = found.ndim == 1 and found.shape != rest[-1:]
        found = found.reshape(-1, *([1] * len(rest))) if is_array else found[np.newaxis]
    return np.broadcast_to(found, (found.shape[0], *rest))


def apply_dimension(
    data: xr.DataArray, process: Process, dimension: str, target_dimension: str | None = None, context: Any = None
) -> xr.DataArray:
    """Apply a process to the values along one dimension; it may return more or fewer of them.

    Where ``target_dimension`` exists with several labels, results are flattened into it, all of its first label first:
    the specification forbids that, platforms do it, and catalogue graphs rely on it.
    """
    import numpy as np

    require(data, dimension)
    leading = data.transpose(dimension, ...)
    labels = data[dimension].values
    made = call(process, labels, leading, data=leading.values, context=context)
    values = replace_axis(leading.values, made)
    size = len(values)
    if hasattr(made, "coords") and dimension in made.coords:  # of a UDF, which names its labels
        labels = made[dimension].values
    if target_dimension in (None, dimension):
        kept = labels if size == len(labels) else range(size)
        return rewrap(leading, values, leading.dims, **{dimension: kept}).transpose(*data.dims)
    assert isinstance(target_dimension, str)  # noqa: S101 (for mypy)
    if target_dimension not in data.dims:
        dims = (target_dimension, *leading.dims[1:])
        order = [target_dimension if d == dimension else d for d in data.dims]
        return rewrap(leading, values, dims, **{target_dimension: range(size)}).transpose(*order)
    flat = np.moveaxis(values, (leading.dims.index(target_dimension), 0), (0, 1))
    rest = tuple(d for d in leading.dims[1:] if d != target_dimension)
    flat = flat.reshape(-1, *flat.shape[2:])
    order = [d for d in data.dims if d != dimension]
    return rewrap(data, flat, (target_dimension, *rest), **{target_dimension: range(len(flat))}).transpose(*order)


def merge_cubes(
    cube1: xr.DataArray, cube2: xr.DataArray, overlap_resolver: Process | None = None, context: Any = None
) -> xr.DataArray:
    """Join two cubes; where both have a pixel the resolver decides, and a dimension that one lacks is broadcast.

    Raises
    ------
    ProcessError
        ``OverlapResolverMissing``: pixels overlap and there is no resolver.
    """
    import numpy as np

    def resolve(x: Any, y: Any) -> Any:
        if overlap_resolver is None:
            raise ProcessError("OverlapResolverMissing", "the cubes overlap and there is no overlap_resolver")
        return call(overlap_resolver, x=x, y=y, context=context)

    wide, narrow = (cube1, cube2) if cube1.ndim >= cube2.ndim else (cube2, cube1)
    dims = [*wide.dims, *(d for d in narrow.dims if d not in wide.dims)]
    cube1, cube2 = (
        one.expand_dims({d: other[d].values for d in dims if d not in one.dims}).transpose(*dims)
        for one, other in ((cube1, cube2), (cube2, cube1))
    )
    labels = {d: _joined(str(d), cube1[d].values, cube2[d].values) for d in cube1.dims}
    places = [{d: [list(labels[d]).index(v) for v in c[d].values] for d in c.dims} for c in (cube1, cube2)]
    shape = [len(labels[d]) for d in cube1.dims]
    values = np.full(shape, np.nan, np.result_type(cube1.dtype, cube2.dtype, np.float32))
    values[np.ix_(*places[0].values())] = cube1.values
    shared = {d: np.intersect1d(places[0][d], places[1][d]) for d in cube1.dims}
    both = all(len(shared[d]) for d in cube1.dims)
    overlap = [c.sel({d: labels[d][shared[d]] for d in c.dims}).values for c in (cube1, cube2)] if both else []
    values[np.ix_(*places[1].values())] = cube2.values
    if both:
        resolved = np.asarray(resolve(*overlap))
        if all(len(shared[d]) == len(labels[d]) for d in cube1.dims):
            return rewrap(cube1, resolved, cube1.dims)
        values[np.ix_(*shared.values())] = resolved
    coords = {d: v for d, v in labels.items() if not np.array_equal(v, cube1[d].values)}
    return rewrap(cube1, values, cube1.dims, **{str(k): v for k, v in coords.items()})


def _joined(dimension: str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the labels of both: names in order of appearance, places and times sorted."""
    import numpy as np

    if dimension in {"x", "y"} and first.shape == second.shape and np.allclose(first, second, rtol=0, atol=1e-6):
        second = first
    merged = np.array(list(dict.fromkeys([*first, *second])), dtype=np.result_type(first, second))
    if dimension in {"x", "t"}:
        return np.sort(merged)
    return np.sort(merged)[::-1] if dimension == "y" else merged


def rename_labels(
    data: xr.DataArray, dimension: str, target: list[Any], source: list[Any] | None = None
) -> xr.DataArray:
    """Rename all labels in order, or those that ``source`` names."""
    import numpy as np

    require(data, dimension)
    known = list(data[dimension].values)
    if data[dimension].dtype.kind == "M":
        times = (_as_times(target), _as_times(source or []))
        target = target if times[0] is None else times[0]
        source = source if times[1] is None else times[1]
        if times[0] is None:  # texts in place of times
            known = [np.datetime_as_string(time, "s") + "Z" for time in known]
            source = [np.datetime_as_string(time, "s") + "Z" for time in times[1] or []] or source
    if source:
        if len(source) != len(target):
            raise ProcessError("LabelMismatch", f"{len(source)} source labels for {len(target)} new ones")
        if missing := [label for label in source if label not in known]:
            raise ProcessError("LabelNotAvailable", f"dimension {dimension!r} has no label {missing[0]!r}")
        renamed = dict(zip(source, target, strict=True))
        labels = [renamed.get(label, label) for label in known]
    else:
        if len(target) > len(known):
            raise ProcessError("LabelMismatch", f"{len(target)} new labels for the {len(known)} of {dimension!r}")
        labels = [*target, *known[len(target) :]]
    if len(set(labels)) < len(labels):
        raise ProcessError("LabelExists", f"labels of {dimension!r} would no longer be unique: {labels}")
    return rewrap(data, data.values, data.dims, **{dimension: labels})


def _as_times(labels: list[Any]) -> list[Any] | None:
    """Return labels as the times that a temporal dimension holds; None if one of them is no time."""
    import numpy as np

    try:
        return [np.datetime64(str(label).removesuffix("Z"), "ns") for label in labels]
    except ValueError:
        return None


def filter_labels(data: xr.DataArray, condition: Process, dimension: str, context: Any = None) -> xr.DataArray:
    """Keep the labels that the condition accepts."""
    from upscaling.local_backend.arrays import label_text

    require(data, dimension)
    kept = [
        n
        for n, label in enumerate(data[dimension].values)
        if call(condition, value=label_text(label), context=context) == 1
    ]
    return data.isel({dimension: kept})


def ndvi(data: xr.DataArray, nir: str = "nir", red: str = "red", target_band: str | None = None) -> xr.DataArray:
    """Compute (nir - red) / (nir + red), without a band dimension, or as a further band ``target_band``."""
    require(data, "bands")
    names = list(data["bands"].values)
    chosen = []
    for wanted, aliases in ((nir, ("nir", "B08", "B8A")), (red, ("red", "B04"))):
        options = [n for n in ((wanted,) if wanted not in {"nir", "red"} else aliases) if n in names]
        if not options:
            raise ProcessError(
                "NirBandAmbiguous" if wanted == nir else "RedBandAmbiguous", f"no band {wanted!r} in {names}"
            )
        chosen.append(data.sel(bands=options[0], drop=True))
    index = (chosen[0] - chosen[1]) / (chosen[0] + chosen[1])
    if target_band is None:
        return rewrap(data, index.values, index.dims)
    if target_band in names:
        raise ProcessError("BandExists", f"the cube has a band {target_band!r} already")
    return merge_cubes(data, index.expand_dims(bands=[target_band]))


PROCESSES: dict[str, Process] = {
    "apply": apply,
    "apply_dimension": apply_dimension,
    "filter_labels": filter_labels,
    "merge_cubes": merge_cubes,
    "ndvi": ndvi,
    "reduce_dimension": reduce_dimension,
    "reduce_spatial": reduce_spatial,
    "rename_labels": rename_labels,
}
