"""A run folder of an earlier version (commit ea4321b) is continued: nothing runs again, nothing is submitted again."""

from __future__ import annotations

import csv
import shutil
import subprocess
from pathlib import Path

from tests.conftest import ROOT
from tests.servers import BIN, environment

RECORDED = Path(__file__).parent / "recorded"


def _keys(run: Path) -> dict[str, str]:
    with (run / "plan" / "tiles.csv").open(newline="") as stream:
        return {row["tile"]: row["key"] for row in csv.DictReader(stream)}


def _content(run: Path) -> dict[str, bytes]:
    kept = [*run.glob("receipts/*.json"), *run.glob("tiles/*/*.tif"), *run.glob("tiles/*/item.json")]
    return {str(path.relative_to(run)): path.read_bytes() for path in kept}


def test_a_recorded_run_is_continued_without_its_platform(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "config" / "demo", tmp_path / "config" / "demo")
    shutil.copy(RECORDED / "config.yaml", tmp_path / "my.yaml")
    run = tmp_path / "results" / "recorded"
    shutil.copytree(RECORDED / "run", run)
    keys, before = _keys(run), _content(run)
    command = [
        BIN / "snakemake",
        "--snakefile",
        ROOT / "Snakefile",
        "--profile",
        ROOT / "workflow" / "profiles" / "local",
    ]
    command += ["--configfile", "my.yaml"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr  # its platform is not there, and is not asked
    assert _keys(run) == keys
    assert {name: content for name, content in _content(run).items() if name in before} == before
    assert (run / "report.html").is_file()
