"""Repairs of Snakemake's SLURM executor, without which a canceled job or a lost node spoils the whole run."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Collection
from typing import Any

from upscaling.util.upstream import Patch

__all__ = ["PATCH", "patch_slurm_executor"]

PLUGIN = "snakemake_executor_plugin_slurm"
PATCH = Patch(
    "snakemake-executor-plugin-slurm",
    ">=2.8,<2.9",
    (
        f"{PLUGIN}:query_job_status(command, logger)",
        f"{PLUGIN}:get_submit_command(job, params, settings, failed_nodes)",
        f"{PLUGIN}:Executor.format_job_exec(self, job)",
        f"{PLUGIN}:Executor.next_seconds_between_status_checks.fset(self, value)",
        f"{PLUGIN}:Executor.sleep(self)",
    ),
    "canceled jobs may be waited for without end, a lost node may stop later jobs, and a tile costs one more Snakemake",
)
OURS = "toil_leaders"  # a resource that only the tiles of a package have
LONGER, LONGEST = 1.1, 3  # times the wait before; times the first wait


def patch_slurm_executor() -> None:
    """See that the executor of this process understands what the accounting says; nothing where it is not loaded.

    Of a canceled job that is ``CANCELLED by 1000``, with the user's id. The executor compares with ``CANCELLED``, takes
    everything that it does not know for a job under way, and waits for ever.

    In a job it starts Snakemake, which starts Snakemake once more by ``srun``, of 2 CPU seconds each. A tile
    needs no step of its own in its job, and so no second Snakemake.

    The node of a job that lost its own and waits for another is ``None assigned``. The executor excludes that like a
    node from all jobs to come, and ``sbatch`` refuses every one of them.
    """
    plugin: Any = sys.modules.get(PLUGIN)
    if plugin is None or getattr(plugin, "patched", False) or not PATCH.applies():
        return
    ask, submit = plugin.query_job_status, plugin.get_submit_command

    async def query_job_status(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        states, seconds = await ask(*args, **kwargs)
        return states and {job: state.partition(" ")[0] for job, state in states.items()}, seconds

    def get_submit_command(*args: Any, failed_nodes: Collection[str] | None = None, **kwargs: Any) -> Any:
        return submit(*args, failed_nodes={node for node in failed_nodes or () if " " not in node}, **kwargs)

    formatted = plugin.Executor.format_job_exec

    def format_job_exec(executor: Any, job: Any) -> str:
        command = str(formatted(executor, job))
        ours = OURS in job.resources.keys()  # noqa: SIM118 -- no dictionary
        return command.replace("--executor slurm-jobstep --jobs 1", "--executor local") if ours else command

    plugin.Executor.format_job_exec = format_job_exec
    _patch_waits(plugin)
    plugin.query_job_status, plugin.get_submit_command, plugin.patched = query_job_status, get_submit_command, True


def _patch_waits(plugin: Any) -> None:
    """Let the executor look sooner, and end at once.

    With every poll in which no job has ended it waits ten seconds longer until the next, up to three minutes. Here it
    waits a tenth longer, up to three times the first wait (``slurm-init-seconds-before-status-checks``): a job of a
    minute is seen within a third of that. One ``squeue`` is for all jobs.

    After the last job, and after Ctrl-C, it waits for its next poll before Snakemake ends. Here it does not.
    """
    waits = plugin.Executor.next_seconds_between_status_checks

    def next_seconds(executor: Any) -> float:
        first = executor.workflow.executor_settings.init_seconds_before_status_checks
        return float(min(waits.fget(executor), LONGEST * first))

    def set_next_seconds(executor: Any, seconds: float) -> None:
        first = executor.workflow.executor_settings.init_seconds_before_status_checks
        waits.fset(executor, min(seconds, max(first, LONGER * next_seconds(executor))))

    async def sleep(executor: Any) -> None:
        end = time.monotonic() + next_seconds(executor)
        while executor.wait and (rest := end - time.monotonic()) > 0:
            await asyncio.sleep(min(rest, 1.0))

    plugin.Executor.next_seconds_between_status_checks = property(next_seconds, set_next_seconds)
    plugin.Executor.sleep = sleep
