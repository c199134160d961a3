"""openEO processes: parameters, inlining, and what is refused before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from upscaling.binding import Binder, Coordinates, temporal_extent
from upscaling.catalogue import pin_algorithm
from upscaling.config import Algorithm as AlgorithmConfig
from upscaling.errors import ConfigError
from upscaling.tiles import Bounds, Tile
from upscaling.udp import check_udp, inline_graph, namespace_graph, read_parameters, subtypes

OUTLINE = {"type": "Polygon", "coordinates": [[[11.0, 46.0], [11.1, 46.0], [11.1, 46.1], [11.0, 46.0]]]}
TILE = Tile("t1", "EPSG:32632", Bounds(676000.0, 5150000.0, 678000.0, 5152000.0), geometry=OUTLINE)
TIME = ["2022-06-01", "2022-07-01"]


def udp(graph: dict[str, Any], parameters: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"id": "p", "process_graph": graph, "parameters": parameters or []}


def node(process: str, *, result: bool = False, **arguments: Any) -> dict[str, Any]:
    return {"process_id": process, "arguments": arguments, **({"result": True} if result else {})}


def pinned(path: Path, tmp_path: Path) -> Any:
    return pin_algorithm(AlgorithmConfig(source=str(path)), tmp_path).algorithm


def test_parameters_are_filled_in_and_defaults_and_null_too() -> None:
    extent = {"from_parameter": "area"}
    graph = {"load": node("load_collection", result=True, spatial_extent=extent, bands=[{"from_parameter": "band"}])}
    definition = udp(graph, [{"name": "area"}, {"name": "band", "default": "B04"}, {"name": "limit", "optional": True}])
    definition["process_graph"]["load"]["arguments"]["limit"] = {"from_parameter": "limit"}
    sent = inline_graph(definition, {"area": {"west": 1}})
    assert sent["load"]["arguments"] == {"spatial_extent": {"west": 1}, "bands": ["B04"], "limit": None}
    assert definition["process_graph"]["load"]["arguments"]["spatial_extent"] == extent  # the pinned copy is untouched


def test_a_child_process_keeps_its_own_parameters() -> None:
    child = {
        "process_graph": {"max": node("max", result=True, data={"from_parameter": "data"}, k={"from_parameter": "k"})}
    }
    graph = {"r": node("reduce_dimension", result=True, data={"from_parameter": "data"}, reducer=child)}
    sent = inline_graph(udp(graph, [{"name": "data"}, {"name": "k"}]), {"data": "outer", "k": 7})
    assert sent["r"]["arguments"]["data"] == "outer"
    assert sent["r"]["arguments"]["reducer"]["process_graph"]["max"]["arguments"] == {
        "data": {"from_parameter": "data"},
        "k": 7,
    }


def test_save_result_is_added_once_and_only_where_there_is_none() -> None:
    bare = inline_graph(udp({"saveresult1": node("load_collection", result=True)}), {}, output_format="netCDF")
    last = [entry for entry in bare.values() if entry.get("result")]
    assert last == [node("save_result", result=True, data={"from_node": "saveresult1"}, format="netCDF")]
    saved = {
        "a": node("load_collection"),
        "s": node("save_result", result=True, data={"from_node": "a"}, format="JSON"),
    }
    assert inline_graph(udp(saved), {}) == saved
    assert [n["process_id"] for n in namespace_graph(udp(saved), "https://x/p.json", {}).values()] == ["p"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "no `process_graph`"),
        (udp({"a": {"arguments": {}}}), "no `process_id`"),
        (udp({"a": node("x")}), "0 result nodes"),
        (udp({"a": node("x", result=True), "b": node("y", result=True)}), "2 result nodes"),
        (udp({"a": node("x", result=True, data={"from_node": "zz"})}), "'zz', which does not exist"),
        (udp({"a": node("x", result=True)}, [{"title": "no name"}]), "parameter 0 has no `name`"),
    ],
)
def test_a_broken_definition_is_one_line(content: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        check_udp(content, file="udp.json")
    assert str(caught.value).startswith("udp.json: algorithm.source: ")


def test_subtypes_are_found_however_the_schema_is_written() -> None:
    assert subtypes([{"subtype": "bounding-box"}, {"type": "null"}]) == {"bounding-box"}
    assert subtypes({"anyOf": [{"oneOf": [{"subtype": "geojson"}]}, {"type": "null"}]}) == {"geojson"}
    assert subtypes({"type": "string"}) == set()


def test_every_udp_of_the_catalogue_is_read_and_binds_or_says_why_not(shared_data: Path, tmp_path: Path) -> None:
    reasons, bound = {}, 0
    for path in sorted(shared_data.glob("apex_catalogue/*/*/openeo_udp/*.json")):
        algorithm = pinned(path, tmp_path)
        required = {p.name: _plausible(p) for p in algorithm.parameters if p.required and _plausible(p) is not None}
        try:
            arguments = Binder(algorithm, required, {}).arguments(Coordinates(TILE))
        except ConfigError as error:
            reasons[path.parts[-3]] = str(error)
            continue
        bound += 1
        graph = inline_graph(json.loads(path.read_text()), arguments)
        assert sum(entry["process_id"] == "save_result" for entry in graph.values()) == 1, path
    # The one without a spatial parameter at all; everything else takes a tile.
    assert list(reasons) == ["RAMONA-herbaceous_rangeland_biomass-country-mosaick"]
    assert "no spatial parameter" in reasons["RAMONA-herbaceous_rangeland_biomass-country-mosaick"]
    assert bound == 23


def _plausible(parameter: Any) -> Any:
    admitted = subtypes(parameter.schema)
    if admitted & {"bounding-box", "geojson"}:
        return None
    return TIME if "temporal-interval" in admitted else "2022-06-01"


def test_a_tile_goes_out_as_projected_bounds_with_its_crs(shared_data: Path, tmp_path: Path) -> None:
    algorithm = pinned(shared_data / "apex_catalogue/vito/max_ndvi/openeo_udp/max_ndvi.json", tmp_path)
    arguments = Binder(algorithm, {"temporal_extent": TIME}, {}).arguments(Coordinates(TILE))
    assert arguments == {
        "temporal_extent": TIME,
        "bbox": {"west": 676000.0, "south": 5150000.0, "east": 678000.0, "north": 5152000.0, "crs": 32632},
    }
    assert temporal_extent(algorithm, arguments) == tuple(TIME)


@pytest.mark.parametrize(
    ("parameters", "bind", "words"),
    [
        ({}, {}, "algorithm.parameters.temporal_extent: is required by max_ndvi"),
        ({"temporal_extent": TIME, "bbx": 1}, {}, "no such parameter; did you mean 'bbox'?"),
        ({"temporal_extent": TIME, "bbox": {"west": 0, "south": 0, "east": 1, "north": 1}}, {}, "comes from the tile"),
        ({"temporal_extent": "2022"}, {}, "algorithm.parameters.temporal_extent: "),
        ({"temporal_extent": TIME}, {"bbox": "square"}, "algorithm.bind.bbox: form must be one of"),
        ({"temporal_extent": TIME}, {"box": "bbox"}, "algorithm.bind.box: "),
    ],
)
def test_wrong_parameters_are_refused(
    shared_data: Path, tmp_path: Path, parameters: dict[str, Any], bind: dict[str, str], words: str
) -> None:
    algorithm = pinned(shared_data / "apex_catalogue/vito/max_ndvi/openeo_udp/max_ndvi.json", tmp_path)
    with pytest.raises(ConfigError) as caught:
        Binder(algorithm, parameters, bind)
    assert words in str(caught.value)


def test_a_spatial_parameter_never_stays_on_its_default(shared_data: Path, tmp_path: Path) -> None:
    """20 services of the catalogue have an optional area: a forgotten one would process the same place every time."""
    path = next(shared_data.glob("apex_catalogue/developmentseed/bais2/../barren_soil/openeo_udp/*.json"))
    algorithm = pinned(path, tmp_path)
    assert not any(parameter.required for parameter in algorithm.parameters)
    assert Binder(algorithm, {}, {}).arguments(Coordinates(TILE))["bounding_box"]["west"] == 676000.0


def test_a_record_is_resolved_within_its_catalogue(shared_data: Path, tmp_path: Path) -> None:
    catalogue = str(shared_data / "apex_catalogue")
    found = pin_algorithm(AlgorithmConfig(source="max_ndvi_composite", catalogue=catalogue), tmp_path)
    assert found.service == "https://openeofed.dataspace.copernicus.eu"
    assert found.algorithm.id == "max_ndvi_composite"
    assert found.algorithm.title == "Max NDVI Composite based on Sentinel-2 data"
    assert json.loads(found.algorithm.path.read_text())["process_graph"]
    assert read_parameters(json.loads(found.algorithm.path.read_text())) == found.algorithm.parameters


@pytest.mark.parametrize(
    ("source", "text", "words"),
    [
        ("gone.json", None, "no such file: gone.json"),
        ("udp.json", '{"process_graph": ', "udp.json: algorithm.source: is not JSON: Expecting value: line 1"),
        ("udp.json", "\u00ff", "is not JSON"),
    ],
)
def test_an_unreadable_source_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, text: str | None, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / source).write_text(text)
    with pytest.raises(ConfigError) as caught:
        pin_algorithm(AlgorithmConfig(source=source), tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
