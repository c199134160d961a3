"""User-defined processes: those a user stored, and those that a graph names by URL."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from upscaling.errors import ConfigError
from upscaling.http.session import new_session
from upscaling.local_backend.errors import ProcessError

_SECONDS = 10.0

__all__ = ["Definitions", "check_local", "fetch_definition", "fetch_local"]


def check_local(url: str) -> None:
    """Refuse a URL that does not point at this host: a graph must not make the back-end call elsewhere.

    Raises
    ------
    ProcessError
        ``UrlNotAllowed``.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        is_local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = False
    if parts.scheme not in {"http", "https"} or not is_local:
        raise ProcessError(
            "UrlNotAllowed", f"{url} is not on this host; this back-end reads 127.0.0.1 and local files only"
        )


def fetch_local(url: str) -> bytes:
    """Return what is at an address of this host; raise ProcessError for another host, else requests' own errors."""
    check_local(url)
    answer = new_session(_SECONDS).get(url, allow_redirects=False)
    answer.raise_for_status()
    return bytes(answer.content)


def fetch_definition(process_id: str, url: str) -> dict[str, Any]:
    """Fetch a process definition, or find it in a listing (the "remote process definition" extension).

    Raises
    ------
    ProcessError
        ``ProcessNamespaceInvalid`` (a URL of another host, too), ``ProcessIdMismatch``.
    """
    import requests

    try:
        document = json.loads(fetch_local(url))
        found = (
            [document]
            if "process_graph" in document
            else [p for p in document["processes"] if p.get("id") == process_id]
        )
        definition = dict(found[0])
    except (ConfigError, requests.RequestException, ValueError, KeyError, TypeError, IndexError) as error:
        raise ProcessError(
            "ProcessNamespaceInvalid", f"{url} gives no definition of {process_id!r}: {error}"
        ) from error
    if definition.get("id") != process_id:
        raise ProcessError("ProcessIdMismatch", f"{url} defines {definition.get('id')!r}, not {process_id!r}")
    return definition


class Definitions:
    """Looks a process up by namespace: ``user`` or none for stored ones, a URL of this host for others."""

    def __init__(self, stored: Mapping[str, Mapping[str, Any]]) -> None:
        self._stored = stored
        self._fetched: dict[tuple[str, str], Mapping[str, Any]] = {}

    def __call__(self, process_id: str, namespace: str | None) -> Mapping[str, Any] | None:
        """Return the definition, or None where it is not a user-defined process."""
        if namespace is None or namespace == "user":
            return self._stored.get(process_id)
        if not namespace.startswith(("http://", "https://")):
            return None
        key = (process_id, namespace)
        if key not in self._fetched:
            self._fetched[key] = fetch_definition(process_id, namespace)
        return self._fetched[key]
