"""A tile that failed is not run again by a job that SLURM runs anew: with a squeue that is a fake."""

from __future__ import annotations

import calendar
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from upscaling.backends.cwl.attempts import final


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
    assert final(receipt, attempt) is ends
    receipt.error = {"class": "out-of-memory"}
    assert not final(receipt, attempt), "a tile that ran out of memory is to be tried with more"
