"""What a person sees of a run on the terminal, through Snakemake itself."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_upscaling import LogHandler
from tests.servers import BIN, environment

SNAKEFILE = """
TILES = [f"t{number}" for number in range(12)]

rule all:
    input:
        expand("results/r/tiles/{tile}/item.json", tile=TILES),

rule tile:
    output:
        "results/r/tiles/{tile}/item.json",
    shell:
        "[ {wildcards.tile} != t3 ] && echo 1 > {output} || {{ echo 'error: tile t3: no such band' >&2; exit 1; }}"

rule gathered:
    output:
        "gathered",
    message:
        "the collection"
    shell:
        "exit 7"
"""


def snakemake(folder: Path, *words: str) -> str:
    (folder / "Snakefile").write_text(SNAKEFILE)
    command = [BIN / "snakemake", "--quiet", "host", "--logger", "upscaling", "--keep-going", "--cores", "4", *words]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    return done.stderr + done.stdout


def test_tiles_are_counted_and_a_failure_is_told_once(tmp_path: Path) -> None:
    said = snakemake(tmp_path)
    assert "12 tiles to run, and 1 steps" in said
    assert "11 of 12 tiles done, 1 failed" in said
    assert said.count("t3") == 1, said
    assert "RuleException" not in said
    assert "Complete log(s)" in said
    assert "At least one job did not complete successfully" in said
    assert len(said.splitlines()) < 12, said
    (log,) = (tmp_path / ".snakemake" / "log").glob("*.log")
    assert "Error in rule tile" in log.read_text()


def test_a_step_that_is_no_tile_fails_in_snakemakes_own_words(tmp_path: Path) -> None:
    said = snakemake(tmp_path, "gathered")
    assert "the collection" in said
    assert "Error in rule gathered" in said


def test_a_dry_run_names_every_tile(tmp_path: Path) -> None:
    said = snakemake(tmp_path, "-n")
    assert all(f"tiles/t{number}/item.json" in said for number in range(12))
    assert "This was a dry-run" in said


def _failed(folder: Path, capsys: pytest.CaptureFixture[str], log: str, receipt_age: float | None = None) -> str:
    """Return what is said of a job that failed elsewhere, of which the batch system kept this log."""
    item = folder / "results" / "r" / "tiles" / "t1" / "item.json"
    receipt, slurm_log = folder / "results" / "r" / "receipts" / "t1.json", folder / "1.log"
    slurm_log.write_text(log)
    settings = SimpleNamespace(dryrun=False, verbose=False, nocolor=True, stdout=False)
    handler = LogHandler(settings, None)  # type: ignore[arg-type]
    job = {"jobid": 1, "rule_name": "tile", "rule_msg": "", "output": [str(item)], "local": False}
    for event, more in (
        (LogEvent.JOB_INFO, job),
        (LogEvent.JOB_STARTED, {"jobs": [1]}),
        (LogEvent.JOB_ERROR, {"jobid": 1, "output": [str(item)], "log": [str(folder / "gone.log"), str(slurm_log)]}),
    ):
        if event == LogEvent.JOB_ERROR and receipt_age is not None:
            receipt.parent.mkdir(parents=True)
            receipt.write_text(json.dumps({"error": {"message": "no such band"}}))
            os.utime(receipt, (time.time() - receipt_age,) * 2)
        record = logging.makeLogRecord({"msg": "", "event": event, **more})
        handler.emit(record)
    return capsys.readouterr().err


def test_a_job_elsewhere_that_failed_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = "Building DAG of jobs...\nerror: my.yaml: backend.slots: is missing\nslurmstepd: done\n"
    early = _failed(tmp_path / _made(tmp_path, "a"), capsys, log)
    assert "error: tile t1: the job failed before it began them: my.yaml: backend.slots: is missing (log: " in early
    assert "its log says nothing" in _failed(tmp_path / _made(tmp_path, "b"), capsys, "")
    assert "error: tile t1: no such band" in _failed(tmp_path / _made(tmp_path, "c"), capsys, log, receipt_age=0)
    stale = _failed(tmp_path / _made(tmp_path, "d"), capsys, log, receipt_age=7200)
    assert "no such band" not in stale, "the reason of an earlier run"
    assert "backend.slots: is missing" in stale


def _made(folder: Path, name: str) -> str:
    (folder / name).mkdir()
    return name
