"""When a run must be done: a duration from now, or a moment."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated

from pydantic import AfterValidator

__all__ = ["Deadline", "seconds_left"]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(minutes?|min|hours?|h|days?|d|weeks?|w)?")
_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def seconds_left(text: str, now: dt.datetime | None = None) -> float:
    """Return the seconds from now until a deadline; negative if it has passed.

    Parameters
    ----------
    text
        ``3 days``, ``36 hours``, ``90 min``, ``2 weeks``, or a date or time (``2026-12-24``: until that day ends, in
        UTC where no zone is given).

    Raises
    ------
    ValueError
        If it is none of these, or a duration of zero.
    """
    words = " ".join(text.lower().split())
    duration = _DURATION.fullmatch(words)
    if duration is not None:
        seconds = float(duration[1]) * _SECONDS[(duration[2] or "days")[0]]
        if not 0 < seconds < 1e10:
            raise ValueError("must be longer than nothing, and end some day")
        return seconds
    now = now or dt.datetime.now(dt.UTC)
    try:
        moment = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError("must be a duration (3 days, 36 hours) or a date (2026-12-24)") from None
    if re.fullmatch(r"\d{4}-?\d{2}-?\d{2}", text.strip()):
        moment += dt.timedelta(days=1)
    moment = moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment
    return (moment - now).total_seconds()


def _readable(text: str) -> str:
    seconds_left(text)
    return text


Deadline = Annotated[str, AfterValidator(_readable)]
