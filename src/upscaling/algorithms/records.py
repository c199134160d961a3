"""What an APEx catalogue holds beside definitions: records, their links, platforms, and benchmark scenarios."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from upscaling.errors import ConfigError
from upscaling.http.web import fetch_text

__all__ = [
    "IN_CATALOGUE",
    "OgcProcess",
    "catalogue_root",
    "floating_reference",
    "is_record",
    "is_scenarios",
    "link_of",
    "ogc_process",
    "related_record",
    "runs_on_ogcapi",
]

IN_CATALOGUE = "/algorithm_catalog/"  # what precedes a definition's place in the APEx repository's URLs
_OGCAPI = "https://apex.esa.int/core/ogc-api-processes"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_RAW = re.compile(
    r"https://(?:raw\.githubusercontent\.com/[^/]+/[^/]+|github\.com/[^/]+/[^/]+/(?:raw|blob)|[^/]+/.+/-/raw)/"
    r"(?:refs/(?P<kind>heads|tags)/)?(?P<ref>[^/]+)/"
)


class OgcProcess(NamedTuple):
    """Where a process of OGC API - Processes is.

    Attributes
    ----------
    base
        The API's landing page: the process is at ``<base>/processes/<id>``.
    namespace
        The path of ``base`` on its host, which some platforms use for a user or project; empty if there is none.
    """

    base: str
    namespace: str
    id: str


def is_record(content: Any) -> bool:
    """Return whether a document is a catalogue record (OGC API - Records, as APEx uses it)."""
    return isinstance(content, Mapping) and content.get("type") == "Feature" and isinstance(content.get("links"), list)


def is_scenarios(content: Any) -> bool:
    """Return whether a document is a list of benchmark scenarios."""
    return (
        isinstance(content, Sequence)
        and bool(content)
        and all(
            isinstance(entry, Mapping) and entry.get("type") in {"openeo", "ogc_api_process"} and "id" in entry
            for entry in content
        )
    )


def link_of(record: Mapping[str, Any], rel: str) -> dict[str, Any]:
    """Return a record's first link with that relation and an address, or an empty object."""
    links = (link for link in record["links"] if isinstance(link, Mapping))
    return next((dict(link) for link in links if link.get("rel") == rel and isinstance(link.get("href"), str)), {})


def runs_on_ogcapi(record: Mapping[str, Any]) -> bool:
    """Return whether a record describes a service of OGC API - Processes (and not an openEO process)."""
    return _OGCAPI in record.get("conformsTo", []) or "cwl" in str(link_of(record, "application").get("type"))


def ogc_process(url: str) -> OgcProcess | None:
    """Split ``https://host/path/processes/id``; None if an address is not of that form."""
    parts = urlsplit(url)
    path, found, identifier = parts.path.rstrip("/").rpartition("/processes/")
    if not found or not identifier or "/" in identifier or parts.scheme not in {"http", "https"}:
        return None
    return OgcProcess(f"{parts.scheme}://{parts.netloc}{path}", path.strip("/"), identifier)


def floating_reference(href: str) -> str | None:
    """Return the branch (or image tag) that an address follows, so that what is there may change; None if none is seen.

    A commit and a tag of a repository, and an image's digest, stay what they are.
    """
    if href.startswith("oci://"):
        name = href.rpartition("/")[2]
        return None if "@sha256:" in name else name.partition(":")[2] or "latest"
    found = _RAW.match(href)
    if found is None:
        return None
    return None if found["kind"] == "tags" or _COMMIT.fullmatch(found["ref"]) else found["ref"]


def catalogue_root(place: str) -> Path | None:
    """Return the folder of providers that a local record, UDP or scenario file lies in, or None.

    The layout is ``<root>/<provider>/<id>/<records, openeo_udp, benchmark_scenarios …>/<file>``.
    """
    path = Path(place).resolve()
    return path.parents[3] if len(path.parents) > 3 and path.is_file() else None


def related_record(record: Mapping[str, Any], rel: str, place: str) -> dict[str, Any]:
    """Return title, type and id of the platform or provider that a record links to.

    The linked record's own title counts; the link's title stands in where it cannot be read.
    """
    link = link_of(record, rel)
    if not link:
        return {}
    linked = _linked(link["href"], place) or {}
    properties = linked.get("properties", {})
    facts = {
        "title": properties.get("title") or link.get("title"),
        "href": link["href"],
        "id": linked.get("id"),
        "type": properties.get("type"),
    }
    return {name: value for name, value in facts.items() if value}


def _linked(href: str, place: str) -> dict[str, Any] | None:
    """Read the record behind a link, beside a local record or over the network; None if it cannot be read."""
    try:
        if place.startswith(("http://", "https://")):
            content = json.loads(fetch_text(urljoin(place, href)))
        else:
            root = catalogue_root(place)
            if root is None or urlsplit(href).scheme:
                return None
            # platform_catalog lies beside the folder of providers in the repository, within it in an excerpt
            paths = (Path(place).parent / href, root / "platform_catalog" / Path(href).name)
            inside = (p for p in map(Path.resolve, paths) if p.is_relative_to(root.parent) and p.suffix == ".json")
            content = json.loads(next(p for p in inside if p.is_file()).read_text(encoding="utf-8"))
    except (ConfigError, OSError, ValueError, StopIteration):
        return None
    return content if isinstance(content, dict) else None
