"""What all bindings share: forms by name, dates by name and type, and the words of errors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.binding.test_contract import STEP, TILES, openeo
from upscaling.binding.base import MomentKind, date_pair, error_words, named_form, schema_error, time_choices
from upscaling.binding.openeo import Binder
from upscaling.errors import ConfigError
from upscaling.model import Coordinates


@pytest.mark.parametrize(
    ("name", "text", "default", "form"),
    [
        ("wkt", "", None, "wkt"),
        ("geometry", "as WKT", None, "wkt"),
        ("bbox", "Well-Known text", None, "wkt"),
        ("geometry", "", None, "geojson"),
        ("feature", "", None, "feature"),
        ("geometry", "a Feature", None, "feature"),
        ("bbox", "GeoJSON", None, "geojson"),
        ("bbox", "a GeoJSON Feature", None, "feature"),
        ("Bounding-Box", "", None, "bbox-string"),
        ("bbox", "of a feature", None, "bbox-string"),
        ("bbox", "", "1 2 3 4", "bbox-spaces"),
        ("bbox", "", " -1.5 2 3.25 4 ", "bbox-spaces"),
        ("bbox", "", "1 2 3", "bbox-string"),
        ("bbox", "", [1, 2, 3, 4], "bbox-string"),
        ("bbox", "delimited by blanks", None, "bbox-spaces"),
        ("name", "WKT of a GeoJSON", None, None),
    ],
)
def test_a_text_takes_the_form_that_its_name_description_and_default_ask_for(
    name: str, text: str, default: Any, form: str | None
) -> None:
    assert named_form(name, text, default) == form


@pytest.mark.parametrize(
    ("kinds", "pair"),
    [
        ({"start": "text", "end": "text"}, ("start", "end")),
        ({"end": "date", "start": "date"}, ("start", "end")),
        ({"period_start_day": "date", "period_end_day": "date"}, ("period_start_day", "period_end_day")),
        ({"mosaic_start": "date", "mosaic_end": "date"}, ("mosaic_start", "mosaic_end")),
        ({"mosaic_start": "text", "mosaic_end": "text"}, None),
        ({"start": "interval", "end": "interval"}, None),
        ({"start": None, "end": None}, None),
        ({"start": "date"}, None),
        ({"start": "date", "begin": "date", "end": "date"}, None),
        ({"start": "date", "begin": "date", "end": "date", "until": "date"}, None),
    ],
)
def test_two_dates_are_one_start_and_one_end(kinds: dict[str, MomentKind | None], pair: Any) -> None:
    assert date_pair(kinds) == pair


def test_an_interval_comes_before_two_dates_and_of_two_none_is_taken() -> None:
    dates: dict[str, MomentKind | None] = {"start": "date", "end": "date"}
    assert {name: choice.form for name, choice in time_choices(dates).items()} == {
        **{"start": "time-start", "end": "time-end"},
    }
    assert {name: choice.form for name, choice in time_choices({**dates, "t": "interval"}).items()} == {"t": "time"}
    assert time_choices({**dates, "t": "interval", "u": "interval"}) == {}
    assert time_choices({"start": "date"}) == {}


@pytest.mark.parametrize(("length", "shown"), [(299, "x" * 299), (300, "x" * 297 + "..."), (400, "x" * 297 + "...")])
def test_a_long_error_is_cut_and_says_where(length: int, shown: str) -> None:
    error = SimpleNamespace(message="x" * length, absolute_path=[])
    assert error_words(error) == shown
    error.absolute_path = ["bands", 2]
    assert error_words(error) == f"{shown} (at ['bands'][2])"


@pytest.mark.parametrize(
    "schema", [{"type": "strong"}, {"$ref": "https://h.example/schema"}, {"pattern": "("}, {"minimum": "many"}]
)
def test_a_schema_that_cannot_be_read_checks_nothing(schema: Any) -> None:
    assert schema_error(schema, 1) is schema_error(schema, "x") is None


def test_a_schema_is_read_as_its_platform_has_it() -> None:
    tuple_of = {"type": "array", "items": [{"type": "string"}]}  # a list of schemas: draft 7
    assert schema_error(tuple_of, [1], draft7=True) is not None
    assert schema_error(tuple_of, ["a"], draft7=True) is None
    prefix = {"type": "array", "prefixItems": [{"type": "string"}]}
    assert schema_error(prefix, [1]) is not None
    assert schema_error(prefix, [1], draft7=True) is None


def test_an_interval_of_the_configuration_takes_no_steps(tmp_path: Any) -> None:
    made = openeo(tmp_path, area="box", period="interval")
    with pytest.raises(
        ConfigError, match=r"^algorithm\.parameters\.period: comes from the time dimension: leave it out"
    ):
        Binder(made, {"period": ["2023-01-01", "2024-01-01"]}, {}, time=True)
    moments = openeo(tmp_path, area="box", start="moment", day="date")
    with pytest.raises(ConfigError, match=r"^time: p has no temporal interval, and no start and end date; .*time-last"):
        Binder(moments, {"day": "2023-01-01"}, {}, time=True)


@pytest.mark.parametrize(
    ("kind", "form", "sent"),
    [
        ("moment", "time-start", "2023-06-01T00:00:00Z"),
        ("moment", "time-string", "2023-06-01T00:00:00Z/2023-07-01T00:00:00Z"),
        ("date", "time-end", "2023-07-01"),
        ("text", "time-string", "2023-06-01/2023-07-01"),
        ("moment", "tile-id", "t1"),
    ],
)
def test_date_times_are_written_where_they_are_asked_for(tmp_path: Any, kind: str, form: str, sent: str) -> None:
    binder = Binder(openeo(tmp_path, area="box", when=kind), {}, {"when": form}, time=True, searched=True)
    assert binder.arguments(Coordinates(TILES["in a zone"], STEP))["when"] == sent
