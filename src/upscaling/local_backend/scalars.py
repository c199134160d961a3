"""Processes on single values and on lists of them, as the specification has them: null, booleans, types that differ.

Pixels are left to the implementations that are wrapped here: arrays, in which NaN is no-data. A single null is no-data;
a single NaN is a number, and equals nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import signature
from numbers import Number
from typing import Any

from upscaling.local_backend import arrays

__all__ = ["NAN", "with_single_values"]

Process = Callable[..., Any]

OPERANDS = ("x", "y", "base", "p")
"""Parameters of mathematical processes that may be null."""
ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda x, y: x > y,
    "gte": lambda x, y: x >= y,
    "lt": lambda x, y: x < y,
    "lte": lambda x, y: x <= y,
}


def NAN() -> float:  # noqa: N802 -- a process, as `e` and `pi` are
    """Return what is not a number."""
    return math.nan


def with_single_values(processes: Mapping[str, Process]) -> dict[str, Process]:
    """Return the processes, with those replaced that treat single values otherwise than the specification."""
    found = dict(processes)
    for name, function in processes.items():
        own, parameters = _OWN.get(name), signature(function).parameters
        if own is not None:
            found[name] = _either(function, own)
        elif name in {"cumsum", "cumproduct"}:
            found[name] = _with_floats(function)
        elif name in {"min", "max", "extrema"}:
            found[name] = _of_nothing(function, [None, None] if name == "extrema" else None)
        elif "data" not in parameters and any(operand in parameters for operand in OPERANDS):
            found[name] = _with_null(function)
    return found


def _pixels(value: Any) -> bool:
    """Return whether a value holds pixels: an array, or a list with arrays in it."""
    if isinstance(value, list):
        return any(map(_pixels, value))
    return getattr(value, "ndim", 0) > 0


def _either(function: Process, own: Process) -> Process:
    """Use ``own`` for single values and lists of them, ``function`` for pixels and within callbacks over arrays."""
    lists = "data" in signature(own).parameters

    @wraps(function)
    def wrapper(**arguments: Any) -> Any:
        data = arguments.get("data")
        if any(map(_pixels, arguments.values())) or (lists and not isinstance(data, list)):
            return function(**{name: math.nan if value is None else value for name, value in arguments.items()})
        known = signature(own).parameters
        return own(**{name: value for name, value in arguments.items() if name in known})

    return wrapper


def _with_null(function: Process) -> Process:
    """Let a process give null for a single null, and no-data for pixels beside one."""

    @wraps(function)
    def wrapper(**arguments: Any) -> Any:
        null = [name for name in OPERANDS if name in arguments and arguments[name] is None]
        if null and not any(map(_pixels, arguments.values())):
            return None
        return function(**arguments | dict.fromkeys(null, math.nan))

    return wrapper


def _with_floats(function: Process) -> Process:
    """Give whole numbers as floats: the sums of upstream are NaN before there is a first value."""

    @wraps(function)
    def wrapper(**arguments: Any) -> Any:
        import numpy as np

        data = arguments.get("data")
        if isinstance(data, list):
            data = arrays.stacked(data)
        if isinstance(data, np.ndarray) and data.dtype.kind in "iu":
            arguments["data"] = data.astype("float64")
        return function(**arguments)

    return wrapper


def _of_nothing(function: Process, value: Any) -> Process:
    @wraps(function)
    def wrapper(**arguments: Any) -> Any:
        data = arguments.get("data")
        return value if data is not None and not len(data) else function(**arguments)

    return wrapper


# --- types ---


def _is_bool(value: Any) -> bool:
    import numpy as np

    return isinstance(value, bool | np.bool_)


def _is_number(value: Any) -> bool:
    return isinstance(value, Number) and not _is_bool(value)


def _same(x: Any, y: Any, delta: float | None = None, case_sensitive: bool = True) -> bool:
    """Return whether two values are of one type, and equal; arrays and objects never are."""
    if _is_number(x) and _is_number(y):
        return bool(abs(x - y) <= delta) if delta else bool(x == y)
    if _is_bool(x) and _is_bool(y):
        return bool(x) == bool(y)
    if isinstance(x, str) and isinstance(y, str):
        return x == y if case_sensitive else x.casefold() == y.casefold()
    return False


def _truth(value: Any) -> bool | None:
    """Return true, false, or None for no-data."""
    return None if value is None or value != value else bool(value)  # noqa: PLR0124 -- NaN


# --- comparison ---


def _eq(x: Any, y: Any, delta: float | None = None, case_sensitive: bool = True) -> bool | None:
    return None if x is None or y is None else _same(x, y, delta, case_sensitive)


def _neq(x: Any, y: Any, delta: float | None = None, case_sensitive: bool = True) -> bool | None:
    return None if x is None or y is None else not _same(x, y, delta, case_sensitive)


def _ordered(compare: Callable[[Any, Any], bool]) -> Process:
    def process(x: Any, y: Any) -> bool | None:
        if x is None or y is None:
            return None
        return _is_number(x) and _is_number(y) and bool(compare(x, y))

    return process


def _between(x: Any, min: Any, max: Any, exclude_max: bool = False) -> bool | None:  # noqa: A002 -- openEO's names
    if x is None or min is None or max is None:
        return None
    if not all(map(_is_number, (x, min, max))):
        return False
    return bool(min <= x < max if exclude_max else min <= x <= max)


def _is_nan(x: Any) -> bool:
    return not _is_number(x) or bool(x != x)  # noqa: PLR0124


def _is_infinite(x: Any) -> bool:
    return _is_number(x) and math.isinf(x)


def _is_nodata(x: Any) -> bool:
    return x is None or (_is_number(x) and bool(x != x))  # noqa: PLR0124


def _is_valid(x: Any) -> bool:
    return x is not None and (not _is_number(x) or math.isfinite(x))


# --- logic ---


def _and(x: Any, y: Any) -> bool | None:
    found = _truth(x), _truth(y)
    return False if False in found else None if None in found else True


def _or(x: Any, y: Any) -> bool | None:
    found = _truth(x), _truth(y)
    return True if True in found else None if None in found else False


def _xor(x: Any, y: Any) -> bool | None:
    first, second = _truth(x), _truth(y)
    return None if first is None or second is None else first != second


def _not(x: Any) -> bool | None:
    found = _truth(x)
    return None if found is None else not found


def _all(data: list[Any], ignore_nodata: bool = True) -> bool | None:
    found = [_truth(value) for value in data]
    known = [value for value in found if value is not None]
    if False in known:
        return False
    return None if not known or (not ignore_nodata and None in found) else True


def _any(data: list[Any], ignore_nodata: bool = True) -> bool | None:
    found = [_truth(value) for value in data]
    known = [value for value in found if value is not None]
    if True in known:
        return True
    return None if not known or (not ignore_nodata and None in found) else False


# --- arrays ---


def _first(data: list[Any], ignore_nodata: bool = True) -> Any:
    return next((value for value in data if not (ignore_nodata and _is_nodata(value))), None)


def _last(data: list[Any], ignore_nodata: bool = True) -> Any:
    return _first(data[::-1], ignore_nodata)


def _count(data: list[Any], condition: Any = None, context: Any = None) -> int:
    if condition is None or condition is True:
        return len(data) if condition else sum(map(_is_valid, data))
    return sum(condition(named_parameters={"x": value, "context": context}) is True for value in data)


def _array_contains(data: list[Any], value: Any) -> bool:
    return any(_same(element, value) for element in data)


def _array_find(data: list[Any], value: Any, reverse: bool = False) -> int | None:
    places = [number for number, element in enumerate(data) if _same(element, value)]
    return None if not places else places[-1 if reverse else 0]


_OWN: dict[str, Process] = {
    **{name: _ordered(compare) for name, compare in ORDER.items()},
    "all": _all,
    "and": _and,
    "any": _any,
    "array_contains": _array_contains,
    "array_find": _array_find,
    "between": _between,
    "count": _count,
    "eq": _eq,
    "first": _first,
    "is_infinite": _is_infinite,
    "is_nan": _is_nan,
    "is_nodata": _is_nodata,
    "is_valid": _is_valid,
    "last": _last,
    "neq": _neq,
    "not": _not,
    "or": _or,
    "xor": _xor,
}
