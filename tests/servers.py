"""Real servers for tests, as processes of their own."""

from __future__ import annotations

import functools
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = [
    "BIN",
    "EmbeddedBackend",
    "bound_to_this_process",
    "environment",
    "free_port",
    "listening",
    "object_storage",
    "scene_collections",
    "served",
    "stopped",
]

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


def bound_to_this_process(command: Sequence[str], sign: str = "TERM") -> list[str]:
    """Return a command that the kernel ends with the process that starts it, a killed one too.

    A server in a session of its own outlives a killed test process otherwise. Linux only; elsewhere the command itself.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", sign, "--", *command] if setpriv else list(command)


def listening(
    command: Sequence[str],
    port: int,
    log: Path,
    *,
    variables: Mapping[str, str] | None = None,
    folder: Path | None = None,
    seconds: float = 120,
    sign: str = "TERM",
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Start a server, bound to this process and in a session of its own; return it when its port is open."""
    with log.open("ab") as stream:
        process = subprocess.Popen(
            bound_to_this_process(command, sign),
            env=variables,
            cwd=folder,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            **options,
        )
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.1)
    stopped(process, signal.SIGKILL)
    raise AssertionError(f"{command[0]} did not open port {port}: {log.read_text()[-2000:]}")


def stopped(process: subprocess.Popen[bytes] | None, sign: int = signal.SIGTERM, *, group: bool = False) -> None:
    """Stop a server, or with ``group`` all processes of its session; kill it if it has not ended after 30 s."""
    if process is None:
        return
    send = os.killpg if group else os.kill
    if process.poll() is None:
        send(process.pid, sign)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        send(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def object_storage(
    bucket: str = "bucket", wrap: Callable[[Any], Any] = lambda application: application
) -> Iterator[str]:
    """Run a moto server with one bucket that everybody may read; gives its address.

    ``wrap`` gets its WSGI application, to watch it or to let it fail.
    """
    import requests
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, wrap(DomainDispatcherApplication(create_backend_app)), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    requests.post(f"{url}/moto-api/reset", timeout=60)
    requests.put(f"{url}/{bucket}", timeout=60)
    policy = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    answer = requests.put(
        f"{url}/{bucket}?policy", data=json.dumps({"Version": "2012-10-17", "Statement": [policy]}), timeout=60
    )
    assert answer.ok
    yield url
    server.shutdown()
    thread.join()
    server.server_close()


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
    user: str = USER
    others: Sequence[str] = ()  # users beside that one: each has jobs of its own

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/openeo/1.2"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a user of this back-end."""
        return environment(OPENEO_AUTH_USERNAME=self.user, OPENEO_AUTH_PASSWORD=PASSWORD)

    def as_user(self, name: str) -> EmbeddedBackend:
        """The same back-end, as another of its users sees it."""
        return replace(self, user=name)

    def start(self) -> EmbeddedBackend:
        self.root.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "upscaling", "local-backend", "--data", str(self.data)]
        command += ["--root", str(self.root), "--port", str(self.port), "--slots", str(self.slots)]
        command += ["--simulate", *map(str, self.simulate)] if self.simulate else []
        command += ["--simulate-costs", *map(str, self.costs)] if self.costs else []
        command = self._with_others() if self.others else command
        secrets = {**self.environment, "OPENEO_LOCAL_USER": USER, "OPENEO_LOCAL_PASSWORD": PASSWORD}
        self.process = listening(command, self.port, self.root.parent / "backend.log", variables=secrets)
        return self

    def stop(self, sign: int = signal.SIGTERM) -> None:
        stopped(self.process, sign)
        self.process = None

    def jobs(self) -> list[dict[str, Any]]:
        """The platform's own job list."""
        import openeo

        connection = openeo.connect(self.url).authenticate_basic(self.user, PASSWORD)
        return list(connection.get("/jobs", params={"limit": 10_000}).json()["jobs"])

    def end_jobs(self) -> None:
        """Cancel what a test left running."""
        import openeo

        connection = openeo.connect(self.url).authenticate_basic(self.user, PASSWORD)
        for job in self.jobs():
            if job["status"] in {"created", "queued", "running"}:
                connection.delete(f"/jobs/{job['id']}", expected_status=204)

    def _with_others(self) -> list[str]:
        """The command to serve more users than the command line has."""
        users = dict.fromkeys((self.user, *self.others), PASSWORD)
        facts = f"data=Path({str(self.data)!r}), root=Path({str(self.root)!r}), port={self.port}, slots={self.slots}"
        facts += f", simulate={self.simulate!r}"
        imports = "from pathlib import Path; from upscaling.local_backend.server import serve"
        return [sys.executable, "-c", f"{imports}; serve({facts}, users={users!r})"]
