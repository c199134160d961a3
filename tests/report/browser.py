"""A headless Chromium that a test looks through: the page, its console, a click, a picture (DevTools protocol)."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import WebSocketClientConnection, websocket_connect

from tests.conftest import missing
from tests.servers import bound_to_this_process

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-port=0",
    "--remote-allow-origins=*", "--window-size=1500,1100",
]  # fmt: skip


class Page:
    """One tab."""

    def __init__(self, socket: WebSocketClientConnection) -> None:
        self._socket, self._number = socket, 0
        self.complaints: list[str] = []
        self.requests: list[str] = []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        await self._socket.write_message(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(await asyncio.wait_for(self._socket.read_message(), 60))  # type: ignore[arg-type]
            if message.get("id") == self._number:
                assert "error" not in message, message
                return dict(message["result"])
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        method, facts = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(facts["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and facts["type"] in {"error", "warning", "assert"}:
            self.complaints.append(str([entry.get("value") for entry in facts["args"]]))
        elif method == "Log.entryAdded" and facts["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(facts["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(facts["request"]["url"])

    async def evaluate(self, expression: str) -> Any:
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, expression: str, seconds: float = 60) -> float:
        """Wait until something is true; return the seconds since the page began to load."""
        deadline = time.monotonic() + seconds
        while not await self.evaluate(expression):
            assert time.monotonic() < deadline, f"not true: {expression}; {self.complaints}"
            await asyncio.sleep(0.02)
        return float(await self.evaluate("performance.now() / 1000"))

    async def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def picture(self, path: Path) -> None:
        answer = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))


@asynccontextmanager
async def opened(url: str, folder: Path) -> AsyncIterator[Page]:
    """Open a page in a browser of its own, which keeps its files in ``folder``."""
    program = shutil.which("chromium")
    if program is None:
        missing("chromium")
    assert program is not None
    profile = folder / "profile"
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            bound_to_this_process([program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]),
            stdout=log,
            stderr=log,
        )
    try:
        port = await _port(profile / "DevToolsActivePort", process)
        answer = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/json/list")
        target = next(entry for entry in json.loads(answer.body) if entry["type"] == "page")
        socket = await websocket_connect(target["webSocketDebuggerUrl"], max_message_size=1 << 28)
        page = Page(socket)
        for domain in ("Runtime", "Log", "Network", "Page"):
            await page.call(f"{domain}.enable")
        await page.call("Page.navigate", url=url)
        yield page
        socket.close()
        while await socket.read_message() is not None:
            pass
    finally:
        process.terminate()
        process.wait(200)


async def _port(path: Path, process: subprocess.Popen[bytes]) -> int:
    for _ in range(600):
        assert process.poll() is None, "chromium ended at once"
        if path.is_file() and path.read_text().strip():
            return int(path.read_text().split()[0])
        await asyncio.sleep(0.05)
    raise AssertionError("chromium did not open its port within 30 s")
