"""Processes that were patched or written, on small cubes against numpy."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import xarray as xr

from upscaling.local_backend.definitions import Definitions
from upscaling.local_backend.errors import ProcessError
from upscaling.local_backend.graphs import Evaluator

NAN = float("nan")


@pytest.fixture
def evaluate(registry: dict[str, Callable[..., Any]]) -> Iterator[Callable[..., Any]]:
    """Evaluate a graph over the given values, which it names as from_parameter."""

    def run(graph: dict[str, Any], stored: dict[str, Any] | None = None, **values: Any) -> Any:
        return Evaluator(registry, Definitions(stored or {})).run(graph, values)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NaN in, NaN out; rioxarray on affine
        yield run


def cube(values: Any, dims: str = "t bands y x", step: int = 10, **labels: Any) -> xr.DataArray:
    import rioxarray  # noqa: F401

    data = np.asarray(values, "float32")
    names = dims.split()
    size = dict(zip(names, data.shape, strict=True))
    coords: dict[str, Any] = {}
    if "t" in names:
        coords["t"] = np.array([f"2022-0{n}-10" for n in range(1, size["t"] + 1)], "datetime64[ns]")
    if "bands" in names:
        coords["bands"] = [f"B{n}" for n in range(1, size["bands"] + 1)]
    if "y" in names:
        coords |= {
            "y": 5000400 - step * (np.arange(size["y"]) + 0.5),
            "x": 600000 + step * (np.arange(size["x"]) + 0.5),
        }
    made = xr.DataArray(data, coords | labels, names)
    return made.rio.write_crs(32632).rio.write_transform() if "y" in names else made


def node(process: str, result: bool = True, /, **arguments: Any) -> dict[str, Any]:
    return {"process_id": process, "arguments": arguments, "result": result}


def given(name: str) -> dict[str, str]:
    return {"from_parameter": name}


def callback(**nodes: Any) -> dict[str, Any]:
    return {"process_graph": nodes}


def over(process: str, /, **arguments: Any) -> dict[str, Any]:
    """A callback of one process over the callback's data."""
    return callback(only=node(process, data=given("data"), **arguments))


VALUES = np.random.default_rng(5).normal(size=(3, 2, 4, 5)).astype("float32")


def test_a_callback_that_runs_twice_computes_twice(evaluate: Any) -> None:
    """pg-parser-networkx would give February what it computed for January, from the second node of a callback on."""
    days = np.array(["2022-01-01", "2022-01-20", "2022-02-03"], "datetime64[ns]")
    spread = callback(
        high=node("max", False, data=given("data")),
        low=node("min", False, data=given("data")),
        range=node("subtract", x={"from_node": "high"}, y={"from_node": "low"}),
    )
    graph = {"a": node("aggregate_temporal_period", data=given("cube"), period="month", reducer=spread)}
    got = evaluate(graph, cube=cube(VALUES, t=days))
    np.testing.assert_array_equal(got.values[0], VALUES[:2].max(0) - VALUES[:2].min(0))
    np.testing.assert_array_equal(got.values[1], 0)


@pytest.mark.parametrize("dimension", ["t", "bands", "y", "x"])
def test_array_create_stacks_along_any_dimension(evaluate: Any, dimension: str) -> None:
    made = callback(
        low=node("min", False, data=given("data")),
        high=node("max", False, data=given("data")),
        both=node("array_create", data=[{"from_node": "low"}, {"from_node": "high"}, 7, None]),
    )
    got = evaluate(
        {"a": node("apply_dimension", data=given("cube"), dimension=dimension, process=made)}, cube=cube(VALUES)
    )
    axis = ["t", "bands", "y", "x"].index(dimension)
    low, high = VALUES.min(axis), VALUES.max(axis)
    expected = np.stack([low, high, np.full_like(low, 7), np.full_like(low, np.nan)], axis)
    np.testing.assert_array_equal(got.values, expected)
    assert got.dtype == "float32"
    if VALUES.shape[axis] != 4:  # else the labels stay
        assert list(got[dimension].values) == [0, 1, 2, 3]


def test_apply_dimension_keeps_labels_of_the_same_number(evaluate: Any) -> None:
    doubled = callback(
        each=node(
            "array_apply", data=given("data"), process=callback(d=node("multiply", x=given("x"), y=given("index")))
        )
    )
    got = evaluate(
        {"a": node("apply_dimension", data=given("cube"), dimension="t", process=doubled)}, cube=cube(VALUES)
    )
    np.testing.assert_array_equal(got.values, VALUES * np.array([0, 1, 2], "float32").reshape(3, 1, 1, 1))
    assert got["t"].dtype.kind == "M"
    one = evaluate(
        {"a": node("apply_dimension", data=given("cube"), dimension="t", process=over("mean"))}, cube=cube(VALUES)
    )
    np.testing.assert_array_equal(one.values, VALUES.mean(0, keepdims=True))


def test_if(evaluate: Any) -> None:
    """No-data in a condition is not true; a missing reject is no-data; scalars run one branch only."""
    chosen = callback(
        big=node("gt", False, x=given("x"), y=1),
        out=node("if", value={"from_node": "big"}, accept=9),
    )
    got = evaluate({"a": node("apply", data=given("cube"), process=chosen)}, cube=cube([[0, 2], [NAN, 3]], "y x"))
    np.testing.assert_array_equal(got.values, [[NAN, 9], [NAN, 9]])
    lazy = {
        "broken": node("max", False, data="text"),
        "out": node("if", value=given("flag"), accept={"from_node": "broken"}, reject=5),
    }
    assert evaluate(lazy, flag=False) == 5
    assert evaluate(lazy, flag=None) == 5
    with pytest.raises(ProcessError, match="node 'broken' \\(process max\\)"):
        evaluate(lazy, flag=True)


def test_array_processes_on_pixels(evaluate: Any) -> None:
    data = np.array([[[NAN, 1]], [[4, NAN]], [[6, 8]]], "float32")  # t, y, x
    expected = {
        "first": ([[4, 1]], {}),
        "last": ([[6, 8]], {}),
        "count": ([[2, 2]], {}),
        "median": ([[5, 4.5]], {}),
        "array_find": ([[2, NAN]], {"value": 6}),
        "array_contains": ([[True, False]], {"value": 6}),
        "array_element": ([[4, NAN]], {"label": "2022-02-10T00:00:00Z"}),
        "sum": ([[10, 9]], {}),
    }
    for process, (values, arguments) in expected.items():
        graph = {"a": node("reduce_dimension", data=given("cube"), dimension="t", reducer=over(process, **arguments))}
        np.testing.assert_array_equal(evaluate(graph, cube=cube(data, "t y x")).values, values, err_msg=process)


def test_arrays_stay_beside_each_other_per_pixel(evaluate: Any) -> None:
    """Upstream takes axis 0 for no axis at all here, and mixes pixels."""
    data = np.array([[[NAN, 1]], [[4, NAN]], [[2, 8]]], "float32")  # t, y, x; t on the 10th of January, February, March
    even = callback(a=node("gt", x=given("x"), y=1))
    for process, arguments, expected in (
        ("sort", {}, [[2, 1], [4, 8], [NAN, NAN]]),
        ("sort", {"asc": False}, [[4, 8], [2, 1], [NAN, NAN]]),
        ("sort", {"nodata": False}, [[NAN, NAN], [2, 1], [4, 8]]),
        ("order", {"nodata": True}, [[2, 0], [1, 2], [0, 1]]),
        ("rearrange", {"order": [2, 0, 1]}, [[2, 8], [NAN, 1], [4, NAN]]),
        ("array_filter", {"condition": even}, [[NAN, NAN], [4, NAN], [2, 8]]),
        ("array_interpolate_linear", {}, [[NAN, 1], [4, 1 + 7 * 31 / 59], [2, 8]]),
        ("cumsum", {}, [[NAN, 1], [4, NAN], [6, 9]]),
    ):
        graph = {"a": node("apply_dimension", data=given("cube"), dimension="t", process=over(process, **arguments))}
        got = evaluate(graph, cube=cube(data, "t y x")).values[:, 0]
        np.testing.assert_allclose(got, np.array(expected), rtol=1e-6, err_msg=process)


def test_reduce_spatial(evaluate: Any) -> None:
    got = evaluate({"a": node("reduce_spatial", data=given("cube"), reducer=over("max"))}, cube=cube(VALUES))
    np.testing.assert_array_equal(got.values, VALUES.max((2, 3)))


def test_merge_cubes(evaluate: Any) -> None:
    larger = callback(only=node("max", data=[given("x"), given("y")]))
    graph = {"a": node("merge_cubes", cube1=given("one"), cube2=given("two"), overlap_resolver=larger)}
    bare = {"a": node("merge_cubes", cube1=given("one"), cube2=given("two"))}
    one, two = cube(VALUES), cube(-VALUES)
    np.testing.assert_array_equal(evaluate(graph, one=one, two=two).values, np.abs(VALUES))
    with pytest.raises(ProcessError, match="no overlap_resolver"):
        evaluate(bare, one=one, two=two)
    apart = evaluate(bare, one=one, two=cube(-VALUES, bands=["C1", "C2"]))
    assert list(apart["bands"].values) == ["B1", "B2", "C1", "C2"]
    np.testing.assert_array_equal(apart.values, np.concatenate([VALUES, -VALUES], 1))
    partly = evaluate(graph, one=one, two=cube(-VALUES, bands=["B2", "C2"]))
    expected = np.stack([VALUES[:, 0], np.maximum(VALUES[:, 1], -VALUES[:, 0]), -VALUES[:, 1]], 1)
    np.testing.assert_array_equal(partly.values, expected)
    flat = evaluate(graph, one=cube(VALUES[0, 0], "y x"), two=two).transpose("t", "bands", "y", "x")
    np.testing.assert_array_equal(flat.values, np.maximum(VALUES[0, 0], -VALUES))
    still = evaluate(bare, one=one, two=cube(VALUES[0, :1], "bands y x", bands=["C1"]))  # a band without time
    np.testing.assert_array_equal(still.values, np.concatenate([VALUES, VALUES[[0, 0, 0], :1]], 1))
    later = cube(VALUES[:1], t=np.array(["2021-12-01"], "datetime64[ns]"))
    assert list(evaluate(bare, one=one, two=later)["t"].values) == sorted([*later["t"].values, *one["t"].values])


def test_mask(evaluate: Any) -> None:
    """No-data in a mask does not mask; a mask of one band masks all; a coarser one is brought to the pixels."""
    graph = {"a": node("mask", data=given("cube"), mask=given("mask"), replacement=given("by"))}
    hidden = np.array([[1, 0, NAN, 0, 2]] * 4)
    expected = np.where([True, False, False, False, True], -9, VALUES)
    for mask in (cube(hidden, "y x"), cube(hidden[np.newaxis], "bands y x", bands=["SCL"])):
        np.testing.assert_array_equal(evaluate(graph, cube=cube(VALUES), mask=mask, by=-9).values, expected)
    coarse = evaluate(graph, cube=cube(VALUES[..., :4]), mask=cube([[1, 0], [0, 1]], "y x", step=20), by=None)
    blocks = np.kron([[1, 0], [0, 1]], np.ones((2, 2))) == 1
    np.testing.assert_array_equal(coarse.values, np.where(blocks, NAN, VALUES[..., :4]))


@pytest.mark.parametrize(
    ("period", "times", "starts"),
    [
        ("month", ["2022-01-31", "2022-03-01"], ["2022-01-01", "2022-02-01", "2022-03-01"]),
        ("dekad", ["2022-02-25", "2022-03-11"], ["2022-02-21", "2022-03-01", "2022-03-11"]),
        ("week", ["2022-01-02", "2022-01-03"], ["2021-12-27", "2022-01-03"]),
        ("season", ["2022-01-15", "2022-06-15"], ["2021-12-01", "2022-03-01", "2022-06-01"]),
        ("tropical-season", ["2022-04-30", "2022-12-01"], ["2021-11-01", "2022-05-01", "2022-11-01"]),
        ("year", ["2020-12-31", "2022-01-01"], ["2020-01-01", "2021-01-01", "2022-01-01"]),
        ("decade", ["2019-12-31", "2020-01-01"], ["2010-01-01", "2020-01-01"]),
        ("decade-ad", ["2020-12-31", "2021-01-01"], ["2011-01-01", "2021-01-01"]),
    ],
)
def test_periods(evaluate: Any, period: str, times: list[str], starts: list[str]) -> None:
    data = cube(VALUES[:2], t=np.array(times, "datetime64[ns]"))
    graph = {"a": node("aggregate_temporal_period", data=given("cube"), period=period, reducer=over("mean"))}
    got = evaluate(graph, cube=data)
    assert [str(t)[:10] for t in got["t"].values] == starts
    np.testing.assert_array_equal(got.values[[0, -1]], VALUES[:2])
    assert np.isnan(got.values[1:-1]).all()


def test_aggregate_temporal_is_half_open(evaluate: Any) -> None:
    intervals = [["2022-01-01", "2022-02-10"], ["2022-02-10", "2022-04-01"]]
    graph = {"a": node("aggregate_temporal", data=given("cube"), intervals=intervals, reducer=over("sum"))}
    got = evaluate(graph, cube=cube(VALUES))
    np.testing.assert_array_equal(got.values, [VALUES[0], VALUES[1] + VALUES[2]])


def test_ndvi_and_labels(evaluate: Any) -> None:
    graph = {
        "n": node("ndvi", False, data=given("cube"), nir="B2", red="B1", target_band="NDVI"),
        "r": node("rename_labels", data={"from_node": "n"}, dimension="bands", target=["red"], source=["B1"]),
    }
    got = evaluate(graph, cube=cube(VALUES))
    assert list(got["bands"].values) == ["red", "B2", "NDVI"]
    np.testing.assert_array_equal(got.values[:, 2], (VALUES[:, 1] - VALUES[:, 0]) / (VALUES[:, 1] + VALUES[:, 0]))
    np.testing.assert_array_equal(got.values[:, :2], VALUES)


def test_filters(evaluate: Any) -> None:
    extent = {"west": 600010, "south": 5000360, "east": 600030, "north": 5000390, "crs": "EPSG:32632"}
    graph = {
        "b": node("filter_bbox", False, data=given("cube"), extent=extent),
        "t": node("filter_temporal", False, data={"from_node": "b"}, extent=["2022-02-10", "2022-03-10"]),
        "f": node("filter_bands", data={"from_node": "t"}, bands=["B2"]),
    }
    got = evaluate(graph, cube=cube(VALUES))
    np.testing.assert_array_equal(got.values, VALUES[1:2, 1:2, 1:4, 1:3])
    spring = callback(m=node("date_between", x=given("value"), min="2022-02-01", max="2022-03-31"))
    kept = evaluate(
        {"a": node("filter_labels", data=given("cube"), dimension="t", condition=spring)}, cube=cube(VALUES)
    )
    np.testing.assert_array_equal(kept.values, VALUES[1:])


def test_resample_spatial_to_coarser_pixels(evaluate: Any) -> None:
    data = np.arange(16, dtype="float32").reshape(4, 4)
    got = evaluate(
        {"a": node("resample_spatial", data=given("cube"), resolution=20, method="average")}, cube=cube(data, "y x")
    )
    np.testing.assert_allclose(got.values, data.reshape(2, 2, 2, 2).mean((1, 3)))
    assert (got["x"].values[0], got["y"].values[0]) == (600010, 5000390)


@pytest.mark.parametrize(
    ("process", "arguments", "expected"),
    [
        ("date_shift", {"date": "2022-01-31", "value": 1, "unit": "month"}, "2022-02-28"),
        ("date_shift", {"date": "2020-02-29T10:00:00Z", "value": -1, "unit": "year"}, "2019-02-28T10:00:00Z"),
        ("date_difference", {"date1": "2022-01-01", "date2": "2022-01-03T12:00:00Z", "unit": "day"}, 2.5),
        (
            "date_replace_component",
            {"date": "2022-02-10T10:00:00Z", "value": 15, "component": "day"},
            "2022-02-15T10:00:00Z",
        ),
        ("date_replace_component", {"date": "2022-02-10", "value": 31, "component": "day"}, None),
        ("text_concat", {"data": ["B04", True, None, 3], "separator": "_"}, "B04_true_null_3"),
        ("quantiles", {"data": [1, 2, 3, 4, None], "probabilities": [0.5]}, [2.5]),
        ("array_concat", {"array1": [1, 2], "array2": [3]}, [1, 2, 3]),
        ("array_modify", {"data": [1, 2, 3], "values": [9, 9], "index": 1, "length": 1}, [1, 9, 9, 3]),
    ],
)
def test_values(evaluate: Any, process: str, arguments: dict[str, Any], expected: Any) -> None:
    got = evaluate({"a": node(process, **arguments)})
    assert (got.tolist() if isinstance(got, np.ndarray) else got) == expected


def test_graphs_that_cannot_run(evaluate: Any) -> None:
    circle = {"a": node("add", x={"from_node": "b"}, y=1), "b": node("add", False, x={"from_node": "a"}, y=1)}
    itself = {"parameters": [], "id": "again", "process_graph": {"x": node("again")}}
    for graph, stored, code, words in (
        (circle, {}, "ProcessGraphInvalid", "circle"),
        ({"a": node("add", x={"from_node": "z"}, y=1)}, {}, "ProcessGraphInvalid", "unknown node 'z'"),
        ({"a": node("add", x=1, y=given("none"))}, {}, "ProcessParameterRequired", "'none' has no value"),
        ({"a": node("again")}, {"again": itself}, "ProcessGraphComplexity", "call itself"),
        (
            {"a": node("add", False, x=1, y=1), "b": node("add", False, x=1, y=1)},
            {},
            "ProcessGraphInvalid",
            "this has 0",
        ),
    ):
        with pytest.raises(ProcessError, match=words) as failed:
            evaluate(graph, stored)
        assert failed.value.code == code
