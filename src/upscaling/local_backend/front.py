"""The services that openeo_driver's REST front calls: batch jobs, collections, processes, user-defined processes."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import flask
from openeo_driver import backend
from openeo_driver.errors import (
    JobLockedException,
    JobNotFoundException,
    OpenEOApiException,
    ProcessGraphNotFoundException,
)
from openeo_driver.processes import ProcessRegistry
from openeo_driver.users import User

from upscaling.local_backend.errors import ProcessError
from upscaling.local_backend.jobs import Job, JobStore, now
from upscaling.local_backend.save import FORMATS
from upscaling.local_backend.supervisor import SYNCHRONOUS, Supervisor
from upscaling.local_backend.validation import validate_graph
from upscaling.local_backend.worker import OUTPUT, RESULT_FILE, log_entries
from upscaling.util.files import read_json

__all__ = ["JOB_PARAMETERS", "BatchJobs", "Implementation", "Processes", "Processing", "api_error"]

ACTIVE = ("queued", "running")
LEVELS = ("error", "warning", "info", "debug")
JOB_PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "allow_empty_cubes",
        "description": "Go on with a cube of no-data where a collection has nothing in the extent.",
        "optional": True,
        "default": False,
        "schema": {"type": "boolean"},
    },
    {
        "name": "stac-version",
        "description": "Form of the items of the results.",
        "optional": True,
        "default": "1.1",
        "schema": {"type": "string", "enum": ["1.0", "1.1"]},
    },
    {
        "name": "remove-exported-assets",
        "description": "Keep what export_workspace exported in the workspace alone.",
        "optional": True,
        "default": False,
        "schema": {"type": "boolean"},
    },
    {
        "name": "executor-memory",
        "description": "What the job may allocate, like 512m or 2g, plus executor-memoryOverhead; default: no limit.",
        "optional": True,
        "default": None,
        "schema": {"type": ["string", "null"]},
    },
]


def api_error(status: int, code: str, message: str) -> OpenEOApiException:
    """Make an openEO error response."""
    return OpenEOApiException(status_code=status, code=code, message=message)


class BatchJobs(backend.BatchJobs):  # type: ignore[misc]
    """Batch jobs of many users over one store and one supervisor."""

    def __init__(self, store: JobStore, supervisor: Supervisor, limit: int) -> None:
        super().__init__()
        self._store, self._supervisor, self._limit = store, supervisor, limit

    def create_job(
        self, *, user: User, process: Any, api_version: str, metadata: Any, job_options: Any = None
    ) -> backend.BatchJobMetadata:
        """Store a new job."""
        del api_version
        return self._metadata(self.add(user.user_id, dict(process["process_graph"]), metadata, job_options))

    def add(self, user: str, graph: Mapping[str, Any], metadata: Mapping[str, Any], options: Any) -> Job:
        """Store a new job of a user."""
        time = now()
        fields = {k: metadata[k] for k in ("title", "description", "plan", "budget", "log_level") if k in metadata}
        job = Job(f"j-{uuid.uuid4().hex}", user, {"process_graph": graph}, time, time, options=options, **fields)
        self._store.add(job)
        return job

    def job(self, job_id: str, user_id: str) -> Job:
        """Return a job of the user; another user's job does not exist for them."""
        job = self._store.get(job_id, user_id)
        if job is None:
            raise JobNotFoundException(job_id=job_id)
        return job

    def any_job(self, job_id: str) -> Job | None:
        """Return a job whoever owns it: for callers that have checked who asks."""
        return self._store.get(job_id)

    def get_job_info(self, job_id: str, user_id: str) -> backend.BatchJobMetadata:
        """Describe a job."""
        return self._metadata(self.job(job_id, user_id))

    def get_user_jobs(self, user_id: str, limit: int | None = None, request_parameters: Any = None) -> Any:
        """List a user's jobs, newest first, by pages."""
        if limit is not None and limit < 1:
            raise api_error(400, "ParameterInvalid", "limit must be a positive number")
        before = (request_parameters or {}).get("before", "")
        jobs, following = self._store.page(user_id, limit, int(before) if before else None)
        more = {"limit": limit, "before": following} if following else None
        return backend.JobListing([_brief(job) for job in jobs], next_parameters=more)

    def start_job(self, job_id: str, user: User) -> None:
        """Queue a job, unless the user has as many active ones as the back-end allows."""
        self.queue(job_id, user.user_id)

    def queue(self, job_id: str, user: str) -> None:
        """Queue a job of a user; refuse in the words of the large platforms, so that clients learn from them here."""
        job, active = self._store.start(job_id, user, self._limit)
        if job is None and active >= self._limit:
            message = f"Job was not started because concurrent job limit ({self._limit}) is reached."
            raise api_error(400, "ConcurrentJobLimit", message)
        self._supervisor.dispatch()

    def estimate(self, job_id: str, user: str) -> dict[str, Any]:
        """Return what a job will cost at most; downloads are free."""
        try:
            return {"costs": self._supervisor.estimate(self.job(job_id, user).process["process_graph"])}
        except ProcessError as error:
            raise api_error(500, error.code, str(error)) from error  # 500 is the API's word for it

    def update(self, job_id: str, user: str, changes: Mapping[str, Any]) -> None:
        """Change a job that is not active (``PATCH /jobs/{id}``)."""
        job = self.job(job_id, user)
        known = {"title", "description", "process", "plan", "budget", "log_level", "job_options"}
        if unknown := set(changes) - known:
            raise api_error(400, "PropertyNotEditable", f"property {sorted(unknown)[0]!r} cannot be changed")
        if job.status in ACTIVE:
            raise JobLockedException(message=f"job {job_id} is {job.status} and cannot be changed")
        fields = {("options" if key == "job_options" else key): value for key, value in changes.items()}
        if "process" in fields and not isinstance((fields["process"] or {}).get("process_graph"), dict):
            raise api_error(400, "ProcessGraphMissing", "process must hold a process_graph")
        if fields.get("log_level", "info") not in LEVELS:
            raise api_error(400, "InvalidLogLevel", f"log_level must be one of {', '.join(LEVELS)}")
        self._store.change(job_id, **fields)

    def cancel_job(self, job_id: str, user_id: str) -> None:
        """Stop a job and kill its process; nothing happens to a job that is not active."""
        self.job(job_id, user_id)
        if self._store.change(job_id, ACTIVE, status="canceled", finished=now()):
            self._supervisor.kill(job_id)
            self._supervisor.dispatch()

    def delete_job(self, job_id: str, user_id: str) -> None:
        """Stop a job and remove all traces of it."""
        self.job(job_id, user_id)
        self._store.delete(job_id)
        self._supervisor.kill(job_id)
        shutil.rmtree(self._supervisor.folder(job_id), ignore_errors=True)

    def result(self, job: Job) -> dict[str, Any]:
        """Return what the worker wrote of a finished job's results."""
        try:
            content: dict[str, Any] = read_json(self._supervisor.folder(job.id) / RESULT_FILE)
        except FileNotFoundError as error:
            raise api_error(410, "ResultsGone", f"the results of job {job.id} are not there any more") from error
        return content

    def get_result_assets(self, job_id: str, user_id: str) -> dict[str, Any]:
        """Return the files of a finished job with their metadata."""
        job = self.job(job_id, user_id)
        if job.status != "finished":
            return {}
        folder = self._supervisor.folder(job_id) / OUTPUT
        return {
            name: asset | {"output_dir": str(folder)} | _places(asset, name, self._supervisor.exports(job.user))
            for name, asset in self.result(job)["assets"].items()
        }

    def get_result_metadata(self, job_id: str, user_id: str) -> backend.BatchJobResultMetadata:
        """Return assets, one item per file, and links to what the job read."""
        job = self.job(job_id, user_id)
        result, assets = self.result(job), self.get_result_assets(job_id, user_id)
        items = {}
        for name, asset in assets.items():
            properties: dict[str, Any] = {"datetime": asset.get("datetime")}
            item = {"assets": {name: asset}, "properties": properties}
            items[name if Path(name).stem in items else Path(name).stem] = item | (
                {"bbox": asset["bbox"], "geometry": _box(asset["bbox"])} if "bbox" in asset else {}
            )
        if (job.options or {}).get("stac-version") == "1.0":
            items = {}
        links = [{"rel": "derived_from", "href": href} for href in result.get("derived_from", [])]
        providers = self._get_providers(job_id=job_id, user_id=user_id)
        return backend.BatchJobResultMetadata(assets=assets, items=items, links=links, providers=providers)

    def get_log_entries(
        self, job_id: str, *, user_id: str, offset: str | None = None, limit: int | None = None, level: str = "debug"
    ) -> Iterator[dict[str, Any]]:
        """Return log entries of at least the given level, after the entry whose id is ``offset``."""
        self.job(job_id, user_id)
        entries = log_entries(self._supervisor.folder(job_id))
        if offset:
            places = [n for n, entry in enumerate(entries) if entry["id"] == offset]
            entries = entries[places[0] + 1 :] if places else entries
        wanted = LEVELS[: LEVELS.index(level) + 1] if level in LEVELS else LEVELS
        return iter([entry for entry in entries if entry["level"] in wanted][:limit])

    def _metadata(self, job: Job) -> backend.BatchJobMetadata:
        extent: dict[str, Any] = {}
        if job.status == "finished" and (self._supervisor.folder(job.id) / RESULT_FILE).is_file():
            result = self.result(job)
            extent = {k: result[k] for k in ("bbox",) if k in result}
            extent |= {k: _time(result[k]) for k in ("start_datetime", "end_datetime") if k in result}
            if "bbox" in extent:
                extent["geometry"] = _box(extent["bbox"])
        return backend.BatchJobMetadata(
            **_shared(job),
            process=job.process,
            usage=job.usage,
            job_options=job.options,
            # no "started": openeo_driver would make of it a duration in whole seconds
            finished=_time(job.finished),
            **extent,
        )


def _places(asset: Mapping[str, Any], name: str, root: str) -> dict[str, Any]:
    """Say where a file was exported to, as openeo_driver's platforms do; where it was moved, that is its place."""
    links = {place: f"{flask.request.host_url}{root}/{quote(f'{place}/{name}')}" for place in asset.get("exported", ())}
    if not links:
        return {}
    found: dict[str, Any] = {"alternate": {place: {"href": href} for place, href in links.items()}}
    if asset.get("moved"):
        found[backend.BatchJobs.ASSET_PUBLIC_HREF] = next(iter(links.values()))
    return found


def _shared(job: Job) -> dict[str, Any]:
    plain = {name: getattr(job, name) for name in ("id", "status", "title", "description", "plan", "costs", "budget")}
    return {**plain, "created": _time(job.created), "updated": _time(job.updated)}


def _brief(job: Job) -> backend.BatchJobMetadata:
    """Describe a job as the list shows it: no file is read for it, as clients ask for hundreds every second."""
    return backend.BatchJobMetadata(**_shared(job))


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _box(bbox: Sequence[float]) -> dict[str, Any]:
    west, south, east, north = bbox
    return {
        "type": "Polygon",
        "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]],
    }


class Processes(backend.UserDefinedProcesses):  # type: ignore[misc]
    """User-defined processes in the store."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def get(self, user_id: str, process_id: str) -> backend.UserDefinedProcessMetadata | None:
        """Return one, or None."""
        spec = self._store.processes(user_id).get(process_id)
        return backend.UserDefinedProcessMetadata.from_dict(spec) if spec else None

    def list_for_user(self, user_id: str) -> backend.UserDefinedProcessesListing:
        """Return all of a user."""
        specs = self._store.processes(user_id).values()
        return backend.UserDefinedProcessesListing([backend.UserDefinedProcessMetadata.from_dict(s) for s in specs])

    def save(self, user_id: str, process_id: str, spec: dict[str, Any]) -> None:
        """Store or replace one."""
        self._store.save_process(user_id, process_id, spec)

    def delete(self, user_id: str, process_id: str) -> None:
        """Remove one."""
        if not self._store.delete_process(user_id, process_id):
            raise ProcessGraphNotFoundException(process_graph_id=process_id)


class Processing(backend.Processing):  # type: ignore[misc]
    """The list of processes, validation, and synchronous processing as a short-lived job."""

    def __init__(self, supervisor: Supervisor, jobs: BatchJobs, store: JobStore) -> None:
        self._supervisor, self._jobs, self._store = supervisor, jobs, store
        self._registry = ProcessRegistry()
        for spec in supervisor.processes:
            self._registry.add_spec(spec)

    def get_process_registry(self, api_version: Any) -> ProcessRegistry:
        """Return the processes; they are the same for all versions of the API."""
        del api_version
        return self._registry

    def validate(self, process_graph: Mapping[str, Any], env: Any = None) -> list[dict[str, str]]:
        """Return what is wrong with a graph; the processes of the user count if the request says who asks."""
        del env
        known = {spec["id"] for spec in self._supervisor.processes}
        if "Authorization" in flask.request.headers:
            user = flask.current_app.extensions["auth_handler"].get_user_from_bearer_token(flask.request)
            known |= set(self._store.processes(user.user_id))
        required = {
            spec["id"]: [p["name"] for p in spec.get("parameters") or [] if not p.get("optional", "default" in p)]
            for spec in self._supervisor.processes
        }
        collections = {c["id"] for c in self._supervisor.collections}
        return validate_graph(process_graph, known, collections, required)

    def evaluate(self, process_graph: Mapping[str, Any], env: Any = None) -> flask.Response:
        """Run a graph at once and return its one file."""
        user = SYNCHRONOUS + env["user"].user_id
        job = self._jobs.add(user, dict(process_graph), {}, env["job_options"])
        try:
            self._supervisor.expect(job.id)
            self._jobs.queue(job.id, user)
            self._supervisor.wait(job.id)
            done = self._store.get(job.id, user)
            if done is None:
                raise api_error(500, "Internal", "the back-end's worker process died; send the request again")
            if done.error:
                raise api_error(400, *done.error)
            assets = self._jobs.get_result_assets(job.id, user)
            if len(assets) != 1:
                raise api_error(400, "ResultNotSingle", f"the result is {len(assets)} files: run it as a batch job")
            name, asset = next(iter(assets.items()))
            content = (Path(asset["output_dir"]) / name).read_bytes()
            return flask.Response(content, mimetype=asset["type"], headers={"OpenEO-Costs": str(done.costs)})
        finally:
            self._supervisor.forget(job.id)
            if self._store.get(job.id) is not None:
                self._jobs.delete_job(job.id, user)


class Implementation(backend.OpenEoBackendImplementation):  # type: ignore[misc]
    """All services together."""

    def file_formats(self) -> dict[str, Any]:
        """List formats of ``save_result``."""
        prefix = {
            "filename_prefix": {
                "type": "string",
                # By the API's schema of parameters, a type without a subtype is three kinds of it at once.
                "subtype": "file-name",
                "description": "Instead of 'openEO' in file names.",
                "default": "openEO",
            }
        }
        return {"input": {}, "output": {name: about | {"parameters": prefix} for name, about in FORMATS.items()}}

    def processing_parameters(self) -> dict[str, Any]:
        """List the job options that mean something here."""
        return {"create_job_parameters": JOB_PARAMETERS, "create_synchronous_parameters": JOB_PARAMETERS[:1]}

    def capabilities_billing(self) -> dict[str, Any]:
        """State that costs are play money, to try budgets with: a credit per job and one per 1,000 km² of result."""
        return {
            "currency": "play credits",
            "default_plan": "free",
            "plans": [
                {
                    "name": "free",
                    "description": "1 credit a job and 1 per 1,000 km² of result, never paid.",
                    "paid": False,
                }
            ],
        }

    def postprocess_capabilities(self, capabilities: dict[str, Any]) -> dict[str, Any]:
        """Add what openeo_driver hides because it has no implementation of its own."""
        for endpoint in capabilities["endpoints"]:
            if endpoint["path"] == "/jobs/{job_id}":
                endpoint["methods"] = sorted({*endpoint["methods"], "PATCH"})
        capabilities["endpoints"].append({"path": "/jobs/{job_id}/estimate", "methods": ["GET"]})
        drop = {"terms-of-service", "privacy-policy"}  # those of another organisation
        capabilities["links"] = [link for link in capabilities["links"] if link["rel"] not in drop]
        return capabilities
