"""What `upscaling describe` tells of a service, for people in 80 columns and for machines."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.conftest import ROOT
from tests.servers import served
from tests.unit.udp_helpers import BOX, GEOJSON, node, udp
from upscaling.cli.app import app
from upscaling.cli.describe import configuration, describe, render
from upscaling.cli.describe.process import type_words
from upscaling.config import Algorithm as AlgorithmConfig
from upscaling.config import Config
from upscaling.errors import ConfigError

INTERVAL = {"type": "array", "subtype": "temporal-interval"}
NDVI = str(ROOT / "cwl" / "ndvi.cwl")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def shown(facts: dict[str, Any], width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(render(facts))
    if lines := configuration(facts):
        print("\nTo run it", lines, sep="\n", file=console.file)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def made(folder: Path, graph: dict[str, Any], *parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    path = folder / "made.json"
    path.write_text(json.dumps({**udp(graph, list(parameters)), **more}))
    return describe(AlgorithmConfig(source=str(path)))


def test_a_service_of_the_catalogue_is_told_in_80_columns(shared_data: Path) -> None:
    facts = describe(AlgorithmConfig(source="bap_composite", catalogue=str(shared_data / "apex_catalogue")))
    text = shown(facts)
    for words in (
        "bap_composite  openEO process",
        "Best-Available-Pixel Composite based on Sentinel-2 data",
        "platform     CDSE openEO Federation processing backend",
        "service      https://openeofed.dataspace.copernicus.eu",
        "cost         0.2 platform credits per km², and a few credits per job",
        "version      floats: the link follows 'main'",
        "loads        SENTINEL2_L2A",
        "save_result is added",
        "job options  executor-memory 2500m",
        "geometry         tile: GeoJSON polygon in",
        "temporal_extent  time step: [start, end)",
        "integer, 0 to 100; default 75",
        "! apply_kernel, apply_neighborhood look at neighbouring pixels: set area.buffer",
        "  area: {aoi: area.geojson, grid: utm-20km}",
    ):
        assert words in text
    assert max(map(len, text.partition("To run it")[0].splitlines())) <= 80


def test_everything_in_the_catalogue_can_be_shown_and_written_as_json(shared_data: Path) -> None:
    sources = [*shared_data.glob("apex_catalogue/*/*/*/*.json")]
    described = 0
    for path in sources:
        if path.parent.name == "eoap_cwl":
            with pytest.raises(ConfigError, match="is no openEO process"):  # the inputs of a package
                describe(AlgorithmConfig(source=str(path)))
            continue
        facts = describe(AlgorithmConfig(source=str(path)))
        assert json.loads(json.dumps(facts)) == facts
        assert str(facts["id"]) in shown(facts)
        described += 1
    assert described == 24 + 39 + 16


def test_what_it_says_to_write_is_a_configuration(shared_data: Path) -> None:
    """The lines under "To run it", with what the user knows filled in, pass the configuration's own checks."""
    import yaml

    catalogue = str(shared_data / "apex_catalogue")
    for name in ("bap_composite", "wind_turbine_detection", "RAMONA-herbaceous_rangeland_biomass-country-mosaick"):
        facts = describe(AlgorithmConfig(source=name, catalogue=catalogue))
        values = yaml.safe_load(shown(facts, 200).partition("To run it\n")[2].replace("[…]", "[benin]"))
        config = Config.parse(values)
        assert (config.algorithm.source, config.algorithm.catalogue) == (name, catalogue)
        assert (config.area is None) == name.startswith("RAMONA")
        assert config.algorithm.output_format == ("GEOJSON" if name.startswith("wind") else "GTiff")
    assert facts["missing"] == ["for_each: values of its parameters, as nothing takes a tile"]


def test_what_is_to_be_copied_is_whole_in_a_pipe_too(tmp_path: Path) -> None:
    """However long the path and the names are, and whatever YAML would make of them."""
    import yaml

    folder = tmp_path / ("far " * 20) / "a #1: yes"
    folder.mkdir(parents=True)
    path = folder / "p.json"
    schema = {"type": "object", "subtype": "bounding-box"}
    parameters = [{"name": "bbox", "schema": schema}, {"name": "no", "schema": {"type": "number"}}]
    graph = {"load": node("load_collection", result=True, spatial_extent={"from_parameter": "bbox"})}
    path.write_text(json.dumps(udp(graph, parameters)))
    done = CliRunner().invoke(app, ["describe", str(path)], env={"COLUMNS": "40", "TERM": "dumb"})
    values = yaml.safe_load(done.output.partition("To run it\n")[2])
    assert values["algorithm"]["source"] == str(path)
    assert values["algorithm"]["parameters"] == {"no": None}
    package = tmp_path / "change.cwl"
    inputs = "{bbox: string, pre: Directory, post: Directory}"
    package.write_text(f"cwlVersion: v1.2\nclass: CommandLineTool\nbaseCommand: x\noutputs: []\ninputs: {inputs}\n")
    done = CliRunner().invoke(app, ["describe", str(package)])
    values = yaml.safe_load(done.output.partition("To run it\n")[2].replace("[…]", "[s2]"))
    assert {block.input for block in Config.parse(values).stagings.values()} == {"pre", "post"}


def test_what_one_should_know_is_noted(tmp_path: Path) -> None:
    here = {"from_parameter": "place"}
    graph = {
        "load": node("load_collection", id="SENTINEL2_L2A", spatial_extent=here),
        "mean": node("aggregate_spatial", result=True, data={"from_node": "load"}, geometries=here),
        "own": {**node("segment", data={"from_node": "load"}), "namespace": "vito"},
        "other": {**node("bap", data={"from_node": "load"}), "namespace": "https://example.org/bap.json"},
    }
    spans = [{"name": name, "schema": INTERVAL, "default": None} for name in ("before", "after")]
    unused = {"name": "cloud_cover", "schema": {"type": "number"}, "default": 30}
    facts = made(tmp_path, graph, {"name": "place", "schema": BOX}, *spans, unused)
    assert facts["notes"] == [
        "place is typed bounding-box, but goes to aggregate_spatial.geometries: it gets a polygon.",
        "Its graph does not use before, after, cloud_cover: a value changes nothing.",
        "It has 2 temporal intervals (before, after): bind `time` to one for a time dimension.",
        "Calls bap of https://example.org/bap.json: is fetched and pinned with the plan, where that can be.",
        "Calls segment of vito: only platforms that have it can run it.",
        "Has no save_result, and ends in a table: set algorithm.output_format (JSON, CSV, Parquet …).",
    ]
    assert facts["missing"] == ["area: the tiles' area"]
    assert facts["collections"] == ["SENTINEL2_L2A"]


def test_required_parameters_are_told_as_missing(tmp_path: Path) -> None:
    graph = {"n": node("save_result", result=True, data={"from_parameter": "k"}, when={"from_parameter": "when"})}
    declared = [{"name": "k", "schema": {"type": "integer", "minimum": 1}}, {"name": "when", "schema": INTERVAL}]
    lonlat = {"name": "box", "schema": BOX, "description": "In EPSG:4326", "optional": True}
    facts = made(tmp_path, graph, *declared, lonlat, {"name": "g", "schema": GEOJSON, "optional": True})
    assert facts["missing"] == [
        "area: the tiles' area",
        "algorithm.parameters.k: integer, at least 1",
        "time, or algorithm.parameters.when: temporal-interval",
    ]
    assert facts["notes"][0] == (
        "box: its description asks for degrees; the box is larger than the tile, and results are cut to it."
    )
    text = shown(facts)
    assert "you (required)" in text
    assert "      k:  # integer, at least 1" in text


def test_hostile_words_stay_words(tmp_path: Path) -> None:
    """Definitions come from anywhere: their text is neither markup nor control codes for the terminal."""
    name = {"name": "[red]k[/red]", "schema": {"type": "string"}, "description": "\x1b[2J[bold]", "default": "\x1b]0;x"}
    facts = made(tmp_path, {"n": node("x", result=True)}, name, description="[link=x]a[/link] \x1b[31m\x07")
    text = shown(facts)
    assert "[red]k[/red]" in text
    assert "\x1b" not in text
    assert "\x07" not in text


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ([BOX, {"type": "null"}], "bounding-box"),
        ({"type": "array", "items": {"type": "string"}}, "string[]"),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, "(one of a, b)[]"),
        ([{"type": "number"}, {"type": "array", "items": {"type": "number"}}], "number or number[]"),
        ({"type": "integer", "minimum": 0, "maximum": 7}, "integer, 0 to 7"),
        ({"type": ["number", "string"], "maximum": 7}, "number or string, at most 7"),
        ({}, "anything"),
        ([], "anything"),
    ],
)
def test_schemas_in_few_words(schema: Any, words: str) -> None:
    assert type_words(schema) == words


def test_a_package_is_described(tmp_path: Path) -> None:
    facts = describe(AlgorithmConfig(source=NDVI))
    assert facts["kind"] == "cwl"
    assert facts["package"]["inputs"]["bbox"]["from"] == "tile (bbox)"
    text = shown(facts)
    for words in ("images", "JavaScript", "not needed", "tile (bbox)", "stage_in: a local", "backend: {kind: cwl}"):
        assert words in text
    water = shown(describe(AlgorithmConfig(source=f"{NDVI.replace('ndvi', 'water')}#water")))
    for words in ("stage_in: a local", "catalogue per item", "  stage_in:\n    catalogue: https://"):
        assert words in water
    with pytest.raises(ConfigError, match="holds no workflow other"):
        describe(AlgorithmConfig(source=f"{NDVI}#other"))


def test_a_process_of_ogcapi_is_described_by_its_server(shared_data: Path, tmp_path: Path) -> None:
    """Nobody logs in for that; and a record's package may run here instead."""
    served_at = tmp_path / "web" / "gep" / "processes"
    served_at.mkdir(parents=True)
    inputs = {
        "aoi": {"title": "Area", "schema": {"allOf": [], "format": "ogc-bbox", "type": "object"}},
        "start_date": {"schema": {"type": "string", "format": "date"}},
        "end_date": {"schema": {"type": "string", "format": "date"}},
        "looks": {"schema": {"type": "integer", "minimum": 1}},
    }
    about = {"id": "ost", "title": "OST", "inputs": inputs, "outputs": {"stack": {"schema": {}}}}
    (served_at / "ost").write_text(json.dumps({**about, "jobControlOptions": ["sync-execute"]}))
    source = shared_data / "apex_catalogue/terradue/gep_ost/records/gep_ost.json"
    record = json.loads(source.read_text())
    path = tmp_path / "gep_ost.json"
    with served(tmp_path / "web") as url:
        for link in record["links"]:
            if link["rel"] in {"application", "service"}:
                link["href"] = NDVI if link["rel"] == "application" else f"{url}/gep/processes/ost"
        path.write_text(json.dumps(record))
        facts = describe(AlgorithmConfig(source=str(path)))
        alone = describe(AlgorithmConfig(source=f"{url}/gep/processes/ost"))
        gone = describe(AlgorithmConfig(source=f"{url}/gep/processes/other"))
    assert (facts["kind"], facts["id"], facts["problem"]) == ("ogcapi", "gep_ost", None)
    assert {entry["name"]: entry["form"] for entry in facts["parameters"]} == {
        "aoi": "bbox-auto",
        "start_date": "time-start",
        "end_date": "time-end",
        "looks": None,
    }
    assert facts["missing"][-1] == "algorithm.parameters.looks: integer, at least 1"
    assert facts["notes"] == [
        "It runs only while the caller waits (no async-execute).",
        f"Its package, {NDVI}, can be run with backend.kind cwl instead: `upscaling describe` tells more.",
    ]
    assert (alone["id"], alone["title"], alone["parameters"]) == ("ost", "OST", facts["parameters"])
    assert gone["problem"].endswith("/gep/processes/other answered 404: File not found")
    text = shown(facts, 160)
    for words in (f"process    {url}/gep/processes/ost", "outputs    stack", "tile: bounding box", "{kind: ogcapi}"):
        assert words in text


def test_the_command_line(shared_data: Path) -> None:
    catalogue = str(shared_data / "apex_catalogue")
    run = CliRunner().invoke(app, ["describe", "max_ndvi_composite", "--catalogue", catalogue, "--json"])
    assert run.exit_code == 0
    assert json.loads(run.stdout)["record"]["cost"] == {
        "estimate": 0.1,
        "unit": "platform credits per km² and observation.",
    }
    run = CliRunner().invoke(app, ["describe", "dlr/scmap", "--catalogue", catalogue], env={"COLUMNS": "80"})
    assert run.exit_code == 0
    assert "scmap_composite  openEO process" in run.stdout
    run = CliRunner().invoke(app, ["describe", "gone.json"])
    assert isinstance(run.exception, ConfigError)  # `main` makes one line of it
