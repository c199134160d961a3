"""How far the process of a task is: one small file in the task's folder, so that a restarted service knows it."""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any, Literal

from upscaling.errors import UpscalingError
from upscaling.util.files import read_json, write_json
from upscaling.util.process import start_of

__all__ = ["Phase", "alive", "read_phase", "run_folder", "run_within", "write_phase"]

Name = Literal["draft", "queued", "running", "paused", "canceled", "ended", "stopped"]


@dataclasses.dataclass(frozen=True)
class Phase:
    """Where the process of a task stands.

    Attributes
    ----------
    name
        ``draft``: planned, not confirmed. ``queued``: waits for its turn. ``running``. ``paused`` and ``canceled``: a
        user said so. ``ended``: every tile has come to an end. ``stopped``: Snakemake ended before that;
        ``reason`` says why.
    pid, began
        The process, and its start time in the kernel's ticks, as a process id is used again.
    attempts
        Starts in a row after which no more tiles had come to an end.
    ended_tiles
        Tiles that had come to an end when it was started last.
    target
        What Snakemake is asked for, the tiles of a pilot or of a retry; everything when empty.
    back
        Where the task stands after a retry of some tiles: where it stood before; empty for anything else.
    confirmed
        Whether the whole run follows its pilot without another word.
    """

    name: Name = "queued"
    reason: str = ""
    pid: int = 0
    began: int = 0
    attempts: int = 0
    ended_tiles: int = 0
    target: tuple[str, ...] = ()
    back: Name | Literal[""] = ""
    confirmed: bool = False

    def to(self, name: Name, reason: str = "", **changed: Any) -> Phase:
        """Return where the task stands now that no process works on it."""
        return dataclasses.replace(self, name=name, reason=reason, pid=0, began=0, **changed)

    @property
    def final(self) -> bool:
        """Whether nothing more happens without a user."""
        return self.name in {"canceled", "ended", "stopped"}


def read_phase(folder: Path) -> Phase:
    """Return where a task stands; a task without a file waits."""
    path = folder / "phase.json"
    try:
        found = path.stat()
    except OSError:
        return Phase()
    return _phase(path, found.st_ino, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=4096)
def _phase(path: Path, *_stamp: int) -> Phase:
    """Return what a file says; it is written by rename, and so each version has a stamp of its own."""
    try:
        content = read_json(path)
        return Phase(**{**content, "target": tuple(content.get("target", ()))})
    except (OSError, ValueError, TypeError):
        return Phase()


def write_phase(folder: Path, phase: Phase) -> Phase:
    """Keep where a task stands; return it."""
    write_json(folder / "phase.json", dataclasses.asdict(phase))
    return phase


@functools.lru_cache(maxsize=4096)
def run_folder(folder: Path) -> Path:
    """Return the run folder of a task: the one in its ``results`` that has a plan."""
    for plan in (folder / "results").glob("*/plan"):
        return plan.parent
    raise UpscalingError("the folder of this run is gone")


def run_within(folder: Path) -> str:
    """Return the run folder of a task as seen from the task's folder, where its commands work."""
    return str(run_folder(folder).relative_to(folder))


def alive(phase: Phase) -> bool:
    """Whether the process of a task still runs."""
    if not phase.pid or start_of(phase.pid) != phase.began:
        return False
    try:
        os.kill(phase.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is there, and another user's
    return True
