"""Bands as STAC describes them: read off a raster, and written beside a mosaic, whose tile index forgets them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from rasterio.enums import MaskFlags
from rasterio.io import MemoryFile
from rasterio.shutil import copy

from upscaling.util.files import write_whole

__all__ = [
    "WIDE",
    "as_vrt",
    "bands_of",
    "class_colours",
    "class_legend",
    "copy_facts",
    "exact_nodata",
    "has_mask",
    "say_of_bands",
    "stac_number",
]

WIDE = ("int64", "uint64")
_STAC_TYPES = {"complex_int16": "cint16", "complex64": "cfloat32", "complex128": "cfloat64"}  # rasterio -> STAC


def say_of_bands(raster: Path, bands: Sequence[Mapping[str, Any]]) -> None:
    """Write names, units and scales of a raster's bands beside it, where GDAL and QGIS look.

    Parameters
    ----------
    raster
        Any raster; what is written is ``<raster>.aux.xml`` (GDAL's persistent auxiliary metadata).
    bands
        STAC band objects in the raster's order. Nothing is written if they are not as many as its bands.
    """
    with rasterio.open(raster) as dataset:
        count, wide = dataset.count, dataset.dtypes[0] in WIDE
        nodata = exact_nodata(dataset) if wide else None
    if count != len(bands):
        return
    # 64-bit nodata values are read from here alone: the index itself knows floating-point numbers only
    value = f"<NoDataValue>{int(nodata)}</NoDataValue>" if nodata is not None else ""
    said = "".join(
        f'<PAMRasterBand band="{number}">{"".join(_elements(band))}{value}</PAMRasterBand>'
        for number, band in enumerate(bands, 1)
    )
    write_whole(raster.with_name(f"{raster.name}.aux.xml"), f"<PAMDataset>{said}</PAMDataset>")


def _elements(band: Mapping[str, Any]) -> Iterator[str]:
    words = {"Description": "name", "UnitType": "unit", "Offset": "raster:offset", "Scale": "raster:scale"}
    for element, name in words.items():
        if band.get(name) is not None:
            yield f"<{element}>{escape(str(band[name]))}</{element}>"


def class_colours(bands: Sequence[Mapping[str, Any]]) -> dict[int, tuple[int, int, int, int]]:
    """Return value -> red, green, blue and opacity of the first band's classes; nothing if it has none."""
    classes = next(iter(bands), {}).get("classification:classes") or ()
    return {int(entry["value"]): _colour(entry) for entry in classes}


def class_legend(bands: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return name and colour (``#rrggbb``) of the first band's classes, without those of no data."""
    classes = next(iter(bands), {}).get("classification:classes") or ()
    return [
        {
            "name": str(entry.get("title") or entry.get("name") or entry["value"]),
            "colour": f"#{str(entry.get('color_hint', '808080')).lower()}",
        }
        for entry in classes
        if not entry.get("nodata")
    ]


def _colour(entry: Mapping[str, Any]) -> tuple[int, int, int, int]:
    hint = str(entry.get("color_hint", "808080"))
    red, green, blue = (int(hint[at : at + 2], 16) for at in (0, 2, 4))
    return red, green, blue, 0 if entry.get("nodata") else 255


def bands_of(dataset: Any) -> tuple[dict[str, Any], ...]:
    """Return the STAC 1.1 band objects of an open raster, in file order."""
    bands, nodata = [], exact_nodata(dataset)
    for index in range(dataset.count):
        band: dict[str, Any] = {
            "name": dataset.descriptions[index] or "",
            "data_type": _STAC_TYPES.get(dataset.dtypes[index], dataset.dtypes[index]),
        }
        if nodata is not None:
            band["nodata"] = stac_number(nodata, dataset.dtypes[index])
        if dataset.units[index]:
            band["unit"] = dataset.units[index]
        if dataset.scales[index] != 1:
            band["raster:scale"] = dataset.scales[index]
        if dataset.offsets[index] != 0:
            band["raster:offset"] = dataset.offsets[index]
        bands.append(band)
    return tuple(bands)


def exact_nodata(dataset: Any) -> float | int | None:
    """Return the nodata value of an open raster, to the bit; None where no value of its type can be equal to it.

    rasterio reads that of 64-bit integers as a floating-point number, or not at all.
    """
    dtype = dataset.dtypes[0]
    if dtype in WIDE and any(MaskFlags.nodata in flags for flags in dataset.mask_flag_enums):
        text = as_vrt(dataset).findtext("VRTRasterBand/NoDataValue")
        return int(text) if text and re.fullmatch(r"-?\d+", text) else None
    nodata: float | None = dataset.nodata
    if nodata is None or dtype.startswith(("float", "complex")):
        return nodata
    whole = nodata == math.floor(nodata) if math.isfinite(nodata) else False
    return nodata if whole and np.iinfo(dtype).min <= nodata <= np.iinfo(dtype).max else None


def as_vrt(raster: Any) -> ElementTree.Element:
    """Return a raster (open, or its path) as GDAL describes it in a VRT."""
    with MemoryFile(ext=".vrt") as memory:
        copy(raster, memory.name, driver="VRT")
        return ElementTree.fromstring(memory.read())  # noqa: S314 -- GDAL wrote it


def has_mask(dataset: Any) -> bool:
    """Whether a mask of its own says which pixels of a raster are valid."""
    return all(MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags for flags in dataset.mask_flag_enums)


def copy_facts(src: Any, dst: Any) -> None:
    """Let a raster say of itself and its bands what another says."""
    dst.descriptions, dst.scales, dst.offsets = src.descriptions, src.scales, src.offsets
    dst.colorinterp = src.colorinterp
    dst.update_tags(**src.tags())
    for band in range(1, src.count + 1):
        dst.update_tags(band, **{k: v for k, v in src.tags(band).items() if not k.startswith("STATISTICS_")})
        if src.units[band - 1]:
            dst.set_band_unit(band, src.units[band - 1])
        if src.colorinterp[band - 1].name == "palette":
            dst.write_colormap(band, src.colormap(band))


def stac_number(value: float, dtype: str) -> float | int | str:
    """Write a nodata value as STAC 1.1 does: ``"nan"``, ``"inf"`` and ``"-inf"`` are strings."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if dtype.startswith(("float", "complex")) or not -(1 << 63) <= value < 1 << 63:  # no table has larger whole numbers
        return float(value)
    return int(value)
