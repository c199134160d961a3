"""Time steps of the calendar, lists and tables of values, and the names of targets."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upscaling.config import ForEach, Time
from upscaling.errors import ConfigError
from upscaling.model import Parameter
from upscaling.planning.dimensions import each_row, time_steps

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


DATES = st.dates(dt.date(1990, 1, 1), dt.date(2040, 1, 1))


@given(DATES, st.integers(1, 900), st.sampled_from(["day", "dekad", "month", "year", "16 days", "100 days"]))
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
        ({"start": "2023-01-01", "end": "2023-03-01", "step": "fortnight"}, "time.step: must be day, dekad"),
        ({"start": "2023-01-01", "end": "2023-03-01", "step": "0 days"}, "time.step: must be at least"),
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
