"""Dimensions besides space: time steps of the calendar, and lists or tables of parameter values."""

from __future__ import annotations

import csv
import datetime as dt
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.errors import ConfigError
from upscaling.model import Parameter, Row, Step

if TYPE_CHECKING:
    from upscaling.config import ForEach, Time

__all__ = ["each_row", "time_steps"]

_DAYS = re.compile(r"^(\d+) days?$")
_LABEL = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
_MOST = 1_000_000  # jobs; more is a mistake in a step, not a wish


def time_steps(time: Time) -> list[Step]:
    """Return the steps of a time dimension, in order.

    Calendar units (dekad, month, year) start where the calendar says; the first and the last are cut to
    ``start`` and ``end``. A dekad is days 1-10, 11-20 and 21 to the end of a month (WMO).

    Raises
    ------
    ConfigError
        If the dates are none, or not in order, or the step is unknown.
    """
    if time.intervals is not None:
        steps = [_interval(number, interval) for number, interval in enumerate(time.intervals)]
        if len({step.label for step in steps}) < len(steps):
            raise ConfigError("two intervals start on the same day", key="time.intervals")
        return steps
    start, end = _date(time.start, "time.start"), _date(time.end, "time.end")
    if start >= end:
        raise ConfigError(f"must lie after time.start ({start})", key="time.end")
    steps = []
    for label, first, following in _units(time.step, start):
        if first >= end:
            break
        steps.append(Step(label, max(first, start).isoformat(), min(following, end).isoformat()))
        if len(steps) > _MOST:
            raise ConfigError(f"gives more than {_MOST} steps", key="time.step")
    return steps


def _interval(number: int, interval: Sequence[str]) -> Step:
    key = f"time.intervals[{number}]"
    start, end = (_date(text, key) for text in interval)
    if start >= end:
        raise ConfigError(f"must be [start, end) with start before end (found {list(interval)})", key=key)
    return Step(start.isoformat(), start.isoformat(), end.isoformat())


def _date(text: str | None, key: str) -> dt.date:
    if text is None:
        raise ConfigError("is missing", key=key)
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"must be a date as 2023-06-01 (found {text!r})", key=key) from None


def _units(step: str, start: dt.date) -> Iterator[tuple[str, dt.date, dt.date]]:
    """Yield (label, first day, first day of the next) without end, from the unit that ``start`` lies in."""
    days = _DAYS.match(step)
    if step == "day" or days:
        length = dt.timedelta(days=int(days[1]) if days else 1)
        if not length:
            raise ConfigError("must be at least one day", key="time.step")
        firsts = (start + length * number for number in itertools.count())
        yield from ((first.isoformat(), first, first + length) for first in firsts)
    units: dict[str, Callable[[int], tuple[str, dt.date]]] = {
        "year": lambda n: (f"{start.year + n:04d}", dt.date(start.year + n, 1, 1)),
        "month": lambda n: _month(start, n),
        "dekad": lambda n: _dekad(start, n),
    }
    if step not in units:
        raise ConfigError(f"must be day, dekad, month, year or '<n> days' (found {step!r})", key="time.step")
    for number in itertools.count():
        label, first = units[step](number)
        yield label, first, units[step](number + 1)[1]


def _month(start: dt.date, number: int) -> tuple[str, dt.date]:
    years, month = divmod(start.month - 1 + number, 12)
    first = dt.date(start.year + years, month + 1, 1)
    return f"{first:%Y-%m}", first


def _dekad(start: dt.date, number: int) -> tuple[str, dt.date]:
    months, third = divmod(min((start.day - 1) // 10, 2) + number, 3)
    label, first = _month(start, months)
    return f"{label}-d{third + 1}", first.replace(day=1 + 10 * third)


def each_row(each: ForEach, parameters: Mapping[str, Parameter]) -> list[Row]:
    """Return the rows of a ``for_each`` dimension: the product of its lists, or the rows of its table.

    Raises
    ------
    ConfigError
        If the table cannot be read, a column is no parameter of the algorithm, or two rows have the same name.
    """
    rows = _table(each, parameters) if each.table else _product(each.parameters)
    label, times = Counter(row.label for row in rows).most_common(1)[0]
    if times > 1:
        message = f"{times} rows have the name {label!r}; for_each.id names a column of unique ids"
        raise ConfigError(message, key="for_each")
    return rows


def _product(lists: Mapping[str, Sequence[Any]]) -> list[Row]:
    rows = []
    for values in itertools.product(*lists.values()):
        label = "_".join(_plain(value) for value in values)
        rows.append(Row(label, dict(zip(lists, values, strict=True))))
    return rows


def _plain(value: Any) -> str:
    """Return a value as a part of a folder name."""
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[^A-Za-z0-9-]+", "-", text).strip("-").lower() or "empty"


def _table(each: ForEach, parameters: Mapping[str, Parameter]) -> list[Row]:
    path = Path(str(each.table))
    columns, records = _read(path)
    if each.id is not None and each.id not in columns:
        raise ConfigError(f"{path} has no column {each.id!r}; it has {', '.join(columns)}", key="for_each.id")
    used = [name for name in columns if name != each.id and name not in each.ignore]
    unknown = [name for name in used if name not in parameters]
    if unknown:
        raise ConfigError(
            f"column {unknown[0]!r} is no parameter of the algorithm; rename it or list it in for_each.ignore",
            key="for_each.table",
            file=path,
        )
    rows = []
    for number, record in enumerate(records, 2):
        values = {name: _typed(record[name], parameters[name], path, number) for name in used}
        label = str(record[each.id]) if each.id else "_".join(_plain(value) for value in values.values())
        if not _LABEL.match(label):
            raise ConfigError(
                f"line {number}: id {label!r} must be made of letters, digits, _ and -", key="for_each.id", file=path
            )
        rows.append(Row(label, values))
    if not rows:
        raise ConfigError("has no rows", key="for_each.table", file=path)
    return rows


def _read(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    try:
        if path.suffix.lower() in {".parquet", ".pq"}:
            import pyarrow.parquet as pq

            table = pq.read_table(path)
            return table.column_names, table.to_pylist()
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            return list(reader.fieldnames or []), list(reader)
    except FileNotFoundError:
        raise ConfigError(f"no such file: {path}", key="for_each.table") from None
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(f"cannot be read as a table: {error}", key="for_each.table", file=path) from None


def _typed(value: Any, parameter: Parameter, path: Path, line: int) -> Any:
    """Give a CSV cell the type that the parameter's schema asks for; Parquet values have theirs."""
    if not isinstance(value, str):
        return value.isoformat() if isinstance(value, dt.date) else value
    schemas = parameter.schema if isinstance(parameter.schema, list) else [parameter.schema]
    types = {name for schema in schemas if isinstance(schema, Mapping) for name in _types(schema)}
    if "string" in types or not types:
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ConfigError(
            f"line {line}: {value!r} is no {' or '.join(sorted(types))} for {parameter.name}",
            key="for_each.table",
            file=path,
        ) from None


def _types(schema: Mapping[str, Any]) -> list[str]:
    given = schema.get("type", [])
    return [given] if isinstance(given, str) else list(given)
