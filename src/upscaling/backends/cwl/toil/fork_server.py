"""Toil's workers on this machine as forks of a process that has Toil loaded: a tenth of a fresh interpreter's start.

Toil runs each step, and each small job of its own, in a new Python that loads Toil: 1 to 1.5 CPU seconds. The leader
cannot fork, as its threads may hold locks; so a fork server, a process without threads, is forked before there
are any, and forks when the leader asks.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import Any

from upscaling.backends.cwl.process import become, die_with_parent

__all__ = ["ForkServer"]

WORKER = "_toil_worker"


class ForkServer:
    """Starts Toil's workers; to be made while the process has no threads. Stands in for the module ``subprocess``."""

    def __init__(self) -> None:
        self._pipe, theirs = Pipe()
        self._lock = Lock()
        self._ended: dict[int, int] = {}
        if not (pid := os.fork()):
            self._pipe.close()
            _serve(theirs)
        theirs.close()
        self.pid = pid

    def Popen(  # noqa: N802 -- the name that Toil calls
        self, command: str, *, env: Mapping[str, str], **options: Any
    ) -> Worker | subprocess.Popen[bytes]:
        """Start ``command``, a line of shell; what is no worker of Toil is started as ever."""
        words = shlex.split(command)
        if Path(words[0]).name != WORKER:
            return subprocess.Popen(command, env=env, **options)
        with self._lock:
            self._pipe.send((words, dict(env), str(Path.cwd())))
            while not (found := self._receive()):
                pass
        return Worker(self, found)

    def ended(self, pid: int, *, wait: bool = False) -> int | None:
        """Return the exit status of a worker that has ended (negative: the signal that ended it)."""
        with self._lock:
            while pid not in self._ended and (wait or self._pipe.poll()):
                self._receive()
            return self._ended.get(pid)

    def _receive(self) -> int | None:
        """Take one message; return the number of a worker that was started."""
        try:
            pid, status = self._pipe.recv()
        except (EOFError, OSError):
            raise RuntimeError("the process that starts Toil's workers is gone") from None
        if status is None:
            return int(pid)
        self._ended[pid] = status
        return None


class Worker:
    """One worker, with what Toil uses of a ``subprocess.Popen``."""

    def __init__(self, fork_server: ForkServer, pid: int) -> None:
        self._fork_server, self.pid = fork_server, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return its exit status, if it has ended."""
        if self.returncode is None:
            self.returncode = self._fork_server.ended(self.pid)
        return self.returncode

    def wait(self) -> int:
        """Return its exit status."""
        while self.poll() is None:
            self._fork_server.ended(self.pid, wait=True)
        return self.returncode or 0

    def kill(self) -> None:
        """End it the hard way."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def _serve(orders: Connection) -> None:
    """Be the fork server until the leader is gone; never return."""
    try:
        die_with_parent(signal.SIGKILL)
        for number in (signal.SIGTERM, signal.SIGINT):  # for the leader, which stops its workers in order
            signal.signal(number, signal.SIG_IGN)
        woken, wake = os.pipe()
        for end in (woken, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        running: set[int] = set()
        while True:
            ready = select.select([orders.fileno(), woken], [], [])[0]
            if orders.fileno() in ready:
                words, environment, folder = orders.recv()
                if not (pid := os.fork()):
                    signal.set_wakeup_fd(-1)
                    become(partial(_work, words), words, Path(folder), environment)
                running.add(pid)
                orders.send((pid, None))
            if woken in ready:
                os.read(woken, 4096)
                for pid in list(running):
                    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                        with suppress(ProcessLookupError, PermissionError):
                            os.killpg(pid, signal.SIGKILL)  # what it left, while its number is nobody else's
                        running.remove(pid)
                        orders.send((pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
    finally:
        os._exit(0)


def _work(words: Sequence[str]) -> int:
    """Be a worker, and return its exit status."""
    die_with_parent(signal.SIGKILL)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import toil.lib.threading
    import toil.worker

    try:
        toil.worker.main(list(words))
    finally:
        toil.lib.threading.destroy_all_process_names()  # at exit, otherwise
    return 1  # it ends by itself
