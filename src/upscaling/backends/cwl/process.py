"""One CWL runner as a child process: started alone on its folder, and never outliving the tile's process."""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from upscaling.backends.cwl.guard import PR_SET_PDEATHSIG
from upscaling.errors import ErrorClass, TileFailedError, bad_output

__all__ = [
    "MARK",
    "alone",
    "become",
    "die_with_parent",
    "kill_survivors",
    "run_alone",
    "see_through",
    "survivors",
]

MARK = "UPSCALING_CWL_RUN"
GUARD = Path(__file__).with_name("guard.py")
STOP_TIMEOUT_S = 30
LOOK_S = 10.0  # between two looks at a runner
_RUNNERS = {"cwltool", "toil-cwl-runner", "_toil_worker"}


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
            return see_through(process.pid, folder)
        finally:
            process.poll()  # it has been waited for


def see_through(runner: int, folder: Path) -> int:
    """Wait for a runner, a child of this process that leads a session, and return its exit status.

    Whatever ends this call, the runner and all it started end too.
    """
    ended = None
    try:
        _wait_watching(runner, folder)
        ended = os.waitstatus_to_exitcode(os.waitpid(runner, 0)[1])
        return ended
    finally:
        if ended is None:
            _stop(runner)
        kill_survivors(folder)


def _stop(runner: int) -> None:
    """End a runner; Toil gets the time to stop its steps and leaves a job store that can be restarted."""
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(runner, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < deadline:
            if os.waitpid(runner, os.WNOHANG)[0]:
                return
            time.sleep(0.05)
        os.killpg(runner, signal.SIGKILL)
        os.waitpid(runner, 0)


def become(run: Callable[[], int], command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> NoReturn:
    """Be another program, in a fork, by its function; end with its exit status.

    Parameters
    ----------
    run
        The function, which is to load its modules itself.
    """
    status = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = list(command)
        status = run()
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException as error:  # a fork must not go on as its parent
        traceback.print_exc()
        sys.stderr.write(f"ERROR {type(error).__name__}: {error}\n")
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _wait_watching(runner: int, folder: Path) -> None:
    """Wait for the end of a runner, a child of this process, which is left to be reaped.

    Raises
    ------
    TileFailedError
        It waits for ever for the other end of a named pipe that a tool left in its output.
    """
    if not hasattr(os, "pidfd_open"):  # pragma: no cover -- not Linux
        return
    try:
        descriptor = os.pidfd_open(runner)
    except OSError:
        return  # a kernel without it: the runner is waited for without being watched
    try:
        stuck = 0
        while not select.select([descriptor], [], [], LOOK_S)[0]:
            stuck = stuck + 1 if _opens_pipe(runner) else 0
            if stuck > 1:
                names = [str(path.name) for path in folder.rglob("*") if path.is_fifo()]
                raise bad_output(
                    f"an output of the package holds a named pipe ({', '.join(names[:3]) or 'not found'}), which is no"
                    " file: let the tool remove it"
                )
    finally:
        os.close(descriptor)


def _opens_pipe(runner: int) -> bool:
    """Return whether the runner, or a worker of it, waits for the other end of a pipe; tools of a package may."""
    import psutil

    with suppress(psutil.Error, OSError):
        first = psutil.Process(runner)
        command = first.cmdline()
        for process in (first, *first.children(recursive=True)):
            words = process.cmdline()
            if words != command and not _RUNNERS & {Path(word).name for word in words[:3]}:
                continue
            if any(
                task.read_text() == "wait_for_partner" for task in Path(f"/proc/{process.pid}/task").glob("*/wchan")
            ):
                return True
    return False


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
