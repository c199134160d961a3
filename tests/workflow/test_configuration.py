"""The configuration that runs is the one that the user wrote, byte for byte, whichever way it was given."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.servers import environment
from upscaling.workflow.configuration import hand_on, hand_on_replacement

ALGORITHM = {
    "source": "config/demo/ndvi_composite.json",
    "parameters": {"temporal_extent": ["2023-06-01", "2023-09-01"]},
}
# Nothing that the demo's configuration says beyond this may be in what runs.
MINE: dict[str, Any] = {
    "run": "mine",
    "algorithm": ALGORITHM,
    "area": {"aoi": "config/demo/area.geojson", "grid": "utm-10km"},
    "backend": {"kind": "openeo", "url": "http://127.0.0.1:9/openeo/1.2", "job_options": {"a": 0.5, "b": "007"}},
}
MODULE = """
module upscale:
    snakefile: "{snakefile}"
    config: config["upscale"]
    pathvars:
        results="results/upscale"

use rule * from upscale as upscale_*
"""
FOLDERS = ("checkout", "elsewhere")


def _folder(tmp_path: Path, kind: str) -> Path:
    """Make a working directory: one with the demo's configuration in it, as a checkout has, or one without."""
    folder = tmp_path / kind
    shutil.copytree(ROOT / "config", folder / "config")
    if kind != "checkout":
        (folder / "config" / "config.yaml").unlink()
    (folder / "my.yaml").write_text(yaml.safe_dump(MINE).replace("'2023-06-01'", "2023-06-01"))
    (folder / "all.json").write_text(json.dumps({"upscale": MINE}))
    (folder / "imports.smk").write_text(MODULE.format(snakefile=ROOT / "Snakefile"))
    (folder / "site.yaml").write_text("run: other\nbackend: {kind: openeo, job_options: {a: 0.5}, auth: oidc}\n")
    (folder / "rest.yaml").write_text(yaml.safe_dump(MINE))
    return folder


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment())


def _snakemake(folder: Path, *arguments: str, snakefile: str = "") -> subprocess.CompletedProcess[str]:
    front = snakefile or str(ROOT / "Snakefile")
    return _run(folder, "snakemake", "--snakefile", front, "--cores", "1", "--list-rules", *arguments)


def _kept(folder: Path, place: str = "results/mine") -> bytes:
    return (folder / place / "plan" / "config.json").read_bytes()


@pytest.mark.parametrize("kind", FOLDERS)
def test_every_way_keeps_the_same_configuration(tmp_path: Path, kind: str) -> None:
    folder = _folder(tmp_path, kind)
    planned = _run(folder, "upscaling", "plan", "my.yaml")
    assert planned.returncode == 0, planned.stderr
    wanted = _kept(folder)
    options = [f"{key}={json.dumps(value)}" for key, value in MINE.items()]
    options[0] = "run=mine"
    ways = {
        "one file": ("--configfile", "my.yaml"),
        "two files": ("--configfile", "site.yaml", "rest.yaml"),
        "a file and options": (
            "--configfile",
            "my.yaml",
            "--config",
            'backend={"job_options": {"a": 0.5, "b": "007"}}',
        ),
        "options alone": ("--config", *options),
        "replaced": ("--configfile", "my.yaml", "--replace-workflow-config"),
    }
    for name, way in ways.items():
        shutil.rmtree(folder / "results")
        done = _snakemake(folder, *way)
        assert done.returncode == 0, (name, done.stderr)
        assert _kept(folder) == wanted, name
        if kind != "checkout":
            return
    imported = _snakemake(folder, "--configfile", "all.json", snakefile="imports.smk")
    assert imported.returncode == 0, imported.stderr
    assert _kept(folder, "results/upscale/mine") == wanted
    two = _run(folder, "upscaling", "plan", "site.yaml", "rest.yaml", "--results", "two")
    assert two.returncode == 0, two.stderr
    assert _kept(folder, "two/mine") == wanted


def test_the_default_counts_only_where_nothing_is_named(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "checkout")
    alone = _snakemake(folder, "--config", "run=named")
    assert "configuration: config/config.yaml, as none is named" in alone.stderr
    assert json.loads(_kept(folder, "results/named"))["collection"]["title"] == "NDVI of the demo area"
    (folder / "config" / "config.yaml").unlink()
    nothing = _snakemake(folder)
    assert nothing.returncode != 0
    assert nothing.stderr.splitlines()[-1].startswith("error: no configuration: name one with --configfile FILE")
    (folder / "part.yaml").write_text("run: part\n")
    shutil.copy(ROOT / "config" / "config.yaml", folder / "config" / "config.yaml")
    assert "error: part.yaml: algorithm: is missing" in _snakemake(folder, "--configfile", "part.yaml").stderr


def test_runs_lie_where_the_configuration_says(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "elsewhere")
    (folder / "my.yaml").write_text(yaml.safe_dump(MINE | {"pathvars": {"results": "<disk>/runs", "disk": "big"}}))
    assert _run(folder, "upscaling", "plan", "my.yaml").returncode == 0
    wanted = _kept(folder, "big/runs/mine")
    shutil.rmtree(folder / "big")
    assert _snakemake(folder, "--configfile", "my.yaml").returncode == 0
    assert _kept(folder, "big/runs/mine") == wanted


ERRORS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "key twice": ("run: a\nrun: b", ("--configfile", "my.yaml", "bad.yaml"), "bad.yaml, line 2: run: stands twice"),
    "no such date": ("a: [2023-06-31]", ("--configfile", "bad.yaml"), "bad.yaml, line 1: a.0: 2023-06-31 is no date"),
    "a target": ("", ("--configfile", "my.yaml", "publish"), "publish: no such file (a target must stand before"),
    "an option": ("", ("--configfile", "my.yaml", "--config", "mosaic={cog: yes}"), "--config: mosaic.cog: YAML"),
    "a parameter": ("algorithm: {parameters: {x: 1}}", ("--configfile", "my.yaml", "bad.yaml"), "bad.yaml: algorithm"),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_names_the_users_file_in_one_line(tmp_path: Path, case: str) -> None:
    folder = _folder(tmp_path, "checkout")
    text, arguments, words = ERRORS[case]
    (folder / "bad.yaml").write_text(text)
    done = _snakemake(folder, *arguments)
    assert done.returncode != 0
    assert words in (done.stderr or done.stdout).splitlines()[-1]
    assert "Traceback" not in done.stderr + done.stdout


def test_an_error_in_a_module_names_the_whole_key(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "checkout")
    (folder / "all.json").write_text(json.dumps({"upscale": MINE | {"backend": {"kind": "openeo", "slots": 0}}}))
    done = _snakemake(folder, "--configfile", "all.json", snakefile="imports.smk")
    assert "error: all.json: upscale.backend.slots: " in done.stderr


def test_a_job_elsewhere_takes_what_its_run_was_started_with(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "checkout")
    assert _run(folder, "upscaling", "plan", "my.yaml").returncode == 0
    wanted, planned = _kept(folder), (folder / "results/mine/plan/plan.json").read_bytes()
    # The user goes on editing, and the options that Snakemake does not pass on are lost.
    changed = MINE | {"algorithm": ALGORITHM | {"parameters": {"temporal_extent": ["2024-01-01", "2024-02-01"]}}}
    (folder / "my.yaml").write_text(yaml.safe_dump(changed))
    there = _snakemake(folder, "--configfile", "my.yaml", "--mode", "remote")
    assert there.returncode == 0, there.stderr
    assert _kept(folder) == wanted
    assert (folder / "results/mine/plan/plan.json").read_bytes() == planned


def test_options_reach_jobs_elsewhere(tmp_path: Path) -> None:
    from snakemake.settings.types import ConfigSettings, StorageSettings
    from snakemake.spawn_jobs import SpawnedJobArgsFactory

    (tmp_path / "my.yaml").write_text("upscale: {}\n")
    settings = ConfigSettings(configfiles=[tmp_path / "my.yaml"], replace_workflow_config=True)
    workflow = SimpleNamespace(
        is_main_process=True,
        modifier_stack=[None, None],
        config_settings=settings,
        storage_settings=StorageSettings(),
        overwrite_configfiles=settings.configfiles,
    )
    hand_on_replacement()
    hand_on_replacement()
    hand_on(workflow, tmp_path / "plan" / "config.json")  # of a module: the importing workflow's files stay
    words = SpawnedJobArgsFactory(workflow).get_configfiles_arg().split()  # type: ignore[type-var]
    assert words[0] == "--configfiles"
    assert str(tmp_path / "my.yaml") in words[1]
    assert words[2:] == ["--replace-workflow-config"]
    workflow.modifier_stack.pop()
    hand_on(workflow, tmp_path / "plan" / "config.json")
    assert settings.configfiles == [tmp_path / "plan" / "config.json"]
    assert settings.config_args is None
