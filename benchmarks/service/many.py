"""A service that holds many runs, and one large one: how long it takes to start, to list, to answer for one.

.venv/bin/python benchmarks/service/many.py [--runs 1000] [--tiles 100] [--large 100000]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from run import config_of  # noqa: E402 -- the file beside this one
from tests.service.conftest import Service  # noqa: E402


def main() -> int:
    """Print one line per figure; return 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--tiles", type=int, default=100)
    parser.add_argument("--large", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        quota = {"tasks": 2 * given.runs, "tiles": 2 * given.large}
        service = Service(Path(scratch), {"any_source": True, "quota": quota}).start()
        try:
            times = [created(service, given.tiles, number) for number in range(given.runs)]
            print(f"create {given.runs} runs of about {given.tiles} tiles: median {statistics.median(times):.2f} s,")
            print(f"  of the last hundred {statistics.median(times[-100:]):.2f} s, longest {max(times):.2f} s")
            print(f"create a run of about {given.large} tiles: {created(service, given.large, -1):.2f} s")
            largest = service.call("GET", "/v1/runs").json()[0]["id"]
            shown(service, largest)
            service.stop()
            begun = time.perf_counter()
            service.start()
            service.call("GET", "/health")
            print(f"start again: {time.perf_counter() - begun:.2f} s")
            shown(service, largest)
        finally:
            service.stop()
    return 0


def created(service: Service, tiles: int, number: int) -> float:
    """Create a run that waits for its confirmation; return the seconds until the answer."""
    body = {"title": f"run {number}", "config": config_of(tiles)}
    begun = time.perf_counter()
    answer = service.call("POST", "/v1/runs", json=body, headers={"Idempotency-Key": f"run {number}"}, timeout=600)
    assert answer.status_code == 201, answer.text
    return time.perf_counter() - begun


def shown(service: Service, run: int) -> None:
    """Print how long the questions of a page take, the first time and the fifth, and the service's memory."""
    paths = ["/v1/runs", "/jobs_status", f"/v1/runs/{run}", f"/v1/runs/{run}/tiles"]
    for path in paths:
        times, size = [], 0
        for _ in range(5):
            begun = time.perf_counter()
            answer = service.call("GET", path, timeout=300)
            times.append(time.perf_counter() - begun)
            assert answer.ok, answer.text
            size = len(answer.content)
        print(f"  GET {path} ({size / 1e6:.2f} MB): first {times[0]:.3f} s, then {min(times[1:]):.3f} s")
    assert service.process is not None
    process = psutil.Process(service.process.pid)
    memory = sum(one.memory_full_info().uss for one in [process, *process.children(recursive=True)])
    print(f"  memory of its own, planner included: {memory / 1e6:.0f} MB")


if __name__ == "__main__":
    raise SystemExit(main())
