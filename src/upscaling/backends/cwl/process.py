"""One CWL runner as a child process: started alone on its folder, and never outliving the tile's process."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from upscaling.backends.cwl.guard import PR_SET_PDEATHSIG
from upscaling.errors import ErrorClass, TileFailedError

__all__ = ["MARK", "STOP_TIMEOUT_S", "alone", "die_with_parent", "kill_survivors", "run_alone", "survivors"]

MARK = "UPSCALING_CWL_RUN"
GUARD = Path(__file__).with_name("guard.py")
STOP_TIMEOUT_S = 30


def die_with_parent(number: int) -> None:
    """Ask Linux for this signal when the process that forked this one is gone; elsewhere the next run ends us."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold ``folder`` (absolute) for this process; end what an earlier, killed process left running in or below it.

    Raises
    ------
    TileFailedError
        ``transient``, if another living process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "an unknown process"
            raise TileFailedError(
                f"{folder} is in use by {holder}; one process runs a tile at a time", error_class=ErrorClass.TRANSIENT
            ) from None
        except OSError:
            pass  # a file system without locks (Lustre, mounted so): the receipt's own lock has to do
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)
        kill_survivors(folder)
        yield
    finally:
        os.close(descriptor)


def run_alone(command: Sequence[str], *, folder: Path, environment: Mapping[str, str], stdout: Path, log: Path) -> int:
    """Run ``command`` in ``folder`` to its end and return its exit status (negative: the signal that ended it).

    Whatever ends this call (Ctrl-C, an error, a signal, ``kill -9``), the command and all it started end too; Toil
    gets the time to stop its jobs and leaves a job store that can be restarted.
    """
    marked = {**environment, MARK: f"{folder}/"}
    guarded = [sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), *command]
    with stdout.open("wb") as out, log.open("ab") as err:
        process = subprocess.Popen(
            guarded, cwd=folder, env=marked, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
        try:
            return process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            kill_survivors(folder)


def survivors(folder: Path) -> list[int]:
    """Return the processes that a run in or below ``folder`` started and that are still there, whatever their parent.

    The runner and its workers carry a mark in their environment. A tool may get a clean one from the runner, in which
    HOME and TMPDIR lie below the folder. A tool inside a container is not seen. Steps that Toil gave to SLURM are
    SLURM's, also where it runs them on this very machine.
    """
    places = {folder, folder.resolve()}  # runners resolve symbolic links
    marks = tuple(f"{name}={place}/".encode() for name in (MARK, "HOME", "TMPDIR") for place in places)
    here = f"SLURM_JOB_ID={os.environ.get('SLURM_JOB_ID', '')}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            values = entry.read_bytes().split(b"\0")
            elsewhere = any(value.startswith(b"SLURM_JOB_ID=") and value != here for value in values)
            if not elsewhere and any(value.startswith(marks) for value in values):
                found.append(int(entry.parent.name))
        except OSError:
            continue  # ended meanwhile, or another user's
    return found


def kill_survivors(folder: Path) -> None:
    """End what ``survivors`` finds, the hard way.

    Raises
    ------
    TileFailedError
        ``transient``, if it does not end.
    """
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while pids := survivors(folder):
        for pid in pids:
            try:
                # With its group: a tool may start others in an environment of its own.
                group = os.getpgid(pid)
                if group != os.getpgrp():
                    os.killpg(group, signal.SIGKILL)
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise TileFailedError(
                f"processes of an earlier run do not end: {', '.join(map(str, pids))}", error_class=ErrorClass.TRANSIENT
            )
        time.sleep(0.05)
