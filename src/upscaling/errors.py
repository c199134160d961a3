"""The errors a user sees: each is one line that says what is wrong, where, and what would be right."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ConfigError", "ErrorClass", "PlatformError", "TileFailedError", "UpscalingError"]


def _line(message: str) -> str:
    """Return a message as one line without what steers a terminal: it may hold the words of others."""
    return "".join(sign if sign.isprintable() else " " for sign in " ".join(message.split()))


class UpscalingError(Exception):
    """Anything this package refuses or gives up on; ``str(error)`` is one line for a person."""

    def __init__(self, message: str) -> None:
        super().__init__(_line(message))


class ConfigError(UpscalingError):
    """Bad input, found before anything was sent.

    Parameters
    ----------
    message
        What is wrong and what would be right.
    key
        The configuration key, dotted (``area.aoi``), if one is to blame.
    file
        The file that holds the key or the bad content.
    """

    def __init__(self, message: str, *, key: str | None = None, file: object = None) -> None:
        self.message, self.key, self.file = message, key, file
        where = ": ".join(str(part) for part in (file, key) if part)
        super().__init__(f"{where}: {message}" if where else message)


class ErrorClass(StrEnum):
    """Why a tile failed; the policy for each class is in ``upscaling.jobs.failures``."""

    TRANSIENT = "transient"
    AUTH = "authentication"
    QUOTA = "quota"
    MEMORY = "out-of-memory"
    TIME = "out-of-time"
    PERMANENT = "permanent"
    OUTPUT = "bad-output"
    LOST = "lost"
    CANCELED = "canceled"


class TileFailedError(UpscalingError):
    """A tile ended without a usable result; the message carries the platform's own words."""

    def __init__(self, message: str, *, error_class: ErrorClass = ErrorClass.PERMANENT) -> None:
        self.error_class = error_class
        super().__init__(message)


class PlatformError(Exception):
    """A request to a server that did not go well.

    Attributes
    ----------
    error_class
        What kind of trouble it is.
    outcome_unknown
        True if the server may have acted all the same.
    retry_after
        Seconds that the server asked to wait, if it did.
    code
        The server's own code for it, if it gave one.
    status
        The HTTP status, if there was an answer.
    """

    def __init__(
        self,
        message: str,
        *,
        error_class: ErrorClass,
        outcome_unknown: bool = False,
        retry_after: float | None = None,
        code: str | None = None,
        status: int | None = None,
    ) -> None:
        self.error_class, self.outcome_unknown, self.retry_after = error_class, outcome_unknown, retry_after
        self.code, self.status = code, status
        super().__init__(_line(message))
