"""Dimensions besides space: time steps of the calendar, and lists or tables of parameter values."""

from __future__ import annotations

import csv
import datetime as dt
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.errors import ConfigError
from upscaling.model import Parameter, Row, Step
from upscaling.util.files import digest
from upscaling.util.values import json_value

if TYPE_CHECKING:
    from upscaling.config import ForEach, Time

__all__ = ["each_row", "time_steps"]

_COUNTED = re.compile(r"(\d{1,9})[ -]?(day|week|dekad|month|quarter|season|year)s?")
_ISO = re.compile(r"p(\d{1,9})([dwmy])")  # durations of ISO 8601
_ISO_UNITS = {"d": "day", "w": "week", "m": "month", "y": "year"}
_SAME_STEPS = {"daily": "day", "weekly": "week", "dekadal": "dekad", "monthly": "month", "quarterly": "quarter"} | {
    "seasonal": "season",
    "yearly": "year",
    "annual": "year",
}
_UNITS = "day, week, dekad, month, quarter, season, year, or '<n> days' (weeks, months …)"
_SEASONS = ("DJF", "MAM", "JJA", "SON")
_LONGEST = 150  # characters of a name that values make
_LABEL = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
_CWL_TYPES = {"int": "integer", "long": "integer", "float": "number", "double": "number"}
_CWL_TYPES |= {"boolean": "boolean", "null": "null"}
_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", type(None): "null", list: "array", dict: "object"}
_MOST = 1_000_000  # jobs; more is a mistake in a step, not a wish


def time_steps(time: Time) -> list[Step]:
    """Return the steps of a time dimension, in order.

    Steps of the calendar start where the calendar says; the first and the last are cut to ``start`` and ``end``. A week
    starts on Monday (ISO 8601), a dekad is days 1-10, 11-20 and 21 to the end of a month (WMO), a season is December to
    February, and so on. ``<n> weeks``, ``<n> months`` and ``<n> years`` count from the week, month and year of
    ``start``; ``<n> days`` from ``start`` itself.

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
    given = step.strip().lower()
    if iso := _ISO.fullmatch(given):
        given = f"{iso[1]} {_ISO_UNITS[iso[2]]}"
    given = _SAME_STEPS.get(given, given)
    counted = _COUNTED.fullmatch(given)
    count, unit = (int(counted[1]), counted[2]) if counted else (1, given)
    if not count:
        raise ConfigError(f"must be at least one {unit}", key="time.step")
    monday = start.toordinal() - start.weekday()
    units: dict[str, Callable[[int], tuple[str, dt.date]]] = {
        "day": lambda n: _day(start.toordinal() + n * count),
        "week": lambda n: _week(monday + 7 * n * count),
        "year": lambda n: _year(start.year + n * count),
        "month": lambda n: _month(start.year, start.month - 1 + n * count),
        "dekad": lambda n: _dekad(start, n * count),
        "quarter": lambda n: _quarter(start, n * count),
        "season": lambda n: _season(start, n * count),
    }
    if unit not in units:
        raise ConfigError(f"must be {_UNITS} (found {step!r})", key="time.step")
    for number in itertools.count():
        label, first = units[unit](number)
        try:
            following = units[unit](number + 1)[1]
        except (ValueError, OverflowError):  # beyond the year 9999
            following = dt.date.max
        yield label, first, following
        if following == dt.date.max:
            return


def _day(ordinal: int) -> tuple[str, dt.date]:
    first = dt.date.fromordinal(ordinal)
    return first.isoformat(), first


def _week(ordinal: int) -> tuple[str, dt.date]:
    first = dt.date.fromordinal(max(1, ordinal))
    year, week, _ = first.isocalendar()
    return f"{year:04d}-W{week:02d}", first


def _year(year: int) -> tuple[str, dt.date]:
    return f"{year:04d}", dt.date(year, 1, 1)


def _month(year: int, month: int) -> tuple[str, dt.date]:
    """Return the month that is ``month`` months after January of a year."""
    years, month = divmod(month, 12)
    first = dt.date(year + years, month + 1, 1)
    return f"{first:%Y-%m}", first


def _dekad(start: dt.date, number: int) -> tuple[str, dt.date]:
    months, third = divmod(min((start.day - 1) // 10, 2) + number, 3)
    label, first = _month(start.year, start.month - 1 + months)
    return f"{label}-d{third + 1}", first.replace(day=1 + 10 * third)


def _quarter(start: dt.date, number: int) -> tuple[str, dt.date]:
    _, first = _month(start.year, 3 * ((start.month - 1) // 3 + number))
    return f"{first.year:04d}-Q{first.month // 3 + 1}", first


def _season(start: dt.date, number: int) -> tuple[str, dt.date]:
    """Return a season of three months, named by its months and the year in which it ends."""
    index = start.month // 3 + number  # from that which begins in December of the year before
    if start.year == 1 and index == 0:
        return "0001-DJF", dt.date.min
    _, first = _month(start.year, 3 * index - 1)
    year = first.year + (first.month == 12)
    return f"{year:04d}-{_SEASONS[index % 4]}", first


def each_row(each: ForEach, parameters: Mapping[str, Parameter]) -> list[Row]:
    """Return the rows of a ``for_each`` dimension: the product of its lists, or the rows of its table.

    Raises
    ------
    ConfigError
        If the table cannot be read, a column is no parameter of the algorithm, or two rows have the same name.
    """
    rows = _table(each, parameters) if each.table else _product(each.parameters)
    seen: set[str] = set()
    found: dict[str, list[Any]] = {}
    given: dict[str, str] = {}  # name without its case: folders of some disks have none
    named = []
    for row in rows:
        label = row.label
        if each.id and given.setdefault(label.lower(), label) != label:
            same = f"the ids {given[label.lower()]!r} and {label!r} differ in their case alone"
            raise ConfigError(same, key="for_each.id", file=each.table)
        if label in found:
            same = f"2 rows have the name {label!r}"
            if each.id:
                raise ConfigError(f"{same}; ids must be unique", key="for_each.id", file=each.table)
            if row.values in found[label]:
                raise ConfigError(f"{same} and the same values", key="for_each")
        found.setdefault(row.label, []).append(row.values)
        # Values that look alike in a name (-1 and 1, NDVI and ndvi): the first keeps it, others are told apart.
        if label in seen or len(label) > _LONGEST:
            label = f"{label[:_LONGEST]}-{digest(row.values)[:8]}"
        if label in seen:
            raise ConfigError(
                f"2 rows have the name {label!r}; for_each.id names a column of unique ids", key="for_each"
            )
        seen.add(label)
        named.append(Row(label, row.values, row.fits))
    return named


def _product(lists: Mapping[str, Sequence[Any]]) -> list[Row]:
    if math.prod(map(len, lists.values())) > _MOST:
        raise ConfigError(f"gives more than {_MOST} combinations", key="for_each.parameters")
    plain = {name: [_sendable(value, f"for_each.parameters.{name}") for value in lists[name]] for name in lists}
    rows = []
    for values in itertools.product(*plain.values()):
        label = "_".join(_plain(value) for value in values)
        rows.append(Row(label, dict(zip(plain, values, strict=True))))
    return rows


def _sendable(value: Any, key: str, file: Path | None = None) -> Any:
    try:
        return json_value(value)
    except ValueError as error:
        raise ConfigError(str(error), key=key, file=file) from None


def _plain(value: Any) -> str:
    """Return a value as a part of a folder name."""
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[^A-Za-z0-9-]+", "-", text).strip("-").lower() or "empty"


def _table(each: ForEach, parameters: Mapping[str, Parameter]) -> list[Row]:
    path = Path(str(each.table)).expanduser()
    columns, records = _read(path)
    twice = [name for name in columns if columns.count(name) > 1]
    if twice:
        raise _refused(path, f"has the column {twice[0]!r} more than once")
    if each.id is not None and each.id not in columns:
        raise ConfigError(f"{path} has no column {each.id!r}; it has {', '.join(columns)}", key="for_each.id")
    used = [name for name in columns if name != each.id and name not in each.ignore]
    unknown = [name for name in used if name not in parameters]
    if unknown:
        column = f"column {unknown[0]!r} is no parameter of the algorithm"
        raise _refused(path, f"{column}; rename it or list it in for_each.ignore")
    rows: list[Row] = []
    for number, record in enumerate(records, 2):
        values = {name: _typed(record[name], parameters[name], path, number) for name in used}
        if len(rows) >= _MOST:
            raise _refused(path, f"has more than {_MOST} rows")
        label = str(record[each.id]) if each.id else "_".join(_plain(value) for value in values.values())
        if each.id and not _LABEL.fullmatch(label):
            raise _refused(path, f"line {number}: id {label!r} must be made of letters, digits, _ and -", "id")
        if each.id and len(label) > _LONGEST:
            raise _refused(path, f"line {number}: id {label[:20]!r}… is longer than {_LONGEST} characters", "id")
        rows.append(Row(label, values))
    if not rows:
        raise _refused(path, "has no rows")
    return rows


def _refused(path: Path, why: str, key: str = "table") -> ConfigError:
    return ConfigError(why, key=f"for_each.{key}", file=path)


def _read(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    try:
        if path.suffix.lower() in {".parquet", ".pq"}:
            import pyarrow.parquet as pq

            table = pq.read_table(path)
            return table.column_names, table.to_pylist()
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return _read_csv(csv.reader(stream, strict=True), path)
    except FileNotFoundError:
        raise ConfigError(f"no such file: {path}", key="for_each.table") from None
    except (OSError, ValueError, csv.Error, MemoryError) as error:
        what = " ".join(str(error).split())[:200]
        raise _refused(path, f"cannot be read as a table: {what}") from None


def _read_csv(lines: Any, path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    columns: list[str] = next(lines, [])
    records = []
    for cells in lines:
        if not cells:
            continue
        if len(cells) != len(columns):
            raise _refused(path, f"line {lines.line_num}: has {len(cells)} cells, and its header {len(columns)}")
        records.append(dict(zip(columns, cells, strict=True)))
    return columns, records


def _typed(value: Any, parameter: Parameter, path: Path, line: int) -> Any:
    """Give a CSV cell the type that the parameter's schema asks for; Parquet values have theirs."""
    if not isinstance(value, str):
        try:
            return json_value(value)
        except ValueError as error:
            raise _refused(path, f"row {line - 1}: {parameter.name} {error}") from None
    types = _types(parameter.schema)
    if "string" in types or not types:
        return value
    try:
        return json_value(json.loads(value))
    except (ValueError, RecursionError):
        kinds = " or ".join(sorted(types))
        raise _refused(path, f"line {line}: {value!r} is no {kinds} for {parameter.name}") from None


def _types(schema: Any) -> set[str]:
    """Return the names of the JSON types that a schema, or a type of CWL, takes; empty where it leaves them open."""
    if isinstance(schema, str):
        return {_CWL_TYPES.get(schema, "string")}  # a file is named by text
    if isinstance(schema, list):
        return set().union(*map(_types, schema))
    if not isinstance(schema, Mapping):
        return set()
    given = schema.get("type", [])
    found = {given} if isinstance(given, str) else {name for name in given if isinstance(name, str)}
    if not found:
        values = (
            schema["enum"] if isinstance(schema.get("enum"), list) else [schema["const"]] if "const" in schema else []
        )
        found = {_JSON_TYPES.get(type(value), "string") for value in values}
    for part in (*_listed(schema, "anyOf"), *_listed(schema, "oneOf"), *_listed(schema, "allOf")):
        found |= _types(part)
    return {"string" if name == "enum" else name for name in found}


def _listed(schema: Mapping[str, Any], name: str) -> list[Any]:
    return schema[name] if isinstance(schema.get(name), list) else []
