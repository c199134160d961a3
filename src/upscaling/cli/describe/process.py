"""What an openEO process asks for, and what a tile and a time step become for it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from upscaling.algorithms.catalogue import pin_udp
from upscaling.algorithms.graph import nodes_of, unread
from upscaling.algorithms.udp import loaded_collections, saves_result, subtypes
from upscaling.binding.base import Choice
from upscaling.binding.forms import FORMS
from upscaling.binding.openeo import Binder, alternatives, space_choice
from upscaling.model import Parameter
from upscaling.planning.notices import NEIGHBOURHOOD

__all__ = ["missing", "parameter_facts", "process_facts", "type_words"]

_TABLES = {"aggregate_spatial", "load_geojson", "raster_to_vector", "vector_buffer"}
_RASTERS = {"load_collection", "load_stac", "vector_to_raster", "load_result"}


def process_facts(content: Any, text: str, place: str, *, saved_as: list[str]) -> dict[str, Any]:
    """Return what a definition asks for.

    Parameters
    ----------
    content, text, place
        The definition, as text, and where it was read.
    saved_as
        File formats that its benchmarks ask for.

    Returns
    -------
    dict
        ``id``, ``title``, ``description``, ``sha256``; ``parameters``: of each the name, ``type``, ``required``,
        ``default``, ``description``, ``filled_by`` (``tile``, ``time step``, ``parameters`` or ``default``), ``form``
        and ``why``; ``collections``; ``saves_result``; ``saved_as``; ``neighbourhood``: processes that look beyond a
        pixel; ``calls``: processes of other namespaces; ``job_options``; ``missing``: what a configuration must hold;
        ``notes``: what one should know.

    Raises
    ------
    ConfigError
        If it is no openEO process that can be run.
    """
    with tempfile.TemporaryDirectory() as folder:
        algorithm = pin_udp(content, text, place, into=Path(folder), source=place)
    graph = content["process_graph"]
    choices = {p.name: choice for p in algorithm.parameters if (choice := space_choice(p, graph))}
    choices |= Binder.time_choices([parameter for parameter in algorithm.parameters if parameter.name not in choices])
    parameters = [parameter_facts(p, choices.get(p.name)) for p in algorithm.parameters]
    nodes = list(nodes_of(graph))
    facts: dict[str, Any] = {
        "id": algorithm.id,
        "title": algorithm.title,
        "description": algorithm.description,
        "sha256": algorithm.sha256,
        "parameters": parameters,
        "collections": loaded_collections(graph),
        "saves_result": saves_result(graph),
        "saved_as": saved_as,
        "neighbourhood": sorted({node["process_id"] for node in nodes} & NEIGHBOURHOOD),
        "calls": [list(call) for call in sorted({_call(node) for node in nodes if node.get("namespace")})],
        "job_options": content.get("default_job_options", {}),
    }
    return {**facts, "missing": list(missing(parameters)), "notes": list(_notes(facts, algorithm.parameters, graph))}


def _call(node: Mapping[str, Any]) -> tuple[str, str]:
    return node["process_id"], str(node["namespace"])


def parameter_facts(parameter: Parameter, choice: Choice | None) -> dict[str, Any]:
    """Return what is told of a parameter, and what fills it: a form of the tile (or time step), or the user."""
    if choice is not None:
        filled_by = "time step" if FORMS[choice.form].of == "step" else "tile"
    else:
        filled_by = "parameters" if parameter.required else "default"
    return {
        "name": parameter.name,
        "type": type_words(parameter.schema),
        "required": parameter.required,
        "default": parameter.default,
        "description": " ".join(parameter.description.replace("\\n", " ").split()),
        "filled_by": filled_by,
        "form": None if choice is None else choice.form,
        "becomes": None if choice is None else FORMS[choice.form].words,
        "why": None if choice is None else choice.why,
    }


def type_words(schema: Any) -> str:
    """Return a schema in few words: ``bounding-box``, ``number, 0 to 100``, ``one of FAPAR, LAI``, ``string[]``."""
    words = dict.fromkeys(_words(one) for one in alternatives(schema))
    return " or ".join(word for word in words if word != "null") or "anything"


def _words(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    kind = schema.get("type", "anything")
    if schema.get("subtype") or (kind == "object" and schema.get("format")):
        return str(schema.get("subtype") or schema["format"])
    if kind == "array":
        inner = type_words(schema.get("items", {}))
        return f"({inner})[]" if " " in inner else f"{inner}[]"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{kind}, {low} to {high}"
    bound = f", at least {low}" if low is not None else f", at most {high}" if high is not None else ""
    return f"{' or '.join(kind) if isinstance(kind, list) else kind}{bound}"


def missing(parameters: list[dict[str, Any]]) -> Iterator[str]:
    """Yield what a configuration must hold for a service with these parameters."""
    takers = [entry for entry in parameters if entry["filled_by"] == "tile"]
    yield "area: the tiles' area" if takers else "for_each: values of its parameters, as nothing takes a tile"
    for entry in parameters:
        if entry["required"] and entry["filled_by"] == "time step":
            yield f"time, or algorithm.parameters.{entry['name']}: {entry['type']}"
        elif entry["filled_by"] == "parameters":
            yield f"algorithm.parameters.{entry['name']}: {entry['type']}"


def _notes(facts: Mapping[str, Any], parameters: tuple[Parameter, ...], graph: Mapping[str, Any]) -> Iterator[str]:
    by_name = {entry["name"]: entry for entry in facts["parameters"]}
    if not any(entry["filled_by"] == "tile" for entry in by_name.values()):
        yield "No parameter takes a tile: run it without area, over a for_each dimension."
    for entry in by_name.values():
        typed = subtypes(next(p.schema for p in parameters if p.name == entry["name"]))
        if entry["form"] and "geojson" not in typed and entry["form"] in {"geojson", "feature", "feature-collection"}:
            yield f"{entry['name']} is typed {entry['type']}, but {entry['why']}: it gets a polygon."
        if str(entry["form"]).startswith("bbox-lonlat"):
            yield f"{entry['name']}: {entry['why']}; the box is larger than the tile, and results are cut to it."
    unused = [name for name in by_name if unread(graph, name)]
    if unused:
        yield f"Its graph does not use {', '.join(unused)}: a value changes nothing."
    intervals = [p.name for p in parameters if "temporal-interval" in subtypes(p.schema)]
    if len(intervals) > 1:
        names = ", ".join(intervals)
        yield f"It has {len(intervals)} temporal intervals ({names}): bind `time` to one for a time dimension."
    if facts["neighbourhood"]:
        names = ", ".join(facts["neighbourhood"])
        looks = "look" if len(facts["neighbourhood"]) > 1 else "looks"
        yield f"{names} {looks} at neighbouring pixels: set area.buffer to that reach, or tiles show seams."
    for process, namespace in facts["calls"]:
        remote = namespace.startswith("http")
        what = (
            "is fetched and pinned with the plan, where that can be"
            if remote
            else "only platforms that have it can run it"
        )
        yield f"Calls {process} of {namespace}: {what}."
    if not facts["saves_result"]:
        if facts["saved_as"]:
            formats = ", ".join(facts["saved_as"])
            yield f"Has no save_result; its benchmarks save {formats}: set algorithm.output_format."
        elif _ends_in_a_table(graph):
            yield "Has no save_result, and ends in a table: set algorithm.output_format (JSON, CSV, Parquet …)."


def _ends_in_a_table(graph: Mapping[str, Any]) -> bool:
    """Whether the result is, as far as the graph tells, a table of values per geometry and not a raster."""
    waiting, seen = [name for name, node in graph.items() if node.get("result")], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or graph[name]["process_id"] in _RASTERS:
            continue
        if graph[name]["process_id"] in _TABLES:
            return True
        seen.add(name)
        data = graph[name].get("arguments", {}).get("data")
        if isinstance(data, Mapping) and data.get("from_node") in graph:
            waiting.append(data["from_node"])
    return False
