"""What is said of a mosaic's bands: GDAL's tile index itself forgets what the tiles say of theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from upscaling.util.files import written_whole

__all__ = ["class_colours", "say_of_bands"]


def say_of_bands(raster: Path, bands: Sequence[Mapping[str, Any]]) -> None:
    """Write names, units and scales of a raster's bands beside it, where GDAL and QGIS look.

    Parameters
    ----------
    raster
        Any raster; what is written is ``<raster>.aux.xml`` (GDAL's persistent auxiliary metadata).
    bands
        STAC band objects in the raster's order. Nothing is written if they are not as many as its bands.
    """
    import rasterio

    with rasterio.open(raster) as dataset:
        count = dataset.count
    if count != len(bands):
        return
    said = "".join(
        f'<PAMRasterBand band="{number}">{"".join(_elements(band))}</PAMRasterBand>'
        for number, band in enumerate(bands, 1)
    )
    with written_whole(raster.with_name(f"{raster.name}.aux.xml")) as temporary:
        temporary.write_text(f"<PAMDataset>{said}</PAMDataset>", encoding="utf-8")


def _elements(band: Mapping[str, Any]) -> Iterator[str]:
    words = {"Description": "name", "UnitType": "unit", "Offset": "raster:offset", "Scale": "raster:scale"}
    for element, name in words.items():
        if band.get(name) is not None:
            yield f"<{element}>{escape(str(band[name]))}</{element}>"


def class_colours(bands: Sequence[Mapping[str, Any]]) -> dict[int, tuple[int, int, int, int]]:
    """Return value -> red, green, blue and opacity of the first band's classes; nothing if it has none."""
    classes = next(iter(bands), {}).get("classification:classes") or ()
    return {int(entry["value"]): _colour(entry) for entry in classes}


def _colour(entry: Mapping[str, Any]) -> tuple[int, int, int, int]:
    hint = str(entry.get("color_hint", "808080"))
    red, green, blue = (int(hint[at : at + 2], 16) for at in (0, 2, 4))
    return red, green, blue, 0 if entry.get("nodata") else 255
