from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio import Affine
from rasterio.shutil import copy
from rio_cogeo.cogeo import cog_validate

from tests.unit.results.results_helpers import TILES, cut, declare, ndvi, tile_at, write_raster
from upscaling.errors import ErrorClass, TileFailedError
from upscaling.results.cog import ensure_cog

TILE = tile_at(676000, 5148000)


def grid(dtype: str, count: int = 2) -> np.ndarray:
    return np.random.default_rng(1).integers(1, 250, (count, 200, 200)).astype(dtype)


def read(path: Path) -> np.ndarray:
    assert cog_validate(path, strict=True, quiet=True)[0]
    with rasterio.open(path) as dataset:
        return dataset.read()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_rewritten_to_the_bit_with_its_facts(tmp_path: Path, dtype: str) -> None:
    values = grid(dtype)
    values[:, :50, :50] = nodata = 0
    if dtype.startswith("float"):
        values[:, :50, :50] = nodata = np.nan
        values[0, 60, 60] = -0.0
    source = write_raster(tmp_path / "in.tif", values, 676000, 5150000, nodata=nodata)
    with rasterio.open(source, "r+") as dataset:
        dataset.descriptions, dataset.scales, dataset.offsets = ("NDVI", "count"), (0.5, 1.0), (-1.0, 0.0)
        dataset.set_band_unit(2, "1")
    info = ensure_cog(source, tmp_path / "out" / "a.tif", expect=TILE)

    assert read(info.path).tobytes() == values.tobytes()
    assert info.bands[0]["name"] == "NDVI" and info.bands[1]["unit"] == "1"
    assert (info.bands[0]["raster:scale"], info.bands[0]["raster:offset"]) == (0.5, -1.0)
    assert "raster:scale" not in info.bands[1]
    assert info.bands[0]["nodata"] == ("nan" if dtype.startswith("float") else 0)
    assert (info.crs, info.bounds, info.shape, info.dtype) == ("EPSG:32632", TILE.bounds, (200, 200), dtype)
    assert info.transform == (10, 0, 676000, 0, -10, 5150000)
    assert info.valid == 1 - 2500 / 40000
    assert info.size == info.path.stat().st_size
    assert info.sha256 == hashlib.sha256(info.path.read_bytes()).hexdigest()
    assert info.rewritten and not source.exists()
    assert [path.name for path in info.path.parent.iterdir()] == ["a.tif"]


def test_a_cog_is_moved_as_it_is(tmp_path: Path) -> None:
    plain = write_raster(tmp_path / "plain.tif", grid("uint16"), 676000, 5150000, nodata=0)
    copy(plain, tmp_path / "cog.tif", driver="COG", compress="LZW", blocksize=256)
    before = (tmp_path / "cog.tif").read_bytes()
    info = ensure_cog(tmp_path / "cog.tif", tmp_path / "a.tif", expect=TILE)
    assert not info.rewritten
    assert info.path.read_bytes() == before


@pytest.mark.parametrize(
    ("dtype", "declared", "kept"),
    [("int64", str(-(1 << 63)), -(1 << 63)), ("uint64", str((1 << 64) - 1), (1 << 64) - 1), ("uint16", "0.5", None)],
)
def test_a_nodata_value_is_kept_to_the_bit_where_a_tile_is_cut(
    tmp_path: Path, dtype: str, declared: str, kept: int | None
) -> None:
    values = np.zeros((1, 220, 220), dtype)
    values[0, 0, :100] = kept or 0
    source = write_raster(tmp_path / "in.tif", values, 676000, 5150000)
    declare(source, declared)
    info = ensure_cog(source, tmp_path / "a.tif", expect=TILE)
    assert (info.nodata, info.valid) == (kept, 1 if kept is None else 1 - 100 / 40000)
    assert (read(info.path) == values[:, :200, :200]).all()


def test_large_rasters_get_overviews_and_classes_are_never_averaged(tmp_path: Path) -> None:
    values = np.where(np.indices((1, 1500, 1300)).sum(axis=0) % 2, 3, 9).astype("uint8")
    info = ensure_cog(write_raster(tmp_path / "in.tif", values, 0, 0), tmp_path / "a.tif", expect=None)
    assert (read(info.path) == values).all()
    with rasterio.open(info.path) as dataset:
        assert dataset.overviews(1)
    with rasterio.open(info.path, overview_level=0) as dataset:
        assert set(np.unique(dataset.read())) <= {3, 9}
    assert info.nodata is None and info.valid == 1


def test_more_than_the_tile_is_cut_off_on_real_pixels(tmp_path: Path, scene: Path) -> None:
    values = ndvi(scene)
    tile = TILES[6]
    for case, slack in (("whole scene", None), ("one pixel more", 1)):
        source = tmp_path / f"{case}.tif"
        if slack is None:
            with rasterio.open(scene) as dataset:
                write_raster(source, values, dataset.bounds.left, dataset.bounds.top)
        else:
            wider = np.pad(cut(scene, values, tile), slack, constant_values=7)
            write_raster(source, wider, tile.bounds.west - 10, tile.bounds.north + 10)
        with rasterio.open(source, "r+") as dataset:
            dataset.set_band_description(1, "NDVI")
        info = ensure_cog(source, tmp_path / "a.tif", expect=tile)
        assert read(info.path)[0].tobytes() == cut(scene, values, tile).tobytes()
        assert info.bands == ({"name": "NDVI", "data_type": "float32", "nodata": "nan"},)
        assert info.bounds == tile.bounds


def test_a_mask_survives_the_cut(tmp_path: Path) -> None:
    source = write_raster(tmp_path / "in.tif", np.full((220, 220), 5, "uint8"), 675900, 5150100, tiled=True)
    mask = np.full((220, 220), 255, "uint8")
    mask[10:110, 10:210] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(source, "r+") as dataset:
        dataset.write_mask(mask)
    info = ensure_cog(source, tmp_path / "a.tif", expect=TILE)
    with rasterio.open(info.path) as dataset:
        assert (dataset.dataset_mask() == mask[10:210, 10:210]).all()
    assert info.valid == 0.5


@pytest.mark.parametrize(
    ("what", "west", "north", "profile", "says"),
    [
        ("smaller", 676010, 5150000, {}, r"does not cover the tile.*\(676010, .*\(676000, 5148000, 678000, 5150000\)"),
        ("elsewhere", 700000, 5150000, {}, "does not cover the tile"),
        ("another CRS", 676000, 5150000, {"crs": "EPSG:32633"}, "another CRS.*EPSG:32633.*EPSG:32632"),
        ("off the lattice", 675995, 5150005, {"transform": Affine(10.1, 0, 675995, 0, -10.1, 5150005)}, "lattice"),
        ("half a pixel off", 675995, 5150005, {}, "lattice"),
        ("a third of a pixel off", 675996.7, 5150000, {}, "lattice"),
        ("a hundredth of a pixel off", 676000, 5150000.1, {}, "lattice"),
        ("south up", 676000, 5148000, {"transform": Affine(10, 0, 676000, 0, 10, 5148000)}, "north-up"),
        ("no CRS", 676000, 5150000, {"crs": None}, "no CRS"),
    ],
)
def test_refused(tmp_path: Path, what: str, west: float, north: float, profile: dict, says: str) -> None:
    source = write_raster(tmp_path / "in.tif", grid("uint16"), west, north, **profile)
    with pytest.raises(TileFailedError, match=says) as caught:
        ensure_cog(source, tmp_path / "a.tif", expect=TILE)
    assert caught.value.error_class is ErrorClass.OUTPUT
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.tif").exists()


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    source = write_raster(tmp_path / "in.tif", np.random.default_rng(0).random((1000, 1000)), 0, 0)
    os.truncate(source, source.stat().st_size - 1000)
    with pytest.raises(TileFailedError, match="last block"):
        ensure_cog(source, tmp_path / "a.tif", expect=None)
    page = tmp_path / "page.tif"
    page.write_text("<html>Gateway timeout</html>")
    with pytest.raises(TileFailedError, match="not a TIFF"):
        ensure_cog(page, tmp_path / "a.tif", expect=None)
    # a VRT would make GDAL read any file of this machine
    vrt = tmp_path / "vrt.tif"
    vrt.write_text(f'<VRTDataset rasterXSize="1" rasterYSize="1"><x>{source}</x></VRTDataset>')
    with pytest.raises(TileFailedError, match="not a TIFF"):
        ensure_cog(vrt, tmp_path / "a.tif", expect=None)


def test_a_sidecar_file_changes_nothing(tmp_path: Path) -> None:
    source = write_raster(tmp_path / "in.tif", grid("uint16", 1), 676000, 5150000, nodata=0)
    aux = "<PAMDataset><PAMRasterBand band='1'><NoDataValue>7</NoDataValue></PAMRasterBand></PAMDataset>"
    Path(f"{source}.aux.xml").write_text(aux)
    assert ensure_cog(source, tmp_path / "a.tif", expect=TILE).nodata == 0


def test_float_noise_of_a_platform_is_no_offset(tmp_path: Path) -> None:
    transform = Affine(10, 0, 676000 + 1e-6, 0, -10, 5150000 - 1e-6)
    source = write_raster(tmp_path / "in.tif", grid("uint16"), 0, 0, transform=transform, nodata=0)
    assert ensure_cog(source, tmp_path / "a.tif", expect=TILE).bounds == TILE.bounds


def test_a_transparent_tile_has_no_valid_pixel(tmp_path: Path) -> None:
    values = np.zeros((4, 200, 200), "uint8")
    values[3, :50] = 255
    for opaque, expected in ((True, 0.25), (False, 0.0)):
        source = write_raster(
            tmp_path / "in.tif", values * opaque, 676000, 5150000, photometric="RGB", alpha="YES", tiled=True
        )
        assert ensure_cog(source, tmp_path / "a.tif", expect=TILE).valid == expected


@pytest.mark.parametrize("shape", [(1536, 1024), (768, 512)], ids=["its overview", "itself"])
def test_a_raster_that_is_one_block_wide_is_a_cog(shape: tuple[int, int], tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(1, 9, (1, *shape)).astype("uint8")
    info = ensure_cog(write_raster(tmp_path / "in.tif", values, 0, 0), tmp_path / "a.tif", expect=None)
    with rasterio.open(info.path) as dataset:
        assert (dataset.read() == values).all() and dataset.overviews(1)
