"""The service's own API: runs from a whole configuration, what is done to them, and their results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from upscaling.service.api import results
from upscaling.service.api.algorithms import describe
from upscaling.service.api.deps import AskedRun, CurrentUser, ThisRun, check_visible, tasks_of, visible_task
from upscaling.service.api.forms import ErrorResponse
from upscaling.service.api.maps import outlines, pictures
from upscaling.service.api.render import in_list, run_body, run_facts
from upscaling.service.phase import Name
from upscaling.service.states import NAMES, RunStates
from upscaling.service.tasks import RefusedError

__all__ = ["REFUSALS", "router"]

_EVENT_SECONDS = 0.5
_BEAT_SECONDS = 15.0
REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorResponse} for code in (401, 404, 409, 413, 422, 429, 500)
}
router = APIRouter(responses=REFUSALS)
_STARTED_FROM = {"draft", "paused", "canceled", "stopped"}
IdempotencyKey = Annotated[str | None, Header(max_length=200)]
_ASKED: dict[str, Name] = {"start": "queued", "retry": "queued", "pause": "paused", "cancel": "canceled"}


class NewRun(BaseModel):
    """A run to be made of a configuration."""

    model_config = ConfigDict(extra="forbid")
    title: str = Field("", max_length=2000)
    config: dict[str, Any]
    start: bool = False


class Ask(BaseModel):
    """What to do with a run."""

    model_config = ConfigDict(extra="forbid")
    action: Literal["start", "pause", "cancel", "retry", "archive", "restore"]
    title: str | None = Field(None, max_length=2000)
    reason: str | None = Field(None, min_length=1, max_length=20_000)
    """With ``retry``: one of the run's ``reasons``; only the tiles that failed for it run again."""


class AreaRequest(BaseModel):
    """An area, and the grid over it."""

    aoi: dict[str, Any] | list[float]
    grid: str = Field("utm-20km", max_length=100)
    time: dict[str, str] | None = None


@router.get("/runs")
def list_runs(request: Request, user: CurrentUser, archived: bool = False) -> list[dict[str, Any]]:
    """Return all runs of the user, newest first, tasks of the Dispatch API among them."""
    tasks = tasks_of(request)
    found = tasks.store.tasks(None if user.admin else user.name)
    return [in_list(run_facts, tasks, task) for task in reversed(found) if task.archived == archived]


@router.post("/runs", status_code=201)
async def make_run(
    body: NewRun, request: Request, user: CurrentUser, idempotency_key: IdempotencyKey = None
) -> dict[str, Any]:
    """Plan a run of a whole configuration; it starts at once, or when it is confirmed by ``start``."""
    tasks = tasks_of(request)
    title = body.title or str(body.config.get("run") or "run")
    task = await run_in_threadpool(
        tasks.from_config, user, body.config, title=title, start=body.start, idempotency=idempotency_key
    )
    return await run_in_threadpool(run_facts, tasks, task)


@router.get("/runs/{run}", response_model=None)
async def get_run(run: int, request: Request, user: CurrentUser) -> Response:
    """Return how far a run is; no platform is asked."""
    tasks = tasks_of(request)
    task = tasks.store.known(run) or await run_in_threadpool(visible_task, request, user, run)
    task = check_visible(task, user, run)
    # looked at a moment ago: answered at once, without a thread
    states = tasks.runner.known(tasks.folder(task))
    if states is None:
        states = await run_in_threadpool(tasks.states, task)
    return run_body(tasks, task, states, if_none_match=request.headers.get("if-none-match"))


@router.post("/runs/{run}/ask")
def ask_run(run: ThisRun, body: Ask) -> dict[str, Any]:
    """Start, pause, cancel, retry, archive or restore a run."""
    tasks, task, phase = run.tasks, run.task, run.phase
    if body.title:
        tasks.store.change(task.id, title=body.title)
    if body.action in {"archive", "restore"}:
        if not phase.final and phase.name not in {"draft", "paused"}:
            raise RefusedError("a run that works cannot be archived: cancel it first", code="CONFLICT", status=409)
        tasks.store.change(task.id, archived=body.action == "archive")
        tasks.store.write_down(run.user.name, body.action, task.id)
    elif body.action == "start" and phase.target and not phase.back and not phase.confirmed:
        tasks.runner.confirm(task.id, run.folder)
    elif body.action == "retry" and not phase.final:
        words = f"the run is {phase.name}: what failed is retried when it has ended"
        raise RefusedError(words, code="CONFLICT", status=409)
    elif (body.action == "start" and phase.name not in _STARTED_FROM) or (body.action == "cancel" and phase.final):
        raise RefusedError(f"the run is {phase.name} already", code="CONFLICT", status=409)
    elif body.action == "retry" and body.reason:
        tasks.ask(run.user, task, "queued", target=tasks.group(task, body.reason), back=phase.name)
    else:
        tasks.ask(run.user, task, _ASKED[body.action])
    return run_facts(tasks, tasks.store.task(task.id) or task)


@router.post("/runs/{run}/clone")
def clone_run(run: ThisRun) -> dict[str, Any]:
    """Return the configuration of a run, for a new one."""
    return {"title": run.task.title, "config": results.config_of(run.folder)}


@router.get("/runs/{run}/config", response_model=None)
def get_config(run: ThisRun) -> Response:
    """Return the configuration of a run, as the command line takes it."""
    name = f"{run.run_folder.name}.yaml"
    return FileResponse(run.folder / "config.yaml", media_type="application/yaml", filename=name)


@router.get("/runs/{run}/tiles", response_model=None)
def get_tiles(run: ThisRun, since: Annotated[int, Query(ge=-1)] = -1) -> Response:
    """Return the tiles of a run: all with their outlines, or only the states that changed after a version."""
    states = run.states
    if since >= 0:
        return Response(_changes(run, since, states.version), media_type="application/json")
    head = orjson.dumps({"version": states.version, "states": _state_rows(states, range(len(states.states)))})
    return Response(head[:-1] + b"," + outlines.of_run(states)[1:], media_type="application/json")


def _state_rows(states: RunStates, chosen: Iterable[int]) -> list[tuple[int, str]]:
    return [(number, NAMES[states.states[number].state]) for number in chosen]


def _changes(run: AskedRun, since: int, version: int) -> bytes:
    states, facts = run.states, run_facts(run.tasks, run.task)
    del facts["service"]
    return orjson.dumps({"version": version, "run": facts, "states": _state_rows(states, states.since(since))})


@router.get("/runs/{run}/events", response_model=None)
async def get_events(run: ThisRun, request: Request, since: int = -1) -> Response:
    """Send the states that change as server-sent events, until the run has come to its end."""

    async def events() -> AsyncIterator[bytes]:
        seen, last, silent = since, None, 0.0
        while not await request.is_disconnected():
            states, phase = await run_in_threadpool(lambda: (run.states, run.phase))
            if (states.version, phase) != last:
                version = states.version
                content = await run_in_threadpool(_changes, run, seen, version)
                yield b"event: change\ndata: " + content + b"\n\n"
                seen, last, silent = version, (version, phase), 0.0
            if phase.final:
                yield b"event: end\ndata: {}\n\n"
                return
            if silent >= _BEAT_SECONDS:
                yield b": still here\n\n"
                silent = 0.0
            await asyncio.sleep(_EVENT_SECONDS)
            silent += _EVENT_SECONDS

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


@router.get("/runs/{run}/tiles/{tile}")
def get_tile(run: ThisRun, tile: str) -> dict[str, Any]:
    """Return what is known of one tile: state, reason, costs, times, files, and the end of its logs."""
    return results.tile_facts(run, tile)


@router.get("/runs/{run}/logs/{tile}", response_model=None)
def get_log(run: ThisRun, tile: str) -> Response:
    """Return a tile's log."""
    return Response(results.log_of(run, tile), media_type="text/plain; charset=utf-8")


@router.get("/runs/{run}/costs")
def get_costs(run: ThisRun) -> dict[str, Any]:
    """Return what a run has cost so far, for each tile."""
    states = run.states
    per_tile = {state.tile: state.spent for state in states.states if state.spent is not None}
    return {"costs": states.sums.costs, "tiles": per_tile}


@router.get("/runs/{run}/report", response_model=None)
def get_report(run: ThisRun) -> Response:
    """Return the report of a run as a page."""
    from upscaling.monitor.report import write_report

    page = run.run_folder / "report.html"
    if not page.is_file():
        write_report(run.run_folder)
    # A page of its own origin, as it holds texts of others and scripts of its own.
    headers = {"Content-Security-Policy": "sandbox allow-scripts allow-popups"}
    return FileResponse(page, media_type="text/html", headers=headers)


@router.get("/runs/{run}/collection")
def get_collection(run: ThisRun) -> dict[str, Any]:
    """Return the STAC collection of a run, with addresses of this service."""
    return results.collection(run)


@router.get("/runs/{run}/items")
def search_items(
    run: ThisRun,
    bbox: str | None = None,
    datetime: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    token: str | None = None,
) -> dict[str, Any]:
    """Search the items of a run as STAC API - Features has it: by box, time, and page by page."""
    return results.items(run, bbox=bbox, interval=datetime, limit=limit, token=token)


@router.get("/runs/{run}/items/{tile}")
def get_item(run: ThisRun, tile: str) -> dict[str, Any]:
    """Return one item, with addresses of this service."""
    return results.item(run, tile)


@router.get("/runs/{run}/files/{path:path}", response_model=None)
def get_file(run: ThisRun, path: str) -> Response:
    """Return a file of the result; ranges are answered, so that GDAL reads a COG in parts."""
    return FileResponse(results.file_of(run, path), headers={"X-Content-Type-Options": "nosniff"})


@router.get("/runs/{run}/preview/{tile}", response_model=None)
def get_preview(
    run: ThisRun,
    tile: str,
    size: Annotated[int, Query(ge=16, le=2048)] = 256,
    colours: Annotated[str, Query(max_length=40)] = "viridis",
) -> Response:
    """Return a tile's first raster as a PNG in Web Mercator; its bounds in degrees are in the header ``X-Bounds``."""
    picture, bounds = pictures.preview(run, tile, size=size, colours=colours)
    headers = {"X-Bounds": ",".join(f"{edge:.8f}" for edge in bounds), "Cache-Control": "private, max-age=60"}
    return Response(picture, media_type="image/png", headers=headers)


@router.get("/runs/{run}/map/{z}/{x}/{y}.png", response_model=None)
def get_map_tile(
    run: ThisRun,
    z: Annotated[int, PathParameter(ge=0, le=24)],
    x: int,
    y: int,
    asset: Annotated[str, Query(max_length=200)] = "",
    low: float | None = None,
    high: float | None = None,
    colours: Annotated[str, Query(max_length=40)] = "viridis",
) -> Response:
    """Return a tile of a web map of the mosaic."""
    picture = pictures.map_tile(run, (z, x, y), asset=asset, limits=(low, high), colours=colours)
    return Response(picture, media_type="image/png", headers={"Cache-Control": "private, max-age=60"})


@router.get("/runs/{run}/value")
def get_value(
    run: ThisRun,
    lon: Annotated[float, Query(ge=-180, le=180)],
    lat: Annotated[float, Query(ge=-90, le=90)],
    asset: Annotated[str, Query(max_length=200)] = "",
) -> dict[str, Any]:
    """Return the values of the mosaic at a place."""
    return pictures.value_at(run, lon, lat, asset=asset)


@router.get("/runs/{run}/mosaics")
def get_mosaics(run: ThisRun) -> list[dict[str, Any]]:
    """Return the mosaics of a run with their bounds, value range and files."""
    return pictures.mosaics(run)


@router.get("/grids")
def get_grids() -> list[dict[str, str]]:
    """Return the families of grids."""
    from upscaling.grids import list_grids

    return [{"pattern": family.pattern, "example": family.example} for family in list_grids()]


@router.post("/tiles", response_model=None)
async def preview_tiles(body: AreaRequest, request: Request, user: CurrentUser) -> Response:  # noqa: ARG001
    """Return the tiles of a grid over an area (names, outlines in degrees, km²) and the number of time steps."""
    most = tasks_of(request).settings.quota.tiles

    def answer() -> bytes:
        table = describe.selection(body.aoi, body.grid, most)
        content = {**outlines.of_table(table), "steps": describe.steps(body.time)}
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)

    return Response(await run_in_threadpool(answer), media_type="application/json")
