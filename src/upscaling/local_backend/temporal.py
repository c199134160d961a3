"""Processes over time: aggregation by period or interval, neighbourhoods in time, and dates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from upscaling.local_backend.arrays import stacked
from upscaling.local_backend.cube_processes import call, replace_axis, require, rewrap
from upscaling.local_backend.cubes import temporal_bounds
from upscaling.local_backend.errors import ProcessError
from upscaling.local_backend.neighborhoods import apply_windows

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import xarray as xr

__all__ = ["PROCESSES", "grouped", "period_start", "time_dimension"]

Process = Callable[..., Any]

UNITS = {"millisecond": 1e-3, "second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0, "week": 604800.0}


def time_dimension(data: xr.DataArray, dimension: str | None) -> str:
    """Return the name of a cube's dimension of times: the given one, or the only one."""
    found = [str(name) for name in data.dims if name in data.coords and data[name].dtype.kind == "M"]
    if dimension is None and len(found) > 1:
        raise ProcessError(
            "TooManyDimensions", f"the cube has several dimensions of times, {', '.join(found)}: name one"
        )
    dimension = dimension or next(iter(found), "t")
    require(data, dimension)
    if data[dimension].dtype.kind != "M":
        raise ProcessError("DimensionNotAvailable", f"dimension {dimension!r} holds no times")
    return dimension


def filter_temporal(data: xr.DataArray, extent: Any, dimension: str | None = None) -> xr.DataArray:
    """Keep time stamps within a half-open interval."""
    dimension = time_dimension(data, dimension)
    return data.isel({dimension: _within(data[dimension].values, extent)})


def _within(times: np.ndarray, extent: Any) -> list[int]:
    import numpy as np

    start, end = (t and np.datetime64(t.replace(tzinfo=None), "ns") for t in temporal_bounds(list(extent)))
    return [n for n, t in enumerate(times) if (start is None or t >= start) and (end is None or t < end)]


def aggregate_temporal(
    data: xr.DataArray,
    intervals: Sequence[Any],
    reducer: Process,
    labels: Sequence[Any] | None = None,
    dimension: str | None = None,
    *,
    context: Any = None,
) -> xr.DataArray:
    """Reduce the time stamps of each half-open interval; labels default to the intervals' starts."""
    import numpy as np

    dimension = time_dimension(data, dimension)
    groups = [_within(data[dimension].values, interval) for interval in intervals]
    if not labels:
        starts = [temporal_bounds(list(interval))[0] or datetime(1, 1, 1, tzinfo=UTC) for interval in intervals]
        labels = list(np.array([s.replace(tzinfo=None) for s in starts], "datetime64[ns]"))
    if len(labels) != len(groups):
        raise ProcessError("LabelMismatch", f"{len(labels)} labels for {len(groups)} intervals")
    if len(set(labels)) < len(labels):
        raise ProcessError("DistinctDimensionLabelsRequired", "two intervals would get the same label: give labels")
    return grouped(data.transpose(dimension, ...), groups, labels, reducer, context).transpose(*data.dims)


def aggregate_temporal_period(
    data: xr.DataArray, period: str, reducer: Process, dimension: str | None = None, context: Any = None
) -> xr.DataArray:
    """Reduce the time stamps of each period from the first to the last; an empty period is no-data.

    Labels are the starts of the periods, not texts as in the specification: so the dimension stays temporal, and files
    are named by date, as on the large platforms.
    """
    import numpy as np

    dimension = time_dimension(data, dimension)
    starts = [period_start(t, period) for t in data[dimension].values]
    labels = _all_starts(min(starts), max(starts), period)
    groups = [[n for n, start in enumerate(starts) if start == label] for label in labels]
    times = list(np.array([label.to_datetime64() for label in labels], "datetime64[ns]"))
    return grouped(data.transpose(dimension, ...), groups, times, reducer, context).transpose(*data.dims)


def grouped(
    leading: xr.DataArray, groups: list[list[int]], labels: Sequence[Any], reducer: Process, context: Any
) -> xr.DataArray:
    """Reduce groups of the first dimension, by their indices; an empty group is no-data."""
    import numpy as np

    dimension = str(leading.dims[0])
    times = leading[dimension].values
    empty = np.full(leading.shape[1:], np.nan, leading.dtype)
    parts = [
        np.broadcast_to(call(reducer, times[g], data=leading.values[g], context=context), empty.shape) if g else empty
        for g in groups
    ]
    return rewrap(leading, stacked(parts), leading.dims, **{dimension: labels})


def period_start(time: np.datetime64, period: str) -> pd.Timestamp:
    """Return the first moment of the period that a moment lies in."""
    import pandas as pd

    t = pd.Timestamp(time)
    day = t.normalize()
    month = day.replace(day=1)
    starts: dict[str, Callable[[], pd.Timestamp]] = {
        "hour": lambda: t.floor("h"),
        "day": lambda: day,
        "week": lambda: day - pd.Timedelta(days=t.weekday()),
        "dekad": lambda: day.replace(day=min(1 + (t.day - 1) // 10 * 10, 21)),
        "month": lambda: month,
        "season": lambda: month - pd.DateOffset(months=t.month % 3),
        "tropical-season": lambda: month - pd.DateOffset(months=(t.month - 5) % 6),
        "year": lambda: month.replace(month=1),
        "decade": lambda: month.replace(year=t.year - t.year % 10, month=1),
        "decade-ad": lambda: month.replace(year=t.year - (t.year - 1) % 10, month=1),
    }
    if period not in starts:
        raise ProcessError("ProcessParameterInvalid", f"period {period!r} is none of {', '.join(starts)}")
    return starts[period]()


def _all_starts(first: pd.Timestamp, last: pd.Timestamp, period: str) -> list[pd.Timestamp]:
    import pandas as pd

    # a step that is longer than any period and shorter than two lands in the next one
    steps = {"hour": "1h", "day": "1D", "week": "7D", "dekad": "11D", "month": "32D", "season": "93D"}
    steps |= {"tropical-season": "185D", "year": "367D", "decade": "3654D", "decade-ad": "3654D"}
    starts = [first]
    while starts[-1] < last:
        starts.append(period_start((starts[-1] + pd.Timedelta(steps[period])).to_datetime64(), period))
    return starts


def apply_neighborhood(
    data: xr.DataArray, process: Process, size: list[dict[str, Any]], overlap: Any = None, context: Any = None
) -> xr.DataArray:
    """Apply a process to windows of pixels, or to single pixels over stretches of one dimension.

    Such a stretch is a period of time, or a number of labels.
    """
    import numpy as np

    sizes = {part["dimension"]: part.get("value") for part in size}
    spans = {name: value for name, value in sizes.items() if name not in {"x", "y"}}
    if any(sizes.get(name, 1) != 1 for name in ("x", "y")) or overlap or len(spans) != 1:
        return apply_windows(data, process, size, overlap, context)
    dimension, span = next(iter(spans.items()))
    require(data, dimension)
    leading = data.transpose(dimension, ...)
    labels = data[dimension].values
    if isinstance(span, str):
        keys: list[Any] = [period_start(t, span) for t in labels]
    else:
        keys = [n // int(span or len(labels)) for n in range(len(labels))]
    parts = []
    for key in dict.fromkeys(keys):
        group = [n for n, other in enumerate(keys) if other == key]
        values = leading.values[group]
        result = replace_axis(values, call(process, labels[group], leading[group], data=values, context=context))
        if len(result) != len(group):
            raise ProcessError("ProcessFailed", f"the process returned {len(result)} values for {len(group)} labels")
        parts.append((group, result))
    joined = np.concatenate([result for _, result in parts])
    order = np.argsort([n for group, _ in parts for n in group])
    return rewrap(leading, joined[order], leading.dims).transpose(*data.dims)


def _parsed(date: Any) -> datetime:
    try:
        time = datetime.fromisoformat(str(date))
    except ValueError as error:
        raise ProcessError("DateInvalid", f"{date!r} is not an RFC 3339 date or date-time") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _formatted(time: datetime, like: Any) -> str:
    if "T" not in str(like):
        return f"{time:%Y-%m-%d}"
    return time.isoformat().replace("+00:00", "Z")


def date_replace_component(date: str, value: int, component: str) -> str | None:
    """Replace one component of a date; None where there is no such date."""
    time = _parsed(date)
    try:
        changed = (
            time.replace(microsecond=value * 1000) if component == "millisecond" else time.replace(**{component: value})  # type: ignore[arg-type]
        )
    except ValueError:
        return None
    return _formatted(changed, date)


def date_difference(date1: str, date2: str, unit: str = "second") -> float:
    """Return date2 - date1; months and years are whole ones."""
    first, second = _parsed(date1), _parsed(date2)
    if unit in {"month", "year"}:
        months = (second.year - first.year) * 12 + second.month - first.month
        return float(months if unit == "month" else second.year - first.year)
    return (second - first).total_seconds() / UNITS[unit]


def date_shift(date: str, value: int, unit: str) -> str:
    """Move a date; a day that the target month does not have becomes its last."""
    time = _parsed(date)
    if unit in {"month", "year"}:
        months = time.year * 12 + time.month - 1 + value * (12 if unit == "year" else 1)
        year, month = divmod(months, 12)
        next_year, next_month = divmod(months + 1, 12)
        days = (datetime(next_year, next_month + 1, 1, tzinfo=UTC) - datetime(year, month + 1, 1, tzinfo=UTC)).days
        return _formatted(time.replace(year=year, month=month + 1, day=min(time.day, days)), date)
    return _formatted(time + timedelta(seconds=value * UNITS[unit]), date)


def date_between(x: str, min: str, max: str, exclude_max: bool = False) -> bool:  # noqa: A002 (openEO's names)
    """Tell whether a date lies between two others."""
    time, low, high = _parsed(x), _parsed(min), _parsed(max)
    return low <= time < high if exclude_max else low <= time <= high


PROCESSES: dict[str, Process] = {
    "aggregate_temporal": aggregate_temporal,
    "aggregate_temporal_period": aggregate_temporal_period,
    "apply_neighborhood": apply_neighborhood,
    "date_between": date_between,
    "date_difference": date_difference,
    "date_replace_component": date_replace_component,
    "date_shift": date_shift,
    "filter_temporal": filter_temporal,
}
