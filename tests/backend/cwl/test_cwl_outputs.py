"""Output objects that nobody should trust."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from upscaling.backends.cwl.outputs import read_outputs
from upscaling.errors import ErrorClass, TileFailedError


def item(**asset: Any) -> dict[str, Any]:
    properties = {"datetime": "2022-06-12T10:15:59Z"}
    base = {"type": "Feature", "stac_version": "1.1.0", "id": "i", "geometry": None, "properties": properties}
    return {**base, "links": [], "assets": {"a": {"roles": ["data"], **asset}}}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "secret.tif").write_text("secret")
    folder = tmp_path / "out" / "result"
    folder.mkdir(parents=True)
    (folder / "a.tif").write_text("a")
    (folder / "link.tif").symlink_to(tmp_path / "secret.tif")
    return tmp_path / "out"


def catalogue(out: Path, links: list[dict[str, str]], **items: dict[str, Any]) -> dict[str, Any]:
    head = {"type": "Catalog", "stac_version": "1.1.0", "id": "c", "description": "d", "links": links}
    (out / "result" / "catalog.json").write_text(json.dumps(head))
    for name, content in items.items():
        (out / "result" / f"{name}.json").write_text(json.dumps(content))
    return {"result": {"class": "Directory", "location": (out / "result").as_uri()}}


ONE = [{"rel": "item", "href": "./i.json"}]


def test_a_catalogue_without_items_is_no_data(out: Path) -> None:
    assert read_outputs(catalogue(out, []), out) == ((), ())
    assert read_outputs({"result": None, "other": []}, out) == ((), ())


def test_hrefs_may_be_relative_or_absolute_but_not_leave_the_folder(out: Path, tmp_path: Path) -> None:
    for href in ("./a.tif", str(out / "result" / "a.tif"), (out / "result" / "a.tif").as_uri()):
        ((asset,), _) = read_outputs(catalogue(out, ONE, i=item(href=href)), out)
        assert asset.path.read_text() == "a"
        assert asset.datetime == "2022-06-12T10:15:59Z"
    for href in ("../../secret.tif", str(tmp_path / "secret.tif"), "./link.tif"):
        with pytest.raises(TileFailedError, match="points outside the output folder") as caught:
            read_outputs(catalogue(out, ONE, i=item(href=href)), out)
        assert caught.value.error_class is ErrorClass.OUTPUT
    with pytest.raises(TileFailedError, match=r"is not a local file: https://x\.example/a\.tif"):
        read_outputs(catalogue(out, ONE, i=item(href="https://x.example/a.tif")), out)
    with pytest.raises(TileFailedError, match=r"asset a of item i in output result is not there: b\.tif"):
        read_outputs(catalogue(out, ONE, i=item(href="./b.tif")), out)


@pytest.mark.parametrize(
    ("links", "words"),
    [
        ([{"rel": "item", "href": "https://x.example/i.json"}], "is not a local file"),
        ([{"rel": "item", "href": "../../i.json"}], "points outside the output folder"),
        ([{"rel": "child", "href": "./catalog.json"}], "contains itself"),
        ([{"rel": "item", "href": "./broken.json"}], "is not a STAC catalogue that can be read"),
    ],
)
def test_links_are_followed_in_the_folder_only(out: Path, links: list[dict[str, str]], words: str) -> None:
    (out.parent / "i.json").write_text(json.dumps(item(href="./a.tif")))
    with pytest.raises(TileFailedError, match=words) as caught:
        read_outputs(catalogue(out, links, broken={"type": "Feature"}), out)
    assert caught.value.error_class is ErrorClass.OUTPUT


def test_locations_of_the_runner_are_checked_too(out: Path, tmp_path: Path) -> None:
    for location in ((tmp_path / "secret.tif").as_uri(), str(out / "result" / "link.tif")):
        with pytest.raises(TileFailedError, match="output f points outside the output folder"):
            read_outputs({"f": {"class": "File", "location": location}}, out)
    with pytest.raises(TileFailedError, match="is not a local file: s3://b/x"):
        read_outputs({"f": {"class": "File", "location": "s3://b/x"}}, out)
    with pytest.raises(TileFailedError, match="has no output"):
        read_outputs({}, out)


def test_names_stay_short_where_they_are_unique(out: Path) -> None:
    second = out / "second"
    second.mkdir()
    (second / "a.tif").write_text("2")
    outputs = catalogue(out, ONE, i=item(href="./a.tif"))
    assert [asset.key for asset in read_outputs(outputs, out)[0]] == ["a"]
    both = outputs | {"other": {"class": "Directory", "location": second.as_uri()}}
    assert [asset.key for asset in read_outputs(both, out)[0]] == ["i_a", "a"]
    single = {"ndvi": {"class": "File", "location": (second / "a.tif").as_uri()}}
    assert [asset.key for asset in read_outputs(single, out)[0]] == ["ndvi"]


def test_files_of_one_name_in_a_folder_are_told_apart(out: Path) -> None:
    (out / "result" / "link.tif").unlink()
    (out / "result" / "deep").mkdir()
    for name in ("a.json", "deep/a.tif"):
        (out / "result" / name).write_text(name)
    found, _ = read_outputs({"f": {"class": "Directory", "location": (out / "result").as_uri()}}, out)
    assert {asset.key: asset.path.read_text() for asset in found} == {
        "f_a.json": "a.json",
        "f_a.tif": "a",
        "f_deep_a.tif": "deep/a.tif",
    }


def test_an_output_in_another_is_a_file_of_its_own(out: Path) -> None:
    """As ``glob: .`` and the file itself: cwltool says the same place twice, and results are taken away from there."""
    (out / "result" / "link.tif").unlink()
    place = out / "result"
    for kind, path in (("File", place / "a.tif"), ("Directory", place)):
        both = {"f": {"class": kind, "location": path.as_uri()}, "g": {"class": "Directory", "location": out.as_uri()}}
        first, second = read_outputs(both, out)[0]
        assert first.path != second.path
        assert first.path.read_text() == second.path.read_text() == "a"


def test_a_zarr_store_is_one_result(out: Path) -> None:
    store = out / "result" / "deep" / "cube.zarr"
    (store / "ndvi").mkdir(parents=True)
    for path in (store, store / "ndvi"):
        (path / "zarr.json").write_text("{}")
    (out / "result" / "deep" / "again").symlink_to(out / "result")
    (out / "result" / "link.tif").unlink()
    whole = {"result": {"class": "Directory", "location": (out / "result").as_uri()}}
    assert [asset.path for asset in read_outputs(whole, out)[0]] == [out / "result" / "a.tif", store]
    alone = {"result": {"class": "Directory", "location": store.as_uri()}}
    assert [asset.path for asset in read_outputs(alone, out)[0]] == [store]
    ((asset,), _) = read_outputs(catalogue(out, ONE, i=item(href="./deep/cube.zarr")), out)
    assert asset.path == store
