"""The process that job processes are forked from: everything is imported once, so that a job starts in milliseconds.

It has one thread for as long as it lives, because only then is a fork safe. It talks with the front over a socket, one
JSON object per line; when that socket closes, however the front died, it kills its children and ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from upscaling.errors import UpscalingError

__all__ = ["ENVIRONMENT", "main"]

# Read by the libraries when they are imported: no threads before a fork, and nothing fetched from elsewhere.
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "GDAL_NUM_THREADS": "1",
    "PROJ_NETWORK": "OFF",
}
PR_SET_PDEATHSIG = 1


def main(channel: socket.socket, data: Path, *, udf: bool = False) -> None:
    """Serve the front until its end of ``channel`` closes."""
    for number in (signal.SIGINT, signal.SIGTERM):  # these reach the whole group: the front decides
        signal.signal(number, signal.SIG_IGN)
    logging.getLogger("openeo_processes_dask").setLevel(logging.ERROR)  # warns of machine learning not installed
    try:
        fork_server = ForkServer(channel, data, udf=udf)
    except UpscalingError as error:
        _send(channel, {"event": "failed", "message": str(error)})
        return
    try:
        fork_server.serve()
    except ConnectionError:  # the front died while something was being sent
        fork_server.kill_all()


def die_with_parent() -> None:
    """Ask Linux to kill this process when the thread that forked it dies; the fork server has but one."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _send(channel: socket.socket, message: Mapping[str, Any]) -> None:
    channel.sendall(json.dumps(message).encode() + b"\n")


class ForkServer:
    """Forks a process per job, kills it when asked, and reports how it ended."""

    def __init__(self, channel: socket.socket, data: Path, *, udf: bool) -> None:
        import dask

        from upscaling.local_backend.collections import load_data
        from upscaling.local_backend.processes import base_registry, specifications

        dask.config.set(scheduler="synchronous")  # threads of a pool do not survive a fork
        self._channel = channel
        self._collections = load_data(data)
        self._processes: Mapping[str, Callable[..., Any]] = base_registry(udf=udf)
        self._running: dict[int, tuple[str, float]] = {}
        _send(
            channel,
            {
                "event": "ready",
                "pid": os.getpid(),
                "collections": [collection.metadata() for collection in self._collections.values()],
                "processes": specifications(self._processes),
            },
        )

    def serve(self) -> None:
        """Handle messages and ended children until the front is gone."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        selector = selectors.DefaultSelector()
        selector.register(self._channel, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        pending = b""
        while True:
            for key, _ in selector.select():
                if key.fileobj is self._channel:
                    received = self._channel.recv(65536)
                    if not received:
                        self.kill_all()
                        return
                    *lines, pending = (pending + received).split(b"\n")
                    for line in lines:
                        self._handle(json.loads(line), (wake_read, wake_write))
                else:
                    os.read(wake_read, 4096)
            self._reap()

    def _handle(self, message: Mapping[str, Any], wake: tuple[int, int]) -> None:
        if message["do"] == "run":
            self._fork(str(message["job"]), Path(message["folder"]), wake)
        elif message["do"] == "kill":
            for pid, (job, _) in self._running.items():
                if job == message["job"]:
                    _kill_group(pid)

    def _fork(self, job: str, folder: Path, wake: tuple[int, int]) -> None:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGCHLD, signal.SIGTERM):
                    signal.signal(number, signal.SIG_DFL)
                os.setpgid(0, 0)
                die_with_parent()
                self._channel.close()
                for descriptor in wake:
                    os.close(descriptor)
                status = self._child(folder)
            finally:
                os._exit(status)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)  # in both: whichever runs first, a kill finds the group
        self._running[pid] = (job, time.monotonic())
        _send(self._channel, {"event": "started", "job": job, "pid": pid})

    def _child(self, folder: Path) -> int:
        from upscaling.local_backend.worker import run_job

        output = os.open(folder / "worker.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(output, 1)
        os.dup2(output, 2)
        adjust = Path("/proc/self/oom_score_adj")
        if adjust.exists():
            adjust.write_text("800")  # where memory runs out the kernel takes the job, not the back-end
        return 0 if run_job(folder, self._collections, self._processes) else 1

    def _reap(self) -> None:
        while self._running:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            job, started = self._running.pop(pid)
            _send(
                self._channel,
                {
                    "event": "ended",
                    "job": job,
                    "status": os.waitstatus_to_exitcode(status),
                    "cpu": usage.ru_utime + usage.ru_stime,
                    "memory_mb": usage.ru_maxrss / (1024 if sys.platform == "linux" else 2**20),
                    "duration": time.monotonic() - started,
                },
            )

    def kill_all(self) -> None:
        """Kill every job process."""
        for pid in self._running:
            _kill_group(pid)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]), udf="udf" in sys.argv[3:])
