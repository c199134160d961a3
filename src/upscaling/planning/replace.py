"""A new plan in place of a run's: whole, and only where no other process works on the run."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Any

from upscaling.errors import UpscalingError
from upscaling.planning.plan import CONFIG
from upscaling.util.locks import run_lock

__all__ = ["replace_plan", "scratch_folder"]


def scratch_folder() -> Path:
    """Return a folder for a plan that is being made; it is deleted when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="upscaling-plan-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def replace_plan(made: Path, run_folder: Path, say: Any) -> Path:
    """Put a plan in place of the run's, and return where it lies then.

    That is where it was made, if another process works on the run: its plan stays, and this one is a preview.
    """
    try:
        with run_lock(run_folder):
            _move(made, run_folder / "plan")
    except UpscalingError as error:
        say(f"plan: {error}; its plan stays, and this one is a preview")
        return made
    shutil.rmtree(made, ignore_errors=True)
    return run_folder / "plan"


def _move(made: Path, place: Path) -> None:
    """Move the files of a plan; ``plan.json`` last, as it tells what the others must be."""
    place.mkdir(parents=True, exist_ok=True)
    names = {path.name for path in made.iterdir()}
    for path in sorted(made.rglob("*"), key=lambda path: path.name == "plan.json"):
        target = place / path.relative_to(made)
        if path.is_dir():
            target.mkdir(exist_ok=True)
            shutil.copymode(path, target)
            continue
        # The temporary folder may lie on another disk: copied beside its place, then renamed.
        part = target.with_name(f".{target.name}.part")
        shutil.copy(path, part)  # with its rights: a copy of a private file stays private
        part.replace(target)
    for path in place.iterdir():  # of the plan before; folders hold files by their hash, which do no harm
        if path.is_file() and path.name not in names | {CONFIG} and not path.name.startswith("."):
            path.unlink()
