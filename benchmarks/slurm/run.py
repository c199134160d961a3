"""What a tile of an application package costs on SLURM beside its own work, against plain ``sbatch`` of the same.

    make slurm-up; python benchmarks/slurm/run.py [--tiles 24] [--seconds 10] [--ways plain b-chunk b-toil-chunk …]

Each tile waits and writes a small raster. ``plain`` is one ``sbatch`` per tile and nothing else. ``b-…`` is the profile
`slurm` (a tile, or with ``b-…chunk`` some, is a job, and the runner is inside; ``b-chunk`` is that with `engine:
cwltool`). ``a`` is `batch_system: slurm` (Toil submits the step; a leader per tile is here, and with ``a-chunk`` these
are forks of one process). Makespan is from the start to the last tile's raster, start-up of Snakemake included;
``told`` is from the start until Snakemake, which asks SLURM from time to time, had seen that all jobs had ended. CPU is
that of all processes here, Snakemake and leaders, and of all jobs (``sacct``), less that of the jobs of ``plain``: what
orchestration costs. The last line is JSON.

``b-…chunk`` gives every slot as many jobs as any other, each of at most 32 tiles.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
HOME = Path("/var/tmp/eo-upscaling-slurm")
SITE = {"account": "eo", "partition": "main", "runtime_min": 60}
EDGE = 1000  # metres, of a tile
MOST = 32  # tiles in a job
LONGEST = 100  # row of tiles


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "SLURM_CONF": str(HOME / "slurm.conf")}


def sacct(*options: str) -> list[str]:
    command = ["sacct", "-n", "-P", *options]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout.splitlines()


def seconds_of(text: str) -> float:
    """Return a time of sacct, [DD-[HH:]]MM:SS[.sss], in seconds."""
    days, _, rest = text.rpartition("-")
    total = 0.0
    for part in rest.split(":"):
        total = total * 60 + float(part)
    return total + 86400 * int(days or 0)


def cpu_of_jobs(above: int) -> float:
    # Not -X, with which sacct says that they used nothing.
    rows = [line.split("|") for line in sacct("-o", "JobIDRaw,TotalCPU")]
    return sum(seconds_of(cpu) for job, cpu in rows if job.isdigit() and int(job) > above)


def last_job() -> int:
    return max((int(line) for line in sacct("-X", "-o", "JobIDRaw")), default=0)


def plain(options: argparse.Namespace, folder: Path) -> list[Path]:
    """Submit one job per tile, as a shell loop would; return what they wrote."""
    for number in range(options.tiles):
        place = folder / str(number)
        place.mkdir()
        west = 500000 + number * EDGE
        tool = f"python {HERE / 'wait.py'} {options.seconds} EPSG:32632 --bbox={west},5000000,{west + EDGE},5001000"
        command = ["sbatch", "--parsable", "-A", "eo", "--mem=500", "-D", str(place), "-o", "log", f"--wrap={tool}"]
        subprocess.run(command, env=environment(), check=True, capture_output=True)
    while len(list(folder.glob("*/ones.tif"))) < options.tiles:
        time.sleep(0.2)
    return list(folder.glob("*/ones.tif"))


def ours(profile: str, *, chunked: bool = False, **backend: Any) -> Callable[[argparse.Namespace, Path], list[Path]]:
    """Return a run of the same work through Snakemake."""

    def run(options: argparse.Namespace, folder: Path) -> list[Path]:
        rows = math.ceil(options.tiles / LONGEST)  # a longer one would lie in two zones
        if options.tiles % rows:
            sys.exit(f"--tiles {options.tiles}: more than {LONGEST} have to be rows of the same length")
        north, east = 5000000 + rows * EDGE, 500000 + options.tiles // rows * EDGE
        ring = [[500000, 5000000], [east, 5000000], [east, north], [500000, north], [500000, 5000000]]
        crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
        (folder / "area.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring], "crs": crs}))
        config: dict[str, Any] = {
            "run": "bench",
            "algorithm": {"source": str(HERE / "wait.cwl"), "parameters": {"seconds": str(options.seconds)}},
            "area": {"aoi": "area.geojson", "grid": "utm-1km"},
            "backend": {"kind": "cwl", "slots": options.slots, "memory_mb": 500, "site": SITE, **backend},
        }
        if chunked:
            rounds = math.ceil(options.tiles / options.slots / MOST)
            config["backend"] |= {"chunk": math.ceil(options.tiles / options.slots / rounds)}
        (folder / "config.json").write_text(json.dumps(config))
        subprocess.run(["upscaling", "plan", "config.json"], cwd=folder, env=environment(), check=True)
        lines = (folder / "results/bench/plan/tiles.csv").read_text().splitlines()[1:]
        targets = [f"results/bench/tiles/{line.split(',')[0]}/item.json" for line in lines]
        command = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--configfile", "config.json"]
        command += ["--profile", str(ROOT / "workflow" / "profiles" / profile), "--quiet", "all", "--", *targets]
        subprocess.run(command, cwd=folder, env=environment(), check=False)
        return list(folder.glob("results/bench/tiles/*/*.tif"))  # Snakemake touches the items

    return run


WAYS: dict[str, Callable[[argparse.Namespace, Path], list[Path]]] = {
    "plain": plain,
    "b-chunk": ours("slurm", chunked=True, engine="cwltool"),
    "b-toil-chunk": ours("slurm", chunked=True),
    "b-cwltool": ours("slurm", engine="cwltool"),
    "b-toil": ours("slurm"),
    "a": ours("local", batch_system="slurm"),
    "a-chunk": ours("local", batch_system="slurm", chunk=1000),
}


def measure(way: str, options: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix=f"bench-{way}-", dir="/var/tmp") as name:
        folder, before = Path(name), last_job()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        begun = time.time()
        done = WAYS[way](options, folder)
        told = time.time() - begun
        makespan = max(path.stat().st_mtime for path in done) - begun if done else math.nan
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        time.sleep(5)  # the accounting is told a moment later
        here = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
        times = {"makespan": makespan, "told": told}
        return {"done": len(done), **times, "cpu_here": here, "cpu_jobs": cpu_of_jobs(before)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=10.0, help="that a tile waits")
    parser.add_argument("--slots", type=int, default=8, help="tiles at the same time; the cluster's cores")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    options = parser.parse_args()
    results = {}
    for way in options.ways:
        results[way] = found = measure(way, options)
        base = results.get("plain", found)
        cpu = (found["cpu_here"] + found["cpu_jobs"] - base["cpu_jobs"]) / options.tiles
        found |= {"ratio": found["makespan"] / base["makespan"], "cpu_a_tile": cpu}
        here = found["cpu_here"] / options.tiles
        print(
            f"{way:10} {found['done']:.0f}/{options.tiles} tiles in {found['makespan']:.0f} s,"
            f" {found['ratio']:.2f} times plain, told after {found['told']:.0f} s;"
            f" orchestration {cpu:.2f} CPU s a tile, {here:.2f} of it here",
            flush=True,
        )
    print(json.dumps({"tiles": options.tiles, "seconds": options.seconds, **results}))


if __name__ == "__main__":
    main()
