"""Several tiles in one job: what a job costs is shared, and a failing tile takes no other with it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from upscaling.config import Config
from upscaling.errors import UpscalingError
from upscaling.plan import Plan, load_plan
from upscaling.tile import run_tile

__all__ = ["chunks", "run_tiles"]

_log = logging.getLogger(__name__)


def chunks(plan: Plan, size: int) -> dict[str, list[str]]:
    """Return name -> targets, ``size`` of them in the order of the plan, in which neighbours follow each other."""
    tiles = list(plan.tiles)
    return {f"{start // size:05d}": tiles[start : start + size] for start in range(0, len(tiles), size)}


def run_tiles(tiles: Sequence[str], *, config: Config, run_folder: Path, attempt: int = 1) -> None:
    """Run tiles one after the other; those that are done already are not run again.

    Raises
    ------
    UpscalingError
        After the last tile, if any failed; their receipts say why.
    """
    from upscaling.backends import get_backend

    plan = load_plan(run_folder)
    backend = get_backend(config.backend, plan.facts, run_folder, attempt=attempt, warm=True)
    failed = {}
    for tile in tiles:
        try:
            run_tile(tile, run_folder=run_folder, plan=plan, backend=backend)
        except UpscalingError as error:
            _log.error("%s: %s", tile, error)
            failed[tile] = str(error)
    if failed:
        tile, reason = next(iter(failed.items()))
        raise UpscalingError(f"{len(failed)} of {len(tiles)} failed, {tile}: {reason}")
