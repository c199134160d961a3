"""Packages from the web and from a registry: pinned when the run is planned, so that no tile needs a network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from tests.containers import Registry
from tests.servers import QuietFolder, served

from upscaling.algorithms.cwl import pin_package
from upscaling.errors import ConfigError
from upscaling.util.files import read_json

from .conftest import DEMO


def push(registry: Registry, name: str, folder: Path, *files: str) -> str:
    """Push files as an artifact, as ``oras push`` does, which keeps their paths; return its address by tag."""
    from oras.client import OrasClient

    paths = (file.partition(":")[0] for file in files)
    titles = {path: {"org.opencontainers.image.title": path} for path in paths}
    (folder / "annotations.json").write_text(json.dumps(titles))
    target = f"{registry.address}/{name}"
    OrasClient(insecure=True).push(target=target, files=list(files), annotation_file="annotations.json")
    return f"oci://{target}"


@pytest.fixture
def demo_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "artifact"
    (folder / "ndvi").mkdir(parents=True)
    for name in ("ndvi.cwl", "ndvi/ndvi.py"):
        (folder / name).write_bytes((DEMO.parent / name).read_bytes())
    monkeypatch.chdir(folder)
    return folder


def test_an_artifact_of_a_real_registry_is_pinned_like_the_file(
    image_registry: Registry, demo_folder: Path, tmp_path: Path
) -> None:
    expected = pin_package(DEMO, tmp_path / "of a file")
    address = push(image_registry, "eo/ndvi:0.1.0", demo_folder, "ndvi.cwl:application/cwl+yaml", "ndvi/ndvi.py")
    for source in (address, f"{address}#ndvi"):
        pinned = pin_package(source, tmp_path / "of a registry")
        assert (pinned.sha256, pinned.id, pinned.source) == (expected.sha256, "ndvi", source)
    # The catalogue's own (terradue/gep_api_ost) has a tag, as this one; a digest says exactly which.
    import requests

    manifest = requests.get(
        f"http://{image_registry.address}/v2/eo/ndvi/manifests/0.1.0",
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
        timeout=60,
    )
    digest = manifest.headers["Docker-Content-Digest"]
    by_digest = pin_package(f"oci://{image_registry.address}/eo/ndvi@{digest}", tmp_path / "by digest")
    assert by_digest.sha256 == expected.sha256


def test_what_no_artifact_of_a_package_is_refused_in_one_line(
    image_registry: Registry, demo_folder: Path, tmp_path: Path
) -> None:
    (demo_folder / "b.cwl").write_text("cwlVersion: v1.2")
    (demo_folder / "readme.txt").write_text("no package")
    (demo_folder / "more.txt").write_text("no package")
    twice = push(image_registry, "eo/twice:1", demo_folder, "ndvi.cwl", "b.cwl")
    none = push(image_registry, "eo/none:1", demo_folder, "readme.txt", "more.txt")
    closed = f"oci://127.0.0.1:9/{'eo/ndvi'}:1"
    for source, words in (
        (twice, "must hold one CWL file; it holds ndvi.cwl, b.cwl"),
        (none, "must hold one CWL file; it holds none"),
        (f"oci://{image_registry.address}/eo/ndvi:2", "the registry answered 404 Not Found"),
        (closed, "cannot be fetched: the registry cannot be reached (Connection refused)"),
        ("oci://ndvi", "must be oci://HOST/NAME:TAG"),
    ):
        with pytest.raises(ConfigError) as caught:
            pin_package(source, tmp_path / "plan")
        assert str(caught.value) == f"{source}: algorithm.source: {words}"
    assert not list((tmp_path / "plan").glob("*.cwl"))


class LyingRegistry(QuietFolder):
    """A fake: a registry that sends what an honest one would not. Its manifest is a file; any blob is ``x``."""

    def do_GET(self) -> None:
        body = Path(self.directory, "manifest.json").read_bytes() if "/manifests/" in self.path else b"x"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def lying_registry(tmp_path: Path) -> Iterator[str]:
    with served(tmp_path, LyingRegistry) as address:
        yield address.removeprefix("http://")


def test_a_registry_is_not_trusted(lying_registry: str, tmp_path: Path) -> None:
    title = "org.opencontainers.image.title"
    x = "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    for layers, words in (
        ([{"digest": x, "annotations": {title: "../../evil.cwl"}}], "holds a file outside of itself: '../../evil.cwl'"),
        ([{"digest": x, "annotations": {title: "/etc/evil.cwl"}}], "holds a file outside of itself: '/etc/evil.cwl'"),
        ([{"digest": f"sha256:{0:064}"}], f"the registry sent something else than sha256:{0:064}"),
        ([{"digest": x}] * 101, "is no artifact of 1 to 100 files"),
        ("all", "is no artifact of 1 to 100 files"),
        (["none"], "the registry sent no manifest"),
        ([{"digest": x, "annotations": "none"}], "the registry sent no manifest"),
        ([{"digest": "md5:0"}], "the registry sent something else than md5:0"),
    ):
        (tmp_path / "manifest.json").write_text(json.dumps({"layers": layers}))
        with pytest.raises(ConfigError) as caught:
            pin_package(f"oci://{lying_registry}/eo/x:1", tmp_path / "plan")
        assert words in str(caught.value)
    assert not list(tmp_path.rglob("evil*"))


@pytest.fixture
def web(demo_folder: Path) -> Iterator[str]:
    with served(demo_folder) as address:
        yield address


def test_a_package_of_the_web_is_pinned_with_all_that_it_includes(web: str, tmp_path: Path) -> None:
    pinned = pin_package(f"{web}/ndvi.cwl#ndvi", tmp_path / "plan")
    assert pinned.sha256 == pin_package(DEMO, tmp_path / "of a file").sha256
    with pytest.raises(ConfigError, match=r"/absent\.cwl: algorithm\.source: .*"):
        pin_package(f"{web}/absent.cwl", tmp_path / "plan")


WITH_A_TABLE = """
cwlVersion: v1.2
class: CommandLineTool
inputs:
  bbox: string
  table: {type: File, inputBinding: {}, default: {class: File, location: "TABLE"}}
baseCommand: cat
outputs: {o: stdout}
stdout: out.txt
"""


def test_default_files_of_the_web_are_brought_into_the_plan(web: str, demo_folder: Path, tmp_path: Path) -> None:
    """The package and its table are on a server when the run is planned, and nowhere when tiles run."""

    def source(name: str, table: str) -> str:
        (demo_folder / f"{name}.cwl").write_text(WITH_A_TABLE.replace("TABLE", table))
        return f"{web}/{name}.cwl"

    (demo_folder / "a table.csv").write_text("1,2")
    pinned = pin_package(source("cat", "a%20table.csv"), tmp_path / "plan")
    (_, table) = pinned.parameters
    assert (tmp_path / "plan" / unquote(table.default["location"])).read_text() == "1,2"
    assert web not in pinned.path.read_text()
    assert pinned.sha256 == pin_package(demo_folder / "cat.cwl", tmp_path / "of a file").sha256
    (_, table) = pin_package(source("dead", "no.csv"), tmp_path / "dead").parameters
    assert table.required
    for name, address, words in (
        (
            "off",
            "http://127.0.0.1:9/x.csv",
            r"off\.cwl: .*refers to a file that cannot be had now: http://127.*reached",
        ),
        ("other", 'a%20table.csv", checksum: "sha1$0', r"other\.cwl: .*/a%20table\.csv is not what the package says"),
    ):
        with pytest.raises(ConfigError, match=words):
            pin_package(source(name, address), tmp_path / name)


def test_ontologies_come_along_where_formats_are_compared(web: str, demo_folder: Path, tmp_path: Path) -> None:
    (demo_folder / "formats.ttl").write_text("@prefix x: <http://x.example/> .")
    text = (demo_folder / "ndvi.cwl").read_text()
    formatted = WITH_A_TABLE.replace("TABLE", "formats.ttl").replace("type: File,", "type: File, format: 'x:table',")
    head = "$namespaces: {x: 'http://x.example/'}\n$schemas: [formats.ttl, gone.ttl]\n"
    (demo_folder / "asks.cwl").write_text(head + formatted)
    (demo_folder / "does_not.cwl").write_text("$schemas: [formats.ttl]\n" + text)
    (schema,) = read_json(pin_package(f"{web}/asks.cwl", tmp_path / "asks").path)["$schemas"]
    assert (tmp_path / "asks" / schema).read_bytes() == (demo_folder / "formats.ttl").read_bytes()
    assert "$schemas" not in read_json(pin_package(f"{web}/does_not.cwl", tmp_path / "does not").path)
