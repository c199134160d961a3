"""openEO user-defined processes: what they ask for, and the graph that is sent for one tile."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from upscaling.errors import ConfigError
from upscaling.tiles import Parameter

__all__ = ["check_udp", "inline_graph", "loaded_collections", "namespace_graph", "read_parameters", "subtypes"]

# Parameters that a child process (a reducer, say) gets from its parent process; inside it they hide the UDP's own.
# From the child-process definitions of openEO processes 2.0.0.
_CHILD_PARAMETERS = frozenset({"x", "y", "data", "value", "context", "index", "label", "parent", "values"})


def check_udp(definition: Any, *, file: object) -> None:
    """Refuse what is not a process definition with a process graph.

    Raises
    ------
    ConfigError
        Names ``file`` and the first node that is wrong.
    """
    key = "algorithm.source"
    if not isinstance(definition, Mapping) or not isinstance(definition.get("process_graph"), Mapping):
        raise ConfigError("is no openEO process: it has no `process_graph` object", file=file, key=key)
    graph = definition["process_graph"]
    for name, node in graph.items():
        if not isinstance(node, Mapping) or not isinstance(node.get("process_id"), str):
            raise ConfigError(f"node {name!r} of the process graph has no `process_id`", file=file, key=key)
        if not isinstance(node.get("arguments", {}), Mapping):
            raise ConfigError(f"the `arguments` of node {name!r} are no object", file=file, key=key)
        for reference in _references(node.get("arguments", {})):
            if reference not in graph:
                raise ConfigError(f"node {name!r} refers to {reference!r}, which does not exist", file=file, key=key)
    results = [name for name, node in graph.items() if node.get("result")]
    if len(results) != 1:
        raise ConfigError(f"the process graph has {len(results)} result nodes; it needs one", file=file, key=key)
    for position, parameter in enumerate(definition.get("parameters") or []):
        if not isinstance(parameter, Mapping) or not isinstance(parameter.get("name"), str):
            raise ConfigError(f"parameter {position} has no `name`", file=file, key=key)


def _references(value: Any) -> Iterator[str]:
    """Yield the nodes that an argument refers to, child graphs left out: they have nodes of their own."""
    if isinstance(value, Mapping):
        if isinstance(value.get("from_node"), str):
            yield value["from_node"]
        elif "process_graph" not in value:
            for item in value.values():
                yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


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
            schema=entry.get("schema", {}),
            # openEO: a parameter with `optional: true` or a `default` may be left out.
            required=not (entry.get("optional") or "default" in entry),
            default=entry.get("default"),
            description=entry.get("description", ""),
        )
        for entry in definition.get("parameters") or []
    )


def subtypes(schema: Any) -> set[str]:
    """Return every openEO subtype (``bounding-box``, ``geojson`` …) that a parameter's schema admits."""
    if isinstance(schema, list):
        return set().union(*(subtypes(entry) for entry in schema))
    if not isinstance(schema, Mapping):
        return set()
    own = {schema["subtype"]} if isinstance(schema.get("subtype"), str) else set()
    return own.union(*(subtypes(schema.get(word, [])) for word in ("anyOf", "oneOf", "allOf")))


def inline_graph(
    definition: Mapping[str, Any], arguments: Mapping[str, Any], *, output_format: str = "GTiff"
) -> dict[str, Any]:
    """Return the definition's graph with its parameters filled in, ending in ``save_result``.

    Parameters that are not in ``arguments`` take their default (null where there is none). ``save_result`` is
    added only where the graph has none: a second one makes some platforms write every file twice.
    """
    values = {parameter.name: parameter.default for parameter in read_parameters(definition)}
    values.update(arguments)
    graph = {
        name: {**node, "arguments": _fill(node.get("arguments", {}), values)}
        for name, node in copy.deepcopy(dict(definition["process_graph"])).items()
    }
    return _saved(graph, output_format)


def _fill(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {"from_parameter"} and value["from_parameter"] in values:
            return copy.deepcopy(values[value["from_parameter"]])
        if isinstance(value.get("process_graph"), Mapping):
            outer = {name: item for name, item in values.items() if name not in _CHILD_PARAMETERS}
            return {key: _fill(item, outer) for key, item in value.items()}
        return {key: _fill(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, values) for item in value]
    return value


def namespace_graph(
    definition: Mapping[str, Any], url: str, arguments: Mapping[str, Any], *, output_format: str = "GTiff"
) -> dict[str, Any]:
    """Return a graph that calls the process at ``url`` (openEO's remote process definition extension)."""
    node = {"process_id": definition["id"], "namespace": url, "arguments": dict(arguments), "result": True}
    graph = {"process1": node}
    return graph if _has_save_result(definition["process_graph"]) else _saved(graph, output_format)


def _has_save_result(graph: Mapping[str, Any]) -> bool:
    return any(node.get("process_id") == "save_result" for node in graph.values())


def _saved(graph: dict[str, Any], output_format: str) -> dict[str, Any]:
    if _has_save_result(graph):
        return graph
    last = next(name for name, node in graph.items() if node.get("result"))
    graph[last] = {key: value for key, value in graph[last].items() if key != "result"}
    name = "saveresult1"
    while name in graph:
        name += "_"
    arguments = {"data": {"from_node": last}, "format": output_format}
    graph[name] = {"process_id": "save_result", "arguments": arguments, "result": True}
    return graph
