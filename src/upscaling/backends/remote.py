"""Submit or attach, wait, fetch: the life of one remote job, the same for every platform with asynchronous jobs.

Nothing is created before its intent is on disk. Where the outcome of a creation is unknown (a dropped connection, a
502, a killed process) the platform's own job list is asked, and the job is adopted if it is there.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from upscaling.errors import ErrorClass, TileFailedError
from upscaling.failures import classify_log, is_no_data
from upscaling.receipts import Receipt
from upscaling.tiles import Outcome, TileJob

__all__ = ["JobState", "Patience", "Platform", "PlatformError", "patiently", "run_remote"]

_LOOK_AGAIN_AFTER = (2.0, 5.0, 10.0, 20.0)  # s; a platform's job list may lag behind its creations
_T = TypeVar("_T")


class PlatformError(Exception):
    """A request that did not go well.

    Attributes
    ----------
    error_class
        What kind of trouble it is.
    outcome_unknown
        True if the platform may have acted all the same.
    retry_after
        Seconds that the platform asked to wait, if it did.
    """

    def __init__(
        self,
        message: str,
        *,
        error_class: ErrorClass,
        outcome_unknown: bool = False,
        retry_after: float | None = None,
        code: str | None = None,
    ) -> None:
        self.error_class, self.outcome_unknown, self.retry_after = error_class, outcome_unknown, retry_after
        self.code = code
        super().__init__(" ".join(message.split()))


@dataclass(frozen=True, slots=True)
class JobState:
    """What a platform says of a job, in openEO's words (OGC's are mapped onto them by their backend)."""

    status: Literal["created", "queued", "running", "finished", "error", "canceled"]
    facts: dict[str, Any] = field(default_factory=dict)


class Platform(Protocol):
    """The six things asked of a platform; each raises PlatformError."""

    def find(self, job: TileJob, *, fresh: bool) -> str | None:
        """Return the id of a usable job of ours with this work's key; ``fresh``: ask the platform now."""

    def create(self, job: TileJob) -> str:
        """Create the job, once, without any retry, and return its id."""

    def start(self, job_id: str) -> None:
        """Start a created job."""

    def state(self, job_id: str) -> JobState | None:
        """Return the job's state, or None if the platform does not know it any more."""

    def reasons(self, job_id: str, log: Path) -> str:
        """Write the platform's log of the job to ``log`` and return its last error lines."""

    def fetch(self, job_id: str, folder: Path) -> Outcome:
        """Download the results into ``folder``; may be repeated."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often to ask, and for how long.

    Attributes
    ----------
    shortest, longest
        Seconds between two questions about a job.
    total
        Seconds after which a job is no longer waited for (it is left alone).
    outage
        Seconds that the platform may be out of reach before this process gives up.
    """

    shortest: float = 1.0
    longest: float = 60.0
    total: float = 86_400.0
    outage: float = 3_600.0

    def pause(self, age: float) -> float:
        """Seconds to the next question: a tenth of the job's age, jittered so that jobs do not ask in step."""
        return min(self.longest, max(self.shortest, age / 10)) * random.uniform(0.8, 1.2)  # noqa: S311


def patiently(action: Callable[[], _T], patience: Patience) -> _T:
    """Call ``action`` until it works; only transient trouble is waited out, for ``patience.outage`` at most."""
    from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

    backoff = wait_random_exponential(multiplier=max(patience.shortest, 0.2), max=patience.longest)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, PlatformError) else None
        return backoff(state) if asked is None else asked + random.uniform(0, 1)  # noqa: S311

    def transient(error: BaseException) -> bool:
        return isinstance(error, PlatformError) and error.error_class is ErrorClass.TRANSIENT

    retrying = Retrying(
        retry=retry_if_exception(transient), wait=wait, stop=stop_after_delay(patience.outage), reraise=True
    )
    return retrying(action)


def run_remote(job: TileJob, receipt: Receipt, platform: Platform, patience: Patience) -> Outcome:
    """Bring one tile's remote job to its end and fetch its results.

    Raises
    ------
    TileFailedError
        With the platform's own words. The receipt then says ``failed`` if the job itself failed, and keeps its state
        if only the way to the platform was broken, so that the next run attaches to the same job.
    """
    try:
        return _run(job, receipt, platform, patience)
    except PlatformError as error:
        if error.error_class not in {ErrorClass.TRANSIENT, ErrorClass.AUTH, ErrorClass.QUOTA}:
            receipt.advance("failed", error={"class": error.error_class, "message": str(error)})
        raise TileFailedError(str(error), error_class=error.error_class) from None


def _run(job: TileJob, receipt: Receipt, platform: Platform, patience: Patience) -> Outcome:
    if receipt.state == "failed":
        receipt.start_over("run again after it failed")
    state = None
    if receipt.job_id is not None:
        known = receipt.job_id
        state = patiently(lambda: platform.state(known), patience)
        if state is None:
            receipt.start_over("the platform does not know the job any more")
    if receipt.job_id is None:
        _obtain(job, receipt, platform, patience)
    job_id = receipt.job_id
    assert job_id is not None  # noqa: S101 -- _obtain sets it or raises
    state = _wait(job_id, receipt, platform, patience)
    facts = {**receipt.facts, **state.facts}
    if state.status == "finished":
        if receipt.state != "done":
            receipt.advance("finished", facts=facts)
        return patiently(lambda: platform.fetch(job_id, job.scratch / "results"), patience)
    log = job.receipt.parent.parent / "logs" / f"{job.id}.platform.log"
    reason = patiently(lambda: platform.reasons(job_id, log), patience)
    if state.status == "error" and is_no_data(reason):
        receipt.advance("finished", facts=facts)
        return Outcome(assets=(), job={"id": job_id, **facts})
    error_class = ErrorClass.PERMANENT if state.status == "canceled" else classify_log(reason)
    message = f"job {job_id} was canceled on the platform" if state.status == "canceled" else reason
    receipt.advance("failed", facts=facts, error={"class": error_class, "message": message})
    raise TileFailedError(f"{message} (job {job_id}; platform log: {log})", error_class=error_class)


def _obtain(job: TileJob, receipt: Receipt, platform: Platform, patience: Patience) -> None:
    """Adopt the job if the platform has it already, else create it."""
    # An intent on disk means that a create may have reached the platform: only a fresh look counts then.
    found = patiently(lambda: platform.find(job, fresh=receipt.state == "intent"), patience)
    while found is None:
        receipt.advance("intent", attempt=receipt.attempt + 1)
        try:
            found = platform.create(job)
        except PlatformError as error:
            if error.outcome_unknown:
                found = _look_around(job, platform, patience)
            elif error.error_class is ErrorClass.TRANSIENT:
                time.sleep(error.retry_after or patience.pause(10 * patience.longest))
            else:
                receipt.advance("new")  # refused before it existed: nothing to look for next time
                raise
    receipt.advance("created", job_id=found)


def _look_around(job: TileJob, platform: Platform, patience: Patience) -> str | None:
    for seconds in _LOOK_AGAIN_AFTER:
        time.sleep(seconds)
        found = patiently(lambda: platform.find(job, fresh=True), patience)
        if found is not None:
            return found
    return None


def _wait(job_id: str, receipt: Receipt, platform: Platform, patience: Patience) -> JobState:
    """Start the job if nobody did, and wait for its end."""
    begun = time.monotonic()
    while True:
        state = patiently(lambda: platform.state(job_id), patience)
        if state is None:
            receipt.advance("failed", error={"class": ErrorClass.PERMANENT, "message": "vanished"})
            raise TileFailedError(f"job {job_id} has vanished from the platform; the next run submits it again")
        if state.status == "created":
            # Asked again before every start: a start that was answered by a broken line must not be sent twice.
            _try_start(job_id, receipt, platform)
        elif state.status in {"finished", "error", "canceled"}:
            return state
        age = time.monotonic() - begun
        if age > patience.total:
            raise TileFailedError(
                f"job {job_id} is still {state.status} after {patience.total / 3600:g} h; it was left alone,"
                " the next run finds it again (backend.timeout_hours)",
                error_class=ErrorClass.TRANSIENT,
            )
        time.sleep(patience.pause(age))


def _try_start(job_id: str, receipt: Receipt, platform: Platform) -> None:
    try:
        platform.start(job_id)
        receipt.advance("started")
    except PlatformError as error:
        if error.error_class is not ErrorClass.TRANSIENT:
            raise
        time.sleep(error.retry_after or 0)
