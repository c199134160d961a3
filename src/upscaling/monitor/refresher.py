"""Keeps a run's report fresh while the run goes on: a child process now and then, so that Snakemake is not slowed."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

__all__ = ["Refresher"]

_FIRST, _LONGEST = 20.0, 600.0  # s; within the first minute, then ever more rarely
_SHARE = 0.02  # of one core, at the most


class Refresher:
    """Writes a run's report again and again until it is stopped; one that cannot be written stops nothing."""

    def __init__(self, run_folder: Path) -> None:
        self._run_folder = run_folder
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        pause = _FIRST
        while not self._stopped.wait(pause):
            begun = time.monotonic()
            command = [sys.executable, "-m", "upscaling", "report", str(self._run_folder)]
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
            pause = min(_LONGEST, max(1.5 * pause, (time.monotonic() - begun) / _SHARE))

    def stop(self) -> None:
        """Write no more reports; one that is being written is waited for, so that the run's own comes last."""
        self._stopped.set()
        self._thread.join(60)
