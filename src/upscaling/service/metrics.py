"""Numbers for Prometheus."""

from __future__ import annotations

from fastapi import Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import Scope

__all__ = ["answer", "count"]

_registry = CollectorRegistry()
_requests = Counter("upscaling_requests_total", "Requests.", ["method", "route", "status"], registry=_registry)
_seconds = Histogram("upscaling_request_seconds", "Time to answer a request.", ["route"], registry=_registry)
_tasks = Gauge("upscaling_tasks", "Tasks, by what their process does.", ["phase"], registry=_registry)


def count(scope: Scope, status: int, seconds: float) -> None:
    """Count a request under its route, not its path: numbers of tasks would make a line each."""
    route = getattr(scope.get("route"), "path", "other")
    _requests.labels(scope["method"], route, str(status)).inc()
    _seconds.labels(route).observe(seconds)


def answer(request: Request) -> Response:
    """Return all numbers in Prometheus's text form."""
    tasks = request.app.state.tasks
    phases = dict.fromkeys(("draft", "queued", "running", "paused", "canceled", "ended", "stopped"), 0)
    for task in tasks.store.tasks():
        phases[tasks.phase(task).name] += 1
    for name, number in phases.items():
        _tasks.labels(name).set(number)
    return Response(generate_latest(_registry), media_type=CONTENT_TYPE_LATEST)
