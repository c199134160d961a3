"""The repairs of Snakemake's SLURM executor: with the plugin itself, and a command that answers as sacct does."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin

from upscaling.workflow.patches.slurm_executor import patch_slurm_executor

ANSWER = r"printf '7|CANCELLED by 1000\n8|COMPLETED\n'"


@pytest.fixture(autouse=True)
def patched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("query_job_status", "get_submit_command"):
        monkeypatch.setattr(plugin, name, getattr(plugin, name))  # is put back afterwards
    name = "next_seconds_between_status_checks"
    monkeypatch.setattr(plugin.Executor, name, getattr(plugin.Executor, name))
    added = plugin.Executor.additional_general_args
    monkeypatch.setattr(plugin.Executor, "format_job_exec", lambda self, job: f"-m snakemake {added(self)} -x")
    monkeypatch.setattr(plugin, "patched", False, raising=False)
    patch_slurm_executor()
    patch_slurm_executor()  # every parse of the workflow does


def test_a_job_that_somebody_canceled_is_not_under_way() -> None:
    states, _ = asyncio.run(plugin.query_job_status(ANSWER, logging.getLogger()))
    assert states == {"7": "CANCELLED", "8": "COMPLETED"}
    refused, _ = asyncio.run(plugin.query_job_status("false", logging.getLogger()))
    assert refused is None, "no answer is no state"


def test_a_node_that_is_none_is_not_excluded() -> None:
    class Resources(defaultdict[str, object]):
        def __getattr__(self, name: str) -> object:
            return self.get(name)

    job = SimpleNamespace(resources=Resources(lambda: None, mem_mb=100), threads=1, is_group=lambda: False)
    names = ("run_uuid", "slurm_logfile", "comment_str", "account", "partition", "workdir")
    command = plugin.get_submit_command(job, dict.fromkeys(names, "x"), failed_nodes={"None assigned", "n2"})
    assert "--exclude=n2 " in f"{command} "


def test_polls_come_often_enough_for_short_jobs() -> None:
    class Waiting(plugin.Executor):
        def __init__(self) -> None:
            self._next_seconds_between_status_checks = None
            settings = SimpleNamespace(init_seconds_before_status_checks=20)
            remote = SimpleNamespace(seconds_between_status_checks=10)
            self.workflow = SimpleNamespace(executor_settings=settings, remote_execution_settings=remote)

    executor = Waiting()
    assert executor.next_seconds_between_status_checks == 10
    for said, waited in ((30, 30), (180, 60)):  # what the executor sets in its polls
        executor.next_seconds_between_status_checks = said
        assert executor.next_seconds_between_status_checks == waited


def test_a_tile_needs_no_second_snakemake_in_its_job() -> None:
    settings = SimpleNamespace(pass_command_as_script=False)
    executor = SimpleNamespace(workflow=SimpleNamespace(executor_settings=settings))
    tile, another = (SimpleNamespace(resources={name: 1}) for name in ("toil_leaders", "mem_mb"))
    assert plugin.Executor.format_job_exec(executor, tile) == "-m snakemake --executor local -x"
    assert "--executor slurm-jobstep --jobs 1" in plugin.Executor.format_job_exec(executor, another)
