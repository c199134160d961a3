"""How far a run has come, read off its receipts and items: nobody is asked, nothing is changed.

| state       | what it says                                                                |
|-------------|-----------------------------------------------------------------------------|
| not started | nothing was submitted, or what was is not the plan's work any more          |
| created     | about to be submitted, or there and not started                             |
| queued      | the platform accepted the start, and says that the job waits                |
| running     | the platform says that it works on it, or it is finished there and fetched  |
| finished    | ``item.json`` is there: fetched, checked, described                         |
| canceled    | somebody stopped it on the platform                                         |
| failed      | ended without a usable result; ``error_class`` and ``error`` say why        |

The words, but for the first, are those of openEO and APEx.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from upscaling.errors import ErrorClass
from upscaling.jobs.costs import costs_of, stated_number
from upscaling.jobs.receipts import read_receipt
from upscaling.planning.plan import Plan, load_plan
from upscaling.util.files import read_json

__all__ = ["STATES", "StateName", "TileState", "count_states", "item_property", "read_states", "state_of"]

StateName = Literal["not started", "created", "queued", "running", "finished", "canceled", "failed"]
STATES: tuple[StateName, ...] = ("not started", "created", "queued", "running", "finished", "canceled", "failed")

_OF_RECEIPT: dict[str, StateName] = {
    "new": "not started",
    "intent": "created",
    "created": "created",
    "started": "running",
    "finished": "running",
    "failed": "failed",
}
_OF_PLATFORM: dict[str, StateName] = {"created": "created", "queued": "queued", "running": "running"}


@dataclass(frozen=True, slots=True)
class TileState:
    """How far one target of the plan has come.

    Attributes
    ----------
    tile
        The target's id: the tile's, and the labels of the other dimensions.
    job_id
        The platform's id of the present attempt.
    attempt
        How often it was submitted.
    error_class, error
        Why it failed; or, with the state ``not started``, what is wrong with what is there.
    costs
        Of the present job, as the platform states them, in its own currency or credits.
    spent
        Of all jobs that were made for the target, failed attempts and earlier work included.
    seconds
        Duration that the platform states.
    updated
        When the state last changed, RFC 3339; empty if it never did.
    waits
        What it waits for, if the platform is out of reach or does not give its results.
    item
        Whether ``item.json`` is there (also if it is out of date).
    """

    tile: str
    state: StateName
    job_id: str | None = None
    attempt: int = 0
    error_class: str | None = None
    error: str | None = None
    costs: float | None = None
    spent: float | None = None
    seconds: float | None = None
    updated: str = ""
    waits: str | None = None
    item: bool = False


def read_states(run_folder: Path, plan: Plan | None = None) -> list[TileState]:
    """Return the state of every target, in the order of the plan.

    Parameters
    ----------
    plan
        The run's plan, where the caller has it already.

    Raises
    ------
    UpscalingError
        If the run has no plan, or a damaged one.
    """
    plan = load_plan(run_folder) if plan is None else plan
    receipts = _names(run_folder / "receipts")
    tiles = _names(run_folder / "tiles")
    return [
        state_of(tile, row.key, run_folder, submitted=f"{tile}.json" in receipts, begun=tile in tiles)
        for tile, row in plan.tiles.items()
    ]


def count_states(states: Iterable[TileState]) -> dict[StateName, int]:
    """Return how many targets are in each state, all states named."""
    counted = Counter(state.state for state in states)
    return {name: counted[name] for name in STATES}


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))  # noqa: PTH208 -- names only: 100,000 Path objects cost half a second
    except FileNotFoundError:
        return set()


def state_of(tile: str, key: str, run_folder: Path, *, submitted: bool, begun: bool) -> TileState:
    """Return the state of one target; ``submitted`` and ``begun`` tell whether it has a receipt and a folder."""
    # Text, not Path: this is called for every tile at every refresh.
    item = begun and os.path.isfile(f"{run_folder}/tiles/{tile}/item.json")  # noqa: PTH113
    receipt = read_receipt(f"{run_folder}/receipts/{tile}.json") if submitted else None
    if not receipt:
        # Receipts can be lost (copied without them); an item of this very work is done all the same.
        if item and item_property(run_folder, tile, "upscaling:key") == key:
            return TileState(tile, "finished", item=True)
        unreadable = "its receipt cannot be read" if submitted else None
        return TileState(tile, "not started", error=unreadable, item=item)
    paid = costs_of(receipt)
    spent = sum(paid) if paid else None
    if receipt.get("key") != key:
        return TileState(tile, "not started", error="the plan has changed since it was run", item=item, spent=spent)
    said, error = receipt.get("facts") or {}, receipt.get("error") or {}
    state, reason = _named(str(receipt.get("state")), said, error, item)
    return TileState(
        tile=tile,
        state=state,
        job_id=receipt.get("job_id"),
        attempt=int(receipt.get("attempt") or 0),
        error_class=error.get("class") if state in {"failed", "canceled"} else None,
        error=reason,
        costs=stated_number(said.get("costs")),
        spent=spent,
        seconds=_seconds(said),
        updated=str(receipt.get("updated") or ""),
        waits=str(said["waits"]) if state in {"created", "queued", "running"} and said.get("waits") else None,
        item=item,
    )


def _named(written: str, said: dict[str, Any], error: dict[str, str], item: bool) -> tuple[StateName, str | None]:
    if written == "done":
        if item:
            return "finished", None
        return "not started", "its item.json is gone; the next run fetches the results again"
    if written == "failed":
        message = error.get("message") or "no reason was given"
        return ("canceled" if error.get("class") == ErrorClass.CANCELED else "failed"), message
    if written == "finished" and error:  # its results were fetched, and are not acceptable
        return "failed", error.get("message") or "no reason was given"
    if written == "started" and str(said.get("status")) in _OF_PLATFORM:
        return _OF_PLATFORM[str(said["status"])], None
    return _OF_RECEIPT.get(written, "not started"), None


def item_property(run_folder: Path, tile: str, name: str) -> Any:
    """Return a property of a target's item; None if it has none, or cannot be read."""
    try:
        return read_json(run_folder / "tiles" / tile / "item.json")["properties"][name]
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _seconds(said: dict[str, Any]) -> float | None:
    """Return the duration, which openEO has among the usage (with a unit, or bare) and others beside it."""
    usage = said.get("usage")
    duration = usage.get("duration") if isinstance(usage, dict) else None
    value = stated_number(duration.get("value") if isinstance(duration, dict) else duration)
    return stated_number(said.get("duration")) if value is None else value
