"""Evaluate a flat openEO process graph.

The data model of pg-parser-networkx is not used to execute: it caches the nodes of a callback between calls, so that a
callback which runs more than once (per month, per label) repeats its first values; see the tests.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import Any

from upscaling.local_backend.cubes import ProcessError

__all__ = ["Callback", "Evaluator", "node_references", "result_node"]

log = logging.getLogger(__name__)

Graph = Mapping[str, Mapping[str, Any]]
Definitions = Callable[[str, str | None], Mapping[str, Any] | None]

# Arguments that a cube process hands to every process of its callback, where the graph does not set them.
AMBIENT = ("axis", "keepdims", "dim_labels")
MAX_DEPTH = 20


def result_node(graph: Graph) -> str:
    """Return the id of the node that carries ``result: true``; a single node needs no flag.

    Raises
    ------
    ProcessError
        ``ProcessGraphInvalid``: no such node, or several.
    """
    flagged = [name for name, node in graph.items() if node.get("result")]
    if not flagged and len(graph) == 1:
        return next(iter(graph))
    if len(flagged) != 1:
        raise ProcessError(
            "ProcessGraphInvalid", f"a process graph needs one node with 'result': true, this has {len(flagged)}"
        )
    return flagged[0]


def node_references(value: Any) -> set[str]:
    """Return the ids of all nodes that an argument refers to; callbacks have nodes of their own."""
    if isinstance(value, Mapping):
        if set(value) == {"from_node"}:
            return {value["from_node"]}
        if isinstance(value.get("process_graph"), Mapping):
            return set()
        value = list(value.values())
    if isinstance(value, list):
        return set().union(*map(node_references, value))
    return set()


class Callback:
    """A child process graph as a function, called as openeo-processes-dask calls its reducers."""

    def __init__(self, evaluator: Evaluator, graph: Graph, scope: Mapping[str, Any], depth: int) -> None:
        self._evaluator, self._graph, self._scope, self._depth = evaluator, graph, scope, depth

    def __call__(
        self,
        *args: Any,
        positional_parameters: Mapping[str, int] | None = None,
        named_parameters: Mapping[str, Any] | None = None,
        **ambient: Any,
    ) -> Any:
        """Evaluate the graph with the parameters given by name, or by position."""
        given = {name: args[place] for name, place in (positional_parameters or {}).items()}
        scope = {**self._scope, "context": ambient.get("context"), **(named_parameters or {}), **given}
        return self._evaluator.run(self._graph, scope, ambient, self._depth + 1)


class Evaluator:
    """Runs graphs with a set of processes, and looks up what these do not name among user-defined ones.

    Parameters
    ----------
    processes
        Implementations by process id.
    definitions
        Called with process id and namespace; returns the user-defined process, or None.
    """

    def __init__(self, processes: Mapping[str, Callable[..., Any]], definitions: Definitions) -> None:
        self._processes, self._definitions = processes, definitions

    def run(
        self,
        graph: Graph,
        scope: Mapping[str, Any] | None = None,
        ambient: Mapping[str, Any] | None = None,
        depth: int = 0,
    ) -> Any:
        """Evaluate a graph and return the value of its result node.

        Every ``save_result`` of the graph is run, also one that the result does not depend on.

        Raises
        ------
        ProcessError
            With the ids of node and process in its message.
        """
        if depth > MAX_DEPTH:
            raise ProcessError(
                "ProcessGraphComplexity", f"process graphs nest deeper than {MAX_DEPTH}: does one call itself?"
            )
        wanted = result_node(graph)
        order, uses = _order(
            graph, {wanted} | {name for name, node in graph.items() if node["process_id"] == "save_result"}
        )
        values: dict[str, Any] = {}
        for name in order:
            node = graph[name]
            values[name] = self._node(name, node, values, scope or {}, ambient or {}, depth)
            for used in node_references(node.get("arguments", {})):
                uses[used] -= 1
                if not uses[used] and used != wanted:
                    del values[used]  # cubes are large
        return values[wanted]

    def _node(
        self,
        name: str,
        node: Mapping[str, Any],
        values: Mapping[str, Any],
        scope: Mapping[str, Any],
        ambient: Mapping[str, Any],
        depth: int,
    ) -> Any:
        process, namespace = node["process_id"], node.get("namespace")
        where = f"node {name!r} (process {process})"
        try:
            arguments = {
                key: self._resolve(value, values, scope, depth) for key, value in node.get("arguments", {}).items()
            }
            definition = None if namespace == "backend" else self._definitions(process, namespace)
            if definition is not None:
                return self.run(definition["process_graph"], _bound(definition, arguments), None, depth + 1)
            function = self._processes.get(process) if namespace in (None, "backend") else None
            if function is None:
                place = f" in namespace {namespace!r}" if namespace else ""
                raise ProcessError("ProcessUnsupported", f"this back-end has no process {process!r}{place}")
            if depth == 0:
                log.info("running %s", where)
            accepted, open_ended = _parameters(function)
            if not open_ended and (unknown := [key for key in arguments if key not in accepted]):
                raise ProcessError("ProcessParameterUnsupported", f"has no parameter {', '.join(unknown)}")
            arguments |= {
                key: ambient[key] for key in AMBIENT if key in ambient and key in accepted and key not in arguments
            }
            return function(**arguments)
        except ProcessError as error:
            message = str(error) if str(error).startswith("node ") else f"{where}: {error}"
            raise ProcessError(error.code, message) from error
        except MemoryError:
            raise
        except Exception as error:  # whatever a process raises belongs to the job's log, with the node's id
            raise ProcessError("ProcessFailed", f"{where}: {type(error).__name__}: {error}") from error

    def _resolve(self, value: Any, values: Mapping[str, Any], scope: Mapping[str, Any], depth: int) -> Any:
        if isinstance(value, Mapping):
            if set(value) == {"from_node"}:
                return values[value["from_node"]]
            if set(value) == {"from_parameter"}:
                if value["from_parameter"] not in scope:
                    raise ProcessError(
                        "ProcessParameterRequired", f"parameter {value['from_parameter']!r} has no value"
                    )
                return scope[value["from_parameter"]]
            if isinstance(value.get("process_graph"), Mapping):
                return Callback(self, value["process_graph"], scope, depth)
            return {key: self._resolve(item, values, scope, depth) for key, item in value.items()}
        if isinstance(value, list):
            return [self._resolve(item, values, scope, depth) for item in value]
        return value


def _order(graph: Graph, wanted: set[str]) -> tuple[list[str], dict[str, int]]:
    """Return the wanted nodes and their ancestors in order of execution, and how many nodes use each."""
    edges: dict[str, set[str]] = {}
    todo = list(wanted)
    while todo:
        name = todo.pop()
        if name not in edges:
            edges[name] = node_references(graph[name].get("arguments", {}))
            if missing := edges[name] - set(graph):
                raise ProcessError("ProcessGraphInvalid", f"node {name!r} refers to unknown node {missing.pop()!r}")
            todo += edges[name]
    try:
        order = list(TopologicalSorter(edges).static_order())
    except CycleError as error:
        raise ProcessError("ProcessGraphInvalid", f"nodes refer to each other in a circle: {error.args[1]}") from error
    return order, {name: sum(name in used for used in edges.values()) for name in edges}


def _bound(definition: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Bind arguments to a user-defined process: its defaults where none is given.

    Raises
    ------
    ProcessError
        A required parameter has no value, or an argument is none of its parameters. Platforms ignore the latter in
        silence and run on the default area; here it is found.
    """
    parameters = {p["name"]: p for p in definition.get("parameters") or []}
    if unknown := [name for name in arguments if name not in parameters]:
        known = ", ".join(parameters) or "none"
        raise ProcessError("ProcessParameterUnsupported", f"has no parameter {unknown[0]!r}; its parameters: {known}")
    for name, parameter in parameters.items():
        if name not in arguments and not parameter.get("optional", "default" in parameter):
            raise ProcessError("ProcessParameterRequired", f"parameter {name!r} is required")
    return {name: arguments.get(name, parameter.get("default")) for name, parameter in parameters.items()}


@lru_cache(maxsize=1024)
def _parameters(function: Callable[..., Any]) -> tuple[frozenset[str], bool]:
    parameters = inspect.signature(function).parameters.values()
    return frozenset(p.name for p in parameters), any(p.kind is p.VAR_KEYWORD for p in parameters)
