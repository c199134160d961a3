"""A scripted platform that stands in for faults, and what is asked of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from upscaling.errors import ErrorClass, PlatformError
from upscaling.jobs.platform import JobState, Patience
from upscaling.jobs.receipts import open_receipt
from upscaling.jobs.remote_job import run_remote
from upscaling.model import FetchedAsset, Outcome, TileJob

PATIENCE = Patience(shortest=0.001, longest=0.002, total=60, outage=60, lag=0.01)


class FakeFaultyPlatform:
    """Holds jobs in memory; ``before`` and ``after`` raise the next scripted fault of an action, if any."""

    def __init__(self, *, ends: str = "finished", log: str = "boom", memory_levels: int = 0) -> None:
        self.jobs: dict[str, dict[str, str]] = {}
        self.before: dict[str, list[Exception | None]] = {}
        self.after: dict[str, list[Exception | None]] = {}
        self.calls: list[str] = []
        self.ends, self.log, self.memory_levels = ends, log, memory_levels
        self.asked_levels: list[int] = []

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
        self.asked_levels.append(memory_level)

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
            if job_id not in self.jobs:
                raise PlatformError("no such job", error_class=ErrorClass.PERMANENT, code="JobNotFound", status=404)
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

    def await_news(self, job_id: str, status: str, seconds: float) -> JobState | None:
        time.sleep(seconds)


def run(job: TileJob, platform: FakeFaultyPlatform, patience: Patience = PATIENCE) -> Outcome:
    with open_receipt(job) as receipt:
        return run_remote(job, receipt, platform, patience)


def receipt_of(job: TileJob) -> dict[str, Any]:
    return json.loads(job.receipt.read_text())
