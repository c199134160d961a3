"""Which inputs of an OGC process take the tile, the step and a file, and in which form: schema by schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.binding.test_ogcapi import CRS84, STEP, TILE, algorithm, bound, degrees
from upscaling.algorithms.ogc_process import read_inputs
from upscaling.binding import ogcapi
from upscaling.binding.ogcapi import OgcBinder, space_choice
from upscaling.errors import ConfigError
from upscaling.model import Bounds, Coordinates, Parameter, Tile

TEXT: dict[str, Any] = {"type": "string"}
NUMBERS = {"type": "array", "items": {"type": "number"}}
NO_CODE = Tile("t1", "ESRI:54009", Bounds(674000, 5146000, 676000, 5148000))


def of_members(*names: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {} for name in names}}


@pytest.mark.parametrize(
    ("name", "schema", "form"),
    [
        ("x", {"type": "object", "format": "ogc-bbox"}, "bbox-auto"),
        ("x", of_members("bbox", "crs"), "bbox-auto"),
        ("x", of_members("bbox", "crs", "more"), "bbox-auto"),
        ("x", of_members("bbox"), None),
        ("x", {"type": "object", "format": "geojson-geometry"}, "geojson"),
        ("x", {"type": "object", "format": "geojson-feature"}, "feature"),
        ("x", {"type": "object", "format": "geojson-feature-collection"}, "feature-collection"),
        ("x", {"type": "string", "contentMediaType": "application/geo+json"}, "geojson"),
        ("x", {"type": "string", "contentMediaType": "application/json"}, None),
        ("x", of_members("type", "coordinates"), "geojson"),
        ("x", of_members("type", "geometry"), "feature"),
        ("x", of_members("type", "features"), "feature-collection"),
        ("x", of_members("type", "features", "name"), "feature-collection"),
        ("x", of_members("type"), None),
        ("intersects", {"type": "object"}, "geojson"),
        ("region", {"type": "object"}, None),
        ("intersects", TEXT, "geojson"),
        ("Bounding-Box", NUMBERS, "bbox-array"),
        ("bbox", {"type": "array", "items": {"type": "integer"}}, "bbox-array"),
        ("bbox", {"type": "array", "items": TEXT}, None),
        ("bbox", {"type": "array"}, None),
        ("weights", NUMBERS, None),
        ("bbox", TEXT, "bbox-string"),
        ("bbox", {"type": "string", "enum": ["alps"]}, None),
        ("bbox", {"type": "string", "format": "uri"}, None),
        ("bbox", {"type": "number"}, None),
        ("epsg", {"type": "integer"}, "epsg"),
        ("crs", TEXT, "epsg"),
        ("crs", {"type": "string", "format": "uri"}, "epsg"),
        ("crs", {"type": "number"}, None),
        ("crs", {"type": "string", "enum": ["EPSG:3035"]}, None),
        ("word", TEXT, None),
        ("x", {"anyOf": [TEXT, of_members("bbox", "crs")]}, "bbox-auto"),
    ],
)
def test_schema_and_name_say_whether_an_input_takes_the_tile(name: str, schema: Any, form: str | None) -> None:
    choice = space_choice(Parameter(name, schema, required=False))
    assert (choice.form if choice else None) == form


GEOJSON = {"schema": {"type": "object", "format": "geojson-geometry"}}
STRING, CODE = {"schema": TEXT}, {"schema": {"type": "integer"}}
BOX = {"schema": {"type": "object", "format": "ogc-bbox"}}


def optional(described: dict[str, Any]) -> dict[str, Any]:
    return {**described, "minOccurs": 0}


@pytest.mark.parametrize(
    ("inputs", "bind", "forms"),
    [
        ({"a": optional(GEOJSON), "b": optional(BOX)}, {}, {"a": "geojson"}),
        ({"a": optional(GEOJSON), "b": BOX}, {}, {"b": "bbox-auto"}),
        ({"a": GEOJSON, "b": BOX}, {}, {"a": "geojson", "b": "bbox-auto"}),
        ({"a": optional(GEOJSON), "n": STRING}, {"n": "bbox-lonlat"}, {"n": "bbox-lonlat"}),
        ({"a": GEOJSON, "n": STRING}, {"n": "wkt"}, {"a": "geojson", "n": "wkt"}),
        ({"a": optional(GEOJSON), "n": STRING}, {"n": "epsg"}, {"a": "geojson", "n": "epsg"}),
        (
            {"a": optional(GEOJSON), "n": STRING, "m": STRING},
            {"n": "epsg", "m": "wkt"},
            {"n": "epsg", "m": "wkt"},
        ),
        ({"aoi": STRING}, {}, {"aoi": "bbox-string-lonlat"}),
        ({"bbox": {"schema": NUMBERS}}, {}, {"bbox": "bbox-array-lonlat"}),
        ({"aoi": {**STRING, "description": "separated by spaces"}}, {}, {"aoi": "bbox-spaces-lonlat"}),
        ({"aoi": STRING, "epsg": optional(CODE)}, {}, {"aoi": "bbox-string", "epsg": "epsg"}),
        ({"aoi": STRING, "projection": CODE}, {"projection": "epsg"}, {"aoi": "bbox-string", "projection": "epsg"}),
        ({"a": GEOJSON, "epsg": optional(CODE)}, {}, {"a": "geojson"}),
        ({"a": GEOJSON, "epsg": CODE}, {}, {"a": "geojson", "epsg": "epsg"}),
        (
            {"a": GEOJSON, "aoi": STRING, "epsg": optional(CODE)},
            {},
            {"a": "geojson", "aoi": "bbox-string", "epsg": "epsg"},
        ),
        ({"n": STRING, "epsg": optional(CODE)}, {"n": "bbox-string"}, {"n": "bbox-string", "epsg": "epsg"}),
    ],
)
def test_the_tile_goes_to_what_must_be_there_else_to_the_first_and_its_code_where_edges_are_in_it(
    inputs: dict[str, Any], bind: dict[str, str], forms: dict[str, str]
) -> None:
    assert OgcBinder(algorithm(inputs), {}, bind).forms == forms


@pytest.mark.parametrize(
    ("name", "schema", "kind"),
    [
        ("period", {"type": "array", "items": {"type": "string", "format": "date"}}, "interval"),
        ("period", {"type": "array", "items": {"type": "string", "format": "date-time"}}, "interval"),
        ("time_interval", {"type": "array", "items": TEXT}, "interval"),
        ("bands", {"type": "array", "items": TEXT}, None),
        ("time_interval", {"type": "array", "items": {"type": "integer"}}, None),
        ("time_interval", {"type": "array"}, None),
        ("day", {"type": "string", "format": "date"}, "date"),
        ("day", {"type": "string", "format": "date-time"}, "date-time"),
        ("day", {"type": "string", "format": "uri"}, "text"),
        ("day", TEXT, "text"),
        ("day", {"type": "string", "enum": ["mon"]}, None),
        ("day", {"type": "integer"}, None),
        ("day", {"anyOf": [TEXT, {"type": "string", "format": "date"}]}, "date"),
        (
            "day",
            {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]},
            "date-time",
        ),
    ],
)
def test_what_a_schema_says_of_time(name: str, schema: Any, kind: str | None) -> None:
    assert OgcBinder(algorithm({"aoi": STRING}), {}, {}).moment(Parameter(name, schema, required=False)) == kind


def test_the_inputs_that_take_a_time_step() -> None:
    interval = {"type": "array", "items": {"type": "string", "format": "date"}}
    inputs = {"aoi": STRING, "period": {"schema": interval}, "start_date": STRING, "end_date": STRING}
    forms = {name: choice.form for name, choice in OgcBinder.time_choices(read_inputs({"inputs": inputs})).items()}
    assert forms == {"period": "time"}
    del inputs["period"]
    forms = {name: choice.form for name, choice in OgcBinder.time_choices(read_inputs({"inputs": inputs})).items()}
    assert forms == {"start_date": "time-start", "end_date": "time-end"}
    one_of = {"period": {"schema": {"anyOf": [TEXT, interval]}}}
    sent = bound({"aoi": STRING} | one_of, time=True)["period"]
    assert sent == [STEP.start, STEP.end]


def filled(inputs: dict[str, Any], bind: dict[str, str], tile: Tile = TILE) -> Any:
    return OgcBinder(algorithm(inputs), {}, bind).arguments(Coordinates(tile))


def test_a_box_names_its_crs_as_the_schema_lists_it() -> None:
    def listing(*names: str) -> dict[str, Any]:
        return {"a": {"schema": {"type": "object", "properties": {"bbox": {}, "crs": {"enum": list(names)}}}}}

    assert filled(listing("EPSG:4326", "EPSG:32632"), {})["a"] == {"bbox": list(TILE.bounds), "crs": "EPSG:32632"}
    for form in ("bbox-auto", "bbox-lonlat"):
        assert filled(listing("CRS84"), {"a": form})["a"] == {"bbox": pytest.approx(degrees()), "crs": "CRS84"}
    assert filled({"a": BOX}, {"a": "bbox-lonlat"})["a"] == {"bbox": pytest.approx(degrees()), "crs": CRS84}
    assert filled({"a": BOX}, {}, NO_CODE)["a"]["crs"] == CRS84
    with pytest.raises(ConfigError, match=r"^algorithm\.bind: the tiles' CRS has no EPSG code; use the form bbox-lonl"):
        filled({"a": BOX}, {"a": "bbox"}, NO_CODE)


def test_a_code_is_a_number_or_text_as_the_schema_and_the_default_have_it() -> None:
    for schema, code in [
        ({"type": "integer"}, 32632),
        (TEXT, "EPSG:32632"),
        ({"type": "string", "default": "4326"}, "32632"),
        ({"type": "string", "default": "EPSG:4326"}, "EPSG:32632"),
        ({"anyOf": [TEXT, {"type": "integer"}]}, 32632),
    ]:
        assert filled({"aoi": STRING, "crs": {"schema": schema}}, {})["crs"] == code
    with pytest.raises(ConfigError, match=r"^algorithm\.bind: the tiles' CRS has no EPSG code$"):
        filled({"aoi": STRING, "crs": CODE}, {}, NO_CODE)


def test_an_outline_is_text_only_where_nothing_but_text_is_taken() -> None:
    assert json.loads(filled({"a": STRING}, {"a": "geojson"})["a"])["type"] == "Polygon"
    either = {"schema": {"anyOf": [TEXT, {"type": "object"}]}}
    assert filled({"a": either}, {"a": "geojson"})["a"]["value"]["type"] == "Polygon"


def given(schema: dict[str, Any], value: Any, *, qualified: bool = True) -> Any:
    described = {"aoi": STRING, "v": {"schema": schema, "minOccurs": 0}}
    return bound(described, {"v": value}, qualified=qualified)["v"]


def test_values_that_are_qualified_already_are_checked_and_sent_as_they_are() -> None:
    settings = {"type": "object", "properties": {"depth": {"type": "integer"}}}
    assert given(settings, {"value": {"depth": 2}}) == {"value": {"depth": 2}}
    with pytest.raises(ConfigError, match=r"^algorithm\.parameters\.v: 'x' is not of type 'integer'"):
        given(settings, {"value": {"depth": "x"}})
    own = {"type": "object", "properties": {"value": {"type": "integer"}, "href": {}}}
    assert given(own, {"value": 3}) == {"value": {"value": 3}}
    assert given(own, {"value": 3, "href": "x"}) == {"value": {"value": 3, "href": "x"}}
    assert given(own, {"value": {"value": 3}, "mediaType": "x"}) == {"value": {"value": 3}, "mediaType": "x"}


def test_objects_are_qualified_each_and_those_with_a_type_are_geojson() -> None:
    anything: dict[str, Any] = {}
    point = {"type": "Point", "coordinates": [1, 2]}
    assert given(anything, point) == {"value": point, "mediaType": "application/geo+json"}
    assert given(anything, point, qualified=False) == point
    assert given(anything, {"type": "fast"}) == {"value": {"type": "fast"}}
    assert given(anything, {"depth": 1, "width": 2}) == {"value": {"depth": 1, "width": 2}}
    assert given(anything, {"bbox": [0, 0, 1, 1], "crs": CRS84}) == {"bbox": [0, 0, 1, 1], "crs": CRS84}
    assert given(anything, {"bbox": [0, 0, 1, 1]}) == {"bbox": [0, 0, 1, 1]}
    assert given(anything, [{"depth": 1}, 2]) == [{"value": {"depth": 1}}, 2]


def test_a_default_that_must_occur_is_qualified_too() -> None:
    settings = {"type": "object", "default": {"depth": 1}}
    assert bound({"aoi": STRING, "v": {"schema": settings}})["v"] == {"value": {"depth": 1}}


def test_files_are_sent_by_value_as_their_media_type_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sent(media_type: str, value: str) -> Any:
        return given({"type": "string", "contentMediaType": media_type}, value)

    path = tmp_path / "a.dat"
    path.write_bytes(b'{"a": 1}')
    assert sent("application/json", str(path)) == {"value": {"a": 1}, "mediaType": "application/json"}
    assert sent("text/plain", str(path)) == {"value": '{"a": 1}', "mediaType": "text/plain"}
    assert sent("application/xml", str(path)) == {"value": '{"a": 1}', "mediaType": "application/xml"}
    coded = {"value": "eyJhIjogMX0=", "encoding": "base64", "mediaType": "image/tiff"}
    assert sent("image/tiff", str(path)) == coded
    assert sent("text/csv", "a,b c") == {"value": "a,b c", "mediaType": "text/csv"}
    assert sent("text/csv", "x" * 5000) == {"value": "x" * 5000, "mediaType": "text/csv"}  # too long for a path
    for address in ("http://h.example/a", "https://h.example/a", "s3://bucket/a"):
        assert sent("text/csv", address) == {"href": address, "type": "text/csv"}
    monkeypatch.setattr(ogcapi, "_LARGEST_FILE", 8)
    assert sent("text/plain", str(path))["value"] == '{"a": 1}'
    path.write_bytes(b"{'a': 1} ")
    with pytest.raises(ConfigError, match=r"^algorithm\.parameters\.v: .*a\.dat is too large to be sent in a request"):
        sent("text/plain", str(path))
    path.write_bytes(b"{'a': 1}")
    with pytest.raises(ConfigError, match=r"a\.dat is not JSON$"):
        sent("application/json", str(path))


def test_what_is_missing_is_named_with_its_description() -> None:
    described = {**STRING, "description": " what it is " + "x" * 120}
    with pytest.raises(ConfigError) as caught:
        bound({"aoi": STRING, "product": described})
    assert str(caught.value) == f"algorithm.parameters.product: is required by p (what it is {'x' * 109})"
    with pytest.raises(ConfigError, match=r"^algorithm\.parameters\.product: is required by p$"):
        OgcBinder(algorithm({"n": CODE, "product": STRING}), {"n": 1}, {}, space=False)
