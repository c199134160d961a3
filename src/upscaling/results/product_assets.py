"""What was made of a collection, as assets of that collection: mosaics, their pictures, the verdict on the whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import rasterio

from upscaling.errors import UpscalingError
from upscaling.results.item import EXTENSIONS
from upscaling.results.outputs_table import file_asset
from upscaling.results.projection import metres_per_unit, proj_code
from upscaling.util.files import rewrite
from upscaling.util.locks import exclusive

__all__ = ["cogs_of", "mosaic_assets", "put_assets", "quality_assets"]


def put_assets(run_folder: Path, below: str, assets: Mapping[str, Mapping[str, Any]]) -> None:
    """Let the run's collection have these assets, instead of all those whose href begins with ``below``.

    The file is written only if that changes it, and keeps its time: it is what the mosaics were made of, and must not
    become newer than they are.

    Raises
    ------
    UpscalingError
        The collection cannot be read.
    """
    path = run_folder / "collection.json"
    with exclusive(run_folder / ".collection.lock"):  # mosaic and quality report are made at the same time
        _put(path, below, assets)


def _put(path: Path, below: str, assets: Mapping[str, Mapping[str, Any]]) -> None:
    try:
        before = path.read_bytes()
        collection = orjson.loads(before)
        there = collection.pop("assets", {})  # one over parts has none of its own
        shown = {key: asset for key, asset in there.items() if not asset["href"].startswith(below)} | dict(assets)
        extensions = set(collection["stac_extensions"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UpscalingError(f"{path} cannot be read: {error!r}; delete it and run again") from error
    if any("raster:spatial_resolution" in asset for asset in shown.values()):
        collection["stac_extensions"] = sorted(extensions | {EXTENSIONS["raster"]})
    if shown:
        collection["assets"] = shown
    after = orjson.dumps(collection, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if after != before:
        rewrite(path, after)


def mosaic_assets(run_folder: Path, mosaics: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the assets that mosaics are: COGs, index and picture of each; the first picture is the thumbnail.

    Parameters
    ----------
    mosaics
        As `upscaling.results.shapes.read_mosaics` gives them.
    """
    described = orjson.loads((run_folder / "collection.json").read_bytes()).get("item_assets") or {}
    assets: dict[str, dict[str, Any]] = {}
    for number, mosaic in enumerate(mosaics):
        name = Path(mosaic["index"]).name.removesuffix(".gti.gpkg")
        of = " ".join(filter(None, (str(mosaic["asset"]), str(mosaic["step"]))))
        bands = (described.get(mosaic["asset"]) or {}).get("bands") or []
        for file, shown in cogs_of(mosaic, bands):
            path = run_folder / "mosaic" / file
            only = f", {shown[0].get('name')}" if len(shown) < len(bands) else ""
            assets[f"mosaic-{path.stem}"] = {
                **file_asset(path, run_folder, f"Mosaic of {of}{only}", ["data"]),
                **_grid(path),
                **({"bands": shown} if shown else {}),
            }
        index = run_folder / "mosaic" / mosaic["index"]
        assets[f"index-{name}"] = {
            **file_asset(index, run_folder, f"All tiles of {of}, as GDAL raster tile index", ["index"]),
            **_place(mosaic),
        }
        picture = run_folder / "mosaic" / mosaic["quicklook"]
        roles = ["thumbnail", "overview"] if number == 0 else ["overview"]
        assets["thumbnail" if number == 0 else f"quicklook-{name}"] = {
            **file_asset(picture, run_folder, f"Picture of {of}", roles),
            **_place(mosaic),
        }
    return assets


def quality_assets(run_folder: Path) -> dict[str, dict[str, Any]]:
    """Return the asset that the verdict on the whole is."""
    path = run_folder / "quality.json"
    return {"quality": file_asset(path, run_folder, "Missing tiles, gaps, overlaps, seams", ["metadata"])}


def cogs_of(mosaic: Mapping[str, Any], bands: list[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield each COG's file name with its bands."""
    if mosaic["cog"]:
        yield mosaic["cog"], bands
    for number, file in enumerate(mosaic["band_cogs"]):
        yield file, bands[number : number + 1]


def _place(mosaic: Mapping[str, Any]) -> dict[str, Any]:
    return {**proj_code(mosaic["crs"]), "proj:bbox": list(mosaic["bounds"])}


def _grid(path: Path) -> dict[str, Any]:
    with rasterio.open(path) as dataset:
        crs = dataset.crs.to_string()
        return {
            **proj_code(crs),
            "proj:bbox": list(dataset.bounds),
            "proj:shape": [dataset.height, dataset.width],
            "proj:transform": list(dataset.transform)[:6],
            "raster:spatial_resolution": round(dataset.res[0] * metres_per_unit(crs), 4),
        }
