"""openEO user-defined processes: what they ask for, and the graph that is sent for one tile."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from upscaling.errors import ConfigError
from upscaling.model import Parameter

__all__ = [
    "CHILD_PARAMETERS",
    "asked_for",
    "check_udp",
    "exported",
    "filled",
    "inline_graph",
    "loaded_collections",
    "namespace_graph",
    "nodes_of",
    "read_parameters",
    "saves_result",
    "subtypes",
    "uses_of",
]

# Parameters that a child process (a reducer, say) gets from its parent process; inside it they hide the UDP's own.
# From the child-process definitions of openEO processes 2.0.0 and of the processes that CDSE adds.
CHILD_PARAMETERS = {
    "apply": ("x", "context"),
    "array_apply": ("x", "index", "label", "context"),
    "array_filter": ("x", "index", "label", "context"),
    "count": ("x", "context"),
    "filter_labels": ("value", "context"),
    "fit_curve": ("x", "parameters"),
    "load_collection": ("value",),
    "load_stac": ("value",),
    "merge_cubes": ("x", "y", "context"),
    "predict_curve": ("x", "parameters"),
} | dict.fromkeys(
    (
        *("aggregate_spatial", "aggregate_spatial_window", "aggregate_temporal", "aggregate_temporal_period"),
        *("apply_dimension", "apply_neighborhood", "apply_polygon", "chunk_polygon"),
        *("reduce_dimension", "reduce_spatial"),
    ),
    ("data", "context"),
)
_OF_UNKNOWN_PROCESS = ("x", "y", "data", "value", "context", "index", "label", "parent", "values", "parameters")

# Required by every predefined process that has them (openEO processes 2.0.0), so that they cannot be left out: there
# null is a value, which `is_valid` or `if` asks about, or means "no limit".
_NEVER_LEFT_OUT = frozenset({"x", "y", "value", "data", "accept", "spatial_extent", "temporal_extent", "period"})


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
    _check_parameters(definition.get("parameters") or [], graph, file)


def _check_parameters(parameters: Any, graph: Mapping[str, Any], file: object) -> None:
    key, names = "algorithm.source", set()
    if not isinstance(parameters, list):
        raise ConfigError("`parameters` is no list", file=file, key=key)
    for position, parameter in enumerate(parameters):
        if not isinstance(parameter, Mapping) or not isinstance(parameter.get("name"), str):
            raise ConfigError(f"parameter {position} has no `name`", file=file, key=key)
        if parameter["name"] in names:
            raise ConfigError(f"has two parameters {parameter['name']!r}", file=file, key=key)
        names.add(parameter["name"])
    for name, node in graph.items():
        for parameter in asked_for(node.get("arguments", {}), children=False):
            if parameter not in names:
                raise ConfigError(
                    f"node {name!r} asks for a parameter {parameter!r} that is not declared", file=file, key=key
                )


def asked_for(value: Any, *, children: bool = True) -> Iterator[str]:
    """Yield the parameters that a graph or an argument refers to; child graphs may name parameters of their own."""
    if isinstance(value, Mapping):
        if set(value) == {"from_parameter"}:
            yield str(value["from_parameter"])
        elif children or "process_graph" not in value:
            for item in value.values():
                yield from asked_for(item, children=children)
    elif isinstance(value, list):
        for item in value:
            yield from asked_for(item, children=children)


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


def nodes_of(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every node of a process graph, those of child graphs too."""
    if isinstance(value, Mapping):
        if isinstance(value.get("process_id"), str):
            yield value
        for item in value.values():
            yield from nodes_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from nodes_of(item)


def loaded_collections(graph: Mapping[str, Any]) -> list[str]:
    """Return the ids of the collections that a graph loads, as far as they stand in it (not in a parameter)."""
    nodes = (node for node in graph.values() if node.get("process_id") == "load_collection")
    named = (node.get("arguments", {}).get("id") for node in nodes)
    return sorted({name for name in named if isinstance(name, str)})


def uses_of(graph: Mapping[str, Any], parameter: str) -> set[tuple[str, str]]:
    """Return where a parameter goes as it is: pairs of process and argument.

    It is followed into child graphs, under the name ``context`` where it was passed on as that, and through ``if`` and
    ``constant``, which hand on what they get.
    """
    return set(_uses(graph, frozenset({parameter})))


def _uses(graph: Mapping[str, Any], names: frozenset[str]) -> Iterator[tuple[str, str]]:
    handed_on: set[str] = set()

    def is_it(value: Any) -> bool:
        if not isinstance(value, Mapping) or len(value) != 1:
            return False
        return value.get("from_parameter") in names or value.get("from_node") in handed_on

    def arguments() -> Iterator[tuple[str, str, str, Any]]:
        for name, node in graph.items():
            process = str(node.get("process_id"))
            yield from ((name, process, argument, value) for argument, value in node.get("arguments", {}).items())

    while True:
        found = {
            name
            for name, process, argument, value in arguments()
            if (process, argument) in {("if", "accept"), ("if", "reject"), ("constant", "x")} and is_it(value)
        }
        if found <= handed_on:
            break
        handed_on |= found
    for name, process, argument, value in arguments():
        if is_it(value):
            if name not in handed_on:
                yield process, argument
            continue
        inside = names - set(CHILD_PARAMETERS.get(process, _OF_UNKNOWN_PROCESS))
        if is_it(graph[name]["arguments"].get("context")):
            inside |= {"context"}
        for child in _child_graphs(value):
            yield from _uses(child, inside)


def _child_graphs(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if isinstance(value.get("process_graph"), Mapping):
            yield value["process_graph"]
        else:
            for item in value.values():
                yield from _child_graphs(item)
    elif isinstance(value, list):
        for item in value:
            yield from _child_graphs(item)


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

    Parameters that are not in ``arguments`` take their default. One that is optional and has none leaves out the
    arguments that it stands for, so that the called process takes its own default: platforms tell an absent argument
    from null, which many schemas do not admit. ``save_result`` is added only where none leads to the graph's result:
    a second one makes some platforms write every file twice. Namespaces of the nodes stay.
    """
    declared = definition.get("parameters") or []
    values = {entry["name"]: entry.get("default", _ABSENT) for entry in declared} | dict(arguments)
    graph = _filled(definition["process_graph"], values)
    return _saved(graph, output_format)


def filled(graph: Mapping[str, Any], values: Mapping[str, Any], parameters: Iterable[str]) -> dict[str, Any]:
    """Return a graph with its parameters filled in; what stands for one without a value is left out."""
    return _filled(graph, {**dict.fromkeys(parameters, _ABSENT), **values})


_ABSENT: Any = object()


def _filled(graph: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {**node, "arguments": _fill_arguments(node.get("process_id"), node.get("arguments", {}), values)}
        for name, node in graph.items()
    }


def _fill_arguments(process: Any, arguments: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    hidden = CHILD_PARAMETERS.get(process, _OF_UNKNOWN_PROCESS)
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
        waiting += _references(graph[name].get("arguments", {}))
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
