"""Run another program in the foreground."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from upscaling.errors import UpscalingError

__all__ = ["own_environment", "run_in_front"]


def own_environment() -> dict[str, str]:
    """Return the environment in which programs of our own installation are found first, activated or not."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def run_in_front(
    command: Sequence[str], environment: Mapping[str, str] | None = None, folder: str | None = None
) -> int:
    """Run a program, in ``folder`` if one is given, until it ends by itself; return its exit status.

    SIGTERM and SIGINT are its to handle: it may have much to finish, and is never killed for being slow.
    """
    environment = own_environment() if environment is None else environment
    program = shutil.which(command[0], path=environment.get("PATH"))
    if program is None:
        raise UpscalingError(f"{command[0]} is not installed beside {sys.executable}")
    process = subprocess.Popen([program, *command[1:]], env=environment, cwd=folder)

    def hand_on(number: int, _: FrameType | None) -> None:
        # Ctrl-C reaches every process of a terminal by itself; twice would make Snakemake drop its jobs.
        if process.poll() is None and not (number == signal.SIGINT and sys.stdin.isatty()):
            process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status
