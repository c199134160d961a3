"""The example configurations: each is planned, and dry-run by Snakemake, as it stands."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.servers import BIN, environment

EXAMPLES = sorted((ROOT / "config" / "examples").glob("*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_dry(example: Path, tmp_path: Path) -> None:
    for name in ("config", "cwl"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "scene.tif").touch()  # the user's own
    command = [BIN / "snakemake", "-n", "--quiet", "rules", "--cores", "1", "--snakefile", ROOT / "Snakefile"]
    command += ["--configfile", example]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tile" in done.stdout + done.stderr
