"""What the jobs of a tile have cost, read off its receipt; failed attempts are paid too."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["costs_of", "stated_number"]


def stated_number(value: Any) -> float | None:
    """Return a finite number that a platform stated, or None."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None


def costs_of(receipt: Mapping[str, Any]) -> list[float]:
    """Return what each job of a receipt has cost, earlier attempts first, in the platform's currency or credits."""
    return [costs for costs in map(stated_number, _stated(receipt)) if costs is not None]


def _stated(receipt: Mapping[str, Any]) -> Iterator[Any]:
    history = receipt.get("history")
    for attempt in history if isinstance(history, list) else ():
        if isinstance(attempt, dict):
            yield attempt.get("costs")
    facts = receipt.get("facts")
    if isinstance(facts, dict):
        yield facts.get("costs")
