"""The block ``backend`` of kind ``cwl``: where and how an application package runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from upscaling.config.collection import Block

__all__ = ["BatchSystem", "Container", "CwlBackendConfig", "Engine", "Site"]

Engine = Literal["toil", "cwltool"]

Container = Literal["none", "docker", "podman", "singularity"]
BatchSystem = Literal[
    "single_machine", "slurm", "lsf", "grid_engine", "torque", "htcondor", "mesos", "kubernetes", "aws_batch"
]
MANAGED = ("--mem", "--cpus-per-task", "-c", "--time", "-t", "--partition", "-p", "--account", "-A", "--qos")
SUBMITTING = ("lsf", "grid_engine", "torque", "htcondor")
BUCKETS = ("aws:", "google:")


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
    runtime_min: int = Field(120, ge=1, le=5_256_000)
    """Time limit of a job, in minutes."""
    core_hour_price: float | None = Field(None, gt=0)
    """What an hour of a core costs, in any currency: `upscaling estimate` then says what a run costs."""
    node_cores: int | None = Field(None, ge=1)
    """Cores of a node, for the node hours of `upscaling estimate`."""
    extra: list[str] = Field(default_factory=list)
    """Further options of `sbatch`, one per entry: `[--constraint=milan, --exclude=n17]`. With `batch_system` `lsf`,
    `grid_engine` or `torque` those of `bsub` or `qsub`: `[-q long]`; with `htcondor` lines of its submit file."""
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


class CwlBackendConfig(Block):
    """An OGC application package, run by Toil: one `toil-cwl-runner` per tile."""

    kind: Literal["cwl"]
    """`openeo`: batch jobs on an openEO platform. `cwl`: an application package through Toil."""
    batch_system: BatchSystem = "single_machine"
    """Where Toil runs the package's steps. `single_machine`: where the tile's job is, on this machine or, with the
    profile `slurm`, in an allocation of its own. Others: Toil submits every step, and this machine only leads."""
    options: list[str] = Field(default_factory=list)
    """Further options of the runner, as on its command line: `[--statePollingWait=5]`, or those of the batch system:
    `[--awsBatchQueue=eo]`, `[--kubernetesServiceAccount=eo]`. They are checked before the run."""
    job_store: str | None = None
    """Where Toil keeps the state of a tile's steps while it runs; in the run's own folder when left out. A folder that
    every node sees, or a bucket: `aws:eu-central-1:my-team-upscaling`, which `kubernetes` and `aws_batch` need, as
    their nodes do not see this machine's files."""
    engine: Engine = "toil"
    """`toil`: restarts a killed tile where it stopped. `cwltool`: a second less a tile, which a kill begins anew."""
    container: Container = "none"
    """How the package's tools run; `none` uses the programs on PATH."""
    slots: int = Field(2, ge=1, le=1000)
    """Tiles at the same time, in all chunks together; with the profile `slurm`, jobs at the same time. With another
    batch system than `single_machine`, leaders on this machine (0.1 GB each, in a chunk 0.05). Changing it re-runs
    nothing."""
    cores: int = Field(1, ge=1)
    """Cores a tile may use; also what Snakemake reserves for it, here or in its SLURM job."""
    memory_mb: int = Field(2000, ge=256)
    """Memory a tile may use, in MB; also what Snakemake reserves for it, here or in its SLURM job."""
    chunk: int = Field(1, ge=1, le=1000)
    """Tiles in one job, one after the other, which costs a fifth of the CPU: Snakemake and the engine are loaded once.
    On SLURM choose it so that a job runs for half an hour or more; with the profile `slurm`, `site.runtime_min` is for
    the whole job. With another `batch_system` than `single_machine`: tiles that one process leads, `slots` of them at
    the same time; choose it large. A failing tile takes no other with it."""
    retries: int = Field(2, ge=0, le=10)
    """How often a tile is retried within a run that ran out of memory or time, or lost its node. Other failures
    are final until the next run."""
    growth: Annotated[float, Field(ge=1, le=10)] = 2.0
    """Factor on the memory after each time a tile ran out of memory, and on the time likewise."""
    site: Site = Site()
    """What your cluster wants of a job."""

    @property
    def together(self) -> int:
        """Tiles that one process sees through at the same time: leaders of steps, which are jobs of their own."""
        return 1 if self.batch_system == "single_machine" else min(self.chunk, self.slots)

    @model_validator(mode="after")
    def _fits(self) -> CwlBackendConfig:
        if self.batch_system in {"kubernetes", "aws_batch"} and not (self.job_store or "").startswith(BUCKETS):
            raise ValueError(
                f"batch_system {self.batch_system} needs job_store: a bucket that its nodes reach, aws:REGION:PREFIX"
            )
        slurm = self.batch_system in {"single_machine", "slurm"}
        for name in ("account", "partition", "qos"):
            if not slurm and getattr(self.site, name):
                place = "site.extra" if self.batch_system in SUBMITTING else "options"
                raise ValueError(f"site.{name} is SLURM's: for {self.batch_system} say it in {place}")
        if self.site.extra and not slurm and self.batch_system not in SUBMITTING:
            raise ValueError(f"site.extra is for options of a submitter: for {self.batch_system} say them in options")
        for option in self.site.extra if slurm else []:
            if not option.startswith("-"):
                raise ValueError(
                    f"site.extra: {option!r} is no option of sbatch; write option and value as one: --name=value"
                )
            if option.split("=")[0] in MANAGED:
                raise ValueError(f"site.extra: {option.split('=')[0]} has a key of its own")
        return self
