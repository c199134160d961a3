"""Every request's number, its bounds in size and rate, and its line in the log."""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from upscaling.service import metrics
from upscaling.service.settings import ServiceSettings

__all__ = ["Limits", "error_content"]

log = logging.getLogger("upscaling.service")
_CORRELATION = re.compile(r"[A-Za-z0-9._-]{1,128}")
_MOST_CALLERS = 10_000


def error_content(
    number: str, code: str, message: str, details: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """Return an error in the contract's form; ``detail`` is where its client looks for the faults of a body."""
    return {
        **more,
        "status": "error",
        "error_code": code,
        "message": message,
        "details": details,
        "request_id": number,
    }


class Limits:
    """Numbers requests, bounds their size and rate, and writes a line for each.

    It is plain ASGI: Starlette's class for this makes a task and a stream for every request.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self._app = app
        self._largest = int(settings.request_mb * 1e6)
        self._rate = settings.requests_per_minute
        self._minute, self._seen = 0.0, dict[str, int]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, headers = time.perf_counter(), Headers(scope=scope)
        given = headers.get("x-correlation-id", "")
        number = given if _CORRELATION.fullmatch(given) else str(uuid.uuid4())
        state = scope.setdefault("state", {})
        state["correlation"] = number
        status = 500

        async def numbered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Correlation-ID"] = number
            await send(message)

        try:
            refusal = self._refusal(scope, headers, number)
            await (refusal or self._app)(scope, receive, numbered)
        finally:
            seconds = time.perf_counter() - begun
            metrics.count(scope, status, seconds)
            log.info(
                "%s %s %s %.0f ms user=%s request=%s",
                scope["method"],
                scope["path"],
                status,
                seconds * 1000,
                state.get("user", "-"),
                number,
            )

    def _refusal(self, scope: Scope, headers: Headers, number: str) -> JSONResponse | None:
        def refused(status: int, words: str, code: str = "VALIDATION_ERROR", **more: str) -> JSONResponse:
            return JSONResponse(error_content(number, code, words), status_code=status, headers=more)

        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self._largest:
            return refused(413, f"a request may have {self._largest / 1e6:g} MB")
        if not length and headers.get("transfer-encoding"):
            return refused(411, "a request needs a Content-Length")
        client = scope.get("client")
        caller = headers.get("authorization") or (client[0] if client else "")
        minute = time.monotonic() // 60
        if minute != self._minute or len(self._seen) > _MOST_CALLERS:
            self._minute, self._seen = minute, {}
        count = self._seen[caller] = self._seen.get(caller, 0) + 1
        if count > self._rate:
            return refused(429, f"more than {self._rate} requests a minute", "RATE_LIMIT", **{"Retry-After": "60"})
        return None
