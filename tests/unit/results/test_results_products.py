"""Mosaics stacked and per band, to the bit; and the collection says what was made of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

from tests.unit.results.results_helpers import RUN, TEMPORAL, TILES, cut, ndvi, outcome_of, write_raster
from upscaling.config import Config
from upscaling.config.collection import AssetDescription
from upscaling.errors import UpscalingError
from upscaling.model import FetchedAsset, Tile, TileJob
from upscaling.publish.explorer import explorer_config
from upscaling.results.collection import CollectionMetadata, collect
from upscaling.results.item import build_item
from upscaling.results.product_assets import put_assets, quality_assets
from upscaling.results.products import check_quality, make_mosaics
from upscaling.results.validate import validate_collection
from upscaling.util.files import write_json

# a quicklook is a picture: it has no place
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
JobOf = Callable[[Tile], TileJob]
KEYS = {tile.id: f"key-of-{tile.id}" for tile in TILES}
NAMES = ("B04", "B03", "B02", "B08", "SCL")
ASSETS: dict[str, Any] = {
    "bands": {"match": "*bands*", "bands": [{"name": name, "scale": 0.0001, "offset": -0.1} for name in NAMES]},
    "forest": {
        "match": "*forest*",
        "bands": [
            {
                "name": "forest",
                "classes": [
                    {"value": 0, "title": "Open", "color_hint": "ffee00"},
                    {"value": 1, "title": "Forest", "color_hint": "006400"},
                ],
            }
        ],
    },
}
METADATA = CollectionMetadata(
    RUN,
    "T",
    "D",
    "CC-BY-4.0",
    assets={key: AssetDescription.model_validate(value) for key, value in ASSETS.items()},
)


def config(**mosaic: Any) -> Config:
    return Config.parse(
        {
            "run": RUN,
            "algorithm": {"source": "a.json"},
            "area": {"aoi": [11.3, 46.4, 11.4, 46.5]},
            "backend": {"kind": "openeo", "url": "https://openeo.example", "auth": "none"},
            "mosaic": mosaic,
        }
    )


@pytest.fixture
def values(scene: Path) -> dict[str, np.ndarray]:
    """The scene's five bands, and a forest mask, over the twelve tiles."""
    with rasterio.open(scene) as dataset:
        column, row = round((676000 - dataset.bounds.left) / 10), round((dataset.bounds.top - 5154000) / 10)
        bands = dataset.read()[:, row : row + 600, column : column + 800]
    forest = (np.nan_to_num(ndvi(scene)) > 0.5).astype("uint8")[np.newaxis, row : row + 600, column : column + 800]
    return {"bands": bands, "forest": forest}


@pytest.fixture
def run(tmp_path: Path, job_of: JobOf, scene: Path) -> Path:
    with rasterio.open(scene) as dataset:
        bands = dataset.read()
    forest = (np.nan_to_num(ndvi(scene)) > 0.5).astype("uint8")
    for tile in TILES:
        job = job_of(tile)
        files = []
        for name, whole in (("bands", bands), ("forest", forest)):
            path = job.scratch / f"{name}.tif"
            write_raster(path, cut(scene, whole, tile), tile.bounds.west, tile.bounds.north)
            files.append(FetchedAsset(path, path.name))
        write_json(job.folder / "item.json", build_item(job, outcome_of(*files), temporal=TEMPORAL))
    gather(tmp_path / RUN)
    return tmp_path / RUN


def gather(run: Path) -> None:
    collect(run, tiles=list(KEYS), keys=KEYS, metadata=METADATA)


def assets(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "collection.json").read_text())["assets"])


@pytest.mark.parametrize("per_band", [False, True])
def test_each_mosaic_equals_the_scene_and_keeps_what_is_said_of_its_bands(
    run: Path, values: dict[str, np.ndarray], per_band: bool, shared_data: Path
) -> None:
    made = {entry["asset"]: entry for entry in make_mosaics(config(cog=True, per_band=per_band), run)}
    names = [f"bands_{name}.tif" for name in NAMES] if per_band else ["bands.tif"]
    cogs = [run / "mosaic" / name for name in names]
    assert [made["bands"]["cog"], made["bands"]["band_cogs"]] == ([None, names] if per_band else [names[0], []])
    read = []
    for cog in (*cogs, run / "mosaic" / "forest.tif"):
        assert cog_validate(cog, strict=True, quiet=True)[0]
        with rasterio.open(cog) as dataset:
            assert tuple(dataset.bounds) == (676000, 5148000, 684000, 5154000)
            if cog in cogs:
                read.append(dataset.read())
                assert set(dataset.scales) == {0.0001} and set(dataset.offsets) == {-0.1}
                assert dataset.descriptions == ((cog.stem[6:],) if per_band else NAMES)
            else:
                np.testing.assert_array_equal(dataset.read(), values["forest"])
    np.testing.assert_array_equal(np.concatenate(read), values["bands"])
    with rasterio.open(run / "mosaic" / "forest.png") as picture:
        colours = {tuple(pixel) for pixel in picture.read().reshape(4, -1).T.tolist()}
    assert colours == {(0xFF, 0xEE, 0, 255), (0, 0x64, 0, 255)}, "not the colours of the classes"

    (run / "quality.json").write_text("{}")
    put_assets(run, "./quality.json", quality_assets(run))
    assert validate_collection(run / "collection.json", shared_data / "stac_schemas") == []
    problems = validate_collection(run / "collection.json", prr=True)
    assert not any("thumbnail" in problem for problem in problems)
    found = assets(run)
    keys = {f"mosaic-{cog.stem}" for cog in cogs} | {"mosaic-forest"}
    assert set(found) == keys | {"items", "thumbnail", "quicklook-forest", "index-bands", "index-forest", "quality"}
    for key in keys:
        assert found[key]["proj:code"] == "EPSG:32632" and found[key]["proj:shape"] == [600, 800]
        assert found[key]["raster:spatial_resolution"] == 10
    shown = [band["name"] for cog in cogs for band in found[f"mosaic-{cog.stem}"]["bands"]]
    assert shown == list(NAMES)
    collection = json.loads((run / "collection.json").read_text())
    explorer = explorer_config(collection, list(made.values()), run, "https://data.example")
    assert explorer is not None
    urls = [source["data"][0]["url"] for source in explorer["sources"]]
    assert urls == [f"https://data.example/mosaic/{name}" for name in (*names, "forest.tif")]
    assert len({source["name"] for source in explorer["sources"]}) == len(urls)


def test_per_band_in_another_crs_is_the_stacked_one_taken_apart(run: Path) -> None:
    grid = {"crs": "EPSG:3035", "resolution": 20.0, "resampling": "bilinear"}
    make_mosaics(config(cog=True, **grid), run)
    with rasterio.open(run / "mosaic" / "bands.tif") as dataset:
        stacked, transform = dataset.read(), dataset.transform
    make_mosaics(config(cog=True, per_band=True, **grid), run)
    for number, name in enumerate(NAMES):
        with rasterio.open(run / "mosaic" / f"bands_{name}.tif") as dataset:
            assert (dataset.crs.to_epsg(), dataset.transform) == (3035, transform)
            np.testing.assert_array_equal(dataset.read(1), stacked[number])


def test_each_time_step_is_a_mosaic_of_its_own(tmp_path: Path, job_of: JobOf, scene: Path) -> None:
    steps = {"2022-05": 1, "2022-06": 2}
    keys = {}
    for tile in TILES:
        for label, factor in steps.items():
            job = job_of(tile)
            name = f"{tile.id}_{label}"
            folder = tmp_path / RUN / "tiles" / name
            job = replace(job, id=name, folder=folder, time=(f"{label}-01", f"{label}-28"), key=f"key-of-{name}")
            path = job.scratch / f"{label}.tif"
            west, north = tile.bounds.west, tile.bounds.north
            write_raster(path, cut(scene, ndvi(scene), tile) * factor, west, north, nodata=np.nan)
            item = build_item(job, outcome_of(FetchedAsset(path, "openEO.tif")), temporal=TEMPORAL)
            write_json(folder / "item.json", item)
            keys[name] = job.key
    collect(tmp_path / RUN, tiles=list(keys), keys=keys, metadata=CollectionMetadata(RUN, "T", "D", "CC0-1.0"))
    made = make_mosaics(config(cog=True), tmp_path / RUN)
    assert [(entry["asset"], entry["step"], entry["cog"]) for entry in made] == [
        ("data", label, f"data_{label}.tif") for label in steps
    ]
    with rasterio.open(scene) as dataset:
        column, row = round((676000 - dataset.bounds.left) / 10), round((dataset.bounds.top - 5154000) / 10)
    expected = ndvi(scene)[row : row + 600, column : column + 800]
    for label, factor in steps.items():
        with rasterio.open(tmp_path / RUN / "mosaic" / f"data_{label}.tif") as dataset:
            np.testing.assert_array_equal(dataset.read(1), expected * factor)
    keys_of_assets = {"items", "thumbnail", "quicklook-data_2022-06", *(f"mosaic-data_{label}" for label in steps)}
    assert set(assets(tmp_path / RUN)) == keys_of_assets | {f"index-data_{label}" for label in steps}


def test_a_mosaic_that_cannot_be_made_leaves_the_others_and_is_told(run: Path) -> None:
    damaged = next(run.glob(f"tiles/{TILES[0].id}/*bands*.tif"))
    damaged.write_bytes(damaged.read_bytes()[:600])
    left = run / "mosaic" / ".bands.tif.1234.staged.tif"
    left.parent.mkdir(exist_ok=True)
    left.touch()
    made = make_mosaics(config(cog=True), run)
    assert [entry["asset"] for entry in made] == ["forest"]
    assert sorted(path.name for path in (run / "mosaic").glob("bands*")) == []
    assert not left.exists(), "a killed run's staged file stays for ever"
    (failure,) = json.loads((run / "mosaic" / "failures.json").read_text())
    assert failure["asset"] == "bands" and damaged.name in failure["reason"] and "\n" not in failure["reason"]
    assert failure["reason"].startswith(f"1 file cannot be read: {damaged.name} (")
    assert failure["reason"].endswith("; delete the folders of their tiles and run again")
    assert "index-forest" in assets(run) and "index-bands" not in assets(run)


def test_damaged_items_and_a_damaged_table_are_told(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = run / "collection.json"
    (run / "items.parquet").write_bytes(b"PAR1")
    with pytest.raises(UpscalingError, match=r"items\.parquet: cannot be read: .*; delete .*collection\.json and run"):
        make_mosaics(config(), run)
    (run / "items.parquet").unlink()
    item = run / "tiles" / TILES[0].id / "item.json"
    item.write_text(item.read_text().replace("href", "hre"))
    made = make_mosaics(config(), run)
    assert [entry["tiles"] for entry in made] == [11, 11]
    assert f"left out: {item}: is not as in a STAC document: links.0.href: Field required" in caplog.text
    path.write_text("{}[")
    with pytest.raises(UpscalingError, match=r"collection\.json: cannot be read"):
        make_mosaics(config(), run)


def test_a_mosaic_that_cannot_be_read_is_told_and_its_tiles_are_still_checked(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_mosaics(config(), run)
    (run / "mosaic" / "forest.gti.gpkg").write_bytes(b"no GeoPackage")
    monkeypatch.setattr("upscaling.results.products.load_plan", lambda _: SimpleNamespace(tiles=KEYS))
    found = check_quality(config(), run)
    assert found["assets"]["forest"]["tiles"] == len(TILES)
    (told,) = (line for line in found["problems"] if "forest" in line)
    assert told.startswith("the mosaics of asset forest were not compared with its tiles: ")
    assert told.endswith(f"; delete {run / 'mosaic'} and run again")


def test_the_collection_is_written_only_if_something_changed_and_never_looks_newer(run: Path) -> None:
    path = run / "collection.json"
    time = path.stat().st_mtime_ns
    make_mosaics(config(), run)
    assert "thumbnail" in assets(run)
    assert path.stat().st_mtime_ns == time, "Snakemake would make the mosaics again, and again"
    (run / "quality.json").write_text("{}")
    put_assets(run, "./quality.json", quality_assets(run))
    before = path.stat()
    put_assets(run, "./quality.json", quality_assets(run))
    assert path.stat().st_ino == before.st_ino, "it was written although nothing had changed"
    gather(run)
    assert set(assets(run)) == {"items"}, "pictures of an earlier collection"
