"""The block ``backend`` of kind ``cwl``: where and how an application package runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from upscaling.config_collection import Block

__all__ = ["BatchSystem", "Container", "CwlBackendConfig", "Site"]

Container = Literal["none", "docker", "podman", "singularity"]
BatchSystem = Literal[
    "single_machine", "slurm", "lsf", "grid_engine", "torque", "htcondor", "mesos", "kubernetes", "aws_batch"
]


class Site(Block):
    """What your cluster wants of a job.

    It holds for both ways to it: with the profile `slurm` a tile is a job, with `batch_system: slurm` a step of the
    package is. Keep it in a file of its own: `--configfile site.yaml run.yaml`.
    """

    account: str | None = None
    """Account that pays; the cluster's default when left out."""
    partition: str | None = None
    """Partition; the cluster's default when left out."""
    qos: str | None = None
    """Quality of service."""
    runtime_min: int = Field(120, ge=1)
    """Time limit of a job, in minutes."""
    extra: list[str] = Field(default_factory=list)
    """Further options of `sbatch`, one per entry: `[--constraint=milan, --exclude=n17]`."""
    scratch: str | None = None
    """Folder for the tools' temporary files, on every node; variables are filled in there: `$TMPDIR`. In the run's
    own folder when left out."""
    container_cache: str | None = None
    """Folder on a shared file system that `upscaling pull` puts the package's images into, and every node takes them
    from: for Docker, Podman, Singularity and Apptainer. Variables are filled in."""
    modules: list[str] = Field(default_factory=list)
    """Environment modules that are loaded before a package runs: `[GDAL/3.9]`."""

    def sbatch_options(self) -> list[str]:
        """Return the options of ``sbatch`` that this asks for, but for time and memory."""
        named = {"account": self.account, "partition": self.partition, "qos": self.qos}
        return [*(f"--{name}={value}" for name, value in named.items() if value), *self.extra]

    @field_validator("extra")
    @classmethod
    def _options(cls, value: list[str]) -> list[str]:
        managed = ("--mem", "--cpus-per-task", "-c", "--time", "-t", "--partition", "-p", "--account", "-A", "--qos")
        for option in value:
            if not option.startswith("-"):
                raise ValueError(
                    f"{option!r} is no option of sbatch; write an option and its value as one: --name=value"
                )
            if option.split("=")[0] in managed:
                raise ValueError(f"{option.split('=')[0]} has a key of its own")
        return value


class CwlBackendConfig(Block):
    """An OGC application package, run by Toil: one `toil-cwl-runner` per tile."""

    kind: Literal["cwl"]
    """`openeo`: batch jobs on an openEO platform. `cwl`: an application package through Toil."""
    batch_system: BatchSystem = "single_machine"
    """Where Toil runs the package's steps. `single_machine`: where the tile's job is, on this machine or, with the
    profile `slurm`, in an allocation of its own. Others: Toil submits every step, and this machine only leads."""
    options: list[str] = Field(default_factory=list)
    """Further options of the runner, as on its command line: `[--statePollingWait=5]`. They are checked before the
    run."""
    engine: Literal["toil", "cwltool"] = "toil"
    """`toil`: restarts a killed tile where it stopped. `cwltool`: less overhead for short one-step packages."""
    container: Container = "none"
    """How the package's tools run; `none` uses the programs on PATH."""
    slots: int = Field(2, ge=1, le=1000)
    """Tiles at the same time; with another batch system than `single_machine`, leaders on this machine (0.1 GB
    each). Changing it re-runs nothing."""
    cores: int = Field(1, ge=1)
    """Cores a tile may use; also what Snakemake reserves for it, here or in its SLURM job."""
    memory_mb: int = Field(2000, ge=256)
    """Memory a tile may use, in MB; also what Snakemake reserves for it, here or in its SLURM job."""
    chunk: int = Field(1, ge=1, le=1000)
    """Tiles in one job, one after the other: with `engine: cwltool` a tile then costs a fifth of the CPU. A failing
    tile takes no other with it; `site.runtime_min` is for the whole job."""
    retries: int = Field(2, ge=0, le=10)
    """How often a tile is tried again within a run that ran out of memory or time, or lost its node. Other failures
    are final until the next run."""
    growth: Annotated[float, Field(ge=1, le=10)] = 2.0
    """Factor on the memory after each time a tile ran out of memory, and on the time likewise."""
    site: Site = Site()
    """What your cluster wants of a job."""

    @model_validator(mode="after")
    def _fits(self) -> CwlBackendConfig:
        if self.chunk > 1 and self.batch_system != "single_machine":
            raise ValueError("chunk is for batch_system single_machine: another one gets every step as a job anyway")
        return self
