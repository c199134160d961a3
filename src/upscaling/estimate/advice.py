"""What would make a run cheaper, faster or possible, from the numbers of its estimate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from upscaling.estimate.model import Advice
from upscaling.estimate.show import amount

if TYPE_CHECKING:
    from upscaling.config import Config
    from upscaling.estimate.model import Estimate

__all__ = ["advice_of"]

FLOOR_SHARE = 0.3
"""Share of the cost that is minimum charge, above which larger tiles are advised."""
_MANY_FAILURES = 0.1


def advice_of(estimate: Estimate, config: Config) -> list[Advice]:
    """Return what to change, the most worthwhile first."""
    floor = _floor(estimate)
    grid = [] if floor else _grid(estimate)  # larger and smaller tiles at once are no advice
    return [*floor, *_time(estimate, config), *grid, *_reliability(estimate, config)]


def _floor(estimate: Estimate) -> list[Advice]:
    """Advise larger tiles where the minimum charge makes up much of the cost."""
    charge, cost = estimate.minimum_charge, estimate.cost
    if not charge or cost is None or not estimate.jobs or cost.p50 <= 0:
        return []
    share = min(charge * estimate.jobs / cost.p50, 1.0)
    if share <= FLOOR_SHARE or estimate.tiles < 2:
        return []
    text = (
        f"{share:.0%} of the cost is the minimum charge of {amount(charge)} {estimate.currency} a job: larger tiles"
        f" make fewer jobs; twice the side saves up to {share * 3 / 4:.0%}"
    )
    longer = Advice(text="or longer time steps, which make fewer jobs too", key="time.step")
    return [Advice(text=text, key="area.grid"), *([longer] if estimate.steps > 1 else [])]


def _time(estimate: Estimate, config: Config) -> list[Advice]:
    """Advise more slots, splitting in time or another platform where the deadline is not kept."""
    deadline, seconds = estimate.deadline, estimate.seconds
    if deadline is None or seconds is None or deadline.verdict == "feasible" or deadline.limit <= 0:
        return []
    needed = math.ceil(estimate.slots * seconds.p90 / deadline.limit)
    left = estimate.jobs - estimate.finished
    if needed <= left:
        text = f"{needed} slots instead of {estimate.slots} would keep the deadline, if the platform gives them"
        found = [Advice(text=text, key="backend.slots")]
    else:
        text = "more slots alone do not keep the deadline: single jobs take too long; smaller tiles run side by side"
        found = [Advice(text=text, key="area.grid")]
    if estimate.steps == 0 and config.time is None and needed > left:
        found.append(Advice(text="splitting in time gives shorter jobs, which run side by side", key="time"))
    if config.backend.kind != "cwl":
        found.append(Advice(text="another platform may be faster", key="backend.url", see="comparison"))
    return found


def _grid(estimate: Estimate) -> list[Advice]:
    """Advise clipping or a least overlap where much is processed that nobody asked for."""
    each = max(1, estimate.steps) * max(1, estimate.rows)
    processed = estimate.processed_km2 / each
    if not estimate.area_km2 or processed < 1.3 * estimate.area_km2:
        return []
    outside = f"{1 - estimate.area_km2 / processed:.0%} of what is processed lies outside the area"
    return [Advice(text=f"{outside}: smaller tiles leave it out", key="area.grid, area.clip, area.min_overlap")]


def _reliability(estimate: Estimate, config: Config) -> list[Advice]:
    """Advise on failures and memory."""
    found = []
    rate = estimate.failure_rate
    if rate is not None and estimate.failed and rate.p50 > _MANY_FAILURES:
        text = f"{rate.p50:.0%} of the attempts fail, and each costs again"
        found.append(Advice(text=text, see="failures"))
    backend = config.backend
    if backend.kind == "cwl" and estimate.memory_gb is not None:
        used = estimate.memory_gb * 1024
        if used > 0.9 * backend.memory_mb:
            text = f"a job used {used:,.0f} MB of {backend.memory_mb:,}: give it {used * 1.25:,.0f}"
            found.append(Advice(text=text, key="backend.memory_mb"))
    for check in estimate.checks:
        if check.answer == "no" and check.name in {"processes", "collections", "format"}:
            text = f"another platform may have it ({check.name})"
            found.append(Advice(text=text, key="backend.url", see="comparison"))
    return found
