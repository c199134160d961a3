"""The states of a run's tiles, read off its folder, and only what changed since the last look."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import orjson

from upscaling.monitor.progress import STATES, TileState, state_of
from upscaling.planning.plan import Plan, load_plan

__all__ = ["FINAL", "NAMES", "RunStates", "nothing_known"]

NAMES: dict[str, str] = {
    name: "created" if name == "not started" else name for name in STATES
}  # of the run folder -> of the contract
FINAL = frozenset({"finished", "canceled", "failed"})


@dataclass(frozen=True)
class Sums:
    """What all tiles of a run come to, at one version of their states.

    Attributes
    ----------
    counts
        How many tiles are in each state of the contract.
    costs
        What the tiles have cost so far, in the platform's unit; None if it told no costs.
    reasons
        Why tiles failed, and how many for each reason.
    latest
        When a tile last changed, RFC 3339; empty if none ever did.
    rate
        How many tiles are finished in an hour, of late; None before there are two.
    """

    version: int
    counts: dict[str, int]
    costs: float | None
    reasons: dict[str, int]
    latest: str
    rate: float | None


def _summed(states: list[TileState], version: int) -> Sums:
    from upscaling.jobs.failures import without_particulars
    from upscaling.monitor.status import rate_of

    words: dict[str, str] = {}  # a reason -> that of the first tile that failed alike
    failed = [state.error or "" for state in states if state.state == "failed"]
    reasons = Counter(words.setdefault(without_particulars(reason), reason) for reason in failed)
    counts = dict.fromkeys(NAMES.values(), 0) | Counter(NAMES[state.state] for state in states)
    costs = [state.spent for state in states if state.spent is not None]
    latest = max((state.updated for state in states), default="")
    return Sums(version, counts, sum(costs) if costs else None, reasons, latest, rate_of(states))


@dataclass(eq=False)
class RunStates:
    """What is known of the tiles of one run; safe to use from many threads.

    Parameters
    ----------
    run_folder
        The folder of the run, with a plan.

    Attributes
    ----------
    version
        Counts up with every change that was seen.
    outlines
        Names and outlines of the tiles as JSON, where somebody asked for them.
    """

    run_folder: Path
    version: int = 0
    plan: Plan = field(init=False)
    states: list[TileState] = field(init=False)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: Sums | None = None
        self._load()

    def _load(self) -> None:
        self.plan = load_plan(self.run_folder)
        self._stamp = self._plan_stamp()
        self._names = list(self.plan.tiles)
        self._index = {f"{tile}.json": number for number, tile in enumerate(self._names)}
        self._seen: dict[str, int] = {}
        self._changed = [self.version] * len(self._names)
        self.states = [TileState(tile, "not started") for tile in self._names]
        self._looked = 0.0
        self._cost = 0.0
        self.outlines: bytes | None = None

    def _plan_stamp(self) -> int:
        return (self.run_folder / "plan" / "plan.json").stat().st_mtime_ns

    def due(self, at_most_every: float = 0.5) -> bool:
        """Whether it is time to look again: a look takes longer, the more receipts there are."""
        return time.monotonic() - self._looked >= max(at_most_every, 20 * self._cost)

    def refresh(self, *, at_most_every: float = 0.5) -> bool:
        """Look for what changed; return whether anything did.

        A look costs time with the number of receipts, so that large runs are looked at less often than small ones.
        """
        with self._lock:
            if not self.due(at_most_every):
                return False
            begun, before = time.monotonic(), self.version
            if self._plan_stamp() != self._stamp:
                self.version += 1
                self._load()
            self._read_changed()
            self._looked = time.monotonic()
            self._cost = self._looked - begun
            return self.version != before

    def _read_changed(self) -> None:
        changed = []
        try:
            with os.scandir(self.run_folder / "receipts") as entries:
                for entry in entries:
                    number = self._index.get(entry.name)
                    if number is None:
                        continue
                    stamp = entry.stat().st_mtime_ns
                    if self._seen.get(entry.name) != stamp:
                        self._seen[entry.name] = stamp
                        changed.append(number)
        except FileNotFoundError:
            return
        if not changed:
            return
        self.version += 1
        for number in changed:
            tile = self._names[number]
            key = self.plan.tiles[tile].key
            self.states[number] = state_of(tile, key, self.run_folder, submitted=True, begun=True)
            self._changed[number] = self.version

    def since(self, version: int) -> list[int]:
        """Return the numbers of the tiles that changed after a version."""
        if version >= self.version:
            return []
        return [number for number, changed in enumerate(self._changed) if changed > version]

    def failed_for(self, reason: str) -> list[str]:
        """Return the tiles that failed for one of the ``reasons``."""
        from upscaling.jobs.failures import without_particulars

        same, failed = without_particulars(reason), [state for state in self.states if state.state == "failed"]
        return [state.tile for state in failed if without_particulars(state.error or "") == same]

    @property
    def sums(self) -> Sums:
        """Sums over all tiles, made once for each version: status requests come far more often than changes."""
        version, kept = self.version, self._kept
        if kept is None or kept.version != version:
            kept = self._kept = _summed(self.states, version)
        return kept

    def number(self, tile: str) -> int | None:
        """Return a tile's place in the plan; None if it is not in it."""
        return self._index.get(f"{tile}.json")

    def jobs(self) -> Iterator[dict[str, Any]]:
        """Yield the planned work of every tile, in the order of the plan; nothing of it is kept in memory."""
        with self.plan.jobs.open("rb") as stream:
            yield from map(orjson.loads, stream)


def nothing_known() -> RunStates:
    """Return what stands for the states of a run whose folder cannot be read: one tile, of which nothing is known."""
    return cast("RunStates", SimpleNamespace(version=0, states=[TileState("", "failed")], sums=_summed([], 0)))
