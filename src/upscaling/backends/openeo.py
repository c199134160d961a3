"""openEO platforms: one batch job per tile, through the openeo client."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from upscaling.backends.remote import JobState, Patience, PlatformError, run_remote
from upscaling.errors import ConfigError, ErrorClass
from upscaling.failures import classify_http
from upscaling.files import read_json, write_json
from upscaling.receipts import Receipt
from upscaling.tiles import Algorithm, Outcome, TileJob
from upscaling.udp import loaded_collections

if TYPE_CHECKING:
    from upscaling.config import OpenEOBackendConfig

__all__ = ["OpenEOBackend"]

_SESSION = "UPSCALING_SESSION"  # set by ``prepare``; tile processes inherit it and find the snapshot of its start
_USABLE = {"created", "queued", "running", "finished"}
_UNKNOWN_OUTCOME = {408, *range(500, 600)}  # the platform, or what stands behind its gateway, may have acted
_RUN_TITLE = re.compile(r"\S+ \S+ [0-9a-f]{16}")  # as TileJob.title
_ERROR_LINES = 5
_REQUEST_SECONDS = 120


class OpenEOBackend:
    """Batch jobs on an openEO platform.

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

    def identity(self) -> str:
        """Return kind and address."""
        return f"openeo {self._url}"

    def run(self, job: TileJob, receipt: Receipt) -> Outcome:
        """Run one tile as a batch job: submit or attach, wait, fetch."""
        shortest, longest = self._config.poll_seconds
        patience = Patience(shortest=shortest, longest=longest, total=self._config.timeout_hours * 3600)
        return run_remote(job, receipt, self, patience)

    def check(self, algorithm: Algorithm) -> None:
        """Log in, see that the platform has batch jobs, and note which jobs of ours it has already."""
        try:
            if self._config.process == "namespace" and not algorithm.source.startswith(("http://", "https://")):
                raise ConfigError(
                    "`namespace` needs an algorithm that comes from a URL; use `inline`", key="backend.process"
                )
            if not self._connection.capabilities().supports_endpoint("/jobs", method="POST"):
                raise ConfigError(f"{self._url} offers no batch jobs", key="backend.url")
            for collection in loaded_collections(read_json(algorithm.path)["process_graph"]):
                self._check_collection(collection)
            jobs = list(self._list_jobs())
        except PlatformError as error:
            key = {ErrorClass.AUTH: "backend.auth"}.get(error.error_class, "backend.url")
            raise ConfigError(str(error), key=key) from None
        session = f"{os.getpid()}-{os.urandom(4).hex()}"
        write_json(self._snapshot(session), _newest_by_key(jobs))
        os.environ[_SESSION] = session

    def _check_collection(self, collection: str) -> None:
        """See that the platform has a collection, and that it reaches into the run's area."""
        try:
            with _translated(self._url):
                found = self._connection.get(f"/collections/{collection}", expected_status=200).json()
        except PlatformError as error:
            if error.code == "CollectionNotFound":
                raise ConfigError(
                    f"loads {collection}, which {self._url} does not have", key="algorithm.source"
                ) from None
            raise
        boxes = found.get("extent", {}).get("spatial", {}).get("bbox") or []
        if boxes and not any(_overlap(self._bbox, box) for box in boxes):
            raise ConfigError(
                f"lies outside {collection}, which covers {boxes[0]} (west, south, east, north)", key="area.aoi"
            )

    def finish(self) -> None:
        """Forget the snapshot that ``check`` made."""
        session = os.environ.pop(_SESSION, None)
        if session:
            self._snapshot(session).unlink(missing_ok=True)

    def _snapshot(self, session: str) -> Path:
        return self._run_folder / "receipts" / f".platform-jobs-{session}.json"

    # --- what the life of a job needs (backends.remote.Platform) ---

    def find(self, job: TileJob, *, fresh: bool) -> str | None:
        """Look for the newest usable job whose title ends in the work's key."""
        session = os.environ.get(_SESSION)
        if session and not fresh:
            with contextlib.suppress(FileNotFoundError):
                return cast("str | None", read_json(self._snapshot(session)).get(job.key[:16]))
        return _newest_by_key(self._list_jobs()).get(job.key[:16])

    def create(self, job: TileJob) -> str:
        """Send the graph of one tile; never repeated here, as the platform may have acted before a line broke."""
        definition = read_json(job.algorithm.path)
        with _translated(self._url):
            created = self._connection.create_job(
                self._graph(definition, job),
                title=job.title,
                description=f"eo-upscaling: tile {job.id} of {job.run}; key {job.key}",
                plan=self._config.plan,
                job_options={**definition.get("default_job_options", {}), **self._config.job_options} or None,
                validate=False,
            )
        return str(created.job_id)

    def _graph(self, definition: Mapping[str, Any], job: TileJob) -> dict[str, Any]:
        from upscaling.udp import inline_graph, namespace_graph

        if self._config.process == "namespace":
            return namespace_graph(definition, job.algorithm.source, job.parameters, output_format=self._format)
        return inline_graph(definition, job.parameters, output_format=self._format)

    def start(self, job_id: str) -> None:
        """Ask the platform to start a created job."""
        with _translated(self._url):
            self._connection.post(f"/jobs/{job_id}/results", expected_status=202)

    def state(self, job_id: str) -> JobState | None:
        """Ask for a job's status, costs and usage."""
        try:
            with _translated(self._url):
                answer = self._connection.get(f"/jobs/{job_id}", expected_status=200).json()
        except PlatformError as error:
            if error.code == "JobNotFound":
                return None
            raise
        status = answer.get("status")
        if status not in _USABLE | {"error", "canceled"}:
            raise PlatformError(f"the platform answered with status {status!r}", error_class=ErrorClass.TRANSIENT)
        facts = {
            name: answer[name] for name in ("costs", "usage", "created", "updated") if answer.get(name) is not None
        }
        return JobState(status, facts)

    def reasons(self, job_id: str, log: Path) -> str:
        """Keep the whole log; the last error lines say why."""
        with _translated(self._url):
            entries = self._connection.get(f"/jobs/{job_id}/logs", expected_status=200).json().get("logs", [])
        lines = [f"{entry.get('time') or ''} {entry.get('level') or '-'}: {entry.get('message')}" for entry in entries]
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("\n".join(lines) + "\n", encoding="utf-8")
        errors = [
            " ".join(filter(None, (str(entry.get("code") or ""), str(entry.get("message") or ""))))
            for entry in entries
            if entry.get("level") == "error"
        ]
        return " | ".join(errors[-_ERROR_LINES:]) or "the platform ended the job in error and gave no reason"

    def fetch(self, job_id: str, folder: Path) -> Outcome:
        """Download every result file, with fresh links, as the STAC result document lists them."""
        from upscaling.backends.openeo_results import fetch_results

        with _translated(self._url):
            assets, derived_from = fetch_results(self._connection, job_id, folder)
        state = self.state(job_id)
        facts = {"id": job_id, "backend": self._url, **(state.facts if state else {})}
        return Outcome(assets, facts, derived_from, software=self._software())

    def _software(self) -> dict[str, str]:
        version = str(self._connection.capabilities().get("backend_version") or "")
        return {self._url: version} if version else {}

    # --- what people ask for by hand ---

    def cancel(self, job_id: str) -> None:
        """Stop a job on the platform; what it has cost by then is paid."""
        with _translated(self._url):
            self._connection.delete(f"/jobs/{job_id}/results", expected_status=(200, 202, 204))

    def remove(self, job_id: str) -> None:
        """Delete a job and its results from the platform."""
        with _translated(self._url):
            self._connection.delete(f"/jobs/{job_id}", expected_status=204)

    def jobs_of_run(self, run: str) -> list[dict[str, Any]]:
        """Return the platform's entries of all jobs that carry a run's name and a key in their title."""
        return [
            job
            for job in self._list_jobs()
            if _RUN_TITLE.fullmatch(str(job.get("title") or "")) and job["title"].startswith(f"{run} ")
        ]

    # --- the connection ---

    @cached_property
    def _connection(self) -> Any:
        from openeo.rest.connection import connect

        with _translated(self._url):
            # Retries are ours: the client's would repeat a POST whose outcome is unknown.
            connection = connect(self._url, auto_validate=False, retry=False, default_timeout=_REQUEST_SECONDS)
        _log_in(connection, self._config.auth, self._url)
        return connection

    def _list_jobs(self) -> Iterator[dict[str, Any]]:
        """Yield all of the user's jobs, page by page.

        Raises PlatformError if a federation says that members are missing from the answer: an absent job then proves
        nothing.
        """
        url, parameters = "/jobs", {"limit": 200}
        for _page in range(10_000):
            with _translated(self._url):
                answer = self._connection.get(url, params=parameters, expected_status=200).json()
            missing = answer.get("federation:missing")
            if missing:
                names = ", ".join(map(str, missing))
                raise PlatformError(f"the job list lacks {names}", error_class=ErrorClass.TRANSIENT)
            yield from answer.get("jobs", [])
            following = next((link.get("href") for link in answer.get("links", []) if link.get("rel") == "next"), None)
            if not following:
                return
            url, parameters = following, {}


def _overlap(area: Sequence[float], box: Sequence[float]) -> bool:
    """Whether two boxes in degrees share more than an edge; a box may cross the antimeridian or have heights."""
    if len(box) == 6:
        box = [*box[:2], *box[3:5]]
    if not (area[1] < box[3] and box[1] < area[3]):
        return False

    def spans(west: float, east: float) -> list[tuple[float, float]]:
        return [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]

    return any(
        first[0] < second[1] and second[0] < first[1]
        for first in spans(area[0], area[2])
        for second in spans(box[0], box[2])
    )


def _newest_by_key(jobs: Any) -> dict[str, str]:
    """Map the key at the end of each title to the newest job that can still be used."""
    found: dict[str, tuple[str, str]] = {}
    for entry in jobs:
        key = str(entry.get("title") or "").rpartition(" ")[2]
        if len(key) == 16 and entry.get("status") in _USABLE:
            found[key] = max(found.get(key, ("", "")), (str(entry.get("created") or ""), str(entry["id"])))
    return {key: job_id for key, (_, job_id) in found.items()}


def _log_in(connection: Any, method: str, url: str) -> None:
    """Log in without ever asking a person: a batch run has nobody to answer.

    Raises
    ------
    ConfigError
        If the secrets are not there or the platform refuses them.
    """
    from openeo.rest import OpenEoApiError, OpenEoClientException

    key = "backend.auth"
    try:
        with _translated(url):
            if method == "basic":
                names = ("OPENEO_AUTH_USERNAME", "OPENEO_AUTH_PASSWORD")
                user, password = (os.environ.get(name) for name in names)
                connection.authenticate_basic(user, password)
            elif method == "bearer":
                token = os.environ.get("OPENEO_AUTH_TOKEN")
                if not token:
                    raise ConfigError("`bearer` needs a token in OPENEO_AUTH_TOKEN", key=key)
                connection.authenticate_bearer_token(token)
            elif method == "oidc" and os.environ.get("OPENEO_AUTH_METHOD") == "client_credentials":
                connection.authenticate_oidc_client_credentials()
            elif method == "oidc":
                connection.authenticate_oidc_refresh_token()
    except OpenEoApiError:
        raise
    except (OpenEoClientException, PlatformError) as error:
        if isinstance(error, PlatformError) and error.error_class is ErrorClass.TRANSIENT:
            raise
        hint = {
            "basic": "set OPENEO_AUTH_USERNAME and OPENEO_AUTH_PASSWORD, or store them with `openeo-auth add-basic`",
            "oidc": "set OPENEO_AUTH_METHOD=client_credentials with OPENEO_AUTH_CLIENT_ID and _CLIENT_SECRET,"
            " or log in once with `openeo-auth oidc-auth`",
        }.get(method, "see config/README.md")
        raise ConfigError(f"{url} does not let us in: {_without_secrets(str(error))}; {hint}", key=key) from None


def _without_secrets(text: str) -> str:
    for name in ("OPENEO_AUTH_PASSWORD", "OPENEO_AUTH_CLIENT_SECRET", "OPENEO_AUTH_TOKEN"):
        secret = os.environ.get(name)
        if secret:
            text = text.replace(secret, "***")
    return text


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """Turn what requests and the openeo client raise into PlatformError with the platform's own words."""
    import requests
    from openeo.rest import OpenEoApiError, OpenEoApiPlainError, OpenEoClientException, OpenEoRestError

    try:
        yield
    except OpenEoApiError as error:
        raise PlatformError(
            f"{url} answered {error.http_status_code} {error.code}: {error.message}",
            error_class=classify_http(error.http_status_code, error.code),
            outcome_unknown=error.http_status_code in _UNKNOWN_OUTCOME,
            code=error.code,
        ) from None
    except OpenEoApiPlainError as error:
        raise PlatformError(
            f"{url} answered {error.http_status_code}: {str(error)[:300]}",
            error_class=classify_http(error.http_status_code, None),
            outcome_unknown=error.http_status_code in _UNKNOWN_OUTCOME,
        ) from None
    except requests.exceptions.JSONDecodeError:
        raise PlatformError(
            f"{url} answered with something that is not JSON", error_class=ErrorClass.TRANSIENT, outcome_unknown=True
        ) from None
    except requests.RequestException as error:
        raise PlatformError(
            f"{url} cannot be reached ({_cause(error)})", error_class=ErrorClass.TRANSIENT, outcome_unknown=True
        ) from None
    except OpenEoRestError as error:
        raise PlatformError(str(error), error_class=ErrorClass.TRANSIENT, outcome_unknown=True) from None
    except OpenEoClientException as error:
        raise PlatformError(str(error), error_class=ErrorClass.PERMANENT) from None


def _cause(error: BaseException) -> str:
    """Return the innermost reason: ``Connection refused``, not four layers of urllib3."""
    while error.__cause__ or error.__context__:
        error = cast("BaseException", error.__cause__ or error.__context__)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
