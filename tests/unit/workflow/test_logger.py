"""What the terminal counts as failed: not what ends because the run was told to end. And what breaks its silence."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

import snakemake_logger_plugin_upscaling as plugin


def _handler(monkeypatch: pytest.MonkeyPatch, *, interrupted: bool = False) -> plugin.LogHandler:
    runs = SimpleNamespace(interrupted=interrupted, running=lambda: 0, tile_rules=lambda: {"tile"})
    monkeypatch.setattr("upscaling.workflow.runs.current_runs", lambda: runs)
    common = SimpleNamespace(stdout=False, nocolor=True, dryrun=False, verbose=False)
    return plugin.LogHandler(common, None)


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_job_that_ends_with_ctrl_c_did_not_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], interrupted: bool
) -> None:
    handler = _handler(monkeypatch, interrupted=interrupted)
    job = {"jobid": 1, "rule_name": "tile", "rule_msg": "x", "output": ["r/tiles/a/item.json"], "local": True}

    def emit(event: LogEvent, **facts: object) -> None:
        handler.emit(logging.makeLogRecord({"event": event, "msg": "x", **facts}))

    emit(LogEvent.RUN_INFO, stats={"tile": 2, "total": 7})
    emit(LogEvent.JOB_INFO, **job)
    emit(LogEvent.JOB_STARTED, jobs=[1])
    handler._told = 0.0
    emit(LogEvent.JOB_ERROR, **job)
    assert ("0 of 2 tiles done, 1 failed" in capsys.readouterr().err) is not interrupted


def test_silence_is_broken_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plugin.threading.Thread, "start", lambda _: None)
    now = 1000.0
    monkeypatch.setattr(plugin.time, "monotonic", lambda: now)
    handler = _handler(monkeypatch)

    def emit(event: LogEvent | None, **facts: object) -> None:
        handler.emit(logging.makeLogRecord({"event": event, "msg": "x", **facts}))

    def silent(seconds: float) -> str:
        nonlocal now
        now += seconds
        capsys.readouterr()
        handler._break_silence(now)
        return capsys.readouterr().err[9:].strip()

    assert not silent(1000), "nothing is under way"
    emit(LogEvent.RUN_INFO, stats={"tile": 2, "total": 7})
    emit(LogEvent.JOB_INFO, jobid=1, rule_name="tile", rule_msg="x", output=["r/tiles/a/item.json"], local=True)
    emit(LogEvent.JOB_STARTED, jobs=[1])
    assert not silent(19)
    assert silent(1) == "0 of 2 tiles done, 1 running"
    assert not silent(59)
    assert silent(1)
    assert not silent(299)
    assert silent(1)
    emit(LogEvent.JOB_INFO, jobid=2, rule_name="mosaic", rule_msg="mosaics", output=["r/mosaic"], local=True)
    assert silent(20) == "0 of 2 tiles done, 1 running; mosaics: for 20 s now"
    emit(LogEvent.JOB_FINISHED, job_id=2)
    assert silent(60) == "0 of 2 tiles done, 1 running"
