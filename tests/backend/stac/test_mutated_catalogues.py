"""Damaged items and catalogues: each is used, or left out and named; none stops a plan with a traceback."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import box
from tests.backend.test_mutated_results import linking, mutated
from tests.mutate import SEED, how_many

from upscaling.config.stage_in import Search
from upscaling.errors import ConfigError
from upscaling.stage_in.choose import SOURCE, Choice, span_of
from upscaling.stage_in.plan import Store, _searched
from upscaling.stage_in.stage import Stage

CATALOGUES = how_many(11, 400)
ITEMS = 10 * CATALOGUES
HERE = (11.0, 46.0, 12.0, 47.0)
JUNE = ("2022-06-01", "2022-07-01")
RING = [[11, 46], [12, 46], [12, 47], [11, 47], [11, 46]]


def item(name: str, href: str = "./a.tif") -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "s2",
        "geometry": {"type": "Polygon", "coordinates": [RING]},
        "bbox": [11, 46, 12, 47],
        "properties": {"datetime": "2022-06-12T10:10:00Z", "eo:cloud_cover": 5, "platform": "a"},
        "links": [{"rel": "self", "href": f"https://h.example/{name}"}, {"rel": "collection", "href": "./c.json"}],
        "assets": {"B02": {"href": href, "type": "image/tiff", "roles": ["data"], "file:size": 1}},
    }


SEARCHES: list[dict[str, Any]] = [
    {},
    {"max_cloud_cover": 20, "sort": "-eo:cloud_cover", "limit": 3},
    {"where": {"platform": ["a", "b"], "eo:cloud_cover": {"gt": 1}}, "collections": ["s2"], "sort": "id"},
]


def planned(catalogue: Path, search: dict[str, Any], said: list[str], folder: Path) -> list[str]:
    """Search, choose, pin and stage as a plan and a tile do; return the ids of what a tile gets."""
    asked = Search(catalogue=str(catalogue), **search)
    pinned, documents = [], {}
    with (folder / "items.ndjson").open("wb") as stream:
        store = Store(stream)
        for one, document in _searched(asked, [HERE], [JUNE], key="stage_in", say=said.append):
            pinned.append(one)
            documents[one.digest] = document
            store.add(one.digest, document)
    choice = Choice(pinned, limit=asked.limit, descending=asked.sort.startswith("-"))
    chosen = choice.at(box(*HERE), span_of(JUNE, "time"))
    for one in chosen:
        json.dumps(documents[one.digest], allow_nan=False)
        assert documents[one.digest].get(SOURCE, "https://").startswith(("http", "s3"))
    return [one.id for one in chosen]


def test_damaged_items(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"x")
    chance = random.Random(SEED)
    for number in range(0, ITEMS, 200):
        damaged = [mutated(chance, {"i": item(f"i{number + place}")}).get("i") for place in range(200)]
        path = tmp_path / "all.json"
        content = {"type": "FeatureCollection", "features": [item("good"), *damaged]}
        path.write_text(json.dumps(content))
        said: list[str] = []
        found = planned(path, SEARCHES[number // 200 % 3] | {"limit": None}, said, tmp_path)
        assert "good" in found and all("\n" not in line for line in said)
        untouched = [one["id"] for one in damaged if one == item(str(isinstance(one, dict) and one.get("id")))]
        assert set(untouched) <= set(found)


def test_damaged_catalogues(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"x")
    chance = random.Random(SEED)
    ends = {"used": 0, "refused": 0}
    for number in range(CATALOGUES):
        documents = {
            "root.json": linking("Catalog", "lower.json", "item-1.json") | {"id": "r"},
            "lower.json": linking("Collection", "item-2.json"),
            "item-1.json": item("1"),
            "item-2.json": item("2"),
        }
        for name, content in (mutated(chance, documents) | {}).items():
            (tmp_path / name.replace("_", "")).write_text(json.dumps(content))
        said: list[str] = []
        try:
            found = planned(tmp_path / "root.json", SEARCHES[number % 3], said, tmp_path)
            ends["used"] += bool(found)
        except ConfigError as error:
            assert "\n" not in str(error) and len(str(error)) < 2000
            ends["refused"] += 1
    assert ends["used"] > CATALOGUES // 4


@pytest.mark.parametrize("name", ["catalog.json", "CATALOG.JSON", "a/../..", ".", "", "x" * 500, "é"])
def test_ids_choose_no_place_in_a_staged_catalogue(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.tif").write_bytes(b"x")
    items = [item(name, str(tmp_path / "a.tif")) for _ in range(2)]
    folder = tmp_path / "deep" / "staged"
    Stage(tmp_path, tmp_path / "cache", 10**9)._catalogue(items, folder)
    links = json.loads((folder / "catalog.json").read_text())["links"]
    paths = [folder / link["href"] for link in links if link["rel"] == "item"]
    assert len({path.resolve() for path in paths}) == 2
    for path in paths:
        assert path.resolve().is_relative_to(folder.resolve())
        assert (path.parent / json.loads(path.read_text())["assets"]["B02"]["href"]).read_bytes() == b"x"
