"""The demo's scenes, area and process, together."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate
from ruamel.yaml import YAML

from tests.conftest import missing
from upscaling.demo.data import make_demo_data

DEMO = Path(__file__).resolve().parents[3] / "config" / "demo"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_data(tmp_path_factory.mktemp("demo"))


RUN_JOB = """
import sys
from pathlib import Path
from upscaling.local_backend.collections import load_data
from upscaling.local_backend.processes import base_registry
from upscaling.local_backend.worker import run_job
sys.exit(not run_job(Path(sys.argv[1]), load_data(Path(sys.argv[2])), base_registry()))
"""


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_scenes_are_what_the_index_says(index: Path) -> None:
    collection = YAML(typ="safe").load(index)["collections"]["SENTINEL2_L2A"]
    assert len(collection["items"]) == 5
    assert sum(path.stat().st_size for path in index.parent.iterdir()) < 8_000_000
    partly_empty = 0
    for item in collection["items"]:
        path = index.parent / item["file"]
        assert cog_validate(path, strict=True, quiet=True)[0]
        with rasterio.open(path) as dataset:
            assert tuple(dataset.bounds) == (676000, 5146000, 684000, 5154000)
            assert (dataset.crs.to_epsg(), dataset.res, dataset.nodata) == (32632, (10, 10), 0)
            assert list(dataset.descriptions) == item["bands"] == ["B02", "B03", "B04", "B08", "SCL"]
            values = dataset.read()
        classes = values[4]
        assert "2023-06" <= item["datetime"] < "2023-09"
        assert set(np.unique(classes)) - {0} == {3, 4, 5, 6, 8, 9}
        assert ((values == 0).all(axis=0) == (classes == 0)).all()
        assert 0.05 < np.isin(classes, [8, 9]).mean() < 0.5
        partly_empty += bool((classes == 0).any())
    assert partly_empty == 2


def test_same_bytes_again_and_what_is_there_is_left_alone(index: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in index.parent.iterdir()}
    assert make_demo_data(index.parent) == index
    assert {path: path.stat().st_mtime_ns for path in index.parent.iterdir()} == before
    assert files(make_demo_data(tmp_path / "again").parent) == files(index.parent)


def test_area_lies_in_the_scenes_and_is_no_rectangle() -> None:
    from upscaling.area.aoi import read_aoi
    from upscaling.grids import get_grid

    area = read_aoi(str(DEMO / "area.geojson")).geometry
    tiles = get_grid("utm-2km").tiles(read_aoi(str(DEMO / "area.geojson")))
    assert 12 <= len(tiles) < 16
    assert tiles.xmin.min() >= 676000 and tiles.xmax.max() <= 684000
    assert tiles.ymin.min() >= 5146000 and tiles.ymax.max() <= 5154000
    (polygon,) = area.geoms
    assert polygon.interiors and polygon.area < 0.9 * polygon.convex_hull.area


def bound(value: Any, parameters: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        if set(value) == {"from_parameter"}:
            return parameters.get(value["from_parameter"], value)
        return {name: bound(entry, parameters) for name, entry in value.items()}
    return [bound(entry, parameters) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize("highest", [7, 5])
def test_process_on_a_tile_equals_numpy(index: Path, tmp_path: Path, highest: int) -> None:
    if find_spec("openeo_processes_dask") is None:
        missing("the extra [local]")
    process = json.loads((DEMO / "ndvi_composite.json").read_text())
    forms = {parameter["name"]: parameter["schema"].get("subtype") for parameter in process["parameters"]}
    assert forms == {
        "spatial_extent": "bounding-box",
        "temporal_extent": "temporal-interval",
        "highest_class": None,
    }
    west, south, east, north = 680000, 5150000, 682000, 5152000
    parameters = {
        "spatial_extent": {"west": west, "south": south, "east": east, "north": north, "crs": 32632},
        "temporal_extent": ["2023-06-01", "2023-08-01"],  # leaves the last date out
        "highest_class": highest,
    }
    job = {"process_graph": bound(process["process_graph"], parameters), "options": {}, "definitions": {}}
    (tmp_path / "job.json").write_text(json.dumps(job | {"log_level": "info"}))
    # in a process of its own, as the back-end does: it takes over logging and warnings
    done = subprocess.run([sys.executable, "-c", RUN_JOB, tmp_path, index], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (output,) = (tmp_path / "output").glob("*.tif")
    with rasterio.open(output) as dataset:
        found = dataset.read(1)
        assert dataset.descriptions == ("NDVI",)
        assert tuple(dataset.bounds) == (west, south, east, north)

    dates = []
    for path in sorted(index.parent.glob("*.tif"))[:4]:
        with rasterio.open(path) as dataset:
            _, _, red, nir, classes = dataset.read(window=dataset.window(west, south, east, north)).astype("float32")
        with np.errstate(invalid="ignore"):
            dates.append(np.where((classes >= 4) & (classes <= highest), (nir - red) / (nir + red), np.nan))
    stack = np.array(dates)
    expected = np.full(found.shape, np.nan, "float32")
    seen = ~np.isnan(stack).all(axis=0)
    expected[seen] = np.nanmedian(stack[:, seen], axis=0)
    assert np.array_equal(found, expected, equal_nan=True)
    assert 0.9 < seen.mean() <= 1
