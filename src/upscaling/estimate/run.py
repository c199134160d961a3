"""The estimate of a run, as command line, service and report ask for it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from upscaling.config import Config
from upscaling.config.deadline import seconds_left
from upscaling.config.identity import identity_of
from upscaling.errors import UpscalingError
from upscaling.estimate.advice import advice_of
from upscaling.estimate.evidence.history import (
    HISTORY,
    Past,
    past_of,
    platform_name,
    read_benchmarks,
    read_history,
    run_id,
    scenario_names,
)
from upscaling.estimate.evidence.measure import Jobs, read_jobs
from upscaling.estimate.evidence.units import StatedCost, record_cost
from upscaling.estimate.evidence.work import Work, work_of_config, work_of_plan
from upscaling.estimate.methods.cluster import cluster_of, rough_cluster
from upscaling.estimate.methods.measured import LEAST, MeasuredRun, measured_run
from upscaling.estimate.methods.rough import Rough, rough_estimate
from upscaling.estimate.model import Estimate, Interval, Outlook, Verdict
from upscaling.estimate.pilot import pilot_targets
from upscaling.estimate.statistics import quantiles
from upscaling.planning.ensure import ensure_plan
from upscaling.planning.plan import Plan, kept_config, load_plan, plan_key
from upscaling.util.files import digest, read_json

__all__ = ["Known", "estimate_run", "known_of"]

_KM2 = 10_000.0  # 100 x 100 km


@dataclasses.dataclass(frozen=True)
class Known:
    """All that is known of a run before anything is asked.

    Attributes
    ----------
    plan, jobs
        None where the run has no plan yet.
    past, sources
        Earlier jobs of the same algorithm on the same platform, and where they were found.
    """

    config: Config
    run_folder: Path
    work: Work
    plan: Plan | None
    jobs: Jobs | None
    platform: str
    stated: StatedCost
    past: list[Past]
    sources: list[str]

    @property
    def seed(self) -> int:
        """What draws begin with: of the run's name and its jobs, so that they repeat on every machine and platform."""
        return int(digest([self.config.run, *self.work.ids])[:8], 16)


def estimate_run(
    run: Config | Path,
    *,
    results: Path | None = None,
    benchmarks: Sequence[Path] = (),
    ask: bool = True,
) -> Estimate:
    """Return what a run will cost, how long it takes, and whether it is possible. Nothing is submitted.

    Rough where no job of the run is finished; else from the run's own finished jobs, with a verdict.
    A check that says no is one in both cases.

    Parameters
    ----------
    run
        A configuration, or the folder of a run.
    results
        Folder that holds the runs, and the history of those that are finished; the configuration's if not given.
    benchmarks
        Parquet tables of benchmark runs in the layout that APEx publishes, or folders of them.
    ask
        Whether to ask the platform what needs no job: processes, collections, credits.

    Raises
    ------
    UpscalingError
        If the configuration, the area or the algorithm cannot be used, or the folder is not that of a run.
    """
    from upscaling.estimate.checks import checks_of  # status and report do without

    known = known_of(run, results=results, benchmarks=benchmarks)
    estimate = estimate_of(known)
    estimate = estimate.checked(checks_of(known, estimate, ask=ask))
    return estimate.model_copy(update={"advice": advice_of(estimate, known.config)})


def known_of(
    run: Config | Path, *, results: Path | None = None, benchmarks: Sequence[Path] = (), sizes: bool = True
) -> Known:
    """Return what is known of a run without asking anybody but the sources of its algorithm and area.

    Parameters
    ----------
    sizes
        Whether to add up the sizes of results, for which every item is opened.

    Raises
    ------
    UpscalingError
        As ``estimate_run``.
    """
    if isinstance(run, Path):
        config, run_folder = kept_config(run), run
        plan: Plan | None = load_plan(run)
    else:
        config, run_folder = run, run.folder(results)
        plan = _plan_of(config, run_folder)
    work = work_of_config(config) if plan is None else work_of_plan(run_folder, plan)
    platform = platform_name(identity_of(config.backend, service=work.service))
    past, sources = _past(work, platform, run_folder.parent, without=run_id(plan) if plan else "")
    if benchmarks:
        names = scenario_names(config.algorithm, work.algorithm)
        published = read_benchmarks(benchmarks, names)
        past = [*past, *published]
        sources += [f"published benchmarks {', '.join(sorted(names))}"] if published else []
    return Known(
        config=config,
        run_folder=run_folder,
        work=work,
        plan=plan,
        jobs=None if plan is None else read_jobs(run_folder, plan, sizes=sizes),
        platform=platform,
        stated=record_cost(work.algorithm.record),
        past=past,
        sources=sources,
    )


def _plan_of(config: Config, run_folder: Path) -> Plan | None:
    """Return the run's plan if it is this configuration's; made where only a plan can tell the number of jobs."""
    if config.stage_in or (config.for_each and config.for_each.search):
        return ensure_plan(config, run_folder)
    try:
        if read_json(run_folder / "plan" / "plan.json").get("key") != plan_key(config):
            return None
        return load_plan(run_folder)
    except (OSError, ValueError, AttributeError, UpscalingError):
        return None


def _past(work: Work, platform: str, results: Path, *, without: str) -> tuple[list[Past], list[str]]:
    """Return earlier jobs from the history of finished runs, and from the runs beside this one."""
    history = results / HISTORY
    found = past_of(read_history(history), algorithm=work.algorithm.id, platform=platform, without=without)
    return found, [str(history)] if found else []


def estimate_of(known: Known) -> Estimate:
    """Return the numbers of an estimate, without checks and advice."""
    config, work, jobs = known.config, known.work, known.jobs
    rough = rough_estimate(
        work, known.stated, known.past, sources=known.sources, slots=config.backend.slots,
        currency=known.stated.price.currency if known.stated.price else "",
    )  # fmt: skip
    done = 0 if jobs is None else int((jobs.finished & ~work.empty).sum())
    facts: dict[str, Any] = {
        "run": config.run,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "algorithm": work.algorithm.id,
        "platform": known.platform,
        "jobs": len(work),
        "finished": done,
        "failed": 0 if jobs is None else int(jobs.failed.sum()),
        "tiles": work.tiles,
        "steps": work.steps,
        "rows": work.rows,
        "empty": int(work.empty.sum()),
        "area_km2": work.aoi_km2,
        "processed_km2": float(work.area_km2[~work.empty].sum()),
        "slots": config.backend.slots,
        "stated_cost": known.stated.text,
        "currency": rough.currency,
        "spent": 0.0 if jobs is None else jobs.spent,
    }
    numbers = _from_rough(known, rough) if not done or jobs is None else _from_jobs(known, jobs, done)
    return Estimate(**{**facts, **numbers})


def _from_rough(known: Known, rough: Rough) -> dict[str, Any]:
    cost = rough.cost
    cluster, price = rough_cluster(known.config, known.work, rough.job_seconds)
    if cluster is not None and price is not None:
        cost = cluster.cpu_hours.times(price)
    numbers = _rates(known.work, cost, None)
    return {
        **numbers,
        "basis": "rough",
        "rests_on": rough.rests_on,
        "cost": cost,
        "minimum_charge": rough.floor,
        "seconds": rough.seconds,
        "memory_gb": rough.memory_gb,
        "result_gb": rough.result_gb,
        "cluster": cluster,
    }


def _from_jobs(known: Known, jobs: Jobs, done: int) -> dict[str, Any]:
    config, work = known.config, known.work
    pilots = pilot_targets(known.run_folder)
    run = measured_run(work, jobs, slots=config.backend.slots, pilots=pilots, seed=known.seed)
    draws = run.cost
    cluster, price = cluster_of(config, jobs, run)
    if price is not None and run.job_total is not None:
        draws = run.job_total / 3600 * config.backend.cores * price if config.backend.kind == "cwl" else draws
    cost = None if draws is None else Interval.of(quantiles(draws))
    enough = done >= min(LEAST, len(work))
    deadline, budget = _outlooks(config, run, draws) if enough else (None, None)
    verdict = _worse([outlook for outlook in (deadline, budget) if outlook])
    only_pilots = bool(pilots) and done <= len(pilots)
    notes = list(run.rests_on)
    if not enough:
        notes.append(f"too few finished jobs for a verdict: it takes {min(LEAST, len(work))}")
    return {
        **_rates(work, cost, run.job_seconds),
        "basis": "pilot" if only_pilots else "finished jobs",
        "rests_on": notes,
        "cost": cost,
        "minimum_charge": run.floor,
        "seconds": None if run.seconds is None else Interval.of(quantiles(run.seconds)),
        "failure_rate": run.failure_rate,
        "memory_gb": run.memory_gb,
        "result_gb": None if run.result_gb is None else Interval.of(quantiles(run.result_gb)),
        "cluster": cluster,
        "deadline": deadline,
        "budget": budget,
        "verdict": verdict,
        "warnings": _warnings(deadline, budget, cost),
    }


def _rates(work: Work, cost: Interval | None, job_seconds: float | None) -> dict[str, Any]:
    mean = float(np.mean(work.area_km2[~work.empty])) if len(work) else 0.0
    per_area = None if job_seconds is None or not mean else job_seconds * _KM2 / mean
    return {
        "cost_per_km2": cost.times(1 / work.aoi_km2) if cost is not None and work.aoi_km2 else None,
        "seconds_per_10000_km2": per_area,
    }


def _outlooks(config: Config, run: MeasuredRun, cost: Any) -> tuple[Outlook | None, Outlook | None]:
    limit = seconds_left(config.deadline)
    deadline = None if run.seconds is None else Outlook.of(limit, float((run.seconds < limit).mean()))
    most = config.budget or getattr(config.backend, "run_budget", None)
    budget = None if cost is None or most is None else Outlook.of(most, float((cost <= most).mean()))
    return deadline, budget


def _worse(outlooks: Sequence[Outlook]) -> Verdict | None:
    order: list[Verdict] = ["feasible", "at risk", "not feasible"]
    return max((outlook.verdict for outlook in outlooks), key=order.index, default=None)


def _warnings(deadline: Outlook | None, budget: Outlook | None, cost: Interval | None) -> list[str]:
    lines = []
    if deadline is not None and deadline.verdict != "feasible":
        lines.append(f"the deadline is kept with a probability of {deadline.probability:.0%}")
    if budget is not None and budget.verdict != "feasible":
        expected = f", of which {cost.p50:,.4g} are expected" if cost else ""
        lines.append(
            f"the budget of {budget.limit:,.4g} is kept with a probability of {budget.probability:.0%}{expected}"
        )
    return lines
