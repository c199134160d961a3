"""Pixels through the whole back-end: what a client downloads equals numpy on the files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from rio_cogeo import cog_validate

from .conftest import SERIES_BOX, Backend, box, load, run, series, wait


def bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def result(node: dict) -> dict:
    return {"load": {**node, "result": True}}


def saved(node: dict, file_format: str, **options: str) -> dict:
    arguments = {"data": {"from_node": "load"}, "format": file_format, "options": options}
    return {"load": node, "save": {"process_id": "save_result", "arguments": arguments, "result": True}}


def floats() -> np.ndarray:
    values = series().astype("float32")
    values[values == 0] = np.nan
    return values


def test_max_ndvi_of_the_catalogue_is_numpy_to_the_bit(
    standing: Backend, scene: Path, max_ndvi, tmp_path: Path
) -> None:
    graph = max_ndvi(box(676000, 5150000, 678000, 5152000), ["2022-06-01", "2022-07-01"])
    (file,) = run(standing.connect(), graph, tmp_path)
    with rasterio.open(scene) as source:
        pixels = source.read(window=rasterio.windows.from_bounds(676000, 5150000, 678000, 5152000, source.transform))
    red, nir = pixels[0].astype("float32"), pixels[3].astype("float32")
    with rasterio.open(file) as source:
        assert source.transform == rasterio.Affine(10, 0, 676000, 0, -10, 5152000)
        assert (source.crs.to_epsg(), source.dtypes, source.width, source.height) == (32632, ("float32",), 200, 200)
        assert np.isnan(source.nodata)
        np.testing.assert_array_equal(bits(source.read(1)), bits((nir - red) / (nir + red)))
    assert cog_validate(file)[0]


def test_extent_over_the_edge_is_covered_whole_on_the_lattice(standing: Backend, scene: Path, tmp_path: Path) -> None:
    """The scene begins at 674990, 5154960; the corner asked for lies 2 km outside, and between pixels."""
    extent = box(673004, 5154003, 676001, 5156007)
    (file,) = run(standing.connect(), result(load("SENTINEL2_L2A", extent, bands=["B08", "B02"])), tmp_path)
    with rasterio.open(file) as source:
        assert tuple(source.bounds) == (673000, 5154000, 676010, 5156010)
        assert source.descriptions == ("B08", "B02")
        got = source.read()
    expected = np.full((2, 201, 301), np.nan, "float32")
    with rasterio.open(scene) as source:
        expected[:, 105:, 199:] = source.read([4, 3], window=((0, 96), (0, 102)))
    expected[expected == 0] = np.nan
    np.testing.assert_array_equal(got, expected)


def test_time_is_half_open_and_files_of_one_time_are_mosaicked(standing: Backend, tmp_path: Path) -> None:
    time = ["2022-06-01T10:00:00Z", "2022-08-01T10:00:00Z"]
    files = run(standing.connect(), result(load("SERIES", SERIES_BOX, time, bands=["SCL", "B04"])), tmp_path)
    assert [file.name for file in files] == ["openEO_2022-06-01Z.tif", "openEO_2022-07-01Z.tif"]
    for file, expected in zip(files, floats()[:2, [2, 0]], strict=True):
        with rasterio.open(file) as source:
            np.testing.assert_array_equal(source.read(), expected)


def test_open_ends_dates_and_cloud_cover(standing: Backend, tmp_path: Path) -> None:
    """August is too cloudy, July says nothing of clouds and is kept."""
    low = {"lte": {"process_id": "lte", "arguments": {"x": {"from_parameter": "value"}, "y": 50}, "result": True}}
    node = load("SERIES", SERIES_BOX, ["2022-06-02", None], properties={"eo:cloud_cover": {"process_graph": low}})
    assert [file.name for file in run(standing.connect(), result(node), tmp_path)] == ["openEO_2022-07-01Z.tif"]


def test_lonlat_extent_holds_every_pixel_that_it_touches(standing: Backend, tmp_path: Path) -> None:
    from pyproj import Transformer

    extent = box(11.30, 46.48, 11.32, 46.50, None)
    (file,) = run(standing.connect(), result(load("SENTINEL2_L2A", extent, bands=["B04"])), tmp_path)
    edge = np.linspace(0, 1, 500)
    west, south, east, north = 11.30, 46.48, 11.32, 46.50
    lon = np.concatenate([west + edge * (east - west)] * 2 + [np.full(500, west), np.full(500, east)])
    lat = np.concatenate([np.full(500, south), np.full(500, north)] + [south + edge * (north - south)] * 2)
    x, y = Transformer.from_crs(4326, 32632, always_xy=True).transform(lon, lat)
    with rasterio.open(file) as source:
        expected = [np.floor(x.min() / 10), np.floor(y.min() / 10), np.ceil(x.max() / 10), np.ceil(y.max() / 10)]
        assert list(source.bounds) == [10 * edge for edge in expected]


def test_geojson_extent_is_no_data_outside(standing: Backend, tmp_path: Path) -> None:
    triangle = [[600000, 5000000], [600500, 5000000], [600000, 5000400], [600000, 5000000]]
    extent = {"type": "Polygon", "coordinates": [triangle], "crs": {"properties": {"name": "EPSG:32632"}}}
    time = ["2022-07-01", "2022-07-02"]
    (file,) = run(standing.connect(), result(load("SERIES", extent, time, bands=["B04"])), tmp_path)
    rows, columns = np.mgrid[0:40, 0:50]
    inside = (columns + 0.5) / 50 + (39 - rows + 0.5) / 40 <= 1
    expected = np.where(inside, floats()[1, 0], np.nan)
    with rasterio.open(file) as source:
        got = source.read(1)
    on_edge = np.isclose((columns + 0.5) / 50 + (39 - rows + 0.5) / 40, 1)
    np.testing.assert_array_equal(got[~on_edge], expected[~on_edge])


def test_local_stac_collection_equals_the_files(standing: Backend, collections: Path, tmp_path: Path) -> None:
    import pystac

    extent = pystac.Extent(pystac.SpatialExtent([[10, 45, 11, 46]]), pystac.TemporalExtent([[None, None]]))
    collection = pystac.Collection("made", "made", extent)
    item = pystac.Item("june", None, None, pystac.utils.str_to_datetime("2022-06-01T10:00:00Z"), {})
    asset = pystac.Asset(str(collections.parent / "june.tif"), media_type="image/tiff; application=geotiff")
    asset.extra_fields["bands"] = [{"name": name} for name in ("B04", "B08", "SCL")]
    item.add_asset("data", asset)
    collection.add_item(item)
    collection.normalize_and_save(str(tmp_path / "stac"), pystac.CatalogType.SELF_CONTAINED)
    node = {
        "process_id": "load_stac",
        "arguments": {
            "url": str(tmp_path / "stac" / "collection.json"),
            "bands": ["SCL"],
            "spatial_extent": SERIES_BOX,
        },
    }
    (file,) = run(standing.connect(), result(node), tmp_path / "out")
    with rasterio.open(file) as source:
        np.testing.assert_array_equal(source.read(), floats()[0, [2]])


def test_netcdf_is_numpy_and_a_collection_again(backend: Backend, tmp_path: Path) -> None:
    """What is saved as netCDF can be served as a collection, with its times."""
    (file,) = run(backend.connect(), saved(load("SERIES", SERIES_BOX), "netCDF", filename_prefix="tile-7"), tmp_path)
    assert file.name == "tile-7.nc"
    with xr.open_dataset(file) as content:
        values = content[["B04", "B08", "SCL"]].to_dataarray("bands").transpose("t", "bands", "y", "x")
        np.testing.assert_array_equal(values, floats())
    backend.stop()
    backend.data = tmp_path / "again.yaml"
    backend.data.write_text(json.dumps({"collections": {"AGAIN": {"items": [{"file": file.name}]}}}))
    backend.start()
    files = run(
        backend.connect(), result(load("AGAIN", SERIES_BOX, ["2022-07-01", None], bands=["B08"])), tmp_path / "out"
    )
    assert [file.name for file in files] == ["openEO_2022-07-01Z.tif", "openEO_2022-08-01Z.tif"]
    for file, expected in zip(files, floats()[1:, 1], strict=True):
        with rasterio.open(file) as source:
            np.testing.assert_array_equal(source.read(1), expected)


def test_means_over_polygons_as_csv(standing: Backend, tmp_path: Path) -> None:
    ring = [[600100, 5000100], [600200, 5000100], [600200, 5000200], [600100, 5000200], [600100, 5000100]]
    shapes = {"type": "Polygon", "coordinates": [ring], "crs": {"properties": {"name": "EPSG:32632"}}}
    mean = {"mean": {"process_id": "mean", "arguments": {"data": {"from_parameter": "data"}}, "result": True}}
    arguments = {"data": {"from_node": "load"}, "geometries": shapes, "reducer": {"process_graph": mean}}
    graph = saved(load("SERIES", SERIES_BOX, bands=["B04"]), "CSV")
    graph["zones"] = {"process_id": "aggregate_spatial", "arguments": arguments}
    graph["save"]["arguments"]["data"] = {"from_node": "zones"}
    (file,) = run(standing.connect(), graph, tmp_path)
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [row["t"] for row in rows] == ["2022-06-01T10:00:00Z", "2022-07-01T10:00:00Z", "2022-08-01T10:00:00Z"]
    np.testing.assert_allclose(
        [float(row["B04"]) for row in rows], floats()[:, 0, 20:30, 10:20].mean((1, 2)), rtol=1e-6
    )


def test_result_documents_of_both_versions(standing: Backend, tmp_path: Path) -> None:
    import requests

    connection = standing.connect()
    job = connection.create_job(result(load("SERIES", SERIES_BOX)))
    job.start()
    wait(job)
    new = connection.get(f"/jobs/{job.job_id}/results").json()
    assert (new["type"], set(new["assets"])) == ("Collection", {f"openEO_2022-0{m}-01Z.tif" for m in (6, 7, 8)})
    items = [requests.get(link["href"], timeout=60).json() for link in new["links"] if link["rel"] == "item"]
    assert {item["properties"]["datetime"] for item in items} == {f"2022-0{m}-01T10:00:00Z" for m in (6, 7, 8)}
    for asset in (asset for item in items for asset in item["assets"].values()):
        whole = requests.get(asset["href"], timeout=60).content
        assert len(whole) == asset["file:size"]
        part = requests.get(asset["href"], headers={"Range": "bytes=10-29"}, timeout=60)
        assert (part.status_code, part.content) == (206, whole[10:30])
    assert requests.get(asset["href"].replace("expires=", "expires=9"), timeout=60).status_code == 403
    assert len([link for link in new["links"] if link["rel"] == "derived_from"]) == 4
    token = {"Authorization": connection.auth(requests.Request()).headers["Authorization"]}
    old = requests.get(f"{standing.url}/openeo/1.0/jobs/{job.job_id}/results", headers=token, timeout=60).json()
    assert (old["type"], set(old["assets"])) == ("Feature", set(new["assets"]))


def test_synchronous_result(backend: Backend, tmp_path: Path) -> None:
    connection = backend.connect()
    connection.download(saved(load("SERIES", SERIES_BOX, bands=["B08"]), "netCDF"), tmp_path / "out.nc")
    with xr.open_dataset(tmp_path / "out.nc") as content:
        np.testing.assert_array_equal(content["B08"].values, floats()[:, 1])
    assert connection.list_jobs() == []
    assert list((backend.root / "jobs").iterdir()) == []


@pytest.mark.parametrize(
    ("node", "code", "words"),
    [
        (load("SERIES", box(700000, 5000000, 700100, 5000100)), "NoDataAvailable", "has no data for"),
        (load("SERIES", SERIES_BOX, ["2023-01-01", None]), "NoDataAvailable", "has no data for"),
        (
            load("SERIES", box(600000, 5000360, 600040, 5000400), ["2022-06-01", "2022-06-02"]),
            "NoDataAvailable",
            "no-data",
        ),
        (load("SERIES", SERIES_BOX, bands=["B99"]), "BandNotFound", "no band B99; it has B04, B08, SCL"),
        (load("LANDSAT", SERIES_BOX), "CollectionNotFound", "'LANDSAT'; there are: SENTINEL2_L2A, SERIES"),
        (load("SERIES", SERIES_BOX, ["2022-07-01", "2022-06-01"]), "TemporalExtentEmpty", "ends before it starts"),
        (load("SERIES", {"west": 1}), "SpatialExtentInvalid", "cannot be read"),
        ({"process_id": "run_udf", "arguments": {}}, "ProcessUnsupported", "no process 'run_udf'"),
        ({"process_id": "add", "arguments": {"x": 1, "z": 2}}, "ProcessParameterUnsupported", "no parameter z"),
    ],
)
def test_a_failing_graph_says_why(standing: Backend, node: dict, code: str, words: str) -> None:
    connection = standing.connect()
    job = connection.create_job(result(node))
    job.start()
    assert wait(job) == "error"
    (entry,) = job.logs(level="error")
    assert entry["code"] == code
    assert words in entry["message"]
    assert entry["message"].startswith("node 'load' (process ")
    answer = connection.get(f"/jobs/{job.job_id}/results", check_error=False)
    assert (answer.status_code, answer.json()["code"]) == (424, code)


def test_empty_cubes_if_asked_for(standing: Backend, tmp_path: Path) -> None:
    graph = result(load("SERIES", box(700000, 5000000, 700100, 5000100), bands=["B04"]))
    (file,) = run(standing.connect(), graph, tmp_path, job_options={"allow_empty_cubes": True})
    with rasterio.open(file) as source:
        assert source.shape == (10, 10)
        assert np.isnan(source.read()).all()


def test_a_job_that_needs_more_memory_than_it_may_have(standing: Backend) -> None:
    connection = standing.connect()
    graph = result(load("SERIES", box(600000, 4990000, 610000, 5000400), bands=["B04"]))  # 1000 x 1040 x 3 x 4 bytes
    for memory, code in (("2m", "OutOfMemory"), ("256m", None), ("plenty", "JobOptionInvalid")):
        job = connection.create_job(graph, job_options={"executor-memory": memory, "executor-memoryOverhead": "1m"})
        job.start()
        wait(job)
        assert [entry["code"] for entry in job.logs(level="error")] == ([code] if code else []), memory


def test_json_of_a_number(standing: Backend, tmp_path: Path) -> None:
    graph = {"add": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": True}}
    (file,) = run(standing.connect(), graph, tmp_path)
    assert json.loads(file.read_text()) == 3
