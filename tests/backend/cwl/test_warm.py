"""A tile that is a fork has the CWL schemas, and Toil's plugins, from the process that made it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RUN = """\
import os
import pkgutil
import sys
from pathlib import Path

import cwltool.process

from upscaling.backends.cwl.warm import preload, run_forked

engine, version, folder = *sys.argv[1:3], Path(sys.argv[3])
assert preload(engine, version)


def again(*_, **__):
    raise AssertionError("it is loaded, or looked for, once more for each tile")


cwltool.process.load_schema = pkgutil.iter_modules = again
runner = {"cwltool": ["cwltool"], "toil": ["toil-cwl-runner", f"--jobStore={folder / 'store'}"]}[engine]
command = [*runner, "--no-container", f"--outdir={folder / 'out'}", "package.cwl"]
sys.exit(run_forked(command, folder=folder, environment=os.environ, stdout=folder / "stdout", log=folder / "log"))
"""


@pytest.mark.parametrize("engine", ["cwltool", "toil"])
@pytest.mark.parametrize("version", ["v1.0", "v1.1", "v1.2"])
def test_a_fork_loads_no_schema_and_no_plugin(tmp_path: Path, engine: str, version: str) -> None:
    tool = {"class": "CommandLineTool", "id": "tool", "baseCommand": "date", "stdout": "date.txt", "inputs": []}
    step = {"id": "only", "run": "#tool", "in": [], "out": ["said"]}
    workflow = {"class": "Workflow", "id": "main", "inputs": [], "steps": [step]}
    tool["outputs"] = [{"id": "said", "type": "stdout"}]
    workflow["outputs"] = [{"id": "result", "type": "File", "outputSource": "only/said"}]
    package = {"cwlVersion": version, "$graph": [tool, workflow]}  # as packages are pinned
    (tmp_path / "package.cwl").write_text(json.dumps(package))
    command = [sys.executable, "-c", RUN, engine, version, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr + (tmp_path / "log").read_text()
    assert (tmp_path / "out" / "date.txt").is_file()
