"""The CWL runner in a fork of this process, which has it loaded: a tile then costs a fifth of a fresh interpreter."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from upscaling.backends.cwl.process import MARK, STOP_TIMEOUT_S, die_with_parent, kill_survivors, wait_watching
from upscaling.util.upstream import Patch

if TYPE_CHECKING:
    from upscaling.config.cwl import Engine

__all__ = ["CWLTOOL", "preload", "run_forked"]

CWLTOOL = Patch(
    "cwltool",
    ">=3.3,<3.4",
    (
        "cwltool.main:setup_schema(args, custom_schema_callback)",
        "cwltool.main:main(argsl)",
        "cwltool.process:get_schema(version)",
    ),
    "each tile starts an interpreter of its own",
)


def preload(engine: Engine, cwl_version: str) -> bool:
    """Load the engine and the schemas that every tile of a package of this version needs, before the first fork.

    Return False, and load nothing, if the engine is a version that cannot be used so.
    """
    from upscaling.backends.cwl.toil import warm as toil_warm

    if not CWLTOOL.applies() or (engine == "toil" and not toil_warm.TOIL.applies()):
        return False
    import cwltool.main
    import cwltool.process

    for version in {cwl_version, "v1.0"}:  # cwltool's own types are v1.0's
        cwltool.process.get_schema(version)
    if engine == "toil":
        toil_warm.preload()
    gc.freeze()  # what is loaded stays shared between the forks
    return True


def run_forked(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    stdout: Path,
    log: Path,
    at_death: signal.Signals = signal.SIGKILL,
) -> int:
    """Run ``command``, the engine's, in ``folder``: as ``cwl_process.run_alone`` does.

    Parameters
    ----------
    at_death
        What the runner gets when this process is killed.
    """
    with stdout.open("wb") as out, log.open("ab") as err:
        pid = os.fork()
        if not pid:
            die_with_parent(at_death)
            _become(command, folder, {**environment, MARK: f"{folder}/"}, (out.fileno(), err.fileno()))
        ended = None
        try:
            wait_watching(pid, folder)
            ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            return ended
        finally:
            if ended is None:
                _stop(pid)
            kill_survivors(folder)


def _stop(pid: int) -> None:
    """End a runner; Toil gets the time to stop its steps and leaves a job store that can be restarted."""
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < deadline:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
            time.sleep(0.05)
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _become(command: Sequence[str], folder: Path, environment: Mapping[str, str], streams: tuple[int, int]) -> None:
    """Be the runner; never return."""
    status = 1
    try:
        os.setsid()
        for number, stream in enumerate(streams, start=1):
            os.dup2(stream, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = list(command)
        logging.getLogger().handlers.clear()  # the log of the tile's process is not the runner's
        import cwltool.main

        # By itself it would forget the schemas that were preloaded, and load them again.
        if not any(argument.startswith("--enable-e") for argument in command):  # --enable-ext: schemas of its own
            cwltool.main.setup_schema = lambda *_, **__: None
        if Path(command[0]).name == "cwltool":
            status = cwltool.main.main(list(command[1:]))
        else:
            from upscaling.backends.cwl.toil import warm as toil_warm

            status = toil_warm.lead(command[1:])
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1
    except BaseException as error:  # a fork must not go on as its parent
        traceback.print_exc()
        sys.stderr.write(f"ERROR {type(error).__name__}: {error}\n")
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
