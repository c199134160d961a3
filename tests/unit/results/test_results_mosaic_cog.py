"""How a mosaic is cut into a COG."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rasterio

from tests.unit.results.tiny_tiles import NEXT, ones, tile
from upscaling.results import mosaic_cog
from upscaling.results.mosaic import mosaic_parts
from upscaling.results.mosaic_cog import write_mosaic_cog


def test_one_band_of_a_mosaic_is_written_with_what_is_said_of_it(tmp_path: Path) -> None:
    values = np.stack([ones(value=number) for number in (1, 2, 3)])
    mosaic = mosaic_parts([tile(tmp_path, "a", values, nodata=0)], tmp_path / "m.gti.gpkg")
    for band in (1, 2, 3):
        with rasterio.open(write_mosaic_cog(mosaic, tmp_path / "band.tif", band=band)) as dataset:
            assert (dataset.count, dataset.nodata) == (1, 0)
            assert (dataset.read(1) == band).all()
    with rasterio.open(write_mosaic_cog(mosaic, tmp_path / "all.tif")) as dataset:
        assert dataset.read()[:, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("nodata", [0, None])
def test_a_cog_in_another_resolution_lies_on_whole_pixels_from_zero(tmp_path: Path, nodata: Any) -> None:
    mosaic = mosaic_parts([tile(tmp_path, "a", ones(42, 42), 1, 1, nodata=nodata)], tmp_path / "m.gti.gpkg")
    with rasterio.open(write_mosaic_cog(mosaic, tmp_path / "c.tif", resolution=30.0)) as dataset:
        assert tuple(dataset.bounds) == (699_990.0, 5_149_560.0, 700_440.0, 5_150_010.0)
        assert (dataset.res, dataset.shape, dataset.count, dataset.nodata) == ((30, 30), (15, 15), 1, nodata)
        assert set(np.unique(dataset.read(1)[1:-1, 1:-1])) == {1}
    with rasterio.open(write_mosaic_cog(mosaic, tmp_path / "d.tif", crs=NEXT, resolution=10.0)) as dataset:
        assert dataset.crs == NEXT
        assert dataset.bounds.left % 10 == dataset.bounds.top % 10 == 0
        shown = dataset.dataset_mask() > 0
        assert not shown.all() and shown.mean() > 0.7, "what lies beside the tile is no data"
        assert (dataset.read(1)[shown] == 1).all()


def test_a_mask_is_kept_in_the_file_and_no_other_file_is_left(tmp_path: Path) -> None:
    parts = [tile(tmp_path, name, ones(), column) for name, column in (("a", 0), ("b", 6))]
    folder = tmp_path / "cog"
    folder.mkdir()
    target = write_mosaic_cog(mosaic_parts(parts, tmp_path / "m.gti.gpkg"), folder / "c.tif")
    with rasterio.open(target) as dataset:
        assert (dataset.dataset_mask()[0] > 0).tolist() == [column not in (4, 5) for column in range(10)]
    assert [path.name for path in folder.iterdir()] == ["c.tif"]


def view(**given: Any) -> Any:
    plain = {"dtypes": ("float32",), "width": 1000, "height": 100, "count": 2}
    return SimpleNamespace(**{**plain, **given})


@pytest.mark.parametrize(
    ("given", "free", "staged"),
    [
        ({}, 2_400_000, True),
        ({}, 2_399_999, False),
        ({"dtypes": ("uint8",)}, 600_000, True),
        ({"dtypes": ("uint8",)}, 599_999, False),
        ({"dtypes": ("int64",)}, 1 << 60, False),
        ({"dtypes": ("complex_int16",)}, 1 << 60, False),
    ],
)
def test_pixels_are_staged_where_three_times_their_size_is_free(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    given: dict[str, Any],
    free: int,
    staged: bool,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    with caplog.at_level(logging.INFO):
        assert mosaic_cog._can_stage(view(**given), tmp_path) is staged
    told = not staged and free < 1 << 60
    assert ("staging needs 0.0 GB" in caplog.text) is told


@pytest.mark.parametrize(
    ("given", "side"),
    [
        ({"width": 9000, "height": 5000, "count": 1}, 4096),  # 64 MiB of float32
        ({"width": 9000, "height": 5000, "count": 5}, 1536),
        ({"width": 1030, "height": 600, "count": 4000}, 512),
    ],
)
def test_pixels_are_read_in_squares_of_whole_blocks(given: dict[str, Any], side: int) -> None:
    windows = [(w.col_off, w.row_off, w.width, w.height) for w in mosaic_cog._windows(view(**given))]
    width, height = given["width"], given["height"]
    assert windows[0] == (0, 0, side, side)
    assert windows[-1][0] + windows[-1][2] == width
    assert windows[-1][1] + windows[-1][3] == height
    assert sum(w * h for _, _, w, h in windows) == width * height
    assert {column % side for column, *_ in windows} == {row % side for _, row, *_ in windows} == {0}
