"""Which of a tile's files are one result: a shapefile's parts, a header and its raster, a VRT and what it reads."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import unescape

from upscaling.errors import bad_output
from upscaling.model import FetchedAsset
from upscaling.util.file_families import end_of_chain, families
from upscaling.util.text import plain_text

__all__ = ["SOURCE", "Group", "files_together", "is_georeference"]

# Folders that are one product.
_PRODUCT_FOLDERS = (".gdb", ".safe", ".sen3", ".parquet", ".grid", ".eopf")
_LARGEST_INDEX = 16 << 20  # bytes of a VRT or of the XML file of a DIMAP product
SOURCE = re.compile(r"<(Source(?:Filename|Dataset))\b[^<>]*>([^<]+)</\1>")  # of a VRT: element, what it names
_REFERENCE = re.compile(r"""\bhref\s*=\s*["']([^"']+)["']""")
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")
_WORLD_FILE = re.compile(r"\.(wld|[a-z]{1,4}w|msk|prj)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Group:
    """Files that are one result.

    Attributes
    ----------
    main
        The file that is opened; of a product folder the first.
    parts
        The others, each of which has an ``origin``.
    root
        The folder, in the words of ``origin``, that all names count from.
    folder
        Name of the product folder that they are, or empty.
    """

    main: FetchedAsset
    parts: tuple[FetchedAsset, ...] = ()
    root: str = ""
    folder: str = ""

    def name_of(self, asset: FetchedAsset) -> str:
        """Return a file's name within the group, by which the others find it."""
        return posixpath.relpath(asset.origin, self.root) if self.root else posixpath.basename(asset.origin)


def is_georeference(name: str) -> bool:
    """Whether a file says where a picture lies, or which of its pixels count."""
    return bool(_WORLD_FILE.search(name))


def files_together(assets: Sequence[FetchedAsset]) -> list[Group]:
    """Return the results among files, in the order of their main files.

    A file that a VRT reads belongs to it; if it is a result by itself, as something names it, it stays one, too.

    Raises
    ------
    TileFailedError
        ``bad-output``: a VRT reads what did not come back.
    """
    known = {asset.origin: asset for asset in assets if asset.origin and not asset.href}
    owners = dict(_of_folders(known))
    copied: dict[str, set[str]] = {}
    for origin, asset in known.items():
        for source in _read_by(asset, known):
            if known[source].loose and source not in owners:
                owners[source] = origin
            else:
                copied.setdefault(origin, set()).add(source)
    owners = {**dict(_of_families(known)), **owners}
    groups = []
    for asset in assets:
        origin = asset.origin
        if origin not in known or known[origin] is not asset:
            groups.append(Group(asset))
        elif end_of_chain(origin, owners) == origin:
            own = {other for other in known if other != origin and end_of_chain(other, owners) == origin}
            for one in (origin, *own):
                own |= copied.get(one, set()) - {origin}
            groups.append(_group(asset, [known[name] for name in sorted(own)]))
    return groups


def _group(main: FetchedAsset, parts: list[FetchedAsset]) -> Group:
    if not parts:
        return Group(main)
    folder = _product_folder(main.origin)
    folders = [posixpath.dirname(asset.origin) for asset in (main, *parts)]
    root = posixpath.dirname(folder) if folder else posixpath.commonpath(folders)
    return Group(main, tuple(parts), root, posixpath.basename(folder))


def _product_folder(origin: str) -> str:
    """Return the outermost folder above a file that is one product, or nothing."""
    parts = origin.split("/")
    for end in range(1, len(parts)):
        if parts[end - 1].lower().endswith(_PRODUCT_FOLDERS):
            return "/".join(parts[:end])
    return ""


def _of_folders(known: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (file, first file of its product folder)."""
    first: dict[str, str] = {}
    for origin in sorted(known):
        folder = _product_folder(origin)
        if folder and first.setdefault(folder, origin) != origin:
            yield origin, first[folder]
        beam = re.match(r"(.*/[^/]+)\.data/", origin)
        if beam and f"{beam[1]}.dim" in known:
            yield origin, f"{beam[1]}.dim"


def _of_families(known: Iterable[str]) -> Iterator[tuple[str, str]]:
    folders: dict[str, list[str]] = {}
    for origin in known:
        folder, _, name = origin.rpartition("/")
        folders.setdefault(folder, []).append(name)
    for folder, names in folders.items():
        found = families(names)
        georeferenced = {main for part, main in found.items() if is_georeference(part)}
        for part, main in found.items():
            # statistics beside a picture do not make it a raster
            if main.lower().endswith(_PICTURES) and main not in georeferenced:
                continue
            yield posixpath.join(folder, part), posixpath.join(folder, main)


def _read_by(asset: FetchedAsset, known: dict[str, FetchedAsset]) -> list[str]:
    """Return the files that a VRT or the XML file of a DIMAP product reads."""
    ending = posixpath.splitext(asset.origin)[1].lower()
    if ending not in (".vrt", ".xml", ".dim") or not asset.path.is_file() or asset.path.stat().st_size > _LARGEST_INDEX:
        return []
    text = asset.path.read_text(encoding="utf-8", errors="replace")
    if ending == ".vrt" or "<VRTDataset" in text[:1000]:
        return [_source(asset, name, known) for name in dict.fromkeys(name for _, name in SOURCE.findall(text))]
    if "<Dimap_Document" not in text[:5000]:
        return []
    here = posixpath.dirname(asset.origin)
    named = (posixpath.normpath(posixpath.join(here, name.strip())) for name in _REFERENCE.findall(text))
    return [name for name in dict.fromkeys(named) if name in known and name != asset.origin]


def _source(asset: FetchedAsset, written: str, known: dict[str, FetchedAsset]) -> str:
    """Return the file that a VRT reads: by its path, or by its name where the VRT was written elsewhere."""
    plain = unescape(written.strip())
    path = posixpath.normpath(posixpath.join(posixpath.dirname(asset.origin), plain))
    if path in known and path != asset.origin:
        return path
    same = [origin for origin in known if posixpath.basename(origin) == posixpath.basename(plain)]
    if len(same) == 1 and same[0] != asset.origin and "://" not in plain and not plain.startswith("/vsi"):
        return same[0]
    raise bad_output(f"{Path(asset.origin).name} reads {plain_text(plain)}, which did not come back with it")
