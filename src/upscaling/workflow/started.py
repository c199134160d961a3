"""How a run was last started, kept in its folder: ``upscaling retry`` starts it the same way, from anywhere."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from upscaling.errors import UpscalingError
from upscaling.util.files import read_json, write_json

__all__ = ["command_like", "how_started", "note_start"]

_FILE = ".started.json"
_OPTIONS = ("executor", "profile", "workflow-profile", "cores", "jobs", "directory")


def note_start(run_folder: Path, name: str, workflow: Any) -> None:
    """Keep what it takes to start Snakemake again on this run."""
    settings = workflow.config_settings
    found = {
        "run": name,
        "folder": str(Path.cwd()),
        "snakefile": str(Path(workflow.workdir_init, str(workflow.main_snakefile))),
        "configfiles": [str(path) for path in settings.configfiles],
        "config": list(settings.config_args or ()),
        "replace": settings.replace_workflow_config,
        "options": _given(sys.argv[1:], Path(workflow.workdir_init)),
    }
    write_json(run_folder / _FILE, found)


def _given(words: list[str], folder: Path) -> dict[str, str]:
    """Return the options of a command line that say where and how jobs run."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in _OPTIONS:
        short = {"executor": ["-e"], "cores": ["-c"], "jobs": ["-j"], "directory": ["-d"]}.get(name, [])
        parser.add_argument(f"--{name}", *short, nargs="?")
    try:
        given, _ = parser.parse_known_args(words)
    except argparse.ArgumentError:
        return {}
    found = {name.replace("_", "-"): value for name, value in vars(given).items() if value is not None}
    for name in ("profile", "workflow-profile", "directory"):
        if name in found and (folder / found[name]).exists():
            found[name] = str(folder / found[name])
    return found


def how_started(run_folder: Path) -> dict[str, Any] | None:
    """Return what was kept at the last start; None if nothing was, as in folders of earlier versions."""
    try:
        found = read_json(run_folder / _FILE)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def command_like(run_folder: Path, *, snakefile: Path | None, profile: Path | None) -> tuple[list[str], str, str]:
    """Return a command that starts Snakemake like the last time, the folder to give it in, and the run's name there.

    Parameters
    ----------
    snakefile, profile
        In place of those of the last time.

    Raises
    ------
    UpscalingError
        Its workflow is not there any more.
    """
    kept = how_started(run_folder)
    if kept is None or snakefile is not None:
        return _command_of_ours(run_folder, snakefile, profile), ".", str(run_folder)
    if not Path(kept["snakefile"]).is_file():
        raise UpscalingError(f"the workflow {kept['snakefile']} is not there any more: name it with --snakefile")
    options = {**kept["options"], **({"profile": str(profile.resolve())} if profile else {})}
    command = ["snakemake", "--snakefile", kept["snakefile"]]
    for name, value in options.items():
        command += [f"--{name}", value]
    if kept["configfiles"]:
        command += ["--configfile", *kept["configfiles"]]
    if kept["config"]:
        command += ["--config", *kept["config"]]
    if kept.get("replace"):
        command.append("--replace-workflow-config")
    return command, kept["folder"], kept["run"]


def _command_of_ours(run_folder: Path, snakefile: Path | None, profile: Path | None) -> list[str]:
    """Return a command with the kept configuration, and the workflow of this installation unless another is named.

    That of a run that another workflow imported works too: its folder is all that it needs.
    """
    from upscaling.planning.plan import kept_config
    from upscaling.workflow.launch import snakemake_command

    options = ["--snakefile", str(snakefile)] if snakefile else []
    options += ["--profile", str(profile)] if profile else []
    if kept_config(run_folder).folder().resolve() != run_folder.resolve():
        options += ["--config", "pathvars=" + json.dumps({"results": str(run_folder.resolve().parent)})]
    return snakemake_command([run_folder / "plan" / "config.json"], options)
