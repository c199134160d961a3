"""Views that openeo_driver leaves out, or answers otherwise than this back-end."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask
from openeo_driver import views
from openeo_driver.errors import (
    JobNotFinishedException,
    ProcessGraphMissingException,
    ProcessGraphNotFoundException,
)

from upscaling.errors import UpscalingError
from upscaling.local_backend.front import BatchJobs, Processes, api_error
from upscaling.util.extras import OPENEO_DRIVER

__all__ = ["add_views", "add_workspaces"]

# Of stored processes. The API asks users for letters, digits and _ alone; published algorithms have ids with hyphens.
_ID = re.compile(r"[\w.~-]{1,255}")


def add_views(app: Any, jobs: BatchJobs, processes: Processes) -> None:
    """Put this back-end's own views in the place of openeo_driver's."""
    auth = app.extensions["auth_handler"]
    own = _of_jobs(auth, jobs) | _of_processes(auth, processes)
    wrapped: dict[str, Callable[[Any], Any]] = {
        "list_job_results": functools.partial(_results, jobs),
        "list_job_results_signed": functools.partial(_results, jobs),
        "validation": _validation,
    }
    places = {endpoint.rpartition(".")[2]: endpoint for endpoint in app.view_functions}
    if absent := {*own, *wrapped} - set(places):
        raise UpscalingError(f"openeo_driver has no view {min(absent)} any more; pip install '{OPENEO_DRIVER}'")
    for name, wrap in wrapped.items():
        app.view_functions[places[name]] = wrap(app.view_functions[places[name]])
    for name, view in own.items():
        app.view_functions[places[name]] = view


def add_workspaces(app: Any, folder: Path) -> None:
    """Serve workspaces as a bucket that everybody on this machine may read: files in ranges, no lists of them."""

    @app.get(f"/{folder.name}/<path:path>")  # type: ignore[untyped-decorator]
    def workspace(path: str) -> Any:
        return flask.send_from_directory(folder, path, conditional=True)


def _of_jobs(auth: Any, jobs: BatchJobs) -> dict[str, Any]:
    @auth.requires_bearer_auth  # type: ignore[untyped-decorator]
    def modify_job(job_id: str, user: Any) -> Any:
        changes = flask.request.get_json()
        if not isinstance(changes, dict):
            raise api_error(400, "ContentTypeInvalid", "the body must be a JSON object")
        jobs.update(job_id, user.user_id, changes)
        return flask.make_response("", 204)

    @auth.requires_bearer_auth  # type: ignore[untyped-decorator]
    def job_estimate(job_id: str, user: Any) -> Any:
        return flask.jsonify(jobs.estimate(job_id, user.user_id))

    return {"modify_job": modify_job, "job_estimate": job_estimate}


def _of_processes(auth: Any, processes: Processes) -> dict[str, Any]:
    def checked(process_id: str) -> str:
        if not _ID.fullmatch(process_id):
            raise api_error(400, "InvalidId", f"{process_id[:100]!r} is no id: letters, digits, _, -, . and ~")
        return process_id

    @auth.requires_bearer_auth  # type: ignore[untyped-decorator]
    def udp_store(process_graph_id: str, user: Any) -> Any:
        definition = {**flask.request.get_json(), "id": checked(process_graph_id)}
        processes.save(user.user_id, process_graph_id, definition)
        return flask.make_response("", 200)

    @auth.requires_bearer_auth  # type: ignore[untyped-decorator]
    def udp_get(process_graph_id: str, user: Any) -> Any:
        found = processes.get(user.user_id, checked(process_graph_id))
        if found is None:
            raise ProcessGraphNotFoundException(process_graph_id)
        if found.public:
            found = views._add_udp_canonical_link(udp=found, user_id=user.user_id)
        return flask.jsonify(found.to_api_dict(full=True))

    @auth.requires_bearer_auth  # type: ignore[untyped-decorator]
    def udp_delete(process_graph_id: str, user: Any) -> Any:
        processes.delete(user.user_id, checked(process_graph_id))
        return flask.make_response("", 204)

    return {"udp_store": udp_store, "udp_get": udp_get, "udp_delete": udp_delete}


def _results(jobs: BatchJobs, view: Any) -> Any:
    """Give a failed job's reason in place of results, and say that downloads are free."""

    @functools.wraps(view)
    def results(job_id: str, **arguments: Any) -> Any:
        try:
            answer = flask.make_response(view(job_id=job_id, **arguments))
        except JobNotFinishedException:
            job = jobs.any_job(job_id)  # the view has checked who asks before it raised
            if job is not None and job.error:
                raise api_error(424, *job.error) from None
            raise
        answer.headers["OpenEO-Costs"] = "0"
        return answer

    return results


def _validation(view: Any) -> Any:
    @functools.wraps(view)
    def validation() -> Any:
        try:
            return view()
        except ProcessGraphMissingException as error:  # what is wrong with a process is no error of the request
            return flask.jsonify({"errors": [{"code": error.code, "message": str(error)}]})

    return validation
