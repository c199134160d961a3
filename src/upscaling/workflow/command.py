"""The Snakemake command of a run, for whoever starts one: command line, service, demo."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

__all__ = ["snakemake_command", "workflow_folder"]


def workflow_folder() -> Path:
    """Return the folder that holds the Snakefile and ``workflow/`` of this installation."""
    return Path(__file__).resolve().parents[3]


def snakemake_command(
    config: Path, *, profile: Literal["local", "slurm"] = "local", targets: Sequence[str] = ()
) -> list[str]:
    """Return the command that runs a configuration in the working directory."""
    root = workflow_folder()
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(root / "Snakefile")]
    command += ["--profile", str(root / "workflow" / "profiles" / profile), "--configfile", str(config)]
    return [*command, *targets]
