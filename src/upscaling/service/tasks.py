"""Tasks of a service: made once, run as ordinary runs, and described from their folders."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError

from upscaling.errors import UpscalingError
from upscaling.jobs.withdrawn import withdraw
from upscaling.service.access.auth import Authenticator, AuthError, User
from upscaling.service.phase import Name, Phase, read_phase, run_within, write_phase
from upscaling.service.prepare import begin, plan_config, plan_request
from upscaling.service.runner import Runner
from upscaling.service.settings import Platform, ServiceSettings, lies_below
from upscaling.service.states import NAMES, RunStates
from upscaling.service.store import BACKEND_KINDS, Store, Task, now
from upscaling.util.files import digest, read_json, write_json

__all__ = ["RefusedError", "Tasks"]

_CREDIT_DAYS = 30
_MOST_NAMED = 10_000  # tiles on a command line
_NOT_READ = "this service reads no algorithms from {}"


class RefusedError(UpscalingError):
    """A request that cannot be taken.

    Parameters
    ----------
    message
        What is wrong.
    key
        What of the request it is about, as ``area.aoi``; it stands before the message.
    code
        The contract's ``error_code``.
    status
        Of HTTP.
    """

    def __init__(
        self, message: str, *, key: str | None = None, code: str = "VALIDATION_ERROR", status: int = 422
    ) -> None:
        self.key, self.code, self.status = key, code, status
        super().__init__(f"{key}: {message}" if key else message)
        self.message = message


class Tasks:
    """The tasks of all users.

    Parameters
    ----------
    settings
        Of the service.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        settings.folder.mkdir(parents=True, exist_ok=True)
        self._root = settings.folder.resolve() / "tasks"
        self.store = Store(settings.database_url)
        self.authenticator = Authenticator(settings)
        self.runner = Runner(settings, environment=self._environment, ended=self._ended)
        # Planning is a second of computing: in a process of its own, requests go on being answered meanwhile.
        self._pool = ProcessPoolExecutor(
            1, mp_context=multiprocessing.get_context("spawn"), initializer=begin, initargs=(os.getpid(),)
        )

    def start(self) -> None:
        """Go on with every task that has not ended."""
        self._pool.submit(int)  # started now, and not by the first request
        for task in self.store.tasks(active=True):
            if (self.folder(task) / "config.yaml").is_file():
                self.runner.watch(task.id, self.folder(task))
        self.runner.start()

    def stop(self) -> None:
        """Stop looking after the runs; they go on."""
        self.runner.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def folder(self, task: Task) -> Path:
        """Return the folder of a task."""
        return self._root / task.run

    # --- making tasks

    def request(self, user: User, kind: str, asked: BaseModel, idempotency: str | None = None) -> Task:
        """Make a task of a request of the Dispatch API, or return the one that it repeats.

        Raises
        ------
        RefusedError
            With what is wrong; nothing was kept or sent.
        """
        body = asked.model_dump(mode="json")
        label = str(body["label"])
        platform = self._platform(body["service"], BACKEND_KINDS[label])
        application = str(body["service"]["application"])
        if label == "openeo" and not self.may_read(user, application):
            raise RefusedError(_NOT_READ.format(_host(application)), key="service.application")
        dimension = body.get("dimension")
        self._check_quota(user, len(dimension["values"]) if dimension else 1)
        fingerprint = digest([kind, {name: body[name] for name in body if name != "title"}])
        spec = {
            "kind": BACKEND_KINDS[label],
            "source": self.settings.mirrored(application) if label == "openeo" else application,
            "url": self.settings.mirrored(_address(body["service"])),
            "parameters": body["parameters"],
            "format": body.get("format"),
            "dimension": dimension,
            "backend": {"auth": platform.auth, "slots": platform.slots, **platform.options},
        }
        return self._make(user, kind, body, plan_request, spec, fingerprint=fingerprint, idempotency=idempotency)

    def from_config(
        self, user: User, config: Mapping[str, Any], *, title: str, start: bool, idempotency: str | None = None
    ) -> Task:
        """Make a task of a whole configuration, or return the one that it repeats.

        Raises
        ------
        RefusedError
            With what is wrong; nothing was kept or sent.
        """
        values, label, source = self._checked(user, config)
        body = {
            "title": title,
            "label": label,
            "service": {"endpoint": str(_block(config, "backend").get("url") or ""), "application": source},
            "parameters": values["algorithm"].get("parameters") or {},
        }
        fingerprint = digest(["run", values])
        return self._make(
            user, "run", body, plan_config, values, fingerprint=fingerprint, idempotency=idempotency, start=start
        )

    def _checked(self, user: User, config: Mapping[str, Any]) -> tuple[dict[str, Any], str, str]:
        """Return a configuration as it is run here, its label, and its source; refuse what the service does not use."""
        values = {**config, "run": "run"}
        values.pop("pathvars", None)
        values.pop("publish", None)  # where to is chosen when it is published
        backend, algorithm = _block(values, "backend"), _block(values, "algorithm")
        source = str(algorithm.get("source") or "")
        if not self.may_read(user, source) and not self.may_read(user, str(algorithm.get("catalogue") or "")):
            raise RefusedError(_NOT_READ.format(_host(source)), key="algorithm.source")
        kind = str(backend.get("kind"))
        label = {"openeo": "openeo", "ogcapi": "ogc_api_process"}.get(kind, kind)
        if kind in BACKEND_KINDS.values():
            platform = self._platform({"endpoint": backend.get("url") or ""}, kind)
            backend = {
                **platform.options,
                **backend,
                "auth": platform.auth,
                "url": self.settings.mirrored(backend["url"]),
            }
            backend["slots"] = min(int(backend.get("slots") or platform.slots), platform.slots)
        for name in ("source", "catalogue"):
            if algorithm.get(name):
                algorithm[name] = self.settings.mirrored(str(algorithm[name]))
        return {**values, "backend": backend, "algorithm": algorithm}, label, source

    def preview(self, user: User, config: Mapping[str, Any]) -> dict[str, Any]:
        """Plan a configuration and forget it: ``targets``, ``notices`` and ``example``, the parameters of one tile.

        Raises
        ------
        RefusedError
            With the key and what is wrong.
        """
        values = self._checked(user, config)[0]
        with tempfile.TemporaryDirectory() as scratch:
            return self._planned(plan_config, scratch, values)

    def _planned(self, planner: Any, folder: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        planned: dict[str, Any] = self._pool.submit(planner, folder, spec).result()
        if "error" in planned:
            raise RefusedError(planned["error"], key=planned.get("key"))
        return planned

    def _make(
        self,
        user: User,
        kind: str,
        body: Mapping[str, Any],
        planner: Any,
        spec: Mapping[str, Any],
        *,
        fingerprint: str,
        idempotency: str | None,
        start: bool = True,
    ) -> Task:
        found = self._same(user, fingerprint, idempotency)
        if found is not None:
            return found
        name = uuid.uuid4().hex[:16]
        folder = self._root / name
        task = Task(
            user=user.name,
            kind=kind,
            title=str(body["title"]),
            label=str(body["label"]),
            service=dict(body["service"]),
            run=name,
            fingerprint=fingerprint,
            idempotency=idempotency,
        )
        try:
            planned = self._planned(planner, str(folder), {**spec, "run": _run_name(task.title, name)})
            task.jobs = planned["targets"]
            self._check_quota(user, task.jobs)
            write_json(folder / "request.json", dict(body))
            write_phase(folder, Phase("queued" if start else "draft"))
            self.store.add(task)
        except (RefusedError, IntegrityError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, IntegrityError):  # the same key came twice at the same moment
                found = self._same(user, fingerprint, idempotency)
            if found is None:
                raise
            return found
        self.store.write_down(user.name, "create", task.id, f"{task.jobs} tiles on {body['service'].get('endpoint')}")
        self.runner.watch(task.id, folder)
        return task

    def _same(self, user: User, fingerprint: str, idempotency: str | None) -> Task | None:
        since = now() - dt.timedelta(hours=self.settings.attach_hours)
        if idempotency is None and not self.settings.attach_hours:
            return None
        found = self.store.same(user.name, fingerprint=fingerprint, idempotency=idempotency, since=since)
        if found is None or idempotency is not None:
            return found
        # What a user canceled, or what failed, is asked for anew.
        return None if read_phase(self.folder(found)).name in {"canceled", "stopped"} else found

    def _platform(self, service: Mapping[str, Any], kind: str) -> Platform:
        endpoint = str(service.get("endpoint") or "")
        platform = self.settings.platform(endpoint, kind)
        if platform is None:
            known = ", ".join(one.endpoint for one in self.settings.platforms if one.kind == kind) or "none of its kind"
            raise RefusedError(f"this service does not use {_host(endpoint)}; it uses {known}", key="service.endpoint")
        return platform

    def _check_quota(self, user: User, tiles: int) -> None:
        quota = self.settings.quota
        if tiles > quota.tiles:
            raise RefusedError(f"{tiles} tiles are more than a task may have here ({quota.tiles})")
        active = len(self.store.tasks(user.name, active=True))
        if active >= quota.tasks:
            raise RefusedError(f"you have {active} tasks that have not ended, and may have {quota.tasks}", status=429)
        if quota.credits is not None:
            spent = self.store.spent(user.name, now() - dt.timedelta(days=_CREDIT_DAYS))
            if spent >= quota.credits:
                raise RefusedError(
                    f"your tasks of the last {_CREDIT_DAYS} days cost {spent:g}, and may cost {quota.credits:g}",
                    status=429,
                )

    # --- what becomes of them

    def _environment(self, task_id: int) -> Mapping[str, str] | None:
        task = self.store.task(task_id)
        if task is None:
            return None
        platform = self.settings.platform(str(task.service.get("endpoint") or ""), task.backend_kind)
        if platform is None:
            return {}
        try:
            return self.authenticator.variables(task.user, platform)
        except AuthError:
            return None

    def _ended(self, task_id: int, states: RunStates) -> None:
        phase = read_phase(states.run_folder.parents[1])
        self.store.change(task_id, ended=phase.final, costs=states.sums.costs, updated=now())

    def states(self, task: Task) -> RunStates:
        """Return the states of a task's tiles."""
        return self.runner.states(self.folder(task))

    def phase(self, task: Task) -> Phase:
        """Return where the process of a task stands."""
        return read_phase(self.folder(task))

    def body(self, task: Task) -> dict[str, Any]:
        """Return the request that a task was made of."""
        return dict(read_json(self.folder(task) / "request.json"))

    def ask(self, user: User, task: Task, name: Name, *, target: tuple[str, ...] = (), back: str = "") -> Phase:
        """Start, pause, cancel or retry a task; a retry of some tiles leads ``back`` to where the task stood."""
        phase = self.runner.ask(task.id, self.folder(task), name, target=target, back=back if target else "")
        self.store.change(task.id, ended=phase.final, updated=now())
        self.store.write_down(user.name, name, task.id)
        return phase

    def group(self, task: Task, reason: str) -> tuple[str, ...]:
        """Return what Snakemake makes where tiles that failed for one reason run again; nothing if no other is left."""
        states = self.states(task)
        states.refresh(at_most_every=0)
        tiles = states.failed_for(reason)
        if not tiles:
            raise RefusedError("no tile of this run failed for this reason", code="CONFLICT", status=409)
        if len(tiles) == len(states.states) - states.sums.counts["finished"]:
            return ()
        if len(tiles) > _MOST_NAMED:
            raise RefusedError(f"{len(tiles)} tiles are too many to be named: retry all that failed")
        return tuple(f"results/{states.run_folder.name}/tiles/{tile}/item.json" for tile in tiles)

    def may_read(self, user: User, source: str) -> bool:
        """Whether a user's algorithm may come from ``source``: what the operator lists, and the user's own files."""
        return self.settings.may_read(source) or lies_below(source, str(self.uploads(user)))

    def uploads(self, user: User) -> Path:
        """Return the folder of the files that a user brought."""
        return self.settings.folder.resolve() / "uploads" / digest([user.name])[:16]

    def cancel_tile(self, user: User, task: Task, index: int) -> None:
        """Take one tile out of a task: it is not begun any more; its job on the platform is canceled if it has one."""
        states = self.states(task)
        states.refresh(at_most_every=0)
        state = states.states[index]
        if state.state not in {"finished", "failed", "canceled"}:
            withdraw(states.run_folder, state.tile)  # first of all: it may be begun at this moment
            states.refresh(at_most_every=0)
            state = states.states[index]
        if state.state in {"created", "queued", "running"} and state.job_id:
            self.runner.tool(self.folder(task), task.id, "cancel", run_within(self.folder(task)), "--tile", state.tile)
            self.store.write_down(user.name, "cancel tile", task.id, state.tile)

    def status(self, task: Task, states: RunStates, phase: Phase) -> str:
        """Return the contract's status of a whole task: never final before its last tile is."""
        if phase.name == "canceled":
            return "canceled"
        counts = states.sums.counts
        if not phase.final:
            begun = phase.name == "running" or any(counts[name] for name in ("queued", "running", "finished", "failed"))
            return "running" if begun else "created"
        if counts["finished"]:
            return "finished"
        return "canceled" if counts["canceled"] == task.jobs else "failed"

    def job_status(self, states: RunStates, phase: Phase, index: int) -> tuple[str, str | None]:
        """Return the contract's status of one tile, and why it failed or was not begun."""
        state = states.states[index]
        name = NAMES[state.state]
        if phase.final and name in {"created", "queued", "running"}:
            return "canceled", phase.reason or "the run was ended before this tile was begun"
        return name, state.error if name in {"failed", "canceled"} else None


def _run_name(title: str, task: str) -> str:
    """Return a name for a run that no other has: a collection is published under it."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", title).strip("-")[:60].strip("-").lower() or "run"
    return f"{words}-{task[:8]}"


def _block(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a block of a configuration that was not checked yet; empty if it is none."""
    block = config.get(name)
    return dict(block) if isinstance(block, Mapping) else {}


def _address(service: Mapping[str, Any]) -> str:
    endpoint = str(service["endpoint"]).rstrip("/")
    return f"{endpoint}/{str(service['namespace']).strip('/')}" if service.get("namespace") else endpoint


def _host(address: str) -> str:
    """Return the host of an address for a message: the rest may hold what is nobody's business."""
    from urllib.parse import urlsplit

    try:
        return urlsplit(address).hostname or "there"
    except ValueError:
        return "there"
