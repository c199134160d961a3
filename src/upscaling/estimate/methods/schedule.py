"""How long a run takes on a number of slots: list scheduling of drawn durations."""

from __future__ import annotations

import heapq

import numpy as np

from upscaling.estimate.statistics import (
    Floats,
    Measured,
    class_edges,
    class_means,
    class_of,
    failure_draws,
    total_draws,
)

__all__ = ["makespan_draws", "makespan_of", "overhead_of"]

REPEATS = 200
_TAIL = 20  # jobs per slot that are scheduled one by one; of those before them only the sum matters
_LEAST_CV = 0.2  # of durations: platforms repeat the very same job with 0.11 to 1.44
_DRIFT = 0.08  # what changes between the pilot and the run


def makespan_of(durations: Floats, slots: int) -> float:
    """Return when the last of jobs ends that are begun in this order, each as soon as a slot is free."""
    ends = [0.0] * min(slots, max(len(durations), 1))
    for duration in durations.tolist():
        heapq.heapreplace(ends, ends[0] + duration)
    return max(ends)


def overhead_of(durations: Floats, slots: int, measured: float) -> float:
    """Return the seconds per job by which a batch took longer than its jobs alone explain: queue, polling, download.

    Parameters
    ----------
    measured
        Seconds from the first submission to the last end.
    """
    if not len(durations):
        return 0.0
    rounds = max(len(durations) / slots, 1.0)
    return max(0.0, (measured - makespan_of(durations, slots)) / rounds)


def makespan_draws(
    measured: Measured,
    remaining: Floats,
    slots: int,
    rng: np.random.Generator,
    *,
    failed: int = 0,
    draws: int = REPEATS,
) -> Floats:
    """Draw the seconds until all unfinished jobs are done.

    Parameters
    ----------
    measured
        Seconds for which finished jobs held a slot, queue included.
    remaining
        Ranks of the unfinished jobs, in the order of the plan.
    slots
        Jobs at the same time.
    failed
        Attempts that failed; such are repeated.
    """
    if not len(remaining):
        return np.zeros(draws)
    work = total_draws(measured, remaining, rng, draws=draws, drift=_DRIFT)
    work *= failure_draws(failed, len(measured), rng, draws=draws)
    edges = class_edges(measured)
    expected = class_means(measured, edges)[class_of(remaining, edges)]
    mean = max(float(expected.mean()), 1e-9)
    relative = measured.value.std(ddof=1) / max(measured.value.mean(), 1e-9) if len(measured) > 1 else 0.5
    sigma = np.sqrt(np.log1p(max(float(relative), _LEAST_CV) ** 2))
    last = min(len(remaining), _TAIL * slots)
    spans = np.empty(draws)
    for number in range(draws):
        jobs = expected[-last:] * rng.lognormal(-(sigma**2) / 2, sigma, last)
        jobs *= work[number] / (mean * len(remaining))
        before = work[number] * (1 - last / len(remaining)) / slots
        if last == len(remaining):  # all are drawn: together they take what was drawn for the whole
            jobs *= work[number] / max(float(jobs.sum()), 1e-9)
        spans[number] = before + makespan_of(jobs, slots)
    return spans
