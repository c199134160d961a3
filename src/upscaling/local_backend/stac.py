"""Local STAC catalogues as collections: items become scenes, raster assets their bands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.errors import ConfigError
from upscaling.local_backend.data import BandFile, Collection, Scene, as_utc, read_header
from upscaling.local_backend.definitions import check_local

if TYPE_CHECKING:
    import pystac

__all__ = ["UNREADABLE", "load_catalogue", "read_stac", "reason_of", "stac_scenes"]

UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, OSError, RecursionError)
"""What pystac raises, beside its own errors, for documents that are not as STAC has them."""


def reason_of(error: BaseException) -> str:
    """Return what is wrong with a document: pystac hides it behind the link that led there."""
    words = f"has no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
    return f"{words} ({reason_of(error.__cause__)})" if error.__cause__ is not None else words


def load_catalogue(path: Path) -> dict[str, Collection]:
    """Read a STAC catalogue or collection into collections by id; those without raster items are left out.

    Raises
    ------
    ConfigError
        The document, or an item or asset below it, is missing or broken.
    """
    import pystac

    try:
        top = read_stac(str(path))
        if not isinstance(top, pystac.Catalog):
            raise ConfigError("must be a STAC Catalog or Collection", file=path)
        found = [top] if isinstance(top, pystac.Collection) else list(top.get_all_collections())
    except (pystac.STACError, *UNREADABLE) as error:
        raise ConfigError(f"not a readable STAC document: {reason_of(error)}", file=path) from error
    collections = {}
    for entry in found:
        scenes = stac_scenes(entry)
        if scenes:
            collections[entry.id] = Collection(
                entry.id, entry.title or "", entry.description or "", entry.license or "other", tuple(scenes)
            )
    if not collections:
        raise ConfigError("holds no collection with raster items", file=path)
    return collections


def read_stac(href: str) -> pystac.STACObject:
    """Read a STAC document that, like all that it links to, is a local file or on this host.

    Raises
    ------
    ConfigError, pystac.STACError, ValueError, KeyError, OSError
    """
    import pystac
    from pystac.stac_io import DefaultStacIO

    class LocalIO(DefaultStacIO):
        def read_text_from_href(self, href: str, **arguments: Any) -> str:
            if "://" in href and not href.startswith("file://"):
                check_local(href)
            return super().read_text_from_href(href, **arguments)

    return pystac.read_file(href, stac_io=LocalIO())


def stac_scenes(entry: pystac.Catalog | pystac.Item) -> list[Scene]:
    """Read a local STAC item, or every item below a catalogue, into scenes.

    Raises
    ------
    ConfigError
        An item or an asset is missing or broken.
    """
    import pystac

    try:
        items = [entry] if isinstance(entry, pystac.Item) else list(entry.get_items(recursive=True))
    except (pystac.STACError, *UNREADABLE) as error:
        raise ConfigError(
            f"an item of {entry.id} cannot be read: {reason_of(error)}", file=entry.get_self_href()
        ) from error
    return [scene for item in items if (scene := _stac_scene(item)) is not None]


def _stac_scene(item: pystac.Item) -> Scene | None:
    bands: dict[str, BandFile] = {}
    for key, asset in item.assets.items():
        href = (asset.get_absolute_href() or asset.href).removeprefix("file://")
        if {"thumbnail", "overview", "metadata"} & set(asset.roles or ()) or not _is_raster(href, asset.media_type):
            continue
        if "://" in href:
            check_local(href)
        elif not Path(href).is_file():
            raise ConfigError(f"asset {key}: there is no file {href}", file=item.get_self_href())
        raster, kinds, nodata, descriptions = read_header(href)
        stated = asset.extra_fields.get("bands") or asset.extra_fields.get("eo:bands") or []
        names = [str(band.get("name") or "") for band in stated]
        if len(names) != len(kinds) or not all(names):
            names = [key] if len(kinds) == 1 else [text or f"{key}-{n}" for n, text in enumerate(descriptions, 1)]
        for number, name in enumerate(names, 1):
            bands.setdefault(name, BandFile(href, number, kinds[number - 1], nodata[number - 1], raster))
    time = item.datetime or item.common_metadata.start_datetime
    if not bands or time is None:
        return None
    return Scene(item.id, as_utc(time), bands, dict(item.properties), item.get_self_href() or "")


def _is_raster(href: str, media_type: str | None) -> bool:
    return "tiff" in (media_type or "") or href.lower().endswith((".tif", ".tiff"))
