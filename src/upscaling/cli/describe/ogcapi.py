"""What a process of OGC API - Processes takes, as its server describes it, and what a tile becomes for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from upscaling.algorithms.records import OgcProcess
from upscaling.cli.describe.process import missing, parameter_facts
from upscaling.errors import ConfigError

__all__ = ["ogcapi_facts"]


def ogcapi_facts(process: OgcProcess) -> dict[str, Any]:
    """Ask a process's server, without logging in, what the process is.

    Returns
    -------
    dict
        ``id``, ``title``, ``description``, ``process``, ``parameters`` as those of an openEO process, ``outputs``,
        ``missing`` and ``notes``; or ``process`` and ``problem``, if the server does not tell.
    """
    from upscaling.algorithms.ogc_process import described, read_inputs
    from upscaling.binding.ogcapi import OgcBinder, space_choice
    from upscaling.clients.ogcapi.client import OgcApiClient

    where = {"process": process._asdict()}
    try:
        description = described(OgcApiClient(process.base), process.id)
    except ConfigError as error:
        return {**where, "id": process.id, "problem": f"its server does not tell what it takes: {error.message}"}
    inputs = list(read_inputs(description))
    choices = {entry.name: choice for entry in inputs if (choice := space_choice(entry))}
    placed = bool(choices)
    choices |= OgcBinder.time_choices([entry for entry in inputs if entry.name not in choices])
    parameters = [parameter_facts(entry, choices.get(entry.name)) for entry in inputs]
    notes = []
    if not placed:
        notes.append("No input takes a tile by itself: name one in algorithm.bind, or run it over for_each.")
    if "async-execute" not in description.get("jobControlOptions", ["async-execute"]):
        notes.append("It runs only while the caller waits (no async-execute).")
    return {
        **where,
        "id": process.id,
        "title": str(description.get("title") or ""),
        "description": str(description.get("description") or "").strip(),
        "parameters": parameters,
        "outputs": sorted(_names(description.get("outputs"))),
        "missing": list(missing(parameters)),
        "notes": notes,
    }


def _names(outputs: Any) -> list[str]:
    if isinstance(outputs, Mapping):
        return [str(name) for name in outputs]
    entries = outputs if isinstance(outputs, list) else []
    return [str(entry["id"]) for entry in entries if isinstance(entry, Mapping) and "id" in entry]
