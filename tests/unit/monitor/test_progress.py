"""How far a run has come is read off its receipts and items alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from upscaling.errors import UpscalingError
from upscaling.monitor.progress import STATES, count_states, read_states
from upscaling.planning.plan import Plan, PlanRow


def _plan(folder: Path, *tiles: str) -> Plan:
    return Plan(folder / "plan", {}, {tile: PlanRow(key=f"key-{tile}", offset=0, part="p") for tile in tiles})


def _receipt(folder: Path, tile: str, state: str, **fields: object) -> None:
    path = folder / "receipts" / f"{tile}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"tile": tile, "key": f"key-{tile}", "state": state, "attempt": 1} | fields))


def _item(folder: Path, tile: str, key: str) -> None:
    path = folder / "tiles" / tile / "item.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"id": tile, "properties": {"upscaling:key": key}}))


def test_what_failed_attempts_and_earlier_work_cost_is_counted(tmp_path: Path) -> None:
    plan = _plan(tmp_path, "again", "other", "free")
    history = [{"costs": 3, "error": {"class": "lost"}}, {"why": "no costs"}, {"costs": "many"}]
    _receipt(tmp_path, "again", "done", facts={"costs": 4}, history=history)
    _item(tmp_path, "again", "key-again")
    _receipt(tmp_path, "other", "failed", key="another", facts={"costs": 2})
    _receipt(tmp_path, "free", "created")
    states = {state.tile: state for state in read_states(tmp_path, plan)}
    assert {tile: (state.costs, state.spent) for tile, state in states.items()} == {
        "again": (4, 7),
        "other": (None, 2),
        "free": (None, None),
    }


def test_every_state_of_a_receipt_has_its_word(tmp_path: Path) -> None:
    names = "none intent made begun waits sent fetching refused done bad stopped old"
    plan = _plan(tmp_path, *names.split())
    _receipt(tmp_path, "intent", "intent")
    _receipt(tmp_path, "made", "created", job_id="j-1")
    _receipt(tmp_path, "begun", "started")
    _receipt(tmp_path, "waits", "started", facts={"status": "queued"})
    _receipt(tmp_path, "sent", "started", facts={"status": "created"})
    _receipt(tmp_path, "fetching", "finished")
    _receipt(tmp_path, "refused", "finished", error={"class": "bad-output", "message": "no raster"})
    usage = {"duration": {"value": 12.5, "unit": "seconds"}}
    _receipt(tmp_path, "done", "done", job_id="j-2", facts={"costs": 4, "usage": usage})
    _item(tmp_path, "done", "key-done")
    _receipt(tmp_path, "bad", "failed", error={"class": "out-of-memory", "message": "OOM"})
    _receipt(tmp_path, "stopped", "failed", error={"class": "canceled", "message": "job x was canceled"})
    _receipt(tmp_path, "old", "done", key="another")
    _item(tmp_path, "old", "another")

    states = {state.tile: state for state in read_states(tmp_path, plan)}

    assert list(states) == list(plan.tiles)
    assert {tile: state.state for tile, state in states.items()} == {
        "none": "not started",
        "intent": "created",
        "made": "created",
        "begun": "running",
        "waits": "queued",
        "sent": "created",
        "fetching": "running",
        "refused": "failed",
        "done": "finished",
        "bad": "failed",
        "stopped": "canceled",
        "old": "not started",
    }
    done, bad, old = states["done"], states["bad"], states["old"]
    assert (done.job_id, done.costs, done.seconds, done.item) == ("j-2", 4.0, 12.5, True)
    assert (bad.error_class, bad.error) == ("out-of-memory", "OOM")
    assert old.item
    assert "plan has changed" in (old.error or "")
    counted = count_states(states.values())
    assert tuple(counted) == STATES
    assert sum(counted.values()) == len(plan.tiles)


def test_a_receipt_without_its_item_is_not_done_and_an_item_without_its_receipt_is(tmp_path: Path) -> None:
    plan = _plan(tmp_path, "deleted", "copied", "stale", "torn")
    _receipt(tmp_path, "deleted", "done")
    _item(tmp_path, "copied", "key-copied")
    _item(tmp_path, "stale", "another")
    (tmp_path / "receipts" / "torn.json").write_text('{"tile": ')

    assert [state.state for state in read_states(tmp_path, plan)] == [
        "not started",
        "finished",
        "not started",
        "not started",
    ]


def test_a_folder_without_a_plan_is_named(tmp_path: Path) -> None:
    with pytest.raises(UpscalingError, match="no plan in"):
        read_states(tmp_path)
