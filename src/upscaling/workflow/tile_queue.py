"""The tiles of one run that Snakemake handed over: all that are ready, while one process runs as many as have slots."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.workflow.worker_process import WorkerProcess

if TYPE_CHECKING:
    from upscaling.workflow.run import Run

__all__ = ["HandedTile", "TileQueue", "executor_job"]

_STARTS = 2  # of the process: it is started once more when it is lost


@dataclass(frozen=True, slots=True)
class HandedTile:
    """A tile that Snakemake handed over, with what Snakemake calls it."""

    name: str
    key: str | None
    job: Any


class TileQueue:
    """Tiles wait here for a slot, and are in hand until their process says how they ended.

    Parameters
    ----------
    run_folder
        The run.
    reports
        Who is told what became of tiles, from other threads than Snakemake's own.
    start
        How the process is started; for tests.
    """

    def __init__(self, run_folder: Path, reports: Run, start: Callable[..., Any] = WorkerProcess) -> None:
        self._folder, self._reports, self._start = run_folder, reports, start
        self._lock = threading.RLock()
        self._waiting: deque[HandedTile] = deque()
        self._hand: dict[str, HandedTile] = {}
        self._resting: set[str] = set()  # of these: only their results are waited for, which takes no slot
        self._not_begun = 0
        self._together = 0
        self._starts = 0
        self._process: Any = None
        self._closed = self._refused = False
        self.reason: str | None = None  # why no more tiles are begun

    @property
    def running(self) -> int:
        """How many tiles the process has in hand."""
        return len(self._hand)

    @property
    def open(self) -> int:
        """How many tiles have not ended, and will be begun or are in hand."""
        with self._lock:
            return len(self._hand) + len(self._waiting)

    @property
    def not_begun(self) -> int:
        """How many tiles were handed over and are left for the next run."""
        return self._not_begun

    def add(self, tile: HandedTile) -> None:
        """Take a tile; its process is started with the first one."""
        with self._lock:
            if self._closed or self.reason is not None:
                self._not_begun += 1
                return
            self._waiting.append(tile)
            if self._process is None:
                self._start_process()
        self._fill()

    def _start_process(self) -> None:
        self._starts += 1
        self._together = 0
        self._resting.clear()
        self._process = self._start(self._folder, answered=self._answered, ended=self._lost)

    def _fill(self) -> None:
        """Begin as many tiles as may be in hand."""
        while True:
            with self._lock:
                if not self._waiting or len(self._hand) - len(self._resting) >= self._together or self._closed:
                    return
                tile = self._waiting.popleft()
                self._hand[tile.name] = tile
                process = self._process
            self._reports.tile_begins(tile)
            process.begin(tile.name, tile.key)

    def _answered(self, answer: dict[str, Any]) -> None:
        if self._closed:
            return
        if answer.get("ready"):
            with self._lock:
                self._together = int(answer["together"])
                again = list(self._hand.values())
                process = self._process
            for tile in again:  # an earlier process had them; their jobs are attached to
                process.begin(tile.name, tile.key)
            self._fill()
        elif "tile" not in answer:
            self._refused = True
            self.close()
            self._reports.refused(str(answer.get("error")), answer.get("key"))
        else:
            self._tile_answered(answer)

    def _tile_answered(self, answer: dict[str, Any]) -> None:
        if "rests" in answer:
            with self._lock:
                change = (
                    self._resting.add if answer["rests"] and answer["tile"] in self._hand else self._resting.discard
                )
                change(answer["tile"])
            self._fill()
            return
        with self._lock:
            self._resting.discard(answer["tile"])
            tile = self._hand.pop(answer["tile"], None)
            if tile is not None and "held" in answer:
                self._not_begun += 1
        if tile is None:
            return
        if "held" in answer:
            self.stop(str(answer["held"]))
        else:
            self._reports.tile_ended(tile, answer.get("error"))
            self._fill()
        self._tell_when_stopped()

    def stop(self, reason: str) -> None:
        """Begin no more tiles; those in hand come to their end."""
        with self._lock:
            first, self.reason = self.reason is None, self.reason or reason
            self._not_begun += len(self._waiting)
            self._waiting.clear()
        if first:
            self._reports.say(f"stopping {self._folder}: {reason}")
            self._tell_when_stopped()

    def _tell_when_stopped(self) -> None:
        with self._lock:
            stopped = self.reason is not None and not self._hand and not self._closed
        if stopped:
            self._reports.stopped()

    def _lost(self, status: int) -> None:
        """Start the process again, once; never a process for each tile."""
        with self._lock:
            if self._closed or not (self._hand or self._waiting):
                self._process = None  # with the next tile, if there is one
                return
            again = self._starts < _STARTS
            left = len(self._hand) + len(self._waiting)
            if again:
                self._start_process()
            else:
                self._not_begun += len(self._hand)
                self._hand.clear()
        if again:
            self._reports.say(
                f"note: the process that runs the tiles of {self._folder} ended ({_in_words(status)}); it is started"
                " again and attaches to their jobs"
            )
        else:
            self.stop(
                f"the process that runs the tiles ended again ({_in_words(status)}); {left} tiles are left, their"
                " jobs go on and are found again by the next run"
            )

    def close(self) -> int:
        """End the process at once and begin nothing more; return how many tiles were in hand."""
        with self._lock:
            already, self._closed = self._closed, True
            process, in_hand = self._process, len(self._hand)
            self._not_begun += len(self._waiting)
            self._waiting.clear()
        if process is not None and not already:
            process.close()
        return in_hand


def _in_words(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def executor_job(job: Any) -> Any:
    """Return what Snakemake calls a submitted job."""
    from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

    return SubmittedJobInfo(job)
