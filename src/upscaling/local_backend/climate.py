"""Normals of a climate, and what departs from them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from upscaling.local_backend.cube_processes import rewrap
from upscaling.local_backend.errors import ProcessError
from upscaling.local_backend.temporal import grouped, period_start, time_dimension

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["PROCESSES"]

_SEASONS = {12: "djf", 3: "mam", 6: "jja", 9: "son"}  # by their first months
_HALVES = {11: "ndjfma", 5: "mjjaso"}
_WHOLE = {"climatology-period", "single-period"}
_LABELS: dict[str, list[str]] = {
    "day": [f"{day:03}" for day in range(1, 366)],
    "month": [f"{month:02}" for month in range(1, 13)],
    "season": list(_SEASONS.values()),
    "tropical-season": list(_HALVES.values()),
    "climatology-period": ["climatology-period"],
}


def label_of(time: Any, period: str) -> str:
    """Return the label that a normal has for a moment: month ``07``, season ``jja``; 29 February counts as the 28th."""
    import pandas as pd

    t = pd.Timestamp(time)
    if period in _WHOLE:
        return period
    labels: dict[str, Callable[[], str]] = {
        "hour": lambda: f"{t.hour:02}",
        "day": lambda: f"{t.dayofyear - (t.is_leap_year and t.dayofyear > 59):03}",
        "week": lambda: f"{t.isocalendar().week:02}",
        "dekad": lambda: f"{3 * (t.month - 1) + min((t.day - 1) // 10, 2) + 1:02}",
        "month": lambda: f"{t.month:02}",
        "season": lambda: _SEASONS[period_start(time, period).month],
        "tropical-season": lambda: _HALVES[period_start(time, period).month],
    }
    return labels[period]() if period in labels else str(period_start(time, period).year)


def anomaly(data: xr.DataArray, normals: xr.DataArray, period: str) -> xr.DataArray:
    """Subtract from each moment the normal of its period."""
    import numpy as np

    dimension = time_dimension(data, None)
    axis = dimension if dimension in normals.dims else next((d for d in normals.dims if d not in data.dims), None)
    if axis is None:
        raise ProcessError("DimensionNotAvailable", f"the normals have no dimension {dimension!r}")
    known = [label_of(n, period) if isinstance(n, np.datetime64) else str(n) for n in normals[axis].values]
    if period in _WHOLE and len(known) != 1:
        raise ProcessError("LabelMismatch", f"normals of a single period have one label, these have {len(known)}")
    wanted = (
        [label_of(t, period) for t in data[dimension].values] if period not in _WHOLE else known * data.sizes[dimension]
    )
    if missing := sorted(set(wanted) - set(known)):
        raise ProcessError("LabelMismatch", f"the normals have no label {missing[0]!r}, only {', '.join(known[:12])}")
    rest = [d for d in data.dims if d != dimension]
    if lacking := [d for d in rest if d not in normals.dims]:
        raise ProcessError("DimensionMissing", f"the normals lack dimension {lacking[0]!r}")
    taken = normals.transpose(axis, *rest).values[[known.index(label) for label in wanted]]
    leading = data.transpose(dimension, *rest)
    return rewrap(leading, leading.values - taken, leading.dims).transpose(*data.dims)


def climatological_normal(
    data: xr.DataArray, period: str, climatology_period: Sequence[int] = (1981, 2010)
) -> xr.DataArray:
    """Average the years of a climatology, for each day, month or season of the year."""
    import pandas as pd

    if period not in _LABELS:
        raise ProcessError("ProcessParameterInvalid", f"period {period!r} is none of {', '.join(_LABELS)}")
    first, last = map(int, climatology_period)
    dimension = time_dimension(data, None)
    times = [pd.Timestamp(t) for t in data[dimension].values]
    if not times or min(times).year > first or max(times).year < last or first > last:
        raise ProcessError("ProcessParameterInvalid", f"the cube does not span the years {first} to {last}")
    kept = _within(times, period, first, last)
    found = {n: label_of(times[n].to_datetime64(), period) for n in kept}
    groups = [[n for n in kept if found[n] == label] for label in _LABELS[period]]
    result = grouped(data.transpose(dimension, ...), groups, _LABELS[period], _mean, None)
    return result.transpose(*data.dims)


def _within(times: Sequence[pd.Timestamp], period: str, first: int, last: int) -> list[int]:
    """Return which moments count: of seasons those that end in the years, the first one only if it is whole."""
    length = {"season": 3, "tropical-season": 6}.get(period)
    if length is None:
        return [n for n, t in enumerate(times) if first <= t.year <= last]
    import pandas as pd

    starts = [period_start(t.to_datetime64(), period) for t in times]
    ends = [(start + pd.DateOffset(months=length - 1)).year for start in starts]
    months = {(t.year, t.month) for t in times}
    before = {start for start, end in zip(starts, ends, strict=True) if end == first > start.year}
    cut = {s for s in before if not all((s.year, month) in months for month in range(s.month, 13))}
    return [n for n, end in enumerate(ends) if first <= end <= last and starts[n] not in cut]


def _mean(*, named_parameters: Any, **_: Any) -> Any:
    import numpy as np

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of pixels without any data
        return np.nanmean(named_parameters["data"], axis=0)


PROCESSES: dict[str, Callable[..., Any]] = {"anomaly": anomaly, "climatological_normal": climatological_normal}
