"""Cost of the Snakefile at 10,000 tiles: parsing it, and a dry run, each against Snakemake with a one-line Snakefile.

    python benchmarks/snakefile/run.py [tiles]

Parsing is what every remote job pays again. The peer is the least that Snakemake can do: a rule that expands the same
tile names from a text file.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
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


def cpu(command: list[str], folder: Path) -> float:
    """Return user and system seconds of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def parse(snakefile: Path, configfiles: list[str], folder: Path) -> tuple[float, float]:
    """Return the least (CPU, wall) seconds of parsing over some rounds."""
    found = []
    for _ in range(ROUNDS):
        command = [sys.executable, "-c", PARSE, str(snakefile), *configfiles]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        found.append(tuple(map(float, done.stdout.split()[-2:])))
    return min(found)


def main() -> None:
    tiles = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # A square of tiles of 1 km in UTM zone 32, well inside it, in metres.
        side = round(tiles**0.5)
        west, south = 500_000, 5_000_000
        corners = [(west, south), (west + side * 1000, south), (west + side * 1000, south + side * 1000)]
        ring = [*corners, (west, south + side * 1000), (west, south)]
        aoi = {
            "type": "Polygon",
            "coordinates": [ring],
            "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}},
        }
        (folder / "aoi.geojson").write_text(json.dumps(aoi))
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
        began = time.perf_counter()
        subprocess.run(["upscaling", "plan", "config.yaml"], cwd=folder, check=True, capture_output=True)
        planned = time.perf_counter() - began
        rows = (folder / "results/big/plan/tiles.csv").read_text().splitlines()[1:]
        (folder / "tiles.txt").write_text("".join(f"{row.partition(',')[0]}\n" for row in rows))
        (folder / "peer.smk").write_text(PEER)

        ours, peer = parse(ROOT / "Snakefile", ["config.yaml"], folder), parse(folder / "peer.smk", [], folder)
        dry = ["snakemake", "-n", "--quiet", "all", "--snakefile"]
        dry_ours = cpu([*dry, str(ROOT / "Snakefile"), "--configfile", "config.yaml"], folder)
        dry_peer = cpu([*dry, "peer.smk"], folder)
    print(f"{len(rows)} tiles; planned in {planned:.1f} s")
    print("| what | eo-upscaling | least Snakefile | ratio |")
    print("| --- | --- | --- | --- |")
    print(f"| parse, CPU s | {ours[0]:.3f} | {peer[0]:.3f} | {ours[0] / peer[0]:.2f} |")
    print(f"| parse, wall s | {ours[1]:.3f} | {peer[1]:.3f} | {ours[1] / peer[1]:.2f} |")
    print(f"| dry run, CPU s | {dry_ours:.1f} | {dry_peer:.1f} | {dry_ours / dry_peer:.2f} |")
    print(json.dumps({"tiles": len(rows), "parse_s": ours[1], "parse_cpu_s": ours[0], "dry_run_cpu_s": dry_ours}))


if __name__ == "__main__":
    main()
