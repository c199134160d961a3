"""Output objects that nobody should trust: what came back is a result, named as left out, or an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from upscaling.backends.cwl.outputs import read_outputs
from upscaling.errors import ErrorClass, TileFailedError
from upscaling.model import Outcome


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


def nothing(out: Path) -> dict[str, Any]:
    """A catalogue alone, without a file."""
    for name in ("a.tif", "link.tif"):
        (out / "result" / name).unlink()
    return catalogue(out, [])


def test_a_catalogue_without_items_and_files_is_no_data(out: Path) -> None:
    assert read_outputs(nothing(out), out) == Outcome(())
    assert read_outputs({"result": None, "other": []}, out) == Outcome(())


def test_hrefs_may_be_relative_or_absolute_but_not_leave_the_folder(out: Path, tmp_path: Path) -> None:
    for href in ("./a.tif", str(out / "result" / "a.tif"), (out / "result" / "a.tif").as_uri()):
        outcome = read_outputs(catalogue(out, ONE, i=item(href=href)), out)
        (asset,) = outcome.assets
        assert asset.path.read_text() == "a"
        assert asset.datetime == "2022-06-12T10:15:59Z"
        assert outcome.left_out == ("link.tif: points outside the output folder",)
    for href in ("../../secret.tif", str(tmp_path / "secret.tif"), "./link.tif"):
        with pytest.raises(TileFailedError, match="points outside the output folder") as caught:
            read_outputs(catalogue(out, ONE, i=item(href=href)), out)
        assert caught.value.error_class is ErrorClass.OUTPUT
    with pytest.raises(TileFailedError, match=r"not a local file: https://x\.example/a\.tif"):
        read_outputs(catalogue(out, ONE, i=item(href="https://x.example/a.tif")), out)
    with pytest.raises(TileFailedError, match=r"i.json of output result names what is not there: \./b\.tif"):
        read_outputs(catalogue(out, ONE, i=item(href="./b.tif")), out)


@pytest.mark.parametrize(
    ("links", "words"),
    [
        ([{"rel": "item", "href": "https://x.example/i.json"}], "not a local file"),
        ([{"rel": "item", "href": "../../i.json"}], "points outside the output folder"),
        ([{"rel": "item", "href": "./broken.json"}], "is not a STAC catalogue that can be read"),
        ([{"rel": "item", "href": "./gone.json"}], "names what is not there"),
    ],
)
def test_links_are_followed_in_the_folder_only(out: Path, links: list[dict[str, str]], words: str) -> None:
    (out.parent / "i.json").write_text(json.dumps(item(href="./a.tif")))
    with pytest.raises(TileFailedError, match=words) as caught:
        read_outputs(catalogue(out, links, broken=["no STAC"]), out)  # type: ignore[arg-type]
    assert caught.value.error_class is ErrorClass.OUTPUT


def test_a_catalogue_that_contains_itself_is_not_no_data(out: Path) -> None:
    outcome = read_outputs({**nothing(out), **catalogue(out, [{"rel": "child", "href": "./catalog.json"}])}, out)
    assert outcome.assets == () and "which contains it" in outcome.left_out[0]


@pytest.mark.parametrize("name", ["my ndvi.tif", "Bräunlingen.tif", "a#1.tif", "a?b=1.tif", "50%20.tif", "x%41.tif"])
def test_names_may_be_written_in_any_way(out: Path, name: str) -> None:
    (out / "result" / name).write_text(name)
    for href in (
        f"./{name}",
        quote(f"./{name}"),
        quote(str(out / "result" / name)),
        f"file://{quote(str(out))}/result/{quote(name)}",
    ):
        (asset,) = read_outputs(catalogue(out, ONE, i=item(href=href)), out).assets
        assert asset.path.read_text() == name
    (asset,) = read_outputs(catalogue(out, ONE, i=item(href="./a.tif?token=1#x")), out).assets
    assert asset.path.read_text() == "a"


def tree(out: Path, **documents: Any) -> dict[str, Any]:
    (out / "result" / "link.tif").unlink()
    for name, content in documents.items():
        path = out / "result" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".json").write_text(json.dumps(content))
    return {"result": {"class": "Directory", "location": (out / "result").as_uri()}}


def stac(kind: str, *links: tuple[str, str]) -> dict[str, Any]:
    head = {"type": kind, "stac_version": "1.0.0", "id": "c", "extent": {}}
    return {**head, "links": [{"rel": rel, "href": href} for rel, href in links]}


ITEM = item(href="../../a.tif")
TREES: dict[str, dict[str, Any]] = {
    "no catalogue": {"x__y__i": ITEM},
    "an item collection": {"x__y__all": {"type": "FeatureCollection", "features": [ITEM]}},
    "a catalogue two levels down": {"x__y__catalog": stac("Catalog", ("item", "i.json")), "x__y__i": ITEM},
    "a catalogue of catalogues": {
        "catalog": stac("Catalog", ("child", "x/collection.json")),
        "x__collection": stac("Collection", ("child", "y/catalog.json")),
        "x__y__catalog": stac("Catalog", ("item", "i.json")),
        "x__y__i": ITEM,
    },
    "two catalogues": {
        "b__catalog": stac("Catalog"),
        "x__catalog": stac("Catalog", ("item", "y/i.json")),
        "x__y__i": ITEM,
    },
    "an item that no catalogue links": {"catalog": stac("Catalog"), "x__y__i": ITEM},
    "assets of a collection": {"x__y__collection": {**stac("Collection"), "assets": ITEM["assets"]}},
}


@pytest.mark.parametrize("documents", TREES.values(), ids=TREES)
def test_stac_is_found_wherever_it_lies(out: Path, documents: dict[str, Any]) -> None:
    outcome = read_outputs(tree(out, **documents), out)
    (asset,) = outcome.assets
    assert asset.path.read_text() == "a" and asset.key == "a" and outcome.left_out == ()
    assert asset.datetime == ("2022-06-12T10:15:59Z" if "x__y__collection" not in documents else None)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("items.json", json.dumps([item(href="a.tif")]).encode()),
        ("items.ndjson", f"{json.dumps(item(href='a.tif'))}\n{json.dumps(item(href='a.tif'))}\n".encode()),
        ("item.json", json.dumps(item(href="a.tif")).encode("utf-8-sig")),
        ("item.json", json.dumps(item(href="a.tif")).encode("utf-16")),
    ],
)
def test_items_count_however_they_are_written(out: Path, name: str, content: bytes) -> None:
    (out / "result" / name).write_bytes(content)
    (asset,) = read_outputs(tree(out), out).assets
    assert (asset.path.name, asset.datetime) == ("a.tif", "2022-06-12T10:15:59Z")


@pytest.mark.parametrize("base", ["/in/the/container", "https://one.day/results"])
def test_addresses_of_another_place_count_from_that_of_their_catalogue(out: Path, base: str) -> None:
    links = [{"rel": "self", "href": f"{base}/catalog.json"}, {"rel": "item", "href": f"{base}/i.json"}]
    (asset,) = read_outputs(catalogue(out, links, i=item(href=f"{base}/a.tif")), out).assets
    assert asset.path.name == "a.tif"
    with pytest.raises(TileFailedError, match="outside the output folder"):
        read_outputs(catalogue(out, links, i=item(href=f"{base}/../../secret.tif")), out)


def test_a_folder_that_is_an_asset_is_one_result(out: Path) -> None:
    product = out / "result" / "product"
    product.mkdir()
    (product / "b.tif").write_text("b")
    (asset,) = read_outputs(catalogue(out, ONE, i=item(href="./product")), out).assets
    assert asset.path == product


def test_what_no_item_names_is_named(out: Path) -> None:
    assets = {
        "visual": {"href": "../../a.tif", "roles": ["data", "overview"]},
        "small": {"href": "../../small.png", "roles": ["thumbnail"]},
        "mask": {"href": "../../a.tif.msk", "roles": ["metadata"]},
        "none": {"roles": ["data"]},
    }
    outputs = tree(out, x__y__i={**ITEM, "assets": assets})
    for name in ("small.png", "a.tif.msk", "a.tif.aux.xml", "run.log", ".hidden"):
        (out / "result" / name).write_text(name)
    outcome = read_outputs(outputs, out)
    assert [(asset.path.name, asset.roles) for asset in outcome.assets] == [
        ("a.tif", ("data", "overview")),
        ("a.tif.msk", ("metadata",)),
        ("a.tif.aux.xml", ("metadata",)),
    ]
    assert outcome.left_out == (
        "asset none of item i has no href",
        "small: has the role thumbnail, beside results",
        "run.log: no STAC item of output result names it",
        ".hidden: hidden, or no regular file",
    )
    del assets["visual"], assets["mask"]
    outcome = read_outputs(tree_of(out, {**ITEM, "assets": assets}), out)
    assert [asset.path.name for asset in outcome.assets] == ["small.png"], "a thumbnail, where there is nothing else"


def tree_of(out: Path, content: dict[str, Any]) -> dict[str, Any]:
    (out / "result" / "x" / "y" / "i.json").write_text(json.dumps(content))
    return {"result": {"class": "Directory", "location": (out / "result").as_uri()}}


def test_values_are_results(out: Path) -> None:
    file = {"class": "File", "location": (out / "result" / "a.tif").as_uri()}
    outputs = {"mean": 0.5, "n": 0, "ok": False, "none": None, "all": [1, "x", None], "rec": {"f": file, "v": [2]}}
    outcome = read_outputs({**outputs, "files": [file]}, out)
    assert outcome.values == {"mean": 0.5, "n": 0, "ok": False, "all": [1, "x", None], "rec": {"v": [2]}}
    assert sorted(asset.key for asset in outcome.assets) == ["files_0", "rec"]


def test_there_is_always_a_name_that_is_free(out: Path) -> None:
    features = [item(href=f"./{name}") for name in ("a.tif", "b.tif", "c.tif")]
    for name in ("b.tif", "c.tif"):
        (out / "result" / name).write_text(name)
    features[1]["assets"]["a_2"] = features[2]["assets"].pop("a")
    outcome = read_outputs(
        tree(out, all={"type": "FeatureCollection", "features": [*features, item(href="./all.json")]}), out
    )
    assert len({asset.key for asset in outcome.assets}) == len(outcome.assets) == 4


def test_locations_of_the_runner_are_checked_too(out: Path, tmp_path: Path) -> None:
    for location in ((tmp_path / "secret.tif").as_uri(), str(out / "result" / "link.tif")):
        with pytest.raises(TileFailedError, match="output f points outside the output folder"):
            read_outputs({"f": {"class": "File", "location": location}}, out)
    with pytest.raises(TileFailedError, match="is not a local file: s3://b/x"):
        read_outputs({"f": {"class": "File", "location": "s3://b/x"}}, out)
    with pytest.raises(TileFailedError, match="has no output"):
        read_outputs({}, out)


def test_locations_that_no_file_can_have_are_an_error_in_one_line(out: Path) -> None:
    (out / "loop.tif").symlink_to(out / "loop.tif")
    for name in ("x" * 5000, "x/" * 3000, "a%00.tif", "loop.tif"):
        with pytest.raises(TileFailedError, match="output f has a location that cannot be read") as caught:
            read_outputs({"f": {"class": "File", "location": f"{out.as_uri()}/{name}"}}, out)
        assert len(str(caught.value)) < 300
    with pytest.raises(TileFailedError, match=r"output f is not there: a b\.tif"):
        read_outputs({"f": {"class": "File", "location": f"{out.as_uri()}/a%0Ab.tif"}}, out)


def test_names_stay_short_where_they_are_unique(out: Path) -> None:
    second = out / "second"
    second.mkdir()
    (second / "a.tif").write_text("2")
    outputs = catalogue(out, ONE, i=item(href="./a.tif"))
    assert [asset.key for asset in read_outputs(outputs, out).assets] == ["a"]
    both = outputs | {"other": {"class": "Directory", "location": second.as_uri()}}
    assert [asset.key for asset in read_outputs(both, out).assets] == ["i_a", "a"]
    single = {"ndvi": {"class": "File", "location": (second / "a.tif").as_uri()}}
    assert [asset.key for asset in read_outputs(single, out).assets] == ["ndvi"]


def test_files_of_one_name_in_a_folder_are_told_apart(out: Path) -> None:
    (out / "result" / "link.tif").unlink()
    (out / "result" / "deep").mkdir()
    for name in ("a.json", "deep/a.tif"):
        (out / "result" / name).write_text(name)
    found = read_outputs({"f": {"class": "Directory", "location": (out / "result").as_uri()}}, out).assets
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
        first, second = read_outputs(both, out).assets
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
    assert [asset.path for asset in read_outputs(whole, out).assets] == [out / "result" / "a.tif", store]
    alone = {"result": {"class": "Directory", "location": store.as_uri()}}
    assert [asset.path for asset in read_outputs(alone, out).assets] == [store]
    (asset,) = read_outputs(catalogue(out, ONE, i=item(href="./deep/cube.zarr")), out).assets
    assert asset.path == store
