"""openEO user-defined processes: what they ask for, and the graph that is sent for one tile."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping
from typing import Any

from upscaling.algorithms.graph import CHILD_PARAMETERS, OF_UNKNOWN_PROCESS, asked_for, child_graphs, references
from upscaling.errors import ConfigError
from upscaling.model import Parameter
from upscaling.util.values import alternatives

__all__ = [
    "check_udp",
    "exported",
    "filled",
    "inline_graph",
    "loaded_collections",
    "namespace_graph",
    "read_parameters",
    "saves_result",
    "subtypes",
]

# Required by every predefined process that has them (openEO processes 2.0.0), so that they cannot be left out: there
# null is a value, which `is_valid` or `if` asks about, or means "no limit".
_NEVER_LEFT_OUT = frozenset({"x", "y", "value", "data", "accept", "spatial_extent", "temporal_extent", "period"})


_DEEPEST = 200  # levels of nesting: every walk of a graph goes down one call a level
_SURROGATE = re.compile("[\ud800-\udfff]")
_TEXTS = ("id", "summary", "description", "title")


def check_udp(definition: Any, *, file: object) -> None:
    """Refuse what is not a process definition with a process graph that can run.

    Raises
    ------
    ConfigError
        Names ``file`` and the first node or parameter that is wrong.
    """
    try:
        _check_definition(definition)
    except ConfigError as error:
        raise ConfigError(error.message, file=file, key="algorithm.source") from None


def _check_definition(definition: Any) -> None:
    _check_json(definition)
    if not isinstance(definition, Mapping) or not isinstance(definition.get("process_graph"), Mapping):
        raise ConfigError("is no openEO process: it has no `process_graph` object")
    for name in _TEXTS:
        if not isinstance(definition.get(name), str | None):
            raise ConfigError(f"`{name}` is no text")
    if not isinstance(definition.get("default_job_options"), Mapping | None):
        raise ConfigError("`default_job_options` is no object")
    graph = definition["process_graph"]
    _check_graph(graph, "the process graph")
    results = [name for name, node in graph.items() if node.get("result")]
    if len(results) != 1:
        raise ConfigError(f"the process graph has {len(results)} result nodes; it needs one")
    _check_parameters(definition.get("parameters"), graph)


def _check_json(definition: Any) -> None:
    """Refuse what JSON cannot hold, and a nesting that no platform reads."""
    level = [definition]
    for _ in range(_DEEPEST):
        following: list[Any] = []
        for value in level:
            if isinstance(value, Mapping):
                for word in ("from_node", "from_parameter"):
                    if set(value) == {word} and not isinstance(value[word], str):
                        raise ConfigError(f"has a `{word}` that is no text")
                following += value
                following += value.values()
            elif isinstance(value, list):
                following += value
            elif isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"holds {value}, which is not JSON")
            elif isinstance(value, str) and not value.isascii() and _SURROGATE.search(value):
                raise ConfigError(f"holds a text that is no Unicode: {value[:40]!r}")
        if not following:
            return
        level = following
    raise ConfigError(f"is nested more than {_DEEPEST} levels deep")


def _check_graph(graph: Mapping[str, Any], where: str) -> None:
    """Check the nodes of a graph and of its child graphs: their types, what they refer to, and circles."""
    for name, node in graph.items():
        if not isinstance(node, Mapping) or not isinstance(node.get("process_id"), str):
            raise ConfigError(f"node {name!r} of {where} has no `process_id`")
        if not isinstance(node.get("arguments", {}), Mapping):
            raise ConfigError(f"the `arguments` of node {name!r} are no object")
        if not isinstance(node.get("namespace"), str | None):
            raise ConfigError(f"the `namespace` of node {name!r} is no text")
        for reference in references(node.get("arguments", {})):
            if reference not in graph:
                raise ConfigError(f"node {name!r} refers to {reference!r}, which does not exist")
        for argument in node.get("arguments", {}).values():
            for child in child_graphs(argument):
                _check_graph(child, f"a child process of {name!r}")
    if circle := _circle(graph):
        raise ConfigError(f"{where} is circular: {' -> '.join(circle)}")


def _circle(graph: Mapping[str, Any]) -> list[str]:
    """Return nodes that refer to each other in a circle, the first also at the end; empty if there are none."""
    waits = {name: set(references(node.get("arguments", {}))) for name, node in graph.items()}
    while ready := [name for name, needs in waits.items() if not needs]:
        waits = {name: needs.difference(ready) for name, needs in waits.items() if name not in ready}
    if not waits:
        return []
    path = [min(waits)]
    while path[-1] not in path[:-1]:
        path.append(min(waits[path[-1]]))
    return path[path.index(path[-1]) :]


def _check_parameters(parameters: Any, graph: Mapping[str, Any]) -> None:
    if not isinstance(parameters, list | None):
        raise ConfigError("`parameters` is no list")
    names = set()
    for position, parameter in enumerate(parameters or []):
        if not isinstance(parameter, Mapping) or not isinstance(parameter.get("name"), str):
            raise ConfigError(f"parameter {position} has no `name`")
        if parameter["name"] in names:
            raise ConfigError(f"has two parameters {parameter['name']!r}")
        if not isinstance(parameter.get("description"), str | None):
            raise ConfigError(f"the `description` of parameter {parameter['name']!r} is no text")
        _check_schema(parameter.get("schema"), f"the `schema` of parameter {parameter['name']!r}")
        names.add(parameter["name"])
    for name, node in graph.items():
        for wanted in asked_for(node.get("arguments", {}), children=False):
            if wanted not in names:
                raise ConfigError(f"node {name!r} asks for a parameter {wanted!r} that is not declared")


def _check_schema(schema: Any, what: str) -> None:
    """Check that a schema, or each of a list of them, is one by the rules of JSON Schema."""
    from jsonschema import Draft7Validator
    from jsonschema.exceptions import SchemaError

    for one in schema if isinstance(schema, list) else [schema or {}]:
        if not isinstance(one, Mapping):
            raise ConfigError(f"{what} is no object")
        try:
            Draft7Validator.check_schema(one)
        except SchemaError as error:
            path = "".join(f"[{part!r}]" for part in error.absolute_path)
            raise ConfigError(f"{what} is not valid: {error.message[:200]}{f' (at {path})' if path else ''}") from None
        if not all(isinstance(part.get("subtype"), str | None) for part in alternatives(one)):
            raise ConfigError(f"{what} has a `subtype` that is no text")


def loaded_collections(graph: Mapping[str, Any]) -> list[str]:
    """Return the ids of the collections that a graph loads, as far as they stand in it (not in a parameter)."""
    nodes = (node for node in graph.values() if node.get("process_id") == "load_collection")
    named = (node.get("arguments", {}).get("id") for node in nodes)
    return sorted({name for name in named if isinstance(name, str)})


def read_parameters(definition: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """Return the parameters of a process definition."""
    return tuple(
        Parameter(
            name=entry["name"],
            schema=entry.get("schema") or {},
            # openEO: a parameter with `optional: true` or a `default` may be left out.
            required=not (entry.get("optional") or "default" in entry),
            default=entry.get("default"),
            description=entry.get("description") or "",
        )
        for entry in definition.get("parameters") or []
    )


def subtypes(schema: Any) -> set[str]:
    """Return every openEO subtype (``bounding-box``, ``geojson`` …) that a parameter's schema admits."""
    parts = (part for one in (schema if isinstance(schema, list) else [schema]) for part in alternatives(one))
    return {part["subtype"] for part in parts if isinstance(part.get("subtype"), str)}


def inline_graph(
    definition: Mapping[str, Any], arguments: Mapping[str, Any], *, output_format: str = "GTiff"
) -> dict[str, Any]:
    """Return the definition's graph with its parameters filled in, ending in ``save_result``.

    Parameters that are not in ``arguments`` take their default. One that is optional and has none leaves out the
    arguments that it stands for, so that the called process takes its own default: platforms tell an absent argument
    from null, which many schemas do not admit. ``save_result`` is added only where none leads to the graph's result:
    a second one makes some platforms write every file twice. Namespaces of the nodes stay.
    """
    return _saved(filled(definition["process_graph"], definition, arguments), output_format)


def filled(graph: Mapping[str, Any], definition: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a graph with a definition's parameters filled in; what stands for one without a value is left out."""
    declared = definition.get("parameters") or []
    return _filled(graph, {entry["name"]: entry.get("default", _ABSENT) for entry in declared} | dict(arguments))


_ABSENT: Any = object()


def _filled(graph: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {**node, "arguments": _fill_arguments(node.get("process_id"), node.get("arguments", {}), values)}
        for name, node in graph.items()
    }


def _fill_arguments(process: Any, arguments: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    hidden = CHILD_PARAMETERS.get(process, OF_UNKNOWN_PROCESS)
    inside = {name: value for name, value in values.items() if name not in hidden}
    return {
        name: _fill(value, values, inside)
        for name, value in arguments.items()
        if name in _NEVER_LEFT_OUT or not _is_absent(value, values)
    }


def _is_absent(value: Any, values: Mapping[str, Any]) -> bool:
    is_reference = isinstance(value, Mapping) and set(value) == {"from_parameter"}
    return is_reference and values.get(value["from_parameter"]) is _ABSENT


def _fill(value: Any, values: Mapping[str, Any], inside: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {"from_parameter"} and value["from_parameter"] in values:
            return None if _is_absent(value, values) else copy.deepcopy(values[value["from_parameter"]])
        if isinstance(value.get("process_graph"), Mapping):
            return {**value, "process_graph": _filled(value["process_graph"], inside)}
        return {key: _fill(item, values, inside) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, values, inside) for item in value]
    return copy.deepcopy(value)


def namespace_graph(
    definition: Mapping[str, Any], url: str, arguments: Mapping[str, Any], *, output_format: str = "GTiff"
) -> dict[str, Any]:
    """Return a graph that calls the process at ``url`` (openEO's remote process definition extension)."""
    process = definition.get("id") or url.rpartition("/")[2].removesuffix(".json")
    graph = {"process1": {"process_id": process, "namespace": url, "arguments": dict(arguments), "result": True}}
    return graph if saves_result(definition["process_graph"]) else _saved(graph, output_format)


def exported(graph: dict[str, Any], workspace: str, merge: str) -> dict[str, Any]:
    """Return a graph whose result is exported to a workspace of the platform, below the path ``merge``."""
    arguments = {"workspace": workspace, "merge": merge}
    return _ended(graph, "export_workspace", "exportworkspace1", arguments)


def saves_result(graph: Mapping[str, Any]) -> bool:
    """Return whether a ``save_result`` leads to the graph's result, or is it."""
    waiting, seen = [name for name, node in graph.items() if node.get("result")], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in graph:
            continue
        if graph[name].get("process_id") == "save_result":
            return True
        seen.add(name)
        waiting += references(graph[name].get("arguments", {}))
    return False


def _saved(graph: dict[str, Any], output_format: str) -> dict[str, Any]:
    if saves_result(graph):
        return graph
    return _ended(graph, "save_result", "saveresult1", {"format": output_format})


def _ended(graph: dict[str, Any], process: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Let a node of this process take the result, and be the result."""
    last = next(name for name, node in graph.items() if node.get("result"))
    graph[last] = {key: value for key, value in graph[last].items() if key != "result"}
    while name in graph:
        name += "_"
    graph[name] = {"process_id": process, "arguments": {"data": {"from_node": last}, **arguments}, "result": True}
    return graph
