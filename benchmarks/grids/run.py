"""How fast an AOI becomes tiles, beside sentinelhub's UtmGridSplitter in the same run.

    python benchmarks/grids/run.py DATA/aoi [--repeat 3]

Each case runs in a process of its own: wall and CPU seconds from the AOI in memory to tiles with ids and outlines (best
of --repeat), and peak resident memory of the first run. The ratio is that of CPU seconds, which other work on the
machine disturbs less. The peer is taken twice: as it comes (boxes and their indices, no outlines), and with the outline
of every box in longitude/latitude, which is what our table holds. `sentinelhub` need not be in this environment:
--peer PYTHON names another interpreter that has it. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

OURS = """
import json, resource, sys, time
from pathlib import Path
import geopandas  # what a plan has loaded before it comes to tiles
from upscaling.area.aoi import read_aoi
from upscaling.grids import get_grid
path, name, repeat = sys.argv[1], sys.argv[2], int(sys.argv[3])
aoi, grid, best, cpu = read_aoi(path), get_grid(name), 1e9, 1e9
for run in range(repeat):
    start, used = time.perf_counter(), time.process_time()
    tiles = grid.tiles(aoi)
    best, cpu = min(best, time.perf_counter() - start), min(cpu, time.process_time() - used)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 if not run else peak
print(json.dumps({"tiles": len(tiles), "unique": int(tiles["tile_id"].nunique()), "s": best, "cpu_s": cpu, "mb": peak}))
"""

PEER = """
import json, resource, sys, time
import shapely
from sentinelhub import CRS, Geometry, UtmGridSplitter
path, size, repeat = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
features = json.load(open(path))["features"]
shape = shapely.from_geojson(json.dumps(features[0]["geometry"]))
best = cpu = 1e9
for _ in range(repeat):
    start, used = time.perf_counter(), time.process_time()
    splitter = UtmGridSplitter([shape], CRS.WGS84, bbox_size=size)
    boxes = splitter.get_bbox_list()
    infos = splitter.get_info_list()
    if "--outlines" in sys.argv:
        outlines = [Geometry(box.geometry, box.crs).transform(CRS.WGS84).geometry for box in boxes]
    best, cpu = min(best, time.perf_counter() - start), min(cpu, time.process_time() - used)
unique = len({(str(box.crs), tuple(round(v) for v in box)) for box in boxes})
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"tiles": len(boxes), "unique": unique, "s": best, "cpu_s": cpu, "mb": peak}))
"""


def measured(python: str, code: str, *arguments: object) -> dict[str, float] | None:
    done = subprocess.run(
        [python, "-W", "ignore", "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(done.stderr.strip().splitlines()[-1], file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("aoi", type=Path, help="folder with africa.geojson, land.geojson, austria.geojson")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--peer", default=sys.executable, help="interpreter that has sentinelhub")
    options = parser.parse_args()
    rows = []
    for name, grid in (("austria", "utm-20km"), ("africa", "utm-20km"), ("africa", "utm-10km"), ("land", "utm-20km"),
                       ("land", "utm-10km"), ("africa", "s2"), ("africa", "h3-4"),
                       ("land", "deg-1")):  # fmt: skip
        path = options.aoi / f"{name}.geojson"
        ours = measured(sys.executable, OURS, path, grid, options.repeat)
        if ours is not None:
            rows.append({"case": f"{name} {grid}", "tool": "upscaling", **ours})
    for name in ("austria", "africa"):
        for extra in ((), ("--outlines",)):
            path = options.aoi / f"{name}.geojson"
            theirs = measured(options.peer, PEER, path, 20_000, max(1, options.repeat // 2), *extra)
            if theirs is None:
                continue
            label = "UtmGridSplitter" + (" + outlines" if extra else "")
            rows.append({"case": f"{name} utm-20km", "tool": label, **theirs})
    print(f"{'case':22}{'tool':30}{'tiles':>10}{'unique':>10}{'s':>9}{'CPU s':>9}{'MB':>7}{'CPU times ours':>16}")
    best = {row["case"]: row["cpu_s"] for row in rows if row["tool"] == "upscaling"}
    for row in rows:
        row["ratio"] = round(row["cpu_s"] / best[row["case"]], 2)
        print(f"{row['case']:22}{row['tool']:30}{row['tiles']:>10,}{row['unique']:>10,}{row['s']:>9.2f}{row['cpu_s']:>9.2f}{row['mb']:>7.0f}"
              f"{row['ratio']:>16.1f}")  # fmt: skip
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
