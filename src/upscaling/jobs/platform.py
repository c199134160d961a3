"""What is asked of a platform with asynchronous jobs, and how patiently."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from upscaling.errors import ErrorClass, PlatformError
from upscaling.model import Outcome, TileJob

__all__ = ["JobState", "Patience", "Platform", "patiently"]

_T = TypeVar("_T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobState:
    """What a platform says of a job, in openEO's words (OGC's are mapped onto them by their backend)."""

    status: Literal["created", "queued", "running", "finished", "error", "canceled"]
    facts: dict[str, Any] = field(default_factory=dict)


class Platform(Protocol):
    """What is asked of a platform; each method raises PlatformError."""

    @property
    def memory_levels(self) -> int:
        """How many times a job that ran out of memory may be retried, with more of it each time."""

    @property
    def creates_idle(self) -> bool:
        """Whether a job that was created costs nothing before it is started."""

    def least_results(self, job: TileJob) -> tuple[int, bool]:
        """Return how many files the work returns at the least, as far as is known, and whether that is certain."""

    def looks_cheaply(self) -> bool:
        """Return whether results can be looked at again without fetching them again."""

    def find(self, job: TileJob, *, fresh: bool, without: frozenset[str]) -> str | None:
        """Return the id of a usable job of this run with this work's key, none of ``without``; ``fresh``: ask now."""

    def await_place(self) -> None:
        """Return when a job may be created, if creating it takes a place."""

    def create(self, job: TileJob, memory_level: int) -> str:
        """Create the job, once, without any retry, with the memory of this level, and return its id."""

    def twin(self, job: TileJob, job_id: str, without: frozenset[str]) -> str | None:
        """Return another job of the same work that is to be used in place of one that was just created, and remove it.

        Somebody else may run the same work at the same time.
        """

    def start(self, job_id: str, before: Callable[[], None]) -> None:
        """Start a created job, once, without any retry; ``before`` is called just before the request is sent."""

    def state(self, job_id: str) -> JobState | None:
        """Return the job's state, or None if the platform does not know it (any more, or yet)."""

    def await_news(self, job_id: str, status: str, seconds: float) -> JobState | None:
        """Return when the job may have another status than this one, or it is time to ask for it.

        The new state is returned where it need not be asked for.
        """

    def reasons(self, job_id: str, log: Path) -> str:
        """Write the platform's log of the job to ``log`` and return its last error lines."""

    def fetch(self, job: TileJob, job_id: str, folder: Path) -> Outcome:
        """Download the results into ``folder``; may be repeated."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often to ask, and for how long. All in seconds.

    Attributes
    ----------
    shortest, longest
        Between two questions about a job.
    total
        After which a job is no longer waited for (it is left alone).
    outage
        That the platform may be out of reach before this tile gives up.
    lag
        That the platform's answers may lag behind what was asked of it.
    lost
        How often, in one run, a job is made again that the platform lost; a number.
    tries
        How often an action is tried at least, however long it takes; a number.
    """

    shortest: float = 1.0
    longest: float = 60.0
    total: float = 86_400.0
    outage: float = 3_600.0
    lag: float = 60.0
    lost: int = 2
    tries: int = 1

    def pause(self, age: float) -> float:
        """Seconds to the next question: a tenth of the job's age, jittered so that jobs do not ask in step."""
        return min(self.longest, max(self.shortest, age / 10)) * random.uniform(0.8, 1.2)  # noqa: S311

    def asked(self, error: PlatformError) -> float:
        """Seconds that a platform asks to wait: a day is not waited where the patience is an hour."""
        return min(error.retry_after or 0.0, self.outage)

    def after_refusals(self, number: int) -> float:
        """Seconds to the next try after ``number`` refusals: doubled each time."""
        return self.pause(10 * self.shortest * 2.0 ** min(number, 30))

    @property
    def looks(self) -> tuple[float, ...]:
        """Pauses between the looks for something that the platform may not show yet; together ``lag``."""
        return tuple(share * self.lag for share in (0.03, 0.07, 0.15, 0.30, 0.45))


def patiently(
    action: Callable[[], _T], patience: Patience, told: Callable[[PlatformError, float], object] | None = None
) -> _T:
    """Call ``action`` until it works; only transient trouble is waited out, until ``outage`` and ``tries`` are over.

    Parameters
    ----------
    told
        Is called with each refusal that is waited out, and the seconds since the first call.
    """
    begun = time.monotonic()
    try:
        return action()  # nearly always: what comes is made for trouble
    except PlatformError as error:
        if error.error_class is not ErrorClass.TRANSIENT:
            raise
        first: PlatformError | None = error
    from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential
    from tenacity.stop import stop_after_attempt, stop_after_delay

    def attempt() -> _T:
        nonlocal first
        if first is not None:
            error, first = first, None
            raise error
        return action()

    backoff = wait_random_exponential(multiplier=max(patience.shortest, 0.2), max=patience.longest)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        log.info("%s; retrying", error)
        if not isinstance(error, PlatformError):
            return backoff(state)
        if told is not None:
            told(error, time.monotonic() - begun)
        if error.retry_after is None:
            return backoff(state)
        return patience.asked(error) + random.uniform(0, 1)  # noqa: S311

    def transient(error: BaseException) -> bool:
        return isinstance(error, PlatformError) and error.error_class is ErrorClass.TRANSIENT

    stop = stop_after_delay(patience.outage) & stop_after_attempt(patience.tries)
    return Retrying(retry=retry_if_exception(transient), wait=wait, stop=stop, reraise=True)(attempt)
