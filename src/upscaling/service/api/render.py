"""Answers of the Dispatch API about tasks and jobs, made from their run folders."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import re
import threading
from collections.abc import Callable
from typing import Any

import orjson
from fastapi import Request, Response

from upscaling.errors import UpscalingError
from upscaling.service.access.auth import User
from upscaling.service.api.results import item_of
from upscaling.service.phase import Phase
from upscaling.service.states import FINAL, RunStates, nothing_known
from upscaling.service.store import Task
from upscaling.service.tasks import RefusedError, Tasks

__all__ = [
    "collection_of",
    "in_list",
    "job_body",
    "job_summary",
    "run_body",
    "run_facts",
    "status_json",
    "task_body",
    "task_facts",
    "task_json",
    "task_summary",
]

log = logging.getLogger(__name__)

_FILE_NAME = re.compile(r"[^/\\]+\.[A-Za-z0-9]{2,8}")


class _Answers:
    """The newest answer about each of the last ``most`` tasks, and its tag; kept until what it says changes."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._kept: dict[tuple[str, int], tuple[tuple[Any, ...], bytes, str]] = {}

    def of(self, tasks: Tasks, task: Task, mark: tuple[Any, ...], make: Callable[[], Any]) -> tuple[bytes, str]:
        """Return the answer as JSON; what ``mark`` holds is the same as long as the answer is."""
        key = (str(tasks.settings.folder), task.id)
        kept = self._kept.get(key)
        if kept is None or kept[0] != mark:
            content = orjson.dumps(make())
            kept = (mark, content, f'"{hashlib.sha256(content).hexdigest()[:20]}"')
            with self._lock:
                self._kept[key] = kept
                while len(self._kept) > self._most:
                    self._kept.pop(next(iter(self._kept)))
        return kept[1:]


_tasks, _runs = _Answers(64), _Answers(1000)  # a task with all its jobs has megabytes


def task_summary(tasks: Tasks, task: Task, states: RunStates | None = None) -> dict[str, Any]:
    """Return a task as a list shows it, with counts, costs and reasons besides what the contract asks."""
    states, phase = states or tasks.states(task), tasks.phase(task)
    counts = states.sums.counts
    ended = sum(counts[name] for name in FINAL)
    return {
        "id": task.id,
        "title": task.title,
        "label": task.label,
        "status": tasks.status(task, states, phase),
        "counts": counts,
        "progress": round(ended / max(task.jobs, 1), 4),
        "costs": states.sums.costs,
        "rate": states.sums.rate if phase.name == "running" else None,
        "phase": phase.name,
        "reason": phase.reason or None,
    }


def task_facts(tasks: Tasks, task: Task, states: RunStates | None = None) -> dict[str, Any]:
    """Return a task without its jobs."""
    states = states or tasks.states(task)
    return {
        **task_summary(tasks, task, states),
        "kind": task.kind,
        "service": task.service,
        "created": _time(task.created),
        "updated": _time(_updated(task, states)),
        "tiles": task.jobs,
        "reasons": states.sums.reasons,
        "version": states.version,
    }


def run_facts(tasks: Tasks, task: Task, states: RunStates | None = None) -> dict[str, Any]:
    """Return a run as our own API shows it."""
    return {**task_facts(tasks, task, states), "user": task.user, "archived": task.archived}


def in_list(facts: Callable[..., dict[str, Any]], tasks: Tasks, task: Task) -> dict[str, Any]:
    """Return facts of a task for a list, also where its folder cannot be read: the others must be seen all the same."""
    try:
        return facts(tasks, task)
    except (UpscalingError, OSError) as error:
        log.warning("run %s cannot be shown: %s", task.id, error)
        reason = "its folder cannot be read, the log of this service says why"
        return {**facts(tasks, task, nothing_known()), "status": "failed", "reason": reason}


def run_body(tasks: Tasks, task: Task, states: RunStates, *, if_none_match: str | None = None) -> Response:
    """Return a run as our own API shows it; made once for each of its states."""
    mark = (states, states.version, tasks.phase(task), task)
    content, tag = _runs.of(tasks, task, mark, lambda: run_facts(tasks, task, states))
    return _tagged(content, tag, if_none_match)


def _tagged(content: bytes, tag: str, if_none_match: str | None) -> Response:
    """Return an answer; 304 where the caller has this very one."""
    if if_none_match == tag:
        return Response(status_code=304, headers={"ETag": tag})
    return Response(content, media_type="application/json", headers={"ETag": tag})


def _time(moment: dt.datetime) -> str:
    return moment.isoformat(timespec="microseconds")


def _updated(task: Task, states: RunStates) -> dt.datetime:
    try:
        changed = dt.datetime.fromisoformat(states.sums.latest).astimezone(dt.UTC).replace(tzinfo=None)
    except ValueError:
        return task.updated
    return max(task.updated, changed)


def job_summary(tasks: Tasks, task: Task, index: int) -> dict[str, Any]:
    """Return one job as a list shows it."""
    states, phase = tasks.states(task), tasks.phase(task)
    return _job(tasks, task, index, states=states, phase=phase, body=tasks.body(task))


def _job(
    tasks: Tasks, task: Task, index: int, *, states: RunStates, phase: Phase, body: dict[str, Any]
) -> dict[str, Any]:
    status, reason = tasks.job_status(states, phase, index)
    dimension = body.get("dimension")
    parameters, title = body["parameters"], task.title
    if dimension:
        parameters = {**parameters, dimension["name"]: dimension["values"][index]}
        title = f"{task.title} - Processing Job {index + 1}"
    state = states.states[index]
    return {
        "id": task.first_job + index,
        "title": title,
        "label": task.label,
        "status": status,
        "service": task.service,
        "parameters": parameters,
        "reason": reason,
        "costs": state.costs,
        "tile": state.tile,
    }


def _only_job(tasks: Tasks, task: Task, states: RunStates | None = None) -> dict[str, Any]:
    """Return the job of a task that has one; its parameters are not known where its states are not."""
    if states is None:
        return job_summary(tasks, task, 0)
    return _job(tasks, task, 0, states=states, phase=tasks.phase(task), body={"parameters": {}})


def job_body(tasks: Tasks, task: Task, index: int) -> dict[str, Any]:
    """Return one job with its times."""
    states = tasks.states(task)
    updated = states.states[index].updated.removesuffix("Z") or _time(task.updated)
    return {**job_summary(tasks, task, index), "created": _time(task.created), "updated": updated}


def task_json(tasks: Tasks, task: Task) -> tuple[bytes, str]:
    """Return a task with all its jobs as JSON, and a tag that changes with it; kept until something changes."""
    states, phase = tasks.states(task), tasks.phase(task)
    gone = tasks.store.deleted_jobs(task.id)

    def whole() -> dict[str, Any]:
        request = tasks.body(task)
        jobs = [
            _job(tasks, task, index, states=states, phase=phase, body=request)
            for index in range(task.jobs)
            if task.first_job + index not in gone
        ]
        return {**task_facts(tasks, task), "jobs": jobs}

    return _tasks.of(tasks, task, (states, states.version, phase, len(gone)), whole)


def task_body(tasks: Tasks, task: Task, *, if_none_match: str | None = None) -> Response:
    """Return a task with all its jobs; 304 where the caller has this very state."""
    content, tag = task_json(tasks, task)
    return _tagged(content, tag, if_none_match)


def status_json(tasks: Tasks, user: User, wanted: list[str]) -> bytes:
    """Return all tasks and single jobs of a user as JSON."""
    name = None if user.admin else user.name
    mine = [task for task in tasks.store.tasks(name) if not task.archived]
    upscaling = [in_list(task_summary, tasks, task) for task in mine if task.kind == "upscaling"]
    gone = {task.id for task in mine if task.kind == "unit" and tasks.store.deleted_jobs(task.id)}
    jobs = [in_list(_only_job, tasks, task) for task in mine if task.kind == "unit" and task.id not in gone]
    content = {
        "upscaling_tasks": upscaling if "upscaling" in wanted else [],
        "processing_jobs": jobs if "processing" in wanted else [],
    }
    return orjson.dumps(content)


def collection_of(tasks: Tasks, task: Task, index: int, request: Request) -> dict[str, Any]:
    """Return a finished tile's results as a STAC collection; its files are assets with addresses of this service.

    Raises
    ------
    RefusedError
        If the tile is not finished; with the reason if it failed.
    """
    states, phase = tasks.states(task), tasks.phase(task)
    status, reason = tasks.job_status(states, phase, index)
    job_id = task.first_job + index
    if status != "finished":
        words = f": {reason}" if reason else ""
        raise RefusedError(f"Job {job_id} is {status}{words}", code="JOB_NOT_FINISHED", status=409)
    tile = states.states[index].tile
    item = item_of(states.run_folder, tile)
    properties = item["properties"]
    start = properties.get("start_datetime") or properties.get("datetime")
    end = properties.get("end_datetime") or properties.get("datetime")
    base = (tasks.settings.public_url or str(request.base_url)).rstrip("/")
    files = f"{base}/v1/runs/{task.id}/files/tiles/{tile}"
    assets = {
        _platform_name(name, asset, taken): {**asset, "href": f"{files}/{asset['href'].removeprefix('./')}"}
        for taken in [set[str]()]
        for name, asset in item["assets"].items()
    }
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": tile,
        "title": task.title,
        "description": f"Results of job {job_id} ({tile})",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [item.get("bbox") or [-180, -90, 180, 90]]},
            "temporal": {"interval": [[start, end]]},
        },
        "links": [{"rel": "item", "href": f"{base}/v1/runs/{task.id}/items/{tile}", "type": "application/geo+json"}],
        "assets": assets,
    }


def _platform_name(name: str, asset: dict[str, Any], taken: set[str]) -> str:
    """Return the name that the platform gave a file: callers of the contract look for ``openEO.tif``."""
    original = str(asset.get("title") or "")  # a file's title is the platform's name of it, unless it gave a better one
    chosen = original if _FILE_NAME.fullmatch(original) and original not in taken else name
    taken.add(chosen)
    return chosen
