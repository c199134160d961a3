"""Checks of a run of packages: engine, what SLURM would take, memory of this machine."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from upscaling.backends.cwl.containers import engine_of
from upscaling.errors import ConfigError
from upscaling.estimate.model import Check, no, unknown, yes
from upscaling.util.process import own_program

if TYPE_CHECKING:
    from upscaling.config import CwlBackendConfig
    from upscaling.estimate.model import Estimate
    from upscaling.estimate.run import Known

__all__ = ["checks"]

_PROGRAMS = {"toil": "toil-cwl-runner", "cwltool": "cwltool"}


def checks(known: Known, estimate: Estimate, *, ask: bool) -> list[Check]:
    """Return what this machine and its batch system tell."""
    config = known.config.backend
    assert config.kind == "cwl"  # noqa: S101 -- the caller chose by kind
    return [_engine(config), _memory(config, estimate), _slots(config), _batch_system(config, ask=ask)]


def _engine(config: CwlBackendConfig) -> Check:
    program = _PROGRAMS[config.engine]
    if own_program(program) is None:
        return no("platform", f"{program} is not installed", "backend.engine")
    if config.container != "none" and engine_of(config.container) is None:
        return no("platform", f"{config.container} is not installed", "backend.container")
    return yes("platform", f"{program} is installed")


def _memory(config: CwlBackendConfig, estimate: Estimate) -> Check:
    if estimate.memory_gb is not None and estimate.memory_gb * 1024 > config.memory_mb:
        text = f"a job used {estimate.memory_gb * 1024:,.0f} MB, and gets {config.memory_mb:,}"
        return no("memory", text, "backend.memory_mb")
    if config.batch_system == "single_machine" and not shutil.which("sbatch"):
        has = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
        if config.memory_mb > has:
            return no("memory", f"a job gets {config.memory_mb:,} MB, this machine has {has:,.0f}", "backend.memory_mb")
    return yes("memory", f"{config.memory_mb:,} MB a job", "backend.memory_mb")


def _slots(config: CwlBackendConfig) -> Check:
    cores = os.cpu_count() or 1
    if config.batch_system == "single_machine" and not shutil.which("sbatch") and config.slots * config.cores > cores:
        text = f"{config.slots} jobs of {config.cores} cores at the same time; this machine has {cores}"
        return no("slots", text, "backend.slots")
    return yes("slots", f"{config.slots} jobs at the same time", "backend.slots")


def _batch_system(config: CwlBackendConfig, *, ask: bool) -> Check:
    """Ask SLURM whether it would take such a job; nothing is submitted."""
    from upscaling.backends.cwl.slurm import check_site

    if shutil.which("sbatch") is None:
        slurm = config.batch_system == "slurm"
        text = "sbatch is not installed" if slurm else "no SLURM on this machine"
        return Check(name="batch system", answer="no" if slurm else "yes", text=text, key="backend.batch_system")
    if not ask:
        return unknown("batch system", "SLURM was not asked")
    asked = [f"--mem={config.memory_mb}", f"--cpus-per-task={config.cores}", f"--time={config.site.runtime_min}"]
    try:
        check_site([*config.site.sbatch_options(), *asked])
    except ConfigError as error:
        if config.batch_system == "single_machine":  # only `upscaling run --cluster` asks SLURM for anything
            return unknown("batch system", f"a run with --cluster is not possible: {error.message}", "backend.site")
        return no("batch system", error.message, "backend.site")
    return yes("batch system", "SLURM would take such jobs")
