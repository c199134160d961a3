"""One tile in a process of its own, with the limits of its run as far as the run folder tells them."""

from __future__ import annotations

from pathlib import Path

from upscaling.errors import ErrorClass, TileFailedError
from upscaling.execution.limits import held_back
from upscaling.execution.tile import run_tile
from upscaling.planning.plan import kept_config, load_plan
from upscaling.util.locks import holder_of

__all__ = ["run_alone"]


def run_alone(run_folder: Path, tile: str, key: str | None = None) -> Path:
    """Run one tile as ``run_tile`` does; return the path of its item.

    Circuit breaker and budget hold where Snakemake runs many such processes: it holds the lock of the run.

    Parameters
    ----------
    key
        The work that is meant, if the caller knows it.

    Raises
    ------
    UpscalingError
        The tile failed, was not begun as the run stops, or the plan has another work for it.
    """
    plan, config = load_plan(run_folder), kept_config(run_folder)
    holder = holder_of(run_folder)
    if holder is not None:
        reason = held_back(run_folder, plan, config, since=str(holder.get("since", "")))
        if reason is not None:
            raise TileFailedError(f"not submitted: {reason}", error_class=ErrorClass.QUOTA)
    return run_tile(tile, key=key, config=config, run_folder=run_folder, plan=plan)
