"""Which files belong together: a shapefile's parts, a header and its raster, a mask or a world file beside an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["end_of_chain", "families"]

# Endings that are put behind the whole name of a file: "a.tif.msk".
_APPENDED = (
    *(".aux.xml", ".msk", ".ovr", ".xml", ".hdr", ".vat.dbf", ".vat.cpg", ".vat.dbf.xml", ".aux", ".idx"),
    *("-wal", "-shm", "-journal"),  # what an open SQLite database has not written to its file yet
)
_RASTERS = (".tif", ".tiff", ".jpg", ".jpeg", ".png", ".jp2", ".j2k", ".gif", ".bmp", ".webp", ".img", ".asc", ".vrt")
_WITH_RASTER = (
    ".vat.dbf",
    ".vat.cpg",
    ".wld",
    ".prj",
    ".aux",
    ".rpb",
    ".imd",
    ".til",
    ".att",
    ".eph",
    ".geo",
    "_rpc.txt",
    ".rrd",
    ".clr",
)
_SHAPEFILE = (
    *(".shx", ".dbf", ".prj", ".cpg", ".qpj", ".qix", ".sbn", ".sbx", ".qmd", ".fix", ".cst"),
    *(".idm", ".ind", ".fbn", ".fbx", ".ain", ".aih", ".atx", ".mxs", ".ixs", ".qml", ".sld"),
)
_WITH_HEADER = (".hdr", ".blw", ".stx", ".clr", ".prj", ".sta")
# Ending of a main file -> endings, in place of its own, of the files that belong to it. The first that fits counts.
_FAMILIES: dict[str, tuple[str, ...]] = {
    ".shp": _SHAPEFILE,
    ".tab": (".dat", ".map", ".id", ".ind"),
    ".mif": (".mid",),
    ".csv": (".csvt", ".prj"),
    ".las": (".lax",),
    ".sid": (".sdw", ".prj"),
    ".sdat": (".sgrd", ".mgrd", ".prj"),
    ".rst": (".rdc", ".smp", ".ref"),
    ".grd": (".gri",),
    ".gml": (".xsd", ".gfs"),
    ".img": (*_WITH_HEADER, ".ige", ".rde"),
    **dict.fromkeys((".dat", ".bin", ".bsq", ".bil", ".bip", ".raw", ".flt", ".sli"), _WITH_HEADER),
    "": (".hdr",),
}


def families(names: Iterable[str]) -> dict[str, str]:
    """Return, for files of one folder, name -> name of the main file that it belongs to; main files are not in it."""
    known = {name.lower(): name for name in sorted(names, reverse=True)}
    found: dict[str, str] = {}
    for lower, name in known.items():
        main = _main_of(lower, known)
        if main is not None:
            found[name] = known[main]
    return {name: end_of_chain(name, found) for name in found}


def end_of_chain(name: str, found: Mapping[str, str]) -> str:
    """Return the main file at the end of a chain ("a.tif.msk.ovr" belongs to the mask, the mask to the image)."""
    seen = {name}
    while name in found and found[name] not in seen:
        name = found[name]
        seen.add(name)
    return name


def _main_of(name: str, known: Mapping[str, str]) -> str | None:
    for ending in _APPENDED:
        if name.endswith(ending) and name.removesuffix(ending) in known:
            return name.removesuffix(ending)
    rasters = ((ending, (*_WITH_RASTER, f".{ending[1]}{ending[-1]}w", f"{ending}w")) for ending in _RASTERS)
    for main_ending, endings in (*_FAMILIES.items(), *rasters):
        for ending in endings:
            main = f"{name.removesuffix(ending)}{main_ending}"
            if name.endswith(ending) and main in known and main != name:
                return main
    return None
