"""Toil as a function of this process: what it has loaded is not loaded again, and it waits for nothing needlessly.

Patches of Toil, for a leader that is a fork of a process in which ``preload`` was called; what Toil does stays:

* its workers on this machine are forks too (``fork_server``);
* jobs of its own that end are heard of at once; beside another batch system it looks for them every two seconds;
* leaders of one process ask SLURM together (``SharedStates``): one ``squeue`` a second of our own jobs, instead of one
  ``scontrol show job`` of the whole cluster for every leader;
* when no job is left it does not wait two seconds for the next one;
* it starts no thread for service jobs, which CWL does not have, and no server for live logs of its workers, which we
  do not ask for, and so does not wait for their ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from queue import Empty
from types import SimpleNamespace
from typing import Any

from upscaling.backends.cwl.toil.fork_server import ForkServer
from upscaling.util.upstream import Patch

__all__ = ["TOIL", "SharedStates", "lead", "preload"]

_SYSTEMS = "toil.batchSystems"
_GRID = f"{_SYSTEMS}.abstractGridEngineBatchSystem:AbstractGridEngineBatchSystem"
TOIL = Patch(
    "toil",
    ">=9.6,<9.7",
    (
        "toil.cwl.cwltoil:get_options(args)",
        "toil.cwl.cwltoil:main(args)",
        "toil.worker:main(argv)",
        "toil.lib.plugins:get_plugin_names(plugin_type)",
        "toil.lib.plugins:plugin_types",
        "toil.lib.threading:destroy_all_process_names",
        "toil.lib.misc:CalledProcessErrorStderr",
        f"{_SYSTEMS}.singleMachine:subprocess.Popen",
        f"{_SYSTEMS}.singleMachine:time.sleep",
        f"{_SYSTEMS}.singleMachine:SingleMachineBatchSystem.jobs",
        f"{_SYSTEMS}.singleMachine:SingleMachineBatchSystem._pollForDoneChildrenIn(self, pid_to_popen)",
        f"{_SYSTEMS}.singleMachine:SingleMachineBatchSystem.getUpdatedBatchJob(self, maxWait)",
        f"{_GRID}.getUpdatedBatchJob(self, maxWait)",
        f"{_GRID}.getUpdatedLocalJob(self, maxWait)",
        f"{_GRID}.getIssuedBatchJobIDs(self)",
        *(f"{_GRID}.{name}" for name in ("background_thread", "currentJobs", "updatedJobsQueue")),
        f"{_GRID}.GridEngineThreadException",
        f"{_SYSTEMS}.slurm:SlurmBatchSystem.GridEngineThread._getJobDetailsFromScontrol(self, job_id_list)",
        f"{_SYSTEMS}.slurm:SlurmBatchSystem.GridEngineThread._canonicalize_state(self, state)",
        *(f"toil.realtimeLogger:RealtimeLogger.{name}" for name in ("__enter__", "__exit__")),
        *(f"toil.serviceManager:ServiceManager.{name}(self)" for name in ("start", "check", "shutdown")),
    ),
    "each tile, and each of its steps, starts an interpreter of its own",
)

STEP_S = 0.05  # between two looks at the workers here
FAR_STEP_S = 0.3  # where they only do what is between the steps; many such leaders are on a login node
ANSWER_TIMEOUT_S = 60


def preload() -> None:
    """Load Toil with its batch systems."""
    import toil.leader
    import toil.worker  # noqa: F401 -- loaded is what it is to be
    from toil.cwl.cwltoil import get_options
    from toil.lib.plugins import get_plugin_names, plugin_types

    get_options(["package.cwl"])
    for kind in plugin_types:  # it looks for them among all that is installed
        get_plugin_names(kind)
    SharedStates.of_this_process = SharedStates()


def lead(arguments: Sequence[str]) -> int:
    """Be ``toil-cwl-runner``, in a process that is to end with it; return the exit status."""
    from toil.batchSystems import singleMachine
    from toil.batchSystems.abstractGridEngineBatchSystem import AbstractGridEngineBatchSystem
    from toil.batchSystems.slurm import SlurmBatchSystem
    from toil.cwl.cwltoil import main
    from toil.realtimeLogger import RealtimeLogger
    from toil.serviceManager import ServiceManager

    here, waits = singleMachine.SingleMachineBatchSystem, singleMachine.SingleMachineBatchSystem.getUpdatedBatchJob

    def updated_here(system: Any, maxWait: float) -> Any:  # noqa: N803 -- Toil's name
        return waits(system, maxWait if system.jobs else min(maxWait, STEP_S))

    step = STEP_S if "--batchSystem=single_machine" in arguments else FAR_STEP_S
    seldom = SimpleNamespace(time=time.time, sleep=lambda _: time.sleep(step))  # it looks a hundred times a second
    _patch(singleMachine, subprocess=ForkServer(), time=seldom)
    _patch(here, _pollForDoneChildrenIn=_ended, getUpdatedBatchJob=updated_here)
    _patch(AbstractGridEngineBatchSystem, getUpdatedBatchJob=_updated)
    _patch(SlurmBatchSystem.GridEngineThread, _getJobDetailsFromScontrol=_states)
    _patch(RealtimeLogger, __enter__=_nothing, __exit__=_nothing)
    _patch(ServiceManager, start=_nothing, check=_nothing, shutdown=_nothing)
    return int(main(list(arguments)) or 0)


def _patch(owner: Any, **names: Any) -> None:
    for name, better in names.items():
        setattr(owner, name, better)


def _nothing(*_: object) -> None:
    pass


def _ended(_: Any, popens: dict[int, Any]) -> set[int]:
    return {pid for pid, popen in popens.items() if popen.poll() is not None}


def _updated(system: Any, maxWait: float) -> Any:  # noqa: N803 -- Toil's name
    """Return the next job that ended, here or on the cluster; None if there is none after ``maxWait`` seconds."""
    deadline = time.monotonic() + (maxWait if system.getIssuedBatchJobIDs() else 0)
    while True:
        if update := system.getUpdatedLocalJob(0):
            return update
        if not system.background_thread.is_alive():
            raise system.GridEngineThreadException("the thread that asks the batch system has ended") from (
                system.background_thread.exception
            )
        try:
            update = system.updatedJobsQueue.get(timeout=FAR_STEP_S)
        except Empty:
            if time.monotonic() > deadline:
                return None
            continue
        system.currentJobs.remove(update.jobID)
        return update


def _states(thread: Any, jobs: Sequence[int]) -> dict[int, tuple[str | None, int | None]]:
    """Return state and exit status of SLURM jobs; (None, None) of those that SLURM has forgotten."""
    shared = SharedStates.of_this_process or SharedStates()
    found = shared.get(jobs, older_s=thread.boss.config.statePollingWait)
    unknown: tuple[None, None] = (None, None)
    return {
        job: (thread._canonicalize_state(found[job][0]), found[job][1]) if job in found else unknown for job in jobs
    }


class SharedStates:
    """What SLURM last said of our jobs, in a file without a name that all forks of a process share."""

    of_this_process: SharedStates | None = None

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 -- as long as the process

    def get(self, jobs: Iterable[int], *, older_s: float) -> dict[int, tuple[str, int]]:
        """Return number -> state, exit status, as of at most ``older_s`` seconds ago.

        Raises
        ------
        toil.lib.misc.CalledProcessErrorStderr
            If SLURM does not answer: then Toil asks the accounting.
        """
        with self._locked():
            raw = os.pread(self._file.fileno(), os.fstat(self._file.fileno()).st_size, 0)
            at, said = json.loads(raw) if raw else (0.0, {})
            if not 0 <= time.time() - at < older_s or any(str(job) not in said for job in jobs):
                at, said = time.time(), _ask()
                os.ftruncate(self._file.fileno(), 0)
                os.pwrite(self._file.fileno(), json.dumps([at, said]).encode(), 0)
        return {int(job): (state, status) for job, (state, status) in said.items()}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.lockf(self._file, fcntl.LOCK_EX)  # a lock of the process; flock's would be one for all forks
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)


def _ask() -> dict[str, tuple[str, int]]:
    from toil.lib.misc import CalledProcessErrorStderr

    command = ["squeue", "--me", "--states=all", "--noheader", "--Format=JobID:24,State:24,exit_code:16"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise CalledProcessErrorStderr(-signal.SIGALRM, command, stderr=str(error)) from None
    if said.returncode:
        raise CalledProcessErrorStderr(said.returncode, command, stderr=said.stderr)
    found = {}
    for line in said.stdout.splitlines():
        job, state, status = [*line.split(), "", ""][:3]
        if job.isdigit():
            raw = int(status or 0)  # as of wait(2)
            found[job] = (state, 128 + os.WTERMSIG(raw) if os.WIFSIGNALED(raw) else os.WEXITSTATUS(raw))
    return found
