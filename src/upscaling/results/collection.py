"""Gather the items of a run into one STAC 1.1 collection and a GeoParquet table, as a stream."""

from __future__ import annotations

import gc
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upscaling.errors import UpscalingError
from upscaling.files import sha256_file, written_whole
from upscaling.results.footprint import union_bbox
from upscaling.results.item import EXTENSIONS

__all__ = ["CollectSummary", "CollectionMetadata", "collect"]

PARQUET_MEDIA_TYPE = "application/vnd.apache.parquet"
SHOWN = 5
# A collection must have a box, also one whose items have no place.
EVERYWHERE = [-180.0, -90.0, 180.0, 90.0]


@dataclass(frozen=True, slots=True)
class CollectionMetadata:
    """What only the people who run it can say about a collection.

    Attributes
    ----------
    id
        ``[A-Za-z0-9._-]+``; it must be the ``collection`` that the items name.
    license
        SPDX identifier, or ``other`` with a link of relation ``license``.
    providers, links
        STAC objects as they are to be written.
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
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CollectSummary:
    """What was gathered.

    Attributes
    ----------
    missing
        Tile → why it is not in the collection; empty unless the collection is partial.
    problems
        One line for each way in which the items are not alike.
    """

    collection: Path
    items: int
    nodata: int
    missing: dict[str, str]
    problems: tuple[str, ...]


def collect(
    run_folder: Path,
    *,
    tiles: Sequence[str],
    keys: Mapping[str, str],
    metadata: CollectionMetadata,
    partial: bool = False,
    reasons: Mapping[str, str] | None = None,
) -> CollectSummary:
    """Write ``items.parquet`` and then ``collection.json`` into ``run_folder``, each by rename.

    Items are read from ``tiles/<tile>/item.json`` in batches, so memory does not grow with their number. The same items
    give the same bytes.

    Parameters
    ----------
    tiles
        Ids of all planned tiles.
    keys
        Tile → the key that the plan gives its work; an item made with another key is out of date.
    partial
        Gather what is there, and list the rest under ``upscaling:missing``.
    reasons
        Tile → why it failed, for that list.

    Raises
    ------
    UpscalingError
        A tile is missing or out of date (unless ``partial``), an item cannot be read, or there is none at all.
    """
    from upscaling.results.table import write_items

    gathered = _Gathered()
    missing: dict[str, str] = {}
    reasons = reasons or {}

    def stream() -> Iterator[dict[str, Any]]:
        for tile in sorted(set(tiles)):
            item = _read_item(run_folder, tile)
            if item is None:
                missing[tile] = reasons.get(tile) or "not done"
            elif item.get("properties", {}).get("upscaling:key") != keys.get(tile):
                missing[tile] = "its item was made with another algorithm, area or parameters than the plan's"
            else:
                try:
                    gathered.add(item)
                    seen = _seen_from_run(item)
                except (KeyError, TypeError, AttributeError) as error:
                    raise UpscalingError(f"item.json of tile {tile} is not one of ours: {error!r}") from error
                yield seen

    parquet = run_folder / "items.parquet"
    with written_whole(parquet) as temporary, _no_cycles():
        write_items(stream(), temporary)
        if missing and not partial:
            shown = "; ".join(f"{tile}: {why}" for tile, why in list(missing.items())[:SHOWN])
            more = f"; and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
            raise UpscalingError(f"{len(missing)} of {len(set(tiles))} tiles cannot be collected: {shown}{more}")
        if not gathered.items:
            raise UpscalingError(f"no tile of {run_folder.name} is done: there is nothing to collect")
    collection = gathered.collection(metadata, parquet, planned=len(set(tiles)), missing=missing)
    _write(run_folder / "collection.json", collection)
    return CollectSummary(
        run_folder / "collection.json", len(gathered.items), gathered.nodata, missing, tuple(gathered.problems())
    )


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


def _read_item(run_folder: Path, tile: str) -> dict[str, Any] | None:
    import orjson

    path = Path(f"{run_folder}/tiles/{tile}/item.json")
    try:
        item = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, orjson.JSONDecodeError) as error:
        raise UpscalingError(f"{path} cannot be read: {error}; delete it and run again") from error
    if not isinstance(item, dict) or item.get("id") != tile:
        raise UpscalingError(f"{path} is not the item of tile {tile}; delete it and run again")
    return item


def _from_run(tile: str, href: str) -> str:
    """Return a link of an item as seen from the folder of the collection."""
    if "://" in href or href.startswith("/"):
        return href
    if href.startswith("../../"):
        return f"./{href[6:]}"
    return f"./{posixpath.normpath(f'tiles/{tile}/{href}')}"


def _seen_from_run(item: dict[str, Any]) -> dict[str, Any]:
    """Make the relative links of an item right for a table that lies beside the collection."""
    for entry in (*item["links"], *item["assets"].values()):
        entry["href"] = _from_run(item["id"], entry["href"])
    return item


class _Gathered:
    """What the collection says about its items, kept while they stream by."""

    def __init__(self) -> None:
        self.items: list[str] = []
        self.nodata = 0
        self.boxes: list[list[float]] = []
        self.start, self.end = "9999", ""
        self.values: dict[str, set[Any]] = {"proj:code": set(), "processing:level": set()}
        self.software: set[bytes] = set()
        self.assets: dict[str, dict[bytes, tuple[str, dict[str, Any]]]] = {}
        self.counts: dict[str, int] = {}
        self.links: list[dict[str, Any]] = []

    def add(self, item: dict[str, Any]) -> None:
        import orjson

        properties, tile = item["properties"], item["id"]
        if not self.items:
            algorithm = (link for link in item["links"] if link["rel"] in {"processing-expression", "about"})
            self.links = [{**link, "href": _from_run(tile, link["href"])} for link in algorithm]
        self.items.append(tile)
        self.nodata += bool(properties.get("upscaling:nodata"))
        if item["geometry"] is not None:
            self.boxes.append(item["bbox"])
        self.start = min(self.start, properties["start_datetime"])
        self.end = max(self.end, properties["end_datetime"])
        for name, seen in self.values.items():
            if properties.get(name) is not None:
                seen.add(properties[name])
        self.software.add(orjson.dumps(properties.get("processing:software", {}), option=orjson.OPT_SORT_KEYS))
        for key, asset in item["assets"].items():
            template = {
                name: asset[name] for name in asset if name != "href" and not name.startswith(("file:", "proj:"))
            }
            known = self.assets.setdefault(key, {})
            known.setdefault(orjson.dumps(template, option=orjson.OPT_SORT_KEYS), (tile, template))
            self.counts[key] = self.counts.get(key, 0) + 1

    def problems(self) -> Iterator[str]:
        """Say in which ways the items are not homogeneous (STAC-REC-03)."""
        with_data = len(self.items) - self.nodata
        for key in sorted(self.assets):
            if len(self.assets[key]) > 1:
                (first, _), (second, _) = list(self.assets[key].values())[:2]
                yield f"asset {key} is described in {len(self.assets[key])} ways, first in tiles {first} and {second}"
            if self.counts[key] < with_data:
                yield f"asset {key} is in {self.counts[key]} of {with_data} tiles with data"

    def collection(
        self, metadata: CollectionMetadata, parquet: Path, *, planned: int, missing: dict[str, str]
    ) -> dict[str, Any]:
        import orjson

        item_assets = {key: next(iter(self.assets[key].values()))[1] for key in sorted(self.assets)}
        extensions = {EXTENSIONS[name] for name in ("file", "processing", "projection")}
        if any("raster:spatial_resolution" in asset for asset in item_assets.values()):
            extensions.add(EXTENSIONS["raster"])
        extra = dict(metadata.extra)
        extensions |= set(extra.pop("stac_extensions", ()))
        summaries: dict[str, Any] = {name: sorted(seen) for name, seen in self.values.items() if seen}
        summaries["processing:software"] = [orjson.loads(versions) for versions in sorted(self.software)]
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
                "spatial": {"bbox": [union_bbox(self.boxes) if self.boxes else EVERYWHERE]},
                "temporal": {"interval": [[self.start, self.end]]},
            },
            "summaries": summaries,
            "item_assets": item_assets,
            "assets": {
                "items": {
                    "href": f"./{parquet.name}",
                    "type": PARQUET_MEDIA_TYPE,
                    "title": "All items as STAC GeoParquet",
                    "roles": ["stac-items"],
                    "file:size": parquet.stat().st_size,
                    "file:checksum": f"1220{sha256_file(parquet)}",
                }
            },
            "upscaling:tiles": {"planned": planned, "collected": len(self.items), "nodata": self.nodata},
            "upscaling:missing": [{"tile": tile, "reason": reason} for tile, reason in sorted(missing.items())],
            **extra,
            "links": [
                {"rel": "root", "href": "./collection.json", "type": "application/json"},
                *metadata.links,
                *self.links,
                *(
                    {"rel": "item", "href": f"./tiles/{tile}/item.json", "type": "application/geo+json"}
                    for tile in self.items
                ),
            ],
        }
        return {name: value for name, value in collection.items() if value or name not in {"keywords", "providers"}}


def _write(path: Path, value: Any) -> None:
    import orjson

    with written_whole(path) as temporary:
        temporary.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
