"""What the terminal counts as failed: not what ends because the run was told to end."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

import snakemake_logger_plugin_upscaling as plugin


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_job_that_ends_with_ctrl_c_did_not_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], interrupted: bool
) -> None:
    runs = SimpleNamespace(interrupted=interrupted, running=lambda: 0, tile_rules=lambda: {"tile"})
    monkeypatch.setattr("upscaling.workflow.runs.current_runs", lambda: runs)
    common = SimpleNamespace(stdout=False, nocolor=True, dryrun=False, verbose=False)
    handler = plugin.LogHandler(common, None)
    job = {"jobid": 1, "rule_name": "tile", "rule_msg": "x", "output": ["r/tiles/a/item.json"], "local": True}

    def emit(event: LogEvent, **facts: object) -> None:
        handler.emit(logging.makeLogRecord({"event": event, "msg": "x", **facts}))

    emit(LogEvent.RUN_INFO, stats={"tile": 2, "total": 7})
    emit(LogEvent.JOB_INFO, **job)
    emit(LogEvent.JOB_STARTED, jobs=[1])
    handler._told = 0.0
    emit(LogEvent.JOB_ERROR, **job)
    assert ("0 of 2 tiles done, 1 failed" in capsys.readouterr().err) is not interrupted
