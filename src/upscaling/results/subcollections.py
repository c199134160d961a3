"""A run's collection over the sub-collections of its parts, for runs that are too large for one list of items."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from upscaling.errors import UpscalingError
from upscaling.results.collection import (
    EVERYWHERE,
    CollectionMetadata,
    CollectSummary,
    about_links,
    build_collection,
    cannot_collect,
    write_collection,
)
from upscaling.results.gathered import OF_THE_ALGORITHM, Gathered, Way, sorted_json
from upscaling.results.outputs_table import FILE_NAME, read_rows, write_outputs

__all__ = ["collect_parts"]


def collect_parts(
    run_folder: Path,
    *,
    parts: Mapping[str, Sequence[str]],
    metadata: CollectionMetadata,
    partial: bool = False,
    reasons: Mapping[str, str] | None = None,
) -> CollectSummary:
    """Write the run's ``collection.json`` over the collections of its parts, without reading a single item.

    Parameters
    ----------
    parts
        Part → ids of its planned tiles.
    partial
        Leave out parts without a collection, and list their tiles under ``upscaling:missing``.

    Raises
    ------
    UpscalingError
        A part's collection is missing or lacks tiles (unless ``partial``), cannot be read, or there is none at all.
    """
    gathered, children = Gathered(), []
    problems: list[str] = []
    for part, tiles in sorted(parts.items()):
        child = _read_part(run_folder, part)
        if child is None:
            gathered.missing |= {tile: (reasons or {}).get(tile) or "not done" for tile in tiles}
            continue
        title, gathered_there, problems_there = child
        gathered.merge(gathered_there)
        problems += [f"part {part}: {problem}" for problem in problems_there]
        href = f"./parts/{part}/collection.json"
        children.append({"rel": "child", "href": href, "type": "application/json", "title": title})
    planned, missing = sum(map(len, parts.values())), gathered.missing
    if missing and not partial:
        raise UpscalingError(cannot_collect(missing, planned))
    if not children:
        raise UpscalingError(f"no tile of {run_folder.name} is done: there is nothing to collect")
    problems = [*gathered.problems(), *problems]
    collection = build_collection(metadata, gathered, planned=planned, missing=missing, problems=problems)
    collection["id"] = metadata.id
    root = {"rel": "root", "href": "./collection.json", "type": "application/json"}
    collection["links"] = [root, *about_links(metadata, gathered), *children]
    rows = [row for part in parts for row in read_rows(run_folder / "parts" / part / FILE_NAME)]
    outputs = write_outputs(rows, run_folder)
    if outputs:
        collection["assets"] = outputs
    (run_folder / "items.parquet").unlink(missing_ok=True)  # of when the run had no parts
    return write_collection(run_folder, collection, gathered, missing, problems)


def _read_part(run_folder: Path, part: str) -> tuple[str, Gathered, list[str]] | None:
    """Return the title of a part's collection, what it says of its items, and its problems; None if there is none."""
    path = run_folder / "parts" / part / "collection.json"
    up = "../../"
    try:
        child = orjson.loads(path.read_bytes())
        links, summaries = child["links"], child["summaries"]
        items = [link["href"].removeprefix(f"{up}tiles/").partition("/")[0] for link in links if link["rel"] == "item"]
        nodata, box = child["upscaling:tiles"]["nodata"], child["extent"]["spatial"]["bbox"][0]
        gathered = Gathered(
            items=items,
            nodata=nodata,
            boxes=[] if box == EVERYWHERE else [box],
            start=child["extent"]["temporal"]["interval"][0][0],
            end=child["extent"]["temporal"]["interval"][0][1],
            processed=child["upscaling:tiles"]["processed"],
            software={sorted_json(entry) for entry in summaries["processing:software"]},
            # Seen from the run's folder, two floors down.
            links=[
                {**link, "href": re.sub(r"^\.\./\.\./", "./", link["href"])}
                for link in links
                if link["rel"] in OF_THE_ALGORITHM
            ],
        )
        for name in gathered.values:
            gathered.values[name] = set(summaries.get(name, ()))
        for key, asset in child["item_assets"].items():
            gathered.assets[key] = {sorted_json(asset): Way(items[0], asset, len(items) - nodata)}
        gathered.missing = {entry["tile"]: entry["reason"] for entry in child["upscaling:missing"]}
        return child["title"], gathered, child.get("upscaling:problems", [])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UpscalingError(f"{path} cannot be read: {error!r}; delete it and run again") from error
