"""What every executor of Snakemake learns about runs: to protect them, and to leave their tiles to one process."""

from __future__ import annotations

import threading
from typing import Any

from upscaling.util.upstream import Patch
from upscaling.workflow.runs import runs_of

__all__ = ["SNAKEMAKE", "extend_executors", "with_tiles"]

_BASE = "snakemake_interface_executor_plugins.executors"
# What Snakefile hooks, executors and runs use of Snakemake; without it tiles would run without lock, check and budget.
SNAKEMAKE = Patch(
    "snakemake",
    ">=9.27,<9.28",
    (
        "snakemake.cli:parse_config(entries)",
        "snakemake.exceptions:CliException",
        *(
            f"snakemake.workflow:Workflow.{name}"
            for name in (
                "config_settings", "configfiles", "execution_settings", "executor_plugin", "is_main_process",
                "modifier", "modifier_stack", "output_settings", "rules", "scheduler",
            )
        ),
        *(
            f"snakemake.settings.types:ConfigSettings.{name}"
            for name in ("config", "config_args", "configfiles", "overwrite_config", "replace_workflow_config")
        ),
        "snakemake.modules:WorkflowModifier.skip_configfile",
        "snakemake.jobs:Job._attempt",
        "snakemake.scheduling.job_scheduler:JobScheduler.executor_error_callback(self, exception)",
        "snakemake_interface_executor_plugins.registry:ExecutorPluginRegistry.plugins",
        f"{_BASE}.base:SubmittedJobInfo(job)",
        f"{_BASE}.base:AbstractExecutor.run_jobs(self, jobs)",
        f"{_BASE}.base:AbstractExecutor.run_job_pre(self, job)",
        f"{_BASE}.base:AbstractExecutor.report_job_success(self, job_info)",
        f"{_BASE}.base:AbstractExecutor.report_job_error(self, job_info)",
        f"{_BASE}.base:AbstractExecutor.shutdown(self)",
        f"{_BASE}.base:AbstractExecutor.cancel(self)",
        f"{_BASE}.real:RealExecutor.report_job_submission(self, job_info, register_job)",
        f"{_BASE}.real:RealExecutor.handle_job_success(self, job)",
        f"{_BASE}.real:RealExecutor.handle_job_error(self, job)",
    ),
    "the workflow needs it",
)  # fmt: skip

_NO_EXECUTION = {"dryrun", "touch"}


def with_tiles(base: Any) -> Any:
    """Return a subclass of an executor that takes the tiles of runs and leaves every other job to ``base``."""
    if getattr(base, "takes_tiles", False):
        return base

    class Executor(base):  # type: ignore[misc]
        """Takes the tiles of runs on remote platforms; runs every other job as its base class does."""

        takes_tiles = True

        def run_jobs(self, jobs: Any) -> None:
            others = runs_of(self.workflow).take(list(jobs), self)
            if others:
                super().run_jobs(others)

        def handle_job_success(self, job: Any) -> None:
            runs_of(self.workflow).job_ended(job, failed=False)
            super().handle_job_success(job)

        def handle_job_error(self, job: Any) -> None:
            runs_of(self.workflow).job_ended(job, failed=True)
            super().handle_job_error(job)

        def shutdown(self) -> None:
            runs_of(self.workflow).end()
            super().shutdown()

        def cancel(self) -> None:
            runs_of(self.workflow).interrupt()
            _leave_polling(self)
            super().cancel()

    return Executor


def _leave_polling(executor: Any) -> None:
    """Do not wait for the thread of a cluster's executor, which sleeps up to minutes between two polls."""
    if hasattr(executor, "wait_thread"):
        executor.wait_thread = threading.Thread(target=int)
        executor.wait_thread.start()


def extend_executors() -> None:
    """Extend the executors that Snakemake may use, whichever was named: each run is protected with any of them.

    Hooks of a Snakefile cannot do this, as Snakemake runs those of the main workflow only. With an executor for a
    cluster, tiles of remote platforms are jobs for the local one, which Snakemake makes beside it.
    """
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    for name, plugin in ExecutorPluginRegistry().plugins.items():
        if name not in _NO_EXECUTION:
            plugin.executor = with_tiles(plugin.executor)
