"""Which programs a package's tools find: its own environment's, then this installation's, then the system's."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from upscaling.util.process import own_environment, own_program, tool_path

OWN = str(Path(sys.executable).parent)
BASE = str(Path(sys.base_prefix, "bin"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/conda/envs/x/bin:/usr/bin:/bin", ["/conda/envs/x/bin", OWN, "/usr/bin", "/bin"]),
        ("/sw/a/bin:/usr/local/bin:/opt/b/bin", ["/sw/a/bin", OWN, "/usr/local/bin", "/opt/b/bin"]),
        (f"/home/me/.pyenv/shims:{BASE}:/usr/bin", [OWN, "/home/me/.pyenv/shims", BASE, "/usr/bin"]),
        (f"/conda/bin:{OWN}:/usr/bin", ["/conda/bin", OWN, "/usr/bin"]),  # activated, with another on top
        (f"{OWN}:/conda/bin", [OWN, "/conda/bin"]),  # activated last
        ("/only/mine", ["/only/mine", OWN]),
        ("", [OWN]),
    ],
)
def test_the_users_environment_comes_first_and_this_one_before_the_systems(
    monkeypatch: pytest.MonkeyPatch, path: str, expected: list[str]
) -> None:
    monkeypatch.setenv("PATH", path)
    found = tool_path().split(os.pathsep)
    assert found == expected
    monkeypatch.setenv("PATH", own_environment()["PATH"])  # as in Snakemake and its jobs, which this one starts
    assert tool_path().split(os.pathsep) == expected


def test_programs_of_this_installation_are_its_own_whatever_else_is_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("toil-cwl-runner", "gdal_of_the_package"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin")
    assert own_program("toil-cwl-runner") == str(Path(OWN, "toil-cwl-runner"))
    assert own_program("gdal_of_the_package") == shutil.which("gdal_of_the_package", path=tool_path())
    assert own_program("no-such-program") is None
