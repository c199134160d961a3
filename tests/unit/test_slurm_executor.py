"""The repair of Snakemake's SLURM executor: with the plugin itself, and a command that answers as sacct does."""

from __future__ import annotations

import asyncio
import logging

import pytest
import snakemake_executor_plugin_slurm as plugin

from upscaling.backends.slurm_executor import mend

ANSWER = r"printf '7|CANCELLED by 1000\n8|COMPLETED\n'"


def test_a_job_that_somebody_canceled_is_not_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "query_job_status", plugin.query_job_status)  # is put back afterwards
    mend()
    mend()  # every parse of the workflow does
    states, _ = asyncio.run(plugin.query_job_status(ANSWER, logging.getLogger()))
    assert states == {"7": "CANCELLED", "8": "COMPLETED"}
    refused, _ = asyncio.run(plugin.query_job_status("false", logging.getLogger()))
    assert refused is None, "no answer is no state"
