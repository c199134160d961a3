"""Labelled arrays outside of callbacks; normals of a climate and anomalies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from upscaling.local_backend.climate import label_of
from upscaling.local_backend.errors import ProcessError
from upscaling.local_backend.graphs import Evaluator
from upscaling.local_backend.labels import Labeled

Registry = dict[str, Callable[..., Any]]


def run(registry: Registry, name: str, /, **arguments: Any) -> Any:
    nodes = {
        "labelled": {
            "process_id": "array_create_labeled",
            "arguments": {"data": [1.5, 2.5, 4.0], "labels": ["B01", "B02", 7]},
        },
        "node": {"process_id": name, "arguments": {"data": {"from_node": "labelled"}, **arguments}, "result": True},
    }
    return Evaluator(registry, lambda *_: None).run(nodes)


def callback(process: str, **arguments: Any) -> dict[str, Any]:
    return {"process_graph": {"inner": {"process_id": process, "arguments": arguments, "result": True}}}


def pairs(found: Any) -> list[tuple[Any, float]]:
    assert isinstance(found, Labeled)
    return list(zip(found.labels, map(float, found), strict=True))


def test_processes_see_the_labels_and_keep_them(registry: Registry) -> None:
    assert run(registry, "array_element", label="B02") == 2.5
    assert run(registry, "array_element", label=7) == 4
    assert run(registry, "array_labels") == ["B01", "B02", 7]
    assert run(registry, "array_find_label", label=7) == 2
    assert run(registry, "max") == 4
    halves = callback("divide", x={"from_parameter": "x"}, y=2)
    assert pairs(run(registry, "array_apply", process=halves)) == [("B01", 0.75), ("B02", 1.25), (7, 2)]
    named = callback("eq", x={"from_parameter": "label"}, y="B02")
    assert pairs(run(registry, "array_filter", condition=named)) == [("B02", 2.5)]
    assert pairs(run(registry, "array_filter", condition=callback("gt", x={"from_parameter": "x"}, y=2))) == [
        ("B02", 2.5),
        (7, 4),
    ]
    assert pairs(run(registry, "array_append", value=9, label="B09"))[2:] == [(7, 4), ("B09", 9)]
    assert pairs(run(registry, "array_append", value=9))[-1] == (3, 9)


def test_a_callback_s_array_has_the_labels_of_its_cube(registry: Registry) -> None:
    arguments = {"data": {"from_parameter": "data"}, "value": 3, "label": "B03"}
    graph = {"node": {"process_id": "array_append", "arguments": arguments}}
    ambient = {"axis": 0, "dim_labels": ["B01", "B02"]}
    found = Evaluator(registry, lambda *_: None).run(graph, {"data": np.array([1.0, 2.0])}, ambient)
    assert list(found) == [1, 2, 3]


@pytest.mark.parametrize(
    ("process", "arguments", "code"),
    [
        ("array_append", {"value": 9, "label": "B01"}, "LabelExists"),
        ("array_append", {"data": [1], "value": 9, "label": "B01"}, "ArrayNotLabeled"),
        ("array_element", {"label": "B03"}, "ArrayElementNotAvailable"),
        ("array_create_labeled", {"data": [1], "labels": [1, 2]}, "ArrayLengthMismatch"),
        ("array_create_labeled", {"data": [1, 2], "labels": ["a", "a"]}, "LabelExists"),
    ],
)
def test_labels_that_cannot_be(process: str, arguments: dict[str, Any], code: str, registry: Registry) -> None:
    with pytest.raises(ProcessError) as refused:
        run(registry, process, **arguments)
    assert refused.value.code == code


def monthly(first: str, last: str) -> xr.DataArray:
    """A value for each month and two pixels: its year and a hundredth of its month, and a hundred more."""
    times = pd.date_range(first, last, freq="MS")
    values = (times.year + times.month / 100).to_numpy()
    return xr.DataArray(np.stack([values, values + 100], axis=1), {"t": times, "x": [0, 1]}, ["t", "x"])


def test_normals_of_months_and_what_departs_from_them(registry: Registry) -> None:
    data = monthly("2000-01", "2003-12")
    normals = registry["climatological_normal"](data=data, period="month", climatology_period=[2000, 2002])
    assert (normals.dims, list(normals["t"].values[:2]), normals.sizes["t"]) == (("t", "x"), ["01", "02"], 12)
    assert normals.values[6] == pytest.approx([2001.07, 2101.07])
    found = registry["anomaly"](data=data, normals=normals, period="month")
    assert list(found["t"].values) == list(data["t"].values)
    assert found.sel(t="2003-07").values == pytest.approx(2)
    assert found.sel(t="2000-01").values == pytest.approx(-1)
    whole = registry["climatological_normal"](data=data, period="climatology-period", climatology_period=[2000, 2002])
    assert whole.values[0] == pytest.approx([2001.065, 2101.065])
    assert registry["anomaly"](data=data, normals=whole, period="single-period").values[0, 0] == pytest.approx(-1.055)


def test_a_winter_belongs_to_the_year_in_which_it_ends(registry: Registry) -> None:
    months = {"djf": [(1999, 12), (2000, 1), (2000, 2), (2000, 12), (2001, 1), (2001, 2)]}
    months["ndjfma"] = [(y + (m < 7), m) for y in (1999, 2000) for m in (11, 12, 1, 2, 3, 4)]
    for period, label in (("season", "djf"), ("tropical-season", "ndjfma")):
        expected = months[label]
        normal = registry["climatological_normal"]
        with_it = normal(data=monthly("1999-11", "2001-12"), period=period, climatology_period=[2000, 2001])
        assert float(with_it.sel(t=label)[0]) == pytest.approx(np.mean([y + m / 100 for y, m in expected]))
        # Without the months before, the first winter is left out: one year less.
        without = normal(data=monthly("2000-01", "2001-12"), period=period, climatology_period=[2000, 2001])
        later = expected[len(expected) // 2 :]
        assert float(without.sel(t=label)[0]) == pytest.approx(np.mean([y + m / 100 for y, m in later]))


def test_normals_that_do_not_fit_are_one_line(registry: Registry) -> None:
    data = monthly("2000-01", "2001-12")
    with pytest.raises(ProcessError, match="does not span the years 1981 to 2010"):
        registry["climatological_normal"](data=data, period="month")
    normals = data.isel(t=slice(0, 6)).assign_coords(t=[f"{n:02}" for n in range(1, 7)])
    with pytest.raises(ProcessError, match="the normals have no label '07'"):
        registry["anomaly"](data=data, normals=normals, period="month")
    with pytest.raises(ProcessError, match="have one label, these have 6"):
        registry["anomaly"](data=data, normals=normals, period="single-period")


@pytest.mark.parametrize(
    ("time", "labels"),
    [
        ("2020-02-29T05:00", {"hour": "05", "day": "059", "week": "09", "dekad": "06", "season": "djf"}),
        ("2020-12-31", {"day": "365", "month": "12", "dekad": "36", "tropical-season": "ndjfma", "year": "2020"}),
        (
            "2021-05-01",
            {"day": "121", "season": "mam", "tropical-season": "mjjaso", "decade": "2020", "decade-ad": "2021"},
        ),
    ],
)
def test_labels_of_moments(time: str, labels: dict[str, str]) -> None:
    assert {period: label_of(np.datetime64(time, "ns"), period) for period in labels} == labels
