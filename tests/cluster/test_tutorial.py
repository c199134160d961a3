"""The tutorial from laptop to SLURM, as it is written: its files and all its commands."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import rasterio

from tests.cluster.conftest import Slurm
from tests.workflow.conftest import work_folder
from tests.workflow.test_documented import ON_A_CLUSTER, script_of


def test_a_package_from_laptop_to_slurm(slurm: Slurm, tmp_path: Path) -> None:
    from upscaling.demo.data import make_demo_data

    folder, before = work_folder(tmp_path), slurm.last_job()
    make_demo_data(folder / ".demo" / "data")
    script = script_of(ON_A_CLUSTER)
    assert "run --cluster config.yaml" in script
    # The profile's 20 seconds before the first look at the cluster are for real ones.
    script = script.replace("site.yaml\n", "site.yaml --slurm-init-seconds-before-status-checks 2\n")
    script += " --slurm-init-seconds-before-status-checks 2" if script.endswith("site.yaml") else ""
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=slurm.environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    here, there = (folder / "brightness" / "results" / name for name in ("brightness", "brightness-slurm"))
    tiles = json.loads((there / "collection.json").read_text())["upscaling:tiles"]
    assert tiles["collected"] == tiles["planned"] >= 4
    jobs = slurm.jobs(before)
    assert 1 < len([job for job in jobs if job["JobIDRaw"].isdigit()]) < tiles["planned"]
    assert {job["State"] for job in jobs} == {"COMPLETED"}
    for path in sorted(here.glob("tiles/*/*.tif")):
        with rasterio.open(path) as one, rasterio.open(there / path.relative_to(here)) as other:
            values = one.read(1, masked=True)
            assert values.count() > 0.9 * values.size
            np.testing.assert_array_equal(values, other.read(1, masked=True))
