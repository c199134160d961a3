"""The web application: routes, errors in the contract's form, limits, health and metrics."""

from __future__ import annotations

import errno
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
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
from upscaling.service.api import dispatch, metrics, page, sockets, v1
from upscaling.service.auth import AuthError
from upscaling.service.settings import ServiceSettings
from upscaling.service.tasks import RefusedError, Tasks

__all__ = ["make_app"]

log = logging.getLogger("upscaling.service")
_CORRELATION = re.compile(r"[A-Za-z0-9._-]{1,128}")


def make_app(settings: ServiceSettings) -> FastAPI:
    """Return the application of a service; its tasks run from its start to its end."""
    tasks = Tasks(settings)

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
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
    limits = _Limits(settings)
    app.middleware("http")(limits)
    app.include_router(dispatch.router, tags=["APEx Dispatch API"])
    app.include_router(sockets.router)
    app.include_router(v1.router, prefix="/v1", tags=["eo-upscaling"])
    app.include_router(page.router, prefix="/v1", tags=["eo-upscaling"], responses=v1.REFUSALS)
    app.include_router(page.files)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(AuthError, _unknown_user)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(UpscalingError, _failed)
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


class _Limits:
    """Numbers requests, bounds their size and rate, and writes a line for each."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._largest = int(settings.request_mb * 1e6)
        self._rate = settings.requests_per_minute
        self._seen: dict[str, tuple[float, int]] = {}

    async def __call__(self, request: Request, following: Callable[[Request], Awaitable[Response]]) -> Response:
        begun = time.perf_counter()
        given = request.headers.get("x-correlation-id", "")
        number = given if _CORRELATION.fullmatch(given) else str(uuid.uuid4())
        request.state.correlation = number
        response = self._refusal(request) or await following(request)
        response.headers["X-Correlation-ID"] = number
        seconds = time.perf_counter() - begun
        metrics.count(request, response.status_code, seconds)
        user = getattr(request.state, "user", "-")
        log.info(
            "%s %s %s %.0f ms user=%s request=%s",
            request.method,
            request.url.path,
            response.status_code,
            seconds * 1000,
            user,
            number,
        )
        return response

    def _refusal(self, request: Request) -> Response | None:
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > self._largest:
            return _error(request, 413, "VALIDATION_ERROR", f"a request may have {self._largest / 1e6:g} MB")
        if not length and request.headers.get("transfer-encoding"):
            return _error(request, 411, "VALIDATION_ERROR", "a request needs a Content-Length")
        caller = request.headers.get("authorization") or (request.client.host if request.client else "")
        minute, seen = time.monotonic() // 60, self._seen.get(caller)
        count = seen[1] + 1 if seen and seen[0] == minute else 1
        if len(self._seen) > 10_000:
            self._seen.clear()
        self._seen[caller] = (minute, count)
        if count > self._rate:
            answer = _error(request, 429, "RATE_LIMIT", f"more than {self._rate} requests a minute")
            answer.headers["Retry-After"] = "60"
            return answer
        return None


def _error(
    request: Request, status: int, code: str, message: str, details: dict[str, Any] | None = None, **more: Any
) -> JSONResponse:
    """Return an error in the contract's form; ``detail`` is where its client looks for the faults of a body."""
    content = {
        **more,
        "status": "error",
        "error_code": code,
        "message": message,
        "details": details,
        "request_id": getattr(request.state, "correlation", None),
    }
    return JSONResponse(content, status_code=status)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)  # noqa: S101
    return _error(request, error.status, error.code, str(error))


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


def _failed(request: Request, error: Exception) -> Response:
    return _error(request, 500, "INTERNAL_ERROR", str(error))


def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    return JSONResponse({"detail": error.detail}, status_code=error.status_code, headers=error.headers)


def _of_the_system(request: Request, error: Exception) -> Response:
    """Say that the disk is full, which an operator can change; anything else is not foreseen."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        log.error("request %s: the disk is full", getattr(request.state, "correlation", "-"))
        words = "the disk of the service is full: nothing was kept or sent; please tell its operator and try again"
        return _error(request, 507, "INSUFFICIENT_STORAGE", words)
    return _unforeseen(request, error)


def _unforeseen(request: Request, error: Exception) -> Response:
    log.exception("request %s failed", getattr(request.state, "correlation", "-"), exc_info=error)
    return _error(request, 500, "INTERNAL_SERVER_ERROR", "the service failed; its log has the reason")
