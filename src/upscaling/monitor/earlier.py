"""Jobs of a run that are not its present work: of earlier parameters or attempts, or of tiles that it has no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from upscaling.jobs.receipts import read_receipts
from upscaling.planning.plan import Plan

__all__ = ["OPEN", "EarlierJob", "earlier_jobs"]

OPEN = {"intent", "created", "started"}  # states of a receipt whose job had not ended when it was last asked about


class EarlierJob(NamedTuple):
    """A job, and how far it was known to be."""

    tile: str
    job_id: str
    state: str


def earlier_jobs(run_folder: Path, plan: Plan) -> Iterator[EarlierJob]:
    """Yield them, from the run's receipts; nobody is asked whether the platform still has them."""
    for tile, content in read_receipts(run_folder):
        if content is None:
            continue
        present = tile in plan.tiles and content.get("key") == plan.tiles[tile].key
        for job in [*content.get("history", []), *([] if present else [content])]:
            gone = isinstance(job, dict) and "does not know the job" in str(job.get("why"))
            if isinstance(job, dict) and job.get("job_id") and not gone:
                yield EarlierJob(tile, str(job["job_id"]), str(job.get("state")))
