"""What a person does to a run's jobs on the platform: cancel them, find and remove those that nobody waits for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from upscaling.errors import ErrorClass, UpscalingError
from upscaling.jobs.receipts import open_receipt, read_receipts
from upscaling.jobs.withdrawn import withdraw
from upscaling.monitor.earlier import OPEN, earlier_jobs
from upscaling.monitor.progress import read_states
from upscaling.planning.plan import job_of, kept_config, load_plan
from upscaling.util.locks import leave_run, take_run

__all__ = ["cancel_run", "cancel_tile", "discard_results", "orphans", "remove_jobs"]

_ACTIVE = {"created", "queued", "running"}


def _backend(run_folder: Path) -> Any:
    from upscaling.backends.registry import get_backend

    config = kept_config(run_folder)
    if config.backend.kind == "cwl":
        raise UpscalingError(
            "the tiles of an application package end with Snakemake: stop it with Ctrl-C; what a killed one left on"
            " SLURM is in `squeue --me -o '%i %k %Z'`, for scancel"
        )
    return get_backend(config.backend, load_plan(run_folder).facts, run_folder)


def cancel_run(run_folder: Path) -> Iterator[str]:
    """Cancel every job of the run that has not ended, and yield the targets whose jobs were.

    Also jobs of earlier parameters, and of tiles that the plan has no more.

    Raises
    ------
    UpscalingError
        If Snakemake still works on the run: it would submit the tiles again.
    PlatformError
        If the platform is out of reach.
    """
    take_run(run_folder)
    backend, plan = _backend(run_folder), load_plan(run_folder)
    for state in read_states(run_folder, plan):
        if state.job_id is None or state.state in {"finished", "failed", "canceled"}:
            continue
        if not _ended(backend, state.job_id):
            continue
        # Only now: a process that outlived Snakemake holds the receipt until it sees that its job has ended.
        with open_receipt(job_of(plan, run_folder, state.tile)) as receipt:
            message = f"job {state.job_id} was canceled on the platform by `upscaling cancel`"
            receipt.advance("failed", error={"class": ErrorClass.CANCELED, "message": message})
        yield state.tile
    for job in earlier_jobs(run_folder, plan):
        if job.state in OPEN and _ended(backend, job.job_id):
            yield f"{job.tile} (job {job.job_id} of earlier parameters)"


def _ended(backend: Any, job_id: str) -> bool:
    """End a job on its platform; return whether it was there to be ended."""
    found = backend.state(job_id)
    if found is None or found.status not in _ACTIVE:
        return False
    # A job that waits for its start is no work to be stopped, and would stay for ever.
    (backend.remove if found.status == "created" else backend.cancel)(job_id)
    return True


def cancel_tile(run_folder: Path, tile: str) -> str:
    """Cancel one tile, also while Snakemake works on the run; return what became of it, in words.

    The process that polls a job sees that it was canceled, and writes it into the receipt. A tile that was not begun
    is taken out of the run.
    """
    backend, plan = _backend(run_folder), load_plan(run_folder)
    job_of(plan, run_folder, tile)  # a tile of this run
    state = next(state for state in read_states(run_folder, plan) if state.tile == tile)
    if state.state in {"finished", "failed", "canceled"}:
        return "has ended"
    if state.job_id is None:
        withdraw(run_folder, tile)
        return "taken out before it was begun"
    found = backend.state(state.job_id)
    if found is None or found.status not in _ACTIVE:
        return "has no job that runs"
    backend.cancel(state.job_id)
    return "canceled"


def discard_results(run_folder: Path, tiles: list[str]) -> list[str]:
    """Let the next run submit those of the tiles again whose jobs ended well and gave results that were refused.

    Returns
    -------
    Those tiles; a second job is paid for each.

    Raises
    ------
    UpscalingError
        If Snakemake still works on the run.
    """
    take_run(run_folder)
    plan, discarded = load_plan(run_folder), []
    for tile in tiles:
        with open_receipt(job_of(plan, run_folder, tile)) as receipt:
            if receipt.state == "finished" and receipt.error:
                receipt.discard(f"discarded by `upscaling retry --resubmit`: {receipt.error['message']}")
                discarded.append(tile)
    leave_run(run_folder)
    return discarded


def orphans(run_folder: Path) -> list[dict[str, Any]]:
    """Return the platform's jobs of this run that are of no use to it.

    Jobs that no receipt knows (of a lost folder), jobs of earlier parameters, and earlier attempts that have not ended.
    Earlier attempts that have ended are not among them: their logs may still be wanted.

    Raises
    ------
    UpscalingError
        A receipt cannot be read: its job, which may be paid, would be taken for one that nobody knows.
    """
    plan, kept = load_plan(run_folder), set[str]()
    for tile, content in read_receipts(run_folder):
        if content is None:
            raise UpscalingError(f"receipt {run_folder / 'receipts' / tile}.json cannot be read: its job is not known")
        if tile in plan.tiles and content.get("key") == plan.tiles[tile].key:
            own = [past for past in content.get("history", []) if past.get("key") == content["key"]]
            kept |= {
                str(content.get("job_id")),
                *(str(past.get("job_id")) for past in own if past.get("state") not in OPEN),
            }
    backend = _backend(run_folder)
    found: dict[str, dict[str, Any]] = {str(job["id"]): job for job in backend.jobs_of_run(plan.facts["run"])}
    for job in earlier_jobs(run_folder, plan):  # not every platform lists them as this run's
        if job.job_id not in found and job.job_id not in kept:
            state = backend.state(job.job_id)
            if state is not None:
                found[job.job_id] = {"id": job.job_id, "status": state.status, "title": job.tile, **state.facts}
    return [job for job_id, job in found.items() if job_id not in kept]


def remove_jobs(run_folder: Path, job_ids: list[str]) -> Iterator[str]:
    """Delete jobs and their results from the platform; yield each id when it is gone."""
    backend = _backend(run_folder)
    for job_id in job_ids:
        backend.remove(job_id)
        yield job_id
