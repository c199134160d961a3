"""The log of an openEO job: kept whole, page by page, and why the job failed from its error entries."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from upscaling.backends.openeo.session import Session
from upscaling.errors import ErrorClass, PlatformError
from upscaling.jobs.failures import classify_log
from upscaling.util.files import written_whole
from upscaling.util.text import plain_text

__all__ = ["NO_REASON", "keep_log"]

NO_REASON = "the platform ended the job in error and gave no reason"
_ERROR_LINES = 5
_ERRORS = {"error", "critical", "fatal"}
_HALF_LINE = 1000  # characters at both ends of an entry, where it becomes a reason
_LONGEST_ENTRY = 100_000  # characters of one entry, where it is kept
_LARGEST = 200_000_000  # characters of a log that is kept; only its errors are read beyond
_TRIES, _PAUSE = 3, 2.0  # s


def keep_log(session: Session, job_id: str, path: Path) -> str:
    """Write a job's whole log to ``path``; return its last error entries, with `` | `` between them.

    The first that tells of memory or a lost node is among them, however much followed from it. Where the log cannot be
    had, what is there of it, or its errors alone, must do: a failed job stays failed.

    Raises
    ------
    PlatformError
        If the platform is out of reach, or asks to wait.
    """
    errors, cause = deque[str](maxlen=_ERROR_LINES), ""
    trouble: PlatformError | None = None
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for number in range(_TRIES):
            # A log that is too long, or broken on one page, may still have errors that can be asked for.
            asked: dict[str, Any] = {"level": "error", "limit": 100} if number else {}
            errors.clear()
            cause = ""
            try:
                for entry in _entries(session, job_id, asked):
                    if stream.tell() < _LARGEST:
                        stream.write(_line(entry))
                    if str(entry.get("level") or "").lower() in _ERRORS:
                        reason = _reason(entry)
                        if not cause and classify_log(reason) is not ErrorClass.PERMANENT:
                            cause = reason
                        if not errors or errors[-1] != reason:
                            errors.append(reason)
            except PlatformError as error:
                if error.error_class is ErrorClass.AUTH or error.retry_after is not None or _out_of_reach(error):
                    raise
                trouble = error
                stream.write(f"- {error}\n")
                if errors:
                    break
                time.sleep(_PAUSE * number)
            else:
                break
    if errors:
        return " | ".join([cause, *errors] if cause and cause not in errors else errors)
    return NO_REASON if trouble is None else f"{NO_REASON} (its log cannot be had: {trouble})"


def _out_of_reach(error: PlatformError) -> bool:
    return error.status is None and "cannot be reached" in str(error)


def _entries(session: Session, job_id: str, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for page in session.pages(f"/jobs/{job_id}/logs", "logs", **asked):
        yield from page


def _line(entry: dict[str, Any]) -> str:
    words = plain_text(entry.get("message"), _LONGEST_ENTRY)
    return f"{plain_text(entry.get('time') or '')} {plain_text(entry.get('level') or '-')}: {words}\n"


def _reason(entry: dict[str, Any]) -> str:
    said = entry.get("message") or entry.get("data") or ""
    words = plain_text(f"{entry.get('code') or ''} {said}", _LONGEST_ENTRY).replace(" | ", " ")
    return words if len(words) <= 2 * _HALF_LINE else f"{words[:_HALF_LINE]} … {words[-_HALF_LINE:]}"
