"""What a run takes of a cluster: CPU hours as `sreport` counts them, node hours, memory, waits in the queue."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import numpy as np

from upscaling.estimate.model import Cluster, Interval
from upscaling.estimate.statistics import quantiles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from upscaling.config import Config
    from upscaling.estimate.evidence.measure import Jobs
    from upscaling.estimate.evidence.work import Work
    from upscaling.estimate.methods.measured import MeasuredRun

__all__ = ["cluster_of", "queue_waits", "rough_cluster"]

_MOST_ASKED = 200  # jobs of SLURM's accounting in one question


def rough_cluster(config: Config, work: Work, job_seconds: float | None) -> tuple[Cluster | None, float | None]:
    """Return what a run of packages takes, from the duration of earlier jobs, and the price of a core hour."""
    backend = config.backend
    if backend.kind != "cwl" or job_seconds is None:
        return None, None
    hours = job_seconds * backend.cores * len(work) / 3600
    bounds = Interval.of([hours / 2, hours / 2, hours, hours * 2, hours * 2])
    return _cluster(config, bounds, None, None), backend.site.core_hour_price


def cluster_of(config: Config, jobs: Jobs, run: MeasuredRun) -> tuple[Cluster | None, float | None]:
    """Return what a run of packages takes, from its finished jobs, and the price of a core hour.

    CPU hours are those that the cluster accounts for: allocated cores by elapsed time, busy or not.
    """
    backend = config.backend
    if backend.kind != "cwl" or run.job_total is None:
        return None, None
    draws = run.job_total * backend.cores / 3600
    known = jobs.memory_gb[np.isfinite(jobs.memory_gb)]
    memory = float(known.max() * 1024) if len(known) else None
    waits = queue_waits(jobs.slurm_jobs)
    wait = float(np.median(list(waits))) if waits else None
    return _cluster(config, Interval.of(quantiles(draws)), memory, wait), backend.site.core_hour_price


def _cluster(config: Config, hours: Interval, memory: float | None, wait: float | None) -> Cluster:
    site = config.backend.site if config.backend.kind == "cwl" else None
    nodes = hours.times(1 / site.node_cores) if site and site.node_cores else None
    return Cluster(cpu_hours=hours, node_hours=nodes, memory_mb=memory, queue_seconds=wait)


def queue_waits(jobs: Iterable[str]) -> list[float]:
    """Return the seconds that SLURM jobs waited in the queue, as its accounting knows them; none without SLURM."""
    from upscaling.backends.cwl import slurm

    asked = sorted({job for job in jobs if job.isdigit()})[:_MOST_ASKED]
    if not asked or not slurm.present():
        return []
    command = ["sacct", "-X", "-n", "-P", "-j", ",".join(asked), "--format=Submit,Start"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [wait for line in answer.stdout.splitlines() if (wait := _wait(line)) is not None]


def _wait(line: str) -> float | None:
    import datetime as dt

    try:
        submitted, started = (dt.datetime.fromisoformat(text) for text in line.split("|")[:2])
    except ValueError:
        return None
    return max(0.0, (started - submitted).total_seconds())
