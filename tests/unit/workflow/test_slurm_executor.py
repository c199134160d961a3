"""The repairs of Snakemake's SLURM executor: with the plugin itself, and a command that answers as sacct does."""

from __future__ import annotations

import asyncio
import itertools
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
    for name in ("next_seconds_between_status_checks", "sleep"):
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


class Waiting(plugin.Executor):
    """The executor as it waits for jobs, without Snakemake."""

    def __init__(self) -> None:
        self._next_seconds_between_status_checks = None
        settings = SimpleNamespace(init_seconds_before_status_checks=20)
        remote = SimpleNamespace(seconds_between_status_checks=10)
        self.workflow = SimpleNamespace(executor_settings=settings, remote_execution_settings=remote)
        self.wait = True


def test_polls_come_often_enough_for_short_jobs() -> None:
    executor = Waiting()
    assert executor.next_seconds_between_status_checks == 10
    executor.next_seconds_between_status_checks = 20  # there are no jobs yet
    looks = [0.0]
    while looks[-1] < 600:  # what the executor does in a poll in which no job has ended
        looks.append(looks[-1] + executor.next_seconds_between_status_checks)
        executor.next_seconds_between_status_checks = min(executor.next_seconds_between_status_checks + 10, 180)
    waits = [after - before for before, after in itertools.pairwise(looks)]
    assert all(wait <= 20.1 + before / 10 for wait, before in zip(waits, looks, strict=False)), looks
    assert waits[0] == 20
    assert max(waits) == waits[-1] == 60, "one a minute in the long run"
    executor.next_seconds_between_status_checks = 20  # a job has ended
    assert executor.next_seconds_between_status_checks == 20


def test_snakemake_ends_with_its_last_job_and_not_with_the_next_poll() -> None:
    async def waited() -> list[float]:
        executor, slept = Waiting(), []

        async def one_slice(seconds: float) -> None:
            slept.append(seconds)
            executor.wait = len(slept) < 3  # the executor is shut down

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "sleep", one_slice)
            await executor.sleep()
        return slept

    assert asyncio.run(waited()) == [1, 1, 1]


def test_a_tile_needs_no_second_snakemake_in_its_job() -> None:
    settings = SimpleNamespace(pass_command_as_script=False)
    executor = SimpleNamespace(workflow=SimpleNamespace(executor_settings=settings))
    tile, another = (SimpleNamespace(resources={name: 1}) for name in ("toil_leaders", "mem_mb"))
    assert plugin.Executor.format_job_exec(executor, tile) == "-m snakemake --executor local -x"
    assert "--executor slurm-jobstep --jobs 1" in plugin.Executor.format_job_exec(executor, another)
