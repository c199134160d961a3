"""Publish the result of a task: a look at what would be sent, then a process of its own that sends it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upscaling.service.access.auth import User
from upscaling.service.phase import run_folder
from upscaling.service.runner import start_apart
from upscaling.service.settings import ServiceSettings, Target
from upscaling.service.store import Task
from upscaling.service.tasks import RefusedError, Tasks
from upscaling.util.files import read_json, write_json
from upscaling.util.process import start_of
from upscaling.util.text import last_words

__all__ = ["dry_run", "publication", "publish", "target_of"]

_CONFIG, _LOG, _PROCESS = "publish.yaml", "publish.log", "publish.json"
_MOST_LINES = 60


def target_of(settings: ServiceSettings, name: str | None, given: Mapping[str, Any]) -> Target:
    """Return where to publish: a target that the operator listed, or with ``any_source`` what the user named.

    Raises
    ------
    RefusedError
        If it may not be used here.
    """
    if name:
        found = next((target for target in settings.publish if target.name == name), None)
        if found is None:
            known = ", ".join(target.name for target in settings.publish) or "none"
            raise RefusedError(f"this service has no {name[:80]!r}; it has {known}", key="target")
        return found
    if not settings.any_source:
        raise RefusedError("name one of this service's; an address of your own cannot be given here", key="target")
    from pydantic import ValidationError

    try:
        return Target(name="address", **{key: value for key, value in given.items() if value})
    except ValidationError as error:
        first = error.errors()[0]
        raise RefusedError("must be like s3://bucket/prefix", key=str(first["loc"][0])) from None


def dry_run(tasks: Tasks, task: Task, target: Target, *, partial: bool) -> list[str]:
    """Return what would be sent, a line each; nothing is.

    Raises
    ------
    RefusedError
        With what stands in the way.
    """
    folder = tasks.folder(task)
    _write_config(folder, target)
    command = [*_command(partial=partial), "--dry-run"]
    done = tasks.runner.tool(folder, task.id, *command, secrets=target.secrets)
    if done is None or done.returncode != 0:
        raise RefusedError(_why(done.stderr if done else ""), code="CONFLICT", status=409)
    return done.stdout.splitlines()[-_MOST_LINES:]


def publish(tasks: Tasks, user: User, task: Task, target: Target, *, partial: bool) -> dict[str, Any]:
    """Begin to publish; return what ``publication`` says. What is there already is not sent again."""
    folder = tasks.folder(task)
    if publication(tasks, task)["state"] == "running":
        raise RefusedError("the result is being published already", code="CONFLICT", status=409)
    _write_config(folder, target)
    (run_folder(folder) / "published.json").unlink(missing_ok=True)
    with (folder / _LOG).open("wb") as log:
        child = start_apart(["upscaling", *_command(partial=partial)], folder, target.secrets, log)
    write_json(folder / _PROCESS, {"pid": child.pid, "began": start_of(child.pid), "target": target.name})
    tasks.store.write_down(user.name, "publish", task.id, target.s3)
    return publication(tasks, task)


def publication(tasks: Tasks, task: Task) -> dict[str, Any]:
    """Return how far a publication is: ``state`` (none, running, published, failed), ``lines``, ``record``."""
    folder = tasks.folder(task)
    try:
        process = read_json(folder / _PROCESS)
    except FileNotFoundError:
        return {"state": "none", "lines": [], "record": None, "target": None}
    log = (folder / _LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    record = run_folder(folder) / "published.json"
    if process["began"] and start_of(process["pid"]) == process["began"]:
        state = "running"
    else:
        state = "published" if record.is_file() else "failed"
    return {
        "state": state,
        "lines": log[-_MOST_LINES:] if state != "failed" else [_why("\n".join(log))],
        "record": read_json(record) if state == "published" else None,
        "target": process["target"],
    }


def _command(*, partial: bool) -> list[str]:
    return ["publish", "config.yaml", _CONFIG, *(["--partial"] if partial else [])]


def _write_config(folder: Path, target: Target) -> None:
    import yaml

    values = target.model_dump(exclude={"name", "environment"}, exclude_none=True)
    name = run_folder(folder).name
    for key in ("s3", "public_url"):
        if key in values:
            values[key] = f"{values[key].rstrip('/')}/{name}"
    (folder / _CONFIG).write_text(yaml.safe_dump({"publish": values}))


def _why(output: str) -> str:
    return last_words(output) or "publishing ended without a word"
