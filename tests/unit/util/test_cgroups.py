"""What of a machine's cgroups SLURM can use is told in one word, or what is missing in one line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT


def told(root: Path, plugins: Path | None = None) -> str:
    command = ["bash", str(ROOT / "tools" / "slurm_cgroups.sh"), str(root), *([str(plugins)] if plugins else [])]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("files", "answer"),
    [
        (["memory/", "freezer/"], "v1\n"),
        (["cgroup.controllers=cpu memory pids", "cgroup.subtree_control=memory pids"], "v2\n"),
        (["cgroup.controllers=cpu memory pids", "cgroup.subtree_control="], "v2\n"),  # a plain file takes anything
        (["cgroup.controllers=hugetlb", "cgroup.subtree_control="], "none: cgroups v2 have no memory controller here"),
        (["cgroup.controllers=memory", "cgroup.subtree_control/"], "none: cgroups v2 do not hand on the memory"),
        (["unified/"], "none: there are no cgroups with a memory controller in "),
    ],
)
def test_what_a_machine_has(tmp_path: Path, files: list[str], answer: str) -> None:
    for file in files:
        name, _, content = file.partition("=")
        if name.endswith("/"):
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).write_text(content)
    assert told(tmp_path).startswith(answer)
    assert told(tmp_path).count("\n") == 1


def test_what_is_missing_beside_them(tmp_path: Path) -> None:
    assert told(tmp_path / "gone") == f"none: there is no {tmp_path / 'gone'}\n"
    for name in ("memory", "freezer", "plugins"):
        (tmp_path / name).mkdir()
    plugins = tmp_path / "plugins"
    assert told(tmp_path, plugins) == f"none: this SLURM has no plugin for cgroups v1 ({plugins})\n"
    (plugins / "cgroup_v1.so").touch()
    assert told(tmp_path, plugins) == "v1\n"
