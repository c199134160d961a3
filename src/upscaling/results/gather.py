"""Tiles -> collection: the items of a run, with what configuration and algorithm say of the whole."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from upscaling.config import Config
from upscaling.errors import UpscalingError
from upscaling.jobs.failures import without_particulars
from upscaling.jobs.receipts import read_receipt
from upscaling.planning.plan import Plan, load_plan
from upscaling.results.collection import CollectionMetadata, CollectSummary, NothingDoneError, collect
from upscaling.results.item import EXTENSIONS, public_url
from upscaling.results.subcollections import collect_parts

__all__ = ["by_reason", "failure_reasons", "gather"]

_NAMED = 3  # tiles named for each reason
_OSC_THEMES = "https://github.com/stac-extensions/osc#theme"
# Relation of a link in an algorithm's record -> its relation in the collection.
_OF_THE_RECORD = {"application": "processing-expression", "about": "about", "code": "related", "webapp": "related"}


def gather(
    *, config: Any, run_folder: Path, partial: bool = False, part: str | None = None, parts_done: bool = False
) -> CollectSummary:
    """Write the collection of a run, with those of its parts where it has parts.

    Parameters
    ----------
    partial
        Gather the tiles that are done, and list the others with the reasons in their receipts.
    part
        Write only the sub-collection of this part.
    parts_done
        The sub-collections were written before; only put them together.

    Raises
    ------
    UpscalingError
        A tile is missing or stale (unless ``partial``), there is none at all, or the plan has no such part.
    """
    plan = load_plan(run_folder)
    settings = config if isinstance(config, Config) else Config.parse(config)
    metadata = _metadata(settings, plan)
    reasons = failure_reasons(plan, run_folder) if partial else {}
    keys = {tile: row.key for tile, row in plan.tiles.items()}
    said: dict[str, Any] = {"metadata": metadata, "partial": partial, "reasons": reasons}
    collected = functools.partial(collect, run_folder, keys=keys, **said)
    if part is not None:
        if part not in plan.parts:
            raise UpscalingError(f"the plan in {plan.folder} has no part {part!r}")
        return collected(tiles=plan.parts[part], part=part)
    if not plan.parts:
        return collected(tiles=list(plan.tiles))
    for name, tiles in plan.parts.items() if not parts_done else ():
        try:
            collected(tiles=tiles, part=name)
        except NothingDoneError:  # one of an earlier plan would be taken for this one's
            (run_folder / "parts" / name / "collection.json").unlink(missing_ok=True)
    return collect_parts(run_folder, parts=plan.parts, **said)


def failure_reasons(plan: Plan, run_folder: Path) -> dict[str, str]:
    """Return tile -> why it failed, from the receipts of this plan's work; an earlier plan's failures do not count."""
    reasons = {}
    for tile, row in plan.tiles.items():
        receipt = read_receipt(run_folder / "receipts" / f"{tile}.json") or {}
        error = receipt.get("error") if receipt.get("key") == row.key else None
        if error:
            reasons[tile] = ": ".join(error[name] for name in ("class", "message") if name in error)
    return reasons


def by_reason(missing: Mapping[str, str]) -> Iterator[str]:
    """Say each reason once, in the words of its first tile: a thousand tiles often fail for one reason."""
    tiles: dict[str, list[str]] = {}
    for tile, reason in sorted(missing.items()):
        tiles.setdefault(without_particulars(reason), []).append(tile)
    for names in sorted(tiles.values(), key=len, reverse=True):
        others = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield f"{', '.join(names[:_NAMED])}{others}: {missing[names[0]]}"


def _metadata(config: Config, plan: Plan) -> CollectionMetadata:
    algorithm, said = plan.algorithm, config.collection
    record = algorithm.record or {}
    described = record.get("properties") or {}
    title = said.title or algorithm.title or algorithm.id
    return CollectionMetadata(
        id=config.run,
        title=title,
        description=said.description or algorithm.description or title,
        license=said.license,
        providers=tuple(said.providers),
        keywords=tuple(said.keywords or [str(word) for word in described.get("keywords") or ()]),
        links=tuple(_links(config, record)),
        assets=said.assets,
        expect=said.expect,
        extra=_extra(config, described),
    )


def _links(config: Config, record: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    said = config.collection
    of_record = [
        link for link in record.get("links") or () if str(link.get("href")).startswith(("http://", "https://"))
    ]
    if said.license_url:
        yield {"rel": "license", "href": said.license_url}
    elif said.license == "other":
        yield from ({"rel": "license", "href": link["href"]} for link in of_record if link.get("rel") == "license")
    if said.doi:
        yield {"rel": "cite-as", "href": f"https://doi.org/{said.doi}"}
    source = config.algorithm.source
    if record and source.startswith(("http://", "https://")):
        yield {"rel": "related", "href": public_url(source), "title": "Record of the algorithm"}
    for link in of_record:
        if link.get("rel") in _OF_THE_RECORD:
            title = {"title": str(link["title"])} if link.get("title") else {}
            yield {"rel": _OF_THE_RECORD[link["rel"]], "href": public_url(link["href"]), **title}


def _extra(config: Config, described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the collection's further fields, and under ``stac_extensions`` the schemas that they need."""
    said = config.collection
    fields: dict[str, Any] = {}
    extensions = set(said.extra.get("stac_extensions") or ())
    themes = [_theme(theme) for theme in described.get("themes") or () if theme.get("scheme")]
    themes = [theme for theme in themes if theme["concepts"]]
    if said.themes:
        themes.insert(0, {"scheme": _OSC_THEMES, "concepts": [{"id": theme} for theme in said.themes]})
    if themes:
        fields["themes"] = themes
        extensions.add(EXTENSIONS["themes"])
    if said.doi:
        fields["sci:doi"] = said.doi
        extensions.add(EXTENSIONS["scientific"])
    if said.citation:
        fields["sci:citation"] = said.citation
        extensions.add(EXTENSIONS["scientific"])
    if said.renders:
        fields["renders"] = {name: render.model_dump(exclude_none=True) for name, render in said.renders.items()}
        extensions.add(EXTENSIONS["render"])
    if said.prr:
        # Without the osc extension: its schema allows none of the fields that the PRR adds to it.
        fields |= {
            "osc:project": said.prr.project,
            "osc:initiative": said.prr.initiative,
            "osc:contract-number": said.prr.contract_number,
            "osc:project_website": said.prr.project_website,
            "osc:project_description": said.prr.project_description,
            "osc:variables": said.prr.variables,
            "osc:missions": said.prr.missions,
            "cf:parameter": said.prr.parameters,
        }
    return {**fields, **said.extra, "stac_extensions": sorted(extensions)}


def _theme(theme: Mapping[str, Any]) -> dict[str, Any]:
    """Return a theme of a record as the themes extension has it."""
    names = ("id", "title", "description", "url")
    concepts = [{name: concept[name] for name in names if concept.get(name)} for concept in theme.get("concepts") or ()]
    return {"scheme": theme["scheme"], "concepts": [concept for concept in concepts if "id" in concept]}
