"""Toil's batch systems: what each wants beside its name, seen to before a run begins."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from upscaling.errors import ConfigError

if TYPE_CHECKING:
    from upscaling.config.cwl import BatchSystem

__all__ = ["JobStore", "check", "environment_of"]

# What Toil's leader calls to submit; the others are reached through Python.
SUBMITTERS = {"slurm": "sbatch", "lsf": "bsub", "grid_engine": "qsub", "torque": "qsub"}
# Where Toil reads further options of the submitter; SLURM's are on the command line.
ARGUMENTS = {
    "lsf": "TOIL_LSF_ARGS",
    "grid_engine": "TOIL_GRIDENGINE_ARGS",
    "torque": "TOIL_TORQUE_ARGS",
    "htcondor": "TOIL_HTCONDOR_PARAMS",
}
# Run by an interpreter of its own: Toil takes seconds to load, and an option that it does not know for an input.
TRY_OPTIONS = """\
import sys
from toil.batchSystems.registry import get_batch_system
from toil.cwl.cwltoil import get_options
options = get_options(sys.argv[1:])
if options.cwljob:
    sys.exit(f"error: it has no option {options.cwljob[0]}")
name = options.batchSystem
try:
    get_batch_system(name)
    if name == "kubernetes":
        from kubernetes import config
        try:
            config.load_incluster_config()
        except config.ConfigException:
            config.load_kube_config()
except ImportError as error:
    sys.exit(f"error: {name} needs the Python package {error.name}, which is not installed")
except Exception as error:
    sys.exit(f"error: {name} cannot be reached: " + " ".join(str(error).split()))
if name == "aws_batch" and not options.aws_batch_queue:
    sys.exit("error: aws_batch needs its queue: --awsBatchQueue=NAME, or TOIL_AWS_BATCH_QUEUE in the environment")
"""


def environment_of(batch_system: BatchSystem, extra: Sequence[str]) -> dict[str, str]:
    """Return the variables that hand ``site.extra`` to a batch system other than SLURM."""
    name = ARGUMENTS.get(batch_system)
    return {name: ("; " if batch_system == "htcondor" else " ").join(extra)} if name and extra else {}


def check(batch_system: BatchSystem, options: Sequence[str], environment: Mapping[str, str]) -> None:
    """See that Toil would take ``options``, and that the batch system is there.

    Raises
    ------
    ConfigError
        One line.
    """
    submitter = SUBMITTERS.get(batch_system)
    if submitter and shutil.which(submitter) is None:
        raise ConfigError(f"there is no {submitter} on PATH: is this a login node?", key="backend.batch_system")
    if not options and batch_system in {"single_machine", "slurm"}:
        return
    command = [sys.executable, "-c", TRY_OPTIONS, f"--batchSystem={batch_system}", *options, "package.cwl"]
    said = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if said.returncode:
        last = (said.stderr.strip().splitlines() or ["no reason given"])[-1]
        words = last.partition("error: ")[2] or last
        if words.startswith(batch_system):
            raise ConfigError(words, key="backend.batch_system")
        raise ConfigError(f"Toil refuses them: {words}", key="backend.options")


class JobStore:
    """Where Toil keeps what a tile's steps did: a folder, or a bucket that nodes without our file system reach.

    Parameters
    ----------
    folder
        The tile's own, for the job store if no other place is named, and for a note that there is one elsewhere.
    where
        ``backend.job_store``: another folder, or Toil's locator of a bucket, ``aws:REGION:PREFIX``.
    name
        Of this job store, unique in the other place; small letters, digits and hyphens.
    """

    def __init__(self, folder: Path, where: str | None, name: str) -> None:
        bucket = where is not None and where.partition(":")[0] in {"aws", "google"}
        self.path = None if bucket else (Path(where).absolute() / name if where else folder / "store")
        self.locator = f"{where}-{name}" if bucket else str(self.path)
        self._note = folder / "store.begun"

    def begin(self) -> None:
        """Note that there may be one from now on."""
        if self.path is None:
            self._note.touch()
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)

    def exists(self) -> bool:
        """Whether an earlier run may have left it."""
        return self._note.exists() if self.path is None else self.path.exists()

    def remove(self, environment: Mapping[str, str]) -> None:
        """Remove it, if it is there; what cannot be removed stays."""
        if self.path is not None:
            shutil.rmtree(self.path, ignore_errors=True)
        elif self.exists():
            command = ["toil", "clean", self.locator]
            subprocess.run(command, env=environment, capture_output=True, check=False)
            self._note.unlink(missing_ok=True)
