"""Submit or attach, wait, fetch: the life of one remote job, the same for every platform with asynchronous jobs.

Nothing is created before its intent is on disk. Where the outcome of a creation is unknown (a dropped connection, a
502, a killed process) the platform's own job list is asked, and the job is adopted if it is there. A start is written
down before it is sent, too, and not sent again before the platform had time to show what became of the first.
"""

from __future__ import annotations

import datetime as dt
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from upscaling.errors import ErrorClass, PlatformError, TileFailedError
from upscaling.jobs.failures import classify_log, is_no_data
from upscaling.jobs.platform import JobState, Patience, Platform, patiently
from upscaling.jobs.receipts import Receipt
from upscaling.jobs.results_wait import Expected, complete_results, kept_job
from upscaling.jobs.waits import WAITS
from upscaling.jobs.withdrawn import refuse_withdrawn
from upscaling.model import Outcome, TileJob

__all__ = ["run_remote"]

_MOST_CREATES = 5  # creations of one tile's job whose outcome was unknown and that left no job
_MOST_STARTS = 5  # starts of one job that were not refused and after which it was still `created`
_MOST_DELETED = 3  # jobs of one tile that the platform deleted before they were started
_NOT_FOUND = 404
_RECENT = 86_400.0  # s; platforms keep results for longer
_LONG_WAIT = 60.0  # s after which a wait is told
_ENDS = ("finished", "error", "canceled")
_LEAVES_THE_JOB = {ErrorClass.TRANSIENT, ErrorClass.AUTH, ErrorClass.QUOTA}  # the next run attaches to it
_T = TypeVar("_T")

log = logging.getLogger(__name__)


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
        if isinstance(error, PlatformError) and error.status is not None and receipt.state == "finished":
            error = kept_job(error)
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
    deleted: int = 0  # jobs that the platform deleted before they were started
    fresh: bool = False  # whether the job was created a moment ago, and no start was sent: it need not be asked about
    last_refusal: str = ""  # what the platform said of the last start that it may have taken all the same

    def run(self) -> Outcome:
        receipt = self.receipt
        receipt.lost = 0
        fresh = receipt.state in {"started", "finished"} and not receipt.error and self._since_written() < _RECENT
        self.seen_at_work = receipt.seen and fresh
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
                job_id, adopted = self._obtain()
                receipt.advance("created", job_id=job_id, adopted=adopted)
                self.fresh = self.platform.creates_idle and not adopted
            assert receipt.job_id is not None  # noqa: S101 -- just set
            state = self._wait(receipt.job_id)
            outcome = state if isinstance(state, str) else self._finish(receipt.job_id, state)
            if isinstance(outcome, Outcome):
                return outcome
            self._begin_again(outcome)

    def _begin_again(self, reason: str) -> None:
        self.receipt.start_over(reason)
        self._forget_files()

    def _forget_files(self) -> None:
        """Delete what was fetched the last time: it may be what was wrong."""
        shutil.rmtree(self.job.scratch / "results", ignore_errors=True)

    def _patiently(self, action: Callable[[], _T], *, for_results: bool = False) -> _T:
        noted = False

        def told(error: PlatformError, seconds: float) -> None:
            nonlocal noted
            if seconds < min(_LONG_WAIT, self.patience.lag):
                return
            WAITS.begin(self.job.id, str(error), for_results=for_results)
            if not noted:
                noted = True
                self._note_wait(str(error))

        try:
            return patiently(action, self.patience, told)
        finally:
            if noted:
                WAITS.end(self.job.id)
                self._note_wait(None)

    def _note_wait(self, reason: str | None) -> None:
        """Write down why the tile waits, for whoever watches."""
        receipt = self.receipt
        if receipt.state != "new":
            facts = {name: value for name, value in receipt.facts.items() if name != "waits"}
            receipt.advance(receipt.state, facts=facts if reason is None else {**facts, "waits": reason})

    # --- the job itself ---

    def _find(self, *, fresh: bool) -> str | None:
        without = frozenset(self.receipt.unusable)
        return self._patiently(lambda: self.platform.find(self.job, fresh=fresh, without=without))

    def _obtain(self) -> tuple[str, bool]:
        """Adopt the job if the platform has it already, else create it; return its id, and whether it was adopted."""
        receipt, patience = self.receipt, self.patience
        # An intent on disk means that a create may have reached the platform: only a fresh look counts then.
        found = self._look_around(self._since_written()) if receipt.state == "intent" else self._find(fresh=False)
        begun, refused, unknown = time.monotonic(), 0, 0
        while found is None:
            self.platform.await_place()
            refuse_withdrawn(self.job, receipt)  # it may have waited for hours
            receipt.advance("intent", attempt=receipt.attempt + 1)
            try:
                created = self.platform.create(self.job, receipt.memory_level)
            except PlatformError as error:
                if error.outcome_unknown:
                    log.info("%s; outcome unknown; searching the job list", error)
                    found, unknown = self._look_around(), unknown + 1
                    if found is None and unknown == _MOST_CREATES:
                        raise
                    continue
                receipt.advance("new", attempt=receipt.attempt - 1)  # refused: nothing to look for next time
                if error.error_class is not ErrorClass.TRANSIENT or time.monotonic() - begun > patience.outage:
                    raise
                log.info("%s; retrying", error)
                time.sleep(max(patience.asked(error), patience.after_refusals(refused)))
                refused += 1
            else:
                twin = self.platform.twin(self.job, created, frozenset(receipt.unusable))
                return twin or created, twin is not None
        return found, True

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

    def _wait(self, job_id: str) -> JobState | str:
        """Start the job if nobody did, and wait for its end; or say why another one is made at once."""
        patience, receipt = self.patience, self.receipt
        begun = time.monotonic()
        starts, refused = 0, 0
        # A start of an earlier process may still be on its way through the platform.
        again_at = begun + patience.lag - self._since_written() if receipt.state == "started" else begun
        state: JobState | None = None
        while True:
            state = state or (JobState("created") if self.fresh else self._state(job_id))
            if state is None:
                return self._vanished(job_id)
            if state.status in _ENDS:
                return state
            self.seen_at_work = receipt.seen = True
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
                    said = f"; the platform said: {self.last_refusal}" if self.last_refusal else ""
                    raise TileFailedError(
                        f"job {job_id} was started {starts} times and is still created{said}; the next run submits it"
                        " again"
                    )
                asked = self._start(job_id)
                if asked is None:
                    self.fresh = False
                    begun = time.monotonic()
                    again_at, starts, refused = begun + patience.lag * 2**starts, starts + 1, 0
                    pause = patience.pause(0)
                else:
                    pause, refused = max(asked, patience.after_refusals(refused)), refused + 1
            state = self.platform.await_news(job_id, state.status, pause)
            self.fresh = self.fresh and time.monotonic() - begun < patience.lag

    def _vanished(self, job_id: str) -> str:
        """Say that another job is made in place of one that was listed and is not there, and was never started."""
        receipt = self.receipt
        if receipt.state == "created" and self.platform.creates_idle and self.deleted < _MOST_DELETED:
            self.deleted += 1
            receipt.unusable.append(job_id)
            return "the platform does not know the job, which was not started"
        raise TileFailedError(f"job {job_id} has vanished from the platform; the next run submits it again")

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
            if self.fresh and error.status == _NOT_FOUND:  # too new for the platform's index: it is asked about first
                self.fresh = False
                receipt.advance("created")
                return 0.0
            refused = error.error_class not in _LEAVES_THE_JOB  # perhaps as it had started long ago
            state = self._state(job_id) if refused else None
            if error.outcome_unknown or (state is not None and state.status != "created"):
                log.info("%s; outcome unknown; asking whether job %s was started", error, job_id)
                self.last_refusal = str(error)
                return None
            if receipt.state == "started":
                receipt.advance("created")
            if refused:  # with other job options, say, the next run makes another
                receipt.unusable.append(job_id)
            if error.error_class is not ErrorClass.TRANSIENT:
                raise
            log.info("%s; retrying", error)
            return self.patience.asked(error)
        self.last_refusal = ""
        return None

    def _finish(self, job_id: str, state: JobState) -> Outcome | str:
        """Fetch what the job made; or say why another one is made at once."""
        receipt, facts = self.receipt, {**self.receipt.facts, **state.facts}
        facts.pop("status", None)
        if state.status == "finished":
            if receipt.state != "done":
                receipt.advance("finished", facts=facts, error=None)
            return self._results(job_id)
        reason, platform_log = self._reasons(job_id)
        if state.status == "error" and is_no_data(reason):
            receipt.advance("finished", facts=facts)
            return Outcome(assets=(), job={"id": job_id, **facts})
        error_class = classify_log(reason)
        if state.status == "canceled":
            error_class, reason = ErrorClass.CANCELED, f"job {job_id} was canceled on the platform"
        with_more = error_class is ErrorClass.MEMORY and receipt.memory_level < self.platform.memory_levels
        again = error_class is ErrorClass.LOST and receipt.lost < self.patience.lost
        why = {"class": error_class, "message": reason}
        receipt.advance(
            "failed", facts=facts, error=why, memory_level=receipt.memory_level + with_more, lost=receipt.lost + again
        )
        if with_more or again:
            log.info("%s; another job is made", reason)
            if with_more:
                return f"ran out of memory; retried with memory_levels[{receipt.memory_level - 1}]"
            return f"the platform lost the job; submitted again ({receipt.lost} of {self.patience.lost})"
        raise TileFailedError(f"{reason} (job {job_id}; platform log: {platform_log})", error_class=error_class)

    def _results(self, job_id: str) -> Outcome:
        job, platform = self.job, self.platform
        return complete_results(
            lambda: self._patiently(lambda: platform.fetch(job, job_id, job.scratch / "results"), for_results=True),
            job,
            job_id,
            self.patience,
            Expected(*platform.least_results(job), self.seen_at_work, platform.looks_cheaply),
        )

    def _reasons(self, job_id: str) -> tuple[str, Path]:
        """Return why a job failed, in the platform's words, and where its log is kept."""
        path = self.job.receipt.parent.parent / "logs" / f"{self.job.id}.platform.log"
        short = replace(self.patience, outage=min(self.patience.lag, self.patience.outage))
        try:
            return patiently(lambda: self.platform.reasons(job_id, path), short), path
        except PlatformError as error:
            if error.error_class is not ErrorClass.TRANSIENT:
                raise
            # It has failed, whatever its log says: waiting for that longer would only hold the tile.
            return f"the platform ended the job in error, and its log cannot be read: {error}", path
