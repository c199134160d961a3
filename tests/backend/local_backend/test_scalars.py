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

# openeo-pg-parser-networkx is written for an older pydantic
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
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
    ],
)
def test_a_single_value_is_what_the_specification_says(process: str, arguments: dict[str, Any], expected: Any) -> None:
    found = processes()[process](**arguments)
    assert found == expected
    assert type(found) is type(expected)


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
