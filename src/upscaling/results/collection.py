"""Gather the items of a run into one STAC 1.1 collection and a GeoParquet table, as a stream."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from upscaling.area.outline import union_bbox
from upscaling.errors import UpscalingError
from upscaling.results.cache import ItemCache, runs
from upscaling.results.gathered import Gathered
from upscaling.results.item import EXTENSIONS, collection_id
from upscaling.results.item_reader import ItemReader
from upscaling.results.outputs_table import file_asset, write_outputs
from upscaling.results.profile import collection_problems
from upscaling.results.table import TableError, write_rows
from upscaling.util.files import write_whole, written_whole

if TYPE_CHECKING:
    from upscaling.config.collection import AssetDescription, Expect

__all__ = [
    "CollectSummary",
    "CollectionMetadata",
    "about_links",
    "build_collection",
    "cannot_collect",
    "collect",
    "write_collection",
]

SHOWN = 5
# Problems that a collection lists; a log has them all.
KEPT_PROBLEMS = 100
# A collection must have a box, also one whose items have no place.
EVERYWHERE = [-180.0, -90.0, 180.0, 90.0]


class NothingDoneError(UpscalingError):
    """There is not a single item to gather."""


@dataclass(frozen=True, slots=True)
class CollectionMetadata:
    """What only the people who run it can say about a collection.

    Attributes
    ----------
    id
        ``[A-Za-z0-9._-]+``: the run's name.
    license
        SPDX identifier, or ``other`` with a link of relation ``license``.
    providers, links
        STAC objects as they are to be written.
    assets
        Asset key → what is said of it in every item.
    expect
        What every raster must be like.
    extra
        Further top-level fields (``sci:doi``, ``osc:project`` …) and, under ``stac_extensions``, their schemas.
    """

    id: str
    title: str
    description: str
    license: str = "other"
    providers: tuple[dict[str, Any], ...] = ()
    keywords: tuple[str, ...] = ()
    links: tuple[dict[str, Any], ...] = ()
    assets: Mapping[str, AssetDescription] = field(default_factory=dict)
    expect: Expect | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CollectSummary:
    """What was gathered.

    Attributes
    ----------
    missing
        Tile → why it is not in the collection; empty unless the collection is partial.
    problems
        One line for each way in which the items are not alike, not as expected, or not as APEx recommends.
    """

    collection: Path
    items: int
    nodata: int
    missing: dict[str, str]
    problems: tuple[str, ...]


@contextmanager
def _no_cycles() -> Iterator[None]:
    """Switch the search for reference cycles off: JSON has none, and looking for them takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@_no_cycles()
def collect(
    run_folder: Path,
    *,
    tiles: Sequence[str],
    keys: Mapping[str, str],
    metadata: CollectionMetadata,
    partial: bool = False,
    reasons: Mapping[str, str] | None = None,
    part: str = "",
) -> CollectSummary:
    """Write ``items.parquet``, the table of values and then ``collection.json`` into ``run_folder``, each by rename.

    Items are read from ``tiles/<tile>/item.json`` in batches, so memory does not grow with their number; those that
    have not changed since they were gathered last are not read again. An item that names another collection, or is
    described otherwise than ``metadata`` has it, is brought up to date on disk. The same items give the same bytes.

    Parameters
    ----------
    tiles
        Ids of all planned tiles (of the part).
    keys
        Tile → the key that the plan gives its work; an item made with another key is out of date.
    partial
        Gather what is there, and list the rest under ``upscaling:missing``.
    reasons
        Tile → why it failed, for that list.
    part
        Write the sub-collection of this part, into ``parts/<part>``, instead of the run's collection.

    Raises
    ------
    UpscalingError
        A tile is missing, out of date, or its item is damaged (unless ``partial``).
    NothingDoneError
        There is none at all.
    """
    home = run_folder / "parts" / part if part else run_folder
    home.mkdir(parents=True, exist_ok=True)
    planned = sorted(set(tiles))
    expect = metadata.expect
    said = [metadata.id, part, {key: asset.model_dump() for key, asset in metadata.assets.items()}]
    cache = ItemCache(home / "cache", [*said, expect.model_dump() if expect else None])
    gathered = Gathered()
    reader = ItemReader(run_folder, keys, part, metadata.id, metadata.assets, expect)

    def stream() -> Iterator[bytes]:
        for run in runs(planned):
            name = cache.name(run_folder, run, keys)
            known = cache.load(name)
            if known is None:
                known, changed = reader.gather(run)
                cache.store(cache.name(run_folder, run, keys) if changed else name, *known)
            gathered.merge(known[0])
            yield known[1]

    def check() -> dict[str, str]:
        cache.prune()
        missing = {tile: (reasons or {}).get(tile) or why for tile, why in gathered.missing.items()}
        if missing and not partial:
            raise UpscalingError(cannot_collect(missing, len(planned)))
        if not gathered.items:
            raise NothingDoneError(f"no tile of {home.name} is done: there is nothing to collect")
        return missing

    parquet = home / "items.parquet"
    missing, no_table = _write_table(stream(), parquet, check, needed=bool(part))
    problems = [*filter(None, [no_table]), *gathered.problems(expect=expect)]
    collection = build_collection(metadata, gathered, planned=len(planned), missing=missing, problems=problems)
    collection["id"] = collection_id(metadata.id, part)
    collection["assets"] = {**_table_asset(parquet, no_table), **write_outputs(gathered.outputs, home)}
    up = "../../" if part else "./"
    if part:
        collection["title"] = f"{metadata.title}, part {part}"
    parent = [{"rel": "parent", "href": f"{up}collection.json", "type": "application/json"}] if part else []
    collection["links"] = [
        {"rel": "root", "href": f"{up}collection.json", "type": "application/json"},
        *parent,
        *about_links(metadata, gathered),
        *(
            {"rel": "item", "href": f"{up}tiles/{tile}/item.json", "type": "application/geo+json"}
            for tile in gathered.items
        ),
    ]
    return write_collection(home, collection, gathered, missing, problems)


def cannot_collect(missing: Mapping[str, str], planned: int) -> str:
    """Say how many of the planned tiles are missing, and why the first of them are."""
    shown = "; ".join(f"{tile}: {why}" for tile, why in list(missing.items())[:SHOWN])
    more = f"; and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
    return f"{len(missing)} of {planned} tiles cannot be collected: {shown}{more}"


def build_collection(
    metadata: CollectionMetadata, gathered: Gathered, *, planned: int, missing: Mapping[str, str], problems: list[str]
) -> dict[str, Any]:
    """Return all of a collection but its id, assets and links."""
    item_assets = {key: _as_written(next(iter(ways.values())).asset) for key, ways in sorted(gathered.assets.items())}
    extra = dict(metadata.extra)
    extensions = {EXTENSIONS[name] for name in ("file", "processing", "projection")}
    extensions |= set(extra.pop("stac_extensions", ()))
    if any("raster:spatial_resolution" in asset for asset in item_assets.values()):
        extensions.add(EXTENSIONS["raster"])
    bands = [band for asset in item_assets.values() for band in asset.get("bands", ())]
    if any("classification:classes" in band for band in bands):
        extensions.add(EXTENSIONS["classification"])
    summaries: dict[str, Any] = {name: sorted(seen) for name, seen in gathered.values.items() if seen}
    summaries["processing:software"] = [orjson.loads(versions) for versions in sorted(gathered.software)]
    collection = {
        "type": "Collection",
        "stac_version": "1.1.0",
        "stac_extensions": sorted(extensions),
        "id": metadata.id,
        "title": metadata.title,
        "description": metadata.description,
        "keywords": list(metadata.keywords),
        "license": metadata.license,
        "providers": list(metadata.providers),
        "extent": {
            "spatial": {"bbox": [union_bbox(gathered.boxes) if gathered.boxes else EVERYWHERE]},
            "temporal": {"interval": [[gathered.start, gathered.end]]},
        },
        "summaries": summaries,
        "item_assets": item_assets,
        "upscaling:tiles": {
            "planned": planned,
            "collected": len(gathered.items),
            "nodata": gathered.nodata,
            "processed": gathered.processed,
        },
        "upscaling:missing": [{"tile": tile, "reason": reason} for tile, reason in sorted(missing.items())],
        "upscaling:problems": problems[:KEPT_PROBLEMS],
        **extra,
    }
    if any(name.startswith("osc:") for name in extra):  # the PRR wants to know
        collection["processing:datetime"] = gathered.processed
    optional = {"keywords", "providers", "upscaling:problems"}
    return {name: value for name, value in collection.items() if value or name not in optional}


def _as_written(asset: dict[str, Any]) -> dict[str, Any]:
    """Return an asset whose bands have no nodata value that is no number: the summaries have it, as the items do."""
    if "bands" not in asset:
        return asset
    bands = [
        {name: value for name, value in band.items() if name != "nodata" or not isinstance(value, str)}
        for band in asset["bands"]
    ]
    return {**asset, "bands": bands}


def _write_table(
    rows: Iterator[bytes], path: Path, check: Callable[[], dict[str, str]], *, needed: bool
) -> tuple[dict[str, str], str]:
    """Write the table of items; return what ``check`` does once all were read, and why the table is not there.

    That it cannot be written is no reason to end without a collection, unless it is ``needed``.
    """
    complete = False

    def counted() -> Iterator[bytes]:
        nonlocal complete
        yield from rows
        complete = True

    try:
        with written_whole(path) as temporary:
            write_rows(counted(), temporary)
            return check(), ""
    except (TableError, OSError) as error:
        if needed or not complete:
            raise
        words = error.strerror if isinstance(error, OSError) else error
        return check(), f"{path.name} was not written: {words}"


def _table_asset(parquet: Path, missing: str) -> dict[str, Any]:
    if missing:
        with suppress(OSError):  # one of before
            parquet.unlink(missing_ok=True)
        return {}
    return {"items": file_asset(parquet, parquet.parent, "All items as STAC GeoParquet", ["stac-items"])}


def about_links(metadata: CollectionMetadata, gathered: Gathered) -> list[dict[str, Any]]:
    """Return the links of the collection and of its algorithm, each address once for a relation."""
    links = {(link["rel"], link["href"]): link for link in reversed((*metadata.links, *gathered.links))}
    return [*reversed(links.values())]


def write_collection(
    home: Path, collection: dict[str, Any], gathered: Gathered, missing: dict[str, str], problems: list[str]
) -> CollectSummary:
    """Write ``collection.json`` into ``home`` and say what was gathered."""
    problems = [*collection_problems(collection, pictured=False), *problems]
    path = home / "collection.json"
    write_whole(path, orjson.dumps(collection, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return CollectSummary(path, len(gathered.items), gathered.nodata, missing, tuple(problems))
