"""Submit or attach, wait, fetch: the life of one remote job, the same for every platform with asynchronous jobs.

Nothing is created before its intent is on disk. Where the outcome of a creation is unknown (a dropped connection, a
502, a killed process) the platform's own job list is asked, and the job is adopted if it is there. A start is written
down before it is sent, too, and not sent again before the platform had time to show what became of the first.
"""

from __future__ import annotations

import datetime as dt
import logging
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from upscaling.errors import ErrorClass, PlatformError, TileFailedError
from upscaling.jobs.failures import classify_log, is_no_data
from upscaling.jobs.receipts import Receipt
from upscaling.model import Outcome, TileJob

__all__ = ["RESULTS_GONE", "JobState", "Patience", "Platform", "PlatformError", "patiently", "run_remote"]

RESULTS_GONE = "ResultsGone"  # code of the PlatformError that says that a finished job's results are not there any more
_MOST_CREATES = 5  # creations of one tile's job whose outcome was unknown and that left no job
_MOST_STARTS = 5  # starts of one job that were not refused and after which it was still `created`
_ENDS = ("finished", "error", "canceled")
_LEAVES_THE_JOB = {ErrorClass.TRANSIENT, ErrorClass.AUTH, ErrorClass.QUOTA}  # the next run attaches to it
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
    def rungs(self) -> int:
        """How many times a job that ran out of memory may be tried again, with more of it each time."""

    def find(self, job: TileJob, *, fresh: bool, without: frozenset[str]) -> str | None:
        """Return the id of a usable job of ours with this work's key, none of ``without``; ``fresh``: ask now."""

    def await_place(self) -> None:
        """Return when a job may be created, if creating it takes a place."""

    def create(self, job: TileJob, rung: int) -> str:
        """Create the job, once, without any retry, with the memory of this rung, and return its id."""

    def start(self, job_id: str, before: Callable[[], None]) -> None:
        """Start a created job, once, without any retry; ``before`` is called just before the request is sent."""

    def state(self, job_id: str) -> JobState | None:
        """Return the job's state, or None if the platform does not know it (any more, or yet)."""

    def await_news(self, job_id: str, status: str, seconds: float) -> None:
        """Return when the job may have another status than this one, after ``seconds`` at the latest."""

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
    """

    shortest: float = 1.0
    longest: float = 60.0
    total: float = 86_400.0
    outage: float = 3_600.0
    lag: float = 60.0
    lost: int = 2

    def pause(self, age: float) -> float:
        """Seconds to the next question: a tenth of the job's age, jittered so that jobs do not ask in step."""
        return min(self.longest, max(self.shortest, age / 10)) * random.uniform(0.8, 1.2)  # noqa: S311

    def after_refusals(self, number: int) -> float:
        """Seconds to the next try after ``number`` refusals: doubled each time."""
        return self.pause(10 * self.shortest * 2.0 ** min(number, 30))

    @property
    def looks(self) -> tuple[float, ...]:
        """Pauses between the looks for something that the platform may not show yet; together ``lag``."""
        return tuple(share * self.lag for share in (0.03, 0.07, 0.15, 0.30, 0.45))


def patiently(action: Callable[[], _T], patience: Patience) -> _T:
    """Call ``action`` until it works; only transient trouble is waited out, for ``patience.outage`` at most."""
    from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

    backoff = wait_random_exponential(multiplier=max(patience.shortest, 0.2), max=patience.longest)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        log.info("%s; tried again", error)
        asked = error.retry_after if isinstance(error, PlatformError) else None
        # What the platform asks for counts, but a day is not waited where the patience is an hour.
        return backoff(state) if asked is None else min(asked, patience.outage) + random.uniform(0, 1)  # noqa: S311

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
        return _Life(job, receipt, platform, patience).run()
    except (PlatformError, TileFailedError) as error:
        if error.error_class is ErrorClass.OUTPUT and receipt.job_id is not None:
            receipt.refuse(error.error_class, str(error))
        elif error.error_class not in _LEAVES_THE_JOB and receipt.state != "failed":
            receipt.advance("failed", error={"class": error.error_class, "message": str(error)})
        raise TileFailedError(str(error), error_class=error.error_class) from None


@dataclass
class _Life:
    """One tile's way through ``run_remote``."""

    job: TileJob
    receipt: Receipt
    platform: Platform
    patience: Patience
    seen_at_work: bool = False  # whether the job was seen before its end

    def run(self) -> Outcome:
        receipt = self.receipt
        receipt.lost = 0
        if receipt.error:
            self._forget_files()
        if receipt.state == "failed":
            self._begin_again("run again after it failed")
        elif receipt.facts.get("deleted"):
            self._begin_again("its job was deleted after the download, and its files are gone")
        elif receipt.job_id is not None and self._state(receipt.job_id) is None:
            self._begin_again("the platform does not know the job any more")
        while True:
            if receipt.job_id is None:
                receipt.advance("created", job_id=self._obtain())
            assert receipt.job_id is not None  # noqa: S101 -- just set
            outcome = self._finish(receipt.job_id, self._wait(receipt.job_id))
            if isinstance(outcome, Outcome):
                return outcome
            self._begin_again(outcome)

    def _begin_again(self, reason: str) -> None:
        self.receipt.start_over(reason)
        self._forget_files()

    def _forget_files(self) -> None:
        """Delete what was fetched the last time: it may be what was wrong."""
        shutil.rmtree(self.job.scratch / "results", ignore_errors=True)

    def _patiently(self, action: Callable[[], _T]) -> _T:
        return patiently(action, self.patience)

    # --- the job itself ---

    def _find(self, *, fresh: bool) -> str | None:
        without = frozenset(self.receipt.unusable)
        return self._patiently(lambda: self.platform.find(self.job, fresh=fresh, without=without))

    def _obtain(self) -> str:
        """Adopt the job if the platform has it already, else create it."""
        receipt, patience = self.receipt, self.patience
        # An intent on disk means that a create may have reached the platform: only a fresh look counts then.
        found = self._look_around(self._since_written()) if receipt.state == "intent" else self._find(fresh=False)
        begun, refused, unknown = time.monotonic(), 0, 0
        while found is None:
            self.platform.await_place()
            receipt.advance("intent", attempt=receipt.attempt + 1)
            try:
                found = self.platform.create(self.job, receipt.rung)
            except PlatformError as error:
                if error.outcome_unknown:
                    log.info("%s; looking whether the job was created all the same", error)
                    found, unknown = self._look_around(), unknown + 1
                    if found is None and unknown == _MOST_CREATES:
                        raise
                    continue
                receipt.advance("new", attempt=receipt.attempt - 1)  # refused: nothing to look for next time
                if error.error_class is not ErrorClass.TRANSIENT or time.monotonic() - begun > patience.outage:
                    raise
                log.info("%s; tried again", error)
                time.sleep(max(error.retry_after or 0, patience.after_refusals(refused)))
                refused += 1
        return found

    def _look_around(self, since: float = 0.0) -> str | None:
        """Look for a job that may have been created ``since`` seconds ago, until the platform must show it."""
        for seconds in (*self.patience.looks, 0):
            found = self._find(fresh=True)
            if found is not None:
                log.info("job %s was there already", found)
                return found
            if since > self.patience.lag:
                break
            time.sleep(seconds)
            since += seconds
        return None

    def _since_written(self) -> float:
        """Seconds since the receipt last changed."""
        if not self.receipt.updated:
            return 0.0
        return (dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(self.receipt.updated)).total_seconds()

    # --- its way to the end ---

    def _state(self, job_id: str) -> JobState | None:
        """Return the job's state; a job that is not known may be too new for the platform's index."""
        for seconds in (*self.patience.looks, 0):
            state = self._patiently(lambda: self.platform.state(job_id))
            if state is not None:
                return state
            time.sleep(seconds)
        return None

    def _wait(self, job_id: str) -> JobState:
        """Start the job if nobody did, and wait for its end."""
        patience, receipt = self.patience, self.receipt
        begun = time.monotonic()
        starts, refused = 0, 0
        # A start of an earlier process may still be on its way through the platform.
        again_at = begun + patience.lag - self._since_written() if receipt.state == "started" else begun
        while True:
            state = self._state(job_id)
            if state is None:
                raise TileFailedError(f"job {job_id} has vanished from the platform; the next run submits it again")
            if state.status in _ENDS:
                return state
            self.seen_at_work = True
            self._note(state.status)
            now = time.monotonic()
            if now - begun > patience.total:
                raise TileFailedError(
                    f"job {job_id} is still {state.status} after {patience.total / 3600:g} h; it was left alone,"
                    " the next run finds it again (backend.timeout_hours)",
                    error_class=ErrorClass.TRANSIENT,
                )
            pause = patience.pause(now - begun)
            if state.status == "created" and now >= again_at:
                if starts == _MOST_STARTS:
                    receipt.unusable.append(job_id)
                    raise TileFailedError(
                        f"job {job_id} was started {starts} times and is still created; the next run submits it again"
                    )
                asked = self._start(job_id)
                if asked is None:
                    begun = time.monotonic()
                    again_at, starts, refused = begun + patience.lag * 2**starts, starts + 1, 0
                    pause = patience.pause(0)
                else:
                    pause, refused = max(asked, patience.after_refusals(refused)), refused + 1
            self.platform.await_news(job_id, state.status, pause)

    def _note(self, status: str) -> None:
        """Write down what the platform says, once per change: whoever watches sees what waits there and what works."""
        receipt = self.receipt
        if status != "created" and (receipt.state != "started" or receipt.facts.get("status") != status):
            receipt.advance("started", facts={**receipt.facts, "status": status})

    def _start(self, job_id: str) -> float | None:
        """Send a start; return None if the platform took it or may have, else the seconds it asks to wait."""
        receipt = self.receipt
        try:
            self.platform.start(
                job_id, lambda: receipt.advance("started", facts={**receipt.facts, "status": "created"})
            )
        except PlatformError as error:
            refused = error.error_class not in _LEAVES_THE_JOB  # perhaps as it had started long ago
            state = self._state(job_id) if refused else None
            if error.outcome_unknown or (state is not None and state.status != "created"):
                log.info("%s; looking whether job %s was started all the same", error, job_id)
                return None
            if receipt.state == "started":
                receipt.advance("created")
            if error.error_class is not ErrorClass.TRANSIENT:
                raise
            log.info("%s; tried again", error)
            return error.retry_after or 0.0
        return None

    def _finish(self, job_id: str, state: JobState) -> Outcome | str:
        """Fetch what the job made; or say why another one is made at once."""
        receipt, facts = self.receipt, {**self.receipt.facts, **state.facts}
        facts.pop("status", None)
        if state.status == "finished":
            if receipt.state != "done":
                receipt.advance("finished", facts=facts, error=None)
            try:
                outcome = self._patiently(lambda: self.platform.fetch(self.job, job_id, self.job.scratch / "results"))
            except PlatformError as error:
                if error.code == RESULTS_GONE:
                    receipt.unusable.append(job_id)
                raise
            if outcome.assets or self.seen_at_work:
                return outcome
            # Nothing is a result only for who saw the job end: platforms empty the results of old jobs.
            receipt.unusable.append(job_id)
            raise TileFailedError(f"job {job_id} is finished and lists no result files; the next run submits it again")
        platform_log = self.job.receipt.parent.parent / "logs" / f"{self.job.id}.platform.log"
        reason = self._patiently(lambda: self.platform.reasons(job_id, platform_log))
        if state.status == "error" and is_no_data(reason):
            receipt.advance("finished", facts=facts)
            return Outcome(assets=(), job={"id": job_id, **facts})
        error_class = classify_log(reason)
        if state.status == "canceled":
            error_class, reason = ErrorClass.CANCELED, f"job {job_id} was canceled on the platform"
        climbs = error_class is ErrorClass.MEMORY and receipt.rung < self.platform.rungs
        again = error_class is ErrorClass.LOST and receipt.lost < self.patience.lost
        why = {"class": error_class, "message": reason}
        receipt.advance("failed", facts=facts, error=why, rung=receipt.rung + climbs, lost=receipt.lost + again)
        if climbs or again:
            log.info("%s; another job is made", reason)
            if climbs:
                return f"ran out of memory; tried again with memory_ladder[{receipt.rung - 1}]"
            return f"the platform lost the job; submitted again ({receipt.lost} of {self.patience.lost})"
        raise TileFailedError(f"{reason} (job {job_id}; platform log: {platform_log})", error_class=error_class)
