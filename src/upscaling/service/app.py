"""The web application: routes, errors in the contract's form, limits, health and metrics."""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from upscaling import __version__
from upscaling.errors import UpscalingError
from upscaling.service import metrics
from upscaling.service.access.auth import AuthError
from upscaling.service.access.limits import Limits, error_content
from upscaling.service.api import dispatch, login, page, sockets, v1
from upscaling.service.settings import ServiceSettings
from upscaling.service.tasks import Tasks
from upscaling.util.imports import import_early

__all__ = ["make_app"]

log = logging.getLogger("upscaling.service")
# What requests and runs import, each in a thread of its own.
_LIBRARIES = (
    "numpy",
    "pandas",
    "pyproj",
    "shapely.affinity",
    "geopandas",
    "pyogrio",
    "pyarrow.parquet",
    "rasterio.warp",
    "openeo.rest.connection",
    "pystac",
    "jsonschema",
    "upscaling.planning.make",
)


def make_app(settings: ServiceSettings) -> FastAPI:
    """Return the application of a service; its tasks run from its start to its end."""
    tasks = Tasks(settings)

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        import_early(*_LIBRARIES)
        tasks.start()
        yield
        tasks.stop()

    app = FastAPI(
        title="eo-upscaling",
        version=__version__,
        description="Upscaling of Earth-observation algorithms: the APEx Dispatch API, and under /v1 one of its own.",
        lifespan=life,
    )
    app.state.tasks = tasks
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_credentials=True,
            allow_methods=["*"],
            allow_headers=["*"],
        )
    app.add_middleware(_Compressed, minimum_size=2000, compresslevel=5)
    app.add_middleware(Limits, settings=settings)
    app.include_router(dispatch.router, tags=["APEx Dispatch API"])
    app.include_router(sockets.router)
    app.include_router(v1.router, prefix="/v1", tags=["eo-upscaling"])
    app.include_router(page.router, prefix="/v1", tags=["eo-upscaling"], responses=v1.REFUSALS)
    app.include_router(login.router, prefix="/v1", tags=["eo-upscaling"], responses=v1.REFUSALS)
    app.include_router(page.files)
    app.add_exception_handler(AuthError, _unknown_user)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(UpscalingError, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OSError, _of_the_system)
    app.add_exception_handler(Exception, _unforeseen)
    app.get("/health", tags=["operation"], responses={503: {}})(health)
    app.get("/metrics", tags=["operation"], include_in_schema=False)(metrics.answer)
    return app


def health(request: Request) -> Response:
    """Tell whether the service can work, and if not, why."""
    tasks: Tasks = request.app.state.tasks
    database: dict[str, str] = {"status": "ok"}
    folder: dict[str, str] = {"status": "ok"}
    try:
        tasks.store.check()
    except Exception as error:  # whatever the database driver raises is the reason
        database = {"status": "error", "message": str(error).splitlines()[0][:200]}
    try:
        probe = tasks.settings.folder / ".health"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        folder = {"status": "error", "message": f"{tasks.settings.folder}: {error.strerror}"}
    well = database["status"] == folder["status"] == "ok"
    content = {"status": "ok" if well else "error", "database": database, "folder": folder, "version": __version__}
    return JSONResponse(content, status_code=200 if well else 503)


class _Compressed(GZipMiddleware):
    """Compresses what is text: a part of a COG that arrives compressed is not the part that was asked for."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope.get("path", ""))
        if any(part in path for part in ("/files/", "/preview/", "/map/")):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def _error(
    request: Request, status: int, code: str, message: str, details: dict[str, Any] | None = None, **more: Any
) -> JSONResponse:
    content = error_content(request.state.correlation, code, message, details, **more)
    return JSONResponse(content, status_code=status)


def _refused(request: Request, error: Exception) -> Response:
    """Say why; what no request was refused for (RefusedError) lies in the run's folder, or at its platform."""
    assert isinstance(error, UpscalingError)  # noqa: S101
    key, status, code = (getattr(error, name, None) for name in ("key", "status", "code"))
    about = {"key": key, "reason": error.message} if key else None
    return _error(request, status or 409, code or "CONFLICT", str(error), about)


def _unknown_user(request: Request, error: Exception) -> Response:
    if str(error) == "Not authenticated":  # the original's form for a missing token
        return JSONResponse({"detail": "Not authenticated"}, status_code=401, headers={"WWW-Authenticate": "Bearer"})
    return _error(request, 401, "AUTHENTICATION_FAILED", str(error))


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    found = [{name: one[name] for name in ("type", "loc", "msg")} for one in error.errors()]
    first = found[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    answer = {"errors": found}
    return _error(request, 422, "VALIDATION_ERROR", f"{where}: {first['msg']}", answer, detail=found)


def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    return JSONResponse({"detail": error.detail}, status_code=error.status_code, headers=error.headers)


def _of_the_system(request: Request, error: Exception) -> Response:
    """Say that the disk is full, which an operator can change; anything else is not foreseen."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        log.error("request %s: the disk is full", request.state.correlation)
        words = "the disk of the service is full: nothing was kept or sent; please tell its operator and try again"
        return _error(request, 507, "INSUFFICIENT_STORAGE", words)
    return _unforeseen(request, error)


def _unforeseen(request: Request, error: Exception) -> Response:
    log.exception("request %s failed", request.state.correlation, exc_info=error)
    return _error(request, 500, "INTERNAL_SERVER_ERROR", "the service failed; its log has the reason")
