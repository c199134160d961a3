"""Assets on their way here: once for all tiles and processes, checked, never from or to where they do not belong."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import orjson
import pystac
import pytest
import requests
from tests.fake_stac_api import FakeStacApi
from tests.publish.conftest import BUCKET, S3
from tests.unit.http.fake_server import fake_server

from upscaling.errors import ErrorClass, TileFailedError
from upscaling.jobs.platform import Patience
from upscaling.stage_in.inputs import ITEMS
from upscaling.stage_in.stage import Stage, download_all, stage_in
from upscaling.stage_in.web import TOKEN


def write_plan(folder: Path, items: list[dict[str, Any]]) -> list[str]:
    """Pin items as a plan does; return their digests."""
    folder.mkdir(exist_ok=True)
    offsets = []
    with (folder / "items.ndjson").open("wb") as stream:
        for item in items:
            offsets.append(stream.tell())
            stream.write(orjson.dumps(item) + b"\n")
    digests = [f"{number:032x}" for number in range(len(items))]
    (folder / "items.csv").write_text("".join(f"{d},{o}\n" for d, o in zip(digests, offsets, strict=True)))
    return digests


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr("upscaling.stage_in.web._PATIENCE", Patience(shortest=0.01, longest=0.05, outage=0, tries=5))
    return Stage(tmp_path / "plan", tmp_path / "cache", 10**9)


def folder_of(*digests: str, name: str = "items") -> dict[str, Any]:
    return {"class": "Directory", "basename": name, "listing": [], ITEMS: list(digests)}


def test_a_staged_catalogue_is_whole_and_local(api: FakeStacApi, stage: Stage, tmp_path: Path) -> None:
    digests = write_plan(stage.plan, api.items)
    parameters = {"scene": folder_of(*digests), "each": [folder_of(d, name=f"i{d[-1]}") for d in digests], "n": 3}
    made = stage.inputs(parameters, tmp_path / "tile")
    assert made["n"] == 3
    place = Path(made["scene"]["path"])
    found = list(pystac.Catalog.from_file(str(place / "catalog.json")).get_items(recursive=True))
    assert [item.id for item in found] == [item["id"] for item in api.items]
    assert found[0].properties["eo:cloud_cover"] == 5.0
    for item in found:
        for key, asset in item.assets.items():
            path = Path(str(asset.get_absolute_href()))
            assert path.is_relative_to(place)
            assert path.read_bytes() == (api.folder / item.id / f"{key}.tif").read_bytes()
            assert not path.is_symlink(), "a container could not follow it"
    assert [Path(one["path"]).name for one in made["each"]] == [f"i{n}" for n in range(5)]
    assert set(api.gets.values()) == {1}, "an asset was downloaded twice"
    # The same again, and for another tile: nothing is asked for.
    before = api.gets.total()
    stage.inputs(parameters, tmp_path / "tile")
    stage.inputs(parameters, tmp_path / "another")
    assert api.gets.total() == before


PROCESS = """
import json, sys
from pathlib import Path
from upscaling.stage_in.stage import Stage
stage = Stage(*map(Path, sys.argv[1:3]), 10**9)
stage.inputs(json.loads(sys.argv[4]), Path(sys.argv[3]))
"""


def test_processes_and_threads_share_one_download(api: FakeStacApi, stage: Stage, tmp_path: Path) -> None:
    (digest, *_) = write_plan(stage.plan, api.items[:1])
    parameters = {"scene": folder_of(digest)}
    command = [sys.executable, "-c", PROCESS, str(stage.plan), str(stage.cache)]
    processes = [subprocess.Popen([*command, str(tmp_path / f"p{n}"), json.dumps(parameters)]) for n in range(3)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: stage.inputs(parameters, tmp_path / f"t{n}"), range(8)))
    assert [process.wait(200) for process in processes] == [0, 0, 0]
    assert api.gets == {"/files/west_a/B03.tif": 1, "/files/west_a/B08.tif": 1}
    assert not list(stage.cache.rglob("*.lock"))
    assert not list(stage.cache.rglob("*.part"))


def test_a_broken_download_is_continued(api: FakeStacApi, stage: Stage, tmp_path: Path) -> None:
    (digest,) = write_plan(stage.plan, [{**api.items[0], "assets": {"B03": api.items[0]["assets"]["B03"]}}])
    ranges = []

    def breaks(path: str, handler: BaseHTTPRequestHandler) -> bool:
        ranges.append(handler.headers.get("Range"))
        content = (api.folder / path[7:]).read_bytes()
        if len(ranges) > 1:
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[: 3 << 16])
        handler.close_connection = True
        return True

    api.misbehave = breaks
    made = stage.inputs({"scene": folder_of(digest)}, tmp_path / "tile")
    assert ranges == [None, f"bytes={3 << 16}-"]
    whole = (api.folder / "west_a" / "B03.tif").read_bytes()
    assert (Path(made["scene"]["path"]) / "west_a" / "B03.tif").read_bytes() == whole


def failing(stage: Stage, item: dict[str, Any], tmp_path: Path, **asset: Any) -> TileFailedError:
    only = {"B03": {**item["assets"]["B03"], **asset}}
    (digest,) = write_plan(stage.plan, [{**item, "assets": only}])
    with pytest.raises(TileFailedError) as caught:
        stage.inputs({"scene": folder_of(digest)}, tmp_path / "bad")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("catalog.json")), "a catalogue that is not whole"
    return caught.value


def test_what_is_not_as_declared_is_refused(api: FakeStacApi, stage: Stage, tmp_path: Path) -> None:
    item, size = api.items[0], api.items[0]["assets"]["B03"]["file:size"]
    error = failing(stage, item, tmp_path, **{"file:checksum": "1220" + "0" * 64})
    assert "does not have the checksum that is declared" in str(error)
    assert error.error_class is ErrorClass.PERMANENT
    error = failing(stage, item, tmp_path, **{"file:size": size - 1})
    assert f"is larger than the {size - 1} bytes that are declared" in str(error)
    assert f"has {size} bytes, and {size + 1} are declared" in str(
        failing(stage, item, tmp_path, **{"file:size": size + 1})
    )
    small = Stage(stage.plan, stage.cache, 1000)
    assert "is larger than" in str(failing(small, item, tmp_path, **{"file:size": None, "file:checksum": None}))
    assert "answered 404" in str(failing(stage, item, tmp_path, href=f"{api.url}/files/gone.tif"))


def test_redirects_do_not_leave_the_web(api: FakeStacApi, stage: Stage, tmp_path: Path) -> None:
    item, target = api.items[0], "file:///etc/passwd"

    def redirects(path: str, handler: BaseHTTPRequestHandler) -> bool:
        if path != "/files/west_a/B03.tif":
            return False
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    api.misbehave = redirects
    assert "redirects out of the web, to file:///etc/passwd" in str(failing(stage, item, tmp_path))
    target = f"{api.url}/files/west_a/B03.tif"
    assert "redirects more than 5 times" in str(failing(stage, item, tmp_path))
    target = f"{api.url}/files/west_a/B08.tif"
    made = stage.inputs({"a": folder_of(*write_plan(stage.plan, [without_checks(item)]))}, tmp_path / "tile")
    assert (Path(made["a"]["path"]) / "west_a" / "B03.tif").is_file()


def without_checks(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "assets": {"B03": {"href": item["assets"]["B03"]["href"]}}}


def test_the_token_goes_to_the_catalogues_host_only(
    api: FakeStacApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, "very-secret")
    digests = write_plan(tmp_path / "plan", [api.items[0]])
    elsewhere = ("http://elsewhere.example", "http://127.0.0.1:9", "https" + api.url.removeprefix("http"))
    for home, tokens in ((api.url, {"Bearer very-secret"}), *((home, {""}) for home in elsewhere)):
        api.tokens.clear()
        stage = Stage(tmp_path / "plan", tmp_path / f"cache-{len(home)}", 10**9, home)
        stage.inputs({"a": folder_of(*digests)}, tmp_path / f"tile-{len(home)}")
        assert api.tokens == tokens


def test_each_block_has_its_cache_and_its_token(
    api: FakeStacApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token of the first block is sent to no other server; a further server has its own."""
    digests = write_plan(plan := tmp_path / "plan", api.items[:2])
    other = api.url.replace("127.0.0.1", "localhost")
    away = json.loads(json.dumps(api.items[1]).replace(api.url, other))
    write_plan(plan, [api.items[0], away])
    blocks = [{"catalogue": api.url}, {"catalogue": other, "cache": str(tmp_path / "theirs"), "largest_gb": 1.0}]
    (plan / "config.json").write_text(json.dumps({"stage_in": blocks}))
    (plan / "plan.json").write_text(json.dumps({"staged": ["pre", "post"]}))
    parameters = {"pre": folder_of(digests[0]), "post": folder_of(digests[1])}
    monkeypatch.setenv(TOKEN, "first")
    stage_in(plan).of("post").asset(away["assets"]["B03"])
    assert api.tokens == {""}
    assert (tmp_path / "theirs").is_dir()
    api.tokens.clear()
    monkeypatch.setenv(f"{TOKEN}_2", "second")
    made = stage_in(plan).inputs(parameters, tmp_path / "tile")
    assert api.tokens == {"Bearer first", "Bearer second"}
    assert (Path(made["post"]["path"]) / "catalog.json").is_file()
    (plan / "jobs.ndjson").write_text(json.dumps({"parameters": parameters}) + "\n")
    before = api.gets.total()
    said: list[str] = []
    assert download_all(plan, say=said.append) == 4
    assert api.gets.total() == before, "a file was downloaded into another block's folder"


@pytest.mark.parametrize(("count", "there"), [(60, 1), (8, 0)])
def test_a_catalogue_out_of_reach_is_not_asked_for_every_file(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, count: int, there: int
) -> None:
    monkeypatch.setattr("upscaling.stage_in.web._PATIENCE", Patience(outage=0))
    with fake_server() as server:
        assets = {f"B{n}": {"href": f"{server.url}/{n}.tif"} for n in range(count)}
        server.answers |= {f"/{n}.tif": lambda handler, number: handler.reply(503, b"{}") for n in range(count)}
        if there:
            server.answers["/3.tif"] = lambda handler, number: handler.reply(200, b"there")
        (digest,) = write_plan(stage.plan, [{"type": "Feature", "id": "a", "links": [], "assets": assets}])
        (stage.plan / "jobs.ndjson").write_text(json.dumps({"parameters": {"scene": folder_of(digest)}}) + "\n")
        with pytest.raises(TileFailedError, match=rf"of {count} files are missing") as caught:
            download_all(stage.plan, say=print)
        asked = sum(len(server.asked(f"/{n}.tif")) for n in range(count))
        assert 8 <= asked < 20
        others = f", and {count - asked} were not asked for)"
        assert str(caught.value).endswith(
            f"({asked - there} of {count} files are missing" + (others if asked < count else ")")
        )
        assert sum(not p.suffix for p in stage_in(stage.plan).cache.glob("*/*")) == there, "what is there is brought"


def test_names_choose_no_place(api: FakeStacApi, stage: Stage, tmp_path: Path) -> None:
    good = api.items[0]["assets"]["B03"]["href"]
    assets = {"../../x": {"href": good}, "/abs": {"href": f"{good}?sig=1"}, "..": {"href": f"{good}?sig=2"}}
    items = [{**api.items[0], "id": "../../../escaped", "assets": assets}, {**api.items[0], "id": "..", "assets": {}}]
    items.append({**items[0], "assets": {}})  # and the same name twice
    digests = write_plan(stage.plan, items)
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(api.folder)}
    made = stage.inputs({"../up": folder_of(*digests)}, tmp_path / "tile")
    place = Path(made["../up"]["path"])
    assert place.resolve().is_relative_to(tmp_path / "tile")
    new = {path for path in tmp_path.rglob("*") if not path.is_relative_to(api.folder)} - before
    assert all(path.is_relative_to(tmp_path / "tile") or path.is_relative_to(stage.cache) for path in new)
    (first, _, third) = sorted(path for path in place.iterdir() if path.is_dir())
    assert first.name == "escaped"
    assert third.name.startswith(("item", "escaped"))
    assert sorted(path.name for path in first.glob("*.tif")) == ["1-B03.tif", "2-B03.tif", "B03.tif"]


def test_local_files_are_linked_and_checked(catalogue: Path, stage: Stage, tmp_path: Path) -> None:
    item = json.loads((catalogue.parent / "west_a" / "item.json").read_text())
    for asset in item["assets"].values():
        asset["href"] = str(catalogue.parent / "west_a" / asset["href"])
    made = stage.inputs({"a": folder_of(*write_plan(stage.plan, [item]))}, tmp_path / "tile")
    here = Path(made["a"]["path"]) / "west_a" / "B03.tif"
    assert here.samefile(catalogue.parent / "west_a" / "B03.tif")
    item["assets"]["B03"]["href"] += ".gone"
    assert "no such file" in str(failing(stage, item, tmp_path / "other"))


def test_assets_come_from_buckets_too(
    catalogue: Path, stage: Stage, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With keys of that bucket, and not those of any other; an object that is not as declared is refused."""
    content = (catalogue.parent / "west_a" / "B03.tif").read_bytes()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("UPSCALING_S3_BUCKET_ENDPOINT", s3.url)
    monkeypatch.setenv("UPSCALING_S3_BUCKET_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("UPSCALING_S3_BUCKET_SECRET_ACCESS_KEY", "very-secret")
    answer = requests.put(f"{s3.url}/{BUCKET}/products/B03.tif", data=content, timeout=60)
    assert answer.ok
    href = f"s3://{BUCKET}/products/B03.tif"
    item = {
        "id": "a",
        "type": "Feature",
        "properties": {},
        "assets": {"B03": {"href": href, "file:size": len(content)}},
    }
    made = stage.inputs({"a": folder_of(*write_plan(stage.plan, [item]))}, tmp_path / "tile")
    assert (Path(made["a"]["path"]) / "a" / "B03.tif").read_bytes() == content
    assert "is larger than the 3 bytes" in str(failing(stage, item, tmp_path / "x", **{"file:size": 3}))
    assert "products/gone.tif is not there" in str(
        failing(stage, item, tmp_path / "x", href=href.replace("B03", "gone"))
    )
