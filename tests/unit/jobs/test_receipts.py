"""Receipts: one process or thread at a time has a tile's, and none is overwritten blindly."""

from __future__ import annotations

import json
import multiprocessing
import threading
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.jobs.fake_platform import FakeFaultyPlatform, run
from upscaling.errors import UpscalingError
from upscaling.jobs.receipts import open_receipt
from upscaling.model import TileJob


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
        release.wait(30)


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
        assert locked.wait(30)
        second.start()
        other.start()
        assert other_locked.wait(30)
        assert not second_locked.wait(0.5)
        release.set()
        assert second_locked.wait(30)
    finally:
        release.set()
        for process in (holder, second, other):
            process.join(30)


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
        assert locked.wait(30)
        release.set()
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert at_once == {"now": 0, "most": 1}
    finally:
        release.set()
        intruder.join(30)


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
