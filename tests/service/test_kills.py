"""Kills at random of every part of a service: every task completes, and no tile is paid twice."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.postgres import Postgres
from tests.servers import EmbeddedBackend

from .conftest import ACCOUNT, UDP, Service, platform_of, upscaling_request

# 30 kills over 5 tasks of 40 tiles: UPSCALING_KILLS=30 UPSCALING_KILL_TASKS=5 UPSCALING_KILL_TILES=40
KILLS = int(os.environ.get("UPSCALING_KILLS", "3"))
TASKS = int(os.environ.get("UPSCALING_KILL_TASKS", "2"))
TILES = int(os.environ.get("UPSCALING_KILL_TILES", "6"))
SEED = int(os.environ.get("UPSCALING_KILL_SEED", "1"))


def areas(number: int, row: int) -> list[dict[str, Any]]:
    """Boxes of which no two are alike."""
    boxes = []
    for step in range(number):
        west, south = 11.30 + 0.0005 * step, 46.46 + 0.0005 * row
        ring = [[west, south], [west + 0.01, south], [west + 0.01, south + 0.01], [west, south + 0.01], [west, south]]
        boxes.append({"type": "Polygon", "coordinates": [ring]})
    return boxes


class Storm:
    """Kills parts of a running service."""

    def __init__(self, service: Service, backend: EmbeddedBackend, database: Postgres) -> None:
        self.service, self.backend, self.database = service, backend, database
        self.random = random.Random(SEED)
        self.killed: list[str] = []

    def processes(self, word: str) -> list[psutil.Process]:
        """Processes of this service's runs whose command has a word."""
        own = str(self.service.folder)
        found = []
        for process in psutil.process_iter():
            try:
                if word in " ".join(process.cmdline()) and process.cwd().startswith(own):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def strike(self) -> None:
        target = self.random.choice(["service", "snakemake", "worker", "backend", "database"])
        self.killed.append(target)
        if target == "service":
            self.service.stop(signal.SIGKILL)
            self.service.start()
        elif target == "backend":
            self.backend.stop(signal.SIGKILL)
            time.sleep(self.random.random())
            self.backend.start()
        elif target == "database":
            self.database.kill()
            time.sleep(self.random.random())
            (self.database.folder / "data" / "postmaster.pid").unlink(missing_ok=True)
            self._database_again()
        else:
            for process in self.processes("-m snakemake" if target == "snakemake" else "upscaling.execution.worker"):
                try:
                    process.kill()
                except psutil.Error:
                    continue

    def _database_again(self) -> None:
        deadline = time.monotonic() + 200
        while True:
            try:
                self.database.start()
            except AssertionError:  # its last processes hold the memory for a moment
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
            else:
                return


@pytest.fixture
def database() -> Iterator[Postgres]:
    """A PostgreSQL below /tmp itself: its owner may not look into pytest's folders."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = Postgres(folder / "database", "service", "not-a-secret", "service", durable=True)
        try:
            yield server.create()
        finally:
            server.stop()


def test_random_kills_lose_no_tile_and_pay_none_twice(tmp_path: Path, database: Postgres) -> None:
    (tmp_path / "backend").mkdir()
    from upscaling.demo.data import make_demo_data

    backend = EmbeddedBackend(
        make_demo_data(tmp_path / "data"), tmp_path / "backend" / "root", slots=8, simulate=(0.5, 2)
    )
    backend.start()
    settings = {
        "platforms": [platform_of(backend, slots=4)],
        "sources": [str(UDP.parent)],
        "database": database.url,
        "runs_at_once": TASKS,
    }
    service = Service(tmp_path / "service", settings, variables=ACCOUNT).start()
    storm = Storm(service, backend, database)
    try:
        made = []
        for number in range(TASKS):
            body = upscaling_request(backend, areas(TILES, number), title=f"task {number}")
            answer = service.call("POST", "/upscale_tasks", json=body)
            assert answer.status_code == 201, answer.text
            made.append(answer.json()["id"])
        for _ in range(KILLS):
            time.sleep(storm.random.uniform(1.0, 4.0))
            storm.strike()
        for task in made:
            found = service.ended(task, seconds=900)
            states = [job["status"] for job in found["jobs"]]
            assert states == ["finished"] * TILES, (storm.killed, found["reason"], states)
        assert len(backend.jobs()) == TASKS * TILES, storm.killed
    finally:
        service.stop()
        for process in storm.processes("snakemake"):
            process.kill()
        backend.stop()


def test_a_killed_service_leaves_no_process_but_its_runs(tmp_path: Path) -> None:
    service = Service(tmp_path / "service", {}).start()
    assert service.process is not None
    planner = psutil.Process(service.process.pid).children(recursive=True)
    assert planner
    service.stop(signal.SIGKILL)
    assert psutil.wait_procs(planner, timeout=120)[1] == []
