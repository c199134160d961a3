"""Pilot, estimate, then the whole run, on the embedded back-end with simulated costs.

    python benchmarks/estimate/end_to_end.py --seeds 20 --tiles 200

For each seed another world of costs: a minimum charge, an area term that differs from place to place, a few places that
cost two to five times as much. A row per seed; at the end how often the run's cost lay in the interval.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]

if TYPE_CHECKING:
    from tests.servers import EmbeddedBackend

_SLOTS = 10
_WORKFLOW = ("--snakefile", str(ROOT / "Snakefile"), "--profile", str(ROOT / "workflow/profiles/local"))


def main() -> None:
    """Run all seeds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--tiles", type=int, default=200)
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT))  # the tests' servers
    inside, exact = 0, 0
    print("seed  floor  estimate (p05 to p95)      actual  inside  jobs  seconds p50 (p90)  took", flush=True)
    for seed in range(given.first, given.first + given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            row = one_seed(Path(folder), seed, given.tiles)
        inside += row["inside"]
        exact += row["jobs"] == given.tiles
        print("{seed:4d}  {floor:5.1f}  {p50:8.1f} ({p05:.1f} to {p95:.1f})  {actual:8.1f}  {inside!s:>6}  {jobs:4d}"
              "  {seconds:.0f} ({seconds90:.0f})  {took:.0f}".format(**row), flush=True)  # fmt: skip
    print(f"cost inside the 90 % interval {inside} of {given.seeds} times; as many jobs as tiles {exact} times")


def one_seed(folder: Path, seed: int, tiles: int) -> dict[str, Any]:
    """Return the estimate after the pilot, and what the run then cost."""
    from tests.planned import everywhere
    from tests.servers import EmbeddedBackend

    floor = 0.5 * (seed % 7)
    backend = EmbeddedBackend(
        everywhere(folder), folder / "backend", slots=_SLOTS, simulate=(0.05, 1.0), costs=(floor, 2.0, seed)
    )
    backend.start()
    try:
        write_config(folder, backend.url, tiles)
        command = ["upscaling", "estimate", "config.yaml", "--pilot", "--yes", "--json"]
        said = call(folder, backend, command)
        estimate = json.loads(said.stdout)
        begun = time.monotonic()
        call(
            folder, backend, ["snakemake", *_WORKFLOW, "--configfile", "config.yaml", "--", "results/e/collection.json"]
        )
        took = time.monotonic() - begun
        jobs = backend.jobs()
    finally:
        backend.stop()
    actual, cost = sum(job["costs"] for job in jobs), estimate["cost"]
    return {
        "seed": seed,
        "floor": floor,
        **cost,
        "actual": actual,
        "inside": cost["p05"] <= actual <= cost["p95"],
        "jobs": len(jobs),
        "seconds": estimate["seconds"]["p50"],
        "seconds90": estimate["seconds"]["p90"],
        "took": took,
    }


def write_config(folder: Path, url: str, tiles: int) -> None:
    """Write the configuration of a run of so many tiles of 1 km."""
    columns = 20
    west, south, east, north = 500_000, 5_000_000, 500_000 + columns * 1000, 5_000_000 + tiles // columns * 1000
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    (folder / "aoi.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring], "crs": crs}))
    config = {
        "run": "e",
        "algorithm": {
            "source": str(ROOT / "config/demo/ndvi_composite.json"),
            "parameters": {"temporal_extent": ["2023-06-01", "2023-09-01"]},
        },
        "area": {"aoi": "aoi.geojson", "grid": "utm-1km"},
        "backend": {"kind": "openeo", "url": url, "auth": "basic", "slots": _SLOTS, "poll_seconds": [0.1, 1.0]},
    }
    (folder / "config.yaml").write_text(json.dumps(config))


def call(folder: Path, backend: EmbeddedBackend, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command as a user of the back-end; end with its words if it fails."""
    said = subprocess.run(command, cwd=folder, env=backend.environment, capture_output=True, text=True, check=False)
    if said.returncode:
        raise SystemExit(f"{' '.join(command[:2])} failed:\n{said.stdout[-2000:]}\n{said.stderr[-2000:]}")
    return said


if __name__ == "__main__":
    main()
