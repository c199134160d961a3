"""Tiles -> collection: the items of a run, with what configuration and algorithm say of the whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from upscaling.config import Config
from upscaling.files import read_json
from upscaling.plan import Plan, load_plan
from upscaling.results.collection import CollectionMetadata, CollectSummary, collect

__all__ = ["by_reason", "failure_reasons", "gather"]

_NAMED = 3  # tiles named for each reason


def gather(*, config: Any, run_folder: Path, partial: bool = False) -> CollectSummary:
    """Write the collection of a run.

    Parameters
    ----------
    partial
        Gather the tiles that are done, and list the others with the reasons in their receipts.

    Raises
    ------
    UpscalingError
        A tile is missing or stale (unless ``partial``), or there is none at all.
    """
    plan = load_plan(run_folder)
    settings = config if isinstance(config, Config) else Config.parse(config)
    return collect(
        run_folder,
        tiles=list(plan.tiles),
        keys={tile: row.key for tile, row in plan.tiles.items()},
        metadata=_metadata(settings, plan),
        partial=partial,
        reasons=failure_reasons(plan, run_folder) if partial else {},
    )


def failure_reasons(plan: Plan, run_folder: Path) -> dict[str, str]:
    """Return tile -> why it failed, from the receipts."""
    reasons = {}
    for tile in plan.tiles:
        try:
            error = read_json(run_folder / "receipts" / f"{tile}.json").get("error")
        except (OSError, ValueError):
            continue
        if error:
            reasons[tile] = f"{error['class']}: {error['message']}"
    return reasons


def by_reason(missing: Mapping[str, str]) -> Iterator[str]:
    """Say each reason once, with the tiles it holds for: a thousand tiles often fail for one reason."""
    tiles: dict[str, list[str]] = {}
    for tile, reason in sorted(missing.items()):
        tiles.setdefault(reason, []).append(tile)
    for reason, names in sorted(tiles.items(), key=lambda entry: -len(entry[1])):
        others = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield f"{', '.join(names[:_NAMED])}{others}: {reason}"


def _metadata(config: Config, plan: Plan) -> CollectionMetadata:
    algorithm, said = plan.algorithm, config.collection
    title = said.title or algorithm.title or algorithm.id
    links = []
    if algorithm.source.startswith(("http://", "https://")):
        links.append({"rel": "processing-expression", "href": algorithm.source, "title": algorithm.id})
    return CollectionMetadata(
        id=config.run,
        title=title,
        description=said.description or algorithm.description or title,
        license=said.license,
        providers=tuple(said.providers),
        keywords=tuple(said.keywords),
        links=tuple(links),
    )
