"""From what a user names (a file, a URL, a catalogue record) to an algorithm pinned into the plan."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upscaling.config import Algorithm as AlgorithmConfig
from upscaling.errors import ConfigError
from upscaling.files import digest, sha256_file, written_whole
from upscaling.tiles import Algorithm

__all__ = ["Pinned", "pin_algorithm", "source_fingerprint"]

_KEY = "algorithm.source"
_LARGEST_DEFINITION = 20_000_000  # bytes; the catalogue's largest is 0.1 MB
_IN_CATALOGUE = "/algorithm_catalog/"  # what precedes a definition's place in the APEx repository's URLs


@dataclasses.dataclass(frozen=True, slots=True)
class Pinned:
    """An algorithm in the plan, and the platform its record names (None without a record)."""

    algorithm: Algorithm
    service: str | None = None


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
    if _is_package(config.source):
        from upscaling.packages import pin_package

        return Pinned(pin_package(config.source, into))
    text, place = _read(config)
    content = _parse(text, place)
    record: dict[str, Any] | None = None
    service = None
    if _is_record(content):
        record, service = content, _link(content, "service")
        application = _link(content, "application")
        if application is None:
            raise ConfigError("the record has no link with rel `application`", file=place, key=_KEY)
        if _is_package(application) or "cwl" in str(_link_type(content, "application")):
            from upscaling.packages import pin_package

            return Pinned(dataclasses.replace(pin_package(application, into), record=record), service)
        text, place = _definition_of(application, place)
        content = _parse(text, place)
    return Pinned(_pin_udp(content, text, place, into=into, source=config.source, record=record), service)


def _pin_udp(
    content: Any, text: str, place: str, *, into: Path, source: str, record: dict[str, Any] | None
) -> Algorithm:
    from upscaling.udp import check_udp, read_parameters

    check_udp(content, file=place)
    with written_whole(into / "algorithm.json") as temporary:
        temporary.write_text(text, encoding="utf-8")
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


def _is_package(source: str) -> bool:
    path = source.partition("#")[0].partition("?")[0]
    return path.endswith((".cwl", ".cwl.json", ".cwl.yaml")) or source.startswith("oci://")


def _is_record(content: Any) -> bool:
    return isinstance(content, Mapping) and content.get("type") == "Feature" and "links" in content


def _link(record: Mapping[str, Any], rel: str) -> str | None:
    return next((link["href"] for link in record["links"] if link.get("rel") == rel and link.get("href")), None)


def _link_type(record: Mapping[str, Any], rel: str) -> str | None:
    return next((link.get("type") for link in record["links"] if link.get("rel") == rel), None)


def _read(config: AlgorithmConfig) -> tuple[str, str]:
    """Return the text that ``source`` names, and the path or URL it came from."""
    source, catalogue = config.source, config.catalogue
    if source.startswith(("http://", "https://")):
        return _fetch(source), source
    if catalogue is None or Path(source).is_file():
        return _load(Path(source)), source
    provider, _, identifier = source.rpartition("/")
    if catalogue.startswith(("http://", "https://")):
        if not provider:
            raise ConfigError(f"with a catalogue URL write <provider>/{identifier}", key=_KEY)
        url = f"{catalogue.rstrip('/')}/{provider}/{identifier}/records/{identifier}.json"
        return _fetch(url), url
    found = sorted(Path(catalogue).glob(f"{provider or '*'}/*/records/{identifier}.json"))
    if not Path(catalogue).is_dir():
        raise ConfigError(f"no such folder: {catalogue}", key="algorithm.catalogue")
    if len(found) != 1:
        what = "no record" if not found else f"{len(found)} records ({', '.join(p.parts[-4] for p in found)})"
        raise ConfigError(f"{what} with the id {identifier!r} in {catalogue}", key=_KEY)
    return _load(found[0]), str(found[0])


def _definition_of(application: str, record_place: str) -> tuple[str, str]:
    """Read a record's definition: from the same catalogue on disk where it has it, else from the link."""
    if not record_place.startswith("http"):
        if _IN_CATALOGUE in application:
            # <catalogue>/<provider>/<id>/records/<id>.json
            local = Path(record_place).resolve().parents[3] / application.partition(_IN_CATALOGUE)[2]
            if local.is_file():
                return _load(local), str(local)
        if not application.startswith(("http://", "https://")):
            local = Path(record_place).parent / application
            return _load(local), str(local)
    return _fetch(application), application


def _load(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"no such file: {path} (looked in {Path(os.curdir).resolve()})", key=_KEY) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", file=path, key=_KEY) from None


def _fetch(url: str) -> str:
    import requests

    try:
        with requests.get(url, timeout=60, stream=True) as reply:
            if not reply.ok:
                raise ConfigError(f"the server answered {reply.status_code} {reply.reason}", file=url, key=_KEY)
            body = bytearray()
            for block in reply.iter_content(65536):
                body += block
                if len(body) > _LARGEST_DEFINITION:
                    raise ConfigError("is larger than any process definition (20 MB)", file=url, key=_KEY)
            return body.decode("utf-8")
    except requests.RequestException as error:
        raise ConfigError(f"cannot be fetched: {type(error).__name__}", file=url, key=_KEY) from None
    except UnicodeDecodeError:
        raise ConfigError("is no text", file=url, key=_KEY) from None


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"is not JSON: {error}", file=place, key=_KEY) from None
