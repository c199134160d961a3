"""How often the intervals of an estimate hold, on simulated runs.

    python benchmarks/estimate/calibration.py --runs 1000 --seed 1

Each run is another world: 60 to 2,000 jobs of 5 to 100 km, a minimum charge of 0 to 10, edge tiles clipped or not,
observations by latitude and by overlapping orbits that the model does not know, noise from job to job, 3 % of the jobs
two to five times as dear, failures of 0 to 8 % that are paid in part and repeated, waits in the queue, 2 to 20 slots.
The peer is what the field does: the mean cost per km² of as many random jobs, times the area.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upscaling.estimate.methods.schedule import makespan_draws, makespan_of
from upscaling.estimate.statistics import CLASSES, Measured, failure_draws, quantiles, total_draws

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class World:
    """One run: its jobs in the order of expected work, what they cost and take, and how often each fails."""

    aoi_km2: Floats
    cost: Floats
    seconds: Floats
    failures: NDArray[np.int64]
    share: float
    slots: int


def make_world(rng: np.random.Generator) -> World:
    """Draw one."""
    number = int(rng.choice([60, 120, 200, 500, 1000, 2000]))
    side = float(rng.choice([5, 10, 20, 50, 100]))
    span = rng.uniform(1, 15)
    latitude = np.clip(rng.uniform(-60, 65) + rng.uniform(-span / 2, span / 2, number), -75, 75)
    inside = np.where(rng.random(number) < rng.uniform(0.05, 0.5), rng.uniform(0.02, 1, number), 1.0)
    area = side**2 * (inside if rng.random() < 0.5 else np.ones(number))
    observations = 1 / np.cos(np.radians(latitude))
    overlap = np.where(rng.random(number) < rng.uniform(0, 0.6), rng.uniform(1.2, 2.0), 1.0)
    noise = rng.lognormal(0, rng.uniform(0.03, 0.35), number)
    dear = np.where(rng.random(number) < 0.03, rng.uniform(2, 5, number), 1.0)
    beyond = (
        rng.lognormal(np.log(6), 1.2) * area / side**2 * observations / observations.mean() * overlap * noise * dear
    )
    floor = rng.uniform(0, 10)
    cost = np.maximum(floor, beyond) if rng.random() < 0.5 else floor + beyond
    cost = np.ceil(cost) if rng.random() < 0.5 else cost
    seconds = rng.lognormal(np.log(200), 0.7) * (0.3 + 0.7 * beyond / beyond.mean())
    seconds = seconds * rng.lognormal(0, rng.uniform(0.1, 0.7), number)
    seconds = seconds + (rng.lognormal(np.log(30), 1.0, number) if rng.random() < 0.7 else 0.0)
    failures = rng.geometric(1 - rng.choice([0, 0, 0.01, 0.03, 0.08]), number) - 1
    order = np.lexsort((inside, np.round(np.log(area * observations) / 0.05)))
    return World(
        side**2 * inside[order], cost[order], seconds[order], failures[order],
        float(rng.uniform(0.2, 1.0)), int(rng.choice([2, 4, 10, 20])),
    )  # fmt: skip


def choose(number: int, pilots: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return one job at random of each class."""
    edges = np.linspace(0, number, min(number, pilots) + 1).astype(int)
    return np.array([rng.integers(first, last) for first, last in itertools.pairwise(edges)])


def one_run(world: World, pilots: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return errors, and whether each interval held the truth."""
    number, chosen = len(world.cost), choose(len(world.cost), pilots, rng)
    rank = (np.arange(number) + 0.5) / number
    rest = rng.permutation(np.setdiff1d(np.arange(number), chosen))
    paid = world.cost * (1 + world.share * world.failures)
    failed, finished = int(world.failures[chosen].sum()), len(chosen)
    at = np.arange(finished, dtype=float), np.ones(finished, dtype=bool)
    draws = paid[chosen].sum() + total_draws(Measured(rank[chosen], world.cost[chosen], *at), rank[rest], rng) * (
        failure_draws(failed, finished, rng, share=world.share)
    )
    cost, truth = quantiles(draws), float(paid.sum())
    tries = np.concatenate([np.full(1 + world.failures[job], world.seconds[job]) for job in rest])
    lasted = makespan_of(tries, world.slots)
    held = Measured(rank[chosen], world.seconds[chosen], *at)
    time = quantiles(makespan_draws(held, rank[rest], world.slots, rng, failed=failed))
    random = rng.choice(number, len(chosen), replace=False)
    naive = float((world.cost[random] / world.aoi_km2[random]).mean() * world.aoi_km2.sum())
    return {
        "cost 80": cost[1] <= truth <= cost[3],
        "cost 90": cost[0] <= truth <= cost[4],
        "time 80": time[1] <= lasted <= time[3],
        "time 90": time[0] <= lasted <= time[4],
        "error": abs(cost[2] / truth - 1),
        "naive": abs(naive / truth - 1),
        "time error": abs(time[2] / lasted - 1),
        "width": (cost[4] - cost[0]) / truth,
    }


def calibrate(runs: int, seed: int, pilots: int = CLASSES) -> dict[str, float]:
    """Return coverages, and medians of errors and of the width of the 90 % interval."""
    rng = np.random.default_rng(seed)
    rows = [one_run(make_world(rng), pilots, rng) for _ in range(runs)]
    shares = {name: float(np.mean([row[name] for row in rows])) for name in rows[0] if name[-1].isdigit()}
    return shares | {name: float(np.median([row[name] for row in rows])) for name in rows[0] if name not in shares}


def main() -> None:
    """Print a row per number of pilot jobs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pilots", type=int, nargs="*", default=[8, CLASSES, 16, 24])
    given = parser.parse_args()
    names = ["cost 80", "cost 90", "time 80", "time 90", "error", "naive", "time error", "width"]
    print("pilots  " + "  ".join(f"{name:>10}" for name in names))
    for pilots in given.pilots:
        found = calibrate(given.runs, given.seed, pilots)
        print(f"{pilots:6d}  " + "  ".join(f"{found[name]:10.3f}" for name in names))


if __name__ == "__main__":
    main()
