"""Totals and times from samples: what must hold exactly, and a small calibration."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from tests.conftest import ROOT
from upscaling.estimate.methods.schedule import makespan_draws, makespan_of, overhead_of
from upscaling.estimate.statistics import Measured, class_edges, class_means, failure_draws, total_draws


def sample(rank: list[float], value: list[float], random: bool = True) -> Measured:
    position = np.arange(len(rank), dtype=float)
    return Measured(np.array(rank), np.array(value), position, np.full(len(rank), random))


def test_a_class_without_a_job_is_joined_to_its_neighbour() -> None:
    measured = sample([0.05, 0.1, 0.9], [1.0, 3.0, 5.0])
    edges = class_edges(measured)
    assert edges[0] == 0
    assert edges[-1] == 1
    assert len(edges) == 3
    assert class_means(measured, edges).tolist() == [2.0, 5.0]


def test_jobs_that_all_cost_the_same_leave_no_doubt() -> None:
    ranks = np.linspace(0.02, 0.98, 12).tolist()
    draws = total_draws(sample(ranks, [4.0] * 12), np.linspace(0, 1, 100), np.random.default_rng(0))
    assert draws == pytest.approx(400.0, rel=1e-4)
    assert not total_draws(sample(ranks, [4.0] * 12), np.empty(0), np.random.default_rng(0)).any()


def test_the_mean_of_each_class_stands_for_its_unfinished_jobs() -> None:
    """Dear jobs are done, cheap ones remain: the total is that of cheap jobs."""
    measured = sample([0.1, 0.2, 0.8, 0.9], [1.0, 1.0, 9.0, 9.0])
    remaining = np.full(50, 0.15)
    assert class_means(measured, class_edges(measured)).tolist() == [1.0, 9.0]
    assert np.median(total_draws(measured, remaining, np.random.default_rng(0))) < 100  # and 250 by the mean of all


def test_neighbours_that_are_alike_tell_less_of_the_rest() -> None:
    rng = np.random.default_rng(3)
    ranks = rng.random(200)
    spotty = rng.permutation(np.repeat([1.0, 3.0], 100))
    regional = np.repeat([1.0, 3.0], 100)
    rest = rng.random(200)
    widths = []
    for values in (spotty, regional):
        measured = Measured(ranks, values, np.arange(200.0), np.zeros(200, dtype=bool))
        low, high = np.quantile(total_draws(measured, rest, np.random.default_rng(0)), [0.05, 0.95])
        widths.append(high - low)
    assert widths[1] > 3 * widths[0]


def test_list_scheduling() -> None:
    assert makespan_of(np.array([3.0, 1.0, 1.0, 1.0]), 2) == 3.0
    assert makespan_of(np.array([1.0, 1.0, 1.0, 3.0]), 2) == 4.0
    assert makespan_of(np.array([5.0]), 10) == 5.0
    assert overhead_of(np.full(8, 10.0), 4, 30.0) == 5.0  # two rounds of 10 s took 30
    assert overhead_of(np.full(8, 10.0), 4, 12.0) == 0.0


def test_makespan_of_many_jobs_is_work_over_slots_and_a_tail() -> None:
    measured = sample(np.linspace(0.02, 0.98, 12).tolist(), [100.0] * 12)
    draws = makespan_draws(measured, np.linspace(0, 1, 5000), 10, np.random.default_rng(0))
    assert np.median(draws) == pytest.approx(5000 * 100 / 10, rel=0.1)
    assert draws.max() > np.median(draws) * 1.05  # never without doubt


def test_failures_raise_a_total_by_what_they_cost() -> None:
    rng = np.random.default_rng(0)
    assert np.median(failure_draws(50, 50, rng, share=1.0)) == pytest.approx(2.0, rel=0.1)
    assert np.median(failure_draws(50, 50, rng, share=0.1)) == pytest.approx(1.1, rel=0.1)
    assert np.median(failure_draws(0, 12, rng)) < 1.05


def test_intervals_hold_as_often_as_they_say() -> None:
    """The benchmark itself, small; its README has the figures of many runs."""
    path = ROOT / "benchmarks/estimate/calibration.py"
    spec = importlib.util.spec_from_file_location("calibration", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["calibration"] = module
    spec.loader.exec_module(module)
    found = module.calibrate(300, seed=1)
    assert 0.75 <= found["cost 80"] <= 0.88  # three standard errors of 300 runs around what 3,000 gave
    assert 0.85 <= found["cost 90"] <= 0.97
    assert found["time 80"] >= 0.75
    assert found["time 90"] >= 0.85
    assert found["error"] <= 0.12
    assert found["naive"] >= 1.7 * found["error"]
