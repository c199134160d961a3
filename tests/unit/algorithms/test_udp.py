"""openEO processes: parameters, inlining, and what is refused before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.udp_helpers import node, udp
from upscaling.algorithms.graph import uses_of
from upscaling.algorithms.udp import check_udp, inline_graph, namespace_graph, subtypes
from upscaling.errors import ConfigError


def test_parameters_are_filled_in_and_defaults_too() -> None:
    extent = {"from_parameter": "area"}
    graph = {"load": node("load_collection", result=True, spatial_extent=extent, bands=[{"from_parameter": "band"}])}
    definition = udp(graph, [{"name": "area"}, {"name": "band", "default": "B04"}])
    sent = inline_graph(definition, {"area": {"west": 1}})
    assert sent["load"]["arguments"] == {"spatial_extent": {"west": 1}, "bands": ["B04"]}
    assert definition["process_graph"]["load"]["arguments"]["spatial_extent"] == extent  # the pinned copy is untouched


def test_an_omitted_parameter_without_a_default_leaves_its_argument_out() -> None:
    """Null is not the same: many a schema does not admit it. Where it has a meaning, or a place to keep, it stays."""
    from_limit = {"from_parameter": "limit"}
    graph = {
        "a": node("cropsar", k=from_limit, bands=["B04", from_limit], period={"from_parameter": "period"}),
        "b": node("is_valid", x=from_limit),
        "c": node("load_collection", result=True, temporal_extent=from_limit, bands=from_limit),
    }
    graph["a"]["namespace"] = "vito"
    parameters = [{"name": "limit", "optional": True}, {"name": "period", "optional": True, "default": None}]
    sent = inline_graph(udp(graph, parameters), {})
    assert sent["a"] == {
        "process_id": "cropsar",
        "namespace": "vito",
        "arguments": {"bands": ["B04", None], "period": None},
    }
    assert sent["b"]["arguments"] == {"x": None}
    assert sent["c"]["arguments"] == {"temporal_extent": None}


def test_a_child_process_keeps_its_own_parameters() -> None:
    inner = node("max", result=True, data={"from_parameter": "data"}, k={"from_parameter": "label"})
    child = {"process_graph": {"max": inner}}
    graph = {"r": node("reduce_dimension", result=True, data={"from_parameter": "data"}, reducer=child)}
    parameters = [{"name": "data"}, {"name": "label"}]  # a reducer has `data` of its own, and no `label`
    sent = inline_graph(udp(graph, parameters), {"data": "outer", "label": 7})
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


def test_what_is_saved_on_the_way_to_the_result_counts_and_a_branch_does_not() -> None:
    graph = {"a": node("load_collection"), "s": node("save_result", data={"from_node": "a"}, format="JSON")}
    exported = udp({**graph, "e": node("export_workspace", result=True, data={"from_node": "s"})})
    assert list(inline_graph(exported, {})) == ["a", "s", "e"]
    branch = inline_graph(udp({**graph, "m": node("mask", result=True, data={"from_node": "a"})}), {})
    assert branch["saveresult1"] == node("save_result", result=True, data={"from_node": "m"}, format="GTiff")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "no `process_graph`"),
        (udp({"a": {"arguments": {}}}), "no `process_id`"),
        (udp({"a": node("x")}), "0 result nodes"),
        (udp({"a": node("x", result=True), "b": node("y", result=True)}), "2 result nodes"),
        (udp({"a": node("x", result=True, data={"from_node": "zz"})}), "'zz', which does not exist"),
        (udp({"a": node("x", result=True)}, [{"title": "no name"}]), "parameter 0 has no `name`"),
        (udp({"a": node("x", result=True)}, [{"name": "a"}, {"name": "a"}]), "two parameters 'a'"),
        (udp({"a": node("x", result=True, y=[{"from_parameter": "b"}])}), "asks for a parameter 'b' that is not"),
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


def test_a_parameter_is_followed_to_where_it_is_used() -> None:
    here = {"from_parameter": "place"}
    inner = {"process_graph": {"c": node("mask_polygon", result=True, mask={"from_parameter": "context"})}}
    hidden = {"process_graph": {"c": node("filter_bbox", result=True, extent={"from_parameter": "data"})}}
    graph = {
        "choice": node("if", value=True, accept=here),
        "apply": node("apply_neighborhood", data=1, context=here, process=inner),
        "load": node("load_collection", result=True, spatial_extent={"from_node": "choice"}),
        "other": node("reduce_dimension", data=here, reducer=hidden),
    }
    assert uses_of(graph, "place") == {
        ("apply_neighborhood", "context"),
        ("mask_polygon", "mask"),
        ("load_collection", "spatial_extent"),
        ("reduce_dimension", "data"),
    }
    assert uses_of(graph, "data") == set()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (udp({"a": node("x", y={"from_node": "a"}, result=True)}), "the process graph is circular: a -> a"),
        (
            udp({"a": node("x", y={"from_node": "b"}), "b": node("x", y=[{"from_node": "a"}], result=True)}),
            "the process graph is circular: a -> b -> a",
        ),
        (
            udp(
                {
                    "a": node(
                        "apply",
                        result=True,
                        process={"process_graph": {"c": node("x", y={"from_node": "c"}, result=True)}},
                    )
                }
            ),
            "a child process of 'a' is circular: c -> c",
        ),
        (udp({"a": node("x", y=float("inf"), result=True)}), "holds inf, which is not JSON"),
        (udp({"a": node("x", y="\ud800", result=True)}), "holds a text that is no Unicode"),
        (udp({"a": node("x", y={"from_parameter": {}}, result=True)}), "has a `from_parameter` that is no text"),
        (
            udp({"a": node("x", result=True)}, [{"name": "p", "schema": {"type": "date"}}]),
            "the `schema` of parameter 'p'",
        ),
        (udp({"a": node("x", result=True)}, [{"name": "p", "schema": {"anyOf": 1}}]), "the `schema` of parameter 'p'"),
        (
            udp({"a": node("x", result=True)}, [{"name": "p", "description": {}}]),
            "`description` of parameter 'p' is no",
        ),
        ({**udp({"a": node("x", result=True)}), "id": []}, "`id` is no text"),
        ({**udp({"a": node("x", result=True)}), "default_job_options": []}, "`default_job_options` is no object"),
        ({**udp({"a": {**node("x", result=True), "namespace": 1}})}, "the `namespace` of node 'a' is no text"),
    ],
)
def test_what_no_platform_can_run_is_refused_in_one_line(content: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_udp(content, file="udp.json")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
