"""Processes that a process calls by URL become part of it, or are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.udp_helpers import node, udp
from upscaling.algorithms.catalogue import pin_algorithm
from upscaling.algorithms.nested import with_nested
from upscaling.algorithms.udp import inline_graph
from upscaling.config import Algorithm
from upscaling.errors import ConfigError

URL = "https://example.org/inner.json"


def parameter(name: str, **facts: Any) -> dict[str, Any]:
    return {"name": name, "schema": {}, **facts}


def call(url: str = URL, process: str = "inner", *, result: bool = True, **arguments: Any) -> dict[str, Any]:
    return {**node(process, result=result, **arguments), "namespace": url}


def inner(graph: dict[str, Any], *parameters: dict[str, Any], **facts: Any) -> dict[str, Any]:
    return {**udp(graph, [*parameters]), "id": "inner", **facts}


def served(**definitions: Any) -> Callable[[str], str]:
    def fetch(url: str) -> str:
        name = url.rpartition("/")[2].removesuffix(".json")
        if name not in definitions:
            raise ConfigError("the server answered 404 Not Found", file=url)
        return json.dumps(definitions[name])

    return fetch


def expanded(outer: dict[str, Any], **definitions: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    return with_nested(outer, place="p.json", fetch=served(**definitions))


def test_what_is_called_takes_the_place_of_the_call() -> None:
    ndvi = inner(
        {
            "load": node("load_collection", id="S2", spatial_extent={"from_parameter": "box"}),
            "scale": node("apply", data={"from_node": "load"}, process={"process_graph": {
                "x1": node("multiply", x={"from_parameter": "x"}, y={"from_parameter": "factor"}, result=True)}}),
            "end": node("filter_bands", data={"from_node": "scale"}, bands={"from_parameter": "bands"}, result=True),
        },
        parameter("box"), parameter("factor", default=2), parameter("bands", optional=True),
        default_job_options={"memory": 1, "cores": 1},
    )  # fmt: skip
    outer = udp(
        {
            "load": node("constant", x=1),
            "inner": call(result=False, box={"from_parameter": "area"}),
            "save": node("save_result", data={"from_node": "inner"}, format="GTiff", result=True),
        },
        [parameter("area")],
    )
    definition, notices = expanded({**outer, "default_job_options": {"memory": 4}}, inner=ndvi)
    assert notices == ()
    assert definition["default_job_options"] == {"memory": 4, "cores": 1}
    assert [set(entry) for entry in definition["upscaling:nested"]] == [{"process", "namespace", "sha256"}]
    graph = inline_graph(definition, {"area": {"west": 1}})
    assert graph == {
        "load": node("constant", x=1),
        "inner_load": node("load_collection", id="S2", spatial_extent={"west": 1}),
        "inner_scale": node("apply", data={"from_node": "inner_load"}, process={"process_graph": {
            "x1": node("multiply", x={"from_parameter": "x"}, y=2, result=True)}}),
        "inner": node("filter_bands", data={"from_node": "inner_scale"}),
        "save": node("save_result", data={"from_node": "inner"}, format="GTiff", result=True),
    }  # fmt: skip


def test_calls_within_calls_and_within_child_graphs_are_followed() -> None:
    leaf = inner({"a": node("add", x={"from_parameter": "v"}, y=1, result=True)}, parameter("v"))
    middle = {**inner({"m": call(v={"from_parameter": "w"})}, parameter("w")), "id": "middle"}
    child = {"process_graph": {"c": call("https://example.org/middle.json", "middle", w=7)}}
    definition, notices = expanded(
        udp({"r": node("apply", data=1, process=child, result=True)}), inner=leaf, middle=middle
    )
    assert notices == ()
    (inside,) = definition["process_graph"]["r"]["arguments"]["process"]["process_graph"].values()
    assert inside == node("add", x=7, y=1, result=True)
    assert [entry["process"] for entry in definition["upscaling:nested"]] == ["middle", "inner"]


@pytest.mark.parametrize(
    ("graph", "definitions", "words"),
    [
        ({"r": call("apex", "private")}, {}, "calls private of apex, .* only the platform has the namespace 'apex'"),
        ({"r": call("https://example.org/gone.json")}, {}, "gone.json, .* 404 Not Found"),
        ({"r": call()}, {"inner": inner({"a": node("add", result=True)}, id="other")}, "is 'other', not 'inner'"),
        ({"r": call()}, {"inner": {"id": "inner"}}, "is no openEO process"),
        (
            {"n": node("add", x=1, y=2), "r": call(v={"from_node": "n"})},
            {"inner": inner({"a": node("apply", process={"process_graph": {
                "b": node("add", x={"from_parameter": "v"}, result=True)}}, result=True)}, parameter("v"))},
            "'v' is used where the argument means something else",
        ),
        (
            {"r": call(v={"from_parameter": "perhaps"})},
            {"inner": inner({"a": node("add", x={"from_parameter": "v"}, result=True)}, parameter("v", default=1))},
            "'v' may be left out",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_pinned_stays_and_is_named(
    graph: dict[str, Any], definitions: dict[str, Any], words: str
) -> None:
    definition, notices = expanded(udp(graph, [parameter("perhaps", optional=True)]), **definitions)
    (notice,) = notices
    assert definition["process_graph"] == graph
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(notice)


@pytest.mark.parametrize(
    ("arguments", "definition", "words"),
    [
        ({"w": 1}, inner({"a": node("add", result=True)}, parameter("v", default=1)), "with 'w'; its parameters: v"),
        ({}, inner({"a": node("add", result=True)}, parameter("v")), "without 'v', which it requires"),
        ({}, inner({"a": call()}), "calls itself"),
    ],
)
def test_a_call_that_cannot_work_is_one_line(arguments: dict[str, Any], definition: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        expanded(udp({"r": call(**arguments)}), inner=definition)


def test_a_process_that_calls_nothing_is_pinned_to_the_byte_and_a_call_changes_the_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = json.dumps(udp({"r": node("add", x=1, y=2, result=True)}), indent=7)
    (tmp_path / "p.json").write_text(text)
    assert pin_algorithm(Algorithm(source=str(tmp_path / "p.json")), tmp_path).algorithm.path.read_text() == text
    (tmp_path / "p.json").write_text(json.dumps(udp({"r": call()})))
    hashes = set()
    for number in (1, 2):
        found = served(inner=inner({"a": node("add", x=number, y=2, result=True)}))
        monkeypatch.setattr("upscaling.algorithms.catalogue.fetch_text", found)
        hashes.add(pin_algorithm(Algorithm(source=str(tmp_path / "p.json")), tmp_path).algorithm.sha256)
    assert len(hashes) == 2
