"""Impossible runs are told before anything is sent."""

from __future__ import annotations

import base64
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.conftest import ROOT
from tests.unit.estimate.fake_platform import COLLECTION, FakePlatform, fake_platform
from upscaling.algorithms.graph import nodes_of
from upscaling.config import Config
from upscaling.estimate.checks import openeo
from upscaling.estimate.compare import row_of
from upscaling.estimate.evidence.history import HISTORY, Past, PastRun, platform_name
from upscaling.estimate.model import Check, Estimate, Outlook
from upscaling.estimate.run import estimate_run
from upscaling.estimate.show import render
from upscaling.planning.ensure import ensure_plan
from upscaling.planning.plan import keep_config
from upscaling.util.files import write_json

SOURCE = ROOT / "config/demo/ndvi_composite.json"
AREA = [11.0, 46.0, 11.05, 46.05]


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePlatform]:
    monkeypatch.setenv("OPENEO_AUTH_USERNAME", "u")
    monkeypatch.setenv("OPENEO_AUTH_PASSWORD", "not-shown")
    with fake_platform() as platform:
        graph = json.loads(SOURCE.read_text())["process_graph"]
        platform.processes = {node["process_id"] for node in nodes_of(graph)}
        yield platform
        assert platform.sent == []


@pytest.fixture
def estimated(platform: FakePlatform, tmp_path: Path) -> Callable[..., Estimate]:
    """Estimate a run of some jobs of 1 km whose history knows a minimum charge of 4 and jobs of 100 s."""

    def make(*, backend: dict[str, Any] | None = None, **changes: Any) -> Estimate:
        parameters = {"temporal_extent": ["2023-06-01", "2023-09-01"]}
        values = {
            "run": "r",
            "algorithm": {"source": str(SOURCE), "parameters": parameters, **changes.pop("algorithm", {})},
            "area": {"aoi": AREA, "grid": "utm-1km"},
            "backend": {"kind": "openeo", "url": platform.url, "auth": "basic", "slots": 2, **(backend or {})},
        }
        past = [Past(area_km2=1.0, cost=cost, seconds=100.0, result_bytes=1e6) for cost in (4.0, 4.0, 5.0, 6.0)]
        history = PastRun(
            id="x",
            ended="",
            algorithm="ndvi_composite",
            platform=platform_name(f"openeo {platform.url}"),
            jobs=4,
            measured=past,
        )
        (tmp_path / HISTORY).write_text(history.model_dump_json() + "\n")
        return estimate_run(Config.parse({**values, **changes}), results=tmp_path)

    return make


def found(estimate: Estimate, name: str) -> Check:
    return next(check for check in estimate.checks if check.name == name)


def test_a_possible_run_has_no_no(estimated: Callable[..., Estimate], platform: FakePlatform) -> None:
    platform.limits = {"concurrent_jobs": 4}
    estimate = estimated(budget=10_000)
    answers = {check.name: check.answer for check in estimate.checks}
    assert "no" not in answers.values(), estimate.checks
    yes = ("platform", "processes", "collections", "slots", "credits", "format", "terms", "deadline", "budget", "disk")
    assert [answers[name] for name in yes] == ["yes"] * len(yes)
    assert (estimate.basis, estimate.verdict, estimate.minimum_charge) == ("rough", None, 4.0)


def jwt(expires: float) -> str:
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, {"exp": expires})
    ]
    return f"oidc/x/{'.'.join(parts)}.sig"


def _missing_collection(platform: FakePlatform, _: pytest.MonkeyPatch) -> dict[str, Any]:
    platform.collections = {}
    return {}


def _other_period(platform: FakePlatform, _: pytest.MonkeyPatch) -> dict[str, Any]:
    platform.collections = {
        "SENTINEL2_L2A": {"extent": {**COLLECTION["extent"], "temporal": {"interval": [["2015-07-04", "2020-01-01"]]}}}
    }
    return {}


def _elsewhere(platform: FakePlatform, _: pytest.MonkeyPatch) -> dict[str, Any]:
    platform.collections = {"SENTINEL2_L2A": {"extent": {"spatial": {"bbox": [[170, -20, -170, -10]]}}}}
    return {}


def _few_credits(platform: FakePlatform, _: pytest.MonkeyPatch) -> dict[str, Any]:
    platform.me = {"budget": 12.5}
    return {}


def _short_token(_: FakePlatform, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setenv("OPENEO_AUTH_TOKEN", jwt(time.time() + 60))
    return {"backend": {"auth": "bearer"}}


def _ended_token(_: FakePlatform, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setenv("OPENEO_AUTH_TOKEN", jwt(time.time() - 600))
    return {"backend": {"auth": "bearer"}}


def _small_disk(_: FakePlatform, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    usage = type(shutil.disk_usage("/"))
    patch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 10**6, 10**6))
    return {}


def _lacking_process(platform: FakePlatform, _: pytest.MonkeyPatch) -> dict[str, Any]:
    platform.processes -= {"load_collection"}
    return {}


def _format(_: FakePlatform, __: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"algorithm": {"output_format": "Zarr"}}


def _slots(platform: FakePlatform, _: pytest.MonkeyPatch) -> dict[str, Any]:
    platform.limits = {"conformance": {"max_concurrent_jobs": 2}}
    return {"backend": {"slots": 5}}


def _past_deadline(_: FakePlatform, __: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"deadline": "2020-01-01"}


def _small_budget(_: FakePlatform, __: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"budget": 50}


def _small_run_budget(_: FakePlatform, __: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"backend": {"run_budget": 50}}


def _no_keys(_: FakePlatform, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    return {"publish": {"s3": "s3://bucket/here"}}


@pytest.mark.parametrize(
    ("arrange", "name", "words", "key"),
    [
        (_missing_collection, "collections", "has no collection SENTINEL2_L2A", "algorithm.source"),
        (_other_period, "collections", "the period 2023-06-01 to 2023-09-01 lies outside", "time"),
        (_elsewhere, "collections", "the area lies outside SENTINEL2_L2A", "area.aoi"),
        (_few_credits, "credits", "12.5 credits left, the run takes at least", "budget"),
        (_short_token, "token", "is good for 0.0 hours, the run may take", "backend.auth"),
        (_ended_token, "token", "ran out 10 minutes ago", "backend.auth"),
        (_small_disk, "disk", "1 MB free", ""),
        (_lacking_process, "processes", "has no process load_collection", "algorithm.source"),
        (_format, "format", "does not write Zarr; it offers GTiff, netCDF", "algorithm.output_format"),
        (_slots, "slots", "5 jobs at the same time are configured, the platform allows 2", "backend.slots"),
        (_past_deadline, "deadline", "2020-01-01 has passed", "deadline"),
        (_small_budget, "budget", "exceed the budget of 50", "budget"),
        (_small_run_budget, "budget", "exceed the budget of 50", "backend.run_budget"),
        (_no_keys, "results", "needs AWS_ACCESS_KEY_ID", "publish.s3"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_an_impossible_run_is_told(
    arrange: Callable[[FakePlatform, pytest.MonkeyPatch], dict[str, Any]],
    name: str,
    words: str,
    key: str,
    estimated: Callable[..., Estimate],
    platform: FakePlatform,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    estimate = estimated(**arrange(platform, monkeypatch))
    check = found(estimate, name)
    assert (check.answer, check.key) == ("no", key), check
    assert words in check.text
    assert estimate.possible == "no"
    assert (estimate.verdict, estimate.verdict_reasons) == ("not feasible", [f"{name}: {check.text}"])
    assert [other.name for other in estimate.checks if other.answer == "no"] == [name]


def test_good_numbers_do_not_make_a_refused_run_feasible(estimated: Callable[..., Estimate]) -> None:
    """Probabilities stay; the word is the check's, wherever the estimate is shown."""
    good = estimated().model_copy(update={"deadline": Outlook.of(3600, 0.99), "verdict": "feasible"})
    refusal = Check(name="slots", answer="no", text="5 jobs are configured, the platform allows 2")
    shown = [_printed(good.checked(checks)) for checks in ([], [refusal])]
    assert "feasible, kept with a probability of 99%" in shown[0]
    assert "kept with a probability of 99%" in shown[1]
    assert "slots: 5 jobs are configured" in shown[1]
    assert "feasible" not in shown[1].replace("not feasible", "")
    assert row_of(good.checked([refusal]), "openeo").refusals == ["slots: 5 jobs are configured, the platform allows 2"]


def _printed(estimate: Estimate) -> str:
    console = Console(record=True, file=io.StringIO(), width=200)
    console.print(render(estimate))
    return console.export_text()


def test_a_platform_out_of_reach_is_told(estimated: Callable[..., Estimate], platform: FakePlatform) -> None:
    platform.url = "http://127.0.0.1:9"
    assert found(estimated(), "platform").answer == "no"


def test_a_platform_that_estimates_jobs_is_asked_once_there_is_one(
    estimated: Callable[..., Estimate], platform: FakePlatform, tmp_path: Path
) -> None:
    platform.estimates = True
    assert "once the run has one" in found(estimated(), "own estimate").text
    config = Config.parse(
        {
            "run": "r",
            "algorithm": {"source": str(SOURCE), "parameters": {"temporal_extent": ["2023-06-01", "2023-09-01"]}},
            "area": {"aoi": AREA, "grid": "utm-1km"},
            "backend": {"kind": "openeo", "url": platform.url, "auth": "basic"},
        }
    )
    plan = ensure_plan(config, tmp_path / "r")
    keep_config(config, tmp_path / "r")
    tile, row = next(iter(plan.tiles.items()))
    receipt = {"tile": tile, "key": row.key, "state": "created", "job_id": "j-1", "attempt": 1}
    write_json(tmp_path / "r" / "receipts" / f"{tile}.json", receipt)
    check = found(estimate_run(tmp_path / "r"), "own estimate")
    assert (check.answer, check.text) == ("yes", "7.5 credits, PT3M for job j-1")


def test_periods_are_told_in_days_where_days_tell_them_apart() -> None:
    covered = {"extent": {"temporal": {"interval": [["2015-07-04T10:10:06Z", "2023-07-01T10:00:00Z"]]}}}
    assert openeo._periods(("2024-01-01", None), covered) == ("2024-01-01 to …", "2015-07-04 to 2023-07-01")
    asked = "2023-07-01T08:00:00Z", "2023-07-01T12:00:00Z"
    whole = " to ".join(asked), "2015-07-04T10:10:06Z to 2023-07-01T10:00:00Z"
    assert openeo._periods(asked, covered) == whole
