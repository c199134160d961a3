"""What the jobs of a run took and cost so far, read off its receipts and items: nobody is asked."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upscaling.estimate.statistics import Floats
from upscaling.jobs.costs import stated_number
from upscaling.jobs.receipts import read_receipt
from upscaling.monitor.progress import read_states
from upscaling.util.files import read_json

if TYPE_CHECKING:
    from upscaling.planning.plan import Plan

__all__ = ["Jobs", "read_jobs"]


@dataclasses.dataclass(frozen=True)
class Jobs:
    """The jobs of a run in the order of its plan; numbers that are not stated are NaN.

    Attributes
    ----------
    failed
        Attempts that failed, given up ones included.
    spent
        Costs of all attempts, as far as they are stated.
    cost, seconds
        Of the attempt that ended well.
    failed_cost
        Mean cost of a failed attempt; NaN if no failed attempt states one.
    begun, ended
        When a job was created and its tile was done, in seconds since 1970.
    slurm_jobs
        Ids of jobs of SLURM that tiles ran in.
    result_bytes
        Size of the tile's assets.
    """

    finished: NDArray[np.bool_]
    failed: NDArray[np.int64]
    spent: float
    cost: Floats
    seconds: Floats
    failed_cost: float
    memory_gb: Floats
    slurm_jobs: tuple[str, ...]
    result_bytes: Floats
    begun: Floats
    ended: Floats


def read_jobs(run_folder: Path, plan: Plan, *, sizes: bool = True) -> Jobs:
    """Read what is known of every job of a run.

    Parameters
    ----------
    sizes
        Whether to add up the sizes of results, for which every item is opened.
    """
    states = read_states(run_folder, plan)
    number = len(states)
    names = ("cost", "seconds", "memory_gb", "result_bytes", "begun", "ended")
    columns = {name: np.full(number, np.nan) for name in names}
    finished = np.zeros(number, dtype=bool)
    failed = np.zeros(number, dtype=np.int64)
    spent, failed_costs, slurm_jobs = 0.0, list[float](), list[str]()
    for place, state in enumerate(states):
        if not state.attempt and state.spent is None:
            finished[place] = state.state == "finished"  # without data, or its receipt is gone
            continue
        receipt = read_receipt(f"{run_folder}/receipts/{state.tile}.json") or {}
        past = [stated_number(entry.get("costs")) for entry in receipt.get("history") or () if entry.get("error")]
        failed[place] = len(past) + (state.state in {"failed", "canceled"})
        failed_costs += [cost for cost in past if cost is not None]
        spent += state.spent or 0.0
        if state.state == "failed" and state.costs is not None:
            failed_costs.append(state.costs)
        if state.state != "finished":
            continue
        finished[place] = True
        facts = receipt.get("facts") or {}
        columns["cost"][place] = _or_nan(state.costs)
        columns["seconds"][place] = _or_nan(state.seconds)
        columns["memory_gb"][place] = _memory_gb(facts)
        slurm_jobs += [str(facts["slurm_job"])] if facts.get("slurm_job") else []
        columns["begun"][place], columns["ended"][place] = _moment(facts.get("created")), _moment(state.updated)
        if sizes:
            columns["result_bytes"][place] = _size(f"{run_folder}/tiles/{state.tile}/item.json")
    return Jobs(
        finished=finished,
        failed=failed,
        spent=spent,
        failed_cost=float(np.mean(failed_costs)) if failed_costs else float("nan"),
        slurm_jobs=tuple(slurm_jobs),
        **columns,
    )


def _usage(facts: dict[str, Any], name: str) -> float | None:
    usage = facts.get("usage")
    entry = usage.get(name) if isinstance(usage, dict) else None
    return stated_number(entry.get("value") if isinstance(entry, dict) else entry)


def _memory_gb(facts: dict[str, Any]) -> float:
    gb = _usage(facts, "max_executor_memory")
    if gb is not None:
        return gb
    return _or_nan(stated_number(facts.get("memory_mb"))) / 1024


def _size(path: str) -> float:
    try:
        assets = read_json(Path(path))["assets"].values()
        return float(sum(asset.get("file:size", 0) for asset in assets))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return float("nan")


def _moment(text: Any) -> float:
    try:
        return dt.datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return float("nan")


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
