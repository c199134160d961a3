"""Time steps of the calendar, lists and tables of values, and the names of targets."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import geopandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from upscaling.config import ForEach, Time
from upscaling.errors import ConfigError
from upscaling.model import Parameter, Row
from upscaling.planning.dimensions import each_row, time_steps
from upscaling.planning.make import _targets

KNOWN = {
    "burst": Parameter("burst", {"type": "integer"}, True),
    "date": Parameter("date", {"type": "string"}, True),
    "pair": Parameter("pair", {"type": "array"}, False),
}


def labels(**time: Any) -> list[tuple[str, str, str]]:
    return [(step.label, step.start, step.end) for step in time_steps(Time(**time))]


def test_months_are_those_of_the_calendar_and_half_open() -> None:
    steps = labels(start="2023-11-15", end="2024-03-01", step="month")
    assert steps == [
        ("2023-11", "2023-11-15", "2023-12-01"),
        ("2023-12", "2023-12-01", "2024-01-01"),
        ("2024-01", "2024-01-01", "2024-02-01"),
        ("2024-02", "2024-02-01", "2024-03-01"),  # 2024 has a 29 February
    ]


def test_dekads_end_with_the_month() -> None:
    steps = labels(start="2024-02-01", end="2024-03-05", step="dekad")
    assert steps == [
        ("2024-02-d1", "2024-02-01", "2024-02-11"),
        ("2024-02-d2", "2024-02-11", "2024-02-21"),
        ("2024-02-d3", "2024-02-21", "2024-03-01"),
        ("2024-03-d1", "2024-03-01", "2024-03-05"),
    ]
    assert labels(start="2023-01-31", end="2023-02-02", step="dekad")[0] == ("2023-01-d3", "2023-01-31", "2023-02-01")


def test_days_years_and_given_intervals() -> None:
    assert [step[1:] for step in labels(start="2023-01-01", end="2023-02-01", step="16 days")] == [
        ("2023-01-01", "2023-01-17"),
        ("2023-01-17", "2023-02-01"),
    ]
    assert [step[0] for step in labels(start="2015-07-01", end="2017-01-01", step="year")] == ["2015", "2016"]
    assert labels(intervals=[["2023-01-01", "2023-03-01"]]) == [("2023-01-01", "2023-01-01", "2023-03-01")]


@pytest.mark.parametrize(
    ("step", "first", "last"),
    [
        ("week", ("2023-W52", "2024-01-01", "2024-01-01"), None),
        ("quarter", ("2023-Q4", "2023-12-30", "2024-01-01"), ("2024-Q2", "2024-04-01", "2024-06-01")),
        ("season", ("2024-DJF", "2023-12-30", "2024-03-01"), ("2024-MAM", "2024-03-01", "2024-06-01")),
        ("2 months", ("2023-12", "2023-12-30", "2024-02-01"), ("2024-04", "2024-04-01", "2024-06-01")),
        ("2 weeks", ("2023-W52", "2023-12-30", "2024-01-08"), ("2024-W22", "2024-05-27", "2024-06-01")),
        ("2 years", ("2023", "2023-12-30", "2024-06-01"), None),
        ("P1Y", ("2023", "2023-12-30", "2024-01-01"), None),
        ("P2M", ("2023-12", "2023-12-30", "2024-02-01"), ("2024-04", "2024-04-01", "2024-06-01")),
        ("Quarterly", ("2023-Q4", "2023-12-30", "2024-01-01"), None),
        ("2 quarters", ("2023-Q4", "2023-12-30", "2024-04-01"), ("2024-Q2", "2024-04-01", "2024-06-01")),
        ("2 seasons", ("2024-DJF", "2023-12-30", "2024-06-01"), None),
        ("9-dekads", ("2023-12-d3", "2023-12-30", "2024-03-21"), ("2024-03-d3", "2024-03-21", "2024-06-01")),
        ("9999999 days", ("2023-12-30", "2023-12-30", "2024-06-01"), None),
    ],
)
def test_weeks_quarters_seasons_and_numbers_of_them(step: str, first: tuple[str, ...], last: Any) -> None:
    steps = labels(start="2023-12-30", end="2024-06-01", step=step)
    assert steps[0] == (first if step != "week" else ("2023-W52", "2023-12-30", "2024-01-01"))
    assert steps[-1] == last if last else True
    assert steps[0][1] == "2023-12-30"
    assert steps[-1][2] == "2024-06-01"


def test_the_last_and_the_first_year_have_steps_too() -> None:
    for step in ("day", "week", "dekad", "month", "quarter", "season", "year", "2 years"):
        assert labels(start="9999-12-01", end="9999-12-31", step=step)[-1][2] == "9999-12-31"
        assert labels(start="0001-01-01", end="0001-02-01", step=step)[0][1] == "0001-01-01"


DATES = st.dates(dt.date(1990, 1, 1), dt.date(2040, 1, 1))


@given(
    DATES,
    st.integers(1, 900),
    st.sampled_from(
        ["day", "week", "dekad", "month", "quarter", "season", "year", "16 days", "2 weeks", "5 months", "3 years"]
    ),
)
def test_steps_cover_the_time_without_gap_or_overlap(start: dt.date, days: int, step: str) -> None:
    end = start + dt.timedelta(days=days)
    steps = labels(start=start.isoformat(), end=end.isoformat(), step=step)
    assert steps[0][1] == start.isoformat()
    assert steps[-1][2] == end.isoformat()
    assert all(first[2] == second[1] for first, second in pairwise(steps))
    assert all(begin < finish for _, begin, finish in steps)
    assert len({label for label, _, _ in steps}) == len(steps)


@pytest.mark.parametrize(
    ("time", "words"),
    [
        ({"start": "2023-01-01", "end": "2023-01-01"}, "time.end: must lie after"),
        ({"start": "2023-02-30", "end": "2023-03-01"}, "time.start: must be a date"),
        ({"start": "2023-01-01", "end": "2023-03-01", "step": "fortnight"}, "time.step: must be day, week, dekad"),
        ({"start": "2023-01-01", "end": "2023-03-01", "step": "0 days"}, "time.step: must be at least"),
        ({"start": "2023-01-01", "end": "2023-03-01", "step": f"{'9' * 5000} days"}, "time.step: must be day, week"),
        ({"end": "2023-03-01"}, "time.start: is missing"),
        ({"intervals": [["2023-02-01", "2023-01-01"]]}, "time.intervals[0]: must be"),
    ],
)
def test_wrong_times_are_one_line(time: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        labels(**time)
    assert words in str(caught.value)


def test_lists_are_multiplied_and_named() -> None:
    rows = each_row(ForEach(parameters={"date": ["2023-01-01", "VV/VH"], "burst": [7]}), KNOWN)
    assert [(row.label, row.values) for row in rows] == [
        ("2023-01-01_7", {"date": "2023-01-01", "burst": 7}),
        ("vv-vh_7", {"date": "VV/VH", "burst": 7}),
    ]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_gives_one_typed_row_per_job(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t.{suffix}"
    if suffix == "csv":
        path.write_text('name,burst,date,note,pair\na,12,2023-01-01,x,"[1, 2]"\nb,13,2023-01-13,y,"[3, 4]"\n')
    else:
        columns: dict[str, Any] = {
            "name": ["a", "b"],
            "burst": [12, 13],
            "date": [dt.date(2023, 1, 1), dt.date(2023, 1, 13)],
            "note": ["x", "y"],
            "pair": [[1, 2], [3, 4]],
        }
        pq.write_table(pa.table(columns), path)
    rows = each_row(ForEach(table=str(path), id="name", ignore=["note"]), KNOWN)
    assert [(row.label, row.values) for row in rows] == [
        ("a", {"burst": 12, "date": "2023-01-01", "pair": [1, 2]}),
        ("b", {"burst": 13, "date": "2023-01-13", "pair": [3, 4]}),
    ]


@pytest.mark.parametrize(
    ("text", "each", "words"),
    [
        (None, {}, "no such file"),
        ("burst,colour\n1,red\n", {}, "column 'colour' is no parameter"),
        ("burst\n1\n", {"id": "name"}, "has no column 'name'"),
        ("burst\n1\n1\n", {}, "2 rows have the name '1'"),
        ("burst,date\n1,2023-01-01,x\n", {}, "line 2: has 3 cells, and its header 2"),
        ("burst,date\n1,2\n3\n", {}, "line 3: has 1 cells, and its header 2"),
        ("burst,burst\n1,2\n", {}, "has the column 'burst' more than once"),
        ("burst\nNaN\n", {}, "line 2: 'NaN' is no integer for burst"),
        ("burst\n1e999\n", {}, "line 2: '1e999' is no integer for burst"),
        (f"burst\n{'[' * 99999}\n", {}, "is no integer for burst"),
        (f"burst,date\n1,{'x' * 160}\n", {"id": "date"}, "is longer than 150 characters"),
        ("burst,date\n1,x\n2,x\n", {"id": "date"}, "2 rows have the name 'x'; ids must be unique"),
        ("burst,date\n1,NDVI\n2,ndvi\n", {"id": "date"}, "the ids 'NDVI' and 'ndvi' differ in their case alone"),
        ("burst\nx\n", {}, "line 2: 'x' is no integer for burst"),
        ("burst\n", {}, "has no rows"),
        ("burst,date\n1,../../etc\n", {"id": "date"}, "must be made of letters"),
    ],
)
def test_a_wrong_table_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, each: dict[str, Any], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("t.csv").write_text(text)
    with pytest.raises(ConfigError) as caught:
        each_row(ForEach(table="t.csv", **each), KNOWN)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-1, 1], ["1", "1-*"]),
        ([0.5, -0.5], ["0-5", "0-5-*"]),
        (["NDVI", "ndvi"], ["ndvi", "ndvi-*"]),
        (["北京", "上海"], ["empty", "empty-*"]),
        (["a b", "a-b", "a.b"], ["a-b", "a-b-*", "a-b-*"]),
        (["x" * 300, "y"], ["x" * 150 + "-*", "y"]),
        ([dt.date(2024, 1, 1), dt.time(12)], ["2024-01-01", "12-00-00"]),
    ],
)
def test_values_that_look_alike_in_a_name_are_told_apart(values: list[Any], expected: list[str]) -> None:
    rows = each_row(ForEach(parameters={"date": values}), KNOWN)
    assert len({row.label for row in rows}) == len(values)
    for row, label in zip(rows, expected, strict=True):
        assert re.fullmatch(re.escape(label).replace(r"\*", "[0-9a-f]{8}"), row.label)
    # What is added at the end renames nothing: no tile of before runs again.
    assert [row.label for row in each_row(ForEach(parameters={"date": values[:1]}), KNOWN)] == [rows[0].label]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"x", {1, 2}, [[float("-inf")]], object()])
def test_what_json_does_not_have_is_one_line(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^for_each\.parameters\.date: is "):
        each_row(ForEach(parameters={"date": [value]}), KNOWN)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([Decimal("1.50"), Decimal("2.00")]), [1.5, 2]),
        (pa.array([dt.time(1, 2), dt.time(3)]), ["01:02:00", "03:00:00"]),
        (pa.array([float("nan"), 1.0]), "row 1: pair is nan"),
        (pa.array([b"x", b"y"]), "row 1: pair is binary data"),
        (pa.array([dt.timedelta(1), None]), "row 1: pair is a timedelta"),
    ],
)
def test_values_of_parquet(tmp_path: Path, column: Any, expected: Any) -> None:
    pq.write_table(pa.table({"pair": column}), tmp_path / "t.parquet")
    each = ForEach(table=str(tmp_path / "t.parquet"))
    if isinstance(expected, str):
        with pytest.raises(ConfigError, match=expected):
            each_row(each, KNOWN)
        return
    assert [row.values["pair"] for row in each_row(each, KNOWN)] == expected


def test_names_of_targets_never_meet() -> None:
    """Tile a with row b_c, and tile a_b with row c: one would overwrite the other."""
    cells = geopandas.GeoDataFrame(
        {
            **{"tile_id": ["a", "a_b"], "crs": "EPSG:32632", "grid_code": ""},
            **{"xmin": [0.0, 10.0], "ymin": 0.0, "xmax": [10.0, 20.0], "ymax": 10.0},
        },
        geometry=[shapely.box(0, 0, 1, 1), shapely.box(1, 0, 2, 1)],
    )
    rows = [Row("b_c", {"x": 1}), Row("c", {"x": 2})]
    names = [target.id for target in _targets(cells, None, rows, halo=0, staging=None)]
    assert names[:2] == ["a_b_c", "a_c"]
    assert re.fullmatch(r"a_b_b_c", names[2])
    assert re.fullmatch(r"a_b_c-[0-9a-f]{8}", names[3])
    with pytest.raises(ConfigError, match=r"^for_each: the name a_x+… has 302 characters"):
        list(_targets(cells, None, [Row("x" * 300, {})], halo=0, staging=None))


@pytest.mark.parametrize(
    ("schema", "cell", "expected"),
    [
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "1", 1),
        ({"oneOf": [{"type": "number"}, {"type": "array"}]}, '"[1, 2]"', [1, 2]),
        ({"allOf": [{"type": "boolean"}]}, "true", True),
        ({"enum": [1, 2]}, "2", 2),
        ({"anyOf": [{"type": "integer"}, {"enum": ["all"]}]}, "1", "1"),
        ("int", "7", 7),
        (["null", "double"], "null", None),
        (["null", "File"], "1", "1"),
        ({"type": "enum", "symbols": ["1"]}, "1", "1"),
        ({"type": "array", "items": "int"}, '"[7]"', [7]),
        ({}, "1", "1"),
    ],
)
def test_a_cell_has_the_type_that_any_way_to_write_a_schema_asks_for(
    tmp_path: Path, schema: Any, cell: str, expected: Any
) -> None:
    (tmp_path / "t.csv").write_text(f"value\n{cell}\n")
    each = ForEach(table=str(tmp_path / "t.csv"))
    (row,) = each_row(each, {"value": Parameter("value", schema, True)})
    assert row.values == {"value": expected}
    assert type(row.values["value"]) is type(expected)
