"""Jobs without pixels, to try how many of them a client bears: ``upscaling local-backend --simulate MIN MAX``.

A job takes MIN to MAX seconds, always the same for the same job id, and has no process of its own. Queue, limit, logs
and results are those of real jobs. No graph is evaluated: the result is one raster of ones, in pixels of 10 m, that
covers exactly the extent of the graph's ``load_collection`` or ``load_stac``, so that whatever checks places and sizes
is content. Costs are those of real jobs, or follow ``--simulate-costs FLOOR PER_KM2 SEED``: a minimum charge, and
beyond it an area term that differs from place to place, with a few places (3 %) two to five times as dear. A place
then always costs and takes the same.

This process stands in the fork server's place and speaks its protocol.
"""

from __future__ import annotations

import heapq
import json
import random
import selectors
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upscaling.errors import ConfigError
from upscaling.local_backend.costs import LOADERS, edges_of
from upscaling.local_backend.errors import ProcessError
from upscaling.local_backend.worker import OUTPUT, RESULT_FILE, extent_of, log_entry
from upscaling.results.projection import METRES_PER_DEGREE
from upscaling.util.files import read_json

__all__ = ["Costs", "duration_of", "main", "write_result"]

PIXEL = 10.0  # m
MOST_PIXELS = 10_000 * 10_000
_SPREAD, _DEAR, _LONGEST_FACTOR = 0.3, 0.03, 5.0  # of costs from place to place


@dataclass(frozen=True, slots=True)
class Costs:
    """What simulated jobs cost: at least ``floor``, and ``per_km2`` beyond; ``seed`` makes another world."""

    floor: float
    per_km2: float
    seed: int

    def factor(self, extent: object) -> float:
        """Return by how much a place differs from the mean."""
        chance = random.Random(f"{self.seed} {extent}")  # noqa: S311 (nothing to guess)
        dear = chance.uniform(2, 5) if chance.random() < _DEAR else 1.0
        return chance.lognormvariate(0.0, _SPREAD) * dear

    def of(self, graph: Mapping[str, Any], area_km2: float) -> float:
        """Return the cost of a job."""
        return round(max(self.floor, self.per_km2 * area_km2 * self.factor(_extent(graph))), 4)


def main(channel: socket.socket, data: Path, seconds: tuple[float, float], costs: Costs | None = None) -> None:
    """Serve the front until its end of ``channel`` closes."""
    from upscaling.local_backend.collections import load_data
    from upscaling.local_backend.processes import base_registry, specifications

    for number in (signal.SIGINT, signal.SIGTERM):  # these reach the whole group: the front decides
        signal.signal(number, signal.SIG_IGN)
    try:
        collections = [collection.metadata() for collection in load_data(data).values()]
    except ConfigError as error:
        _send(channel, event="failed", message=str(error))
        return
    _send(channel, event="ready", collections=collections, processes=specifications(base_registry()))
    try:
        _serve(channel, seconds, costs)
    except ConnectionError:  # the front died while something was being sent
        return


def duration_of(job: str, seconds: tuple[float, float]) -> float:
    """Return how many seconds a job takes."""
    return random.Random(job).uniform(*seconds)  # noqa: S311 (nothing to guess)


def _serve(channel: socket.socket, seconds: tuple[float, float], costs: Costs | None) -> None:
    due: list[tuple[float, str, Path, float]] = []  # heap of (end, job, folder, duration)
    selector = selectors.DefaultSelector()
    selector.register(channel, selectors.EVENT_READ)
    pending = b""
    while True:
        if selector.select(max(0.0, due[0][0] - time.monotonic()) if due else None):
            received = channel.recv(65536)
            if not received:
                return
            *lines, pending = (pending + received).split(b"\n")
            for message in map(json.loads, lines):
                job = str(message["job"])
                if message["do"] == "run":
                    folder = Path(message["folder"])
                    duration = duration_of(job, seconds) if costs is None else _lasting(folder, seconds, costs)
                    heapq.heappush(due, (time.monotonic() + duration, job, folder, duration))
                    _send(channel, event="started", job=job)
                elif killed := [entry for entry in due if entry[1] == job]:
                    due = [entry for entry in due if entry[1] != job]
                    heapq.heapify(due)
                    _ended(channel, job, -signal.SIGKILL, killed[0][3])
        while due and due[0][0] <= time.monotonic():
            _, job, folder, duration = heapq.heappop(due)
            status = _finish(folder)
            _ended(channel, job, status, duration, None if costs is None or status else _costs(folder, costs))


def _finish(folder: Path) -> int:
    try:
        write_result(read_json(folder / "job.json")["process_graph"], folder)
    except ProcessError as error:
        log_entry(folder, "error", str(error), error.code)
        return 1
    except OSError:  # deleted in this moment
        return 1
    return 0


def _lasting(folder: Path, seconds: tuple[float, float], costs: Costs) -> float:
    """Return how long a job of a place takes: MIN to MAX seconds, longer where it costs more."""
    try:
        factor = costs.factor(_extent(read_json(folder / "job.json")["process_graph"]))
    except (ProcessError, OSError):
        return seconds[0]
    return seconds[0] + (seconds[1] - seconds[0]) * min(1.0, factor / _LONGEST_FACTOR)


def _costs(folder: Path, costs: Costs) -> float:
    area = read_json(folder / RESULT_FILE)["area_km2"]
    return costs.of(read_json(folder / "job.json")["process_graph"], area)


def _ended(channel: socket.socket, job: str, status: int, duration: float, costs: float | None = None) -> None:
    stated = {} if costs is None else {"costs": costs}
    _send(channel, event="ended", job=job, status=status, cpu=0.0, memory_mb=0.0, duration=duration, **stated)


def _send(channel: socket.socket, **message: Any) -> None:
    channel.sendall(json.dumps(message).encode() + b"\n")


def write_result(graph: Mapping[str, Any], folder: Path) -> None:
    """Write the raster of ones and the ``result.json`` of a job's graph.

    Raises
    ------
    ProcessError
        ``SimulationUnsupported``: there is no loader with a bounding box or geometry, or it is too large.
    """
    import numpy as np
    import rasterio
    from affine import Affine
    from rasterio.crs import CRS
    from rasterio.shutil import copy

    west, south, east, north, crs = _extent(graph)
    unit = METRES_PER_DEGREE if CRS.from_user_input(crs).is_geographic else 1.0
    width, height = (max(1, round(size * unit / PIXEL)) for size in (east - west, north - south))
    if not (west < east and south < north) or width * height > MOST_PIXELS:
        raise ProcessError("SimulationUnsupported", f"cannot make a raster of {width} x {height} pixels")
    profile = {"count": 1, "width": width, "height": height, "dtype": "uint8", "crs": crs}
    transform = Affine((east - west) / width, 0, west, 0, (south - north) / height, north)
    path = folder / OUTPUT / "openEO.tif"
    path.parent.mkdir(parents=True)
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", transform=transform, **profile) as target:
            target.write(np.ones((1, height, width), "uint8"))
        with memory.open() as source:
            copy(source, path, driver="COG", compress="DEFLATE")
    asset = {
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data"],
        "bands": [{"name": "ones"}],
        "proj:bbox": [west, south, east, north],
        "proj:shape": [height, width],
        "proj:transform": list(transform)[:6],
        **({"proj:epsg": crs} if isinstance(crs, int) else {"proj:wkt2": crs}),
        "file:size": path.stat().st_size,
    }
    assets = {path.name: asset}
    # The front reads this file only once the job has ended, so it need not be written by rename.
    (folder / RESULT_FILE).write_text(json.dumps({"assets": assets, **extent_of(assets, [])}))


def _extent(graph: Mapping[str, Any]) -> tuple[float, float, float, float, int | str]:
    """Return the edges of the first loader's spatial extent and their CRS: an EPSG code, or WKT2."""
    for node in graph.values():
        extent = (node.get("arguments") or {}).get("spatial_extent") if node.get("process_id") in LOADERS else None
        if (found := edges_of(extent)) is not None:
            edges, crs = found
            return *edges, crs
    raise ProcessError("SimulationUnsupported", "no load_collection or load_stac has a spatial extent to simulate")


if __name__ == "__main__":
    _, descriptor, where, shortest, longest, *more = sys.argv
    priced = Costs(float(more[0]), float(more[1]), int(float(more[2]))) if more else None
    main(socket.socket(fileno=int(descriptor)), Path(where), (float(shortest), float(longest)), priced)
