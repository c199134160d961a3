"""``upscaling serve``: the service and its page."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from upscaling.errors import ConfigError, UpscalingError
from upscaling.http.address import THIS_MACHINE
from upscaling.util.extras import absent

__all__ = ["serve"]


def serve(
    settings: Annotated[Path | None, typer.Argument(help="Settings (YAML); a local service when left out.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    folder: Annotated[Path | None, typer.Option(help="Where runs and database lie.")] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="With the demo's algorithm, scenes and openEO back-end: no account.")
    ] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Serve the APEx Dispatch API and a web page over runs of this machine."""
    try:
        import uvicorn

        from upscaling.service.app import make_app
        from upscaling.service.settings import load_settings
    except ModuleNotFoundError as error:
        raise UpscalingError(f"the service {absent(error.name, 'web')}") from None

    # What was started here has to be stopped, too, also while it is starting. (uvicorn ends in order, and then
    # sends itself the signal again.)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ExitStack() as stack:
        given: dict[str, Any] = {"folder": folder}
        if demo:
            given |= _demo(stack, folder or Path("service"))
        elif settings is None:
            given["any_source"] = True
        found = load_settings(settings, **given)
        if found.auth == "none" and host not in THIS_MACHINE:
            raise ConfigError(
                "auth: none serves this machine only; set auth: oidc to listen on other addresses", key="auth"
            )
        typer.echo(f"service    http://{host}:{port}/   (API: http://{host}:{port}/docs)")
        typer.echo(f"runs       {found.folder.resolve()}/tasks")
        uvicorn.run(make_app(found), host=host, port=port, log_config=_logging(log_level), server_header=False)


def _demo(stack: ExitStack, folder: Path) -> dict[str, Any]:
    """Start the demo's back-end; return settings with it, the demo's algorithm, and its catalogue."""
    from upscaling.demo.run import embedded_backend
    from upscaling.util.project import project_path

    user, password = "demo", secrets.token_urlsafe(16)
    os.environ |= {"UPSCALING_DEMO_USER": user, "UPSCALING_DEMO_PASSWORD": password}
    url = stack.enter_context(embedded_backend(folder / "demo", user=user, password=password))
    typer.echo(f"back-end   {url}   (simulated account, generated scenes)")
    variables = {"OPENEO_AUTH_USERNAME": "UPSCALING_DEMO_USER", "OPENEO_AUTH_PASSWORD": "UPSCALING_DEMO_PASSWORD"}
    platform = {"endpoint": url, "kind": "openeo", "auth": "basic", "slots": 2, "environment": variables}
    return {"folder": folder, "platforms": [platform], "sources": [str(project_path("config", "demo"))]}


def _logging(level: str) -> dict[str, Any]:
    """Return the logging of the service: one JSON object a line, on standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "upscaling.service.logs.JsonFormatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "loggers": {
            "upscaling": {"handlers": ["stderr"], "level": level.upper()},
            "uvicorn": {"handlers": ["stderr"], "level": "WARNING"},
        },
    }
