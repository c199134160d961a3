"""The page, and what only the page asks."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from upscaling.service.api import catalogue
from upscaling.service.api.deps import CurrentUser, tasks_of, visible_task
from upscaling.service.tasks import RefusedError

__all__ = ["files", "router"]

router = APIRouter()
files = APIRouter(include_in_schema=False)
_FOLDER = Path(__file__).parents[1] / "page"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self';"
    " worker-src 'self' blob:; font-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


class DescribeRequest(BaseModel):
    """The algorithm that is asked about."""

    model_config = ConfigDict(extra="forbid")
    source: str = Field(min_length=1, max_length=2000)
    kind: str = Field("openeo", pattern="^(openeo|ogcapi|cwl)$")
    url: str | None = Field(None, max_length=2000)


class CheckRequest(BaseModel):
    """The configuration that is asked about."""

    model_config = ConfigDict(extra="forbid")
    config: dict[str, Any]


class PilotRequest(BaseModel):
    """How many pilot tiles."""

    model_config = ConfigDict(extra="forbid")
    number: int = Field(12, ge=1, le=200)


@router.get("/me")
def me(request: Request, user: CurrentUser) -> dict[str, Any]:
    """Return who asks, and what the page needs to know of the service."""
    settings = tasks_of(request).settings
    platforms = [{"endpoint": one.endpoint, "kind": one.kind, "slots": one.slots} for one in settings.platforms]
    return {
        "user": user.name,
        "admin": user.admin,
        "auth": settings.auth,
        "platforms": platforms,
        "basemap": settings.basemap,
        "tiles": settings.quota.tiles,
    }


@router.get("/catalogue")
def search_catalogue(request: Request, _user: CurrentUser, q: str = "") -> list[dict[str, Any]]:
    """Return the algorithms of the catalogue whose texts hold all words of ``q``."""
    return catalogue.cards(tasks_of(request), q)


@router.post("/describe")
def describe_algorithm(body: DescribeRequest, request: Request, _user: CurrentUser) -> dict[str, Any]:
    """Return what an algorithm is and asks for."""
    return catalogue.description(tasks_of(request), body.source, body.kind, body.url)


@router.post("/check")
def check_config(body: CheckRequest, request: Request, _user: CurrentUser) -> dict[str, Any]:
    """Plan a configuration without keeping it: number of tiles, notices, and what one tile is sent."""
    return tasks_of(request).preview(body.config)


@router.post("/area", response_model=None)
async def read_area(request: Request, _user: CurrentUser, name: str = "area.geojson") -> Response:
    """Read an uploaded vector file, as the command line does; return its polygons as GeoJSON in degrees."""
    content = await request.body()
    return await run_in_threadpool(_area, content, name)


def _area(content: bytes, name: str) -> Response:
    import shapely

    from upscaling.area.aoi import read_aoi
    from upscaling.errors import UpscalingError

    suffix = "".join(Path(Path(name).name).suffixes[-2:])[:20]
    if not content:
        raise RefusedError("the file is empty")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"area{suffix}"
        path.write_bytes(content)
        try:
            area = read_aoi(str(path))
        except UpscalingError as error:
            raise RefusedError(str(error).replace(str(path), Path(name).name)) from None
    geometry = orjson.loads(shapely.to_geojson(area.geometry))
    return Response(orjson.dumps({"geometry": geometry, "notices": list(area.notices)}), media_type="application/json")


@router.get("/runs/{run}/estimate", response_model=None)
def estimate(run: int, request: Request, user: CurrentUser) -> Response:
    """Return the estimate of a run: rough without finished tiles, else with intervals and a verdict."""
    tasks, task = tasks_of(request), visible_task(request, user, run)
    done = tasks.runner.tool(tasks.folder(task), task.id, "estimate", "config.yaml", "--json")
    if done is None:
        raise RefusedError("log in again: the platform is asked with your account", code="NOT_READY", status=409)
    if done.returncode != 0:
        raise RefusedError(done.stderr.strip().splitlines()[-1].removeprefix("error: ")[:500] or "no estimate")
    return Response(done.stdout, media_type="application/json")


@router.post("/runs/{run}/pilot")
def pilot(run: int, body: PilotRequest, request: Request, user: CurrentUser) -> dict[str, Any]:
    """Run some tiles of a run first, one of each class of expected work; they count for the run."""
    from upscaling.estimate.pilot import ensure_pilot
    from upscaling.estimate.run import known_of

    tasks, task = tasks_of(request), visible_task(request, user, run)
    phase = tasks.phase(task)
    if phase.name in {"running", "queued"}:
        raise RefusedError("the run works already", code="CONFLICT", status=409)
    folder = tasks.folder(task)
    targets = ensure_pilot(known_of(folder / "results" / "run", results=folder / "results"), body.number)
    items = tuple(f"results/run/tiles/{target}/item.json" for target in targets)
    tasks.ask(user, task, "queued", target=items)
    return {"tiles": targets}


@files.get("/")
def index() -> Response:
    """Return the page."""
    return _file("index.html")


@files.get("/page/{path:path}")
def page_file(path: str) -> Response:
    """Return a file of the page."""
    return _file(path)


def _file(path: str) -> Response:
    found = (_FOLDER / path).resolve()
    if not found.is_relative_to(_FOLDER) or not found.is_file():
        raise RefusedError("there is no such file", code="NOT_FOUND", status=404)
    headers = {
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return FileResponse(found, media_type=_TYPES.get(found.suffix, "application/octet-stream"), headers=headers)
