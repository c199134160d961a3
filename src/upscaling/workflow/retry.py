"""``upscaling retry``: the tiles that failed, once more, and then what is made of all tiles."""

from __future__ import annotations

import shlex
import sys
from contextlib import chdir
from pathlib import Path

from upscaling.errors import UpscalingError
from upscaling.jobs.withdrawn import put_back
from upscaling.monitor.platform_jobs import discard_results
from upscaling.monitor.progress import read_states
from upscaling.monitor.status import failed_tiles
from upscaling.planning.ensure import ensure_plan
from upscaling.planning.plan import kept_config
from upscaling.util.locks import holder_of
from upscaling.util.process import run_in_front
from upscaling.workflow.ending import end_incomplete
from upscaling.workflow.started import command_like

__all__ = ["retry_failed"]


def retry_failed(
    run_folder: Path, *, only: str | None, resubmit: bool, snakefile: Path | None, profile: Path | None
) -> int:
    """Start Snakemake on the tiles that failed; return its exit status.

    Parameters
    ----------
    only
        Error class; None for all that failed.
    resubmit
        Make, and pay, new jobs where results of finished ones were refused.
    snakefile, profile
        In place of those that the run was last started with.

    Raises
    ------
    UpscalingError
        Snakemake works on the run, it is not known how to start it, or tiles that are done would run again.
    """
    tiles = failed_tiles(run_folder, only)
    if not tiles:
        _say("no tile failed" + (f" for the reason {only}" if only else ""))
        if others := sum(state.state != "finished" for state in read_states(run_folder)):
            _say(f"{others} are not done: `upscaling run` with the run's configuration does them")
        return 0
    if holder_of(run_folder) is not None:
        raise UpscalingError(f"Snakemake works on {run_folder}; failed tiles can be retried when it has ended")
    command, folder, name = command_like(run_folder, snakefile=snakefile, profile=profile)
    _refuse_others(run_folder, Path(folder))
    put_back(run_folder, tiles)
    _say(f"{len(tiles)} tiles")
    if resubmit:
        _say(f"{len(discard_results(run_folder, tiles))} of them are submitted, and paid, again")
    again = set(tiles)
    others = sum(state.state != "finished" for state in read_states(run_folder) if state.tile not in again)
    targets = [f"{name}/tiles/{tile}/item.json" for tile in tiles]
    # By name: Snakemake takes a report that is there for the proof that all before it is done.
    whole = [f"{name}/{made}" for made in ("collection.json", "mosaic", "quality.json", "report.html")]
    command.append("--")
    status = run_in_front([*command, *targets, *([] if others else whole)], folder=folder)
    if status == 0 and others:
        end_incomplete(run_folder)
        _say(f"{others} other tiles are not done; mosaic and report follow with all tiles:")
        _say(f"  cd {shlex.quote(str(Path(folder).resolve()))} && {shlex.join([*command, *whole])}")
    return status


def _refuse_others(run_folder: Path, folder: Path) -> None:
    """Raise UpscalingError if tiles that are done would run, and be paid, again: their work is another one now."""
    done = {state.tile for state in read_states(run_folder) if state.state == "finished"}
    run_folder = run_folder.resolve()
    with chdir(folder):  # where the run was started: paths in its configuration begin there
        plan = ensure_plan(kept_config(run_folder), run_folder, preview=True)
        again = sum(state.tile in done and state.state != "finished" for state in read_states(run_folder, plan))
    if again:
        raise UpscalingError(
            f"{again:,} tiles that are done would run, and be paid, again, as the algorithm or another file has"
            " changed since: `upscaling plan CONFIG` shows what, `upscaling run CONFIG` does it"
        )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
