"""Submit or attach: one job per tile, whatever breaks where. A scripted platform stands in for faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.jobs.conftest import InThisThread
from tests.unit.jobs.fake_platform import PATIENCE, FakeFaultyPlatform, receipt_of, run
from upscaling.errors import ErrorClass, PlatformError, TileFailedError
from upscaling.jobs.platform import JobState
from upscaling.jobs.receipts import Receipt, open_receipt
from upscaling.jobs.withdrawn import put_back, withdraw
from upscaling.model import TileJob

DROPPED = PlatformError("connection dropped", error_class=ErrorClass.TRANSIENT, outcome_unknown=True)
TOO_MANY = PlatformError("429", error_class=ErrorClass.TRANSIENT)
LIMIT = PlatformError("ConcurrentJobLimit", error_class=ErrorClass.TRANSIENT)
WRONG = PlatformError("ProcessUnsupported: foo", error_class=ErrorClass.PERMANENT)
REFUSED = PlatformError("TokenInvalid", error_class=ErrorClass.AUTH)


def test_the_plain_way(job: TileJob) -> None:
    platform = FakeFaultyPlatform()
    assert run(job, platform).job["id"] == "j1"
    assert receipt_of(job)["state"] == "finished"
    assert receipt_of(job)["facts"] == {"costs": 1}
    assert platform.calls.count("create") == platform.calls.count("start") == 1


def test_a_tile_that_is_taken_out_while_it_waits_for_a_slot_is_not_submitted(job: TileJob) -> None:
    class FakeBusyPlatform(FakeFaultyPlatform):
        def await_place(self) -> None:
            withdraw(job.receipt.parents[1], job.id)

    platform = FakeBusyPlatform()
    with pytest.raises(TileFailedError, match="taken out of the run") as told:
        run(job, platform)
    assert told.value.error_class is ErrorClass.CANCELED
    assert platform.jobs == {}
    assert receipt_of(job)["error"]["class"] == "canceled"
    put_back(job.receipt.parents[1], [job.id])
    assert run(job, FakeFaultyPlatform()).job["id"] == "j1"


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
    platform.before["start"] = [REFUSED]
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


class FakeBusyPlatform(FakeFaultyPlatform):
    """A job waits, then works, and is asked about often."""

    words = ("queued", "queued", "queued", "running", "running", "running")

    def state(self, job_id: str) -> JobState | None:
        found = super().state(job_id)
        number = self.calls.count("state") - 1
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


def test_a_job_that_a_list_shows_under_way_is_not_asked_about(job: TileJob) -> None:
    news = [JobState("queued"), JobState("running"), None]

    class FakePlatformWithLists(FakeFaultyPlatform):
        def await_news(self, job_id: str, status: str, seconds: float) -> JobState | None:
            return news.pop(0) if news else None

        def state(self, job_id: str) -> JobState | None:
            assert not news, "a list said it all"
            return JobState("finished", {"costs": 1})

    assert run(job, FakePlatformWithLists()).assets
    assert receipt_of(job)["facts"] == {"costs": 1}


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


def test_a_job_that_was_just_created_is_started_without_a_question_and_one_too_new_to_be_found_after_one(
    job: TileJob,
) -> None:
    platform = FakeFaultyPlatform()
    platform.before["start"] = [
        None,
        PlatformError("no such job", error_class=ErrorClass.PERMANENT, code="JobNotFound", status=404),
    ]
    run(job, platform)
    assert platform.calls[:4] == ["find", "create", "start", "state"]
    with open_receipt(job) as receipt:
        receipt.discard("of no use")
    platform.calls.clear()
    assert run(job, platform).job["id"] == "j2"
    assert platform.calls[:4] == ["find", "create", "start", "state"]
    assert platform.calls.count("start") == 2
    assert len(platform.jobs) == 2


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


def test_a_day_that_the_platform_asks_to_wait_is_not_waited(job: TileJob, in_this_thread: InThisThread) -> None:
    slept: list[float] = []
    in_this_thread("sleep", slept.append)
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


@pytest.mark.parametrize("fault", [DROPPED, KeyboardInterrupt()], ids=["dropped", "killed"])
@pytest.mark.parametrize("late", range(1, 6))
def test_a_job_that_the_list_shows_late_is_not_created_again(job: TileJob, late: int, fault: BaseException) -> None:
    """What became of a creation is asked until the platform must show it, not once."""

    class FakeLatePlatform(FakeFaultyPlatform):
        def find(self, job: TileJob, *, fresh: bool, without: frozenset[str]) -> str | None:
            found = super().find(job, fresh=fresh, without=without)
            looks = self.calls[self.calls.index("create") :].count("find") if "create" in self.calls else 0
            return found if looks > late else None

        def looks_cheaply(self) -> bool:
            """A list of results is not confirmed: with this lag it would take seconds."""
            return False

    platform = FakeLatePlatform()
    platform.after["create"] = [fault]  # type: ignore[list-item]
    if not isinstance(fault, Exception):
        with pytest.raises(type(fault)):
            run(job, platform)
    assert run(job, platform, replace(PATIENCE, lag=60.0)).job["id"] == "j1"
    assert platform.calls.count("create") == 1
