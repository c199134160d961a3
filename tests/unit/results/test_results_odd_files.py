"""Files whose headers say odd things: each is described as far as it can be, or refused in one line."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio import Affine

from tests.unit.results.results_helpers import TEMPORAL, TILES, outcome_of, write_raster
from upscaling.errors import ErrorClass, TileFailedError
from upscaling.model import FetchedAsset, Tile, TileJob
from upscaling.results.calendars import time_axis
from upscaling.results.formats import read_file
from upscaling.results.item import build_item

JobOf = Callable[[Tile], TileJob]
WEST, NORTH = 676000, 5150000
ONES = np.ones((200, 200), "uint8")


def built(job: TileJob, *assets: FetchedAsset) -> dict[str, Any]:
    item = build_item(job, outcome_of(*assets), temporal=TEMPORAL)
    json.dumps(item, allow_nan=False)
    return item


BOX = [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("column", "crs", "bounds", "odd"),
    [
        ({"bbox": BOX}, "EPSG:4326", tuple(BOX), False),
        ({"bbox": [1, 2, -9, 3, 4, 9], "crs": "EPSG:32632"}, "EPSG:32632", (1, 2, 3, 4), False),
        ({"bbox": BOX, "crs": None}, "", None, False),
        ({"crs": "OGC:CRS84"}, "", None, False),
        ({"bbox": [1, 2, 3]}, "", None, True),
        ({"bbox": ["a", 2, 3, 4]}, "", None, True),
        ({"bbox": BOX, "crs": {"type": "Nonsense"}}, "", None, True),
        ([], "", None, True),
        (None, "", None, True),
    ],
)
def test_geoparquet(tmp_path: Path, column: Any, crs: str, bounds: Any, odd: bool) -> None:
    table = pa.table({"geometry": [b""], "n": [1]})
    geo = json.dumps({"primary_column": "geometry", "columns": {"geometry": column}})
    pq.write_table(table.replace_schema_metadata({"geo": geo}), tmp_path / "a.parquet")
    facts = read_file(tmp_path / "a.parquet")
    assert (facts.crs, facts.bounds, bool(facts.notes)) == (crs, bounds, odd)
    assert facts.content["table:row_count"] == 1


@pytest.mark.parametrize(
    "geo", ["[]", "{", '{"primary_column": 3}', "[" * 100_000, '{"primary_column": "x", "columns": {"x": {}}}']
)
def test_geoparquet_with_broken_metadata(tmp_path: Path, geo: str) -> None:
    pq.write_table(pa.table({"n": [1]}).replace_schema_metadata({"geo": geo}), tmp_path / "a.parquet")
    facts = read_file(tmp_path / "a.parquet")
    assert facts.bounds is None and facts.notes == ("has metadata of GeoParquet that cannot be read",)


def test_json_that_is_too_deep(tmp_path: Path) -> None:
    for name in ("a.json", "a.geojson"):
        (tmp_path / name).write_text('{"a":' * 100_000)
        with pytest.raises(TileFailedError, match=r"nested too deeply|is not JSON"):
            read_file(tmp_path / name)


@pytest.mark.parametrize(
    ("values", "units", "calendar", "kind", "last"),
    [
        ([0, 31], "days since 2001-01-01", "standard", "temporal", "2001-02-01T00:00:00Z"),
        ([0, 1.5], "hours since 1970-1-1 00:00:0.0", "", "temporal", "1970-01-01T01:30:00Z"),
        ([0, 1], "days since 2001-01-01T00:00:00+01:00", "gregorian", "temporal", "2001-01-01T23:00:00Z"),
        ([0, 59], "days since 2000-01-01", "noleap", "temporal", "2000-03-01T00:00:00Z"),
        ([0, 59], "days since 2001-01-01", "360_day", "other", "2001-02-30T00:00:00Z"),
        ([0, 720], "days since 2000-02-30", "360_day", "other", "2002-02-30T00:00:00Z"),
        ([0, 59], "days since 2001-01-01", "all_leap", "other", "2001-02-29T00:00:00Z"),
        ([0, -1], "seconds since 2001-01-01", "360_day", "other", "2000-12-30T23:59:59Z"),
        ([0, 1], "days since 2001-01-01", "mayan", None, ""),
        ([0, 1], "days since 2001-02-31", "standard", None, ""),
        ([0, float("nan")], "days since 2001-01-01", "standard", None, ""),
        ([0, 1e300], "days since 2001-01-01", "noleap", None, ""),
        ([0, 1], "metres", "", None, ""),
    ],
)
def test_calendars(values: list[float], units: str, calendar: str, kind: str | None, last: str) -> None:
    axis = time_axis(values, units, calendar)
    assert (axis and (axis["type"], axis["values"][-1])) == (kind and (kind, last))


def write_netcdf(path: Path, *, west: float | None = None, calendar: str = "360_day") -> Path:
    """Write a netCDF file without a CRS: of one dimension, or with a raster at ``west``."""
    from scipy.io import netcdf_file

    with netcdf_file(path, "w") as file:
        file.createDimension("time", 3)
        time = file.createVariable("time", "f8", ("time",))
        time[:], time.units, time.calendar = [0, 30, 59], b"days since 2001-01-01", calendar.encode()
        dimensions: tuple[str, ...] = ("time",)
        if west is not None:
            for name, first, step in (("y", NORTH - 5, -10), ("x", west + 5, 10)):
                file.createDimension(name, 20)
                axis = file.createVariable(name, "f8", (name,))
                axis[:], axis.standard_name = first + step * np.arange(20), f"projection_{name}_coordinate".encode()
            dimensions = ("time", "y", "x")
        file.createVariable("ndvi", "f4", dimensions)[:] = 1
    return path


@pytest.mark.parametrize("west", [None, WEST])
@pytest.mark.parametrize("odd", [[0, np.nan, 2], [0, np.inf, 2], [np.nan] * 3])
def test_an_axis_with_numbers_that_json_has_not(job_of: JobOf, odd: list[float], west: float | None) -> None:
    from scipy.io import netcdf_file

    job = job_of(TILES[0])
    path = write_netcdf(job.scratch / "a.nc", west=west)
    with netcdf_file(path, "a") as file:
        file.variables["time"][:] = odd
    axis = built(job, FetchedAsset(path, "a"))["properties"]["cube:dimensions"]["time"]
    assert axis["values"] == [value if np.isfinite(value) else str(value) for value in odd]
    assert axis.get("extent") == ([0, max(filter(np.isfinite, odd))] if odd[0] == 0 else None)


@pytest.mark.parametrize(
    "axis", [[1, np.nan], [1j, 2], np.array([1, 2], "m8[D]"), np.array([], float), np.array([], "M8[ns]")]
)
def test_an_odd_axis_of_a_zarr_store(job_of: JobOf, axis: Any) -> None:
    import xarray as xr

    job = job_of(TILES[0])
    xr.Dataset({"m": (("q",), np.ones(len(axis)))}, {"q": axis}).to_zarr(
        job.scratch / "a.zarr", zarr_format=2, consolidated=True
    )
    item = built(job, FetchedAsset(job.scratch / "a.zarr", "a"))
    assert item["properties"]["cube:dimensions"]["q"]["type"] in {"other", "temporal"}


def test_a_crs_without_a_place_is_one_line(job_of: JobOf) -> None:
    for number, crs in enumerate(["+proj=longlat +R=1737400", 'LOCAL_CS["x",UNIT["metre",1]]']):
        job = job_of(TILES[0])
        path = write_raster(job.scratch / f"{number}.tif", ONES, 11, 46, crs=crs)
        with pytest.raises(TileFailedError, match="in a CRS that has no place on Earth"):
            build_item(job, outcome_of(FetchedAsset(path, "a")), temporal=TEMPORAL, exact=False)
    path = write_raster(job.scratch / "b.tif", ONES, 0, 0, transform=Affine(1e-300, 0, WEST, 0, -1e-300, NORTH))
    with pytest.raises(TileFailedError, match="has pixels of 1e-300"):
        build_item(job, outcome_of(FetchedAsset(path, "b")), temporal=TEMPORAL, exact=False)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_archive_is_one_line(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("x.txt", "hello world " * 500)
    whole = (tmp_path / "a.zip").read_bytes()
    for start in range(35, 65, 3):
        (tmp_path / "a.zip").write_bytes(bytes(byte ^ 0x5A * (start <= n < start + 9) for n, byte in enumerate(whole)))
        with pytest.raises(TileFailedError, match=r"a\.zip (cannot be read to the end|is damaged)"):
            read_file(tmp_path / "a.zip")


def test_texts_with_a_byte_order_mark_geometries_and_long_cells(tmp_path: Path) -> None:
    outline = '{"type": "Polygon", "coordinates": [[[11, 46], [12, 46], [12, 47], [11, 46]]]}'
    (tmp_path / "a.geojson").write_text(outline, encoding="utf-8-sig")
    assert read_file(tmp_path / "a.geojson").bounds == (11, 46, 12, 47)
    (tmp_path / "b.geojson").write_text('{"type": "GeometryCollection", "geometries": []}')
    assert read_file(tmp_path / "b.geojson").bounds is None
    (tmp_path / "a.json").write_text('{"a": 1}', encoding="utf-8-sig")
    read_file(tmp_path / "a.json")
    (tmp_path / "a.csv").write_text(f"a,outline\n1,{'x' * 200_000}\n")
    assert read_file(tmp_path / "a.csv").content["table:row_count"] == 1


def test_a_netcdf_file_of_one_dimension(tmp_path: Path) -> None:
    content = read_file(write_netcdf(tmp_path / "a.nc")).content
    assert content["cube:variables"]["ndvi"]["dimensions"] == ["time"]
    assert content["cube:dimensions"]["time"]["values"][-1] == "2001-02-30T00:00:00Z"
    (tmp_path / "b.nc").write_bytes(b"no netCDF")
    with pytest.raises(TileFailedError, match="is neither netCDF nor HDF5"):
        read_file(tmp_path / "b.nc")


@pytest.mark.parametrize(
    ("west", "stated", "words"),
    [
        (WEST, {}, "does not say its CRS"),
        (WEST, {"proj:code": "EPSG:32632", "proj:bbox": [WEST, NORTH - 200, WEST + 200, NORTH]}, ""),
        (WEST, {"bbox": [11.28, 46.46, 11.3, 46.49]}, ""),
        (WEST + 50_000, {"proj:code": "EPSG:32632", "proj:bbox": [WEST, NORTH - 200, WEST + 200, NORTH]}, "elsewhere"),
        (WEST, {"proj:epsg": 32632, "proj:bbox": [WEST + 50_000, NORTH - 200, WEST + 50_200, NORTH]}, "elsewhere"),
        (WEST, {"bbox": [12.28, 46.46, 0, 12.3, 46.49, 9]}, "elsewhere"),
    ],
)
def test_a_cube_without_a_crs(job_of: JobOf, west: float, stated: dict[str, Any], words: str) -> None:
    job = job_of(TILES[0])
    asset = FetchedAsset(write_netcdf(job.scratch / "a.nc", west=west), "a.nc", stated=stated)
    if words == "elsewhere":
        with pytest.raises(TileFailedError, match="lies elsewhere than tile"):
            built(job, asset)
        return
    unchecked = built(job, asset)["properties"].get("upscaling:unchecked", [])
    assert [words in line for line in unchecked] == [True] * bool(words)


@pytest.mark.parametrize("pixel", [float("nan"), 1e300, float("inf")])
def test_pixels_without_a_size(job_of: JobOf, pixel: float) -> None:
    job = job_of(TILES[0])
    path = write_raster(job.scratch / "a.tif", ONES, 0, 0, transform=(pixel, 0.0, WEST, 0.0, -10.0, NORTH))
    with pytest.raises(TileFailedError, match=r"a\.tif (has pixels of|cannot be read|is rotated)") as caught:
        built(job, FetchedAsset(path, "a"))
    assert caught.value.error_class is ErrorClass.OUTPUT


def test_more_bands_than_can_be_read(job_of: JobOf) -> None:
    job = job_of(TILES[0])
    shape = {"driver": "GTiff", "width": 200, "height": 200, "count": 20_000, "dtype": "float64", "SPARSE_OK": "TRUE"}
    shape |= {
        "crs": "EPSG:32632",
        "transform": rasterio.Affine(10, 0, WEST, 0, -10, NORTH),
        "tiled": True,
        "BIGTIFF": "YES",
    }
    with rasterio.open(job.scratch / "a.tif", "w", **shape, blockxsize=256, blockysize=256):
        pass
    with pytest.raises(TileFailedError, match=r"a\.tif has 20000 bands"):
        built(job, FetchedAsset(job.scratch / "a.tif", "a"))


def test_a_compound_crs_counts_by_its_horizontal_part(job_of: JobOf) -> None:
    job = job_of(TILES[0])
    path = write_raster(job.scratch / "a.tif", ONES, WEST, NORTH, crs="EPSG:32632+5773")
    item = built(job, FetchedAsset(path, "a"))
    assert item["properties"]["proj:code"] == "EPSG:32632"
    assert item["properties"]["upscaling:left_out"] == [
        "a: EGM96 height, the vertical CRS: a COG keeps the horizontal one"
    ]


def test_a_scale_that_is_no_number(job_of: JobOf) -> None:
    job = job_of(TILES[0])
    path = write_raster(job.scratch / "a.tif", ONES, WEST, NORTH)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (float("nan"),), (float("inf"),)
    item = built(job, FetchedAsset(path, "a"))
    assert item["assets"]["a"]["bands"] == [{"name": "b1", "data_type": "uint8"}]
    assert len(item["properties"]["upscaling:unchecked"]) == 2


@pytest.mark.parametrize(
    ("theirs", "names", "words"),
    [
        (("B02", "B03"), ["B02", "B03"], ""),
        (("B03", "B02"), ["B02", "B03"], "the file has B02, B03: the file counts"),
        (("B02", "X"), ["B02", "X"], "the file has B02, B03"),
        (("red", "green"), ["red", "green"], ""),
        ((), ["B02", "B03"], ""),
    ],
)
def test_bands_are_named_as_they_lie_in_the_file(job_of: JobOf, theirs: Any, names: list[str], words: str) -> None:
    job = job_of(TILES[0])
    path = write_raster(job.scratch / "a.tif", np.stack([ONES, ONES]), WEST, NORTH)
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("B02", "B03")
    bands = tuple({"name": name, "description": f"this is {name}"} for name in theirs)
    item = built(job, FetchedAsset(path, "a", bands=bands))
    found = item["assets"]["a"]["bands"]
    assert [band["name"] for band in found] == names
    assert all(band.get("description", f"this is {band['name']}") == f"this is {band['name']}" for band in found)
    assert [words in line for line in item["properties"].get("upscaling:unchecked", [])] == [True] * bool(words)
