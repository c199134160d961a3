"""The page, and what only the page asks."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from upscaling.monitor import report
from upscaling.service import publishing
from upscaling.service.api import compare
from upscaling.service.api.algorithms import catalogue
from upscaling.service.api.deps import CurrentUser, ThisRun, tasks_of
from upscaling.service.tasks import RefusedError

__all__ = ["files", "router"]

router = APIRouter()
files = APIRouter(include_in_schema=False)
_FOLDER = Path(__file__).parents[1] / "page"
_LOOK = Path(report.__file__).with_name("look.css")  # of the page and of reports
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self';"
    " worker-src 'self' blob:; font-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
_LONGEST_NAME = 80
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


class PublishRequest(BaseModel):
    """Where to publish: a target of the service, or with a local service an address."""

    model_config = ConfigDict(extra="forbid")
    target: str | None = Field(None, max_length=80)
    s3: str | None = Field(None, max_length=500)
    endpoint: str | None = Field(None, max_length=500)
    public_url: str | None = Field(None, max_length=500)
    stac_api: str | None = Field(None, max_length=500)
    partial: bool = False
    dry_run: bool = True


@router.get("/me")
def me(request: Request, user: CurrentUser) -> dict[str, Any]:
    """Return who asks, and what the page needs to know of the service."""
    settings = tasks_of(request).settings
    return {
        "user": user.name,
        "admin": user.admin,
        **settings.model_dump(include={"auth", "basemap", "request_mb", "any_source"}),
        "platforms": [one.model_dump(include={"endpoint", "kind", "slots"}) for one in settings.platforms],
        "tiles": settings.quota.tiles,
        "uploads": settings.takes_uploads,
        "publish": [one.model_dump(include={"name", "s3", "stac_api"}) for one in settings.publish],
    }


@router.get("/catalogue")
def search_catalogue(request: Request, _user: CurrentUser, q: str = "") -> list[dict[str, Any]]:
    """Return the algorithms of the catalogue whose texts hold all words of ``q``."""
    return catalogue.cards(tasks_of(request), q)


@router.post("/describe")
def describe_algorithm(body: DescribeRequest, request: Request, user: CurrentUser) -> dict[str, Any]:
    """Return what an algorithm is and asks for."""
    return catalogue.description(tasks_of(request), user, body.source, body.kind, body.url)


@router.post("/algorithms", status_code=201)
async def bring_algorithm(request: Request, user: CurrentUser, name: str) -> dict[str, str]:
    """Keep an algorithm that a user brings as a file (a process of openEO, or a package); return its source."""
    content = await request.body()
    path = await run_in_threadpool(catalogue.keep_algorithm, tasks_of(request), user, name, content)
    return {"source": str(path), "kind": "openeo" if path.suffix.lower() == ".json" else "cwl"}


@router.post("/check")
def check_config(body: CheckRequest, request: Request, user: CurrentUser) -> dict[str, Any]:
    """Plan a configuration without keeping it: number of tiles, notices, and what one tile is sent."""
    return tasks_of(request).preview(user, body.config)


@router.post("/area", response_model=None)
async def read_area(
    request: Request,
    _user: CurrentUser,
    name: str = "area.geojson",
    part: Annotated[str, Query(max_length=500, pattern=r"^(!|\|)")] = "",
) -> Response:
    """Read an uploaded vector file, as the command line does; return its polygons as GeoJSON in degrees.

    Where it has several layers, or is an archive of several files, ``choices`` are returned: values for ``part``.
    """
    content = await request.body()
    return await run_in_threadpool(_area, content, name, part)


def _area(content: bytes, name: str, part: str) -> Response:
    import shapely

    from upscaling.area.aoi import read_aoi
    from upscaling.errors import ConfigError, UpscalingError

    suffix = "".join(Path(Path(name).name).suffixes[-2:])[:20]
    if not content:
        raise RefusedError(f"{_shown(name)}: the file is empty")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"area{suffix}"
        path.write_bytes(content)
        try:
            area = read_aoi(f"{path}{part}")
        except UpscalingError as error:
            if isinstance(error, ConfigError) and error.choices:
                return JSONResponse({"choices": error.choices})
            raise RefusedError(_of_the_file(error.message, path, _shown(name))) from None
    geometry = orjson.loads(shapely.to_geojson(area.geometry))
    notices = [_of_the_file(line, path, _shown(name)) for line in area.notices]
    return Response(orjson.dumps({"geometry": geometry, "notices": notices}), media_type="application/json")


def _shown(name: str) -> str:
    """Return the name of an uploaded file as messages have it."""
    name = Path(name).name
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"


def _of_the_file(words: str, path: Path, name: str) -> str:
    """Return a message about an uploaded file with its own name in place of where it lies here."""
    if path.suffix.lower() == ".shp":
        return f"{name}: a shapefile is several files (.shp, .shx, .dbf, .prj): put them into one .zip"
    told = words.replace(f"{path.parent}/", "").replace(path.name, name)
    return told if told.startswith(name) else f"{name}: {told}"


@router.get("/runs/{run}/estimate", response_model=None)
def estimate(run: ThisRun) -> Response:
    """Return the estimate of a run: rough without finished tiles, else with intervals and a verdict."""
    return Response(compare.estimate_of(run), media_type="application/json")


@router.get("/runs/{run}/compare")
def compare_platforms(run: ThisRun) -> list[dict[str, Any]]:
    """Return what a run would be on each platform of this service that speaks the same protocol."""
    return compare.platforms(run)


@router.get("/runs/{run}/requirements", response_model=None)
def requirements(run: ThisRun) -> Response:
    """Return the requirements and feasibility of a run on one page of HTML, to be handed to a platform operator."""
    page = compare.requirements_of(run)
    return FileResponse(page, media_type="text/html", headers={"Content-Security-Policy": "sandbox allow-popups"})


@router.post("/runs/{run}/publish")
def publish_run(run: ThisRun, body: PublishRequest) -> dict[str, Any]:
    """Publish the result to object storage and a STAC API; with ``dry_run`` only say what would be sent."""
    target = publishing.target_of(
        run.tasks.settings, body.target, body.model_dump(include={"s3", "endpoint", "public_url", "stac_api"})
    )
    if body.dry_run:
        lines = publishing.dry_run(run.tasks, run.task, target, partial=body.partial)
        return {"state": "none", "lines": lines, "record": None, "target": target.name}
    return publishing.publish(run.tasks, run.user, run.task, target, partial=body.partial)


@router.get("/runs/{run}/publication")
def publication(run: ThisRun) -> dict[str, Any]:
    """Return how far the publication of a run is."""
    return publishing.publication(run.tasks, run.task)


@router.post("/runs/{run}/pilot")
def pilot(run: ThisRun, body: PilotRequest) -> dict[str, Any]:
    """Run some tiles of a run first, one of each class of expected work; they count for the run."""
    from upscaling.estimate.pilot import ensure_pilot
    from upscaling.estimate.run import known_of

    if run.phase.name in {"running", "queued"}:
        raise RefusedError("the run works already", code="CONFLICT", status=409)
    targets = ensure_pilot(known_of(run.run_folder, results=run.folder / "results"), body.number)
    items = tuple(f"results/{run.run_folder.name}/tiles/{target}/item.json" for target in targets)
    run.tasks.ask(run.user, run.task, "queued", target=items)
    return {"tiles": targets}


@files.get("/")
@files.get("/page/{path:path}")
def page_file(path: str = "index.html") -> Response:
    """Return the page, or a file of it."""
    found = _LOOK if path == "look.css" else (_FOLDER / path).resolve()
    if not (found == _LOOK or found.is_relative_to(_FOLDER)) or not found.is_file():
        raise RefusedError("there is no such file", code="NOT_FOUND", status=404)
    headers = {
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return FileResponse(found, media_type=_TYPES.get(found.suffix, "application/octet-stream"), headers=headers)
