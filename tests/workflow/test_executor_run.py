"""Runs keep their lock, check, limits and end with every executor, imported or not; a signal ends them at once."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import ROOT
from tests.planned import everywhere
from tests.servers import BIN, EmbeddedBackend
from tests.workflow.conftest import Run

SMALL = {"aoi": [11.295, 46.483, 11.32, 46.493], "grid": "utm-2km"}
IMPORTING = f"""
configfile: "project.json"

module upscale:
    snakefile: "{ROOT / "Snakefile"}"
    config: config["upscale"]
    pathvars:
        results="results/upscale"

use rule * from upscale as upscale_*

module other:
    snakefile: "{ROOT / "Snakefile"}"
    config: config["other"]
    pathvars:
        results="results/other"

use rule * from other as *_of_other

rule mine:
    output: "mine.txt"
    run:
        open(output[0], "w").write("x")

rule everything:
    default_target: True
    input: rules.upscale_all.input, rules.all_of_other.input, "mine.txt"
"""


def broken(run: Run) -> dict[str, Any]:
    """Return the run's configuration with an algorithm that fails for every tile."""
    definition = json.loads(Path(run.config["algorithm"]["source"]).read_text())
    definition["process_graph"]["loadcollection1"]["arguments"]["bands"] = ["B04", "B99"]
    (run.folder / "broken.json").write_text(json.dumps(definition))
    backend = {**run.config["backend"], "stop_after": 2}
    algorithm = {**run.config["algorithm"], "source": str(run.folder / "broken.json")}
    return {**run.config, "algorithm": algorithm, "backend": backend}


def snakemake(run: Run, *words: str) -> subprocess.CompletedProcess[str]:
    command = [BIN / "snakemake", "--keep-going", "--rerun-incomplete", "--nolock", *words]
    return subprocess.run(
        command, cwd=run.folder, env=run.environment, capture_output=True, text=True, timeout=500, check=False
    )


def test_two_imported_runs_keep_their_limits_and_a_retry_starts_the_same_workflow(
    backend: EmbeddedBackend, scene_run: Callable[..., Run], tmp_path: Path
) -> None:
    run = scene_run(backend)
    other = {**broken(run), "run": "real"}
    (run.folder / "project.json").write_text(json.dumps({"upscale": {**run.config, "area": SMALL}, "other": other}))
    (run.folder / "Snakefile").write_text(IMPORTING)
    done = snakemake(run, "--cores", "4", "--executor", "upscaling", "--logger", "upscaling")
    said = done.stderr
    assert done.returncode != 0
    assert "stopping results/other/real: the first 2 tiles failed alike" in said
    assert " of 0 " not in said
    assert "missing: " in said
    assert "tiles of results/other/real are left for the next run" in said
    assert "Traceback" not in said
    good, bad = (run.folder / "results" / name / "real" for name in ("upscale", "other"))
    assert (good / "report.html").exists(), said  # one run's stop leaves the other alone
    assert (run.folder / "mine.txt").exists()
    assert (bad / "report.html").exists()
    assert not (bad / "collection.json").exists()
    failed = [path for path in bad.glob("receipts/[!.]*.json") if json.loads(path.read_text())["state"] == "failed"]
    assert 2 <= len(failed) <= 2 + 2 * backend.slots

    before = len(backend.jobs())
    again = subprocess.run(  # from another folder
        [BIN / "upscaling", "retry", str(bad)],
        cwd=tmp_path,
        env=run.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert again.returncode != 0
    assert len(backend.jobs()) > before, again.stderr
    assert not (tmp_path / "results").exists()

    held = subprocess.Popen(  # somebody else works on one of them
        [BIN / "python", "-c", "import sys, time; from pathlib import Path; from upscaling.util.locks import take_run;"
         f"take_run(Path({str(bad)!r})); print(flush=True); time.sleep(300)"], stdout=subprocess.PIPE)  # fmt: skip
    assert held.stdout is not None
    held.stdout.readline()
    before = len(backend.jobs())
    refused = snakemake(run, "--cores", "4", "--executor", "upscaling")
    held.kill()
    held.communicate()
    assert refused.returncode != 0
    assert "error: results/other/real is being worked on by" in refused.stderr
    assert len(backend.jobs()) == before


def test_a_retry_ends_with_collection_and_mosaic_or_says_how(
    backend: EmbeddedBackend, scene_run: Callable[..., Run]
) -> None:
    run = scene_run(backend, area={**SMALL, "aoi": [11.295, 46.475, 11.32, 46.493]})  # four tiles
    source = Path(shutil.copy(run.config["algorithm"]["source"], run.folder / "udp.json"))
    run.config["algorithm"] = {**run.config["algorithm"], "source": "udp.json"}
    assert run.snakemake().returncode == 0
    one, two = sorted(run.results.glob("receipts/[!.]*.json"))[:2]
    for path, error_class in ((one, "permanent"), (two, "out-of-memory")):
        receipt = json.loads(path.read_text())
        receipt |= {"state": "failed", "error": {"class": error_class, "message": "as a test says"}}
        path.write_text(json.dumps(receipt))
        for file in (run.results / "tiles" / path.stem).glob("*"):
            file.unlink()
    (run.results / "collection.json").unlink()
    jobs, graph = len(backend.jobs()), source.read_text()
    source.write_text(graph.replace("B08", "B05"))
    refused = run.upscaling("retry", "results/real")
    assert refused.returncode == 1
    assert re.search(r"^error: \d+ tiles that are done would run, and be paid, again", refused.stderr), refused.stderr
    assert len(backend.jobs()) == jobs
    source.write_text(graph)
    some = run.upscaling("retry", "results/real", "--only", "out-of-memory")
    assert some.returncode == 0, some.stderr
    assert "1 other tiles are not done; mosaic and report follow with all tiles" in some.stdout
    assert len(json.loads((run.results / "collection.json").read_text())["upscaling:missing"]) == 1
    whole = run.upscaling("retry", "results/real")
    assert whole.returncode == 0, whole.stderr
    collection = json.loads((run.results / "collection.json").read_text())
    assert not collection.get("upscaling:missing")
    stamps = [(run.results / name).stat().st_mtime for name in ("collection.json", "mosaic", "report.html")]
    assert stamps == sorted(stamps)
    assert "no tile failed" in run.upscaling("retry", "results/real").stdout


def test_without_the_executor_a_tile_is_a_process_and_the_limits_hold(
    backend: EmbeddedBackend, scene_run: Callable[..., Run]
) -> None:
    run = scene_run(backend)
    run.config = broken(run)
    (run.folder / "config.json").write_text(json.dumps(run.config))
    done = snakemake(run, "--snakefile", str(ROOT / "Snakefile"), "--configfile", "config.json", "--cores", "1")
    assert done.returncode != 0
    assert done.stderr.count("each tile is a process of its own") == 1
    assert "not submitted: the first 2 tiles failed alike" in done.stderr
    assert "missing: " in done.stderr
    assert len(backend.jobs()) <= 2 + backend.slots


@pytest.fixture
def slow_platform(tmp_path: Path) -> Iterator[EmbeddedBackend]:
    """Jobs take ten minutes."""
    (tmp_path / "data").mkdir()
    data = everywhere(tmp_path / "data")
    server = EmbeddedBackend(data, tmp_path / "slow", slots=200, simulate=(600, 600)).start()
    yield server
    server.stop(signal.SIGKILL)


def suspended(server: EmbeddedBackend) -> list[psutil.Process]:
    assert server.process is not None
    found = psutil.Process(server.process.pid)
    processes = [found, *found.children(recursive=True)]
    for process in processes:
        process.suspend()
    return processes


@pytest.mark.parametrize(
    ("sign", "executor"),
    [
        (signal.SIGINT, "upscaling"),
        (signal.SIGTERM, "upscaling"),
        (signal.SIGHUP, "upscaling"),
        (signal.SIGTERM, "local"),
        (signal.SIGINT, "slurm"),
    ],
)
def test_a_signal_to_snakemake_alone_ends_it_though_the_platform_is_silent(
    sign: signal.Signals, executor: str, slow_platform: EmbeddedBackend, scene_run: Callable[..., Run]
) -> None:
    run = many_tiles(slow_platform, scene_run)
    # Beside an executor for a cluster every job counts as one of --jobs.
    snakemake = run.start("--executor", executor, "--cores", "4", *(["--jobs", "9"] if executor == "slurm" else []))
    started = once_running(run, snakemake, {"upscaling": 40, "slurm": 9, "local": 4}[executor])
    ends_in_order(run, snakemake, started, slow_platform, lambda: snakemake.send_signal(sign))
    assert executor == "local" or len(started) == 1  # the process that runs all tiles


@pytest.mark.parametrize("started_by", ["snakemake", "upscaling run"])
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_without_a_terminal_ends_it(
    sign: signal.Signals, started_by: str, slow_platform: EmbeddedBackend, scene_run: Callable[..., Run]
) -> None:
    """As cron and `setsid … &` start it: SIGINT is ignored at first, and `upscaling run` hands on what came already."""
    run = many_tiles(slow_platform, scene_run)
    run.write()
    command = run.command("--cores", "4") if started_by == "snakemake" else ["upscaling", "run", "config.yaml"]
    with (run.folder / "snakemake.out").open("wb") as out:
        leader = subprocess.Popen(
            ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command],
            cwd=run.folder,
            env=run.environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    started = once_running(run, leader, 40)
    ends_in_order(run, leader, started, slow_platform, lambda: os.killpg(leader.pid, sign))
    assert len(slow_platform.jobs()) >= 40, "the jobs on the platform were ended too"


def many_tiles(slow_platform: EmbeddedBackend, scene_run: Callable[..., Run]) -> Run:
    area = {"aoi": [9.0, 45.10, 9.1, 45.16], "grid": "utm-1km"}
    run = scene_run(slow_platform, area=area)
    run.config["algorithm"] = {
        "source": str(ROOT / "config/demo/ndvi_composite.json"),
        "parameters": {"temporal_extent": ["2023-06-01", "2023-09-01"]},
    }
    return run


def _has_job(receipt: Path) -> bool:
    return json.loads(receipt.read_text()).get("job_id") is not None


def once_running(run: Run, leader: subprocess.Popen[bytes], wanted: int) -> list[psutil.Process]:
    """Wait for jobs on the platform; return the processes below the run's first one."""
    deadline = time.monotonic() + 120
    while sum(_has_job(path) for path in run.results.glob("receipts/[!.]*.json")) < wanted and leader.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return psutil.Process(leader.pid).children(recursive=True)


def ends_in_order(
    run: Run,
    leader: subprocess.Popen[bytes],
    started: list[psutil.Process],
    platform: EmbeddedBackend,
    interrupt: Callable[[], None],
) -> None:
    """See that a run ends with a line, and nothing of it is left, while the platform is silent."""
    stopped = suspended(platform)
    try:
        interrupt()
        assert leader.wait(200) != 0
        _, left = psutil.wait_procs(started, timeout=60)
    finally:
        if leader.poll() is None:
            os.killpg(leader.pid, signal.SIGKILL)
            leader.wait()
        for process in stopped:
            process.resume()
    said = (run.folder / "snakemake.out").read_text()
    assert left == [], said
    assert "tiles of results/real were running; their remote jobs go on and are found again by the next run" in said
    assert "Traceback" not in said
