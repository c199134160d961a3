"""From a name, a path or a URL to a pinned algorithm, or one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from upscaling.catalogue import pin_algorithm
from upscaling.config import Algorithm as AlgorithmConfig
from upscaling.errors import ConfigError
from upscaling.udp import read_parameters


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
