"""Become a CWL runner that ends when the process that started it does. Run by path, never imported.

``python -I -S cwl_guard.py PARENT_PID COMMAND...``: a tile process that is killed with -9 cannot stop its runner, and a
runner that lives on would share its job store with the one that a restart begins. Linux keeps the wish for a signal at
the parent's death across exec; elsewhere the next start finds the runner by its environment.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    """Ask for the signal, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:
            sys.exit(f"{command[0]}: the tile's process is gone")
    try:
        os.execvp(command[0], command)  # noqa: S606 -- a fixed program, found on the PATH that was set for it
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
