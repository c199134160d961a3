"""Time steps and tables of values, halos, on real pixels through real Snakemake."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.pixels import put_together, scene_ndvi, window
from tests.servers import EmbeddedBackend, scene_collections
from tests.workflow.conftest import Run

# a corner of the scene: 2 by 1 tiles of 2 km
SMALL = {"aoi": [11.295, 46.483, 11.32, 46.493], "grid": "utm-2km"}


@pytest.fixture
def dated_backend(scene: Path, tmp_path: Path) -> Iterator[EmbeddedBackend]:
    """The real scene, offered as if it had been taken on four dates of two months."""
    path = scene_collections(scene, tmp_path)
    content = yaml.safe_load(path.read_text())
    (item,) = content["collections"]["SENTINEL2_L2A"]["items"]
    dates = ["2022-06-02", "2022-06-30", "2022-07-01", "2022-08-15"]
    content["collections"]["SENTINEL2_L2A"]["items"] = [{**item, "datetime": f"{date}T10:00:00Z"} for date in dates]
    path.write_text(yaml.safe_dump(content))
    server = EmbeddedBackend(path, tmp_path / "backend").start()
    yield server
    server.stop()


def items_of(run: Run) -> dict[str, dict[str, object]]:
    paths = run.results.glob("tiles/*/item.json")
    return {path.parent.name: json.loads(path.read_text()) for path in paths}


def test_one_item_per_tile_and_month(dated_backend: EmbeddedBackend, scene_run: Callable[..., Run]) -> None:
    run = scene_run(dated_backend, area=SMALL, time={"start": "2022-06-01", "end": "2022-10-01", "step": "month"})
    run.config["algorithm"] = {**run.config["algorithm"], "parameters": {}}
    done = run.gather()
    assert done.returncode == 0, done.stderr
    items = items_of(run)
    tiles = {name.rpartition("_")[0] for name in items}
    months = ["2022-06", "2022-07", "2022-08", "2022-09"]
    assert set(items) == {f"{tile}_{month}" for tile in tiles for month in months}
    for name, item in items.items():
        month = name.rpartition("_")[2]
        following = dict(pairwise([*months, "2022-10"]))[month]
        properties = item["properties"]
        assert properties["start_datetime"] == f"{month}-01T00:00:00Z"
        assert properties["end_datetime"] == f"{following}-01T00:00:00Z"
        assert properties["upscaling:nodata"] == (month == "2022-09")
        assert properties["grid:code"].startswith("UTM2KM-32N_")
    collection = json.loads((run.results / "collection.json").read_text())
    assert collection["extent"]["temporal"]["interval"] == [["2022-06-01T00:00:00Z", "2022-10-01T00:00:00Z"]]


def test_a_table_of_places_and_dates_runs_without_an_area(
    dated_backend: EmbeddedBackend, scene_run: Callable[..., Run]
) -> None:
    """As for bursts and dates of radar services: one row per job, no AOI; here the rows choose place and time."""
    run = scene_run(dated_backend)
    definition = json.loads(Path(run.config["algorithm"]["source"]).read_text())
    load = definition["process_graph"]["loadcollection1"]["arguments"]
    load["spatial_extent"] = {
        "west": {"from_parameter": "easting"},
        "south": 5150000,
        "east": 678000,
        "north": 5152000,
        "crs": 32632,
    }
    load["temporal_extent"] = [{"from_parameter": "date"}, None]
    definition["parameters"] = [
        {"name": "easting", "schema": {"type": "integer"}},
        {"name": "date", "schema": {"type": "string", "format": "date"}},
    ]
    (run.folder / "burst.json").write_text(json.dumps(definition))
    (run.folder / "bursts.csv").write_text("burst,easting,date\nt44_1,676000,2022-06-01\nt44_2,677000,2022-07-01\n")
    del run.config["area"]
    run.config["algorithm"] = {"source": "burst.json"}
    run.config["for_each"] = {"table": "bursts.csv", "id": "burst"}
    done = run.gather()
    assert done.returncode == 0, done.stderr
    items = items_of(run)
    assert set(items) == {"t44_1", "t44_2"}
    assert items["t44_1"]["properties"]["proj:bbox"] == [676000, 5150000, 678000, 5152000]
    assert items["t44_2"]["properties"]["proj:bbox"] == [677000, 5150000, 678000, 5152000]


def test_with_a_halo_a_neighbourhood_algorithm_has_no_seams(
    dated_backend: EmbeddedBackend, scene: Path, scene_run: Callable[..., Run]
) -> None:
    kernel = [[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]

    def result(**area: object) -> tuple[np.ndarray, str]:
        name = "-".join(str(value) for value in area.values()).replace(".", "-")
        run = scene_run(dated_backend, run=f"r{name}", area={"aoi": "scene.geojson", **area})
        definition = json.loads(Path(run.config["algorithm"]["source"]).read_text())
        graph = definition["process_graph"]
        del graph["reducedimension2"]["result"]
        data = {"from_node": "reducedimension2"}
        arguments = {"data": data, "kernel": kernel, "factor": 0.0625}
        graph["kernel1"] = {"process_id": "apply_kernel", "arguments": arguments, "result": True}
        (run.folder / "smooth.json").write_text(json.dumps(definition))
        run.config["algorithm"] = {**run.config["algorithm"], "source": "smooth.json"}
        done = run.gather()
        assert done.returncode == 0, done.stderr
        bounds = scene_ndvi(scene)[1]
        whole, around = put_together(run.results / "collection.json")
        # At the scene's own edge the kernel meets no data in one run and the border value in the other.
        inner = (bounds[0] + 10, bounds[1] + 10, bounds[2] - 10, bounds[3] - 10)
        return window(whole, around, inner, strict=False), done.stderr

    untiled, _ = result(grid="none")
    with_halo, said = result(grid="utm-4km", buffer=20.0)
    np.testing.assert_array_equal(with_halo, untiled)
    assert "neighbouring pixels" not in said
    without, said = result(grid="utm-4km")
    assert not np.array_equal(without, untiled, equal_nan=True)
    assert "plan: apply_kernel looks at neighbouring pixels: tiles will show seams; set area.buffer" in said
