"""Estimates of a task: on its own platform, and on the others that the service uses."""

from __future__ import annotations

import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from upscaling.service.access.auth import AuthError, User
from upscaling.service.phase import run_folder
from upscaling.service.settings import Platform
from upscaling.service.store import Task
from upscaling.service.tasks import RefusedError, Tasks
from upscaling.util.text import plain_text

__all__ = ["estimate_of", "platforms", "requirements_of"]

_AT_ONCE = 2
_ESTIMATE = ("estimate", "config.yaml", "--json")


def estimate_of(tasks: Tasks, task: Task) -> str:
    """Return the estimate of a task, as JSON.

    Raises
    ------
    RefusedError
        With the reason why there is none.
    """
    done = tasks.runner.tool(tasks.folder(task), task.id, *_ESTIMATE)
    if done is None:
        raise _logged_out()
    return _json(done)


def requirements_of(tasks: Tasks, task: Task) -> Path:
    """Write the page of a task that is handed to a platform operator; return its path.

    Raises
    ------
    RefusedError
        With the reason why there is none.
    """
    folder = tasks.folder(task)
    where = str(run_folder(folder).relative_to(folder))
    done = tasks.runner.tool(folder, task.id, "requirements", "report", where, f"--title={plain_text(task.title)}")
    if done is None:
        raise _logged_out()
    if done.returncode:
        raise _refusal(done)
    return folder / "requirements" / "requirements.html"


def _logged_out() -> RefusedError:
    return RefusedError("log in again: the platform is asked with your account", code="NOT_READY", status=409)


def _refusal(done: subprocess.CompletedProcess[str]) -> RefusedError:
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return RefusedError(plain_text(lines[-1].removeprefix("error: "))[:500] if lines else "there is no estimate")


def _json(done: subprocess.CompletedProcess[str]) -> str:
    if done.stdout.lstrip().startswith("{"):  # status 1 with an estimate: it says that the run is not possible
        return done.stdout
    raise _refusal(done)


def platforms(tasks: Tasks, user: User, task: Task) -> list[dict[str, Any]]:
    """Return a row for each platform of the service that speaks the protocol of the task's own, which comes first.

    Each is asked in a process of its own, with the credentials for it alone.
    """
    kind = {"ogc_api_process": "ogcapi"}.get(task.label, task.label)
    own = str(task.service.get("endpoint") or "").rstrip("/")
    others = [one for one in tasks.settings.platforms if one.kind == kind and one.endpoint.rstrip("/") != own]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        mine = pool.submit(_row, tasks, user, task, None)
        rows = list(pool.map(lambda platform: _row(tasks, user, task, platform), others))
    return [mine.result(), *rows]


def _row(tasks: Tasks, user: User, task: Task, platform: Platform | None) -> dict[str, Any]:
    from upscaling.estimate.compare import PlatformRow, row_of
    from upscaling.estimate.model import Estimate

    kind = {"ogc_api_process": "ogcapi"}.get(task.label, task.label)
    address = platform.endpoint if platform else str(task.service.get("endpoint") or "this machine")
    try:
        text = estimate_of(tasks, task) if platform is None else _elsewhere(tasks, user, task, platform)
    except (RefusedError, AuthError) as error:
        row = PlatformRow(platform=address, kind=kind, possible="no", refusals=[str(error)])
    else:
        row = row_of(Estimate.model_validate_json(text), kind).model_copy(update={"platform": address})
    return row.model_dump(mode="json")


def _elsewhere(tasks: Tasks, user: User, task: Task, platform: Platform) -> str:
    import yaml

    secrets = tasks.authenticator.variables(user.name, platform)
    if secrets is None:
        raise _logged_out()
    folder = tasks.folder(task)
    backend = {
        **platform.options,
        "url": tasks.settings.mirrored(platform.endpoint),
        "auth": platform.auth,
        "slots": platform.slots,
    }
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "platform.yaml"
        path.write_text(yaml.safe_dump({"backend": backend}))
        arguments = (*_ESTIMATE[:2], str(path), *_ESTIMATE[2:])
        done = tasks.runner.tool(folder, task.id, *arguments, secrets=secrets)
    assert done is not None  # noqa: S101 -- there are credentials
    return _json(done)
