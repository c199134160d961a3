"""The contract of downloads: every wrong way to serve a file, through everything that downloads."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.http import fake_server as faults
from tests.unit.http.fake_server import CONTENT, HALF, FakeServer, fake_server
from upscaling.algorithms.cwl.reach import reach_of
from upscaling.algorithms.cwl.vendor import vendor
from upscaling.backends.ogcapi.results import Found
from upscaling.backends.ogcapi.stage import stage
from upscaling.backends.openeo.results import fetch_results
from upscaling.backends.openeo.session import Session
from upscaling.clients.ogcapi.client import OgcApiClient
from upscaling.errors import ConfigError, ErrorClass, PlatformError, TileFailedError
from upscaling.http import download as module
from upscaling.http import reply as module_reply
from upscaling.http.download import LOCAL_DISK, download
from upscaling.http.transport import Transport
from upscaling.jobs.platform import Patience
from upscaling.stage_in import web as web_module
from upscaling.stage_in.stage import Stage
from upscaling.stage_in.web import FetchError
from upscaling.util.files import matches_checksum

LARGEST = 2_000_000  # bytes
SIZE = len(CONTENT)
User = Callable[[FakeServer, dict[str, Any], Path], Path]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setattr(web_module, "_PATIENCE", Patience(outage=0))
    with fake_server() as server:
        yield server


def by_itself(server: FakeServer, declared: dict[str, Any], folder: Path) -> Path:
    size, checksum = declared.get("file:size"), declared.get("file:checksum", "")
    folder.mkdir(exist_ok=True)
    download(Transport(), f"{server.url}/a.tif", folder / "a.tif", largest=LARGEST, size=size, checksum=checksum)
    return folder / "a.tif"


def openeo(server: FakeServer, declared: dict[str, Any], folder: Path) -> Path:
    def document(content: Any) -> faults.Answer:
        return lambda handler, number: handler.reply(200, json.dumps(content).encode())

    asset = {"href": f"{server.url}/a.tif", "roles": ["data"], **declared}
    server.answers |= {
        "/.well-known/openeo": document({"versions": [{"url": server.url, "api_version": "1.2.0"}]}),
        "/": document({"api_version": "1.2.0", "endpoints": []}),
        "/jobs/j/results": document({"type": "Feature", "assets": {"a": asset}}),
    }
    (found,) = fetch_results(Session(server.url, "none"), "j", folder, most_bytes=LARGEST).assets
    return found.path


def ogcapi(server: FakeServer, declared: dict[str, Any], folder: Path) -> Path:
    asset = {"href": f"{server.url}/a.tif", "roles": ["data"], **declared}
    item = {"type": "Feature", "stac_version": "1.0.0", "id": "i", "properties": {}, "assets": {"a": asset}}
    (found,) = stage(OgcApiClient(server.url), [Found("a", stac=item, base=f"{server.url}/i.json")], folder).assets
    return found.path


def staged_in(server: FakeServer, declared: dict[str, Any], folder: Path) -> Path:
    return Stage(folder, folder / "cache", LARGEST).asset({"href": f"{server.url}/a.tif", **declared})


def package(server: FakeServer, declared: dict[str, Any], folder: Path) -> Path:
    literal: dict[str, Any] = {"class": "File", "location": f"{server.url}/a.tif"}
    if "file:checksum" in declared:
        literal["checksum"] = f"sha1${declared['file:checksum'][4:]}"
    address = f"{server.url}/x.cwl"
    if not vendor(literal, reach_of(address, address), folder):
        raise ConfigError("cannot be had")
    return folder / literal["location"]


USERS: dict[str, User] = {
    "download": by_itself,
    "openeo": openeo,
    "ogcapi": ogcapi,
    "stage_in": staged_in,
    "package": package,
}
SHA1 = "1114" + hashlib.sha1(CONTENT).hexdigest()
# fault -> how the server answers, what it declares, after how many requests at the most the file is there (0: never)
FAULTS: dict[str, tuple[faults.Answer, dict[str, Any], int]] = {
    "breaks off": (faults.broken, {}, 2),
    "breaks off, ranges ignored": (faults.broken_ranges_ignored, {}, 2),
    "breaks off, length declared only": (faults.broken_without_length, {"file:size": SIZE}, 2),
    "breaks off in chunks": (faults.broken_chunks, {}, 2),
    "stored as gzip, breaks off": (faults.stored_as_gzip, {}, 2),
    "stored as gzip, size of the file": (faults.stored_as_gzip, {"file:size": SIZE, "file:checksum": SHA1}, 2),
    "gzip that is not": (faults.not_gzip, {}, 2),
    "continued at another byte": (faults.continued_elsewhere, {}, 3),
    "continued without saying where": (faults.continued_nowhere, {}, 3),
    "416": (faults.no_more, {}, 3),
    "changed meanwhile": (faults.changed_meanwhile, {}, 3),
    "web page": (faults.web_page, {}, 3),
    "busy": (faults.busy, {}, 3),
    "trickles": (faults.trickling, {}, 2),
    "another checksum": (faults.whole, {"file:checksum": "1114" + "0" * 40}, 0),
    "the checksum": (faults.whole, {"file:checksum": SHA1}, 1),
    "longer than declared": (faults.whole, {"file:size": SIZE - 1}, 0),
    "shorter than declared": (faults.whole, {"file:size": SIZE + 1}, 0),
    "does not end": (faults.endless, {}, 0),
    "gzip bomb": (faults.bomb, {}, 0),
    "redirect out of the web": (faults.out_of_the_web, {}, 0),
    "redirect in a circle": (faults.in_a_circle, {}, 0),
}
NO_SIZE = {"longer than declared", "shorter than declared", "breaks off, length declared only"}  # packages have none


@pytest.mark.parametrize(
    ("user", "fault"),
    [(user, fault) for user in USERS for fault in FAULTS if user != "package" or fault not in NO_SIZE],
)
def test_a_file_is_whole_or_refused(
    server: FakeServer, user: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, declared, most = FAULTS[fault]
    monkeypatch.setattr("upscaling.algorithms.cwl.vendor._LARGEST", LARGEST)
    monkeypatch.setattr("upscaling.clients.ogcapi.client.LARGEST_FILE", LARGEST)
    if fault == "trickles":  # two minutes pass in 0.1 s
        clock = SimpleNamespace(monotonic=lambda: 1000 * time.monotonic(), time=time.time)
        monkeypatch.setattr(module_reply, "time", clock)
    server.answers["/a.tif"] = answer
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    found, errors = None, []
    for _ in range(5):
        try:
            found = USERS[user](server, declared, tmp_path / "got")
        except (PlatformError, TileFailedError, FetchError, ConfigError) as error:
            errors.append(str(error))  # not the error: its frames would keep connections open
        else:
            break
    asked = server.asked("/a.tif")
    assert not any("Authorization" in headers for headers in asked), "a password of ~/.netrc was sent"
    if most:
        assert found is not None, errors
        assert found.read_bytes() == CONTENT
        assert len(asked) <= most
    else:
        assert found is None
        assert len(asked) <= 3 * len(errors) * (2 if fault == "redirect in a circle" else 1)
        assert not [path for path in tmp_path.rglob("*.tif") if path.is_file()]
    assert all(headers.get("Accept-Encoding") == "identity" for headers in asked)
    if fault in {"breaks off", "stored as gzip, breaks off"} and user != "package":  # which begins anew
        assert asked[1]["Range"] == f"bytes={HALF}-"
        assert asked[1]["If-Range"] == '"1"'


def test_what_is_never_right_is_not_asked_for_ever(server: FakeServer, tmp_path: Path) -> None:
    server.answers["/a.tif"] = faults.whole
    for declared in ({"file:size": SIZE - 1}, {"file:size": SIZE + 1}, {"file:checksum": "1114" + "0" * 40}):
        server.requests.clear()
        with pytest.raises(PlatformError, match="declared") as caught:
            by_itself(server, declared, tmp_path / "got")
        assert caught.value.error_class is ErrorClass.OUTPUT
        assert len(server.asked("/a.tif")) == 3


def test_a_beginning_is_continued_only_if_its_file_is_known(server: FakeServer, tmp_path: Path) -> None:
    server.answers["/a.tif"] = lambda handler, _number: handler.part(CONTENT, handler.start, ETag='"1"')
    (tmp_path / "got").mkdir()
    (tmp_path / "got" / "a.tif.part").write_bytes(b"of a file that came in one piece, and the process was killed")
    path = by_itself(server, {}, tmp_path / "got")
    assert path.read_bytes() == CONTENT
    assert "Range" not in server.asked("/a.tif")[0]


def test_what_is_there_is_kept_and_a_full_disk_is_told(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["/a.tif"] = faults.whole
    path = by_itself(server, {"file:checksum": SHA1}, tmp_path / "got")
    by_itself(server, {"file:checksum": SHA1}, tmp_path / "got")
    assert len(server.asked("/a.tif")) == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["a.tif"]
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _path: SimpleNamespace(free=1000))
    with pytest.raises(PlatformError, match=r"needs 0\.0 GB, and .* has less") as caught:
        by_itself(server, {}, tmp_path / "other")
    assert (caught.value.code, caught.value.error_class) == (LOCAL_DISK, ErrorClass.TRANSIENT)


@pytest.mark.parametrize(
    ("checksum", "right"),
    [
        (prefix + value, right)
        for right, content in ((True, CONTENT), (False, b"other"))
        for prefix, value in (
            ("d50110", hashlib.md5(content).hexdigest()),
            ("1114", hashlib.sha1(content).hexdigest()),
            ("1220", hashlib.sha256(content).hexdigest().upper()),
            ("2030", hashlib.sha384(content).hexdigest()),
            ("1340", hashlib.sha512(content).hexdigest()),
            ("1320", hashlib.sha512(content).hexdigest()[:64]),
            ("1620", hashlib.sha3_256(content).hexdigest()),
            ("1440", hashlib.sha3_512(content).hexdigest()),
            ("c0e40240", hashlib.blake2b(content).hexdigest()),
            ("sha256:", hashlib.sha256(content).hexdigest()),
            ("sha1$", hashlib.sha1(content).hexdigest()),
        )
    ]
    + [("sha1$0", False), ("", True), ("1e20" + "0" * 64, True), ("what?", True)],
)
def test_checksums(checksum: str, right: bool, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    assert matches_checksum(tmp_path / "a", checksum) is right
