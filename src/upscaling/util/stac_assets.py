"""The files that STAC documents name: which of them are a result, which are listed twice, and what is said of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from upscaling.util.file_families import families
from upscaling.util.text import plain_text

__all__ = [
    "StacAsset",
    "described",
    "file_name",
    "is_inline",
    "is_inline_picture",
    "links_of",
    "not_repeated",
    "select",
    "stac_bands",
    "unsigned",
]

_SIDE_ROLES = frozenset({"metadata", "overview", "thumbnail"})
_PLACE = ("proj:code", "proj:epsg", "proj:wkt2", "proj:bbox", "proj:shape", "bbox")
_LONGEST_TEXT = 500  # characters of a name, title or role
# What a signature adds to an address: two addresses that differ in nothing else lead to one file.
_SIGNATURE = re.compile(
    r"expires|expiry|signature|sig|x-(amz|goog)-.*|awsaccesskeyid|googleaccessid|key-pair-id|policy|token|access_token"
    r"|s[eprvt]|spr|sk(oid|tid|t|e|s|v)",
    re.IGNORECASE,
)
_SIGNED_SEGMENT = re.compile(r"[0-9a-f]{32,128}")


def links_of(content: Any, rel: str) -> Iterator[Mapping[str, Any]]:
    """Yield the links of a document that have a relation and an address; what is no link is passed over."""
    links = content.get("links") if isinstance(content, Mapping) else None
    for link in links if isinstance(links, list) else ():
        if isinstance(link, Mapping) and link.get("rel") == rel and isinstance(link.get("href"), str):
            yield link


@dataclass(frozen=True, slots=True)
class StacAsset:
    """One file that a document names.

    Attributes
    ----------
    href
        Its address, as ``StacWalk.locate`` gives it.
    fields
        The asset object.
    properties
        Of its item; empty for an asset of a collection.
    item
        Id of its item or collection.
    place
        The box of its item, in degrees.
    """

    key: str
    href: str
    base: str
    fields: Mapping[str, Any]
    properties: Mapping[str, Any] = field(default_factory=dict)
    item: str = ""
    place: Mapping[str, Any] = field(default_factory=dict)

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that the document gives it."""
        roles = self.fields.get("roles")
        return tuple(_text(role) for role in roles if isinstance(role, str)) if isinstance(roles, list) else ()


def is_inline(href: str) -> bool:
    """Return whether an address is itself what it leads to (``data:``), as small pictures are."""
    return href.lstrip()[:5].lower() == "data:"


def is_inline_picture(fields: Mapping[str, Any]) -> bool:
    """Return whether an asset is no result, and no file either: a preview that stands in the document itself."""
    roles = fields.get("roles")
    side = isinstance(roles, list) and bool(roles) and {str(role).lower() for role in roles} <= _SIDE_ROLES
    return side and is_inline(str(fields.get("href")))


def file_name(href: str) -> tuple[str, str]:
    """Return the folder and the name that an address gives a file: hints, never a path of this machine.

    Where the path names no file (``download?file=a.tif``), a parameter of the query may.
    """
    try:
        parts = urlsplit(href)
    except ValueError:
        return "", ""
    path = unquote(parts.path)
    folder, _, name = path.rpartition("/")
    if "." not in name:
        named = [value for _, value in parse_qsl(parts.query) if re.search(r"\.[A-Za-z0-9]{1,8}$", value)]
        if named:
            folder, _, name = f"{path}/{named[0]}".rpartition("/")
    return f"{parts.netloc}{folder}", name


def not_repeated(own: Mapping[str, StacAsset], others: Mapping[str, StacAsset]) -> Iterator[StacAsset]:
    """Yield the assets of collections that no item lists too.

    An openEO platform lists a file in its item and in the collection, each time with another signature.
    """
    names = [unsigned(address, asset.key) for address, asset in own.items()]
    left = Counter(names)
    facts = {name: _declared(asset) for name, asset in zip(names, own.values(), strict=True)}
    for address, asset in others.items():
        name = unsigned(address, asset.key)
        if address in own:
            left[name] -= 1
            continue
        declared = zip(facts.get(name, ()), _declared(asset), strict=False)
        conflict = any(first and second and first != second for first, second in declared)
        if left[name] > 0 and not conflict:
            left[name] -= 1
            continue
        yield asset


def _declared(asset: StacAsset) -> tuple[Any, Any]:
    return asset.fields.get("file:size"), asset.fields.get("file:checksum")


def unsigned(address: str, key: str) -> tuple[str, str]:
    """Return an address without its signature; and the asset's key, where what is left names no file."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return address, ""
    query = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in query if not _SIGNATURE.fullmatch(name)]
    signed = len(kept) < len(query)
    segments = parts.path.split("/")
    if signed:
        segments = ["" if _SIGNED_SEGMENT.fullmatch(segment) else segment for segment in segments]
    plain = urlunsplit((parts.scheme, parts.netloc, "/".join(segments), urlencode(kept), parts.fragment))
    names_a_file = "." in segments[-1] and not kept
    return plain, "" if names_a_file or not signed else key


def select(assets: Iterable[StacAsset]) -> tuple[list[StacAsset], list[str]]:
    """Return the assets that are a result, and a line for each that is left out.

    What has a role beside metadata, overview and thumbnail, or no role, is a result, with the files that belong to it
    (a mask, a world file). Where there is none, overviews and metadata are; thumbnails only where there is nothing
    else.
    """
    every = list(assets)
    ranks = [_rank(asset) for asset in every]
    best = min(ranks, default=0)
    chosen = {index for index, rank in enumerate(ranks) if rank == best}
    names = [file_name(asset.href) for asset in every]
    for folder in {folder for folder, _ in names}:
        here = {name: index for index, (place, name) in enumerate(names) if place == folder}
        for part, main in families(here).items():
            if here[main] in chosen:
                chosen.add(here[part])
    left = [
        f"{plain_text(asset.key, 80)}: has the role {' and '.join(asset.roles)}, beside results"
        for index, asset in enumerate(every)
        if index not in chosen
    ]
    return [asset for index, asset in enumerate(every) if index in chosen], left


def _rank(asset: StacAsset) -> int:
    roles = {role.lower() for role in asset.roles}
    if not roles or roles - _SIDE_ROLES:
        return 0
    return 2 if roles == {"thumbnail"} else 1


def described(asset: StacAsset) -> dict[str, Any]:
    """Return what a document says of a file, as the fields of a FetchedAsset (all but its path)."""
    said = {**asset.place, **asset.properties, **asset.fields}
    times = {name: said.get(name) for name in ("datetime", "start_datetime", "end_datetime")}
    return {
        "key": _text(asset.key),
        "media_type": _text(asset.fields.get("type")),
        "roles": asset.roles or ("data",),
        "title": _text(asset.fields.get("title")),
        "bands": stac_bands(asset.fields),
        "origin": "/".join(file_name(asset.href)),
        "stated": {name: value for name, value in said.items() if name in _PLACE},
        **{name: value for name, value in times.items() if isinstance(value, str)},
    }


def stac_bands(fields: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return STAC 1.1 bands, also from the eo:bands and raster:bands of STAC 1.0; where both are there, together."""
    optical, raster, newer = (
        [band if isinstance(band, Mapping) else {} for band in value] if isinstance(value, list) else []
        for value in (fields.get("eo:bands"), fields.get("raster:bands"), fields.get("bands"))
    )
    bands: list[dict[str, Any]] = [{} for _ in range(max(len(optical), len(raster), len(newer)))]
    for band, old in zip(bands, optical, strict=False):
        band.update({key if key in ("name", "description") else f"eo:{key}": value for key, value in old.items()})
    for band, old in zip(bands, raster, strict=False):
        common = {"nodata", "data_type", "statistics", "unit"}  # moved into the core by STAC 1.1
        common |= {"name"} - set(band)  # the name that it is known by is the one of eo:bands
        band.update({key if key in common else f"raster:{key}": value for key, value in old.items()})
    for band, new in zip(bands, newer, strict=False):
        band.update(new)
    return tuple(bands)


def _text(value: Any) -> str:
    return value[:_LONGEST_TEXT] if isinstance(value, str) else ""
