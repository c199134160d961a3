"""Single values, labels and required arguments, as the specification has them."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import xarray as xr

from upscaling.local_backend.errors import ProcessError
from upscaling.local_backend.validation import validate_graph

# openeo-pg-parser-networkx is written for an older pydantic; openeo-processes-dask leaves its specifications open
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
TIMES = np.array(["2022-06-01", "2022-07-01"], "datetime64[ns]")


@cache
def processes() -> dict[str, Any]:
    from upscaling.local_backend.processes import base_registry

    return base_registry()


@pytest.mark.parametrize(
    ("process", "arguments", "expected"),
    [
        ("eq", {"x": 1, "y": 1}, True),
        ("eq", {"x": 1, "y": "1"}, False),
        ("eq", {"x": True, "y": True}, True),
        ("eq", {"x": None, "y": 1}, None),
        ("neq", {"x": "a", "y": "b"}, True),
        ("gt", {"x": 1, "y": 2}, False),
        ("gt", {"x": 1, "y": None}, None),
        ("gte", {"x": 2, "y": 2}, True),
        ("lt", {"x": 1, "y": 2}, True),
        ("lte", {"x": 3, "y": 2}, False),
        ("between", {"x": 2, "min": 1, "max": 3}, True),
        ("e", {}, math.e),
        ("text_find", {"data": "Lorem ipsum", "pattern": "ipsum"}, 6),
        ("text_find", {"data": "Lorem ipsum", "pattern": "Ipsum"}, None),
        ("text_find", {"data": "ÄÖÜ", "pattern": "ö", "case_sensitive": False}, 1),
        ("text_find", {"data": None, "pattern": "null"}, None),
        ("array_create", {"data": ["A", 1, None]}, ["A", 1, None]),
        ("array_concat", {"array1": [1], "array2": ["b"]}, [1, "b"]),
        ("gte", {"x": "b", "y": "a"}, False),  # texts and times have no order
        ("gte", {"x": True, "y": 0}, False),
        ("lt", {"x": 1, "y": math.nan}, False),
        ("neq", {"x": math.nan, "y": 1}, True),
        ("eq", {"x": 1.02, "y": 1, "delta": 0.1}, True),
        ("eq", {"x": "Test", "y": "test", "case_sensitive": False}, True),
        ("eq", {"x": True, "y": 1}, False),
        ("between", {"x": 3, "min": 1, "max": 3, "exclude_max": True}, False),
        ("between", {"x": "0.5", "min": 0, "max": 1}, False),
        ("is_nodata", {"x": None}, True),
        ("is_nodata", {"x": [None, None]}, False),
        ("is_valid", {"x": None}, False),
        ("is_valid", {"x": math.inf}, False),
        ("is_valid", {"x": [None, None]}, True),
        ("is_nan", {"x": "text"}, True),
        ("is_nan", {"x": 1}, False),
        ("is_infinite", {"x": -math.inf}, True),
        ("and", {"x": False, "y": None}, False),
        ("and", {"x": True, "y": None}, None),
        ("or", {"x": True, "y": None}, True),
        ("or", {"x": False, "y": None}, None),
        ("xor", {"x": True, "y": False}, True),
        ("xor", {"x": True, "y": None}, None),
        ("not", {"x": None}, None),
        ("not", {"x": False}, True),
        ("all", {"data": [True, None]}, True),
        ("all", {"data": [True, None], "ignore_nodata": False}, None),
        ("any", {"data": [False, None], "ignore_nodata": False}, None),
        ("any", {"data": [False, True]}, True),
        ("any", {"data": []}, None),
        ("add", {"x": None, "y": 1}, None),
        ("power", {"base": 2, "p": None}, None),
        ("sqrt", {"x": None}, None),
        ("round", {"x": None, "p": 1}, None),
        ("clip", {"x": None, "min": 0, "max": 1}, None),
        ("arctan2", {"y": None, "x": 1}, None),
        ("max", {"data": []}, None),
        ("extrema", {"data": []}, [None, None]),
        ("array_contains", {"data": [[1, 2], [3, 4]], "value": 2}, False),
        ("array_contains", {"data": [1, 2, 3], "value": "2"}, False),
        ("array_contains", {"data": ["A", "B"], "value": "b"}, False),
        ("array_contains", {"data": [1, 2, 3], "value": 2}, True),
        ("array_find", {"data": [1, 0, 3, 2, 3], "value": 3}, 2),
        ("array_find", {"data": [1, 0, 3, 2, 3], "value": 3, "reverse": True}, 4),
        ("array_find", {"data": [True, True], "value": False}, None),
        ("array_find_label", {"data": [1, 2], "label": "B01"}, None),
        ("first", {"data": [None, "A", "B"]}, "A"),
        ("last", {"data": [0, 1, None]}, 1),
        ("last", {"data": [0, 1, None], "ignore_nodata": False}, None),
        ("count", {"data": ["ABC", None]}, 1),
        ("count", {"data": [False, None], "condition": True}, 2),
    ],
)
def test_a_single_value_is_what_the_specification_says(process: str, arguments: dict[str, Any], expected: Any) -> None:
    found = processes()[process](**arguments)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("process", "arguments", "expected"),
    [
        ("array_append", {"data": [1, 2], "value": None}, [1, 2, np.nan]),
        ("array_create", {"data": [None, 1], "repeat": 2}, [np.nan, 1, np.nan, 1]),
        ("cumsum", {"data": [1, 3, 5]}, [1, 4, 9]),
        ("cumproduct", {"data": [1, None, 3]}, [1, np.nan, 3]),
        ("quantiles", {"data": [2, 4, 4, 4, 5, 5, 7, 9], "probabilities": [0.005, 0.5]}, [2.07, 4.5]),
        ("quantiles", {"data": [2, 4, 4, 4, 5, 5, 7, 9], "probabilities": 4}, [4, 4.5, 5.5]),
    ],
)
def test_a_list_is_what_the_specification_says(process: str, arguments: dict[str, Any], expected: list[float]) -> None:
    np.testing.assert_allclose(np.asarray(processes()[process](**arguments), float), expected, rtol=1e-6)


def test_the_median_of_whole_numbers_is_not_cut() -> None:
    found = processes()["quantiles"](data=np.array([[1, 1], [2, 4]], "uint16"), probabilities=[0.5])
    np.testing.assert_array_equal(found, [[1.5, 2.5]])


def test_pixels_beside_null_are_no_data() -> None:
    pixels = np.array([[0.0, 1.0], [np.nan, 2.0]])
    for process, arguments in (("add", {"x": pixels, "y": None}), ("and", {"x": None, "y": pixels * 0 + 1})):
        assert np.isnan(processes()[process](**arguments)).all()
    np.testing.assert_array_equal(processes()["is_nodata"](x=pixels), np.isnan(pixels))
    np.testing.assert_array_equal(processes()["is_valid"](x=pixels), np.isfinite(pixels))
    found = processes()["array_contains"](data=pixels, value=2)
    np.testing.assert_array_equal(found, [False, True])
    np.testing.assert_array_equal(processes()["first"](data=pixels), [0, 1])


def test_the_dimension_of_times_is_asked_for_where_there_are_several() -> None:
    intervals = [["2022-06-01", "2022-07-01"]]
    data = cube().rename(t="when")
    found = processes()["aggregate_temporal"](
        data=data, intervals=intervals, reducer=lambda named_parameters, **_: named_parameters["data"][0]
    )
    assert found.dims[0] == "when"
    with pytest.raises(ProcessError, match="several dimensions of times, when, t2: name one"):
        processes()["aggregate_temporal"](
            data=data.expand_dims(t2=TIMES).transpose("when", "t2", "bands"), intervals=intervals, reducer=max
        )


def test_pixels_are_still_compared_one_by_one() -> None:
    found = processes()["gt"](x=np.array([1.0, 3.0, np.nan]), y=2)
    np.testing.assert_array_equal(found, [0, 1, np.nan])
    assert np.isnan(processes()["eq"](x=np.ones(3), y=None)).all()


def test_a_cloud_mask_is_the_convolution_of_its_classes() -> None:
    classes = np.random.default_rng(3).choice(
        [4.0, 5.0, 8.0, 9.0, np.nan], (2, 40, 50), p=[0.5, 0.44, 0.03, 0.01, 0.02]
    )
    data = xr.DataArray(classes, dims=["t", "y", "x"])
    mask = processes()["to_scl_dilation_mask"](data=data, kernel1_size=5, kernel2_size=9).values
    expected = np.zeros(classes.shape, bool)
    for chosen, size, above in (
        (~np.isin(classes, [2, 4, 5, 6, 7]), 5, 0.057),
        (np.isin(classes, [3, 8, 9, 10, 11]), 9, 0.025),
    ):
        across = np.exp(-0.5 * ((np.arange(size) - size // 2) / (size / 6)) ** 2)
        kernel = np.outer(across, across) / np.outer(across, across).sum()
        padded = np.pad(chosen & np.isfinite(classes), ((0, 0), (size // 2,) * 2, (size // 2,) * 2))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
        expected |= (windows * kernel).sum(axis=(-2, -1)) > above
    assert 0.1 < expected.mean() < 0.9
    np.testing.assert_array_equal(mask, expected)
    bands = xr.DataArray(
        np.stack([classes * 0 + 7, classes], axis=1), {"bands": ["B04", "SCL"]}, ["t", "bands", "y", "x"]
    )
    left = processes()["mask_scl_dilation"](data=bands, kernel1_size=5, kernel2_size=9)
    np.testing.assert_array_equal(np.isnan(left.sel(bands="B04")), expected | np.isnan(classes))


def cube() -> xr.DataArray:
    return xr.DataArray(np.arange(4.0).reshape(2, 2), {"t": TIMES, "bands": ["a", "b"]}, ["t", "bands"])


def test_time_stamps_are_renamed_and_found_by_their_texts() -> None:
    rename = processes()["rename_labels"]
    moved = rename(data=cube(), dimension="t", target=["2023-01-01"], source=["2022-07-01T00:00:00Z"])
    assert moved["t"].dtype.kind == "M"
    assert [str(t)[:10] for t in moved["t"].values] == ["2022-06-01", "2023-01-01"]
    named = rename(data=cube(), dimension="t", target=["first", "second"])
    assert list(named["t"].values) == ["first", "second"]
    with pytest.raises(ProcessError, match="unique"):
        rename(data=cube(), dimension="t", target=["2022-07-01"], source=["2022-06-01"])


@pytest.mark.parametrize("labels", [["same", "same"], ["one"]])
def test_labels_of_intervals_are_as_many_and_all_different(labels: list[str]) -> None:
    intervals = [["2022-06-01", "2022-07-01"], ["2022-07-01", "2022-08-01"]]
    with pytest.raises(ProcessError, match="label"):
        processes()["aggregate_temporal"](
            data=cube(), intervals=intervals, reducer=lambda **_: 0, labels=labels, dimension="t"
        )


def test_a_required_argument_that_is_not_there_is_found_before_the_run() -> None:
    graph = {"a": {"process_id": "add", "arguments": {"x": 1}, "result": True}}
    (error,) = validate_graph(graph, {"add"}, set(), {"add": ["x", "y"]})
    assert error["code"] == "ProcessParameterRequired" and "'y'" in error["message"]
    assert validate_graph({"a": {"process_id": "add", "arguments": [], "result": True}}, {"add"}, set(), {})
