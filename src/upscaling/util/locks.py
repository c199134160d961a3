"""Locks between processes: of a run, which tells who holds it, and of a file that several write.

The lock of a run is a POSIX record lock of its own and none of ``filelock``'s, which are ``flock``: who holds it can be
asked without taking it, and no process that its holder forks or starts keeps it alive.
"""

from __future__ import annotations

import errno
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
from typing import Any

from upscaling.errors import UpscalingError

__all__ = ["exclusive", "holder_of", "leave_run", "run_lock", "take_run"]

_FLOCK = "hhqqi4x"  # struct flock of Linux, 64 bit
_LONGEST = 4096  # bytes of who holds a run

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP}  # of a file system without them: Lustre, NFS mounted so
_POLL_S = 0.1

_held: dict[Path, int] = {}  # open descriptors hold the locks until this process ends, however it ends


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
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held_by = _in_words(os.pread(descriptor, _LONGEST, 0))
        os.close(descriptor)
        raise UpscalingError(f"{run_folder} is being worked on by {held_by}") from None
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    holder = {"user": getpass.getuser(), "host": socket.gethostname(), "pid": os.getpid(), "since": since}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)
    _held[path] = descriptor


def leave_run(run_folder: Path) -> None:
    """Give the lock back before this process ends: another one that it starts is to have it."""
    descriptor = _held.pop((run_folder / ".lock").resolve(), None)
    if descriptor is not None:
        os.close(descriptor)


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
            return _read(os.pread(_held[path], _LONGEST, 0))
        with path.open("rb") as stream:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            answer = struct.unpack(_FLOCK, fcntl.fcntl(stream, fcntl.F_GETLK, asked))
            return None if answer[0] == fcntl.F_UNLCK else _read(stream.read(_LONGEST))
    except OSError:
        return None


def _read(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _in_words(content: bytes) -> str:
    holder = _read(content)
    try:
        return f"{holder['user']} on {holder['host']}, process {holder['pid']}, since {holder['since']}"
    except KeyError:
        return "another process"


@contextmanager
def exclusive(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock file for a block, against other processes and threads; the file stays.

    On a file system without locks the block runs without one: what it guards is written whole, at the worst twice.

    Raises
    ------
    BlockingIOError
        Another holds it, and ``wait`` is false.
    """
    import filelock

    lock = filelock.FileLock(path, poll_interval=_POLL_S, fallback_to_soft=False)
    try:
        lock.acquire(blocking=wait)
    except filelock.Timeout:
        raise BlockingIOError(errno.EAGAIN, "is held by another process", str(path)) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    try:
        yield
    finally:
        lock.release()
