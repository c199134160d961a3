"""What is made of a finished collection: mosaics with their pictures, and the verdict on the whole."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow.parquet as pq
import rasterio
from rasterio.warp import transform_bounds

from upscaling.area.aoi import read_aoi
from upscaling.errors import ConfigError, UpscalingError, in_a_line, refused_by_machine
from upscaling.planning.plan import load_plan, tile_table
from upscaling.results.bands import class_colours, class_legend, say_of_bands
from upscaling.results.mosaic import mosaic_parts
from upscaling.results.mosaic_cog import write_mosaic_cog
from upscaling.results.parts import Part, Rasters, read_rasters, why_unread
from upscaling.results.product_assets import mosaic_assets, put_assets, quality_assets
from upscaling.results.quality import Quality, check_whole
from upscaling.results.quicklook import write_quicklook
from upscaling.results.remote_assets import UNREAD
from upscaling.results.shapes import FAILURES, MOSAICS, read_list, read_mosaics, read_stac
from upscaling.util.files import write_json
from upscaling.util.text import counted, plain_text

if TYPE_CHECKING:
    from upscaling.config import Config
    from upscaling.config.products import Mosaic

__all__ = ["check_quality", "make_mosaics"]

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_BELOW = "./mosaic/"
_SHOWN = 3  # damaged tiles that are named
# For files that stay on a platform: no waiting for ever, no looking for files beside them.
_ELSEWHERE = {"GDAL_HTTP_TIMEOUT": "30", "GDAL_HTTP_MAX_RETRY": "2", "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}


def make_mosaics(config: Config, run_folder: Path) -> list[dict[str, Any]]:
    """Write the mosaics of a run's collection into ``<run>/mosaic``: one per asset and time step, as far as rasters go.

    For each there are ``<asset>[_<step>].gti.gpkg``, a picture ``.png``, with ``mosaic.cog`` also ``.tif``, or
    ``…_<band>.tif`` for each band; and ``mosaics.json``, which lists them. All are made assets of the collection.

    Returns
    -------
    The content of ``mosaics.json``: ``asset``, ``step``, ``tiles``, ``index``, ``quicklook`` and ``cog`` (file names,
    or None), ``band_cogs`` (file names in the order of the bands), ``crs`` and ``bounds`` of the index, ``bbox`` in
    degrees, ``notices``; what the picture's colours mean: ``scale`` (values at the two ends of the ramp, or None) and
    ``classes`` (name and colour).
    """
    folder = run_folder / "mosaic"
    folder.mkdir(parents=True, exist_ok=True)
    for left in filter(Path.is_file, folder.glob(".*")):  # by a killed run; as large as a mosaic
        left.unlink()
    owners = _owners(run_folder)
    collection = _existing(run_folder / "collection.json")
    described, rasters = read_stac(collection).get("item_assets") or {}, read_rasters(collection)
    groups = _groups(rasters)
    put_assets(run_folder, _BELOW, {})  # those of an earlier time
    made: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    log = logging.getLogger(__name__)
    for line in rasters.damaged:
        log.warning(line)
    for (asset, step), name in _file_names(groups).items():
        parts, bands = groups[asset, step], described.get(asset, {}).get("bands") or []
        with rasterio.Env(**(_ELSEWHERE if any(part.elsewhere for part in parts) else {})):
            try:
                made.append(_mosaic(config.mosaic, folder, (asset, step, name), parts, bands=bands, owners=owners))
            except Exception as error:  # all tiles are paid: whatever it is, the rest is still made
                failures.append({"asset": asset, "step": step, "reason": _reason(error, parts)})
                log.warning(_failure_line(failures[-1]))
                for path in folder.glob(f"{name}.*"):  # half of a mosaic would be taken for one
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    write_json(folder / MOSAICS, made)
    write_json(folder / FAILURES, failures)
    put_assets(run_folder, _BELOW, mosaic_assets(run_folder, made))
    return made


def _file_names(groups: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return a file name, without its ending, for each asset and step; no two of them are the same."""
    names: dict[tuple[str, str], str] = {}
    for asset, step in sorted(groups):
        plain = name = _UNSAFE.sub("-", f"{asset}_{step}" if step else asset)
        number = 2
        while name.lower() in {taken.lower() for taken in names.values()}:
            name, number = f"{plain}-{number}", number + 1
        names[asset, step] = name
    return names


def _reason(error: Exception, parts: list[Part], otherwise: str = "") -> str:
    """Return why a mosaic could not be made or read, in one line: a tile's file that is damaged is named.

    Parameters
    ----------
    otherwise
        What helps where no tile is to blame.
    """
    if not isinstance(error, OSError) or refused_by_machine(error):  # as rasterio's are
        return in_a_line(error)
    said = plain_text(error.__cause__ or error)
    if any(part.elsewhere for part in parts):
        return f"its files stay on the platform and cannot be read from here ({said})"
    damaged = [f"{part.path.name} ({why})" for part in parts if (why := why_unread(part))]
    more = f" and {len(damaged) - _SHOWN} more" if len(damaged) > _SHOWN else ""
    told = f"cannot be read: {', '.join(damaged[:_SHOWN])}{more}; delete the folders of their tiles and run again"
    return f"{counted(len(damaged), 'file')} {told}" if damaged else f"{said}{otherwise}"


def _failure_line(failure: Mapping[str, str]) -> str:
    of = " ".join(filter(None, (failure["asset"], failure["step"])))
    return f"no mosaic of {of}: {failure['reason']}"


def _mosaic(
    settings: Mosaic,
    folder: Path,
    named: tuple[str, str, str],
    parts: list[Part],
    *,
    bands: list[dict[str, Any]],
    owners: Mapping[str, str],
) -> dict[str, Any]:
    """Write one mosaic and what is made of it; return its entry of ``mosaics.json``."""
    asset, step, name = named
    index = mosaic_parts(parts, folder / f"{name}.gti.gpkg", owners=owners)
    say_of_bands(index, bands)
    cogs = _cogs(settings, parts, index, owners) if settings.cog else []
    stacked = len(cogs) == 1
    picture = folder / f"{name}.png"
    colours = class_colours(bands)
    scale = write_quicklook(cogs[0] if stacked else index, picture, colours=colours)
    with rasterio.open(index) as dataset:
        crs, bounds = dataset.crs.to_string(), list(dataset.bounds)
        bbox = list(transform_bounds(dataset.crs, "EPSG:4326", *bounds, densify_pts=21))
    return {
        "asset": asset,
        "step": step,
        "tiles": len(parts),
        "index": index.name,
        "quicklook": picture.name,
        "scale": list(scale) if scale else None,
        "classes": class_legend(bands),
        "cog": cogs[0].name if stacked else None,
        "band_cogs": [] if stacked else [path.name for path in cogs],
        "crs": crs,
        "bounds": bounds,
        "bbox": bbox,
        "notices": [],
    }


def check_quality(config: Config, run_folder: Path) -> dict[str, Any]:
    """Check a run's collection as a whole and write ``<run>/quality.json``.

    Returns
    -------
    Its content: ``problems`` (one line each, those of all assets), and under ``assets`` the numbers behind them.

    Raises
    ------
    UpscalingError
        If there is no collection.
    """
    rasters = read_rasters(_existing(run_folder / "collection.json"))
    planned, aoi = list(load_plan(run_folder).tiles), _aoi(config)
    found: list[Quality] = []
    problems = rasters.damaged
    mosaics = read_mosaics(run_folder, problems.append)
    problems += [_failure_line(failure) for failure in read_list(run_folder / "mosaic" / FAILURES, problems.append)]
    for asset in sorted(rasters.parts) or [""]:
        shown = {  # what shows the tiles' pixels: the index and, if it has all bands, the COG
            mosaic["step"]: [run_folder / "mosaic" / name for name in (mosaic["index"], mosaic["cog"]) if name]
            for mosaic in mosaics
            if mosaic["asset"] == asset
        }
        try:
            found.append(check_whole(rasters, asset=asset, planned=planned, aoi=aoi, mosaics=shown))
        except OSError as error:  # as rasterio's are: a file was damaged since its tile was checked
            why = _reason(error, rasters.parts.get(asset, []), f"; delete {run_folder / 'mosaic'} and run again")
            problems.append(f"the mosaics of asset {asset} were not compared with its tiles: {why}")
            found.append(check_whole(rasters, asset=asset, planned=planned, aoi=aoi))
    problems += [line for quality in found for line in quality.problems()]
    for asset, parts in sorted(rasters.parts.items()):
        staying = sum(part.elsewhere for part in parts)
        problems += [f"asset {asset} of {staying} tiles {UNREAD}"] if staying else []
    content = {
        "problems": list(dict.fromkeys(problems)),  # missing tiles are missing from every asset
        "planned": len(planned),
        "items": len(rasters.names),
        "assets": {quality.asset: _plain(quality) for quality in found if quality.asset},
    }
    write_json(run_folder / "quality.json", content)
    put_assets(run_folder, "./quality.json", quality_assets(run_folder))
    return content


def _existing(collection: Path) -> Path:
    if not collection.is_file():
        raise UpscalingError(
            f"there is no {collection}: run `snakemake`, or gather what is done with `collect --partial`"
        )
    return collection


def _groups(rasters: Rasters) -> dict[tuple[str, str], list[Part]]:
    found: dict[tuple[str, str], list[Part]] = {}
    for asset, parts in rasters.parts.items():
        for part in parts:
            found.setdefault((asset, part.step), []).append(part)
    return found


def _owners(run_folder: Path) -> dict[str, str]:
    """Return tile -> what it owns (WKT in its CRS), of the tiles that reach into a neighbouring zone."""
    with tile_table(run_folder / "plan") as path:
        if not path.is_file():
            return {}
        table = pq.read_table(path, columns=["tile_id", "owner_wkt"]).to_pydict()
    return {tile: wkt for tile, wkt in zip(table["tile_id"], table["owner_wkt"], strict=True) if wkt}


def _cogs(settings: Mosaic, parts: list[Part], index: Path, owners: Mapping[str, str]) -> list[Path]:
    """Write a mosaic as one COG, or as one for each band if it has several and the settings ask for that."""
    name = index.name.removesuffix(".gti.gpkg")
    grid: dict[str, Any] = {"crs": settings.crs, "resolution": settings.resolution, "resampling": settings.resampling}
    if len({part.crs for part in parts}) > 1:
        said = index.with_name(f"{index.name}.aux.xml")
        index = mosaic_parts(parts, index.with_name(f"{name}.cog.gti.gpkg"), owners=owners, **grid)
        if said.is_file():
            shutil.copyfile(said, index.with_name(f"{index.name}.aux.xml"))
        grid = {}  # else one view over the mosaic, so that resampling sees across the edges of tiles
    bands = _bands(index) if settings.per_band else []
    if len(bands) < 2:
        return [write_mosaic_cog(index, index.with_name(f"{name}.tif"), **grid)]
    return [
        write_mosaic_cog(index, index.with_name(f"{name}_{band}.tif"), band=number, **grid)
        for number, band in enumerate(bands, 1)
    ]


def _bands(index: Path) -> list[str]:
    """Return a name for each band that can be part of a file's name; their numbers where they do not tell apart."""
    with rasterio.open(index) as dataset:
        names = [_UNSAFE.sub("-", str(name or "")) for name in dataset.descriptions]
    numbers = [f"b{number}" for number in range(1, len(names) + 1)]
    return names if all(names) and len(set(names)) == len(names) else numbers


def _aoi(config: Config) -> Any:
    if config.area is None:
        return None
    try:
        return read_aoi(config.area.aoi).geometry
    except ConfigError as error:
        logging.getLogger(__name__).warning("coverage of the area is not checked: %s", error)
        return None


def _plain(quality: Quality) -> dict[str, Any]:
    """Return what was found as JSON has it: numbers that it has no word for are None."""
    found: dict[str, Any] = orjson.loads(orjson.dumps(quality, default=lambda pair: pair._asdict()))
    return found
