"""One deliberate fault per recommendation of APEx, each caught by its name; and what config says."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from tests.unit.results.results_helpers import PRR, RUN, TEMPORAL, TILES, cut, ndvi, outcome_of, write_raster
from tests.unit.results.test_results_formats import write_cube
from upscaling.config.collection import Collection
from upscaling.model import FetchedAsset, Tile, TileJob
from upscaling.results.collection import CollectionMetadata, CollectSummary, collect
from upscaling.results.gather import _extra
from upscaling.results.item import build_item
from upscaling.results.profile import collection_problems, item_problems
from upscaling.results.subcollections import collect_parts
from upscaling.results.validate import validate_collection
from upscaling.util.files import write_json

JobOf = Callable[[Tile], TileJob]
Change = Callable[[dict[str, Any]], object]
SOME = TILES[:4]
KEYS = {tile.id: f"key-of-{tile.id}" for tile in SOME}
SAID = Collection.model_validate(
    {
        "assets": {
            "cover": {
                "match": "*worldcover*.tif",
                "title": "Land cover",
                "bands": [
                    {
                        "name": "cover",
                        "classes": [
                            {"value": 0, "title": "Open land", "color_hint": "ffee00"},
                            {"value": 1, "title": "Forest", "color_hint": "006400", "description": "Trees"},
                        ],
                    }
                ],
            },
            "data": {"bands": [{"unit": "1", "scale": 0.5}]},
        },
        "renders": {"cover": {"assets": ["cover"], "rescale": [[0, 1]]}},
        "themes": ["land"],
        "expect": {"valid": 0.2},
    }
)


class _Config:
    """Only what `_extra` looks at."""

    collection = SAID


EXTRA = _extra(_Config(), {})  # type: ignore[arg-type]


def metadata(said: Collection = SAID, **extra: Any) -> CollectionMetadata:
    return CollectionMetadata(
        RUN, "T", "D", "CC-BY-4.0", assets=said.assets, expect=said.expect, extra={**EXTRA, **extra}
    )


def finish(job: TileJob, scene: Path) -> None:
    """NDVI, and classes in a file that each tile's platform names after the tile and the day."""
    values = cut(scene, ndvi(scene), job.tile)
    west, north = job.tile.bounds.west, job.tile.bounds.north
    first = write_raster(job.scratch / "openEO.tif", values, west, north)
    classes = (np.nan_to_num(values) > 0.5).astype("uint8")
    second = write_raster(job.scratch / f"run7_worldcover_{west:.0f}.tif", classes, west, north)
    outcome = outcome_of(FetchedAsset(first, "openEO.tif"), FetchedAsset(second, second.name))
    write_json(job.folder / "item.json", build_item(job, outcome, temporal=TEMPORAL))


@pytest.fixture
def run(tmp_path: Path, job_of: JobOf, scene: Path) -> Path:
    for tile in SOME:
        finish(job_of(tile), scene)
    return tmp_path / RUN


def gather(run: Path, **options: Any) -> CollectSummary:
    return collect(run, **{"tiles": list(KEYS), "keys": KEYS, "metadata": metadata(), **options})


def item_of(run: Path, tile: Tile = SOME[0]) -> dict[str, Any]:
    return dict(json.loads((run / "tiles" / tile.id / "item.json").read_text()))


def test_what_the_configuration_says_reaches_every_item_and_no_tile_is_touched(run: Path, shared_data: Path) -> None:
    paths = sorted(run.glob("tiles/*/item.json"))
    before = [path.stat().st_mtime_ns for path in paths]
    summary = gather(run)
    assert summary.problems == ()
    assert validate_collection(summary.collection, shared_data / "stac_schemas") == []
    assert [path.stat().st_mtime_ns for path in paths] == before, "Snakemake would take the items for new ones"
    for tile in SOME:
        item = item_of(run, tile)
        assert sorted(item["assets"]) == ["cover", "data"]
        assert item["assets"]["cover"]["title"] == "Land cover"
        assert item["assets"]["cover"]["bands"][0]["classification:classes"] == [
            {"value": 0, "name": "open-land", "title": "Open land", "color_hint": "FFEE00"},
            {"value": 1, "name": "forest", "title": "Forest", "color_hint": "006400", "description": "Trees"},
        ]
        assert item["assets"]["data"]["bands"][0]["raster:scale"] == 0.5
    facts = json.loads(summary.collection.read_text())
    assert facts["renders"]["cover"] == {"assets": ["cover"], "rescale": [[0.0, 1.0]]}
    assert facts["themes"][0]["concepts"] == [{"id": "land"}]
    written = summary.collection.read_bytes()
    gather(run)
    assert summary.collection.read_bytes() == written

    fewer = SAID.model_copy(update={"assets": {}})
    summary = gather(run, metadata=metadata(fewer, stac_extensions=[], renders={}))
    assert "classification:classes" not in item_of(run)["assets"]["cover"]["bands"][0]
    assert not any("classification" in uri for uri in item_of(run)["stac_extensions"])


def asset(item: dict[str, Any], key: str = "data") -> dict[str, Any]:
    return dict.__getitem__(item["assets"], key)


ITEM_FAULTS: dict[str, Change] = {
    "STAC-REC-01": lambda item: item.update(stac_version="1.0.0"),
    "STAC-REC-02": lambda item: item.update(id="tile 1/2"),
    "STAC-REC-04": lambda item: [entry.update(roles=["metadata"]) for entry in item["assets"].values()],
    "STAC-REC-05": lambda item: asset(item).pop("file:size"),
    "STAC-REC-06": lambda item: item["properties"].pop("proj:shape"),
    "STAC-REC-07": lambda item: item["properties"].pop("start_datetime"),
    "STAC-REC-08": lambda item: asset(item)["bands"][0].pop("name"),
    "STAC-REC-09": lambda item: item["properties"].update({"cube:dimensions": {"t": {"type": "temporal"}}}),
    "STAC-REC-10": lambda item: asset(item).pop("raster:spatial_resolution"),
    "STAC-REC-12": lambda item: asset(item, "cover")["bands"][0]["classification:classes"][1].pop("color_hint"),
}
MORE_ITEM_FAULTS: list[tuple[str, Change]] = [
    ("STAC-REC-05: asset data has no title", lambda item: asset(item).pop("title")),
    ("STAC-REC-05: asset data has no type, roles", lambda item: [asset(item).pop("type"), asset(item).pop("roles")]),
    ("STAC-REC-06: asset data has no proj:code", lambda item: item["properties"].update({"proj:code": None})),
    (
        "STAC-REC-07: end_datetime is not of",
        lambda item: item["properties"].update(end_datetime="2022-07-01T00:00:00+02:00"),
    ),
    (
        "STAC-REC-07: start_datetime is after",
        lambda item: item["properties"].update(end_datetime="2021-01-01T00:00:00Z"),
    ),
    ("STAC-REC-08: asset data has no bands", lambda item: asset(item).pop("bands")),
    (
        "STAC-REC-08: two bands of asset data have the same name",
        lambda item: asset(item)["bands"].append({**asset(item)["bands"][0]}),
    ),
    (
        "STAC-REC-08: bands of asset data have",
        lambda item: asset(item)["bands"].append({"name": "x", "data_type": "int8"}),
    ),
    ("STAC-REC-10: a band of asset data has no nodata", lambda item: asset(item)["bands"][0].pop("nodata")),
    ("STAC-REC-10: raster:scale of asset data", lambda item: asset(item)["bands"][0].update({"raster:scale": "2"})),
    ("STAC-REC-12: the classification extension", lambda item: item["stac_extensions"].pop(0)),
    (
        "STAC-REC-12: two classes",
        lambda item: asset(item, "cover")["bands"][0]["classification:classes"][1].update(value=0),
    ),
]


def test_each_recommendation_for_items_is_told_by_name(run: Path) -> None:
    gather(run)
    good = item_of(run)
    assert list(item_problems(good)) == []
    for words, change in (*ITEM_FAULTS.items(), *MORE_ITEM_FAULTS):
        item = copy.deepcopy(good)
        change(item)
        problems = list(item_problems(item))
        assert problems and all(problem.startswith(words[:11]) for problem in problems), (words, problems)
        assert any(problem.startswith(words) for problem in problems), (words, problems)
        assert not any(good["id"] in problem for problem in problems), "it could not be counted over all items"


def test_faults_are_told_while_gathering_and_by_validation(run: Path, job_of: JobOf) -> None:
    gather(run)
    for words, change in ITEM_FAULTS.items():
        # Such an item is not one of ours; and classes are put right.
        if words in {"STAC-REC-02", "STAC-REC-07", "STAC-REC-12"}:
            continue
        path = run / "tiles" / SOME[1].id / "item.json"
        good = path.read_bytes()
        item = orjson.loads(good)
        change(item)
        path.write_bytes(orjson.dumps(item))
        summary = gather(run)
        found = [problem for problem in summary.problems if problem.startswith(words)]
        assert found and f"1 of 4 tiles, first {SOME[1].id}" in found[0], summary.problems
        assert any(words in problem for problem in validate_collection(summary.collection))
        path.write_bytes(good)


def test_cubes_must_be_described(job_of: JobOf) -> None:
    job = job_of(TILES[0])
    path = write_cube(job.scratch / "openEO.nc", TILES[0])
    good = build_item(job, outcome_of(FetchedAsset(path, "openEO.nc")), temporal=TEMPORAL)
    assert list(item_problems(good)) == []
    changes: list[Change] = [
        lambda item: item["properties"].pop("cube:dimensions"),
        lambda item: item["stac_extensions"].remove(next(uri for uri in item["stac_extensions"] if "datacube" in uri)),
        lambda item: item["properties"]["cube:dimensions"]["x"].pop("axis"),
        lambda item: item["properties"]["cube:dimensions"]["t"].pop("extent"),
        lambda item: item["properties"]["cube:dimensions"].pop("t"),
    ]
    for change in changes:
        item = copy.deepcopy(good)
        change(item)
        (problem, *_) = item_problems(item)
        assert problem.startswith("STAC-REC-11: ")


def test_faults_of_the_collection_are_told_by_name(run: Path) -> None:
    class _ForPrr:
        collection = SAID.model_copy(update={"prr": Collection.model_validate({"prr": PRR}).prr})

    summary = gather(run, metadata=metadata(**_extra(_ForPrr(), {})))  # type: ignore[arg-type]
    assert summary.problems == (), "the thumbnail comes with the mosaics"
    assert [problem for problem in validate_collection(summary.collection) if "role thumbnail" in problem]
    good = json.loads(summary.collection.read_text())
    assert good["processing:datetime"] == good["upscaling:tiles"]["processed"]
    thumbnail = {"href": "./t.png", "type": "image/png", "roles": ["thumbnail"], "title": "t", "file:size": 1}
    good["assets"]["thumbnail"] = thumbnail
    assert list(collection_problems(good, prr=True)) == []
    faults: list[tuple[str, Change]] = [
        ("STAC-REC-01", lambda stac: stac.update(stac_version="1.0.0")),
        ("STAC-REC-02: no title", lambda stac: stac.pop("title")),
        ("STAC-REC-02: id has", lambda stac: stac.update(id="a b")),
        ("STAC-REC-02: an href", lambda stac: stac["assets"]["items"].update(href="/home/me/items.parquet")),
        ("STAC-REC-02: the PRR asks for osc:project", lambda stac: stac.pop("osc:project")),
        ("STAC-REC-02: license is other", lambda stac: stac.update(license="other")),
        ("STAC-REC-12: a class", lambda stac: _classes(stac)[0].pop("title")),
        ("METADATA-REC-07: rescale", lambda stac: stac["renders"]["cover"].update(rescale=[[1]])),
        ("METADATA-REC-07: render cover shows", lambda stac: stac["renders"]["cover"].update(assets=["gone"])),
    ]
    for words, change in faults:
        stac = copy.deepcopy(good)
        change(stac)
        (problem, *_) = collection_problems(stac)
        assert problem.startswith(words)
    gather(run)
    told = validate_collection(summary.collection, prr=True)
    assert any("STAC-REC-02: the PRR asks for osc:project, osc:initiative" in problem for problem in told)


def _classes(stac: dict[str, Any]) -> list[dict[str, Any]]:
    return list(stac["item_assets"]["cover"]["bands"][0]["classification:classes"])


def test_homogeneity_and_expectations(run: Path) -> None:
    said = Collection.model_validate({"expect": {"dtype": "float32", "bands": 2, "nodata": 0, "valid": 1}})
    least = min(item_of(run, tile)["properties"]["upscaling:valid_fraction"] for tile in SOME)
    summary = gather(run, metadata=CollectionMetadata(RUN, "T", "D", "CC0-1.0", expect=said.expect))
    text = "\n".join(summary.problems)
    key = next(key for key in item_of(run)["assets"] if key != "data")
    assert f"STAC-REC-03: asset {key} is in 1 of 4 tiles" in text, "without the pattern each tile names its own"
    assert f"STAC-REC-03: asset {key} is not in" not in text
    assert f"collection.expect.dtype: asset {key} (1 tiles, first {SOME[0].id}) is uint8, not float32" in text
    assert "collection.expect.bands: asset data (4 tiles" in text and "has 1 bands, not 2" in text
    assert "collection.expect.nodata: asset data" in text and "has nodata nan, not 0" in text
    assert ("collection.expect.valid: less than 100%" in text) == (least < 1)
    path = run / "tiles" / SOME[0].id / "item.json"
    item = orjson.loads(path.read_bytes())
    del item["assets"]["data"]
    path.write_bytes(orjson.dumps(item))
    assert any(
        problem.startswith(f"tiles/{SOME[0].id}/item.json: STAC-REC-03: asset data of")
        for problem in validate_collection(summary.collection)
    )


def test_an_item_that_changed_is_always_read_again(run: Path) -> None:
    gather(run)
    path = run / "tiles" / SOME[2].id / "item.json"
    before, content = path.stat(), path.read_text()
    size = json.loads(content)["assets"]["data"]["file:size"]
    changed = content.replace(f'"file:size": {size}', f'"file:size": {10 ** len(str(size)) - 1}')
    assert len(changed) == len(content) and changed != content
    path.write_text(changed)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # same size, same time
    gather(run)
    import pyarrow.parquet as pq

    sizes = {row["id"]: row["assets"]["data"]["file:size"] for row in pq.read_table(run / "items.parquet").to_pylist()}
    assert sizes[SOME[2].id] == 10 ** len(str(size)) - 1

    path.write_text(content)
    gather(run)
    expected = [(run / name).read_bytes() for name in ("items.parquet", "collection.json")]
    entries = list((run / "cache").iterdir())
    assert len(entries) == 1
    for damage in (b"", b"1 2\n", entries[0].read_bytes()[:-100], entries[0].read_bytes().replace(b"Land", b"Sand")):
        entries[0].write_bytes(damage)
        gather(run)
        assert [(run / name).read_bytes() for name in ("items.parquet", "collection.json")] == expected


def test_a_run_that_grows_into_parts_takes_its_items_along(run: Path, shared_data: Path) -> None:
    whole = json.loads(gather(run).collection.read_text())
    parts = {"west": [SOME[0].id, SOME[1].id], "east": [SOME[2].id, SOME[3].id]}
    for part, tiles in parts.items():
        summary = gather(run, tiles=tiles, part=part)
        assert summary.collection == run / "parts" / part / "collection.json" and summary.items == 2
        child = json.loads(summary.collection.read_text())
        assert child["id"] == f"{RUN}-{part}"
        assert validate_collection(summary.collection, shared_data / "stac_schemas") == []
        for link in child["links"]:
            if link["rel"] in {"item", "processing-expression"}:
                assert (summary.collection.parent / link["href"]).resolve().is_file()
        import pyarrow.parquet as pq

        for row in pq.read_table(summary.collection.parent / "items.parquet").to_pylist():
            assert row["collection"] == f"{RUN}-{part}"
            assert (summary.collection.parent / row["assets"]["data"]["href"]).resolve().is_file()
    item = item_of(run, SOME[0])
    assert item["collection"] == f"{RUN}-west"
    links = {link["rel"]: link["href"] for link in item["links"]}
    assert links["collection"] == links["parent"] == "../../parts/west/collection.json"
    assert links["root"] == "../../collection.json"

    summary = collect_parts(run, parts=parts, metadata=metadata())
    assert (summary.items, summary.missing, summary.problems) == (4, {}, ())
    assert validate_collection(summary.collection, shared_data / "stac_schemas") == []
    top = json.loads(summary.collection.read_text())
    for name in ("extent", "summaries", "item_assets", "upscaling:tiles", "stac_extensions", "renders"):
        assert top[name] == whole[name], name
    assert [link["href"] for link in top["links"] if link["rel"] == "child"] == [
        "./parts/east/collection.json",
        "./parts/west/collection.json",
    ]
    assert not any(link["rel"] == "item" for link in top["links"])
    (run / "parts" / "east" / "collection.json").unlink()
    summary = collect_parts(run, parts=parts, metadata=metadata(), partial=True, reasons={SOME[2].id: "quota"})
    assert summary.missing == {SOME[2].id: "quota", SOME[3].id: "not done"} and summary.items == 2

    # and back
    assert json.loads(gather(run).collection.read_text())["id"] == RUN
    assert item_of(run, SOME[0])["collection"] == RUN
