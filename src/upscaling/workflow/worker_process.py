"""The process that runs a run's tiles, as seen from Snakemake: started, talked to, ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["WorkerProcess"]

_SECONDS = 2.0  # that it may take to end by itself


class WorkerProcess:
    """A child process of this one; it ends with its parent, however that ends.

    Parameters
    ----------
    run_folder
        The run whose tiles it runs.
    answered
        Called for each answer, in a thread.
    ended
        Called with the exit status when it has ended, in the same thread; not after ``close``.
    """

    def __init__(
        self, run_folder: Path, *, answered: Callable[[dict[str, Any]], None], ended: Callable[[int], None]
    ) -> None:
        self._answered, self._ended = answered, ended
        self._writes = threading.Lock()
        self._closed = False
        # A process group of its own: Ctrl-C reaches a whole group, and what becomes of the tiles is decided here. Its
        # standard input closes when this process ends, also after ``kill -9``.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "upscaling.execution.worker", str(run_folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            process_group=0,
            # Its threads wait nearly all the time: a heap for each of them would only hold memory.
            env={"MALLOC_ARENA_MAX": "2", **os.environ},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def begin(self, tile: str, key: str | None) -> None:
        """Order a tile; if the process is gone, ``ended`` is called."""
        assert self._process.stdin is not None  # noqa: S101 -- PIPE
        with self._writes, suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps({"tile": tile, "key": key}) + "\n")
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 -- PIPE
        with self._process.stdout as answers:
            for line in answers:
                with suppress(ValueError):  # cut off by a kill
                    self._answered(json.loads(line))
        status = self._process.wait()
        self._close_orders()
        if not self._closed:
            self._ended(status)

    def _close_orders(self) -> None:
        assert self._process.stdin is not None  # noqa: S101 -- PIPE
        with suppress(OSError, ValueError):
            self._process.stdin.close()

    def close(self) -> None:
        """End it, at once; remote jobs go on."""
        self._closed = True
        self._close_orders()
        try:
            self._process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
