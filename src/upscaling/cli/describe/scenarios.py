"""Benchmark scenarios of a catalogue: which process they call, and whether it takes their arguments."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from upscaling.algorithms.catalogue import parse, pin_udp, process_text
from upscaling.binding.openeo import check_arguments
from upscaling.errors import ConfigError

__all__ = ["saved_formats", "scenario_facts"]


def scenario_facts(scenarios: Sequence[Mapping[str, Any]], place: str) -> list[dict[str, Any]]:
    """Return of each scenario its ``id``, ``type``, ``platform``, ``process``, ``arguments`` and what is wrong.

    ``problem`` is None if the process takes the arguments; else one line: the definition's own reason, or why it
    cannot be told.
    """
    return [_one(scenario, place) for scenario in scenarios]


def _one(scenario: Mapping[str, Any], place: str) -> dict[str, Any]:
    facts = {"id": scenario["id"], "type": scenario["type"], "description": scenario.get("description", "")}
    if scenario["type"] != "openeo":
        return {
            **facts,
            "platform": scenario.get("endpoint"),
            "process": scenario.get("application"),
            "namespace": scenario.get("namespace"),
            "arguments": scenario.get("parameters", {}),
            "problem": "runs through OGC API - Processes; its arguments are not checked",
        }
    facts |= {"platform": scenario.get("backend"), "job_options": scenario.get("job_options", {})}
    nodes = scenario.get("process_graph", {}).values()
    calls = [node for node in nodes if str(node.get("namespace", "")).startswith(("http://", "https://"))]
    facts["saved_as"] = saved_formats(scenario)
    if len(calls) != 1:
        problem = f"calls {len(calls)} processes by their address; one is expected"
        return {**facts, "process": None, "namespace": None, "arguments": {}, "problem": problem}
    call = calls[0]
    facts |= {"process": call["process_id"], "namespace": call["namespace"], "arguments": call.get("arguments", {})}
    return {**facts, "problem": _problem(call, place)}


def saved_formats(scenario: Mapping[str, Any]) -> list[str]:
    """Return the file formats in which a scenario saves its results."""
    nodes = scenario.get("process_graph", {}).values()
    saves = (node["arguments"].get("format") for node in nodes if node.get("process_id") == "save_result")
    return [str(name) for name in saves if name]


def _problem(call: Mapping[str, Any], place: str) -> str | None:
    try:
        text, found = process_text(call["namespace"], place)
        with tempfile.TemporaryDirectory() as folder:
            algorithm = pin_udp(parse(text, found), text, found, into=Path(folder), source=found)
            check_arguments(algorithm, call.get("arguments", {}), key="arguments")
    except ConfigError as error:
        return str(error)
    return None
