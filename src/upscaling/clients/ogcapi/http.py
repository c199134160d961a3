"""Answers of an OGC API - Processes server: what a refusal means, and bodies kept as they came."""

from __future__ import annotations

import datetime as dt
import email.utils
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from upscaling.http.reply import Reply
from upscaling.util.files import write_json, written_whole

__all__ = [
    "JSON",
    "LARGEST_FILE",
    "clock_offset",
    "is_html",
    "link_headers",
    "loaded",
    "save_reply",
    "small_json",
    "words_of",
]

JSON = "application/json"
LARGEST_FILE = 64 << 30  # bytes; more than any tile, less than a disk


def link_headers(answer: Reply) -> list[dict[str, str]]:
    """Return the Link headers: ``rel``, absolute ``href`` and ``type`` of each."""
    import requests

    header = answer.headers.get("Link", "")
    links = requests.utils.parse_header_links(header) if header else []
    return [
        {"rel": link.get("rel", ""), "href": urljoin(answer.url, link["url"]), "type": link.get("type", "")}
        for link in links
    ]


def save_reply(answer: Reply, path: Path) -> None:
    """Store a body as it comes, and what its headers say, as ``<name>.headers.json`` beside it; the body last."""
    facts = {
        "url": answer.url,
        "status": answer.status_code,
        "type": answer.headers.get("Content-Type", ""),
        "disposition": answer.headers.get("Content-Disposition", ""),
        "links": link_headers(answer),
    }
    write_json(path.with_name(f"{path.name}.headers.json"), facts)
    with written_whole(path) as temporary, temporary.open("wb") as stream:
        size = 0
        for block in answer.blocks():
            size += len(block)
            if size > LARGEST_FILE:
                raise answer.endless(f"sent an answer that does not end ({size} bytes)")
            stream.write(block)


def is_html(answer: Reply) -> bool:
    """Whether a server sent a page for people although it was asked for JSON."""
    return "html" in str(answer.headers.get("Content-Type", "")).lower()


def loaded(answer: Reply) -> dict[str, Any]:
    """Return the JSON object in a body; an empty one for pygeoapi's ``null`` and for anything else."""
    return _object_in(answer.content())


def small_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one where it holds anything else, or more than a megabyte."""
    return _object_in(path.read_bytes()) if path.stat().st_size <= 1_000_000 else {}


def _object_in(text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text or b"{}")
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def words_of(status: int, content: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return code and words of a refusal (RFC 7807, or OGC's own code and description)."""
    names = ("title", "detail", "description", "message", "code")
    words = list(dict.fromkeys(str(content[name]) for name in names if isinstance(content.get(name), str)))
    kind = str(content.get("type") or content.get("code") or "")
    return f"{status} {kind or ' '.join(words)}".strip() if content else None, ": ".join(words)


def clock_offset(date: str) -> dt.timedelta:
    """Return how far a server's clock is ahead, by the ``Date`` of an answer that came just now."""
    try:
        return email.utils.parsedate_to_datetime(date) - dt.datetime.now(dt.UTC)
    except (TypeError, ValueError):
        return dt.timedelta()
