"""Labelled arrays outside of cubes: lists that know what each of their values is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from inspect import signature
from typing import Any

from upscaling.local_backend.errors import ProcessError

__all__ = ["Labeled", "array_create_labeled", "with_labels"]

# Whose result has a value for each of the array's, or some of them.
_ALIKE = {"array_apply", "array_interpolate_linear"}


class Labeled(list[Any]):
    """A list with a label for each value; as JSON it is a list."""

    def __init__(self, values: Sequence[Any], labels: Sequence[Any]) -> None:
        super().__init__(values)
        self.labels = list(labels)


def array_create_labeled(data: Any, labels: Any) -> Labeled:
    """Make a labelled array of values and their labels."""
    if len(data) != len(labels):
        raise ProcessError("ArrayLengthMismatch", f"{len(data)} values have {len(labels)} labels")
    return Labeled(data, _distinct(list(labels)))


def _distinct(labels: list[Any]) -> list[Any]:
    seen = set()
    for label in labels:
        if label in seen:
            raise ProcessError("LabelExists", f"the array has a label {label!r} already")
        seen.add(label)
    return labels


def with_labels(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a process of arrays see a labelled array's labels, and keep them where its result has the same values."""
    own: dict[str, Callable[..., Any]] = {"array_append": _append, "array_concat": _concat, "array_filter": _filter}
    special = own.get(name)
    if special is None and "dim_labels" not in signature(function).parameters:
        return function

    @wraps(function)
    def wrapper(**arguments: Any) -> Any:
        given = [value for value in arguments.values() if isinstance(value, Labeled)]
        if special is not None and (given or name == "array_append"):
            return special(function, **arguments)
        if not given:
            return function(**arguments)
        found = function(**{**arguments, "dim_labels": given[0].labels})
        return Labeled(list(found), given[0].labels) if name in _ALIKE else found

    return wrapper


def _append(function: Callable[..., Any], data: Any, value: Any, label: Any = None, dim_labels: Any = None) -> Any:
    if not isinstance(data, Labeled):
        if label is not None and dim_labels is None:
            raise ProcessError("ArrayNotLabeled", f"the array has no labels, so {label!r} is none")
        return function(data=data, value=value)
    labels = [*data.labels, len(data) if label is None else label]
    return Labeled(list(function(data=list(data), value=value)), _distinct(labels))


def _concat(function: Callable[..., Any], array1: Any, array2: Any) -> Any:
    found = function(array1=array1, array2=array2)
    if isinstance(array1, Labeled) and isinstance(array2, Labeled):
        return Labeled(list(found), _distinct([*array1.labels, *array2.labels]))
    return found


def _filter(function: Callable[..., Any], data: Labeled, condition: Any, **others: Any) -> Labeled:
    places = function(
        data=list(range(len(data))), condition=_by_value(data, condition), **{**others, "dim_labels": data.labels}
    )
    return Labeled([data[int(n)] for n in places], [data.labels[int(n)] for n in places])


def _by_value(data: Labeled, condition: Callable[..., Any]) -> Callable[..., Any]:
    """Return a condition on places in the array: so that what is left tells its labels."""

    def accepts(*, named_parameters: dict[str, Any], **ambient: Any) -> Any:
        value = data[named_parameters["x"]]
        return condition(named_parameters={**named_parameters, "x": value}, **ambient)

    return accepts
