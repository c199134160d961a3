"""Long waits for a platform: told on the terminal, once for all tiles that wait for one reason, and to a listener."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from upscaling.jobs.failures import without_particulars

__all__ = ["WAITS", "Waits"]

_AGAIN = 600.0  # s after which a wait that goes on is told again


class Waits:
    """The tiles of this process that wait; safe to use from many threads.

    Parameters
    ----------
    say
        Is told a line when a wait begins, each ten minutes while it goes on, and when the last one ends.
    """

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._reasons: dict[str, str] = {}  # tile -> why it waits
        self._told: dict[str, float] = {}  # kind of reason -> when it was told
        self._listener: Callable[[str, bool], object] | None = None

    def listen(self, listener: Callable[[str, bool], object]) -> None:
        """Call ``listener`` with a tile, and whether it only waits for results now: its job has ended."""
        self._listener = listener

    @contextmanager
    def resting(self, tile: str) -> Iterator[None]:
        """Wait for results as a matter of course: the tile takes no slot meanwhile, and nothing is told."""
        if self._listener is not None:
            self._listener(tile, True)
        try:
            yield
        finally:
            if self._listener is not None:
                self._listener(tile, False)

    def begin(self, tile: str, reason: str, *, for_results: bool) -> None:
        """Note that a tile waits, or still does."""
        now, kind = time.monotonic(), without_particulars(reason)
        with self._lock:
            first = tile not in self._reasons
            self._reasons[tile] = kind
            alike = sum(other == kind for other in self._reasons.values())
            tell = now - self._told.get(kind, -_AGAIN) >= _AGAIN
            if tell:
                self._told[kind] = now
        if tell:
            self._say(f"waiting: {reason} ({alike} tiles so far; their jobs are kept)")
        if first and for_results and self._listener is not None:
            self._listener(tile, True)

    def end(self, tile: str) -> None:
        """Note that a tile waits no more."""
        with self._lock:
            known = self._reasons.pop(tile, None)
            over = known is not None and not self._reasons and bool(self._told)
            if over:
                self._told.clear()
        if over:
            self._say("no tile waits for the platform any more")
        if known is not None and self._listener is not None:
            self._listener(tile, False)


def _to_terminal(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


WAITS = Waits(_to_terminal)
"""Those of this process."""
