"""Places for jobs on a platform that has no way to create one without starting it."""

from __future__ import annotations

import threading

from upscaling.errors import ErrorClass
from upscaling.jobs.remote_job import PlatformError

__all__ = ["SlotPool"]


class SlotPool:
    """As many places as jobs may be under way at the same time; safe to use from many threads.

    More tiles than that may be in hand: one whose job has ended gives its place to the next before its files are
    fetched and checked.
    """

    def __init__(self, number: int) -> None:
        self._number, self._taken = number, set[str]()
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
            self._change.wait_for(
                lambda: self._shut is not None or name in self._taken or len(self._taken) < self._number
            )
            if self._shut is not None:
                raise PlatformError(f"not submitted: {self._shut}", error_class=ErrorClass.QUOTA)
            self._taken.add(name)

    def take(self, name: str) -> None:
        """Take a place for a job that is under way already, though there may be none."""
        with self._change:
            self._taken.add(name)

    def leave(self, name: str) -> None:
        """Give a place back, if one was taken."""
        with self._change:
            self._taken.discard(name)
            self._change.notify_all()

    def shut(self, reason: str) -> None:
        """Let nobody in any more, and say why."""
        with self._change:
            self._shut = reason
            self._change.notify_all()
