"""Slots of a platform account that all runs of this machine share: a small file per run, with its jobs under way."""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from upscaling.util.files import digest
from upscaling.util.locks import exclusive
from upscaling.util.process import start_of

__all__ = ["AccountSlots"]

log = logging.getLogger(__name__)

_ABANDONED = 300.0  # s that a job of a process that is gone keeps its slot: it may still run on the platform
_ASK = 10.0  # s between two questions for such jobs
_WISH = 30.0  # s that a run counts as waiting after it was refused a slot
# variables that tell who logs in; no secrets are among them
_WHO = re.compile(r"UPSCALING_ACCOUNT|(OPENEO_AUTH|OGCAPI)_(USERNAME|USER|CLIENT_ID)")
_RUN = "run-"  # what names of files begin with


@dataclass
class _Run:
    """What a run has of an account's slots.

    Attributes
    ----------
    pid, start
        Its process, and when that began, as ``start_of`` says.
    run
        Its folder, if nobody asks there for the jobs that an earlier process has left.
    jobs
        Those under way, each with the Unix time at which it got its slot.
    refused
        Unix time at which it was refused a slot; 0 if it was given the last one that it asked for.
    """

    pid: int
    start: int
    run: str | None
    jobs: dict[str, float] = field(default_factory=dict)
    refused: float = 0.0

    @property
    def lives(self) -> bool:
        return start_of(self.pid) == self.start


_JSON = TypeAdapter(_Run)


class AccountSlots:
    """How many jobs all runs of this machine may have on one account; safe to use from many processes and threads.

    A slot belongs to a job until its run gives it back. Where several runs wait, none takes more than its share while
    another has less. Jobs of a killed run keep their slots until the run is continued, for five minutes at most.

    Parameters
    ----------
    platform
        Address of the platform.
    limit
        Jobs at the same time.
    run
        Folder of the run, where nobody asks for the jobs that an earlier process of it has left (``abandoned``): they
        do not hold up this one, which takes them on tile by tile.
    """

    def __init__(self, platform: str, limit: int, run: Path | None = None) -> None:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        who = [value for name, value in sorted(os.environ.items()) if _WHO.fullmatch(name)]
        self._folder = state / "upscaling" / "slots" / digest([socket.gethostname(), platform, who])[:24]
        self._limit = limit
        self._mine = _Run(os.getpid(), start_of(os.getpid()), str(run.resolve()) if run else None)
        self._file = self._folder / f"{_RUN}{os.getpid()}-{os.urandom(4).hex()}.json"
        self._left: set[str] = set()  # jobs of processes that are gone, as far as was seen
        self._usable, self._mutex = True, threading.Lock()
        self._asked = -_ASK

    def take(self, job: str) -> bool:
        """Take a slot for a job; return whether there was one. A job that has one keeps it."""
        with self._locked() as usable:
            if not usable:
                return True
            others = self._others()
            has = job in self._mine.jobs or any(job in other.jobs for other in others.values())
            if not has and not self._may_take(list(others.values())):
                self._mine.refused = time.time()
                self._write()
                return False
            self._mine.refused = 0.0
            self._add(job, others)
            return True

    def hold(self, job: str) -> None:
        """Note a job that is under way already, though there may be no slot."""
        with self._locked() as usable:
            if usable:
                self._add(job, self._others())

    def leave(self, job: str) -> None:
        """Give a job's slot back."""
        if job not in self._mine.jobs and job not in self._left:
            return
        with self._locked() as usable:
            if self._mine.jobs.pop(job, None) is None:
                self._forget(job, self._others() if usable else {})
            elif usable:
                self._write()

    def abandoned(self) -> list[str]:
        """Return jobs with a slot whose process is gone, every ten seconds at most: the platform may know their end."""
        now = time.monotonic()
        if now < self._asked + _ASK or not self._usable:
            return []
        self._asked = now
        with self._locked() as usable:
            if usable:
                self._others()
        return sorted(self._left)

    def _may_take(self, others: list[_Run]) -> bool:
        living = [other for other in others if other.lives]
        counted = [*living, *(other for other in others if other not in living and not self._is_left_behind(other))]
        if len(set(self._mine.jobs).union(*(other.jobs for other in counted))) >= self._limit:
            return False
        waiting = sum(time.time() - other.refused < _WISH and other.pid != self._mine.pid for other in living)
        return not waiting or len(self._mine.jobs) < max(1, self._limit // (waiting + 1))

    def _is_left_behind(self, other: _Run) -> bool:
        return self._mine.run is not None and other.run == self._mine.run

    def _add(self, job: str, others: dict[Path, _Run]) -> None:
        self._forget(job, others)
        self._mine.jobs[job] = time.time()
        self._write()

    def _forget(self, job: str, others: dict[Path, _Run]) -> None:
        """Take a job from the processes that had it and are gone."""
        for file, other in others.items():
            if job in other.jobs and not other.lives:
                del other.jobs[job]
                self._write(file, other)
        self._left.discard(job)

    def _others(self) -> dict[Path, _Run]:
        """Return file and content of all other runs; what is over of those whose process is gone is removed."""
        found: dict[Path, _Run] = {}
        self._left = set()
        for file in self._folder.glob(f"{_RUN}*"):
            if file == self._file:
                continue
            try:
                other = _JSON.validate_json(file.read_bytes())
            except (OSError, ValidationError):  # gone by now, or damaged
                continue
            if not other.lives:
                other.jobs = {job: at for job, at in other.jobs.items() if time.time() - at <= _ABANDONED}
                self._left.update(set(other.jobs) - set(self._mine.jobs))
            if other.lives or other.jobs:
                found[file] = other
            else:
                file.unlink(missing_ok=True)
        return found

    def _write(self, file: Path | None = None, run: _Run | None = None) -> None:
        # In place, under the lock: for a disk it is dear to make a file and to remove it, for each job or each change.
        content = _JSON.dump_json(run or self._mine)
        try:
            handle = os.open(file or self._file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            with os.fdopen(handle, "wb", buffering=0) as stream:
                stream.write(content)
                stream.truncate()
        except OSError as error:
            self._give_up(error)

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Hold the folder's lock; yield False where it cannot be written: slots are then those of this run alone."""
        with ExitStack() as stack:
            stack.enter_context(self._mutex)  # threads take turns at once; who waits for the file asks now and then
            try:
                if self._usable:
                    self._folder.mkdir(parents=True, exist_ok=True)
                    stack.enter_context(exclusive(self._folder / ".lock"))
            except OSError as error:
                self._give_up(error)
            yield self._usable

    def _give_up(self, error: OSError) -> None:
        self._usable = False
        log.warning("%s; other runs on this account are not counted", error)
