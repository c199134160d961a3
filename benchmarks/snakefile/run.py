"""Cost of the Snakefile at 10,000 tiles: parsing it, and a dry run, each against Snakemake with a one-line Snakefile.

    python benchmarks/snakefile/run.py [tiles] [tiles of a large run, 0 for none]

A large run (100,000 tiles) is planned, and the sub-collection of its largest part is dry-run. Parsing is what every
remote job pays again. The peer is the least that Snakemake can do: a rule that expands the same tile names from a
text file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 3
PEER = """
TILES = [line.strip() for line in open("tiles.txt")]

rule all:
    default_target: True
    input:
        expand("results/tiles/{tile}/item.json", tile=TILES),

rule tile:
    output:
        "results/tiles/{tile}/item.json",
    shell:
        "touch {output}"
"""
PARSE = """
import sys, time
from pathlib import Path
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, OutputSettings, ResourceSettings

with SnakemakeApi(OutputSettings(quiet=None)) as api:
    files = [Path(name) for name in sys.argv[2:]]
    workflow = api.workflow(
        resource_settings=ResourceSettings(cores=1),
        config_settings=ConfigSettings(configfiles=files),
        snakefile=Path(sys.argv[1]),
    )
    began = time.process_time(), time.perf_counter()
    workflow._workflow
    print(time.process_time() - began[0], time.perf_counter() - began[1])
"""


def cost(command: list[str], folder: Path) -> dict[str, float]:
    """Return the CPU and wall seconds of a command and its peak memory in MB."""
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    wall, seconds = time.perf_counter() - began, used.ru_utime + used.ru_stime
    return {"cpu_s": round(seconds, 2), "wall_s": round(wall, 2), "peak_mb": round(used.ru_maxrss / 1024)}


def parse(snakefile: Path, configfiles: list[str], folder: Path) -> tuple[float, float]:
    """Return the least (CPU, wall) seconds of parsing over some rounds."""
    found = []
    for _ in range(ROUNDS):
        command = [sys.executable, "-c", PARSE, str(snakefile), *configfiles]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        found.append(tuple(map(float, done.stdout.split()[-2:])))
    return min(found)


def plan(folder: Path, tiles: int) -> dict[str, float]:
    """Plan a square of tiles of 1 km in UTM zone 32; return what it cost."""
    side = round(tiles**0.5)
    west, south = 500_000, 5_000_000
    corners = [(west, south), (west + side * 1000, south), (west + side * 1000, south + side * 1000)]
    ring = [*corners, (west, south + side * 1000), (west, south)]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    folder.mkdir()
    (folder / "aoi.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring], "crs": crs}))
    config = {
        "run": "big",
        "algorithm": {
            "source": str(ROOT / "config/demo/ndvi_composite.json"),
            "parameters": {"temporal_extent": ["2023-06-01", "2023-09-01"]},
        },
        "area": {"aoi": "aoi.geojson", "grid": "utm-1km"},
        "backend": {"kind": "openeo", "url": "http://127.0.0.1:1/openeo", "auth": "none"},
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    return cost(["upscaling", "plan", "config.yaml"], folder)


def rows_of(folder: Path) -> list[list[str]]:
    return [row.split(",") for row in (folder / "results/big/plan/tiles.csv").read_text().splitlines()[1:]]


def main() -> None:
    tiles = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    large = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    dry = ["snakemake", "-n", "--quiet", "all", "--snakefile"]
    own = [*dry, str(ROOT / "Snakefile"), "--configfile", "config.yaml"]
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        results["plan"] = plan(folder, tiles)
        rows = rows_of(folder)
        (folder / "tiles.txt").write_text("".join(f"{row[0]}\n" for row in rows))
        (folder / "peer.smk").write_text(PEER)
        ours, peer = parse(ROOT / "Snakefile", ["config.yaml"], folder), parse(folder / "peer.smk", [], folder)
        results["dry run"], results["dry run of the least Snakefile"] = (
            cost(own, folder),
            cost([*dry, "peer.smk"], folder),
        )
        if large:
            folder = Path(name) / "large"
            results[f"plan {large:,}"] = plan(folder, large)
            parts = Counter(row[3] for row in rows_of(folder))
            part, count = parts.most_common(1)[0]
            target = f"results/big/parts/{part}/collection.json"
            results[f"dry run of a part ({count:,} of {parts.total():,})"] = cost([*own, "--", target], folder)
    print(f"{len(rows)} tiles; parsing takes {ours[0]:.3f} CPU s ({ours[1]:.3f} s); the least Snakefile {peer[0]:.3f}")
    print("| what | CPU s | wall s | peak MB |\n| --- | --- | --- | --- |")
    for what, found in results.items():
        print(f"| {what} | {found['cpu_s']} | {found['wall_s']} | {found['peak_mb']} |")
    facts = {"tiles": len(rows), "parse_s": round(ours[1], 3), "parse_cpu_s": round(ours[0], 3), **results}
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
