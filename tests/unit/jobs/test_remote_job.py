"""Submit or attach: one job per tile, whatever breaks where. A scripted platform stands in for faults."""

from __future__ import annotations

import json
import multiprocessing
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from upscaling.errors import ErrorClass, PlatformError, TileFailedError, UpscalingError
from upscaling.jobs import remote_job as remote
from upscaling.jobs import results_wait
from upscaling.jobs.platform import JobState, Patience
from upscaling.jobs.receipts import Receipt, open_receipt
from upscaling.jobs.remote_job import run_remote
from upscaling.jobs.waits import Waits
from upscaling.model import Algorithm, Bounds, FetchedAsset, Outcome, Tile, TileJob

PATIENCE = Patience(shortest=0.001, longest=0.002, total=60, outage=60, lag=0.01)
DROPPED = PlatformError("connection dropped", error_class=ErrorClass.TRANSIENT, outcome_unknown=True)
TOO_MANY = PlatformError("429", error_class=ErrorClass.TRANSIENT)
LIMIT = PlatformError("ConcurrentJobLimit", error_class=ErrorClass.TRANSIENT)
WRONG = PlatformError("ProcessUnsupported: foo", error_class=ErrorClass.PERMANENT)
REFUSED = PlatformError("TokenInvalid", error_class=ErrorClass.AUTH)


class FakeFaultyPlatform:
    """Holds jobs in memory; ``before`` and ``after`` raise the next scripted fault of an action, if any."""

    def __init__(self, *, ends: str = "finished", log: str = "boom", memory_levels: int = 0) -> None:
        self.jobs: dict[str, dict[str, str]] = {}
        self.before: dict[str, list[Exception | None]] = {}
        self.after: dict[str, list[Exception | None]] = {}
        self.calls: list[str] = []
        self.ends, self.log, self.memory_levels = ends, log, memory_levels
        self.asked_rungs: list[int] = []

    def _do(self, action: str, effect: Callable[[], Any]) -> Any:
        self.calls.append(action)
        for script in (self.before, self.after):
            fault = script.get(action, []).pop(0) if script.get(action) else None
            if script is self.after:
                result = effect()
            if fault is not None:
                raise fault
        return result

    def find(self, job: TileJob, *, fresh: bool, without: frozenset[str]) -> str | None:
        usable = {"created", "queued", "running", "finished"}

        def effect() -> str | None:
            found = [
                i for i, j in self.jobs.items() if j["key"] == job.key and j["status"] in usable and i not in without
            ]
            return found[-1] if found else None

        return self._do("find", effect)

    def create(self, job: TileJob, memory_level: int) -> str:
        self.asked_rungs.append(memory_level)

        def effect() -> str:
            identifier = f"j{len(self.jobs) + 1}"
            self.jobs[identifier] = {"key": job.key, "status": "created"}
            return identifier

        return self._do("create", effect)

    creates_idle = True
    least = 1, True

    def twin(self, job: TileJob, job_id: str, without: frozenset[str]) -> str | None:
        return None

    def least_results(self, job: TileJob) -> tuple[int, bool]:
        return self.least

    def looks_cheaply(self) -> bool:
        return True

    def start(self, job_id: str, before: Callable[[], None]) -> None:
        before()

        def effect() -> None:
            assert self.jobs[job_id]["status"] == "created", "a job was started twice"
            self.jobs[job_id]["status"] = "running"

        self._do("start", effect)

    def state(self, job_id: str) -> JobState | None:
        def effect() -> JobState | None:
            if job_id not in self.jobs:
                return None
            status = self.jobs[job_id]["status"]
            if status == "running":
                self.jobs[job_id]["status"] = self.ends
            return JobState(status, {"costs": 1})

        return self._do("state", effect)

    def reasons(self, job_id: str, log: Path) -> str:
        return self.log

    def fetch(self, job: TileJob, job_id: str, folder: Path) -> Outcome:
        return self._do("fetch", lambda: Outcome((FetchedAsset(folder / "a.tif", "a"),), {"id": job_id}))

    def await_place(self) -> None:
        """There is always a place."""

    def await_news(self, job_id: str, status: str, seconds: float) -> None:
        remote.time.sleep(seconds)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote.time, "sleep", lambda _seconds: None)
    results_wait._lists.clear()


@pytest.fixture
def job(tmp_path: Path) -> TileJob:
    algorithm = Algorithm("openeo", "p", tmp_path / "p.json", "0" * 64, "p.json")
    tile = Tile("t1", "EPSG:32632", Bounds(0, 0, 1, 1))
    places = {"folder": tmp_path / "tiles/t1", "receipt": tmp_path / "receipts/t1.json", "scratch": tmp_path / "s"}
    return TileJob("run", tile, "a" * 64, {}, algorithm, **places)


def run(job: TileJob, platform: FakeFaultyPlatform, patience: Patience = PATIENCE) -> Outcome:
    with open_receipt(job) as receipt:
        return run_remote(job, receipt, platform, patience)


def receipt_of(job: TileJob) -> dict[str, Any]:
    return json.loads(job.receipt.read_text())


def test_the_plain_way(job: TileJob) -> None:
    platform = FakeFaultyPlatform()
    assert run(job, platform).job["id"] == "j1"
    assert receipt_of(job)["state"] == "finished"
    assert receipt_of(job)["facts"] == {"costs": 1}
    assert platform.calls.count("create") == platform.calls.count("start") == 1


def test_a_start_for_which_there_is_no_place_is_not_written_down(job: TileJob) -> None:
    """A start on disk makes the next run wait for what became of it."""
    seen: list[str] = []

    class FakeFullPlatform(FakeFaultyPlatform):
        def start(self, job_id: str, before: Callable[[], None]) -> None:
            seen.append(receipt_of(job)["state"])
            if len(seen) <= 2:
                raise TOO_MANY
            super().start(job_id, before)
            seen.append(receipt_of(job)["state"])

    assert run(job, FakeFullPlatform()).job["id"] == "j1"
    assert seen == ["created", "created", "created", "started"]


@pytest.mark.parametrize(
    ("when", "action", "fault", "jobs"),
    [
        ("after", "create", DROPPED, 1),  # the job exists: adopted
        ("before", "create", DROPPED, 1),  # it never arrived: created again
        ("before", "create", TOO_MANY, 1),
        ("before", "start", LIMIT, 1),
        ("before", "start", DROPPED, 1),
        ("after", "start", DROPPED, 1),  # it started: `start` asserts that it is not started twice
        ("before", "state", DROPPED, 1),
        ("before", "find", DROPPED, 1),
        ("before", "fetch", DROPPED, 1),
    ],
)
def test_one_fault_never_makes_a_second_job(job: TileJob, when: str, action: str, fault: Exception, jobs: int) -> None:
    platform = FakeFaultyPlatform()
    getattr(platform, when)[action] = [fault] * 3 if action != "create" else [fault]
    if (when, action) == ("after", "start"):
        platform.after["start"] = [fault]
    assert run(job, platform).job["id"] == "j1"
    assert len(platform.jobs) == jobs
    assert {entry["status"] for entry in platform.jobs.values()} == {"finished"}


@pytest.mark.parametrize("action", ["find", "create", "start", "state", "fetch"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_anywhere_and_started_again_there_is_one_job(job: TileJob, when: str, action: str) -> None:
    class Killed(BaseException):
        pass

    platform = FakeFaultyPlatform()
    getattr(platform, when)[action] = [Killed()]
    with pytest.raises(Killed):
        run(job, platform)
    run(job, platform)
    assert len(platform.jobs) == 1
    assert platform.jobs["j1"]["status"] == "finished"


def test_a_failed_job_says_why_and_only_the_next_run_submits_again(job: TileJob) -> None:
    platform = FakeFaultyPlatform(ends="error", log="OpenEO batch job failed: java heap space")
    with pytest.raises(TileFailedError, match="java heap space") as caught:
        run(job, platform)
    assert caught.value.error_class is ErrorClass.MEMORY
    assert len(platform.jobs) == 1
    assert receipt_of(job)["error"]["class"] == "out-of-memory"
    platform.ends = "finished"
    run(job, platform)
    assert len(platform.jobs) == 2
    assert [entry["job_id"] for entry in receipt_of(job)["history"]] == ["j1"]


def test_no_data_is_a_success(job: TileJob) -> None:
    outcome = run(job, FakeFaultyPlatform(ends="error", log="NoDataAvailable There is no data available"))
    assert outcome.assets == ()
    assert receipt_of(job)["state"] == "finished"


def test_a_refused_graph_fails_without_a_job_and_a_refused_login_keeps_the_job(job: TileJob) -> None:
    platform = FakeFaultyPlatform()
    platform.before["create"] = [WRONG]
    with pytest.raises(TileFailedError, match="ProcessUnsupported"):
        run(job, platform)
    assert platform.jobs == {}
    platform.before["state"] = [REFUSED]
    with pytest.raises(TileFailedError, match="TokenInvalid"):
        run(job, platform)
    assert receipt_of(job)["state"] == "created"
    run(job, platform)
    assert len(platform.jobs) == 1


def test_a_vanished_job_is_submitted_again_by_the_next_run(job: TileJob) -> None:
    platform = FakeFaultyPlatform()
    platform.after["start"] = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        run(job, platform)
    platform.jobs.clear()
    assert run(job, platform).job["id"] == "j1"
    assert receipt_of(job)["history"][0]["why"] == "the platform does not know the job any more"


def test_a_job_that_takes_too_long_is_left_alone_and_found_again(job: TileJob) -> None:
    platform = FakeFaultyPlatform(ends="running")
    with pytest.raises(TileFailedError, match=r"still running .* left alone"):
        run(job, platform, replace(PATIENCE, total=0.05))
    platform.ends = "finished"
    run(job, platform)
    assert len(platform.jobs) == 1


def test_changed_work_gets_a_new_job_and_the_old_one_stays_in_the_history(job: TileJob) -> None:
    platform = FakeFaultyPlatform()
    run(job, platform)
    run(replace(job, key="b" * 64), platform)
    assert [entry["key"] for entry in platform.jobs.values()] == ["a" * 64, "b" * 64]
    assert receipt_of(job)["history"][0]["job_id"] == "j1"


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


class FakeBusyPlatform(FakeFaultyPlatform):
    """A job waits, then works, and is asked about often."""

    words = ("queued", "queued", "queued", "running", "running", "running")

    def state(self, job_id: str) -> JobState | None:
        found = super().state(job_id)
        number = self.calls.count("state") - 2  # the first look finds it created
        return JobState(self.words[number], {}) if 0 <= number < len(self.words) else found


def test_what_the_platform_says_is_written_once_per_change(job: TileJob, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, str | None]] = []
    advance = Receipt.advance

    def noting(receipt: Receipt, state: Any, **changes: Any) -> None:
        advance(receipt, state, **changes)
        written.append((state, receipt_of(job)["facts"].get("status")))

    monkeypatch.setattr(Receipt, "advance", noting)
    run(job, FakeBusyPlatform())
    assert written == [
        ("intent", None),
        ("created", None),
        ("started", "created"),
        ("started", "queued"),
        ("started", "running"),
        ("finished", None),
    ]


def test_a_lost_job_is_made_again_so_often_and_a_canceled_one_only_by_the_next_run(job: TileJob) -> None:
    platform = FakeFaultyPlatform(ends="error", log="Container released on a *lost* node")
    with pytest.raises(TileFailedError) as caught:
        run(job, platform, replace(PATIENCE, lost=3))
    assert caught.value.error_class is ErrorClass.LOST
    assert (len(platform.jobs), receipt_of(job)["lost"]) == (4, 3)
    platform.ends = "canceled"
    with pytest.raises(TileFailedError) as caught:
        run(job, platform)
    assert caught.value.error_class is ErrorClass.CANCELED
    assert (len(platform.jobs), receipt_of(job)["lost"]) == (5, 0)


def test_refused_results_keep_the_job_and_a_discarded_one_is_never_taken_again(job: TileJob) -> None:
    platform = FakeFaultyPlatform()
    bad = PlatformError("no raster", error_class=ErrorClass.OUTPUT)
    platform.before["fetch"] = [bad, bad]
    for _ in range(2):
        with pytest.raises(TileFailedError, match="no raster"):
            run(job, platform)
        assert (receipt_of(job)["state"], receipt_of(job)["error"]["class"]) == ("finished", "bad-output")
    run(job, platform)
    assert (len(platform.jobs), receipt_of(job)["error"]) == (1, None)
    with open_receipt(job) as receipt:
        receipt.discard("of no use")
    assert run(job, platform).job["id"] == "j2"


GONE = PlatformError("404 ResultsNotFound", error_class=ErrorClass.PERMANENT, code=results_wait.RESULTS_GONE)
NOT_FINISHED = PlatformError("400 JobNotFinished", error_class=ErrorClass.PERMANENT, code="JobNotFinished")


class FakeLaggyPlatform(FakeFaultyPlatform):
    """Shows one list of results after another, the last for ever; an exception stands for a refusal."""

    def __init__(self, *lists: tuple[str, ...] | Exception, least: tuple[int, bool] = (1, True)) -> None:
        super().__init__()
        self.lists, self.least = list(lists), least

    def fetch(self, job: TileJob, job_id: str, folder: Path) -> Outcome:
        self.calls.append("fetch")
        shown = self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]
        if isinstance(shown, Exception):
            raise shown
        return Outcome(tuple(FetchedAsset(folder / name, name) for name in shown), {"id": job_id})


DATED = "ndvi_2023-06-01.tif", "ndvi_2023-06-11.tif"
LAGGY: dict[str, tuple[FakeLaggyPlatform, int]] = {
    "empty for a moment": (FakeLaggyPlatform((), (), ("a",)), 1),
    "half, and the process saves two": (
        FakeLaggyPlatform(("a",), ("a",), ("a",), ("a",), ("a", "b"), least=(2, True)),
        2,
    ),
    "half of a list that grows": (FakeLaggyPlatform(DATED[:1], DATED[:1], DATED), 2),
    "refused for a moment": (FakeLaggyPlatform(GONE, GONE, GONE, GONE, ("a",)), 1),
    "not finished, it says": (FakeLaggyPlatform(NOT_FINISHED, NOT_FINISHED, ("a",)), 1),
    "no data": (FakeLaggyPlatform(()), 0),
    "fewer than usual, for good": (FakeLaggyPlatform(("a",), least=(2, False)), 1),
}


@pytest.mark.parametrize("case", LAGGY)
def test_results_that_lag_or_grow_are_looked_at_again(job: TileJob, case: str) -> None:
    platform, files = LAGGY[case]
    assert len(run(job, platform).assets) == files
    assert platform.calls.count("create") == 1


def test_a_list_that_lacks_what_the_other_tiles_have_is_looked_at_again(job: TileJob) -> None:
    others = [replace(job, id=f"t{number}", receipt=job.receipt.with_name(f"t{number}.json")) for number in (2, 3)]
    for other in others:
        platform = FakeLaggyPlatform((f"{other.id}_ndvi", f"{other.id}_mask"))
        assert len(run(other, platform).assets) == 2
    assert platform.calls.count("fetch") == 1, "the first tile's list confirms the second's"
    half = FakeLaggyPlatform(*[("t1_ndvi",)] * 4, ("t1_ndvi", "t1_mask"))
    assert len(run(job, half).assets) == 2


PAID = {
    "empty, and nobody saw it at work": (FakeLaggyPlatform(()), "lists no result files"),
    "refused for good": (FakeLaggyPlatform(GONE), "404 ResultsNotFound"),
    "half for good": (FakeLaggyPlatform(("a",), least=(2, True)), "its process saves 2 results"),
}


@pytest.mark.parametrize("case", PAID)
def test_results_that_are_not_there_after_the_lag_are_never_paid_again(job: TileJob, case: str) -> None:
    platform, words = PAID[case]
    if "nobody" in case:
        platform.jobs["j1"] = {"key": job.key, "status": "finished"}
    for _ in range(3):
        with pytest.raises(TileFailedError, match=words) as caught:
            run(job, platform)
        assert caught.value.error_class is ErrorClass.OUTPUT
        assert receipt_of(job)["state"] == "finished"
    assert len(platform.jobs) == 1
    platform.lists = [("a", "b")]
    assert run(job, platform).job["id"] == "j1"
    with open_receipt(job) as receipt:
        receipt.refuse("bad-output", "once more")
        receipt.discard("as somebody decided")
    assert run(job, platform).job["id"] == "j2"


def test_a_job_that_is_deleted_before_its_start_is_made_again_in_the_same_run(job: TileJob) -> None:
    class FakeForgetfulPlatform(FakeFaultyPlatform):
        def create(self, job: TileJob, memory_level: int) -> str:
            made = super().create(job, memory_level)
            if self.calls.count("create") > 1:
                return made
            del self.jobs[made]
            return "j0"

    platform = FakeForgetfulPlatform()
    assert run(job, platform).job["id"] == "j1"
    assert receipt_of(job)["unusable"] == ["j0"]


def test_a_listed_job_that_is_not_there_is_replaced_and_one_that_is_there_is_marked_as_adopted(job: TileJob) -> None:
    platform = FakeFaultyPlatform()
    platform.jobs["j1"] = {"key": job.key, "status": "finished"}
    assert run(job, platform).job["id"] == "j1"
    assert receipt_of(job)["adopted"] is True
    other = replace(job, id="t2", key="b" * 64, receipt=job.receipt.with_name("t2.json"))
    listing = iter(["j9", None])
    platform.find = lambda *_, **__: next(listing)  # type: ignore[method-assign]
    assert run(other, platform).job["id"] == "j2"
    assert receipt_of(other)["adopted"] is False


def test_of_two_that_start_the_same_work_one_uses_the_others_job(job: TileJob) -> None:
    class FakeSharedPlatform(FakeFaultyPlatform):
        def twin(self, job: TileJob, job_id: str, without: frozenset[str]) -> str | None:
            self.jobs.pop(job_id)
            self.jobs["theirs"] = {"key": job.key, "status": "running"}
            return "theirs"

    assert run(job, FakeSharedPlatform()).job["id"] == "theirs"
    assert receipt_of(job)["adopted"] is True


def test_a_day_that_the_platform_asks_to_wait_is_not_waited(job: TileJob, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(remote.time, "sleep", slept.append)
    day = PlatformError("429", error_class=ErrorClass.TRANSIENT, retry_after=86_400)
    platform = FakeFaultyPlatform()
    for action in ("find", "create", "start", "state", "fetch"):
        platform.before[action] = [day]
    run(job, platform)
    assert 60 <= max(slept) < 62


def test_why_a_start_never_worked_is_said(job: TileJob) -> None:
    platform = FakeFaultyPlatform()
    platform.before["start"] = [
        PlatformError("500: no quota", error_class=ErrorClass.TRANSIENT, outcome_unknown=True)
    ] * 9
    with pytest.raises(
        TileFailedError, match=r"started 5 times and is still created; the platform said: 500: no quota"
    ):
        run(job, platform, replace(PATIENCE, lag=0.0))


def test_a_start_that_is_refused_leaves_no_job_that_is_started_again(job: TileJob) -> None:
    platform = FakeFaultyPlatform()
    platform.before["start"] = [WRONG]
    with pytest.raises(TileFailedError, match="ProcessUnsupported"):
        run(job, platform)
    assert run(job, platform).job["id"] == "j2"


def test_a_failed_job_whose_log_cannot_be_read_is_not_waited_for(job: TileJob) -> None:
    platform = FakeFaultyPlatform(ends="error")

    def broken(job_id: str, log: Path) -> str:
        raise PlatformError("500: no log", error_class=ErrorClass.TRANSIENT)

    platform.reasons = broken  # type: ignore[method-assign]
    with pytest.raises(TileFailedError, match=r"its log cannot be read: 500: no log"):
        run(job, platform, replace(PATIENCE, lag=0.01))
    assert receipt_of(job)["state"] == "failed"


def test_results_that_are_broken_for_long_are_told_and_need_no_slot(
    job: TileJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    heard: list[tuple[str, bool]] = []
    waits = Waits(said.append)
    waits.listen(lambda tile, rests: heard.append((tile, rests)))
    monkeypatch.setattr(remote, "WAITS", waits)
    platform, seen = FakeFaultyPlatform(), list[Any]()

    def broken(job: TileJob, job_id: str, folder: Path) -> Outcome:
        seen.append(receipt_of(job)["facts"].get("waits"))
        if len(seen) < 4:
            raise PlatformError(f"500: no results of {job_id}", error_class=ErrorClass.TRANSIENT)
        return Outcome((FetchedAsset(folder / "a.tif", "a"),), {"id": job_id})

    platform.fetch = broken  # type: ignore[method-assign]
    run(job, platform, replace(PATIENCE, lag=0.0))
    assert seen[0] is None
    assert "500: no results of j1" in seen[1:]
    assert heard[0] == ("t1", True)
    assert heard[-1] == ("t1", False)
    assert said[0].startswith("waiting: 500: no results of j1")
    assert "waits" not in receipt_of(job)["facts"]


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
