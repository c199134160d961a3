"""What can be said of a process graph without running it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from upscaling.local_backend.errors import ProcessError
from upscaling.local_backend.graphs import node_references, result_node

__all__ = ["validate_graph"]


def validate_graph(
    graph: Any, processes: Collection[str], collections: Collection[str], required: Mapping[str, Collection[str]]
) -> list[dict[str, str]]:
    """Return openEO errors (``code`` and ``message``) of a flat graph and the graphs of its callbacks.

    Parameters
    ----------
    required
        Process → the arguments that it cannot do without.
    """
    if not isinstance(graph, Mapping) or not all(
        isinstance(node, Mapping) and isinstance(node.get("process_id"), str) for node in graph.values()
    ):
        return [_error("ProcessGraphInvalid", "a process graph is an object of nodes with a process_id each")]
    errors, names = [], set(graph)
    try:
        result_node(graph)
    except ProcessError as error:
        errors.append(_error(error.code, str(error)))
    for name, node in graph.items():
        process, namespace = node["process_id"], node.get("namespace")
        arguments = node.get("arguments", {})
        if not isinstance(arguments, Mapping):
            errors.append(_error("ProcessGraphInvalid", f"node {name!r}: arguments must be an object"))
            continue
        if process not in processes and namespace in (None, "backend"):
            errors.append(_error("ProcessUnsupported", f"node {name!r}: there is no process {process!r}"))
        if process == "load_collection" and isinstance(arguments.get("id"), str) and arguments["id"] not in collections:
            errors.append(_error("CollectionNotFound", f"node {name!r}: there is no collection {arguments['id']!r}"))
        for lacking in [name for name in required.get(process, ()) if name not in arguments]:
            errors.append(_error("ProcessParameterRequired", f"node {name!r}: process {process!r} needs {lacking!r}"))
        for missing in node_references(arguments) - names:
            errors.append(_error("ProcessGraphInvalid", f"node {name!r} refers to unknown node {missing!r}"))
        for value in arguments.values():
            if isinstance(value, Mapping) and isinstance(value.get("process_graph"), Mapping):
                errors += validate_graph(value["process_graph"], processes, collections, required)
    return errors


def _error(code: str, message: str) -> dict[str, str]:
    return {"code": code, "message": message}
