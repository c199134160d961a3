"""A second copy of a tile's item, from which it is restored after Snakemake deleted the first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from upscaling.model import TileJob
from upscaling.util.files import read_json, size_of, write_json

__all__ = ["keep_item", "restore_item"]

_KEPT = ".item.json"  # beside item.json, which is an output of Snakemake's, and so may be deleted by it


def keep_item(item_path: Path, item: dict[str, Any]) -> None:
    """Write the second copy of a tile's item, beside the first."""
    write_json(item_path.with_name(_KEPT), item)


def restore_item(item_path: Path, job: TileJob) -> bool:
    """Whether this very work was done before and only Snakemake removed its item: no platform could be asked again.

    After ``kill -9`` a cluster goes on and finishes tiles that Snakemake takes for incomplete.
    """
    if job.algorithm.kind != "cwl":
        return False
    try:
        item = read_json(item_path.with_name(_KEPT))
        whole = all(size_of(job.folder / a["href"]) == a["file:size"] for a in item["assets"].values())
        if not whole or item["properties"]["upscaling:key"] != job.key:
            return False
    except (OSError, ValueError, KeyError, TypeError):
        return False
    write_json(item_path, item)
    return True
