"""What goes wrong on a cluster, all in one run: the others finish, the reason is named, a second run does the rest."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.conftest import ClusterRun, Slurm, wait_for

PACKAGE = Path(__file__).with_name("faults.cwl")
AREA = {
    "type": "Polygon",
    "coordinates": [[[680000, 5150000], [690000, 5150000], [690000, 5154000], [680000, 5154000], [680000, 5150000]]],
}
CRS = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}


@pytest.fixture
def faulty_run(cluster_run: Callable[..., ClusterRun], tmp_path: Path) -> Callable[..., tuple[ClusterRun, Path]]:
    orders = tmp_path / "orders"
    orders.mkdir()
    (orders / "ran.log").touch()

    def make(profile: str, **backend: object) -> tuple[ClusterRun, Path]:
        run = cluster_run(profile, **backend)
        (run.folder / "scene.geojson").write_text(json.dumps(AREA | {"crs": CRS}))
        run.config["area"]["grid"] = "utm-2km"
        run.config["algorithm"] = {
            "source": str(PACKAGE),
            "parameters": {"orders": str(orders)},
            "bind": {"tile": "tile-id"},
        }
        return run, orders

    return make


def tiles_of(run: ClusterRun) -> list[str]:
    path = run.write()
    planned = subprocess.run(
        ["upscaling", "plan", str(path)],
        cwd=run.folder,
        env=run.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert planned.returncode == 0, planned.stderr
    lines = (run.results / "plan" / "tiles.csv").read_text().splitlines()
    return [line.split(",")[0] for line in lines[1:]]


def ran(orders: Path) -> Counter[str]:
    return Counter((orders / "ran.log").read_text().split())


def test_faults_of_the_cluster(slurm: Slurm, faulty_run: Callable[..., tuple[ClusterRun, Path]]) -> None:
    site = {"runtime_min": 10}
    run, orders = faulty_run("slurm", engine="cwltool", memory_mb=600, retries=1, site=site)
    exits, memory, slow, canceled, node, *others = tiles_of(run)
    told = {
        exits: "exit 1",
        memory: "memory 700",
        slow: "sleep-once 600",
        canceled: "sleep 600",
        node: "sleep-once 600",
    }
    for tile, order in told.items():
        (orders / tile).write_text(order)
    before = slurm.last_job()
    process = run.start()

    wait_for(lambda: all(ran(orders)[tile] for tile in told), 300)
    # The operator shortens its time, so that nobody has to wait for it, nor others suffer on a busy machine.
    slurm.ask("scontrol", "update", f"jobid={run.receipt(slow)['facts']['slurm_job']}", "timelimit=1")
    wait_for(lambda: run.receipt(memory).get("attempt") == 2 or run.receipt(memory)["state"] == "failed")
    wait_for(lambda: "FAILED" in {job["State"] for job in slurm.jobs(before)})
    slurm.ask("scancel", run.receipt(canceled)["facts"]["slurm_job"])
    down = run.receipt(node)["facts"]["node"]
    slurm.ask("scontrol", "update", f"nodename={down}", "state=down", "reason=test")
    slurm.restart_controller()
    wait_for(lambda: ran(orders)[node] == 2, 300)
    assert process.wait(600) != 0
    said = (run.folder / "snakemake.out").read_text()

    # The others finish, those too that ran out of something or lost their node.
    assert run.items() == {memory, slow, node, *others}, said
    jobs = {job["JobIDRaw"]: job for job in slurm.jobs(before, "ReqMem", "Timelimit")}
    assert {"CANCELLED", "TIMEOUT", "FAILED", "COMPLETED"} <= {job["State"].split()[0] for job in jobs.values()}
    assert jobs[run.receipt(memory)["facts"]["slurm_job"]]["ReqMem"] == "1200M"
    assert jobs[run.receipt(slow)["facts"]["slurm_job"]]["Timelimit"] == "00:20:00"
    assert jobs[run.receipt(node)["facts"]["slurm_job"]]["ReqMem"] == "600M", "a lost node is not the tile's failure"

    # The reason is named, for those too that succeeded in the end.
    reasons = {
        tile: run.receipt(tile).get("error") or run.receipt(tile)["history"][0]["error"]
        for tile in told
        if tile != node
    }
    assert "the sensor was asleep" in reasons[exits]["message"]
    assert "CANCELLED" in reasons[canceled]["message"]
    assert (reasons[memory]["class"], reasons[slow]["class"]) == ("out-of-memory", "out-of-time")
    assert "which had 600M ended OUT_OF_MEMORY" in reasons[memory]["message"]
    assert "which had 00:01:00 ended TIMEOUT" in reasons[slow]["message"]
    assert ran(orders)[exits] == 1, "a failure that no retry mends was tried again"
    shown = subprocess.run(
        ["upscaling", "logs", str(run.results), canceled],
        env=run.environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"{canceled}: canceled" in shown
    assert "slurm.log" in shown
    assert "CANCELLED" in shown

    # A second run does what is missing, and nothing else.
    for tile in told:
        (orders / tile).unlink()
    first = ran(orders)
    again = run.snakemake()
    assert again.returncode == 0, again.stderr
    assert ran(orders) - first == Counter([exits, canceled])
    assert len(run.items()) == len(others) + 5


def test_a_failing_tile_takes_no_other_of_its_job_with_it(
    slurm: Slurm, faulty_run: Callable[..., tuple[ClusterRun, Path]]
) -> None:
    run, orders = faulty_run("slurm", engine="cwltool", chunk=10, retries=1)
    first, *others = tiles_of(run)
    (orders / first).write_text("exit 1")
    before = slurm.last_job()
    assert run.snakemake().returncode != 0
    assert run.items() == set(others)
    assert "the sensor was asleep" in run.receipt(first)["error"]["message"]
    (orders / first).unlink()
    assert run.snakemake().returncode == 0
    assert ran(orders) == Counter([first, first, *others])
    assert len(slurm.jobs(before)) <= 4, "one job for all ten tiles, tried twice, and once more by the second run"
