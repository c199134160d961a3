"""One walk through STAC for results of every kind and for staged items: the same documents give the same files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from tests.backend.ogcapi.replay import Replay
from tests.faults.hostile import FakeHostilePlatform
from tests.faults.test_hostile import backend_of
from tests.faults.test_hostile import user as user  # noqa: PLC0414 -- a fixture

from upscaling.backends.cwl.outputs import read_outputs
from upscaling.backends.ogcapi.results import Found
from upscaling.backends.ogcapi.stage import stage
from upscaling.backends.openeo.results import fetch_results
from upscaling.clients.ogcapi.client import OgcApiClient
from upscaling.config.stage_in import Search
from upscaling.errors import PlatformError, TileFailedError
from upscaling.stage_in.choose import fits, pinned_document
from upscaling.stage_in.sources import found
from upscaling.util.stac_assets import stac_bands
from upscaling.util.stac_walk import kind_of

Documents = dict[str, Any]
Files = list[tuple[str, bytes]]  # asset key, content


def item(name: str = "i", **assets: Any) -> dict[str, Any]:
    head = {"type": "Feature", "stac_version": "1.0.0", "id": name, "geometry": None, "links": []}
    whole = {
        key: asset if isinstance(asset, dict) else {"href": asset, "roles": ["data"]} for key, asset in assets.items()
    }
    return {**head, "properties": {"datetime": "2022-06-12T10:10:00Z"}, "assets": whole}


def linking(kind: str, *hrefs: str, rel: str = "item") -> dict[str, Any]:
    head = {"type": kind, "stac_version": "1.0.0", "id": kind, "description": "d", "extent": {}}
    return {**head, "links": [{"rel": "root", "href": "./root.json"}, *({"rel": rel, "href": href} for href in hrefs)]}


# Case -> documents and the files that a result has; the start is root.json. Files hold their own path.
CASES: dict[str, tuple[Documents, list[str]]] = {
    "an item": ({"root.json": item(a="./x/a.tif", b="x/b.tif")}, ["x/a.tif", "x/b.tif"]),
    "an item collection": (
        {"root.json": {"type": "FeatureCollection", "features": [item("i", a="a.tif"), item("j", a="x/a.tif")]}},
        ["a.tif", "x/a.tif"],
    ),
    "a collection": ({"root.json": linking("Collection", "i.json"), "i.json": item(a="a.tif")}, ["a.tif"]),
    "two levels down": (
        {
            "root.json": linking("Catalog", "x/collection.json", rel="child"),
            "x/collection.json": linking("Collection", "y/catalog.json", rel="child"),
            "x/y/catalog.json": linking("Catalog", "../i.json", "../../j.json", "../i.json"),
            "x/i.json": item("i", a="./y/a.tif"),
            "j.json": item("j", a="x/a.tif"),
        },
        ["x/a.tif", "x/y/a.tif"],
    ),
    "a circle": (
        {
            "root.json": linking("Catalog", "x/catalog.json", rel="child"),
            "x/catalog.json": {**linking("Catalog", "i.json"), "id": "x"}
            | {"links": [{"rel": "child", "href": "../root.json"}, {"rel": "item", "href": "i.json"}]},
            "x/i.json": item(a="../a.tif"),
        },
        ["a.tif"],
    ),
    "one name in two folders": (
        {"root.json": item(a="2020/01/B02.tif", b="2020/02/B02.tif")},
        ["2020/01/B02.tif", "2020/02/B02.tif"],
    ),
    "two items with a file of one name": (
        {
            "root.json": linking("Catalog", "x/i.json", "y/i.json"),
            "x/i.json": item("i", a="out.tif"),
            "y/i.json": item("i", a="out.tif"),
        },
        ["x/out.tif", "y/out.tif"],
    ),
    "names with signs": (
        {"root.json": item(a="./my%20ndvi.tif", b="./Br%C3%A4u.tif", c="./a%231.tif", d="./b%3Fc.tif", e="e%2520.tif")},
        ["Bräu.tif", "a#1.tif", "b?c.tif", "e%20.tif", "my ndvi.tif"],
    ),
    "a name with a blank": ({"root.json": item(a="./my ndvi.tif")}, ["my ndvi.tif"]),
    "an absolute address": ({"root.json": item(a="{base}/x/a.tif")}, ["x/a.tif"]),
    "a query": ({"root.json": item(a="x/a.tif?sig=1")}, ["x/a.tif"]),
    "data and overview": (
        {
            "root.json": item(
                a={"href": "a.tif", "roles": ["data", "overview"]},
                b={"href": "b.tif", "roles": ["visual", "overview"]},
                small={"href": "small.png", "roles": ["thumbnail"]},
            )
        },
        ["a.tif", "b.tif"],
    ),
    "no role": ({"root.json": item(a={"href": "a.tif"}, b={"href": "b.tif", "roles": None})}, ["a.tif", "b.tif"]),
    "an overview alone": (
        {
            "root.json": item(
                a={"href": "a.tif", "roles": ["overview"]}, small={"href": "small.png", "roles": ["thumbnail"]}
            )
        },
        ["a.tif"],
    ),
    "a thumbnail alone": ({"root.json": item(a={"href": "a.png", "roles": ["thumbnail"]})}, ["a.png"]),
    "a picture in the document itself": (
        {"root.json": item(a="./a.tif", t={"href": "data:image/png;base64,AAAA", "roles": ["thumbnail"]})},
        ["a.tif"],
    ),
    "a mask that is metadata": (
        {
            "root.json": item(
                a="a.tif", m={"href": "a.tif.msk", "roles": ["metadata"]}, t={"href": "t.xml", "roles": ["metadata"]}
            )
        },
        ["a.tif", "a.tif.msk"],
    ),
}


def paths_of(documents: Documents, names: list[str]) -> Iterator[tuple[str, bytes]]:
    yield from ((name, json.dumps(content).encode()) for name, content in documents.items())
    yield from ((name, name.encode()) for name in {*names, "small.png", "t.xml"})


def of_a_package(documents: Documents, names: list[str], folder: Path) -> list[str]:
    out = folder / "out"
    for name, content in paths_of(documents, names):
        path = out / "r" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.replace(b"{base}", str(out / "r").encode()))
    outcome = read_outputs({"r": {"class": "Directory", "location": str(out / "r")}}, out)
    return [asset.path.read_text() for asset in outcome.assets]


@pytest.fixture
def web() -> Iterator[Replay]:
    server = Replay()
    yield server
    server.stop()


def serve(server: Replay, documents: Documents, names: list[str]) -> str:
    base = f"http://127.0.0.1:{server.port}/f"
    for name, content in paths_of(documents, names):
        server.answers[f"GET /f/{quote(name)}"] = (200, {}, content.replace(b"{base}", base.encode()))
    return base


def of_ogcapi(documents: Documents, names: list[str], folder: Path, web: Replay) -> list[str]:
    start = Found("r", href=f"{serve(web, documents, names)}/root.json")
    return [asset.path.read_text() for asset in stage(OgcApiClient(web.base), [start], folder).assets]


def of_openeo(documents: Documents, names: list[str], folder: Path, web: Replay) -> list[str]:
    platform = FakeHostilePlatform()
    links = [{"rel": "item", "href": f"{serve(web, documents, names)}/root.json"}]
    try:
        platform.jobs["job-1"] = {"id": "job-1", "status": "finished"}
        platform.results = lambda job_id: {"type": "Collection", "assets": {}, "links": links}
        session = backend_of(platform, folder)._session
        outcome = fetch_results(session, "job-1", folder / "results", most_bytes=10**6)
    finally:
        platform.close()
    return [asset.path.read_text() for asset in outcome.assets]


def staged(place: str) -> Iterator[str]:
    search = Search(catalogue=place)
    for said in found(search, None, None, key="stage_in", say=lambda _line: None):
        if fits(said, search, None, None):
            yield from (asset["href"] for asset in pinned_document(said, search)["assets"].values())


@pytest.mark.parametrize("case", CASES)
def test_the_same_documents_give_the_same_files(case: str, web: Replay, user: None, tmp_path: Path) -> None:
    documents, names = CASES[case]
    assert sorted(of_a_package(documents, names, tmp_path)) == names
    users: list[Callable[..., list[str]]] = [of_ogcapi, of_openeo]
    for results_of in users:
        assert sorted(results_of(documents, names, tmp_path / results_of.__name__, web)) == names
    # What is staged is an input: whoever asks for less names the assets. The items are those of the results.
    here = sorted({Path(href).read_text() for href in staged(str(tmp_path / "out" / "r" / "root.json"))})
    there = sorted({requests.get(href, timeout=60).text for href in staged(f"http://127.0.0.1:{web.port}/f/root.json")})
    assert set(names) <= set(here) and here == there


@pytest.mark.parametrize(("links", "told"), [(None, True), ([], False)])
def test_a_collection_that_names_nothing_is_told_unless_it_says_that_it_is_empty(
    links: Any, told: bool, web: Replay, tmp_path: Path
) -> None:
    content = linking("Collection") | {"links": links, "assets": {}}
    if links is None:
        del content["links"]
    start = Found("r", href=f"{serve(web, {'root.json': content}, [])}/root.json")
    try:
        left_out = stage(OgcApiClient(web.base), [start], tmp_path).left_out
    except (TileFailedError, PlatformError) as error:
        left_out = (str(error),)
    assert bool(left_out) == told, left_out


def test_a_file_that_is_named_by_the_query(web: Replay, user: None, tmp_path: Path) -> None:
    documents = {"root.json": item(a="download?file=a.tif", b="download?file=b.tif", c="download?file=a.tif")}
    web.answers["GET /f/download"] = lambda handler, _body: (200, {}, handler.path.encode())
    wanted = ["/f/download?file=a.tif", "/f/download?file=b.tif"]
    assert of_ogcapi(documents, [], tmp_path / "a", web) == of_openeo(documents, [], tmp_path / "b", web) == wanted


SIGNED = "assets/dXNlcg==/{}/{}?expires={}"


@pytest.mark.parametrize(
    ("of_item", "of_collection", "names"),
    [
        # openeo_driver signs a file anew each time that it lists it
        ({"k": SIGNED.format("a" * 32, "x.tif", 1)}, {"k": SIGNED.format("b" * 32, "x.tif", 2)}, ["x.tif"]),
        ({"k": SIGNED.format("a" * 32, "x.tif", 1)}, {"l": SIGNED.format("b" * 32, "y.tif", 2)}, ["x.tif", "y.tif"]),
        ({"k": "a/x.tif"}, {"k": "b/x.tif"}, ["x.tif", "x.tif"]),
        ({"k": "x.tif?X-Amz-Signature=1"}, {"l": "x.tif?X-Amz-Signature=2"}, ["x.tif"]),
        ({"k": "get?token=1"}, {"l": "get?token=2"}, ["get", "get"]),
        (
            {"k": {"href": "x.tif?sig=1", "file:size": 2}},
            {"k": {"href": "x.tif?sig=2", "file:size": 3}},
            ["x.tif", "x.tif"],
        ),
    ],
)
def test_a_file_that_item_and_collection_list_is_one(of_item: Any, of_collection: Any, names: list[str]) -> None:
    from upscaling.util.stac_assets import file_name
    from upscaling.util.stac_walk import StacWalk, join

    documents = {
        "http://h/c.json": {**linking("Collection", "i.json"), "assets": item(**of_collection)["assets"]},
        "http://h/i.json": item(**of_item),
    }
    walk = StacWalk(documents.get, join, pytest.fail, 10, pytest.fail)
    assert [file_name(asset.href)[1] for asset in walk.assets(walk.documents("http://h/c.json"), most=9)] == names


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({"type": "Catalog", "links": []}, "Catalog"),
        ({"type": "Collection", "stac_version": "1.0.0"}, "Collection"),
        ({"type": "Feature", "assets": {}}, "Item"),
        ({"type": "FeatureCollection", "features": [{"type": "Feature", "assets": {}}, 3]}, "ItemCollection"),
        ({"type": "FeatureCollection", "features": [{"type": "Feature"}]}, None),
        ({"type": "FeatureCollection", "features": None}, None),
        ({"type": ["Catalog"], "links": []}, None),
        ([], None),
    ],
)
def test_what_is_stac(content: Any, kind: str | None) -> None:
    assert kind_of(content) == kind


@pytest.mark.parametrize(
    ("fields", "bands"),
    [
        ({"bands": [{"name": "y"}], "eo:bands": [{"name": "x"}]}, [{"name": "y"}]),
        ({"bands": [], "eo:bands": [{"name": "x", "common_name": "red"}]}, [{"name": "x", "eo:common_name": "red"}]),
        (
            {
                "bands": [{"data_type": "int8"}],
                "eo:bands": [{"name": "x"}],
                "raster:bands": [{"name": "q", "scale": 2}],
            },
            [{"name": "x", "raster:name": "q", "raster:scale": 2, "data_type": "int8"}],
        ),
        ({"raster:bands": [{"name": "q", "nodata": 0}]}, [{"name": "q", "nodata": 0}]),
    ],
)
def test_bands_of_both_versions_of_stac_count_together(fields: Any, bands: list[Any]) -> None:
    assert list(stac_bands(fields)) == bands
