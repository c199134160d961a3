"""The runs that this Snakemake works on: locked, checked before their first tile, ended in order or at once.

Nothing here hangs on hooks of the Snakefile, which Snakemake runs for the main workflow only: the executors call it
(see ``upscaling.workflow.executor``), also where the workflow was imported as a module.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.util.process import ending_signals
from upscaling.workflow.run import Run
from upscaling.workflow.tile_queue import HandedTile, executor_job

if TYPE_CHECKING:
    from upscaling.config import Config

__all__ = ["SLOTS", "Runs", "current_runs", "runs_of"]

SLOTS = {"openeo_slots": "openeo", "ogcapi_slots": "ogcapi", "toil_leaders": "cwl"}  # resource of a tile rule -> kind
_QUIET_CHECKS, _QUIET_SECONDS = 3, 0.3  # with nothing to do, before Snakemake is ended
_TWICE = 3.0  # s within which a signal is the same one again
_GRACE = 1.0  # s that local jobs have to end after a signal that reached them too

_all: list[Runs] = []


def runs_of(workflow: Any) -> Runs:
    """Return the runs of a workflow."""
    for runs in _all:
        if runs.workflow is workflow:
            return runs
    _all.append(Runs(workflow))
    return _all[-1]


def current_runs() -> Runs | None:
    """Return the runs of the workflow that this process executes, if there is one."""
    return _all[-1] if _all else None


class Runs:
    """All runs of one workflow, of which there may be several: each module that is imported is one.

    Parameters
    ----------
    workflow
        Snakemake's.
    """

    def __init__(self, workflow: Any) -> None:
        self.workflow = workflow
        self.runs: dict[str, Run] = {}
        self._kinds: dict[str, str | None] = {}  # of each rule: that of the tiles that it makes
        self._others: set[Any] = set()  # jobs that another executor runs, tiles or not
        self._ending: threading.Thread | None = None
        self._over = self._cost_told = False
        self._handles_signals = False
        self.interrupted = False

    def register(self, config: Config, folder: str) -> None:
        """Add a run that the workflow includes; nothing is done for it before its first tile."""
        name = str(Path(folder))
        self.runs[name] = Run(config, name, self)

    def takes_tiles(self) -> bool:
        """Whether tiles of remote platforms are left to one process; not with Snakemake's local executor."""
        plugin = self.workflow.executor_plugin
        return plugin is not None and plugin.name != "local"

    def tile_rules(self) -> set[str]:
        """Return the names of the rules that make tiles, whatever an importing workflow calls them."""
        return {rule.name for rule in self.workflow.rules if self._kind(rule)}

    def running(self) -> int:
        """Return how many tiles are running, of those that are left to a process."""
        return sum(run.queue.running for run in self.runs.values())

    def _kind(self, rule: Any) -> str | None:
        if rule.name not in self._kinds:
            names = set(rule.resources or ())
            self._kinds[rule.name] = next((kind for name, kind in SLOTS.items() if name in names), None)
        return self._kinds[rule.name]

    def _run_of(self, job: Any) -> Run | None:
        """Return the run of a tile's job, or of a job of several tiles; None for any other job."""
        if job.is_group() or self._kind(job.rule) is None or not job.output:
            return None
        return self.runs.get(str(Path(str(job.output[0])).parents[2]))

    # --- called by the executors, in Snakemake's main thread ---

    def take(self, jobs: list[Any], executor: Any) -> list[Any]:
        """Take the jobs that Snakemake hands over; return those that the executor has to run itself."""
        if self.runs:
            self._handle_signals()
        others = []
        for job in jobs:
            run = self._run_of(job)
            if self._over or (run is not None and not run.begin(alone=not self._queued(job))):
                continue  # Snakemake is about to end, and starts nothing more
            if run is not None and self._queued(job):
                executor.run_job_pre(job)
                executor.report_job_submission(executor_job(job), register_job=False)
                run.hand_over(HandedTile(Path(str(job.output[0])).parent.name, job.params.get("key"), job), executor)
            else:
                others.append(job)
                self._others.add(job)
            if run is not None:
                run.open += 1
        return others

    def _queued(self, job: Any) -> bool:
        queued = self.takes_tiles() and self._kind(job.rule) != "cwl"
        if not queued and self._kind(job.rule) != "cwl" and not self._cost_told:
            self._cost_told = True
            self.say(
                "note: each tile is a process of its own, of some 0.7 CPU seconds and 120 MB, in as many threads as"
                " --cores allows; with --executor upscaling (or our profiles) one process runs them all"
            )
        return queued

    def job_ended(self, job: Any, *, failed: bool) -> None:
        """Count the end of a job; Snakemake holds its scheduler's lock."""
        self._others.discard(job)
        run = self._run_of(job)
        if run is not None:
            run.job_ended()
        if failed and job.restart_times > job.attempt - 1:
            if run is None or not self._failed_for_good(job, run):
                return  # Snakemake runs it again
            # Not by the property, which would count the job's resources anew while they are given back.
            job._attempt = job.restart_times + 1
        if failed and run is not None:
            run.failed = True
        if failed and not self.workflow.execution_settings.keep_going:
            for other in self.runs.values():
                if other.queue.open:
                    other.queue.stop("a job failed, and --keep-going was not asked for")

    def _failed_for_good(self, job: Any, run: Run) -> bool:
        if self._kind(job.rule) != "cwl":
            return False
        from upscaling.backends.cwl.attempts import failed_for_good  # needed after a failure only

        return failed_for_good(run.folder, [Path(str(output)).parent.name for output in job.output])

    def end(self) -> None:
        """After the last job: end the processes; say what is missing of each run that is not complete."""
        self._over = True
        for run in self.runs.values():
            run.end()

    def interrupt(self) -> None:
        """After Ctrl-C, SIGTERM or a crash of Snakemake: leave the remote jobs alone, start nothing, end soon."""
        self._over = self.interrupted = True
        for run in self.runs.values():
            run.interrupt()
        if self.runs:
            _end_children()

    # --- how a run ends Snakemake ---

    def say(self, line: str) -> None:
        """Show a line on the terminal and keep it in Snakemake's log."""
        from snakemake.logging import logger

        (logger.error if line.startswith(("error:", "stopping")) else logger.warning)(line)

    def refused(self, line: str) -> None:
        """End Snakemake, as a run cannot begin."""
        self.say(f"error: {line}")
        self._over = True
        self._end_snakemake("a run cannot begin; see above")

    def stopped(self) -> None:
        """End Snakemake when a run stopped and nothing else is left to do: other runs and rules go on."""
        if self._ending is None:
            self._ending = threading.Thread(target=self._end_when_quiet, daemon=True)
            self._ending.start()

    def _end_when_quiet(self) -> None:
        quiet = 0
        while quiet < _QUIET_CHECKS:
            time.sleep(_QUIET_SECONDS)
            busy = bool(self._others) or any(run.queue.open for run in self.runs.values())
            quiet = 0 if busy else quiet + 1
        numbers = [(run.queue.not_begun, run.name) for run in self.runs.values() if run.queue.not_begun]
        self._over = True
        self._end_snakemake(
            "; ".join(f"{number} tiles of {name} are left for the next run" for number, name in numbers)
        )

    def _end_snakemake(self, why: str) -> None:
        from snakemake.exceptions import CliException

        def end() -> None:  # not in the main thread, which may hold the scheduler's lock
            self.workflow.scheduler.executor_error_callback(CliException(why))

        threading.Thread(target=end, daemon=True).start()

    def _handle_signals(self) -> None:
        """End on SIGTERM, and when the terminal is closed, as on Ctrl-C.

        Snakemake's own handler waits for all that runs, which may be days, and can block for ever: it takes the lock
        of the scheduler, which the thread that it interrupts may hold. What a shell starts in the background ignores
        SIGINT; a run does not, as nothing of it is lost.
        """
        if not self._handles_signals:
            self._handles_signals = True
            with suppress(ValueError):  # not in the main thread
                for number in ending_signals():
                    signal.signal(number, _Once())


class _Once:
    """Interrupts Snakemake, and not again while that takes effect.

    A signal to a whole group comes twice: by itself, and from a process of the group that hands it on. The second would
    break off the end that the first one began.
    """

    last = -math.inf

    def __call__(self, *_: object) -> None:
        now = time.monotonic()
        if now - _Once.last >= _TWICE:
            _Once.last = now
            raise KeyboardInterrupt


def _end_children() -> None:
    """End what local jobs still run: a signal to Snakemake alone did not reach them."""
    import psutil

    children = psutil.Process().children(recursive=True)
    for child in psutil.wait_procs(children, timeout=_GRACE)[1]:
        with suppress(psutil.Error):
            child.terminate()
