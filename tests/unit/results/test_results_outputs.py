"""Values of tiles: in the item, and in one table over the run."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.unit.results.results_helpers import RUN, TEMPORAL, TILES
from upscaling.errors import TileFailedError
from upscaling.model import Outcome, Tile, TileJob
from upscaling.results.collection import CollectionMetadata, collect
from upscaling.results.item import build_item
from upscaling.results.subcollections import collect_parts
from upscaling.results.validate import Validator
from upscaling.util.files import write_json

JobOf = Callable[[Tile], TileJob]
METADATA = CollectionMetadata(RUN, "Means", "Means of tiles.", license="CC-BY-4.0")
VALUES: list[dict[str, Any]] = [
    {"mean": 0.25, "count": 4, "all": [1, 2]},
    {"mean": float("nan"), "count": "four", "all": []},
    {"mean": 7, "stats": {"min": 1, "deep": {"x": True}, "none": None}, "tile": "=1+1"},
]


def finish(job_of: JobOf, tile: Tile, values: dict[str, Any]) -> dict[str, Any]:
    job = job_of(tile)
    item = build_item(job, Outcome((), values=values), temporal=TEMPORAL)
    write_json(job.folder / "item.json", item)
    return item


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_values_of_any_type_are_in_item_and_table(job_of: JobOf, tmp_path: Path) -> None:
    validator = Validator()
    for tile, values in zip(TILES, VALUES, strict=False):
        item = finish(job_of, tile, values)
        assert item["properties"]["upscaling:nodata"] is False and item["assets"] == {}
        assert list(validator.problems(item)) == []
    assert json.loads(json.dumps(item["properties"]["upscaling:outputs"])) == VALUES[2]
    tiles = [tile.id for tile in TILES[:3]]
    keys = {tile: f"key-of-{tile}" for tile in tiles}
    summary = collect(tmp_path / RUN, tiles=tiles, keys=keys, metadata=METADATA)
    assert (summary.nodata, summary.problems) == (0, ())
    rows = {row["tile"]: row for row in table(tmp_path / RUN / "outputs.csv")}
    assert [rows[tile]["mean"] for tile in tiles] == ["0.25", "nan", "7"]
    assert [rows[tile]["count"] for tile in tiles] == ["4", "four", ""]
    assert [rows[tile]["all"] for tile in tiles] == ["[1,2]", "[]", ""]
    last = rows[tiles[2]]
    assert (last["stats.min"], last["stats.deep.x"], last["output.tile"]) == ("1", "true", "=1+1")
    assert last["start_datetime"] == "2022-06-01T00:00:00Z"
    collection = json.loads((tmp_path / RUN / "collection.json").read_text())
    assert collection["assets"]["outputs"]["file:size"] == (tmp_path / RUN / "outputs.csv").stat().st_size
    column = pq.read_table(tmp_path / RUN / "items.parquet")["upscaling:outputs"].to_pylist()
    assert [json.loads(text)["mean"] for text in column] == [0.25, "nan", 7]
    collect(tmp_path / RUN, tiles=tiles, keys=keys, metadata=METADATA)  # from the cache
    assert table(tmp_path / RUN / "outputs.csv") == list(rows.values())


def test_the_table_of_a_run_in_parts(job_of: JobOf, tmp_path: Path) -> None:
    parts = {name: [tile.id] for name, tile in zip("ab", TILES, strict=False)}
    for (name, (tile,)), values in zip(parts.items(), VALUES, strict=False):
        finish(job_of, next(one for one in TILES if one.id == tile), values)
        collect(tmp_path / RUN, tiles=[tile], keys={tile: f"key-of-{tile}"}, metadata=METADATA, part=name)
    collect_parts(tmp_path / RUN, parts=parts, metadata=METADATA)
    assert [row["mean"] for row in table(tmp_path / RUN / "outputs.csv")] == ["0.25", "nan"]
    assert "outputs" in json.loads((tmp_path / RUN / "collection.json").read_text())["assets"]


def test_what_was_left_out_is_named_or_fails_the_tile(job_of: JobOf) -> None:
    left_out = ("thumb: has the role thumbnail,\nbeside results",)
    item = build_item(job_of(TILES[0]), Outcome((), values={"a": 1}, left_out=left_out), temporal=TEMPORAL)
    assert item["properties"]["upscaling:left_out"] == ["thumb: has the role thumbnail, beside results"]
    with pytest.raises(TileFailedError, match="results came back, and none can be used: asset x of item i has no href"):
        build_item(job_of(TILES[0]), Outcome((), left_out=("asset x of item i has no href",)), temporal=TEMPORAL)
