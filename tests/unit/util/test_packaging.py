"""The wheel carries what a run needs, the locks hold what the extras ask for, and nothing is pinned twice."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from upscaling.errors import UpscalingError
from upscaling.util import extras
from upscaling.util.project import project_path

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _locked(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", (ROOT / name).read_text(), re.MULTILINE))


def test_the_wheel_carries_the_workflow(tmp_path: Path) -> None:
    source = tmp_path / "source"
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.splitlines():
        if name.split("/")[0] in {"src", "workflow", "cwl", "config"} or "/" not in name:
            copy = source / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(ROOT / name) if (ROOT / name).is_file() else None
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
    ]
    subprocess.run([*command, str(source)], check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    carried = [
        line for line in tracked.splitlines() if line.split("/")[0] in {"Snakefile", "workflow", "cwl", "config"}
    ]
    assert {f"upscaling/project/{name}" for name in carried if "/." not in name} <= names
    assert "upscaling/backends/cwl/engines/podman" in names
    assert not [name for name in names if "test" in name.lower() or name.endswith(".pyc")]


def test_the_checkout_is_found_by_an_editable_install() -> None:
    assert project_path("Snakefile") == ROOT / "Snakefile"
    assert project_path("workflow", "profiles", "local", "profile.yaml").is_file()


def test_the_core_lock_is_a_part_of_the_whole_one() -> None:
    core, whole = _locked("requirements-core.lock"), _locked("requirements.lock")
    assert core.items() <= whole.items()
    wanted = {re.split(r"[<>=\[~]", entry)[0].lower().replace("_", "-") for entry in PROJECT["dependencies"]}
    assert wanted <= set(core)
    assert not {"toil", "cwltool", "zarr", "obstore", "dask", "fastapi", "pytest"} & set(core)


def test_the_driver_that_pip_cannot_install_is_named_as_locked() -> None:
    name, _, version = extras.OPENEO_DRIVER.partition("==")
    assert _locked("requirements.lock")[name.replace("_", "-")] == version


def test_what_is_not_installed_is_said_with_the_command_that_installs_it() -> None:
    extras.require("json", "local")
    with pytest.raises(UpscalingError, match=r"pip install 'eo-upscaling\[cwl\]' \(no_such_module is missing\)"):
        extras.require("no_such_module", "cwl")
