"""One tile from plan to ``item.json``: what each Snakemake job of the tile rule does."""

from __future__ import annotations

import shutil
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.config import Collection, Config
from upscaling.errors import TileFailedError, UpscalingError
from upscaling.jobs.receipts import open_receipt
from upscaling.jobs.withdrawn import refuse_withdrawn
from upscaling.model import Outcome, TileJob
from upscaling.planning.plan import Plan, job_of, kept_config, load_plan
from upscaling.results.kept import is_done, restore_item, write_item

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from upscaling.backends.base import Backend

__all__ = ["check_run", "describe_outcome", "finish_run", "run_tile"]


def check_run(config: Any, run_folder: Path, plan: Plan | None = None) -> None:
    """Before the first tile: see that the platform is there and lets us in.

    Parameters
    ----------
    plan
        The run's own if not given.

    Raises
    ------
    ConfigError
        One line; nothing was sent.
    """
    from upscaling.backends.registry import get_backend

    plan = plan or load_plan(run_folder)
    get_backend(_settings(config).backend, plan.facts, run_folder).check(plan.algorithm)


def finish_run(config: Any, run_folder: Path) -> None:
    """After the last tile of a run: remove what ``check_run`` left."""
    from upscaling.backends.registry import get_backend

    get_backend(_settings(config).backend, load_plan(run_folder).facts, run_folder).finish()


def run_tile(
    tile: str,
    *,
    run_folder: Path,
    key: str | None = None,
    config: Any = None,
    plan: Plan | None = None,
    backend: Backend | None = None,
    checks: Executor | None = None,
) -> Path:
    """Run one tile and write its ``item.json``, last of all.

    Safe to repeat after any kind of end: work that the receipt knows is attached to, not submitted again.

    Parameters
    ----------
    key
        The key of the work that was asked for, from a caller that read the plan earlier.
    config
        The run's configuration, or what Snakemake made of it; what is kept beside the plan if not given.
    plan, backend
        The run's own, from a caller that sees many tiles through; read and made for this tile if not given.
    checks
        Threads in which results are checked and described; the caller's own if not given. PROJ opens its database
        anew in each thread, which costs more than all else of a small tile.

    Returns
    -------
    Path of the item.

    Raises
    ------
    TileFailedError
        With the platform's own words and the path of the full log.
    UpscalingError
        The plan has no such tile, or other work for it than ``key``. Nothing was sent.
    """
    from upscaling.backends.registry import get_backend

    plan = plan or load_plan(run_folder)
    job = job_of(plan, run_folder, tile)
    if key is not None and key != job.key:
        raise UpscalingError(
            f"the plan in {plan.folder} was changed since this run began: tile {tile} would be other work than was"
            " asked for, and is not submitted. Start the run again"
        )
    settings = kept_config(run_folder) if config is None else _settings(config)
    backend = backend or get_backend(settings.backend, plan.facts, run_folder)
    item_path = job.folder / "item.json"
    with open_receipt(job) as receipt:
        if is_done(item_path, job) or restore_item(item_path, job):
            if receipt.state in {"started", "finished"} and not receipt.error:  # killed before this could be noted
                receipt.advance("done")
            return item_path
        unsent = receipt.job_id is None and receipt.state != "intent"  # an intent may have reached the platform
        if unsent or receipt.state == "failed":
            refuse_withdrawn(job, receipt)
        outcome = Outcome(assets=()) if job.nodata else backend.run(job, receipt)
        described = partial(describe_outcome, job, outcome, plan.facts, settings.collection)
        try:
            item = described() if checks is None else checks.submit(copy_context().run, described).result()
        except TileFailedError as error:
            if job.algorithm.kind == "cwl":
                receipt.advance("failed", error={"class": error.error_class, "message": str(error)})
            else:  # the job is paid: when a check was changed, or the fault patched, its results are fetched again
                receipt.refuse(error.error_class, str(error))
            raise
        write_item(item_path, item)
        receipt.advance("done", facts={**receipt.facts, **outcome.job}, error=None)
        shutil.rmtree(job.scratch, ignore_errors=True)
    return item_path


def _settings(config: Any) -> Config:
    return config if isinstance(config, Config) else Config.parse(config)


def describe_outcome(job: TileJob, outcome: Outcome, facts: dict[str, Any], said: Collection) -> dict[str, Any]:
    """Check what a tile gave, make COGs of it in the tile's folder, and return its item.

    Parameters
    ----------
    facts
        The plan's (``plan.json``).
    said
        What the configuration says of the collection.

    Raises
    ------
    TileFailedError
        ``bad-output``.
    """
    from upscaling.binding.openeo import temporal_extent
    from upscaling.results.describe import describe
    from upscaling.results.item import build_item

    # Free polygons need not lie on a pixel lattice; the tiles of a grid do, and neighbours must abut to the pixel.
    exact = said.exact and facts["area"]["grid"] not in {"file", "none", None}
    temporal = job.time or temporal_extent(job.algorithm, job.parameters)
    item = build_item(job, outcome, temporal=temporal, exact=exact)
    describe(item, run=job.run, part=job.part, assets=said.assets)
    return item
