"""Workspaces: where ``export_workspace`` puts results, with a STAC collection of their own. Made when first named."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upscaling.local_backend.errors import ProcessError

__all__ = ["WORKSPACES", "export"]

WORKSPACES = "workspaces"
_NAME, _PART = re.compile(r"[\w\-.~]+"), re.compile(r"(?!\.+$)[\w\-.~]+")


def export(home: Path, workspace: str, merge: str, source: Path, assets: Mapping[str, Mapping[str, Any]]) -> str:
    """Copy files into ``<home>/<workspace>/<merge>``, beside ``collection.json`` and an item for each.

    Files of the same name that are there are replaced, and so are their items: as on the large platforms.

    Returns
    -------
    ``<workspace>/<merge>``.

    Raises
    ------
    ProcessError
        ``WorkspaceNotFound`` or ``ProcessParameterInvalid``: a name that leads elsewhere.
    """
    parts = [part for part in merge.split("/") if part]
    if not _NAME.fullmatch(workspace) or not workspace.strip("."):
        raise ProcessError("WorkspaceNotFound", f"there is no workspace {workspace!r}")
    if not parts or not all(_PART.fullmatch(part) for part in parts):
        raise ProcessError("ProcessParameterInvalid", f"merge must be a path of plain names, not {merge!r}")
    place = "/".join([workspace, *parts])
    target = home / place
    target.mkdir(parents=True, exist_ok=True)
    for name in assets:
        shutil.copyfile(source / name, target / name)
    _write_stac(target, parts[-1], assets)
    return place


def _write_stac(target: Path, name: str, assets: Mapping[str, Mapping[str, Any]]) -> None:
    import pystac

    file = target / "collection.json"
    if file.exists():
        collection = pystac.Collection.from_file(str(file))
    else:
        space, time = pystac.SpatialExtent([-180.0, -90.0, 180.0, 90.0]), pystac.TemporalExtent([None, None])
        collection = pystac.Collection(name, f"Results exported to {name}", pystac.Extent(space, time), license="other")
    for key, asset in assets.items():
        collection.remove_item(key)
        collection.add_item(_item(key, asset))
    collection.normalize_hrefs(str(target), strategy=pystac.layout.TemplateLayoutStrategy(item_template=""))
    collection.save(pystac.CatalogType.SELF_CONTAINED)


def _item(key: str, asset: Mapping[str, Any]) -> Any:
    import datetime as dt

    import pystac
    import shapely

    box = asset.get("bbox")
    time = dt.datetime.fromisoformat(asset["datetime"]) if asset.get("datetime") else dt.datetime.now(dt.UTC)
    outline = shapely.geometry.mapping(shapely.box(*box)) if box else None
    item = pystac.Item(key, outline, box, time, {})
    facts = {name: value for name, value in asset.items() if name.startswith("proj:") or name == "file:size"}
    item.add_asset(key, pystac.Asset(f"./{key}", media_type=asset.get("type"), roles=["data"], extra_fields=facts))
    return item
