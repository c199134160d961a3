"""Several tiles in one job: what a job costs is shared, and a failing tile takes no other with it."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path

from upscaling.backends.cwl.process import die_with_parent
from upscaling.config import Config
from upscaling.errors import UpscalingError, in_a_line
from upscaling.execution.tile import run_tile
from upscaling.planning.plan import Plan, load_plan

__all__ = ["chunks", "run_tiles"]

_log = logging.getLogger(__name__)

Run = Callable[[str], object]


def chunks(plan: Plan, size: int) -> dict[str, list[str]]:
    """Return name -> targets, ``size`` of them in the order of the plan, in which neighbours follow each other."""
    tiles = list(plan.tiles)
    return {f"{start // size:05d}": tiles[start : start + size] for start in range(0, len(tiles), size)}


def run_tiles(keys: Mapping[str, str], *, config: Config, run_folder: Path, attempt: int = 1) -> None:
    """Run tiles, one after the other or as many at a time as the backend says; what is done is not run again.

    Parameters
    ----------
    keys
        Target -> the key of its work, as Snakemake asked for it.

    Raises
    ------
    UpscalingError
        After the last tile, if any failed; their receipts say why.
    """
    from upscaling.backends.registry import get_backend

    tiles, plan = list(keys), load_plan(run_folder)
    backend = get_backend(config.backend, plan.facts, run_folder, attempt=attempt, warm=True)

    def run(tile: str) -> object:
        return run_tile(tile, key=keys[tile], run_folder=run_folder, plan=plan, backend=backend)

    together = config.backend.together if config.backend.kind == "cwl" else 1
    failed = _at_the_same_time(tiles, run, together) if together > 1 else _one_after_the_other(tiles, run)
    if failed:
        tile, reason = next(iter(failed.items()))
        raise UpscalingError(f"{len(failed)} of {len(tiles)} failed, {tile}: {reason}")


def _one_after_the_other(tiles: Sequence[str], run: Run) -> dict[str, str]:
    """Return why tiles failed."""
    ended = ((tile, _failure(tile, run)) for tile in tiles)
    return {tile: reason for tile, reason in ended if reason}


def _at_the_same_time(tiles: Sequence[str], run: Run, together: int) -> dict[str, str]:
    """Return why tiles failed. Each has a fork of its own, which ends when this process is killed."""
    context, waiting, failed = get_context("fork"), list(reversed(tiles)), {}
    running: dict[Connection, tuple[str, ForkProcess]] = {}
    while waiting or running:
        while waiting and len(running) < together:
            said, say = context.Pipe(duplex=False)
            process = context.Process(target=_tell, args=(waiting[-1], run, say, os.getpid()))
            process.start()
            say.close()
            running[said] = waiting.pop(), process
        ready = wait(list(running))
        for said in [one for one in running if one in ready]:
            tile, process = running.pop(said)
            try:
                reason = said.recv()  # before its end, which waits until this is read
                process.join()
            except EOFError:
                process.join()
                reason = f"its process ended with {process.exitcode}"
            said.close()
            if reason:
                failed[tile] = reason
    return failed


def _tell(tile: str, run: Run, say: Connection, parent: int) -> None:
    """Run one tile in this process, which is its own, and say how it failed."""
    die_with_parent(signal.SIGKILL)
    if os.getppid() == parent:
        say.send(_failure(tile, run))


def _failure(tile: str, run: Run) -> str:
    """Run a tile; return why it failed, nothing if it did not."""
    try:
        run(tile)
    except UpscalingError as error:
        _log.error("%s: %s", tile, error)
        return str(error)
    except Exception as error:
        _log.exception("%s", tile)
        return in_a_line(error)
    return ""
