"""The process that runs a run's tiles, the one that started it, and a back-end; jobs are simulated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.planned import everywhere, planned_run, tiles_of
from tests.servers import PASSWORD, USER, EmbeddedBackend

from upscaling.workflow.tile_queue import HandedTile, TileQueue
from upscaling.workflow.worker_process import WorkerProcess

# What Snakemake does: start the process, order tiles and stay alive.
PARENT = """
import sys, time
from pathlib import Path
from upscaling.workflow.worker_process import WorkerProcess
process = WorkerProcess(Path(sys.argv[1]), answered=lambda answer: None, ended=lambda status: None)
for tile in sys.argv[2:]:
    process.begin(tile, None)
print(process._process.pid, flush=True)
time.sleep(600)
"""
# What one tile brings in that was not imported before the threads.
LATE_IMPORTS = """
import sys
from pathlib import Path
from upscaling.execution import worker
worker.import_libraries("openeo")
before = set(sys.modules)
from upscaling.planning.plan import kept_config
from upscaling.execution.tile import run_tile
run_tile(sys.argv[2], run_folder=Path(sys.argv[1]), config=kept_config(Path(sys.argv[1])))
packages = lambda names: {name.partition(".")[0] for name in names}
print(*sorted(packages(sys.modules) - packages(before) - sys.stdlib_module_names))
"""


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedBackend]:
    monkeypatch.setenv("OPENEO_AUTH_USERNAME", USER)
    monkeypatch.setenv("OPENEO_AUTH_PASSWORD", PASSWORD)
    server = EmbeddedBackend(everywhere(tmp_path), tmp_path / "backend", slots=60, simulate=(1.0, 2.0)).start()
    yield server
    server.stop()


class Ends:
    """Waits for the ends of tiles."""

    def __init__(self, number: int) -> None:
        self.errors: dict[str, str | None] = {}
        self.lines: list[str] = []
        self._number, self._all = number, threading.Event()

    def tile_begins(self, tile: HandedTile) -> None:
        pass

    def tile_ended(self, tile: HandedTile, error: str | None) -> None:
        self.errors[tile.name] = error
        if len(self.errors) == self._number:
            self._all.set()

    def refused(self, message: str, key: str | None) -> None:
        self.lines.append(message)
        self._all.set()

    def stopped(self) -> None:
        self._all.set()

    def say(self, line: str) -> None:
        self.lines.append(line)

    def wait(self) -> dict[str, str | None]:
        assert self._all.wait(180), self.lines
        return self.errors


@pytest.fixture
def hand_over() -> Iterator[Callable[[Path], tuple[Ends, list[WorkerProcess]]]]:
    """Hand over all tiles of a run; return who waits for their ends, and the processes that are started."""
    queues: list[TileQueue] = []

    def hand(run_folder: Path) -> tuple[Ends, list[WorkerProcess]]:
        tiles, processes = tiles_of(run_folder), list[WorkerProcess]()

        def start(*given: Any, **named: Any) -> WorkerProcess:
            processes.append(WorkerProcess(*given, **named))
            return processes[-1]

        ends = Ends(len(tiles))
        queues.append(TileQueue(run_folder, ends, start))
        for tile in tiles:
            queues[-1].add(HandedTile(tile, None, None))
        return ends, processes

    yield hand
    for queue in queues:
        queue.close()


def wait_for_jobs(platform: EmbeddedBackend, number: int) -> None:
    deadline = time.monotonic() + 200
    while len(platform.jobs()) < number:
        assert time.monotonic() < deadline, "no job was submitted"
        time.sleep(0.1)


def gone(pid: int) -> bool:
    """Wait for a process to end; return whether it did."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def check_done(run_folder: Path, platform: EmbeddedBackend, number: int) -> None:
    """One job a tile, and every tile's item."""
    assert len(list(run_folder.glob("tiles/*/item.json"))) == number
    assert Counter(json.loads(path.read_text())["state"] for path in run_folder.glob("receipts/[!.]*.json")) == {
        "done": number
    }
    titles = [job["title"] for job in platform.jobs()]
    assert len(titles) == len(set(titles)) == number


Hand = Callable[[Path], tuple[Ends, list[WorkerProcess]]]


def test_fifty_tiles_at_once_are_run_by_one_process(platform: EmbeddedBackend, hand_over: Hand, tmp_path: Path) -> None:
    run_folder = planned_run(tmp_path, platform.url, columns=10, rows=5, slots=50, poll_seconds=[0.2, 5])
    ends, processes = hand_over(run_folder)
    wait_for_jobs(platform, 1)
    os.kill(processes[0]._process.pid, signal.SIGINT)  # Ctrl-C is Snakemake's business
    assert set(ends.wait().values()) == {None}
    assert len(processes) == 1
    check_done(run_folder, platform, 50)


def test_killed_with_tiles_in_hand_it_is_started_again_and_attaches(
    platform: EmbeddedBackend, hand_over: Hand, tmp_path: Path
) -> None:
    run_folder = planned_run(tmp_path, platform.url, columns=5, rows=4, slots=20, poll_seconds=[0.2, 5])
    ends, processes = hand_over(run_folder)
    wait_for_jobs(platform, 12)
    os.kill(processes[0]._process.pid, signal.SIGKILL)
    assert set(ends.wait().values()) == {None}
    assert len(processes) == 2
    assert "started again" in ends.lines[0]
    check_done(run_folder, platform, 20)


def test_it_ends_with_the_process_that_started_it_and_the_next_one_attaches(
    platform: EmbeddedBackend, hand_over: Hand, tmp_path: Path
) -> None:
    run_folder = planned_run(tmp_path, platform.url, columns=2, rows=1, slots=2, poll_seconds=[0.2, 5])
    command = [sys.executable, "-c", PARENT, str(run_folder), *tiles_of(run_folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_for_jobs(platform, 2)
        parent.kill()
    assert gone(pid)
    assert not list(run_folder.glob("receipts/.platform-jobs-*"))
    ends, _ = hand_over(run_folder)
    assert set(ends.wait().values()) == {None}
    check_done(run_folder, platform, 2)


def test_a_platform_that_does_not_let_us_in_is_told_with_its_key(hand_over: Hand, tmp_path: Path) -> None:
    run_folder = planned_run(tmp_path, "http://127.0.0.1:1/openeo", columns=2, rows=1, auth="none", slots=2)
    ends, processes = hand_over(run_folder)
    assert ends.wait() == {}
    assert "cannot be reached" in ends.lines[0]
    assert len(processes) == 1


def test_nothing_is_first_imported_by_threads(platform: EmbeddedBackend, tmp_path: Path) -> None:
    run_folder = planned_run(tmp_path, platform.url, columns=1, rows=1, poll_seconds=[0.2, 5])
    command = [sys.executable, "-c", LATE_IMPORTS, str(run_folder), *tiles_of(run_folder)]
    done = subprocess.run(command, env=platform.environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
