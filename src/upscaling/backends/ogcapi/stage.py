"""Bring what the results name to this disk: from http(s), from object storage, out of STAC catalogues.

Credentials for object storage are those of its bucket, if there are any: ``OGCAPI_S3_<BUCKET>_ACCESS_KEY_ID``,
``_SECRET_ACCESS_KEY``, ``_SESSION_TOKEN``, ``_ENDPOINT`` and ``_REGION``, the bucket's name in capitals with ``_`` for
what is no letter or digit; else those of any bucket, ``AWS_ACCESS_KEY_ID`` and so on with ``AWS_ENDPOINT_URL`` and
``AWS_REGION``; else none (public buckets).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from upscaling.backends.ogcapi.client import OgcApiClient
from upscaling.backends.ogcapi.http import translated
from upscaling.backends.ogcapi.results import Found, stac_type
from upscaling.errors import ErrorClass, TileFailedError
from upscaling.http.s3 import bucket_store
from upscaling.jobs.remote_job import PlatformError
from upscaling.model import FetchedAsset
from upscaling.stage_in.web import shown
from upscaling.util.files import written_whole

__all__ = ["stage"]

_MOST_FILES, _MOST_DOCUMENTS = 1000, 2000
_LARGEST_DOCUMENT = 64 << 20  # bytes of one STAC document
_LARGEST_OBJECT = 64 << 30  # bytes; more than any tile, less than a disk
_SKIPPED_ROLES = {"metadata", "thumbnail", "overview"}
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


def stage(
    client: OgcApiClient, found: Iterable[Found], folder: Path
) -> tuple[tuple[FetchedAsset, ...], tuple[str, ...]]:
    """Put every file of the results below ``folder``, under names of our own.

    A file that is there with the size and checksum that its asset declares is kept, a partial one is continued.

    Returns
    -------
    (assets, derived_from)

    Raises
    ------
    PlatformError
        If something does not arrive; transient faults can be retried by calling again.
    TileFailedError
        If what is named is not acceptable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    walk = _Walk(client)
    listed = [file for thing in found for file in walk.files(thing, follow=True)]
    if len(listed) > _MOST_FILES:
        raise _unacceptable(f"the results name {len(listed)} files for one tile; more than {_MOST_FILES}")
    assets = []
    for position, file in enumerate(listed):
        target = folder / f"asset-{position:04d}{_suffix(file)}"
        if file.href:
            _bring(client, file, target)
        elif isinstance(file.content, Path):
            with written_whole(target) as temporary:
                temporary.unlink()
                os.link(file.content, temporary)
        else:
            with written_whole(target) as temporary:
                temporary.write_bytes(file.content or b"")
        assets.append(_asset(file, target))
    return tuple(assets), tuple(dict.fromkeys(walk.derived_from))


class _Walk:
    """Through STAC documents, each once, down to the files that they name."""

    def __init__(self, client: OgcApiClient) -> None:
        self._client = client
        self._seen: set[str] = set()
        self._files: set[str] = set()
        self.derived_from: list[str] = []

    def files(self, thing: Found, *, follow: bool) -> Iterator[Found]:
        """Yield the files behind one thing; a reference to JSON is opened, as it may be STAC."""
        if thing.stac is not None:
            yield from self._in_stac(thing.stac, thing.base, thing.key)
        elif isinstance(thing.content, bytes) and thing.media_type == "application/geo+json":
            collection = self._collection_of(thing)
            yield from [thing] if collection is None else self._linked(collection)
        elif follow and thing.href and _may_be_stac(thing):
            content = self._opened(thing.href)
            if stac_type(content):
                yield from self._in_stac(content, thing.href, thing.key)
            else:
                yield thing
        else:
            yield thing

    def _collection_of(self, thing: Found) -> str | None:
        """Return the STAC collection that plain GeoJSON features link to (GEP's way of handing over results)."""
        import json

        content = json.loads(thing.content if isinstance(thing.content, bytes) else b"{}")
        for feature in [content, *(content.get("features") or [])]:
            for link in (feature.get("links") or []) if isinstance(feature, dict) else []:
                if link.get("rel") == "collection" and str(link.get("href", "")).startswith(("http", "s3://")):
                    return str(link["href"])
        return None

    def _linked(self, href: str) -> Iterator[Found]:
        if href in self._seen:
            return
        content = self._opened(href)
        if stac_type(content) is None:
            raise _unacceptable(f"{shown(href)} should be STAC and is not")
        yield from self._in_stac(content, href, "result")

    def _in_stac(self, content: Mapping[str, Any], base: str, key: str) -> Iterator[Found]:
        kind = stac_type(content)
        if kind == "ItemCollection":
            for feature in content["features"]:
                yield from self._in_stac(feature, base, key)
            return
        if kind == "Item":
            self._note_sources(content)
            yield from self._assets(content, base, content.get("properties") or {})
            return
        for link in content.get("links") or []:
            if isinstance(link, Mapping) and link.get("rel") in {"item", "child"} and link.get("href"):
                yield from self._linked(urljoin_any(base, str(link["href"])))
        yield from self._assets(content, base, {})

    def _note_sources(self, item: Mapping[str, Any]) -> None:
        for link in item.get("links") or []:
            if isinstance(link, Mapping) and link.get("rel") == "derived_from" and isinstance(link.get("href"), str):
                self.derived_from.append(link["href"])

    def _assets(self, content: Mapping[str, Any], base: str, properties: Mapping[str, Any]) -> Iterator[Found]:
        for key, asset in (content.get("assets") or {}).items():
            if not isinstance(asset, Mapping) or not isinstance(asset.get("href"), str):
                continue
            href = urljoin_any(base, asset["href"])
            if href in self._files or _SKIPPED_ROLES & set(asset.get("roles") or ()):
                continue
            self._files.add(href)
            media_type = str(asset.get("type") or "")
            yield Found(str(key), href=href, media_type=media_type, properties=properties, asset=asset)

    def _opened(self, href: str) -> Any:
        """Read one JSON document; None where it is none."""
        import orjson

        self._seen.add(href)
        if len(self._seen) > _MOST_DOCUMENTS:
            raise _unacceptable(f"the results are more than {_MOST_DOCUMENTS} STAC documents")
        if href.startswith("s3://"):
            text = _from_bucket(href, _LARGEST_DOCUMENT)
        else:
            with self._client.request("GET", _http_only(href), stream=True) as answer, translated(href):
                text = b"".join(_at_most(answer.iter_content(1 << 20), _LARGEST_DOCUMENT))
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return None


def urljoin_any(base: str, href: str) -> str:
    """Join a relative link to its document's address, for s3 too (which the standard library does not know)."""
    if base.startswith("s3://") and not re.match(r"[a-z0-9+.-]+://", href):
        joined = urljoin(f"http://{base.removeprefix('s3://')}", href)
        return f"s3://{joined.removeprefix('http://')}"
    return urljoin(base, href)


def _may_be_stac(thing: Found) -> bool:
    return "json" in thing.media_type or urlsplit(thing.href).path.lower().endswith((".json", ".geojson"))


def _at_most(blocks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    size = 0
    for block in blocks:
        size += len(block)
        if size > limit:
            raise _unacceptable(f"a STAC document is larger than {limit >> 20} MB")
        yield block


def _bring(client: OgcApiClient, file: Found, target: Path) -> None:
    if file.href.startswith("s3://"):
        if target.is_file() and target.stat().st_size == file.asset.get("file:size"):
            return
        with written_whole(target) as temporary:
            _bucket_to_file(file.href, temporary)
        return
    declared = file.asset.get("file:size")
    client.download(
        _http_only(file.href),
        target,
        size=declared if isinstance(declared, int) else None,
        checksum=str(file.asset.get("file:checksum") or ""),
    )


def _http_only(href: str) -> str:
    if not href.lower().startswith(("http://", "https://")):
        # file: would read this machine's own files into the results
        raise _unacceptable(f"the results refer to {shown(href)}; only http(s) and s3 are followed")
    return href


def _suffix(file: Found) -> str:
    # The server's name is only a hint: it must not choose a place on this disk.
    path = unquote(urlsplit(file.href).path)
    own = re.sub(r"[^a-z0-9.]", "", Path(path).suffix.lower())[:12]
    return own or _SUFFIX.get(file.media_type.partition(";")[0].strip().lower(), "")


def _asset(file: Found, path: Path) -> FetchedAsset:
    asset, properties = file.asset, file.properties
    bands = asset.get("bands") or asset.get("eo:bands") or []
    return FetchedAsset(
        path=path,
        key=file.key,
        media_type=file.media_type,
        roles=tuple(map(str, asset.get("roles") or ("data",))),
        title=str(asset.get("title") or ""),
        bands=tuple(dict(band) for band in bands if isinstance(band, Mapping)) if isinstance(bands, list) else (),
        datetime=_text(properties.get("datetime")),
        start_datetime=_text(properties.get("start_datetime")),
        end_datetime=_text(properties.get("end_datetime")),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _unacceptable(message: str) -> TileFailedError:
    return TileFailedError(message, error_class=ErrorClass.OUTPUT)


# --- object storage ---


def _from_bucket(href: str, limit: int) -> bytes:
    import obstore

    store, key = bucket_store(href, "OGCAPI_S3")
    with _bucket_said(href):
        answer = obstore.get(store, key)
        return b"".join(_at_most((bytes(block) for block in answer.stream()), limit))


def _bucket_to_file(href: str, path: Path) -> None:
    import obstore

    store, key = bucket_store(href, "OGCAPI_S3")
    with _bucket_said(href):
        answer = obstore.get(store, key)
        if answer.meta["size"] > _LARGEST_OBJECT:
            raise _unacceptable(f"{shown(href)} is {answer.meta['size']} bytes; it is not fetched")
        with path.open("wb") as stream:
            for block in answer.stream(min_chunk_size=8 << 20):
                stream.write(bytes(block))
    if path.stat().st_size != answer.meta["size"]:
        raise PlatformError(f"a download of {shown(href)} broke off", error_class=ErrorClass.TRANSIENT)


class _bucket_said:  # noqa: N801 -- used as a context
    def __init__(self, href: str) -> None:
        self._href = href

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, _traceback: Any) -> None:
        from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError

        if not isinstance(error, BaseError | FileNotFoundError):
            return
        bucket = self._href.removeprefix("s3://").partition("/")[0]
        if isinstance(error, PermissionDeniedError | UnauthenticatedError):
            raise PlatformError(
                f"no access to bucket {bucket}; set OGCAPI_S3_<BUCKET>_ACCESS_KEY_ID and _SECRET_ACCESS_KEY",
                error_class=ErrorClass.AUTH,
            ) from None
        missing = isinstance(error, NotFoundError | FileNotFoundError)
        raise PlatformError(
            f"{shown(self._href)} {'is not there' if missing else 'cannot be read from object storage'}",
            error_class=ErrorClass.OUTPUT if missing else ErrorClass.TRANSIENT,
        ) from None
