"""Which inputs of a package take the tile and the step, in which form, and how each type has it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.algorithms.test_cwl import LONLAT, UTM
from tests.unit.binding.cwl_helpers import bind_package
from tests.unit.binding.test_cwl import BBOX, DOUBLES, POLYGON, package_of
from upscaling.binding.cwl import CwlBinder, space_choice
from upscaling.errors import ConfigError
from upscaling.model import Parameter

TEXTS = {"type": "array", "items": "string"}
FEATURE = {"type": "record", "name": "Feature", "fields": {"type": "string", "geometry": POLYGON}}
DATE = {"type": "record", "name": "https://h.example/string_format.yaml#Date", "fields": {"value": "string"}}
MOMENT = {"type": "record", "name": "string_format.yaml#DateTime", "fields": {"value": "string"}}


@pytest.mark.parametrize(
    ("name", "schema", "default", "text", "form", "detail"),
    [
        ("x", BBOX, None, "", "eoap-bbox", None),
        ("x", FEATURE, None, "", "feature", None),
        ("x", POLYGON, None, "", "geojson", None),
        ("x", ["null", POLYGON], None, "", "geojson", None),
        ("x", {"type": "record", "fields": {"type": "string", "coordinates": DOUBLES}}, None, "", None, None),
        ("x", {"type": "record", "fields": {"type": POLYGON["fields"]["type"]}}, None, "", None, None),  # type: ignore[index]
        ("x", {"type": "record", "fields": {"bbox": DOUBLES}}, None, "", None, None),
        ("Bounding-Box", DOUBLES, None, "", "bbox-array", "by CRS"),
        ("bbox", {"type": "array", "items": "float"}, None, "", "bbox-array", "by CRS"),
        ("bbox", TEXTS, None, "", None, None),
        ("weights", DOUBLES, None, "", None, None),
        ("epsg", "int", None, "", "epsg", None),
        ("epsg", "long", None, "", "epsg", None),
        ("epsg", "double", None, "", None, None),
        ("crs", "string", None, "", "epsg", None),
        ("crs", "string", "32632", "", "epsg", None),
        ("crs", "string", "epsg:32632", "", "epsg", None),
        ("crs", "string", "utm", "", None, None),
        ("aoi", "File", None, "", "geojson", None),
        ("scene", "File", None, "", None, None),
        ("bbox", "string", None, "", "bbox", "by CRS"),
        ("bbox", "string", None, "separated by spaces", "bbox-spaces", "by CRS"),
        ("aoi", "string", None, "as WKT", "wkt", "text"),
        ("aoi", "string", None, "GeoJSON", "geojson", None),
        ("aoi", "int", None, "", None, None),
        ("word", "string", None, "", None, None),
    ],
)
def test_type_and_name_say_whether_an_input_takes_the_tile(
    name: str, schema: Any, default: Any, text: str, form: str | None, detail: str | None
) -> None:
    choice = space_choice(Parameter(name, schema, required=True, default=default, description=text))
    assert (choice and choice.form, choice and choice.detail) == (form, detail)


WKT = ("string", None, "as WKT")
MAYBE_WKT = (["null", "string"], None, "as WKT")


@pytest.mark.parametrize(
    ("inputs", "bind", "forms"),
    [
        ({"wkt": MAYBE_WKT}, {}, {"wkt": "wkt"}),
        ({"wkt": MAYBE_WKT, "bbox": "string"}, {}, {"bbox": "bbox"}),
        ({"wkt": WKT, "bbox": "string"}, {}, {"wkt": "wkt", "bbox": "bbox"}),
        ({"wkt": MAYBE_WKT, "crs": "int"}, {}, {"wkt": "wkt", "crs": "epsg"}),
        ({"wkt": MAYBE_WKT, "box": "string"}, {"box": "bbox-latlon"}, {"box": "bbox-latlon"}),
        ({"wkt": MAYBE_WKT, "code": "int"}, {"code": "epsg"}, {"wkt": "wkt", "code": "epsg"}),
        ({"bbox": "string", "epsg": "int", "x": BBOX}, {}, {"bbox": "bbox", "epsg": "epsg", "x": "eoap-bbox"}),
    ],
)
def test_an_optional_wkt_beside_another_area_is_left_out(
    inputs: dict[str, Any], bind: dict[str, str], forms: dict[str, str]
) -> None:
    assert CwlBinder(package_of(**inputs), {}, bind).forms == forms


@pytest.mark.parametrize(
    ("name", "schema", "kind"),
    [
        ("time_interval", TEXTS, "interval"),
        ("time_interval", {"type": "array", "items": DATE}, "interval"),
        ("time_interval", {"type": "array", "items": ["null", "string"]}, "interval"),
        ("time_interval", {"type": "array", "items": "int"}, None),
        ("time_interval", {"type": "array", "items": ["int", "string"]}, None),
        ("bands", TEXTS, None),
        ("day", DATE, "date"),
        ("day", MOMENT, "date-time"),
        ("day", {"type": "record", "name": "Text", "fields": {"value": "string"}}, "text"),
        ("day", {"type": "record", "fields": {"value": "string"}}, "text"),
        ("day", {"type": "record", "name": "Date", "fields": {"value": "string", "zone": "string"}}, None),
        ("day", {"type": "record", "name": "Date", "fields": {"day": "string"}}, None),
        ("day", "string", "text"),
        ("day", ["null", "string"], "text"),
        ("day", ["null", DATE], "date"),
        ("day", "int", None),
    ],
)
def test_what_a_type_says_of_time(name: str, schema: Any, kind: str | None) -> None:
    moment = CwlBinder(package_of(bbox="string"), {}, {}).moment
    assert moment(Parameter(name, schema, required=True)) == kind


def test_the_inputs_that_take_a_time_step() -> None:
    package = package_of(bbox="string", end_date="string", start_date=DATE)
    forms = {name: choice.form for name, choice in CwlBinder.time_choices(package.parameters).items()}
    assert forms == {"start_date": "time-start", "end_date": "time-end"}


def edges() -> list[str]:
    return ["-1.5", "46", "-1", "46.5"]


@pytest.mark.parametrize(
    ("schema", "form", "written"),
    [
        (TEXTS, "bbox-array", edges()),
        (TEXTS, "bbox-lonlat", edges()),
        (TEXTS, "bbox-array-lonlat", None),
        (DOUBLES, "bbox-lonlat", [-1.5, 46.0, -1.0, 46.5]),
        ("string", "bbox-lonlat", "-1.5,46,-1,46.5"),
        ("string", "bbox-spaces", "-1.5 46 -1 46.5"),
        (BBOX, "bbox-lonlat", {"bbox": [-1.5, 46.0, -1.0, 46.5], "crs": "CRS84"}),
        ("int", "bbox-lonlat", None),
        ("string", "tile-id", "ll_1"),
        ("int", "epsg", 4326),
        ("string", "epsg", "EPSG:4326"),
        ("int", "wkt", None),
        (DOUBLES, "geojson", None),
    ],
)
def test_a_form_is_written_as_the_type_has_it_or_refused(schema: Any, form: str, written: Any) -> None:
    if written is None:
        with pytest.raises(ConfigError, match=rf"^algorithm\.bind\.x: the form {form} does not fit "):
            bind_package(package_of(x=schema, bbox="string"), LONLAT, {}, {"x": form})
    else:
        assert bind_package(package_of(x=schema, bbox="string"), LONLAT, {}, {"x": form})["x"] == written


def test_outlines_are_written_as_file_text_or_record() -> None:
    package = package_of(a="File", b="File", c="string", d=FEATURE, e="string", bbox="string")
    bind = {"a": "wkt", "b": "geojson", "c": "wkt", "d": "feature", "e": "feature-collection"}
    order = bind_package(package, LONLAT, {}, bind)
    assert order["a"]["class"] == order["b"]["class"] == "File"
    assert order["a"]["basename"] == "ll_1.wkt"
    assert order["a"]["contents"] == order["c"]
    assert order["c"].startswith("POLYGON ((")
    assert order["b"]["basename"] == "ll_1.geojson"
    assert json.loads(order["b"]["contents"])["type"] == "Polygon"
    assert (order["d"]["type"], order["d"]["geometry"]["type"]) == ("Feature", "Polygon")
    assert set(order["d"]) == {"type", "geometry"}
    assert json.loads(order["e"])["features"][0]["id"] == "ll_1"


def test_the_box_is_in_the_crs_that_the_package_is_told() -> None:
    own, lonlat = "674000 5150000 676000 5152000", bind_package(package_of(bbox="string"), UTM, {})["bbox"]
    spaces = ("string", None, "separated by spaces")
    assert bind_package(package_of(bbox=spaces, epsg="int"), UTM, {})["bbox"] == own
    assert bind_package(package_of(bbox=spaces), UTM, {})["bbox"] == lonlat.replace(",", " ")
    assert bind_package(package_of(bbox=spaces, code="int"), UTM, {}, {"code": "epsg"})["bbox"] == own
    for code in ("32632", "EPSG:32632"):
        assert bind_package(package_of(bbox=spaces, epsg="string"), UTM, {"epsg": code})["bbox"] == own
    assert bind_package(package_of(bbox=spaces, epsg="int"), UTM, {"epsg": 32632})["bbox"] == own
    for degrees in (4326, 0):
        package = package_of(bbox=spaces, epsg="int", n="int")
        if degrees:
            assert bind_package(package, UTM, {"epsg": degrees, "n": 1})["bbox"] == lonlat.replace(",", " ")
        else:
            with pytest.raises(ConfigError, match=r"^algorithm\.parameters\.epsg: is 0, but the tile is in EPSG:32632"):
                bind_package(package, UTM, {"epsg": degrees, "n": 1})
    package = package_of(bbox=spaces, number="int", epsg="int")
    assert bind_package(package, UTM, {"number": 1, "epsg": 32632})["bbox"] == own, "the first value is no code"
    crs84 = package_of(bbox=spaces, crs="string")
    assert bind_package(crs84, UTM, {"crs": "OGC:CRS84"})["bbox"] == lonlat.replace(",", " ")
    nothing = package_of(bbox=spaces, crs=["null", "string"])
    assert bind_package(nothing, UTM, {"crs": None})["bbox"] == lonlat.replace(",", " ")


def test_what_is_missing_is_named_with_its_type() -> None:
    with pytest.raises(ConfigError, match=r"^algorithm\.parameters\.n: app needs a value of type int$"):
        bind_package(package_of(bbox="string", n="int"), UTM, {})
    with pytest.raises(ConfigError, match=r"needs a value of type Directory, or a block of stage_in that fills it$"):
        bind_package(package_of(bbox="string", d="Directory"), UTM, {})
    assert bind_package(package_of(bbox="string", n=["null", "int"]), UTM, {"n": None})["n"] is None
