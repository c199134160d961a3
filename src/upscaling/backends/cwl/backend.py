"""Application packages on this machine or on a cluster: one run of Toil (or cwltool) per tile."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import time
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.backends.cwl import containers, slurm
from upscaling.backends.cwl.attempts import (
    Needs,
    is_final_failure,
    record_outcomes,
    restore_items,
    scaled_resources,
    slurm_facts,
)
from upscaling.backends.cwl.log import batch_job, failure, text_of, tool_ran
from upscaling.backends.cwl.outputs import outcome_of
from upscaling.backends.cwl.process import alone, run_alone
from upscaling.backends.cwl.toil import systems as toil_systems
from upscaling.backends.cwl.toil.systems import JobStore
from upscaling.backends.cwl.warm import preload, run_forked
from upscaling.binding.secret_values import has_secrets, revealed
from upscaling.config.cwl import CwlBackendConfig, Engine
from upscaling.errors import ConfigError, ErrorClass, TileFailedError, bad_output
from upscaling.model import Outcome
from upscaling.planning.plan import load_plan
from upscaling.stage_in.stage import stage_of
from upscaling.util.files import digest, read_json, sha256_file, write_json
from upscaling.util.process import own_program, tool_path

if TYPE_CHECKING:
    from upscaling.jobs.receipts import Receipt
    from upscaling.model import Algorithm, TileJob

__all__ = ["CwlBackend"]

PROGRAMS: dict[Engine, str] = {"toil": "toil-cwl-runner", "cwltool": "cwltool"}
# Toil's own worker takes 75 to 150 MiB; packages that say `ramMax: 512` only would be cut to the CWL default of 256.
LEAST_MEMORY = "512Mi"
ANY_NAME = "--relax-path-checks"  # names of files may hold spaces, # and others
# What `module` needs where the shell is no login shell; then become the runner.
LOAD_MODULES = """\
if ! type module >/dev/null 2>&1; then
  for file in "${MODULESHOME:-/nowhere}/init/bash" "${LMOD_PKG:-/nowhere}/init/bash" \\
    /etc/profile.d/lmod.sh /etc/profile.d/modules.sh /usr/share/modules/init/bash; do
    if [ -r "$file" ]; then . "$file"; break; fi
  done
fi
while [ "$1" != -- ]; do
  module load "$1" || { echo "ERROR environment module $1 cannot be loaded" >&2; exit 1; }
  shift
done
shift
exec "$@"
"""


class CwlBackend:
    """Runs one tile of an application package as one ``toil-cwl-runner``, or one ``cwltool``.

    Programs are those on PATH; this interpreter's folder is before the system's, behind what the user put there.

    Parameters
    ----------
    config
        The ``backend`` block of the configuration.
    run_folder
        The run's folder, where ``finish`` looks for tiles whose job was ended by SLURM.
    attempt
        How often Snakemake has tried the tile in this run, this time included.
    warm
        The pinned package, if this process runs many tiles of it: it then loads the engine, and the CWL schemas that
        the package needs, once. It must have no other thread.
    """

    def __init__(
        self,
        config: CwlBackendConfig,
        *,
        run_folder: Path | None = None,
        attempt: int = 1,
        warm: Path | None = None,
    ) -> None:
        self.config, self.site, self.run_folder, self.attempt = config, config.site, run_folder, attempt
        self.warm = (
            warm is not None and not self.site.modules and preload(config.engine, str(read_json(warm)["cwlVersion"]))
        )

    def check(self, algorithm: Algorithm) -> None:
        """See that the runner, the containers and ``node`` are there, and that the pinned package is what it was.

        Raises
        ------
        ConfigError
            One line.
        """
        from upscaling.algorithms.cwl import images, uses_javascript

        if algorithm.kind != "cwl":
            raise ConfigError(f"{algorithm.id} is no application package", key="backend.kind")
        if self.config.engine == "cwltool" and self.config.batch_system != "single_machine":
            raise ConfigError("cwltool runs on this machine only; use engine toil", key="backend.engine")
        path = tool_path()
        if own_program(PROGRAMS[self.config.engine]) is None:
            raise ConfigError(
                f"there is no {PROGRAMS[self.config.engine]} beside this Python or on PATH", key="backend.engine"
            )
        try:
            document, found = read_json(algorithm.path), sha256_file(algorithm.path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"the pinned package cannot be read: {error}", file=algorithm.path) from None
        if found != algorithm.sha256:
            raise ConfigError("the pinned package was changed after it was planned; plan again", file=algorithm.path)
        if named := images(document):
            here = self.config.batch_system == "single_machine"
            containers.check_images(self.config.container, self.site.container_cache, named, path, here=here)
        if self.config.container == "none" and (needed := images(document, required=True)):
            raise ConfigError(
                f"{algorithm.id} runs in its image only ({needed[0]}, under requirements): choose docker, podman or"
                " singularity, or make it a hint",
                key="backend.container",
            )
        if uses_javascript(document) and shutil.which("node", path=path) is None:
            raise ConfigError(
                f"{algorithm.id} uses JavaScript expressions, but there is no `node` on PATH", key="algorithm.source"
            )

        self._check_cluster()
        self._record_outcomes()

    def _check_cluster(self) -> None:
        """See that the batch system would take the jobs, and the runner its options."""
        named = [self.site.account, self.site.partition, self.site.qos, *self.site.extra]
        here = self.config.batch_system in {"single_machine", "slurm"}
        if self.config.engine == "toil":
            toil_systems.check(self.config.batch_system, self.config.options, self._environment())
        if self.config.batch_system == "slurm" or (here and any(named) and shutil.which("sbatch")):
            slurm.check_site(
                [*self.site.sbatch_options(), f"--mem={self.config.memory_mb}", f"--time={self.site.runtime_min}"]
            )

    def hold(self, reason: str) -> None:
        """Do nothing: each tile of a package is a job of its own."""

    def finish(self) -> None:
        """Write down why the tiles ended that could not say it themselves."""
        self._record_outcomes()

    def _record_outcomes(self) -> None:
        if self.run_folder is not None and (self.run_folder / "receipts").is_dir():
            plan = load_plan(self.run_folder)
            record_outcomes(self.run_folder, plan)
            restore_items(self.run_folder, plan)

    def run(self, job: TileJob, receipt: Receipt) -> Outcome:
        """Run one tile; restart it where it stopped if an earlier process was killed.

        Raises
        ------
        TileFailedError
            With the tool's last words and the path of the full log.
        """
        if is_final_failure(receipt, self.attempt):
            said = receipt.error or {}
            raise TileFailedError(said["message"], error_class=ErrorClass(said["class"]))
        place = self._place(job, self._store_key(job))
        if self.config.batch_system == "slurm" and place.store.exists():
            slurm.end_orphans(place.comment)
        with alone(place.folder.parent):
            if receipt.attempt:
                containers.end_orphans(
                    self.config.container, place.folder.parent.glob("cwl-*"), self._environment()["PATH"]
                )
            for stale in place.folder.parent.glob("cwl-*"):
                if stale != place.folder:  # other parameters, another package or other containers
                    self._place(job, stale.name.removeprefix("cwl-")).store.remove(self._environment())
                    shutil.rmtree(stale, ignore_errors=True)
            if receipt.state == "finished" and (outcome := self._finished(job, place)):
                return outcome
            if receipt.state == "failed":
                receipt.start_over("run again after it failed")
            needs = scaled_resources(
                Needs(self.config.memory_mb, self.site.runtime_min), self.config.growth, asdict(receipt)
            )
            receipt.advance(
                "started", attempt=receipt.attempt + 1, job_id=place.folder.name, facts=slurm_facts(), error=None
            )
            try:
                outcome = self._run(job, place, needs)
            except TileFailedError as error:
                if error.error_class is not ErrorClass.TRANSIENT:
                    receipt.advance("failed", error={"class": error.error_class, "message": str(error)})
                raise
            receipt.advance("finished", facts={**receipt.facts, **outcome.job})
            return outcome

    def _store_key(self, job: TileJob) -> str:
        """Key of everything a job store keeps: Toil's restart reads neither package nor inputs nor options again."""
        how = [self.config.engine, self.config.container, self.config.batch_system, *self.config.options]
        return digest({"job": job.key, "package": job.algorithm.sha256, "inputs": job.parameters, "how": how})[:16]

    def _place(self, job: TileJob, key: str) -> _Place:
        return _Place(job, key, self.site.scratch, self.config.job_store)

    def _finished(self, job: TileJob, place: _Place) -> Outcome | None:
        """Return what a run gave that ended just before its process was killed, if all of it is still there."""
        try:
            return self._outcome(job, place, seconds=None)
        except (OSError, ValueError, TileFailedError):
            return None

    def _run(self, job: TileJob, place: _Place, needs: Needs) -> Outcome:
        begun = time.monotonic()
        place.log.parent.mkdir(parents=True, exist_ok=True)
        place.log.write_bytes(b"")
        restart = self.config.engine == "toil" and place.store.exists()
        status, text = self._attempt(job, place, needs, restart=restart)
        if status > 0 and restart and not tool_ran(text):
            # The store itself is of no use, as after a kill while it was being made: begin anew.
            place.store.remove(self._environment())
            status, text = self._attempt(job, place, needs, restart=False)
        if place.work != place.folder / "work":
            shutil.rmtree(place.work, ignore_errors=True)  # a scratch folder of the site is nobody's to keep
        if status:
            raise self._failure(status, text, place.log)
        return self._outcome(job, place, seconds=time.monotonic() - begun)

    def _failure(self, status: int, text: str, log: Path) -> TileFailedError:
        """Return why the tile failed; of a step that SLURM ended, in SLURM's words."""
        error = failure(status, text, log)
        if self.config.batch_system == "slurm" and (job := batch_job(text)):
            ended = slurm.states_of([job]).get(job)
            if ended and ended.state not in {"FAILED", "COMPLETED"}:
                return TileFailedError(f"{ended.reason} (log: {log})", error_class=ended.error_class)
        return error

    def _attempt(self, job: TileJob, place: _Place, needs: Needs, *, restart: bool) -> tuple[int, str]:
        """Run the runner once; return its exit status and what it logged."""
        place.clear()
        if self.config.engine == "toil":
            place.store.begin()
        inputs = stage_of(job).inputs(job.parameters, place.folder / "stage")
        if has_secrets(inputs):  # the runner reads a file, which nobody else may read
            place.inputs.touch(0o600)
            place.inputs.write_text(json.dumps(revealed(inputs)), encoding="utf-8")
        else:
            write_json(place.inputs, inputs)
        start = place.log.stat().st_size
        command, environment = self._command(job, place, needs, restart=restart), self._environment()
        # Of a leader that is killed the steps go on, and the next run takes over what they did.
        leads = self.config.engine == "cwltool" or self.config.batch_system != "single_machine"
        forked = partial(run_forked, at_death=signal.SIGKILL if leads else signal.SIGTERM)
        run = forked if self.warm else run_alone
        status = run(command, folder=place.folder, environment=environment, stdout=place.printed, log=place.log)
        return status, text_of(place.log, start)

    def _command(self, job: TileJob, place: _Place, needs: Needs, *, restart: bool) -> list[str]:
        containers = {
            # Environment modules and conda put what their programs need into LD_LIBRARY_PATH, GDAL_DATA, PROJ_DATA ...
            "none": ["--no-container", "--preserve-entire-environment"],
            "docker": [],
        }.get(self.config.container, [f"--{self.config.container}"])
        if self.config.engine == "cwltool":
            temporary = [f"--tmpdir-prefix={place.work}/t", f"--tmp-outdir-prefix={place.work}/o"]
            options = [*containers, ANY_NAME, "--disable-color", f"--outdir={place.out}", *temporary]
        else:
            options = [
                *containers,
                ANY_NAME,
                f"--batchSystem={self.config.batch_system}",
                f"--jobStore={place.store.locator}",
                *(["--restart"] if restart else []),
                f"--outdir={place.out}",
                f"--defaultCores={self.config.cores}",
                f"--defaultMemory={needs.memory_mb * 10**6}",
                "--no-cwl-default-ram",
                f"--cwl-min-ram={LEAST_MEMORY}",
                "--clean=onSuccess",
                "--no-prepull",
                "--realTimeLogging=false",
                "--disableProgress",
                "--logColors=false",
                *self._of_batch_system(place, needs),
            ]
        files = [str(job.algorithm.path.absolute()), str(place.inputs)]
        modules = ["bash", "-c", LOAD_MODULES, "modules", *self.site.modules, "--"] if self.site.modules else []
        return [
            *modules,
            own_program(PROGRAMS[self.config.engine]) or PROGRAMS[self.config.engine],
            *options,
            *self.config.options,
            *files,
        ]

    def _of_batch_system(self, place: _Place, needs: Needs) -> list[str]:
        if self.config.batch_system == "single_machine":
            # the tile is retried as a whole, where its reason is known
            return ["--retryCount=0", f"--workDir={place.work}"]
        # Steps that ran out of something are retried with more of it; a lost node is no failure of theirs.
        options = ["--retryCount=1", "--doubleMem=true", "--doubleTime=true"]
        options += ["--enableUnlimitedPreemptibleRetries=true"]
        if place.store.path is not None:  # else the nodes have no file system with this machine
            place.batch_logs.mkdir(parents=True, exist_ok=True)
            options += [f"--workDir={place.work}", f"--batchLogsDir={place.batch_logs}"]
        options += [f"--defaultWalltime={needs.runtime_min * 60}", f"--maxLocalJobs={self.config.cores}"]
        if self.config.batch_system == "slurm":
            # The comment finds the steps of a leader that was killed.
            options.append(f"--slurmArgs={shlex.join([*self.site.sbatch_options(), f'--comment={place.comment}'])}")
        return options

    def _environment(self) -> dict[str, str]:
        # Toil's history is one SQLite file in $HOME, which many leaders on a network file system would wait for.
        found = containers.image_environment(self.config.container, self.site.container_cache, tool_path())
        arguments = toil_systems.environment_of(self.config.batch_system, self.site.extra)
        return {**os.environ, **found, **arguments, "TOIL_HISTORY": "False", "TOIL_CHECK_ENV": "True"}

    def _outcome(self, job: TileJob, place: _Place, *, seconds: float | None) -> Outcome:
        try:
            outputs = json.loads(place.printed.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            raise bad_output(f"the runner ended well but printed no outputs (log: {place.log})") from None
        facts: dict[str, Any] = {"id": place.folder.name, "backend": "cwl", "engine": self.config.engine}
        if seconds is not None:
            facts["duration"] = round(seconds, 1)
        ran = containers.digests_of(
            self.config.container,
            self.site.container_cache,
            job.algorithm.path,
            here=self.config.batch_system == "single_machine",
        )
        software = {self.config.engine: version(self.config.engine), **ran}
        return outcome_of(job, outputs, place.out, facts=facts, software=software)


class _Place:
    """The files of one run below the tile's scratch folder; absolute, as Toil changes its working directory."""

    def __init__(self, job: TileJob, key: str, site_scratch: str | None, job_store: str | None) -> None:
        scratch = job.scratch.absolute()
        self.folder = scratch / f"cwl-{key}"
        self.work, self.out = self.folder / "work", self.folder / "out"
        self.batch_logs = self.folder / "batch"
        self.comment = f"eo-upscaling:{job.id}:{digest(str(self.folder))[:16]}"  # the tile for whoever looks at squeue
        self.store = JobStore(self.folder, job_store, digest(str(self.folder))[:32])
        if site_scratch:
            self.work = Path(os.path.expandvars(site_scratch)).absolute() / self.comment.replace(":", "-")
        self.inputs, self.printed = self.folder / "inputs.json", self.folder / "outputs.json"
        self.log: Path = scratch.parent.parent / "logs" / f"{job.id}.cwl.log"

    def clear(self) -> None:
        """Remove what an earlier attempt left, all but the job store."""
        self.printed.unlink(missing_ok=True)
        for folder in (self.work, self.out):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
