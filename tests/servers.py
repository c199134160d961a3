"""Real servers for tests, as processes of their own."""

from __future__ import annotations

import functools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["BIN", "EmbeddedBackend", "environment", "free_port", "scene_collections", "served"]

BIN = Path(sys.executable).parent
USER, PASSWORD = "tester", "correct-horse-battery"


def environment(**more: str) -> dict[str, str]:
    """The environment of somebody who has activated ours, as ``.venv/bin/activate`` does it."""
    return {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **more}


class QuietFolder(SimpleHTTPRequestHandler):
    """Serves the files of a folder, and tells nobody."""

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(folder: Path, handler: type[QuietFolder] = QuietFolder) -> Iterator[str]:
    """Serve a folder over HTTP; gives the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scene_collections(scene: Path, folder: Path) -> Path:
    """Describe the real scene to the embedded back-end as SENTINEL2_L2A."""
    path = folder / "collections.yaml"
    path.write_text(
        "collections:\n  SENTINEL2_L2A:\n    title: one real scene\n    items:\n"
        f"      - {{file: '{scene}', datetime: 2022-06-12T10:10:00Z, bands: [B04, B03, B02, B08, SCL]}}\n"
    )
    return path


@dataclass
class EmbeddedBackend:
    """The embedded openEO back-end on a port of its own; it keeps its jobs over a restart."""

    data: Path
    root: Path
    slots: int = 2
    port: int = field(default_factory=free_port)
    simulate: tuple[float, float] | None = None
    costs: tuple[float, float, int] | None = None  # of simulated jobs
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/openeo/1.2"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a user of this back-end."""
        return environment(OPENEO_AUTH_USERNAME=USER, OPENEO_AUTH_PASSWORD=PASSWORD)

    def start(self) -> EmbeddedBackend:
        self.root.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "upscaling", "local-backend", "--data", str(self.data)]
        command += ["--root", str(self.root), "--port", str(self.port), "--slots", str(self.slots)]
        command += ["--simulate", *map(str, self.simulate)] if self.simulate else []
        command += ["--simulate-costs", *map(str, self.costs)] if self.costs else []
        secrets = {**self.environment, "OPENEO_LOCAL_USER": USER, "OPENEO_LOCAL_PASSWORD": PASSWORD}
        with (self.root.parent / "backend.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=secrets, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert self.process.poll() is None, (self.root.parent / "backend.log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.1)
        raise AssertionError("the back-end did not start")

    def stop(self, sign: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(sign)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def jobs(self) -> list[dict[str, Any]]:
        """The platform's own job list."""
        import openeo

        connection = openeo.connect(self.url).authenticate_basic(USER, PASSWORD)
        return list(connection.get("/jobs", params={"limit": 10_000}).json()["jobs"])
