"""Damaged result documents, catalogues, output folders: what came back is in the item, named there, or fails the tile.

Never is a tile without data because a document was odd. More, and others:
``UPSCALING_MUTATIONS=5000 UPSCALING_SEED=7 pytest <this file>``.
"""

from __future__ import annotations

import copy
import json
import os
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.backend.ogcapi.replay import Replay
from tests.faults.hostile import FakeHostilePlatform
from tests.faults.test_hostile import backend_of, job_of
from tests.faults.test_hostile import user as user  # noqa: PLC0414 -- a fixture
from tests.mutate import SEED, how_many

from upscaling.backends.cwl.outputs import read_outputs
from upscaling.backends.ogcapi.results import read_reply
from upscaling.backends.ogcapi.stage import stage
from upscaling.backends.openeo.results import fetch_results
from upscaling.clients.ogcapi.client import OgcApiClient
from upscaling.errors import PlatformError, TileFailedError
from upscaling.model import Outcome
from upscaling.results.item import build_item
from upscaling.util.files import write_json

EACH = how_many(3, 100)
ODD: list[Any] = [
    None,
    0,
    -1.5,
    True,
    "",
    " ",
    "x",
    [],
    {},
    [None],
    ["x"],
    {"x": 1},
    "http://[",
    "a\u0000b",
    "\ud800",
    "x" * 500,
]
Documents = dict[str, Any]


def item(number: int, base: str) -> dict[str, Any]:
    assets = {
        "first": {"href": f"{base}file-{number}-a.txt", "roles": ["data"], "type": "text/plain"},
        "second": {"href": f"{base}file-{number}-b.txt", "roles": ["data", "overview"], "bands": [{"name": "b"}]},
        "small": {"href": f"{base}file-{number}-c.txt", "roles": ["thumbnail"], "title": "A picture"},
    }
    properties = {"datetime": "2022-06-12T10:10:00Z", "proj:code": "EPSG:32632"}
    head = {"type": "Feature", "stac_version": "1.0.0", "id": f"item-{number}", "geometry": None, "bbox": None}
    return {
        **head,
        "properties": properties,
        "links": [{"rel": "self", "href": f"item-{number}.json"}],
        "assets": assets,
    }


def linking(kind: str, *hrefs: str, **more: Any) -> dict[str, Any]:
    head = {"type": kind, "stac_version": "1.0.0", "id": "whole", "description": "d", "extent": {}}
    return {**head, "links": [{"rel": "item", "href": href, "type": "application/json"} for href in hrefs], **more}


def shapes(base: str) -> list[Documents]:
    """The documents of results in every form; the first is the one that is read first."""
    items = {f"item-{number}.json": item(number, base) for number in (1, 2)}
    return [
        {"root.json": linking("Collection", f"{base}item-1.json", f"{base}item-2.json", assets={}), **items},
        {"root.json": item(1, base)},
        {"root.json": linking("Collection", assets=item(1, base)["assets"])},
        {
            "root.json": linking("Catalog", f"{base}lower.json")
            | {"links": [{"rel": "child", "href": f"{base}lower.json"}]},
            "lower.json": linking("Catalog", f"{base}item-1.json", f"{base}item-2.json"),
            **items,
        },
    ]


def nodes(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for key, value in (
        content.items() if isinstance(content, dict) else enumerate(content if isinstance(content, list) else [])
    ):
        yield from nodes(value, (*path, key))


def mutated(chance: random.Random, documents: Documents) -> Documents:
    """Change one to three places of documents in some way."""
    changed = copy.deepcopy(documents)
    for _ in range(chance.randint(1, 3)):
        *way, last = chance.choice(list(nodes(changed)))
        if not way and chance.random() < 0.8:
            continue
        holder = changed
        for key in way:
            holder = holder[key]
        change = chance.randrange(6)
        if change == 0:
            del holder[last]
        elif change == 1 and isinstance(holder, dict):
            holder[f"{last}_"] = holder.pop(last)
        elif change == 2:
            holder[last] = [holder[last]]
        elif change == 3:
            holder[last] = {"x": holder[last]}
        elif change == 4 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[last]))
        else:
            # a link of another relation leads to something else
            odd = [value for value in ODD if last != "rel" or not isinstance(value, str)]
            holder[last] = copy.deepcopy(chance.choice(odd))
        if not changed:
            return copy.deepcopy(documents)
    return changed


def named(documents: Documents, text: str = "root.json") -> set[str]:
    """The files and documents that a text names, or documents that can be reached from it."""
    waiting, seen = re.findall(r"item-\d\.json|\w+\.json", text), set()
    while waiting:
        name = waiting.pop()
        if name not in seen and name in documents:
            seen.add(name)
            text += json.dumps(documents[name])
            waiting += re.findall(r"item-\d\.json|lower\.json", text)
    return set(re.findall(r"file-\d-\w\.txt|item-\d\.json|lower\.json", text))


WHOLE = re.compile(
    "has no assets that can be read|list of features|links of .* no list|has no rel|has no href|no object"
)


def check(outcome: Outcome, folder: Path, came_back: set[str], documents: Documents) -> str:
    """Build the item; hold what is in it against what came back; return how it ended."""
    job = replace(job_of(folder / "run"), scratch=folder)
    built = build_item(job, outcome, temporal=None, exact=False)
    json.dumps(built, allow_nan=False).encode()
    properties = built["properties"]
    files = {name for name in came_back if name.startswith("file")}
    contents = [(job.folder / asset["href"]).read_text() for asset in built["assets"].values()]
    text = json.dumps([*contents, properties.get("upscaling:outputs")])
    left_out = properties.get("upscaling:left_out", [])
    if properties["upscaling:nodata"]:
        assert not came_back - {"lower.json"}, json.dumps(documents)  # a catalogue without an item is empty
        return "nodata"
    missing = {name for name in files if name not in named(documents, text)}  # an odd document is a file of the item
    told = len(left_out) >= len(missing) or any(map(WHOLE.search, left_out))
    assert told, json.dumps([sorted(missing), left_out, documents])
    return "item"


def walk_all(of: Callable[[random.Random, int], str]) -> dict[str, int]:
    ends: dict[str, int] = {}
    for number in range(EACH):
        chance = random.Random(SEED * 1000 + number)
        try:
            end = of(chance, number)
        except (TileFailedError, PlatformError) as error:
            assert "\n" not in str(error) and len(str(error)) < 2000
            end = "failed"
        ends[end] = ends.get(end, 0) + 1
    assert ends["item"] >= EACH // 10 and ends["failed"] >= 1, ends  # both are reached
    return ends


@pytest.fixture
def web() -> Iterator[Replay]:
    server = Replay()
    for number in (1, 2):
        for letter in "abc":
            name = f"file-{number}-{letter}.txt"
            server.answers[f"GET /f/{name}"] = (200, {}, name.encode())
    yield server
    server.stop()


def serve(web: Replay, documents: Documents) -> None:
    for name in ("item-1.json", "item-2.json", "lower.json", "root.json"):
        web.answers.pop(f"GET /f/{name}", None)
    for name, content in documents.items():
        web.answers[f"GET /f/{name}"] = (200, {"Content-Type": "application/json"}, json.dumps(content).encode())


def test_results_of_an_openeo_platform(web: Replay, user: None, tmp_path: Path) -> None:
    platform = FakeHostilePlatform()
    platform.jobs["job-1"] = {"id": "job-1", "status": "finished"}
    session = backend_of(platform, tmp_path)._session
    base = f"http://127.0.0.1:{web.port}/f/"

    def one(chance: random.Random, number: int) -> str:
        documents = mutated(chance, chance.choice(shapes(base)))
        serve(web, documents)
        platform.results = lambda job_id: documents.get("root.json", {})
        folder = tmp_path / str(number)
        outcome = fetch_results(session, "job-1", folder, most_bytes=10**6)
        return check(outcome, folder, named(documents), documents)

    try:
        walk_all(one)
    finally:
        platform.close()


def test_results_of_an_ogc_api(web: Replay, tmp_path: Path) -> None:
    base = f"http://127.0.0.1:{web.port}/f/"
    more: list[Documents] = [
        {
            "root.json": {
                "first": {"href": f"{base}file-1-a.txt", "type": "text/plain"},
                "mean": 0.5,
                "all": [1, {"x": "y"}],
            }
        },
        {
            "root.json": {
                "outputs": [{"id": "a", "value": {"href": f"{base}file-1-a.txt"}}, {"id": "b", "value": "text"}]
            }
        },
        {"root.json": {"stac": {"value": item(1, base)}, "other": {"value": 7}}},
        {"root.json": {"type": "FeatureCollection", "features": [item(1, base), item(2, base)]}},
        {"root.json": {"result": {"href": f"{base}lower.json", "type": "application/json"}}, **shapes(base)[3]}
        | {"root.json": {"result": {"href": f"{base}lower.json", "type": "application/json"}}},
    ]

    def one(chance: random.Random, number: int) -> str:
        documents = mutated(chance, chance.choice([*shapes(base), *more]))
        serve(web, documents)
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "reply").write_text(json.dumps(documents.get("root.json", {})))
        write_json(folder / "reply.headers.json", {"url": f"{base}root.json", "type": "application/json", "links": []})
        outcome = stage(OgcApiClient(web.base), read_reply(folder / "reply"), folder / "results")
        return check(outcome, folder, named(documents), documents)

    walk_all(one)


def test_outputs_of_a_package(tmp_path: Path) -> None:
    def one(chance: random.Random, number: int) -> str:
        out = tmp_path / str(number) / "out"
        files = place(chance, out / "r", mutated(chance, chance.choice(shapes(chance.choice(["./", ""])))))
        outputs = {"r": {"class": "Directory", "location": (out / "r").as_uri()}}
        outcome = read_outputs(outputs, out)
        end = check(outcome, out.parent, files, {})
        assert end == "item", "files came back"
        return end

    walk_all(one)


def place(chance: random.Random, folder: Path, documents: Documents) -> set[str]:
    """Write an output folder, with its documents somewhere in it; return the names of its files."""
    folder.mkdir(parents=True)
    place = folder / chance.choice(["", "deep", "deep/deeper"])
    place.mkdir(parents=True, exist_ok=True)
    for name, content in documents.items():
        plain = chance.choice(["catalog.json", "collection.json", "root.json"]) if name == "root.json" else name
        if chance.random() < 0.1:
            (place / plain).write_text(json.dumps(content)[: chance.randrange(1, 200)])  # cut off
        elif chance.random() < 0.95:
            (place / plain).write_text(json.dumps(content))
    names = {f"file-{number}-{letter}.txt" for number in (1, 2) for letter in "abc"}
    for name in names:
        (place / name).write_text(name)
    if chance.random() < 0.2:
        os.mkfifo(folder / "pipe")
    return names
