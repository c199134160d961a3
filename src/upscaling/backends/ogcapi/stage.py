"""Bring what the results name to this disk: from http(s), from object storage, out of STAC catalogues.

Credentials for object storage are those that ``http.s3.bucket_store`` finds with the prefix ``OGCAPI_S3``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from upscaling.backends.ogcapi.results import Found
from upscaling.clients.ogcapi.client import OgcApiClient
from upscaling.errors import TileFailedError, bad_output
from upscaling.http.address import is_remote, shown
from upscaling.http.s3 import read_object
from upscaling.model import FetchedAsset, Outcome
from upscaling.util.files import written_whole
from upscaling.util.stac_assets import StacAsset, described, file_name, select
from upscaling.util.stac_walk import HrefError, StacDocument, StacWalk, join, kind_of, parse_json
from upscaling.util.text import numbered

__all__ = ["stage"]

_MOST_FILES, _MOST_DOCUMENTS = 1000, 2000
_LARGEST_DOCUMENT = 64 << 20  # bytes of one STAC document
_LARGEST_VALUE = 16 << 10  # bytes of JSON; a larger value is a file
_SUFFIX = {
    "image/tiff": ".tif",
    "application/geo+json": ".geojson",
    "application/json": ".json",
    "application/x-netcdf": ".nc",
    "application/netcdf": ".nc",
    "image/png": ".png",
    "text/csv": ".csv",
    "text/plain": ".txt",
    "application/zip": ".zip",
}


def stage(client: OgcApiClient, found: Iterable[Found], folder: Path) -> Outcome:
    """Put every file of the results below ``folder``, under names of our own; keep small values as values.

    A file that is there with the size and checksum that its asset declares is kept, a partial one is continued.

    Raises
    ------
    PlatformError
        If something does not arrive; transient faults can be retried by calling again.
    TileFailedError
        If what is named is not acceptable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    walk = _walk(client)
    listed: list[Found | StacAsset] = []
    in_stac: dict[str, StacAsset] = {}
    values: list[tuple[str, Any]] = []
    for thing in found:
        documents = _documents(client, walk, thing)
        if documents is not None:
            named = walk.assets(documents, most=_MOST_FILES)
            in_stac = {**{asset.href: asset for asset in named}, **in_stac}
            if not named and isinstance(thing.content, bytes):  # features whose collection has nothing
                listed.append(thing)
        elif thing.literal and isinstance(thing.content, bytes) and len(thing.content) <= _LARGEST_VALUE:
            values.append((thing.key, json.loads(thing.content)))
        else:
            listed.append(thing)
    chosen, left = select(in_stac.values())
    listed += chosen
    if len(listed) > _MOST_FILES:
        raise bad_output(f"the results name {len(listed)} files for one tile; more than {_MOST_FILES}")
    assets = tuple(_staged(client, thing, folder, position) for position, thing in enumerate(listed))
    derived_from = tuple(dict.fromkeys(walk.derived_from))
    by_name = dict(zip(numbered([key for key, _ in values]), (value for _, value in values), strict=True))
    return Outcome(assets, derived_from=derived_from, values=by_name, left_out=(*walk.left_out, *left))


def _staged(client: OgcApiClient, thing: Found | StacAsset, folder: Path, position: int) -> FetchedAsset:
    if isinstance(thing, StacAsset):
        facts = described(thing)
        target = folder / f"asset-{position:04d}{_suffix(thing.href, facts['media_type'])}"
        _bring(client, thing.href, thing.fields, target)
        return FetchedAsset(path=target, **facts)
    target = folder / f"asset-{position:04d}{_suffix(thing.href, thing.media_type)}"
    if thing.href:
        _bring(client, thing.href, {}, target)
    else:
        with written_whole(target) as temporary:
            if isinstance(thing.content, Path):
                os.link(thing.content, temporary)
            else:
                temporary.write_bytes(thing.content or b"")
    origin = "/".join(file_name(thing.href))
    return FetchedAsset(path=target, key=thing.key, media_type=thing.media_type, origin=origin)


def _walk(client: OgcApiClient) -> StacWalk:
    def refuse(message: str) -> None:
        raise bad_output(f"the results should be STAC and are not: {message}")

    def too_many(number: int) -> None:
        raise bad_output(f"the results name {number} files or STAC documents; more than are looked at")

    return StacWalk(partial(_opened, client), _address, refuse, _MOST_DOCUMENTS, too_many)


def _address(base: str, href: str) -> str:
    try:
        return join(base, href)
    except HrefError:
        raise _not_followed(href) from None


def _documents(client: OgcApiClient, walk: StacWalk, thing: Found) -> Iterator[StacDocument] | None:
    """Return the STAC documents behind one thing, or None for a file; a reference to JSON is opened, as it may be."""
    if thing.stac is not None:
        return walk.documents(thing.base, thing.stac)
    href, content = thing.href, None
    if isinstance(thing.content, bytes) and thing.media_type == "application/geo+json":
        href = _collection_of(thing.content)
    elif href and _may_be_stac(thing) and href not in walk.seen:
        content = _opened(client, href)
        href = href if kind_of(content) else ""
    elif href not in walk.seen:
        href = ""
    if not href:
        return None
    if href in walk.seen:
        return iter(())
    walk.seen.add(href)
    return walk.documents(href, content)


def _collection_of(geojson: bytes) -> str:
    """Return the STAC collection that GeoJSON features link to (GEP's way of handing over results), or nothing."""
    content = json.loads(geojson)
    features = content.get("features")
    for feature in [content, *(features if isinstance(features, list) else [])]:
        links = feature.get("links") if isinstance(feature, dict) else None
        for link in links if isinstance(links, list) else []:
            if not isinstance(link, dict) or link.get("rel") != "collection":
                continue
            if str(link.get("href", "")).startswith(("http", "s3://")):
                return str(link["href"])
    return ""


def _opened(client: OgcApiClient, href: str) -> Any:
    """Read one JSON document; None where it is none."""
    if href.startswith("s3://"):
        text = read_object(href, "OGCAPI_S3", _LARGEST_DOCUMENT)
    else:
        with client.request("GET", _followed(href)) as answer:
            text = answer.content(_LARGEST_DOCUMENT)
    return parse_json(text)


def _may_be_stac(thing: Found) -> bool:
    return "json" in thing.media_type or file_name(thing.href)[1].lower().endswith(
        (".json", ".geojson", ".ndjson", ".jsonl", ".geojsonl")
    )


def _bring(client: OgcApiClient, href: str, declared: Mapping[str, Any], target: Path) -> None:
    size = declared.get("file:size")
    client.download(
        _followed(href),
        target,
        size=size if isinstance(size, int) and not isinstance(size, bool) else None,
        checksum=str(declared.get("file:checksum") or ""),
        media_type=str(declared.get("type") or ""),
    )


def _followed(href: str) -> str:
    if not is_remote(href):
        raise _not_followed(href)
    return href


def _not_followed(href: str) -> TileFailedError:
    # file: would read this machine's own files into the results
    return bad_output(f"the results refer to {shown(href)}; only http(s) and s3 are followed")


def _suffix(href: str, media_type: str) -> str:
    # The server's name is only a hint: it must not choose a place on this disk.
    own = re.sub(r"[^a-z0-9.]", "", Path(file_name(href)[1]).suffix.lower())[:12]
    return own or _SUFFIX.get(media_type.partition(";")[0].strip().lower(), "")
