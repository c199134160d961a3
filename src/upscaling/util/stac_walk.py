"""Walk through STAC documents of any origin: catalogues, collections, items, item collections, and their assets.

The one implementation for results of openEO, OGC API - Processes and CWL packages, and for the items that are staged.
Callers say how a document is read and how a link becomes an address; nothing is fetched here.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import orjson

from upscaling.util.stac_assets import StacAsset, is_inline_picture, links_of, not_repeated
from upscaling.util.text import plain_text

__all__ = ["HrefError", "StacDocument", "StacWalk", "join", "kind_of", "local_target", "parse_json", "places_of"]

_FOLLOWED = {"item", "child"}
_OTHER_SCHEMES = {"data", "file", "javascript", "mailto"}
_LONGEST_ID = 500  # characters
_LONGEST_NAME = 255  # bytes of a file's name


class HrefError(ValueError):
    """A link that is no address; ``leads_out`` if it is one, but not of the web."""

    def __init__(self, message: str, *, leads_out: bool = False) -> None:
        super().__init__(message)
        self.leads_out = leads_out


@dataclass(frozen=True, slots=True)
class StacDocument:
    """One catalogue, collection or item.

    Attributes
    ----------
    kind
        ``Item``, ``Collection`` or ``Catalog``.
    base
        The address that its relative links count from.
    href
        Its own address; None for an item that came within another document.
    """

    kind: str
    content: Mapping[str, Any]
    base: str
    href: str | None


def kind_of(content: Any) -> str | None:
    """Return Catalog, Collection, Item or ItemCollection for a STAC document; None for anything else."""
    if not isinstance(content, Mapping):
        return None
    kind = content.get("type")
    if kind == "FeatureCollection":
        features = content.get("features")
        found = isinstance(features, list) and any(kind_of(feature) == "Item" for feature in features)
        return "ItemCollection" if found else None
    if kind == "Feature":
        return "Item" if isinstance(content.get("assets"), Mapping) else None
    if kind in ("Catalog", "Collection") and ("links" in content or "stac_version" in content):
        return str(kind)
    return "Collection" if "stac_version" in content and "extent" in content else None


def _linked_kind(content: Any) -> str | None:
    """Return what a document is that a catalogue links, also where it does not say so itself."""
    if not isinstance(content, Mapping):
        return None
    kind = content.get("type")
    named = {"FeatureCollection": "ItemCollection", "Feature": "Item", "Catalog": "Catalog", "Collection": "Collection"}
    if isinstance(kind, str) and kind in named:
        return named[kind]
    if isinstance(content.get("features"), list):
        return "ItemCollection"
    if isinstance(content.get("properties"), Mapping) and isinstance(content.get("assets"), Mapping):
        return "Item"
    return "Catalog" if "links" in content or isinstance(content.get("assets"), Mapping) else None


def parse_json(text: bytes) -> Any:
    """Return the content of a JSON document; None where it is none.

    Halves of characters become question marks, and NaN, which no JSON has but many programs write, null. It may also
    begin with a byte order mark, or be UTF-16. Items in a list, or one a line, are an item collection.
    """
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError:
        content = _leniently(text)
    items = content
    if content is None and text.count(b"\n{"):
        items = [_leniently(line) for line in text.splitlines() if line.strip()]
    if isinstance(items, list) and items and all(kind_of(item) == "Item" for item in items):
        return {"type": "FeatureCollection", "features": items}
    return content


def _leniently(text: bytes) -> Any:
    try:
        plain = text.decode(json.detect_encoding(text), "replace")
        content = json.loads(plain, parse_constant=lambda _name: None)
        return orjson.loads(json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def join(base: str, href: str) -> str:
    """Return the address of a link in a document of the web or of object storage.

    Raises
    ------
    HrefError
        It is no address, or leads out of the web.
    """
    own, _, rest = base.partition("://")
    try:
        scheme = urlsplit(href).scheme.lower()
        plain = f"./{href}" if scheme else href  # "T10:15:59.tif" is a name
        # the standard library joins no s3 addresses
        joined = f"{own}://{urljoin(f'http://{rest}', plain).removeprefix('http://')}"
    except ValueError:
        raise HrefError(f"has a link that is no address: {_shown(href)}") from None
    if scheme in ("http", "https", "s3"):
        return href
    if href.partition(":")[2].startswith("//") or scheme in _OTHER_SCHEMES:
        raise HrefError(f"links to {_shown(href)}, which is not of the web", leads_out=True)
    return joined


def local_target(base: Path, href: str) -> Iterator[Path]:
    """Yield the paths that a link of a local document may mean: as it is written, decoded, without query or fragment.

    None is looked at here: whoever asks takes the first that is there, if it is allowed.
    """
    plain = href.removeprefix("file://").removeprefix("file:")
    short = re.split(r"[?#]", plain, maxsplit=1)[0]
    names = [plain, unquote(plain), short, unquote(short), unquote(short).strip().replace("\\", "/")]
    # some tools and systems write letters with accents as two characters
    names += [unicodedata.normalize(form, unquote(short)) for form in ("NFC", "NFD")]
    for name in dict.fromkeys(names):
        longest = max(len(part.encode("utf-8", "replace")) for part in name.split("/"))
        if name and "\0" not in name and longest <= _LONGEST_NAME:
            yield base.parent / name


def places_of(href: str, documents: Mapping[str, Any]) -> Iterator[Path]:
    """Yield where a file is by the addresses that local documents give themselves (``self``).

    A catalogue may be written with the addresses that it is to have one day, or with those that it had in a container.

    Parameters
    ----------
    documents
        Path -> content.
    """
    if not href.startswith("/") and "://" not in href:
        return
    for path, content in documents.items():
        for link in links_of(content, "self"):
            own = link["href"]
            folder = f"{own.rpartition('/')[0]}/" if "/" in own.lstrip("./") else ""
            if len(folder) > 1 and href.startswith(folder):
                yield from local_target(Path(path), href.removeprefix(folder))


def _shown(href: str) -> str:
    """Return an address without query and log-in; of a path of this machine the name alone."""
    plain = href.partition("?")[0]
    scheme, found, rest = plain.partition("://")
    if not found:
        return plain_text(plain.rpartition("/")[2] or plain)
    host, slash, path = rest.partition("/")
    return plain_text(f"{scheme}://{host.rpartition('@')[2]}{slash}{path}")


@dataclass
class StacWalk:
    """Reads each document once, and remembers what it had to leave out.

    Parameters
    ----------
    read
        Returns the parsed content behind an address; None where it is no JSON. It raises what the caller wants.
    join
        Returns the address of a link, from the address of its document. A HrefError leaves the link out.
    refuse
        Called with one line for a document that is linked and is no STAC: it may raise, else the document is left out.
    most
        Documents that may be read; ``too_many`` is called with the number when there are more, and raises.
    locate
        Returns where an asset is, from the address of its document and the asset object; without it, by ``join``.
    """

    read: Callable[[str], Any]
    join: Callable[[str, str], str]
    refuse: Callable[[str], None]
    most: int
    too_many: Callable[[int], None]
    locate: Callable[[str, Mapping[str, Any]], str] | None = None
    left_out: list[str] = field(default_factory=list)
    derived_from: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def documents(self, start: str, content: Any = None) -> Iterator[StacDocument]:
        """Yield every item, collection and catalogue from a start on, depth first, in the order of the links.

        Parameters
        ----------
        content
            Of the start, if it was read already.
        """
        waiting: list[_Visit] = [_Visit(start, None, content)]
        if content is None:
            self.seen.add(start)
        while waiting:
            visit = waiting.pop()
            content = self.read(visit.href) if visit.content is None else visit.content
            kind = _linked_kind(content)
            if kind is None:
                self.refuse(f"{_shown(visit.href)} is no STAC catalogue, collection or item")
            elif kind == "ItemCollection":
                yield from self._features(content, visit.href)
                waiting += self._following(visit, content, {"next"})
            else:
                yield StacDocument(kind, content, visit.href, visit.href)
                if kind != "Item":
                    waiting += self._following(visit, content, _FOLLOWED) or self._following(visit, content, {"items"})

    def _features(self, content: Mapping[str, Any], href: str) -> Iterator[StacDocument]:
        features = content.get("features")
        if not isinstance(features, list):
            self.left_out.append(f"{_shown(href)} is an item collection without a list of features")
            return
        for number, item in enumerate(features):
            if isinstance(item, Mapping):
                yield StacDocument("Item", item, href, None)
            else:
                self.left_out.append(f"feature {number} of {_shown(href)} is no object")

    def _following(self, visit: _Visit, content: Mapping[str, Any], rels: set[str]) -> list[_Visit]:
        """Return the documents that one links, the first last; each is named once in a walk."""
        links = content.get("links")
        if not isinstance(links, list) and (links is not None or (rels is _FOLLOWED and not content.get("assets"))):
            self.left_out.append(f"the links of {_shown(visit.href)} are no list")
        found = []
        for link in links if isinstance(links, list) else ():
            rel = link.get("rel") if isinstance(link, Mapping) else None
            if not isinstance(rel, str):
                self.left_out.append(f"a link of {_shown(visit.href)} has no rel")
                continue
            if rel not in rels or not isinstance(link, Mapping):
                continue
            if not isinstance(link.get("href"), str):
                self.left_out.append(f"a link of {_shown(visit.href)} with rel {rel} has no href")
                continue
            try:
                href = self.join(visit.href, link["href"])
            except HrefError as error:
                self.left_out.append(f"{_shown(visit.href)} {error}")
                continue
            if href not in self.seen:
                self.seen.add(href)
                found.append(_Visit(href, visit))
            elif visit.is_below(href):
                self.left_out.append(f"{_shown(visit.href)} contains {_shown(href)}, which contains it")
            if len(self.seen) > self.most:
                self.too_many(len(self.seen))
        return found[::-1]

    def assets(self, documents: Iterable[StacDocument], *, most: int) -> list[StacAsset]:
        """Return the files that documents name, each once; those of items first, as an item knows the time of its file.

        Parameters
        ----------
        most
            Assets; ``too_many`` is called when there are more.
        """
        own: dict[str, StacAsset] = {}
        of_collections: dict[str, StacAsset] = {}
        for document in documents:
            self.derived_from += [link["href"] for link in links_of(document.content, "derived_from")]
            listing = own if document.kind == "Item" else of_collections
            for address, asset in self._listed(document):
                listing.setdefault(address, asset)
                if len(own) + len(of_collections) > most:
                    self.too_many(len(own) + len(of_collections))
        return [*own.values(), *not_repeated(own, of_collections)]

    def _listed(self, document: StacDocument) -> Iterator[tuple[str, StacAsset]]:
        content, where = document.content, f"{document.kind.lower()} {plain_text(document.content.get('id'), 80)}"
        given = content.get("assets")
        if isinstance(given, list):
            given = {str(number): asset for number, asset in enumerate(given)}
        if not isinstance(given, Mapping):
            if document.kind == "Item" or given is not None:
                self.left_out.append(f"{where} has no assets that can be read")
            return
        properties = content.get("properties") if document.kind == "Item" else None
        properties = properties if isinstance(properties, Mapping) else {}
        for key, asset in given.items():
            if not isinstance(asset, Mapping) or not isinstance(asset.get("href"), str) or not asset["href"].strip():
                self.left_out.append(f"asset {plain_text(key, 80)} of {where} has no href")
                continue
            if is_inline_picture(asset):
                self.left_out.append(f"asset {plain_text(key, 80)} of {where} is no file: it is in the document itself")
                continue
            try:
                href = address = self.join(document.base, asset["href"])
                href = self.locate(document.base, asset) if self.locate else href
            except HrefError as error:
                self.left_out.append(f"asset {plain_text(key, 80)} of {where} {error}")
                continue
            holder = str(content.get("id") or "")[:_LONGEST_ID]
            place = {"bbox": content["bbox"]} if document.kind == "Item" and "bbox" in content else {}
            yield address, StacAsset(str(key), href, document.base, asset, properties, holder, place)


@dataclass(frozen=True, slots=True)
class _Visit:
    """A document to be read, and the one that links it."""

    href: str
    parent: _Visit | None
    content: Any = None

    def is_below(self, href: str) -> bool:
        visit: _Visit | None = self
        while visit is not None and visit.href != href:
            visit = visit.parent
        return visit is not None
