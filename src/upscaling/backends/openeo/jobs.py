"""What the tiles of one process share about a platform's jobs: one poll for all, and the places that the user has."""

from __future__ import annotations

import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

from upscaling.errors import ErrorClass, PlatformError
from upscaling.jobs.account_slots import AccountSlots

__all__ = ["JobWatch", "StartGate"]

_WORTH_A_LIST = 3  # jobs that are waited for; fewer are asked about one by one
_SHARE = 3  # a list that took n seconds is asked for again after this many times n
_LISTS = 3  # by whose median it is told how long a list takes: one that was slow is no reason to wait
_COVERED, _COVERED_LEAST = 5, 3.0  # a job that the list shows is asked about itself this much more rarely; s
_ORDER = {"created": 0, "queued": 1, "running": 2, "finished": 3, "error": 3, "canceled": 3}
_ENDS = frozenset(status for status, order in _ORDER.items() if order == 3)
_LIMIT = re.compile(r"limit\D{0,20}\((\d+)\)", re.IGNORECASE)
_LIMIT_HOLDS = 600.0  # s; then a larger one may have been granted
_FIRST_REFUSAL, _LONGEST_REFUSAL = 2.0, 60.0  # s
_NO_PLACE = 15.0  # s; the end of this run's jobs is noticed at once, this is for the jobs of others
_OTHER_RUNS = 2.0  # s; their jobs have the account's slots, and nobody tells when one ends
_STARTS_AT_ONCE = 4


@dataclass(slots=True)
class _Wait:
    """A tile that waits for news of its job: after ``seconds`` it asks itself."""

    status: str
    seconds: float
    begun: float = field(default_factory=time.monotonic)
    over: threading.Event = field(default_factory=threading.Event)
    shown: str | None = None  # the status whose news ended it

    def ends(self, shown: str | None, listed: float, now: float) -> bool:
        """Return whether a list that was asked for at ``listed`` ends it."""
        if shown is None:
            return now > self.begun + self.seconds
        # An older list than the question lags behind what is known already; and so may any: an earlier status is no
        # news.
        return listed > self.begun and _ORDER.get(shown, 3) > _ORDER[self.status]


@dataclass(slots=True)
class _Rhythm:
    """How long after one list the next is asked for: it answers for many jobs, each of which may be asked about.

    Attributes
    ----------
    shortest
        Seconds between two questions about one job.
    soon
        Seconds to the next list while jobs end: those that began together end together.
    """

    shortest: float
    soon: float = math.inf
    refused: float = 0.0
    took: deque[float] = field(default_factory=lambda: deque([0.0], _LISTS))

    def pause(self, waits: Iterable[float]) -> float:
        """Return the seconds to wait, where tiles wait for these seconds until they ask about their jobs themselves."""
        often = min(self.soon, max(self.shortest / 2, min(waits, default=0.0) / _COVERED))
        return max(often - self.took[-1], _SHARE * max(median(self.took), self.refused))

    def listed(self, seconds: float, *, ended: bool) -> None:
        """Note how long a list took, and whether it showed an end that was waited for."""
        self.took.append(seconds)
        self.refused, self.soon = 0.0, self.shortest / _COVERED if ended else 2 * self.soon


class JobWatch:
    """Asks for the list of jobs while several are waited for, and wakes those that wait for news.

    Parameters
    ----------
    ask
        Returns id -> status of the newest jobs; is told the ids that matter. May raise PlatformError.
    shortest
        Seconds between two questions about one job; a list is asked for twice as often, and more often still while
        jobs end.
    longest
        Seconds that the platform may ask to wait.
    """

    def __init__(
        self, ask: Callable[[frozenset[str]], Mapping[str, str]], shortest: float, longest: float = 3600.0
    ) -> None:
        self._ask, self._shortest, self._longest = ask, shortest, longest
        self._lock = threading.Lock()
        self._waiting: dict[str, _Wait] = {}  # by job; each is woken for itself, as there may be hundreds
        self._seen: dict[str, str] = {}
        self._polling = False

    @property
    def asks(self) -> bool:
        """Whether lists are asked for now, each of which is told to ``ask``."""
        return self._polling

    def wait(self, job_id: str, status: str, seconds: float) -> str | None:
        """Return the job's status when a list shows it further on than ``status``; None when it is time to ask for it.

        That is after ``seconds``, or after five times as long, three seconds at least, if the lists show the job.
        """
        wait = _Wait(status, seconds)
        with self._lock:
            self._waiting[job_id] = wait
            if not self._polling and len(self._waiting) >= _WORTH_A_LIST:
                self._polling = True
                threading.Thread(target=self._poll, name="job list", daemon=True).start()
        try:
            if not wait.over.wait(seconds) and job_id in self._seen:
                wait.over.wait(max(seconds * _COVERED, _COVERED_LEAST) - seconds)
        finally:
            with self._lock:
                self._waiting.pop(job_id, None)
        return wait.shown

    def _poll(self) -> None:
        idle, rhythm = 0, _Rhythm(self._shortest)
        while True:
            with self._lock:
                wanted, pauses = frozenset(self._waiting), [wait.seconds for wait in self._waiting.values()]
                idle = idle + 1 if len(wanted) < _WORTH_A_LIST else 0
                if idle > 20:
                    self._polling, self._seen = False, {}
                    return
            time.sleep(min(self._longest, rhythm.pause(pauses)))
            begun, seen, refusal = time.monotonic(), dict[str, str](), None  # without a list everybody asks for himself
            if not idle:
                try:
                    seen = dict(self._ask(wanted))
                except PlatformError as error:
                    refusal = error
            with self._lock:
                self._seen, now = seen, time.monotonic()
                over = [(job, wait) for job, wait in self._waiting.items() if wait.ends(seen.get(job), begun, now)]
            if refusal is not None:
                rhythm.refused = max(refusal.retry_after or 0.0, 1.0)
            elif not idle:
                rhythm.listed(now - begun, ended=any(seen.get(job) in _ENDS for job, _ in over))
            for job, wait in over:
                wait.shown = seen.get(job)
                wait.over.set()


class StartGate:
    """Lets through as many starts as the platform allows the user jobs; learns how many from its refusals.

    Parameters
    ----------
    slots
        Jobs that may be under way at the same time, whatever the platform allows; None for no such bound.
    shared
        Slots of the account, which other runs of this machine use too.
    longest
        Seconds that the platform may ask to wait.
    """

    def __init__(self, slots: int | None = None, longest: float = 3600.0, shared: AccountSlots | None = None) -> None:
        self._slots, self._longest, self._shared = slots, longest, shared
        self._shut: str | None = None
        self._lock = threading.Condition()
        self._starting = threading.BoundedSemaphore(_STARTS_AT_ONCE)
        self._active: set[str] = set()
        self._tickets = 0  # places that were given back and that nobody was told of yet
        self._limit: int | None = None
        self._learnt_at = 0.0
        self._closed_until = 0.0  # for want of a slot; opened by the end of one of this run's jobs
        self._quiet_until = 0.0  # as the platform asked for it
        self._refusals = 0

    @property
    def limit(self) -> int | None:
        """How many jobs the platform allows at the same time, as far as it said so."""
        return self._limit

    def shut(self, reason: str) -> None:
        """Let no more jobs through: ``start`` says why."""
        with self._lock:
            self._shut = reason
            self._lock.notify_all()

    def start(self, job_id: str, send: Callable[[], None]) -> float | None:
        """Send a start if there is a place; return None if it was sent, else the seconds after which to ask again.

        Raises what ``send`` raises; a PlatformError with the code ConcurrentJobLimit closes the gate for a while.
        Raises one of its own after ``shut``.
        """
        with self._starting:
            wait = self._enter(job_id)
            if wait is not None:
                return wait
            try:
                send()
            except PlatformError as error:
                if not error.outcome_unknown:
                    self.left(job_id, freed=False)
                if error.code == "ConcurrentJobLimit":
                    self._learn(str(error), error.retry_after)
                elif error.retry_after is not None:
                    with self._lock:
                        self._quiet_until = time.monotonic() + min(error.retry_after, self._longest)
                raise
            with self._lock:
                self._refusals = 0
            return None

    def _enter(self, job_id: str) -> float | None:
        with self._lock:
            if self._shut is not None:
                raise PlatformError(f"not started: {self._shut}", error_class=ErrorClass.QUOTA)
            now = time.monotonic()
            if now < self._quiet_until:
                return self._quiet_until - now
            if job_id in self._active:
                return None  # a start that had no effect is sent again
            if now < self._closed_until:
                return self._closed_until - now
            if self._limit is not None and now - self._learnt_at > _LIMIT_HOLDS:
                self._limit = None
            if self.full:
                return _NO_PLACE
            if self._shared is not None and not self._shared.take(job_id):
                return _OTHER_RUNS
            self._active.add(job_id)
            return None

    @property
    def _places(self) -> float:
        return min(bound for bound in (self._limit, self._slots, float("inf")) if bound is not None)

    def _learn(self, message: str, retry_after: float | None) -> None:
        with self._lock:
            found = _LIMIT.search(message)
            if found:
                self._limit, self._learnt_at = max(1, int(found[1])), time.monotonic()
            pause = min(_FIRST_REFUSAL * 2.0**self._refusals, _LONGEST_REFUSAL)
            self._refusals = min(self._refusals + 1, 10)
            # With fewer of this run's jobs than the limit, other jobs of the user have the slots: nobody tells when one
            # of those ends.
            self._closed_until = time.monotonic() + (pause if retry_after is None else min(retry_after, self._longest))

    def await_place(self, seconds: float) -> None:
        """Return when one of our jobs has ended, after ``seconds`` at the latest; one waiting tile per place."""
        with self._lock:
            if self._lock.wait_for(lambda: self._tickets > 0 or self._shut is not None, seconds):
                self._tickets = max(self._tickets - 1, 0)

    @property
    def full(self) -> bool:
        """Whether no other job may be started now."""
        return len(self._active) >= self._places

    def has(self, job_id: str) -> bool:
        """Tell whether a job has a place."""
        return job_id in self._active

    def taken(self, job_id: str) -> None:
        """Note that a job has a place: it was started by an earlier process, say."""
        with self._lock:
            if job_id not in self._active and self._shared is not None:
                self._shared.hold(job_id)
            self._active.add(job_id)

    def left(self, job_id: str, *, freed: bool = True) -> None:
        """Note that a job has none, or none any more."""
        if self._shared is not None:  # also a job of an earlier process, which ended while nobody looked
            self._shared.leave(job_id)
        with self._lock:
            if job_id in self._active:
                self._active.discard(job_id)
                if freed:
                    self._closed_until, self._refusals = 0.0, 0
                    self._tickets = min(self._tickets + 1, self._limit or self._slots or 1)
                    self._lock.notify(1)
