"""The errors a user sees: each is one line that says what is wrong, where, and what would be right."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from enum import StrEnum

__all__ = [
    "ConfigError",
    "ErrorClass",
    "PlatformError",
    "TileFailedError",
    "UpscalingError",
    "bad_output",
    "in_a_line",
    "refused_by_machine",
]

# What a machine refuses for reasons of its own, and what would help.
_REFUSED = {
    errno.ENOSPC: "make room and run again",
    errno.EDQUOT: "make room and run again",
    errno.EFBIG: "the file system or a limit of this account takes no larger file",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "choose a path that this account may use",
    errno.EPERM: "choose a path that this account may use",
    errno.ENOTDIR: "a file stands where a folder belongs; move it away",
    errno.EEXIST: "a file stands where a folder belongs; move it away",
    errno.EISDIR: "a folder stands where a file belongs; move it away",
    errno.ENOTEMPTY: "a folder stands where a file belongs; move it away",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ELOOP: "its symbolic links lead in a circle",
    errno.ENOENT: "was it removed meanwhile?",
    errno.EIO: "the disk or its server has a fault; run again when it is back",
    errno.ESTALE: "the disk or its server has a fault; run again when it is back",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the limit of open files (ulimit -n)",
}
_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "disk is full")  # libraries give their words only


def _line(message: str) -> str:
    """Return a message as one line without what steers a terminal: it may hold the words of others."""
    return "".join(sign if sign.isprintable() else " " for sign in " ".join(message.split()))


class UpscalingError(Exception):
    """Anything this package refuses or gives up on; ``str(error)`` is one line for a person.

    Attributes
    ----------
    message
        What is wrong, without the file or key that it is about.
    """

    def __init__(self, message: str) -> None:
        self.message = _line(message)
        super().__init__(self.message)


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
    choices
        What would be right, where a file has several parts and one must be named: each as it stands behind the path.
    """

    def __init__(
        self, message: str, *, key: str | None = None, file: object = None, choices: Sequence[str] = ()
    ) -> None:
        self.key, self.file, self.choices = key, file, tuple(choices)
        where = ": ".join(str(part) for part in (file, key) if part)
        super().__init__(f"{where}: {message}" if where else message)
        self.message = message


class ErrorClass(StrEnum):
    """Why a tile failed; what is done about each is in ``upscaling.jobs.remedies``."""

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


def bad_output(message: str) -> TileFailedError:
    """Return the error of results that a tile cannot be made of."""
    return TileFailedError(message, error_class=ErrorClass.OUTPUT)


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


def refused_by_machine(error: BaseException) -> UpscalingError | None:
    """Return the line for what this machine refuses, such as a write to a full disk; None for any other error."""
    code = error.errno if isinstance(error, OSError) else None
    if code in _REFUSED and isinstance(error, OSError):
        path = error.filename2 or error.filename  # of a copy, where it was to go
        name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        return UpscalingError(f"{name or 'this machine'}: {os.strerror(code or 0)}; {_REFUSED[code]}")
    if any(words in str(error) for words in _FULL):
        return UpscalingError(f"{error}; {_REFUSED[errno.ENOSPC]}")
    return None


def in_a_line(error: Exception, log: object = None) -> str:
    """Return any error as one line; what nobody expected is told as a bug, with the ``log`` that holds more."""
    known = error if isinstance(error, UpscalingError) else refused_by_machine(error)
    if known is not None:
        return str(known)
    where = f"; traceback in {log}" if log else ""
    return _line(f"{type(error).__name__}: {error} (bug in eo-upscaling, please report{where})")
