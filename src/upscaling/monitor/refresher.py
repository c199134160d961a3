"""Keeps a run's report fresh while the run goes on: a child process now and then, so that Snakemake is not slowed."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

__all__ = ["Refresher"]

_FIRST, _LONGEST = 40.0, 600.0  # s; within the first minute, then ever more rarely
_SHARE = 0.02  # of one core, at the most


class Refresher:
    """Writes a run's report again and again until it is stopped; one that cannot be written stops nothing."""

    def __init__(self, run_folder: Path) -> None:
        self._run_folder = run_folder
        self._stopped = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._changes = threading.Lock()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        pause = _FIRST
        while not self._stopped.wait(pause):
            begun = time.monotonic()
            with self._changes:
                if self._stopped.is_set():
                    return
                quiet = subprocess.DEVNULL
                command = [sys.executable, "-m", "upscaling", "report", str(self._run_folder)]
                # A process group of its own: a report cut off by Ctrl-C would show its traceback.
                self._child = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, process_group=0)
            self._child.wait()
            pause = min(_LONGEST, max(1.5 * pause, (time.monotonic() - begun) / _SHARE))

    def stop(self, *, at_once: bool = False) -> None:
        """Write no more reports.

        Parameters
        ----------
        at_once
            End one that is being written, which leaves the last whole one; else wait for it, so that a report of the
            final state comes last.
        """
        with self._changes:
            self._stopped.set()
            if at_once and self._child is not None:
                self._child.kill()
        self._thread.join(60)
