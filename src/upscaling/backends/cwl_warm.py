"""cwltool in a fork of this process, which has it loaded: a tile then costs a third of a fresh interpreter."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from upscaling.backends.cwl_guard import PR_SET_PDEATHSIG
from upscaling.backends.cwl_process import MARK, kill_survivors

__all__ = ["preload", "run_forked"]


def preload() -> None:
    """Load cwltool and the CWL schemas that every tile needs, before the first fork."""
    import cwltool.main
    import cwltool.process
    from cwltool.update import INTERNAL_VERSION

    for version in ("v1.0", "v1.2", INTERNAL_VERSION):
        cwltool.process.get_schema(version)
    gc.freeze()  # what is loaded stays shared between the forks


def run_forked(command: Sequence[str], *, folder: Path, environment: Mapping[str, str], stdout: Path, log: Path) -> int:
    """Run ``command``, which is cwltool's, in ``folder``: as ``cwl_process.run_alone`` does."""
    with stdout.open("wb") as out, log.open("ab") as err:
        pid = os.fork()
        if not pid:
            _become(command[1:], folder, {**environment, MARK: f"{folder}/"}, out.fileno(), err.fileno())
        ended = None
        try:
            ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            return ended
        finally:
            if ended is None:
                with suppress(ProcessLookupError, ChildProcessError):
                    os.killpg(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
            kill_survivors(folder)


def _become(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], out: int, err: int) -> None:
    """Be the runner; never return."""
    status = 1
    try:
        os.setsid()
        if sys.platform == "linux":  # as in cwl_guard: end with the tile's process
            ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        logging.getLogger().handlers.clear()  # the log of the tile's process is not the runner's
        import cwltool.main

        # By itself it would forget the schemas that were preloaded, and load them again.
        own = any(argument.startswith("--enable-e") for argument in arguments)  # --enable-ext: schemas of its own
        status = cwltool.main.main(list(arguments), custom_schema_callback=None if own else lambda: None)
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1
    except BaseException as error:  # a fork must not go on as its parent
        sys.stderr.write(f"ERROR {type(error).__name__}: {error}\n")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
