"""Evaluate a flat openEO process graph.

The data model of pg-parser-networkx is not used to execute: it caches the nodes of a callback between calls, so that a
callback which runs more than once (per month, per label) repeats its first values; see the tests.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import Any

from upscaling.local_backend.errors import ProcessError, is_out_of_memory

__all__ = ["Callback", "Evaluator", "node_references", "result_node"]

log = logging.getLogger(__name__)

Graph = Mapping[str, Mapping[str, Any]]
Definitions = Callable[[str, str | None], Mapping[str, Any] | None]

# Arguments that a cube process hands to every process of its callback, where the graph does not set them.
AMBIENT = ("axis", "keepdims", "dim_labels", "labelled")
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
        found = self._evaluator.run(self._graph, scope, ambient, self._depth + 1)
        return math.nan if found is None and "axis" in ambient else found  # of arrays that is no-data


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
            raise ProcessError("ProcessGraphComplexity", f"graphs nest deeper than {MAX_DEPTH}: does one call itself?")
        wanted = result_node(graph)
        run = _Run(self, graph, scope or {}, ambient or {}, depth)
        for name in _check(graph, wanted):
            if name != wanted:
                run.value(name)
        return run.value(wanted)

    def process(self, process_id: str, namespace: str | None) -> Callable[..., Any] | None:
        """Return the implementation of a process, if it has one here."""
        return self._processes.get(process_id) if namespace in (None, "backend") else None

    def definition(self, process_id: str, namespace: str | None) -> Mapping[str, Any] | None:
        """Return a user-defined process, if there is one; it goes before an implementation of the same name."""
        return None if namespace == "backend" else self._definitions(process_id, namespace)


class _Run:
    """One evaluation of one graph: nodes on demand, each once, and freed when nothing needs them any more."""

    def __init__(
        self, evaluator: Evaluator, graph: Graph, scope: Mapping[str, Any], ambient: Mapping[str, Any], depth: int
    ) -> None:
        self._evaluator, self._graph, self._scope = evaluator, graph, scope
        self._ambient, self._depth = ambient, depth
        self._values: dict[str, Any] = {}
        self._uses: dict[str, int] = {}
        for node in graph.values():
            for used in node_references(node.get("arguments", {})):
                self._uses[used] = self._uses.get(used, 0) + 1

    def value(self, name: str) -> Any:
        if name not in self._values:
            node = self._graph[name]
            try:
                self._values[name] = self._execute(name, node)
            except ProcessError as error:
                message = str(error)
                if not message.startswith("node "):  # the innermost node is named, where the fault is
                    message = f"node {name!r} (process {node['process_id']}): {message}"
                raise ProcessError(error.code, message) from error
            except MemoryError:
                raise
            except Exception as error:
                if is_out_of_memory(error):
                    raise MemoryError(str(error)) from error
                # whatever else a process raises belongs to the job's log, with the node's id
                message = f"node {name!r} (process {node['process_id']}): {type(error).__name__}: {error}"
                raise ProcessError("ProcessFailed", message) from error
            for used in node_references(node.get("arguments", {})):
                self._uses[used] -= 1
                if not self._uses[used] and not self._graph[used].get("result"):
                    self._values.pop(used, None)  # cubes are large
        return self._values[name]

    def _execute(self, name: str, node: Mapping[str, Any]) -> Any:
        process, namespace = node["process_id"], node.get("namespace")
        given = node.get("arguments", {})
        if process == "if" and namespace in (None, "backend"):
            value = self._resolve(given["value"])
            if getattr(value, "ndim", 0) == 0:  # only the branch that is taken: the other may not be able to run
                branch = "accept" if value is not None and value == 1 else "reject"
                return self._resolve(given.get(branch))
        arguments = {key: self._resolve(item) for key, item in given.items()}
        definition = self._evaluator.definition(process, namespace)
        if definition is not None:
            return self._evaluator.run(
                definition["process_graph"], _bound(definition, arguments), None, self._depth + 1
            )
        function = self._evaluator.process(process, namespace)
        if function is None:
            place = f" in namespace {namespace!r}" if namespace else ""
            raise ProcessError("ProcessUnsupported", f"this back-end has no process {process!r}{place}")
        if self._depth == 0:
            log.info("running node %r (process %s)", name, process)
        accepted, open_ended = _parameters(function)
        if not open_ended and (unknown := [key for key in arguments if key not in accepted]):
            raise ProcessError("ProcessParameterUnsupported", f"has no parameter {', '.join(unknown)}")
        for key in AMBIENT:
            if key in self._ambient and key in accepted:
                arguments.setdefault(key, self._ambient[key])
        return function(**arguments)

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            if set(value) == {"from_node"}:
                return self.value(value["from_node"])
            if set(value) == {"from_parameter"}:
                if value["from_parameter"] not in self._scope:
                    raise ProcessError(
                        "ProcessParameterRequired", f"parameter {value['from_parameter']!r} has no value"
                    )
                return self._scope[value["from_parameter"]]
            if isinstance(value.get("process_graph"), Mapping):
                return Callback(self._evaluator, value["process_graph"], self._scope, self._depth)
            return {key: self._resolve(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._resolve(item) for item in value]
        return value


def _check(graph: Graph, wanted: str) -> list[str]:
    """Raise ``ProcessGraphInvalid`` for unknown nodes and circles; return what to run: every ``save_result`` too."""
    edges = {name: node_references(node.get("arguments", {})) for name, node in graph.items()}
    for name, used in edges.items():
        if missing := used - set(graph):
            raise ProcessError("ProcessGraphInvalid", f"node {name!r} refers to unknown node {missing.pop()!r}")
    try:
        order = list(TopologicalSorter(edges).static_order())
    except CycleError as error:
        raise ProcessError("ProcessGraphInvalid", f"nodes refer to each other in a circle: {error.args[1]}") from error
    return [name for name in order if name == wanted or graph[name]["process_id"] == "save_result"]


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
