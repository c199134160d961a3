"""What `snakedeploy deploy-workflow` copies is a folder that runs: configuration, profiles, and a Snakefile."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.conftest import ROOT
from tests.servers import environment


def test_what_snakedeploy_copies_runs(tmp_path: Path) -> None:
    clone, deployed = tmp_path / "clone", tmp_path / "deployed"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True, timeout=120)

    def said(*command: str, folder: Path = deployed) -> str:
        done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    said(
        "snakedeploy", "deploy-workflow", str(clone), str(deployed), "--name", "upscale", "--tag", "v0", folder=tmp_path
    )
    assert (deployed / "profiles" / "local" / "profile.yaml").is_file()
    assert (deployed / "profiles" / "slurm" / "profile.yaml").is_file()
    snakefile = deployed / "workflow" / "Snakefile"
    # Of a folder on this disk snakedeploy (0.17) writes a path that leads nowhere; of a repository, `github(…)`.
    text = snakefile.read_text()
    assert text.count('"Snakefile"') == 1
    snakefile.write_text(text.replace('"Snakefile"', f'"{clone / "Snakefile"}"'))
    rules = said("snakemake", "--profile", "profiles/local", "--list-rules")
    assert "collect_items" in rules
    assert "14 tiles" in rules, "the plan of the demo"
    kept = json.loads((deployed / "results" / "demo" / "plan" / "config.json").read_text())
    assert kept["algorithm"]["source"] == "config/demo/ndvi_composite.json"
