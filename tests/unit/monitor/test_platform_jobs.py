"""Jobs of a run that are not its present work are seen, and ended or removed, when somebody asks for it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.planned import planned_run, tiles_of
from upscaling.cli.app import main
from upscaling.errors import ErrorClass, PlatformError, UpscalingError
from upscaling.jobs.platform import JobState
from upscaling.monitor import platform_jobs
from upscaling.monitor.platform_jobs import cancel_run, orphans
from upscaling.monitor.status import summarize
from upscaling.planning.plan import load_plan
from upscaling.util.files import write_json
from upscaling.util.locks import leave_run


class FakeBackend:
    """Holds jobs: id -> status."""

    def __init__(self, jobs: dict[str, str], listed: set[str]) -> None:
        self.jobs, self.listed = jobs, listed
        self.ended: list[tuple[str, str]] = []

    def state(self, job_id: str) -> JobState | None:
        return JobState(self.jobs[job_id]) if job_id in self.jobs else None  # type: ignore[arg-type]

    def jobs_of_run(self, run: str) -> list[dict[str, Any]]:
        assert run == "r"
        return [{"id": name, "status": self.jobs[name], "title": name} for name in sorted(self.listed)]

    def cancel(self, job_id: str) -> None:
        self.ended.append(("cancel", job_id))

    def remove(self, job_id: str) -> None:
        self.ended.append(("remove", job_id))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, FakeBackend]:
    """Two tiles with jobs of today's parameters, of earlier ones, and of a tile that the plan has no more."""
    folder = planned_run(tmp_path, "http://127.0.0.1:1/openeo", columns=2, rows=1)
    one, two = tiles_of(folder)
    keys = {tile: row.key for tile, row in load_plan(folder).tiles.items()}
    earlier = [
        {"key": "x", "state": "started", "job_id": "old-running", "why": "parameters changed"},
        {"key": "x", "state": "done", "job_id": "old-done", "why": "parameters changed"},
        {"key": keys[one], "state": "failed", "job_id": "today-failed", "why": "run again after it failed"},
    ]
    receipts = {
        one: {"tile": one, "key": keys[one], "state": "done", "job_id": "today-done", "history": earlier},
        two: {"tile": two, "key": keys[two], "state": "started", "job_id": "today-running", "history": []},
        "gone": {"tile": "gone", "key": "y", "state": "created", "job_id": "gone-created", "history": []},
    }
    for tile, content in receipts.items():
        write_json(folder / "receipts" / f"{tile}.json", content)
    (folder / "receipts" / ".t1.json.abc.json").touch()  # as kill -9 leaves it
    statuses = {"old-running": "running", "old-done": "finished", "today-failed": "error", "today-done": "finished"}
    statuses |= {"today-running": "running", "gone-created": "created", "nobody": "finished"}
    backend = FakeBackend(statuses, {"today-done", "today-running", "today-failed", "old-done", "nobody"})
    monkeypatch.setattr(platform_jobs, "_backend", lambda _folder: backend)
    return folder, backend


def test_orphans_are_those_of_nobody_of_earlier_parameters_and_of_tiles_that_are_gone(
    run: tuple[Path, FakeBackend],
) -> None:
    folder, _ = run
    assert {job["id"] for job in orphans(folder)} == {"nobody", "old-done", "old-running", "gone-created"}
    (folder / "receipts" / "broken.json").touch()
    with pytest.raises(UpscalingError, match=r"broken\.json cannot be read"):
        orphans(folder)


def test_what_a_platform_refuses_is_one_line(
    run: tuple[Path, FakeBackend], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(_self: FakeBackend, _run: str) -> None:
        raise PlatformError("the platform is out of reach", error_class=ErrorClass.TRANSIENT)

    monkeypatch.setattr(FakeBackend, "jobs_of_run", refused)
    monkeypatch.setattr(sys, "argv", ["upscaling", "clean", "--remote", str(run[0])])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == "error: the platform is out of reach\n"


def test_cancel_ends_jobs_of_earlier_parameters_too(run: tuple[Path, FakeBackend]) -> None:
    folder, backend = run
    try:
        assert len(list(cancel_run(folder))) == 3
    finally:
        leave_run(folder)
    assert backend.ended == [("cancel", "today-running"), ("remove", "gone-created"), ("cancel", "old-running")]


def test_status_tells_what_tiles_wait_for_and_that_earlier_jobs_may_still_run(run: tuple[Path, FakeBackend]) -> None:
    folder, _ = run
    path = folder / "receipts" / f"{tiles_of(folder)[1]}.json"
    content = json.loads(path.read_text())
    write_json(path, {**content, "facts": {"status": "running", "waits": "503: down for maintenance"}})
    first, second = summarize(folder).waits
    assert first == "1 wait: 503: down for maintenance"
    assert second.startswith("2 jobs of earlier parameters may still run: `upscaling cancel ")
