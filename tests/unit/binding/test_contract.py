"""One table of tiles and forms, through the binding of every platform: what is sent says the same place and time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import shapely

from tests.unit.udp_helpers import BOX, GEOJSON, algorithm, node, udp
from upscaling.algorithms.ogc_process import read_inputs
from upscaling.area.lonlat import rolled
from upscaling.area.outline import footprint
from upscaling.binding import binder_of
from upscaling.binding.forms import FORMS
from upscaling.errors import ConfigError
from upscaling.model import Algorithm, Bounds, Coordinates, Parameter, Step, Tile

STEP = Step("2023-06", "2023-06-01", "2023-07-01")
CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"


def tile(crs: str, *bounds: float) -> Tile:
    edges = Bounds(*map(float, bounds))
    return Tile("t1", crs, edges, geometry=footprint(edges, crs))


TILES = {
    "in a zone": tile("EPSG:32632", 660_000, 5_140_000, 680_000, 5_160_000),
    "with a halo": tile("EPSG:32632", 659_500, 5_139_500, 680_500, 5_160_500),
    "far from its meridian": tile("EPSG:32633", 700_000, 7_300_000, 800_000, 7_400_000),
    "degrees": tile("EPSG:4326", 10, 50, 11, 51),
    "Europe": tile("EPSG:3035", 3_000_000, 2_000_000, 3_500_000, 2_500_000),
    "at the antimeridian": tile("EPSG:32760", 800_000, 8_000_000, 830_000, 8_030_000),
    "around a pole": tile("EPSG:3031", -10_000, -10_000, 10_000, 10_000),
    "at a pole, by its corner": tile("EPSG:3031", 0, 0, 20_000, 20_000),
    "at a pole, by its edge": tile("EPSG:3413", -20_000, 0, 20_000, 40_000),
    "near a pole": tile("EPSG:3413", 100, 100, 20_100, 20_100),
}
CROSSING = {"at the antimeridian", "at a pole, by its edge"}


def openeo(folder: Path, **inputs: str) -> Algorithm:
    types = {
        "box": BOX,
        "geojson": GEOJSON,
        "text": {"type": "string"},
        "number": {"type": "integer"},
        "numbers": {"type": "array", "items": {"type": "number"}},
        "object": {"type": "object"},
        "interval": {"type": "array", "subtype": "temporal-interval"},
        "date": {"type": "string", "format": "date"},
        "moment": {"type": "string", "format": "date-time"},
    }
    graph = {"n": node("p", result=True, **{name: {"from_parameter": name} for name in inputs})}
    return algorithm(folder, udp(graph, [{"name": name, "schema": types[kind]} for name, kind in inputs.items()]))


def ogcapi(_folder: Path, **inputs: str) -> Algorithm:
    types: dict[str, Any] = {
        "box": {"type": "object", "format": "ogc-bbox"},
        "geojson": {"type": "object", "format": "geojson-geometry"},
        "text": {"type": "string"},
        "number": {"type": "integer"},
        "numbers": {"type": "array", "items": {"type": "number"}},
        "object": {"type": "object"},
        "interval": {"type": "array", "items": {"type": "string", "format": "date"}},
        "date": {"type": "string", "format": "date"},
        "moment": {"type": "string", "format": "date-time"},
    }
    described = {"inputs": {name: {"schema": types[kind]} for name, kind in inputs.items()}}
    return Algorithm("ogcapi", "p", Path("p.json"), "0", "p", tuple(read_inputs(described)))


def cwl(_folder: Path, **inputs: str) -> Algorithm:
    numbers = {"type": "array", "items": "double"}
    fields = dict.fromkeys(("west", "south", "east", "north"), "double") | {"crs": ["null", "string", "int"]}
    types: dict[str, Any] = {
        "box": {"type": "record", "name": "BBox", "fields": {"bbox": numbers, "crs": "string"}},
        "geojson": "File",
        "text": "string",
        "number": "int",
        "numbers": numbers,
        "object": {"type": "record", "name": "corners", "fields": fields},
        "interval": {"type": "array", "items": "string"},
        "date": {"type": "record", "name": "Date", "fields": {"value": "string"}},
        "moment": {"type": "record", "name": "DateTime", "fields": {"value": "string"}},
    }
    parameters = tuple(Parameter(name, types[kind], required=True) for name, kind in inputs.items())
    return Algorithm("cwl", "p", Path("p.cwl"), "0", "p", parameters)


PLATFORMS = {"openeo": openeo, "ogcapi": ogcapi, "cwl": cwl}


@pytest.fixture(params=PLATFORMS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Algorithm]:
    return lambda **inputs: PLATFORMS[request.param](tmp_path, **inputs)


def sent(made: Algorithm, at: Tile, bind: dict[str, str] | None = None, *, time: bool = False, **values: Any) -> Any:
    binder = binder_of(made, {}, bind or {}, time=time, each=list(values), qualified=False)
    return binder.arguments(Coordinates(at, STEP if time else None, values))


def plain(value: Any) -> Any:
    """A value without what a platform wraps it in."""
    if isinstance(value, dict) and value.get("class") == "File":
        return json.loads(value["contents"])
    return value["value"] if isinstance(value, dict) and set(value) == {"value"} else value


def strays(geometry: Any, at: Tile) -> tuple[float, float]:
    """How many metres an outline leaves the edges of a tile, and its area as a share of the tile's."""
    to_tile = pyproj.Transformer.from_crs("EPSG:4326", at.crs, always_xy=True)
    west, south, east, north = at.bounds
    most = area = 0.0
    for part in shapely.get_parts(geometry):
        lon, lat = shapely.get_coordinates(shapely.segmentize(part, 0.001)).T
        x, y = to_tile.transform(lon, lat)
        area += abs(np.dot(x[1:] - x[0], np.diff(y)) - np.dot(y[1:] - y[0], np.diff(x))) / 2
        inner = (np.abs(lon) < 180) & (np.abs(lat) < 90 - 1e-9)
        off = np.minimum.reduce([np.abs(x - west), np.abs(x - east), np.abs(y - south), np.abs(y - north)])
        most = max(most, float(off[inner].max(initial=0)))
    return most * (111_320 if at.crs == "EPSG:4326" else 1), area / ((east - west) * (north - south))


@pytest.mark.parametrize("form", ["geojson", "wkt", "feature"])
@pytest.mark.parametrize("name", TILES)
def test_outlines_in_degrees_follow_the_tile_to_half_a_metre(
    make: Callable[..., Algorithm], name: str, form: str
) -> None:
    """A 10 m pixel belongs to the tile that its centre lies in, 5 m from the edge: half a metre flips none."""
    value = plain(sent(make(where="text" if form != "geojson" else "geojson"), TILES[name], {"where": form})["where"])
    if form == "wkt":
        outline = shapely.from_wkt(value)
    else:
        value = json.loads(value) if isinstance(value, str) else value
        outline = shapely.geometry.shape(value["geometry"] if form == "feature" else value)
    assert shapely.is_valid(outline)
    off, share = strays(outline, TILES[name])
    assert off <= 0.52
    assert share == pytest.approx(1, abs=2e-4)
    assert (outline.geom_type == "MultiPolygon") == (name in CROSSING)


def own_bounds(name: str) -> list[float]:
    return list(TILES[name].bounds)


def degrees(name: str) -> list[float]:
    """The envelope in degrees, from points along the edges."""
    west, south, east, north = TILES[name].bounds
    edge = shapely.segmentize(shapely.box(west, south, east, north), (east - west) / 500)
    to_lonlat = pyproj.Transformer.from_crs(TILES[name].crs, "EPSG:4326", always_xy=True)
    points = np.column_stack(to_lonlat.transform(*shapely.get_coordinates(edge).T))
    return [float(edge) for edge in shapely.total_bounds(rolled([shapely.Polygon(points)]))]


BOXES: dict[str, Callable[[str, list[float], list[float]], Any]] = {
    "bbox-string": lambda _, own, __: ",".join(f"{edge:.12g}" for edge in own),
    "bbox-spaces": lambda _, own, __: " ".join(f"{edge:.12g}" for edge in own),
    "bbox-array": lambda _, own, __: own,
    "bbox-plain": lambda _, own, __: dict(zip(("west", "south", "east", "north"), own, strict=True)),
    "bbox-epsg-text": lambda crs, own, __: (
        dict(zip(("west", "south", "east", "north"), own, strict=True)) | {"crs": crs}
    ),
    "bbox-epsg-number": lambda crs, own, __: (
        dict(zip(("west", "south", "east", "north"), own, strict=True)) | {"crs": int(crs.partition(":")[2])}
    ),
    "bbox-string-lonlat": lambda _, __, lonlat: lonlat,
    "bbox-spaces-lonlat": lambda _, __, lonlat: lonlat,
    "bbox-array-lonlat": lambda _, __, lonlat: lonlat,
    "bbox-latlon": lambda _, __, lonlat: [lonlat[1], lonlat[0], lonlat[3], lonlat[2]],
    "bbox-lonlat": lambda _, __, lonlat: lonlat,
    "bbox-lonlat-text": lambda _, __, lonlat: lonlat,
    "bbox-lonlat-plain": lambda _, __, lonlat: lonlat,
}
TYPES = {"array": "numbers", "string": "text", "spaces": "text", "latlon": "text", "lonlat": "box"}


def kind_of(form: str) -> str:
    return "object" if form in {"bbox-lonlat-text"} or "plain" in form or "epsg" in form else TYPES[form.split("-")[1]]


def numbers(value: Any) -> list[float]:
    value = plain(value)
    if isinstance(value, str):
        return [float(part) for part in value.replace(",", " ").split()]
    if isinstance(value, dict):
        return value.get("bbox") or [value[side] for side in ("west", "south", "east", "north")]
    return list(value)


@pytest.mark.parametrize("form", BOXES)
@pytest.mark.parametrize("name", ["in a zone", "with a halo", "degrees", "around a pole", "at the antimeridian"])
def test_boxes_have_the_tiles_own_edges_or_its_envelope_in_degrees(
    make: Callable[..., Algorithm], name: str, form: str
) -> None:
    told = {"code": "epsg"} if form == "bbox-array" else {}  # a package takes an array in degrees unless told a CRS
    made = make(where=kind_of(form), **({"code": "number"} if told else {}))
    in_degrees = "lonlat" in form or "latlon" in form
    if in_degrees and name in CROSSING:
        with pytest.raises(ConfigError, match="tile t1 crosses the antimeridian: no bounding box in degrees can say"):
            sent(made, TILES[name], {"where": form})
        return
    value = sent(made, TILES[name], {"where": form, **told})["where"]
    expected = BOXES[form](TILES[name].crs, own_bounds(name), degrees(name))
    if in_degrees:
        assert numbers(value) == pytest.approx(expected, abs=1e-5)
        return
    value = {key: entry for key, entry in value.items() if entry is not None} if isinstance(value, dict) else value
    assert value == expected


@pytest.mark.parametrize("name", ["in a zone", "degrees", "Europe"])
def test_the_platforms_own_box_is_chosen_by_type(make: Callable[..., Algorithm], name: str) -> None:
    """openEO takes any CRS; the other two are told none here, and get degrees."""
    made = make(where="box")
    value = sent(made, TILES[name])["where"]
    expected = own_bounds(name) if made.kind == "openeo" else degrees(name)
    assert numbers(value) == pytest.approx(expected, abs=1e-5)
    assert value["crs"] == (TILES[name].epsg if made.kind == "openeo" else CRS84 if made.kind == "ogcapi" else "CRS84")


def intervals() -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    yield {"temporal_extent": "interval"}, {"temporal_extent": ["2023-06-01", "2023-07-01"]}
    for start, end in (
        *(("start_date", "end_date"), ("startDate", "endDate"), ("date_from", "date_to"), ("start", "end")),
        *(
            ("temporal_start", "temporal_end"),
            ("time_start", "time_end"),
            ("begin", "until"),
            ("sensing_start", "sensing_end"),
        ),
    ):
        yield {start: "text", end: "text"}, {start: "2023-06-01", end: "2023-07-01"}
    yield {"date_start": "date", "date_end": "date"}, {"date_start": "2023-06-01", "date_end": "2023-07-01"}
    midnights = ["2023-06-01T00:00:00Z", "2023-07-01T00:00:00Z"]
    for kind in ("text", "moment"):
        names = ("start_datetime", "end_datetime")
        yield dict.fromkeys(names, kind), dict(zip(names, midnights, strict=True))


@pytest.mark.parametrize(("inputs", "expected"), list(intervals()))
def test_a_time_step_fills_an_interval_or_two_dates(
    make: Callable[..., Algorithm], inputs: dict[str, str], expected: dict[str, Any]
) -> None:
    arguments = sent(make(area="box", **inputs), TILES["in a zone"], time=True)
    assert {name: plain(value) for name, value in arguments.items() if name != "area"} == expected


@pytest.mark.parametrize("names", [("trend", "legend"), ("start_orbit", "end_orbit"), ("from_email", "to_email")])
def test_texts_that_only_sound_like_dates_are_not_filled(
    make: Callable[..., Algorithm], names: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError, match=r"^time: p has no temporal interval, and no start and end date"):
        sent(make(area="box", **dict.fromkeys(names, "text")), TILES["in a zone"], time=True)


def test_forms_of_time_and_row(make: Callable[..., Algorithm]) -> None:
    made = make(area="box", span="text", last="text", name="text", code="number", level="number", other="text")
    bind = {"span": "time-string", "last": "time-last-day", "name": "tile-id", "code": "epsg"}
    arguments = sent(made, TILES["in a zone"], bind, time=True, level=3, other="B02")
    assert {name: arguments[name] for name in made_names(made) if name != "area"} == {
        **{"span": "2023-06-01/2023-07-01", "last": "2023-06-30", "name": "t1", "code": 32632},
        **{"level": 3, "other": "B02"},
    }
    with pytest.raises(ConfigError, match=r"^for_each\.level: "):
        sent(make(area="box", level="number"), TILES["in a zone"], level="many")


def made_names(made: Algorithm) -> list[str]:
    return [parameter.name for parameter in made.parameters]


@pytest.mark.parametrize(
    ("parameters", "bind", "run", "line"),
    [
        ({"lvl": 1}, {}, {}, "algorithm.parameters.lvl: p has no such parameter; did you mean 'level'?"),
        ({}, {"are": "bbox"}, {}, "algorithm.bind.are: p has no such parameter; did you mean 'area'?"),
        ({}, {}, {"each": ["lvl"]}, "for_each.lvl: p has no such parameter"),
        ({"level": 1}, {}, {"each": ["level"]}, "algorithm.parameters.level: stands in for_each too; keep one"),
        ({"level": "x"}, {}, {}, "algorithm.parameters.level: "),
        ({"level": 1}, {"area": "square"}, {}, "algorithm.bind.area: form must be one of bbox, bbox-lonlat, "),
        ({"level": 1}, {"level": "epsg"}, {}, "algorithm.bind.level: has a value elsewhere too; keep one"),
        ({}, {"level": "time-start"}, {}, "algorithm.bind.level: time-start needs a time dimension"),
        ({"level": 1}, {"area": "bbox"}, {"space": False}, "algorithm.bind.area: bbox needs an area"),
        ({"level": 1}, {}, {"time": True}, "time: p has no temporal interval, and no start and end date"),
        ({}, {}, {}, "algorithm.parameters.level: "),
    ],
)
def test_a_configuration_that_does_not_fit_is_one_line(
    make: Callable[..., Algorithm], parameters: dict[str, Any], bind: dict[str, str], run: dict[str, Any], line: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        binder_of(make(area="box", level="number"), parameters, bind, **run)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_a_run_over_an_area_needs_an_input_that_takes_the_tile(make: Callable[..., Algorithm]) -> None:
    with pytest.raises(ConfigError, match=r"^area: p has no spatial parameter .*\(it has: level\)"):
        binder_of(make(level="number"), {"level": 1}, {})


def test_every_form_has_words_and_is_documented() -> None:
    documented = (Path(__file__).parents[3] / "config" / "README.md").read_text()
    for name, form in FORMS.items():
        assert form.words
        assert f"`{name}`" in documented, name
