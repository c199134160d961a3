"""Deploy, replace and undeploy an application package (OGC API - Processes part 2, 20-044)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from upscaling.algorithms.cwl.vendor import files_in
from upscaling.clients.ogcapi.client import OgcApiClient
from upscaling.clients.ogcapi.http import loaded
from upscaling.errors import ConfigError, ErrorClass, PlatformError
from upscaling.model import Algorithm
from upscaling.util.files import read_json, write_json

if TYPE_CHECKING:
    from upscaling.config.ogcapi import OgcApiBackendConfig

__all__ = ["deploy", "deployable", "undeploy"]

_KEY = "algorithm.source"
# A packed CWL is JSON, and so YAML too; servers differ in which name they take.
_MEDIA_TYPES = ("application/cwl+json", "application/cwl+yaml", "application/cwl")
_UNIT = "application/ogcapppkg+json"
_DEPLOY_SECONDS = 300.0


def deploy(client: OgcApiClient, algorithm: Algorithm, config: OgcApiBackendConfig, note: Path) -> None:
    """See that the server has the pinned package as a process, whose id there is noted.

    Parameters
    ----------
    note
        File of the run in which is written what was deployed where: the next run then deploys nothing anew.

    Raises
    ------
    ConfigError
        If the server cannot deploy, refuses the package, or has another process of that name and the configuration
        does not say what to do then (``backend.on_deployed``).
    """
    try:
        mine = _mine(note)
        if mine and (mine["sha256"], mine["url"]) == (algorithm.sha256, client.base) and _is_there(client, mine["id"]):
            return
        identifier = _send(client, algorithm, config)
    except PlatformError as error:
        key = {ErrorClass.AUTH: "backend.auth", ErrorClass.TRANSIENT: "backend.url"}.get(error.error_class, _KEY)
        raise ConfigError(f"{algorithm.id} cannot be deployed: {error}", key=key) from None
    facts: dict[str, Any] = {"id": identifier or algorithm.id, "ours": identifier is not None}
    _await(client, facts["id"])
    write_json(note, {**facts, "url": client.base, "sha256": algorithm.sha256})


def undeploy(client: OgcApiClient, note: Path) -> None:
    """Remove the process that a run deployed; one that was there before stays."""
    mine = _mine(note)
    if not mine or not mine["ours"] or mine["url"] != client.base:
        return
    try:
        client.send("DELETE", client.process_url(mine["id"]))
    except PlatformError as error:
        if error.status not in {404, 410}:
            raise ConfigError(f"{mine['id']} cannot be removed: {error}", key="backend.undeploy") from None
    note.unlink()


def deployable(algorithm: Algorithm) -> dict[str, Any]:
    """Return the pinned package under its own name: packed, its workflow is called ``main``.

    Raises
    ------
    ConfigError
        If it needs files that lie beside it: a server has only the one document.
    """
    document = read_json(algorithm.path)
    for location in filter(None, (literal.get("location") or literal.get("path") for literal in files_in(document))):
        if not urlsplit(location).scheme or location.startswith("file:"):
            raise ConfigError(f"{algorithm.id} needs the file {location}, which cannot be deployed with it", key=_KEY)
    renamed: dict[str, Any] = _renamed(document, algorithm.id)
    return renamed


def _renamed(node: Any, name: str) -> Any:
    if isinstance(node, str):
        return f"#{name}{node[5:]}" if node == "#main" or node.startswith("#main/") else node
    if isinstance(node, dict):
        return {key: _renamed(value, name) for key, value in node.items()}
    return [_renamed(value, name) for value in node] if isinstance(node, list) else node


def _mine(note: Path) -> dict[str, Any] | None:
    try:
        content = read_json(note)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and {"id", "url", "sha256", "ours"} <= set(content) else None


def _is_there(client: OgcApiClient, identifier: str) -> bool:
    try:
        client.process(identifier)
    except PlatformError as error:
        if error.status == 404:
            return False
        raise
    return True


def _send(client: OgcApiClient, algorithm: Algorithm, config: OgcApiBackendConfig) -> str | None:
    """Deploy; return the id that the server chose, or None where its process of that name is to be used."""
    try:
        return _sent(client, "POST", f"{client.base}/processes", algorithm, config)
    except PlatformError as error:
        if error.status != 409:
            raise
    if config.on_deployed == "use":
        return None
    if config.on_deployed == "replace":
        return _sent(client, "PUT", client.process_url(algorithm.id), algorithm, config)
    raise ConfigError(
        f"{client.base} has a process {algorithm.id} already, and whether it is this one is not known: set it to `use`"
        " or `replace`",
        key="backend.on_deployed",
    )


def _sent(client: OgcApiClient, method: str, url: str, algorithm: Algorithm, config: OgcApiBackendConfig) -> str:
    """Send the package as the server takes it; return the id that it chose, or the package's own."""
    package = deployable(algorithm)
    if config.deploy_as == "execution-unit":
        unit = {"executionUnit": {"value": package, "mediaType": "application/cwl+json"}}
        return _posted(client, method, url, unit, _UNIT) or algorithm.id
    *others, last = _MEDIA_TYPES
    place = f"{url}?w={quote(algorithm.id, safe='')}"
    for media_type in others:
        try:
            return _posted(client, method, place, package, media_type) or algorithm.id
        except PlatformError as error:
            if error.status != 415:
                raise
    return _posted(client, method, place, package, last) or algorithm.id


def _posted(client: OgcApiClient, method: str, url: str, content: Any, media_type: str) -> str | None:
    body = json.dumps(content, ensure_ascii=False).encode()
    with client.request(method, url, data=body, headers={"Content-Type": media_type}) as answer:
        summary, location = loaded(answer), answer.headers.get("Location", "")
    inner = summary.get("processSummary")
    identifier = (inner if isinstance(inner, dict) else summary).get("id")
    if isinstance(identifier, str):
        return identifier
    head, _, last = urlsplit(location).path.rstrip("/").rpartition("/")
    return unquote(last) if head.endswith("/processes") and last else None


def _await(client: OgcApiClient, identifier: str) -> None:
    """Wait for a process that was taken in: servers answer 201, or 202 and build it meanwhile."""
    deadline = time.monotonic() + _DEPLOY_SECONDS
    while not _is_there(client, identifier):
        if time.monotonic() > deadline:
            raise ConfigError(f"{client.base} took {identifier} and does not show it", key=_KEY)
        time.sleep(1.0)
