"""Rough estimates: from published benchmarks, the history and the record; the comparison of platforms; advice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from tests.conftest import ROOT
from upscaling.config import Config
from upscaling.errors import UpscalingError
from upscaling.estimate.advice import advice_of
from upscaling.estimate.compare import PlatformRow, compare_platforms, offered_by, render_platforms
from upscaling.estimate.evidence.history import HISTORY, Past, PastRun, platform_name, read_benchmarks, read_history
from upscaling.estimate.model import Interval, Outlook
from upscaling.estimate.run import estimate_run
from upscaling.estimate.show import render


def config(shared_data: Path, **changes: Any) -> Config:
    values: dict[str, Any] = {
        "run": "r",
        "algorithm": {
            "source": "vito/max_ndvi_composite",
            "catalogue": str(shared_data / "apex_catalogue"),
            "parameters": {"temporal_extent": ["2023-06-01", "2023-09-01"]},
        },
        "area": {"aoi": [11.0, 46.0, 11.05, 46.05], "grid": "utm-1km"},
        "backend": {"kind": "openeo", "url": "http://127.0.0.1:9", "slots": 4},
    }
    return Config.parse({**values, **changes})


def table(folder: Path, rows: list[tuple[str, float | None, float, str | None]]) -> Path:
    columns = {
        "scenario_id": [row[0] for row in rows],
        "costs": [row[1] for row in rows],
        "results:proj:bbox:area:utm:km2": [row[2] for row in rows],
        "test:phase:exception": [row[3] for row in rows],
        "usage:duration:seconds": [100.0] * len(rows),
    }
    pq.write_table(pa.table(columns), folder / "2025-08.parquet")
    return folder / "2025-08.parquet"


def test_the_cost_per_km2_of_a_small_benchmark_is_never_scaled(shared_data: Path, tmp_path: Path) -> None:
    """Small jobs cost the minimum charge of 4; the largest tells what a km² costs beyond."""
    rows = [("max_ndvi_composite", 4.0, 0.1, None)] * 5 + [("max_ndvi_composite", 5.0, 10.0, None)] * 3
    rows += [("another", 900.0, 1.0, None), ("max_ndvi_composite", None, 1.0, None)]
    rows += [("max_ndvi_composite", 99.0, 1.0, "run-job")]
    estimate = estimate_run(config(shared_data), results=tmp_path, benchmarks=[table(tmp_path, rows)], ask=False)
    assert estimate.cost is not None
    assert estimate.cost.p50 == pytest.approx(4 * estimate.jobs)  # 40 a km² by the small ones
    assert (estimate.basis, estimate.verdict, estimate.minimum_charge) == ("rough", None, 4.0)
    assert any(line.startswith("8 earlier jobs") for line in estimate.rests_on)
    assert estimate.seconds is not None
    assert estimate.seconds.p50 == pytest.approx(100 * estimate.jobs / 4)
    assert "minimum charge of 4" in estimate.advice[0].text


def test_without_any_earlier_job_the_record_counts_with_a_wide_interval(shared_data: Path, tmp_path: Path) -> None:
    estimate = estimate_run(config(shared_data), results=tmp_path, ask=False)
    assert estimate.cost is not None
    assert estimate.cost.p90 / estimate.cost.p10 == pytest.approx(100)
    assert estimate.stated_cost == "0.1 credits per km² and observation"
    assert estimate.seconds is None
    assert {check.answer for check in estimate.checks if check.text == "the platform was not asked"} == {"unknown"}


def test_a_table_that_is_none_is_one_line(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_text("no table")
    with pytest.raises(UpscalingError, match="no columns scenario_id and costs"):
        read_benchmarks([tmp_path / "a.parquet"], {"x"})
    with pytest.raises(UpscalingError, match="cannot be read"):
        read_benchmarks([tmp_path / "b.parquet"], {"x"})
    (tmp_path / "empty").mkdir()
    with pytest.raises(UpscalingError, match="holds no Parquet table"):
        read_benchmarks([tmp_path / "empty"], {"x"})


def test_history_names_no_user_and_bears_damage(tmp_path: Path) -> None:
    assert platform_name("openeo https://me:secret@host.example/openeo/1.2?token=x") == "openeo host.example"
    run = PastRun(id="a", ended="", algorithm="x", platform="openeo h", jobs=1, measured=[Past(cost=1.0)])
    (tmp_path / HISTORY).write_text(f"{run.model_dump_json()}\nhalf a li")
    assert read_history(tmp_path / HISTORY) == [run]
    assert read_history(tmp_path / "none") == []


def test_platforms_that_the_catalogue_offers_and_that_are_named(shared_data: Path, tmp_path: Path) -> None:
    wanted = config(shared_data)
    assert [(name, address) for name, address, _ in offered_by(wanted)] == [
        ("max_ndvi_composite", "https://openeofed.dataspace.copernicus.eu")
    ]
    local = wanted.model_copy(update={"algorithm": wanted.algorithm.model_copy(
        update={"source": str(ROOT / "config/demo/ndvi_composite.json"), "catalogue": None})})  # fmt: skip
    rows = compare_platforms(local, ["http://127.0.0.1:10"], results=tmp_path)
    assert [(row.platform, row.possible) for row in rows] == [
        ("openeo 127.0.0.1:9", "no"),
        ("openeo 127.0.0.1:10", "no"),
    ]
    assert all("cannot be reached" in row.refusals[0] for row in rows)


def test_advice_follows_from_the_numbers(shared_data: Path, tmp_path: Path) -> None:
    wanted = config(shared_data)
    estimate = estimate_run(wanted, results=tmp_path, ask=False)
    late = {"seconds": Interval.of([3e5] * 5), "deadline": Outlook.of(1e5, 0.1), "jobs": 100}
    told = [entry for entry in advice_of(estimate.model_copy(update=late), wanted) if entry.key == "backend.slots"]
    assert "12 slots instead of 4" in told[0].text
    wide = {"area_km2": 1.0, "processed_km2": 9.0, "jobs": 9, "tiles": 9, "cost": Interval.of([10.0] * 5)}
    for charge, keys in ((0.1, ["area.grid, area.clip, area.min_overlap"]), (1.0, ["area.grid"])):
        found = advice_of(estimate.model_copy(update=wide | {"minimum_charge": charge}), wanted)
        assert [entry.key for entry in found if "tiles" in entry.text] == keys  # never larger and smaller ones
    failing = estimate.model_copy(update={"failed": 2, "failure_rate": Interval.of([0.4] * 5)})
    told = advice_of(failing, wanted)[-1:]
    assert (told[0].see, "`" in told[0].text) == ("failures", False)  # a page names no command
    console = Console(width=120)
    with console.capture() as shown:
        console.print(render(failing.model_copy(update={"advice": told})))
    assert "each costs again: `upscaling status` shows why" in shown.get()
    assert [Outlook.of(1, p).verdict for p in (0.95, 0.9, 0.5, 0.49)] == [
        "feasible",
        "at risk",
        "at risk",
        "not feasible",
    ]


def test_the_table_of_platforms_is_readable_on_a_usual_terminal() -> None:
    refusal = "platform: http://127.0.0.1:9/openeo/1.2 cannot be reached (Connection refused)"
    row = PlatformRow(
        kind="openeo", platform="openeo 127.0.0.1:9", possible="no", cost=None, currency="credits", seconds=None,
        slots="unknown", results="on this machine", refusals=[refusal],
    )  # fmt: skip
    console = Console(width=100, highlight=False)
    with console.capture() as shown:
        console.print(render_platforms([row]))
    lines = [" ".join(line.split()) for line in shown.get().splitlines()]
    assert "openeo 127.0.0.1:9 no unknown unknown unknown on this machine" in lines
    assert f"openeo 127.0.0.1:9: {refusal}" in " ".join(lines)
