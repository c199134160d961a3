"""A package of four tools with nested scatters on real pixels, through Toil and through cwltool."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from upscaling.model import Outcome, TileJob

from .conftest import INSIDE, PACKAGES

BANDS = {"B03": 2, "B08": 4}
GAINS = {"early": 1, "late": 3, "last": 9}


@pytest.fixture
def items(tmp_path: Path, scene: Path) -> list[str]:
    """Three staged items: the scene as it is, and with another near infrared."""
    folders = []
    with rasterio.open(scene) as source:
        pixels = {name: source.read(index) for name, index in BANDS.items()}
        profile = source.profile | {"count": 1}
    for name, gain in GAINS.items():
        folder = tmp_path / "items" / name
        folder.mkdir(parents=True)
        for band, array in pixels.items():
            with rasterio.open(folder / f"{band}.tif", "w", **profile) as target:
                target.write(array * gain if band == "B03" else array, 1)
        properties = {"datetime": "2022-06-12T10:15:59Z"}
        item = {"type": "Feature", "stac_version": "1.0.0", "id": name, "geometry": None, "properties": properties}
        item |= {"links": [], "assets": {band: {"href": f"{band}.tif"} for band in BANDS}}
        (folder / "item.json").write_text(json.dumps(item))
        folders.append(str(folder))
    return folders


def expected(scene: Path, gain: int) -> np.ndarray[Any, Any]:
    with rasterio.open(scene) as source:
        green, nir = source.read(BANDS["B03"]), source.read(BANDS["B08"])
    rows, columns = slice(296, 496), slice(101, 301)  # of 676000..678000 E, 5150000..5152000 N
    g, n = (green * gain)[rows, columns].astype("float32"), nir[rows, columns].astype("float32")
    with np.errstate(divide="ignore", invalid="ignore"):
        return ((g - n) / (g + n) > -0.5).astype("uint8")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["toil", "cwltool"])
def test_nested_scatters_and_a_fan_in_keep_items_apart(
    scene: Path, items: list[str], make_job: Callable[..., TileJob], run_job: Callable[..., Outcome], engine: str
) -> None:
    assert tuple(INSIDE.bounds) == (676000, 5150000, 678000, 5152000)
    job = make_job(f"{PACKAGES / 'water' / 'water.cwl'}#water", {"items": items})
    assert job.parameters["epsg"] == "EPSG:32632"
    outcome = run_job(job, engine=engine)
    assert [asset.key for asset in outcome.assets] == [f"{name}_water" for name in GAINS]
    masks = []
    for asset, gain in zip(outcome.assets, GAINS.values(), strict=True):
        with rasterio.open(asset.path) as result:
            masks.append(result.read(1))
            assert tuple(result.bounds) == tuple(INSIDE.bounds)
        assert np.array_equal(masks[-1], expected(scene, gain))
    assert 0 < masks[0].mean() < masks[1].mean()  # three different pictures, none in another's place
    assert outcome.software["water"] == "2.0.1"
