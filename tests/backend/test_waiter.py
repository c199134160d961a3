"""The waiter, its shells and a back-end, as processes of their own; jobs are simulated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conftest import ROOT
from tests.planned import everywhere, planned_run, tiles_of
from tests.servers import EmbeddedBackend

# What Snakemake does: start the waiter as its child and stay alive.
PARENT = """
import sys, time
from pathlib import Path
from upscaling.execution.worker import start
print(start(Path(sys.argv[1])).pid, flush=True)
time.sleep(600)
"""
# What one tile brings in that was not imported before the threads.
LATE_IMPORTS = """
import sys
from pathlib import Path
from upscaling.execution import worker as waiter
waiter.import_libraries("openeo")
before = set(sys.modules)
from upscaling.planning.plan import kept_config
from upscaling.execution.tile import run_tile
run_tile(sys.argv[2], run_folder=Path(sys.argv[1]), config=kept_config(Path(sys.argv[1])))
packages = lambda names: {name.partition(".")[0] for name in names}
print(*sorted(packages(sys.modules) - packages(before) - sys.stdlib_module_names))
"""


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[EmbeddedBackend]:
    server = EmbeddedBackend(everywhere(tmp_path), tmp_path / "backend", slots=60, simulate=(1.0, 2.0)).start()
    yield server
    server.stop()


@pytest.fixture
def start_parent(platform: EmbeddedBackend) -> Iterator[Callable[[Path], tuple[subprocess.Popen[str], int]]]:
    """Start a parent with its waiter; return it and the waiter's process id."""
    parents: list[subprocess.Popen[str]] = []

    def start(run_folder: Path) -> tuple[subprocess.Popen[str], int]:
        command = [sys.executable, "-c", PARENT, str(run_folder)]
        parent = subprocess.Popen(command, env=platform.environment, stdout=subprocess.PIPE, text=True)
        parents.append(parent)
        assert parent.stdout is not None
        return parent, int(parent.stdout.readline())

    yield start
    for parent in parents:
        parent.kill()
        parent.wait()
        assert parent.stdout is not None
        parent.stdout.close()


def shell(run_folder: Path, tile: str, platform: EmbeddedBackend) -> subprocess.Popen[str]:
    """Start what Snakemake starts for a tile."""
    item, log = f"{run_folder}/tiles/{tile}/item.json", f"{run_folder}/logs/{tile}.log"
    (run_folder / "logs").mkdir(exist_ok=True)
    command = ["bash", str(ROOT / "scripts" / "tile.sh"), item, tile, log]
    return subprocess.Popen(command, env=platform.environment, stderr=subprocess.PIPE, text=True)


def ends(shells: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Wait for shells; return exit status and standard error of each."""
    errors = [process.communicate(timeout=180)[1] for process in shells]
    return [(process.returncode, error) for process, error in zip(shells, errors, strict=True)]


def wait_for_jobs(platform: EmbeddedBackend, number: int) -> None:
    deadline = time.monotonic() + 60
    while len(platform.jobs()) < number:
        assert time.monotonic() < deadline, "no job was submitted"
        time.sleep(0.1)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    """Wait for a process to end; return whether it did."""
    deadline = time.monotonic() + 20
    while alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def check_done(run_folder: Path, platform: EmbeddedBackend, number: int) -> None:
    """One job a tile, and every tile's item."""
    assert len(list(run_folder.glob("tiles/*/item.json"))) == number
    assert Counter(json.loads(path.read_text())["state"] for path in run_folder.glob("receipts/*.json")) == {
        "done": number
    }
    titles = [job["title"] for job in platform.jobs()]
    assert len(titles) == len(set(titles)) == number


def test_fifty_tiles_at_once_are_seen_through_by_one_process(
    platform: EmbeddedBackend, start_parent: Callable[[Path], tuple[subprocess.Popen[str], int]], tmp_path: Path
) -> None:
    run_folder = planned_run(tmp_path, platform.url, columns=10, rows=5, slots=50, poll_seconds=[0.2, 5])
    _, waiter = start_parent(run_folder)
    assert (run_folder / ".waiter").stat().st_mode & 0o777 == 0o600
    shells = [shell(run_folder, tile, platform) for tile in tiles_of(run_folder)]
    os.kill(waiter, signal.SIGINT)  # Ctrl-C reaches it too, and is Snakemake's business
    assert ends(shells) == [(0, "")] * 50
    assert alive(waiter)
    check_done(run_folder, platform, 50)


def test_a_waiter_that_is_killed_leaves_its_tiles_to_their_shells_and_no_job_is_submitted_twice(
    platform: EmbeddedBackend, start_parent: Callable[[Path], tuple[subprocess.Popen[str], int]], tmp_path: Path
) -> None:
    run_folder = planned_run(tmp_path, platform.url, columns=2, rows=1, slots=2, poll_seconds=[0.2, 5])
    _, waiter = start_parent(run_folder)
    shells = [shell(run_folder, tile, platform) for tile in tiles_of(run_folder)]
    wait_for_jobs(platform, 2)
    os.kill(waiter, signal.SIGKILL)
    assert ends(shells) == [(0, "")] * 2
    check_done(run_folder, platform, 2)


def test_where_snakemake_is_killed_waiter_and_shells_end_and_the_next_run_attaches(
    platform: EmbeddedBackend, start_parent: Callable[[Path], tuple[subprocess.Popen[str], int]], tmp_path: Path
) -> None:
    run_folder = planned_run(tmp_path, platform.url, columns=2, rows=1, slots=2, poll_seconds=[0.2, 5])
    parent, waiter = start_parent(run_folder)
    shells = [shell(run_folder, tile, platform) for tile in tiles_of(run_folder)]
    wait_for_jobs(platform, 2)
    parent.kill()
    for status, error in ends(shells):  # they do not take the work over: that would be a process per slot
        assert status == 130
        assert "detached" in error
    assert gone(waiter)
    assert not list(run_folder.glob("tiles/*/item.json"))

    start_parent(run_folder)
    assert ends([shell(run_folder, tile, platform) for tile in tiles_of(run_folder)]) == [(0, "")] * 2
    check_done(run_folder, platform, 2)


def test_a_stale_address_leads_to_nobody_and_the_shell_does_the_work(platform: EmbeddedBackend, tmp_path: Path) -> None:
    run_folder = planned_run(tmp_path, platform.url, columns=1, rows=1, poll_seconds=[0.2, 5])
    (run_folder / ".waiter").write_text("1 00112233\n")
    (tile,) = tiles_of(run_folder)
    assert ends([shell(run_folder, tile, platform)]) == [(0, "")]
    check_done(run_folder, platform, 1)


def test_a_token_that_is_refused_leaves_the_work_to_the_shell(
    platform: EmbeddedBackend, start_parent: Callable[[Path], tuple[subprocess.Popen[str], int]], tmp_path: Path
) -> None:
    run_folder = planned_run(tmp_path, platform.url, columns=1, rows=1, poll_seconds=[0.2, 5])
    start_parent(run_folder)
    address = run_folder / ".waiter"
    port, _ = address.read_text().split()
    address.write_text(f"{port} {'0' * 32}\n")
    (tile,) = tiles_of(run_folder)
    assert ends([shell(run_folder, tile, platform)]) == [(0, "")]
    check_done(run_folder, platform, 1)


def test_nothing_is_first_imported_by_threads(platform: EmbeddedBackend, tmp_path: Path) -> None:
    run_folder = planned_run(tmp_path, platform.url, columns=1, rows=1, poll_seconds=[0.2, 5])
    command = [sys.executable, "-c", LATE_IMPORTS, str(run_folder), *tiles_of(run_folder)]
    done = subprocess.run(command, env=platform.environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
