"""Keeps the jobs going: hands queued jobs to the fork server, and writes down how they ended."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from upscaling.errors import ConfigError, UpscalingError
from upscaling.local_backend.costs import CREDITS_PER_JOB, charge, most_km2
from upscaling.local_backend.fork_server import ENVIRONMENT
from upscaling.local_backend.jobs import Job, JobStore, now
from upscaling.local_backend.simulate import Costs
from upscaling.local_backend.worker import RESULT_FILE, log_entries, log_entry
from upscaling.local_backend.workspaces import WORKSPACES
from upscaling.util.files import read_json, write_json

__all__ = ["SYNCHRONOUS", "Supervisor"]

log = logging.getLogger(__name__)

# A job that is running when the back-end dies is run again; one that takes the back-end down must not do so for ever.
MAX_ATTEMPTS = 3
_MOST_REVIVALS = 3  # tries, one after another, to start the worker process after it was killed
_AGAIN_SECONDS = 2.0
# Owner of the jobs behind POST /result, before the user's name; no token can hold it.
SYNCHRONOUS = "sync:"


class Supervisor:
    """Owns the fork server process and the job folders.

    Parameters
    ----------
    slots
        Job processes that run at the same time; further queued jobs wait.
    simulate
        Shortest and longest duration, in seconds, of jobs that are not run but simulated; then what they cost, as
        `upscaling.local_backend.simulate.Costs` has it.
    udf
        Run Python code that jobs bring with them.
    """

    def __init__(
        self,
        store: JobStore,
        data: Path,
        root: Path,
        slots: int,
        simulate: Sequence[float] | None = None,
        *,
        udf: bool = False,
    ) -> None:
        self.store = store
        self.collections: list[dict[str, Any]] = []
        self.processes: list[dict[str, Any]] = []
        self._data, self._root, self._slots, self._simulate, self._udf = data, root, slots, simulate, udf
        self._lock = threading.RLock()
        self._active: set[str] = set()
        self._waiters: dict[str, threading.Event] = {}
        self._closing = False
        self._undone: deque[dict[str, Any]] = deque()
        self._timer: threading.Timer | None = None
        self._start_fork_server()

    def folder(self, job_id: str) -> Path:
        """Return the folder of a job."""
        return self._root / "jobs" / job_id

    @property
    def workspaces(self) -> Path:
        """Folder of all users' workspaces."""
        return self._root / WORKSPACES

    def exports(self, user: str) -> str:
        """Return where a user's workspaces are, below the front's address."""
        return f"{WORKSPACES}/{quote(quote(user, safe=''))}"

    def recover(self) -> None:
        """Queue again what was queued or running when the back-end died."""
        for job in self.store.by_status("queued", "running"):
            if job.user.startswith(SYNCHRONOUS):  # not worth another try: its request has ended, or can be sent again
                self.store.delete(job.id)
                shutil.rmtree(self.folder(job.id), ignore_errors=True)
                if job.id in self._waiters:
                    self._waiters[job.id].set()
                continue
            if job.status == "running":
                if job.attempts >= MAX_ATTEMPTS:
                    self._fail(job, "BackendDied", f"the back-end died {job.attempts} times while this job ran")
                    continue
                log_entry(self.folder(job.id), "warning", "the back-end died while this job ran; it is run again")
                self.store.change(job.id, ("running",), status="queued", started=None)
        self.dispatch()

    def dispatch(self) -> None:
        """Start queued jobs, oldest first, while slots are free."""
        with self._lock:
            for job in self.store.by_status("queued"):
                if len(self._active) >= self._slots or self._closing:
                    return
                if job.id in self._active:
                    continue
                try:
                    self._prepare(job)
                except Exception as error:
                    log.exception("job %s cannot be prepared", job.id)
                    if _may_pass(error) and not job.user.startswith(SYNCHRONOUS):
                        self._later()
                        return
                    self._give_up(job, f"the job cannot be prepared: {error}")
                    continue
                self._active.add(job.id)
                self._send({"do": "run", "job": job.id, "folder": str(self.folder(job.id))})

    def _give_up(self, job: Job, message: str) -> None:
        """End a job that has no process, and the request that waits for it, even if nothing can be written."""
        try:
            self._fail(job, "Internal", message)
        except (OSError, sqlite3.Error):
            log.exception("the end of job %s cannot be written down", job.id)
        if waiting := self._waiters.get(job.id):
            waiting.set()

    def kill(self, job_id: str) -> None:
        """Kill the job's process, if it has one."""
        with self._lock:
            if job_id in self._active:
                self._send({"do": "kill", "job": job_id})

    def wait(self, job_id: str) -> None:
        """Block until the job's process has ended; call before the job is queued."""
        try:
            self._waiters[job_id].wait()
        finally:
            self.forget(job_id)

    def expect(self, job_id: str) -> None:
        """Announce that ``wait`` will be called for this job."""
        self._waiters[job_id] = threading.Event()

    def forget(self, job_id: str) -> None:
        """Wait no longer for a job, if anybody does."""
        self._waiters.pop(job_id, None)

    def close(self) -> None:
        """End the fork server and with it every job process; their jobs are run again at the next start."""
        with self._lock:
            self._closing = True
        with contextlib.suppress(OSError):  # it may be dead already
            self._channel.shutdown(socket.SHUT_RDWR)
        try:
            self._fork_server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._fork_server.kill()

    def estimate(self, graph: Mapping[str, Any]) -> float:
        """Return what a job costs at most; raise ProcessError where only the run can tell."""
        area = most_km2(graph, self.collections, {process["id"] for process in self.processes})
        if self._simulate is None or len(self._simulate) == 2:
            return charge(area)
        floor, per_km2, seed = self._simulate[2:]
        return Costs(floor, per_km2, int(seed)).of(graph, area)

    def _start_fork_server(self) -> None:
        self._channel, theirs = socket.socketpair()
        with theirs:
            module = "fork_server" if self._simulate is None else "simulate"
            command = [sys.executable, "-m", f"upscaling.local_backend.{module}", str(theirs.fileno()), str(self._data)]
            command += [*map(str, self._simulate or ()), *(["udf"] if self._udf and not self._simulate else [])]
            environment = {**os.environ, **ENVIRONMENT}
            environment.pop("OPENEO_LOCAL_PASSWORD", None)
            self._fork_server = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL
            )
        self._lines = self._channel.makefile("r", encoding="utf-8")
        first = self._lines.readline()
        message: dict[str, Any] = json.loads(first) if first else {"event": "died"}
        if message["event"] == "failed":
            raise ConfigError(message["message"])
        if message["event"] != "ready":
            raise UpscalingError("the worker process died while it was starting; its message is above")
        self.collections, self.processes = message["collections"], message["processes"]
        threading.Thread(target=self._listen, name="fork_server", daemon=True).start()

    def _send(self, message: Mapping[str, Any]) -> None:
        try:
            self._channel.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            log.warning("the worker process is gone; %s is not sent", message)

    def _listen(self) -> None:
        # Reset, not closed, where the worker died before it had read what was sent to it.
        with contextlib.suppress(ConnectionError):
            self._hear()
        if not self._closing:
            self._revive()

    def _hear(self) -> None:
        for line in self._lines:
            self._undone.append(json.loads(line))
            self._catch_up()

    def _catch_up(self) -> None:
        """Do what the fork server's messages ask for; on a full disk, again until it works."""
        with self._lock:
            while self._undone:
                message = self._undone[0]
                try:
                    self._handle(message)
                except Exception as error:
                    log.exception("message %s cannot be dealt with", message)
                    if _may_pass(error):
                        self._later()
                        return
                    if job := self.store.get(message["job"]):
                        self._give_up(job, f"internal error: {error!r}")
                self._undone.popleft()

    def _later(self) -> None:
        """Go on in some seconds."""
        if self._closing or (self._timer is not None and self._timer.is_alive()):
            return
        self._timer = threading.Timer(_AGAIN_SECONDS, self._go_on)
        self._timer.daemon = True
        self._timer.start()

    def _go_on(self) -> None:
        self._timer = None
        try:
            self._catch_up()
            self.dispatch()
        except Exception:
            log.exception("going on failed")
            self._later()

    def _handle(self, message: dict[str, Any]) -> None:
        if message["event"] == "started":
            job = self.store.get(message["job"])
            attempts = job.attempts + 1 if job else 1
            fields = {"status": "running", "started": now(), "attempts": attempts}
            if self.store.change(message["job"], ("queued",), **fields) is None:
                self.kill(message["job"])  # canceled or deleted in the meantime
        elif message["event"] == "ended":
            self._ended(message)

    def _revive(self) -> None:
        """Start another fork server after one was killed from outside, and its children with it."""
        log.error("the worker process died (exit status %s); starting another", self._fork_server.wait())
        with self._lock:
            self._active.clear()
            for left in reversed(range(_MOST_REVIVALS)):
                try:
                    self._start_fork_server()
                    break
                except UpscalingError:
                    if not left:
                        log.exception("it cannot be started again: the back-end ends")
                        os.kill(os.getpid(), signal.SIGTERM)
                        return
            self.recover()

    def _prepare(self, job: Job) -> None:
        folder = self.folder(job.id)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / "output", ignore_errors=True)
        (folder / RESULT_FILE).unlink(missing_ok=True)
        content = {
            "process_graph": job.process["process_graph"],
            "options": job.options,
            "user": job.user,
            "log_level": job.log_level,
            "definitions": self.store.processes(job.user.removeprefix(SYNCHRONOUS)),
        }
        write_json(folder / "job.json", content)

    def _ended(self, message: Mapping[str, Any]) -> None:
        job_id, duration = message["job"], message["duration"]
        with self._lock:
            self._active.discard(job_id)
        job = self.store.get(job_id)
        if job is None:
            shutil.rmtree(self.folder(job_id), ignore_errors=True)
        else:
            self._write_down(job, message, duration)
        if waiting := self._waiters.get(job_id):
            waiting.set()
        self.dispatch()

    def _write_down(self, job: Job, message: Mapping[str, Any], duration: float) -> None:
        usage = {
            "cpu": {"value": round(message["cpu"], 3), "unit": "cpu-seconds"},
            "memory": {"value": round(message["memory_mb"] * duration, 1), "unit": "mb-seconds"},
            "duration": {"value": round(duration, 3), "unit": "seconds"},
            "max_executor_memory": {"value": round(message["memory_mb"] / 1024, 3), "unit": "gb"},
        }
        if message["status"] == 0:
            area = read_json(self.folder(job.id) / RESULT_FILE)["area_km2"]
            costs = message.get("costs", charge(area))
            self.store.change(job.id, ("running",), status="finished", finished=now(), usage=usage, costs=costs)
            return
        if job.status != "running":  # canceled
            self.store.change(job.id, usage=usage, costs=CREDITS_PER_JOB)
            return
        if message["status"] < 0:
            text = f"the job's process was killed by signal {-message['status']}"
            self._fail(
                job,
                "ProcessKilled",
                text + (": most likely it ran out of memory" if message["status"] == -9 else ""),
                usage,
            )
        else:
            self._fail(job, *self._last_error(job.id), usage, logged=True)

    def _last_error(self, job_id: str) -> tuple[str, str]:
        errors = [entry for entry in log_entries(self.folder(job_id)) if entry["level"] == "error"] or [
            {"message": "no reason was logged"}
        ]
        return errors[-1].get("code", "Internal"), errors[-1]["message"]

    def _fail(self, job: Job, code: str, message: str, usage: Any = None, *, logged: bool = False) -> None:
        if not logged:
            log_entry(self.folder(job.id), "error", message, code)
        self.store.change(
            job.id,
            ("queued", "running"),
            status="error",
            finished=now(),
            usage=usage,
            costs=CREDITS_PER_JOB,
            error=(code, message),
        )


def _may_pass(error: Exception) -> bool:
    """Whether an error is one of the machine's that ends by itself or by its operator: a full disk, a locked file."""
    return isinstance(error, sqlite3.OperationalError) or (
        isinstance(error, OSError)
        and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENOMEM}
    )
