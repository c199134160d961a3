"""Kills at random moments, of everything that runs: the run ends complete after restarts, with one job per tile.

As it stands five kills, in one run of 40 tiles. Processes are also stopped for some seconds (SIGSTOP). A hundred:

    UPSCALING_KILLS=100 .venv/bin/python -m pytest tests/faults/test_kills.py -s
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.servers import PASSWORD, EmbeddedBackend, scene_collections
from tests.workflow.conftest import CRS, Run, scene_run  # noqa: F401 -- a fixture

KILLS = int(os.environ.get("UPSCALING_KILLS", "5"))
PER_RUN = 10  # at the most: a run of 40 tiles does not last for more
TILES = 40
NAMES = {signal.SIGKILL: "SIGKILL", signal.SIGINT: "SIGINT", signal.SIGTERM: "SIGTERM"}


@pytest.fixture
def backend(scene: Path, tmp_path: Path) -> Iterator[EmbeddedBackend]:
    server = EmbeddedBackend(scene_collections(scene, tmp_path), tmp_path / "backend").start()
    yield server
    server.stop()


def children(pid: int, words: str) -> list[psutil.Process]:
    try:
        found = psutil.Process(pid).children(recursive=True)
        return [child for child in found if words in " ".join(child.cmdline())]
    except psutil.Error:
        return []


class Killer:
    """Kills one thing at a time, and starts again what a person would start again."""

    def __init__(self, run: Run, backend: EmbeddedBackend, seed: int) -> None:
        self.run, self.backend, self.random = run, backend, random.Random(seed)
        self.process = run.start()
        self.done: Counter[str] = Counter()
        self.starts, self.said = 1, ""

    def again(self) -> None:
        if self.backend.process is None or self.backend.process.poll() is not None:
            self.backend.start()  # it ends itself when its worker is killed while it starts
        with contextlib.suppress(FileNotFoundError):
            self.said += (self.run.folder / "snakemake.out").read_text(errors="replace")[-3000:]
        self.process = self.run.start()
        self.starts += 1

    def ended(self) -> int:
        """Wait for the run's end; a back-end that ended itself, as its worker could not start, is started again."""
        deadline = time.monotonic() + 300
        while (status := self.process.poll()) is None:
            assert time.monotonic() < deadline, (self.run.folder / "snakemake.out").read_text(errors="replace")[-9000:]
            assert self.backend.process is not None
            if self.backend.process.poll() is not None:
                self.backend.start()
            time.sleep(0.5)
        return status

    def kill(self) -> None:
        target = self.random.choice(
            ["snakemake"] * 4 + ["worker", "worker", "back-end", "back-end", "back-end's worker", "stopped", "stopped"]
        )
        getattr(self, "_" + target.replace("-", "").replace(" ", "_").replace("'", ""))(target)

    def _snakemake(self, target: str) -> None:
        sign = self.random.choice(list(NAMES))
        # Ctrl-C reaches the whole group; `kill` one process; a lost allocation kills everything.
        group = sign is signal.SIGINT or (sign is signal.SIGKILL and self.random.random() < 0.5)
        (os.killpg if group else os.kill)(self.process.pid, sign)
        try:
            self.process.wait(200)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.done[f"{NAMES[sign]} {target}{' group' if group else ''}"] += 1
        self.again()

    def _signalled(self, target: str, processes: list[psutil.Process]) -> None:
        if processes:
            sign = self.random.choice([signal.SIGKILL, signal.SIGTERM])
            self.random.choice(processes).send_signal(sign)
            self.done[f"{NAMES[sign]} {target}"] += 1

    def _worker(self, target: str) -> None:
        self._signalled(target, children(self.process.pid, "upscaling.execution.worker"))

    def _backend(self, target: str) -> None:
        sign = self.random.choice([signal.SIGKILL, signal.SIGTERM])
        self.backend.stop(sign)
        time.sleep(self.random.uniform(0, 2))
        self.backend.start()
        self.done[f"{NAMES[sign]} {target}"] += 1

    def _stopped(self, target: str) -> None:
        """Stop a process for some seconds, and let it go on: a laptop's lid, a node that swaps."""
        assert self.backend.process is not None
        workers = children(self.process.pid, "upscaling.execution.worker")
        found = [self.process.pid, self.backend.process.pid, *(worker.pid for worker in workers)]
        pid = self.random.choice(found)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self.random.uniform(0.5, 3))
            os.kill(pid, signal.SIGCONT)
            self.done[f"SIGSTOP {target}"] += 1

    def _backends_worker(self, target: str) -> None:
        assert self.backend.process is not None
        if self.backend.process.poll() is not None:
            self.backend.start()
        nurseries = psutil.Process(self.backend.process.pid).children()
        if nurseries:
            nurseries[0].kill()  # and its jobs with it
            self.done[f"SIGKILL {target}"] += 1


@pytest.mark.slow
@pytest.mark.timeout(max(1200, 60 * KILLS))
def test_killed_at_random_a_run_ends_complete_with_one_job_per_tile(
    backend: EmbeddedBackend,
    scene_run: Callable[..., Run],  # noqa: F811
    tmp_path: Path,
) -> None:
    everything: Counter[str] = Counter()
    seed = int(os.environ.get("UPSCALING_SEED", "1"))
    number = 0
    while sum(everything.values()) < KILLS:
        number += 1
        assert number < 20, f"too few kills found their target: {everything}"
        killer = one_run(backend, scene_run, seed + number, number, min(PER_RUN, KILLS - sum(everything.values())))
        everything += killer.done
        print(f"\nrun {number}: {dict(killer.done)}, {killer.starts} starts of snakemake")
    print(f"{sum(everything.values())} kills in {number} runs: {dict(everything)}")


def one_run(backend: EmbeddedBackend, make: Callable[..., Run], seed: int, number: int, kills: int) -> Killer:
    name = f"kills{number}"
    ring = [[675100, 5149100], [682900, 5149100], [682900, 5153900], [675100, 5153900], [675100, 5149100]]
    run = make(backend, run=name)
    area = run.folder / "block.geojson"
    area.write_text(json.dumps({"type": "Polygon", "coordinates": [ring], "crs": CRS}))
    run.config["area"] = {"aoi": "block.geojson", "grid": "utm-1km"}
    # another interval with the same one scene in it: other work, so that nothing of the run before is adopted
    run.config["algorithm"] = {
        **run.config["algorithm"],
        "parameters": {"temporal_extent": [f"2022-05-{number:02d}", "2022-07-01"]},
    }
    patience = {"lag_seconds": 2, "outage_hours": 0.05, "request_seconds": 10, "poll_seconds": [0.1, 1]}
    run.config["backend"] = {**run.config["backend"], **patience}
    killer = Killer(run, backend, seed)
    items = run.results / "tiles"
    started = time.monotonic()
    while not list(items.glob("*/item.json")) and killer.process.poll() is None and time.monotonic() < started + 60:
        time.sleep(0.1)
    while sum(killer.done.values()) < kills:
        time.sleep(killer.random.uniform(0.3, 4))
        status = killer.process.poll()
        if status is not None and len(list(items.glob("*/item.json"))) == TILES:
            break
        if status is not None:  # its tiles gave up, as they lost their processes
            killer.again()
        else:
            killer.kill()
    for _ in range(3):
        if killer.ended() == 0:
            break
        killer.again()
    out = killer.said + (run.folder / "snakemake.out").read_text(errors="replace")
    assert killer.process.wait(300) == 0, out[-9000:]
    assert len(list(items.glob("*/item.json"))) == TILES
    assert len([link for link in json.loads((run.results / "collection.json").read_text())["links"]
                if link["rel"] == "item"]) == TILES  # fmt: skip
    jobs = [job for job in backend.jobs() if f" {name} " in job["title"]]
    # A job that the platform gave up, as its workers were killed under it again and again, has to be made again.
    jobs = [job for job in jobs if job["status"] != "error" or not _given_up(backend, job["id"])]
    assert Counter(job["title"] for job in jobs).most_common(1)[0][1] == 1, "a tile was submitted twice"
    assert len(jobs) == TILES
    assert {job["status"] for job in jobs} == {"finished"}
    _no_secret_below(run.folder, backend)
    return killer


def _given_up(backend: EmbeddedBackend, job_id: str) -> bool:
    import openeo

    from tests.servers import USER

    connection = openeo.connect(backend.url).authenticate_basic(USER, PASSWORD)
    return any(entry.get("code") == "BackendDied" for entry in connection.job(job_id).logs())


def _no_secret_below(folder: Path, backend: EmbeddedBackend) -> None:
    import openeo

    from tests.servers import USER

    connection = openeo.connect(backend.url).authenticate_basic(USER, PASSWORD)
    token = connection.auth.bearer.rpartition("/")[2]
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert PASSWORD.encode() not in content, path
            assert token.encode() not in content, path
