"""What a run costs beside the platform, against MultiBackendJobManager of the openeo client on the same back-end.

    python benchmarks/openeo/run.py [--tiles 200] [--slots 20] [--seconds 2 2] [--peer 1 5]

The embedded back-end simulates jobs of known duration (``upscaling local-backend --simulate``), a fresh one for each
way; both ways send it the same graphs, with as many jobs at the same time. Ours is ``snakemake`` with the local
profile, up to the last ``item.json``: downloaded, checked and described. The peer downloads only. ``--peer``
takes its ``poll_sleep`` in seconds, each one more run: the default of the peer is 60; it asks for every active job in
each round and starts ten at most, so few would dare 1 against a real platform.

Busy is the share of slot-seconds, from the first job's start to the last one's end, ramp-up and drain included, in
which a job was really running; it comes from the back-end's files. CPU counts Snakemake and the worker, whatever
they started included, and start-up too; memory is the largest sum of their PSS. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
USER, PASSWORD = "bench", "no-secret"
PARSER = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
PARSER.add_argument("--tiles", type=int, default=200)
PARSER.add_argument("--slots", type=int, default=20)
PARSER.add_argument("--seconds", type=float, nargs=2, default=(2.0, 2.0), help="shortest and longest job")
PARSER.add_argument("--poll", type=float, nargs=2, default=(0.2, 60.0), help="backend.poll_seconds of our run")
PARSER.add_argument("--peer", type=float, nargs="*", default=[1.0], help="poll_sleep of each run of the peer")
PARSER.add_argument("--keep", type=Path, help="work in this new folder and leave it: ext4 minds what others deleted")


@dataclass
class Measured:
    """One way's figures; seconds, MB."""

    tiles: int
    wall: float
    per_second: float
    busy: float
    gap: float
    cpu_per_tile: float
    memory: float


@contextmanager
def backend(folder: Path, slots: int, seconds: tuple[float, float]) -> Iterator[str]:
    """Serve a collection that is everywhere in UTM zone 32, with simulated jobs."""
    import numpy as np
    import rasterio
    from affine import Affine

    folder.mkdir(parents=True)
    profile = {"driver": "GTiff", "count": 1, "width": 60, "height": 60, "dtype": "uint8", "crs": "EPSG:32632"}
    with rasterio.open(folder / "all.tif", "w", transform=Affine(10_000, 0, 2e5, 0, -10_000, 5.4e6), **profile) as file:
        file.write(np.ones((1, 60, 60), "uint8"))
    item = {"file": "all.tif", "datetime": "2023-06-12T10:00:00Z", "bands": ["B04"]}
    data = folder / "collections.yaml"
    data.write_text(json.dumps({"collections": {"SENTINEL2_L2A": {"items": [item]}}}))
    command = [sys.executable, "-m", "upscaling.local_backend", "--data", str(data), "--root", str(folder / "root")]
    command += ["--slots", str(slots), "--simulate", *map(str, seconds)]
    environment = {**os.environ, "OPENEO_LOCAL_USER": USER, "OPENEO_LOCAL_PASSWORD": PASSWORD}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def measure(command: list[str], folder: Path, root: Path, slots: int, programs: Path = BIN) -> Measured:
    """Run one way and look at what it took and what the back-end saw of it."""
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "OPENEO_AUTH_USERNAME": USER,
        "OPENEO_AUTH_PASSWORD": PASSWORD,
    }
    began = time.monotonic()
    with (folder / "out.txt").open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out, start_new_session=True)
    largest, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(2):
            largest[0] = max(largest[0], pss_of_session(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        done.set()
        watcher.join()
    wall = time.monotonic() - began
    if status:
        sys.exit(f"failed: see {folder}/out.txt\n" + (folder / "out.txt").read_text()[-2000:])
    spans = spans_of(root)
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    running = sum(end - start for start, end in spans)
    return Measured(
        tiles=len(spans),
        wall=wall,
        per_second=len(spans) / wall,
        busy=running / (slots * (last - first)),
        gap=gap_of(spans, slots),
        cpu_per_tile=(usage.ru_utime + usage.ru_stime) / len(spans),
        memory=largest[0],
    )


def pss_of_session(session: int) -> float:
    """Return the proportional set size, in MB, of all processes of a session."""
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if int((entry / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                lines = (entry / "smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except (OSError, ValueError):  # it has just ended
            continue
    return total / 1024


def spans_of(root: Path) -> list[tuple[float, float]]:
    """Return when each job began and ended, from its folder: what went in is written first, the result last."""
    spans = []
    for job in jobs_of(root):
        folder = root / "jobs" / job["id"]
        end = (folder / "result.json").stat().st_mtime
        spans.append((end - job["usage"]["duration"]["value"], end))
    return spans


def gap_of(spans: list[tuple[float, float]], slots: int) -> float:
    """Return the mean seconds that a slot stands empty: from the n-th end to the n-th start after the first fill."""
    starts, ends = sorted(start for start, _ in spans), sorted(end for _, end in spans)
    gaps = [start - end for start, end in zip(starts[slots:], ends, strict=False)]
    return sum(gaps) / len(gaps) if gaps else 0.0


def jobs_of(root: Path) -> list[dict[str, Any]]:
    """Return the back-end's own records."""
    with sqlite3.connect(root / "jobs.sqlite") as base:
        return [json.loads(row[0]) for row in base.execute("SELECT record FROM jobs ORDER BY number")]


def ours(folder: Path, url: str, given: argparse.Namespace) -> list[str]:
    """Write the configuration of a run with the asked number of tiles; return its command."""
    side = -(-given.tiles // 10)
    west, south = 500_000, 4_900_000
    corners = [(west, south), (west + 10_000, south), (west + 10_000, south + side * 1000), (west, south + side * 1000)]
    aoi = {
        "type": "Polygon",
        "coordinates": [[*corners, corners[0]]],
        "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}},
    }
    (folder / "aoi.geojson").write_text(json.dumps(aoi))
    config = {
        "run": "bench",
        "algorithm": {
            "source": str(ROOT / "config/demo/ndvi_composite.json"),
            "parameters": {"temporal_extent": ["2023-06-01", "2023-09-01"]},
        },
        "area": {"aoi": "aoi.geojson", "grid": "utm-1km"},
        "backend": {
            "kind": "openeo",
            "url": url,
            "auth": "basic",
            "slots": given.slots,
            "poll_seconds": list(given.poll),
        },
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    profile = ROOT / "workflow" / "profiles" / "local"
    command = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--profile", str(profile)]
    return [*command, "--cores", str(max(64, given.slots)), "--configfile", "config.yaml", "--until", "tile"]


def run_peer(url: str, graphs: Path, slots: int, poll_sleep: float) -> None:
    """Run the graphs with MultiBackendJobManager; this is a process of its own."""
    import openeo
    import pandas as pd
    from openeo.extra.job_management import MultiBackendJobManager, ParquetJobDatabase

    all_graphs = json.loads(graphs.read_text())
    connection = openeo.connect(url).authenticate_basic(USER, PASSWORD)

    def start_job(row: Any, connection: Any, **_: Any) -> Any:
        return connection.create_job(all_graphs[row["number"]], title=f"tile {row['number']}")

    manager = MultiBackendJobManager(poll_sleep=poll_sleep, root_dir="jobs")
    manager.add_backend("embedded", connection, parallel_jobs=slots)
    table = pd.DataFrame({"number": range(len(all_graphs))})
    manager.run_jobs(df=table, start_job=start_job, job_db=ParquetJobDatabase("jobs.parquet"))
    counted = pd.read_parquet("jobs.parquet")["status"].value_counts().to_dict()
    if counted != {"finished": len(all_graphs)}:
        sys.exit(f"not all jobs of the peer finished: {counted}")
    sys.stdout.flush()
    os._exit(0)  # all is done and on disk; its thread pools now and then abort the interpreter's end


def main() -> None:
    if sys.argv[1:2] == ["peer"]:
        run_peer(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
        return
    given = PARSER.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = given.keep or Path(name)
        root = folder / "backend"
        with backend(root, given.slots, given.seconds) as url:
            (folder / "ours").mkdir()
            command = ours(folder / "ours", url, given)
            own = measure(command, folder / "ours", root / "root", given.slots)
        graphs = folder / "graphs.json"
        graphs.write_text(json.dumps([job["process"]["process_graph"] for job in jobs_of(root / "root")]))
        peers = {}
        for poll_sleep in given.peer:
            work, root = folder / f"peer-{poll_sleep:g}", folder / f"backend-of-peer-{poll_sleep:g}"
            work.mkdir()
            with backend(root, given.slots, given.seconds) as url:
                command = [sys.executable, str(Path(__file__).resolve()), "peer", url, str(graphs)]
                command += [str(given.slots), str(poll_sleep)]
                peers[poll_sleep] = measure(command, work, root / "root", given.slots)
    seconds = " to ".join(f"{value:g}" for value in sorted(set(given.seconds)))
    after = os.getloadavg()[0]
    print(f"{given.tiles} jobs of {seconds} s at {given.slots} slots; load of the machine {load:.1f} to {after:.1f}")
    print("| way | wall s | tiles/s | ours is faster | busy | gap s | CPU s per tile | PSS MB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    names = {poll_sleep: f"MultiBackendJobManager, poll_sleep {poll_sleep:g}" for poll_sleep in peers}
    ratios = {poll_sleep: own.per_second / peer.per_second for poll_sleep, peer in peers.items()}
    for name, m, ratio in [
        ("eo-upscaling", own, ""),
        *((names[poll_sleep], peers[poll_sleep], f"{ratios[poll_sleep]:.2f} x") for poll_sleep in peers),
    ]:
        row = f"{m.wall:.1f} | {m.per_second:.2f} | {ratio} | {m.busy:.3f} | {m.gap:.2f} | {m.cpu_per_tile:.3f}"
        print(f"| {name} | {row} | {m.memory:.0f} |")
    facts = {"slots": given.slots, "seconds": list(given.seconds), "load": [load, after], "ours": asdict(own)}
    found = [{"poll_sleep": key, "ratio": ratios[key], **asdict(peers[key])} for key in peers]
    print(json.dumps({**facts, "peers": found}))


if __name__ == "__main__":
    main()
