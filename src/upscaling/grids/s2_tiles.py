"""The tiles of the Sentinel-2 tiling grid: which there are, where they lie, and what each owns.

ESA's list (TILPAR KML, 56,686 tiles of 109.8 km) has one tile per 100 km square of MGRS, but leaves out squares at
zone borders that a neighbouring zone's tiles cover. Such a square is owned in pieces by the tiles that cover it, in
the order in which ``s2_tiles.json`` lists them (made by ``benchmarks/grids/make_s2_tiles.py``).
"""

from __future__ import annotations

import base64
import json
import lzma
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from upscaling.grids.lattice import Ints
from upscaling.grids.mgrs import SIDE, square_names
from upscaling.grids.utm_zones import Zone, false_northing, from_plane, owned_cells, to_plane, utm_zones

__all__ = [
    "FOOTPRINT",
    "Square",
    "Tiles",
    "adopted",
    "footprints",
    "moved",
    "moved_back",
    "region",
    "s2_zones",
    "squares",
    "tiles",
    "to_lonlat_square",
]

FOOTPRINT = 109_800
"""Side of a tile, in metres."""

_SOUTHMOST = -83.7  # tiles of band C reach beyond UTM's 80 S


@dataclass(frozen=True, order=True)
class Square:
    """A 100 km square: index of its zone in ``s2_zones()``, and its place on the lattice."""

    zone: int
    i: int
    j: int


@dataclass(frozen=True)
class Tiles:
    """ESA's list.

    Attributes
    ----------
    square
        Name of a tile: its square.
    name
        The other way round.
    adopters
        A square without a tile: the tiles that own it in pieces, first come first served.
    adopts
        A tile's name: the squares of which it owns a piece.
    """

    square: dict[str, Square]
    name: dict[Square, str]
    adopters: dict[Square, tuple[str, ...]]
    adopts: dict[str, tuple[Square, ...]]


@lru_cache(maxsize=1)
def s2_zones() -> tuple[Zone, ...]:
    """Return the UTM zones, those of the south down to where tiles end; no UPS."""
    return tuple(
        Zone(zone.number, True, tuple((w, _SOUTHMOST, e, n) for w, _, e, n in zone.boxes)) if zone.south else zone
        for zone in utm_zones()
        if zone.number
    )


@lru_cache(maxsize=1)
def squares() -> dict[str, Square]:
    """Return all squares of all zones by name, with or without a tile."""
    out = {}
    for index, zone in enumerate(s2_zones()):
        rows = range(6, 100) if zone.south else range(96)
        i, j = (axis.ravel() for axis in np.meshgrid(np.arange(1, 9), np.array(rows)))
        for name, e, n in zip(square_names(zone, i, j), i.tolist(), j.tolist(), strict=True):
            out[name] = Square(index, e, n)
    return out


@lru_cache(maxsize=1)
def tiles() -> Tiles:
    """Return ESA's list of tiles, unpacked."""
    packed = json.loads(files("upscaling.grids").joinpath("s2_tiles.json").read_text())["packed"]
    text = lzma.decompress(base64.b64decode(packed)).decode()
    everywhere = squares()
    square: dict[str, Square] = {}
    adopters: dict[Square, tuple[str, ...]] = {}
    adopts: dict[str, list[Square]] = {}
    for line in text.splitlines():
        name, *others = line.split()
        if not others:
            square[name] = everywhere[name]
            continue
        adopters[everywhere[name]] = tuple(others)
        for other in others:
            adopts.setdefault(other, []).append(everywhere[name])
    return Tiles(square, {s: n for n, s in square.items()}, adopters, {n: tuple(s) for n, s in adopts.items()})


def footprints(zone: Ints, i: Ints, j: Ints) -> NDArray[np.float64]:
    """Return (n, 4) bounds of tiles: the square's upper left corner, moved outward to 60 m, and 109.8 km from there."""
    fn = np.array([false_northing(each.south) for each in s2_zones()])[zone]
    left = np.floor(SIDE * i / 60) * 60
    top = fn + np.ceil((SIDE * (j + 1) - fn) / 60) * 60
    return np.column_stack([left, top - FOOTPRINT, left + FOOTPRINT, top])


def region(square: Square) -> Any:
    """Return the part of a square within its zone, in the zone's plane; None if there is none."""
    known, cells = owned_cells(s2_zones()[square.zone], SIDE, -80, 84)
    at = int(np.searchsorted(known, (square.i << 32) + square.j))
    if at == len(known) or known[at] != (square.i << 32) + square.j:
        return None
    piece = cells.piece[at]
    x, y = square.i * SIDE, square.j * SIDE
    return piece if piece is not None else shapely.box(x, y, x + SIDE, y + SIDE)


@lru_cache(maxsize=4096)
def adopted(square: Square) -> dict[str, Any]:
    """Return who owns a square without a tile: name of the tile, piece in the plane of the tile's zone."""
    lonlat = to_lonlat_square(square)
    pieces: dict[str, Any] = {}
    taken: list[Any] = []  # what is given away, in longitude/latitude relative to the square's central meridian
    for name in tiles().adopters[square]:
        theirs = tiles().square[name]
        away = moved(lonlat, square.zone, theirs.zone)
        for earlier in taken:
            away = shapely.difference(away, moved(earlier, square.zone, theirs.zone))
        box = shapely.box(*footprints(*(np.array([v]) for v in (theirs.zone, theirs.i, theirs.j)))[0])
        piece = shapely.intersection(away, box)
        if shapely.area(piece) < 1:
            continue
        pieces[name] = piece
        taken.append(moved_back(piece, theirs.zone, square.zone))
    return pieces


def to_lonlat_square(square: Square) -> Any:
    """Return what a square owns in longitude/latitude, relative to its central meridian, densely."""
    dense = shapely.segmentize(region(square), 1000.0)
    south = s2_zones()[square.zone].south
    return shapely.transform(dense, lambda xy: from_plane(xy, south=south))


def moved(lonlat: Any, source: int, target: int) -> Any:
    """Bring a polygon from longitude/latitude relative to one zone's central meridian to another zone's plane."""
    zones = s2_zones()
    turn = (zones[source].central_meridian - zones[target].central_meridian + 180) % 360 - 180
    south = zones[target].south
    flat = shapely.transform(lonlat, lambda xy: to_plane(xy + np.array([turn, 0]), polar=False, south=south))
    return shapely.make_valid(flat)


def moved_back(piece: Any, source: int, target: int) -> Any:
    """Bring a polygon from a zone's plane to longitude/latitude relative to another zone's central meridian."""
    zones = s2_zones()
    turn = (zones[source].central_meridian - zones[target].central_meridian + 180) % 360 - 180
    south = zones[source].south
    dense = shapely.segmentize(piece, 1000.0)
    return shapely.make_valid(shapely.transform(dense, lambda xy: from_plane(xy, south=south) + np.array([turn, 0])))
