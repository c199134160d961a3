from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from rasterio.warp import transform as warp_points
from rio_cogeo.cogeo import cog_validate

from tests.unit.results.results_helpers import TILES, cut, ndvi, write_mosaic, write_raster
from upscaling.errors import UpscalingError
from upscaling.model import Bounds
from upscaling.results.bands import say_of_bands
from upscaling.results.mosaic import mosaic_parts
from upscaling.results.mosaic_cog import write_mosaic_cog
from upscaling.results.parts import Part
from upscaling.results.quicklook import write_quicklook

# a quicklook is a picture: it has no place
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def collection_of(folder: Path, tiles: list[tuple[str, Path, dict[str, Any]]]) -> Path:
    """Just what a mosaic reads of a collection."""
    links = []
    for tile, path, facts in tiles:
        item = {"id": tile, "geometry": None, "properties": facts, "assets": {"data": {"href": f"./{path.name}"}}}
        (path.parent / "item.json").write_text(json.dumps(item))
        links.append({"rel": "item", "href": f"./tiles/{tile}/item.json"})
    (folder / "collection.json").write_text(json.dumps({"links": links}))
    return folder / "collection.json"


def facts(crs: str, bounds: tuple[float, ...], pixel: float = 10) -> dict[str, Any]:
    transform = [pixel, 0, bounds[0], 0, -pixel, bounds[3]]
    return {"proj:code": crs, "proj:bbox": list(bounds), "proj:transform": transform}


@pytest.fixture
def real(tmp_path: Path, scene: Path) -> Path:
    run = tmp_path / "run"
    done = []
    for tile in TILES:
        path = run / "tiles" / tile.id / "a.tif"
        write_raster(path, cut(scene, ndvi(scene), tile), tile.bounds.west, tile.bounds.north, nodata=np.nan)
        done.append((tile.id, path, facts(tile.crs, tile.bounds)))
    return collection_of(run, done)


def test_mosaic_equals_the_scene_also_from_another_place(real: Path, scene: Path, tmp_path: Path) -> None:
    mosaic = write_mosaic(real, real.parent / "mosaic" / "data.gti.gpkg", asset="data")
    with rasterio.open(scene) as dataset:
        column, row = round((676000 - dataset.bounds.left) / 10), round((dataset.bounds.top - 5154000) / 10)
    expected = ndvi(scene)[row : row + 600, column : column + 800]
    shutil.move(real.parent, tmp_path / "moved")
    mosaic = tmp_path / "moved" / "mosaic" / mosaic.name
    with rasterio.open(mosaic) as dataset:
        assert dataset.crs.to_epsg() == 32632 and tuple(dataset.bounds) == (676000, 5148000, 684000, 5154000)
        assert np.array_equal(dataset.read(1), expected, equal_nan=True)
    cog = write_mosaic_cog(mosaic, tmp_path / "whole.tif")
    assert cog_validate(cog, strict=True, quiet=True)[0]
    with rasterio.open(cog) as dataset:
        assert np.array_equal(dataset.read(1), expected, equal_nan=True)
    picture = tmp_path / "quick.png"
    scale = write_quicklook(mosaic, picture, size=400)
    assert scale is not None and scale[0] <= scale[1]
    with rasterio.open(picture) as dataset:
        red, green, blue, alpha = dataset.read()
        assert dataset.shape == (300, 400)
    assert (alpha == 255).mean() > 0.99
    assert len(np.unique(np.stack([red, green, blue]).reshape(3, -1), axis=1).T) > 100


def test_a_missing_tile_is_no_data(real: Path, tmp_path: Path) -> None:
    links = json.loads(real.read_text())["links"]
    real.write_text(json.dumps({"links": [link for link in links if TILES[5].id not in link["href"]]}))
    mosaic = write_mosaic(real, real.parent / "data.gti.gpkg", asset="data")
    with rasterio.open(mosaic) as dataset:
        assert np.isnan(dataset.read(1, window=dataset.window(*TILES[5].bounds))).all()
    write_quicklook(mosaic, tmp_path / "quick.png", size=80)
    with rasterio.open(tmp_path / "quick.png") as dataset:
        assert dataset.read(4)[20:40, 20:40].max() == 0 and dataset.read(4).max() == 255


@pytest.mark.parametrize("crs", [None, "EPSG:3035", "EPSG:32632"])
def test_no_gap_across_a_zone_border_and_each_tiles_own_part_wins(tmp_path: Path, crs: str | None) -> None:
    from upscaling.area.aoi import read_aoi
    from upscaling.grids import get_grid

    tiles = get_grid("utm-10km").tiles(read_aoi([11.9, 46.45, 12.1, 46.5]))
    assert set(tiles["crs"]) == {"EPSG:32632", "EPSG:32633"}
    done = []
    for row in tiles.itertuples():
        path = tmp_path / "run" / "tiles" / row.tile_id / "a.tif"
        code = tiles.loc[row.Index, "crs"]
        values = np.full((200, 200), int(code[-2:]), "uint8")
        transform = rasterio.Affine(50, 0, row.xmin, 0, -50, row.ymax)
        write_raster(path, values, 0, 0, crs=code, transform=transform, nodata=0)
        done.append((row.tile_id, path, facts(code, (row.xmin, row.ymin, row.xmax, row.ymax), 50)))
    collection = collection_of(tmp_path / "run", done)
    owners = dict(zip(tiles.tile_id, tiles.owner_wkt, strict=True))
    mosaic = write_mosaic(collection, tmp_path / "run" / "data.gti.gpkg", asset="data", crs=crs, owners=owners)
    with rasterio.open(mosaic) as dataset:
        values = dataset.read(1)
        rows, columns = np.indices(values.shape)
        x = dataset.bounds.left + (columns + 0.5) * dataset.res[0]
        y = dataset.bounds.top - (rows + 0.5) * dataset.res[1]
        assert dataset.crs.to_string() == (crs or "EPSG:4326")
        lon, lat = np.array(warp_points(dataset.crs, "EPSG:4326", x.ravel(), y.ravel())).reshape(2, *values.shape)
    inside = (lon > 11.9) & (lon < 12.1) & (lat > 46.45) & (lat < 46.5)
    assert inside.sum() > 10_000
    assert not (values[inside] == 0).any(), "a gap"
    pixel = 75 / 76_000  # degrees of longitude of one and a half pixels
    assert (values[inside & (lon < 12 - pixel)] == 32).all()
    assert (values[inside & (lon > 12 + pixel)] == 33).all()


def described(path: Path) -> str:
    with rasterio.open(path) as dataset:
        names = ("profile", "descriptions", "units", "scales", "offsets", "colorinterp", "mask_flag_enums")
        facts = {name: getattr(dataset, name) for name in names}
        return repr((facts, [dataset.tags(band) for band in range(dataset.count + 1)]))


def test_without_room_for_a_staged_file_the_cog_is_the_same(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mosaic = write_mosaic(real, real.parent / "data.gti.gpkg", asset="data")
    say_of_bands(mosaic, [{"name": "ndvi", "unit": "1", "raster:scale": 0.5, "raster:offset": 2}])
    staged = write_mosaic_cog(mosaic, tmp_path / "staged.tif")
    assert not caplog.records
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=5_000_000))  # 5.8 MB are needed
    with caplog.at_level("INFO"):
        direct = write_mosaic_cog(mosaic, tmp_path / "direct.tif")
    assert "staging needs 0.0 GB" in caplog.text and str(tmp_path) in caplog.text
    assert described(direct) == described(staged) and "'descriptions': ('ndvi',)" in described(staged)
    for level in (None, 0):
        with rasterio.open(direct, overview_level=level) as one, rasterio.open(staged, overview_level=level) as other:
            assert np.array_equal(one.read(), other.read(), equal_nan=True)


def test_the_staged_file_goes_when_the_disk_is_full_all_the_same(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mosaic = write_mosaic(real, real.parent / "data.gti.gpkg", asset="data")
    seen = []

    def full(dataset: Any, target: Path, **options: Any) -> None:
        seen.extend(path.name for path in tmp_path.glob(".whole*"))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("upscaling.results.mosaic_cog.copy", full)
    with pytest.raises(OSError, match="No space left"):
        write_mosaic_cog(mosaic, tmp_path / "whole.tif")
    assert any(name.endswith(".staged.tif") for name in seen)
    assert not list(tmp_path.glob("*whole*")) and not list(tmp_path.glob(".whole*"))


def as_vrt(path: Path) -> str:
    with MemoryFile(ext=".vrt") as memory:
        copy(path, memory.name, driver="VRT")
        return memory.read().decode()


def test_the_lowest_64_bit_integer_is_no_data_in_the_cog_too(tmp_path: Path) -> None:
    lowest = -(1 << 63)  # rasterio writes it as -9, GDAL as it is
    values = np.array([[lowest, lowest + 1], [-9, 7]])
    plain = write_raster(tmp_path / "plain.tif", values, 0, 20)
    view = tmp_path / "view.vrt"
    view.write_text(as_vrt(plain).replace("<ColorInterp", f"<NoDataValue>{lowest}</NoDataValue><ColorInterp"))
    copy(view, tmp_path / "tile.tif", driver="GTiff")
    part = Part(
        "t", "t", tmp_path / "tile.tif", "EPSG:32632", Bounds(0, 0, 20, 20), (10, 10), bands=(("int64", lowest),)
    )
    cog = write_mosaic_cog(mosaic_parts([part], tmp_path / "data.gti.gpkg"), tmp_path / "whole.tif")
    assert f"<NoDataValue>{lowest}</NoDataValue>" in as_vrt(cog)
    with rasterio.open(cog) as dataset:
        assert (dataset.read(1) == values).all() and (dataset.read_masks(1) == [[0, 255], [255, 255]]).all()


def test_refused(real: Path, tmp_path: Path) -> None:
    with pytest.raises(UpscalingError, match=r"must be named \*\.gti\.gpkg"):
        write_mosaic(real, tmp_path / "a.gpkg", asset="data")
