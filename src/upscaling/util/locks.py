"""Only one Snakemake works on a run's folder at a time: two would fight over the same tiles and slots."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from upscaling.errors import UpscalingError

__all__ = ["holder_of", "leave_run", "run_lock", "take_run"]

_FLOCK = "hhqqi4x"  # struct flock of Linux, 64 bit

_held: dict[Path, IO[str]] = {}  # open files hold the locks until this process ends, however it ends


def take_run(run_folder: Path) -> None:
    """Lock a run for this process; taking it again is allowed.

    A POSIX record lock: it is gone with its process, also after ``kill -9``, and works on NFS.

    Raises
    ------
    UpscalingError
        If another process holds it; the message names its holder.
    """
    path = (run_folder / ".lock").resolve()
    if path in _held:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = path.open("a+", encoding="utf-8")
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.seek(0)
        holder = stream.read().strip()
        stream.close()
        raise UpscalingError(f"{run_folder} is being worked on by {_in_words(holder)}") from None
    stream.truncate(0)
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    json.dump({"user": getpass.getuser(), "host": socket.gethostname(), "pid": os.getpid(), "since": since}, stream)
    stream.flush()
    _held[path] = stream


def leave_run(run_folder: Path) -> None:
    """Give the lock back before this process ends: another one that it starts is to have it."""
    stream = _held.pop((run_folder / ".lock").resolve(), None)
    if stream is not None:
        stream.close()


@contextmanager
def run_lock(run_folder: Path) -> Iterator[None]:
    """Hold the lock of a run for a block; a process that had it before keeps it.

    Raises
    ------
    UpscalingError
        If another process holds it.
    """
    had = (run_folder / ".lock").resolve() in _held
    take_run(run_folder)
    try:
        yield
    finally:
        if not had:
            leave_run(run_folder)


def holder_of(run_folder: Path) -> dict[str, Any] | None:
    """Return who holds a run (user, host, pid, since), or None; nothing is changed, so nobody is in the way."""
    path = (run_folder / ".lock").resolve()
    try:
        if path in _held:  # to open and close it would give up the lock
            return _read(os.pread(_held[path].fileno(), 4096, 0))
        with path.open("rb") as stream:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            answer = struct.unpack(_FLOCK, fcntl.fcntl(stream, fcntl.F_GETLK, asked))
            return None if answer[0] == fcntl.F_UNLCK else _read(stream.read(4096))
    except OSError:
        return None


def _read(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _in_words(holder: str) -> str:
    try:
        said = json.loads(holder)
        return f"{said['user']} on {said['host']}, process {said['pid']}, since {said['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
