"""From a name, a path or a URL to a pinned algorithm, or one line; and all of the real catalogue's services."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.servers import served
from tests.unit.udp_helpers import BOX, TILE, TIME, node, udp
from upscaling.algorithms.catalogue import pin_algorithm
from upscaling.algorithms.records import floating_reference, ogc_process
from upscaling.algorithms.udp import inline_graph, read_parameters, saves_result
from upscaling.binding.openeo import Binder, Coordinates
from upscaling.cli.describe import describe
from upscaling.config import Algorithm as AlgorithmConfig
from upscaling.errors import ConfigError
from upscaling.util.files import sha256_file

UNREACHABLE = "the server cannot be reached (Connection refused)"
RAMONA = "RAMONA-herbaceous_rangeland_biomass-country-mosaick"
# What a tile becomes for each UDP of the data; everything that is not here takes `bounding_box: bbox`.
FORMS = {
    "bais2": {"bbox": "bbox"},
    "max_ndvi": {"bbox": "bbox"},
    "max_ndvi_composite": {"spatial_extent": "bbox"},
    "sen2like_processing": {"spatial_extent": "bbox"},
    "sentinel1_stats": {"spatial_extent": "bbox"},
    "wind_turbine_detection": {"spatial_extent": "bbox"},
    "bap_composite": {"geometry": "geojson"},
    "cropsar1d": {"geometry": "geojson"},
    "cropsar2d": {"geometry": "geojson"},
    "timeseries_statistics": {"geometry": "geojson"},
}
SAVED = {"apa_aquatic_plants_algae", "mago_water_quality", "bap_composite", "cropsar1d", "cropsar2d", "max_ndvi"}
SAVED |= {"max_ndvi_composite", "scmap_composite", "sen2like_processing", "sentinel1_stats", "wind_turbine_detection"}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever leaves this machine ends at a closed port, with or without a network."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def catalogue(shared_data: Path) -> str:
    return str(shared_data / "apex_catalogue")


def pin(source: str, into: Path, catalogue: str | None = None) -> Any:
    return pin_algorithm(AlgorithmConfig(source=source, catalogue=catalogue), into)


def algorithm_names(algorithm: Any) -> set[str]:
    return {parameter.name for parameter in algorithm.parameters}


def plausible(parameter: Any) -> Any:
    return TIME if "temporal" in parameter.name else "2022-06-01"


def test_every_udp_of_the_catalogue_is_pinned_and_a_tile_binds(shared_data: Path, tmp_path: Path) -> None:
    paths = sorted(shared_data.glob("apex_catalogue/*/*/openeo_udp/*.json"))
    assert len(paths) == 24
    for path in paths:
        algorithm = pin(str(path), tmp_path).algorithm
        assert algorithm.sha256 == sha256_file(path)  # the very bytes
        forms = FORMS.get(algorithm.id, {"bounding_box": "bbox"})
        required = {p.name: plausible(p) for p in algorithm.parameters if p.required and p.name not in forms}
        if algorithm.id == RAMONA:
            with pytest.raises(ConfigError) as caught:
                Binder(algorithm, required, {})
            assert str(caught.value) == (
                f"area: {RAMONA} has no spatial parameter that a tile could fill (it has: country, year, month); leave"
                " out the area and run it over a for_each dimension, or name a parameter in algorithm.bind"
            )
            assert Binder(algorithm, {}, {}, space=False, each=["country"]).forms == {}
            continue
        binder = Binder(algorithm, required, {})
        assert binder.forms == forms
        graph = inline_graph(json.loads(path.read_text()), binder.arguments(Coordinates(TILE)))
        assert saves_result(graph)
        assert sum(entry["process_id"] == "save_result" for entry in graph.values()) == 1
        assert (graph.keys() > json.loads(path.read_text())["process_graph"].keys()) == (algorithm.id in SAVED)
        assert json.dumps({"from_parameter": next(iter(forms))}) not in json.dumps(graph)
        if algorithm.id != "wind_turbine_detection":  # takes a year
            dates = {"startdate": "time-start", "enddate": "time-end"}
            interval = {name: "time" for name in ("time", "temporal_extent") if name in algorithm_names(algorithm)}
            timed = Binder(algorithm, {}, {}, time=True).forms
            assert timed == forms | (interval or dates)


NO_DEFINITION = {
    "efast": "https://raw.githubusercontent.com/bcdev/efast-process-graph/refs/heads/main/process_graph.json",
    "biopar": "https://raw.githubusercontent.com/ESA-APEx/apex_algorithms/refs/heads/main/algorithm_catalog/vito/biopar"
    "/openeo_udp/biopar.json",
    "mogpr_s1s2": "https://raw.githubusercontent.com/VITObelgium/openeo_algorithm_catalog/refs/heads/main/mogpr_s1s2"
    "/openeo_udp/mogpr_s1s2.json",
    "parcel_delineation": "https://raw.githubusercontent.com/ESA-APEx/apex_algorithms/main/algorithm_catalog/vito"
    "/parcel_delineation/openeo_udp/parcel_delineation.json",
    "phenology": "https://raw.githubusercontent.com/VITObelgium/openeo_algorithm_catalog/refs/heads/main/phenology"
    "/openeo_udp/phenology.json",
    "variabilitymap": "https://raw.githubusercontent.com/ESA-APEx/apex_algorithms"
    "/32ea3c9a6fa24fe063cb59164cd318cceb7209b0/openeo_udp/variabilitymap/variabilitymap.json",
}
GEP, TAO = "https://repository.terradue.com/artifactory/gep/app-packages/production", "https://sen4x.tao.c-s.ro/cwl"
OGC = {  # base, id, and why the package is not to be had
    "gep_DinSAR": (
        "https://ades.gep.terradue.com/gep/wps3",
        "s1-insar-0_4_11",
        f"{GEP}/s1-insar.0.4.11.cwl: cannot be fetched: {UNREACHABLE}",
    ),
    "gep_ost": (
        "https://ades.gep.terradue.com/gep/wps3",
        "opensartoolkit-1_0_24",
        f"{GEP}/opensartoolkit-1_0_24.cwl: cannot be fetched: {UNREACHABLE}",
    ),
    "sar_coin": (
        "https://ades.gep.terradue.com/gep/wps3",
        "s1-coherence-intensity-0_7_8",
        f"{GEP}/s1-coherence-intensity.0.7.8.cwl: cannot be fetched: {UNREACHABLE}",
    ),
    "gep_api_ost": (
        "https://processing.geohazards-tep.eu/44454d3235313539",
        "opensartoolkit-v2-2-1",
        "oci://ghcr.io/terradue/eoap-open-sar-toolkit/open-sar-toolkit:latest-dev: cannot be fetched: the registry"
        " cannot be reached (Connection refused)",
    ),
} | {
    name: ("https://sen4x.tao.c-s.ro/process", number, f"{TAO}/{package}.cwl: cannot be fetched: {UNREACHABLE}")
    for name, number, package in (
        ("sen4cap_l3_basic_markers", "207", "marker_database_mdb1"),
        ("sen4cap_l3b_biophysical_indicators", "182", "biophysical-indicators"),
        ("sen4cap_l3b_spectral_indices", "71", "spectral-indices"),
        ("sen4cap_l4c_agricultural_practices", "204", "agricultural_practices"),
        ("sen4cap_l4d_bare_soil", "205", "bare_soil"),
        ("sen4cap_l4e_parcel_heterogeneity", "203", "parcel_heterogeneity"),
    )
}
PLATFORMS = {
    "openeo_backend": "openeo",
    "ogc_backend": "ogcapi",
}


def test_every_record_is_described_and_pinned_or_says_in_one_line_why_not(catalogue: str, tmp_path: Path) -> None:
    records = sorted(Path(catalogue).glob("*/*/records/*.json"))
    assert len(records) == 39
    for path in records:
        name = path.stem
        facts = describe(AlgorithmConfig(source=name, catalogue=catalogue))
        assert facts["id"] in {name, "scmap_composite"}
        assert facts["title"]
        # The platform's own title: one record's link calls the geohazards platform after another one.
        assert PLATFORMS[facts["record"]["platform"]["type"]] == facts["kind"]
        assert facts["record"]["provider"]["type"] == "algorithm_provider"
        if name in OGC:
            base, identifier, reason = OGC[name]
            assert (facts["process"]["base"], facts["process"]["id"]) == (base, identifier)
            assert facts["problem"] == (
                f"its server does not tell what it takes: {base}/processes/{identifier} cannot be reached"
                " (Connection refused)"
            )
            assert facts["notes"] == [f"Its package cannot be run with backend.kind cwl instead: {reason}."]
            with pytest.raises(ConfigError) as caught:
                pin(name, tmp_path, catalogue)
            assert str(caught.value) == (
                f"{path}: algorithm.source: {name} runs through OGC API - Processes ({base}/processes/{identifier})"
                f" and needs backend.kind ogcapi; with kind cwl its package would run, but {reason}"
            )
        elif name in NO_DEFINITION:
            assert facts["problem"] == f"{NO_DEFINITION[name]}: cannot be fetched: {UNREACHABLE}"
            with pytest.raises(
                ConfigError,
                match=r"algorithm\.source: cannot be fetched: the server cannot be reached \(Connection refused\)$",
            ):
                pin(name, tmp_path, catalogue)
        else:
            assert facts["problem"] is None
            pinned = pin(name, tmp_path, catalogue)
            assert pinned.service.startswith("https://openeo")
            assert facts["sha256"] == pinned.algorithm.sha256
            assert pinned.algorithm.source == facts["record"]["application"]  # what a platform could be sent to
            assert {p["name"]: p["form"] for p in facts["parameters"] if p["filled_by"] == "tile"} == (
                {} if name == RAMONA else FORMS.get(pinned.algorithm.id, {"bounding_box": "bbox"})
            )


UNREACHED = ("biopar", "mogpr_s1s2", "parcel_delineation", "phenology", "variabilitymap")
REFUSED = {
    "scmap_composite": "arguments.max_sun_zenith_angle: scmap_composite has no such parameter; it has: temporal_extent,"
    " bounding_box, max_cloud_cover, nmad_sigma, compute_mref, compute_mask",
    "wind_turbine-terrascope": "arguments.year: 2025 is not of type 'string'",
}


def test_every_scenario_is_accepted_or_refused_as_its_definition_asks(catalogue: str) -> None:
    problems: dict[str, str | None] = {}
    for path in sorted(Path(catalogue).glob("*/*/benchmark*/*.json")):
        facts = describe(AlgorithmConfig(source=str(path)))
        problems |= {scenario["id"]: scenario["problem"] for scenario in facts["scenarios"]}
    assert len(problems) == 18
    for name in UNREACHED:
        assert str(problems.pop(name)).endswith(f"algorithm.source: cannot be fetched: {UNREACHABLE}")
    assert {name: problem for name, problem in problems.items() if problem} == REFUSED


def test_a_scenario_is_no_algorithm(catalogue: str, tmp_path: Path) -> None:
    path = f"{catalogue}/vito/max_ndvi/benchmark_scenarios/max_ndvi.json"
    with pytest.raises(ConfigError) as caught:
        pin(path, tmp_path)
    assert str(caught.value) == (
        f"{path}: algorithm.source: is a benchmark scenario: name the process that it calls, and its arguments in"
        " algorithm.parameters"
    )


def test_a_record_is_resolved_within_its_catalogue(catalogue: str, tmp_path: Path) -> None:
    found = pin("max_ndvi_composite", tmp_path, catalogue)
    assert found.service == "https://openeofed.dataspace.copernicus.eu"
    assert found.algorithm.id == "max_ndvi_composite"
    assert found.algorithm.title == "Max NDVI Composite based on Sentinel-2 data"
    assert json.loads(found.algorithm.path.read_text())["process_graph"]
    assert read_parameters(json.loads(found.algorithm.path.read_text())) == found.algorithm.parameters


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("scmap", "scmap_composite"),  # a record's id is not always its process's
        ("scmap_composite", "scmap_composite"),
        ("max_ndvi", "max_ndvi"),  # is in no record
        ("vito/max_ndvi_composite", "max_ndvi_composite"),
    ],
)
def test_a_service_is_found_by_the_names_it_goes_by(catalogue: str, tmp_path: Path, name: str, identifier: str) -> None:
    assert pin(name, tmp_path, catalogue).algorithm.id == identifier
    root = tmp_path / "repository" / "algorithm_catalog"  # a checkout has the providers one folder further down
    root.parent.mkdir()
    root.symlink_to(catalogue)
    assert pin(name, tmp_path, str(root.parent)).algorithm.id == identifier


def test_a_name_that_is_not_there_is_one_line(catalogue: str, tmp_path: Path) -> None:
    for name, words in {
        "max_ndv": f"algorithm.source: no record with the id 'max_ndv' in {catalogue}; did you mean 'max_ndvi'?",
        "dhi/max_ndvi": f"algorithm.source: no record with the id 'dhi/max_ndvi' in {catalogue}; did you mean",
        "*": f"algorithm.source: no record with the id '*' in {catalogue}",
    }.items():
        with pytest.raises(ConfigError) as caught:
            pin(name, tmp_path, catalogue)
        assert str(caught.value).startswith(words)
    with pytest.raises(ConfigError, match=r"algorithm\.catalogue: no such folder: nowhere"):
        pin("max_ndvi", tmp_path, "nowhere")


@pytest.mark.parametrize(
    ("source", "text", "words"),
    [
        ("gone.json", None, "no such file: gone.json"),
        ("udp.json", '{"process_graph": ', "udp.json: algorithm.source: is not JSON: Expecting value: line 1"),
        ("udp.json", "\u00ff", "is not JSON"),
        ("udp.json", '{"type": "FeatureCollection"}', "is no openEO process"),
        ("udp.json", '{"type": "Feature", "links": []}', "the record has no link with rel `application`"),
    ],
)
def test_an_unreadable_source_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, text: str | None, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / source).write_text(text)
    with pytest.raises(ConfigError) as caught:
        pin(source, tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_catalogue_on_the_web_is_followed_by_its_relative_links(catalogue: str, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(Path(catalogue) / "vito/max_ndvi_composite", repository / "catalog/vito/max_ndvi_composite")
    shutil.copytree(Path(catalogue) / "platform_catalog", repository / "platform_catalog")
    path = repository / "catalog/vito/max_ndvi_composite/records/max_ndvi_composite.json"
    record = json.loads(path.read_text())
    next(link for link in record["links"] if link["rel"] == "application")["href"] = (
        "../openeo_udp/max_ndvi_composite.json"
    )
    path.write_text(json.dumps(record))
    secret = tmp_path / "own.json"
    secret.write_text(json.dumps(udp({"a": node("load_collection", result=True)})))
    with served(repository) as url:
        config = AlgorithmConfig(source="vito/max_ndvi_composite", catalogue=f"{url}/catalog")
        facts = describe(config)
        assert facts["problem"] is None
        assert facts["read_from"] == f"{url}/catalog/vito/max_ndvi_composite/openeo_udp/max_ndvi_composite.json"
        assert facts["record"]["platform"]["title"] == "CDSE openEO Federation processing backend"
        assert facts["record"]["provider"]["title"] == "VITO"  # the link's: that record is not served
        assert pin_algorithm(config, tmp_path).algorithm.sha256 == facts["sha256"]
        # A record from the web never reads a file of this machine.
        record["links"] = [{"rel": "application", "href": secret.as_uri(), "type": "application/json"}]
        path.write_text(json.dumps(record))
        with pytest.raises(ConfigError, match="is not an address of the web"):
            pin_algorithm(config, tmp_path)
        with pytest.raises(ConfigError, match=r"/x/y/records/y\.json: algorithm\.source: the server answered 404"):
            pin_algorithm(AlgorithmConfig(source="x/y", catalogue=f"{url}/catalog"), tmp_path)


def test_a_link_does_not_lead_out_of_a_local_catalogue(catalogue: str, tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text(json.dumps(udp({"a": node("x", result=True)}, [{"name": "b", "schema": BOX}])))
    folder = tmp_path / "catalogue/p/s/records"
    folder.mkdir(parents=True)
    base = "https://raw.githubusercontent.com/ESA-APEx/apex_algorithms/main/algorithm_catalog"
    link = {"rel": "application", "href": f"{base}/p/../../own.json"}
    (folder / "s.json").write_text(json.dumps({"type": "Feature", "id": "s", "links": [link]}))
    with pytest.raises(ConfigError, match="cannot be fetched"):
        pin("s", tmp_path, str(tmp_path / "catalogue"))


@pytest.mark.parametrize(
    ("href", "reference"),
    [
        ("https://raw.githubusercontent.com/ESA-APEx/apex_algorithms/refs/heads/main/a/b.json", "main"),
        ("https://raw.githubusercontent.com/ESA-APEx/apex_algorithms/main/a/b.json", "main"),
        (f"https://raw.githubusercontent.com/ESA-APEx/apex_algorithms/{'0a' * 20}/a/b.json", None),
        ("https://raw.githubusercontent.com/WorldCereal/worldcereal/refs/tags/v1.0/b.json", None),
        ("https://github.com/o/r/raw/refs/heads/dev/b.json", "dev"),
        ("https://gitlab.example.org/group/project/-/raw/main/b.json", "main"),
        ("oci://ghcr.io/terradue/open-sar-toolkit:latest-dev", "latest-dev"),
        ("oci://ghcr.io/terradue/open-sar-toolkit", "latest"),
        ("oci://ghcr.io/terradue/open-sar-toolkit@sha256:00", None),
        ("https://repository.terradue.com/artifactory/s1-insar.0.4.11.cwl", None),
    ],
)
def test_links_that_follow_a_branch_are_told(href: str, reference: str | None) -> None:
    assert floating_reference(href) == reference


def test_an_ogc_process_is_split_into_base_and_id() -> None:
    found = ogc_process("https://ades.gep.terradue.com/gep/wps3/processes/s1-insar-0_4_11/")
    assert found == ("https://ades.gep.terradue.com/gep/wps3", "gep/wps3", "s1-insar-0_4_11")
    assert ogc_process("https://host/processes/a") == ("https://host", "", "a")
    for other in ("https://openeo.dataspace.copernicus.eu", "https://host/processes/", "ftp://host/processes/a"):
        assert ogc_process(other) is None


def test_what_cannot_be_fetched_is_the_file_that_is_named(tmp_path: Path) -> None:
    """Of a package it is not always the package; and the reason is told."""
    (path := tmp_path / "own.cwl").write_text(
        "cwlVersion: v1.2\nclass: CommandLineTool\nbaseCommand: x\ninputs: {}\noutputs: {}\n"
        'requirements: {SchemaDefRequirement: {types: [{$import: "http://127.0.0.1:9/types.yaml"}]}}\n'
    )
    with served(tmp_path) as url:
        for source, words in (
            (path, f"names http://127.0.0.1:9/types.yaml, which cannot be fetched: {UNREACHABLE}"),
            (f"{url}/own.cwl", f"names http://127.0.0.1:9/types.yaml, which cannot be fetched: {UNREACHABLE}"),
            (f"{url}/gone.cwl", "cannot be fetched: the server answered 404 File not found"),
            ("http://127.0.0.1:9/own.cwl", f"cannot be fetched: {UNREACHABLE}"),
        ):
            with pytest.raises(ConfigError) as caught:
                pin(str(source), tmp_path / "plan")
            assert str(caught.value) == f"{source}: algorithm.source: {words}"
