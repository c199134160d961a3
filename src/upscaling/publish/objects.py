"""What is published of a run: which files, under which keys, and their STAC documents with absolute hrefs."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import orjson

from upscaling.errors import UpscalingError
from upscaling.results.media_types import COG_MEDIA_TYPE, MEDIA_TYPES
from upscaling.results.shapes import read_stac
from upscaling.results.table import item_rows, write_rows
from upscaling.util.files import SHA256_MULTIHASH, link_out, sha256_file, size_of

__all__ = ["Product", "Published"]

_GEOJSON = MEDIA_TYPES[".geojson"]
_TYPES = {
    **MEDIA_TYPES,
    ".tif": COG_MEDIA_TYPE,
    ".cwl": "application/cwl+yaml",
    ".vrt": "application/x-gdal-vrt+xml",
}
_BATCH = 2_000
_STRUCTURE = {"root", "parent", "collection", "item", "child", "self"}  # links between STAC documents


@dataclass(frozen=True, slots=True)
class Published:
    """One object: its key below the prefix, its content (a file, or bytes), media type, size in bytes and sha256."""

    key: str
    content: Path | bytes
    media_type: str
    size: int
    sha256: str


class Product:
    """A run's collection, its items and files, as they are to be seen in public.

    Parameters
    ----------
    base
        Address that every href begins with, without a slash at its end.

    Raises
    ------
    UpscalingError
        From its methods: there is no collection, a document cannot be read, a file is missing or has another size
        than its item says, or lies outside the run's folder.
    """

    def __init__(self, run_folder: Path, base: str) -> None:
        self.folder, self.base = run_folder.resolve(), base.rstrip("/")
        if not (self.folder / "collection.json").is_file():
            raise UpscalingError(f"there is no {run_folder / 'collection.json'}: there is nothing to publish yet")
        self._inside(self.folder / "collection.json", "collection.json")

    def collections(self) -> list[Path]:
        """Return all collections, each after those below it; the root is the last."""
        return list(self._below(self.folder / "collection.json"))

    def items(self) -> Iterator[dict[str, Any]]:
        """Yield every item with absolute hrefs."""
        for path in self._item_paths():
            yield self.public(path)

    def keys(self) -> dict[str, str]:
        """Return the id of every item, and the key of the work that made it."""
        items = (_read(path) for path in self._item_paths())
        return {str(item.get("id")): str(item.get("properties", {}).get("upscaling:key")) for item in items}

    def assets(self) -> Iterator[Published]:
        """Yield every file that an item, a collection or a mosaic is made of, once."""
        seen: set[str] = set()
        documents = (path for paths in (self._item_paths(), self.collections()) for path in paths)
        for document in documents:
            for published in self._files_of(document):
                if published.key not in seen:
                    seen.add(published.key)
                    yield published
        for path in sorted((self.folder / "mosaic").rglob("*")):
            if path.is_file() and not path.name.startswith(".") and self._key(path) not in seen:
                yield self._file(path)

    def item_objects(self) -> Iterator[Published]:
        """Yield every item as an object."""
        for path in self._item_paths():
            yield self.document(path, self.public(path))

    def document(self, path: Path, content: Any) -> Published:
        """Return a JSON document as an object at a file's place."""
        text = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        media_type = _GEOJSON if path.name == "item.json" else "application/json"
        return Published(self._key(path), text, media_type, len(text), sha256(text).hexdigest())

    def public(self, path: Path) -> dict[str, Any]:
        """Return an item or a collection with absolute hrefs, and the link ``self``."""
        content = _read(path)
        own = self._url(path)
        for entry in (*content.get("links", ()), *content.get("assets", {}).values()):
            if not _absolute(entry["href"]):
                entry["href"] = self._url(self._inside(path, entry["href"]))
        kind = _GEOJSON if content["type"] == "Feature" else "application/json"
        links = [link for link in content.get("links", ()) if link["rel"] != "self"]
        content["links"] = [{"rel": "self", "href": own, "type": kind}, *links]
        return content

    def tables(self, scratch: Path) -> Iterator[tuple[Path, Published]]:
        """Yield, for each collection with a table of items, the collection and that table with absolute hrefs."""
        for collection in self.collections():
            table = _table(_read(collection))
            if table is None:
                continue
            place = self._inside(collection, table["href"])
            path = scratch / f"{len(list(scratch.iterdir()))}.parquet"
            items = (self.public(item) for item in self._item_paths(collection))
            write_rows(map(item_rows, _batches(items)), path)
            if path.is_file():
                media_type = str(table.get("type") or _TYPES[".parquet"])
                yield collection, Published(self._key(place), path, media_type, path.stat().st_size, sha256_file(path))

    def collection(self, path: Path, table: Published | None) -> dict[str, Any]:
        """Return a collection with absolute hrefs, which says of its table what that is like now."""
        content = self.public(path)
        described = _table(content)
        if described is not None and table is not None:
            described |= {"file:size": table.size, "file:checksum": f"{SHA256_MULTIHASH}{table.sha256}"}
        return content

    def _below(self, collection: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
        if collection in above:
            raise UpscalingError(f"{collection} is a child of itself")
        for link in _read(collection).get("links", ()):
            if link["rel"] == "child":
                yield from self._below(self._inside(collection, link["href"]), (*above, collection))
        yield collection

    def _item_paths(self, collection: Path | None = None) -> Iterator[Path]:
        for path in self._below(collection or self.folder / "collection.json"):
            for link in _read(path).get("links", ()):
                if link["rel"] == "item":
                    yield self._inside(path, link["href"])

    def _files_of(self, document: Path) -> Iterator[Published]:
        """Yield the files that a document points to: its assets, and by links what is no STAC document."""
        content = _read(document)
        for asset in content.get("assets", {}).values():
            if not _absolute(asset["href"]) and asset is not _table(content):
                yield from self._files_at(self._inside(document, asset["href"]), asset)
        for link in content.get("links", ()):
            if link["rel"] not in _STRUCTURE and not _absolute(link["href"]):
                yield self._file(self._inside(document, link["href"]))

    def _files_at(self, path: Path, said: dict[str, Any]) -> Iterator[Published]:
        """Yield the file that an asset is, or all files of a Zarr store."""
        if not path.is_dir():
            yield self._file(path, said)
            return
        self._see_that_it_is_whole(path, size_of(path), said)
        for part in sorted(path.rglob("*")):
            if part.is_file():
                yield self._file(part)

    def _see_that_it_is_whole(self, path: Path, size: int, said: dict[str, Any]) -> None:
        if said.get("file:size") not in (None, size):
            raise UpscalingError(
                f"{path} has {size} bytes; its item says {said['file:size']}: delete its tile, run again"
            )

    def _file(self, path: Path, said: dict[str, Any] | None = None) -> Published:
        said = said or {}
        try:
            size = path.stat().st_size
        except OSError as error:
            raise UpscalingError(f"{path} cannot be published: {error.strerror}") from None
        if (outside := link_out(path, self.folder)) is not None:  # of a folder that is listed: no href said so
            raise UpscalingError(f"{path} is a link to {outside}, outside the run's folder")
        self._see_that_it_is_whole(path, size, said)
        stated = str(said.get("file:checksum") or "")
        known = stated.removeprefix(SHA256_MULTIHASH) if stated.startswith(SHA256_MULTIHASH) else ""
        guessed = _TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        media_type = str(said.get("type") or guessed)
        return Published(self._key(path), path, media_type, size, known or sha256_file(path))

    def _key(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _url(self, path: Path) -> str:
        return f"{self.base}/{quote(self._key(path))}"

    def _inside(self, document: Path, href: str) -> Path:
        try:
            path = (document.parent / href).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # links in a circle, a name with a NUL
            raise UpscalingError(f"{document} points to {href}, which cannot be found: {error}") from None
        if not path.is_relative_to(self.folder):
            raise UpscalingError(f"{document} points to {href}, outside the run's folder")
        return path


def _batches(items: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(islice(items, _BATCH)):
        yield batch


def _read(path: Path) -> dict[str, Any]:
    content = read_stac(path)
    if not isinstance(content.get("type"), str):
        raise UpscalingError(f"{path} is no STAC document: it has no type")
    return content


def _absolute(href: str) -> bool:
    return bool(urlsplit(href).scheme) or href.startswith("/")


def _table(stac: dict[str, Any]) -> dict[str, Any] | None:
    """Return the asset that is the table of a collection's items."""
    assets = stac.get("assets", {}).values()
    return next((asset for asset in assets if "stac-items" in (asset.get("roles") or ())), None)
