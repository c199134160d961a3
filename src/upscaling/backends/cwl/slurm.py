"""What SLURM knows of a run's jobs: why they ended, and which of them nobody waits for any more.

A job that SLURM ends (out of memory, out of time, node down, ``scancel``) cannot say so itself: its processes are gone.
So the tile's receipt names its SLURM job, and the process that drives the run asks the accounting afterwards.

States and what they mean for a tile (slurm.schedmd.com/squeue.html, "Job state codes"):

| state                          | class         | then                                                       |
|--------------------------------|---------------|------------------------------------------------------------|
| OUT_OF_MEMORY                  | out-of-memory | retried with more memory                                   |
| TIMEOUT, DEADLINE              | out-of-time   | retried with more time                                     |
| NODE_FAIL, BOOT_FAIL, PREEMPTED| lost          | retried as it is: not the tile's failure                   |
| CANCELLED, REVOKED             | canceled      | left to the next run: somebody wanted it                   |
| FAILED                         | permanent     | the tool's own words, where there are any, say more        |
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from upscaling.errors import ConfigError, ErrorClass

__all__ = ["Ended", "began", "check_site", "end_orphans", "jobs_since", "present", "states_of"]

_log = logging.getLogger(__name__)

CLASSES = {
    "OUT_OF_MEMORY": ErrorClass.MEMORY,
    "TIMEOUT": ErrorClass.TIME,
    "DEADLINE": ErrorClass.TIME,
    "NODE_FAIL": ErrorClass.LOST,
    "BOOT_FAIL": ErrorClass.LOST,
    "PREEMPTED": ErrorClass.LOST,
    "CANCELLED": ErrorClass.CANCELED,
    "REVOKED": ErrorClass.CANCELED,
    "FAILED": ErrorClass.PERMANENT,
}
FIELDS = "JobIDRaw,State,NodeList,ReqMem,Timelimit,ExitCode"
PER_CALL = 500  # ids; a command line has its limits
ANSWER_TIMEOUT_S = 60
TILE = re.compile(r"rule_\w+_wildcards_(?P<tile>[A-Za-z0-9_-]+)")


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that SLURM says has come to an end."""

    job: str
    state: str
    node: str
    memory: str
    limit: str
    status: str

    @property
    def error_class(self) -> ErrorClass:
        """What that is for a tile."""
        return CLASSES.get(self.state, ErrorClass.PERMANENT)

    @property
    def reason(self) -> str:
        """One line: what happened, and what the job had asked for."""
        asked = {"OUT_OF_MEMORY": f", which had {self.memory}", "TIMEOUT": f", which had {self.limit}"}
        words = f"SLURM job {self.job}{asked.get(self.state, '')} ended {self.state} on {self.node or 'no node'}"
        if self.error_class is ErrorClass.CANCELED:
            return f"was canceled on the platform: {words}"
        return f"{words}, exit status {self.status}" if self.state == "FAILED" else words


def present() -> bool:
    """Whether this machine can ask a SLURM what became of jobs."""
    return shutil.which("sacct") is not None


def _ask(*command: str) -> list[str] | None:
    """Return what a SLURM command prints; None if it cannot be asked, which is never a tile's failure."""
    try:
        said = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=ANSWER_TIMEOUT_S,
            env={**os.environ, "SLURM_TIME_FORMAT": "standard"},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.splitlines() if said.returncode == 0 else None


def began(job: str) -> str:
    """Return when a job began that is under way, as a receipt's time; empty if SLURM does not say.

    A job that SLURM ran anew, as its node was lost, began when it did so last.
    """
    try:
        moment = time.strptime("".join(_ask("squeue", "-h", "-j", job, "-o", "%S") or []), "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        return ""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.mktime(moment)))


def states_of(jobs: Iterable[str]) -> dict[str, Ended]:
    """Return those of ``jobs`` (ids) that have ended, by id."""
    ids = sorted(set(jobs))
    found: dict[str, Ended] = {}
    for start in range(0, len(ids), PER_CALL):
        lines = _ask("sacct", "-n", "-P", "-o", FIELDS, "-j", ",".join(ids[start : start + PER_CALL])) or []
        for ended in filter(None, map(_ended, lines)):
            job, _, step = ended.job.partition(".")
            if not step:
                found[job] = ended
            elif ended.state == "OUT_OF_MEMORY" and job in found:
                # The job itself has FAILED then: a program of it was killed, and the others saw to their end.
                found[job] = replace(found[job], state=ended.state)
    return found


def _ended(line: str) -> Ended | None:
    fields = line.split("|", 6)
    if len(fields) < 6:
        return None
    state = fields[1].split()[0] if fields[1].strip() else ""  # "CANCELLED by 1000"
    node = "" if fields[2] == "None assigned" else fields[2]
    return Ended(fields[0], state, node, *fields[3:6]) if state in CLASSES or state == "COMPLETED" else None


def jobs_since(moment: float, folder: Path) -> Iterator[tuple[str, Ended]]:
    """Yield (tile, job) of jobs without success that Snakemake submitted in ``folder`` since ``moment``.

    For those that ended before they could write a receipt. Their tile stands in the comment of their ``sbatch``.
    """
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(moment))
    unlucky = "CA,F,NF,OOM,TO,PR,DL,BF,RV"
    options = ("-n", "-X", "-P", "-S", since, "-E", "now", "-s", unlucky, "-o", f"{FIELDS},WorkDir,SubmitLine")
    for line in _ask("sacct", *options) or []:
        *_, where, submitted = ["", "", *line.split("|", 7)]
        ended, named = _ended(line), TILE.search(submitted)
        if ended and named and Path(where) == folder:
            yield named["tile"], ended


def end_orphans(comment: str) -> None:
    """See that no step of a leader that was killed is still under way: those that wait are canceled, others awaited.

    A step that ends without its leader leaves its result in the job store, so that nothing is lost. It has a limit of
    its own, which SLURM keeps.
    """
    told = False
    while (lines := _ask("squeue", "-h", "--me", "-o", "%i|%T|%k")) is None or any(comment in line for line in lines):
        steps = [line.split("|") for line in lines or [] if comment in line]
        waiting = [step[0] for step in steps if step[1] in {"PENDING", "SUSPENDED"}]
        if waiting:
            _ask("scancel", *waiting)
        if not told:
            running = ", ".join(step[0] for step in steps) or "SLURM does not answer"
            _log.info("waiting for steps that an earlier leader began: %s", running)
            told = True
        time.sleep(1)


def check_site(options: Iterable[str]) -> None:
    """Ask SLURM whether it would take a job with these options of ``sbatch``; nothing is submitted.

    Raises
    ------
    ConfigError
        With SLURM's own words.
    """
    command = ["sbatch", "--test-only", *options, "--wrap=true"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"SLURM cannot be asked: {error}", key="backend.site") from None
    if said.returncode:
        words = (said.stderr.strip() or said.stdout.strip()).splitlines()
        last = words[-1] if words else f"exit status {said.returncode}"
        raise ConfigError(
            f"SLURM would refuse its jobs: {last.removeprefix('allocation failure: ')}", key="backend.site"
        )
