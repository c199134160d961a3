"""Real OGC API - Processes servers for tests, as processes of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import yaml
from tests.servers import environment, free_port, listening, stopped

HERE = Path(__file__).parent


@dataclass
class Server:
    """A server on a port of its own, with a folder for what it keeps."""

    folder: Path
    scene: Path | None = None
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def executions(self) -> list[dict[str, Any]]:
        """The inputs of every execution that the server began."""
        path = self.folder / "executions.ndjson"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def command(self) -> tuple[list[str], dict[str, str]]:
        raise NotImplementedError

    def start(self) -> Server:
        self.folder.mkdir(parents=True, exist_ok=True)
        command, own = self.command()
        log = self.folder / "server.log"
        self.process = listening(command, self.port, log, variables=environment(**own), folder=self.folder)
        return self

    def stop(self, sign: int = signal.SIGTERM) -> None:
        stopped(self.process, sign, group=True)
        self.process = None

    def jobs(self) -> list[dict[str, Any]]:
        found = requests.get(f"{self.url}/jobs", params={"limit": 1000, "f": "json"}, timeout=120).json()
        return list(found["jobs"])


@dataclass
class Pygeoapi(Server):
    """pygeoapi as it is installed, its jobs kept on disk, with the processes in ``processors``.

    ``echo``: its jobs also tell what they were sent.
    """

    echo: bool = False

    def command(self) -> tuple[list[str], dict[str, str]]:
        names = {"ndvi": "Ndvi", "ndvi-sync": "SyncNdvi", "echo": "Echo"}
        config: dict[str, Any] = {
            "server": {
                "bind": {"host": "127.0.0.1", "port": self.port},
                "url": self.url,
                "mimetype": "application/json; charset=UTF-8",
                "encoding": "utf-8",
                "languages": ["en-US"],
                "limits": {"default_items": 100, "max_items": 10000},
                "map": {"url": "http://127.0.0.1/", "attribution": "none"},
                "manager": {
                    "name": "ogc_processors.EchoManager" if self.echo else "TinyDB",
                    "connection": "jobs.json",
                    "output_dir": str(self.folder),
                },
            },
            "logging": {"level": "ERROR"},
            "metadata": {
                "identification": {
                    "title": "test",
                    "description": "test",
                    "keywords": ["test"],
                    "url": self.url,
                    "terms_of_service": "none",
                },
                "license": {"name": "CC0", "url": "http://127.0.0.1/"},
                "provider": {"name": "test", "url": "http://127.0.0.1/"},
                "contact": {"name": "test"},
            },
            "resources": {
                name: {"type": "process", "processor": {"name": f"ogc_processors.{processor}"}}
                for name, processor in names.items()
            },
        }
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))
        (self.folder / "openapi.yaml").write_text("openapi: 3.0.2\ninfo: {title: test, version: '1'}\npaths: {}\n")
        environment = {
            "PYGEOAPI_CONFIG": str(self.folder / "config.yaml"),
            "PYGEOAPI_OPENAPI": str(self.folder / "openapi.yaml"),
            "PYTHONPATH": str(HERE / "processors"),
            "OGC_SCENE": str(self.scene),
            "OGC_EXECUTIONS": str(self.folder / "executions.ndjson"),
        }
        listen = f"--listen=127.0.0.1:{self.port}"
        return [sys.executable, "-m", "waitress", listen, "--threads=24", "pygeoapi.flask_app:APP"], environment


@dataclass
class DruServer(Server):
    """Our own small server that deploys packages and runs them with cwltool (``dru_server.py``)."""

    slots: int = 2
    echo: bool = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/user/ogc-api"

    @property
    def scene_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/scene.tif"

    def command(self) -> tuple[list[str], dict[str, str]]:
        words = [str(self.port), str(self.folder), str(self.scene), str(self.slots), "echo" if self.echo else "mute"]
        return [sys.executable, str(HERE / "dru_server.py"), *words], {}
