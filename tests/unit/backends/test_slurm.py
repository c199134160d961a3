"""A tile that failed is not run again by a job that SLURM runs anew: with a squeue that is a fake."""

from __future__ import annotations

import calendar
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from upscaling.backends.cwl.attempts import failed_for_good, is_final_failure


@pytest.mark.parametrize(
    ("began", "job", "attempt", "ends"),
    [
        ("2026-05-01T10:00:00", "7", 1, False),  # a second run in an allocation of its user's
        ("2026-05-01T14:00:00", "7", 1, True),  # begun anew since the tile failed
        ("2026-05-01T14:00:00", "8", 1, False),
        ("", "7", 1, False),  # SLURM does not answer
        ("", "7", 2, True),
    ],
)
def test_a_job_that_begins_anew_leaves_failed_tiles_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, began: str, job: str, attempt: int, ends: bool
) -> None:
    fake = tmp_path / "squeue"
    fake.write_text(f"#!/bin/sh\necho {began}\n")
    fake.chmod(0o755)
    for name, value in (("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}"), ("SLURM_JOB_ID", job)):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("upscaling.backends.cwl.slurm.time.mktime", calendar.timegm)  # the cluster is in UTC
    receipt: Any = SimpleNamespace(
        state="failed", error={"class": "permanent"}, facts={"slurm_job": "7"}, updated="2026-05-01T12:00:00Z"
    )
    assert is_final_failure(receipt, attempt) is ends
    receipt.error = {"class": "out-of-memory"}
    assert not is_final_failure(receipt, attempt), "a tile that ran out of memory is to be tried with more"


NOW, BEFORE = "2999-01-01T00:00:00Z", "2020-01-01T00:00:00Z"


def _said(state: str, error_class: str | None = None, updated: str = NOW) -> dict[str, object]:
    return {"state": state, "updated": updated, "error": error_class and {"class": error_class, "message": "x"}}


@pytest.mark.parametrize(
    ("receipts", "expected"),
    [
        ([_said("failed", "permanent")], True),
        ([_said("done", updated=BEFORE), _said("failed", "bad-output")], True),
        ([_said("failed", "permanent"), _said("failed", "out-of-memory")], False),
        ([_said("failed", "transient")], False),
        ([_said("failed", "permanent", BEFORE)], False),  # of an earlier run: this job never came to it
        ([_said("failed", "permanent"), _said("started")], False),  # its job was ended by SLURM
        ([_said("failed", "permanent"), None], False),
        ([_said("done"), _said("done")], False),  # what failed is no tile
    ],
)
def test_a_job_is_not_submitted_again_if_no_try_would_help(
    tmp_path: Path, receipts: list[dict[str, object] | None], expected: bool
) -> None:
    (tmp_path / "receipts").mkdir()
    for number, receipt in enumerate(receipts):
        if receipt is not None:
            (tmp_path / "receipts" / f"t{number}.json").write_text(json.dumps(receipt))
    assert failed_for_good(tmp_path, [f"t{number}" for number in range(len(receipts))]) is expected
