"""Launching stops when the first tiles fail alike, or when the budget is reached; a run belongs to one process."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest

from upscaling.errors import UpscalingError
from upscaling.execution.limits import CircuitBreaker
from upscaling.util.locks import take_run


def test_the_first_tiles_that_fail_alike_stop_the_run() -> None:
    breaker = CircuitBreaker(alike=3)
    for number in range(3):
        assert breaker.launch() is None
        breaker.ended(error=f"unknown band B99 (job j-{number}f00; platform log: results/r/logs/t{number}.log)")
    reason = breaker.launch()
    assert reason is not None
    assert "first 3 tiles failed alike" in reason
    assert "unknown band B99" in reason


def test_tiles_that_somebody_canceled_say_nothing_about_the_others() -> None:
    breaker = CircuitBreaker(alike=2)
    for _ in range(4):
        assert breaker.launch() is None
        breaker.ended(error="was taken out of the run", canceled=True)
    for _ in range(2):  # nor were they a good end
        assert breaker.launch() is None
        breaker.ended(error="no such band")
    assert breaker.launch() is not None


def test_tiles_that_fail_differently_or_after_a_success_do_not() -> None:
    different = CircuitBreaker(alike=2)
    for words in ("no such band", "out of memory"):
        different.launch()
        different.ended(error=words)
    assert different.launch() is None
    after = CircuitBreaker(alike=2)
    after.launch()
    after.ended(costs=[1])
    for _ in range(5):
        after.launch()
        after.ended(error="no such band")
    assert after.launch() is None


def test_the_budget_counts_what_was_spent_and_what_is_under_way() -> None:
    breaker = CircuitBreaker(budget=10, spent=[2, 2])  # mean 2: 4 spent, room for three more
    assert [breaker.launch() for _ in range(3)] == [None, None, None]
    reason = breaker.launch()
    assert reason is not None
    assert "budget of 10" in reason
    assert CircuitBreaker(budget=10, spent=[11]).launch() is not None
    assert CircuitBreaker(budget=10).launch() is None


def _hold(folder: Path, held: Any) -> None:
    take_run(folder)
    held.set()
    time.sleep(60)


def test_a_run_belongs_to_one_process_and_the_other_is_told_whose(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, held))
    holder.start()
    try:
        assert held.wait(200)
        with pytest.raises(UpscalingError, match=rf"is being worked on by .*process {holder.pid}, since 20"):
            take_run(tmp_path)
        holder.kill()
        holder.join(200)
        take_run(tmp_path)  # a killed holder leaves no lock behind
        take_run(tmp_path)
    finally:
        holder.kill()
        holder.join(200)
