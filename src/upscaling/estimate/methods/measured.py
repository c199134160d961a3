"""An estimate from finished jobs of the run itself: the pilot, or as many as are done by now."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from upscaling.estimate.methods.schedule import makespan_draws, overhead_of
from upscaling.estimate.model import Interval
from upscaling.estimate.statistics import Measured, failure_draws, quantiles, total_draws

if TYPE_CHECKING:
    from collections.abc import Collection

    from upscaling.estimate.evidence.measure import Jobs
    from upscaling.estimate.evidence.work import Work
    from upscaling.estimate.statistics import Floats

__all__ = ["LEAST", "MeasuredRun", "measured_run"]

LEAST = 5
"""Finished jobs below which there is no verdict (all of them, in a smaller run)."""
_LONG_PAUSE = 10.0  # times the median gap between two ends: the run was stopped in between


@dataclasses.dataclass(frozen=True)
class MeasuredRun:
    """Draws and numbers of a run of which some jobs are finished.

    Attributes
    ----------
    cost
        Draws of the whole run's cost, what is spent included; None if the platform states no costs.
    seconds
        Draws of the seconds until the last job ends, from now; None if no durations are stated.
    job_total
        Draws of the sum of all jobs' durations, failed attempts included.
    job_seconds
        Median seconds of a job.
    """

    cost: Floats | None
    seconds: Floats | None
    result_gb: Floats | None
    job_total: Floats | None
    failure_rate: Interval
    job_seconds: float | None
    floor: float | None
    memory_gb: float | None
    rests_on: list[str]


def measured_run(work: Work, jobs: Jobs, *, slots: int, pilots: Collection[str], seed: int) -> MeasuredRun:
    """Return what finished jobs tell of the whole run.

    Parameters
    ----------
    pilots
        Targets that were chosen at random; the others finish in the order of the plan.
    seed
        Of the draws: the same folder gives the same numbers.
    """
    rng = np.random.default_rng(seed)
    rank = work.rank
    left = ~jobs.finished & ~work.empty
    chosen = np.array([name in pilots for name in work.ids], dtype=bool)
    finished, failed = int((jobs.finished & ~work.empty).sum()), int(jobs.failed.sum())

    def sample(values: Floats) -> Measured | None:
        known = jobs.finished & ~work.empty & np.isfinite(values)
        if not known.any():
            return None
        return Measured(rank[known], values[known], np.flatnonzero(known).astype(float), chosen[known])

    cost = None
    costs = sample(jobs.cost)
    if costs is not None:
        share = jobs.failed_cost / max(float(costs.value.mean()), 1e-9) if np.isfinite(jobs.failed_cost) else 1.0
        again = failure_draws(failed, finished, rng, share=min(share, 2.0))
        cost = jobs.spent + total_draws(costs, rank[left], rng) * again
    durations = sample(jobs.seconds)
    seconds, total, overhead = None, None, 0.0
    if durations is not None:
        overhead = _overhead(jobs, slots)
        held = dataclasses.replace(durations, value=durations.value + overhead)
        seconds = makespan_draws(held, rank[left], slots, rng, failed=failed)
        again = failure_draws(failed, finished, rng)
        total = durations.value.sum() + total_draws(durations, rank[left], rng) * again
    known = np.isfinite(jobs.memory_gb)
    rate = rng.beta(failed + 0.5, max(finished, 1) + 0.5, 2000)
    return MeasuredRun(
        cost=cost,
        seconds=seconds,
        result_gb=_result_gb(sample(jobs.result_bytes), rank[left], rng),
        job_total=total,
        failure_rate=Interval.of(quantiles(rate)),
        job_seconds=None if durations is None else float(np.median(durations.value)),
        floor=None if costs is None else float(costs.value.min()),
        memory_gb=float(jobs.memory_gb[known].max()) if known.any() else None,
        rests_on=_words(work, jobs, chosen, overhead, durations),
    )


def _result_gb(sizes: Measured | None, remaining: Floats, rng: np.random.Generator) -> Floats | None:
    if sizes is None:
        return None
    return np.asarray((sizes.value.sum() + total_draws(sizes, remaining, rng)) / 1e9, dtype=float)


def _overhead(jobs: Jobs, slots: int) -> float:
    """Return the seconds per job for which a slot was held beyond the job's duration.

    Read off the times at which tiles were done; pauses in which the run was stopped do not count.
    """
    known = np.isfinite(jobs.begun) & np.isfinite(jobs.ended) & np.isfinite(jobs.seconds)
    if known.sum() < 2:
        return 0.0
    order = np.argsort(jobs.ended[known])
    begun, ended, seconds = (column[known][order] for column in (jobs.begun, jobs.ended, jobs.seconds))
    gaps = np.diff(ended)
    longest = max(_LONG_PAUSE * float(np.median(gaps)), 2 * float(seconds.max()))
    breaks = np.flatnonzero(gaps > longest) + 1
    weights, found = [], []
    for part in np.split(np.arange(len(ended)), breaks):
        measured = float(ended[part].max() - begun[part].min())
        found.append(overhead_of(seconds[part], slots, min(measured, float(seconds[part].sum()) + longest * len(part))))
        weights.append(len(part))
    return float(np.average(found, weights=weights))


def _words(work: Work, jobs: Jobs, chosen: NDArray[np.bool_], overhead: float, durations: Measured | None) -> list[str]:
    finished, failed = int((jobs.finished & ~work.empty).sum()), int(jobs.failed.sum())
    by_chance = int((chosen & jobs.finished).sum())
    lines = [f"{finished} finished jobs of {len(work)}, {by_chance} of them chosen at random over the expected work"]
    if failed:
        lines.append(f"{failed} failed attempts; such are repeated and cost again")
    if durations is None:
        lines.append("the platform states no durations, so there is no estimate of the time")
    elif overhead >= 1:
        lines.append(f"{overhead:.0f} s a job for queue, polling and download, beside its own duration")
    return lines
