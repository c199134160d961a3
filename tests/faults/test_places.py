"""What tiles share: places for their jobs, and one list of them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import pytest

from upscaling.backends.openeo import jobs
from upscaling.backends.openeo.account import Account
from upscaling.backends.openeo.jobs import JobWatch, StartGate
from upscaling.config import OpenEOBackendConfig
from upscaling.errors import ErrorClass, PlatformError
from upscaling.jobs.slots import SlotPool

LIMIT = PlatformError(
    "Job was not started because concurrent job limit (2) is reached.",
    error_class=ErrorClass.TRANSIENT,
    code="ConcurrentJobLimit",
    retry_after=0,
)
DROPPED = PlatformError("dropped", error_class=ErrorClass.TRANSIENT, outcome_unknown=True)
QUIET = PlatformError("429", error_class=ErrorClass.TRANSIENT, retry_after=100)


def fine() -> None:
    """The platform takes the start."""


def refusing(error: PlatformError) -> Callable[[], None]:
    def send() -> None:
        raise error

    return send


def ends(action: Callable[[], object], seconds: float = 60) -> bool:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def full_gate() -> StartGate:
    gate = StartGate()
    assert gate.start("a", fine) is None
    assert gate.start("b", fine) is None
    with pytest.raises(PlatformError):
        gate.start("c", refusing(LIMIT))
    assert gate.limit == 2
    return gate


def test_a_limit_is_learnt_and_nothing_is_sent_beyond_it() -> None:
    gate = full_gate()
    wait = gate.start("c", refusing(AssertionError("sent all the same")))  # type: ignore[arg-type]
    assert wait is not None
    gate.left("a")
    assert gate.start("c", fine) is None


def test_a_place_that_is_given_back_before_anybody_waits_is_not_lost() -> None:
    gate = full_gate()
    gate.left("a")
    assert ends(lambda: gate.await_place(1000))
    assert not ends(lambda: gate.await_place(1000), 2), "one place, one tile"


def test_a_start_without_effect_may_be_sent_again_where_all_places_are_taken() -> None:
    gate = StartGate()
    gate.start("a", fine)
    with pytest.raises(PlatformError):
        gate.start("b", refusing(DROPPED))  # it may have a place
    with pytest.raises(PlatformError):
        gate.start("c", refusing(LIMIT))
    assert gate.start("b", fine) is None


def test_what_the_platform_asks_to_wait_holds_for_all_tiles_and_is_not_ended_by_a_free_place() -> None:
    gate = full_gate()
    gate.left("a")
    with pytest.raises(PlatformError):
        gate.start("c", refusing(QUIET))
    gate.left("b")
    wait = gate.start("d", fine)
    assert wait is not None
    assert 90 < wait <= 100


def test_no_more_jobs_than_slots_are_started_whatever_the_platform_allows() -> None:
    gate = StartGate(slots=2)
    assert gate.start("a", fine) is None
    assert gate.start("b", fine) is None
    assert gate.start("c", refusing(AssertionError("sent all the same"))) is not None  # type: ignore[arg-type]
    gate.left("b")
    assert ends(lambda: gate.await_place(1000))
    assert gate.start("c", fine) is None


def test_a_gate_that_is_shut_wakes_those_that_wait_and_says_why() -> None:
    gate = StartGate(slots=1)
    gate.start("a", fine)
    waiting = threading.Thread(target=gate.await_place, args=(1000,), daemon=True)
    waiting.start()
    gate.shut("the money is spent")
    waiting.join(200)
    assert not waiting.is_alive()
    gate.left("a")
    with pytest.raises(PlatformError, match="not started: the money is spent"):
        gate.start("b", fine)


def test_a_job_is_created_when_there_is_a_place_where_creating_starts_it() -> None:
    places, created = SlotPool(2), list[str]()
    places.take("running-already")

    def create(name: str) -> None:
        with contextlib.suppress(PlatformError):
            places.wait(name)
            created.append(name)

    create("a")
    threads = [threading.Thread(target=create, args=(name,), daemon=True) for name in "bc"]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    assert created == ["a"]
    places.wait("a")  # who has a place does not wait for another
    places.leave("running-already")
    assert ends(lambda: [time.sleep(0.01) for _ in iter(lambda: len(created), 2)])
    places.shut("enough")
    for thread in threads:
        thread.join(200)
    assert len(created) == 2
    with pytest.raises(PlatformError, match="not submitted: enough"):
        places.wait("d")


def test_news_come_from_one_list_and_an_earlier_status_is_none() -> None:
    listed, asked = dict.fromkeys("abcd", "queued"), [0]

    def ask(wanted: frozenset[str]) -> dict[str, str]:
        asked[0] += 1
        return dict(listed)

    watch = JobWatch(ask, 0.01)
    ended: list[tuple[str, str | None]] = []

    def wait(name: str) -> None:
        ended.append((name, watch.wait(name, "running", 20)))

    threads = [threading.Thread(target=wait, args=(name,), daemon=True) for name in "abcd"]
    for thread in threads:
        thread.start()
    before = asked[0]
    while asked[0] < before + 3:
        time.sleep(0.01)
    assert ended == [], "`queued` is an old answer about a job that is running"
    listed["b"] = "finished"
    threads[1].join(200)
    assert ended == [("b", "finished")]


def test_lists_follow_each_other_closely_while_jobs_end_and_no_more_often_than_they_take_little_time() -> None:
    rhythm, young, old = jobs._Rhythm(10.0), [10.0, 12.0], [600.0, 500.0]
    assert (rhythm.pause(young), rhythm.pause(old)) == (5.0, 100.0)
    rhythm.listed(0.0, ended=True)
    pauses = []
    for _ in range(6):
        pauses.append(rhythm.pause(old))
        rhythm.listed(0.0, ended=False)
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
    for _ in range(3):
        rhythm.listed(7.0, ended=True)
    assert rhythm.pause(young) == 21.0
    rhythm.refused = 50.0
    assert rhythm.pause(young) == 150.0


def test_without_a_list_everybody_asks_for_himself() -> None:
    def ask(wanted: frozenset[str]) -> dict[str, str]:
        raise PlatformError("503", error_class=ErrorClass.TRANSIENT)

    watch = JobWatch(ask, 0.01)
    threads = [threading.Thread(target=watch.wait, args=(name, "running", 0.2), daemon=True) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(200)
        assert not thread.is_alive()


def test_a_job_that_is_shown_no_more_is_asked_about_when_its_time_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_COVERED", 100_000)
    shown, asked = dict.fromkeys("abc", "running"), threading.Event()

    def ask(wanted: frozenset[str]) -> dict[str, str]:
        asked.set()
        return dict(shown)

    watch = JobWatch(ask, 0.01)
    threads = [threading.Thread(target=watch.wait, args=(name, "running", 2000), daemon=True) for name in "ab"]
    threads.append(threading.Thread(target=watch.wait, args=("c", "running", 0.2), daemon=True))
    for thread in threads:
        thread.start()
    assert asked.wait(200)
    shown["a"] = shown["b"] = "finished"  # two fewer to wait for: no list is asked for any more
    for thread in threads:
        thread.join(200)
        assert not thread.is_alive()


def test_a_place_is_free_as_soon_as_the_list_shows_that_its_job_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    config = OpenEOBackendConfig(kind="openeo", url="http://127.0.0.1:1", auth="none", slots=2)
    account = Account(config, "http://127.0.0.1:1")
    for name in "ab":
        account.gate.start(name, fine)
    page = [{"id": "a", "status": "running"}, {"id": "b", "status": "error"}, {"id": "c", "status": "finished"}]
    monkeypatch.setattr(account, "_pages", lambda limit: [page])
    assert account._news_of(frozenset("ab")) == {"a": "running", "b": "error", "c": "finished"}
    assert (account.gate.has("a"), account.gate.has("b")) == (True, False)
    assert account.gate.start("d", fine) is None
