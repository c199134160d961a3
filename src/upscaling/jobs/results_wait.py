"""Fetch the results of a finished job when they are all there: lists lag behind, and grow.

A list is looked at again, within the platform's lag, while it is empty, refused, shorter than what the process saves,
or lacks what every other tile of the run has. A list that no other tile's confirms is looked at twice more, unless one
does meanwhile. What is still not there after the lag is not paid again: the job is kept, and the next run looks again.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from upscaling.errors import ErrorClass, PlatformError, TileFailedError, bad_output
from upscaling.jobs.platform import Patience
from upscaling.jobs.waits import WAITS
from upscaling.model import FetchedAsset, Outcome, TileJob

__all__ = ["NOT_YET", "RESULTS_GONE", "Expected", "complete_results", "kept_job"]

RESULTS_GONE = "ResultsGone"  # code of the PlatformError that says that a finished job's results are not there
NOT_YET = {RESULTS_GONE, "JobNotFinished"}
_CONFIRMING = (0.01, 0.03)  # pauses, in shares of the lag, before an unconfirmed list is looked at again
_MOST_LISTS = 100  # different ones that are kept of a run
_MOST_LOOKS = 50
_PARTICULARS = re.compile(r"[0-9a-f]{8,}|\d+")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of results before they are looked at.

    Attributes
    ----------
    least
        Files that the process returns at the least.
    certain
        Whether fewer cannot be right.
    ours
        Whether this run saw the job at work: a list that stays empty is then a result without data. Platforms empty
        the results of old jobs.
    cheap
        Whether another look costs no more than a question: files that are here are not fetched again.
    """

    least: int
    certain: bool
    ours: bool
    cheap: Callable[[], bool]


@dataclass
class _Lists:
    """What the tiles of one run listed, as names without what differs from tile to tile."""

    lock: threading.Condition = field(default_factory=threading.Condition)
    whole: list[Counter[str]] = field(default_factory=list)

    def common(self) -> set[str]:
        """Return the names that every tile with results has."""
        with self.lock:
            return set.intersection(*(set(names) for names in self.whole)) if self.whole else set()

    def confirms(self, names: Counter[str]) -> bool:
        """Return whether another tile has the same list."""
        with self.lock:
            return names in self.whole

    def add(self, names: Counter[str]) -> None:
        with self.lock:
            if names not in self.whole and len(self.whole) < _MOST_LISTS:
                self.whole.append(names)
                self.lock.notify_all()

    def await_confirmation(self, names: Counter[str], seconds: float) -> bool:
        """Return whether another tile has the same list, as soon as one has."""
        with self.lock:
            return self.lock.wait_for(lambda: names in self.whole, seconds)


_lists: dict[tuple[Path, str], _Lists] = {}  # by run and algorithm, for all threads of this process
_lock = threading.Lock()


def complete_results(
    fetch: Callable[[], Outcome],
    job: TileJob,
    job_id: str,
    patience: Patience,
    expected: Expected,
) -> Outcome:
    """Fetch results until they are complete, as far as that can be told.

    Parameters
    ----------
    fetch
        Fetches what is listed now; raises what cannot be waited out.

    Raises
    ------
    TileFailedError
        ``bad-output`` if they are not there, or not complete, after the lag: the job is paid and is kept.
    PlatformError
        What ``fetch`` raises.
    """
    with _lock:
        lists = _lists.setdefault((job.receipt.parent, job.algorithm.sha256), _Lists())
    outcome, names, why = _look_until_complete(fetch, job, patience, expected, lists)
    if outcome is None or (not names and not expected.ours):
        raise _kept(f"job {job_id} is finished and its results are not there ({why})")
    if names and expected.certain and names.total() < expected.least:
        raise _kept(f"job {job_id} is finished and {why}")
    if why:
        log.warning("job %s: %s, also after %g s", job_id, why, patience.lag)
    if names:
        lists.add(names)
    return outcome


def _look_until_complete(
    fetch: Callable[[], Outcome], job: TileJob, patience: Patience, expected: Expected, lists: _Lists
) -> tuple[Outcome | None, Counter[str], str]:
    """Return the last look: what was fetched, the names of its files, and what is missing (empty if nothing is)."""
    outcome, names, why = None, Counter[str](), ""
    before: Counter[str] | None = None
    same = 0  # looks in a row that showed the same list as the one before
    late = iter((*patience.looks, None))
    confirming = iter(_CONFIRMING)
    for _look in range(_MOST_LOOKS):
        try:
            outcome = fetch()
        except PlatformError as error:
            if error.code not in NOT_YET:
                raise
            outcome, names, why = None, Counter(), str(error)
        else:
            names = _names(outcome, job)
            why = _missing(names, expected.least, lists.common()) or _empty(outcome)
            same = same + 1 if names == before else 0
            if not why and (lists.confirms(names) or same >= len(_CONFIRMING) or not expected.cheap()):
                return outcome, names, ""
        pause = next(late, None) if why else patience.lag * next(confirming, _CONFIRMING[-1])
        if pause is None:
            return outcome, names, why
        before = names
        _forget_empty(outcome)
        with WAITS.resting(job.id):
            if why:
                time.sleep(pause)
            elif lists.await_confirmation(names, pause):
                return outcome, names, ""
    return outcome, names, why


def _names(outcome: Outcome, job: TileJob) -> Counter[str]:
    listed = [*(asset.key for asset in outcome.assets), *outcome.values, *("" for _ in outcome.left_out)]
    return Counter(_PARTICULARS.sub("#", key.replace(job.id, "#")) for key in listed)


def _missing(names: Counter[str], least: int, common: set[str]) -> str:
    if not names:
        return "it lists no result files"
    if names.total() < least:
        return f"it lists {names.total()} result files, and its process saves {least} results"
    lacking = common - set(names)
    return f"it lists no {', '.join(sorted(lacking))}, which the other tiles have" if lacking else ""


def _empty_files(outcome: Outcome | None) -> list[FetchedAsset]:
    """Return the files without content: a platform may list what it still writes."""
    assets = () if outcome is None else outcome.assets
    return [asset for asset in assets if not asset.href and asset.path.is_file() and not asset.path.stat().st_size]


def _empty(outcome: Outcome) -> str:
    return "".join(f"{asset.key} is empty" for asset in _empty_files(outcome)[:1])


def _forget_empty(outcome: Outcome | None) -> None:
    """Delete files without content, so that they are fetched again."""
    for asset in _empty_files(outcome):
        asset.path.unlink()


def kept_job(error: PlatformError) -> PlatformError | TileFailedError:
    """Return what becomes of a refusal to give a finished job's results: the job is kept, whatever the platform says.

    What is over when the way to the platform works again stays as it is.
    """
    passing = {ErrorClass.TRANSIENT, ErrorClass.AUTH, ErrorClass.QUOTA, ErrorClass.OUTPUT}
    return error if error.error_class in passing else _kept(f"the job is finished and its results are refused: {error}")


def _kept(reason: str) -> TileFailedError:
    return bad_output(
        f"{reason}; the job is paid and kept, and the next run looks again (`upscaling retry --resubmit` makes, and"
        " pays, another)"
    )
