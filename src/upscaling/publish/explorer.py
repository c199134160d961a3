"""``explorer-config.json``: the mosaics of a run as layers of the APEx Geospatial Explorer.

The form is that of github.com/ESA-APEx/apex_geospatial_explorer_configs (examples/cog, examples/time-series): one COG
and one entry per layer; an entry with the address of each tile would be too much for a browser.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import rasterio

from upscaling.area.outline import union_bbox
from upscaling.errors import UpscalingError
from upscaling.results.product_assets import cogs_of

__all__ = ["explorer_config"]

_STRETCH = (2.0, 98.0)  # percentiles
_SAMPLE = 512  # pixels of the longer side that the range is read from
_RAMP = ("#440154", "#fde725")  # the ends of the quicklook's colours
_GROUP = "results"


def explorer_config(
    collection: Mapping[str, Any], mosaics: Sequence[Mapping[str, Any]], run_folder: Path, base: str
) -> dict[str, Any] | None:
    """Return the configuration, or None if no mosaic was made as a COG (``mosaic.cog``).

    Parameters
    ----------
    base
        Public address of the run's folder; the explorer needs https and CORS.
    """
    layers = [layer for mosaic in mosaics for layer in _layers(collection, mosaic)]
    if not layers:
        return None
    west, south, east, north = union_bbox([mosaic["bbox"] for mosaic in layers])
    east += 360 if east < west else 0  # over the antimeridian
    title = str(collection.get("title") or collection["id"])
    return {
        "version": "1.0.0",
        "layout": {"navigation": {"title": title}},
        "mapConstraints": {
            "center": [(west + east) / 2, (south + north) / 2],
            "zoom": _zoom(east - west),
            "projection": "EPSG:3857",
        },
        "interfaceGroups": [{"name": _GROUP, "title": title}],
        "exclusivitySets": [[_name(title, mosaic) for mosaic in layers]] if len(layers) > 1 else [],
        "services": [{"id": collection["id"], "name": title, "url": f"{base}/collection.json", "format": "stac"}],
        "sources": [
            _source(title, collection, mosaic, run_folder, base, first=number == 0)
            for number, mosaic in enumerate(layers)
        ],
    }


def _layers(collection: Mapping[str, Any], mosaic: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a layer for each COG of a mosaic, with the bands that it holds."""
    described = (collection.get("item_assets") or {}).get(mosaic["asset"]) or {}
    for number, (file, bands) in enumerate(cogs_of(mosaic, described.get("bands") or []), 1):
        band = bands[0] if bands else {}
        name = "" if mosaic["cog"] else band.get("name") or f"b{number}"
        yield {**mosaic, "cog": file, "described": described, "band": band, "name": name}


def _source(
    title: str, collection: Mapping[str, Any], mosaic: Mapping[str, Any], run_folder: Path, base: str, *, first: bool
) -> dict[str, Any]:
    low, high, bands, crs = _range(run_folder / "mosaic" / Path(mosaic["cog"]).name)
    described, band = mosaic["described"], mosaic["band"]
    classes = band.get("classification:classes") or described.get("classification:classes") or ()
    meta: dict[str, Any] = {
        "description": str(collection.get("description") or title),
        "attribution": ", ".join(str(entry["name"]) for entry in collection.get("providers") or ()),
    }
    if classes:
        meta["categories"] = [
            {
                "label": str(entry.get("title") or entry.get("name") or entry["value"]),
                "color": f"#{entry.get('color_hint', '808080')}",
                "value": entry["value"],
            }
            for entry in classes
        ]
        legend = "swatch"
    else:
        meta |= {"min": low, "max": high, "startColor": _RAMP[0], "endColor": _RAMP[1]}
        legend = "gradient"
    if band.get("unit") or described.get("unit"):
        meta["units"] = str(band.get("unit") or described.get("unit"))
    data: dict[str, Any] = {
        "url": f"{base}/mosaic/{quote(Path(mosaic['cog']).name)}",
        "format": "cog",
        "zIndex": 10,
        "projection": crs,
        "bands": [1, 2, 3] if bands >= 3 and not classes else [1],
    }
    if mosaic["step"]:
        data["timestamps"] = [mosaic["step"]]
    return {
        "name": _name(title, mosaic),
        "isActive": first,
        "data": [data],
        "meta": meta,
        "layout": {
            "interfaceGroup": _GROUP,
            "layerCard": {
                "toggleable": True,
                "controls": {"zoomToCenter": True, "opacitySlider": True, "download": data["url"]},
                "legend": {"type": legend},
            },
        },
    }


def _name(title: str, mosaic: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (title, mosaic["asset"], mosaic["name"], mosaic["step"])))


def _range(path: Path) -> tuple[float, float, int, str]:
    """Return what the first band's values lie between, from an overview, the number of bands, and the CRS."""
    try:
        with rasterio.open(path) as dataset:
            scale = min(1.0, _SAMPLE / max(dataset.width, dataset.height))
            shape = (max(1, round(dataset.height * scale)), max(1, round(dataset.width * scale)))
            values = dataset.read(1, out_shape=shape, masked=True).compressed()
            bands, crs = int(dataset.count), str(dataset.crs.to_string())
    except OSError as error:  # as rasterio's are
        raise UpscalingError(f"{path}: cannot be read: {error}; delete {path.parent} and run again") from None
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0, bands, crs
    low, high = np.percentile(values, _STRETCH).tolist()
    return low, high, bands, crs


def _zoom(degrees: float) -> int:
    """Return the web map's zoom level at which so many degrees fill a screen of about 1,000 pixels."""
    return max(1, min(18, int(math.log2(1000 / 256 * 360 / max(degrees, 1e-3)))))
