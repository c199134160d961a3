"""What every request needs: the service's tasks, who asks, and the task that is meant, if the asker may see it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from upscaling.service.access.auth import LOCAL, User
from upscaling.service.access.provider import COOKIE
from upscaling.service.phase import Phase, run_folder
from upscaling.service.states import RunStates
from upscaling.service.store import Task
from upscaling.service.tasks import RefusedError, Tasks

__all__ = ["AskedRun", "CurrentUser", "ThisRun", "check_visible", "tasks_of", "visible_job", "visible_task"]

_bearer = HTTPBearer(auto_error=False, description="An access token of the provider; none in local mode.")


def tasks_of(request: Request) -> Tasks:
    """Return the tasks of the service that the request came to."""
    tasks: Tasks = request.app.state.tasks
    return tasks


async def user_of(request: Request, found: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> User:
    """Return who asks.

    Raises
    ------
    AuthError
        Without a valid token, where one is needed. A token in the query is not taken here.
    """
    authenticator = tasks_of(request).authenticator
    token = found.credentials if found else None
    if token is None and request.method in {"GET", "HEAD"}:
        token = request.cookies.get(COOKIE)
    user = LOCAL if authenticator.local else await run_in_threadpool(authenticator.user, token)
    request.state.user = user.name
    return user


CurrentUser = Annotated[User, Depends(user_of)]


def visible_task(request: Request, user: User, task_id: int) -> Task:
    """Return a task of the user (of anybody for an admin).

    Raises
    ------
    RefusedError
        404, also for another user's: nobody learns which numbers there are.
    """
    return check_visible(tasks_of(request).store.task(task_id), user, task_id)


def check_visible(task: Task | None, user: User, task_id: int) -> Task:
    """Return a task that was found, if the user may see it; refuse it like one that is not there."""
    if task is None or (task.user != user.name and not user.admin):
        raise RefusedError(f"Upscale task {task_id} not found", code="TASK_NOT_FOUND", status=404)
    return task


class AskedRun:
    """A run that a request is about and its user may see, with what is known of it.

    Attributes
    ----------
    folder, run_folder
        Of the task, in which its commands work; and of the run, below it.
    address
        Of the run in this service, as its user sees it.
    """

    def __init__(self, run: int, request: Request, user: CurrentUser) -> None:
        self.tasks, self.user = tasks_of(request), user
        self.task = visible_task(request, user, run)
        self.folder = self.tasks.folder(self.task)
        self.run_folder = run_folder(self.folder)
        public = self.tasks.settings.public_url or str(request.base_url)
        self.address = f"{public.rstrip('/')}/v1/runs/{run}"

    @property
    def states(self) -> RunStates:
        """The states of its tiles."""
        return self.tasks.states(self.task)

    @property
    def phase(self) -> Phase:
        """Where its process stands."""
        return self.tasks.phase(self.task)


ThisRun = Annotated[AskedRun, Depends()]


def visible_job(request: Request, user: User, job_id: int) -> tuple[Task, int]:
    """Return the task of a job and the job's place in it, likewise."""
    task = tasks_of(request).store.task_of_job(job_id)
    if task is None or (task.user != user.name and not user.admin):
        raise RefusedError(f"Job {job_id} was not found", code="JOB_NOT_FOUND", status=404)
    return task, job_id - task.first_job
