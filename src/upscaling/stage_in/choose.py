"""Which of the items found a tile gets: in its place and time, as filtered, in order, and no more than asked for."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import shapely
from shapely.geometry import box, shape

from upscaling.config.stage_in import Search
from upscaling.errors import ConfigError
from upscaling.stage_in.sources import Box, Said, Span, conditions, is_local, joined
from upscaling.stage_in.web import FetchError, is_remote
from upscaling.util.files import digest
from upscaling.util.stac_assets import is_inline, links_of

__all__ = [
    "SOURCE",
    "Choice",
    "Pinned",
    "fits",
    "instant",
    "overlaps",
    "pin",
    "pinned_document",
    "span_of",
    "spans_merged",
    "within",
]

SOURCE = "upscaling:source"
"""Key of a pinned item with its own address on the web."""
_SLIVER = 1e-6  # share of the smaller area


@dataclass(frozen=True, slots=True)
class Pinned:
    """What the plan knows of an item.

    Attributes
    ----------
    digest
        Of what a tile's result depends on: collection, id, and address, size and checksum of the assets in use.
    shape
        Its outline (shapely, EPSG:4326); None for an item without a place.
    start, end
        Its time; the same where it has one.
    rank
        What it is ordered by.
    """

    digest: str
    id: str
    collection: str
    href: str | None
    shape: Any
    start: dt.datetime | None
    end: dt.datetime | None
    rank: Any


def fits(said: Said, search: Search, boxes: Sequence[Box] | None, spans: Sequence[Span] | None) -> bool:
    """Return whether an item passes the filters, and may lie in one of the boxes and times; None for any."""
    item, properties = said.item, _properties(said.item)
    if search.collections and item.get("collection") not in search.collections:
        return False
    known = {**properties, "id": item.get("id"), "collection": item.get("collection")}
    if not all(_is(known.get(name), word, value) for name, word, value in conditions(search)):
        return False
    start, end = _times(properties)
    if spans is not None and not any(_meet(start, end, span_of(span, "time")) for span in spans):
        return False
    edges = _edges(item)
    if boxes is None or edges is None or edges[0] > edges[2]:
        return True
    west, south, east, north = edges
    return any(west <= e and east >= w and south <= n and north >= s for w, s, e, n in boxes)


def pin(said: Said, search: Search, document: Mapping[str, Any]) -> Pinned:
    """Return an item as the plan keeps it.

    Parameters
    ----------
    document
        The item as ``pinned_document`` made it.
    """
    item, properties = said.item, _properties(said.item)
    start, end = _times(properties)
    assets = {
        name: [asset["href"].partition("?")[0], asset.get("file:size"), asset.get("file:checksum")]
        for name, asset in document["assets"].items()
    }
    name = search.sort.removeprefix("-")
    known = {**properties, "id": item.get("id"), "collection": item.get("collection"), "datetime": start}
    return Pinned(
        digest=digest([str(item.get("collection") or ""), str(item.get("id")), assets])[:32],
        id=str(item.get("id") or ""),
        collection=str(item.get("collection") or ""),
        href=said.href,
        shape=_shape(item),
        start=start,
        end=end,
        rank=known.get(name),
    )


def _properties(item: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = item.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _times(properties: Mapping[str, Any]) -> tuple[dt.datetime | None, dt.datetime | None]:
    start = instant(properties.get("start_datetime") or properties.get("datetime"))
    end = instant(properties.get("end_datetime") or properties.get("datetime"))
    return start or end, end or start


def _meet(start: dt.datetime | None, end: dt.datetime | None, span: tuple[dt.datetime, dt.datetime]) -> bool:
    """Whether a time, which includes its end, shares a moment with a half-open one."""
    return start is not None and end is not None and start < span[1] and end >= span[0]


def pinned_document(said: Said, search: Search) -> dict[str, Any]:
    """Return what a staged catalogue is made of: the item with the assets in use, by absolute address.

    Raises
    ------
    FetchError
        For an asset that an item from the web says to lie on this machine.
    """
    item = said.item
    given = item.get("assets")
    assets: dict[str, Any] = {}
    for name, asset in (given if isinstance(given, Mapping) else {}).items():
        if search.assets and name not in search.assets:
            continue
        if not isinstance(asset, Mapping) or not isinstance(asset.get("href"), str):
            continue
        href = asset["href"]
        if is_inline(href):  # no file
            continue
        if not is_remote(href):
            if not is_local(search) and not is_remote(said.base):
                raise FetchError(f"item {item.get('id')} has no address that its asset {name} could be relative to")
            href = joined(said.base, href)
        assets[name] = {**asset, "href": href}
    missing = [name for name in search.assets if name not in assets]
    if missing:
        raise FetchError(f"item {item.get('id')} has no asset {missing[0]}; it has {', '.join(given or {}) or 'none'}")
    kept = ("type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "properties", "collection")
    collection = [
        {**link, "href": joined(said.base, link["href"])}
        for link in links_of(item, "collection")
        if is_remote(said.base)
    ]
    own = {SOURCE: said.href} if said.href and is_remote(said.href) else {}
    return {**{name: item[name] for name in kept if name in item}, "assets": assets, "links": collection[:1], **own}


def _is(value: Any, word: str, wanted: Any) -> bool:
    if word == "in":
        return any(_is(value, "eq", one) for one in wanted)
    if word == "neq":
        return not _is(value, "eq", wanted)
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (value, wanted))
    if word == "eq":
        return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)
    if not numbers and not (isinstance(value, str) and isinstance(wanted, str)):
        return False
    return bool({"lt": value < wanted, "lte": value <= wanted, "gt": value > wanted, "gte": value >= wanted}[word])


def instant(text: Any) -> dt.datetime | None:
    """Return an RFC 3339 moment or a date (its midnight) in UTC; None for what is neither."""
    if not isinstance(text, str):
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def span_of(span: Sequence[str], key: str) -> tuple[dt.datetime, dt.datetime]:
    """Return a half-open time as moments.

    Raises
    ------
    ConfigError
        If it is none.
    """
    start, end = instant(span[0]), instant(span[1])
    if start is None or end is None or start >= end:
        raise ConfigError(f"must be [start, end) with start before end (found {list(span)})", key=key)
    return start, end


def _edges(item: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """Return an item's box in degrees without heights; None for one that is no box."""
    edges = item.get("bbox")
    if not isinstance(edges, list) or len(edges) not in (4, 6):
        return None
    if not all(isinstance(edge, int | float) and not isinstance(edge, bool) and math.isfinite(edge) for edge in edges):
        return None
    return edges[0], edges[1], edges[len(edges) // 2], edges[len(edges) // 2 + 1]


def _shape(item: Mapping[str, Any]) -> Any:
    with suppress(ValueError, TypeError, AttributeError, LookupError, shapely.errors.ShapelyError):
        if item.get("geometry"):
            outline = shapely.make_valid(shape(item["geometry"]))
            west, _, east, _ = outline.bounds
            if east - west <= 180:
                return outline
            import antimeridian

            return shapely.make_valid(shape(antimeridian.fix_shape(dict(item["geometry"]), fix_winding=True)))
        edges = _edges(item)
        if edges is not None:
            west, south, east, north = edges
            if west <= east:
                return box(west, south, east, north)
            return shapely.union_all([box(west, south, 180, north), box(-180, south, east, north)])
    return None


class Choice:
    """The items found, ready to be asked by place and time.

    Parameters
    ----------
    limit
        The most that one answer holds, or None.
    descending
        Whether the largest rank comes first.
    """

    def __init__(self, items: Sequence[Pinned], *, limit: int | None, descending: bool) -> None:
        self.items = sorted(items, key=lambda item: (item.id, item.collection))
        ranked = [item for item in self.items if item.rank is not None]
        # numbers among texts: a catalogue's properties are what anybody wrote
        ranked.sort(key=lambda item: _sortable(item.rank), reverse=descending)
        self.items = [*ranked, *(item for item in self.items if item.rank is None)]
        self._limit = limit
        self._tree = shapely.STRtree([item.shape for item in self.items])
        self._near: tuple[Any, list[Pinned]] = (None, [])

    def at(self, geometry: Any, span: tuple[dt.datetime, dt.datetime] | None) -> list[Pinned]:
        """Return the items of a place and a time, in order.

        Parameters
        ----------
        geometry
            Outline (shapely, EPSG:4326), or None for everywhere; an item that only touches it is not in it.
        span
            Half-open.
        """
        if geometry is None:
            items = self.items
        elif self._near[0] is geometry:  # the steps of a tile follow each other
            items = self._near[1]
        else:
            near = sorted(int(index) for index in self._tree.query(geometry, predicate="intersects"))
            items = [self.items[index] for index in near if overlaps(self.items[index].shape, geometry)]
            self._near = geometry, items
        if span is not None:
            items = [item for item in items if within(item, span)]
        return items[: self._limit] if self._limit else items


def overlaps(shape: Any, geometry: Any) -> bool:
    """Whether an outline shares more with ``geometry`` than an edge, which after a reprojection is a sliver."""
    if shape is None or not shape.intersects(geometry):
        return False
    return bool(shape.area == 0 or shape.intersection(geometry).area > _SLIVER * min(shape.area, geometry.area))


def within(item: Pinned, span: tuple[dt.datetime, dt.datetime]) -> bool:
    """Whether an item's time, which includes its end, shares a moment with a half-open one."""
    return _meet(item.start, item.end, span)


def _sortable(rank: Any) -> tuple[int, Any]:
    if isinstance(rank, int | float) and not isinstance(rank, bool):
        return 0, float(rank)
    return (1, rank) if isinstance(rank, dt.datetime) else (2, str(rank))


def spans_merged(spans: Sequence[Span]) -> list[Span]:
    """Return times with those joined that meet or overlap, for fewer requests."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged
