"""Run another program in the foreground."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from upscaling.errors import UpscalingError

__all__ = [
    "ending_signals",
    "give_back_memory",
    "own_environment",
    "own_program",
    "run_in_front",
    "start_of",
    "tool_path",
]

_SYSTEM = ("/bin", "/sbin", "/usr")


def tool_path() -> str:
    """Return PATH with this interpreter's own folder, before the system's programs and behind what the user put there.

    A package's own environment (conda, a module, a folder of programs) wins; what has none finds ``python`` here. The
    Python that this environment was made from, and choosers of Python versions (pyenv's ``shims``), are no package's.
    """
    own = str(Path(sys.executable).parent)
    found = [entry for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if entry]
    if own not in found:
        place = next((number for number, entry in enumerate(found) if _is_systems(entry)), len(found))
        found.insert(place, own)
    return os.pathsep.join(found)


def _is_systems(entry: str) -> bool:
    folder = Path(entry)
    base = Path(sys.base_prefix, "bin")
    return folder.name == "shims" or entry == str(base) or any(folder.is_relative_to(top) for top in _SYSTEM)


def own_program(name: str) -> str | None:
    """Return the path of a program that belongs to this installation; else of one on PATH; None if there is neither."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name, path=tool_path())


def own_environment() -> dict[str, str]:
    """Return the environment in which this installation's programs are found, activated or not."""
    return {**os.environ, "PATH": tool_path()}


def start_of(pid: int) -> int:
    """Return when a process began, in the kernel's ticks; 0 if there is no such process, or it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] == "Z" else int(fields[19])


def ending_signals() -> list[signal.Signals]:
    """Return the signals that ask a program to end: not SIGHUP (a terminal was closed) where ``nohup`` started it."""
    hung_up = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hung_up]


def run_in_front(
    command: Sequence[str], environment: Mapping[str, str] | None = None, folder: str | None = None
) -> int:
    """Run a program, in ``folder`` if one is given, until it ends by itself; return its exit status.

    SIGTERM, SIGINT and SIGHUP are its to handle: it may have much to finish, and is never killed for being slow.
    """
    environment = own_environment() if environment is None else environment
    program = own_program(command[0])
    if program is None:
        raise UpscalingError(f"{command[0]} is not installed beside {sys.executable}")
    process = subprocess.Popen([program, *command[1:]], env=environment, cwd=folder)

    def hand_on(number: int, _: FrameType | None) -> None:
        # Ctrl-C reaches every process of a terminal by itself; twice would make Snakemake drop its jobs.
        if process.poll() is None and not (number == signal.SIGINT and sys.stdin.isatty()):
            process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in ending_signals()}
    try:
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status


def give_back_memory() -> None:
    """Let the C library return what was freed to the system, where it can (glibc)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
