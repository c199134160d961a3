"""Process descriptions become parameters, and tiles, steps and values their inputs; what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyproj import Transformer

from upscaling.algorithms.ogc_process import read_inputs, schema_of_cwl
from upscaling.binding.ogcapi import OgcBinder
from upscaling.errors import ConfigError
from upscaling.model import Algorithm, Bounds, Coordinates, Step, Tile

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
TILE = Tile("t1", "EPSG:32632", Bounds(674000, 5146000, 676000, 5148000))
STEP = Step("2023-06", "2023-06-01", "2023-07-01")
BBOX_REF = {"allOf": [{"format": "ogc-bbox"}, {"$ref": "https://schemas.opengis.net/ogcapi/processes/bbox.yaml"}]}


def algorithm(inputs: Any) -> Algorithm:
    return Algorithm("ogcapi", "p", Path("p.json"), "0", "p", tuple(read_inputs({"inputs": inputs})))


def bound(inputs: Any, parameters: dict[str, Any] | None = None, **options: Any) -> Any:
    binder = OgcBinder(algorithm(inputs), parameters or {}, options.pop("bind", {}), **options)
    return binder.arguments(Coordinates(TILE, STEP if options.get("time") else None, {}))


def degrees() -> list[float]:
    transformer = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    return list(transformer.transform_bounds(*TILE.bounds, densify_pts=21))


def test_a_bounding_box_is_in_degrees_unless_the_tiles_own_crs_is_listed() -> None:
    assert bound({"a": {"schema": BBOX_REF}}) == {"a": {"bbox": pytest.approx(degrees()), "crs": CRS84}}
    crs = {"enum": [CRS84, "http://www.opengis.net/def/crs/EPSG/0/32632"]}
    own = {"type": "object", "properties": {"bbox": {"type": "array"}, "crs": crs}}
    assert bound({"a": {"schema": own}}) == {"a": {"bbox": list(TILE.bounds), "crs": crs["enum"][1]}}
    crs["enum"][1] = "http://www.opengis.net/def/crs/EPSG/0/2632"
    assert bound({"a": {"schema": own}})["a"]["crs"] == CRS84
    short = {"type": "object", "properties": {"bbox": {}, "crs": {"enum": ["CRS84", "CRS84h"]}}}  # made from CWL
    assert bound({"a": {"schema": short}})["a"]["crs"] == "CRS84"
    explicit = bound({"a": {"schema": BBOX_REF}}, bind={"a": "bbox"})
    assert explicit["a"]["crs"] == "http://www.opengis.net/def/crs/EPSG/0/32632"


def test_geojson_is_qualified_or_bare() -> None:
    inputs = {"a": {"schema": {"type": "object", "format": "geojson-feature"}}}
    sent = bound(inputs)["a"]
    assert sent["mediaType"] == "application/geo+json"
    assert sent["value"]["type"] == "Feature"
    assert sent["value"]["geometry"]["type"] == "Polygon"
    assert bound(inputs, qualified=False)["a"]["type"] == "Feature"
    media = {"g": {"schema": {"type": "object", "contentMediaType": "application/geo+json"}}}
    assert bound(media)["g"]["value"]["type"] == "Polygon"
    reference = {"g": {"schema": {"$ref": "https://geojson.org/schema/FeatureCollection.json"}}}
    assert bound(reference)["g"]["value"]["type"] == "FeatureCollection"


def test_strings_and_lists_by_name_in_the_crs_that_is_told() -> None:
    aoi = {"aoi": {"schema": {"type": "string"}}}
    assert bound(aoi)["aoi"] == ",".join(map(repr, degrees()))
    with_code = {**aoi, "epsg": {"schema": {"type": "string"}, "minOccurs": 0}}
    assert bound(with_code) == {"aoi": "674000,5146000,676000,5148000", "epsg": "EPSG:32632"}
    numbers = {
        "bbox": {"schema": {"type": "array", "items": {"type": "number"}}},
        "crs": {"schema": {"type": "integer"}},
    }
    assert bound(numbers) == {"bbox": list(TILE.bounds), "crs": 32632}
    assert bound({"x": {"schema": {"type": "string"}}}, bind={"x": "wkt"})["x"].startswith("POLYGON ((")


def test_time_steps_as_interval_as_two_dates_and_as_text() -> None:
    area = {"aoi": {"schema": {"type": "string"}}}
    interval = {"period": {"schema": {"type": "array", "items": {"type": "string", "format": "date-time"}}}}
    assert bound(area | interval, time=True)["period"] == ["2023-06-01T00:00:00Z", "2023-07-01T00:00:00Z"]
    two = {"start_date": {"schema": {"type": "string"}}, "end_date": {"schema": {"type": "string", "format": "date"}}}
    sent = bound(area | two, time=True)
    assert (sent["start_date"], sent["end_date"]) == ("2023-06-01", "2023-07-01")
    text = {"toi": {"schema": {"type": "string"}}}
    assert bound(area | text, bind={"toi": "time-string"}, time=True)["toi"] == "2023-06-01/2023-07-01"
    with pytest.raises(ConfigError, match=r"^time: p has no temporal interval, and no start and end date"):
        bound(area | text, {"toi": "x"}, time=True)


def test_values_by_value_and_by_reference(tmp_path: Path) -> None:
    csv, image = tmp_path / "t.csv", tmp_path / "i.bin"
    csv.write_text("a,b\n")
    image.write_bytes(b"\x00\x01")
    inputs = {
        "aoi": {"schema": {"type": "string"}},
        "table": {"schema": {"type": "string", "contentMediaType": "text/csv"}},
        "image": {"schema": {"type": "string", "contentMediaType": "image/png", "contentEncoding": "binary"}},
        "far": {"schema": {"type": "string", "contentMediaType": "application/json"}},
        "settings": {"schema": {"type": "object", "properties": {"depth": {"type": "integer"}}}},
        "several": {"schema": {"type": "string"}, "maxOccurs": 3},
        "told": {"schema": {"type": "integer", "default": 3}},
        "untold": {"schema": {"type": "integer", "default": 3}, "minOccurs": 0},
    }
    given = {
        "table": str(csv),
        "image": str(image),
        "far": "https://h.example/item.json",
        "settings": {"depth": 2},
        "several": ["a", "b"],
    }
    sent = bound(inputs, given)
    del sent["aoi"]
    assert sent == {
        "table": {"value": "a,b\n", "mediaType": "text/csv"},
        "image": {"value": "AAE=", "encoding": "base64", "mediaType": "image/png"},
        "far": {"href": "https://h.example/item.json", "type": "application/json"},
        "settings": {"value": {"depth": 2}},
        "several": ["a", "b"],
        "told": 3,
    }
    assert bound(inputs, given | {"settings": {"href": "https://h.example/s"}})["settings"] == {
        "href": "https://h.example/s"
    }
    own = {"link": {"schema": {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"value": {}}}]}}}
    assert bound(AREA | own, {"link": {"value": 1}})["link"] == {"value": {"value": 1}}, "a member of its own"


AREA = {"aoi": {"schema": {"type": "string"}}}
KINDS = AREA | {
    "number": {"schema": {"type": "number", "exclusiveMinimum": True, "minimum": 0}, "minOccurs": 0},
    "word": {"schema": {"type": "string", "enum": ["red", "green"]}, "minOccurs": 0},
    "several": {"schema": {"type": "string"}, "minOccurs": 0, "maxOccurs": 2},
    "pair": {"schema": {"type": "string"}, "minOccurs": 2, "maxOccurs": 2},
    "settings": {"schema": {"type": "object", "properties": {"depth": {"type": "integer"}}}, "minOccurs": 0},
    "table": {"schema": {"type": "string", "contentMediaType": "text/csv"}, "minOccurs": 0},
}


@pytest.mark.parametrize(
    ("parameters", "bind", "line"),
    [
        ({"numbr": 1}, {}, "algorithm.parameters.numbr: p has no such parameter; did you mean 'number'?"),
        ({"number": "x"}, {}, "algorithm.parameters.number: 'x' is not of type 'number'"),
        ({"number": -1}, {}, "algorithm.parameters.number: -1 is less than the minimum of 0"),
        ({"word": "blue"}, {}, "algorithm.parameters.word: 'blue' is not one of ['red', 'green']"),
        ({"several": ["a", "b", "c"]}, {}, "algorithm.parameters.several: ['a', 'b', 'c'] is too long"),
        ({"pair": "a"}, {}, "algorithm.parameters.pair: 'a' is not of type 'array'"),
        (
            {"settings": {"depth": "x"}},
            {},
            "algorithm.parameters.settings: 'x' is not of type 'integer' (at ['depth'])",
        ),
        ({"table": "gone.csv"}, {}, "algorithm.parameters.table: no such file: gone.csv"),
        ({}, {}, "algorithm.parameters.pair: is required by p"),
        (
            {"pair": ["a", "b"], "aoi": "0,0,1,1"},
            {},
            "algorithm.parameters.aoi: aoi is the area of p and comes from the tile",
        ),
        ({"pair": ["a", "b"]}, {"word": "box"}, "algorithm.bind.word: form must be one of bbox"),
        ({"pair": ["a", "b"]}, {"word": "time"}, "algorithm.bind.word: time needs a time dimension"),
        ({"pair": ["a", "b"]}, {"word": "tile-id"}, "algorithm.bind.word: 't1' is not one of"),
    ],
)
def test_what_does_not_fit_is_one_line(parameters: dict[str, Any], bind: dict[str, str], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bound(KINDS, parameters, bind=bind)
    assert str(caught.value).startswith(line)


def test_a_run_without_area_may_not_leave_the_area_open() -> None:
    inputs = AREA | {"product": {"schema": {"type": "string"}}}
    with pytest.raises(ConfigError, match=r"^area: is required by p"):
        OgcBinder(algorithm(inputs), {}, {}, space=False, each=["product"])
    binder = OgcBinder(algorithm({"product": inputs["product"]}), {}, {}, space=False, each=["product"])
    assert binder.arguments(Coordinates(None, None, {"product": "S2A"})) == {"product": "S2A"}


def test_descriptions_of_drafts_before_1_0() -> None:
    old = [
        {"id": "bbox", "input": {"supportedCRS": [{"crs": CRS84}]}},
        {
            "id": "n",
            "minOccurs": 0,
            "input": {"literalDataDomains": [{"dataType": {"name": "double"}, "defaultValue": 1.5}]},
        },
        {
            "id": "w",
            "minOccurs": "1",
            "input": {"literalDataDomain": {"dataType": "string", "allowedValues": ["a", "b"]}},
        },
        {"id": "f", "minOccurs": 0, "input": {"formats": [{"mimeType": "text/csv"}]}},
    ]
    sent = bound(old, {"w": "a"})
    assert set(sent) == {"bbox", "w"}
    with pytest.raises(ConfigError, match="'c' is not one of"):
        bound(old, {"w": "c"})


def test_types_of_a_package_as_a_server_describes_them() -> None:
    assert schema_of_cwl(["null", "string"]) == {"type": "string", "nullable": True}
    assert schema_of_cwl({"type": "array", "items": "double"}) == {"type": "array", "items": {"type": "number"}}
    assert schema_of_cwl(["Directory", "File"])["anyOf"][0]["format"] == "uri"
    assert schema_of_cwl({"type": "enum", "symbols": ["a"]}) == {"type": "string", "enum": ["a"]}
    box = {"type": "record", "fields": {"bbox": {"type": "array", "items": "double"}, "crs": "string"}}
    assert set(schema_of_cwl(box)["properties"]) == {"bbox", "crs"}


def test_everything_bound_is_json() -> None:
    for form in ("bbox", "bbox-lonlat", "bbox-array", "bbox-string", "geojson", "feature-collection", "wkt"):
        json.dumps(bound({"x": {"schema": {}}}, bind={"x": form}), allow_nan=False)


def test_how_often_an_input_occurs_may_be_a_text() -> None:
    inputs = {"x": {"minOccurs": "0", "maxOccurs": "3", "schema": {"type": "number"}}}
    (parameter,) = read_inputs({"inputs": inputs})
    assert not parameter.required
    assert bound({"a": {"schema": BBOX_REF}, **inputs}, {"x": [1, 2]})["x"] == [1, 2]


def test_local_references_are_resolved_in_the_schema_and_in_the_description() -> None:
    area = {"type": "object", "format": "geojson-geometry", "next": {"$ref": "#/$defs/area"}}
    described = {
        "components": {"schemas": {"a/b": {"type": "integer", "maximum": 5, "title": "of all"}}},
        "inputs": {
            "own": {"schema": {"$ref": "#/$defs/area", "$defs": {"area": area}}},
            "shared": {"schema": {"$ref": "#/components/schemas/a~1b", "title": "of one"}},
            "itself": {"schema": {"$ref": "#/inputs/itself/schema"}},
            "nowhere": {"schema": {"$ref": "#/$defs/bbox"}},
        },
    }
    schemas = {parameter.name: parameter.schema for parameter in read_inputs(described)}
    assert schemas["own"]["format"] == "geojson-geometry"
    assert schemas["own"]["next"] == {}
    assert schemas["shared"] == {"type": "integer", "maximum": 5, "title": "of one", "x-minOccurs": 1}
    assert schemas["itself"] == {"x-minOccurs": 1}
    assert schemas["nowhere"]["format"] == "ogc-bbox"
