"""Credentials: from the environment, renewed, and never sent to another host."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from tests.backend.ogcapi.replay import Replay

from upscaling.backends.ogcapi.results import Found
from upscaling.backends.ogcapi.stage import stage
from upscaling.clients.ogcapi.client import OgcApiClient
from upscaling.errors import ConfigError, PlatformError


@pytest.fixture
def other() -> Iterator[Replay]:
    server = Replay()
    yield server
    server.stop()


def seen(replay: Replay) -> list[str | None]:
    return [headers.get("Authorization") for _, _, headers, _ in replay.requests]


def test_basic_and_bearer(replay: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    replay.answers["GET /api/processes/p"] = (200, {}, {"id": "p"})
    monkeypatch.setenv("OGCAPI_USERNAME", "u")
    monkeypatch.setenv("OGCAPI_PASSWORD", "pw")
    OgcApiClient(replay.base, "basic").process("p")
    monkeypatch.setenv("OGCAPI_TOKEN", "t0k")
    OgcApiClient(replay.base, "bearer").process("p")
    OgcApiClient(replay.base).process("p")
    assert seen(replay) == [f"Basic {base64.b64encode(b'u:pw').decode()}", "Bearer t0k", None]
    monkeypatch.delenv("OGCAPI_TOKEN")
    with pytest.raises(ConfigError, match=r"backend.auth: `bearer` needs OGCAPI_TOKEN in the environment"):
        OgcApiClient(replay.base, "bearer").process("p")


def test_a_netrc_is_not_used(replay: Replay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    replay.answers["GET /api/processes/p"] = (200, {}, {"id": "p"})
    OgcApiClient(replay.base).process("p")
    assert seen(replay) == [None]


def test_no_other_host_gets_a_token(
    replay: Replay, other: Replay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OGCAPI_TOKEN", "t0k")
    other.answers["GET /api/x.tif"] = (200, {}, b"II*\0")
    replay.answers["GET /api/away.tif"] = (302, {"Location": f"{other.base}/x.tif"}, b"")
    client = OgcApiClient(replay.base, "bearer")
    found = [Found("a", href=f"{other.base}/x.tif"), Found("b", href=f"{replay.base}/away.tif")]
    stage(client, found, tmp_path)
    assert seen(other) == [None, None]
    assert seen(replay) == ["Bearer t0k"]


def test_a_post_is_not_redirected(replay: Replay, other: Replay, tmp_path: Path) -> None:
    replay.answers["POST /api/processes/p/execution"] = (307, {"Location": f"{other.base}/elsewhere"}, b"")
    with pytest.raises(PlatformError, match=r"has moved to "):
        OgcApiClient(replay.base).execute("p", {"inputs": {}}, tmp_path / "r")
    assert other.requests == []


def test_client_credentials_are_exchanged_once_and_renewed_when_refused(
    replay: Replay, other: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = iter(("first", "second"))
    other.answers["GET /api/.well-known/openid-configuration"] = (200, {}, {"token_endpoint": f"{other.base}/token"})
    other.answers["POST /api/token"] = lambda _handler, _body: (
        200,
        {},
        {"access_token": next(issued), "expires_in": 300},
    )
    good = {"Bearer first"}

    def answer(handler: Any, _body: bytes) -> Any:
        allowed = handler.headers.get("Authorization") in good
        return (200, {}, {"id": "p"}) if allowed else (401, {}, {"detail": "expired"})

    replay.answers["GET /api/processes/p"] = answer
    monkeypatch.setenv("OGCAPI_CLIENT_ID", "me")
    monkeypatch.setenv("OGCAPI_CLIENT_SECRET", "hush")
    monkeypatch.setenv("OGCAPI_ISSUER", other.base)
    client = OgcApiClient(replay.base, "oidc")
    client.process("p")
    client.process("p")
    asked = [body for method, _, _, body in other.requests if method == "POST"]
    assert len(asked) == 1
    form = parse_qs(asked[0].decode())
    assert form == {"grant_type": ["client_credentials"], "client_id": ["me"], "client_secret": ["hush"]}
    good.clear()
    good.add("Bearer second")
    assert client.process("p")["id"] == "p"
    assert "hush" not in json.dumps([list(map(str, request)) for request in replay.requests])


def test_a_token_is_exchanged(replay: Replay, other: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    other.answers["POST /api/token"] = (200, {}, {"access_token": "theirs"})
    replay.answers["GET /api/processes/p"] = (200, {}, {"id": "p"})
    monkeypatch.setenv("OGCAPI_SUBJECT_TOKEN", "mine")
    monkeypatch.setenv("OGCAPI_TOKEN_URL", f"{other.base}/token")
    monkeypatch.setenv("OGCAPI_AUDIENCE", "gep")
    OgcApiClient(replay.base, "exchange").process("p")
    form = parse_qs(other.requests[0][3].decode())
    assert form["subject_token"] == ["mine"]
    assert form["audience"] == ["gep"]
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:token-exchange"]
    assert seen(replay) == ["Bearer theirs"]


def test_a_refusal_shows_no_secret(replay: Replay, other: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    other.answers["POST /api/token"] = (400, {}, {"error_description": "bad secret hush"})
    monkeypatch.setenv("OGCAPI_CLIENT_ID", "me")
    monkeypatch.setenv("OGCAPI_CLIENT_SECRET", "hush")
    monkeypatch.setenv("OGCAPI_TOKEN_URL", f"{other.base}/token")
    with pytest.raises(ConfigError) as caught:
        OgcApiClient(replay.base, "oidc").process("p")
    assert "bad secret ***" in str(caught.value)
