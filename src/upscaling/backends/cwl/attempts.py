"""A tile's earlier attempts on a cluster: their reasons into its receipt, and what it is given next time."""

from __future__ import annotations

import functools
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from upscaling.backends.cwl import slurm
from upscaling.errors import ErrorClass
from upscaling.jobs.receipts import Receipt, open_receipt, read_receipt
from upscaling.planning.plan import Plan, job_of, load_plan
from upscaling.util.files import read_json

if TYPE_CHECKING:
    from upscaling.config.cwl import CwlBackendConfig

__all__ = [
    "Needs",
    "failed_for_good",
    "failures_of",
    "is_final_failure",
    "needs",
    "record_outcomes",
    "restore_items",
    "scaled_resources",
    "slurm_facts",
]

RETRIED = (ErrorClass.MEMORY, ErrorClass.TIME, ErrorClass.LOST, ErrorClass.TRANSIENT)
_BEGAN = time.time()


class Needs(NamedTuple):
    """What a tile's job asks for: memory in MB, time limit in minutes."""

    memory_mb: int
    runtime_min: int


def slurm_facts() -> dict[str, str]:
    """Return the SLURM job that this process is in, for the receipt; nothing outside SLURM."""
    names = {"slurm_job": "SLURM_JOB_ID", "node": "SLURMD_NODENAME"}
    return {name: os.environ[variable] for name, variable in names.items() if os.environ.get(variable)}


def failures_of(receipt: Mapping[str, Any]) -> Counter[str]:
    """Return how often this work (the receipt's key) failed, by class."""
    earlier = [past.get("error") for past in receipt["history"] if past.get("key") == receipt["key"]]
    return Counter(end["class"] for end in [receipt["error"], *earlier] if end)


def scaled_resources(base: Needs, growth: float, receipt: Mapping[str, Any]) -> Needs:
    """Return what a tile with this receipt gets: more of what it ran out of, each time."""
    failed = failures_of(receipt)
    memory = base.memory_mb * growth ** failed[ErrorClass.MEMORY]
    minutes = base.runtime_min * growth ** failed[ErrorClass.TIME]
    return Needs(round(memory), round(minutes))


def needs(config: CwlBackendConfig, run_folder: str, tiles: Sequence[str], attempt: int) -> Needs:
    """Return what the job of these tiles asks for at Snakemake's ``attempt``, from how their earlier jobs ended."""
    base = Needs(config.memory_mb, config.site.runtime_min)
    each = [_needs(base, config.growth, Path(run_folder), tile, attempt) for tile in tiles]
    return Needs(max(need.memory_mb for need in each), max(need.runtime_min for need in each))


@functools.cache  # Snakemake asks at every round of scheduling
def _needs(base: Needs, growth: float, run_folder: Path, tile: str, attempt: int) -> Needs:
    path = run_folder / "receipts" / f"{tile}.json"
    receipt = read_receipt(path)
    if receipt is not None and attempt > 1 and receipt.get("state") in {"started", "failed"}:
        try:
            record_outcomes(run_folder, load_plan(run_folder), tiles=[tile])
        except (OSError, ValueError):
            return base
        receipt = read_receipt(path)
    return base if receipt is None else scaled_resources(base, growth, receipt)


def is_final_failure(receipt: Receipt, attempt: int) -> bool:
    """Whether this run has tried the tile already and it failed for good; another run tries it again."""
    if receipt.state != "failed" or (receipt.error or {}).get("class") in RETRIED:
        return False
    if attempt > 1:
        return True
    job = slurm_facts().get("slurm_job")
    # SLURM runs a job anew whose node is lost while it ends, with all its tiles, and knows nothing of attempts.
    return job is not None and job == receipt.facts.get("slurm_job") and slurm.began(job) > receipt.updated


def failed_for_good(run_folder: Path, tiles: Iterable[str]) -> bool:
    """Whether every tile of a job that failed is done, or failed since this process began so that no try helps."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(_BEGAN))
    failed = False
    for tile in tiles:
        try:
            said = read_json(run_folder / "receipts" / f"{tile}.json")
            known = said["state"] == "failed" and said["updated"] >= since
            if said["state"] != "done" and not (known and said["error"]["class"] not in RETRIED):
                return False
        except (OSError, ValueError, LookupError, TypeError):
            return False
        failed = failed or said["state"] == "failed"
    return failed


def record_outcomes(run_folder: Path, plan: Plan, *, tiles: Iterable[str] | None = None) -> None:
    """Write into the receipts what SLURM says of jobs that could not say it themselves; keep their logs.

    Parameters
    ----------
    tiles
        Those to look at; all of the plan when left out, and then also jobs that never began.
    """
    if not slurm.present():
        return
    known = {}
    for tile in plan.tiles if tiles is None else tiles:
        said = read_receipt(run_folder / "receipts" / f"{tile}.json") or {}
        if said.get("state") in {"started", "failed"} and (job := (said.get("facts") or {}).get("slurm_job")):
            known[tile] = job
    ended = slurm.states_of(known.values()) if known else {}
    for tile, job in known.items():
        if job in ended:
            _record_outcome(plan, run_folder, tile, ended[job])
    if tiles is None:
        for tile, job_ended in slurm.jobs_since(_BEGAN, Path.cwd()):
            if tile in plan.tiles and tile not in known:
                _record_outcome(plan, run_folder, tile, job_ended)


def restore_items(run_folder: Path, plan: Plan) -> None:
    """Bring back the items of finished tiles that Snakemake removed, because another tile of their job failed."""
    from upscaling.results.kept import restore_item

    for tile in plan.tiles:
        item = run_folder / "tiles" / tile / "item.json"
        if item.parent.is_dir() and not item.exists():
            restore_item(item, job_of(plan, run_folder, tile))


def _record_outcome(plan: Plan, run_folder: Path, tile: str, ended: slurm.Ended) -> None:
    with open_receipt(job_of(plan, run_folder, tile)) as receipt:
        _keep_log(run_folder, tile, ended.job)
        said = (receipt.error or {}).get("message", "")
        by_itself = receipt.state == "failed" and ended.state in {"FAILED", "COMPLETED"}  # its own words say more
        another = receipt.facts.get("slurm_job", ended.job) != ended.job
        done = receipt.state in {"finished", "done"} or (run_folder / "tiles" / tile / "item.json").exists()
        if by_itself or another or done or f"SLURM job {ended.job}" in said:
            return
        error_class = ErrorClass.PERMANENT if ended.state == "COMPLETED" else ended.error_class
        error = {"class": error_class, "message": f"{ended.reason}: {said}" if said else ended.reason}
        receipt.advance("failed", error=error, facts={**receipt.facts, "slurm_state": ended.state})


def _keep_log(run_folder: Path, tile: str, job: str) -> None:
    """Copy what SLURM kept of the job's output to the tile's logs (its place: Snakemake's SLURM executor)."""
    for log in Path(".snakemake/slurm_logs").glob(f"*/*/{job}.log"):
        target = run_folder / "logs" / f"{tile}.slurm.log"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(log, target)
