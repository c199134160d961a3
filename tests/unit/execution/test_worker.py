"""What the worker makes of its orders, without a platform."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from tests.planned import planned_run, tiles_of
from upscaling.errors import TileFailedError
from upscaling.execution import worker as module
from upscaling.execution.tile import run_tile
from upscaling.execution.worker import Worker
from upscaling.jobs.receipts import open_receipt
from upscaling.jobs.withdrawn import withdraw
from upscaling.planning.plan import job_of, load_plan
from upscaling.util.files import read_json, write_json


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A planned run of four tiles whose platform nobody will ask."""
    return planned_run(tmp_path, "http://127.0.0.1:1/openeo", columns=2, rows=2, auth="none", stop_after=2)


@pytest.fixture
def run(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Run tiles one after the other, each with what it does; return the answers."""

    def run(*work: tuple[str, Callable[[], Any]]) -> list[dict[str, Any]]:
        answers, acts = io.StringIO(), dict(work)
        monkeypatch.setattr(module, "run_tile", lambda tile, **_: acts[tile]())
        worker = Worker(run_folder, answers)
        for tile, _ in work:
            worker.run(tile, None)
        return [json.loads(line) for line in answers.getvalue().splitlines()]

    return run


def fail(words: str) -> Callable[[], None]:
    def act() -> None:
        raise TileFailedError(words)

    return act


@pytest.mark.parametrize("name", ["../../../escaped", "/tmp/escaped", "a\x00b", "\udcff", "$(id)", "x" * 4000])
def test_a_name_that_is_no_tile_of_the_plan_is_refused_before_anything_is_named_after_it(
    name: str, run: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    before = set(tmp_path.rglob("*"))
    (answer,) = run((name, lambda: pytest.fail("begun")))
    assert answer["error"].startswith("the plan in ")
    assert set(tmp_path.rglob("*")) == before


def test_another_work_than_the_one_that_was_asked_for_is_not_begun(run_folder: Path) -> None:
    answers = io.StringIO()
    Worker(run_folder, answers).run(tiles_of(run_folder)[0], "0" * 64)
    assert "was changed since this run began" in json.loads(answers.getvalue())["error"]


def test_a_good_end_and_two_kinds_of_bad_ones_are_one_line_each(
    run: Callable[..., list[dict[str, Any]]], run_folder: Path
) -> None:
    good, failed, broken, _ = tiles_of(run_folder)
    answers = run((good, list), (failed, fail("the platform\nsays \ud800 no")), (broken, lambda: {}["missing"]))
    assert [answer["error"] for answer in answers[:2]] == [None, "the platform says no"]
    assert answers[2]["error"].startswith("KeyError: 'missing' (bug in eo-upscaling, please report; traceback in ")
    logs = run_folder / "logs"
    assert (logs / f"{good}.log").read_text() == ""
    told = (logs / f"{failed}.log").read_text()
    assert "the platform says   no" in told  # without the half character, which no file takes
    assert "Traceback" not in told
    assert "Traceback" in (logs / f"{broken}.log").read_text()


def test_what_is_logged_while_results_are_checked_in_another_thread_is_in_the_tiles_own_log(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[str] = set()

    def check(tile: str) -> None:
        threads.add(threading.current_thread().name)
        logging.getLogger("checks").warning("seen %s", tile)

    def run_tile(tile: str, *, checks: Executor, **_: Any) -> None:
        checks.submit(copy_context().run, check, tile).result()

    monkeypatch.setattr(module, "run_tile", run_tile)
    worker, tiles = Worker(run_folder, io.StringIO()), tiles_of(run_folder)
    for tile in tiles:
        worker.run(tile, None)
    assert [(run_folder / "logs" / f"{tile}.log").read_text().count("seen") for tile in tiles] == [1, 1, 1, 1]
    assert tiles[2] in (run_folder / "logs" / f"{tiles[2]}.log").read_text()
    assert len(threads) == 1, "a thread is kept for the next tile, with what PROJ has read"
    assert threading.current_thread().name not in threads


def test_after_tiles_that_fail_alike_no_more_are_begun(
    run: Callable[..., list[dict[str, Any]]], run_folder: Path
) -> None:
    begun: list[str] = []
    tiles = tiles_of(run_folder)
    answers = run(*((tile, lambda tile=tile: (begun.append(tile), fail("no such band")())) for tile in tiles))
    assert ["held" in answer for answer in answers] == [False, False, True, True]
    assert "the first 2 tiles failed alike" in answers[2]["held"]
    assert begun == tiles[:2]


def test_the_budget_counts_what_failed_attempts_cost(run_folder: Path) -> None:
    config = read_json(run_folder / "plan" / "config.json")
    config["backend"]["run_budget"] = 11
    write_json(run_folder / "plan" / "config.json", config)
    tile, row = next(iter(load_plan(run_folder).tiles.items()))
    receipt = {"key": row.key, "state": "failed", "history": [{"costs": 4}, {}], "facts": {"costs": 4}}
    write_json(run_folder / "receipts" / f"{tile}.json", receipt)
    reason = Worker(run_folder, io.StringIO()).breaker.launch()  # 8 are spent, and 4 more are to be expected
    assert reason is not None
    assert "has cost 8" in reason


@pytest.mark.parametrize(("state", "begun"), [("new", False), ("intent", True), ("failed", False)])
def test_a_withdrawn_tile_goes_on_only_if_its_job_may_be_on_the_platform(
    state: Any, begun: bool, run_folder: Path
) -> None:
    plan = load_plan(run_folder)
    job = job_of(plan, run_folder, tiles_of(run_folder)[0])
    with open_receipt(job) as receipt:
        if state != "new":
            receipt.advance(state)
    withdraw(run_folder, job.id)

    class FakeBackend:
        def run(self, *_: Any) -> Any:
            raise TileFailedError("it runs")

    with pytest.raises(TileFailedError, match="it runs" if begun else "taken out of the run"):
        run_tile(job.id, run_folder=run_folder, plan=plan, backend=FakeBackend())  # type: ignore[arg-type]
