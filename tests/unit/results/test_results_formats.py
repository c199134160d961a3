"""Results that are no GeoTIFF: read to the end, described, and a collection of them validates."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely

from tests.unit.results.results_helpers import RUN, TEMPORAL, TILES, outcome_of, write_raster
from upscaling.errors import TileFailedError
from upscaling.model import FetchedAsset, Tile, TileJob
from upscaling.publish.objects import Product
from upscaling.results.collection import CollectionMetadata, collect
from upscaling.results.formats import read_file
from upscaling.results.item import build_item
from upscaling.results.validate import validate_collection
from upscaling.util.files import write_json

JobOf = Callable[[Tile], TileJob]
KEYS = {tile.id: f"key-of-{tile.id}" for tile in TILES[:3]}


def write_cube(path: Path, tile: Tile) -> Path:
    """A CF netCDF of NDVI and a count over three days, as openEO platforms write them."""
    xr = pytest.importorskip("xarray")
    from pyproj import CRS

    x = tile.bounds.west + 5 + 10 * np.arange(200.0)
    y = tile.bounds.north - 5 - 10 * np.arange(200.0)
    values = np.random.default_rng(1).random((3, 200, 200), "float32")
    cube = xr.Dataset(
        {"ndvi": (("t", "y", "x"), values), "count": (("t", "y", "x"), (values * 9).astype("int16"))},
        {"t": pd.date_range("2022-06-01", periods=3), "y": y, "x": x, "crs": ((), 0, CRS.from_epsg(32632).to_cf())},
    )
    cube["x"].attrs["standard_name"], cube["y"].attrs["standard_name"] = (f"projection_{d}_coordinate" for d in "xy")
    for name in ("ndvi", "count"):
        cube[name].encoding["grid_mapping"] = "crs"
    cube.attrs["Conventions"] = "CF-1.8"
    if path.suffix == ".nc":
        cube.to_netcdf(path, engine="scipy", format="NETCDF3_64BIT")
    else:
        cube.to_zarr(path, zarr_format=2 if path.stem == "old" else 3, consolidated=path.stem == "old")
    return path


def write_series(path: Path, tile: Tile) -> Path:
    path.write_text("date,ndvi\n2022-06-01,0.5\n2022-06-11,0.6\n")
    return path


def write_fields(path: Path, tile: Tile) -> Path:
    west, south, *_ = tile.bounds
    outlines = [shapely.box(west + 100, south + 100, west + 900, south + 700), shapely.Point(west + 50, south + 60)]
    table = geopandas.GeoDataFrame({"crop": ["maize", "wheat"]}, geometry=outlines, crs=32632)
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        (table.to_crs(4326) if path.suffix == ".geojson" else table).to_file(path)
    return path


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("openEO.nc", write_cube),
        ("old.zarr", write_cube),
        ("new.zarr", write_cube),
        ("timeseries.csv", write_series),
        ("fields.fgb", write_fields),
        ("fields.geojson", write_fields),
        ("fields.parquet", write_fields),
    ],
)
def test_a_collection_of_nothing_else_validates(
    name: str, write: Callable[[Path, Tile], Path], job_of: JobOf, tmp_path: Path, shared_data: Path
) -> None:
    for tile in TILES[:3]:
        job = job_of(tile)
        asset = FetchedAsset(write(job.scratch / name, tile), name, title="result")
        write_json(job.folder / "item.json", build_item(job, outcome_of(asset), temporal=TEMPORAL))
    summary = collect(tmp_path / RUN, tiles=list(KEYS), keys=KEYS, metadata=CollectionMetadata(RUN, "Other", "Other."))
    assert summary.problems == ()
    assert validate_collection(summary.collection, shared_data / "stac_schemas") == []
    facts = geopandas.read_parquet(tmp_path / RUN / "items.parquet")
    assert len(facts) == 3

    item = json.loads((tmp_path / RUN / "tiles" / TILES[0].id / "item.json").read_text())
    (asset,) = item["assets"].values()
    properties = item["properties"]
    if name.endswith((".nc", ".zarr")):
        assert asset["proj:code"] == "EPSG:32632" and asset["proj:bbox"] == list(TILES[0].bounds)
        dimensions = properties["cube:dimensions"]
        assert dimensions["t"]["values"] == [f"2022-06-0{day}T00:00:00Z" for day in (1, 2, 3)]
        assert dimensions["x"]["extent"] == [TILES[0].bounds.west, TILES[0].bounds.east]
        assert dimensions["y"]["extent"] == [TILES[0].bounds.south, TILES[0].bounds.north]
        variables = properties["cube:variables"]
        assert {name: entry["data_type"] for name, entry in variables.items()} == {"ndvi": "float32", "count": "int16"}
        assert variables["ndvi"]["dimensions"] == ["t", "y", "x"]
        place = tmp_path / RUN / "tiles" / TILES[0].id / asset["href"]
        sent = {published.key for published in Product(tmp_path / RUN, "https://data.example").assets()}
        files = place.rglob("*") if place.is_dir() else [place]
        assert {str(path.relative_to(tmp_path / RUN)) for path in files if path.is_file()} <= sent
    else:
        assert properties["table:row_count"] == 2
        names = [column["name"] for column in properties["table:columns"]]
        assert names == (["date", "ndvi"] if name.endswith(".csv") else ["crop", "geometry"])


def test_a_damaged_store_and_one_with_links_are_found(tmp_path: Path, job_of: JobOf) -> None:
    store = write_cube(tmp_path / "a.zarr", TILES[0])
    content = read_file(store).content
    assert set(content["cube:variables"]) == {"ndvi", "count"}
    chunk = next(path for path in sorted((store / "ndvi" / "c").rglob("*")) if path.is_file())
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TileFailedError, match=r"a\.zarr cannot be read to the end"):
        read_file(store)
    chunk.unlink()
    chunk.symlink_to("/etc/passwd")
    with pytest.raises(TileFailedError, match="symbolic link"):
        read_file(store)
    (tmp_path / "empty.zarr").mkdir()
    (tmp_path / "empty.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    with pytest.raises(TileFailedError, match="no variable"):
        read_file(tmp_path / "empty.zarr")
    job = job_of(TILES[0])
    (job.scratch / "folder").mkdir()
    with pytest.raises(TileFailedError, match="is an empty folder"):
        build_item(job, outcome_of(FetchedAsset(job.scratch / "folder", "folder")), temporal=TEMPORAL)


@pytest.mark.parametrize("name", ["fields.fgb", "fields.gpkg", "fields.geojson", "fields.parquet", "a.csv", "a.zip"])
def test_files_that_were_cut_off_or_are_something_else_are_found(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "a.csv":
        path.write_text("a,b\n1,2\n3\n")
    elif name == "a.zip":
        path.write_bytes(b"PK\x03\x04 and then nothing")
    else:
        whole = write_fields(path, TILES[0]).read_bytes()
        assert read_file(path).content["table:row_count"] == 2
        path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(TileFailedError, match=name):
        read_file(path)
    path.write_bytes(b"")
    with pytest.raises(TileFailedError, match="is empty"):
        read_file(path)


@pytest.mark.parametrize("suffix", [".nc", ".h5", ".fgb", ".gpkg", ".geojson", ".parquet"])
def test_a_file_that_points_elsewhere_is_not_followed(suffix: str, tmp_path: Path) -> None:
    """GDAL knows a file by its content: a VRT under another name would be opened, and with it what it names."""
    write_raster(tmp_path / "secret.tif", np.ones((5, 5), "uint8"), 0, 0)
    source = tmp_path / f"innocent{suffix}"
    source.write_text(
        '<VRTDataset rasterXSize="5" rasterYSize="5"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{tmp_path}/secret.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(TileFailedError, match="innocent"):
        read_file(source)


def test_results_from_elsewhere_are_refused(job_of: JobOf) -> None:
    for name, exact in (("fields.fgb", True), ("fields.geojson", True), ("openEO.tif", False)):
        job, other = job_of(TILES[0]), TILES[-1]
        if name.endswith(".tif"):
            values = np.ones((200, 200), "uint8")
            path = write_raster(job.scratch / name, values, other.bounds.west, other.bounds.north)
        else:
            path = write_fields(job.scratch / name, other)
        with pytest.raises(TileFailedError, match=f"lies elsewhere than tile {TILES[0].id}"):
            build_item(job, outcome_of(FetchedAsset(path, name)), temporal=TEMPORAL, exact=exact)
