"""The errors a user sees: each is one line that says what is wrong, where, and what would be right."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ConfigError", "ErrorClass", "TileFailedError", "UpscalingError"]


class UpscalingError(Exception):
    """Anything this package refuses or gives up on; ``str(error)`` is one line for a person."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


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
