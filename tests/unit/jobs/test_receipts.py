"""Receipts: one process or thread at a time has a tile's, and none is overwritten blindly."""

from __future__ import annotations

import json
import multiprocessing
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.jobs.fake_platform import FakeFaultyPlatform, receipt_of, run
from upscaling.errors import UpscalingError
from upscaling.jobs import receipts
from upscaling.jobs.receipts import open_receipt, read_receipts
from upscaling.model import TileJob
from upscaling.monitor.earlier import earlier_jobs
from upscaling.monitor.progress import read_states
from upscaling.monitor.status import logs_of
from upscaling.results.gather import failure_reasons
from upscaling.util.files import write_json


def test_a_receipt_that_cannot_be_read_is_never_overwritten(job: TileJob) -> None:
    job.receipt.parent.mkdir()
    job.receipt.write_text('{"tile": "t1", ')
    platform = FakeFaultyPlatform()
    with pytest.raises(UpscalingError, match="may stand for a job that was paid"):
        run(job, platform)
    assert platform.calls == []
    assert job.receipt.read_text() == '{"tile": "t1", '


def _holds(job: TileJob, locked: Any, release: Any) -> None:
    with open_receipt(job):
        locked.set()
        release.wait(200)


def test_a_tile_is_locked_against_other_processes_and_other_tiles_are_not(job: TileJob) -> None:
    context = multiprocessing.get_context("spawn")
    locked, release = context.Event(), context.Event()
    holder = context.Process(target=_holds, args=(job, locked, release))
    second_locked = context.Event()
    second = context.Process(target=_holds, args=(job, second_locked, release))
    other_locked = context.Event()
    other_job = replace(job, id="t2", receipt=job.receipt.with_name("t2.json"))
    other = context.Process(target=_holds, args=(other_job, other_locked, release))
    try:
        holder.start()
        assert locked.wait(200)
        second.start()
        other.start()
        assert other_locked.wait(200)
        assert not second_locked.wait(0.5)
        release.set()
        assert second_locked.wait(200)
    finally:
        release.set()
        for process in (holder, second, other):
            process.join(200)


def test_threads_of_one_process_wait_for_each_other_and_keep_their_locks_when_another_tile_ends(job: TileJob) -> None:
    """POSIX locks belong to a process: closing the file for one tile would give up those of all the others."""
    others = [replace(job, id=f"t{number}", receipt=job.receipt.with_name(f"t{number}.json")) for number in range(2, 9)]
    at_once = {"now": 0, "most": 0}

    def work() -> None:
        with open_receipt(job):
            at_once["now"] += 1
            at_once["most"] = max(at_once["most"], at_once["now"])
            threading.Event().wait(0.02)
            at_once["now"] -= 1

    context = multiprocessing.get_context("spawn")
    locked, release = context.Event(), context.Event()
    with open_receipt(job):
        for other in others:
            with open_receipt(other):
                pass
        intruder = context.Process(target=_holds, args=(job, locked, release))
        intruder.start()
        assert not locked.wait(3)
    try:
        assert locked.wait(200)
        release.set()
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(200)
        assert at_once == {"now": 0, "most": 1}
    finally:
        release.set()
        intruder.join(200)


def test_an_earlier_receipt_keeps_its_memory_level_and_a_new_key_starts_at_none(job: TileJob) -> None:
    """Receipts of before counted it under another name; what its attempts ended with tells it too."""
    past = {"key": job.key, "state": "failed", "error": {"class": "out-of-memory", "message": "killed"}}
    old = {"tile": job.id, "key": job.key, "state": "started", "job_id": "j-2", "history": [past], "step": 1}
    job.receipt.parent.mkdir(parents=True, exist_ok=True)
    job.receipt.write_text(json.dumps(old))
    with open_receipt(job) as receipt:
        assert (receipt.state, receipt.job_id, receipt.memory_level) == ("started", "j-2", 1)
    with open_receipt(replace(job, key="another")) as receipt:
        assert (receipt.state, receipt.memory_level) == ("new", 0)


def test_a_new_key_forgets_what_was_counted_of_the_old_work_and_keeps_its_history(job: TileJob) -> None:
    with open_receipt(job) as receipt:
        counted = {"memory_level": 2, "lost": 1, "unusable": ["j0"], "adopted": True, "seen": True}
        receipt.advance("started", job_id="j1", attempt=3, facts={"costs": 4}, error={"class": "x"}, **counted)
        written = receipt.updated
    with open_receipt(job) as receipt:
        assert (receipt.memory_level, receipt.lost, receipt.unusable, receipt.seen) == (2, 1, ["j0"], True)
    with open_receipt(replace(job, key="another")) as receipt:
        assert (receipt.key, receipt.memory_level, receipt.lost, receipt.unusable) == ("another", 0, 0, [])
        assert (receipt.state, receipt.job_id, receipt.error, receipt.facts) == ("new", None, None, {})
        assert (receipt.adopted, receipt.seen, receipt.attempt) == (False, False, 3)
        past = {"key": job.key, "state": "started", "job_id": "j1", "at": written, "error": {"class": "x"}, "costs": 4}
        assert receipt.history == [past | {"why": "the tile's algorithm, parameters or platform changed"}]


def test_the_history_has_errors_and_costs_only_where_there_were_some_and_nothing_of_what_never_began(
    job: TileJob,
) -> None:
    with open_receipt(job) as receipt:
        receipt.start_over("nothing began")
        assert receipt.history == []
        receipt.advance("created", job_id="j1")
        receipt.start_over("once more")
        assert set(receipt.history[0]) == {"key", "state", "job_id", "at", "why"}


def test_earlier_receipts_count_the_memory_of_their_last_attempt_too(job: TileJob) -> None:
    hungry, other = {"class": "out-of-memory", "message": "m"}, {"class": "permanent", "message": "m"}
    job.receipt.parent.mkdir(parents=True)
    for error, past, level in [(hungry, [hungry], 2), (other, [hungry, other, None], 1), (None, [], 0)]:
        history = [{"error": one} if one else {} for one in past]
        old = {"tile": job.id, "key": job.key, "state": "failed", "error": error, "history": history}
        job.receipt.write_text(json.dumps(old))
        with open_receipt(job) as receipt:
            assert receipt.memory_level == level
    job.receipt.write_text(json.dumps(old | {"memory_level": 3}))
    with open_receipt(job) as receipt:
        assert receipt.memory_level == 3


def test_what_is_left_for_the_end_is_done_once_and_only_when_the_tile_is_done(job: TileJob) -> None:
    done: list[str] = []
    with open_receipt(job) as receipt:
        receipt.when_done = lambda: done.append(receipt_of(job)["state"])
        receipt.advance("finished")
        assert done == []
        receipt.advance("done")
        receipt.advance("done")
    assert done == ["done"], "it is on disk before"
    assert "when_done" not in receipt_of(job)
    assert "path" not in receipt_of(job)


def test_a_discarded_job_keeps_the_class_of_its_error_and_without_a_job_nothing_is_unusable(job: TileJob) -> None:
    with open_receipt(job) as receipt:
        receipt.discard("never made")
        assert (receipt.unusable, receipt.state) == ([], "failed")
        assert receipt.error == {"class": "permanent", "message": "never made"}
        receipt.advance("created", job_id="j1", error=None)
        receipt.refuse("bad-output", "no raster")
        assert (receipt.state, receipt.error) == ("finished", {"class": "bad-output", "message": "no raster"})
        receipt.discard("of no use")
        assert (receipt.unusable, receipt.error) == (["j1"], {"class": "bad-output", "message": "of no use"})


def test_all_receipts_of_a_run_are_read_in_order_and_what_is_none_is_not(tmp_path: Path) -> None:
    assert list(read_receipts(tmp_path)) == []
    folder = tmp_path / "receipts"
    (folder / "d.json").mkdir(parents=True)
    for name, text in {
        **{"b.json": '{"tile": "b"}', "a.json": "{", "c.json": "[1]", ".e.json": "{}", "f.tmp": "{}", ".lock": ""},
        "a-b.json.json": "{}",
    }.items():
        (folder / name).write_text(text)
    (folder / "gone.json").symlink_to("nowhere")
    found = list(read_receipts(tmp_path))
    assert found == [("a-b.json", {}), ("a", None), ("b", {"tile": "b"}), ("c", None), ("d", None)]


@pytest.mark.parametrize("text", ["[]", '{"tile": "t1"}', "null", '"x"', "1"])
def test_what_is_no_receipt_is_named_and_left(job: TileJob, text: str) -> None:
    job.receipt.parent.mkdir(parents=True)
    job.receipt.write_text(text)
    with pytest.raises(UpscalingError, match=r"receipt .*t1\.json cannot be read"), open_receipt(job):
        pass
    assert job.receipt.read_text() == text


def test_a_lock_is_taken_anew_when_its_run_was_deleted(job: TileJob) -> None:
    for _ in range(2):
        with open_receipt(job) as receipt:
            receipt.advance("created")
            lock = job.receipt.parent / ".lock"
            assert lock.exists()
            held = receipts._descriptors[lock.resolve()]
        with open_receipt(replace(job, id="t2", receipt=job.receipt.with_name("t2.json"))):
            assert receipts._descriptors[lock.resolve()] == held, "one for all tiles of a run"
        job.receipt.unlink()
        lock.unlink()


ODD: tuple[Any, ...] = (1, "x", [], [1], {"a": 1}, True, "2024-01-01", [[]])
FIELDS = ("state", "job_id", "attempt", "updated", "facts", "error", "history", "unusable")


@pytest.mark.parametrize("field", FIELDS)
def test_a_receipt_of_another_shape_blocks_nobody_and_is_never_taken_for_one(job: TileJob, field: str) -> None:
    row, text = SimpleNamespace(key=job.key), {"class": "permanent", "message": "m"}
    plan: Any = SimpleNamespace(tiles={job.id: row, "other": row}, facts={"run": "r"})
    whole = {"key": job.key, "state": "failed", "updated": "2024-01-01T00:00:00Z", "error": text}
    run_folder = job.receipt.parents[1]
    write_json(run_folder / "receipts" / "other.json", whole)
    for odd in ODD:
        write_json(job.receipt, {**whole, field: odd})
        states = read_states(run_folder, plan)
        assert states[1].error == "m"
        assert failure_reasons(plan, run_folder)["other"] == "permanent: m"
        list(earlier_jobs(run_folder, plan))
        logs_of(run_folder, job.id, plan)
        if states[0].error == "its receipt cannot be read":
            with pytest.raises(UpscalingError, match="holds what no receipt has"), open_receipt(job):
                pass
