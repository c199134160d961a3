"""Status over websockets, in the contract's three messages: ``status`` only when something changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool
from starlette.websockets import WebSocketState

from upscaling.service.access.auth import AuthError, User
from upscaling.service.api.deps import check_visible
from upscaling.service.api.render import status_json, task_json
from upscaling.service.states import FINAL
from upscaling.service.tasks import RefusedError, Tasks

__all__ = ["router"]

router = APIRouter()
_LOOK_SECONDS = 0.5


@router.websocket("/ws/upscale_tasks/{task_id}")
async def watch_task(
    socket: WebSocket, task_id: int, interval: Annotated[float, Query(gt=0)] = 10, token: str | None = None
) -> None:
    """Send a task whenever it changes, until it has come to its end."""

    def content(tasks: Tasks, user: User) -> tuple[bytes, bool]:
        task = check_visible(tasks.store.task(task_id), user, task_id)
        body, _ = task_json(tasks, task)
        return body, tasks.status(task, tasks.states(task), tasks.phase(task)) in FINAL

    await _stream(socket, content, interval=interval, token=token, named={"task_id": task_id})


@router.websocket("/ws/jobs_status")
async def watch_all(
    socket: WebSocket,
    interval: Annotated[float, Query(gt=0)] = 10,
    filter: Annotated[list[str] | None, Query()] = None,  # noqa: A002
    token: str | None = None,
) -> None:
    """Send the states of all tasks and jobs of a user whenever one changes."""
    wanted = filter or ["upscaling", "processing"]

    def content(tasks: Tasks, user: User) -> tuple[bytes, bool]:
        return status_json(tasks, user, wanted), False

    await _stream(socket, content, interval=interval, token=token, named={})


async def _stream(
    socket: WebSocket,
    content: Callable[[Tasks, User], tuple[bytes, bool]],
    *,
    interval: float,
    token: str | None,
    named: dict[str, Any],
) -> None:
    import orjson

    tasks: Tasks = socket.app.state.tasks
    header = socket.headers.get("authorization", "")
    token = token or (header.partition(" ")[2] if header.lower().startswith("bearer ") else None)
    if tasks.settings.auth != "none" and not token:
        await socket.close(1008)  # before it is accepted: the handshake is answered with 403
        return
    await socket.accept()

    async def send(kind: str, message: str | None, data: bytes = b"null") -> None:
        head = orjson.dumps({"type": kind, "message": message, **named})
        await socket.send_text((head[:-1] + b',"data":' + data + b"}").decode())

    listening = asyncio.create_task(_until_closed(socket))
    try:
        await send("init", "Starting status stream")
        user = await run_in_threadpool(tasks.authenticator.user, token)
        sent, beat = b"", 0.0
        while not listening.done():
            body, final = await run_in_threadpool(content, tasks, user)
            due = time.monotonic() - beat >= interval
            if body != sent or due:
                await send("loading", "Starting retrieval of status")
                beat = time.monotonic()
            if body != sent:
                await send("status", None, body)
                sent = body
            if final:
                await socket.close(1000)
                return
            await asyncio.wait({listening}, timeout=min(interval, _LOOK_SECONDS))
    except (AuthError, RefusedError) as error:
        await send("error", str(error))
        await socket.close(1011, reason=error.code if isinstance(error, RefusedError) else "AUTHENTICATION_FAILED")
    except (WebSocketDisconnect, RuntimeError):
        if socket.application_state == WebSocketState.CONNECTED and not listening.done():
            raise
    finally:
        listening.cancel()


async def _until_closed(socket: WebSocket) -> None:
    """Wait until the other side goes away; what it sends is not read."""
    with suppress(WebSocketDisconnect, RuntimeError):
        while (await socket.receive())["type"] != "websocket.disconnect":
            continue
