"""Make one file of the files that are one result: a zip archive, or a GeoTIFF with what lay beside it."""

from __future__ import annotations

import posixpath
import re
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat
from xml.sax.saxutils import escape, unescape

import rasterio
from rasterio.crs import CRS
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

from upscaling.errors import bad_output
from upscaling.model import FetchedAsset
from upscaling.results.bands import has_mask
from upscaling.results.multifile import SOURCE, Group
from upscaling.util.files import written_whole

__all__ = ["fold", "foldable", "laid_out", "pack", "pack_folder"]

_FOLDED = re.compile(r"\.(msk|aux\.xml|prj|wld|[a-z]{1,4}w)$", re.IGNORECASE)
_BEFORE_ALL_TIMES = (1980, 1, 1, 0, 0, 0)  # the same files make the same archive
# What of GDAL's auxiliary metadata says something of the pixels; other elements can name further files.
_PAM_OF_DATASET = ("SRS", "GeoTransform")
_PAM_OF_BAND = (
    "NoDataValue",
    "Description",
    "UnitType",
    "Offset",
    "Scale",
    "ColorInterp",
    "ColorTable",
    "CategoryNames",
)
_LARGEST_PAM = 16 << 20  # bytes
_LONGEST_NAME = 200  # characters


def foldable(name: str) -> bool:
    """Whether a file beside a GeoTIFF is written into it: a mask, metadata, where it lies."""
    return bool(_FOLDED.search(name))


def laid_out(group: Group, place: Path) -> Path:
    """Put a group's files into a folder by the names by which they find each other; return the main file's path."""
    shutil.rmtree(place, ignore_errors=True)
    main = place
    for asset in (group.main, *group.parts):
        name = group.name_of(asset)
        parts = name.split("/")
        if any(part in ("", ".", "..") or "\0" in part or len(part) > _LONGEST_NAME for part in parts):
            raise bad_output(f"{Path(name).name} has a name that cannot be kept")
        target = place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if asset.path.is_dir():
            shutil.copytree(asset.path, target)
        elif target.suffix.lower() == ".vrt":
            target.write_text(_with_near_sources(asset, group), encoding="utf-8")
        else:
            try:
                target.hardlink_to(asset.path.resolve())
            except OSError:  # another file system
                shutil.copyfile(asset.path, target)
        if asset is group.main:
            main = target
    return main


def _with_near_sources(asset: FetchedAsset, group: Group) -> str:
    """Return a VRT's text with the names that its sources have in the group."""
    names = {posixpath.basename(part.origin): group.name_of(part) for part in (*group.parts, group.main)}
    here = posixpath.dirname(group.name_of(asset))

    def near(match: re.Match[str]) -> str:
        written = unescape(match[2].strip())
        name = posixpath.relpath(names.get(posixpath.basename(written), written), here or ".")
        return f'<{match[1]} relativeToVRT="1">{escape(name)}</{match[1]}>'

    text = asset.path.read_text(encoding="utf-8", errors="replace")
    return SOURCE.sub(near, text)


def pack(place: Path, target: Path) -> None:
    """Write all files below a folder into a zip archive."""
    with written_whole(target) as temporary, zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
        for path in sorted(place.rglob("*")):
            if path.is_file() and not path.is_symlink():
                info = zipfile.ZipInfo(path.relative_to(place).as_posix(), _BEFORE_ALL_TIMES)
                info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                with path.open("rb") as source, archive.open(info, "w", force_zip64=True) as stream:
                    shutil.copyfileobj(source, stream, 1 << 20)


def pack_folder(folder: Path, target: Path) -> None:
    """Write a folder that is one product into a zip archive, under its own name."""
    if any(path.is_symlink() for path in folder.rglob("*")):
        raise bad_output(f"{folder.name} has a symbolic link in it")
    if not any(path.is_file() for path in folder.rglob("*")):
        raise bad_output(f"{folder.name} is an empty folder")
    pack(folder, target)


def fold(main: Path, beside: list[Path]) -> Path:
    """Return a GeoTIFF with the mask, the georeference and the metadata that lay beside it written into it.

    Parameters
    ----------
    main
        A GeoTIFF in a folder of its own, with its companions.
    beside
        The companions.

    Raises
    ------
    TileFailedError
        ``bad-output``: it cannot be read, or its mask cannot: masked pixels would become valid.
    """
    for path in beside:
        if path.name.lower().endswith(".aux.xml"):
            _keep_plain_metadata(path)
    target = main.parent / "folded" / main.name
    target.parent.mkdir(exist_ok=True)
    options = {"GDAL_PAM_ENABLED": "YES", "GDAL_DISABLE_READDIR_ON_OPEN": "FALSE", "GDAL_TIFF_INTERNAL_MASK": "YES"}
    with rasterio.Env(**options), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(main, driver="GTiff") as dataset:
                masked = any(path.name.lower().endswith(".msk") for path in beside)
                if masked and not has_mask(dataset):
                    raise bad_output(f"the mask of {main.name} cannot be read: it is no mask of the whole raster")
                crs = dataset.crs or _crs_beside(beside)
                rasterio.shutil.copy(dataset, target, driver="GTiff", BIGTIFF="IF_SAFER", TILED="YES")
            if crs is not None:
                with rasterio.open(target, "r+", driver="GTiff") as dataset:
                    if dataset.crs is None:
                        dataset.crs = crs
        except RasterioError as error:
            raise bad_output(f"{main.name} cannot be read to the last block: {error}") from error
    target.with_name(f"{target.name}.aux.xml").unlink(missing_ok=True)
    return target


def _crs_beside(beside: list[Path]) -> Any:
    for path in beside:
        if path.suffix.lower() == ".prj" and path.stat().st_size < 1 << 16:
            try:
                return CRS.from_wkt(path.read_text(encoding="utf-8", errors="replace"), morph_from_esri_dialect=True)
            except CRSError as error:
                raise bad_output(f"{path.name} is no CRS: {error}") from error
    return None


def _keep_plain_metadata(path: Path) -> None:
    """Rewrite auxiliary metadata with what is known to be harmless."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.stat().st_size <= _LARGEST_PAM else ""

    def refuse(*_: object) -> None:
        raise bad_output(f"{path.name} defines entities, and is not read")

    reader = expat.ParserCreate()
    reader.StartDoctypeDeclHandler = refuse
    try:
        reader.Parse(text, True)
        root = ElementTree.fromstring(text)  # noqa: S314 -- it defines no entities
    except (expat.ExpatError, ElementTree.ParseError):
        raise bad_output(f"{path.name} is no XML") from None
    path.unlink()  # it may be a link to the file that came
    if root.tag != "PAMDataset":
        return
    kept = ElementTree.Element("PAMDataset")
    kept.extend(entry for entry in root if entry.tag in _PAM_OF_DATASET)
    for band in root.findall("PAMRasterBand"):
        copy = ElementTree.SubElement(kept, "PAMRasterBand", {"band": str(band.get("band", "1"))})
        copy.extend(entry for entry in band if entry.tag in _PAM_OF_BAND)
    path.write_bytes(ElementTree.tostring(kept))
