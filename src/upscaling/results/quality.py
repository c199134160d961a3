"""Quality report: tiles missing, there twice, apart or on top of each other, seams, a mosaic that differs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import rasterio
import shapely
from rasterio.errors import WindowError

from upscaling.results.mosaic_check import MosaicDifference, compare_mosaics
from upscaling.results.parts import Part, Rasters, read_rasters, why_unread

__all__ = ["Pair", "Quality", "Seam", "check_whole"]

# Neighbours further apart than this share of a tile are no neighbours; a real gap is a few pixels.
NEAR = 0.1
# Relative to a tile's width: what is left of a common edge after it has been through floating point.
SAME_EDGE = 1e-7
# Jumps across edges this many times those inside the tiles are visible.
VISIBLE_SEAM = 2.0


class Pair(NamedTuple):
    """Two tiles and how far apart (metres, or units of their CRS), or how much on top of each other (its square)."""

    first: str
    second: str
    amount: float


class Seam(NamedTuple):
    """Jumps of the first band across the edges that tiles share, compared with those one pixel inside.

    ``score`` is their ratio: about 1 where nobody could tell the edges. ``worst`` is the pair with the highest one.
    """

    score: float
    pairs: int
    worst: Pair


@dataclass(frozen=True, slots=True)
class Quality:
    """What was found over all tiles of a collection, for one asset.

    Attributes
    ----------
    tiles
        With this asset.
    missing
        Planned tiles without an item.
    duplicates
        Tiles with the same bounds in the same CRS at the same time step.
    gaps, overlaps
        Neighbours in one CRS whose edges do not meet.
    coverage
        Share, 0 to 1, of the AOI's area (in degrees squared) under tiles; None where no AOI was given.
    data_coverage
        The same, under tiles that are not without data.
    seam
        None where no two tiles share an edge with valid pixels on both sides.
    mosaic_differences
        Tiles that a mosaic does not show as they are.
    unread
        Tiles whose file, where it was opened, is missing, damaged or elsewhere than the item says; and why.
    """

    asset: str
    tiles: int
    missing: tuple[str, ...] = ()
    duplicates: tuple[tuple[str, str], ...] = ()
    gaps: tuple[Pair, ...] = ()
    overlaps: tuple[Pair, ...] = ()
    coverage: float | None = None
    data_coverage: float | None = None
    seam: Seam | None = None
    mosaic_differences: tuple[MosaicDifference, ...] = ()
    unread: tuple[tuple[str, str], ...] = ()

    def problems(self) -> Iterator[str]:
        """Yield one line for each thing that a user of the product should know."""
        if self.missing:
            yield f"{len(self.missing)} planned tiles are missing: {_some(self.missing)}"
        if self.unread:
            names, why = [name for name, _ in self.unread], self.unread[0][1]
            yield (
                f"asset {self.asset} of {len(names)} tiles was left out, as it cannot be read: {_some(names)} ({why}); "
                "delete the folders of these tiles and run again"
            )
        if self.duplicates:
            yield f"{len(self.duplicates)} pairs of tiles lie in the same place: {_some(self.duplicates)}"
        for name, pairs in (("gaps", self.gaps), ("overlaps", self.overlaps)):
            if pairs:
                yield f"{len(pairs)} {name} between neighbouring tiles: {_some(pairs)}"
        if self.coverage is not None and self.coverage < 1 - 1e-6:
            yield f"tiles cover {self.coverage:.2%} of the area of interest"
        if self.seam and self.seam.score > VISIBLE_SEAM:
            worst = self.seam.worst
            yield (
                f"asset {self.asset} jumps {self.seam.score:.1f} times as much across tile edges as inside tiles; "
                f"worst between {worst.first} and {worst.second}"
            )
        if self.mosaic_differences:
            worst_one = max(self.mosaic_differences, key=lambda found: found.share)
            yield (
                f"mosaic {worst_one.mosaic} differs from {len(self.mosaic_differences)} of the tiles of {self.asset} "
                f"that were compared; worst from {worst_one.item}: {worst_one.share:.2%} of its pixels"
            )


def _some(values: Sequence[Any], limit: int = 3) -> str:
    shown = [
        "/".join(str(part) for part in value[:2]) if isinstance(value, tuple) else value for value in values[:limit]
    ]
    return ", ".join(shown) + (" …" if len(values) > limit else "")


def check_whole(
    collection: Path | Rasters,
    *,
    asset: str,
    planned: Sequence[str] = (),
    aoi: Any = None,
    seam_pairs: int = 200,
    mosaics: Mapping[str, Sequence[Path]] | None = None,
) -> Quality:
    """Check the tiles of a collection against each other; assets are not opened but for the seams.

    Parameters
    ----------
    collection
        A ``collection.json`` with relative links, or what was read of it.
    planned
        Ids of all tiles there should be.
    aoi
        Shapely geometry in EPSG:4326.
    seam_pairs
        Read the edges of so many pairs of neighbours at most, spread evenly; 0 opens no file.
    mosaics
        Time step → rasters over all tiles, to be compared with the tiles.
    """
    rasters = read_rasters(collection) if isinstance(collection, Path) else collection
    parts = rasters.parts.get(asset, [])
    found: dict[str, list[Any]] = {"duplicates": [], "gaps": [], "overlaps": [], "edges": []}
    groups: dict[tuple[str, str], list[Part]] = {}
    for part in parts:
        groups.setdefault((part.crs, part.step), []).append(part)
    for group in sorted(groups):
        for kind, pair in _neighbours(groups[group]):
            found[kind].append(pair)
    with_data = [line for name, line in zip(rasters.names, rasters.outlines, strict=True) if name not in rasters.empty]
    unread: dict[str, str] = {}
    seam = _seam(found["edges"], seam_pairs, unread) if seam_pairs else None
    differences = tuple(compare_mosaics(parts, mosaics or {}, unread))
    return Quality(
        asset=asset,
        tiles=len(parts),
        missing=tuple(sorted(set(planned) - set(rasters.names))),
        duplicates=tuple(found["duplicates"]),
        gaps=tuple(found["gaps"]),
        overlaps=tuple(found["overlaps"]),
        coverage=None if aoi is None else _coverage(aoi, rasters.outlines),
        data_coverage=None if aoi is None else _coverage(aoi, with_data),
        seam=seam,
        mosaic_differences=differences,
        unread=tuple(sorted(unread.items())),
    )


def _neighbours(parts: list[Part]) -> Iterator[tuple[str, Any]]:
    """Yield every two tiles of one CRS that are near each other, and what they are to each other."""
    parts = sorted(parts, key=lambda part: part.item)
    boxes = shapely.box(*np.array([part.bounds for part in parts]).T)
    width = min(part.bounds.east - part.bounds.west for part in parts)
    first, second = shapely.STRtree(boxes).query(boxes, predicate="dwithin", distance=NEAR * width)
    keep = first < second
    first, second = first[keep], second[keep]
    distances = shapely.distance(boxes[first], boxes[second])
    areas = shapely.area(shapely.intersection(boxes[first], boxes[second]))
    order = np.lexsort((second, first))
    for one, other, distance, area in zip(first[order], second[order], distances[order], areas[order], strict=True):
        a, b = parts[one], parts[other]
        if a.bounds == b.bounds:
            yield "duplicates", (a.item, b.item)
        elif area > (SAME_EDGE * width) * width:
            yield "overlaps", Pair(a.item, b.item, float(area))
        elif not _face(a, b):
            continue
        elif distance > SAME_EDGE * width:
            yield "gaps", Pair(a.item, b.item, float(distance))
        elif a.pixel == b.pixel:
            yield "edges", (a, b)


def _face(a: Part, b: Part) -> bool:
    """Tell neighbours with facing edges from those that meet in a corner."""
    across = min(a.bounds.east, b.bounds.east) - max(a.bounds.west, b.bounds.west)
    along = min(a.bounds.north, b.bounds.north) - max(a.bounds.south, b.bounds.south)
    return max(across, along) > min(a.pixel)


def _coverage(aoi: Any, footprints: list[dict[str, Any] | None]) -> float:
    outlines = shapely.from_geojson([orjson.dumps(outline).decode() for outline in footprints if outline])
    union = shapely.union_all(shapely.make_valid(outlines))
    return float(shapely.intersection(aoi, union).area / aoi.area)


def _seam(edges: list[tuple[Part, Part]], limit: int, unread: dict[str, str]) -> Seam | None:
    """Compare the edges of some pairs; tiles that cannot be read are left out, and go into ``unread`` with why."""
    step = max(1, -(-len(edges) // limit))
    across_all = inside_all = 0.0
    used, worst = 0, Pair("", "", 0.0)
    for a, b in edges[::step]:
        if a.item in unread or b.item in unread:
            continue
        try:
            across, inside = _jumps(a, b)
        except (OSError, WindowError, ValueError, IndexError):  # a window that is not in the file is none of the first
            if not a.elsewhere and not b.elsewhere:
                unread.update({part.item: why for part in (a, b) if (why := why_unread(part))})
            continue  # what stays on a platform may need credentials that are not here
        if across is None or inside is None:
            continue
        used += 1
        across_all, inside_all = across_all + across, inside_all + inside
        ratio = _ratio(across, inside)
        if ratio > worst.amount:
            worst = Pair(a.item, b.item, ratio)
    if not used:
        return None
    return Seam(_ratio(across_all, inside_all), used, worst)


def _ratio(across: float, inside: float) -> float:
    """Return how much more the edge jumps than the inside; flat tiles of one value have no seam."""
    if inside:
        return across / inside
    return math.inf if across else 1.0


def _jumps(a: Part, b: Part) -> tuple[float | None, float | None]:
    """Return the mean jump across the edge of two tiles, and one pixel inside of it on both sides."""
    if abs(a.bounds.east - b.bounds.west) < a.pixel[0] / 2 or abs(b.bounds.east - a.bounds.west) < a.pixel[0] / 2:
        left, right = (a, b) if a.bounds.west < b.bounds.west else (b, a)
        south, north = max(a.bounds.south, b.bounds.south), min(a.bounds.north, b.bounds.north)
        edge, two = left.bounds.east, 2 * a.pixel[0]
        one = _read(left, (edge - two, south, edge, north))
        other = _read(right, (edge, south, edge + two, north))
        lines = [one[:, 0], one[:, 1], other[:, 0], other[:, 1]]
    else:
        lower, upper = (a, b) if a.bounds.south < b.bounds.south else (b, a)
        west, east = max(a.bounds.west, b.bounds.west), min(a.bounds.east, b.bounds.east)
        edge, two = lower.bounds.north, 2 * a.pixel[1]
        one = _read(upper, (west, edge, east, edge + two))
        other = _read(lower, (west, edge - two, east, edge))
        lines = [one[0], one[1], other[0], other[1]]
    jumps = np.abs(np.diff(np.array(lines), axis=0))
    valid = np.isfinite(jumps).all(axis=0)
    if not valid.any():
        return None, None
    return float(jumps[1, valid].mean()), float(jumps[[0, 2]][:, valid].mean())


def _read(part: Part, bounds: tuple[float, float, float, float]) -> np.ndarray[Any, Any]:
    """Read the first band in a window, NaN where there is no data."""
    with rasterio.open(part.path) as dataset:
        window = dataset.window(*bounds).round_offsets().round_lengths()
        values = dataset.read(1, window=window, masked=True).astype("float64")
    filled: np.ndarray[Any, Any] = values.filled(float("nan"))
    return filled
