"""Values of configurations and tables as JSON has them, and walks of them."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

__all__ = ["alternatives", "json_value", "objects_in"]

_DEEPEST = 100


def json_value(value: Any, *, depth: int = 0) -> Any:
    """Return a value as JSON holds it: dates and times as ISO 8601 text, decimals as numbers, tuples as lists.

    Raises
    ------
    ValueError
        For what JSON does not have: NaN and infinity, bytes, a nesting of more than 100 levels, and others. The message
        goes on after the name of what holds the value.
    """
    if depth > _DEEPEST:
        raise ValueError(f"is nested more than {_DEEPEST} levels deep")
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Decimal):
        value = int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"is {value}, which is no number that can be sent")
        return value
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {_key(name): json_value(entry, depth=depth + 1) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(entry, depth=depth + 1) for entry in value]
    what = "binary data" if isinstance(value, bytes | bytearray) else f"a {type(value).__name__}"
    raise ValueError(f"is {what}, which cannot be sent as JSON")


def _key(name: Any) -> str:
    if isinstance(name, str):
        return name
    if isinstance(name, bool | int | float) or name is None:
        return str(name)
    if isinstance(name, dt.date | dt.time):
        return name.isoformat()
    raise ValueError(f"has a key that is a {type(name).__name__}")


def objects_in(value: Any, *, without: str | None = None) -> Iterator[Mapping[str, Any]]:
    """Yield every object in nested lists and objects, outer ones first; not those that have a member ``without``."""
    if isinstance(value, Mapping):
        if without not in value:
            yield value
            for item in value.values():
                yield from objects_in(item, without=without)
    elif isinstance(value, list):
        for item in value:
            yield from objects_in(item, without=without)


def alternatives(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yield a schema and every schema that may hold in its place, but not those of its members."""
    if not isinstance(schema, Mapping):
        return
    yield schema
    for word in ("anyOf", "oneOf", "allOf"):
        for part in schema.get(word) or []:
            yield from alternatives(part)
