"""On a real SLURM: tiles in the image built here; a whole run as one plain CWL workflow."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import ClusterRun, Slurm
from tests.cluster.test_slurm_run import assert_equals_numpy
from tests.containers import Podman
from tests.workflow.test_plain_cwl_run import plain_run, said_of, write_cwl


def test_tiles_run_in_their_image_on_the_nodes_both_ways_at_once(
    slurm: Slurm, podman: Podman, ndvi_image: str, cluster_run: Callable[..., ClusterRun], scene: Path, tmp_path: Path
) -> None:
    image: dict[str, Any] = {"container": "podman", "site": {"container_cache": str(tmp_path / "images")}}
    tile_is_a_job = cluster_run("slurm", folder="tile", engine="cwltool", chunk=2, **image)
    step_is_a_job = cluster_run("local", folder="step", batch_system="slurm", chunk=10, **image)
    runs = [tile_is_a_job, step_is_a_job]
    for run in runs:
        run.environment |= podman.environment
        run.write()
    pull = ["upscaling", "pull", "config.yaml"]
    subprocess.run(pull, cwd=tile_is_a_job.folder, env=tile_is_a_job.environment, check=True)
    podman("rmi", "--force", ndvi_image)
    before, began = slurm.last_job(), time.time()
    started = [run.start() for run in runs]
    ends = [process.wait(500) for process in started]
    assert ends == [0, 0], "\n".join((run.folder / "snakemake.out").read_text() for run in runs)
    for run in runs:
        assert_equals_numpy(run, scene)
    tiles = len(tile_is_a_job.items())
    assert podman.started(ndvi_image, began) == 2 * tiles > 2
    jobs = slurm.jobs(before, "JobName")
    assert {job["State"] for job in jobs} == {"COMPLETED"}
    assert sum("toil_job" in job["JobName"] for job in jobs) == tiles


@pytest.mark.slow
def test_toil_alone_on_the_cluster_gives_the_collection_of_a_snakemake_run(
    slurm: Slurm, scene: Path, tmp_path: Path
) -> None:
    run = plain_run(scene, tmp_path, "utm-10km")
    run.config["backend"] |= {"batch_system": "slurm", "engine": "toil", "chunk": 1, "memory_mb": 1000}
    run.environment |= slurm.environment
    command, _ = write_cwl(run)
    before = slurm.last_job()
    alone = subprocess.run(shlex.split(command), env=run.environment, capture_output=True, text=True, check=False)
    assert alone.returncode == 0, alone.stderr
    steps = [job["JobName"] for job in slurm.jobs(before, "JobName") if job["State"] == "COMPLETED"]
    run.config["backend"] |= {"batch_system": "single_machine", "engine": "cwltool", "chunk": 100}
    done = run.snakemake()
    assert done.returncode == 0, done.stderr
    expected = said_of(run.results)
    assert said_of(run.folder / "plain" / "result" / "package") == expected
    tiles = len(expected) - 1
    assert sum("item" in name for name in steps) == sum("index" in name for name in steps) == tiles > 1
