"""Array processes for callbacks: arrays lie along the first axis, pixels along the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from upscaling.local_backend.errors import ProcessError

__all__ = ["PROCESSES", "label_text", "stacked"]


def stacked(values: Sequence[Any]) -> Any:
    """Stack scalars and pixel arrays along a new first axis; None is no-data; plain numbers never widen the type."""
    import numpy as np

    if not values:
        return np.array([], "float32")
    if any(isinstance(value, str) for value in values):
        return list(values)
    parts = [stacked(v) if isinstance(v, list) else np.nan if v is None else v for v in values]
    dtype = np.result_type(*parts)
    return np.stack(np.broadcast_arrays(*parts)).astype(dtype, copy=False)


def _array(data: Any) -> Any:
    import numpy as np

    return stacked(data) if isinstance(data, list) else np.asarray(data)


def array_create(data: Any = None, repeat: int = 1) -> Any:
    """Make an array of values, each a scalar or the pixels of a cube."""
    import numpy as np

    if data is None:
        data = []
    if not isinstance(data, list):
        data = list(data) if np.ndim(data) else [data]
    return stacked(data * repeat)


def array_element(
    data: Any, index: int | None = None, label: Any = None, return_nodata: bool = False, dim_labels: Any = None
) -> Any:
    """Take one element by index, or by the label of the dimension that the callback runs over."""
    import numpy as np

    if (index is None) == (label is None):
        raise ProcessError("ArrayElementParameterMissing", "array_element needs either an index or a label")
    values = data if isinstance(data, list) else np.asarray(data)
    if label is not None:
        if dim_labels is None or len(dim_labels) != len(values):
            raise ProcessError("ArrayNotLabeled", f"the array has no labels, so {label!r} cannot be found")
        places = [n for n, known in enumerate(dim_labels) if label_text(known) == _like(label, known)]
        index = places[0] if places else None
    if index is None or not -len(values) <= index < len(values):
        if return_nodata:
            return np.full(np.shape(values)[1:], np.nan)
        wanted = label if index is None else index
        raise ProcessError("ArrayElementNotAvailable", f"there is no element {wanted!r} in an array of {len(values)}")
    return values[index]


def _like(label: Any, known: Any) -> Any:
    import numpy as np

    return label_text(np.datetime64(str(label).removesuffix("Z"))) if isinstance(known, np.datetime64) else label


def array_concat(array1: Any, array2: Any) -> Any:
    """Join two arrays; pixels are broadcast against each other."""
    return stacked([*_elements(array1), *_elements(array2)])


def array_append(data: Any, value: Any, label: Any = None, dim_labels: Any = None) -> Any:  # noqa: ARG001
    """Add one element at the end; labels of a cube are set by rename_labels."""
    return stacked([*_elements(data), value])


def array_modify(data: Any, values: Any, index: int, length: int = 1) -> Any:
    """Replace ``length`` elements from ``index`` on by ``values``."""
    elements = _elements(data)
    if index > len(elements):
        raise ProcessError("ArrayElementNotAvailable", f"there is no element {index} in an array of {len(elements)}")
    return stacked([*elements[:index], *_elements(values), *elements[index + length :]])


def _elements(data: Any) -> list[Any]:
    import numpy as np

    return list(data) if np.ndim(data) or isinstance(data, list) else [data]


def array_apply(data: Any, process: Callable[..., Any], context: Any = None, dim_labels: Any = None) -> Any:
    """Apply a process to every element, with its index and label."""
    elements = _elements(data)
    labels = list(dim_labels) if dim_labels is not None and len(dim_labels) == len(elements) else range(len(elements))
    results = [
        process(named_parameters={"x": x, "index": n, "label": label_text(label), "context": context}, axis=0)
        for n, (x, label) in enumerate(zip(elements, labels, strict=True))
    ]
    return stacked(results)


def label_text(label: Any) -> Any:
    """Return a label as graphs see it: times as RFC 3339."""
    import numpy as np

    return f"{label.astype('datetime64[s]')}Z" if isinstance(label, np.datetime64) else label


def array_labels(data: Any, dim_labels: Any = None) -> list[Any]:
    """Return the labels of the dimension that the callback runs over, else the indices."""
    size = len(_elements(data))
    return (
        list(map(label_text, dim_labels)) if dim_labels is not None and len(dim_labels) == size else list(range(size))
    )


def array_contains(data: Any, value: Any) -> Any:
    """Tell, per pixel, whether the array holds the value."""
    import numpy as np

    if isinstance(data, list) and all(isinstance(item, str) for item in data):
        return value in data
    return (_array(data) == value).any(axis=0) if value is not None else np.False_


def array_find(data: Any, value: Any, reverse: bool = False) -> Any:
    """Return, per pixel, the index of the first (``reverse``: last) element that equals the value, else no-data."""
    import numpy as np

    equal = _array(data) == value
    last = len(equal) - 1
    places = last - equal[::-1].argmax(axis=0) if reverse else equal.argmax(axis=0)
    return np.where(equal.any(axis=0), places, np.nan)


def array_find_label(data: Any, label: Any, dim_labels: Any = None) -> int | None:
    """Return the index of a label of the dimension that the callback runs over; nothing where there is none."""
    if dim_labels is None or len(dim_labels) != len(_elements(data)):
        return None
    return next((number for number, known in enumerate(dim_labels) if label_text(known) == _like(label, known)), None)


def first(data: Any, ignore_nodata: bool = True) -> Any:
    """Return, per pixel, the first element, or the first that is not no-data."""
    import numpy as np

    values = _array(data)
    if not ignore_nodata or not len(values):
        return values[0] if len(values) else np.nan
    places = np.argmax(~np.isnan(values), axis=0)
    return np.take_along_axis(values, places[np.newaxis], axis=0)[0]


def last(data: Any, ignore_nodata: bool = True) -> Any:
    """Return, per pixel, the last element, or the last that is not no-data."""
    return first(_array(data)[::-1], ignore_nodata)


def count(data: Any, condition: Any = None, context: Any = None) -> Any:
    """Count, per pixel, the valid elements, all (``condition`` true), or those that a condition accepts."""
    import numpy as np

    values = _array(data)
    if condition is True:
        return np.full(values.shape[1:], len(values))
    if condition is None:
        return np.isfinite(values).sum(axis=0)
    accepted = [condition(named_parameters={"x": x, "context": context}, axis=0) for x in values]
    return (stacked(accepted) == 1).sum(axis=0)


def quantiles(data: Any, probabilities: Any = None, q: int | None = None, ignore_nodata: bool = True) -> Any:
    """Return quantiles along the first axis (linear interpolation, R-7)."""
    import numpy as np

    values = _array(data)
    wanted = q if probabilities is None else probabilities
    if isinstance(wanted, list) and len(wanted) == 1 and wanted[0] > 1:
        wanted = wanted[0]
    levels = np.arange(1, wanted) / wanted if isinstance(wanted, int) else np.asarray(wanted, float)
    return (np.nanquantile if ignore_nodata else np.quantile)(values, levels, axis=0).astype(
        np.result_type(values, "float32")
    )


def sort(data: Any, asc: bool = True, nodata: bool | None = None) -> Any:
    """Sort along the first axis; no-data comes last, or first, or is left out where there is but one pixel."""
    import numpy as np

    values = _array(data)
    return np.take_along_axis(values, order(values, asc, nodata), axis=0)


def order(data: Any, asc: bool = True, nodata: bool | None = None) -> Any:
    """Return the permutation that ``sort`` applies."""
    import numpy as np

    values = _array(data)
    missing = np.isnan(values)
    keys = np.where(missing, -np.inf if nodata is False else np.inf, values if asc else -values)
    places = np.argsort(keys, axis=0, kind="stable")
    return places[: np.count_nonzero(~missing)] if nodata is None and values.ndim == 1 else places


def rearrange(data: Any, order: Any) -> Any:
    """Put elements in the given order, which is the same for all pixels or one per pixel."""
    import numpy as np

    values, places = _array(data), np.asarray(order, int)
    return values[places] if places.ndim == 1 else np.take_along_axis(values, places, axis=0)


def array_filter(data: Any, condition: Callable[..., Any], context: Any = None, dim_labels: Any = None) -> Any:
    """Keep the elements that a condition accepts; where it differs between pixels the others become no-data."""
    import numpy as np

    elements = _elements(data)
    accepted = array_apply(data, condition, context, dim_labels) == 1
    if np.ndim(accepted) <= 1:
        return stacked([x for x, keep in zip(elements, accepted, strict=True) if keep])
    return np.where(accepted, _array(data), np.nan)


def array_interpolate_linear(data: Any, dim_labels: Any = None) -> Any:
    """Fill no-data between valid elements, linearly along numbers or times that label them, else along the index."""
    import numpy as np
    import pandas as pd

    values = _array(data)
    labels = np.arange(len(values)) if dim_labels is None or len(dim_labels) != len(values) else np.asarray(dim_labels)
    positions = labels.astype("int64") if labels.dtype.kind == "M" else labels
    if positions.dtype.kind not in "if":
        positions = np.arange(len(values))
    table = pd.DataFrame(values.reshape(len(values), -1).astype("float64"), index=positions.astype("float64"))
    filled = table.interpolate(method="index", limit_area="inside").to_numpy()
    return filled.reshape(values.shape).astype(values.dtype, copy=False)


def extrema(data: Any, ignore_nodata: bool = True) -> Any:
    """Return minimum and maximum along the first axis."""
    import numpy as np

    values = _array(data)
    low, high = (np.nanmin, np.nanmax) if ignore_nodata else (np.min, np.max)
    return stacked([low(values, axis=0), high(values, axis=0)])


def if_(value: Any, accept: Any, reject: Any = None) -> Any:
    """Choose per pixel; no-data in the condition is not true, and a missing ``reject`` is no-data."""
    import numpy as np

    if np.ndim(value) == 0:
        return accept if value is not None and value == 1 else reject
    chosen = [_beside(option, np.ndim(value)) for option in (accept, reject)]
    return np.where(np.asarray(value) == 1, *chosen)


def _beside(value: Any, pixels: int) -> Any:
    """Give an array of plain numbers, say a colour, the axes that make it an array of pixels."""
    import numpy as np

    if value is None:
        return np.nan
    if isinstance(value, list):
        value = stacked(value)
    return value.reshape(-1, *[1] * pixels) if np.ndim(value) == 1 and pixels > 1 else value


def text_concat(data: list[Any], separator: Any = "") -> str:
    """Join values as text."""
    return _text(separator).join(map(_text, data))


def text_find(data: str | None, pattern: str, case_sensitive: bool = True) -> int | None:
    """Return where a text stands in another for the first time; nothing where it does not."""
    if data is None:
        return None
    if not isinstance(data, str) or not isinstance(pattern, str):
        raise ProcessError("ProcessParameterInvalid", "text_find looks for a text in a text")
    place = data.find(pattern) if case_sensitive else data.lower().find(pattern.lower())
    return None if place < 0 else place


def _text(value: Any) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def is_valid(x: Any) -> Any:
    """Tell, per pixel, whether there is a finite value."""
    import numpy as np
    import pandas as pd

    is_number = np.asarray(x).dtype.kind == "f"
    return ~pd.isnull(x) & np.isfinite(x) if is_number else np.logical_not(pd.isnull(x))


def is_nodata(x: Any) -> Any:
    """Tell, per pixel, whether there is no data."""
    import pandas as pd

    return pd.isnull(x)


PROCESSES: dict[str, Callable[..., Any]] = {
    "array_append": array_append,
    "array_apply": array_apply,
    "array_concat": array_concat,
    "array_contains": array_contains,
    "array_create": array_create,
    "array_element": array_element,
    "array_filter": array_filter,
    "array_find": array_find,
    "array_find_label": array_find_label,
    "array_interpolate_linear": array_interpolate_linear,
    "array_labels": array_labels,
    "array_modify": array_modify,
    "count": count,
    "extrema": extrema,
    "first": first,
    "if": if_,
    "is_nan": is_nodata,
    "is_nodata": is_nodata,
    "is_valid": is_valid,
    "last": last,
    "order": order,
    "quantiles": quantiles,
    "rearrange": rearrange,
    "sort": sort,
    "text_concat": text_concat,
    "text_find": text_find,
}
