"""A repair of Snakemake's SLURM executor, which waits for ever for a job that somebody canceled."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["mend"]

PLUGIN = "snakemake_executor_plugin_slurm"


def mend() -> None:
    """See that the executor of this process understands that a job was canceled.

    The accounting says ``CANCELLED by 1000``, with the user's id; the executor (2.8.0) compares with ``CANCELLED`` and
    takes everything that it does not know for a job under way. Nothing is done where it is not loaded.
    """
    plugin: Any = sys.modules.get(PLUGIN)
    ask = getattr(plugin, "query_job_status", None)
    if ask is None or getattr(ask, "mended", False):
        return

    async def query_job_status(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        states, seconds = await ask(*args, **kwargs)
        return states and {job: state.partition(" ")[0] for job, state in states.items()}, seconds

    query_job_status.mended = True  # type: ignore[attr-defined]
    plugin.query_job_status = query_job_status
