"""What goes wrong on a cluster, all in one run: the others finish, the reason is named, a second run does the rest."""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psutil import Process, wait_procs

from tests.cluster.conftest import ClusterRun, Slurm
from tests.conftest import missing

PACKAGE = Path(__file__).with_name("faults.cwl")
CRS = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
SEVEN = [[680000, 5150000], [686000, 5150000], [686000, 5154000], [682000, 5154000], [682000, 5156000],
         [680000, 5156000], [680000, 5150000]]  # fmt: skip
MEGABYTES = 1300  # more than a step gets that asked for 600 MB, with all that runs beside it


@pytest.fixture
def faulty_run(cluster_run: Callable[..., ClusterRun], tmp_path: Path) -> Callable[..., tuple[ClusterRun, Orders]]:
    def make(profile: str, **backend: object) -> tuple[ClusterRun, Orders]:
        run, orders = cluster_run(profile, **backend), Orders(tmp_path / "orders")
        area = {"type": "Polygon", "coordinates": [SEVEN], "crs": CRS}
        (run.folder / "scene.geojson").write_text(json.dumps(area))
        run.config["area"]["grid"] = "utm-2km"
        run.config["algorithm"] = {
            "source": str(PACKAGE),
            "parameters": {"orders": str(orders.folder)},
            "bind": {"tile": "tile-id"},
        }
        return run, orders

    return make


class Orders:
    """What the package is told to do for a tile, and how often its tool has run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "ran.log").touch()

    def give(self, **orders: str) -> None:
        for tile, order in orders.items():
            (self.folder / tile).write_text(order)

    def take_back(self, *tiles: str) -> None:
        for tile in tiles:
            (self.folder / tile).unlink(missing_ok=True)

    def ran(self) -> Counter[str]:
        return Counter((self.folder / "ran.log").read_text().split())


def tiles_of(run: ClusterRun) -> list[str]:
    done = run.upscaling("plan", "config.yaml")
    assert done.returncode == 0, done.stderr
    lines = (run.results / "plan" / "tiles.csv").read_text().splitlines()
    return [line.split(",")[0] for line in lines[1:]]


def first_error(receipt: dict[str, Any]) -> dict[str, str]:
    return next(past["error"] for past in [*receipt["history"], receipt] if past.get("error"))


def casting(slurm: Slurm, jobs: dict[str, str]) -> list[str]:
    """Return the tiles whose jobs wait; only the second may be on the node of the first, which is to lose it."""
    nodes = {tile: slurm.node(job) for tile, job in jobs.items()}
    neighbours = Counter(nodes.values())
    lost = min(nodes, key=lambda tile: neighbours[nodes[tile]])
    return [lost, *sorted(nodes.keys() - {lost}, key=lambda tile: nodes[tile] != nodes[lost])]


def needs_memory_limits(slurm: Slurm) -> None:
    if not (slurm.home / "cgroup.conf").exists():
        missing("cgroups that can be written, for SLURM to keep a job to its memory")


@pytest.mark.timeout(1500)
def test_faults_where_a_tile_is_a_job(slurm: Slurm, faulty_run: Callable[..., tuple[ClusterRun, Orders]]) -> None:
    needs_memory_limits(slurm)
    run, orders = faulty_run("slurm", engine="cwltool", memory_mb=600, retries=1, site={"runtime_min": 10})
    exits, memory, *waiting = tiles_of(run)
    waiting, others = waiting[:3], waiting[3:]
    orders.give(**{exits: "exit 1", memory: f"memory {MEGABYTES}"}, **dict.fromkeys(waiting, "wait 0"))
    before = slurm.last_job()
    process = run.start()

    def job(tile: str) -> str:
        return str(run.receipt(tile)["facts"]["slurm_job"])

    # What is to happen once has happened before the node goes down, whose every job runs anew.
    run.until(lambda: orders.ran().keys() >= set(waiting) and run.items() >= set(others))
    run.until(lambda: all(tile in orders.ran() and run.failed(tile) for tile in (exits, memory)))
    lost, canceled, slow = casting(slurm, {tile: job(tile) for tile in waiting})
    timed = job(slow)
    slurm.ask("scancel", job(canceled))
    # The operator shortens its time, so that nobody has to wait for it.
    slurm.ask("scontrol", "update", f"jobid={timed}", "endtime=now+3seconds")
    slurm.set_down(run.receipt(lost)["facts"]["node"])
    slurm.restart_controller()
    run.until(lambda: orders.ran()[lost] > 1 and orders.ran()[slow] > 1)
    assert slurm.state(timed) == "TIMEOUT"
    orders.take_back(lost, slow)
    assert process.wait(500) != 0
    said = (run.folder / "snakemake.out").read_text()

    # The others finish, those too that ran out of something or lost their node.
    assert run.items() == {memory, slow, lost, *others}, said
    jobs = {row["JobIDRaw"]: row for row in slurm.jobs(before, "ReqMem", "Timelimit")}
    assert {"CANCELLED", "TIMEOUT", "FAILED", "COMPLETED"} <= {row["State"].split()[0] for row in jobs.values()}
    assert jobs[job(memory)]["ReqMem"] == "1200M"
    assert jobs[job(slow)]["Timelimit"] == "00:20:00"
    assert jobs[job(lost)]["ReqMem"] == "600M", "a lost node is not the tile's failure"

    # The reason is named, for those too that succeeded in the end.
    reasons = {tile: first_error(run.receipt(tile)) for tile in (exits, memory, slow, canceled)}
    assert "the sensor was asleep" in reasons[exits]["message"]
    assert [reasons[tile]["class"] for tile in (memory, slow, canceled)] == ["out-of-memory", "out-of-time", "canceled"]
    assert "which had 600M ended OUT_OF_MEMORY" in reasons[memory]["message"]
    assert "ended TIMEOUT" in reasons[slow]["message"]
    assert orders.ran()[exits] == 1, "a failure that no retry mends was tried again"
    shown = run.upscaling("logs", str(run.results), canceled).stdout
    assert f"{canceled}: canceled" in shown
    assert "slurm.log" in shown
    assert "CANCELLED" in shown

    # A second run does what is missing, and nothing else.
    orders.take_back(exits, canceled)
    first = orders.ran()
    assert {first[tile] for tile in others} == {1}
    again = run.snakemake()
    assert again.returncode == 0, again.stderr
    assert orders.ran() - first == Counter([exits, canceled])
    assert len(run.items()) == 7


@pytest.mark.timeout(1500)
def test_faults_where_a_step_is_a_job(slurm: Slurm, faulty_run: Callable[..., tuple[ClusterRun, Orders]]) -> None:
    needs_memory_limits(slurm)
    run, orders = faulty_run("local", batch_system="slurm", memory_mb=600, retries=1, slots=7, chunk=7)
    exits, memory, other, *waiting = tiles_of(run)
    orders.give(**{exits: "exit 1", memory: f"memory {MEGABYTES}"}, **dict.fromkeys(waiting, "wait 0"))
    killed = run.start()

    def job(tile: str) -> str | None:
        found = (line.split("|") for line in slurm.ask("squeue", "-h", "-t", "R", "-o", "%i|%k"))
        return next((number for number, comment in found if f":{tile}:" in comment), None)

    run.until(lambda: orders.ran().keys() >= set(waiting))
    run.until(lambda: run.items() == {memory, other} and run.failed(exits))
    lost, canceled, slow, late = casting(slurm, {tile: str(run.until(lambda tile=tile: job(tile))) for tile in waiting})
    timed, step = str(job(slow)), str(job(canceled))
    slurm.ask("scancel", step)
    slurm.ask("scontrol", "update", f"jobid={timed}", "endtime=now+3seconds")
    slurm.set_down(slurm.node(str(job(lost))))
    slurm.restart_controller()
    run.until(lambda: slurm.state(step) == "CANCELLED" and job(canceled) not in {None, step})
    slurm.ask("scancel", str(job(canceled)))  # Toil tries a step once more
    run.until(lambda: orders.ran()[lost] > 1 and orders.ran()[slow] > 1)
    assert slurm.state(timed) == "TIMEOUT"
    orders.take_back(lost, slow)

    # All but one have come to an end: now Snakemake and what leads the tiles are killed. The last step goes on.
    run.until(lambda: run.items() == {memory, slow, lost, other})
    run.until(lambda: run.failed(exits) and run.failed(canceled))
    everything = Process(killed.pid).children(recursive=True)
    first, *leaders = [process for process in everything if re.search(r"python.*tiles\.py", str(process.cmdline()))]
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    first.kill()
    assert not wait_procs(leaders, timeout=120)[1], "a leader outlived the process that led them all"
    assert job(late), "the step of a killed leader was killed with it"
    reasons = {tile: run.receipt(tile)["error"] for tile in (exits, canceled)}
    assert "the sensor was asleep" in reasons[exits]["message"]
    assert "was canceled on the platform: SLURM job" in reasons[canceled]["message"]
    assert reasons[canceled]["class"] == "canceled"

    # A second run does what is missing, and nothing else; what the last step did is not done again.
    first = orders.ran()
    assert (first[other], first[late]) == (1, 1)
    orders.take_back(exits, canceled, late)
    again = run.snakemake()
    assert again.returncode == 0, again.stderr
    assert orders.ran() - first == Counter([exits, canceled])
    assert len(run.items()) == 7


def test_a_failing_tile_takes_no_other_of_its_job_with_it(
    slurm: Slurm, faulty_run: Callable[..., tuple[ClusterRun, Orders]]
) -> None:
    run, orders = faulty_run("slurm", chunk=10, retries=0)
    exits, killed, *others = tiles_of(run)
    orders.give(**{exits: "exit 1", killed: f"kill {signal.SIGKILL:d}"})
    before = slurm.last_job()
    assert run.snakemake().returncode != 0
    assert run.items() == set(others)
    assert "the sensor was asleep" in run.receipt(exits)["error"]["message"]
    assert "was killed (signal 9)" in run.receipt(killed)["error"]["message"]
    orders.take_back(exits, killed)
    assert run.snakemake().returncode == 0
    assert orders.ran() == Counter([exits, exits, killed, killed, *others])
    assert len(slurm.jobs(before)) == 2, "one job for all tiles, and one more by the second run"
