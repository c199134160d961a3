"""Read a source as a run would, and tell what it finds: the record, the definition, what a tile binds to."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upscaling.algorithms.catalogue import (
    application_of,
    is_package,
    package_of,
    parse,
    pin_package_of,
    process_text,
    read_source,
)
from upscaling.algorithms.records import (
    floating_reference,
    is_record,
    is_scenarios,
    link_of,
    ogc_process,
    related_record,
    runs_on_ogcapi,
)
from upscaling.cli.describe.ogcapi import ogcapi_facts
from upscaling.cli.describe.process import process_facts
from upscaling.cli.describe.scenarios import saved_formats, scenario_facts
from upscaling.config import Algorithm as AlgorithmConfig
from upscaling.errors import ConfigError
from upscaling.util.files import read_json

__all__ = ["describe"]


def describe(config: AlgorithmConfig) -> dict[str, Any]:
    """Return what a source is and needs, as JSON values.

    The network is asked only for what does not lie on this machine.

    Parameters
    ----------
    config
        ``source``, and ``catalogue`` if the source is an id.

    Returns
    -------
    dict
        ``kind``: ``openeo``, ``cwl``, ``ogcapi`` or ``scenarios``; ``id``, ``title``, ``description``, ``source``,
        ``read_from``; ``problem``: one line that says why it cannot be run, or None; ``floats``: the branch or tag
        that the definition's address follows, or None; ``record``: what its catalogue record tells, or None. Then by
        kind: ``process_facts``, ``ogcapi_facts``, ``scenarios``, or ``package`` (of ``describe_package``).

    Raises
    ------
    ConfigError
        If the source itself cannot be read, or is nothing that can be described.
    """
    process = ogc_process(config.source)
    if process is not None:
        return {**_head(config, config.source), "kind": "ogcapi", **ogcapi_facts(process)}
    if is_package(config.source):
        return {**_head(config, config.source), "kind": "cwl", **_package(config.source)}
    text, place = read_source(config)
    content = parse(text, place)
    head = _head(config, place)
    if is_scenarios(content):
        return {**head, "kind": "scenarios", "id": Path(place).stem, "scenarios": scenario_facts(content, place)}
    if not is_record(content):
        return {**head, "kind": "openeo", **process_facts(content, text, place, saved_as=_saved_as(place))}
    return {**head, **_of_record(content, place)}


def _head(config: AlgorithmConfig, place: str) -> dict[str, Any]:
    return {
        "source": config.source,
        "catalogue": config.catalogue,
        "read_from": place,
        "problem": None,
        "floats": floating_reference(place),
        "title": "",
        "description": "",
        "record": None,
    }


def _of_record(record: Mapping[str, Any], place: str) -> dict[str, Any]:
    properties = record.get("properties", {})
    link = link_of(record, "application")
    facts: dict[str, Any] = {
        "kind": "ogcapi" if runs_on_ogcapi(record) else "openeo",
        "id": record.get("id"),
        "record": {
            "id": record.get("id"),
            "updated": properties.get("updated"),
            "license": properties.get("license"),
            "visibility": properties.get("visibility"),
            "keywords": properties.get("keywords", []),
            "provider": related_record(record, "provider", place),
            "platform": related_record(record, "platform", place),
            "service": link_of(record, "service").get("href"),
            "application": link.get("href"),
            "cost": {"estimate": properties.get("cost_estimate"), "unit": properties.get("cost_unit")},
        },
        "floats": floating_reference(str(link.get("href", ""))),
    }
    try:
        if facts["kind"] == "ogcapi":
            facts |= _ogcapi(record, place)
        else:
            text, found = process_text(application_of(record, place), place)
            about = process_facts(parse(text, found), text, found, saved_as=_saved_as(place))
            facts |= {**about, "read_from": found}
    except ConfigError as error:
        facts["problem"] = f"{error.file or place}: {error.message}"
    told = {name: str(properties.get(name) or "").strip() for name in ("title", "description")}
    return {**facts, **{name: text for name, text in told.items() if text}}


def _ogcapi(record: Mapping[str, Any], place: str) -> dict[str, Any]:
    service = str(link_of(record, "service").get("href"))
    process = ogc_process(service)
    if process is None:
        problem = f"its service link, {service}, is no process of OGC API - Processes (…/processes/<id>)"
        return {"problem": problem, "process": None}
    facts = ogcapi_facts(process)
    source = package_of(record, place)
    package = _package(source)
    if package["package"] is None:
        told = f"Its package cannot be run with backend.kind cwl instead: {package['problem']}."
    else:
        told = f"Its package, {source}, can be run with backend.kind cwl instead: `upscaling describe` tells more."
    return {**facts, "id": record.get("id"), "package_source": source, "notes": [*facts.get("notes", []), told]}


def _package(source: str) -> dict[str, Any]:
    from upscaling.cli.describe.package import describe_package

    with tempfile.TemporaryDirectory() as folder:
        try:
            package = pin_package_of(source, Path(folder))
        except ConfigError as error:
            if not source.startswith(("http://", "https://", "oci://")):
                raise
            return {"id": Path(source.partition("#")[0]).stem, "package": None, "problem": f"{source}: {error.message}"}
        facts = describe_package(package)
    return {
        "id": package.id,
        "title": package.title,
        "description": package.description,
        "sha256": package.sha256,
        "package": facts,
        "problem": facts["problem"],
    }


def _saved_as(place: str) -> list[str]:
    """Return the file formats in which the benchmarks beside a local definition or record save its result."""
    formats: set[str] = set()
    folder = Path(place).resolve().parents[1] if Path(place).is_file() else None
    for path in sorted(folder.glob("benchmark*/*.json")) if folder else []:
        try:
            content = read_json(path)
        except (OSError, ValueError):
            continue  # describing a service does not depend on its benchmarks
        for scenario in content if is_scenarios(content) else []:
            formats |= set(saved_formats(scenario))
    return sorted(formats)
