"""What is asked of this machine and its batch system before packages run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from upscaling.config import Config
from upscaling.estimate.model import Check
from upscaling.estimate.run import estimate_run

REFUSAL = "Could not establish a configuration source"


@pytest.fixture
def with_sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM's programs are installed, and there is no cluster."""
    programs = tmp_path / "programs"
    programs.mkdir()
    sbatch = programs / "sbatch"
    sbatch.write_text(f"#!/bin/sh\necho 'sbatch: fatal: {REFUSAL}' >&2\nexit 1\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")


def _batch_system(folder: Path, **backend: Any) -> Check:
    scene = folder / "scene.tif"
    scene.write_text("only its hash is in the plan")
    config = Config.parse(
        {
            "run": "r",
            "algorithm": {"source": str(ROOT / "cwl/ndvi.cwl"), "parameters": {"scene": str(scene)}},
            "area": {"aoi": [11.30, 46.48, 11.31, 46.49], "grid": "utm-5km"},
            "backend": {"kind": "cwl", "container": "none", **backend},
        }
    )
    found = estimate_run(config, results=folder / "results", ask=True)
    (check,) = [check for check in found.checks if check.name == "batch system"]
    return check


@pytest.mark.usefixtures("with_sbatch")
@pytest.mark.parametrize(("batch_system", "answer"), [("single_machine", "unknown"), ("slurm", "no")])
def test_slurm_that_takes_no_jobs_matters_to_a_run_that_needs_it(
    batch_system: str, answer: str, tmp_path: Path
) -> None:
    check = _batch_system(tmp_path, batch_system=batch_system)
    assert check.answer == answer
    assert REFUSAL in check.text
    assert ("--cluster" in check.text) == (answer == "unknown")
