"""What `upscaling status` says of a run's folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.planned import planned_run
from upscaling.errors import UpscalingError
from upscaling.monitor.report import write_report
from upscaling.monitor.status import logs_of, render, summarize
from upscaling.planning.plan import load_plan
from upscaling.results.gather import failure_reasons
from upscaling.util.files import write_json
from upscaling.util.locks import holder_of, take_run

HOLDER = "import sys; from pathlib import Path; from upscaling.util.locks import take_run; take_run(Path(sys.argv[1]));"


def words(run_folder: Path) -> str:
    console = Console(width=120, record=True)
    with console.capture() as captured:
        console.print(render(summarize(run_folder)))
    return captured.get()


def test_costs_of_failed_attempts_count_and_time_left_is_told_while_somebody_works(tmp_path: Path) -> None:
    run_folder = planned_run(tmp_path, "http://127.0.0.1:1/openeo", columns=4, rows=1, auth="none")
    rows = load_plan(run_folder).tiles
    first, second, third, _ = rows
    for minute, tile in enumerate((first, second)):
        receipt = {"key": rows[tile].key, "state": "done", "facts": {"costs": 2}, "history": [{"costs": 1}]}
        write_json(run_folder / "receipts" / f"{tile}.json", {**receipt, "updated": f"2026-01-01T00:0{minute}:00Z"})
        write_json(run_folder / "tiles" / tile / "item.json", {})
    other = {"class": "permanent", "message": "of an earlier plan"}
    write_json(run_folder / "receipts" / f"{third}.json", {"key": "0" * 64, "state": "failed", "error": other})

    said = words(run_folder)
    assert "cost 6.0" in said
    assert "no Snakemake works on it" in said
    assert " left" not in said
    assert "earlier plan" not in said
    assert failure_reasons(load_plan(run_folder), run_folder) == {}
    command = [sys.executable, "-c", f"{HOLDER} print(flush=True); sys.stdin.read()", str(run_folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert (holder_of(run_folder) or {})["pid"] == holder.pid
        said = words(run_folder)
        holder.communicate()
    assert "60 tiles/h, 2 min left" in said
    assert "no Snakemake" not in said


def test_to_ask_who_holds_a_run_neither_takes_nor_loses_the_lock(tmp_path: Path) -> None:
    assert holder_of(tmp_path) is None
    take_run(tmp_path)
    assert holder_of(tmp_path) is not None
    ask = "import sys; from pathlib import Path; from upscaling.util.locks import holder_of as asked;"
    ask += "print(asked(Path(sys.argv[1])))"
    for _ in range(2):
        told = subprocess.run([sys.executable, "-c", ask, str(tmp_path)], capture_output=True, text=True, check=True)
        assert "'pid'" in told.stdout


def test_a_log_that_is_a_link_out_of_the_run_is_named_and_not_shown(tmp_path: Path) -> None:
    run_folder = planned_run(tmp_path, "http://127.0.0.1:1/openeo", columns=1, rows=1, auth="none")
    (tile,) = load_plan(run_folder).tiles
    (tmp_path / "secret").write_text("hunter2")
    (tmp_path / "scratch").mkdir()
    (run_folder / "logs").symlink_to(tmp_path / "scratch")  # where large files go is the user's choice
    (run_folder / "logs" / f"{tile}.log").write_text("own words")
    (run_folder / "logs" / f"{tile}.platform.log").symlink_to(tmp_path / "secret")
    said = "\n".join(logs_of(run_folder, tile))
    assert "own words" in said
    assert "hunter2" not in said
    assert f"is a link to {tmp_path / 'secret'}" in said


def test_a_report_over_damaged_documents_tells_of_them(tmp_path: Path) -> None:
    run_folder = planned_run(tmp_path, "http://127.0.0.1:1/openeo", columns=1, rows=1, auth="none")
    write_json(run_folder / "mosaic" / "mosaics.json", [None])
    assert "entry 1 of 1 in" in write_report(run_folder).read_text()
    write_json(run_folder / "quality.json", {"problems": [], "assets": []})
    with pytest.raises(UpscalingError, match=r"quality\.json is damaged"):
        write_report(run_folder)
