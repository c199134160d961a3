"""The values of a netCDF axis: times ("days since 2001-01-01"), also in calendars that no clock has, and numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["number_axis", "time_axis"]

_LONGEST = 1_000  # values that are written out
_UNITS = re.compile(r"^(?P<unit>[a-z]+) since (?P<start>.+)$", re.IGNORECASE)
_START = re.compile(
    r"(?P<year>\d{1,4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})"
    r"(?:[T ]+(?P<hour>\d{1,2}):(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})(?:\.\d*)?)?)?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{1,2}:?\d{0,2})?$"
)
_SECONDS = {"week": 604_800.0, "day": 86_400.0, "hour": 3_600.0, "minute": 60.0, "second": 1.0}
_SECONDS |= {"millisecond": 1e-3, "microsecond": 1e-6}
_SHORT = {"d": "day", "hr": "hour", "h": "hour", "min": "minute", "sec": "second", "s": "second"}
_SHORT |= {"msec": "millisecond", "ms": "millisecond"}
_GREGORIAN = {"", "standard", "gregorian", "proleptic_gregorian"}
_MONTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LEAP = (31, 29, *_MONTHS[2:])
# Calendar -> days of its months, the same in every year.
_CALENDARS: dict[str, tuple[int, ...]] = {
    "noleap": _MONTHS,
    "365_day": _MONTHS,
    "all_leap": _LEAP,
    "366_day": _LEAP,
    "360_day": (30,) * 12,
}


def number_axis(numbers: Sequence[float]) -> dict[str, Any]:
    """Return a STAC dimension for the values of an axis; what JSON has no number for (NaN, infinities) is text."""
    finite = [number for number in numbers if math.isfinite(number)]
    extent = {"extent": [min(finite), max(finite)]} if finite else {}
    values = [number if math.isfinite(number) else str(number) for number in numbers[:_LONGEST]]
    return {"type": "other", **extent, "values": values}


def time_axis(values: Sequence[float], units: str, calendar: str) -> dict[str, Any] | None:
    """Return a STAC dimension for the values of a time axis, or None where units or calendar say no time.

    In a calendar that has days which the Gregorian one has not (30 February), times are texts and no moments.
    """
    match = _UNITS.match(units.strip())
    start = _START.match(match["start"].strip()) if match else None
    unit = match["unit"].lower() if match else ""
    names = (unit, unit.removesuffix("s"))
    step = next((_SECONDS[_SHORT.get(name, name)] for name in names if _SHORT.get(name, name) in _SECONDS), None)
    name = calendar.strip().lower()
    if start is None or step is None or not values or not all(map(math.isfinite, values)):
        return None
    try:
        if name in _GREGORIAN:
            texts = _moments(values, start, step)
        elif name in _CALENDARS:
            texts = [_date(value * step, start, _CALENDARS[name]) for value in values]
        else:
            return None
    except (ValueError, OverflowError, IndexError):
        return None
    described = {} if name in _GREGORIAN else {"description": f"calendar {name}"}
    if name in _GREGORIAN or _CALENDARS[name] is _MONTHS:  # each of its days is in the Gregorian one
        return {"type": "temporal", "extent": [min(texts), max(texts)], **described, "values": texts[:_LONGEST]}
    return {"type": "other", **described, "values": texts[:_LONGEST]}


def _seconds(start: re.Match[str]) -> int:
    hour, minute, second = (int(start[part] or 0) for part in ("hour", "minute", "second"))
    zone = re.fullmatch(r"([+-])(\d{1,2}):?(\d{0,2})", start["zone"] or "")
    offset = (int(zone[2]) * 3600 + int(zone[3] or 0) * 60) * (1 if zone[1] == "+" else -1) if zone else 0
    return hour * 3600 + minute * 60 + second - offset


def _moments(values: Sequence[float], start: re.Match[str], step: float) -> list[str]:
    first = datetime(int(start["year"]), int(start["month"]), int(start["day"]), tzinfo=UTC)
    first += timedelta(seconds=_seconds(start))
    moments = [first + timedelta(seconds=value * step) for value in values]
    return [moment.isoformat(timespec="seconds").replace("+00:00", "Z") for moment in moments]


def _date(seconds: float, start: re.Match[str], months: tuple[int, ...]) -> str:
    """Return a moment of a calendar whose years are all alike."""
    year, month, day = int(start["year"]), int(start["month"]), int(start["day"])
    if not 1 <= month <= 12 or not 1 <= day <= months[month - 1]:
        raise ValueError(day)
    days = year * sum(months) + sum(months[: month - 1]) + day - 1
    whole, second = divmod(round(days * 86_400 + _seconds(start) + seconds), 86_400)
    year, day = divmod(whole, sum(months))
    if not 0 <= year <= 9999:
        raise ValueError(year)
    month = 0
    while day >= months[month]:
        day, month = day - months[month], month + 1
    time = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
    return f"{year:04d}-{month + 1:02d}-{day + 1:02d}T{time}Z"
