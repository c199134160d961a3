"""From the values of finished jobs to the total of a run, with its uncertainty: sampling theory, in numpy alone.

Jobs are ordered by expected work, and the order is cut into classes of equal size. The mean of a class stands for
its unfinished jobs. The spread of the total is drawn from a t distribution on the logarithm, as costs are skewed.
``benchmarks/estimate`` measures how often the intervals hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CLASSES",
    "DRAWS",
    "Measured",
    "class_edges",
    "class_means",
    "class_of",
    "failure_draws",
    "quantiles",
    "total_draws",
]

Floats = NDArray[np.float64]

CLASSES = 12
"""Classes of expected work, and so the number of pilot jobs."""
DRAWS = 2000
_BLOCKS = 20  # of neighbouring jobs
_LARGEST_T = 5.0
_POOLED = 8.0  # jobs up to which the overall spread counts as much as that between neighbours in expected work


@dataclass(frozen=True)
class Measured:
    """What finished jobs took or cost.

    Attributes
    ----------
    rank
        Place of each job in the order of expected work of the whole run, 0 to 1.
    value
        What is measured of it, in any unit.
    position
        Place of each job in the plan, whose neighbours are neighbours in space.
    random
        Whether the job was chosen at random (a pilot job), and not by its place in the plan.
    """

    rank: Floats
    value: Floats
    position: Floats
    random: NDArray[np.bool_]

    def drawn(self, random: bool) -> Measured:
        """Return the jobs that were chosen at random, or the others."""
        kept = self.random == random
        return Measured(self.rank[kept], self.value[kept], self.position[kept], self.random[kept])

    def __len__(self) -> int:
        """Return the number of jobs."""
        return len(self.value)


def class_edges(measured: Measured) -> Floats:
    """Return the edges of the classes, 0 to 1, each with at least one finished job (two where there are many)."""
    number = min(CLASSES, len(measured) // 2 if len(measured) >= 2 * CLASSES else len(measured))
    edges = np.linspace(0.0, 1.0, number + 1)
    counts = np.histogram(measured.rank, edges)[0]
    kept, waiting = [0.0], 0
    for edge, count in zip(edges[1:], counts, strict=True):
        waiting += int(count)
        if waiting:
            kept.append(float(edge))
            waiting = 0
    kept[-1] = 1.0
    return np.array(kept)


def class_means(measured: Measured, edges: Floats) -> Floats:
    """Return the mean of each class."""
    place = class_of(measured.rank, edges)
    return np.bincount(place, measured.value, len(edges) - 1) / np.bincount(place, minlength=len(edges) - 1)


def total_draws(
    measured: Measured, remaining: Floats, rng: np.random.Generator, *, draws: int = DRAWS, drift: float = 0.0
) -> Floats:
    """Draw the total of the jobs that are not finished.

    The jobs that were chosen at random tell of the whole run. The others finish in the order of the plan, and so of
    space: what they tell of the rest counts by how alike neighbours are. The two are weighted by their variances.

    Parameters
    ----------
    remaining
        Ranks of the unfinished jobs.
    drift
        Relative spread of what changes for all of them together, and that no sample shows.

    Returns
    -------
    One total per draw, in the unit of ``measured.value``. Zeros where nothing remains.
    """
    if not len(remaining):
        return np.zeros(draws)
    samples = [sample for sample in (measured.drawn(True), measured.drawn(False)) if len(sample)]
    totals = np.array([_expected(sample, remaining) for sample in samples])
    done = len(measured) / (len(measured) + len(remaining))
    variances = np.array([_variance(sample, remaining) for sample in samples])
    variances += (
        len(remaining) ** 2
        * _variance_in_space(measured)
        * np.array([done if sample.random.all() else 1.0 for sample in samples])
    )
    variances = np.maximum(variances, (totals * 1e-6) ** 2 + 1e-18)
    if len(samples) == 2:  # what they differ by more than by chance is the fault of the sample that was not random
        variances[1] += max(0.0, (totals[0] - totals[1]) ** 2 - variances[0])
    expected = float((totals / variances).sum() / (1 / variances).sum())
    relative = float(np.sqrt(1 / (1 / variances).sum())) / max(expected, 1e-18)
    if expected <= 0:
        return np.zeros(draws)
    t = np.clip(rng.standard_t(max(len(measured) - 2, 1), draws), -_LARGEST_T, _LARGEST_T)
    shift = rng.normal(0.0, drift, draws) if drift else 0.0
    return np.asarray(expected * np.exp(t * relative + shift), dtype=float)


def _left(edges: Floats, remaining: Floats) -> NDArray[np.int64]:
    """Return how many unfinished jobs each class has."""
    return np.bincount(class_of(remaining, edges), minlength=len(edges) - 1)


def _expected(sample: Measured, remaining: Floats) -> float:
    edges = class_edges(sample)
    return float(_left(edges, remaining) @ class_means(sample, edges))


def _variance(sample: Measured, remaining: Floats) -> float:
    """Return the variance of the expected total of the unfinished jobs."""
    number = len(sample)
    if number < 2:
        return float((len(remaining) * sample.value.mean()) ** 2)
    edges = class_edges(sample)
    left = _left(edges, remaining)
    values = sample.value[np.argsort(sample.rank, kind="stable")]
    overall = float(values.var(ddof=1))
    neighbours = float((np.diff(values) ** 2).sum() / 2 / (number - 1))
    weight = min(1.0, _POOLED / number)
    spread = weight * overall + (1 - weight) * neighbours
    held = np.bincount(class_of(sample.rank, edges), minlength=len(left))
    of_means = float((left**2 / held).sum()) * spread
    return float(number / max(number - 1, 1) * (of_means + left.sum() * spread))


def _variance_in_space(measured: Measured) -> float:
    """Return the variance of the mean residual between regions, as neighbours in the plan show it, beyond chance."""
    if len(measured) < 2 * _BLOCKS:
        return 0.0
    edges = class_edges(measured)
    residual = measured.value - class_means(measured, edges)[class_of(measured.rank, edges)]
    blocks = np.array_split(residual[np.argsort(measured.position, kind="stable")], _BLOCKS)
    means = np.array([block.mean() for block in blocks])
    by_chance = np.mean([block.var(ddof=1) / len(block) for block in blocks])
    return max(0.0, float(means.var(ddof=1) - by_chance))


def failure_draws(
    failed: int, finished: int, rng: np.random.Generator, *, share: float = 1.0, draws: int = DRAWS
) -> Floats:
    """Draw the factor by which failed attempts raise a total.

    The rate of failures is drawn from a Beta distribution after Jeffreys' prior; a failed job is repeated until it
    ends well.

    Parameters
    ----------
    failed, finished
        Attempts that ended so.
    share
        What a failed attempt takes or costs, as a share of one that ends well.
    """
    rate = np.minimum(rng.beta(failed + 0.5, finished + 0.5, draws), 0.9)
    return np.asarray(1.0 + share * rate / (1.0 - rate), dtype=float)


def quantiles(draws: Floats) -> tuple[float, float, float, float, float]:
    """Return the 5, 10, 50, 90 and 95 % quantiles."""
    p05, p10, p50, p90, p95 = np.quantile(draws, [0.05, 0.1, 0.5, 0.9, 0.95]).tolist()
    return p05, p10, p50, p90, p95


def class_of(rank: Floats, edges: Floats) -> NDArray[np.int64]:
    """Return the number of the class that each rank lies in."""
    return np.clip(np.searchsorted(edges, rank, side="right") - 1, 0, len(edges) - 2).astype(np.int64)
