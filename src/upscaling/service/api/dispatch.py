"""The Dispatch API's requests: its contract, with the faults of the original repaired."""

from __future__ import annotations

import mimetypes
import time
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from upscaling.errors import UpscalingError
from upscaling.service.api.algorithms import describe
from upscaling.service.api.deps import CurrentUser, check_visible, tasks_of, visible_job, visible_task
from upscaling.service.api.forms import (
    BaseJobRequest,
    ErrorResponse,
    GeometryCollection,
    JobsFilter,
    JobsStatusResponse,
    Parameter,
    ParamRequest,
    ProcessingJob,
    ProcessingJobSummary,
    TileRequest,
    UpscalingTask,
    UpscalingTaskRequest,
    UpscalingTaskSummary,
)
from upscaling.service.api.render import collection_of, job_body, job_summary, status_json, task_body, task_summary
from upscaling.service.api.results import item_of
from upscaling.service.tasks import RefusedError

__all__ = ["router"]

_SYNC_SECONDS = 600
_REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorResponse} for code in (400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503)
}
router = APIRouter(responses=_REFUSALS)
IdempotencyKey = Annotated[str | None, Header(max_length=200)]


@router.post("/tiles", status_code=201, response_model=None, responses={201: {"model": GeometryCollection}})
async def split_in_tiles(body: TileRequest, request: Request) -> Response:
    """Cut an area into the tiles of a grid: the two of the original, or any other by its name."""
    return await run_in_threadpool(describe.tiles, body, tasks_of(request).settings.quota.tiles)


@router.post("/upscale_tasks", status_code=201, response_model=UpscalingTaskSummary)
async def create_upscale_task(
    body: UpscalingTaskRequest, request: Request, user: CurrentUser, idempotency_key: IdempotencyKey = None
) -> Any:
    """Run an algorithm once for each value of a parameter. A repeated request gives the task that it made before."""
    tasks = tasks_of(request)
    return task_summary(tasks, await run_in_threadpool(tasks.request, user, "upscaling", body, idempotency_key))


@router.get("/upscale_tasks/{task_id}", response_model=None, responses={200: {"model": UpscalingTask}})
def get_upscale_task(task_id: int, request: Request, user: CurrentUser) -> Response:
    """Return a task with all its jobs; no platform is asked."""
    task = visible_task(request, user, task_id)
    check_visible(task if task.kind == "upscaling" else None, user, task_id)
    return task_body(tasks_of(request), task, if_none_match=request.headers.get("if-none-match"))


@router.post("/unit_jobs", status_code=201, response_model=ProcessingJobSummary)
async def create_job(
    body: BaseJobRequest, request: Request, user: CurrentUser, idempotency_key: IdempotencyKey = None
) -> Any:
    """Run an algorithm once."""
    tasks = tasks_of(request)
    return job_summary(tasks, await run_in_threadpool(tasks.request, user, "unit", body, idempotency_key), 0)


@router.get("/unit_jobs/{job_id}", response_model=ProcessingJob)
def get_job(job_id: int, request: Request, user: CurrentUser) -> Any:
    """Return one job; no platform is asked."""
    task, index = visible_job(request, user, job_id)
    return job_body(tasks_of(request), task, index)


@router.delete("/unit_jobs/{job_id}", response_model=None, responses={200: {"model": None}})
def delete_job(job_id: int, request: Request, user: CurrentUser) -> Any:
    """Cancel a job on its platform and forget it; of a single job the whole run, of a task's the one tile."""
    task, index = visible_job(request, user, job_id)
    tasks = tasks_of(request)
    if task.kind == "unit":
        if not tasks.phase(task).final:
            tasks.ask(user, task, "canceled")
    else:
        tasks.cancel_tile(user, task, index)
    tasks.store.delete_job(task, job_id)
    tasks.store.write_down(user.name, "delete job", task.id, str(job_id))
    return None


@router.get("/unit_jobs/{job_id}/results", response_model=None, responses={200: {"content": {"application/json": {}}}})
def get_job_results(job_id: int, request: Request, user: CurrentUser) -> Any:
    """Return the results of a finished job as a STAC collection with its files as assets."""
    task, index = visible_job(request, user, job_id)
    return collection_of(tasks_of(request), task, index, request)


@router.post("/sync_jobs", status_code=200, response_model=None)
def create_sync_job(body: BaseJobRequest, request: Request, user: CurrentUser) -> Response:
    """Run an algorithm once, wait for it, and return its file."""
    tasks = tasks_of(request)
    task = tasks.request(user, "unit", body)
    deadline = time.monotonic() + _SYNC_SECONDS
    while time.monotonic() < deadline and not tasks.phase(task).final:
        time.sleep(0.2)
    states, phase = tasks.states(task), tasks.phase(task)
    states.refresh(at_most_every=0)
    status, reason = tasks.job_status(states, phase, 0)
    if status != "finished":
        words = reason or phase.reason or "it has not ended yet; it goes on as a job"
        raise RefusedError(f"job {task.first_job} is {status}: {words}", code="INTERNAL_ERROR", status=502)
    path = first_file(states.run_folder / "tiles" / states.states[0].tile)
    if path is None:
        return Response(status_code=204)
    return Response(path.read_bytes(), media_type=mimetypes.guess_type(path.name)[0] or "application/octet-stream")


def first_file(folder: Path) -> Path | None:
    """Return the first data file of a tile."""
    for asset in item_of(folder.parents[1], folder.name)["assets"].values():
        path = folder / str(asset["href"])
        if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
            return path
    return None


@router.get("/jobs_status", response_model=None, responses={200: {"model": JobsStatusResponse}})
def get_jobs_status(
    request: Request,
    user: CurrentUser,
    filter: Annotated[list[JobsFilter], Query()] = [JobsFilter.UPSCALING, JobsFilter.PROCESSING],  # noqa: A002, B006
) -> Response:
    """Return all tasks and single jobs of the user, without the tiles of tasks."""
    content = status_json(tasks_of(request), user, [str(one) for one in filter])
    return Response(content, media_type="application/json")


@router.post("/params", response_model=list[Parameter])
async def get_job_params(body: ParamRequest, request: Request, user: CurrentUser) -> Any:
    """Return the parameters of an algorithm, from its definition or its service's description."""
    try:
        return await run_in_threadpool(describe.parameters, tasks_of(request), user, body)
    except UpscalingError as error:
        raise RefusedError(error.message) from None
