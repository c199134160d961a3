"""Vector files and CRS names, as AOI and grids read them."""

from __future__ import annotations

import glob
import re
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from upscaling.errors import ConfigError
from upscaling.util.file_families import families
from upscaling.util.files import digest, sha256_file

__all__ = ["content_of", "crs_name", "declared_crs", "read_vector", "split_layer"]

_LONLAT = "EPSG:4326"
_LAYER = re.compile(r"\|(?:layername|layer)=", re.IGNORECASE)
_ENDINGS = {
    ".fgb",
    ".geojson",
    ".geojsonl",
    ".geoparquet",
    ".gml",
    ".gpkg",
    ".json",
    ".kml",
    ".parquet",
    ".shp",
    ".gpx",
}
_READ = "GeoJSON, GeoPackage, KML, FlatGeobuf, GeoParquet, zipped Shapefile"
_NONE = "has no vector file in it (.shp, .geojson, .gpkg, .kml …)"
_HASHED = 1 << 28  # bytes; of larger files and folders names, sizes and times count
_OLD_CRS = re.compile(rb'"crs"\s*:\s*\{[^{}]*\{[^{}]*?"(?:name|code|href)"\s*:\s*("[^"]*"|\d+)')
_HEAD = 65536  # bytes at each end of a GeoJSON file in which the CRS of the old standard stands


def crs_name(crs: Any) -> str:
    """Return ``EPSG:<n>`` for a pyproj CRS (CRS84 counts as 4326: x is longitude here, always), else its WKT2."""
    if crs.is_compound:
        crs = crs.sub_crs_list[0]
    crs = crs.to_2d()
    if crs.equals("EPSG:4326", ignore_axis_order=True) or crs.equals("OGC:CRS84"):
        return _LONLAT
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_wkt("WKT2_2019"))


def split_layer(text: str, base: Path = Path()) -> tuple[Path, str]:
    """Return path and layer of ``path|layername=name``; ``~`` is the home folder, and ``file://`` leads to a path."""
    name, *layer = _LAYER.split(text, maxsplit=1)
    if name.lower().startswith("file://"):
        name = url2pathname(urlsplit(name).path)
    return base / Path(name).expanduser(), layer[0] if layer else ""


def content_of(text: str) -> list[str]:
    """Return hashes of what is in a vector file: of it alone, of a Shapefile's siblings, or of all files of a folder.

    Empty for what is no file: WKT, an address, a path that does not exist.
    """
    try:
        path, _ = _archive(split_layer(text)[0])
        if path.is_file():
            siblings = {path.name: path} | {file.name: file for file in path.parent.glob(f"{glob.escape(path.stem)}.*")}
            mains = families(siblings)
            files = [file for name, file in sorted(siblings.items()) if mains.get(name, name) == path.name]
            return [sha256_file(file) for file in files]
        if not path.is_dir():
            return []
        files = sorted(file for file in path.rglob("*") if file.is_file())
        stats = [file.stat() for file in files]
        if sum(stat.st_size for stat in stats) > _HASHED:
            pairs = zip(files, stats, strict=True)
            return [digest([[str(file), stat.st_size, stat.st_mtime_ns] for file, stat in pairs])]
        return [digest([str(file.relative_to(path)), sha256_file(file)]) for file in files]
    except (OSError, ValueError, RuntimeError):  # a text is no file name; no home folder
        return []


def read_vector(text: str, base: Path, *, key: str, columns: list[str] | None = None) -> tuple[Any, Path]:
    """Read a vector file that has geometries and a CRS.

    Parameters
    ----------
    text
        ``path`` or ``path|layername=name``. A ``.zip`` may have its file in a folder (``path.zip!folder/file.shp``
        where it has several), and ``.gz`` stands for the file that is compressed.
    key
        The configuration key to blame.
    columns
        Attributes to read; None for all.

    Returns
    -------
    frame, path
        A GeoDataFrame and where it was read from.

    Raises
    ------
    ConfigError
        If that is not possible.
    """
    import geopandas as gpd

    try:
        path, layer = split_layer(text, base)
        path, member = _archive(path)
        exists = path.exists()
        if not text.isprintable():
            raise ValueError(text)  # noqa: TRY301 -- with what pathlib says of such names
    except (OSError, ValueError, RuntimeError):  # too long for a name, a NUL in it, no such user's home
        raise ConfigError(f"is no vector file, and nothing else that is read: {text[:60]!r}", key=key) from None
    if not exists:
        raise ConfigError("no such file", key=key, file=path)
    try:
        if path.suffix.lower() in {".parquet", ".geoparquet"}:
            frame = gpd.read_parquet(path)
        else:
            source = _source(path, member, key)
            frame = gpd.read_file(source, layer=layer or _only_layer(source, path, member, key), columns=columns)
    except ConfigError:
        raise
    except Exception as error:  # GDAL, Arrow and the file system each raise families of their own
        # without advice for programmers
        what = re.split(r"\.; It might help|\. Set SHAPE_RESTORE", " ".join(str(error).split()))[0][:300]
        if "not recognized as being in a supported file format" in what:
            what = f"it is broken, or of no format that is read ({_READ} …)"
        raise ConfigError(f"cannot be read as a vector file: {what}", key=key, file=path) from None
    if not isinstance(frame, gpd.GeoDataFrame):
        raise ConfigError("has no geometries", key=key, file=path)
    if frame.crs is None:
        raise ConfigError("has no CRS (a shapefile needs its .prj): save it with one", key=key, file=path)
    return frame, path


def _archive(path: Path) -> tuple[Path, str]:
    """Split ``x.zip!folder/file.shp`` into the archive and its member."""
    name, found, member = str(path).partition("!")
    is_archive = bool(found) and Path(name).suffix.lower() == ".zip" and not path.exists()
    return (Path(name), member) if is_archive else (path, "")


def _source(path: Path, member: str, key: str) -> str:
    """Return what GDAL opens: the file, or what is in an archive."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return f"/vsigzip/{path.absolute()}"
    if suffix != ".zip":
        return str(path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    folders = {f"{name.partition('.gdb/')[0]}.gdb" for name in names if ".gdb/" in name.lower()}
    files = [name for name in names if Path(name).suffix.lower() in _ENDINGS and "__MACOSX" not in name]
    found = sorted(folders) or files
    if member:
        if member not in names and member not in folders:
            raise ConfigError(f"has no {member}; it has {', '.join(found) or 'no vector file'}", key=key, file=path)
        found = [member]
    if len(found) != 1:
        has = (
            f"has {len(found)} vector files ({', '.join(found)}): name one, as in {path.name}!{found[0]}"
            if found
            else _NONE
        )
        raise ConfigError(has, key=key, file=path, choices=[f"!{name}" for name in found])
    return f"/vsizip/{{{path.absolute()}}}/{found[0]}"


def _only_layer(source: str, path: Path, member: str, key: str) -> str:
    import pyogrio

    layers = [str(row[0]) for row in pyogrio.list_layers(source) if row[1] is not None]
    if not layers:
        raise ConfigError("has no layer with geometries", key=key, file=path)
    if len(layers) > 1:
        inside = f"!{member}" if member else ""
        choices = [f"{inside}|layername={layer}" for layer in layers]
        has = f"has {len(layers)} layers ({', '.join(layers)}): name one, as in {path.name}{choices[0]}"
        raise ConfigError(has, key=key, file=path, choices=choices)
    return layers[0]


def declared_crs(path: Path) -> str | None:
    """Return the CRS that a GeoJSON file of the old standard (2008) names; None where it names none.

    GDAL takes one that it does not know for longitude and latitude.
    """
    import gzip

    name = path.name.lower().removesuffix(".gz")
    if not name.endswith((".geojson", ".json")) or not path.is_file():
        return None
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as stream:
            head = stream.read(_HEAD)
            tail = b""
            if path.suffix.lower() != ".gz":
                stream.seek(max(len(head), path.stat().st_size - _HEAD))
                tail = stream.read(_HEAD)
    except (OSError, EOFError):
        return None
    found = _OLD_CRS.search(head) or _OLD_CRS.search(tail)
    return found[1].decode("utf-8", "replace").strip('"') if found else None
