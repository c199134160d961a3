"""One class opens HTTP sessions, and its rules hold for everybody."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

import upscaling
from tests.unit.http import fake_server as faults
from tests.unit.http.fake_server import FakeServer, fake_server
from upscaling.errors import ErrorClass, PlatformError, UpscalingError
from upscaling.http.session import new_session
from upscaling.http.transport import BearerToken, Transport, retry_after
from upscaling.publish.stac_api import StacApi


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server() as server:
        yield server


def test_sessions_are_opened_in_one_place() -> None:
    root = Path(upscaling.__file__).parent
    opens = re.compile(
        r"requests\.(?:get|post|put|delete|head|request|Session)\(|requests\.Session\)|urlopen\(|httpx\."
    )
    found = {str(path.relative_to(root)) for path in root.rglob("*.py") if opens.search(path.read_text())}
    assert found == {"http/session.py"}


def test_a_netrc_does_not_replace_the_token_of_a_stac_api(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("UPSCALING_STAC_TOKEN", "the-token")
    landing = {"conformsTo": ["https://api.stacspec.org/v1.0.0/ogcapi-features/extensions/transaction"]}
    server.answers["/stac"] = lambda handler, number: handler.reply(200, json.dumps(landing).encode())
    StacApi(f"{server.url}/stac")
    assert [headers["Authorization"] for headers in server.asked("/stac")] == ["Bearer the-token"]
    server.answers["/stac"] = lambda handler, number: handler.reply(401, b'{"detail": "who is the-token?"}')
    with pytest.raises(UpscalingError, match="is UPSCALING_STAC_TOKEN right") as caught:
        StacApi(f"{server.url}/stac")
    assert "the-token" not in str(caught.value)


def test_a_token_stays_with_its_origin(server: FakeServer) -> None:
    with fake_server() as other:
        other.answers["/x"] = lambda handler, number: handler.reply(200, b"{}")
        server.answers["/x"] = lambda handler, number: handler.reply(302, Location=f"{other.url}/x")
        transport = Transport(BearerToken(server.url, "the-token"))
        assert transport.json("GET", f"{server.url}/x") == {}
        assert transport.json("GET", f"{other.url}/x") == {}
        assert all("Authorization" in headers for headers in server.asked("/x"))
        assert not any("Authorization" in headers for headers in other.asked("/x"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("7", 7),
        ("1.5", 1.5),
        ("-3", 0),
        ("soon", None),
        ("nan", None),
        ("", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
    ],
)
def test_how_long_a_server_asks_to_wait(text: str | None, seconds: float | None) -> None:
    assert retry_after(text) == seconds
    later = retry_after(formatdate(time.time() + 3600, usegmt=True))
    assert later is not None
    assert 3500 < later <= 3600


def test_answers_and_redirects_have_an_end(server: FakeServer) -> None:
    server.answers |= {"/circle": faults.in_a_circle, "/out": faults.out_of_the_web, "/endless": faults.endless}
    server.answers["/text"] = lambda handler, number: handler.reply(200, b"no JSON")
    for path, words in {
        "/circle": "redirects more than 5",
        "/out": "redirects out of the web",
        "/text": "not JSON",
    }.items():
        with pytest.raises(PlatformError, match=words):
            Transport().json("GET", f"{server.url}{path}")
    with Transport().open("GET", f"{server.url}/endless") as reply, pytest.raises(PlatformError, match="does not end"):
        reply.content(1000)
    with pytest.raises(Exception, match="does not end"):
        new_session(largest=1000).get(f"{server.url}/endless")
    with pytest.raises(PlatformError, match="cannot be reached") as caught:
        Transport().json("POST", "http://127.0.0.1:9/x?sig=secret")
    assert (caught.value.outcome_unknown, caught.value.error_class) == (False, ErrorClass.TRANSIENT)
    assert "secret" not in str(caught.value)
