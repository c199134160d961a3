"""When to stop launching tiles: the first ones fail alike, or the money is spent."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.errors import ErrorClass
from upscaling.jobs.costs import costs_of
from upscaling.jobs.failures import without_particulars
from upscaling.jobs.receipts import read_receipts

if TYPE_CHECKING:
    from upscaling.config import Config
    from upscaling.planning.plan import Plan

__all__ = ["CircuitBreaker", "breaker_of", "held_back"]

_UNDER_WAY = {"intent", "created", "started"}


class CircuitBreaker:
    """Counts ends and costs of a run's tiles; safe to use from many threads.

    Parameters
    ----------
    alike
        Stop when this many tiles failed with the same words before any came to a good end; 0 for never.
    budget
        Stop when the run has cost this much, in the platform's own currency or credits; None for no limit.
    spent
        What its jobs have cost before.
    good
        Whether any tile came to a good end before.
    """

    def __init__(
        self, *, alike: int = 5, budget: float | None = None, spent: Iterable[float] = (), good: bool = False
    ) -> None:
        self._alike, self._budget = alike, budget
        self._costs = list(spent)
        self._reasons: Counter[str] = Counter()
        self._good = good
        self._running = 0
        self._lock = threading.Lock()
        self.reason: str | None = None

    def launch(self) -> str | None:
        """Before a tile is begun: return why it must not be, or None (it then counts as running)."""
        with self._lock:
            if self.reason is None and self._budget is not None:
                mean = sum(self._costs) / len(self._costs) if self._costs else 0.0
                expected = sum(self._costs) + mean * self._running
                if expected + mean > self._budget or sum(self._costs) >= self._budget:
                    self.reason = (
                        f"the run has cost {sum(self._costs):g} and {self._running} tiles are under way; another"
                        f" would exceed the budget of {self._budget:g} (backend.run_budget)"
                    )
            if self.reason is None:
                self._running += 1
            return self.reason

    def ended(self, *, error: str | None = None, costs: Iterable[float] = (), canceled: bool = False) -> None:
        """After a tile that ``launch`` let pass: count its end and what its jobs cost meanwhile.

        What somebody canceled says nothing about the other tiles.
        """
        with self._lock:
            self._running -= 1
            self._costs.extend(costs)
            if canceled:
                return
            if error is None:
                self._good = True
                return
            words = without_particulars(error)
            self._reasons[words] += 1
            if self._alike and not self._good and self._reasons[words] >= self._alike and self.reason is None:
                self.reason = (
                    f"the first {self._reasons[words]} tiles failed alike, so no more are submitted"
                    f" (backend.stop_after): {error}"
                )


def breaker_of(run_folder: Path, plan: Plan, config: Config) -> CircuitBreaker:
    """Return the circuit breaker of a run that begins now: what it has cost and reached before counts."""
    receipts = list(_receipts(run_folder, plan))
    return _breaker(config, receipts, {tile: row.key for tile, row in plan.tiles.items()})


def held_back(run_folder: Path, plan: Plan, config: Config, *, since: str) -> str | None:
    """Return why one more tile must not be begun, for tiles that are processes of their own.

    Nothing but the run folder is shared between them, so as many as run at once may pass.

    Parameters
    ----------
    since
        When the run was started, RFC 3339: what failed before does not count.
    """
    receipts = list(_receipts(run_folder, plan))
    keys = {tile: row.key for tile, row in plan.tiles.items()}
    breaker = _breaker(config, receipts, keys)
    for tile, receipt in receipts:
        error = receipt.get("error") or {}
        if receipt.get("key") != keys[tile]:
            continue
        if receipt.get("state") in _UNDER_WAY:
            breaker.launch()
        elif error and str(receipt.get("updated")) >= since:
            breaker.launch()
            breaker.ended(error=str(error.get("message")), canceled=error.get("class") == ErrorClass.CANCELED)
    return breaker.launch()


def _breaker(config: Config, receipts: Iterable[tuple[str, dict[str, Any]]], keys: dict[str, str]) -> CircuitBreaker:
    spent, good = [], False
    for tile, receipt in receipts:
        spent += costs_of(receipt)
        good = good or (receipt.get("state") == "done" and receipt.get("key") == keys[tile])
    backend = config.backend
    if backend.kind == "cwl":
        return CircuitBreaker(spent=spent, good=good)
    budget = backend.run_budget if backend.kind == "openeo" else None  # OGC servers tell no costs
    return CircuitBreaker(alike=backend.stop_after, budget=budget, spent=spent, good=good)


def _receipts(run_folder: Path, plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the receipts of the plan's tiles that can be read."""
    return ((tile, content) for tile, content in read_receipts(run_folder) if content and tile in plan.tiles)
