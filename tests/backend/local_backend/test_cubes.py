"""Reading scenes that do not share one pixel lattice, and what is asked of extents."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from upscaling.errors import ConfigError
from upscaling.local_backend.collections import load_data
from upscaling.local_backend.cubes import load_cube
from upscaling.local_backend.data import Collection
from upscaling.local_backend.errors import ProcessError

from .conftest import box


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # rioxarray on affine
        yield


def write(path: Path, values: np.ndarray, step: float, west: float, north: float, epsg: int, nodata: Any = 0) -> None:
    profile = {"count": 1, "height": values.shape[0], "width": values.shape[1], "dtype": values.dtype, "nodata": nodata}
    transform = rasterio.Affine(step, 0, west, 0, -step, north)
    with rasterio.open(path, "w", driver="GTiff", crs=f"EPSG:{epsg}", transform=transform, **profile) as target:
        target.write(values, 1)


def collection(folder: Path, *items: dict[str, Any]) -> Collection:
    (folder / "data.yaml").write_text(json.dumps({"collections": {"C": {"items": list(items)}}}))
    return load_data(folder / "data.yaml")["C"]


TIME = "2022-06-01T10:00:00Z"
FINE = np.arange(1, 37, dtype="uint16").reshape(6, 6)
COARSE = np.arange(101, 110, dtype="uint16").reshape(3, 3)


def test_bands_of_two_resolutions_share_the_finer_lattice(tmp_path: Path) -> None:
    write(tmp_path / "b04.tif", FINE, 10, 600000, 5000060, 32632)
    write(tmp_path / "b11.tif", COARSE, 20, 600000, 5000060, 32632)
    made = collection(
        tmp_path,
        {"file": "b11.tif", "datetime": TIME, "bands": ["B11"]},
        {"file": "b04.tif", "datetime": TIME, "bands": ["B04"]},
    )
    cube = load_cube(made, spatial_extent=box(600010, 5000010, 600050, 5000050), bands=["B04", "B11"])
    np.testing.assert_array_equal(cube.values[0], [FINE[1:5, 1:5], COARSE.repeat(2, 0).repeat(2, 1)[1:5, 1:5]])


@pytest.mark.parametrize("nodata", [0, None])
def test_an_extent_in_the_crs_of_one_zone_is_on_its_lattice(tmp_path: Path, nodata: int | None) -> None:
    """Scenes of two UTM zones: the one of the other zone is warped, its outside stays no-data."""
    constant = np.full((400, 400), 7, "uint16")
    write(tmp_path / "z33.tif", constant, 10, 299000, 5003000, 32633, nodata)
    write(tmp_path / "z32.tif", constant + 1, 10, 500000, 5003000, 32632, nodata)
    made = collection(
        tmp_path,
        {"file": "z32.tif", "datetime": TIME, "bands": ["B04"]},
        {"file": "z33.tif", "datetime": TIME, "bands": ["B04"]},
    )
    from pyproj import Transformer

    x, y = Transformer.from_crs(32633, 32632, always_xy=True).transform(299000 + 2000, 5003000 - 2000)
    west, south = 10 * round(x / 10), 10 * round(y / 10)
    cube = load_cube(made, spatial_extent=box(west, south, west + 5000, south + 100))
    assert cube.rio.crs.to_epsg() == 32632
    assert cube.rio.transform().almost_equals(rasterio.Affine(10, 0, west, 0, -10, south + 100))
    assert (cube.values[..., 0] == 7).all()  # in the middle of the scene of zone 33
    assert np.isnan(cube.values[..., -1]).all()  # outside both
    assert set(np.unique(cube.values[~np.isnan(cube.values)])) == {7}


def test_wide_integers_keep_their_values(tmp_path: Path) -> None:
    values = np.array([[16777217, -2147483648], [5, 0]], "int32")
    write(tmp_path / "wide.tif", values, 10, 600000, 5000060, 32632)
    cube = load_cube(collection(tmp_path, {"file": "wide.tif", "datetime": TIME, "bands": ["N"]}))
    np.testing.assert_array_equal(cube.values.squeeze(), [[16777217, -2147483648], [5, np.nan]])


@pytest.mark.parametrize(
    "crs",
    [32632, "EPSG:32632", None],
)
def test_spellings_of_a_crs(tmp_path: Path, crs: Any) -> None:
    from pyproj import CRS

    write(tmp_path / "b04.tif", FINE, 10, 600000, 5000060, 32632)
    made = collection(tmp_path, {"file": "b04.tif", "datetime": TIME, "bands": ["B04"]})
    wanted = box(600010, 5000010, 600030, 5000040, crs or CRS.from_epsg(32632).to_wkt())
    np.testing.assert_array_equal(load_cube(made, spatial_extent=wanted).values.squeeze(), FINE[2:5, 1:3])


def test_a_cube_that_cannot_fit_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "b04.tif", FINE, 10, 600000, 5000060, 32632)
    made = collection(tmp_path, {"file": "b04.tif", "datetime": TIME, "bands": ["B04"]})
    with pytest.raises(ProcessError, match="use smaller tiles") as refused:
        load_cube(made, spatial_extent=box(0, 0, 900000, 9000000))
    assert refused.value.code == "CubeTooLarge"


def test_a_stac_catalogue_is_served_by_its_collections(tmp_path: Path) -> None:
    import pystac

    write(tmp_path / "b04.tif", FINE, 10, 600000, 5000060, 32632)
    catalogue = pystac.Catalog("top", "top")
    extent = pystac.Extent(pystac.SpatialExtent([[10, 45, 11, 46]]), pystac.TemporalExtent([[None, None]]))
    inner = pystac.Collection("INNER", "inner", extent)
    catalogue.add_child(inner)
    item = pystac.Item("june", None, None, pystac.utils.str_to_datetime(TIME), {"eo:cloud_cover": 3})
    item.add_asset("B04", pystac.Asset(str(tmp_path / "b04.tif"), media_type=pystac.MediaType.COG))
    item.add_asset("preview", pystac.Asset(str(tmp_path / "none.tif"), roles=["thumbnail"]))
    inner.add_item(item)
    catalogue.normalize_and_save(str(tmp_path / "stac"), pystac.CatalogType.SELF_CONTAINED)
    collections = load_data(tmp_path / "stac" / "catalog.json")
    assert list(collections) == ["INNER"]
    assert collections["INNER"].metadata()["extent"]["temporal"]["interval"] == [["2022-06-01T10:00:00Z"] * 2]
    np.testing.assert_array_equal(load_cube(collections["INNER"], bands=["B04"]).values.squeeze(), FINE)
    (tmp_path / "b04.tif").unlink()
    with pytest.raises(ConfigError, match=r"june\.json: asset B04: there is no file"):
        load_data(tmp_path / "stac" / "catalog.json")
