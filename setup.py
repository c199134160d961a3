"""Put the workflow into the wheel: Snakefile, rules, profiles, demo and example packages stand once, at the top."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CARRIED = ("Snakefile", "workflow", "cwl", "config")  # to `upscaling/project/` (see upscaling.util.project)


class BuildWithWorkflow(build_py):
    """Copy what an installed package needs beside its modules; an editable install finds it in the checkout."""

    def run(self) -> None:
        """Copy modules, then the project's files."""
        super().run()
        if self.editable_mode:
            return
        for name in CARRIED:
            source, target = Path(name), Path(self.build_lib, "upscaling", "project", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            else:
                shutil.copy(source, target)


setup(cmdclass={"build_py": BuildWithWorkflow})
