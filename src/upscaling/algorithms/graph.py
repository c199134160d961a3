"""Walks of openEO process graphs: nodes, references, and where a parameter goes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from upscaling.util.values import objects_in

__all__ = [
    "CHILD_PARAMETERS",
    "OF_UNKNOWN_PROCESS",
    "asked_for",
    "child_graphs",
    "corner_reads",
    "nodes_of",
    "references",
    "udf_reads",
    "unread",
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
OF_UNKNOWN_PROCESS = ("x", "y", "data", "value", "context", "index", "label", "parent", "values", "parameters")


def asked_for(value: Any, *, children: bool = True) -> Iterator[str]:
    """Yield the parameters that a graph or an argument refers to; child graphs may name parameters of their own."""
    for part in objects_in(value, without=None if children else "process_graph"):
        if set(part) == {"from_parameter"}:
            yield str(part["from_parameter"])


def references(value: Any, *, children: bool = False) -> Iterator[str]:
    """Yield the nodes that an argument refers to; child graphs have nodes of their own."""
    for part in objects_in(value, without=None if children else "process_graph"):
        if isinstance(part.get("from_node"), str):
            yield part["from_node"]


def nodes_of(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every node of a process graph, those of child graphs too."""
    return (part for part in objects_in(value) if isinstance(part.get("process_id"), str))


def child_graphs(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the process graphs that stand in an argument, not those within them."""
    if isinstance(value, Mapping):
        if isinstance(value.get("process_graph"), Mapping):
            yield value["process_graph"]
        else:
            for item in value.values():
                yield from child_graphs(item)
    elif isinstance(value, list):
        for item in value:
            yield from child_graphs(item)


@dataclass(frozen=True, slots=True)
class _Use:
    process: str
    argument: str
    node: Mapping[str, Any]


def uses_of(graph: Mapping[str, Any], parameter: str) -> set[tuple[str, str]]:
    """Return where a parameter goes as it is: pairs of process and argument.

    It is followed into child graphs, under the name ``context`` where it was passed on as that or within it, and
    through ``if`` and ``constant``, which hand on what they get.
    """
    return {(use.process, use.argument) for use in _uses(graph, frozenset({parameter}), frozenset())}


def corner_reads(graph: Mapping[str, Any], parameter: str) -> set[str]:
    """Return the members of an object that a graph takes out of a parameter by ``array_element``."""
    uses = _uses(graph, frozenset({parameter}), frozenset())
    labels = (use.node["arguments"].get("label") for use in uses if use.process == "array_element")
    return {label for label in labels if isinstance(label, str)}


def udf_reads(graph: Mapping[str, Any], parameter: str) -> list[str]:
    """Return the code of the UDFs that get a parameter in their ``context``, as far as it stands in the graph."""
    uses = _uses(graph, frozenset({parameter}), frozenset())
    found = (use.node["arguments"].get("udf") for use in uses if (use.process, use.argument) == ("run_udf", "context"))
    return [_without_words(code) for code in found if _is_code(code)]


@lru_cache(maxsize=16)
def _without_words(code: str) -> str:
    """Return Python without comments and docstrings, which name what the code may not read."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            said = [line for line in body if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))]
            node.body = said or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _is_code(udf: Any) -> bool:
    return isinstance(udf, str) and "\n" in udf


def _uses(graph: Mapping[str, Any], names: frozenset[str], keys: frozenset[str]) -> Iterator[_Use]:
    """Yield the uses of what has one of these names, or is in ``context`` under one of these keys."""
    handed_on = {
        name
        for name, node in graph.items()
        if node.get("process_id") == "array_element"
        and _arguments(node).get("data") == {"from_parameter": "context"}
        and isinstance(label := _arguments(node).get("label"), str)
        and label in keys
    }

    def is_it(value: Any) -> bool:
        if not isinstance(value, Mapping) or len(value) != 1:
            return False
        return value.get("from_parameter") in names or value.get("from_node") in handed_on

    handing = {("if", "accept"), ("if", "reject"), ("constant", "x")}
    before = -1
    while len(handed_on) > before:
        before = len(handed_on)
        handed_on |= {
            name
            for name, node in graph.items()
            for argument, value in _arguments(node).items()
            if (node.get("process_id"), argument) in handing and is_it(value)
        }
    for name, node in graph.items():
        process = str(node.get("process_id"))
        context = _arguments(node).get("context")
        inside = names - set(CHILD_PARAMETERS.get(process, OF_UNKNOWN_PROCESS))
        inside |= {"context"} if is_it(context) else set()
        within = frozenset(key for key, value in _members(context).items() if is_it(value))
        if context == {"from_parameter": "context"} and not is_it(context):
            within = keys
        for argument, value in _arguments(node).items():
            if is_it(value):
                if name not in handed_on:
                    yield _Use(process, argument, node)
                continue
            if argument == "context" and within:
                yield _Use(process, argument, node)
            for child in child_graphs(value):
                yield from _uses(child, inside, within)


def _arguments(node: Mapping[str, Any]) -> Mapping[str, Any]:
    found = node.get("arguments")
    return found if isinstance(found, Mapping) else {}


def _members(context: Any) -> Mapping[str, Any]:
    """Return the members of a context that is an object, and no reference."""
    is_object = isinstance(context, Mapping) and not set(context) & {"from_parameter", "from_node"}
    return context if is_object else {}


def unread(graph: Mapping[str, Any], parameter: str) -> bool:
    """Return whether nothing reads a parameter: no argument, or only a ``context`` that its child process ignores."""
    for node in graph.values():
        hidden = CHILD_PARAMETERS.get(str(node.get("process_id")), OF_UNKNOWN_PROCESS)
        for argument, value in _arguments(node).items():
            if parameter in asked_for(value, children=False) and (
                argument != "context" or _context_is_read(node, value, parameter)
            ):
                return False
            if parameter not in hidden and not all(unread(child, parameter) for child in child_graphs(value)):
                return False
    return True


def _context_is_read(node: Mapping[str, Any], context: Any, parameter: str) -> bool:
    keys = {key for key, value in _members(context).items() if parameter in asked_for(value)}
    arguments = _arguments(node)
    if node.get("process_id") == "run_udf":
        code = str(arguments.get("udf"))
        words = "|".join(re.escape(key) for key in keys) or "context"
        body = re.sub(r"(?m)^\s*def .*$|^\s*#.*$", "", _without_words(code)) if _is_code(code) else words.split("|")[0]
        return re.search(rf"\b({words})\b", body) is not None or (bool(keys) and "**context" in body)
    children = [child for name, value in arguments.items() if name != "context" for child in child_graphs(value)]
    return not children or any(_reads_context(child, keys) for child in children)


def _reads_context(graph: Mapping[str, Any], keys: set[str]) -> bool:
    for node in graph.values():
        arguments = _arguments(node)
        for argument, value in arguments.items():
            if "context" not in asked_for(value, children=False):
                continue
            label = arguments.get("label")
            if keys and node.get("process_id") == "array_element" and isinstance(label, str) and label not in keys:
                continue
            if argument != "context" or _context_is_read(node, dict.fromkeys(keys, value) or value, "context"):
                return True
    return False
