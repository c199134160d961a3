"""openEO platforms: one batch job per tile, through the openeo client."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from upscaling.backends.openeo.account import ENDED, JOB_ID, USABLE, Account, by_key, is_of_run, title_of
from upscaling.backends.openeo.check import check_platform
from upscaling.backends.openeo.logs import keep_log
from upscaling.binding.secret_values import revealed
from upscaling.errors import ConfigError, ErrorClass, PlatformError
from upscaling.http.address import THIS_MACHINE
from upscaling.jobs.platform import JobState, Patience
from upscaling.jobs.receipts import Receipt
from upscaling.jobs.remote_job import run_remote
from upscaling.model import Algorithm, Outcome, TileJob
from upscaling.util.files import read_json, write_json
from upscaling.util.text import plain_text

if TYPE_CHECKING:
    from upscaling.config import OpenEOBackendConfig

__all__ = ["OpenEOBackend"]

_HOW_TO_START = (
    "; nothing listens there: `upscaling demo --config CONFIG` starts the demo's back-end and the run, and"
    " `upscaling local-backend` one over data of yours"
)
# A list says all there is to know of these; with its end a job has costs and usage, which it is asked for.
_UNDER_WAY = {"queued": JobState("queued"), "running": JobState("running")}
_HEAD_START = 0.06  # s; the start of the next job is sent before the results of the one that ended are asked for
_SESSION = "UPSCALING_SESSION"  # set by ``check``; tile processes inherit it and find the snapshot of its start

log = logging.getLogger(__name__)


class OpenEOBackend:
    """Batch jobs on an openEO platform; safe to use from many threads.

    Parameters
    ----------
    config
        The ``backend`` block of the configuration.
    url
        Address of the platform.
    output_format
        Format for ``save_result`` where the process has none.
    run_folder
        Folder of the run, for the snapshot of the platform's job list.
    bbox
        West, south, east, north of the run's area in degrees.
    """

    def __init__(
        self,
        config: OpenEOBackendConfig,
        *,
        url: str,
        output_format: str,
        run_folder: Path,
        bbox: Sequence[float] = (-180, -90, 180, 90),
    ) -> None:
        self._config, self._url, self._format, self._run_folder = config, url, output_format, run_folder
        self._bbox = bbox
        self._account = Account.of(config, url)
        self._session = self._account.session
        self._costed: dict[str, dict[str, Any]] = {}  # finished job -> what its last answer said, costs included

    def identity(self) -> str:
        """Return kind and address."""
        return f"openeo {self._url}"

    def run(self, job: TileJob, receipt: Receipt) -> Outcome:
        """Run one tile as a batch job: submit or attach, wait, fetch."""
        shortest, longest = self._config.poll_seconds
        patience = Patience(
            shortest=shortest,
            longest=longest,
            total=self._config.timeout_hours * 3600,
            outage=self._config.outage_hours * 3600,
            lag=self._config.lag_seconds,
            lost=self._config.resubmit_lost,
        )
        try:
            outcome = run_remote(job, receipt, self, patience)
        finally:  # a job that is given up, or was lost, takes no slot of this run any more
            if receipt.job_id is not None:
                self._account.gate.left(receipt.job_id)
        # Unless the item has nothing to point to but the job's own files.
        keep = any(asset.unchecked for asset in outcome.assets) or receipt.adopted  # perhaps another run waits for it
        if self._config.delete_after_download and not keep:
            receipt.when_done = lambda: self._tidy(receipt)
        return outcome

    def hold(self, reason: str) -> None:
        """Start no more jobs."""
        self._account.gate.shut(reason)

    def _tidy(self, receipt: Receipt) -> None:
        """Delete the job of a tile that is done; it does not matter if that fails."""
        assert receipt.job_id is not None  # noqa: S101 -- the tile is done
        receipt.advance("done", facts={**receipt.facts, "deleted": True})
        try:
            self.remove(receipt.job_id)
        except PlatformError as error:
            log.warning("job %s could not be deleted from the platform: %s", receipt.job_id, error)

    def check(self, algorithm: Algorithm) -> None:
        """Log in, see that the platform can run the algorithm, and note which jobs of the user it has already."""
        try:
            if self._config.process == "namespace" and not algorithm.source.startswith(("http://", "https://")):
                raise ConfigError(
                    "`namespace` needs an algorithm that comes from a URL; use `inline`", key="backend.process"
                )
            more = {"export_workspace": "backend.export_workspace"} if self._config.export_workspace else {}
            check_platform(self._session, read_json(algorithm.path)["process_graph"], self._bbox, more=more)
            jobs = by_key(self._account.all_jobs())
        except PlatformError as error:
            key = {ErrorClass.AUTH: "backend.auth"}.get(error.error_class, "backend.url")
            closed = "Connection refused" in str(error) and urlsplit(self._session.url).hostname in THIS_MACHINE
            raise ConfigError(f"{error}{_HOW_TO_START if closed else ''}", key=key) from None
        session = f"{os.getpid()}-{os.urandom(4).hex()}"
        write_json(self._snapshot(session), jobs)
        os.environ[_SESSION] = session

    def finish(self) -> None:
        """Forget the snapshot that ``check`` made."""
        session = os.environ.pop(_SESSION, None)
        if session:
            self._snapshot(session).unlink(missing_ok=True)

    def _snapshot(self, session: str) -> Path:
        return self._run_folder / "receipts" / f".platform-jobs-{session}.json"

    # --- what the life of a job needs (jobs.platform.Platform) ---

    @property
    def memory_levels(self) -> int:
        """How many larger job options there are."""
        return len(self._config.memory_levels)

    def find(self, job: TileJob, *, fresh: bool, without: frozenset[str] = frozenset()) -> str | None:
        """Look for a usable job with the work's key in its title: the furthest, of those the oldest."""
        session, known = os.environ.get(_SESSION), None
        if session and not fresh:
            with contextlib.suppress(FileNotFoundError):
                known = cast("dict[str, list[str]]", read_json(self._snapshot(session)))
        if known is None:
            known = self._account.usable(time.monotonic())
        return next((found for found in known.get(job.key[:16], []) if found not in without), None)

    def await_place(self) -> None:
        """Return at once: a job that waits for its start takes no place."""

    def create(self, job: TileJob, memory_level: int = 0) -> str:
        """Send the graph of one tile; never repeated here, as the platform may have acted before a line broke."""
        definition, config = read_json(job.algorithm.path), self._config
        options = {**definition.get("default_job_options", {}), **config.job_options}
        for larger in config.memory_levels[:memory_level]:
            options |= larger
        body = {
            "process": {"process_graph": self._graph(definition, job)},
            "title": job.title,
            "description": f"eo-upscaling: tile {job.id} of {job.run}; key {job.key}",
            "plan": config.plan,
            "budget": config.job_budget,
            "log_level": config.log_level,
            "job_options": options or None,
        }
        body = {name: value for name, value in body.items() if value is not None}
        answer = self._session.ask("post", "/jobs", expected={200, 201, 202}, json=body)
        place = answer.headers.get("OpenEO-Identifier") or answer.headers.get("Location", "").rpartition("/")[2]
        if not JOB_ID.fullmatch(place.strip()):
            # The title tells which it is, among the platform's jobs.
            raise PlatformError(
                f"{self._url} created a job and did not say which",
                error_class=ErrorClass.TRANSIENT,
                outcome_unknown=True,
            )
        return place.strip()

    def _graph(self, definition: Mapping[str, Any], job: TileJob) -> dict[str, Any]:
        from upscaling.algorithms.udp import exported, inline_graph, namespace_graph

        parameters = revealed(job.parameters)
        if self._config.process == "namespace":
            graph = namespace_graph(definition, job.algorithm.source, parameters, output_format=self._format)
        else:
            graph = inline_graph(definition, parameters, output_format=self._format)
        if self._config.filename_prefix:
            for node in graph.values():
                if node["process_id"] == "save_result":
                    options = node["arguments"].get("options") or {}
                    node["arguments"] = {**node["arguments"], "options": {**options, "filename_prefix": job.id}}
        export = self._config.export_workspace
        return graph if export is None else exported(graph, export.workspace, export.place(job.run, job.id))

    @property
    def creates_idle(self) -> bool:
        """A job costs nothing before it is started."""
        return True

    def twin(self, job: TileJob, job_id: str, without: frozenset[str]) -> str | None:
        """Look whether somebody else made a job of the same work at the same time; both then use the same one.

        As far as the platform shows: nothing can be said where its list does not show the job that was just created.
        """
        try:
            known = self._account.newest(time.monotonic()).get(job.key[:16], [])
        except PlatformError as error:
            log.info("%s; whether another run made the same job is not known", error)
            return None
        others = [found for found in known if found not in without]
        if job_id not in others or others[0] == job_id:
            return None
        log.info("job %s of the same work was there before %s, which is removed", others[0], job_id)
        try:
            self.remove(job_id)
        except PlatformError as error:
            log.warning("job %s, which is not needed, could not be deleted from the platform: %s", job_id, error)
        return others[0]

    def least_results(self, job: TileJob) -> tuple[int, bool]:
        """Return how often the process saves a result: each is a file at the least."""
        graph = read_json(job.algorithm.path).get("process_graph") or {}
        saves = sum(node.get("process_id") == "save_result" for node in graph.values() if isinstance(node, dict))
        return max(1, saves), self._config.export_workspace is None

    def looks_cheaply(self) -> bool:
        """Files that are here are not fetched again."""
        return True

    def start(self, job_id: str, before: Callable[[], None]) -> None:
        """Ask the platform to start a created job, if it has a place for it."""

        def send() -> None:
            before()
            self._session.ask("post", f"/jobs/{job_id}/results", expected={200, 202, 204})

        wait = self._account.gate.start(job_id, send)
        if wait is not None:
            self._free_abandoned()
            raise PlatformError(
                f"{self._url} has no place for another job", error_class=ErrorClass.TRANSIENT, retry_after=wait
            )

    def _free_abandoned(self) -> None:
        """Give back the slots of jobs that have ended and whose runs were killed: only the platform knows."""
        for job_id in self._account.shared.abandoned():
            try:
                status = self._session.get(f"/jobs/{job_id}").get("status")
            except PlatformError as error:
                status = "canceled" if error.code == "JobNotFound" else None
            if status in ENDED:
                self._account.gate.left(job_id)

    def state(self, job_id: str) -> JobState | None:
        """Ask for a job's status, costs and usage."""
        try:
            answer = self._session.get(f"/jobs/{job_id}")
        except PlatformError as error:
            if error.code == "JobNotFound":
                return None
            raise
        status = answer.get("status")
        if status not in USABLE.keys() | ENDED:
            words = f"{self._url} answered with status {plain_text(status)}"
            raise PlatformError(words, error_class=ErrorClass.TRANSIENT)
        if status in ENDED:
            self._account.gate.left(job_id)
        elif status != "created":
            self._account.gate.taken(job_id)
        kinds: dict[str, Any] = {"costs": int | float, "usage": dict, "created": str, "updated": str}
        facts = {name: answer[name] for name, kind in kinds.items() if isinstance(answer.get(name), kind)}
        if status == "finished" and "costs" in facts:
            self._costed[job_id] = facts
        return JobState(status, facts)

    def await_news(self, job_id: str, status: str, seconds: float) -> JobState | None:
        """Wait for a place if the job needs one, else for the job list to show it further on: under way, or ended."""
        if status == "created" and not self._account.gate.has(job_id):
            self._account.gate.await_place(seconds)
            return None
        shown = self._account.watch.wait(job_id, status, seconds)
        if shown in ENDED:
            time.sleep(_HEAD_START)
        return _UNDER_WAY.get(shown or "")

    def reasons(self, job_id: str, log: Path) -> str:
        """Keep the whole log; the last error lines say why."""
        return keep_log(self._session, job_id, log)

    def fetch(self, job: TileJob, job_id: str, folder: Path) -> Outcome:
        """Download every result file, with fresh links, as the STAC result document lists them."""
        from upscaling.backends.openeo.results import fetch_results

        del job
        most = round(self._config.tile_gb * 1e9)
        export = self._config.export_workspace
        outcome = fetch_results(
            self._session,
            job_id,
            folder,
            most_bytes=most,
            workspace=None if export is None else export.workspace,
        )
        known = self._costed.pop(job_id, None)
        if known is None:  # costs may come later than the results
            state = self.state(job_id)
            known = state.facts if state else {}
        facts = {"id": job_id, "backend": self._url, **known}
        return replace(outcome, job=facts, software=self._software())

    def _software(self) -> dict[str, str]:
        version = str(self._session.capabilities().get("backend_version") or "")
        return {self._url: version} if version else {}

    # --- what people ask for by hand ---

    def cancel(self, job_id: str) -> None:
        """Stop a job on the platform; what it has cost by then is paid."""
        self._session.ask("delete", f"/jobs/{job_id}/results", expected={200, 202, 204})
        self._account.gate.left(job_id)

    def remove(self, job_id: str) -> None:
        """Delete a job and its results from the platform."""
        self._session.ask("delete", f"/jobs/{job_id}", expected={200, 204})
        self._account.gate.left(job_id)

    def jobs_of_run(self, run: str) -> list[dict[str, Any]]:
        """Return the platform's entries of all jobs that carry a run's name and a key in their title or description."""
        return [job for job in self._account.all_jobs() if is_of_run(title_of(job), run)]
