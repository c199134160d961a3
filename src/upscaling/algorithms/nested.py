"""User-defined processes that call others by URL: those are fetched once, with the plan, and become part of the graph.

So what is sent to the platform is what was pinned, and a tile's key covers all of it. A process of a namespace that
only the platform knows cannot be pinned; neither can one whose arguments would mean something else inside its graph.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from upscaling.algorithms.graph import CHILD_PARAMETERS, asked_for, child_graphs, references
from upscaling.algorithms.udp import check_udp, filled
from upscaling.errors import ConfigError
from upscaling.util.files import digest

__all__ = ["with_nested"]

_KEY = "algorithm.source"
_DEEPEST = 10
_MOST = 50  # definitions
_OWN = {None, "", "backend"}  # of the platform itself, and documented with it
_HIDDEN = frozenset(name for names in CHILD_PARAMETERS.values() for name in names)

Definition = Mapping[str, Any]


def with_nested(
    definition: Definition, *, place: str, fetch: Callable[[str], str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Put the processes that a definition calls by URL into its graph.

    Parameters
    ----------
    definition
        A process definition that ``check_udp`` has passed.
    place
        Path or URL that it came from, for messages.
    fetch
        Returns the text at a URL; raises ConfigError.

    Returns
    -------
    (definition, notices)
        The definition, itself if nothing that it calls was found; else with ``upscaling:nested``, which lists what it
        calls with the sha256 of what was found. And a line for each process that is not pinned.

    Raises
    ------
    ConfigError
        A definition that was found is none, calls itself, or is called with arguments that it does not have or
        without one that it requires.
    """
    work = _Work(place, fetch)
    graph = work.expand(definition["process_graph"], _Level(definition))
    notices = tuple(dict.fromkeys(work.notices))
    if not any("sha256" in call for call in work.calls):
        return dict(definition), notices
    options = {**work.job_options, **(definition.get("default_job_options") or {})}
    more = {"default_job_options": options} if options else {}
    return {**definition, **more, "process_graph": graph, "upscaling:nested": work.calls}, notices


@dataclass(frozen=True)
class _Level:
    """The definition that a graph is of, and the processes that it is part of."""

    definition: Definition
    above: tuple[tuple[str, str], ...] = ()


@dataclass
class _Work:
    place: str
    fetch: Callable[[str], str]
    calls: list[dict[str, Any]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    job_options: dict[str, Any] = field(default_factory=dict)
    found: dict[tuple[str, str], Definition] = field(default_factory=dict)

    def expand(self, graph: Mapping[str, Any], level: _Level) -> dict[str, Any]:
        """Return a graph with the graphs of what its nodes call."""
        made: dict[str, Any] = {}
        for name, written in graph.items():
            node = {**written, "arguments": self._children(written.get("arguments", {}), level)}
            called = self._called(node, level)
            if called is None:
                made[name] = node
            else:
                taken = {*graph, *made}
                made |= _in_place(name, node, called, taken)
        return made

    def _children(self, value: Any, level: _Level) -> Any:
        if isinstance(value, Mapping):
            if isinstance(value.get("process_graph"), Mapping):
                return {**value, "process_graph": self.expand(value["process_graph"], level)}
            return {key: self._children(item, level) for key, item in value.items()}
        return [self._children(item, level) for item in value] if isinstance(value, list) else value

    def _called(self, node: Mapping[str, Any], level: _Level) -> dict[str, Any] | None:
        """Return the definition to put in a node's place, its own calls expanded; None where the node stays."""
        process, namespace = node["process_id"], node.get("namespace")
        if namespace in _OWN:
            return None
        call: dict[str, Any] = {"process": process, "namespace": namespace}
        if not str(namespace).startswith(("https://", "http://")):
            self._left(call, f"only the platform has the namespace {namespace!r}")
            return None
        key = (process, str(namespace))
        if key in level.above or len(level.above) >= _DEEPEST:
            raise ConfigError(f"{process} of {namespace} calls itself, or too many others", file=self.place, key=_KEY)
        try:
            definition = self._definition(key)
        except ConfigError as error:
            self._left(call, error.message)
            return None
        call["sha256"] = digest(definition)
        self._check_arguments(node, definition)
        if why := _not_expandable(node["arguments"], definition, level.definition):
            self._left(call, why)
            return None
        if call not in self.calls:
            self.calls.append(call)
        self.job_options = {**(definition.get("default_job_options") or {}), **self.job_options}
        inner = self.expand(definition["process_graph"], _Level(definition, (*level.above, key)))
        return {**definition, "process_graph": inner}

    def _left(self, call: dict[str, Any], why: str) -> None:
        if call not in self.calls:
            self.calls.append(call)
        named = f"{call['process']} of {call['namespace']}"
        self.notices.append(f"calls {named}, which is not pinned and may change during the run: {why}")

    def _definition(self, key: tuple[str, str]) -> Definition:
        """Fetch what is called: a definition, or a list of them (remote process definition extension)."""
        process, url = key
        if key not in self.found:
            if len(self.found) >= _MOST:
                raise ConfigError(f"calls more than {_MOST} other processes", file=self.place, key=_KEY)
            try:
                content = json.loads(self.fetch(url))
            except (ValueError, RecursionError):
                raise ConfigError("is not JSON", file=url, key=_KEY) from None
            listed = content.get("processes") if isinstance(content, dict) else None
            for entry in listed if isinstance(listed, list) else ():
                if isinstance(entry, dict) and entry.get("id") == process:
                    content = entry
            check_udp(content, file=url)
            if content.get("id") != process:
                raise ConfigError(f"is {content.get('id')!r}, not {process!r}", file=url, key=_KEY)
            self.found[key] = content
        return self.found[key]

    def _check_arguments(self, node: Mapping[str, Any], definition: Definition) -> None:
        declared = {entry["name"]: entry for entry in definition.get("parameters") or []}
        where = f"calls {node['process_id']} of {node['namespace']}"
        for name in node["arguments"]:
            if name not in declared:
                known = ", ".join(declared) or "none"
                raise ConfigError(f"{where} with {name!r}; its parameters: {known}", file=self.place, key=_KEY)
        for name, entry in declared.items():
            if name not in node["arguments"] and not (entry.get("optional") or "default" in entry):
                raise ConfigError(f"{where} without {name!r}, which it requires", file=self.place, key=_KEY)


def _not_expandable(arguments: Mapping[str, Any], definition: Definition, outer: Definition) -> str | None:
    """Return why a call cannot be replaced by the graph that is called."""
    graph, given = definition["process_graph"], {entry["name"]: entry for entry in outer.get("parameters") or []}
    arguments_of = [node.get("arguments", {}) for node in graph.values()]
    inner = {name for passed in arguments_of for child in child_graphs(passed) for name in asked_for(child)}
    for name, value in arguments.items():
        refers = [*references(value, children=True), *(_HIDDEN & set(asked_for(value)))]
        if name in inner and refers:
            return f"its parameter {name!r} is used where the argument means something else"
        if isinstance(value, Mapping) and set(value) == {"from_parameter"}:
            entry = given.get(value["from_parameter"], {})
            if entry.get("optional") and "default" not in entry:
                return f"its parameter {name!r} may be left out"
    return None


def _in_place(name: str, node: Mapping[str, Any], called: Definition, taken: set[str]) -> dict[str, Any]:
    """Return the nodes of ``called`` with a node's arguments filled in; the last has the node's name."""
    graph = called["process_graph"]
    names = dict(_names(name, graph, taken))
    renamed = {
        names[old]: {**inner, "arguments": _renamed(inner.get("arguments", {}), names)} for old, inner in graph.items()
    }
    made = filled(renamed, called, node["arguments"])
    result = {key: value for key, value in made[name].items() if key != "result"}
    made[name] = {**result, "result": True} if node.get("result") else result
    return made


def _names(name: str, graph: Mapping[str, Any], taken: set[str]) -> Iterator[tuple[str, str]]:
    for old, node in graph.items():
        if node.get("result"):
            yield old, name
            continue
        new = f"{name}_{old}"
        while new in taken:
            new += "_"
        taken.add(new)
        yield old, new


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Rename the nodes that an argument refers to; child graphs have nodes of their own."""
    if isinstance(value, Mapping):
        if isinstance(value.get("process_graph"), Mapping):
            return value
        if set(value) == {"from_node"}:
            return {"from_node": names.get(value["from_node"], value["from_node"])}
        return {key: _renamed(item, names) for key, item in value.items()}
    return [_renamed(item, names) for item in value] if isinstance(value, list) else value
