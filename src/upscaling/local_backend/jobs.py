"""Jobs and stored processes, in one SQLite file that outlives the back-end."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["Job", "JobStore"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    user TEXT NOT NULL,
    status TEXT NOT NULL,
    created TEXT NOT NULL,
    record TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS jobs_of_user ON jobs (user, number);
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (status);
CREATE TABLE IF NOT EXISTS processes (
    user TEXT NOT NULL,
    id TEXT NOT NULL,
    definition TEXT NOT NULL,
    PRIMARY KEY (user, id)
);
"""


@dataclass(frozen=True)
class Job:
    """A batch job as the API shows it, with what is needed to run it again.

    ``attempts`` counts the processes that were started for it; ``error`` is the code and message of its failure.
    """

    id: str
    user: str
    process: dict[str, Any]
    created: str
    updated: str
    status: str = "created"
    title: str | None = None
    description: str | None = None
    plan: str | None = None
    budget: float | None = None
    options: dict[str, Any] | None = None
    log_level: str = "info"
    started: str | None = None
    finished: str | None = None
    costs: float | None = None
    usage: dict[str, Any] | None = None
    attempts: int = 0
    error: tuple[str, str] | None = None


def now() -> str:
    """Return the time as RFC 3339."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class JobStore:
    """Reads and writes jobs; every change is committed when the call returns. Safe between threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._base = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=NORMAL")
        self._base.executescript(SCHEMA)

    def add(self, job: Job) -> None:
        """Store a new job."""
        with self._lock:
            self._base.execute(
                "INSERT INTO jobs (id, user, status, created, record) VALUES (?, ?, ?, ?, ?)",
                (job.id, job.user, job.status, job.created, _dump(job)),
            )

    def get(self, job_id: str, user: str | None = None) -> Job | None:
        """Return a job, or None if there is none (of that user)."""
        with self._lock:
            row = self._base.execute("SELECT record, user FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return None if row is None or user not in (None, row[1]) else _load(row[0])

    def change(self, job_id: str, expect: Iterable[str] = (), **fields: Any) -> Job | None:
        """Change fields in one step, but only from one of the statuses ``expect`` (any, if empty).

        Returns
        -------
        Job or None
            The job as it is now; None if it is gone or in another status.
        """
        allowed = set(expect)
        with self._lock:
            job = self.get(job_id)
            if job is None or (allowed and job.status not in allowed):
                return None
            job = replace(job, updated=now(), **fields)
            self._base.execute("UPDATE jobs SET status = ?, record = ? WHERE id = ?", (job.status, _dump(job), job_id))
            return job

    def start(self, job_id: str, user: str, limit: int) -> tuple[Job | None, int]:
        """Queue a created or canceled job unless ``limit`` jobs of the user are active; return it and their number."""
        with self._lock:
            active = self.count(user, ("queued", "running"))
            if active >= limit:
                return None, active
            fresh = {"started": None, "finished": None, "costs": None, "usage": None, "error": None, "attempts": 0}
            return self.change(job_id, ("created", "canceled"), status="queued", **fresh), active

    def count(self, user: str, statuses: tuple[str, ...]) -> int:
        """Count a user's jobs in the given statuses."""
        marks = ", ".join("?" * len(statuses))
        sql = f"SELECT count(*) FROM jobs WHERE user = ? AND status IN ({marks})"  # noqa: S608 (placeholders only)
        with self._lock:
            return int(self._base.execute(sql, (user, *statuses)).fetchone()[0])

    def by_status(self, *statuses: str) -> list[Job]:
        """Return all jobs in the given statuses, oldest first."""
        marks = ", ".join("?" * len(statuses))
        sql = f"SELECT record FROM jobs WHERE status IN ({marks}) ORDER BY number"  # noqa: S608 (placeholders only)
        with self._lock:
            return [_load(row[0]) for row in self._base.execute(sql, statuses)]

    def page(self, user: str, limit: int | None, before: int | None) -> tuple[list[Job], int | None]:
        """Return a user's jobs without their processes, newest first, and the ``before`` of the next page, if any.

        Clients ask for hundreds every second, and a process is nine tenths of a record.
        """
        brief = "json_set(record, '$.process', json('{}'))"
        sql = f"SELECT number, {brief} FROM jobs WHERE user = ? AND number < ? ORDER BY number DESC LIMIT ?"  # noqa: S608
        with self._lock:
            rows = self._base.execute(sql, (user, before or 2**62, -1 if limit is None else limit + 1)).fetchall()
        more = limit is not None and len(rows) > limit
        rows = rows[:limit] if more else rows
        return [_load(record) for _, record in rows], rows[-1][0] if more and rows else None

    def delete(self, job_id: str) -> None:
        """Forget a job."""
        with self._lock:
            self._base.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def save_process(self, user: str, process_id: str, definition: dict[str, Any]) -> None:
        """Store a user-defined process."""
        with self._lock:
            self._base.execute("REPLACE INTO processes VALUES (?, ?, ?)", (user, process_id, json.dumps(definition)))

    def processes(self, user: str) -> dict[str, dict[str, Any]]:
        """Return a user's processes by id."""
        with self._lock:
            rows = self._base.execute("SELECT id, definition FROM processes WHERE user = ? ORDER BY id", (user,))
            return {name: json.loads(definition) for name, definition in rows}

    def delete_process(self, user: str, process_id: str) -> bool:
        """Forget a user-defined process; return whether there was one."""
        with self._lock:
            done = self._base.execute("DELETE FROM processes WHERE user = ? AND id = ?", (user, process_id))
            return done.rowcount > 0


def _dump(job: Job) -> str:
    return json.dumps(job.__dict__)


def _load(record: str) -> Job:
    return Job(**json.loads(record))
