from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import shapely

from tests.unit.results.results_helpers import TEMPORAL, TILES, cut, ndvi, outcome_of, tile_at, write_raster
from upscaling.area.outline import bbox_of, footprint, union_bbox
from upscaling.errors import TileFailedError
from upscaling.model import Bounds, FetchedAsset, Outcome, Tile, TileJob
from upscaling.results.assets import asset_names
from upscaling.results.item import build_item
from upscaling.results.validate import Validator
from upscaling.util.files import write_json

JobOf = Callable[[Tile], TileJob]
NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def test_item_of_real_pixels(job_of: JobOf, scene: Path) -> None:
    tile = TILES[0]
    job = job_of(tile)
    values = cut(scene, ndvi(scene), tile)
    path = write_raster(job.scratch / "openEO.tif", values, tile.bounds.west, tile.bounds.north)
    outcome = outcome_of(FetchedAsset(path, "openEO.tif", title="NDVI", bands=({"name": "NDVI", "unit": "1"},)))
    item = build_item(job, outcome, temporal=TEMPORAL, created=NOW)

    assert item["id"] == tile.id and item["collection"] == "bolzano"
    assert list(item["assets"]) == ["data"]
    asset = item["assets"]["data"]
    file = job.folder / asset["href"]
    assert asset["href"] == f"./{tile.id}_data.tif"
    assert asset["type"] == "image/tiff; application=geotiff; profile=cloud-optimized"
    assert asset["bands"] == [{"name": "NDVI", "data_type": "float32", "unit": "1"}]
    assert item["properties"]["nodata"] == "nan"
    assert asset["raster:spatial_resolution"] == 10
    assert asset["file:size"] == file.stat().st_size
    assert asset["file:checksum"].startswith("1220") and len(asset["file:checksum"]) == 68
    properties = item["properties"]
    assert properties["proj:code"] == "EPSG:32632"
    assert properties["proj:bbox"] == [676000, 5148000, 678000, 5150000]
    assert properties["proj:shape"] == [200, 200]
    assert properties["proj:transform"] == [10, 0, 676000, 0, -10, 5150000]
    assert properties["start_datetime"] == properties["datetime"] == "2022-06-01T00:00:00Z"
    assert properties["end_datetime"] == "2022-07-01T00:00:00Z"
    assert properties["upscaling:datetime_from"] == "parameters"
    assert properties["created"] == "2026-01-02T03:04:05Z"
    assert properties["grid:code"] == "UTM2KM-32N_E0676_N05148"
    assert properties["upscaling:key"] == job.key
    assert properties["upscaling:valid_fraction"] == round(float(np.isfinite(values).mean()), 6)
    assert properties["upscaling:algorithm"] == {
        "kind": "openeo",
        "id": "ndvi",
        "sha256": "ab" * 32,
        "version": "1.2",
    }
    assert set(properties["processing:software"]) == {"eo-upscaling", "openeo-processes-dask"}
    assert properties["processing:expression"]["format"] == "openeo"
    west, south, east, north = item["bbox"]
    assert 11.29 < west < east < 11.32 and 46.46 < south < north < 46.49
    rels = {link["rel"]: link["href"] for link in item["links"]}
    assert rels["collection"] == rels["root"] == rels["parent"] == "../../collection.json"
    assert (job.folder / rels["processing-expression"]).resolve() == job.algorithm.path.resolve()


def test_no_secret_and_no_path_of_this_machine_gets_out(job_of: JobOf, tmp_path: Path) -> None:
    job = job_of(TILES[0])
    path = write_raster(job.scratch / "a.tif", np.ones((200, 200), "uint8"), 676000, 5150000)
    item = build_item(job, outcome_of(FetchedAsset(path, "https://u:secret@x/a.tif?sig=secret")), temporal=TEMPORAL)
    text = json.dumps(item)
    assert "secret" not in text and "/home" not in text and str(tmp_path) not in text
    assert item["properties"]["upscaling:job"] == {
        "id": "j-123",
        "backend": "openeo.example",
        "costs": 4.0,
        "usage": {"cpu": {"value": 12.0, "unit": "cpu-seconds"}},
    }
    assert [link["href"] for link in item["links"] if link["rel"] == "derived_from"] == ["https://stac.example/items/a"]
    assert [link["href"] for link in item["links"] if link["rel"] == "about"] == ["https://catalogue.example/ndvi.json"]


def test_anything_a_platform_writes_becomes_an_item_that_can_be_saved(job_of: JobOf, tmp_path: Path) -> None:
    job = job_of(TILES[0])
    path = write_raster(job.scratch / "a.tif", np.ones((200, 200), "uint8"), 676000, 5150000)
    odd: Any = "a\n\ud800\x00" + "b" * 999
    band: Any = {"name": odd, "unit": odd, "description": 7}
    asset = FetchedAsset(path, odd, odd, (odd,), odd, (band,), datetime=7, start_datetime=odd)  # type: ignore[arg-type]
    facts = {"id": odd, "backend": "http://[", "costs": float("nan"), "usage": [1], "title": {"a": odd}}
    item = build_item(job, Outcome((asset,), facts, ("http://[", odd), {odd: odd}), temporal=TEMPORAL)
    write_json(tmp_path / "item.json", item)
    assert list(Validator().problems(item)) == []
    assert item["properties"]["upscaling:datetime_from"] == "parameters"
    assert item["assets"][next(iter(item["assets"]))]["bands"][0]["name"].startswith("a bbb")


def test_tile_without_data_is_an_item(job_of: JobOf) -> None:
    item = build_item(job_of(TILES[0]), outcome_of(), temporal=TEMPORAL)
    assert item["assets"] == {} and item["properties"]["upscaling:nodata"] is True
    assert item["properties"]["proj:bbox"] == [676000, 5148000, 678000, 5150000]
    assert not any("raster" in uri for uri in item["stac_extensions"])


def test_hostile_names_stay_in_the_folder(job_of: JobOf) -> None:
    job = job_of(TILES[0])
    names = [
        "../../../etc/passwd",
        "..",
        "/abs/olute.tif",
        "a b\n.tif",
        "A B.tif",
        "C:\\x\\con.tif",
        ".",
        "é🛰.tif",
        "x" * 500,
    ]
    assets = []
    for number, name in enumerate(names):
        path = write_raster(job.scratch / f"{number}.tif", np.full((200, 200), number, "uint8"), 676000, 5150000)
        assets.append(FetchedAsset(path, name))
    before = {path for path in job.folder.parents[2].rglob("*") if path.is_file()} - {a.path for a in assets}
    item = build_item(job, outcome_of(*assets), temporal=TEMPORAL)
    after = {path for path in job.folder.parents[2].rglob("*") if path.is_file()}
    new = after - before
    assert len(new) == len(names) == len(item["assets"])
    assert all(path.parent == job.folder and path.name.startswith(f"{job.tile.id}_") for path in new)
    assert all(len(path.name) < 200 and path.name.isascii() for path in new)


def test_names_are_stable_unique_and_the_same_in_every_tile() -> None:
    assert asset_names(["openEO.tif"]) == ["data"]
    assert asset_names(["openEO_2022-06-12Z.tif", "openEO_2022-06-19Z.tif"]) == [
        "openeo_2022-06-12z",
        "openeo_2022-06-19z",
    ]
    assert asset_names(["S2.NDVI"]) == ["s2.ndvi"]
    one = asset_names(["ndvi-j-2401abc.tif", "out_utm-2km_1.tif"], noise=["utm-2km_1", "j-2401abc"])
    two = asset_names(["ndvi-j-77.tif", "out_utm-2km_2.tif"], noise=["utm-2km_2", "j-77"])
    assert one == two == ["ndvi", "data"]
    assert asset_names(["r-0f8fad5b-d9cb-469f-a165-70867728950e.tif"]) == ["r"]
    hints = ["b.tif", "B.TIF", "b.tiff", "b_2.tif"]
    named = dict(zip(hints, asset_names(hints), strict=True))
    assert len(set(named.values())) == 4
    assert named == dict(zip(hints[::-1], asset_names(hints[::-1]), strict=True))


@pytest.mark.parametrize(
    ("hints", "tile", "names"),
    [
        (["B02.tif", "B03.tif"], "2", ["b02", "b03"]),
        (["B02.tif", "B12.tif"], "12", ["b02", "b12"]),
        (["band_1.tif", "band_2.tif"], "2", ["band_1", "band_2"]),
        (["northness.tif", "ndvi.tif"], "north", ["northness", "ndvi"]),
        (["ndvi_2.tif", "evi-2.tif"], "2", ["ndvi", "evi"]),
        (["ndvi_north.tif"], "north", ["ndvi"]),
        (["T32TPS_B02.tif", "x.tif"], "32TPS", ["t_b02", "x"]),
    ],
)
def test_a_tile_named_by_a_number_or_a_word_takes_nothing_from_the_names(
    hints: list[str], tile: str, names: list[str]
) -> None:
    assert asset_names(hints, noise=[tile]) == names


def test_names_in_any_script_are_the_same_where_one_is_missing() -> None:
    both = asset_names(["植生.tif", "水.tif", "größe.tif", "gro\u0308ße.tif"])
    assert len(set(both)) == 4
    assert asset_names(["水.tif"]) == both[1:2] and both[1] != "data"
    assert asset_names(["größe.tif"]) == asset_names(["gro\u0308ße.tif"])
    assert asset_names(["é.tif"]) == ["e"]


def test_other_kinds_of_files_are_kept(job_of: JobOf) -> None:
    job = job_of(TILES[0])
    contents = {"series.csv": b"a,b\n", "odd.exe": b"MZ", "stats.json": b"{}"}
    assets = []
    for name, content in contents.items():
        (job.scratch / name).write_bytes(content)
        assets.append(FetchedAsset(job.scratch / name, name, media_type='text/html" onload="x'))
    item = build_item(job, outcome_of(*assets), temporal=TEMPORAL)
    types = {key: asset["type"] for key, asset in item["assets"].items()}
    assert types == {
        "odd.exe": "application/octet-stream",
        "series": "text/csv",
        "stats": "application/json",
    }
    for name, content in contents.items():
        key = name.split(".")[0] if name != "odd.exe" else name
        assert (job.folder / item["assets"][key]["href"]).read_bytes() == content
    assert (job.folder / f"{job.tile.id}_odd.exe.bin").exists()


def test_files_elsewhere_are_not_taken(job_of: JobOf, tmp_path: Path) -> None:
    job = job_of(TILES[0])
    (tmp_path / "secret.csv").write_text("x")
    (job.scratch / "link.csv").symlink_to(tmp_path / "secret.csv")
    for path in (tmp_path / "secret.csv", job.scratch / "link.csv", job.scratch / "absent.csv"):
        with pytest.raises(TileFailedError, match="scratch"):
            build_item(job, outcome_of(FetchedAsset(path, "x.csv")), temporal=TEMPORAL)
    assert (tmp_path / "secret.csv").exists()


@pytest.mark.parametrize(
    ("asset", "temporal", "expected"),
    [
        ({"datetime": "2022-06-12T10:00:00.123Z"}, TEMPORAL, ("2022-06-12T10:00:00Z",) * 3 + ("assets",)),
        (
            {"start_datetime": "2022-06-02", "end_datetime": "2022-06-12T00:00:00+02:00"},
            None,
            ("2022-06-02T00:00:00Z", "2022-06-02T00:00:00Z", "2022-06-11T22:00:00Z", "assets"),
        ),
        (
            {"datetime": "yesterday"},
            ("2022-01-01", None),
            ("2022-01-01T00:00:00Z",) * 2 + ("2026-01-02T03:04:05Z", "parameters"),
        ),
        ({}, (None, "2022-01-01"), ("2022-01-01T00:00:00Z",) * 3 + ("parameters",)),
        ({}, None, ("2026-01-02T03:04:05Z",) * 3 + ("processing",)),
    ],
)
def test_times(job_of: JobOf, asset: dict, temporal: tuple | None, expected: tuple) -> None:
    job = job_of(TILES[0])
    (job.scratch / "a.csv").write_text("x")
    item = build_item(
        job, outcome_of(FetchedAsset(job.scratch / "a.csv", "a", **asset)), temporal=temporal, created=NOW
    )
    names = ("datetime", "start_datetime", "end_datetime", "upscaling:datetime_from")
    assert tuple(item["properties"][name] for name in names) == expected


def test_rasters_of_two_resolutions(job_of: JobOf) -> None:
    job = job_of(TILES[0])
    fine = write_raster(job.scratch / "fine.tif", np.ones((200, 200), "uint8"), 676000, 5150000)
    transform = (20.0, 0.0, 676000.0, 0.0, -20.0, 5150000.0)
    coarse = write_raster(job.scratch / "z.tif", np.ones((100, 100), "uint8"), 0, 0, transform=transform)
    item = build_item(job, outcome_of(FetchedAsset(coarse, "coarse"), FetchedAsset(fine, "fine")), temporal=TEMPORAL)
    assert item["properties"]["proj:shape"] == [100, 100]
    assert "proj:shape" not in item["assets"]["coarse"]
    assert item["assets"]["fine"]["proj:shape"] == [200, 200]
    assert item["assets"]["fine"]["proj:transform"] == [10, 0, 676000, 0, -10, 5150000]


def test_free_place_takes_the_rasters_own(job_of: JobOf) -> None:
    tile = replace(tile_at(676000, 5148000), grid_code="")
    job = job_of(tile)
    path = write_raster(job.scratch / "a.tif", np.ones((7, 5), "uint8"), 676123, 5149321, crs="EPSG:32632")
    item = build_item(job, outcome_of(FetchedAsset(path, "a")), temporal=TEMPORAL, exact=False)
    assert item["properties"]["proj:bbox"] == [676123, 5149251, 676173, 5149321]
    assert item["geometry"] == footprint(Bounds(676123, 5149251, 676173, 5149321), "EPSG:32632")


def test_footprints_across_the_antimeridian_and_around_a_pole() -> None:
    across = footprint(Bounds(100000, 1000000, 300000, 1100000), "EPSG:32601")
    west, _, east, _ = bbox_of(across)
    assert across["type"] == "MultiPolygon" and west > 179 and east < -178
    for polygon in across["coordinates"]:
        longitudes = [point[0] for point in polygon[0]]
        assert max(longitudes) - min(longitudes) < 2
    pole = footprint(Bounds(-1e6, -1e6, 1e6, 1e6), "EPSG:3031")
    assert pole["type"] == "Polygon" and bbox_of(pole)[:3] == [-180, -90, 180]


@pytest.mark.parametrize(
    ("crs", "west", "south", "size"),
    [
        ("EPSG:32632", 600_000, 5_100_000, 20_000),
        ("EPSG:32632", 600_000, 5_100_000, 100_000),
        ("EPSG:32633", 200_000, 7_800_000, 100_000),
        ("EPSG:32632", 500_000, 5_000_000, 250_000),
        ("EPSG:3035", 5_900_000, 4_900_000, 100_000),
    ],
)
def test_footprints_follow_the_curve_of_a_tiles_edges(crs: str, west: int, south: int, size: int) -> None:
    outline = shapely.geometry.shape(footprint(Bounds(west, south, west + size, south + size), crs)).exterior
    back = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    # what a map in degrees draws between two points, seen in the tile's own CRS
    dense = shapely.get_coordinates(shapely.segmentize(outline, outline.length / 4000))
    drawn = shapely.points(np.column_stack(back.transform(dense[:, 0], dense[:, 1])))
    edge = shapely.box(west, south, west + size, south + size).exterior
    assert shapely.distance(drawn, edge).max() < 1.0


def test_union_of_boxes() -> None:
    assert union_bbox([[170, 0, 175, 1], [-175, 0, -170, 2]]) == [170, 0, -170, 2]
    assert union_bbox([[178, 0, -179, 1], [-179, -1, -178, 1]]) == [178, -1, -178, 1]
    assert union_bbox([[5, 0, 6, 1], [50, 0, 60, 1], [5.5, 0, 5.6, 3]]) == [5, 0, 60, 3]
    assert union_bbox([[lon, 0, lon + 30, 1] for lon in range(-180, 180, 30)]) == [-180, 0, 180, 1]
    # one over the antimeridian covers the start of the circle
    assert union_bbox([[71, 0, 100, 1], [150, 0, -84, 1], [-180, 0, -86, 1]]) == [71, 0, -84, 1]
