from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely

from tests.unit.results.results_helpers import TILES, cut, ndvi, write_mosaic, write_raster
from upscaling.area.outline import footprint
from upscaling.model import Bounds, Tile
from upscaling.results.quality import check_whole

NAMES = [tile.id for tile in TILES]
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, scene: Path) -> Make:
    """The twelve tiles of the real scene as a collection, with changes to single tiles."""

    def build(change: dict[int, Callable[[np.ndarray], np.ndarray]] | None = None, tiles: list[Tile] = TILES) -> Path:
        links = []
        for number, tile in enumerate(tiles):
            values = (change or {}).get(number, lambda same: same)(cut(scene, ndvi(scene), TILES[number % 12]))
            folder = tmp_path / "tiles" / tile.id
            write_raster(folder / "a.tif", values, tile.bounds.west, tile.bounds.north, nodata=np.nan, crs=tile.crs)
            transform = [10, 0, tile.bounds.west, 0, -10, tile.bounds.north]
            facts: dict[str, Any] = {"proj:code": tile.crs, "proj:bbox": tile.bounds, "proj:transform": transform}
            outline = footprint(tile.bounds, tile.crs)
            item = {"id": tile.id, "geometry": outline, "properties": facts, "assets": {"data": {"href": "./a.tif"}}}
            (folder / "item.json").write_text(json.dumps(item))
            links.append({"rel": "item", "href": f"./tiles/{tile.id}/item.json"})
        (tmp_path / "collection.json").write_text(json.dumps({"links": links}))
        return tmp_path / "collection.json"

    return build


def moved(tile: Tile, east: float) -> Tile:
    west, south, right, north = tile.bounds
    return replace(tile, bounds=Bounds(west + east, south, right + east, north))


def test_real_tiles_have_no_problem(make: Make) -> None:
    area = shapely.box(11.3, 46.47, 11.38, 46.51)
    quality = check_whole(make(), asset="data", planned=NAMES, aoi=area)
    assert list(quality.problems()) == []
    assert quality.tiles == 12 and quality.coverage == pytest.approx(1)
    assert quality.seam is not None and quality.seam.pairs == 17  # 3 rows of 4: 9 + 8 edges
    assert 0.8 < quality.seam.score < 1.25


def test_seam_score_is_the_ratio_of_jumps(make: Make, scene: Path) -> None:
    seam = check_whole(make(), asset="data").seam
    with rasterio.open(scene) as dataset:
        column, row = round((676000 - dataset.bounds.left) / 10), round((dataset.bounds.top - 5154000) / 10)
    whole = ndvi(scene)[row : row + 600, column : column + 800].astype("float64")
    across = inside = 0.0
    for axis, count, length in ((1, 4, 3), (0, 3, 4)):
        jumps = np.abs(np.diff(whole if axis == 1 else whole.T, axis=1))
        for edge in range(200, 200 * count, 200):
            for start in range(0, 200 * length, 200):
                lines = jumps[start : start + 200, edge - 2 : edge + 1]
                across += lines[:, 1].mean()
                inside += lines[:, [0, 2]].mean()
    assert seam is not None and seam.score == pytest.approx(across / inside, rel=1e-9)


def test_a_brighter_tile_shows(make: Make) -> None:
    quality = check_whole(make({5: lambda values: values + 0.8}), asset="data")
    assert quality.seam is not None and quality.seam.score > 2
    assert NAMES[5] in quality.seam.worst[:2]
    (problem,) = quality.problems()
    assert "across tile edges" in problem and NAMES[5] in problem


def test_missing_twice_apart_and_on_top(make: Make) -> None:
    tiles = [*TILES[:3], moved(TILES[3], 20), *TILES[4:7], moved(TILES[7], -30), *TILES[8:11]]
    tiles.append(replace(TILES[0], id="again"))
    quality = check_whole(make(tiles=tiles), asset="data", planned=NAMES, aoi=shapely.box(11.3, 46.47, 11.5, 46.51))
    assert quality.missing == (NAMES[11],)
    assert quality.duplicates == (("again", NAMES[0]),)
    assert (NAMES[2], NAMES[3], 20.0) in quality.gaps and len(quality.gaps) == 1
    assert (NAMES[6], NAMES[7], 30 * 2000.0) in quality.overlaps
    assert quality.coverage is not None and 0.3 < quality.coverage < 0.6
    told = " | ".join(quality.problems())
    for word in ("1 planned tiles are missing", "same place", "1 gaps", "overlaps", "cover"):
        assert word in told


def test_time_steps_are_looked_at_one_by_one(make: Make) -> None:
    collection = make()
    links = json.loads(collection.read_text())["links"]
    for step in ("2022-06", "2022-07"):
        for tile in TILES if step == "2022-06" else TILES[:6]:
            item = json.loads((collection.parent / "tiles" / tile.id / "item.json").read_text())
            item |= {"id": f"{tile.id}_{step}"}
            item["properties"]["upscaling:tile"] = tile.id
            item["assets"]["data"]["href"] = f"../{tile.id}/a.tif"
            folder = collection.parent / "tiles" / item["id"]
            folder.mkdir()
            (folder / "item.json").write_text(json.dumps(item))
            links.append({"rel": "item", "href": f"./tiles/{item['id']}/item.json"})
    collection.write_text(json.dumps({"links": links}))
    quality = check_whole(collection, asset="data")
    assert quality.tiles == 30 and not quality.duplicates and not quality.overlaps
    assert quality.seam is not None and quality.seam.pairs == 17 + 17 + 6
    mosaic = write_mosaic(collection, collection.parent / "july.gti.gpkg", asset="data", step="2022-07")
    with rasterio.open(mosaic) as dataset:
        assert tuple(dataset.bounds) == (676000, 5148000, 684000, 5152000)


def test_another_zone_is_not_compared_and_no_data_has_no_seam(make: Make) -> None:
    other = [replace(tile, id=f"{tile.id}-33", crs="EPSG:32633") for tile in TILES]
    quality = check_whole(make(tiles=[*TILES, *other]), asset="data", seam_pairs=0)
    assert quality.tiles == 24 and not quality.duplicates and quality.seam is None
    empty = {number: (lambda values: values * np.nan) for number in range(12)}
    assert check_whole(make(empty), asset="data").seam is None


def test_a_mosaic_that_lacks_a_tile_or_shows_other_values_is_told(make: Make) -> None:
    collection = make()
    whole = write_mosaic(collection, collection.parent / "whole.gti.gpkg", asset="data")
    there = write_mosaic(collection, collection.parent / "there.gti.gpkg", asset="data", crs="EPSG:3035")
    links = json.loads(collection.read_text())["links"]
    less = collection.with_name("less.json")
    less.write_text(json.dumps({"links": links[1:]}))
    lacking = [
        write_mosaic(less, less.parent / f"less{n}.gti.gpkg", asset="data", crs=crs)
        for n, crs in enumerate((None, "EPSG:3035"))
    ]
    assert check_whole(collection, asset="data", mosaics={"": [whole, there]}).mosaic_differences == ()
    quality = check_whole(collection, asset="data", mosaics={"": lacking})
    assert [(found.item, found.mosaic, found.share) for found in quality.mosaic_differences] == [
        (NAMES[0], "less0.gti.gpkg", 1.0),
        (NAMES[0], "less1.gti.gpkg", 1.0),
    ]
    (told,) = quality.problems()
    assert "mosaic less0.gti.gpkg differs from 2 of the tiles" in told and NAMES[0] in told


@pytest.mark.parametrize("damage", ["missing", "half", "elsewhere"])
def test_a_tile_that_cannot_be_read_is_left_out_and_named_and_blocks_no_other(make: Make, damage: str) -> None:
    collection = make()
    whole = write_mosaic(collection, collection.parent / "whole.gti.gpkg", asset="data")
    path = collection.parent / "tiles" / NAMES[5] / "a.tif"
    if damage == "missing":
        path.unlink()
    elif damage == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        write_raster(path, np.zeros((7, 7), "float32"), 0, 0, nodata=np.nan, crs=TILES[5].crs)
    quality = check_whole(collection, asset="data", planned=NAMES, mosaics={"": [whole]})
    assert [name for name, _ in quality.unread] == [NAMES[5]]
    assert quality.seam is not None and quality.seam.pairs == 13  # without its four edges
    (told,) = quality.problems()
    assert told.startswith(f"asset data of 1 tiles was left out, as it cannot be read: {NAMES[5]} (")


def test_items_with_odd_outlines_and_without_a_place_block_no_other(make: Make) -> None:
    collection = make()
    first, second = (collection.parent / "tiles" / name / "item.json" for name in NAMES[:2])
    item, other = json.loads(first.read_text()), json.loads(second.read_text())
    west, south, east, north = 11.3, 46.47, 11.32, 46.48
    bow = [[west, south], [east, north], [east, south], [west, north], [west, south]]
    first.write_text(json.dumps({**item, "geometry": {"type": "Polygon", "coordinates": [bow]}}))
    del other["properties"]["proj:bbox"]
    second.write_text(json.dumps(other))
    quality = check_whole(collection, asset="data", aoi=shapely.box(11.3, 46.47, 11.38, 46.51))
    assert quality.tiles == 11 and quality.coverage is not None
