"""The demo package, for real: equal to numpy to the bit, and in the shape of OGC 20-089r1."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio

from upscaling.errors import TileFailedError
from upscaling.model import Bounds, Outcome, Tile, TileJob
from upscaling.util.files import read_json

from .conftest import DEMO, INSIDE

TIME = "2022-06-12T10:15:59Z"
OVERHANGING = Tile("utm32n_e0674_n5146", "EPSG:32632", Bounds(674000.0, 5146000.0, 676000.0, 5148000.0))
OUTSIDE = Tile("utm32n_e0600_n5146", "EPSG:32632", Bounds(600000.0, 5146000.0, 602000.0, 5148000.0))


def expected_ndvi(scene: Path, bounds: Bounds, masked: tuple[int, ...] = ()) -> np.ndarray[Any, Any]:
    """NDVI of the scene laid into an empty tile by array indexing, without any of the package's code."""
    with rasterio.open(scene) as source:
        bands, (left, top) = source.read(), (source.bounds.left, source.bounds.top)
    b04, b08, scl = bands[0].astype("float32"), bands[3].astype("float32"), bands[4]
    bad = (bands[0] == 0) | (bands[3] == 0) | np.isin(scl, masked)
    with np.errstate(invalid="ignore", divide="ignore"):
        index = np.where(bad, np.float32(np.nan), (b08 - b04) / (b08 + b04))
    width, height = round((bounds.east - bounds.west) / 10), round((bounds.north - bounds.south) / 10)
    column, row = round((bounds.west - left) / 10), round((top - bounds.north) / 10)
    tile = np.full((height, width), np.nan, "float32")
    for y in range(height):
        for x in range(width):
            if 0 <= row + y < index.shape[0] and 0 <= column + x < index.shape[1]:
                tile[y, x] = index[row + y, column + x]
    return tile


def assert_is_ndvi(outcome: Outcome, scene: Path, tile: Tile, masked: tuple[int, ...] = ()) -> None:
    (asset,) = outcome.assets
    assert (asset.key, asset.roles, asset.datetime) == ("ndvi", ("data",), TIME)
    assert asset.media_type == "image/tiff; application=geotiff; profile=cloud-optimized"
    assert asset.bands[0]["name"] == "ndvi"
    with rasterio.open(asset.path) as result:
        assert tuple(result.bounds) == tuple(tile.bounds)
        assert (result.crs.to_epsg(), result.dtypes, result.tags(ns="IMAGE_STRUCTURE")["LAYOUT"]) == (
            tile.epsg,
            ("float32",),
            "COG",
        )
        assert np.isnan(result.nodata)
        found = result.read(1)
    expected = expected_ndvi(scene, tile.bounds, masked)
    assert np.array_equal(found.view("uint32")[~np.isnan(found)], expected.view("uint32")[~np.isnan(expected)])
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    assert np.isfinite(found).any()


def test_two_tiles_at_once_through_toil_equal_numpy_to_the_bit(
    scene: Path, make_job: Callable[..., TileJob], run_job: Callable[..., Outcome]
) -> None:
    tiles = [INSIDE, OVERHANGING]
    jobs = [make_job(DEMO, {"scene": str(scene), "datetime": TIME}, tile) for tile in tiles]
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(run_job, jobs))
    for job, outcome in zip(jobs, outcomes, strict=True):
        assert_is_ndvi(outcome, scene, job.tile)
        assert all(asset.path.is_relative_to(job.scratch) for asset in outcome.assets)
        assert outcome.software["ndvi"] == job.algorithm.version == "0.1.0"
        assert read_json(job.receipt)["state"] == "finished"
        assert not list(job.scratch.glob("cwl-*/store"))
        assert not any(job.scratch.glob("cwl-*/work/*"))
        assert "CWL run complete!" in (job.receipt.parent.parent / "logs" / f"{job.tile.id}.cwl.log").read_text()
    with rasterio.open(outcomes[1].assets[0].path) as overhanging:
        assert 0.4 < np.isnan(overhanging.read(1)).mean() < 1


def test_cwltool_gives_the_same_and_an_empty_tile_is_no_data(
    scene: Path, make_job: Callable[..., TileJob], run_job: Callable[..., Outcome]
) -> None:
    parameters = {"scene": str(scene), "datetime": TIME, "mask": [5, 6]}
    outcome = run_job(make_job(DEMO, parameters), engine="cwltool")
    assert_is_ndvi(outcome, scene, INSIDE, masked=(5, 6))
    assert run_job(make_job(DEMO, parameters, OUTSIDE), engine="cwltool").assets == ()


def test_a_stac_catalogue_with_an_asset_per_band_is_mosaicked(
    scene: Path, tmp_path: Path, make_job: Callable[..., TileJob], run_job: Callable[..., Outcome]
) -> None:
    """Two items, the western and the eastern part of the scene, one file per band, in the tile's middle."""
    catalogue = pystac.Catalog("c", "two halves")
    (tmp_path / "stac").mkdir()
    for name, (west, east) in {"west": (674990, 677000), "east": (677000, 684340)}.items():
        item = _item(name)
        for number, band in ((1, "B04"), (4, "B08")):
            path = tmp_path / "stac" / f"{name}_{band}.tif"
            with rasterio.open(scene) as source:
                columns = slice((west - 674990) // 10, (east - 674990) // 10)
                pixels = source.read(number)[:, columns]
                profile = source.profile | {"count": 1, "width": pixels.shape[1]}
                profile["transform"] = rasterio.Affine(10, 0, west, 0, -10, 5154960)
            with rasterio.open(path, "w", **profile) as target:
                target.write(pixels, 1)
            item.add_asset(band, pystac.Asset(str(path)))
        catalogue.add_item(item)
    catalogue.normalize_hrefs(str(tmp_path / "stac"))
    catalogue.make_all_asset_hrefs_relative()
    catalogue.save(pystac.CatalogType.SELF_CONTAINED)
    outcome = run_job(make_job(DEMO, {"scene": str(tmp_path / "stac")}), engine="cwltool")
    assert_is_ndvi(outcome, scene, INSIDE)


def _item(name: str) -> pystac.Item:
    ring = [[11, 46], [12, 46], [12, 47], [11, 47], [11, 46]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return pystac.Item(name, geometry, [11, 46, 12, 47], datetime.fromisoformat(TIME), {})


def test_the_tool_says_what_it_misses(
    scene: Path, make_job: Callable[..., TileJob], run_job: Callable[..., Outcome]
) -> None:
    job = make_job(DEMO, {"scene": str(scene)})
    with pytest.raises(TileFailedError, match=r"step index exited with status 1: ndvi: .* does not say when it was t"):
        run_job(job, engine="cwltool")
    assert read_json(job.receipt)["state"] == "failed"


def test_the_package_has_the_shape_of_20_089r1() -> None:
    """Requirements 7 to 14, and what stricter validators ask of resources (cores and memory, least and most)."""
    from ruamel.yaml import YAML

    document = YAML(typ="safe").load(DEMO)
    processes = {process["id"]: process for process in document["$graph"]}
    workflows = [p for p in processes.values() if p["class"] == "Workflow"]
    tools = [p for p in processes.values() if p["class"] == "CommandLineTool"]
    assert len(workflows) == 1  # req 7
    assert len(tools) >= 1
    for tool in tools:  # req 8
        assert {"id", "baseCommand", "inputs", "requirements"} <= set(tool)
        assert tool["hints"]["DockerRequirement"]["dockerPull"]
        resources = tool["requirements"]["ResourceRequirement"]
        assert {"coresMin", "coresMax", "ramMin", "ramMax"} <= set(resources)
        assert resources["ramMin"] <= resources["ramMax"]
    (workflow,) = workflows
    assert workflow["id"] != "main"
    assert workflow["label"]  # req 9
    assert workflow["doc"]
    for entry in [*workflow["inputs"].values(), *workflow["outputs"].values()]:  # req 10
        assert entry["label"]
        assert entry["doc"]
    assert document["s:softwareVersion"]  # req 11
    assert document["$namespaces"]["s"] == "https://schema.org/"
    assert "Directory" in workflow["inputs"]["scene"]["type"]  # req 12, 13
    for tool in tools:
        assert "Directory" in tool["inputs"]["scene"]["type"]
        assert [output["type"] for output in tool["outputs"].values()] == ["Directory"]  # req 14
    assert [output["type"] for output in workflow["outputs"].values()] == ["Directory"]
    assert {step["run"].lstrip("#") for step in workflow["steps"].values()} <= set(processes)
