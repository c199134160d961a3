"""Bring an item up to date with what the run says of all its items: their collection, their assets, bands, classes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from upscaling.results.item import EXTENSIONS, collection_href, collection_id

if TYPE_CHECKING:
    from upscaling.config.collection import AssetDescription, Band, ClassValue

__all__ = ["describe"]

HOME_RELS = {"parent", "collection"}


def describe(item: dict[str, Any], *, run: str, part: str = "", assets: Mapping[str, AssetDescription]) -> bool:
    """Change ``item`` in place to what is said of it now; return whether anything was changed.

    A run that grows gets parts, and a provider corrects a legend long after the tiles are done: neither may make a tile
    run again. What the configuration no longer says stays as it was said last, classes excepted.

    Parameters
    ----------
    assets
        Asset key → what the configuration says of it.
    """
    changed = _put(item, "collection", collection_id(run, part))
    for link in item["links"]:
        if link["rel"] in HOME_RELS:
            changed |= _put(link, "href", collection_href(part))
    for key, said in assets.items():
        changed |= _rename(item, key, said)
        if key in item["assets"]:
            changed |= _describe_asset(item["assets"][key], said)
    for key in item["assets"].keys() - assets.keys():
        for band in item["assets"][key].get("bands", []):
            changed |= band.pop("classification:classes", None) is not None
    return changed | _declare(item)


def _put(target: dict[str, Any], key: str, value: Any) -> bool:
    if target.get(key) == value and key in target:
        return False
    target[key] = value
    return True


def _rename(item: dict[str, Any], key: str, said: AssetDescription) -> bool:
    """Give the asset whose file fits the pattern its key; two that fit are left alone, and told while gathering."""
    assets = item["assets"]
    if key in assets or not said.match:
        return False
    own = re.compile(rf"^\./{re.escape(item['id'])}_")
    fitting = [
        name
        for name, asset in assets.items()
        if fnmatchcase(name, said.match) or fnmatchcase(own.sub("", _file_of(asset["href"])), said.match)
    ]
    if len(fitting) != 1:
        return False
    renamed = {key if name == fitting[0] else name: asset for name, asset in assets.items()}
    item["assets"] = dict(sorted(renamed.items()))
    return True


def _file_of(href: str) -> str:
    return href.rpartition("/")[2] if "://" in href else href


def _describe_asset(asset: dict[str, Any], said: AssetDescription) -> bool:
    changed = False
    for name in ("title", "description", "roles"):
        value = getattr(said, name)
        if value is not None:
            changed |= _put(asset, name, value)
    for band, words in zip(asset.get("bands", []), said.bands, strict=False):
        changed |= _describe_band(band, words)
    return changed


def _describe_band(band: dict[str, Any], said: Band) -> bool:
    changed = False
    fields: dict[str, str | float | None] = {"name": said.name, "description": said.description, "unit": said.unit}
    fields |= {"raster:scale": said.scale, "raster:offset": said.offset}
    for name, value in fields.items():
        if value is not None:
            changed |= _put(band, name, value)
    if said.classes:
        changed |= _put(band, "classification:classes", [_class(entry) for entry in said.classes])
    elif "classification:classes" in band:
        del band["classification:classes"]
        changed = True
    return changed


def _class(entry: ClassValue) -> dict[str, Any]:
    """Return a class object that classification 1.1 and 2.0 both take."""
    name = entry.name or re.sub(r"[^0-9A-Za-z_-]+", "-", entry.title.lower()).strip("-") or str(entry.value)
    described = {"value": entry.value, "name": name, "title": entry.title, "color_hint": entry.color_hint.upper()}
    if entry.description:
        described["description"] = entry.description
    return described | ({"nodata": True} if entry.nodata else {})


def _declare(item: dict[str, Any]) -> bool:
    """Declare the classification extension where there are classes, and only there."""
    classes = any(
        "classification:classes" in band for asset in item["assets"].values() for band in asset.get("bands", [])
    )
    declared = EXTENSIONS["classification"] in item["stac_extensions"]
    if classes == declared:
        return False
    others = set(item["stac_extensions"]) - {EXTENSIONS["classification"]}
    item["stac_extensions"] = sorted(others | ({EXTENSIONS["classification"]} if classes else set()))
    return True
