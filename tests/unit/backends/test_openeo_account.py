"""What the job list of an openEO platform tells: whose a job is, and which of several is used."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from upscaling.backends.openeo.account import Account, by_key, is_of_run, key_of, title_of
from upscaling.config import OpenEOBackendConfig
from upscaling.errors import ErrorClass, PlatformError

KEY = "0123456789abcdef"
LONG = "a-run-with-a-name-that-is-longer-than-what-a-platform-keeps"


@pytest.mark.parametrize(
    ("title", "key", "run"),
    [
        (f"{KEY} real utm-2km_32n_e0676_n05148", KEY, "real"),
        (f"{KEY} real utm-2km_32n_e0676_n05148_2023-06"[:64], KEY, "real"),
        (f"{KEY} {LONG} t1"[:64], KEY, LONG),
        (f"real t1 {KEY}", KEY, "real"),  # of earlier versions
        (f"{KEY} realm t1", KEY, "realm"),
        (f" {KEY.upper()}  REAL T1 ", KEY, "real"),  # as a platform may write it
        ("somebody's own job", None, None),
        (None, None, None),
        (f"{KEY}0 real t1", None, None),
    ],
)
def test_key_and_run_of_a_title(title: str | None, key: str | None, run: str | None) -> None:
    assert key_of(title) == key
    assert [name for name in ("real", "realm", LONG) if is_of_run(title, name)] == ([run] if run else [])


def test_a_job_that_is_listed_without_its_title_is_told_by_its_description() -> None:
    words = f"eo-upscaling: tile t1 of real; key {KEY}{KEY}"
    for title in (None, "", "untitled"):
        job = {"id": "j", "status": "running", "title": title, "description": words}
        assert by_key([job]) == {KEY: ["j"]}
        assert is_of_run(title_of(job), "real") and not is_of_run(title_of(job), "rea")
    assert title_of({"title": f"{KEY} other t2", "description": words}) == f"{KEY} other t2"


def test_of_several_jobs_of_one_work_the_furthest_is_used_and_of_those_the_oldest() -> None:
    jobs = [
        {"id": "newest", "status": "created", "created": "2024-01-04"},
        {"id": "failed", "status": "error", "created": "2024-01-05"},
        {"id": "running", "status": "running", "created": "2024-01-03"},
        {"id": "done-later", "status": "finished", "created": "2024-01-02"},
        {"id": "done", "status": "finished", "created": "2024-01-01"},
        {"id": "waiting", "status": "queued", "created": "2024-01-01"},
    ]
    found = by_key({**job, "title": f"{KEY} r t"} for job in jobs)
    assert found == {KEY: ["done", "done-later", "running", "waiting", "newest"]}


class FakeSession:
    """Answers with a job list, and refuses a limit if it is told to."""

    def __init__(self, answer: dict[str, Any], *, refuses: bool = False) -> None:
        self.answer, self.refuses, self.asked = answer, refuses, list[dict[str, Any]]()

    def pages(self, path: str, name: str, see: Any = None, **parameters: Any) -> Any:
        self.asked.append(parameters)
        if self.refuses and "limit" in parameters:
            raise PlatformError("400: limit is too large", error_class=ErrorClass.PERMANENT, status=400)
        if see is not None:
            see(self.answer)
        yield self.answer[name]


def account(session: FakeSession, **settings: Any) -> Account:
    config = OpenEOBackendConfig(kind="openeo", url="http://127.0.0.1:1", auth="none", **settings)
    made = Account(config, "http://127.0.0.1:1")
    made.session = session  # type: ignore[assignment]
    return made


def test_a_platform_that_refuses_a_limit_is_asked_without_one() -> None:
    session = FakeSession({"jobs": [{"id": "j1"}]}, refuses=True)
    made = account(session)
    assert [[job["id"] for job in made.all_jobs()] for _ in range(2)] == [["j1"], ["j1"]]
    assert session.asked == [{"limit": 200}, {}, {}]


def test_a_member_that_is_missing_for_ever_can_be_accepted() -> None:
    session = FakeSession({"jobs": [{"id": "j1"}], "federation:missing": ["vito"]})
    with pytest.raises(PlatformError, match=r"the job list lacks vito: .* backend\.federation_without"):
        list(account(session).all_jobs())
    assert [job["id"] for job in account(session, federation_without=["vito"]).all_jobs()] == ["j1"]


JOB = {"id": "j1", "status": "created", "title": f"{KEY} r t"}


@pytest.fixture(autouse=True)
def own_slots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@pytest.mark.parametrize(("polls", "slots", "lists"), [(True, 1, 1), (True, 2, 2), (False, 1, 2)])
def test_the_newest_jobs_come_from_the_list_for_all_where_no_slot_waits_for_them(
    polls: bool, slots: int, lists: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = FakeSession({"jobs": [JOB]})
    monkeypatch.setattr("upscaling.backends.openeo.account._A_MOMENT", 100.0)
    made = account(session, slots=slots)
    made.gate.start("running", lambda: None)
    made._news_of(frozenset())
    monkeypatch.setattr(made.watch, "_polling", polls)
    found: list[Any] = []
    asks = threading.Thread(target=lambda: found.append(made.newest(time.monotonic())))
    asks.start()
    if lists == 1:
        asks.join(0.2)
        assert not found, "the list is older than the question"
        made._news_of(frozenset())
        lists += 1  # the one that the watch asks for
    asks.join(60)
    assert found == [{KEY: ["j1"]}]
    assert len(session.asked) == lists


def test_the_newest_jobs_are_asked_for_where_the_list_for_all_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    session = FakeSession({"jobs": [JOB]})
    made = account(session, slots=1)
    monkeypatch.setattr("upscaling.backends.openeo.account._A_MOMENT", 0.01)
    made.gate.start("running", lambda: None)
    monkeypatch.setattr(made.watch, "_polling", True)
    assert made.newest(time.monotonic()) == {KEY: ["j1"]}
