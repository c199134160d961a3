"""What is made of a finished collection: mosaics with their pictures, and the verdict on the whole."""

from __future__ import annotations

import dataclasses
import logging
import math
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.errors import ConfigError, UpscalingError, in_a_line
from upscaling.jobs.costs import stated_number
from upscaling.results.bands import class_colours, class_legend, say_of_bands
from upscaling.results.mosaic import mosaic_parts
from upscaling.results.mosaic_cog import write_mosaic_cog
from upscaling.results.parts import Part, read_rasters
from upscaling.results.product_assets import mosaic_assets, put_assets, quality_assets
from upscaling.results.quality import Quality, check_whole
from upscaling.results.quicklook import write_quicklook
from upscaling.results.remote_assets import UNREAD
from upscaling.util.files import read_json, write_json

if TYPE_CHECKING:
    from upscaling.config import Config
    from upscaling.config.products import Mosaic

__all__ = ["check_quality", "damaged_mosaics", "make_mosaics", "read_mosaics"]

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_INDEX, _FAILURES, _BELOW = "mosaics.json", "failures.json", "./mosaic/"
_ANEW = "delete the folder mosaic and run again, which makes it anew"
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
    import rasterio

    folder = run_folder / "mosaic"
    folder.mkdir(parents=True, exist_ok=True)
    for left in filter(Path.is_file, folder.glob(".*")):  # by a killed run; as large as a mosaic
        left.unlink()
    owners = _owners(run_folder)
    groups = _groups(run_folder / "collection.json")
    described = read_json(run_folder / "collection.json").get("item_assets") or {}
    put_assets(run_folder, _BELOW, {})  # those of an earlier time
    made: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    for (asset, step), name in _file_names(groups).items():
        parts, bands = groups[asset, step], described.get(asset, {}).get("bands") or []
        with rasterio.Env(**(_ELSEWHERE if any(part.elsewhere for part in parts) else {})):
            try:
                made.append(_mosaic(config.mosaic, folder, (asset, step, name), parts, bands=bands, owners=owners))
            except Exception as error:  # all tiles are paid: whatever it is, the rest is still made
                failures.append({"asset": asset, "step": step, "reason": _reason(error, parts)})
                logging.getLogger(__name__).warning(_failure_line(failures[-1]))
                for path in folder.glob(f"{name}.*"):  # half of a mosaic would be taken for one
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    write_json(folder / _INDEX, made)
    write_json(folder / _FAILURES, failures)
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


def _reason(error: Exception, parts: list[Part]) -> str:
    """Return why a mosaic could not be made, in one line."""
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and any(part.elsewhere for part in parts):
        return f"its files stay on the platform and cannot be read from here ({said})"
    return said if isinstance(error, OSError) else in_a_line(error)


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
    import rasterio

    asset, step, name = named
    index = mosaic_parts(parts, folder / f"{name}.gti.gpkg", owners=owners)
    say_of_bands(index, bands)
    cogs = _cogs(settings, parts, index, owners) if settings.cog else []
    stacked = len(cogs) == 1
    picture = folder / f"{name}.png"
    colours = class_colours(bands)
    scale = write_quicklook(cogs[0] if stacked else index, picture, colours=colours)
    with rasterio.open(index) as dataset:
        crs, bounds, bbox = dataset.crs.to_string(), list(dataset.bounds), _bbox(dataset)
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


def read_mosaics(run_folder: Path) -> list[dict[str, Any]]:
    """Return what ``mosaics.json`` lists; nothing if there is none (yet), nor of what ``damaged_mosaics`` tells."""
    return [entry for entry in _listed(run_folder / "mosaic" / _INDEX) if _is_mosaic(entry)]


def damaged_mosaics(run_folder: Path) -> list[str]:
    """Return a line for each damage of ``mosaics.json``, of which nothing else is known."""
    path = run_folder / "mosaic" / _INDEX
    if not path.is_file():
        return []
    try:
        found = read_json(path)
    except (OSError, ValueError) as error:
        return [f"{path} is damaged ({error}): {_ANEW}"]
    if not isinstance(found, list):
        return [f"{path} is damaged (no list of mosaics): {_ANEW}"]
    damaged = [number for number, entry in enumerate(found, 1) if not _is_mosaic(entry)]
    return [f"entry {number} of {len(found)} in {path} is damaged: {_ANEW}" for number in damaged]


def _is_mosaic(entry: Any) -> bool:
    """Whether an entry has all that its readers rely on."""
    if not isinstance(entry, dict) or not {"cog", "quicklook", "tiles"} <= entry.keys():
        return False
    lists = [entry.get(name) for name in ("bounds", "bbox", "band_cogs", "notices")]
    if not all(isinstance(values, list) for values in lists):
        return False
    texts = [entry.get(name) for name in ("asset", "step", "index", "crs")]
    texts += [*entry["band_cogs"], *(entry[name] for name in ("quicklook", "cog") if entry.get(name) is not None)]
    return all(isinstance(text, str) for text in texts) and all(
        len(box) == 4 and all(stated_number(value) is not None for value in box) for box in lists[:2] if box is not None
    )


def _listed(path: Path) -> list[dict[str, Any]]:
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


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
    from upscaling.planning.plan import load_plan

    rasters = read_rasters(_existing(run_folder / "collection.json"))
    planned, aoi = list(load_plan(run_folder).tiles), _aoi(config)
    mosaics = read_mosaics(run_folder)
    found: list[Quality] = []
    problems = [_failure_line(failure) for failure in _listed(run_folder / "mosaic" / _FAILURES)]
    problems += damaged_mosaics(run_folder)
    for asset in sorted(rasters.parts) or [""]:
        shown = {mosaic["step"]: _mosaic_files(run_folder, mosaic) for mosaic in mosaics if mosaic["asset"] == asset}
        try:
            found.append(check_whole(rasters, asset=asset, planned=planned, aoi=aoi, mosaics=shown))
        except OSError as error:  # as rasterio's are: a file was damaged since its tile was checked
            problems.append(f"asset {asset} was not checked: {_reason(error, rasters.parts.get(asset, []))}")
    problems += [line for quality in found for line in quality.problems()]
    for asset, parts in sorted(rasters.parts.items()):
        staying = sum(part.elsewhere for part in parts)
        problems += [f"asset {asset} of {staying} tiles {UNREAD}"] if staying else []
    content = {
        "problems": list(dict.fromkeys(problems)),  # missing tiles are missing from every asset
        "planned": len(planned),
        "items": len(rasters.names),
        "assets": {quality.asset: _plain(dataclasses.asdict(quality)) for quality in found if quality.asset},
    }
    write_json(run_folder / "quality.json", content)
    put_assets(run_folder, "./quality.json", quality_assets(run_folder))
    return content


def _mosaic_files(run_folder: Path, mosaic: Mapping[str, Any]) -> list[Path]:
    """Return the files of a mosaic that show its tiles' pixels: the index and, if it has all bands, the COG."""
    return [run_folder / "mosaic" / mosaic[key] for key in ("index", "cog") if mosaic.get(key)]


def _existing(collection: Path) -> Path:
    if not collection.is_file():
        raise UpscalingError(
            f"there is no {collection}: run `snakemake`, or gather what is done with `collect --partial`"
        )
    return collection


def _groups(collection: Path) -> dict[tuple[str, str], list[Part]]:
    found: dict[tuple[str, str], list[Part]] = {}
    for asset, parts in read_rasters(_existing(collection)).parts.items():
        for part in parts:
            found.setdefault((asset, part.step), []).append(part)
    return found


def _owners(run_folder: Path) -> dict[str, str]:
    """Return tile -> what it owns (WKT in its CRS), of the tiles that reach into a neighbouring zone."""
    import pyarrow.parquet as pq

    from upscaling.planning.plan import tile_table

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
    import rasterio

    with rasterio.open(index) as dataset:
        names = [_UNSAFE.sub("-", str(name or "")) for name in dataset.descriptions]
    numbers = [f"b{number}" for number in range(1, len(names) + 1)]
    return names if all(names) and len(set(names)) == len(names) else numbers


def _bbox(dataset: Any) -> list[float]:
    from rasterio.warp import transform_bounds

    return list(transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds, densify_pts=21))


def _aoi(config: Config) -> Any:
    from upscaling.area.aoi import read_aoi

    if config.area is None:
        return None
    try:
        return read_aoi(config.area.aoi).geometry
    except ConfigError as error:
        logging.getLogger(__name__).warning("coverage of the area is not checked: %s", error)
        return None


def _plain(value: Any) -> Any:
    """Make named tuples objects, and numbers that JSON has no word for None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value
