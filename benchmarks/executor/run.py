"""What Snakemake and the process of a run cost for each tile, against an earlier version of this package in one run.

    python benchmarks/executor/run.py --other ../eo-upscaling-before [--tiles 600] [--slots 50 200] [--seconds 1 2]

``--other`` is a checkout of another version with an environment of its own in ``.venv``. The embedded back-end of this
version simulates the jobs (``upscaling local-backend --simulate``), a fresh one for each run; the two versions take
turns, ``--rounds`` times. Without ``--other`` only this version is measured, for many tiles handed over at once:

    python benchmarks/executor/run.py --tiles 10000 --slots 200 --seconds 0 0

CPU counts Snakemake and all that it started, start-up too; tiles a second are those of the whole wall time; ``after
start`` leaves out the time until the first job began. The last line is JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PARSER = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
PARSER.add_argument("--other", type=Path, help="checkout of another version, with its .venv")
PARSER.add_argument("--tiles", type=int, default=600)
PARSER.add_argument("--slots", type=int, nargs="+", default=[50, 200])
PARSER.add_argument("--seconds", type=float, nargs=2, default=(1.0, 2.0), help="shortest and longest job")
PARSER.add_argument("--poll", type=float, nargs=2, default=(0.2, 60.0), help="backend.poll_seconds")
PARSER.add_argument("--rounds", type=int, default=1)


def openeo_benchmark() -> ModuleType:
    """Return the module that starts a back-end, writes a run and measures it."""
    spec = importlib.util.spec_from_file_location("openeo_run", ROOT / "benchmarks" / "openeo" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def measure(bench: ModuleType, root: Path, folder: Path, slots: int, given: argparse.Namespace) -> dict[str, Any]:
    """Run one version; return its figures."""
    folder.mkdir(parents=True)
    with bench.backend(folder / "backend", slots, given.seconds) as url:
        (folder / "work").mkdir()
        command = bench.ours(folder / "work", url, argparse.Namespace(**{**vars(given), "slots": slots}))
        command = [word.replace(str(ROOT), str(root)) if word.startswith(str(ROOT)) else word for word in command]
        measured = bench.measure(
            command, folder / "work", folder / "backend" / "root", slots, programs=root / ".venv" / "bin"
        )
    spans = bench.spans_of(folder / "backend" / "root")
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    return {**asdict(measured), "after_start": len(spans) / (last - first)}


def main() -> None:
    given, bench = PARSER.parse_args(), openeo_benchmark()
    versions = {"this": ROOT, **({"other": given.other.resolve()} if given.other else {})}
    found: list[dict[str, Any]] = []
    print("| slots | version | tiles | wall s | tiles/s | after start | CPU s a tile | PSS MB | load |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        for slots in given.slots:
            for number in range(given.rounds):
                for version, root in versions.items():
                    load = os.getloadavg()[0]
                    m = measure(bench, root, Path(name) / f"{slots}-{number}-{version}", slots, given)
                    found.append({"slots": slots, "version": version, "load": load, **m})
                    row = f"{m['wall']:.1f} | {m['per_second']:.1f} | {m['after_start']:.1f} | {m['cpu_per_tile']:.3f}"
                    print(
                        f"| {slots} | {version} | {m['tiles']} | {row} | {m['memory']:.0f} | {load:.1f} |", flush=True
                    )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
