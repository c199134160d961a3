"""The commands around a run: status, logs, retry, cancel, clean; and that two cannot work on one run."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import ROOT
from tests.faults.test_ends import too_small
from tests.servers import EmbeddedBackend
from tests.workflow.conftest import Run

SMALL = {"aoi": [11.295, 46.483, 11.32, 46.493], "grid": "utm-2km"}


def test_a_tile_by_hand_logs_into_a_folder_that_is_not_there_yet(
    backend: EmbeddedBackend, scene_run: Callable[..., Run]
) -> None:
    run = scene_run(backend, area=SMALL)
    run.write()
    assert run.upscaling("plan", "config.yaml").returncode == 0
    (run.folder / "file").touch()
    said = run.upscaling("run-tile", "results/real", "nonsense", "--log", "new/folder/tile.log")
    assert said.stderr.splitlines() == ["error: tile nonsense: the plan in results/real/plan has no tile 'nonsense'"]
    assert "nonsense" in (run.folder / "new/folder/tile.log").read_text()
    said = run.upscaling("run-tile", "results/real", "nonsense", "--log", "file/tile.log")
    assert said.stderr.startswith("error: tile nonsense: the log file/tile.log cannot be written: ")
    assert len(said.stderr.splitlines()) == 1


def test_what_failed_is_told_and_retried_alone(backend: EmbeddedBackend, scene_run: Callable[..., Run]) -> None:
    run = scene_run(backend, area=SMALL)
    definition = json.loads(Path(run.config["algorithm"]["source"]).read_text())
    definition["process_graph"]["loadcollection1"]["arguments"]["bands"] = ["B04", "B99"]
    (run.folder / "udp.json").write_text(json.dumps(definition))
    run.config["algorithm"] = {**run.config["algorithm"], "source": "udp.json"}
    assert run.snakemake().returncode != 0
    folder = "results/real"
    failed = [path.stem for path in run.results.glob("receipts/*.json")]
    said = run.upscaling("status", folder).stdout
    assert f"{len(failed)} failed" in said
    assert "B99" in said
    told = run.upscaling("logs", folder, failed[0]).stdout
    assert "B99" in told
    assert "platform.log" in told
    assert run.upscaling("logs", folder, "nonsense").stderr.startswith("error: results/real has no tile 'nonsense'")
    assert "no tile failed" in run.upscaling("retry", folder, "--only", "out-of-memory").stdout

    jobs = len(backend.jobs())
    places = ["--snakefile", str(ROOT / "Snakefile"), "--profile", str(ROOT / "workflow/profiles/local")]
    again = run.upscaling("retry", folder, *places)
    assert again.returncode != 0, again.stderr
    assert len(backend.jobs()) == jobs + len(failed), again.stderr
    assert "Traceback" not in again.stderr


def test_orphans_are_found_and_removed_only_on_demand(backend: EmbeddedBackend, scene_run: Callable[..., Run]) -> None:
    run = scene_run(backend, area=SMALL)
    assert run.gather().returncode == 0
    assert "0 orphans" in run.upscaling("clean", "results/real", "--remote").stdout
    lost = next(run.results.glob("receipts/*.json"))
    job_id = json.loads(lost.read_text())["job_id"]
    lost.unlink()
    listed = run.upscaling("clean", "results/real", "--remote").stdout
    assert job_id in listed
    assert "1 orphans; --yes deletes them" in listed
    before = len(backend.jobs())
    assert "1 orphans deleted" in run.upscaling("clean", "results/real", "--remote", "--yes").stdout
    assert job_id not in {job["id"] for job in backend.jobs()}
    assert len(backend.jobs()) == before - 1


def test_a_run_belongs_to_one_snakemake_and_can_be_canceled(
    backend: EmbeddedBackend, scene_run: Callable[..., Run]
) -> None:
    run = scene_run(backend)
    first = run.start()
    deadline = time.monotonic() + 200
    while not list(run.results.glob("receipts/*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGSTOP)  # or it could be done before the second one has started
    second = run.snakemake()
    assert second.returncode != 0
    assert "error: results/real is being worked on by" in second.stderr
    assert f"process {first.pid}" in second.stderr
    refused = run.upscaling("cancel", "results/real")
    assert refused.returncode != 0
    assert "is being worked on by" in refused.stderr

    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    done = run.upscaling("cancel", "results/real")
    assert done.returncode == 0, done.stderr
    assert not [job for job in backend.jobs() if job["status"] in {"created", "queued", "running"}]
    assert run.gather().returncode == 0


def test_refused_results_are_checked_again_and_only_on_demand_paid_again(
    backend: EmbeddedBackend, scene_run: Callable[..., Run], shared_data: Path
) -> None:
    run = scene_run(backend, area={"aoi": [11.2983, 46.4841, 11.2996, 46.4849], "grid": "utm-1km"})
    too_small(shared_data, run.folder)
    run.config["algorithm"] = {**run.config["algorithm"], "source": "small.json"}
    assert run.snakemake().returncode != 0
    assert len(backend.jobs()) == 1
    assert "1 failed" in run.upscaling("status", "results/real").stdout
    profile = ["--snakefile", str(ROOT / "Snakefile"), "--profile", str(ROOT / "workflow/profiles/local")]
    said = run.upscaling("retry", "results/real", "--only", "bad-output", *profile)
    assert said.returncode != 0
    assert "does not cover the tile" in said.stderr
    assert len(backend.jobs()) == 1
    said = run.upscaling("retry", "results/real", "--resubmit", *profile)
    assert "1 of them are submitted, and paid, again" in said.stdout
    assert "does not cover the tile" in said.stderr
    assert len(backend.jobs()) == 2
