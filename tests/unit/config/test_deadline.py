"""Deadlines: durations and moments."""

from __future__ import annotations

import datetime as dt

import pytest

from upscaling.config import Config
from upscaling.config.deadline import seconds_left
from upscaling.errors import ConfigError

NOW = dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC)
BASE = {"run": "r", "algorithm": {"source": "a.json"}, "area": {"aoi": [0, 0, 1, 1]}, "backend": {"kind": "openeo"}}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3 days", 3 * 86400),
        ("3", 3 * 86400),
        ("36 hours", 36 * 3600),
        ("1.5h", 5400),
        ("90 min", 5400),
        ("2 weeks", 14 * 86400),
        ("2026-11-29", 36 * 3600),  # until that day ends
        ("2026-11-28T18:00:00Z", 6 * 3600),
        ("2026-11-28T18:00:00+02:00", 4 * 3600),
        ("2026-11-27", -12 * 3600),  # passed: said by the estimate's checks
    ],
)
def test_seconds_left(text: str, seconds: float) -> None:
    assert seconds_left(text, NOW) == seconds


@pytest.mark.parametrize("text", ["soon", "0 days", "-1 days", "2026-13-01", "3 parsecs", ""])
def test_what_is_no_deadline_is_told_with_its_key(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^c.yaml: deadline: must be"):
        Config.parse({**BASE, "deadline": text}, file="c.yaml")


def test_a_date_of_yaml_is_a_deadline() -> None:
    assert Config.parse({**BASE, "deadline": dt.date(2030, 1, 1)}).deadline == "2030-01-01"
