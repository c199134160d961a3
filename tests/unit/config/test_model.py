"""Bad configuration is one line that names file and key; generated files follow the model."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.conftest import ROOT
from upscaling.cli.config_files import drifted
from upscaling.config import Config, load_config
from upscaling.errors import ConfigError

GOOD: dict[str, Any] = {
    "run": "r",
    "algorithm": {"source": "udp.json", "parameters": {"temporal_extent": ["2023-06-01", "2023-09-01"]}},
    "area": {"aoi": [11.3, 46.4, 11.4, 46.5], "grid": "utm-2km"},
    "backend": {"kind": "openeo", "url": "https://openeo.example/", "slots": 3},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    values = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    block = values
    for parent in parents:
        block = block.setdefault(parent, {})
    if value is None:
        del block[last]
    else:
        block[last] = value
    return values


@pytest.mark.parametrize(
    ("path", "value", "key", "words"),
    [
        ("backend.slotss", 2, "backend.slotss", "did you mean 'slots'?"),
        ("colour", "red", "colour", "unknown key"),
        ("area", None, "area", "is missing"),
        ("run", "../../etc", "run", "pattern"),
        ("area.aoi", [1, 2, 3], "area.aoi", "[west, south, east, north]"),
        ("backend.kind", "slurm", "backend", "openeo, cwl"),
        ("backend.slots", 0, "backend.slots", "greater than or equal to 1"),
        ("backend.poll_seconds", [5, 1], "backend.poll_seconds", "shortest <= longest"),
        ("backend.url", "ftp://x", "backend.url", "https://"),
        ("backend.slots", True, "backend.slots", "valid integer"),
        ("backend.poll_seconds", [True, 5], "backend.poll_seconds.0", "valid number"),
        ("area.aoi", [True, 1, 2, 3], "area.aoi", "[west, south, east, north]"),
        ("collection.title", True, "collection.title", "valid string"),
    ],
)
def test_a_fault_is_one_line_with_file_and_key(path: str, value: Any, key: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.parse(changed(path, value), file="my.yaml")
    line = str(caught.value)
    assert line.startswith(f"my.yaml: {key}: ")
    assert words in line
    assert "\n" not in line


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        Config.parse(changed("backend.url", "https://user:hunter2@openeo.example"))
    assert "credentials" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_unquoted_yaml_dates_stay_the_text_that_openeo_wants(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    values = changed("algorithm.parameters", {"temporal_extent": "@"})
    file.write_text(yaml.safe_dump(values).replace("'@'", "[2023-06-01, 2023-09-01T10:00:00Z]"))
    parameters = load_config(file).algorithm.parameters
    assert parameters == {"temporal_extent": ["2023-06-01", "2023-09-01T10:00:00Z"]}


@pytest.mark.parametrize(("text", "words"), [("run: [", "is not YAML"), ("- a", "must be a mapping"), ("", "mapping")])
def test_a_broken_file_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(file)
    assert "\n" not in str(caught.value)


def test_generated_files_follow_the_model() -> None:
    assert drifted(ROOT) == []


def test_the_default_configuration_is_right_by_model_and_by_schema() -> None:
    values = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    schema = yaml.safe_load((ROOT / "workflow" / "schemas" / "config.schema.json").read_text())
    jsonschema.validate(values, schema)
    Config.parse(values)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values | {"colour": "red"}, schema)


def test_a_key_with_another_name_now_still_works_with_a_note(tmp_path: Path) -> None:
    levels = [{"executor-memory": "8G"}]
    old = changed("backend.memory_ladder", levels)
    read = Config.parse(old)
    assert read.backend.memory_levels == levels
    assert read.notices == [
        "backend.memory_ladder is called backend.memory_levels now; the old name works until version 0.2"
    ]
    again = Config.parse(read.model_dump(mode="json"))
    assert (again.model_dump(), again.notices) == (read.model_dump(), []), "what is kept has the names of today"
    old["backend"]["memory_levels"] = []
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(old))
    with pytest.raises(ConfigError, match=r"c\.yaml: backend\.memory_ladder: is the old name of memory_levels"):
        load_config(tmp_path / "c.yaml")
