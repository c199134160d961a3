"""What a collection says about its items, kept while they stream by; it can be put together and kept in a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from upscaling.results.outputs_table import output_row
from upscaling.results.profile import item_problems

if TYPE_CHECKING:
    from upscaling.config.collection import Expect

__all__ = ["OF_THE_ALGORITHM", "Gathered", "Way", "sorted_json"]

# Links of the items that are also the collection's.
OF_THE_ALGORITHM = {"processing-expression", "about"}
SUMMARISED = ("nodata", "proj:code", "processing:level")
SHOWN = 4
# Facts of one tile; all else of an asset must be the same in every tile.
OF_ONE_TILE = ("file:", "proj:", "cube:", "table:row_count")


def sorted_json(value: Any) -> str:
    """Return JSON that is the same for equal values."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


@dataclass(slots=True)
class Way:
    """One way in which an asset is described: the first tile that does so, and how many do."""

    tile: str
    asset: dict[str, Any]
    count: int = 1


@dataclass(slots=True)
class Gathered:
    """Facts about some items of a collection.

    Attributes
    ----------
    processed
        When the last of them was made.
    missing
        Tile → why it is not among the items.
    outputs
        A row for each item with values.
    faults
        Requirement and what is wrong → [number of items, the first of them].
    """

    items: list[str] = field(default_factory=list)
    nodata: int = 0
    boxes: list[list[float]] = field(default_factory=list)
    start: str = "9999"
    end: str = ""
    processed: str = ""
    values: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in SUMMARISED})
    software: set[str] = field(default_factory=set)
    assets: dict[str, dict[str, Way]] = field(default_factory=dict)
    links: list[dict[str, Any]] = field(default_factory=list)
    faults: dict[str, list[Any]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    outputs: list[dict[str, str]] = field(default_factory=list)

    def add(self, item: dict[str, Any], *, expect: Expect | None = None) -> None:
        """Take in one item, whose links are as seen from the collection."""
        properties, tile = item["properties"], item["id"]
        if not self.items:
            self.links = [link for link in item["links"] if link["rel"] in OF_THE_ALGORITHM]
        self.items.append(tile)
        self.nodata += bool(properties.get("upscaling:nodata"))
        if item["geometry"] is not None:
            self.boxes.append(item["bbox"])
        for fault in item_problems(item):
            self._fault(fault, tile)
        self.start = min(self.start, properties["start_datetime"])
        self.end = max(self.end, properties["end_datetime"])
        self.processed = max(self.processed, properties.get("processing:datetime", ""))
        for name, seen in self.values.items():
            if properties.get(name) is not None:
                seen.add(properties[name])
        self.software.add(sorted_json(properties.get("processing:software", {})))
        for key, asset in item["assets"].items():
            template = {name: asset[name] for name in asset if name != "href" and not name.startswith(OF_ONE_TILE)}
            if "bands" in template and "nodata" in properties:  # which they inherit
                template["bands"] = [{"nodata": properties["nodata"], **band} for band in template["bands"]]
            self._add_way(key, sorted_json(template), Way(tile, template))
        row = output_row(item)
        if row is not None:
            self.outputs.append(row)
        for line in properties.get("upscaling:unchecked", ()):
            self._fault(f"asset {line}", tile)
        valid = properties.get("upscaling:valid_fraction")
        if expect and expect.valid is not None and valid is not None and valid < expect.valid:
            self._fault(f"collection.expect.valid: less than {expect.valid:.0%} of the pixels are valid", tile)

    def _add_way(self, key: str, text: str, way: Way) -> None:
        known = self.assets.setdefault(key, {}).setdefault(text, way)
        if known is not way:
            known.count += way.count

    def _fault(self, fault: str, tile: str, count: int = 1) -> None:
        entry = self.faults.setdefault(fault, [0, tile])
        entry[0] += count

    def merge(self, other: Gathered) -> None:
        """Take in the facts about further items, which are used up."""
        if not self.items:
            self.links = other.links
        self.items += other.items
        self.nodata += other.nodata
        self.boxes += other.boxes
        self.start, self.end = min(self.start, other.start), max(self.end, other.end)
        self.processed = max(self.processed, other.processed)
        for name, values in other.values.items():
            self.values[name] |= values
        self.software |= other.software
        for key, ways in other.assets.items():
            for text, way in ways.items():
                self._add_way(key, text, way)
        for fault, (count, tile) in other.faults.items():
            self._fault(fault, tile, count)
        self.missing |= other.missing
        self.outputs += other.outputs

    def problems(self, *, expect: Expect | None = None) -> Iterator[str]:
        """Say, one line each, in which ways the items are not alike, or not as they were expected to be."""
        with_data = len(self.items) - self.nodata
        for key in sorted(self.assets):
            ways = list(self.assets[key].values())
            if len(ways) > 1:
                tiles = f"first in tiles {ways[0].tile} and {ways[1].tile}"
                yield f"STAC-REC-03: asset {key} is described in {len(ways)} ways, {tiles}: {_differences(ways)}"
            count = sum(way.count for way in ways)
            if count < with_data:
                yield f"STAC-REC-03: asset {key} is in {count} of {with_data} tiles with data"
            if expect:
                for way in ways:
                    yield from _unexpected(key, way, expect)
        for fault, (count, tile) in sorted(self.faults.items()):
            yield f"{fault} ({count} of {len(self.items)} tiles, first {tile})"

    def dumps(self) -> bytes:
        """Return everything as JSON."""
        return orjson.dumps(self, default=sorted)  # the sets

    @classmethod
    def loads(cls, text: bytes) -> Gathered:
        """Return what `dumps` wrote."""
        facts = orjson.loads(text)
        facts["values"] = {name: set(seen) for name, seen in facts["values"].items()}
        facts["software"] = set(facts["software"])
        facts["assets"] = {
            key: {name: Way(**way) for name, way in ways.items()} for key, ways in facts["assets"].items()
        }
        return cls(**facts)


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, inner in enumerate(value, 1):
            yield from _flat(inner, f"{path}[{number}]")
    else:
        yield path, value


def _differences(ways: list[Way]) -> str:
    """Name the facts in which the ways differ, with the number of tiles of each."""
    flat = [dict(_flat(way.asset)) for way in ways]
    names = sorted({name for facts in flat for name in facts if any(other.get(name) != facts[name] for other in flat)})
    told = []
    for name in names[:SHOWN]:
        counts: dict[str, int] = {}
        for facts, way in zip(flat, ways, strict=True):
            text = str(facts.get(name, "none"))[:60]
            counts[text] = counts.get(text, 0) + way.count
        shown = [f"{text} ({count})" for text, count in list(counts.items())[:SHOWN]]
        told.append(f"{name} {' / '.join(shown)}" + (" …" if len(counts) > SHOWN else ""))
    return "; ".join(told) + (f"; and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _unexpected(key: str, way: Way, expect: Expect) -> Iterator[str]:
    bands = way.asset.get("bands")
    if bands is None:
        return
    where = f"asset {key} ({way.count} tiles, first {way.tile})"
    types = sorted({str(band.get("data_type")) for band in bands})
    if expect.dtype and types != [expect.dtype]:
        yield f"collection.expect.dtype: {where} is {', '.join(types)}, not {expect.dtype}"
    if expect.bands is not None and len(bands) != expect.bands:
        yield f"collection.expect.bands: {where} has {len(bands)} bands, not {expect.bands}"
    found = {band.get("nodata", "none") for band in bands}
    if expect.nodata is not None and found != {expect.nodata}:
        shown = ", ".join(sorted(map(str, found)))
        yield f"collection.expect.nodata: {where} has nodata {shown}, not {expect.nodata}"
