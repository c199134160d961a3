"""The plan of a run: the one that is there, or a new one where its inputs have changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.errors import UpscalingError
from upscaling.planning.local_files import unchanged
from upscaling.planning.plan import Plan, keep_config, load_plan, plan_key
from upscaling.util.files import read_json
from upscaling.util.locks import take_run

if TYPE_CHECKING:
    from upscaling.config import Config

__all__ = ["begin_run", "ensure_plan"]


def ensure_plan(config: Config, run_folder: Path, *, say: Any = None, preview: bool = False) -> Plan:
    """Return the plan of a run, making it if there is none or its inputs have changed.

    Parameters
    ----------
    preview
        Change nothing in the run's folder: a new plan is made in a temporary one. So it is, too, where another process
        works on the run.
    """
    path = run_folder / "plan" / "plan.json"
    try:
        facts = read_json(path)
        if facts.get("key") == plan_key(config) and unchanged(facts.get("files", {})):
            return load_plan(run_folder)
    except (OSError, ValueError, AttributeError, TypeError, UpscalingError):
        pass  # none yet, or damaged: it is made from the configuration again, and nothing is lost
    from upscaling.planning.make import make_plan  # heavy, and seldom needed

    return make_plan(config, run_folder, say=say, preview=preview)


def begin_run(config: Config, run_folder: Path) -> None:
    """Lock a run for this process, with the plan and configuration that it was started with.

    Raises
    ------
    UpscalingError
        Another process works on it.
    """
    take_run(run_folder)
    ensure_plan(config, run_folder)  # another one may have been made since this process read its plan
    keep_config(config, run_folder)
