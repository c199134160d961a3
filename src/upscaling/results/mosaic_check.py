"""Whether a mosaic shows its tiles: pixel by pixel where they share their pixels, point by point where they do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyproj
import rasterio
import shapely
from rasterio.windows import Window

from upscaling.results.parts import Part, why_unread

__all__ = ["MosaicDifference", "compare_mosaics"]

# So many tiles of a mosaic are compared at most, spread evenly, and so many pixels of each (rows from the top).
TILES, PIXELS = 100, 1 << 22
# Points across and down a tile in another CRS than the mosaic.
POINTS = 9
_AROUND = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]


class MosaicDifference(NamedTuple):
    """A tile that a mosaic shows otherwise: in which share, 0 to 1, of the valid pixels that were compared."""

    item: str
    mosaic: str
    share: float


def compare_mosaics(
    parts: Sequence[Part], mosaics: Mapping[str, Sequence[Path]], unread: dict[str, str] | None = None
) -> Iterator[MosaicDifference]:
    """Yield the tiles that a mosaic does not show as they are; the first band is compared.

    Left out are tiles that lie on top of each other, tiles in another CRS whose values were resampled otherwise than
    by the nearest pixel, and tiles that stay on a platform.

    Parameters
    ----------
    mosaics
        Time step → rasters over its tiles.
    unread
        Item → why its raster cannot be read: it is left out, as are those that are found here and added.
    """
    unread = {} if unread is None else unread
    for step, paths in sorted(mosaics.items()):
        own = [part for part in parts if part.step == step and not part.elsewhere]
        alone = _alone(own)
        own = [part for part, free in zip(own, alone, strict=True) if free]
        own = own[:: max(1, -(-len(own) // TILES))]
        for path in paths:
            with rasterio.open(path) as mosaic:
                for part in own:
                    if part.item in unread:
                        continue
                    try:
                        share = _difference(part, mosaic)
                    except OSError:  # as rasterio's are
                        why = why_unread(part)
                        if not why:
                            raise  # it is the mosaic
                        unread[part.item] = why
                        continue
                    if share:
                        yield MosaicDifference(part.item, path.name, share)


def _alone(parts: Sequence[Part]) -> list[bool]:
    """Tell for each tile whether no other tile of its CRS lies on it."""
    if not parts:
        return []
    boxes = shapely.box(*np.array([part.bounds for part in parts]).T)
    systems = np.array([part.crs for part in parts])
    first, second = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    both = (first != second) & (systems[first] == systems[second])
    first, second = first[both], second[both]
    shared = shapely.area(shapely.intersection(boxes[first], boxes[second]))
    covered = set(first[shared > 1e-6 * shapely.area(boxes[first])].tolist())
    return [number not in covered for number in range(len(parts))]


def _difference(part: Part, mosaic: Any) -> float | None:
    """Return the share of a tile's valid pixels that a mosaic shows otherwise; None if they cannot be compared."""
    with rasterio.open(part.path) as tile:
        if tile.crs != mosaic.crs:
            return _difference_at_points(tile, mosaic)
        left, top = (tile.transform.c - mosaic.transform.c), (tile.transform.f - mosaic.transform.f)
        column, row = left / mosaic.transform.a, top / mosaic.transform.e
        on_lattice = max(abs(column - round(column)), abs(row - round(row))) < 1e-3
        if not on_lattice or any(abs(a / b - 1) > 1e-9 for a, b in zip(tile.res, mosaic.res, strict=True)):
            return None
        return _difference_of_pixels(tile, mosaic, round(column), round(row))


def _difference_of_pixels(tile: Any, mosaic: Any, column: int, row: int) -> float:
    rows = max(1, min(tile.height, PIXELS // tile.width))
    window = Window(0, 0, tile.width, rows)
    there = mosaic.read(1, window=Window(column, row, tile.width, rows), masked=True)
    here = tile.read(1, window=window, masked=True)
    valid = ~np.ma.getmaskarray(here) & ~_not_a_number(here.data)
    shown = ~np.ma.getmaskarray(there) & (there.data == here.data)
    return float((valid & ~shown).sum() / max(1, valid.sum()))


def _difference_at_points(tile: Any, mosaic: Any) -> float:
    """Return the share of points in a tile that a mosaic shows as no data."""
    rows, columns = ((np.linspace(0.1, 0.9, POINTS) * size).astype(int) for size in (tile.height, tile.width))
    row, column = (grid.ravel() for grid in np.meshgrid(rows, columns))
    whole = (tile.read_masks(1) > 0) & ~_not_a_number(tile.read(1))
    # the nearest pixel may be any of the neighbours
    around = [whole[(row + y).clip(0, tile.height - 1), (column + x).clip(0, tile.width - 1)] for y, x in _AROUND]
    valid = np.logical_and.reduce(around)
    to_mosaic = pyproj.Transformer.from_crs(tile.crs, mosaic.crs, always_xy=True)
    x = tile.transform.c + (column[valid] + 0.5) * tile.transform.a
    y = tile.transform.f + (row[valid] + 0.5) * tile.transform.e
    missing = 0
    for point in zip(*to_mosaic.transform(x, y), strict=True):
        seen = next(mosaic.sample([point], indexes=1, masked=True))
        missing += bool(np.ma.getmaskarray(seen)[0] or _not_a_number(seen.data)[0])
    return missing / max(1, int(valid.sum()))


def _not_a_number(values: Any) -> Any:
    return np.isnan(values) if np.issubdtype(values.dtype, np.inexact) else np.zeros(values.shape, bool)
