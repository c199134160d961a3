"""A rough estimate: from earlier jobs, published benchmarks, or the record's price; an interval, and no verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from upscaling.errors import UpscalingError
from upscaling.estimate.model import Interval

if TYPE_CHECKING:
    from upscaling.estimate.evidence.history import Past
    from upscaling.estimate.evidence.units import StatedCost
    from upscaling.estimate.evidence.work import Work
    from upscaling.estimate.statistics import Floats

__all__ = ["Rough", "rough_estimate"]

# Records of the APEx catalogue contradict their own measured runs by 10 to 50 times.
_RECORD = 10.0
_LEAST = 1.5  # factor of the interval on either side: the next month is not this one
_BEYOND = 2.0  # times the largest area that was measured: the slope is not known there
_LARGE = 0.5  # of the largest area that was measured: the jobs that tell the slope


@dataclasses.dataclass(frozen=True)
class Rough:
    """What is known without a pilot.

    Attributes
    ----------
    floor
        Lowest cost of a job that was seen; None if none was.
    job_seconds
        Expected duration of a job.
    """

    cost: Interval | None
    currency: str
    floor: float | None
    job_seconds: float | None
    seconds: Interval | None
    memory_gb: float | None
    result_gb: Interval | None
    rests_on: list[str]


def rough_estimate(
    work: Work, stated: StatedCost, past: Sequence[Past], *, sources: Sequence[str], slots: int, currency: str = ""
) -> Rough:
    """Return what can be said of a run of which no job was run.

    Parameters
    ----------
    past
        Earlier jobs of the same algorithm on the same platform.
    sources
        Where they come from, for the words.
    currency
        The platform's, where it is known.
    """
    area, number = work.area_km2[~work.empty], len(work)
    notes = [f"{len(past)} earlier jobs of this algorithm ({', '.join(sources)})"] if past else []
    total, told = _cost_of_record(work, stated)
    cost, floor = _cost_of_past(area, past, total, notes)
    if cost is None:
        notes += told
        if total is not None:
            cost = Interval.of([total / _RECORD, total / _RECORD, total, total * _RECORD, total * _RECORD])
        else:
            earlier = "earlier jobs tell none" if past else "no earlier job is known; run a pilot"
            notes.append(f"cost: {stated.text}, and {earlier}")
    seconds = _known(past, "seconds")
    job_seconds, span = None, None
    if len(seconds):
        job_seconds = float(seconds.mean())
        low, high = _factors(seconds / job_seconds)
        whole = job_seconds * max(number / slots, 1.0)
        span = Interval.of([whole * low, whole * low, whole, whole * high, whole * high])
        notes.append(f"time: mean duration of {len(seconds)} earlier jobs, {slots} at the same time")
    else:
        notes.append("time: no job of this algorithm was measured on this platform; run a pilot")
    return Rough(
        cost=cost,
        currency=currency or (stated.price.currency if stated.price else "") or "credits",
        floor=floor,
        job_seconds=job_seconds,
        seconds=span,
        memory_gb=float(memory.max()) if len(memory := _known(past, "memory_gb")) else None,
        result_gb=_result_gb(area, past),
        rests_on=notes,
    )


def _cost_of_record(work: Work, stated: StatedCost) -> tuple[float | None, list[str]]:
    """Return what the run costs at the record's price, and the words for it."""
    if stated.price is None or stated.price.amount <= 0:
        return None, []
    try:
        total, assumed = work.price(stated.price)
    except UpscalingError as error:
        return None, [f"the record's price cannot be used: {stated.price} {error}"]
    told = f"cost: the record's price, {stated.price}; such prices were found wrong by 10 to 50 times"
    return total, [told, *(f"assumed: {line}" for line in assumed)]


def _cost_of_past(
    area: Floats, past: Sequence[Past], stated: float | None, notes: list[str]
) -> tuple[Interval | None, float | None]:
    """Model a job's cost as a minimum charge, and the slope of the largest jobs beyond it.

    The cost per km² of a small job is never scaled: most small jobs cost the minimum charge. Where all of them do, or
    all are much smaller than the run's jobs, only bounds are known, and the record's price lies between them, or none.
    """
    known = [(job.area_km2, job.cost) for job in past if job.cost is not None]
    if not known:
        return None, None
    costs = np.array([cost for _, cost in known], dtype=float)
    floor, number = float(costs.min()), len(area)
    sized = np.array([(size, cost) for size, cost in known if size], dtype=float).reshape(-1, 2)
    if not len(sized):
        typical = float(costs.mean())
        low, high = _factors(costs / max(typical, 1e-9))
        notes.append("cost: the mean of earlier jobs, whose areas are not known")
        return _spread(typical * number, low, high, floor * number), floor
    largest = sized[sized[:, 0] >= _LARGE * sized[:, 0].max()]
    slope = float(largest[:, 1].sum() / largest[:, 0].sum())  # means: a total follows them, not the median
    total = float(np.maximum(floor, slope * area).sum())
    low, high = _factors(sized[:, 1] / np.maximum(np.maximum(floor, slope * sized[:, 0]), 1e-9))
    reach, typical = float(sized[:, 0].max()), float(np.median(area))
    if typical <= _BEYOND * reach:
        notes.append(f"cost: at least {floor:g} a job, the lowest seen, and {slope:.3g} per km² as the largest jobs")
        return _spread(total, low, high, floor * number), floor
    least, most = floor * number, total * high
    notes.append(
        f"cost: jobs of {typical:,.4g} km² are larger than any that was measured ({reach:,.3g} km²): between the lowest"
        f" cost seen, {floor:g} a job, and that of the largest, {slope:.3g} per km²"
    )
    middle = float(np.sqrt(max(least, 1e-9) * max(total, 1e-9)))
    if stated is not None and least <= stated <= most:
        notes.append("in between, the record's price counts")
        middle = stated
    return Interval.of([least, least, middle, most, most]), floor


def _spread(total: float, low: float, high: float, least: float) -> Interval:
    under = max(total * low, min(least, total))
    return Interval.of([under, under, total, total * high, total * high])


def _factors(ratios: Floats) -> tuple[float, float]:
    low, high = np.quantile(ratios, [0.1, 0.9]).tolist()
    return min(low, 1 / _LEAST), max(high, _LEAST)


def _known(past: Sequence[Past], name: str) -> Floats:
    return np.array([value for job in past if (value := getattr(job, name)) is not None], dtype=float)


def _result_gb(area: Floats, past: Sequence[Past]) -> Interval | None:
    rates = np.array(
        [job.result_bytes / job.area_km2 for job in past if job.result_bytes and job.area_km2], dtype=float
    )
    if not len(rates):
        return None
    total = float(np.median(rates) * area.sum() / 1e9)
    low, high = _factors(rates / np.median(rates))
    return Interval.of([total * low, total * low, total, total * high, total * high])
