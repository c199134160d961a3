"""What a person does to the jobs of a run on an OGC API - Processes server: cancel, decide, find and remove them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.backend.ogcapi.servers import Pygeoapi
from tests.workflow.conftest import Run
from tests.workflow.test_ogcapi_run import SMALL


def test_cancel_dismisses_and_the_next_run_submits_again(server: Pygeoapi, ogc_run: Callable[..., Run]) -> None:
    run = ogc_run(server, parameters={"seconds": 20}, area=SMALL)
    process = run.start()
    deadline = time.monotonic() + 200
    while len(server.executions) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {job["jobID"] for job in server.jobs()}
    said = run.upscaling("cancel", "results/ogc")
    assert said.returncode == 0, said.stderr
    assert {job["jobID"] for job in server.jobs()} < before, "pygeoapi forgets a job that is dismissed"
    assert "canceled" in run.upscaling("status", "results/ogc").stdout


def _on_a_terminal(run: Run, answer: str) -> tuple[int, str]:
    """Run Snakemake where a person answers a question."""
    ours, theirs = os.openpty()
    environment = run.environment
    with (run.folder / "terminal.out").open("wb") as out:
        process = subprocess.Popen(run.command(), cwd=run.folder, env=environment, stdin=theirs, stdout=out, stderr=out)
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        status = process.wait(120)
    os.close(ours)
    return status, (run.folder / "terminal.out").read_text()


def test_a_creation_that_nobody_knows_of_is_asked_about(server: Pygeoapi, ogc_run: Callable[..., Run]) -> None:
    run = ogc_run(server, area=SMALL, backend={"on_unknown": "ask"})
    assert run.gather().returncode == 0
    before = len(server.executions)
    tile = min(path.parent.name for path in run.results.glob("tiles/*/item.json"))
    receipt = run.results / "receipts" / f"{tile}.json"
    receipt.write_text(json.dumps({**json.loads(receipt.read_text()), "state": "intent", "job_id": None, "facts": {}}))
    shutil.rmtree(run.results / "tiles" / tile)

    status, said = _on_a_terminal(run, "n")
    assert status != 0
    assert f"{tile}: a job may have been created at" in said
    assert "is not known: its job list names jobs of this process that no receipt knows" in said
    assert len(server.executions) == before
    status, said = _on_a_terminal(run, "y")
    assert status == 0, said
    assert len(server.executions) == before + 1
    assert json.loads(receipt.read_text())["history"][-1]["why"].startswith("submitted again as decided")


def test_jobs_that_no_receipt_knows_are_listed_and_removed(
    scene: Path, tmp_path: Path, ogc_run: Callable[..., Run]
) -> None:
    server = Pygeoapi(tmp_path / "telling", scene, echo=True)
    server.start()
    try:
        run = ogc_run(server, area=SMALL)
        assert run.gather().returncode == 0
        jobs = {job["jobID"] for job in server.jobs()}
        clean = ["clean", "results/ogc", "--remote"]
        assert "0 orphans" in run.upscaling(*clean).stdout
        receipt = min((run.results / "receipts").glob("*.json"))
        lost = json.loads(receipt.read_text())["job_id"]
        receipt.unlink()
        listed = run.upscaling(*clean).stdout
        assert lost in listed
        assert receipt.stem in listed
        assert "1 orphans; --yes deletes them" in listed
        assert "1 orphans deleted" in run.upscaling(*clean, "--yes").stdout
        assert {job["jobID"] for job in server.jobs()} == jobs - {lost}
    finally:
        server.stop()
