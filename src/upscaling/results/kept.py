"""Tiles that are done on this disk: restored when only their item was removed, noticed when their files were."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from upscaling.model import TileJob
from upscaling.util.files import is_as_declared, read_json, size_of, write_json

__all__ = ["drop_damaged", "is_done", "is_whole", "restore_item", "write_item"]

_KEPT = ".item.json"  # beside item.json, which is an output of Snakemake's, and so may be deleted by it
_SEEN = ".seen.json"  # in the folder of tiles: what their folders looked like when they were last found whole
_ELSEWHERE = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def write_item(item_path: Path, item: dict[str, Any]) -> None:
    """Write a tile's item under two names, the second to restore it by: a hard link, or a copy where there are none."""
    kept = item_path.with_name(_KEPT)
    write_json(kept, item)
    item_path.unlink(missing_ok=True)
    try:
        item_path.hardlink_to(kept)  # of a file that is whole
    except OSError:
        write_json(item_path, item)


def is_whole(item: Mapping[str, Any], folder: Path, *, checksums: bool = False) -> bool:
    """Return whether every local file of an item is there, with the size (and the checksum) that the item says."""
    for asset in item["assets"].values():
        if _ELSEWHERE.match(asset["href"]):
            continue
        path, size, checksum = folder / asset["href"], asset.get("file:size"), asset.get("file:checksum", "")
        try:
            if size is not None and size_of(path) != size:
                return False
            if checksums and path.is_file() and not is_as_declared(path, None, checksum):
                return False
        except OSError:
            return False
    return True


def is_done(item_path: Path, job: TileJob) -> bool:
    """Return whether this very work is done: another process may have done it while we waited for its lock."""
    return _whole_item(item_path, job, checksums=False) is not None


def restore_item(item_path: Path, job: TileJob) -> bool:
    """Return whether this very work was done before and only its item was removed, which is then written again.

    Snakemake removes the item of a tile that it takes for incomplete, after ``kill -9`` for example. The platform may
    have nothing of the job any more.
    """
    item = _whole_item(item_path.with_name(_KEPT), job, checksums=True)
    if item is not None:
        write_item(item_path, item)
    return item is not None


def _whole_item(path: Path, job: TileJob, *, checksums: bool) -> dict[str, Any] | None:
    try:
        item: dict[str, Any] = read_json(path)
        same = item["properties"]["upscaling:key"] == job.key
        return item if same and is_whole(item, job.folder, checksums=checksums) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def drop_damaged(run_folder: Path, tiles: Iterable[str]) -> list[str]:
    """Remove the items of tiles whose files were deleted, emptied or changed, so that these are run again.

    Returns
    -------
    Those tiles. A tile that looks as when it was last found whole is not read again: this is asked at every start.
    """
    root, damaged = run_folder / "tiles", []
    before, now = _seen(root / _SEEN), {}
    try:
        there = set(os.listdir(root))  # noqa: PTH208 -- names only
    except FileNotFoundError:
        return []
    for tile in tiles:
        look = _look(f"{root}/{tile}") if tile in there else None
        if look is None:  # not done yet
            continue
        if before.get(tile) == look or _found_whole(root / tile):
            now[tile] = look
        else:
            (root / tile / "item.json").unlink(missing_ok=True)
            damaged.append(tile)
    if now != before:
        write_json(root / _SEEN, now)
    return damaged


def _seen(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _look(folder: str) -> list[list[Any]] | None:
    """Return names, sizes and times of a tile's files; None if it has no item."""
    try:
        with os.scandir(folder) as entries:
            facts = [(entry.name, entry.stat()) for entry in entries]
    except OSError:
        return None
    if not any(name == "item.json" for name, _ in facts):
        return None
    # The copy of the item is no result; whole seconds, as some file systems keep no more.
    return sorted([name, stat.st_size, int(stat.st_mtime)] for name, stat in facts if name != _KEPT)


def _found_whole(folder: Path) -> bool:
    """Return whether a tile's files are as its item says; their content is read if one was changed after the item."""
    try:
        item = read_json(folder / "item.json")
        written = (folder / "item.json").stat().st_mtime
        newer = any(path.stat().st_mtime > written + 1 for path in folder.rglob("*") if path.is_file())
        return is_whole(item, folder, checksums=newer)
    except (OSError, json.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError):
        return False
