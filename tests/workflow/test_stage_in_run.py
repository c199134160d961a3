"""On this machine: a package of four tools with nested scatters over staged items; products by item."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fake_stac_api import FakeStacApi
from tests.pixels import put_together
from tests.stac_products import expected_water, make_catalogue, products_api
from tests.workflow.conftest import CRS, Run
from tests.workflow.test_plain_cwl_run import said_of, write_cwl


def items_of(run: Run) -> dict[str, dict[str, Any]]:
    paths = run.results.glob("tiles/*/item.json")
    return {path.parent.name: json.loads(path.read_text()) for path in paths}


def assert_is_water(run: Run, scene: Path, products: list[str]) -> None:
    """Compare all tiles with numpy; what is beyond the scene is 255."""
    found, (west, south, east, north) = put_together(run.results / "collection.json")
    assert (west, south, east, north) == (678000, 5150000, 686000, 5152000)
    expected = np.full(found.shape, 255, "uint8")
    column, row = round((west - 674990) / 10), round((5154960 - north) / 10)
    inside = expected_water(scene, products)[row : row + found.shape[0], column : column + found.shape[1]]
    expected[: inside.shape[0], : inside.shape[1]] = inside
    np.testing.assert_array_equal(found, expected)
    assert {0, 50, 100} <= set(np.unique(inside)), "a picture that tells nothing"


@pytest.mark.slow
def test_four_tools_over_staged_items_equal_numpy(api: FakeStacApi, water_run: Callable[..., Run], scene: Path) -> None:
    run = water_run(api.url)
    done = run.gather()
    assert done.returncode == 0, done.stderr
    assert "plan: 1 of 5 have no item, and so no data" in done.stderr
    assert_is_water(run, scene, ["west_a", "east_a", "whole_b"])
    items = items_of(run)
    assert len(items) == 5
    empty = {tile for tile, item in items.items() if item["properties"].get("upscaling:nodata")}
    assert empty == {"utm-2km_32n_e0686_n5150"}
    # Both strips touch the tiles at their common edge; the sources are in the item.
    edge = items["utm-2km_32n_e0680_n5150"]
    sources = {link["href"].rpartition("/")[2] for link in edge["links"] if link["rel"] == "derived_from"}
    assert sources == {"west_a", "east_a", "whole_b"}
    assert edge["properties"]["start_datetime"] == "2022-06-02T10:15:59Z"
    files = {path: times for path, times in api.gets.items() if path.startswith("/files/")}
    used = [f"/files/{name}/{band}.tif" for name in sources for band in ("B03", "B08")]
    assert set(files) == set(used)
    assert set(files.values()) == {1}, "an asset was downloaded for more than one tile"
    assert len(api.searches) == 2, "one search, in two pages, for all tiles"

    # The plan is pinned: what the catalogue gains changes nothing, until it is planned anew; and then only there.
    late = json.loads(json.dumps(api.items[1])) | {"id": "east_late"}
    late["properties"]["datetime"] = "2022-06-20T10:15:59Z"
    api.items.append(late)
    again = run.gather()
    assert again.returncode == 0, again.stderr
    assert "Nothing to be done" in again.stderr
    assert len(api.searches) == 2
    before = keys_of(run)
    shutil.rmtree(run.results / "plan")
    planned = run.upscaling("plan", "config.yaml")
    assert planned.returncode == 0, planned.stderr
    after = keys_of(run)
    changed = {tile for tile in before if before[tile] != after[tile]}
    assert changed == {tile for tile in before if "e0680" <= tile.split("_")[2] <= "e0684"}


def keys_of(run: Run) -> dict[str, str]:
    rows = (run.results / "plan" / "tiles.csv").read_text().splitlines()[1:]
    return dict(row.split(",")[:2] for row in rows)


def test_plain_cwl_gives_the_same(water_run: Callable[..., Run], scene: Path, tmp_path: Path) -> None:
    """What `upscaling cwl` writes has its items beside it; a tile without any is not run, and not missing."""
    run = water_run(make_catalogue(scene, tmp_path / "catalogue"))
    ring = [[684000, 5150000], [688000, 5150000], [688000, 5152000], [684000, 5152000], [684000, 5150000]]
    (run.folder / "area.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring], "crs": CRS}))
    done = run.snakemake()
    assert done.returncode == 0, done.stderr
    nothing = items_of(run)["utm-2km_32n_e0686_n5150"]["properties"]
    assert nothing["start_datetime"] == "2022-06-01T00:00:00Z", "of the search: no file says when there was nothing"
    cwltool = shlex.split(write_cwl(run)[1])
    shutil.rmtree(tmp_path / "catalogue")
    shutil.rmtree(run.folder / "elsewhere")
    said = subprocess.run(cwltool, cwd=run.folder, env=run.environment, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr[-3000:]
    (collection,) = (run.folder / "plain" / "result").glob("*/collection.json")
    assert said_of(collection.parent) == said_of(run.results)


def test_after_pull_neither_catalogue_nor_files_are_needed(
    water_run: Callable[..., Run], scene: Path, tmp_path: Path
) -> None:
    with products_api(scene, tmp_path / "files") as api:
        run = water_run(api.url, area={"aoi": [11.36, 46.485, 11.361, 46.486], "grid": "utm-1km"})
        run.config["stage_in"]["cache"] = str(tmp_path / "cache")
        pulled = run.upscaling("pull", "config.yaml")
        assert pulled.returncode == 0, pulled.stderr
        assert "stage_in: 4 of 4 files" in pulled.stdout
        assert {path.split("/")[2] for path in api.gets if path.startswith("/files/")} == {"east_a", "whole_b"}
    done = run.gather()
    assert done.returncode == 0, done.stderr
    (item,) = items_of(run).values()
    assert "water" in item["assets"]
    assert not (run.results / "stage").exists(), "it is in the cache that was named"


def test_products_as_the_dimension_of_a_package(water_run: Callable[..., Run], scene: Path, tmp_path: Path) -> None:
    """No area: one job per product, each staged by itself. The package has to take an area, so it is given one."""
    run = water_run(make_catalogue(scene, tmp_path / "catalogue"))
    search = {**run.config.pop("stage_in"), "fill": {"items": "item"}, "sort": "eo:cloud_cover", "limit": 2}
    del run.config["area"]
    run.config["for_each"] = {"search": search}
    run.config["algorithm"]["parameters"] = {"bbox": "682000,5150000,683000,5151000", "epsg": "EPSG:32632"}
    run.config["backend"] |= {"chunk": 1}
    done = run.gather()
    assert done.returncode == 0, done.stderr
    items = items_of(run)
    assert set(items) == {"west_a", "east_a"}
    assert items["west_a"]["properties"]["upscaling:nodata"], "its strip ends west of the area"
    assert items["east_a"]["properties"]["proj:bbox"] == [682000, 5150000, 683000, 5151000]
