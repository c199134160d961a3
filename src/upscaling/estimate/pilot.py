"""Pilot jobs: real jobs of the plan, one from each class of expected work, run by the ordinary way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from upscaling.errors import UpscalingError
from upscaling.estimate.statistics import CLASSES
from upscaling.util.files import read_json, write_json

if TYPE_CHECKING:
    from upscaling.config import Config
    from upscaling.estimate.evidence.work import Work
    from upscaling.estimate.run import Known

__all__ = ["CLASSES", "choose", "ensure_pilot", "most_cost", "pilot_files", "pilot_targets"]

_FILE = "pilot.json"


def choose(work: Work, number: int, *, seed: int, taken: Sequence[int] = ()) -> list[int]:
    """Return places in the plan of pilot jobs: one at random from each of ``number`` classes of expected work.

    Parameters
    ----------
    number
        Classes; fewer where the run has fewer jobs with data.
    taken
        Pilot jobs of before, which count for their classes.
    """
    rng = np.random.default_rng(seed)
    sent = np.flatnonzero(~work.empty)
    ordered = sent[np.argsort(work.rank[sent], kind="stable")]
    chosen = list(taken)
    for members in np.array_split(ordered, min(number, len(ordered))):
        drawn = int(rng.choice(members))
        if not set(members.tolist()) & set(chosen):
            chosen.append(drawn)
    return chosen


def ensure_pilot(known: Known, number: int) -> list[str]:
    """Return the targets of a run's pilot, chosen once: a repeated call gives the same, a larger one adds to them.

    Raises
    ------
    UpscalingError
        If the run has no plan, or no job with data.
    """
    if known.plan is None:
        raise UpscalingError(f"{known.run_folder} has no plan")
    work = known.work
    place = {name: position for position, name in enumerate(work.ids)}
    kept = [name for name in pilot_targets(known.run_folder) if name in place]
    if len(kept) >= min(number, len(work)) > 0:
        return kept
    chosen = choose(work, number, seed=known.seed, taken=[place[name] for name in kept])
    if not chosen:
        raise UpscalingError(f"no job of {known.plan.facts['run']} has any data: there is nothing to try")
    targets = [work.ids[position] for position in chosen]
    write_json(known.run_folder / _FILE, {"targets": targets})
    return targets


def pilot_targets(run_folder: Path) -> list[str]:
    """Return the targets that were chosen for a run's pilot; none without a pilot."""
    try:
        found = read_json(run_folder / _FILE)["targets"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [name for name in found if isinstance(name, str)]


def pilot_files(config: Config, run_folder: Path, targets: Sequence[str]) -> tuple[Path, list[str]]:
    """Write the configuration by which pilot jobs run as any other job of the run; return it, and their targets."""
    path = run_folder / "plan" / "pilot-config.json"
    values: dict[str, Any] = config.model_dump(mode="json")
    if config.backend.kind == "cwl":
        values["backend"]["chunk"] = 1  # a chunk would bring the jobs beside a pilot job along
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values), encoding="utf-8")
    return path, [f"{run_folder}/tiles/{target}/item.json" for target in targets]


def most_cost(known: Known, targets: Sequence[str]) -> tuple[float | None, str]:
    """Return the most that a pilot can cost, and what that rests on; None where nothing is known of costs."""
    backend, work = known.config.backend, known.work
    place = {name: position for position, name in enumerate(work.ids)}
    finished = known.jobs.finished if known.jobs is not None else np.zeros(len(work.ids), dtype=bool)
    left = [place[name] for name in targets if not finished[place[name]]]
    if not left:
        return 0.0, "all of them are done"
    if backend.kind == "openeo":
        tries = 1 + len(backend.memory_levels) + backend.resubmit_lost
        if backend.job_budget is not None:
            return len(left) * backend.job_budget * tries, f"{tries} tries at the job budget of {backend.job_budget:g}"
    costs = [job.cost for job in known.past if job.cost is not None]
    if costs:
        area = max((job.area_km2 or 0.0) for job in known.past)
        scale = max(1.0, float(work.area_km2[left].max()) / area) if area else 1.0
        return len(left) * max(costs) * scale, "the dearest earlier job, by area"
    price = known.stated.price
    if price is not None and price.amount > 0:
        try:
            return 10 * work.price(price)[0] * len(left) / max(len(work), 1), "ten times the record's price"
        except UpscalingError:
            pass
    return None, "no earlier job and no price is known; backend.job_budget limits what a job may cost"
