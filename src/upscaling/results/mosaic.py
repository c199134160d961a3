"""One raster over all tiles: a tile index that GDAL opens as a mosaic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import pyproj
import shapely

from upscaling.area.lonlat import transformer
from upscaling.errors import UpscalingError
from upscaling.model import Bounds
from upscaling.results.bands import say_of_bands
from upscaling.results.mosaic_tiles import (
    Lattice,
    TileKind,
    exact_part,
    own_part,
    relative_path,
    tile_kind,
    warped_part,
)
from upscaling.results.parts import Part
from upscaling.results.projection import metres_per_unit
from upscaling.util.files import written_whole

__all__ = ["mosaic_parts"]

LONLAT = "EPSG:4326"
# Tiles end so much inside their outer pixels, in pixels.
EDGE = 1e-3


def mosaic_parts(
    parts: Sequence[Part],
    target: Path,
    *,
    crs: str | None = None,
    resolution: float | None = None,
    resampling: str = "nearest",
    owners: Mapping[str, str] | None = None,
) -> Path:
    """Write a GDAL raster tile index (GTI, GDAL 3.9 or later) over rasters.

    It is one GeoPackage with relative paths, so a run's folder can be moved; QGIS, gdal and rasterio open it as a
    raster. Tiles in the mosaic's CRS are shown to the bit, others are reprojected on the fly.

    Parameters
    ----------
    target
        Must end in ``.gti.gpkg``; that is how GDAL knows it.
    crs
        Of the mosaic. The tiles' own by default; EPSG:4326 where they have several.
    resolution
        Pixel size in units of ``crs``; the finest of the tiles by default.
    resampling
        For tiles in another CRS than the mosaic's, or of another resolution: a name that GDAL knows. Nearest neighbour
        in any case for 64-bit integers, complex numbers and large nodata values of 32-bit integers, and for tiles that
        say by a mask, or not at all, what is valid.
    owners
        Tile → WKT, in the tile's CRS, of the part that is its own where tiles of two zones overlap. There each tile's
        own part lies on top; what is left of a tile lies below, so that no seam of empty pixels is left between two
        lattices.

    Raises
    ------
    UpscalingError
        ``target`` has another ending, or the tiles have different numbers of bands.
    """
    if not target.name.endswith(".gti.gpkg"):
        raise UpscalingError(f"a mosaic must be named *.gti.gpkg (found {target.name}), or GDAL does not open it")
    parts, kind = list(parts), tile_kind(parts)
    systems = {part.crs for part in parts}
    crs = crs or (systems.pop() if len(systems) == 1 else LONLAT)
    pyproj.CRS.from_user_input(crs)
    pixel = (resolution, resolution) if resolution else _finest(parts, crs)
    outlines = [_outline(part, crs) for part in parts]
    one_lattice = all(part.crs == crs for part in parts)
    bounds = _extent(outlines, pixel, anchored=one_lattice)
    gaps = not one_lattice or _has_gaps(outlines, bounds)
    folder = target.with_name(target.name.removesuffix(".gti.gpkg"))
    if owners:
        shared = [part for part in parts if owners.get(part.tile)]
        parts = [part if owners.get(part.tile) else replace(part, rank=1) for part in parts]
        parts += [replace(own_part(part, owners[part.tile], folder), rank=1) for part in shared]
    lattice = Lattice(crs, bounds.west, bounds.north, pixel)
    exact = kind.needs_exact(one_lattice=one_lattice)
    if exact:
        above = not one_lattice or bool(owners) or _on_top_of_each_other(outlines)
        masked = above or kind.mixed or not _can_be_told(kind.nodata)
        parts = [exact_part(part, lattice, folder, masked=masked) for part in parts]
    elif kind.count > 1 and kind.nodata is not None:
        parts = [part if part.crs == crs else warped_part(part, lattice, folder, resampling) for part in parts]
    facts = {"LOCATION_FIELD": "location", "SORT_FIELD": "rank", "SORT_FIELD_ASC": "YES", "SRS": crs}
    facts |= {"RESAMPLING": resampling.upper(), "RESX": repr(pixel[0]), "RESY": repr(pixel[1])}
    facts |= {name: repr(value) for name, value in zip(("MINX", "MINY", "MAXX", "MAXY"), bounds, strict=True)}
    _write_index(target, parts, crs, pixel, facts | _of_the_values(kind, exact=exact, gaps=gaps))
    if kind.wide:
        say_of_bands(target, [{}] * kind.count)
    return target


def _can_be_told(nodata: float | int | None) -> bool:
    """Return whether a nodata value is the same in floating point, which is all that the index has."""
    return nodata is None or float(nodata) == nodata


def _of_the_values(kind: TileKind, *, exact: bool, gaps: bool) -> dict[str, str]:
    """Return what GDAL must be told of the values, as it looks at the first tile alone."""
    types = {"BAND_COUNT": str(kind.count), "DATA_TYPE": kind.dtype}
    if exact and kind.nodata is not None and _can_be_told(kind.nodata):
        return types | {"NODATA": repr(kind.nodata).removesuffix(".0")}
    if kind.mixed or (exact and kind.nodata is not None):
        return types | {"MASK_BAND": "YES"}
    # without it, what no tile covers would be a valid 0
    return {"MASK_BAND": "YES"} if kind.nodata is None and not kind.alpha and gaps else {}


def _write_index(
    target: Path, parts: Sequence[Part], crs: str, pixel: tuple[float, float], facts: dict[str, str]
) -> None:
    """Write the GeoPackage: a row for each tile."""
    # GDAL before 3.11.4 drops tiles where a window's edge lies on a tile's edge, so none does. A reprojected tile
    # is laid on the mosaic's pixels and may reach over its outline.
    margins = [(-EDGE if part.crs == crs else 2.0) * min(pixel) for part in parts]
    outlines = [
        shapely.buffer(_outline(part, crs), margin, join_style="mitre")
        for part, margin in zip(parts, margins, strict=True)
    ]
    frame = gpd.GeoDataFrame(
        {
            "location": [relative_path(part.path, target.parent) for part in parts],
            "tile": [part.item for part in parts],
            "rank": [part.rank for part in parts],
        },
        geometry=outlines,
        crs=crs,
    )
    with written_whole(target) as temporary:
        pyogrio.write_dataframe(frame, temporary, layer="tiles", driver="GPKG", layer_metadata=facts)


def _finest(parts: Sequence[Part], crs: str) -> tuple[float, float]:
    """Return width and height of the finest pixels in units of another CRS, roughly."""
    wanted = pyproj.CRS.from_user_input(crs)
    systems = {name: pyproj.CRS.from_user_input(name) for name in {part.crs for part in parts}}
    factors = {
        name: 1.0 if system == wanted else metres_per_unit(system) / metres_per_unit(wanted)
        for name, system in systems.items()
    }
    sizes = {(part.crs, part.pixel) for part in parts}
    scaled = [(factors[name] * across, factors[name] * down) for name, (across, down) in sizes]
    return min(across for across, _ in scaled), min(down for _, down in scaled)


def _has_gaps(outlines: list[Any], bounds: Bounds) -> bool:
    """Whether tiles on one lattice leave a part of their common bounds without a tile."""
    whole = (bounds.east - bounds.west) * (bounds.north - bounds.south)
    if sum(shapely.area(outlines)) < whole * (1 - 1e-9):
        return True
    return bool(shapely.area(shapely.union_all(outlines)) < whole * (1 - 1e-9))


def _on_top_of_each_other(outlines: list[Any]) -> bool:
    return bool(shapely.area(shapely.union_all(outlines)) < sum(shapely.area(outlines)) * (1 - 1e-9))


def _outline(part: Part, crs: str) -> Any:
    box = shapely.box(*part.bounds)
    if part.crs == crs:
        return box
    to_mosaic = transformer(part.crs, crs)
    dense = shapely.segmentize(
        box, max(part.bounds.east - part.bounds.west, part.bounds.north - part.bounds.south) / 20
    )
    return shapely.transform(dense, lambda points: np.column_stack(to_mosaic.transform(points[:, 0], points[:, 1])))


def _extent(outlines: list[Any], pixel: tuple[float, float], *, anchored: bool) -> Bounds:
    """Return the bounds of all; on whole pixels from zero where the tiles have no common lattice."""
    west, south, east, north = shapely.total_bounds(outlines).tolist()
    if anchored:
        return Bounds(west, south, east, north)
    size = np.array(pixel)
    low = np.floor(np.array([west, south]) / size) * size
    high = np.ceil(np.array([east, north]) / size) * size
    return Bounds(*low.tolist(), *high.tolist())
