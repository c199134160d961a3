"""The estimate as status and report show it while a run goes on, and what a finished run leaves for the next."""

from __future__ import annotations

import time
from pathlib import Path

from upscaling.errors import UpscalingError
from upscaling.estimate.evidence.history import HISTORY, add_run
from upscaling.estimate.run import estimate_of, known_of
from upscaling.estimate.show import outlook_lines

__all__ = ["outlook_of", "remember"]


def outlook_of(run_folder: Path) -> list[str]:
    """Return cost, time, deadline and budget of a run in a few lines, from its finished jobs; none before the first.

    Reads the run's folder alone, and nothing of what only a person can fix stops it.
    """
    try:
        estimate = estimate_of(known_of(run_folder, sizes=False))
    except (UpscalingError, OSError):
        return []
    return outlook_lines(estimate) if estimate.finished else []


def remember(run_folder: Path) -> None:
    """Add a finished run to the history beside it, ``<results>/history.ndjson``.

    Raises
    ------
    UpscalingError
        If the run has no plan, or the history cannot be written.
    """
    known = known_of(run_folder)
    if known.plan is not None and known.jobs is not None:
        ended = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        add_run(run_folder.parent / HISTORY, known.plan, known.work, known.jobs, ended=ended)
