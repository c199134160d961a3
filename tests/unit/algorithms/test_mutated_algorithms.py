"""Damaged process definitions: bound and described, or one line.

More, and others: ``UPSCALING_MUTATIONS=5000 UPSCALING_SEED=7 pytest <this file>``.
"""

from __future__ import annotations

import copy
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from tests.mutate import SEED, guarded, how_many, mutated, sent_as_json
from tests.unit.udp_helpers import TILE, TIME, node
from upscaling.algorithms.catalogue import parse, pin_udp
from upscaling.algorithms.nested import with_nested
from upscaling.algorithms.ogc_process import read_inputs
from upscaling.algorithms.udp import check_udp, inline_graph, namespace_graph
from upscaling.binding import binder_of
from upscaling.cli.describe.process import process_facts
from upscaling.errors import ConfigError
from upscaling.model import Algorithm, Coordinates, Step

EACH = how_many(4, 400)
UDPS = {
    "max_ndvi": "vito/max_ndvi/openeo_udp/max_ndvi.json",
    "barren_soil": "developmentseed/barren_soil/openeo_udp/barren_soil.json",
}
STEP = Step("2022-06", *TIME)


def bind(algorithm: Algorithm, chance: random.Random) -> None:
    time = chance.random() < 0.3
    binder_of(algorithm, {}, {}, time=time).arguments(Coordinates(TILE, STEP if time else None))


@pytest.mark.parametrize("name", UDPS)
def test_a_damaged_process_is_bound_or_refused_in_one_line(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    document = json.loads((shared_data / "apex_catalogue" / UDPS[name]).read_text())
    chance, bound = random.Random(SEED), 0
    for number in range(EACH):
        damaged = sent_as_json(mutated(document, chance))
        with guarded(f"{number} of {SEED}", damaged):
            text = json.dumps(damaged)
            content = parse(text, "p.json")
            algorithm = pin_udp(content, text, "p.json", into=tmp_path, source="p.json")
            if number % 5 == 0:
                process_facts(content, text, "p.json", saved_as=[])
            inline_graph(content, {})
            namespace_graph(content, "https://h.example/p.json", {})
            bind(algorithm, chance)
            bound += 1
    assert EACH / 20 < bound < EACH


def test_a_damaged_process_that_is_called_is_part_of_the_graph_or_refused_in_one_line() -> None:
    x = {"from_parameter": "x"}
    inner = {
        "id": "inner",
        "parameters": [{"name": "place", "schema": {}}, {"name": "k", "schema": {"type": "number"}, "default": 2}],
        "process_graph": {
            "load": {"process_id": "load_collection", "arguments": {"spatial_extent": {"from_parameter": "place"}}},
            "apply": {
                "process_id": "apply",
                "arguments": {
                    "data": {"from_node": "load"},
                    "process": {"process_graph": {"m": node("multiply", result=True, x=x, y={"from_parameter": "k"})}},
                },
                "result": True,
            },
        },
    }  # fmt: skip
    outer = {
        "id": "outer",
        "parameters": [{"name": "place", "schema": {}}],
        "process_graph": {
            "call": {
                "process_id": "inner",
                "namespace": "https://h.example/inner.json",
                "arguments": {"place": {"from_parameter": "place"}},
            },
            "save": {"process_id": "save_result", "arguments": {"data": {"from_node": "call"}}, "result": True},
        },
    }
    chance, expanded = random.Random(SEED), 0
    for number in range(EACH):
        damaged = sent_as_json(mutated({"outer": outer, "inner": inner}, chance))
        with guarded(f"{number} of {SEED}", damaged):
            check_udp(damaged.get("outer"), file="outer.json")
            served = json.dumps(damaged.get("inner"))
            whole, _ = with_nested(damaged["outer"], place="outer.json", fetch=lambda _, text=served: text)
            check_udp(whole, file="outer.json")
            inline_graph(whole, {"place": 1})
            expanded += "upscaling:nested" in whole
    assert EACH / 20 < expanded < EACH


def test_a_damaged_description_of_a_server_is_bound_or_refused_in_one_line() -> None:
    described: dict[str, Any] = {
        "id": "p",
        "inputs": {
            "bbox": {"schema": {"allOf": [{"format": "ogc-bbox"}, {"$ref": "https://h.example/bbox.yaml"}]}},
            "own": {"minOccurs": 0, "schema": {"type": "object", "properties": {"bbox": {}, "crs": {"enum": ["C"]}}}},
            "period": {"schema": {"type": "array", "items": {"type": "string", "format": "date-time"}}, "minOccurs": 0},
            "word": {"schema": {"type": "string", "enum": ["a"]}, "minOccurs": 0, "maxOccurs": 3},
            "n": {"minOccurs": 0, "input": {"literalDataDomains": [{"dataType": "double", "defaultValue": 1}]}},
            "f": {"minOccurs": 0, "input": {"formats": [{"mimeType": "text/csv"}]}},
        },
    }  # fmt: skip
    chance, bound = random.Random(SEED), 0
    for number in range(EACH):
        damaged = sent_as_json(mutated(described, chance))
        with guarded(f"{number} of {SEED}", damaged):
            algorithm = Algorithm("ogcapi", "p", Path("p.json"), "0", "p", tuple(read_inputs(copy.deepcopy(damaged))))
            bind(algorithm, chance)
            bound += 1
    assert EACH / 20 < bound < EACH


@pytest.mark.parametrize("depth", [150, 500, 5000, 200_000])
def test_a_deep_nesting_is_one_line(depth: int) -> None:
    for start, end in (('{"a":', "}"), ("[", "]"), ('{"process_graph":', "}")):
        text = start * depth + "1" + end * depth
        with guarded("depth", text[:100]):
            check_udp({"id": "p", "process_graph": {}, "more": parse(text, "p.json")}, file="p.json")
            pytest.fail("not refused")  # has no result node either


def test_numbers_that_json_does_not_have_are_refused() -> None:
    graph = {"n": {"process_id": "add", "arguments": {"x": float("nan"), "y": 1}, "result": True}}
    with pytest.raises(ConfigError, match=r"^p\.json: algorithm\.source: holds nan, which is not JSON"):
        check_udp({"process_graph": graph}, file="p.json")
