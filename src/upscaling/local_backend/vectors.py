"""Features from a file of this host, as the geometries that other processes take."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from upscaling.local_backend.definitions import fetch_local
from upscaling.local_backend.errors import ProcessError

__all__ = ["PROCESSES", "fetched", "load_url"]

_FORMATS = ("GeoJSON", "Parquet")


def fetched(url: str, what: str) -> bytes:
    """Return the content of an address of this host.

    Raises
    ------
    ProcessError
        ``UrlNotAllowed``, or ``UrlNotFound`` with ``what`` it should have been.
    """
    import requests

    try:
        return fetch_local(url)
    except requests.RequestException as error:
        raise ProcessError("UrlNotFound", f"{what} cannot be had: {error}") from error


def load_url(url: str, format: str, options: Any = None) -> dict[str, Any]:  # noqa: A002, ARG001 (openEO's names)
    """Return the features of a GeoJSON or GeoParquet file as GeoJSON, in longitude and latitude.

    Raises
    ------
    ProcessError
        ``FormatUnsuitable``: another format, or the file is not of it.
    """
    import json

    if format.lower() not in {"geojson", "parquet", "geoparquet"}:
        raise ProcessError("FormatUnsuitable", f"there is no input format {format!r}, only {' and '.join(_FORMATS)}")
    content = fetched(url, url)
    try:
        found = json.loads(content) if format.lower() == "geojson" else _of_parquet(content)
    except (ValueError, OSError, KeyError, RecursionError) as error:
        raise ProcessError("FormatUnsuitable", f"{url} cannot be read as {format}: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("type"), str):
        raise ProcessError("FormatUnsuitable", f"{url} is no GeoJSON: it has no type")
    return found


def _of_parquet(content: bytes) -> Any:
    import json

    import geopandas as gpd

    frame = gpd.read_parquet(BytesIO(content))
    return json.loads((frame if frame.crs is None else frame.to_crs(4326)).to_json())


PROCESSES: dict[str, Callable[..., Any]] = {"load_url": load_url}
