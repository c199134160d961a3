"""What `upscaling cwl` writes, run by cwltool, gives the collection of a Snakemake run."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

from tests.servers import environment
from tests.workflow.conftest import Run, package_config, work_folder

# What tells when and by which runner something was made.
OF_ITS_MAKING = {"created", "processing:datetime", "processing:software", "upscaling:job", "processed"}
# These files hold such times.
DATED, OF_A_FILE = (".parquet", ".gpkg"), {"file:checksum", "file:size"}


def made_alike(document: Any) -> Any:
    """Return an item or a collection without what differs between any two runs."""
    if isinstance(document, dict):
        dated = str(document.get("href")).endswith(DATED)
        left_out = OF_ITS_MAKING | (OF_A_FILE if dated else set())
        return {name: made_alike(value) for name, value in document.items() if name not in left_out}
    return [made_alike(entry) for entry in document] if isinstance(document, list) else document


def said_of(folder: Path) -> dict[str, Any]:
    """Return the collection and every item of a run's folder, by their paths in it."""
    paths = [folder / "collection.json", *folder.glob("tiles/*/item.json")]
    return {str(path.relative_to(folder)): made_alike(json.loads(path.read_text())) for path in paths}


def plain_run(scene: Path, tmp_path: Path, grid: str) -> Run:
    config = package_config(scene, grid, engine="cwltool", chunk=100)
    config["collection"] = {"title": "Index", "keywords": ["ndvi"], "license": "CC-BY-4.0"}
    return Run(work_folder(tmp_path), environment(TOIL_HISTORY="False"), config)


def write_cwl(run: Run) -> list[str]:
    """Write the workflow; return the commands that are recommended to run it."""
    said = run.upscaling("cwl", "config.yaml", "--out", "plain", "--results", "elsewhere")
    assert said.returncode == 0, said.stderr
    return said.stdout.splitlines()[-2:]


def test_cwltool_alone_gives_the_collection_of_a_snakemake_run(scene: Path, tmp_path: Path) -> None:
    run = plain_run(scene, tmp_path, "utm-10km")
    _, command = write_cwl(run)
    alone = subprocess.run(
        shlex.split(command), cwd="/", env=run.environment, capture_output=True, text=True, check=False
    )
    assert alone.returncode == 0, alone.stderr
    done = run.snakemake()
    assert done.returncode == 0, done.stderr
    plain = run.folder / "plain" / "result" / "package"
    found, expected = said_of(plain), said_of(run.results)
    assert len(expected) == 1 + len(list(run.results.glob("receipts/*.json"))) > 4
    assert found == expected
    # An item has the sha256 of its files; those are there, and are what it says.
    valid = run.upscaling("validate", str(plain / "collection.json"))
    assert valid.returncode == 0, valid.stdout
    for path in plain.glob("tiles/*/item.json"):
        for asset in json.loads(path.read_text())["assets"].values():
            tile = path.parent / asset["href"]
            assert tile.read_bytes() == (run.results / tile.relative_to(plain)).read_bytes()
