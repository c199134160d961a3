"""What an openEO process's schemas, texts and graph say of each parameter, and what values are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.udp_helpers import BOX, CORNERS, GEOJSON, TILE, algorithm, node, taking, udp
from upscaling.area.outline import tile_outline
from upscaling.binding.base import Choice
from upscaling.binding.openeo import (
    Binder,
    alternatives,
    check_arguments,
    check_value,
    temporal_extent,
)
from upscaling.errors import ConfigError
from upscaling.model import Algorithm, Bounds, Coordinates, Parameter, Tile

INTERVAL = {"type": "array", "subtype": "temporal-interval"}
TEXT = {"type": "string"}
AREA = {"from_parameter": "area"}


def parameter(schema: Any, name: str = "k", **more: Any) -> Parameter:
    return Parameter(name, schema, **{"required": True, **more})


def declaring(folder: Path, **schemas: Any) -> Algorithm:
    """A process with an area and the given parameters."""
    declared = [{"name": name, **given} for name, given in schemas.items()]
    return algorithm(folder, udp({"n": node("x", result=True)}, [{"name": "area", "schema": BOX}, *declared]))


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        (INTERVAL, "interval"),
        ([INTERVAL, {"type": "null"}], "interval"),
        (TEXT, "text"),
        ({"type": "string", "enum": ["mon"]}, None),
        ([TEXT, {"type": "string", "enum": ["mon"]}], None),
        ({"type": "string", "format": "date"}, "date"),
        ({"type": "string", "subtype": "date-time"}, "date-time"),
        ([{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}], "date"),
        ([{"type": "string", "format": "date-time"}, TEXT], "date"),
        ({"type": "string", "format": "uri"}, None),
        ([TEXT, {"type": "string", "format": "uri"}], "text"),
        ({"type": "number"}, None),
    ],
)
def test_what_a_schema_says_of_time(tmp_path: Path, schema: Any, kind: str | None) -> None:
    assert Binder(taking(tmp_path, BOX), {}, {}).moment(parameter(schema)) == kind


def test_the_parameters_that_take_a_time_step() -> None:
    dates = [parameter(TEXT, "start_date"), parameter({"type": "string", "format": "date"}, "end_date")]
    assert {n: c.form for n, c in Binder.time_choices(dates).items()} == {
        "start_date": "time-start",
        "end_date": "time-end",
    }
    assert {n: c.form for n, c in Binder.time_choices([*dates, parameter(INTERVAL, "t")]).items()} == {"t": "time"}


def test_alternatives_are_those_of_lists_any_of_and_one_of() -> None:
    assert list(alternatives([TEXT, {"anyOf": [BOX, {"oneOf": [GEOJSON]}]}])) == [TEXT, BOX, GEOJSON]
    assert list(alternatives({})) == [{}]
    assert list(alternatives("text")) == []


@pytest.mark.parametrize(
    ("schema", "form", "sent"),
    [
        (TEXT, "epsg", "EPSG:32632"),
        ({"type": "integer"}, "epsg", 32632),
        ([TEXT, {"type": "integer"}], "epsg", 32632),
        (TEXT, "tile-id", "t1"),
        (TEXT, "bbox-array", [676000.0, 5150000.0, 678000.0, 5152000.0]),
        ({"type": "object"}, "bbox-plain", dict(zip(CORNERS, TILE.bounds, strict=True))),
    ],
)
def test_a_form_is_text_where_only_text_is_taken(tmp_path: Path, schema: Any, form: str, sent: Any) -> None:
    binder = Binder(declaring(tmp_path, k={"schema": schema}), {}, {"k": form})
    assert binder.arguments(Coordinates(TILE))["k"] == sent


def test_outlines_are_text_or_objects_without_the_bbox_of_features(tmp_path: Path) -> None:
    def sent(schema: Any, form: str) -> Any:
        return Binder(declaring(tmp_path, k={"schema": schema}), {}, {"k": form}).arguments(Coordinates(TILE))["k"]

    assert json.loads(sent(TEXT, "feature")) == sent({}, "feature")
    assert set(sent({}, "feature")) == {"type", "id", "properties", "geometry"}
    collection = sent({}, "feature-collection")
    assert (set(collection), set(collection["features"][0])) == ({"type", "features"}, set(sent({}, "feature")))
    assert sent({}, "geojson")["type"] == "Polygon"
    assert sent(TEXT, "wkt").startswith("POLYGON ((")


def test_a_crs_without_a_code_goes_by_its_name(tmp_path: Path) -> None:
    tile = Tile("t", "ESRI:54009", Bounds(0, 0, 1000, 1000))
    assert Binder(taking(tmp_path, BOX), {}, {"place": "bbox"}).arguments(Coordinates(tile))["place"]["crs"] == tile.crs
    code = Binder(declaring(tmp_path, k={"schema": TEXT}), {}, {"k": "epsg"})
    assert code.arguments(Coordinates(tile))["k"] == tile.crs


def test_outlines_are_made_afresh_and_nothing_else_of_a_tile_changes(tmp_path: Path) -> None:
    binder = Binder(taking(tmp_path, BOX), {}, {})
    marked = replace(TILE, geometry={**(TILE.geometry or {}), "mark": 1})
    for form in ("geojson", "feature", "feature-collection", "wkt"):
        assert binder.tile_for(Choice(form), marked) == replace(TILE, geometry=tile_outline(marked, afresh=True))
    assert binder.tile_for(Choice("bbox-lonlat"), marked) is marked
    assert binder.tile_for(Choice("geojson"), None) is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (["2023", "2024"], None),
        (["2023", "2023-06"], None),
        (["2023-06", "2023"], "must be [start, end) with start before end (found ['2023-06', '2023'])"),
        (["2023-01", "2023"], "must be [start, end)"),
        (["2023-06-01", "2023-06-02"], None),
        (["2023-06-01", None], None),
        ([None, "2023-06-01"], None),
        ([None, None], "is open at both ends"),
        (["2023-01-01T00:00:00+02:00", "2022-12-31T22:30:00Z"], None),
        (["2023-01-01T00:00:00-02:00", "2023-01-01T01:00:00Z"], "must be [start, end)"),
        (["2023-01-01", "2023-01-01T00:00:00Z"], "must be [start, end)"),
        (["2023-01-01", "2023-01-01T00:00:01Z"], None),
        (["20230601T", "2023-07"], "'20230601T' is no date (2023-06-01) or date-time (2023-06-01T00:00:00Z)"),
        (["2023-13", None], "'2023-13' is no date"),
        (["2023-06-01"], None),  # its length is the schema's matter
    ],
)
def test_an_interval_is_two_moments_in_order(value: Any, words: str | None) -> None:
    if words is None:
        check_value(parameter(INTERVAL), value, {}, key="k")
        return
    with pytest.raises(ConfigError) as caught:
        check_value(parameter(INTERVAL), value, {}, key="k")
    assert str(caught.value).startswith(f"k: {words}")


POLYGON = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}


@pytest.mark.parametrize(
    ("value", "uses", "taken"),
    [
        (POLYGON, [("load_collection", "spatial_extent")], True),
        (POLYGON, [("aggregate_spatial", "geometries")], True),
        (POLYGON, [("aggregate_spatial", "geometries"), ("filter_bbox", "extent")], False),
        (POLYGON, [("x", "y")], False),
        ({"type": "FeatureCollection", "features": []}, [("load_stac", "spatial_extent")], True),
        ({"type": "Point", "coordinates": [1, 2]}, [("load_collection", "spatial_extent")], False),
    ],
)
def test_geojson_is_taken_for_a_box_where_it_goes_to_what_takes_it(
    tmp_path: Path, value: Any, uses: list[tuple[str, str]], taken: bool
) -> None:
    given = taking(tmp_path, {**BOX, "required": list(CORNERS)}, *uses)
    graph = json.loads(given.path.read_text())["process_graph"]
    if taken:
        check_value(given.parameters[0], value, graph, key="k")
    else:
        with pytest.raises(ConfigError, match="is a required property"):
            check_value(given.parameters[0], value, graph, key="k")


def test_arguments_of_a_call_are_checked_but_for_those_of_other_nodes(tmp_path: Path) -> None:
    given = declaring(tmp_path, n={"schema": {"type": "integer"}}, m={"schema": {"type": "integer"}, "default": 1})
    area = dict(zip(CORNERS, TILE.bounds, strict=True))
    check_arguments(given, {"area": area, "n": 1}, key="s")
    check_arguments(given, {"area": {"from_node": "a"}, "n": {"from_node": "b"}}, key="s")
    for arguments, line in [
        ({"area": area, "n": "x"}, "s.n: 'x' is not of type 'integer'"),
        ({"area": area, "n": {"from_parameter": "b"}}, "s.n: {'from_parameter': 'b'} is not of type 'integer'"),
        ({"area": area, "n": 1, "o": 1}, "s.o: p has no such parameter; it has: area, n, m"),
        ({"area": area}, "s.n: is required by p"),
        ({"area": area, "m": 1}, "s.n: is required by p"),
    ]:
        with pytest.raises(ConfigError) as caught:
            check_arguments(given, arguments, key="s")
        assert str(caught.value) == line


def test_what_is_missing_is_named_with_its_description_and_that_a_step_fills_it(tmp_path: Path) -> None:
    given = declaring(tmp_path, t={"schema": INTERVAL, "description": "The  period " + "of time " * 20})
    with pytest.raises(ConfigError) as caught:
        Binder(given, {}, {})
    told = str(caught.value)
    assert told.startswith("algorithm.parameters.t: is required by p (The period of time of time")
    assert told.endswith(" …); a time dimension fills it too")
    with pytest.raises(ConfigError, match=r"^algorithm\.parameters\.n: is required by p$"):
        Binder(declaring(tmp_path, n={"schema": {"type": "integer"}}), {}, {})


@pytest.mark.parametrize(
    ("schemas", "arguments", "extent"),
    [
        ({"t": {"schema": INTERVAL}}, {"t": ["2023-01-01", None]}, ("2023-01-01", None)),
        ({"t": {"schema": INTERVAL, "default": ["2020", "2021"]}}, {}, ("2020", "2021")),
        ({"t": {"schema": INTERVAL, "default": ["2020", "2021"]}}, {"t": ["2022", "2023"]}, ("2022", "2023")),
        ({"t": {"schema": INTERVAL}, "u": {"schema": INTERVAL}}, {"t": "x", "u": ["1", "2"]}, ("1", "2")),
        ({"t": {"schema": INTERVAL}, "u": {"schema": INTERVAL}}, {"t": ["x"], "u": ["1", "2"]}, ("1", "2")),
        ({"start": {"schema": TEXT}, "end": {"schema": TEXT, "default": "b"}}, {"start": "a"}, ("a", "b")),
        ({"start": {"schema": TEXT}, "end": {"schema": TEXT}}, {"start": "a", "end": None}, None),
        ({"start": {"schema": TEXT}, "end": {"schema": TEXT}}, {"start": 1, "end": "b"}, None),
        ({"year": {"schema": TEXT}}, {"year": "2020"}, None),
    ],
)
def test_the_time_of_a_job_is_its_interval_or_its_two_dates(
    tmp_path: Path, schemas: dict[str, Any], arguments: dict[str, Any], extent: Any
) -> None:
    assert temporal_extent(declaring(tmp_path, **schemas), arguments) == extent


def with_corners(crs: Any = None, **more: Any) -> dict[str, Any]:
    return {**BOX, "properties": {**CORNERS, **({} if crs is None else {"crs": crs})}, **more}


@pytest.mark.parametrize(
    ("schema", "description", "form", "why"),
    [
        (with_corners({}), "", "bbox", "its type is bounding-box"),
        ([with_corners(), with_corners({})], "", "bbox", "its type is bounding-box"),
        (with_corners(), "", "bbox-lonlat-plain", "its schema admits no other CRS"),
        (with_corners({"type": "string"}), "", "bbox-epsg-text", "its schema takes the CRS as text"),
        (with_corners({"enum": [4326]}), "", "bbox-lonlat", "its schema admits no other CRS"),
        (with_corners({"enum": ["EPSG:4326"]}), "", "bbox-lonlat-text", "its schema admits no other CRS"),
        (with_corners({}), "in degrees", "bbox-lonlat", "its description asks for degrees"),
        (with_corners({}), "lon/lat by default", "bbox", "its type is bounding-box"),
        (with_corners({}, title="WGS 84 box"), "", "bbox-lonlat", "its description asks for degrees"),
        (with_corners({}, description="longitude and latitude"), "", "bbox-lonlat", "its description asks for degrees"),
        (
            {**with_corners({}), "properties": {"west": {"type": "number", "maximum": 180}, "crs": {}}},
            "",
            "bbox-lonlat",
            "its schema admits no other CRS",
        ),
    ],
)
def test_a_box_is_in_the_crs_that_schema_and_texts_admit(
    tmp_path: Path, schema: Any, description: str, form: str, why: str
) -> None:
    given = taking(tmp_path, schema, ("load_collection", "spatial_extent"), description=description)
    assert Binder(given, {}, {}).choices["place"] == Choice(form, why)


NO_CRS = "def apply_datacube(cube, context):\n    west = context['area']['west']\n    return cube\n"
AS_TEXT = "def apply_datacube(cube, context):\n    code = context['area']['crs'].split(':')[1]\n    return cube\n"


@pytest.mark.parametrize(
    ("codes", "form"),
    [([NO_CRS, NO_CRS], "bbox-lonlat"), ([NO_CRS, AS_TEXT], "bbox-epsg-text"), ([AS_TEXT, AS_TEXT], "bbox-epsg-text")],
)
def test_one_udf_that_reads_the_crs_is_enough(tmp_path: Path, codes: list[str], form: str) -> None:
    graph = {
        f"u{number}": node("run_udf", result=not number, udf=code, context={"area": AREA})
        for number, code in enumerate(codes)
    }
    given = algorithm(tmp_path, udp(graph, [{"name": "area", "schema": BOX}]))
    assert Binder(given, {}, {}).choices["area"].form == form


COLLECTION = {"type": "FeatureCollection", "features": []}


@pytest.mark.parametrize(
    ("schema", "more", "form"),
    [
        (GEOJSON, {}, "geojson"),
        (GEOJSON, {"description": "A FeatureCollection"}, "feature-collection"),
        (GEOJSON, {"description": "A feature collection or a polygon"}, "geojson"),
        ({**GEOJSON, "description": "a feature collection"}, {}, "feature-collection"),
        (GEOJSON, {"default": COLLECTION, "optional": True}, "feature-collection"),
        ({**GEOJSON, "examples": [{"type": "Feature"}]}, {}, "feature"),
        ({**GEOJSON, "examples": ["x", COLLECTION]}, {}, "feature-collection"),
        ({**GEOJSON, "properties": {"type": {"enum": ["Feature"]}}}, {}, "feature"),
        (
            {**GEOJSON, "properties": {"type": {"enum": ["Point"]}}},
            {"description": "feature collection"},
            "feature-collection",
        ),
    ],
)
def test_geojson_is_of_the_kind_that_is_shown_or_fits(tmp_path: Path, schema: Any, more: Any, form: str) -> None:
    assert Binder(taking(tmp_path, schema, **more), {}, {}).forms == {"place": form}


@pytest.mark.parametrize(
    ("schema", "uses", "form", "why"),
    [
        (BOX, [("mask_polygon", "mask"), ("filter_bbox", "extent")], "bbox", "its type is bounding-box"),
        ({"type": "object"}, [("filter_bbox", "extent")], "bbox", "goes to filter_bbox.extent"),
        ({}, [("load_collection", "spatial_extent")], "bbox", "goes to load_collection.spatial_extent"),
        ({"type": ["object", "null"]}, [("load_collection", "spatial_extent")], "bbox", "goes to load_collection"),
        (GEOJSON, [("filter_bbox", "extent")], "bbox", "goes to filter_bbox.extent"),
        (GEOJSON, [("load_collection", "spatial_extent")], "geojson", "its type is geojson"),
        ({"type": "object"}, [("vector_buffer", "geometries")], "geojson", "goes to vector_buffer.geometries"),
        (
            {"type": "object", "subtype": "datacube"},
            [("load_collection", "spatial_extent")],
            "geojson",
            "its type is a vector cube",
        ),
    ],
)
def test_what_a_parameter_goes_to_decides_between_box_and_outline(
    tmp_path: Path, schema: Any, uses: list[tuple[str, str]], form: str, why: str
) -> None:
    choice = Binder(taking(tmp_path, schema, *uses), {}, {}).choices["place"]
    assert choice.form == form
    assert choice.why.startswith(why)


@pytest.mark.parametrize("schema", [TEXT, {"type": "object"}, {"type": ["string", "null"]}])
def test_what_is_no_place_takes_no_tile(tmp_path: Path, schema: Any) -> None:
    uses = [("load_collection", "spatial_extent")] if schema != {"type": "object"} else []
    with pytest.raises(ConfigError, match=r"^area: p has no spatial parameter"):
        Binder(taking(tmp_path, schema, *uses), {}, {})
