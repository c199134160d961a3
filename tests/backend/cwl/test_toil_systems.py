"""Toil's batch systems: what is missing for one is said in one line before a run; a job store outside the run."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from upscaling.backends.cwl.toil.systems import JobStore, check, environment_of
from upscaling.config import Config
from upscaling.errors import ConfigError, TileFailedError
from upscaling.model import Outcome, TileJob
from upscaling.util.process import tool_path

from .conftest import PACKAGES

BASE = {
    "run": "r",
    "algorithm": {"source": "app.cwl"},
    "area": {"aoi": [0, 0, 1, 1], "grid": "utm-20km"},
}
BUCKET = "aws:eu-central-1:upscaling"
WRONG = {
    "kubernetes": ({"batch_system": "kubernetes"}, "kubernetes needs job_store"),
    "folder": ({"batch_system": "aws_batch", "job_store": "/scratch"}, "aws_batch needs job_store"),
    "partition": ({"batch_system": "lsf", "site": {"partition": "long"}}, "for lsf say it in site.extra"),
    "account": (
        {"batch_system": "aws_batch", "job_store": BUCKET, "site": {"account": "eo"}},
        "for aws_batch say it in options",
    ),
    "extra": (
        {"batch_system": "kubernetes", "job_store": BUCKET, "site": {"extra": ["--x"]}},
        "for kubernetes say them in options",
    ),
    "sbatch": ({"site": {"extra": ["constraint=milan"]}}, "is no option of sbatch"),
    "managed": ({"batch_system": "slurm", "site": {"extra": ["--mem=4G"]}}, "--mem has a key of its own"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_fit_a_batch_system_is_one_line(wrong: str) -> None:
    backend, words = WRONG[wrong]
    with pytest.raises(ConfigError, match=words) as caught:
        Config.parse({**BASE, "backend": {"kind": "cwl", **backend}})
    assert "\n" not in str(caught.value)


def test_options_of_other_submitters_are_theirs() -> None:
    config = Config.parse({**BASE, "backend": {"kind": "cwl", "batch_system": "lsf", "site": {"extra": ["-q long"]}}})
    assert environment_of("lsf", config.backend.site.extra) == {"TOIL_LSF_ARGS": "-q long"}
    assert environment_of("htcondor", ["a=1", "b=2"]) == {"TOIL_HTCONDOR_PARAMS": "a=1; b=2"}
    assert environment_of("slurm", ["--nice"]) == {}


def test_a_batch_system_that_is_not_there_is_said_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"PATH": tool_path()}
    monkeypatch.setenv("PATH", environment["PATH"])
    with pytest.raises(ConfigError, match="there is no bsub on PATH"):
        check("lsf", [], environment)
    with pytest.raises(ConfigError, match="aws_batch needs its queue"):
        check("aws_batch", ["--awsBatchRegion=eu-central-1"], environment)
    check("aws_batch", ["--awsBatchRegion=eu-central-1", "--awsBatchQueue=eo"], environment)
    with pytest.raises(ConfigError, match="it has no option --awsBatchQeue=eo"):
        check("aws_batch", ["--awsBatchQeue=eo"], environment)
    if find_spec("kubernetes") is None:
        with pytest.raises(ConfigError, match="kubernetes needs the Python package kubernetes"):
            check("kubernetes", [], environment)


def test_a_bucket_is_named_for_every_tile(tmp_path: Path) -> None:
    store = JobStore(tmp_path, BUCKET, "0123")
    assert store.locator == f"{BUCKET}-0123"
    assert not store.exists()
    store.begin()
    assert JobStore(tmp_path, BUCKET, "0123").exists()


def test_a_job_store_outside_the_run_leaves_nothing_there(
    make_job: Callable[..., TileJob], run_job: Callable[..., Outcome], tmp_path: Path
) -> None:
    fast = str(tmp_path / "fast")
    with pytest.raises(TileFailedError):
        run_job(make_job(PACKAGES / "tool.cwl", {"command": "false"}), job_store=fast)
    assert len(list((tmp_path / "fast").iterdir())) == 1, "of a failed tile it is kept, for a restart"
    run_job(make_job(PACKAGES / "tool.cwl", {"command": "mkdir out; echo 1 > out/a.txt"}), job_store=fast)
    assert list((tmp_path / "fast").iterdir()) == []
