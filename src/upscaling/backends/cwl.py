"""Application packages on this machine or on a cluster: one run of Toil (or cwltool) per tile."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from upscaling.backends.cwl_log import failure, tool_ran
from upscaling.backends.cwl_outputs import read_outputs
from upscaling.backends.cwl_process import alone, run_alone
from upscaling.errors import ConfigError, ErrorClass, TileFailedError
from upscaling.files import digest, read_json, sha256_file, write_json
from upscaling.tiles import Outcome

if TYPE_CHECKING:
    from upscaling.receipts import Receipt
    from upscaling.tiles import Algorithm, TileJob

__all__ = ["CwlBackend"]

Container = Literal["none", "docker", "podman", "singularity"]
Engine = Literal["toil", "cwltool"]
PROGRAMS: dict[Engine, str] = {"toil": "toil-cwl-runner", "cwltool": "cwltool"}
ENGINES: dict[str, tuple[str, ...]] = {
    "docker": ("docker",),
    "podman": ("podman",),
    "singularity": ("singularity", "apptainer"),
}
# Toil's own worker takes 75 to 150 MiB; packages that say `ramMax: 512` only would be cut to the CWL default of 256.
LEAST_MEMORY = "512Mi"


class CwlBackend:
    """Runs one tile of an application package as one ``toil-cwl-runner``.

    Parameters
    ----------
    batch_system
        Where Toil runs the package's steps.
    container
        How tools run that name an image; ``none`` uses the programs on PATH, this interpreter's folder first.
    engine
        ``cwltool`` starts in a second less than Toil needs for its own work, but keeps nothing of a killed tile.
    cores, memory_mb
        What a step gets that does not say what it needs; memory in MB (10^6 bytes).
    options
        Further options of the runner, as on its command line.
    """

    def __init__(
        self,
        *,
        batch_system: str = "single_machine",
        container: Container = "none",
        engine: Engine = "toil",
        cores: int = 1,
        memory_mb: int = 2000,
        options: Sequence[str] = (),
    ) -> None:
        self.batch_system, self.container, self.engine = batch_system, container, engine
        self.cores, self.memory_mb, self.options = cores, memory_mb, tuple(options)

    def check(self, algorithm: Algorithm) -> None:
        """See that the runner, the containers and ``node`` are there, and that the pinned package is what it was.

        Raises
        ------
        ConfigError
            One line.
        """
        from upscaling.packages import images, tool_path, uses_javascript

        if algorithm.kind != "cwl":
            raise ConfigError(f"{algorithm.id} is no application package", key="backend.kind")
        if self.engine == "cwltool" and self.batch_system != "single_machine":
            raise ConfigError("cwltool runs on this machine only; use engine toil", key="backend.engine")
        path = tool_path()
        if shutil.which(PROGRAMS[self.engine], path=path) is None:
            raise ConfigError(
                f"there is no {PROGRAMS[self.engine]} beside this Python or on PATH", key="backend.engine"
            )
        try:
            document, found = read_json(algorithm.path), sha256_file(algorithm.path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"the pinned package cannot be read: {error}", file=algorithm.path) from None
        if found != algorithm.sha256:
            raise ConfigError("the pinned package was changed after it was planned; plan again", file=algorithm.path)
        engines = ENGINES.get(self.container, ())
        if engines and images(document) and not any(shutil.which(name, path=path) for name in engines):
            raise ConfigError(f"there is no {' or '.join(engines)} on PATH", key="backend.container")
        if self.container == "none" and (needed := images(document, required=True)):
            raise ConfigError(
                f"{algorithm.id} runs in its image only ({needed[0]}, under requirements): choose docker, podman or"
                " singularity, or make it a hint",
                key="backend.container",
            )
        if uses_javascript(document) and shutil.which("node", path=path) is None:
            raise ConfigError(
                f"{algorithm.id} uses JavaScript expressions, but there is no `node` on PATH", key="algorithm.source"
            )

    def finish(self) -> None:
        """Do nothing: a run leaves nothing behind but its tiles."""

    def run(self, job: TileJob, receipt: Receipt) -> Outcome:
        """Run one tile; restart it where it stopped if an earlier process was killed.

        Raises
        ------
        TileFailedError
            With the tool's last words and the path of the full log.
        """
        place = _Place(job, self._store_key(job))
        with alone(place.folder.parent):
            for stale in place.folder.parent.glob("cwl-*"):
                if stale != place.folder:  # other parameters, another package or other containers
                    shutil.rmtree(stale, ignore_errors=True)
            if receipt.state == "finished" and (outcome := self._finished(job, place)):
                return outcome
            if receipt.state == "failed":
                receipt.start_over("run again after it failed")
            receipt.advance("started", attempt=receipt.attempt + 1, job_id=place.folder.name)
            try:
                outcome = self._run(job, place)
            except TileFailedError as error:
                if error.error_class is not ErrorClass.TRANSIENT:
                    receipt.advance("failed", error={"class": error.error_class, "message": str(error)})
                raise
            receipt.advance("finished", facts=outcome.job)
            return outcome

    def _store_key(self, job: TileJob) -> str:
        """Key of everything a job store keeps: Toil's restart reads neither package nor inputs nor options again."""
        how = [self.engine, self.container, self.batch_system, *self.options]
        return digest({"job": job.key, "package": job.algorithm.sha256, "inputs": job.parameters, "how": how})[:16]

    def _finished(self, job: TileJob, place: _Place) -> Outcome | None:
        """Return what a run gave that ended just before its process was killed, if all of it is still there."""
        try:
            return self._outcome(job, place, seconds=None)
        except (OSError, ValueError, TileFailedError):
            return None

    def _run(self, job: TileJob, place: _Place) -> Outcome:
        begun = time.monotonic()
        place.log.parent.mkdir(parents=True, exist_ok=True)
        place.log.write_bytes(b"")
        restart = self.engine == "toil" and place.store.exists()
        status, text = self._attempt(job, place, restart=restart)
        if status > 0 and restart and not tool_ran(text):
            # The store itself is of no use, as after a kill while it was being made: begin anew.
            shutil.rmtree(place.store, ignore_errors=True)
            status, text = self._attempt(job, place, restart=False)
        if status:
            raise failure(status, text, place.log)
        return self._outcome(job, place, seconds=time.monotonic() - begun)

    def _attempt(self, job: TileJob, place: _Place, *, restart: bool) -> tuple[int, str]:
        """Run the runner once; return its exit status and what it logged."""
        place.clear()
        write_json(place.inputs, job.parameters)
        start = place.log.stat().st_size
        status = run_alone(
            self._command(job, place, restart=restart),
            folder=place.folder,
            environment=self._environment(),
            stdout=place.printed,
            log=place.log,
        )
        with place.log.open("rb") as stream:
            stream.seek(start)
            text = stream.read().decode(errors="replace")
        return status, text

    def _command(self, job: TileJob, place: _Place, *, restart: bool) -> list[str]:
        containers = {
            # Environment modules and conda put what their programs need into LD_LIBRARY_PATH, GDAL_DATA, PROJ_DATA ...
            "none": ["--no-container", "--preserve-entire-environment"],
            "docker": [],
        }.get(self.container, [f"--{self.container}"])
        if self.engine == "cwltool":
            temporary = [f"--tmpdir-prefix={place.work}/t", f"--tmp-outdir-prefix={place.work}/o"]
            options = [*containers, "--disable-color", "--skip-schemas", f"--outdir={place.out}", *temporary]
        else:
            options = [
                *containers,
                f"--batchSystem={self.batch_system}",
                f"--jobStore={place.store}",
                *(["--restart"] if restart else []),
                f"--workDir={place.work}",
                f"--outdir={place.out}",
                f"--defaultCores={self.cores}",
                f"--defaultMemory={self.memory_mb * 10**6}",
                "--no-cwl-default-ram",
                f"--cwl-min-ram={LEAST_MEMORY}",
                "--retryCount=0",  # the tile is tried again as a whole, where its reason is known
                "--clean=onSuccess",
                "--no-prepull",
                "--realTimeLogging=false",
                "--disableProgress",
                "--logColors=false",
            ]
        return [PROGRAMS[self.engine], *options, *self.options, str(job.algorithm.path.absolute()), str(place.inputs)]

    def _environment(self) -> dict[str, str]:
        from upscaling.packages import tool_path

        # Toil's history is one SQLite file in $HOME, which many leaders on a network file system would wait for.
        return {**os.environ, "PATH": tool_path(), "TOIL_HISTORY": "False"}

    def _outcome(self, job: TileJob, place: _Place, *, seconds: float | None) -> Outcome:
        try:
            outputs = json.loads(place.printed.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise TileFailedError(
                f"the runner ended well but printed no outputs (log: {place.log})", error_class=ErrorClass.OUTPUT
            ) from None
        assets, derived = read_outputs(outputs, place.out)
        facts: dict[str, Any] = {"id": place.folder.name, "backend": "cwl", "engine": self.engine}
        if seconds is not None:
            facts["duration"] = round(seconds, 1)
        own = {job.algorithm.id: job.algorithm.version} if job.algorithm.version else {}
        software = {self.engine: version(self.engine), **own}
        return Outcome(assets=assets, job=facts, derived_from=derived, software=software)


class _Place:
    """The files of one run below the tile's scratch folder; absolute, as Toil changes its working directory."""

    def __init__(self, job: TileJob, key: str) -> None:
        scratch = job.scratch.absolute()
        self.folder = scratch / f"cwl-{key}"
        self.store, self.work, self.out = self.folder / "store", self.folder / "work", self.folder / "out"
        self.inputs, self.printed = self.folder / "inputs.json", self.folder / "outputs.json"
        self.log: Path = scratch.parent.parent / "logs" / f"{job.id}.cwl.log"

    def clear(self) -> None:
        """Remove what an earlier attempt left, all but the job store."""
        self.printed.unlink(missing_ok=True)
        for folder in (self.work, self.out):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
