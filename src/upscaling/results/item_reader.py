"""Read the items of a run's tiles for their collection; one that is damaged is left out, and named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from upscaling.errors import UpscalingError
from upscaling.results.describe import describe
from upscaling.results.gathered import Gathered
from upscaling.results.item import collection_href
from upscaling.results.shapes import Item, fault_of
from upscaling.results.table import item_rows
from upscaling.util.files import rewrite

if TYPE_CHECKING:
    from upscaling.config.collection import AssetDescription, Expect

__all__ = ["ItemReader"]

# Raised by items of others.
_ODD = (KeyError, TypeError, AttributeError, ValueError, IndexError)


class _DamagedItemError(Exception):
    """The item of one tile is not what was written."""

    def __init__(self, tile: str, why: str) -> None:
        self.tile = tile
        super().__init__(f"its item.json is damaged ({why}); the next run restores it")


@dataclass(frozen=True, slots=True)
class ItemReader:
    """Reads items for a collection.

    Attributes
    ----------
    keys
        Tile -> the key that the plan gives its work.
    part
        The sub-collection that is gathered, or empty.
    run
        Id of the run's collection.
    assets, expect
        What the configuration says of assets, and expects of items.
    """

    run_folder: Path
    keys: Mapping[str, str]
    part: str
    run: str
    assets: Mapping[str, AssetDescription]
    expect: Expect | None

    def gather(self, tiles: list[str]) -> tuple[tuple[Gathered, bytes], bool]:
        """Return facts and rows of some tiles' items, and whether any was brought up to date on disk."""
        damaged: dict[str, str] = {}
        changed = False
        while True:
            gathered = Gathered()
            gathered.missing.update(damaged)
            try:
                items, described = self._add(gathered, tiles)
                changed |= described
                return (gathered, self._rows(items)), changed
            except _DamagedItemError as error:
                damaged[error.tile] = str(error)

    def _add(self, gathered: Gathered, tiles: list[str]) -> tuple[list[dict[str, Any]], bool]:
        """Add the items of tiles that are not missing; return them, and whether any was changed on disk."""
        items, changed = [], False
        for tile in tiles:
            if tile in gathered.missing:
                continue
            try:
                item = _read_item(self.run_folder, tile)
                if item is None:
                    gathered.missing[tile] = "not done"
                    continue
                if item.get("properties", {}).get("upscaling:key") != self.keys.get(tile):
                    gathered.missing[tile] = (
                        "its item was made with another algorithm, area or parameters than the plan's"
                    )
                    continue
                if fault := fault_of(item, Item):
                    raise ValueError(fault)
                if describe(item, run=self.run, part=self.part, assets=self.assets):
                    text = orjson.dumps(item, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
                    rewrite(self.run_folder / "tiles" / tile / "item.json", text)
                    changed = True
                seen = _seen_from(item, self.part)
                gathered.add(seen, expect=self.expect)
            except (*_ODD, OSError) as error:
                raise _DamagedItemError(tile, f"{type(error).__name__}: {error}") from error
            items.append(seen)
        return items, changed

    def _rows(self, items: list[dict[str, Any]]) -> bytes:
        """Return items as rows of a table; the one to blame is named if they do not fit together."""
        tiles = [item["id"] for item in items]
        try:
            return item_rows(items)
        except (UpscalingError, *_ODD) as error:
            culprit = self._culprit(tiles)
            if culprit is None:
                raise
            raise _DamagedItemError(culprit, str(error)) from error

    def _culprit(self, tiles: list[str]) -> str | None:
        """Return the tile whose item does not go into one table with most others; None if no pair shows it."""
        alone = next((tile for tile in tiles if not self._fit(tile)), None)
        if alone is not None or len(tiles) < 2:
            return alone
        failing = [tile for tile in tiles[1:] if not self._fit(tiles[0], tile)]
        return tiles[0] if 2 * len(failing) > len(tiles) - 1 else next(iter(failing), None)

    def _fit(self, *tiles: str) -> bool:
        try:
            item_rows([_seen_from(_read_item(self.run_folder, tile) or {}, self.part) for tile in tiles])
        except (UpscalingError, *_ODD):
            return False
        return True


def _read_item(run_folder: Path, tile: str) -> dict[str, Any] | None:
    """Return the item of a tile, None if it has none; raise OSError or ValueError if it cannot be read."""
    try:
        # Not a Path: for every tile that costs more than the reading.
        with open(f"{run_folder}/tiles/{tile}/item.json", "rb") as stream:  # noqa: PTH123
            item = orjson.loads(stream.read())
    except FileNotFoundError:
        return None
    if not isinstance(item, dict) or item.get("id") != tile:
        raise ValueError(f"it is not the item of tile {tile}")
    return item


def _seen_from(item: dict[str, Any], part: str) -> dict[str, Any]:
    """Make the relative links of an item right for a table that lies beside its collection."""
    up = "../../" if part else "./"
    here = f"{up}tiles/{item['id']}/"
    own = collection_href(part)
    for entry in (*item["links"], *item["assets"].values()):
        href = entry["href"]
        if href == own:
            entry["href"] = "./collection.json"
        elif href.startswith("../../"):
            entry["href"] = f"{up}{href[6:]}"
        elif "://" not in href and not href.startswith("/"):
            entry["href"] = here + href.removeprefix("./")
    return item
