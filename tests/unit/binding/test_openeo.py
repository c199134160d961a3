"""What a tile and a time step become for each parameter, and what is refused before anything is sent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import shapely

from tests.unit.udp_helpers import BOX, CORNERS, GEOJSON, TILE, TIME, algorithm, node, taking, udp
from upscaling.algorithms.catalogue import pin_algorithm
from upscaling.algorithms.udp import read_parameters
from upscaling.area.outline import footprint
from upscaling.binding.openeo import Binder, temporal_extent
from upscaling.config import Algorithm as AlgorithmConfig
from upscaling.errors import ConfigError
from upscaling.model import Algorithm, Bounds, Coordinates, Step, Tile

JUNE = Step("2022-06", "2022-06-01", "2022-07-01")
LOAD, STATISTICS = ("load_collection", "spatial_extent"), ("aggregate_spatial", "geometries")
INTERVAL = {"type": "array", "subtype": "temporal-interval"}
DATE = {"type": "string", "subtype": "date", "format": "date"}
VECTOR_CUBE = {"type": "object", "subtype": "datacube", "dimensions": [{"type": "geometry"}]}


def max_ndvi(shared_data: Path, tmp_path: Path) -> Algorithm:
    path = shared_data / "apex_catalogue/vito/max_ndvi/openeo_udp/max_ndvi.json"
    return pin_algorithm(AlgorithmConfig(source=str(path)), tmp_path).algorithm


def lonlat_box(crs: dict[str, Any] | None) -> dict[str, Any]:
    """A bounding box as the schema of a service spells it, with or without a ``crs``."""
    properties = {**CORNERS, **({} if crs is None else {"crs": crs})}
    return {**BOX, "required": list(CORNERS), "properties": properties}


def test_a_tile_goes_out_as_projected_bounds_with_its_crs(shared_data: Path, tmp_path: Path) -> None:
    ndvi = max_ndvi(shared_data, tmp_path)
    arguments = Binder(ndvi, {"temporal_extent": TIME}, {}).arguments(Coordinates(TILE))
    assert arguments == {
        "temporal_extent": TIME,
        "bbox": {"west": 676000.0, "south": 5150000.0, "east": 678000.0, "north": 5152000.0, "crs": 32632},
    }
    assert temporal_extent(ndvi, arguments) == tuple(TIME)


@pytest.mark.parametrize(
    ("schema", "uses", "form"),
    [
        (BOX, [LOAD], "bbox"),
        (BOX, [], "bbox"),  # a process of the platform's own
        ([BOX, VECTOR_CUBE, {"type": "null"}], [LOAD], "bbox"),
        ([GEOJSON, BOX], [LOAD], "bbox"),  # both go: the box has exactly the tile's edges
        ({"anyOf": [BOX, {"type": "null"}]}, [LOAD], "bbox"),
        (BOX, [LOAD, STATISTICS], "geojson"),  # typed a box, and needs polygons
        ([BOX, VECTOR_CUBE], [("filter_spatial", "geometries")], "geojson"),
        (lonlat_box({"type": "integer"}), [("vector_to_raster", "data")], "geojson"),
        (GEOJSON, [LOAD], "geojson"),
        (GEOJSON, [], "geojson"),
        (GEOJSON, [("filter_bbox", "extent")], "bbox"),
        (VECTOR_CUBE, [LOAD], "geojson"),
        ({"type": "object"}, [LOAD], "bbox"),
        ({}, [("mask_polygon", "mask")], "geojson"),
        ({**GEOJSON, "required": ["type", "features"]}, [STATISTICS], "feature-collection"),
        ({**GEOJSON, "properties": {"type": {"enum": ["Feature"]}}}, [], "feature"),
        ({**GEOJSON, "description": "A feature collection with the fields"}, [], "feature-collection"),
        ({**GEOJSON, "description": "A polygon, or a FeatureCollection of them"}, [], "geojson"),
        ({"type": "string"}, [STATISTICS], None),  # an address of polygons, say
        ({"type": "object", "subtype": "datacube"}, [], None),
        ({"type": "array", "items": BOX}, [], None),
    ],
)
def test_schema_and_use_choose_the_form(
    tmp_path: Path, schema: Any, uses: list[tuple[str, str]], form: str | None
) -> None:
    given = taking(tmp_path, schema, *uses)
    if form is None:
        with pytest.raises(ConfigError, match=r"^area: p has no spatial parameter .*\(it has: place\)"):
            Binder(given, {}, {})
        return
    binder = Binder(given, {}, {})
    assert binder.forms == {"place": form}
    value = binder.arguments(Coordinates(TILE))["place"]
    assert (
        value.get("type", "bbox")
        == {
            "bbox": "bbox",
            "geojson": "Polygon",
            "feature": "Feature",
            "feature-collection": "FeatureCollection",
        }[form]
    )


@pytest.mark.parametrize(
    ("schema", "description", "crs"),
    [
        (lonlat_box({"anyOf": [{"type": "integer", "minimum": 1000}, {"type": "string"}]}), "", 32632),
        (lonlat_box({"type": "string"}), "", "EPSG:32632"),
        (lonlat_box({"type": "integer", "enum": [4326]}), "", 4326),
        (lonlat_box({"type": "string", "enum": ["EPSG:4326"]}), "", "EPSG:4326"),
        (lonlat_box(None), "", None),
        (BOX, "Bounding box in EPSG:4326", 4326),
        (BOX, "west, south, east, north as longitude and latitude", 4326),
        (BOX, "Bounding box; the CRS defaults to EPSG:4326", 32632),
        ({**BOX, "properties": {"west": {"minimum": -180, "maximum": 180}, "crs": {}}}, "", 4326),
    ],
)
def test_a_box_is_in_degrees_where_only_degrees_are_taken(
    tmp_path: Path, schema: Any, description: str, crs: Any
) -> None:
    box = Binder(taking(tmp_path, schema, LOAD, description=description), {}, {}).arguments(Coordinates(TILE))["place"]
    assert box.get("crs") == crs
    if crs in (32632, "EPSG:32632"):
        assert box["west"] == 676000.0
        return
    to_utm = pyproj.Transformer.from_crs(4326, 32632, always_xy=True)
    back = to_utm.transform_bounds(box["west"], box["south"], box["east"], box["north"])
    assert all(low <= edge for low, edge in zip(back[:2], TILE.bounds[:2], strict=True))
    assert all(high >= edge for high, edge in zip(back[2:], TILE.bounds[2:], strict=True))


def test_the_users_choice_of_a_form_wins(tmp_path: Path) -> None:
    given = taking(tmp_path, BOX, LOAD)
    assert Binder(given, {}, {"place": "feature-collection"}).forms == {"place": "feature-collection"}
    assert Binder(given, {}, {"place": "bbox-lonlat"}).arguments(Coordinates(TILE))["place"]["crs"] == 4326


@pytest.mark.parametrize(
    ("crs", "bounds"),
    [
        ("EPSG:32633", (700_000, 7_300_000, 800_000, 7_400_000)),
        ("EPSG:32632", (676_000, 5_150_000, 678_000, 5_152_000)),
        ("EPSG:3035", (3_000_000, 2_000_000, 3_500_000, 2_500_000)),
        ("EPSG:4326", (10, 50, 11, 51)),
    ],
)
def test_an_outline_in_degrees_follows_the_tiles_edges(
    tmp_path: Path, crs: str, bounds: tuple[float, float, float, float]
) -> None:
    """A 10 m pixel belongs to the tile that its centre lies in, 5 m from the edge: half a metre flips none."""
    tile = Tile("t", crs, Bounds(*bounds), geometry=footprint(Bounds(*bounds), crs))
    outline = Binder(taking(tmp_path, GEOJSON), {}, {}).arguments(Coordinates(tile))["place"]
    back = pyproj.Transformer.from_crs(4326, crs, always_xy=True)
    dense = shapely.segmentize(shapely.geometry.shape(outline), 0.001)
    points = np.column_stack(back.transform(*shapely.get_coordinates(dense).T))
    metres = 111_320 if crs == "EPSG:4326" else 1
    assert shapely.hausdorff_distance(shapely.LinearRing(points), shapely.box(*bounds).exterior) * metres < 0.52
    assert shapely.is_ccw(shapely.geometry.shape(outline).exterior)


def test_a_shape_within_the_bounds_keeps_its_outline(tmp_path: Path) -> None:
    west, south, east, north = TILE.bounds
    hexagon = [(west, south + 999), (west + 700, south), (east, south + 900), (east - 500, north), (west, south + 999)]
    lonlat = pyproj.Transformer.from_crs(32632, 4326, always_xy=True)
    outline = {"type": "Polygon", "coordinates": [[list(lonlat.transform(*point)) for point in hexagon]]}
    binder = Binder(taking(tmp_path, GEOJSON), {}, {})
    assert binder.arguments(Coordinates(replace(TILE, geometry=outline)))["place"] == outline


def test_a_tile_across_the_antimeridian_is_a_multipolygon_and_never_a_box_in_degrees(tmp_path: Path) -> None:
    bounds = Bounds(800_000, 8_000_000, 830_000, 8_030_000)
    tile = Tile("fiji", "EPSG:32760", bounds, geometry=footprint(bounds, "EPSG:32760"))
    given = taking(tmp_path, BOX, LOAD)
    assert Binder(given, {}, {}).arguments(Coordinates(tile))["place"]["crs"] == 32760
    assert Binder(given, {}, {"place": "geojson"}).arguments(Coordinates(tile))["place"]["type"] == "MultiPolygon"
    with pytest.raises(ConfigError, match="tile fiji crosses the antimeridian"):
        Binder(given, {}, {"place": "bbox-lonlat"}).arguments(Coordinates(tile))


@pytest.mark.parametrize(
    ("parameters", "filled"),
    [
        ({"time": INTERVAL}, {"time": ["2022-06-01", "2022-07-01"]}),
        ({"startdate": DATE, "enddate": DATE}, {"startdate": "2022-06-01", "enddate": "2022-07-01"}),
        (
            {"start_date": {"type": "string"}, "end_date": {"type": "string"}, "backend": {"type": "string"}},
            {"start_date": "2022-06-01", "end_date": "2022-07-01"},
        ),
        (
            {"from": {"type": "string", "format": "date-time"}, "until": {"type": "string", "format": "date-time"}},
            {"from": "2022-06-01T00:00:00Z", "until": "2022-07-01T00:00:00Z"},
        ),
    ],
)
def test_a_time_step_fills_an_interval_or_two_dates(
    tmp_path: Path, parameters: dict[str, Any], filled: dict[str, Any]
) -> None:
    declared = [{"name": name, "schema": schema, "optional": True} for name, schema in parameters.items()]
    given = algorithm(tmp_path, udp({"n": node("x", result=True)}, [{"name": "area", "schema": BOX}, *declared]))
    arguments = Binder(given, {}, {}, time=True).arguments(Coordinates(TILE, JUNE))
    assert {name: value for name, value in arguments.items() if name != "area"} == filled
    assert temporal_extent(given, filled) == tuple(filled.values() if len(filled) > 1 else filled["time"])


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"reference": INTERVAL, "current": INTERVAL}, "algorithm.bind: p has 2 temporal intervals (reference, curr"),
        ({"year": {"type": "string"}}, "time: p has no temporal interval, and no start and end date; name them in"),
        ({"trend": {"type": "string"}, "legend": {"type": "string"}}, "time: p has no temporal interval"),
    ],
)
def test_a_time_dimension_with_nowhere_to_go_is_one_line(
    tmp_path: Path, parameters: dict[str, Any], words: str
) -> None:
    declared = [{"name": name, "schema": schema, "default": None} for name, schema in parameters.items()]
    given = algorithm(tmp_path, udp({"n": node("x", result=True)}, [{"name": "area", "schema": BOX}, *declared]))
    with pytest.raises(ConfigError) as caught:
        Binder(given, {}, {}, time=True)
    assert str(caught.value).startswith(words)


def test_one_of_two_intervals_takes_the_steps_once_the_other_has_a_value(tmp_path: Path) -> None:
    declared = [{"name": name, "schema": INTERVAL} for name in ("reference", "current")]
    given = algorithm(tmp_path, udp({"n": node("x", result=True)}, [{"name": "area", "schema": BOX}, *declared]))
    reference = ["2020-01-01", "2021-01-01"]
    assert Binder(given, {"reference": reference}, {}, time=True).forms["current"] == "time"
    assert Binder(given, {"current": TIME}, {"reference": "time"}, time=True).forms["reference"] == "time"


@pytest.mark.parametrize(
    ("parameters", "bind", "words"),
    [
        ({}, {}, "algorithm.parameters.temporal_extent: is required by max_ndvi"),
        ({"temporal_extent": TIME, "bbx": 1}, {}, "no such parameter; did you mean 'bbox'?"),
        ({"temporal_extent": TIME, "bbox": {"west": 0, "south": 0, "east": 1, "north": 1}}, {}, "comes from the tile"),
        ({"temporal_extent": "2022"}, {}, "algorithm.parameters.temporal_extent: '2022' is not of type 'array'"),
        ({"temporal_extent": ["2022-07-01", "2022-06-01"]}, {}, "temporal_extent: must be [start, end) with start"),
        ({"temporal_extent": ["2022-02-30", None]}, {}, "temporal_extent: '2022-02-30' is no date"),
        ({"temporal_extent": [None, None]}, {}, "temporal_extent: "),
        ({"temporal_extent": TIME}, {"bbox": "square"}, "algorithm.bind.bbox: form must be one of"),
        ({"temporal_extent": TIME}, {"box": "bbox"}, "algorithm.bind.box: "),
    ],
)
def test_wrong_parameters_are_refused(
    shared_data: Path, tmp_path: Path, parameters: dict[str, Any], bind: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Binder(max_ndvi(shared_data, tmp_path), parameters, bind)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("schema", "value", "words"),
    [
        ({"type": "string", "enum": ["FAPAR", "LAI"]}, "NDVI", "'NDVI' is not one of ['FAPAR', 'LAI']"),
        ({"type": "integer", "minimum": 0, "maximum": 100}, 101, "101 is greater than the maximum of 100"),
        ({"type": "array", "items": {"enum": ["B02"]}, "minItems": 1}, ["B99"], "'B99' is not one of ['B02'] (at [0])"),
        ({"type": "array", "items": {"enum": ["B02"]}, "minItems": 1}, [], "non-empty"),
        ([{"type": "array", "minItems": 1}, {"type": "null"}], None, None),
        ([{"type": "number"}, {"type": "array", "items": {"type": "number"}}], [1, 2], None),
        ([{"type": "number"}, {"type": "null"}], "x", "'x' is none of: number, null"),
        ([{"type": "integer", "minimum": 0}, {"type": "null"}], -1, "-1 is less than the minimum of 0"),
        ({"type": "string"}, 2025, "2025 is not of type 'string'"),
        ({"type": "boolean"}, 1, "1 is not of type 'boolean'"),
        ({}, {"anything": 1}, None),
        ([], 1, None),
    ],
)
def test_values_are_held_against_the_schema(tmp_path: Path, schema: Any, value: Any, words: str | None) -> None:
    given = taking(tmp_path, BOX)
    given = replace(given, parameters=(*given.parameters, *read_parameters(udp({}, [{"name": "k", "schema": schema}]))))
    each = Binder(given, {}, {}, each=["k"])
    if words is None:
        assert Binder(given, {"k": value}, {}).arguments(Coordinates(TILE))["k"] == value
        assert each.arguments(Coordinates(TILE, values={"k": value}))["k"] == value
        return
    with pytest.raises(ConfigError) as caught:
        Binder(given, {"k": value}, {})
    assert str(caught.value).startswith("algorithm.parameters.k: ")
    assert words in str(caught.value)
    with pytest.raises(ConfigError, match=r"^for_each\.k: "):
        each.arguments(Coordinates(TILE, values={"k": value}))


def test_polygons_are_accepted_for_a_box_where_the_graph_takes_them(tmp_path: Path) -> None:
    """Benchmarks of the catalogue do it, and load_collection takes both."""
    assert TILE.geometry is not None
    for uses in ([LOAD], [STATISTICS]):
        given = taking(tmp_path, lonlat_box({}), *uses)
        Binder(given, {"place": TILE.geometry}, {}, space=False)
    with pytest.raises(ConfigError, match="'west' is a required property"):
        Binder(taking(tmp_path, lonlat_box({}), ("filter_bbox", "extent")), {"place": TILE.geometry}, {}, space=False)


def test_a_spatial_parameter_never_stays_on_its_default(shared_data: Path, tmp_path: Path) -> None:
    """20 services of the catalogue have an optional area: a forgotten one would process the same place every time."""
    path = shared_data / "apex_catalogue/developmentseed/barren_soil/openeo_udp/barren_soil.json"
    soil = pin_algorithm(AlgorithmConfig(source=str(path)), tmp_path).algorithm
    assert not any(parameter.required for parameter in soil.parameters)
    assert Binder(soil, {}, {}).arguments(Coordinates(TILE))["bounding_box"]["west"] == 676000.0
    with pytest.raises(ConfigError, match="area: bounding_box of barren_soil would stay on its default: give an area"):
        Binder(soil, {}, {}, space=False, each=["cloud_cover"])


READS_NO_CRS = "def apply_datacube(cube, context):\n    west = context['area']['west']\n    return cube\n"
READS_TEXT = "def apply_datacube(cube, context):\n    code = context['area']['crs'].split(':')[1]\n    return cube\n"
READS_ANY = (
    "def apply_datacube(cube, context):\n    crs = CRS.from_user_input(context['area']['crs'])\n    return cube\n"
)
AREA = {"from_parameter": "area"}
SPEAKS_OF_CRS = 'def apply_datacube(cube, context):\n    """The crs is left out."""\n    return cube  # no crs\n'


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("crs = box['crs']; code = crs.split(':')", True),
        ("where = box.get('crs', 4326); code = where.partition(':')", True),
        ("code = int(box['crs'][5:])", True),
        ("code = int(box['crs'].removeprefix('EPSG:'))", True),
        ("match = re.match('EPSG:(.*)', box['crs'])", True),
        ("known = 'EPSG:' in box['crs']", True),
        ("crs = box['crs']; there = pyproj.CRS.from_string(crs)", True),
        ("code = f\"EPSG:{box['crs']}\"", False),
        ("crs = box['crs']; there = pyproj.CRS(crs).name.lower()", False),
        ("there = pyproj.CRS.from_user_input(box['crs']).to_epsg()", False),
    ],
)
def test_a_udf_that_takes_a_crs_apart_gets_text(tmp_path: Path, line: str, text: bool) -> None:
    lines = "\n    ".join(line.split("; "))
    code = f"def apply_datacube(cube, context):\n    box = context['area']\n    {lines}\n    return cube\n"
    graph = {"n": node("run_udf", result=True, udf=code, context={"area": AREA})}
    given = algorithm(tmp_path, udp(graph, [{"name": "area", "schema": BOX}]))
    assert Binder(given, {}, {}).choices["area"].form == ("bbox-epsg-text" if text else "bbox")


@pytest.mark.parametrize(
    ("graph", "form", "why"),
    [
        ({"n": node("run_udf", result=True, udf=READS_NO_CRS, context={"area": AREA})}, "bbox-lonlat", "no crs of it"),
        ({"n": node("run_udf", result=True, udf=SPEAKS_OF_CRS, context=AREA)}, "bbox-lonlat", "no crs of it"),
        ({"n": node("run_udf", result=True, udf=READS_TEXT, context=AREA)}, "bbox-epsg-text", "reads its crs as text"),
        ({"n": node("run_udf", result=True, udf=READS_ANY, context={"area": AREA})}, "bbox", "type is bounding-box"),
        ({"n": node("array_element", result=True, data=AREA, label="west")}, "bbox-lonlat", "takes west out of it"),
        (
            {
                "w": node("array_element", data=AREA, label="west"),
                "c": node("array_element", data=AREA, label="crs"),
                "n": node("x", result=True, y=[{"from_node": "w"}, {"from_node": "c"}]),
            },
            "bbox",
            "type is bounding-box",
        ),
        (
            {
                "u": node("run_udf", udf=READS_NO_CRS, context={"area": AREA}),
                "n": node("load_collection", result=True, spatial_extent=AREA, x={"from_node": "u"}),
            },
            "bbox",
            "type is bounding-box",
        ),
        (
            {
                "n": node(
                    "apply_neighborhood",
                    result=True,
                    context={"where": AREA},
                    process={
                        "process_graph": {
                            "e": node("array_element", data={"from_parameter": "context"}, label="where"),
                            "m": node("mask_polygon", result=True, mask={"from_node": "e"}),
                        }
                    },
                )
            },
            "geojson",
            "goes to mask_polygon.mask",
        ),
    ],
)
def test_what_the_graph_reads_of_a_box_chooses_its_form(
    tmp_path: Path, graph: dict[str, Any], form: str, why: str
) -> None:
    given = algorithm(tmp_path, udp(graph, [{"name": "area", "schema": BOX}]))
    choice = Binder(given, {}, {}).choices["area"]
    assert choice.form == form
    assert why in choice.why
    wanted = {"bbox-epsg-text": "EPSG:32632", "bbox": 32632, "bbox-lonlat": 4326}
    if form in wanted:
        assert Binder(given, {}, {}).arguments(Coordinates(TILE))["area"]["crs"] == wanted[form]
    bound = Binder(given, {}, {"area": "bbox-epsg-text"})
    assert bound.arguments(Coordinates(TILE))["area"]["crs"] == "EPSG:32632"


def test_a_service_that_works_by_another_spatial_key_runs_without_an_area(tmp_path: Path) -> None:
    declared = [{"name": "area", "schema": BOX, "optional": True, "default": None}]
    declared += [{"name": name, "schema": {"type": "string"}} for name in ("burst_id", "date")]
    given = algorithm(tmp_path, udp({"n": node("x", result=True)}, declared))
    binder = Binder(given, {"date": "2024-01-01"}, {}, space=False, each=["burst_id"])
    assert binder.arguments(Coordinates(None, values={"burst_id": "b1"})) == {"date": "2024-01-01", "burst_id": "b1"}
    plain = algorithm(tmp_path, udp({"n": node("x", result=True)}, [declared[0], declared[2]]))
    with pytest.raises(ConfigError, match=r"^area: area of p would stay on its default: give an area"):
        Binder(plain, {}, {}, space=False, each=["date"])
