"""What the report says in words and numbers: counts, costs, times, failures, parameters, where it all comes from."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from upscaling.monitor.progress import STATES, StateName, TileState, count_states
from upscaling.monitor.status import failures_of
from upscaling.planning.plan import Plan
from upscaling.results.shapes import fault_of
from upscaling.util.files import link_out, read_json

__all__ = [
    "AREA_COLOUR",
    "LOOK",
    "WITHOUT_DATA",
    "colour_of",
    "page_facts",
]

LOOK = (Path(__file__).parent / "look.css").read_text(encoding="utf-8")  # which the service's page has, too
WITHOUT_DATA = "finished, without data"
AREA_COLOUR = re.findall(r"--area: (#[0-9a-f]{6});", LOOK)[0]
_COLOURS = dict(re.findall(r"--state-([a-z-]+): (#[0-9a-f]{6});", LOOK))
_GOING_ON: tuple[StateName, ...] = ("not started", "created", "queued", "running")
_ROWS = 10


def _numbers(values: Iterable[float | None]) -> dict[str, float] | None:
    """Return sum, median, 90th percentile and maximum of what ``count`` jobs stated; None if nothing is stated."""
    import numpy as np

    stated = np.array([value for value in values if value is not None], dtype=float)
    if not len(stated):
        return None
    median, high = np.percentile(stated, [50, 90]).tolist()
    sums = {"total": float(stated.sum()), "median": median, "high": high, "most": float(stated.max())}
    return {"count": len(stated), **sums}


def colour_of(state: str) -> str:
    """Return the colour that the map gives a state."""
    return str(_COLOURS[_mark(state)])


def _mark(state: str) -> str:
    """Return what look.css calls a state."""
    return "without-data" if state == WITHOUT_DATA else state.replace(" ", "-")


def page_facts(run_folder: Path, plan: Plan, states: Sequence[TileState], empty: int = 0) -> dict[str, Any]:
    """Return what the page's template shows besides the map; ``empty`` of the finished targets are without data."""
    counts = count_states(states)
    timed = [state for state in states if state.seconds is not None]
    return {
        "run": plan.facts["run"],
        "made": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "targets": len(states),
        "states": [{"name": name, "count": counts[name], "mark": _mark(name)} for name in STATES],
        "empty": {"name": "without data", "count": empty, "mark": _mark(WITHOUT_DATA)},
        "going_on": any(counts[name] for name in _GOING_ON),
        "costs": _numbers(state.spent for state in states),
        "seconds": _numbers(state.seconds for state in states),
        "failures": failures_of(states),
        "slowest": sorted(timed, key=lambda state: -(state.seconds or 0.0))[:_ROWS],
        "plan": plan.facts,
        "config": _config(run_folder),
        "quality": _read(run_folder / "quality.json"),
        "collection": _collection(run_folder),
    }


def _config(run_folder: Path) -> str:
    """Return the configuration as YAML; it holds no secrets."""
    import yaml

    shown = _stated(_read(run_folder / "plan" / "config.json") or {})
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=110)


def _stated(value: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is empty, at every level."""
    found = {name: _stated(entry) if isinstance(entry, dict) else entry for name, entry in value.items()}
    return {name: entry for name, entry in found.items() if entry not in (None, {}, [])}


def _collection(run_folder: Path) -> dict[str, Any] | None:
    content = _read(run_folder / "collection.json")
    if content is None or fault_of(content):
        return None
    named = {name: content.get(name) for name in ("id", "title", "license", "extent")}
    return {
        **named,
        "tiles": content.get("upscaling:tiles") or {},
        "missing": len(content.get("upscaling:missing") or []),
        "table": "items" in (content.get("assets") or {}),
        "parts": [link["href"] for link in content.get("links") or () if link["rel"] == "child"],
    }


def _read(path: Path) -> dict[str, Any] | None:
    if link_out(path, path.parent):
        return None
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
