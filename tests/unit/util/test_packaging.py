"""The wheel carries what a run needs, the locks hold what the extras ask for, and nothing is pinned twice."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from tests.conftest import ROOT
from upscaling.errors import UpscalingError
from upscaling.util import extras
from upscaling.util.project import project_path

VENDOR = "src/upscaling/service/page/vendor"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _locked(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", (ROOT / name).read_text(), re.MULTILINE))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of what git tracks, and of the page's libraries if they are there."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    vendor = [str(path.relative_to(ROOT)) for path in (ROOT / VENDOR).rglob("*") if path.is_file()]
    for name in [*_tracked(), *vendor]:
        if (name.split("/")[0] in {"src", "workflow", "cwl", "config"} or "/" not in name) and (ROOT / name).is_file():
            copy = source / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(ROOT / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*command, str(source)], check=True, timeout=300)
    (made,) = folder.glob("*.whl")
    return made


def _tracked() -> list[str]:
    return subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def test_the_wheel_carries_workflow_and_page(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    carried = [name for name in _tracked() if name.split("/")[0] in {"Snakefile", "workflow", "cwl", "config"}]
    assert {f"upscaling/project/{name}" for name in carried if "/." not in name} <= names
    page = [name.removeprefix("src/") for name in _tracked() if name.startswith("src/upscaling/service/page/")]
    assert page
    assert {*page, "upscaling/backends/cwl/engines/podman", "upscaling/py.typed"} <= names
    if (ROOT / VENDOR / "LICENCES.txt").is_file():
        assert {"upscaling/service/page/vendor/LICENCES.txt", "upscaling/service/page/vendor/maplibre-gl.mjs"} <= names
    assert not [name for name in names if "test" in name.lower() or name.endswith(".pyc")]


@pytest.mark.slow
def test_what_the_wheel_installs_makes_and_plans_a_project_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    installed, work = tmp_path / "installed", tmp_path / "work"
    work.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(installed)]
    subprocess.run([*install, str(wheel)], check=True, timeout=300)
    # nothing of the checkout's environment but the libraries; the folder comes before the editable install
    bare = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(installed)}

    def upscaling(*words: str, where: Path = work) -> str:
        command = [sys.executable, "-m", "upscaling", *words]
        done = subprocess.run(command, cwd=where, env=bare, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout + done.stderr

    carried = installed / "upscaling" / "project"
    (work / "scene.tif").write_text("only its hash is in the plan")
    period, nowhere = "2023-06-01/2023-09-01", "http://127.0.0.1:9"
    for name, words in {
        "valley": ["config/demo/ndvi_composite.json", "--platform", nowhere, "--time", period],
        "package": ["cwl/ndvi.cwl", "--container", "none", "--parameter", "scene=scene.tif"],
    }.items():
        options = ["--area", "11.30,46.45,11.33,46.48", "--grid", "utm-2km", *words[1:]]
        upscaling("init", name, "--algorithm", str(carried / words[0]), *options)
        shown = upscaling("run", "config.yaml", "--dry-run", where=work / name)
        assert str(carried / "Snakefile") in shown
        assert str(carried / "workflow/profiles/local") in shown
        assert "plan: " in shown


def test_the_checkout_is_found_by_an_editable_install() -> None:
    assert project_path("Snakefile") == ROOT / "Snakefile"
    assert project_path("workflow", "profiles", "local", "profile.yaml").is_file()


def test_the_core_lock_is_a_part_of_the_whole_one() -> None:
    core, whole = _locked("requirements-core.lock"), _locked("requirements.lock")
    assert core.items() <= whole.items()
    wanted = {re.split(r"[<>=\[~]", entry)[0].lower().replace("_", "-") for entry in PROJECT["dependencies"]}
    assert wanted <= set(core)
    assert not {"toil", "cwltool", "zarr", "obstore", "dask", "fastapi", "pytest"} & set(core)


def test_what_the_core_installs_stays_under_700_mb() -> None:
    """Files without bytecode, of this environment's versions, which are those of the lock."""
    size = 0
    for name in _locked("requirements-core.lock"):
        with suppress(PackageNotFoundError):  # for another system or Python
            for file in distribution(name).files or ():
                with suppress(OSError):
                    size += 0 if file.suffix == ".pyc" else Path(str(file.locate())).stat().st_size
    assert 400e6 < size < 700e6, f"{size / 1e6:.0f} MB; docs/installing.md says what they are"


def test_the_driver_that_pip_cannot_install_is_named_as_locked() -> None:
    name, _, version = extras.OPENEO_DRIVER.partition("==")
    assert _locked("requirements.lock")[name.replace("_", "-")] == version


def test_what_is_not_installed_is_said_with_the_command_that_installs_it() -> None:
    extras.require("json", "local")
    with pytest.raises(UpscalingError, match=r"pip install 'eo-upscaling\[cwl\]' \(no_such_module is missing\)"):
        extras.require("no_such_module", "cwl")
    with pytest.raises(
        UpscalingError, match=rf"eo-upscaling\[local\]'; pip install --no-deps '{extras.OPENEO_DRIVER}'"
    ):
        extras.require("no_such_module", "local")
