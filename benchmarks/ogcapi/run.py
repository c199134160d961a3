"""How busy a run keeps the slots of an OGC API - Processes server: jobs of known duration on a real pygeoapi.

    python benchmarks/ogcapi/run.py [--tiles 100] [--slots 20] [--seconds 10] [--poll 0.2 60]

Ours is ``snakemake`` with the local profile, up to the last ``item.json``: downloaded, checked and described. Busy is
the share of slot-seconds, from the first job's start to the last one's end, ramp-up and drain included, in which a job
ran, by the server's own records. CPU counts Snakemake, waiter and shells, start-up too. The last line is JSON.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
sys.path.insert(0, str(ROOT))

PARSER = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
PARSER.add_argument("--tiles", type=int, default=100)
PARSER.add_argument("--slots", type=int, default=20)
PARSER.add_argument("--seconds", type=float, default=10.0, help="duration of a job")
PARSER.add_argument("--poll", type=float, nargs=2, default=(0.2, 60.0), help="backend.poll_seconds of our run")


def small_scene(path: Path) -> Path:
    """Write a scene of which only the bands' order counts."""
    import numpy as np
    import rasterio
    from rasterio.transform import from_origin

    profile = {"driver": "GTiff", "count": 5, "width": 200, "height": 200, "dtype": "uint16", "crs": "EPSG:32632"}
    with rasterio.open(path, "w", transform=from_origin(500_000, 4_902_000, 10, 10), **profile) as file:
        file.write(np.full((5, 200, 200), 1000, "uint16"))
    return path


def configuration(folder: Path, url: str, given: argparse.Namespace) -> None:
    rows = -(-given.tiles // 10)
    west, south, east, north = 500_000, 4_900_000, 510_000, 4_900_000 + rows * 1000
    ring = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    (folder / "aoi.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring], "crs": crs}))
    config = {
        "run": "bench",
        "algorithm": {"source": f"{url}/processes/ndvi", "parameters": {"seconds": given.seconds}},
        "area": {"aoi": "aoi.geojson", "grid": "utm-1km"},
        "backend": {"kind": "ogcapi", "slots": given.slots, "poll_seconds": list(given.poll)},
    }
    (folder / "config.yaml").write_text(json.dumps(config))


def moment(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()


def measure(folder: Path, server: Any, given: argparse.Namespace) -> dict[str, float]:
    command = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--profile"]
    command += [str(ROOT / "workflow" / "profiles" / "local"), "--cores", str(max(64, given.slots))]
    command += ["--configfile", "config.yaml", "--until", "tile"]
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    began = time.monotonic()
    with (folder / "out.txt").open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out)
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    if status:
        sys.exit((folder / "out.txt").read_text()[-3000:])
    # A job ran for as long as its process slept, whatever the server took around that.
    spans = [(moment(job["started"]), moment(job["finished"])) for job in server.jobs()]
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    starts, ends = sorted(start for start, _ in spans), sorted(end for _, end in spans)
    gaps = [start - end for start, end in zip(starts[given.slots :], ends, strict=False)]
    return {
        "tiles": len(spans),
        "wall": round(wall, 2),
        "busy": round(sum(end - start for start, end in spans) / (given.slots * (last - first)), 4),
        "gap": round(sum(gaps) / len(gaps), 3) if gaps else 0.0,
        "ramp_up": round(starts[min(given.slots, len(starts)) - 1] - first, 2),
        "cpu_per_tile": round((usage.ru_utime + usage.ru_stime) / len(spans), 3),
    }


def main() -> None:
    from tests.backend.ogcapi.servers import Pygeoapi

    given = PARSER.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = Pygeoapi(folder / "pygeoapi", small_scene(folder / "scene.tif"))
        server.start()
        try:
            configuration(folder, server.url, given)
            measured = measure(folder, server, given)
        finally:
            server.stop()
    ideal = given.seconds * -(-measured["tiles"] // given.slots)
    wall, busy, gap = measured["wall"], measured["busy"], measured["gap"]
    print(f"{measured['tiles']} jobs of {given.seconds:g} s on {given.slots} slots: {wall} s, {ideal:g} at best")
    print(f"busy {busy:.3f}; a slot is empty for {gap} s between two jobs; CPU {measured['cpu_per_tile']} s a tile")
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
