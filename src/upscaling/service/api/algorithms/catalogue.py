"""Algorithms for the page: cards of a catalogue's records, what one of them asks for, and those that users bring."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from upscaling.errors import ConfigError
from upscaling.service.access.auth import User
from upscaling.service.prepare import pinned
from upscaling.service.settings import ServiceSettings
from upscaling.service.tasks import RefusedError, Tasks
from upscaling.util.files import read_json

__all__ = ["cards", "description", "keep_algorithm"]

_MOST_CARDS = 500
_ENDINGS = {".json", ".cwl", ".yaml", ".yml"}


def cards(tasks: Tasks, words: str) -> list[dict[str, Any]]:
    """Return a card for each algorithm whose texts hold all the words, in the catalogue's order."""
    wanted = words.lower().split()
    found = (card for card in _all(tasks.settings) if all(word in " ".join(card.values()).lower() for word in wanted))
    return list(itertools.islice(found, _MOST_CARDS))


def _all(settings: ServiceSettings) -> Iterator[dict[str, Any]]:
    for source in settings.sources:
        for path in sorted(Path(source).glob("*.json")) if Path(source).is_dir() else []:
            yield from _process(path)
    if settings.catalogue and Path(settings.catalogue).is_dir():
        yield from _cards_of(settings.catalogue, Path(settings.catalogue).stat().st_mtime_ns)


def _process(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the card of an openEO process in a folder of sources; nothing for other files."""
    content = _read(path)
    if isinstance(content.get("process_graph"), dict):
        yield {
            "id": str(content.get("id") or path.stem),
            "title": str(content.get("summary") or content.get("id") or path.stem),
            "description": str(content.get("description") or ""),
            "provider": path.parent.name,
            "source": str(path),
            "kind": "openeo",
            "platform": "",
            "cost": "",
            "picture": "",
        }


@functools.lru_cache(maxsize=4)
def _cards_of(folder: str, _stamp: int) -> tuple[dict[str, Any], ...]:
    cards = (_card(_read(path), path) for path in sorted(Path(folder).glob("*/*/records/*.json")))
    return tuple(card for card in cards if card is not None)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _card(record: Mapping[str, Any], path: Path) -> dict[str, Any] | None:
    from upscaling.algorithms.records import is_record, link_of, runs_on_ogcapi

    if not is_record(record):
        return None
    properties = record.get("properties") or {}
    links = [link for link in record["links"] if isinstance(link, Mapping)]
    pictures = [str(link.get("href") or "") for link in links if link.get("rel") in {"thumbnail", "preview"}]
    return {
        "id": str(record.get("id") or path.stem),
        "title": str(properties.get("title") or path.stem),
        "description": str(properties.get("description") or ""),
        "provider": path.parents[2].name,
        "source": str(path),
        "kind": "ogcapi" if runs_on_ogcapi(record) else "openeo",
        "platform": str(link_of(record, "service").get("href") or ""),
        "cost": _cost(properties),
        "picture": next((href for href in pictures if href.startswith("/")), ""),  # of this origin only
    }


def _cost(properties: Mapping[str, Any]) -> str:
    cost, unit = properties.get("cost_estimate"), properties.get("cost_unit")
    return f"{cost} {unit or ''}".strip() if cost is not None else ""


def description(tasks: Tasks, user: User, source: str, kind: str, url: str | None) -> dict[str, Any]:
    """Return what an algorithm is and asks for.

    Returns
    -------
    ``id``, ``title``, ``description``, ``kind``, ``service`` and ``parameters`` (name, description, schema, required,
    default).

    Raises
    ------
    RefusedError
        If it may not be read here, or is no algorithm.
    """
    settings = tasks.settings
    if kind != "ogcapi" and not tasks.may_read(user, source):
        raise RefusedError("this service reads no algorithms from there", key="source")
    backend = {"kind": kind}
    if kind == "ogcapi" and url:
        if settings.platform(url, "ogcapi") is None:
            raise RefusedError("this service does not use that platform", key="url")
        backend["url"] = settings.mirrored(url)
    config = {"run": "run", "algorithm": {"source": settings.mirrored(source)}, "backend": backend}
    try:
        found = pinned({**config, "for_each": {"table": "values.csv"}})
    except ConfigError as error:
        raise RefusedError(error.message, key="source") from None
    algorithm = found.algorithm
    return {
        "id": algorithm.id,
        "title": algorithm.title or algorithm.id,
        "description": algorithm.description,
        "kind": algorithm.kind,
        "service": found.service,
        "parameters": [dataclasses.asdict(parameter) for parameter in algorithm.parameters],
    }


def keep_algorithm(tasks: Tasks, user: User, name: str, content: bytes) -> Path:
    """Keep an algorithm that a user brings, and return its path; the same file is kept once.

    Raises
    ------
    RefusedError
        If this service takes none, it is empty, or its name is not that of an algorithm.
    """
    if not tasks.settings.takes_uploads:
        raise RefusedError("this service takes no files of algorithms; name one that it lists", status=403)
    clean = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(name).name)[-80:].lstrip(".") or "algorithm"
    if Path(clean).suffix.lower() not in _ENDINGS:
        raise RefusedError(f"{clean}: an algorithm is an openEO process (.json) or a package (.cwl)")
    if not content.strip():
        raise RefusedError(f"{clean}: the file is empty")
    path = tasks.uploads(user) / hashlib.sha256(content).hexdigest()[:16] / clean
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
