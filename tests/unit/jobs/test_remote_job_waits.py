"""How long and how often a job is asked about, started and made again: by a clock that the waits move."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.jobs import fake_platform
from tests.unit.jobs.conftest import InThisThread
from tests.unit.jobs.fake_platform import FakeFaultyPlatform, receipt_of
from upscaling.errors import ErrorClass, PlatformError, TileFailedError
from upscaling.jobs.platform import JobState, Patience
from upscaling.jobs.receipts import open_receipt
from upscaling.model import FetchedAsset, Outcome, TileJob

PATIENCE = Patience(shortest=1.0, longest=64.0, total=10_000.0, outage=1_000.0, lag=100.0)
BUSY = PlatformError("429", error_class=ErrorClass.TRANSIENT)
DROPPED = PlatformError("dropped", error_class=ErrorClass.TRANSIENT, outcome_unknown=True)
UNKNOWN = PlatformError("no such job", error_class=ErrorClass.PERMANENT, code="JobNotFound", status=404)


def run(job: TileJob, platform: FakeFaultyPlatform, patience: Patience = PATIENCE) -> Outcome:
    return fake_platform.run(job, platform, patience)


class Clock:
    def __init__(self) -> None:
        self.now, self.slept = 0.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, in_this_thread: InThisThread) -> Clock:
    clock = Clock()
    in_this_thread("sleep", clock.sleep)
    in_this_thread("monotonic", lambda: clock.now)
    monkeypatch.setattr("random.uniform", lambda *_: 1.0)
    return clock


class FakeTimedPlatform(FakeFaultyPlatform):
    """Notes when it was asked to start a job; a list of results needs no confirmation."""

    def __init__(self, clock: Clock, **given: Any) -> None:
        super().__init__(**given)
        self.clock, self.started, self.paused = clock, list[float](), list[float]()

    def start(self, job_id: str, before: Callable[[], None]) -> None:
        self.started.append(self.clock.now)
        super().start(job_id, before)

    def await_news(self, job_id: str, status: str, seconds: float) -> None:
        self.paused.append(seconds)
        self.clock.now += seconds

    def looks_cheaply(self) -> bool:
        return False


def test_a_start_that_shows_no_effect_is_sent_again_after_the_lag_doubled_each_time(job: TileJob, clock: Clock) -> None:
    platform = FakeTimedPlatform(clock)
    platform.before["start"] = [DROPPED] * 9
    with pytest.raises(TileFailedError, match="was started 5 times and is still created; the platform said: dropped"):
        run(job, platform, replace(PATIENCE, longest=1.0))
    assert platform.started == [0, 100, 300, 700, 1500]
    assert clock.now == 3100
    assert receipt_of(job)["unusable"] == ["j1"]


def test_a_start_that_is_refused_is_sent_again_after_pauses_that_double(job: TileJob, clock: Clock) -> None:
    platform = FakeTimedPlatform(clock)
    platform.before["start"] = [BUSY] * 4
    run(job, platform)
    assert platform.started == [0, 1, 3, 7, 15]
    assert platform.paused[:5] == [1, 2, 4, 8, 1]
    assert receipt_of(job)["unusable"] == []
    assert "state" not in platform.calls[: platform.calls.index("start") + 5], "a fresh job needs no question"


def test_refusals_are_counted_anew_after_a_start_that_may_have_been_taken(job: TileJob, clock: Clock) -> None:
    platform = FakeTimedPlatform(clock)
    platform.before["start"] = [BUSY, BUSY, DROPPED, BUSY, BUSY]
    run(job, platform, replace(PATIENCE, longest=10.0))
    assert platform.started[:3] == [0, 1, 3]
    assert 103 <= platform.started[3] < 113
    assert [second - platform.started[3] for second in platform.started[4:]] == [1, 3]


def test_the_platforms_own_pause_counts_and_a_job_is_asked_about_once_it_is_no_longer_fresh(
    job: TileJob, clock: Clock
) -> None:
    platform = FakeTimedPlatform(clock)
    platform.before["start"] = [replace_after(BUSY, 30.0), replace_after(BUSY, 80.0), replace_after(BUSY, 5.0)]
    run(job, platform)
    assert platform.started == [0, 30, 110, 115]
    assert platform.calls[2:8] == ["start", "start", "state", "start", "state", "start"]


def replace_after(error: PlatformError, seconds: float) -> PlatformError:
    return PlatformError(str(error), error_class=error.error_class, retry_after=seconds)


def test_a_creation_that_is_refused_is_tried_again_after_pauses_that_double_until_the_outage_is_over(
    job: TileJob, clock: Clock
) -> None:
    platform = FakeTimedPlatform(clock)
    platform.before["create"] = [BUSY] * 3
    run(job, platform)
    assert clock.slept[:3] == [1, 2, 4]
    assert receipt_of(job)["attempt"] == 1
    other = replace(job, id="t2", key="b" * 64, receipt=job.receipt.with_name("t2.json"))
    platform.before["create"] = [BUSY] * 99
    clock.slept.clear()
    with pytest.raises(TileFailedError, match="429"):
        run(other, platform)
    assert clock.slept[:8] == [1, 2, 4, 8, 16, 32, 64, 64]
    assert 1000 < sum(clock.slept) <= 1064
    assert (receipt_of(other)["state"], receipt_of(other)["attempt"]) == ("new", 0)


def test_a_creation_whose_outcome_stays_unknown_is_repeated_five_times(job: TileJob, clock: Clock) -> None:
    platform = FakeTimedPlatform(clock)
    platform.before["create"] = [DROPPED] * 9
    with pytest.raises(TileFailedError, match="dropped"):
        run(job, platform)
    assert platform.calls.count("create") == 5
    assert clock.slept == [pytest.approx(share) for share in (3, 7, 15, 30, 45, 0)] * 5
    assert receipt_of(job)["state"] == "intent"


def test_a_job_that_the_platform_does_not_know_is_asked_about_until_the_lag_is_over(job: TileJob, clock: Clock) -> None:
    platform = FakeTimedPlatform(clock)
    platform.jobs["j1"] = {"key": job.key, "status": "queued"}
    platform.state = lambda job_id: None  # type: ignore[method-assign]
    platform.creates_idle = False
    with pytest.raises(TileFailedError, match="job j1 has vanished from the platform; the next run submits it again"):
        run(job, platform, replace(PATIENCE, lag=1.0))
    assert clock.slept == [pytest.approx(share) for share in (0.03, 0.07, 0.15, 0.30, 0.45, 0)]


def age(job: TileJob, seconds: float, **changes: Any) -> None:
    content = receipt_of(job)
    then = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds)
    job.receipt.write_text(json.dumps({**content, "updated": f"{then:%Y-%m-%dT%H:%M:%SZ}", **changes}))


def intent(job: TileJob) -> None:
    with open_receipt(job) as receipt:
        receipt.advance("intent", attempt=1)


@pytest.mark.parametrize(("old", "looks"), [(0, 6), (50, 5), (1000, 1)])
def test_what_became_of_an_earlier_intent_is_looked_for_within_the_lag_since(
    job: TileJob, clock: Clock, old: float, looks: int
) -> None:
    intent(job)
    age(job, old)
    platform = FakeTimedPlatform(clock)
    run(job, platform)
    assert platform.calls.index("create") == looks
    assert receipt_of(job)["attempt"] == 2


def test_of_an_intent_without_a_time_all_looks_are_taken(job: TileJob, clock: Clock) -> None:
    intent(job)
    age(job, 0, updated="")
    platform = FakeTimedPlatform(clock)
    run(job, platform)
    assert platform.calls.index("create") == len(PATIENCE.looks) + 1


def test_a_start_of_an_earlier_process_has_the_rest_of_the_lag_to_show(job: TileJob, clock: Clock) -> None:
    platform = FakeTimedPlatform(clock)
    platform.jobs["j1"] = {"key": job.key, "status": "created"}
    with open_receipt(job) as receipt:
        receipt.advance("started", job_id="j1")
    age(job, 60)
    run(job, platform, replace(PATIENCE, longest=1.0))
    (started,) = platform.started
    assert 30 < started <= 42


def test_a_job_that_runs_for_too_long_is_left_alone(job: TileJob, clock: Clock) -> None:
    platform = FakeTimedPlatform(clock, ends="running")
    with pytest.raises(TileFailedError, match=r"job j1 is still running after 2 h; it was left alone") as told:
        run(job, platform, replace(PATIENCE, total=7200.0))
    assert told.value.error_class is ErrorClass.TRANSIENT
    assert 7200 < clock.now <= 7264
    assert receipt_of(job)["state"] == "started"
    assert platform.paused[:2] == [1, 1]
    assert platform.paused[-1] == 64


def test_memory_is_raised_level_by_level_and_then_the_tile_fails(job: TileJob, clock: Clock) -> None:
    platform = FakeTimedPlatform(clock, ends="error", log="java heap space", memory_levels=2)
    with pytest.raises(TileFailedError, match=r"java heap space \(job j3; platform log: .*t1\.platform\.log\)"):
        run(job, platform)
    assert platform.asked_levels == [0, 1, 2]
    kept = receipt_of(job)
    assert (kept["memory_level"], kept["lost"], kept["state"]) == (2, 0, "failed")
    assert [past["why"] for past in kept["history"]] == [
        "ran out of memory; retried with memory_levels[0]",
        "ran out of memory; retried with memory_levels[1]",
    ]
    assert kept["history"][0]["error"] == {"class": "out-of-memory", "message": "java heap space"}


def test_a_lost_job_is_submitted_again_with_the_same_memory(job: TileJob, clock: Clock) -> None:
    platform = FakeTimedPlatform(clock, ends="error", log="the node was lost", memory_levels=2)
    platform.log = "Container released on a *lost* node"
    with pytest.raises(TileFailedError):
        run(job, platform, replace(PATIENCE, lost=1))
    assert platform.asked_levels == [0, 0]
    assert [past["why"] for past in receipt_of(job)["history"]] == [
        "the platform lost the job; submitted again (1 of 1)"
    ]


def test_a_canceled_job_is_no_platforms_fault_and_not_made_again(job: TileJob, clock: Clock) -> None:
    platform = FakeTimedPlatform(clock, ends="canceled", log="NoDataAvailable", memory_levels=2)
    with pytest.raises(TileFailedError, match=r"^job j1 was canceled on the platform \(job j1") as told:
        run(job, platform, replace(PATIENCE, lost=2))
    assert told.value.error_class is ErrorClass.CANCELED
    assert len(platform.jobs) == 1


class FakeForgetful(FakeTimedPlatform):
    def create(self, job: TileJob, memory_level: int) -> str:
        made = super().create(job, memory_level)
        self.jobs[made]["status"] = "error"  # not found by a look at the list
        self.gone = {*getattr(self, "gone", ()), made}
        return made

    def start(self, job_id: str, before: Callable[[], None]) -> None:
        raise UNKNOWN

    def state(self, job_id: str) -> JobState | None:
        return None if job_id in self.gone else super().state(job_id)


@pytest.mark.parametrize(("idle", "made"), [(True, 4), (False, 1)])
def test_jobs_that_are_deleted_before_their_start_are_made_again_three_times(
    job: TileJob, clock: Clock, idle: bool, made: int
) -> None:
    platform = FakeForgetful(clock)
    platform.creates_idle = idle
    with pytest.raises(TileFailedError, match=f"job j{made} has vanished from the platform"):
        run(job, platform)
    kept = receipt_of(job)
    assert len(platform.jobs) == made
    assert kept["unusable"] == [f"j{number}" for number in range(1, made)]
    assert {past["why"] for past in kept["history"]} == (
        {"the platform does not know the job, which was not started"} if idle else set()
    )


def test_a_job_that_was_deleted_after_its_download_is_made_again(job: TileJob, clock: Clock) -> None:
    platform = FakeTimedPlatform(clock)
    run(job, platform)
    with open_receipt(job) as receipt:
        receipt.advance("done", facts={"deleted": True, "costs": 3})
    platform.jobs["j1"]["status"] = "error"  # not in the list any more
    results = job.scratch / "results"
    results.mkdir(parents=True)
    assert run(job, platform).job["id"] == "j2"
    assert not results.exists()
    (past,) = receipt_of(job)["history"]
    assert (past["why"], past["costs"]) == ("its job was deleted after the download, and its files are gone", 3)


def test_a_job_that_is_done_stays_so_and_its_files_are_kept_for_another_look(job: TileJob, clock: Clock) -> None:
    platform = FakeTimedPlatform(clock)
    run(job, platform)
    with open_receipt(job) as receipt:
        receipt.advance("done")
    results = job.scratch / "results"
    results.mkdir(parents=True)
    assert run(job, platform).job["id"] == "j1"
    assert receipt_of(job)["state"] == "done"
    assert results.exists()


def test_files_that_were_not_acceptable_are_fetched_anew(job: TileJob, clock: Clock) -> None:
    platform = FakeTimedPlatform(clock)
    run(job, platform)
    with open_receipt(job) as receipt:
        receipt.refuse("bad-output", "no raster")
    results = job.scratch / "results"
    results.mkdir(parents=True)
    assert run(job, platform).job["id"] == "j1"
    assert not results.exists()
    assert receipt_of(job)["error"] is None


class FakeEmpty(FakeTimedPlatform):
    def fetch(self, job: TileJob, job_id: str, folder: Path) -> Outcome:
        return Outcome((), {"id": job_id})


@pytest.mark.parametrize(
    ("old", "changes", "accepted"),
    [
        (3600, {}, True),
        (90_000, {}, False),
        (3600, {"seen": False}, False),
        (3600, {"error": {"class": "bad-output", "message": "x"}}, False),
        (3600, {"state": "created"}, False),
    ],
)
def test_an_empty_list_is_a_result_only_of_a_job_that_was_seen_at_work_of_late(
    job: TileJob, clock: Clock, old: float, changes: dict[str, Any], accepted: bool
) -> None:
    platform = FakeEmpty(clock)
    platform.jobs["j1"] = {"key": job.key, "status": "finished"}
    with open_receipt(job) as receipt:
        receipt.advance("finished", job_id="j1", seen=True)
    age(job, old, **changes)
    if accepted:
        assert run(job, platform).assets == ()
    else:
        with pytest.raises(TileFailedError, match="lists no result files"):
            run(job, platform)


def test_a_job_that_failed_is_made_again_by_the_next_run_and_says_so(job: TileJob, clock: Clock) -> None:
    platform = FakeTimedPlatform(clock, ends="error", log="KeyError: B99")
    for _ in range(2):
        with pytest.raises(TileFailedError, match="B99"):
            run(job, platform)
    assert [past["why"] for past in receipt_of(job)["history"]] == ["run again after it failed"]


def test_a_log_that_may_not_be_read_is_the_reason(job: TileJob, clock: Clock) -> None:
    platform = FakeTimedPlatform(clock, ends="error")

    def refused(job_id: str, log: Path) -> str:
        raise PlatformError("TokenInvalid", error_class=ErrorClass.AUTH)

    platform.reasons = refused  # type: ignore[method-assign]
    with pytest.raises(TileFailedError, match=r"^TokenInvalid$") as told:
        run(job, platform)
    assert told.value.error_class is ErrorClass.AUTH
    assert receipt_of(job)["state"] == "started"


def test_a_start_that_is_refused_as_it_was_taken_before_is_waited_for(job: TileJob, clock: Clock) -> None:
    platform = FakeTimedPlatform(clock)

    def start(job_id: str, before: Callable[[], None]) -> None:
        platform.started.append(clock.now)
        before()
        platform.jobs[job_id]["status"] = "running"
        raise PlatformError("JobLocked", error_class=ErrorClass.PERMANENT, status=400)

    platform.start = start  # type: ignore[method-assign]
    assert run(job, platform).job["id"] == "j1"
    assert platform.started == [0]


def test_outputs_are_named_when_one_asset_comes(job: TileJob, clock: Clock) -> None:
    outcome = run(job, FakeTimedPlatform(clock))
    assert outcome.assets == (FetchedAsset(job.scratch / "results" / "a.tif", "a"),)
