"""Binding the inputs of application packages to tiles; no runner is started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.algorithms.test_cwl import LONLAT, UTM
from tests.unit.binding.cwl_helpers import bind_package
from upscaling.binding.base import named_form
from upscaling.binding.cwl import CwlBinder
from upscaling.errors import ConfigError
from upscaling.model import Algorithm, Bounds, Coordinates, Parameter, Step, Tile


def package_of(**inputs: Any) -> Algorithm:
    """An algorithm with inputs name=(schema, default, description) or name=schema."""
    parameters = []
    for name, given in inputs.items():
        schema, default, text = given if isinstance(given, tuple) else (given, None, "")
        optional = isinstance(schema, list) and "null" in schema
        parameters.append(Parameter(name, schema, default is None and not optional, default, text))
    return Algorithm("cwl", "app", Path("app.cwl"), "0" * 64, "app.cwl", tuple(parameters))


DOUBLES = {"type": "array", "items": "double"}
POLYGON = {
    "type": "record",
    "name": "Polygon",
    "fields": {
        "type": {"type": "enum", "symbols": ["Polygon"]},
        "coordinates": {"type": "array", "items": DOUBLES},
        "bbox": DOUBLES,
    },
}
BBOX = {"type": "record", "name": "BBox", "fields": {"bbox": DOUBLES, "crs": {"type": "enum", "symbols": ["CRS84"]}}}


def test_projected_bounds_go_with_their_crs_and_are_not_grown() -> None:
    package = package_of(bbox="string", epsg=("string", "EPSG:4326", ""))
    assert bind_package(package, UTM, {}) == {"bbox": "674000,5150000,676000,5152000", "epsg": "EPSG:32632"}
    package = package_of(aoi="string", crs=["null", "int"])
    assert bind_package(package, UTM, {}) == {"aoi": "674000,5150000,676000,5152000", "crs": 32632}
    package = package_of(extent=DOUBLES, epsg=("string", "4326", ""))
    assert bind_package(package, UTM, {}) == {"extent": [674000, 5150000, 676000, 5152000], "epsg": "32632"}
    fraction = Tile("f", "EPSG:32632", Bounds(0.1, -20.5, 30.0, 1e7))
    assert bind_package(package_of(bbox="string", epsg="int"), fraction, {})["bbox"] == "0.1,-20.5,30,10000000"


def test_without_a_crs_input_the_envelope_in_degrees_is_passed() -> None:
    from pyproj import Transformer

    order = bind_package(package_of(bbox="string"), UTM, {})
    edges = [float(edge) for edge in order["bbox"].split(",")]
    to_lonlat = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    west, south, east, north = UTM.bounds
    corners = [to_lonlat.transform(x, y) for x in (west, east) for y in (south, north)]
    assert edges[0] <= min(x for x, _ in corners) < edges[2]
    assert edges == pytest.approx([11.26688, 46.48058, 11.29367, 46.49909], abs=1e-5)
    assert bind_package(package_of(bbox="string"), LONLAT, {}) == {"bbox": "-1.5,46,-1,46.5"}
    flipped = bind_package(package_of(box="string"), LONLAT, {}, {"box": "bbox-latlon"})
    assert flipped == {"box": "46,-1.5,46.5,-1"}
    # The CRS is fixed by the user: the box must follow it, or be refused.
    package = package_of(bbox="string", epsg=("string", "EPSG:4326", ""))
    assert bind_package(package, UTM, {"epsg": "EPSG:4326"})["bbox"] == order["bbox"]
    assert bind_package(package, UTM, {"epsg": "EPSG:32632"})["bbox"] == "674000,5150000,676000,5152000"
    with pytest.raises(ConfigError, match=r"algorithm\.parameters\.epsg: is EPSG:3035, but the tile is in EPSG:32632"):
        bind_package(package, UTM, {"epsg": "EPSG:3035"})


def test_records_and_geojson_are_bound_by_type() -> None:
    lonlat = [-1.5, 46.0, -1.0, 46.5]
    assert bind_package(package_of(x=BBOX), LONLAT, {}) == {"x": {"bbox": lonlat, "crs": "CRS84"}}
    polygon = bind_package(package_of(x=["null", POLYGON]), LONLAT, {})["x"]
    assert polygon["type"] == "Polygon"
    assert polygon["bbox"] == lonlat
    assert {tuple(p) for p in polygon["coordinates"]} >= {(-1.5, 46.0), (-1.0, 46.5)}  # one ring, as the type has it
    feature_type = {"type": "record", "name": "Feature", "fields": {"type": "string", "id": "string"}}
    feature_type["fields"]["geometry"] = [POLYGON]  # type: ignore[index]
    feature = bind_package(package_of(x=feature_type), LONLAT, {})["x"]
    assert (feature["type"], feature["id"], feature["geometry"]["type"]) == ("Feature", "ll_1", "Polygon")
    text = bind_package(package_of(aoi=("string", None, "Area as GeoJSON")), LONLAT, {})["aoi"]
    assert json.loads(text)["type"] == "Polygon"
    literal = bind_package(package_of(aoi="File"), LONLAT, {})["aoi"]
    assert literal["class"] == "File"
    assert [-1.0, 46.0] in json.loads(literal["contents"])["coordinates"][0]
    named = bind_package(package_of(where="string", name="string"), UTM, {}, {"where": "feature", "name": "tile-id"})
    assert json.loads(named["where"])["id"] == named["name"] == "utm32n_1"


@pytest.mark.parametrize(
    ("inputs", "parameters", "bind", "expected"),
    [
        ({"bbox": "string"}, {"foo": 1}, {}, "algorithm.parameters.foo: app has no such parameter; it has: bbox"),
        ({"bbox": "string"}, {}, {"foo": "bbox"}, "algorithm.bind.foo: app has no such parameter; it has: bbox"),
        ({"bbox": "string"}, {}, {"bbox": "square"}, "algorithm.bind.bbox: form must be one of bbox, "),
        ({"bbox": "int"}, {}, {"bbox": "bbox-array"}, "algorithm.bind.bbox: the form bbox-array does not fit int"),
        ({"bbox": "string", "n": "int"}, {}, {}, "algorithm.parameters.n: app needs a value of type int"),
        ({"bbox": "string", "n": "int"}, {"n": "3"}, {}, "algorithm.parameters.n: must be int, not '3'"),
        ({"bbox": "string", "n": "int"}, {"n": True}, {}, "algorithm.parameters.n: must be int, not True"),
        ({"bbox": "string", "n": "int"}, {"n": None}, {}, "algorithm.parameters.n: must be int, not null"),
        ({"bbox": "string", "n": DOUBLES}, {"n": [1, "x"]}, {}, "parameters.n: element 1: must be double, not 'x'"),
        ({"bbox": "string", "f": "File"}, {"f": "/no/f.tif"}, {}, "parameters.f: no such file: /no/f.tif"),
        ({"bbox": "string", "f": ["File", "Directory"]}, {"f": "/no"}, {}, "parameters.f: no such file: /no"),
        ({"bbox": "string", "f": "File"}, {"f": 3}, {}, "parameters.f: must be the path of a File, not 3"),
        ({"bbox": "string", "b": BBOX}, {"b": {"x": 1}}, {}, "parameters.b: BBox has no field x; it has bbox, crs"),
        (
            {"bbox": "string"},
            {"bbox": "1,2,3,4"},
            {},
            "algorithm.parameters.bbox: bbox is the area of app and comes from the tile",
        ),
        ({"epsg": "int"}, {}, {}, "area: app has no spatial parameter that a tile could fill (it has: epsg)"),
        ({"bbox": "string"}, {"bbox": "1"}, {"bbox": "bbox"}, "bind.bbox: has a value elsewhere too; keep one"),
    ],
)
def test_a_wrong_binding_is_refused_in_one_line(
    inputs: dict[str, Any], parameters: dict[str, Any], bind: dict[str, str], expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        bind_package(package_of(**inputs), UTM, parameters, bind)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("text", "default", "form"),
    [
        ("", "11.0 46 11.5 46.5", "bbox-spaces"),
        ("Edges, separated by spaces", None, "bbox-spaces"),
        ("", "11.0,46,11.5,46.5", "bbox-string"),
        ("Edges of the area", None, "bbox-string"),
    ],
)
def test_blanks_are_asked_for_by_words_or_by_a_default(text: str, default: str | None, form: str) -> None:
    assert named_form("bbox", text, default) == form


def test_parameters_become_what_cwl_spells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scene.tif").touch()
    (tmp_path / "stac").mkdir()
    monkeypatch.chdir(tmp_path)
    date = {"type": "record", "name": "Date", "fields": {"value": "string"}}
    package = package_of(
        bbox="string", scene=["Directory", "File"], many={"type": "array", "items": "File"}, day=["null", date], x="Any"
    )
    given = {"scene": "stac", "many": ["scene.tif", "s3://bucket/x.tif"], "day": "2022-06-12", "x": {"y": [1]}}
    order = bind_package(package, LONLAT, given)
    assert order == {
        "bbox": "-1.5,46,-1,46.5",
        "scene": {"class": "Directory", "path": str(tmp_path / "stac")},
        "many": [
            {"class": "File", "path": str(tmp_path / "scene.tif")},
            {"class": "File", "location": "s3://bucket/x.tif"},
        ],
        "day": {"value": "2022-06-12"},
        "x": {"y": [1]},
    }
    assert json.loads(json.dumps(order)) == order
    with_default = package_of(bbox="string", day=("string", "2022-06-01", ""))
    assert bind_package(with_default, LONLAT, {"day": None})["day"] is None  # CWL takes the default for null
    with pytest.raises(ConfigError, match=r"parameters\.day: must be string, not null"):
        bind_package(package_of(bbox="string", day="string"), LONLAT, {"day": None})
    assert bind_package(package, LONLAT, {**given, "scene": "scene.tif"})["scene"]["class"] == "File"


def test_a_crs_without_a_code_is_refused_where_a_code_is_taken() -> None:
    tile = Tile("t", "LOCAL_CS", Bounds(0, 0, 1, 1))
    with pytest.raises(ConfigError, match="the tiles' CRS has no EPSG code, which epsg takes"):
        bind_package(package_of(bbox="string", epsg="int"), tile, {})


@pytest.mark.parametrize(("schema", "filled"), [("string", True), (["null", "string"], False)])
def test_steps_for_a_search_of_items_fill_dates_only_if_the_package_requires_them(schema: Any, filled: bool) -> None:
    package = package_of(bbox="string", start_date=schema, end_date=schema)
    binder = CwlBinder(package, {}, {}, time=True, searched=True)
    order = binder.arguments(Coordinates(UTM, Step("2022-06", "2022-06-01", "2022-07-01")))
    assert ("start_date" in order) == ("end_date" in order) == filled
