"""What all tiles of one process that use one openEO platform as one user share: log-in, job list, places."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from upscaling.backends.openeo.jobs import JobWatch, StartGate
from upscaling.backends.openeo.session import Session
from upscaling.errors import ErrorClass
from upscaling.jobs.remote_job import PlatformError
from upscaling.util.files import digest
from upscaling.util.text import plain_text

if TYPE_CHECKING:
    from upscaling.config import OpenEOBackendConfig

__all__ = ["ENDED", "JOB_ID", "USABLE", "Account", "by_key"]

ENDED = {"finished", "error", "canceled"}
USABLE = {"created", "queued", "running", "finished"}
JOB_ID = re.compile(r"(?!\.+$)[\w.~-]{1,200}")  # openEO API 1.2, job_id
_PAGE, _LARGEST_PAGE, _MOST_PAGES = 50, 1000, 3  # of the job list, when news are asked for


class Account:
    """One user of one platform, for all threads of a process."""

    _all: dict[str, Account] = {}  # noqa: RUF012 -- of the process, on purpose
    _lock = threading.Lock()

    def __init__(self, config: OpenEOBackendConfig, url: str) -> None:
        self.session = Session(url, config.auth, seconds=config.request_seconds)
        self.gate = StartGate(config.slots)
        self.watch = JobWatch(self._news_of, config.poll_seconds[0])
        self._listing = threading.Lock()
        self._listed: dict[str, list[str]] = {}
        self._listed_at = -1.0

    @classmethod
    def of(cls, config: OpenEOBackendConfig, url: str) -> Account:
        """Return the one for a platform and user, made at the first call."""
        users = [value for name, value in sorted(os.environ.items()) if name.startswith("OPENEO_AUTH_")]
        key = digest([url, config.auth, config.request_seconds, config.poll_seconds, config.slots, users])
        with cls._lock:
            if key not in cls._all:
                cls._all[key] = cls(config, url)
            return cls._all[key]

    def _news_of(self, wanted: frozenset[str]) -> dict[str, str]:
        """Return id -> status as the job list has it; the newest jobs come first on most platforms."""
        seen: dict[str, str] = {}
        limit = min(_LARGEST_PAGE, max(_PAGE, 2 * len(wanted)))
        for number, page in enumerate(self._pages(limit), start=1):
            told = {job["id"]: str(job.get("status")) for job in page}
            for job_id, status in told.items():
                if status in ENDED:
                    self.gate.left(job_id)  # the next may start before this one is asked about
            seen |= told
            if number == _MOST_PAGES or wanted <= set(seen):
                break
        return seen

    def usable(self, asked_at: float) -> dict[str, list[str]]:
        """Return the usable jobs by the key in their title, newest first, from a list not older than the question."""
        with self._listing:  # one list for all that ask at the same time
            if self._listed_at <= asked_at:
                begun = time.monotonic()
                self._listed, self._listed_at = by_key(self.all_jobs()), begun
            return self._listed

    def all_jobs(self) -> Iterator[dict[str, Any]]:
        """Yield all of the user's jobs.

        Raises PlatformError if a federation says that members are missing from the answer: an absent job then proves
        nothing.
        """
        for page in self._pages(200, whole=True):
            yield from page

    def _pages(self, limit: int, *, whole: bool = False) -> Iterator[list[dict[str, Any]]]:
        path, parameters = "/jobs", {"limit": limit}
        for _page in range(10_000):
            answer = self.session.get(path, **parameters)
            missing = answer.get("federation:missing")
            if missing and whole:
                raise PlatformError(f"the job list lacks {plain_text(missing)}", error_class=ErrorClass.TRANSIENT)
            jobs = answer.get("jobs")
            entries = jobs if isinstance(jobs, list) else []
            yield [job for job in entries if isinstance(job, dict) and JOB_ID.fullmatch(str(job.get("id")))]
            links = answer.get("links")
            found = [link for link in links if isinstance(link, dict)] if isinstance(links, list) else []
            following = next((link.get("href") for link in found if link.get("rel") == "next"), None)
            if not following or not entries:
                return
            path, parameters = self.session.resolve(following), {}


def by_key(jobs: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Map the key at the end of each title to the jobs that can still be used, newest first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for entry in jobs:
        key = str(entry.get("title") or "").rpartition(" ")[2]
        if len(key) == 16 and entry.get("status") in USABLE:
            found.setdefault(key, []).append((str(entry.get("created") or ""), str(entry["id"])))
    return {key: [job_id for _, job_id in sorted(listed, reverse=True)] for key, listed in found.items()}
