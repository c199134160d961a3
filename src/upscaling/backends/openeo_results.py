"""Read an openEO job's result document (STAC 1.0 or 1.1, Item or Collection) and download what it lists."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from upscaling.backends.remote import PlatformError
from upscaling.errors import ErrorClass, TileFailedError
from upscaling.tiles import FetchedAsset

__all__ = ["download", "fetch_results"]

_BLOCK = 1 << 20
_SHA256_MULTIHASH = "1220"  # multihash prefix of a sha2-256 digest of 32 bytes
_LARGEST_ASSET = 64 << 30  # bytes; more than any tile, less than a disk
_MOST_ASSETS = 1000
_SKIPPED_ROLES = {"metadata", "thumbnail", "overview"}


def fetch_results(connection: Any, job_id: str, folder: Path) -> tuple[tuple[FetchedAsset, ...], tuple[str, ...]]:
    """Download a finished job's result files into ``folder``.

    The links are asked for anew at every call, as signed links expire. A file that is there already with the size
    (and checksum) that the platform declares is kept; a partial one is continued.

    Returns
    -------
    (assets, derived_from)

    Raises
    ------
    PlatformError
        If the platform does not answer as it should; transient faults can be retried by calling again.
    TileFailedError
        If what it lists is not acceptable.
    """
    document = connection.get(f"/jobs/{job_id}/results", expected_status=200).json()
    if document.get("openeo:status") == "error":
        raise TileFailedError(f"the results of job {job_id} are an error", error_class=ErrorClass.OUTPUT)
    listed = list(_assets(connection, document))
    if len(listed) > _MOST_ASSETS:
        raise TileFailedError(
            f"job {job_id} lists {len(listed)} files for one tile; more than {_MOST_ASSETS} are not fetched",
            error_class=ErrorClass.OUTPUT,
        )
    folder.mkdir(parents=True, exist_ok=True)
    assets = []
    for position, (key, asset, properties) in enumerate(listed):
        # The platform's name is only a hint: it repeats between tiles and must not choose a place on this disk.
        suffix = re.sub(r"[^a-z0-9.]", "", Path(urlsplit(asset["href"]).path).suffix.lower())[:12]
        target = folder / f"asset-{position:04d}{suffix}"
        download(connection, asset, target)
        assets.append(
            FetchedAsset(
                path=target,
                key=key,
                media_type=str(asset.get("type") or ""),
                roles=tuple(map(str, asset.get("roles") or ("data",))),
                title=str(asset.get("title") or ""),
                bands=_bands(asset),
                datetime=properties.get("datetime"),
                start_datetime=properties.get("start_datetime"),
                end_datetime=properties.get("end_datetime"),
            )
        )
    return tuple(assets), tuple(dict.fromkeys(_derived_from(document)))


def _assets(connection: Any, document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], Mapping[str, Any]]]:
    """Yield (key, asset, item properties) once per file.

    API 1.0 answers with one Item; 1.1 and later with a Collection whose assets stand in the collection, in its items,
    or in both. An item knows the time of its file, so what an item says comes first.
    """
    seen: set[str] = set()

    def fresh(assets: Any, properties: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], Mapping[str, Any]]]:
        for key, asset in (assets or {}).items():
            if not isinstance(asset, Mapping) or not isinstance(asset.get("href"), str):
                continue
            place = urlsplit(asset["href"])
            name = f"{place.netloc}{place.path.rpartition('/')[2]}"
            if name in seen or _SKIPPED_ROLES & set(asset.get("roles") or ()):
                continue
            seen.add(name)
            yield str(key), dict(asset), properties

    if document.get("type") == "Feature":
        yield from fresh(document.get("assets"), document.get("properties") or {})
        return
    for link in document.get("links", []):
        if link.get("rel") == "item" and isinstance(link.get("href"), str):
            item = connection.get(link["href"], expected_status=200).json()
            yield from fresh(item.get("assets"), item.get("properties") or {})
    yield from fresh(document.get("assets"), {})


def _bands(asset: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return STAC 1.1 bands, also where the platform still writes eo:bands and raster:bands."""
    if isinstance(asset.get("bands"), list):
        return tuple(dict(band) for band in asset["bands"] if isinstance(band, Mapping))
    names, raster = asset.get("eo:bands") or [], asset.get("raster:bands") or []
    bands = []
    for position in range(max(len(names), len(raster))):
        band = {"name": names[position]["name"]} if position < len(names) and "name" in names[position] else {}
        bands.append(band)
    return tuple(bands)


def _derived_from(document: Mapping[str, Any]) -> Iterator[str]:
    for link in document.get("links", []):
        if link.get("rel") == "derived_from" and isinstance(link.get("href"), str):
            yield link["href"]


def download(connection: Any, asset: Mapping[str, Any], target: Path) -> None:
    """Fetch one file: into ``.part``, continued where an earlier try broke off, checked, then renamed.

    Parameters
    ----------
    connection
        Has ``get(url, *, stream, headers, expected_status)`` as the openeo client has it.
    asset
        A STAC asset with an absolute ``href``; its ``file:size`` and ``file:checksum`` are held against the file.

    Raises
    ------
    PlatformError
        If the file does not arrive whole; calling again continues it.
    """
    size = asset["file:size"] if isinstance(asset.get("file:size"), int) else None
    checksum = str(asset.get("file:checksum") or "")
    if size is not None and size > _LARGEST_ASSET:
        raise TileFailedError(f"the platform declares a file of {size} bytes; it is not fetched")
    if target.is_file() and _complete(target, size, checksum):
        return
    part = target.with_name(f"{target.name}.part")
    have = part.stat().st_size if part.is_file() else 0
    headers = {"Range": f"bytes={have}-"} if have else None
    with connection.get(asset["href"], stream=True, headers=headers, expected_status=(200, 206)) as reply:
        resumed = reply.status_code == 206 and reply.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if have and reply.status_code == 206 and not resumed:
            part.unlink()
            raise PlatformError("the platform continued a file at the wrong place", error_class=ErrorClass.TRANSIENT)
        expected = _expected_size(reply.headers, have if resumed else 0)
        with part.open("ab" if resumed else "wb") as stream:
            written = have if resumed else 0
            for block in reply.iter_content(_BLOCK):
                written += len(block)
                if written > (size or expected or _LARGEST_ASSET):
                    part.unlink()
                    raise PlatformError("the platform sent more than it declared", error_class=ErrorClass.TRANSIENT)
                stream.write(block)
            stream.flush()
            os.fsync(stream.fileno())
    whole = expected if size is None else size
    if not _complete(part, whole, checksum):
        found = part.stat().st_size
        if whole is None or found >= whole:
            part.unlink()  # whole, but wrong: continuing it cannot help
        raise PlatformError(
            f"a download broke off or is damaged ({found} of {whole} bytes)", error_class=ErrorClass.TRANSIENT
        )
    part.replace(target)


def _expected_size(headers: Mapping[str, str], already: int) -> int | None:
    if headers.get("Content-Encoding") or not headers.get("Content-Length", "").isdigit():
        return None
    return already + int(headers["Content-Length"])


def _complete(path: Path, size: int | None, checksum: str) -> bool:
    if size is not None and path.stat().st_size != size:
        return False
    if checksum.startswith(_SHA256_MULTIHASH) and len(checksum) == 68:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == checksum[4:].lower()
    return True
