"""Python UDFs in each of their uses, against numpy; and windows and polygons that only they need."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import openeo
import pytest
import rasterio
import shapely
from tests.servers import served

from upscaling.local_backend.definitions import Definitions
from upscaling.local_backend.errors import ProcessError
from upscaling.local_backend.graphs import Evaluator
from upscaling.local_backend.processes import base_registry

from .conftest import Backend, box, series, wait
from .conftest import run as run_job
from .test_processes import callback, cube, given, node

HEAD = "import xarray\ndef apply_datacube(cube: xarray.DataArray, context: dict) -> xarray.DataArray:\n    "
VALUES = np.arange(2 * 3 * 4 * 5, dtype="float32").reshape(2, 3, 4, 5)


@pytest.fixture(scope="module")
def registry() -> dict[str, Callable[..., Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return base_registry(udf=True)


@pytest.fixture
def run(registry: dict[str, Callable[..., Any]]) -> Iterator[Callable[..., Any]]:
    def evaluate(graph: dict[str, Any], **values: Any) -> Any:
        return Evaluator(registry, Definitions({})).run(graph, values)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rioxarray on affine
        yield evaluate


def udf(code: str, data: str = "data", **more: Any) -> dict[str, Any]:
    """A callback that is one UDF."""
    return callback(only=node("run_udf", data=given(data), udf=code, runtime="Python", **more))


def one(process: str, /, **arguments: Any) -> dict[str, Any]:
    return {"only": node(process, data=given("data"), **arguments)}


def test_apply(run: Callable[..., Any]) -> None:
    made = run(
        one("apply", process=udf(f"{HEAD}return cube * context['factor']", "x", context={"factor": 3})),
        data=cube(VALUES),
    )
    np.testing.assert_array_equal(made.values, VALUES * 3)
    assert list(made["bands"].values) == ["B1", "B2", "B3"]


def test_packages_that_are_installed_here_are_there(run: Callable[..., Any]) -> None:
    """Named in the header or not: how a UDF comes to the runtime of a trained model."""
    code = (
        "# /// script\n# dependencies = ['scipy>=1']\n# ///\nfrom scipy import special\n"
        + HEAD
        + "return cube.copy(data=special.expit(cube.values))"
    )
    made = run(one("apply", process=udf(code, "x")), data=cube(VALUES))
    np.testing.assert_allclose(made.values, 1 / (1 + np.exp(-VALUES)), rtol=1e-6)


@pytest.mark.parametrize("how", ["cube.max('t')", "cube.max('t', keepdims=True)"])
def test_reduce_dimension(run: Callable[..., Any], how: str) -> None:
    made = run(one("reduce_dimension", reducer=udf(f"{HEAD}return {how}"), dimension="t"), data=cube(VALUES))
    assert made.dims == ("bands", "y", "x")
    np.testing.assert_array_equal(made.values, VALUES.max(axis=0))


def test_apply_dimension_sees_the_labels_and_names_new_ones(run: Callable[..., Any]) -> None:
    code = f"""{HEAD}index = cube.sel(bands='B2') - cube.sel(bands='B1')
    return xarray.concat([index, index * 2], 'bands').assign_coords(bands=['one', 'two'])"""
    made = run(one("apply_dimension", process=udf(code), dimension="bands"), data=cube(VALUES))
    assert made.dims == ("t", "bands", "y", "x")
    assert list(made["bands"].values) == ["one", "two"]
    index = VALUES[:, 1] - VALUES[:, 0]
    np.testing.assert_array_equal(made.values, np.stack([index, index * 2], axis=1))


def test_apply_neighborhood_gives_windows_of_one_size_with_their_margin(run: Callable[..., Any]) -> None:
    code = f"""{HEAD}assert cube.sizes['x'] == 4 and cube.sizes['y'] == 4
    return cube.rolling(x=3, center=True, min_periods=1).sum()"""
    size = [{"dimension": name, "value": 2, "unit": "px"} for name in ("x", "y")]
    overlap = [{"dimension": name, "value": 1, "unit": "px"} for name in ("x", "y")]
    made = run(one("apply_neighborhood", process=udf(code), size=size, overlap=overlap), data=cube(VALUES))
    padded = np.pad(VALUES, [(0, 0)] * 3 + [(1, 1)])
    np.testing.assert_array_equal(made.values, padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:])


def test_polygons(run: Callable[..., Any]) -> None:
    ring = [[600000, 5000360], [600020, 5000360], [600020, 5000400], [600000, 5000400], [600000, 5000360]]
    square = {"type": "Polygon", "coordinates": [ring], "crs": {"type": "name", "properties": {"name": "EPSG:32632"}}}
    code = f"{HEAD}return xarray.zeros_like(cube) + float(cube.max())"
    made = run(one("chunk_polygon", chunks=square, process=udf(code)), data=cube(VALUES))
    assert (made.values[..., :2] == VALUES[..., :2].max()).all()
    assert np.isnan(made.values[..., 2:]).all()
    with pytest.raises(ProcessError, match="a pixel lies in two of the polygons"):
        both = {"type": "GeometryCollection", "geometries": [square, square], "crs": square["crs"]}
        run(one("apply_polygon", geometries=both, process=udf(code)), data=cube(VALUES))


def test_over_a_whole_cube_a_vector_cube_and_features(run: Callable[..., Any]) -> None:
    ask = {"runtime": "Python"}
    made = run(one("run_udf", udf=f"{HEAD}return cube.mean('t')", **ask), data=cube(VALUES))
    np.testing.assert_allclose(made.values, VALUES.mean(axis=0))
    ring = [[600000, 5000360], [600020, 5000360], [600020, 5000400], [600000, 5000400], [600000, 5000360]]
    square = {"type": "Polygon", "coordinates": [ring], "crs": {"type": "name", "properties": {"name": "EPSG:32632"}}}
    means = {"mean": node("mean", data=given("data"))}
    graph = {
        "over": node("aggregate_spatial", False, data=given("data"), geometries=square, reducer=callback(**means)),
        "udf": node("run_udf", data={"from_node": "over"}, udf=f"{HEAD}return cube + 1", **ask),
    }
    found = run(graph, data=cube(VALUES))
    np.testing.assert_allclose(np.asarray(found).squeeze(), VALUES[..., :2].mean(axis=(2, 3)) + 1)
    count = """from openeo.udf import StructuredData, UdfData
def count(data: UdfData):
    data.set_structured_data_list([StructuredData(len(data.get_feature_collection_list()[0].data))])"""
    features = {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": {}, "geometry": square}] * 2,
    }
    assert run(one("run_udf", udf=count, **ask), data=features) == 2


@pytest.mark.parametrize(
    ("code", "more", "words"),
    [
        (f"{HEAD}return cube.attrs['B9']", {}, "line 3 of the UDF: KeyError: 'B9'"),
        ("def apply_datacube(", {}, "line 1 of the UDF: SyntaxError"),
        ("x = 1", {}, "No UDF found"),
        (f"import absent\n{HEAD}return cube", {}, "line 1 of the UDF: ModuleNotFoundError: No module named 'absent'"),
        (f"{HEAD}raise SystemExit(3)", {}, "line 3 of the UDF: SystemExit: 3"),
        ("# /// script\n# dependencies = ['no-such-thing>2']\n# ///\n", {}, "no-such-thing>2, which is not here"),
        (f"{HEAD}return cube.isel(y=slice(2))", {}, "returned 2 labels of 'y' for 4"),
        (f"{HEAD}return cube.max('y')", {}, "returned the dimensions t, bands, x; not t, bands, y, x"),
        (f"{HEAD}return cube", {"version": "2.7"}, "there is no Python '2.7', only 3"),
        ("https://elsewhere.example/udf.py", {}, "is not on this host"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(run: Callable[..., Any], code: str, more: dict[str, Any], words: str) -> None:
    with pytest.raises(ProcessError) as caught:
        run(one("apply", process=udf(code, "x", **more)), data=cube(VALUES))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_runtime_and_a_udf_that_does_not_end(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProcessError, match="no runtime 'R', only Python"):
        run(one("run_udf", udf="1", runtime="R"), data=cube(VALUES))
    monkeypatch.setattr("upscaling.local_backend.udf._SECONDS", 0.2)
    with pytest.raises(ProcessError, match=r"took longer than 0\.2 s"):
        run(one("run_udf", udf=f"{HEAD}\n    while True: pass", runtime="python"), data=cube(VALUES))


def test_nobody_runs_code_unless_the_operator_said_so() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ProcessError, match="no process 'run_udf'"):
            Evaluator(base_registry(), Definitions({})).run(one("apply", process=udf("1", "x")), {"data": cube(VALUES)})


def test_load_url_gives_features_of_this_host(run: Callable[..., Any], tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame({"name": ["a"]}, geometry=[shapely.box(600000, 5000360, 600020, 5000400)], crs=32632)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_crs(4326).to_file(tmp_path / "a.geojson")
    (tmp_path / "list.geojson").write_text("[1]")
    with served(tmp_path) as url:
        for name, kind in (("a.parquet", "Parquet"), ("a.geojson", "GeoJSON")):
            found = run({"only": node("load_url", url=f"{url}/{name}", format=kind)})
            assert found["features"][0]["properties"]["name"] == "a"
            inside = shapely.geometry.shape(found["features"][0]["geometry"])
            assert inside.hausdorff_distance(frame.to_crs(4326).geometry[0]) < 1e-9
        for name, kind, words in (
            ("list.geojson", "GeoJSON", "is no GeoJSON"),
            ("a.geojson", "Parquet", "cannot be read as Parquet"),
            ("none", "GeoJSON", "cannot be had"),
            ("a.geojson", "CSV", "no input format 'CSV', only GeoJSON and Parquet"),
        ):
            with pytest.raises(ProcessError, match=words):
                run({"only": node("load_url", url=f"{url}/{name}", format=kind)})


def test_over_http_with_the_client(collections: Path, tmp_path: Path) -> None:
    """Also a graph that the client makes: the same values as without a UDF, and its failure in the job's log."""
    backend = Backend(collections, tmp_path / "root", slots=2, udf=True)
    try:
        connection = backend.connect()
        assert list(connection.list_udf_runtimes()) == ["Python"]
        bounds = box(600000, 5000000, 600500, 5000400)
        loaded = connection.load_collection("SERIES", spatial_extent=bounds, bands=["B04"])
        made = loaded.reduce_dimension("t", reducer=openeo.UDF(f"{HEAD}return cube.max('t')"))
        (file,) = run_job(connection, made, tmp_path / "out")
        with rasterio.open(file) as source:
            np.testing.assert_array_equal(source.read(1), series()[:, 0].max(axis=0).astype("float32"))
        bad = loaded.apply(openeo.UDF(f"{HEAD}return cube.attrs['B9']")).create_job()
        bad.start_job()
        assert wait(bad, "finished", "error") == "error"
        assert "line 3 of the UDF: KeyError" in " ".join(entry["message"] for entry in bad.logs())
    finally:
        backend.stop()
