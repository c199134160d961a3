"""Every OGC record of the catalogue resolves to a process's address, or says why not in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.backend.ogcapi.replay import Replay

from upscaling.algorithms.ogc_process import find_process, pin_process
from upscaling.algorithms.records import OgcProcess
from upscaling.config import Config
from upscaling.errors import ConfigError

RECORDS = {
    "gep_DinSAR": ("https://ades.gep.terradue.com/gep/wps3", "gep/wps3", "s1-insar-0_4_11"),
    "sar_coin": ("https://ades.gep.terradue.com/gep/wps3", "gep/wps3", "s1-coherence-intensity-0_7_8"),
    "gep_ost": ("https://ades.gep.terradue.com/gep/wps3", "gep/wps3", "opensartoolkit-1_0_24"),
    "gep_api_ost": (
        "https://processing.geohazards-tep.eu/44454d3235313539",
        "44454d3235313539",
        "opensartoolkit-v2-2-1",
    ),
    "sen4cap_l4c_agricultural_practices": ("https://sen4x.tao.c-s.ro/process", "process", "204"),
    "sen4cap_l4e_parcel_heterogeneity": ("https://sen4x.tao.c-s.ro/process", "process", "203"),
    "sen4cap_l3_basic_markers": ("https://sen4x.tao.c-s.ro/process", "process", "207"),
    "sen4cap_l4d_bare_soil": ("https://sen4x.tao.c-s.ro/process", "process", "205"),
    "sen4cap_l3b_spectral_indices": ("https://sen4x.tao.c-s.ro/process", "process", "71"),
    "sen4cap_l3b_biophysical_indicators": ("https://sen4x.tao.c-s.ro/process", "process", "182"),
}


def config(source: str, catalogue: str | None = None, url: str | None = None) -> Config:
    return Config.parse(
        {
            "run": "r",
            "algorithm": {"source": source, "catalogue": catalogue},
            "area": {"aoi": [0, 0, 1, 1]},
            "backend": {"kind": "ogcapi", "url": url},
        }
    )


def test_every_record_is_known(shared_data: Path) -> None:
    found = {}
    for path in (shared_data / "apex_catalogue").glob("*/*/records/*.json"):
        record = json.loads(path.read_text())
        if any("ogc-api-processes" in name for name in record["conformsTo"]):
            found[record["id"]] = path
    assert set(found) == set(RECORDS)
    for name, path in found.items():
        process, record = find_process(config(str(path)))
        assert tuple(process) == RECORDS[name]
        assert record is not None
        assert record["id"] == name
        by_id, _ = find_process(config(name, str(shared_data / "apex_catalogue")))
        assert by_id == process


def test_an_openeo_record_is_refused(shared_data: Path) -> None:
    path = next((shared_data / "apex_catalogue").glob("vito/*/records/*.json"))
    with pytest.raises(ConfigError, match=r"it needs backend.kind openeo"):
        find_process(config(str(path)))


@pytest.mark.parametrize(
    ("source", "url", "found"),
    [
        ("https://h.example/api/processes/p", None, ("https://h.example/api", "p")),
        ("https://h.example/api/processes/p/execution?f=json", None, ("https://h.example/api", "p")),
        ("p", "https://h.example/api/", ("https://h.example/api", "p")),
        ("p", "https://h.example/api/processes", ("https://h.example/api", "p")),
        ("p", None, "backend.url: is required with a process's id (p)"),
        ("gone.json", None, "algorithm.source: no such file: gone.json"),
        ("https://h.example/api/processes/p/jobs/1", None, "algorithm.source: is no address of a process"),
    ],
)
def test_addresses(source: str, url: str | None, found: Any) -> None:
    if isinstance(found, str):
        with pytest.raises(ConfigError) as caught:
            find_process(config(source, url=url))
        assert str(caught.value).startswith(found)
    else:
        process, _ = find_process(config(source, url=url))
        assert (process.base, process.id) == found


def test_a_record_is_pinned_with_the_description_that_its_service_gives(
    replay: Replay, shared_data: Path, tmp_path: Path
) -> None:
    path = next((shared_data / "apex_catalogue").glob("*/*/records/gep_ost.json"))
    record = json.loads(path.read_text())
    for link in record["links"]:
        if link["rel"] == "service":
            link["href"] = f"{replay.base}/processes/ost-1"
    (tmp_path / "record.json").write_text(json.dumps(record))
    inputs = {"aoi": {"schema": {"type": "string"}}}
    replay.answers["GET /api/processes/ost-1"] = (200, {}, {"id": "ost-1", "version": "1.0.24", "inputs": inputs})
    algorithm, service = pin_process(config(str(tmp_path / "record.json")), tmp_path / "plan")
    assert service == replay.base
    assert (algorithm.kind, algorithm.id, algorithm.version) == ("ogcapi", "ost-1", "1.0.24")
    assert algorithm.title == record["properties"]["title"]
    assert [parameter.name for parameter in algorithm.parameters] == ["aoi"]
    assert json.loads(algorithm.path.read_text())["inputs"] == inputs
    assert isinstance(find_process(config(str(tmp_path / "record.json")))[0], OgcProcess)
