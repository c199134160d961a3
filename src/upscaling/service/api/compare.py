"""Estimates of a task: on its own platform, and on the others that the service uses."""

from __future__ import annotations

import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from upscaling.service.access.auth import AuthError
from upscaling.service.api.deps import AskedRun
from upscaling.service.phase import run_within
from upscaling.service.settings import Platform
from upscaling.service.tasks import RefusedError
from upscaling.util.text import last_words, plain_text

__all__ = ["estimate_of", "platforms", "requirements_of"]

_AT_ONCE = 2


def estimate_of(run: AskedRun) -> str:
    """Return the estimate of a run, as JSON.

    Raises
    ------
    RefusedError
        With the reason why there is none.
    """
    return _json(_tool(run, "estimate", "config.yaml", "--json"))


def requirements_of(run: AskedRun) -> Path:
    """Write the page of a run that is handed to a platform operator; return its path.

    Raises
    ------
    RefusedError
        With the reason why there is none.
    """
    title = plain_text(run.task.title)
    done = _tool(run, "requirements", "report", run_within(run.folder), f"--title={title}")
    if done.returncode:
        raise RefusedError(last_words(done.stderr) or "there is no page")
    return run.folder / "requirements" / "requirements.html"


def _tool(run: AskedRun, *arguments: str, platform: Platform | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of ``upscaling`` with the credentials for the run's own platform, or for another."""
    tasks, done = run.tasks, None
    secrets = None if platform is None else tasks.authenticator.variables(run.user.name, platform)
    if platform is None or secrets is not None:
        done = tasks.runner.tool(run.folder, run.task.id, *arguments, secrets=secrets)
    if done is None:
        raise RefusedError("log in again: the platform is asked with your account", code="NOT_READY", status=409)
    return done


def _json(done: subprocess.CompletedProcess[str]) -> str:
    if done.stdout.lstrip().startswith("{"):  # status 1 with an estimate: it says that the run is not possible
        return done.stdout
    raise RefusedError(last_words(done.stderr) or "there is no estimate")


def platforms(run: AskedRun) -> list[dict[str, Any]]:
    """Return a row for each platform of the service that speaks the protocol of the run's own, which comes first.

    Each is asked in a process of its own, with the credentials for it alone.
    """
    own = str(run.task.service.get("endpoint") or "").rstrip("/")
    others = [
        one
        for one in run.tasks.settings.platforms
        if one.kind == run.task.backend_kind and one.endpoint.rstrip("/") != own
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda platform: _row(run, platform), [None, *others]))


def _row(run: AskedRun, platform: Platform | None) -> dict[str, Any]:
    from upscaling.estimate.compare import PlatformRow, row_of
    from upscaling.estimate.model import Estimate

    kind = run.task.backend_kind
    address = platform.endpoint if platform else str(run.task.service.get("endpoint") or "this machine")
    try:
        text = estimate_of(run) if platform is None else _elsewhere(run, platform)
    except (RefusedError, AuthError) as error:
        row = PlatformRow(platform=address, kind=kind, possible="no", refusals=[str(error)])
    else:
        row = row_of(Estimate.model_validate_json(text), kind).model_copy(update={"platform": address})
    return row.model_dump(mode="json")


def _elsewhere(run: AskedRun, platform: Platform) -> str:
    import yaml

    backend = {
        **platform.options,
        "url": run.tasks.settings.mirrored(platform.endpoint),
        "auth": platform.auth,
        "slots": platform.slots,
    }
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "platform.yaml"
        path.write_text(yaml.safe_dump({"backend": backend}))
        return _json(_tool(run, "estimate", "config.yaml", str(path), "--json", platform=platform))
