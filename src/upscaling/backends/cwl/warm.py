"""The CWL runner in a fork of this process, which has it loaded: a tile then costs a fifth of a fresh interpreter."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from upscaling.backends.cwl.process import MARK, become, die_with_parent, see_through
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
        "cwltool.update:INTERNAL_VERSION",
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
    import cwltool.update

    # cwltool's own types are v1.0's; it brings every package to its newest version, of which the steps are then.
    for version in sorted({cwl_version, "v1.0", cwltool.update.INTERNAL_VERSION}):
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
            run = partial(_run, command, (out.fileno(), err.fileno()))
            become(run, command, folder, {**environment, MARK: f"{folder}/"})
        return see_through(pid, folder)


def _run(command: Sequence[str], streams: tuple[int, int]) -> int:
    """Be the runner, and return its exit status."""
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream, number)
    logging.getLogger().handlers.clear()  # the log of the tile's process is not the runner's
    import cwltool.main

    # By itself it would forget the schemas that were preloaded, and load them again.
    if not any(argument.startswith("--enable-e") for argument in command):  # --enable-ext: schemas of its own
        cwltool.main.setup_schema = lambda *_, **__: None
    if Path(command[0]).name == "cwltool":
        return int(cwltool.main.main(list(command[1:])))
    from upscaling.backends.cwl.toil import warm as toil_warm

    return toil_warm.lead(command[1:])
