"""What all tiles of one process that use one openEO platform as one user share: log-in, job list, places."""

from __future__ import annotations

import itertools
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from upscaling.backends.openeo.jobs import JobWatch, StartGate
from upscaling.backends.openeo.session import Session
from upscaling.errors import ErrorClass, PlatformError
from upscaling.jobs.account_slots import AccountSlots
from upscaling.util.files import digest
from upscaling.util.text import plain_text

if TYPE_CHECKING:
    from upscaling.config import OpenEOBackendConfig

__all__ = ["ENDED", "JOB_ID", "USABLE", "Account", "by_key", "is_of_run", "key_of", "title_of"]

ENDED = frozenset({"finished", "error", "canceled"})
USABLE = {"created": 0, "queued": 1, "running": 2, "finished": 3}  # status -> how far a job is
_KEY = re.compile(r"[0-9a-f]{16}")
_TITLE_CUT = 64  # characters that every platform keeps of a title
_DESCRIBED = re.compile(r"tile (\S+) of (\S+); key ([0-9a-f]{16})", re.IGNORECASE)  # as OpenEOBackend.create writes it
JOB_ID = re.compile(r"(?!\.+$)[\w.~-]{1,200}")  # openEO API 1.2, job_id
_PAGE, _LARGEST_PAGE, _MOST_PAGES = 100, 1000, 3  # of the job list, when the newest are asked for
_A_MOMENT = 2.0  # s that a list which is asked for anyway is worth waiting for
_REFUSES_LIMIT = {400, 422}


class Account:
    """One user of one platform, for all threads of a process."""

    _all: dict[str, Account] = {}  # noqa: RUF012 -- of the process, on purpose
    _lock = threading.Lock()

    def __init__(self, config: OpenEOBackendConfig, url: str) -> None:
        self.session = Session(url, config.auth, seconds=config.request_seconds)
        longest = config.outage_hours * 3600
        self.shared = AccountSlots(url, config.slots)
        self.gate = StartGate(config.slots, longest, self.shared)
        self.watch = JobWatch(self._news_of, config.poll_seconds[0], longest)
        self._accepted = frozenset(config.federation_without)
        self._ended = set[str]()  # jobs whose slots were given back as a list showed their end
        self._limited = True  # whether the platform takes ``limit``
        self._listing = threading.Lock()
        self._renewed = threading.Condition()  # of ``_newest``
        self._listed: dict[str, list[str]] = {}
        self._newest: Callable[[], dict[str, list[str]]] = dict
        self._listed_at = self._newest_at = -1.0

    @classmethod
    def of(cls, config: OpenEOBackendConfig, url: str) -> Account:
        """Return the one for a platform and user, made at the first call."""
        users = [value for name, value in sorted(os.environ.items()) if name.startswith("OPENEO_AUTH_")]
        names = {"auth", "request_seconds", "poll_seconds", "slots", "outage_hours", "federation_without"}
        key = digest([url, config.model_dump(include=names), users])
        with cls._lock:
            if key not in cls._all:
                cls._all[key] = cls(config, url)
            return cls._all[key]

    def _news_of(self, wanted: frozenset[str]) -> dict[str, str]:
        """Return id -> status as the job list has it; the newest jobs come first on most platforms."""
        seen: dict[str, str] = {}
        begun = time.monotonic()
        limit = min(_LARGEST_PAGE, max(_PAGE, 2 * len(wanted)))
        for number, page in enumerate(self._pages(limit), start=1):
            if number == 1:
                self._renew(page, begun)
            told = {job["id"]: str(job.get("status")) for job in page}
            for job_id, status in told.items():
                if status not in ENDED:
                    self._ended.discard(job_id)
                elif job_id not in self._ended:
                    self._ended.add(job_id)
                    self.gate.left(job_id)  # the next may start before this one is asked about
            seen |= told
            if number == _MOST_PAGES or wanted <= set(seen):
                break
        return seen

    def usable(self, asked_at: float) -> dict[str, list[str]]:
        """Return the usable jobs by the key in their title, furthest first, from a list not older than the question."""
        with self._listing:  # one list for all that ask at the same time
            if self._listed_at <= asked_at:
                begun = time.monotonic()
                self._listed, self._listed_at = by_key(self.all_jobs()), begun
            return self._listed

    def newest(self, asked_at: float) -> dict[str, list[str]]:
        """Return what ``usable`` does of the first page of the list, where most platforms show the newest jobs."""
        with self._renewed:
            if self.watch.asks and self.gate.full:  # it will have one in a moment, and no slot waits for this job
                self._renewed.wait_for(lambda: self._newest_at > asked_at, _A_MOMENT)
        with self._listing:
            if self._newest_at <= asked_at:
                begun = time.monotonic()
                self._renew(next(self._pages(_PAGE), []), begun)
            return self._newest()

    def _renew(self, page: list[dict[str, Any]], begun: float) -> None:
        with self._renewed:
            if begun > self._newest_at:
                self._newest, self._newest_at = cache(partial(by_key, page)), begun
            self._renewed.notify_all()

    def all_jobs(self) -> Iterator[dict[str, Any]]:
        """Yield all of the user's jobs.

        Raises PlatformError if a federation says that members are missing from the answer: an absent job then proves
        nothing.
        """
        for page in self._pages(200, whole=True):
            yield from page

    def _pages(self, limit: int, *, whole: bool = False) -> Iterator[list[dict[str, Any]]]:
        parameters = {"limit": limit} if self._limited else {}
        pages = self.session.pages("/jobs", "jobs", self._see_whole if whole else None, **parameters)
        try:
            first = next(pages, [])
        except PlatformError as error:
            if not parameters or error.status not in _REFUSES_LIMIT:
                raise
            self._limited = False  # the platform decides how long a page is
            yield from self._pages(limit, whole=whole)
            return
        for page in itertools.chain([first], pages):
            yield [job for job in page if JOB_ID.fullmatch(str(job.get("id")))]

    def _see_whole(self, answer: Mapping[str, Any]) -> None:
        """Raise PlatformError if members of a federation are missing from a list that are not accepted as missing."""
        missing = answer.get("federation:missing")
        names = [str(name) for name in missing] if isinstance(missing, list) else [str(missing)] if missing else []
        lacking = [name for name in names if name not in self._accepted]
        if lacking:
            raise PlatformError(
                f"the job list lacks {plain_text(', '.join(lacking))}: jobs there would not be found, and could be"
                " paid twice. Wait, or name what may be missing in backend.federation_without",
                error_class=ErrorClass.TRANSIENT,
            )


def key_of(title: Any) -> str | None:
    """Return the key of the work in a job's title: its first word; in titles of earlier versions the last.

    Platforms trim titles, and some write them in capitals.
    """
    words = str(title or "").casefold().split() or [""]
    return next((word for word in (words[0], words[-1]) if _KEY.fullmatch(word)), None)


def title_of(job: Mapping[str, Any]) -> str:
    """Return the title of an entry of a job list; where a platform lists none, one made of the description."""
    title, described = str(job.get("title") or ""), _DESCRIBED.search(str(job.get("description") or ""))
    if key_of(title) is None and described is not None:
        tile, run, key = described.groups()
        return f"{key} {run} {tile}"
    return title


def is_of_run(title: Any, run: str) -> bool:
    """Return whether a job's title, which may have been cut, names a run."""
    text, run = " ".join(str(title or "").casefold().split()), run.casefold()
    key = key_of(text)
    if key is None:
        return False
    if not text.startswith(f"{key} "):
        return text.startswith(f"{run} ")
    named = f"{key} {run} "
    return text.startswith(named) or (len(text) >= _TITLE_CUT - 1 and named.startswith(text))


def by_key(jobs: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Map the key in each title to the jobs that can still be used: the furthest first, of those the oldest."""
    found: dict[str, list[tuple[int, str, str]]] = {}
    for entry in jobs:
        key, status = key_of(title_of(entry)), entry.get("status")
        if key is not None and status in USABLE:
            found.setdefault(key, []).append((-USABLE[status], str(entry.get("created") or ""), str(entry["id"])))
    return {key: [job_id for *_, job_id in sorted(listed)] for key, listed in found.items()}
