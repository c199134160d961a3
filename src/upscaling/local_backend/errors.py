"""The error that a process graph can end with."""

from __future__ import annotations

__all__ = ["ProcessError"]


class ProcessError(Exception):
    """A process cannot go on; ``code`` is the openEO error code that the job's log carries."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)
