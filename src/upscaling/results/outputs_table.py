"""The values that a run's tiles gave (numbers, texts, lists), as one table of text: a row per tile."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from upscaling.results.media_types import COG_MEDIA_TYPE, MEDIA_TYPES
from upscaling.util.files import SHA256_MULTIHASH, sha256_file, written_whole

__all__ = ["FILE_NAME", "file_asset", "output_row", "read_rows", "write_outputs"]

FILE_NAME = "outputs.csv"
_OF_THE_TILE = ("tile", "start_datetime", "end_datetime")


def output_row(item: Mapping[str, Any]) -> dict[str, str] | None:
    """Return an item's row, all as text, or None for an item without values.

    A member of an object is a column of its own (``stats.mean``); a list is JSON.
    """
    properties = item["properties"]
    outputs = properties.get("upscaling:outputs")
    if not isinstance(outputs, Mapping):
        return None
    own = {"tile": str(item["id"]), **{name: str(properties.get(name, "")) for name in _OF_THE_TILE[1:]}}
    # an output may have the name of one of our columns
    values = {f"output.{name}" if name in own else name: value for name, value in _flat(outputs)}
    return own | values


def _flat(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for name, inner in value.items():
        column = f"{path}.{name}" if path else str(name)
        if isinstance(inner, Mapping) and inner:
            yield from _flat(inner, column)
        elif isinstance(inner, str):
            yield column, inner
        else:
            yield column, "" if inner is None else orjson.dumps(inner).decode()


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table that was written here; none if it is not there."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_outputs(rows: Iterable[Mapping[str, str]], home: Path) -> dict[str, Any]:
    """Write the table into ``home`` and return it as assets of a collection; without rows there is no table."""
    path = home / FILE_NAME
    ordered = sorted(rows, key=lambda row: row["tile"])
    if not ordered:
        path.unlink(missing_ok=True)
        return {}
    columns = [*_OF_THE_TILE, *sorted({name for row in ordered for name in row} - set(_OF_THE_TILE))]
    with written_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(ordered)
    return {"outputs": file_asset(path, home, "Values of all tiles", ["data"])}


def file_asset(path: Path, home: Path, title: str, roles: list[str]) -> dict[str, Any]:
    """Return the STAC asset that a file below the folder of a collection is."""
    return {
        "href": f"./{path.relative_to(home).as_posix()}",
        "type": MEDIA_TYPES.get(path.suffix, COG_MEDIA_TYPE),
        "title": title,
        "roles": roles,
        "file:size": path.stat().st_size,
        "file:checksum": f"{SHA256_MULTIHASH}{sha256_file(path)}",
    }
