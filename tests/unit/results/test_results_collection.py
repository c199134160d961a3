from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pystac
import pytest
import rasterio
from pystac.validation.local_validator import get_local_schema_cache
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from rio_cogeo.cogeo import cog_validate
from stac_geoparquet.arrow import stac_table_to_items

from tests.unit.results.read_mosaic import read_mosaic
from tests.unit.results.results_helpers import RUN, TEMPORAL, TILES, cut, ndvi, outcome_of, write_raster
from upscaling.errors import ConfigError, UpscalingError
from upscaling.model import FetchedAsset, Tile, TileJob
from upscaling.results.collection import CollectionMetadata, collect
from upscaling.results.item import build_item
from upscaling.results.validate import validate_collection
from upscaling.util.files import write_json

JobOf = Callable[[Tile], TileJob]
METADATA = CollectionMetadata(
    RUN, "NDVI of Bolzano", "Cut out of the real scene.", license="CC-BY-4.0", keywords=("ndvi",)
)
KEYS = {tile.id: f"key-of-{tile.id}" for tile in TILES}


def finish(job: TileJob, scene: Path, *, empty: bool = False) -> None:
    tile = job.tile
    assets = []
    if not empty:
        values = cut(scene, ndvi(scene), tile)
        path = write_raster(job.scratch / "openEO.tif", values, tile.bounds.west, tile.bounds.north)
        assets.append(FetchedAsset(path, "openEO.tif", bands=({"name": "NDVI"},)))
    write_json(job.folder / "item.json", build_item(job, outcome_of(*assets), temporal=TEMPORAL))


@pytest.fixture
def run(tmp_path: Path, job_of: JobOf, scene: Path) -> Path:
    """The twelve tiles of the real scene, done; the last one without data."""
    for tile in TILES:
        finish(job_of(tile), scene, empty=tile is TILES[-1])
    return tmp_path / RUN


@pytest.fixture
def pystac_offline(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JsonSchemaSTACValidator]:
    """pystac's own validator with every schema at hand; asking the network fails the test."""
    validator = JsonSchemaSTACValidator()
    validator.schema_cache = get_local_schema_cache()
    for path in (shared_data / "stac_schemas").glob("*.json"):
        schema = json.loads(path.read_text())
        validator.schema_cache[schema["$id"].rstrip("#")] = schema
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("went online"))
    return validator


def gather(run: Path, **options: object) -> pystac.Collection:
    summary = collect(run, tiles=[tile.id for tile in TILES], keys=KEYS, metadata=METADATA, **options)  # type: ignore[arg-type]
    return pystac.Collection.from_file(str(summary.collection))


def test_collection_of_real_pixels(run: Path, shared_data: Path, pystac_offline: JsonSchemaSTACValidator) -> None:
    collection = gather(run)
    items = list(collection.get_items())
    assert [item.id for item in items] == sorted(KEYS)
    for stac in (collection, *items):
        checked = stac.validate(validator=pystac_offline)
        assert len(checked) == 1 + len(stac.stac_extensions)
    assert validate_collection(run / "collection.json", shared_data / "stac_schemas") == []
    assert validate_collection(run / "collection.json") == []
    for item in items:
        for asset in item.assets.values():
            assert cog_validate(asset.get_absolute_href(), strict=True, quiet=True)[0]
    west, south, east, north = collection.extent.spatial.bboxes[0]
    assert 11.29 < west < 11.30 and 11.39 < east < 11.41 and 46.46 < south < 46.47 and 46.51 < north < 46.53
    facts = json.loads((run / "collection.json").read_text())
    assert facts["upscaling:tiles"] == {
        "planned": 12,
        "collected": 12,
        "nodata": 1,
        "processed": facts["upscaling:tiles"]["processed"],
    }
    assert facts["upscaling:missing"] == []
    assert facts["item_assets"]["data"]["bands"] == [{"name": "NDVI", "data_type": "float32"}]
    assert facts["summaries"]["nodata"] == ["nan"]
    assert facts["summaries"]["proj:code"] == ["EPSG:32632"]
    software = json.loads((run / "tiles" / TILES[0].id / "item.json").read_text())["properties"]["processing:software"]
    assert facts["summaries"]["processing:software"] == [software]
    assert facts["item_assets"]["data"]["title"] == "NDVI"
    assert facts["license"] == "CC-BY-4.0" and "providers" not in facts


def test_table_holds_the_items(run: Path) -> None:
    gather(run)
    rows = {row["id"]: row for row in stac_table_to_items(pq.read_table(run / "items.parquet"))}
    assert sorted(rows) == sorted(KEYS)
    for tile, row in rows.items():
        item = json.loads((run / "tiles" / tile / "item.json").read_text())
        assert row["geometry"]["coordinates"] == item["geometry"]["coordinates"]
        assert row["bbox"] == item["bbox"]
        assert row["properties"]["upscaling:key"] == item["properties"]["upscaling:key"]
        graph = json.loads(row["properties"]["processing:expression"]["expression"])
        assert graph == item["properties"]["processing:expression"]["expression"]
        for key, asset in item["assets"].items():
            assert row["assets"][key]["file:checksum"] == asset["file:checksum"]
            assert (run / row["assets"][key]["href"]).is_file()
    geopandas = pytest.importorskip("geopandas")
    assert geopandas.read_parquet(run / "items.parquet").crs.to_epsg() == 4326


def test_faults_are_found(run: Path, shared_data: Path) -> None:
    gather(run)
    schemas = shared_data / "stac_schemas"

    def spoil(change: Callable[[dict], object]) -> list[str]:
        path = run / "tiles" / TILES[0].id / "item.json"
        before = path.read_bytes()
        item = json.loads(before)
        change(item)
        path.write_text(json.dumps(item))
        problems = validate_collection(run / "collection.json", schemas)
        path.write_bytes(before)
        return problems

    def one(change: Callable[[dict], object]) -> str:
        problems = spoil(change)
        for problem in problems:
            assert problem.startswith(f"tiles/{TILES[0].id}/item.json: ") and "\n" not in problem
        return "\n".join(problems)

    assert "geometry" in one(lambda item: item.pop("geometry"))
    assert "grid/v1.1.0" in one(lambda item: item["properties"].update({"grid:code": "no code"}))
    assert "projection" in one(lambda item: item["properties"].update({"proj:shape": [1, 2, 3]}))
    assert "not checked" in one(lambda item: item["stac_extensions"].append("https://example.org/v1/schema.json"))
    assert "raster/v2" in one(lambda item: item["assets"]["data"].pop("raster:spatial_resolution"))
    assert "bytes" in one(lambda item: item["assets"]["data"].update({"file:size": 3}))
    assert "not there" in one(lambda item: item["assets"]["data"].update({"href": "./gone.tif"}))
    assert "names collection" in one(lambda item: item.update(collection="other"))
    with pytest.raises(ConfigError, match="no JSON schema"):
        validate_collection(run / "collection.json", run / "tiles")


def test_mosaic_equals_the_scene_to_the_bit(run: Path, job_of: JobOf, scene: Path) -> None:
    gather(run)
    with pytest.raises(UpscalingError, match="no asset data"):
        read_mosaic(run / "collection.json", asset="data")
    finish(job_of(TILES[-1]), scene)
    gather(run)
    mosaic, transform = read_mosaic(run / "collection.json", asset="data")
    with rasterio.open(scene) as dataset:
        column, row = (676000 - dataset.bounds.left) / 10, (dataset.bounds.top - 5154000) / 10
    expected = ndvi(scene)[int(row) : int(row) + 600, int(column) : int(column) + 800]
    assert mosaic.tobytes() == expected.tobytes()
    assert tuple(transform)[:6] == (10, 0, 676000, 0, -10, 5154000)

    folder = run / "tiles" / TILES[5].id
    links = json.loads((run / "collection.json").read_text())
    links["links"] = [link for link in links["links"] if TILES[5].id not in link["href"]]
    (run / "hole.json").write_text(json.dumps(links))
    with pytest.raises(UpscalingError, match="40000 pixels"):
        read_mosaic(run / "hole.json", asset="data")
    shutil.copytree(folder, run / "tiles" / "twice")
    links["links"] += [{"rel": "item", "href": f"./tiles/{name}/item.json"} for name in (TILES[5].id, "twice")]
    (run / "twice.json").write_text(json.dumps(links))
    with pytest.raises(UpscalingError, match="overlaps"):
        read_mosaic(run / "twice.json", asset="data")


def test_missing_and_outdated_tiles(run: Path, shared_data: Path) -> None:
    gone, old = (tile.id for tile in TILES[:2])
    (run / "tiles" / gone / "item.json").unlink()
    keys = KEYS | {old: "another key"}
    tiles = sorted(KEYS)
    with pytest.raises(
        UpscalingError, match=rf"2 of 12 tiles.*{gone}: not done; {old}: its item was made with another"
    ):
        collect(run, tiles=tiles, keys=keys, metadata=METADATA)
    assert not (run / "collection.json").exists() and not (run / "items.parquet").exists()
    summary = collect(run, tiles=tiles, keys=keys, metadata=METADATA, partial=True, reasons={gone: "out of memory"})
    assert summary.items == 10 and set(summary.missing) == {gone, old}
    facts = json.loads((run / "collection.json").read_text())
    assert facts["upscaling:missing"][0] == {"tile": gone, "reason": "out of memory"}
    assert not any(gone in link["href"] or old in link["href"] for link in facts["links"])
    assert validate_collection(run / "collection.json", shared_data / "stac_schemas") == []
    with pytest.raises(UpscalingError, match="nothing to collect"):
        collect(run, tiles=[gone], keys=keys, metadata=METADATA, partial=True)
    assert sorted(path.name for path in run.glob(".*")) == []


def test_tiles_that_are_not_alike_are_told(run: Path, job_of: JobOf) -> None:
    job = job_of(TILES[0])
    path = write_raster(job.scratch / "openEO.tif", np.ones((200, 200), "uint8"), *_corner(TILES[0]))
    write_json(
        job.folder / "item.json", build_item(job, outcome_of(FetchedAsset(path, "openEO.tif")), temporal=TEMPORAL)
    )
    job = job_of(TILES[1])
    path = write_raster(job.scratch / "other.tif", np.ones((200, 200), "uint8"), *_corner(TILES[1]))
    write_json(
        job.folder / "item.json", build_item(job, outcome_of(FetchedAsset(path, "other.tif")), temporal=TEMPORAL)
    )
    summary = collect(run, tiles=list(KEYS), keys=KEYS, metadata=METADATA)
    assert summary.problems == (
        f"STAC-REC-03: asset data is described in 2 ways, first in tiles {TILES[0].id} and {sorted(KEYS)[1]}: "
        "bands[1].data_type uint8 (1) / float32 (9); bands[1].name b1 (1) / NDVI (9); "
        "bands[1].nodata none (1) / nan (9); title b1 (1) / NDVI (9)",
        "STAC-REC-03: asset data is in 10 of 11 tiles with data",
        "STAC-REC-03: asset other is in 1 of 11 tiles with data",
    )
    assert json.loads(summary.collection.read_text())["upscaling:problems"] == list(summary.problems)


def _corner(tile: Tile) -> tuple[float, float]:
    return tile.bounds.west, tile.bounds.north


def many(folder: Path, source: Path, count: int) -> dict[str, str]:
    """Copies of a real item under other ids; every seventh with facts of its own and every tenth without data."""
    item = orjson.loads(source.read_bytes())
    keys = {}
    for number in range(count):
        tile = f"t-{number:05d}"
        properties = item["properties"] | {
            "upscaling:key": f"k{number}",
            "upscaling:nodata": number % 10 == 0 or not item["assets"],
        }
        if number % 7 == 0:
            properties["upscaling:job"] = {"id": tile, "usage": {"memory": {"value": 1.5, "unit": "mb-seconds"}}}
        value = item | {"id": tile, "properties": properties}
        if number % 10 == 0:
            value["assets"] = {}
        (folder / "tiles" / tile).mkdir(parents=True)
        (folder / "tiles" / tile / "item.json").write_bytes(orjson.dumps(value))
        keys[tile] = f"k{number}"
    return keys


def test_the_same_items_give_the_same_bytes(run: Path, tmp_path: Path) -> None:
    keys = many(tmp_path / "many", run / "tiles" / TILES[0].id / "item.json", 4_500)  # three batches
    written = []
    for tiles in (list(keys), list(reversed(keys))):
        summary = collect(tmp_path / "many", tiles=tiles, keys=keys, metadata=METADATA)
        assert (summary.items, summary.nodata) == (4_500, 450)
        written.append([(tmp_path / "many" / name).read_bytes() for name in ("items.parquet", "collection.json")])
    assert written[0] == written[1]
    table = pq.read_table(tmp_path / "many" / "items.parquet")
    assert table.num_rows == 4_500
    rows = list(stac_table_to_items(table))
    assert [row["id"] for row in rows] == sorted(keys)
    assert rows[10]["assets"] == {} and list(rows[11]["assets"]) == ["data"]
    assert rows[7]["properties"]["upscaling:job"]["usage"]["memory"]["value"] == 1.5


def test_only_tiles_without_data(run: Path, tmp_path: Path) -> None:
    keys = many(tmp_path / "many", run / "tiles" / TILES[0].id / "item.json", 1)
    collect(tmp_path / "many", tiles=list(keys), keys=keys, metadata=METADATA)
    assert validate_collection(tmp_path / "many" / "collection.json") == []
    assert pq.read_table(tmp_path / "many" / "items.parquet").num_rows == 1


def test_items_without_a_place(run: Path, tmp_path: Path, shared_data: Path) -> None:
    source = run / "tiles" / TILES[-1].id / "item.json"
    item = orjson.loads(source.read_bytes()) | {"geometry": None}
    del item["bbox"], item["properties"]["proj:bbox"]
    source.write_bytes(orjson.dumps(item))
    keys = many(tmp_path / "many", source, 12)
    summary = collect(tmp_path / "many", tiles=list(keys), keys=keys, metadata=METADATA)
    assert validate_collection(summary.collection, shared_data / "stac_schemas") == []
    assert json.loads(summary.collection.read_text())["extent"]["spatial"]["bbox"] == [[-180, -90, 180, 90]]
    geopandas = pytest.importorskip("geopandas")
    table = geopandas.read_parquet(tmp_path / "many" / "items.parquet")
    assert len(table) == 12 and table.geometry.isna().all()


def _other_type(path: Path) -> None:
    item = json.loads(path.read_text())
    item["properties"]["start_datetime"] = {"not": "a time"}
    write_json(path, item)


def _with(name: str, value: object) -> Callable[[Path], object]:
    return lambda path: write_json(path, {**json.loads(path.read_text()), name: value})


DAMAGES: dict[str, Callable[[Path], object]] = {
    "half": lambda path: path.write_bytes(path.read_bytes()[:500]),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "a list": lambda path: path.write_text("[]"),
    "another tile's": lambda path: path.write_text(path.read_text().replace(f'"id": "{TILES[0].id}"', '"id": "x"')),
    "without assets": lambda path: write_json(path, {**json.loads(path.read_text()), "assets": None}),
    "a field of another type": _other_type,
    "an open ring": _with("geometry", {"type": "Polygon", "coordinates": [[[0, 0], [0, 1], [1, 1], [2, 2]]]}),
    "a point of texts": _with("geometry", {"type": "Point", "coordinates": ["a", {}]}),
    "a place off the Earth": _with("geometry", {"type": "Point", "coordinates": [1e300, 0]}),
    "half a box": _with("bbox", [1, 2, 3]),
    "no box": _with("bbox", None),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_item_is_left_out_and_named_and_blocks_no_other(run: Path, damage: str) -> None:
    tile = TILES[0].id
    DAMAGES[damage](run / "tiles" / tile / "item.json")
    tiles = [tile.id for tile in TILES]
    summary = collect(run, tiles=tiles, keys=KEYS, metadata=METADATA, partial=True)
    assert summary.items == len(TILES) - 1
    assert list(summary.missing) == [tile]
    assert "damaged" in summary.missing[tile]
    with pytest.raises(UpscalingError, match=f"1 of {len(TILES)} tiles cannot be collected: {tile}: its item.json is"):
        collect(run, tiles=tiles, keys=KEYS, metadata=METADATA)


def test_an_item_whose_time_is_an_interval_alone_is_well(run: Path) -> None:
    path = run / "tiles" / TILES[0].id / "item.json"
    item = json.loads(path.read_text())
    write_json(path, {**item, "properties": {**item["properties"], "datetime": None}})
    summary = collect(run, tiles=[tile.id for tile in TILES], keys=KEYS, metadata=METADATA)
    assert (summary.items, summary.missing) == (len(TILES), {})


def test_items_that_no_table_can_hold_still_have_their_collection(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is well by itself; they are read in batches, here of one."""
    monkeypatch.setattr("upscaling.results.collection.runs", lambda planned: [[tile] for tile in planned])
    path = run / "tiles" / TILES[3].id / "item.json"
    item = json.loads(path.read_text())
    item["properties"]["upscaling:tile"] = ["a list"]
    first = run / "tiles" / TILES[0].id / "item.json"
    other = json.loads(first.read_text())
    other["properties"]["upscaling:tile"] = "a text"
    path.write_text(json.dumps(item))
    first.write_text(json.dumps(other))
    collection = gather(run)
    assert len(list(collection.get_items())) == len(TILES)
    assert "items" not in collection.assets
    assert "items.parquet was not written: a field" in collection.extra_fields["upscaling:problems"][0]
    assert not (run / "items.parquet").exists()


def test_a_table_that_cannot_be_written_is_no_end_without_a_collection(run: Path) -> None:
    (run / "items.parquet").mkdir()
    collection = gather(run)
    assert len(list(collection.get_items())) == len(TILES)
    assert "items" not in collection.assets
    assert collection.extra_fields["upscaling:problems"][0] == "items.parquet was not written: Is a directory"


def test_a_file_of_the_right_size_with_other_bytes_is_found(run: Path) -> None:
    gather(run)
    (path, *_) = sorted(run.glob("tiles/*/*.tif"))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert validate_collection(run / "collection.json") == []
    (problem,) = validate_collection(run / "collection.json", content=True)
    assert path.name in problem
    assert "is damaged" in problem
