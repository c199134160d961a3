"""What a package may read while it is planned: its own folder, or the web; never what else lies on this machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.http.fake_server import FakeServer, fake_server
from upscaling.algorithms.cwl.pin import pin_package
from upscaling.algorithms.cwl.reach import Reach, reach_of
from upscaling.errors import ConfigError

SECRET = "the-private-words"
TOOL = """
cwlVersion: v1.2
class: CommandLineTool
requirements:
  InlineJavascriptRequirement: {}
MORE
inputs:
  area: {type: string, inputBinding: {}}
  table: {type: File?, DEFAULT}
  folder: {type: Directory?, FOLDER}
baseCommand: cat
doc: DOC
stdout: out.txt
outputs: {out: {type: stdout}}
"""
WORKFLOW = """
cwlVersion: v1.2
class: Workflow
inputs: {area: string}
outputs: {}
steps:
  one: {run: "TARGET", in: {area: area}, out: []}
"""
LISTING = "  InitialWorkDirRequirement: {listing: [{class: CLASS, location: 'TARGET'}]}"
# where a package may name something -> the document that does so
PLACES = {
    "$include": TOOL.replace("DOC", "{$include: 'TARGET'}"),
    "$import": TOOL.replace("MORE", "  SchemaDefRequirement: {types: [{$import: 'TARGET'}]}"),
    "library": TOOL.replace(
        "InlineJavascriptRequirement: {}", "InlineJavascriptRequirement: {expressionLib: [{$include: 'TARGET'}]}"
    ),
    "default": TOOL.replace("DEFAULT", "default: {class: File, location: 'TARGET'}"),
    "default path": TOOL.replace("DEFAULT", "default: {class: File, path: 'TARGET'}"),
    "secondary": TOOL.replace(
        "DEFAULT",
        "default: {class: File, location: own.txt, secondaryFiles: [{class: File, location: 'TARGET'}]}",
    ),
    "folder": TOOL.replace("FOLDER", "default: {class: Directory, location: 'TARGET'}"),
    "listing": TOOL.replace("MORE", LISTING.replace("CLASS", "File")),
    "listed folder": TOOL.replace("MORE", LISTING.replace("CLASS", "Directory")),
    "run": WORKFLOW,
    "schemas": TOOL.replace("class: Comm", "$schemas: ['TARGET']\nclass: Comm").replace("DEFAULT", "format: 'x:y'"),
}


def document(place: str, target: str) -> str:
    text = PLACES[place].replace("TARGET", target).replace("MORE", "").replace(", DEFAULT", "").replace(", FOLDER", "")
    return text.replace("DOC", "words")


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server() as server:
        yield server


@pytest.fixture
def private(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    (folder / "notes.txt").write_text(SECRET)
    return folder


def words_in(folder: Path) -> bool:
    return any(SECRET in path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("comes", ["from the web", "from an own folder", "by a link in it"])
def test_private_files_stay_where_they_are(
    place: str, comes: str, server: FakeServer, private: Path, tmp_path: Path
) -> None:
    wanted = private if "folder" in place else private / "notes.txt"
    own = tmp_path / "package"
    own.mkdir()
    (own / "own.txt").write_text("mine")
    target = wanted.as_uri() if place != "default path" else str(wanted)
    if comes == "by a link in it":
        (own / "link").symlink_to(wanted)
        target = "link"
    (own / "app.cwl").write_text(document(place, target))
    source = str(own / "app.cwl")
    if comes == "from the web":
        source = f"{server.url}/app.cwl"
        server.answers["/app.cwl"] = lambda handler, number: handler.reply(200, (own / "app.cwl").read_bytes())
        server.answers["/own.txt"] = lambda handler, number: handler.reply(200, b"mine")
    said = ""
    try:
        pin_package(source, tmp_path / "plan")
    except ConfigError as error:
        said = str(error)
    assert not words_in(tmp_path / "plan")
    assert SECRET not in said
    assert "\n" not in said
    if comes == "from an own folder" and place not in {"default path", "schemas"}:
        assert "outside its own folder; allow the folder in algorithm.files_from" in said


def test_what_the_user_allows_is_read_and_stays_private(private: Path, tmp_path: Path) -> None:
    own = tmp_path / "package"
    own.mkdir()
    (private / "notes.txt").chmod(0o600)
    (own / "app.cwl").write_text(document("default", (private / "notes.txt").as_uri()))
    pin_package(str(own / "app.cwl"), tmp_path / "plan", files_from=[str(private)])
    (copy,) = (tmp_path / "plan").rglob("notes.txt")
    assert copy.read_text() == SECRET
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["pipe", "device", "pipe in a folder", "device in a folder", "large document"])
def test_what_has_no_end_is_not_read(kind: str, tmp_path: Path) -> None:
    own = tmp_path / "package"
    (own / "data").mkdir(parents=True)
    target = own / "data" / "thing" if "folder" in kind else own / "thing"
    place = "listed folder" if "folder" in kind else "default"
    if "pipe" in kind:
        os.mkfifo(target)
    elif "device" in kind:
        target.symlink_to("/dev/zero")
    else:
        place = "run"
        with target.open("wb") as stream:
            stream.truncate(30_000_000)
    (own / "app.cwl").write_text(document(place, "data" if "folder" in kind else "thing"))
    with pytest.raises(ConfigError, match=r"not a regular file|outside its own folder|larger than 20 MB"):
        pin_package(str(own / "app.cwl"), tmp_path / "plan")


def test_a_document_of_the_web_has_an_end(server: FakeServer, tmp_path: Path) -> None:
    server.answers["/app.cwl"] = lambda handler, number: handler.reply(200, b"# " + bytes(21_000_000), length=-1)
    with pytest.raises(ConfigError, match="does not end"):
        pin_package(f"{server.url}/app.cwl", tmp_path / "plan")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("gone.cwl", r"the server answered 404 Not Found"),
        ("login.cwl", r"the server answered with a web page"),
        ("", r"the server cannot be reached \(Connection refused\)"),
    ],
)
def test_a_step_of_the_web_that_cannot_be_had_is_named(
    path: str, reason: str, server: FakeServer, tmp_path: Path
) -> None:
    server.answers["/login.cwl"] = lambda handler, number: handler.reply(200, b"<!DOCTYPE html><p>Who are you?")
    step = f"{server.url}/{path}" if path else "http://127.0.0.1:9/app.cwl"
    (tmp_path / "app.cwl").write_text(document("run", step))
    with pytest.raises(ConfigError, match=rf"app\.cwl: algorithm\.source: names {step}, which cannot be .*: {reason}"):
        pin_package(tmp_path / "app.cwl", tmp_path / "plan")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://other.example/x.cwl", True),
        ("http://127.0.0.1:8000/x", False),
        ("http://localhost/x", False),
        ("http://169.254.169.254/latest/meta-data", False),
        ("http://10.1.2.3/x", False),
        ("http://[::1]/x", False),
        ("http://2130706433/x", False),
        ("http://intranet/x", False),
        ("file:///etc/passwd", False),
        ("gopher://x.example/", False),
    ],
)
def test_the_web_names_the_web(url: str, allowed: bool) -> None:
    reach: Reach = reach_of("https://a.example/app.cwl", "https://a.example/app.cwl")
    if allowed:
        reach.address(url)
        return
    with pytest.raises(ConfigError):
        reach.address(url)
