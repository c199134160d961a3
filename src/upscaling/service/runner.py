"""Start, watch and stop the Snakemake processes of tasks: as many at a time as allowed, and again after any kill."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from upscaling.service.phase import Name, Phase, alive, read_phase, run_folder, run_within, write_phase
from upscaling.service.settings import ServiceSettings
from upscaling.service.states import FINAL, RunStates
from upscaling.util.files import end_of
from upscaling.util.process import own_environment, start_of
from upscaling.util.text import last_words

__all__ = ["Runner", "start_apart"]

log = logging.getLogger(__name__)

_TRIES = 3  # starts in a row that bring no tile to an end, before a task is called stopped
_BACKOFF = (2.0, 15.0, 60.0)  # seconds before a start, by the tries before it
# A platform that is down is nobody's fault, and comes back: a start each minute, for half a day.
_OUTAGE = re.compile(r"cannot be reached|out of reach|no answer within")
_OUTAGE_TRIES = 720
_GRACE = 20.0  # seconds between asking a process to end and killing it

Environment = Callable[[int], Mapping[str, str] | None]


class Runner:
    """Runs tasks.

    Parameters
    ----------
    environment
        Task -> the variables that its process needs for the platform; None while its user must log in again.
    ended
        Called with a task's number when it has come to its end.
    """

    def __init__(
        self, settings: ServiceSettings, *, environment: Environment, ended: Callable[[int, RunStates], None]
    ) -> None:
        self._settings, self._environment, self._ended = settings, environment, ended
        self._folders: dict[int, Path] = {}  # tasks that have not ended
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._not_before: dict[int, float] = {}
        self._states: dict[Path, RunStates] = {}
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="runner", daemon=True)

    def start(self) -> None:
        """Begin to run tasks."""
        self._thread.start()

    def stop(self) -> None:
        """Look after no task any more; their processes go on, and the next service finds them."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def watch(self, task: int, folder: Path) -> None:
        """Look after a task from now on."""
        with self._lock:
            self._folders[task] = folder
        self._wake.set()

    def known(self, folder: Path) -> RunStates | None:
        """Return the states of a task's tiles as they were looked at a moment ago; None if it is time to look."""
        states = self._states.get(folder)
        return None if states is None or states.due() else states

    def states(self, folder: Path) -> RunStates:
        """Return the states of a task's tiles, up to date."""
        known = self.known(folder)
        if known is not None:
            return known  # without waiting for whoever starts or ends a process
        with self._lock:
            states = self._states.get(folder)
            if states is None:
                states = self._states[folder] = RunStates(run_folder(folder))
        states.refresh()
        return states

    def ask(self, task: int, folder: Path, name: Name, *, target: tuple[str, ...] = (), back: str = "") -> Phase:
        """Start (``queued``), pause (``paused``) or cancel (``canceled``) a task; return where it then stands."""
        with self._lock:
            phase = read_phase(folder)
            # a retry of some tiles stays one over a pause
            if phase.back and not (phase.final or target or name == "canceled"):
                target, back = phase.target, phase.back
            if name in {"paused", "canceled"}:
                self._end_process(task, phase)
            changed = write_phase(folder, phase.to(name, attempts=0, target=target, back=back))
            self._not_before.pop(task, None)
        if name == "canceled":
            self.tool(folder, task, "cancel", run_within(folder))
        self.watch(task, folder)
        return changed

    def confirm(self, task: int, folder: Path) -> None:
        """Let the whole run follow a pilot that still works."""
        with self._lock:
            phase = read_phase(folder)
            if phase.target and phase.name in {"queued", "running"}:
                write_phase(folder, dataclasses.replace(phase, confirmed=True))
                return
        self.ask(task, folder, "queued")

    def _end_process(self, task: int, phase: Phase) -> None:
        if not alive(phase):
            return
        os.kill(phase.pid, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE
        while time.monotonic() < deadline and alive(phase):
            self._reap(task)
            time.sleep(0.05)
        if alive(phase):
            os.killpg(phase.pid, signal.SIGKILL)
        self._reap(task, wait=True)

    def _reap(self, task: int, *, wait: bool = False) -> int | None:
        child = self._children.get(task)
        if child is None:
            return None
        if wait:
            child.wait()
        status = child.poll()
        if status is not None:
            del self._children[task]
        return status

    def tool(
        self, folder: Path, task: int, *arguments: str, secrets: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str] | None:
        """Run a command of ``upscaling`` in a task's folder; None if its user must log in again.

        Parameters
        ----------
        secrets
            Variables with credentials; those of the task's platform when left out.
        """
        secrets = self._environment(task) if secrets is None else secrets
        if secrets is None:
            return None
        command = [sys.executable, "-m", "upscaling", *arguments]
        try:
            return subprocess.run(
                command,
                cwd=folder,
                env={**own_environment(), **secrets},
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 1, "", "error: no answer within ten minutes")

    def _loop(self) -> None:
        while not self._stopping:
            self._wake.wait(0.5)
            self._wake.clear()
            try:
                self._step()
            except Exception:
                log.exception("looking after the runs failed; retrying")
                time.sleep(1)

    def _step(self) -> None:
        with self._lock:
            tasks = dict(self._folders)
        running, waiting = [], []
        for task, folder in tasks.items():
            with self._lock:
                phase = self._checked(task, folder)
            if phase.name == "running":
                running.append(task)
            elif phase.name == "queued":
                waiting.append(task)
            elif phase.final:
                self._finish(task, folder)
        free = self._settings.runs_at_once - len(running)
        for task in waiting[: max(free, 0)]:
            if time.monotonic() >= self._not_before.get(task, 0.0):
                with self._lock:
                    self._begin(task, tasks[task])

    def _finish(self, task: int, folder: Path) -> None:
        states = self.states(folder)
        states.refresh(at_most_every=0)
        self._ended(task, states)
        with self._lock:
            if read_phase(folder).final:
                self._folders.pop(task, None)

    def _checked(self, task: int, folder: Path) -> Phase:
        """Return where a task stands, after a look whether its process still runs."""
        phase = read_phase(folder)
        status = self._reap(task)
        if phase.name != "running" or (status is None and alive(phase)):
            return phase
        states = self.states(folder)
        states.refresh(at_most_every=0)
        done = sum(state.state in FINAL for state in states.states)
        if phase.target and status is not None:  # a pilot has ended, and the run waits to be confirmed; or a retry has
            reason = "" if status == 0 or (phase.back and done == len(states.states)) else _last_words(folder)
            return write_phase(folder, Phase(phase.back or ("queued" if phase.confirmed else "draft"), reason=reason))
        gathered = status is None and (states.run_folder / "collection.json").is_file()
        if status == 0 or (done == len(states.states) and (gathered or (status is not None and status > 0))):
            return write_phase(folder, phase.to("ended"))
        attempts = 1 if done > phase.ended_tiles else phase.attempts + 1
        reason = _last_words(folder)
        outage = bool(_OUTAGE.search(reason)) and attempts <= _OUTAGE_TRIES
        if attempts >= _TRIES and not outage:
            return write_phase(folder, phase.to("stopped", reason, attempts=attempts))
        self._not_before[task] = time.monotonic() + _BACKOFF[min(attempts, len(_BACKOFF)) - 1]
        log.warning("the process of task %s ended with %s; it is started again: %s", task, status, reason)
        return write_phase(folder, phase.to("queued", reason, attempts=attempts))

    def _begin(self, task: int, folder: Path) -> None:
        from upscaling.workflow.launch import snakemake_command

        secrets = self._environment(task)
        if secrets is None:
            write_phase(folder, read_phase(folder).to("queued", "waits for its user to log in again"))
            self._not_before[task] = time.monotonic() + 5
            return
        phase = read_phase(folder)
        states = self.states(folder)
        done = sum(state.state in FINAL for state in states.states)
        cluster = self._settings.profile == "slurm"
        command = snakemake_command([Path("config.yaml")], targets=phase.target, cluster=cluster, folder=folder)
        if phase.back:  # tiles alone are made; then collection and report take them in
            command = ["upscaling.workflow.ending", run_within(folder), *command]
        with (folder / "snakemake.log").open("ab") as stream:
            child = start_apart(command, folder, secrets, stream)
        self._children[task] = child
        begun = dataclasses.replace(
            phase, name="running", pid=child.pid, began=start_of(child.pid), ended_tiles=done, reason=""
        )
        write_phase(folder, begun)
        log.info("task %s: Snakemake runs as process %s", task, child.pid)


def start_apart(
    module: Sequence[str], folder: Path, secrets: Mapping[str, str], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a Python module with its arguments, in a session of its own: it goes on when the service ends."""
    return subprocess.Popen(
        [sys.executable, "-m", *module],
        cwd=folder,
        env={**own_environment(), **secrets},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def _last_words(folder: Path) -> str:
    """Return the last line in which Snakemake's output says what went wrong."""
    said = ""
    with suppress(OSError):
        said = last_words(end_of(folder / "snakemake.log", 20_000))
    return said or "Snakemake left no output"
