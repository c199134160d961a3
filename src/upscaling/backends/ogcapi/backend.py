"""OGC API - Processes servers: one job per tile, through a client of our own."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.algorithms.ogc_process import essence, is_sync_only
from upscaling.backends.ogcapi.jobs import decide_unknown, find_job, inputs_in, is_since, words_of_failure
from upscaling.backends.ogcapi.same_inputs import Match, canonical, same_inputs
from upscaling.binding.secret_values import revealed
from upscaling.clients.ogcapi.client import STATUSES, OgcApiClient, id_in
from upscaling.errors import ConfigError, ErrorClass, PlatformError, UpscalingError, bad_output
from upscaling.jobs.account_slots import AccountSlots
from upscaling.jobs.platform import JobState, Patience
from upscaling.jobs.receipts import Receipt
from upscaling.jobs.remote_job import run_remote
from upscaling.jobs.results_wait import RESULTS_GONE
from upscaling.jobs.slots import SlotPool
from upscaling.model import Algorithm, Outcome, TileJob
from upscaling.util.files import digest, read_json

if TYPE_CHECKING:
    from upscaling.backends.ogcapi.results import Found
    from upscaling.config.ogcapi import OgcApiBackendConfig

__all__ = ["OgcApiBackend"]

_AT_ONCE = "at-once-"  # how the id of work begins that the server did while we waited, and gave no id to
_ENOUGH = 3  # jobs that must have ended before others are measured by them
_SMALL = 1 << 20  # bytes of results that may be asked for again to see whether they are complete
_LONGEST_LAG = 30.0  # s that a job list or a status may lag behind


class OgcApiBackend:
    """Jobs on an OGC API - Processes server; may be shared by many threads.

    Parameters
    ----------
    config
        The ``backend`` block of the configuration.
    url
        Landing page of the server.
    run_folder
        Folder of the run: its receipts tell which jobs of the server are ours.
    """

    def __init__(self, config: OgcApiBackendConfig, *, url: str, run_folder: Path) -> None:
        self.config, self.url, self.run_folder = config, url, run_folder
        self.places = SlotPool(config.slots, AccountSlots(self.url, config.slots, run_folder))
        self.durations = Durations(shortest=config.poll_seconds[0])

    @cached_property
    def client(self) -> OgcApiClient:
        """The way to the server."""
        return OgcApiClient(self.url, self.config.auth)

    def run(self, job: TileJob, receipt: Receipt) -> Outcome:
        """Run one tile as a job: submit or attach, wait, fetch."""
        shortest, longest = self.config.poll_seconds
        patience = Patience(
            shortest=shortest,
            longest=longest,
            total=self.config.timeout_hours * 3600,
            lag=min(_LONGEST_LAG, 5 * longest),
        )
        if receipt.job_id is not None:
            self.places.take(job.key)
        try:
            return run_remote(job, receipt, _Work(self, job, receipt), patience)
        finally:
            self.places.leave(job.key)

    def hold(self, reason: str) -> None:
        """Submit no more jobs."""
        self.places.shut(reason)

    def check(self, algorithm: Algorithm) -> None:
        """See that the server is there, lets us in, and has the process as it was planned; deploy it if it is ours."""
        from upscaling.algorithms.ogc_process import described
        from upscaling.backends.ogcapi.deploy import deploy

        if algorithm.path.suffix != ".json":
            deploy(self.client, algorithm, self.config, self._deployed)
        else:
            now = essence(described(self.client, algorithm.id))
            then = read_json(algorithm.path)
            if digest(now) != digest(then):
                versions = f" (version {then.get('version')} then, {now.get('version')} now)"
                raise ConfigError(
                    f"{algorithm.id} has changed on {self.url} since the run was planned"
                    f"{versions if then.get('version') != now.get('version') else ''}; delete"
                    f" {self.run_folder / 'plan'} to plan it again: all its tiles are then run again",
                    key="algorithm.source",
                )
        try:
            next(iter(self.client.jobs(self.process_id(algorithm))), None)
        except PlatformError as error:
            if error.error_class is ErrorClass.AUTH:
                raise ConfigError(f"{self.url} does not let us in: {error}", key="backend.auth") from None
            if error.error_class is ErrorClass.TRANSIENT and error.code is None and error.status != 404:
                raise ConfigError(str(error), key="backend.url") from None
        decide_unknown(self.config.on_unknown, self.run_folder)

    def finish(self) -> None:
        """Remove a package that this run deployed, if that is wanted."""
        from upscaling.backends.ogcapi.deploy import undeploy

        if self.config.undeploy:
            undeploy(self.client, self._deployed)

    @property
    def _deployed(self) -> Path:
        return self.run_folder / "receipts" / ".deployed.json"

    def process_id(self, algorithm: Algorithm) -> str:
        """Return the process's id on the server, which chooses it when a package is deployed."""
        if algorithm.path.suffix == ".json":
            return algorithm.id
        try:
            return str(read_json(self._deployed)["id"])
        except (OSError, ValueError, KeyError):
            return algorithm.id

    def outputs_of(self, algorithm: Algorithm) -> dict[str, Any]:
        """Return the outputs in a process's description; nothing where it is not known."""
        description = read_json(algorithm.path) if algorithm.path.suffix == ".json" else {}
        outputs = description.get("outputs")
        return outputs if isinstance(outputs, dict) else {}

    def has_outputs(self, algorithm: Algorithm) -> bool:
        """Return whether a process is known to have outputs, as a package always has."""
        return algorithm.path.suffix != ".json" or bool(self.outputs_of(algorithm))

    def request_of(self, job: TileJob) -> dict[str, Any]:
        """Return the body of a job's execution request."""
        description = read_json(job.algorithm.path) if job.algorithm.path.suffix == ".json" else {}
        outputs = self.outputs_of(job.algorithm)
        shape = self.config.response
        if shape == "auto":
            shape = "document" if len(outputs) > 1 else "raw"
        body: dict[str, Any] = {"inputs": revealed(job.parameters), "response": shape}
        if shape == "document" and outputs and "reference" in (description.get("outputTransmission") or ()):
            body["outputs"] = {name: {"transmissionMode": "reference"} for name in outputs}
        return body

    # --- what people ask for by hand ---

    def state(self, job_id: str) -> JobState | None:
        """Ask for a job's status."""
        document = self.client.job(job_id)
        return None if document is None else _state_of(document)

    def cancel(self, job_id: str) -> None:
        """Dismiss a job; what it has cost by then is paid."""
        if not job_id.startswith(_AT_ONCE):
            self.client.dismiss(job_id)

    def remove(self, job_id: str) -> None:
        """Remove a job that has ended, with its results: the standard has one request for both."""
        self.cancel(job_id)

    def jobs_of_run(self, run: str) -> list[dict[str, Any]]:  # noqa: ARG002 -- they are known by their inputs
        """Return the server's jobs, not older than the plan, that were sent the inputs of one of its targets.

        Raises
        ------
        UpscalingError
            If the server lists no jobs, or does not tell what they were sent.
        """
        from upscaling.planning.plan import job_of, load_plan

        plan = load_plan(self.run_folder)
        work = {tile: job_of(plan, self.run_folder, tile).parameters for tile in plan.tiles}
        names = sorted(set().union(*work.values()))
        wanted = {digest(canonical(inputs, names)): tile for tile, inputs in work.items()}
        listed = [
            job for job in self.client.jobs(self.process_id(plan.algorithm)) if is_since(job, plan.facts["created"])
        ]
        told = [(job, inputs_in(job)) for job in listed]
        if listed and all(inputs is None for _, inputs in told):
            raise UpscalingError(f"{self.url} does not tell what its jobs were sent; which are this run's is unknown")
        tiles = [
            (job, inputs, wanted.get(digest(canonical(inputs, names)))) for job, inputs in told if inputs is not None
        ]
        return [
            {**job, "id": id_in(job), "title": tile}
            for job, inputs, tile in tiles
            if tile is not None and same_inputs(work[tile], inputs) is Match.SAME
        ]


class Durations:
    """How long the run's last jobs took, by which the end of the next is guessed.

    Parameters
    ----------
    shortest
        Seconds between two questions about a job, at the least.
    """

    def __init__(self, shortest: float) -> None:
        self._shortest, self._last = shortest, deque[float](maxlen=50)

    def add(self, seconds: float) -> None:
        """Note a job that has ended; one that was found ended tells nothing."""
        if seconds > self._shortest:
            self._last.append(seconds)

    def pause(self, began: float, seconds: float) -> float:
        """Return how long to wait before the next question, at most ``seconds``, about a job that began then."""
        age = time.monotonic() - began
        if len(self._last) < _ENOUGH:
            return min(seconds, max(age / 20, self._shortest))
        expected = statistics.median(self._last)
        if age > 1.5 * expected:
            return seconds
        return min(seconds, max(expected - age, expected / 50, self._shortest))


class _Work:
    """One tile's work on a server (``jobs.platform.Platform``)."""

    memory_levels = 0  # the standard has no way to ask for memory

    def __init__(self, backend: OgcApiBackend, job: TileJob, receipt: Receipt) -> None:
        self._backend, self._client, self._job, self._receipt = backend, backend.client, job, receipt
        self._reply = job.scratch / "reply"
        self._began = self._seen = time.monotonic()

    def find(self, job: TileJob, *, fresh: bool, without: frozenset[str]) -> str | None:
        """Look for this work among the server's jobs: see ``ogcapi_jobs``."""
        if not fresh:
            return None  # without an intent on disk nothing was sent
        if self._reply.is_file():  # done at once; only our own note of it is missing
            return self._at_once
        return find_job(
            self._client,
            job,
            self._receipt,
            process_id=self._backend.process_id(job.algorithm),
            run_folder=self._backend.run_folder,
            without=without,
            resubmit=self._backend.config.on_unknown == "resubmit",
        )

    @property
    def creates_idle(self) -> bool:
        """A job may run as soon as it is created."""
        return False

    def twin(self, job: TileJob, job_id: str, without: frozenset[str]) -> str | None:
        """Return nothing: a job that was created runs, and there is no way to tell whose another one is."""

    def least_results(self, job: TileJob) -> tuple[int, bool]:
        """Return how many outputs the process has; a server may leave out one that is empty."""
        outputs = self._backend.outputs_of(job.algorithm)
        return max(1, len(outputs)), False

    def looks_cheaply(self) -> bool:
        """Return whether the results are a document that names files, and not a file itself."""
        reply = self._job.scratch / "results" / "reply"
        return not self._reply.is_file() and reply.is_file() and reply.stat().st_size < _SMALL

    def await_place(self) -> None:
        """Return when another job may be under way."""
        self._backend.places.wait(self._job.key)
        self._began = self._seen = time.monotonic()  # what is measured is the job, not the wait for its place

    @property
    def _at_once(self) -> str:
        return f"{_AT_ONCE}{self._job.key[:16]}"

    def create(self, job: TileJob, memory_level: int) -> str:  # noqa: ARG002 -- no memory to ask for
        """Send the execution request; a server that answers with the results has run it by then."""
        sync = is_sync_only(job.algorithm)
        self._reply.parent.mkdir(parents=True, exist_ok=True)
        self._reply.unlink(missing_ok=True)
        try:
            named = self._client.execute(
                self._backend.process_id(job.algorithm),
                self._backend.request_of(job),
                self._reply,
                patience=self._backend.config.timeout_hours * 3600 if sync else 0.0,
            )
        except PlatformError as error:
            if sync and error.code is not None and error.code.startswith(("500 ", "501 ")):
                # The process itself failed while we waited, and the server says why: nothing is unknown.
                raise PlatformError(str(error), error_class=ErrorClass.PERMANENT, code=error.code) from None
            raise
        return named or self._at_once

    def start(self, job_id: str, before: Callable[[], None]) -> None:
        """Start a job that waits for it (2.0 draft, part 4: ``created``)."""
        before()
        self._client.send("POST", f"{self._client.job_url(job_id)}/results")

    def state(self, job_id: str) -> JobState | None:
        """Ask for the job's status; one that has ended gives its place back."""
        if self._reply.is_file():
            self._backend.places.leave(self._job.key)
            return JobState("finished", {})
        if job_id.startswith(_AT_ONCE):
            return None
        document = self._client.job(job_id)
        if document is None:
            return None
        state = _state_of(document)
        if state.status not in {"created", "queued", "running"}:
            self._backend.places.leave(self._job.key)
        if state.status == "finished":
            # It ended after it was last seen at work: when it was found ended would grow with every late question.
            self._backend.durations.add(self._seen - self._began)
        self._seen = time.monotonic()
        return state

    def await_news(self, job_id: str, status: str, seconds: float) -> None:  # noqa: ARG002 -- as the protocol has it
        """Wait: the standard has no way to be told (callbacks need an address that the server can reach).

        Jobs of a run take about as long as each other: the question is put when this one should have ended, and often
        around then, so that a slot does not stand empty for a tenth of a job.
        """
        time.sleep(self._backend.durations.pause(self._began, seconds))

    def reasons(self, job_id: str, log: Path) -> str:
        """Keep what the server says of the job; its message, and the exception in place of results, say why."""
        return words_of_failure(self._client, job_id, log)

    def fetch(self, job: TileJob, job_id: str, folder: Path) -> Outcome:
        """Bring the results to this disk, whatever their shape."""
        from upscaling.backends.ogcapi.stage import stage

        try:
            outcome = stage(self._client, self._found(job, job_id, folder), folder)
        except PlatformError as error:
            if error.error_class is ErrorClass.OUTPUT:
                raise PlatformError(str(error), error_class=ErrorClass.OUTPUT, code=RESULTS_GONE) from None
            raise
        facts = {"id": job_id, "backend": self._client.base, **self._receipt.facts}
        version = job.algorithm.version
        return replace(outcome, job=facts, software={job.algorithm.id: version} if version else {})

    def _found(self, job: TileJob, job_id: str, folder: Path) -> list[Found]:
        """Read the results: of a job anew at every call, as signed links expire; what was sent at once is kept."""
        from upscaling.backends.ogcapi.results import read_reply

        has_outputs = self._backend.has_outputs(job.algorithm)
        if not self._reply.is_file():
            return read_reply(self._client.results(job_id, folder / "reply"), has_outputs=has_outputs)
        try:
            return read_reply(self._reply, has_outputs=has_outputs)
        except PlatformError as error:
            if error.error_class is not ErrorClass.TRANSIENT:
                raise
            if job_id.startswith(_AT_ONCE):
                raise bad_output(f"{error}, and cannot be asked for again") from None
            self._reply.unlink()  # its job has them, too
            raise


def _state_of(document: dict[str, Any]) -> JobState:
    """Map a status document of any dialect; raise PlatformError if it has no status that is known."""
    said = str(document.get("status") or "").strip().lower()
    status = STATUSES.get(said)
    if status is None:
        raise PlatformError(
            f"the server answered with status {document.get('status')!r}", error_class=ErrorClass.TRANSIENT
        )
    times = {name: document.get(name) for name in ("created", "started", "finished", "updated")}
    facts: dict[str, Any] = {"status": status} | {name: text for name, text in times.items() if isinstance(text, str)}
    return JobState(status, facts | _duration(facts))


def _duration(facts: dict[str, Any]) -> dict[str, float]:
    import datetime as dt

    try:
        started, finished = (dt.datetime.fromisoformat(facts[name]) for name in ("started", "finished"))
        return {"duration": round((finished - started).total_seconds(), 3)}
    except (KeyError, ValueError, TypeError):
        return {}
