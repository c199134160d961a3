"""Bring an item up to date with what the run says of all its items: their collection, their assets, bands, classes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import orjson

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
    before = _said(item)
    item["collection"] = collection_id(run, part)
    for link in item["links"]:
        if link["rel"] in HOME_RELS:
            link["href"] = collection_href(part)
    for key, said in assets.items():
        _rename(item, key, said)
        if key in item["assets"]:
            _describe_asset(item["assets"][key], said)
    for key in item["assets"].keys() - assets.keys():
        for band in item["assets"][key].get("bands", []):
            band.pop("classification:classes", None)
    _declare(item)
    return _said(item) != before


def _said(item: Mapping[str, Any]) -> bytes:
    """Return what ``describe`` may change."""
    return orjson.dumps([item.get(name) for name in ("collection", "links", "assets", "stac_extensions")])


def _rename(item: dict[str, Any], key: str, said: AssetDescription) -> None:
    """Give the asset whose file fits the pattern its key; two that fit are left alone, and told while gathering."""
    assets = item["assets"]
    if key in assets or not said.match:
        return
    own = re.compile(rf"^\./{re.escape(item['id'])}_")
    fitting = [
        name
        for name, asset in assets.items()
        if fnmatchcase(name, said.match) or fnmatchcase(own.sub("", _file_of(asset["href"])), said.match)
    ]
    if len(fitting) == 1:
        renamed = {key if name == fitting[0] else name: asset for name, asset in assets.items()}
        item["assets"] = dict(sorted(renamed.items()))


def _file_of(href: str) -> str:
    return href.rpartition("/")[2] if "://" in href else href


def _describe_asset(asset: dict[str, Any], said: AssetDescription) -> None:
    _put(asset, {"title": said.title, "description": said.description, "roles": said.roles})
    for band, words in zip(asset.get("bands", []), said.bands, strict=False):
        _describe_band(band, words)


def _describe_band(band: dict[str, Any], said: Band) -> None:
    _put(band, {"name": said.name, "description": said.description, "unit": said.unit})
    _put(band, {"raster:scale": said.scale, "raster:offset": said.offset})
    if said.classes:
        band["classification:classes"] = [_class(entry) for entry in said.classes]
    else:
        band.pop("classification:classes", None)


def _put(target: dict[str, Any], fields: Mapping[str, Any]) -> None:
    target |= {name: value for name, value in fields.items() if value is not None}


def _class(entry: ClassValue) -> dict[str, Any]:
    """Return a class object that classification 1.1 and 2.0 both take."""
    name = entry.name or re.sub(r"[^0-9A-Za-z_-]+", "-", entry.title.lower()).strip("-") or str(entry.value)
    described = {"value": entry.value, "name": name, "title": entry.title, "color_hint": entry.color_hint.upper()}
    if entry.description:
        described["description"] = entry.description
    return described | ({"nodata": True} if entry.nodata else {})


def _declare(item: dict[str, Any]) -> None:
    """Declare the classification extension where there are classes, and only there."""
    classes = any(
        "classification:classes" in band for asset in item["assets"].values() for band in asset.get("bands", [])
    )
    uri = EXTENSIONS["classification"]
    if classes != (uri in item["stac_extensions"]):
        item["stac_extensions"] = sorted({uri} ^ set(item["stac_extensions"]))
