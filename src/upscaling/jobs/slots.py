"""Places for jobs on a platform that has no way to create one without starting it."""

from __future__ import annotations

import threading

from upscaling.errors import ErrorClass, PlatformError
from upscaling.jobs.account_slots import AccountSlots

__all__ = ["SlotPool"]

_OTHER_RUNS = 2.0  # s; their jobs have the account's slots, and nobody tells when one ends


class SlotPool:
    """As many places as jobs may be under way at the same time; safe to use from many threads.

    More tiles than that may be in hand: one whose job has ended gives its place to the next before its files are
    fetched and checked. ``shared``: slots of the account, which other runs of this machine use too.
    """

    def __init__(self, number: int, shared: AccountSlots | None = None) -> None:
        self._number, self._taken, self._shared = number, set[str](), shared
        self._change = threading.Condition()
        self._shut: str | None = None

    def wait(self, name: str) -> None:
        """Take a place, when there is one; whoever has one keeps it.

        Raises
        ------
        PlatformError
            After ``shut``: no job is to be begun any more.
        """
        with self._change:
            while True:
                if self._shut is not None:
                    raise PlatformError(f"not submitted: {self._shut}", error_class=ErrorClass.QUOTA)
                if name in self._taken:
                    return
                if len(self._taken) >= self._number:
                    self._change.wait()
                elif self._shared is None or self._shared.take(name):
                    self._taken.add(name)
                else:
                    self._change.wait(_OTHER_RUNS)

    def take(self, name: str) -> None:
        """Take a place for a job that is under way already, though there may be none."""
        with self._change:
            if name not in self._taken and self._shared is not None:
                self._shared.hold(name)
            self._taken.add(name)

    def leave(self, name: str) -> None:
        """Give a place back, if one was taken."""
        with self._change:
            if self._shared is not None:
                self._shared.leave(name)
            self._taken.discard(name)
            self._change.notify_all()

    def shut(self, reason: str) -> None:
        """Let nobody in any more, and say why."""
        with self._change:
            self._shut = reason
            self._change.notify_all()
