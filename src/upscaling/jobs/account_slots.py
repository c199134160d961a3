"""Slots of a platform account that all runs of this machine share: one small file per job that is under way."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

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
_JOB, _WAITS = "job-", "waits-"


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
        self._limit, self._run = limit, str(run.resolve()) if run else None
        self._owner = [os.getpid(), start_of(os.getpid())]
        self._usable = True
        self._read: dict[str, tuple[int, Any]] = {}
        self._own: dict[str, list[Any]] = {}  # while this process lives, nobody else writes these
        self._asked = -_ASK

    def take(self, job: str) -> bool:
        """Take a slot for a job; return whether there was one. A job that has one keeps it."""
        with self._locked() as usable:
            if not usable:
                return True
            jobs = self._jobs()
            name = _file(job)
            waits = self._folder / f"{_WAITS}{os.getpid()}"
            if name not in jobs and not self._may_take(jobs):
                waits.touch()
                return False
            waits.unlink(missing_ok=True)
            self._write(job)
            return True

    def hold(self, job: str) -> None:
        """Note a job that is under way already, though there may be no slot; a living process that has it keeps it."""
        with self._locked() as usable:
            entry = self._jobs().get(_file(job)) if usable else None
            if usable and (entry is None or start_of(entry[0]) != entry[1]):
                self._write(job)

    def leave(self, job: str) -> None:
        """Give a job's slot back."""
        self._own.pop(_file(job), None)
        with suppress(OSError):
            (self._folder / _file(job)).unlink()

    def abandoned(self) -> list[str]:
        """Return jobs with a slot whose process is gone, every ten seconds at most: the platform may know their end."""
        now = time.monotonic()
        if now < self._asked + _ASK or not self._usable:
            return []
        self._asked = now
        return [str(entry[2]) for entry in self._jobs().values() if start_of(entry[0]) != entry[1]]

    def _may_take(self, jobs: dict[str, Any]) -> bool:
        if len(jobs) >= self._limit and sum(not self._is_left_behind(entry) for entry in jobs.values()) >= self._limit:
            return False
        mine = sum(entry[:2] == self._owner for entry in jobs.values())
        others = self._waiting()
        return not others or mine < max(1, self._limit // (others + 1))

    def _is_left_behind(self, entry: list[Any]) -> bool:
        return self._run is not None and entry[3:] == [self._run] and start_of(entry[0]) != entry[1]

    def _waiting(self) -> int:
        """Return how many other runs were refused a slot a moment ago."""
        count = 0
        for path in self._folder.glob(f"{_WAITS}*"):
            pid = int(path.name.removeprefix(_WAITS))
            if pid != os.getpid() and start_of(pid) and time.time() - path.stat().st_mtime < _WISH:
                count += 1
            elif not start_of(pid):
                path.unlink(missing_ok=True)
        return count

    def _jobs(self) -> dict[str, Any]:
        """Return file -> process id, its start, the job and its run, of all that have a slot."""
        found: dict[str, Any] = {}
        read: dict[str, tuple[int, Any]] = {}  # a file is read again when it was written again
        for file in os.scandir(self._folder) if self._folder.is_dir() else ():
            if not file.name.startswith(_JOB):
                continue
            if file.name in self._own:
                found[file.name] = self._own[file.name]
                continue
            try:
                written = file.stat().st_mtime_ns
                at, entry = self._read.get(file.name, (0, None))
                if at != written:
                    entry = json.loads(Path(file).read_text())
            except (OSError, ValueError):
                continue
            if time.time() - written / 1e9 > _ABANDONED and start_of(entry[0]) != entry[1]:
                Path(file).unlink(missing_ok=True)
                continue
            found[file.name] = entry
            read[file.name] = (written, entry)
        self._read = read
        return found

    def _write(self, job: str) -> None:
        entry = [*self._owner, job, self._run]
        (self._folder / _file(job)).write_text(json.dumps(entry))
        self._own[_file(job)] = entry

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Hold the folder's lock; yield False where it cannot be written: slots are then those of this run alone."""
        with ExitStack() as stack:
            try:
                if self._usable:
                    self._folder.mkdir(parents=True, exist_ok=True)
                    stack.enter_context(exclusive(self._folder / ".lock"))
            except OSError as error:
                self._usable = False
                log.warning("%s; other runs on this account are not counted", error)
            yield self._usable


def _file(job: str) -> str:
    return f"{_JOB}{digest([job])[:24]}"
