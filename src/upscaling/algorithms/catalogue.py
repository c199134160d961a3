"""From what a user names (a file, a URL, a catalogue record) to an algorithm pinned into the plan."""

from __future__ import annotations

import dataclasses
import difflib
import glob
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from upscaling.algorithms.records import (
    IN_CATALOGUE,
    catalogue_root,
    is_record,
    is_scenarios,
    link_of,
    runs_on_ogcapi,
)
from upscaling.config import Algorithm as AlgorithmConfig
from upscaling.errors import ConfigError
from upscaling.http.address import is_web
from upscaling.http.web import fetch_text
from upscaling.model import Algorithm
from upscaling.util.files import digest, sha256_file, write_whole

__all__ = [
    "Pinned",
    "application_of",
    "is_package",
    "package_of",
    "parse",
    "pin_algorithm",
    "pin_package_of",
    "pin_udp",
    "read_source",
    "source_fingerprint",
]

_KEY = "algorithm.source"


@dataclasses.dataclass(frozen=True, slots=True)
class Pinned:
    """An algorithm in the plan, and where its record says that it runs.

    Attributes
    ----------
    service
        Address of the openEO platform; None without a record, or if it runs elsewhere.
    notices
        What users should know of it, a line each.
    """

    algorithm: Algorithm
    service: str | None = None
    notices: tuple[str, ...] = ()


def source_fingerprint(config: AlgorithmConfig) -> str:
    """Return a hash that changes when a local source changes; a URL counts by its text.

    What a URL held when the plan was made is in the plan, and stays until the plan is made anew.
    """
    path = Path(config.source.partition("#")[0])
    return digest([config.source, sha256_file(path) if path.is_file() else None])


def pin_algorithm(config: AlgorithmConfig, into: Path) -> Pinned:
    """Resolve ``config.source`` and write a self-contained copy of the definition into the folder ``into``.

    Raises
    ------
    ConfigError
        If it cannot be found or read, or is neither an openEO process nor an application package.
    """
    if is_package(config.source):
        return Pinned(pin_package_of(config.source, into, config.files_from))
    text, place = read_source(config)
    content = parse(text, place)
    if is_scenarios(content):
        raise ConfigError(
            "is a benchmark scenario: name the process that it calls, and its arguments in algorithm.parameters",
            file=place,
            key=_KEY,
        )
    if not is_record(content):
        return _pin_with_nested(content, text, place, into=into, source=config.source)
    service = link_of(content, "service").get("href")
    if runs_on_ogcapi(content):
        try:
            package = pin_package_of(package_of(content, place), into, config.files_from)
        except ConfigError as error:
            raise ConfigError(
                f"{content.get('id')} runs through OGC API - Processes ({service}) and needs backend.kind ogcapi;"
                f" with kind cwl its package would run, but {error.file or 'it'}: {error.message}",
                file=place,
                key=_KEY,
            ) from None
        return Pinned(dataclasses.replace(package, record=content))
    application = link_of(content, "application").get("href", "")
    text, found = process_text(application_of(content, place), place)
    named = application if is_web(application) else config.source
    pinned = _pin_with_nested(parse(text, found), text, found, into=into, source=named, record=content)
    return dataclasses.replace(pinned, service=service)


def _pin_with_nested(content: Any, text: str, place: str, **named: Any) -> Pinned:
    """Pin an openEO process with those that it calls by URL."""
    from upscaling.algorithms.nested import with_nested
    from upscaling.algorithms.udp import check_udp

    check_udp(content, file=place)
    whole, notices = with_nested(content, place=place, fetch=fetch_text)
    if "upscaling:nested" in whole:  # else the very bytes that were found
        text = json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
    return Pinned(pin_udp(whole, text, place, **named), notices=notices)


def pin_udp(
    content: Any, text: str, place: str, *, into: Path, source: str, record: dict[str, Any] | None = None
) -> Algorithm:
    """Check an openEO process and write it into the folder ``into``.

    Parameters
    ----------
    content, text, place
        The definition, as text, and the path or URL that it was read from.
    source
        What the user or the record calls it.
    """
    from upscaling.algorithms.udp import check_udp, read_parameters

    check_udp(content, file=place)
    write_whole(into / "algorithm.json", text)
    properties = (record or {}).get("properties", {})
    summary = str(content.get("summary") or "").strip()
    return Algorithm(
        kind="openeo",
        id=str(content.get("id") or Path(place).stem),
        path=into / "algorithm.json",
        sha256=sha256_file(into / "algorithm.json"),
        source=place if place.startswith("http") else source,
        parameters=read_parameters(content),
        title=properties.get("title") or (summary if summary.upper() != "TODO" else ""),
        description=properties.get("description") or str(content.get("description") or "").strip(),
        record=record,
    )


def pin_package_of(source: str, into: Path, files_from: Iterable[str] = ()) -> Algorithm:
    """Pin an application package, if what reads it is installed."""
    from upscaling.algorithms.cwl import pin_package
    from upscaling.util.extras import require

    require("toil", "cwl")
    return pin_package(source, into, files_from=files_from)


def is_package(source: str) -> bool:
    """Return whether a source is, by its name, an application package."""
    path = source.partition("#")[0].partition("?")[0]
    return path.endswith((".cwl", ".cwl.json", ".cwl.yaml")) or source.startswith("oci://")


def package_of(record: Mapping[str, Any], place: str) -> str:
    """Return the path or URL of the package that a record at ``place`` links to."""
    href = application_of(record, place)
    if is_web(place):
        found = urljoin(place, href)
        if not is_web(found) and not found.startswith("oci://"):
            raise ConfigError(f"links to {href}, which is no address on the web", file=place, key=_KEY)
        return found
    return href if urlsplit(href).scheme else str(Path(place).parent / href)


def application_of(record: Mapping[str, Any], place: str) -> str:
    """Return the link of a record to what it describes; raise ConfigError if it has none."""
    href = link_of(record, "application").get("href")
    if href is None:
        raise ConfigError("the record has no link with rel `application`", file=place, key=_KEY)
    return str(href)


def read_source(config: AlgorithmConfig) -> tuple[str, str]:
    """Return the text that ``source`` names (a definition, a record or scenarios), and the path or URL it came from.

    Raises
    ------
    ConfigError
        If there is no such thing, or it cannot be read.
    """
    source, catalogue = config.source, config.catalogue
    if is_web(source):
        return fetch_text(source), source
    if catalogue is None or Path(source).is_file():
        return _load(Path(source)), source
    if is_web(catalogue):
        provider, _, identifier = source.rpartition("/")
        if not provider:
            raise ConfigError(f"with a catalogue URL write <provider>/{identifier}", key=_KEY)
        url = f"{catalogue.rstrip('/')}/{provider}/{identifier}/records/{identifier}.json"
        return fetch_text(url), url
    found = _in_catalogue(source, Path(catalogue))
    return _load(found), str(found)


def _in_catalogue(source: str, folder: Path) -> Path:
    """Return the record with an id, else the UDP: the catalogue has some that are in no record."""
    if not folder.is_dir():
        raise ConfigError(f"no such folder: {folder}", key="algorithm.catalogue")
    root = folder / IN_CATALOGUE.strip("/")
    root = root if root.is_dir() else folder
    provider, _, identifier = source.rpartition("/")
    for kind in ("records", "openeo_udp"):
        found = sorted(root.glob(f"{glob.escape(provider) or '*'}/*/{kind}/{glob.escape(identifier)}.json"))
        if len(found) > 1:
            providers = ", ".join(path.parts[-4] for path in found)
            raise ConfigError(
                f"{len(found)} {kind} with the id {identifier!r}: write <provider>/{identifier} ({providers})", key=_KEY
            )
        if found:
            return found[0]
    known = {path.stem for kind in ("records", "openeo_udp") for path in root.glob(f"*/*/{kind}/*.json")}
    close = difflib.get_close_matches(identifier, sorted(known), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ConfigError(f"no record with the id {source!r} in {folder}{hint}", key=_KEY)


def process_text(href: str, place: str) -> tuple[str, str]:
    """Read the openEO process at a link that stands in a document of a catalogue at ``place``.

    It is read from the same catalogue on disk where that has it.

    Returns
    -------
    Its text, and the path or URL that it came from.
    """
    if is_web(place):
        url = urljoin(place, href)
        return fetch_text(url), url
    local = _local_copy(href, place)
    if local is not None:
        return _load(local), str(local)
    return fetch_text(href), href


def _local_copy(href: str, place: str) -> Path | None:
    """Return where a local catalogue has what a link names: at the place that the link tells, or in the same folder."""
    if not is_web(href):
        return Path(place).parent / href
    root = catalogue_root(place)
    if root is None or "/apex_algorithms/" not in href.lower():
        return None
    beside = Path(place).resolve().parents[1] / "openeo_udp" / href.rpartition("/")[2]
    told = [root / href.partition(IN_CATALOGUE)[2]] if IN_CATALOGUE in href else []
    within = (path.resolve() for path in (*told, beside))
    return next((path for path in within if path.is_relative_to(root) and path.is_file()), None)


def _load(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")  # the very bytes: a newline more or less is another sha256
    except FileNotFoundError:
        raise ConfigError(f"no such file: {path} (looked in {Path(os.curdir).resolve()})", key=_KEY) from None
    except (OSError, ValueError) as error:  # no text; a NUL in the name
        raise ConfigError(f"cannot be read: {error}", file=path, key=_KEY) from None


def parse(text: str, place: str) -> Any:
    """Return what a JSON text holds; ConfigError names ``place`` if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"is not JSON: {error}", file=place, key=_KEY) from None
