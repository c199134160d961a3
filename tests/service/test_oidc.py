"""Who may what: tokens of a real OpenID provider, accepted and refused rightly; two users never see each other."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import jwt
import pytest
import requests

from tests.servers import BIN, PASSWORD, USER, EmbeddedBackend

from .conftest import ACCOUNT, AREA, UDP, Service, platform_of, upscaling_request
from .provider import AUDIENCE, OidcProvider, installed, provider

__all__ = ["installed", "provider"]  # fixtures


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


class FakeTokenExchange:
    """An RFC 8693 endpoint for the embedded back-end: it checks a user's token, and gives the back-end's own."""

    def __init__(self, provider: OidcProvider, backend: EmbeddedBackend) -> None:
        self.provider, self.backend = provider, backend
        self.subjects: list[str] = []
        self.refusals: list[str] = []

    def answer(self, fields: dict[str, str]) -> tuple[int, dict[str, str]]:
        keys = jwt.PyJWKClient(f"{self.provider.issuer}/jwks")
        try:
            assert fields.pop("grant_type") == "urn:ietf:params:oauth:grant-type:token-exchange"
            assert fields.pop("subject_token_type") == "urn:ietf:params:oauth:token-type:access_token"
            assert (fields.pop("client_id"), fields.pop("client_secret")) == ("upscaling", "secret-of-the-service")
            assert fields.pop("audience") == "platform"
            token = fields.pop("subject_token")
            key = keys.get_signing_key_from_jwt(token).key
            claims = jwt.decode(token, key, algorithms=["RS256"], audience=AUDIENCE, issuer=self.provider.issuer)
            assert fields == {}
        except (AssertionError, KeyError, jwt.PyJWTError) as error:
            self.refusals.append(repr(error))
            return 400, {"error": "invalid_grant"}
        if claims["sub"] == "bob":
            return 403, {"error": "access_denied", "error_description": "bob has no account on the platform"}
        self.subjects.append(claims["sub"])
        granted = requests.get(f"{self.backend.url}/credentials/basic", auth=(USER, PASSWORD), timeout=120).json()
        return 200, {"access_token": f"basic//{granted['access_token']}", "token_type": "Bearer"}

    @contextmanager
    def serving(self) -> Iterator[str]:
        exchange = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                status, content = exchange.answer(dict(parse_qsl(body)))
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(content).encode())

            def log_message(self, *_: Any) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/token"
        server.shutdown()
        server.server_close()


def test_a_run_has_the_platform_token_of_its_very_user(
    provider: OidcProvider, backend: EmbeddedBackend, tmp_path: Path
) -> None:
    fake = FakeTokenExchange(provider, backend)
    with fake.serving() as address:
        exchange = {
            "token_url": address,
            "audience": "platform",
            "client_id_env": "EX_ID",
            "client_secret_env": "EX_SECRET",
        }
        settings = {
            "platforms": [platform_of(backend, auth="bearer", environment={}, exchange=exchange)],
            "sources": [str(UDP.parent)],
            "auth": "oidc",
            "oidc": {"issuer": provider.issuer, "audience": AUDIENCE},
        }
        variables = {"EX_ID": "upscaling", "EX_SECRET": "secret-of-the-service"}
        service = Service(tmp_path / "service", settings, variables=variables).start()
        try:
            token = provider.token("alice")
            alice, bob = bearer(token), bearer(provider.token("bob"))
            body = upscaling_request(backend, [AREA], parameters={"temporal_extent": ["2023-06-01", "2023-07-03"]})
            mine, his = (
                service.call("POST", "/upscale_tasks", json=body, headers=who).json()["id"] for who in (alice, bob)
            )
            assert _comes_to(service, mine, alice, lambda run: run["phase"] == "ended")["counts"]["finished"] == 1
            waits = _comes_to(service, his, bob, lambda run: bool(run["reason"]))
            assert (waits["phase"], waits["reason"]) == ("queued", "waits for its user to log in again")
            assert set(fake.subjects) == {"alice"}
            assert fake.refusals == []
            # after a restart the service has nobody's token until its user has come back
            service.stop()
            service.start()
            later = upscaling_request(backend, [AREA], parameters={"temporal_extent": ["2023-06-01", "2023-07-04"]})
            again = service.call("POST", "/upscale_tasks", json=later, headers=alice).json()["id"]
            assert _comes_to(service, again, alice, lambda run: run["phase"] == "ended")["counts"]["finished"] == 1
            kept = [path for path in (tmp_path / "service").rglob("*") if path.is_file()]
            assert not [path for path in kept if token.encode() in path.read_bytes()]  # nor in a log or a run folder
        finally:
            service.stop()


def _comes_to(
    service: Service, run: int, headers: dict[str, str], there: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        found = service.call("GET", f"/v1/runs/{run}", headers=headers).json()
        if there(found):
            return dict(found)
        time.sleep(0.5)
    raise AssertionError(found)


def test_without_log_in_the_service_stays_on_this_machine(tmp_path: Path) -> None:
    command = [str(BIN / "upscaling"), "serve", "--host", "0.0.0.0", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "auth: oidc" in done.stderr
