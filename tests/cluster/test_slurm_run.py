"""The demo package over the real scene on a real SLURM, both ways: equal to numpy, nothing run twice."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.cluster.conftest import ClusterRun, Slurm
from tests.pixels import put_together, scene_ndvi, window


def assert_equals_numpy(run: ClusterRun, scene: Path) -> None:
    expected, bounds = scene_ndvi(scene)
    np.testing.assert_array_equal(window(*put_together(run.results / "collection.json"), bounds), expected)


def test_tiles_of_the_scene_in_slurm_jobs_that_go_on_without_snakemake(
    slurm: Slurm, cluster_run: Callable[..., ClusterRun], scene: Path
) -> None:
    run, before = cluster_run("slurm", grid="utm-2km", engine="cwltool", chunk=8), slurm.last_job()
    killed = run.start()
    run.until(lambda: len(slurm.jobs(before)) == 4)  # no later: the jobs may be through before the second run asks
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    # The cluster knows nothing of that and goes on; the second run takes over what it does.
    done = run.gather()
    assert done.returncode == 0, done.stderr
    assert len(run.items()) == 30
    assert_equals_numpy(run, scene)
    receipts = {tile: run.receipt(tile) for tile in run.items()}
    assert {receipt["attempt"] for receipt in receipts.values()} == {1}, "a tile was run twice"
    jobs = {job["JobIDRaw"]: job for job in slurm.jobs(before, "Account", "Partition", "ReqMem", "Timelimit")}
    assert 4 < len(jobs) <= 8, "four jobs of each run; none for what was done before the second one asked"
    for receipt in receipts.values():
        job = jobs[receipt["facts"]["slurm_job"]]
        asked = [job[name] for name in ("State", "Account", "Partition", "ReqMem", "Timelimit")]
        assert asked == ["COMPLETED", "eo", "main", "1000M", "00:05:00"]


def test_toil_submits_every_step(slurm: Slurm, cluster_run: Callable[..., ClusterRun], scene: Path) -> None:
    run, before = cluster_run("local", batch_system="slurm"), slurm.last_job()
    done = run.gather()
    assert done.returncode == 0, done.stderr
    assert_equals_numpy(run, scene)
    steps = [job for job in slurm.jobs(before, "JobName", "Account", "SubmitLine") if "toil_job" in job["JobName"]]
    assert len(steps) == len(run.items())
    assert {job["State"] for job in steps} == {"COMPLETED"}
    assert all(job["Account"] == "eo" and "--nice=3" in job["SubmitLine"] for job in steps)


def test_what_slurm_would_refuse_is_said_before_anything_is_submitted(
    slurm: Slurm, cluster_run: Callable[..., ClusterRun]
) -> None:
    run = cluster_run("local", batch_system="slurm", site={"partition": "nosuch"})
    done = run.snakemake()
    assert done.returncode != 0
    assert "backend.site: SLURM would refuse its jobs" in done.stderr
    assert "partition" in done.stderr
    assert "Traceback" not in done.stderr
    run.config["backend"] |= {"site": {"account": "eo"}, "options": ["--statePollingWiat=5"]}
    done = run.snakemake()
    assert done.returncode != 0
    assert "backend.options: Toil refuses them" in done.stderr
    assert not list(run.results.glob("receipts/*")), json.dumps(sorted(map(str, run.results.rglob("*"))))
