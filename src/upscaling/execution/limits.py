"""When to stop launching tiles: the first ones fail alike, or the money is spent."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable

from upscaling.jobs.failures import without_particulars

__all__ = ["CircuitBreaker"]


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

    def ended(self, *, error: str | None = None, costs: float | None = None) -> None:
        """After a tile that ``launch`` let pass: count its end and its costs."""
        with self._lock:
            self._running -= 1
            if costs is not None:
                self._costs.append(costs)
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
