"""A run as one plain CWL workflow: every kind of output reaches the item, and what a failing tile does."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import ROOT
from tests.servers import environment

from upscaling.config import load_config
from upscaling.cwl_workflow import write_workflow
from upscaling.errors import UpscalingError

from .conftest import PACKAGES

FAULTS = ROOT / "tests" / "cluster" / "faults.cwl"
ENVIRONMENT = environment(TOIL_HISTORY="False")
TWO_TILES = {"aoi": [11.295, 46.483, 11.32, 46.493], "grid": "utm-2km"}


def written(folder: Path, package: Path, parameters: dict[str, Any], **algorithm: Any) -> Path:
    """Write the workflow of a run over two tiles; return its folder."""
    config = {
        "run": "plain",
        "algorithm": {"source": str(package), "parameters": parameters, **algorithm},
        "area": TWO_TILES,
        "backend": {"kind": "cwl"},
        "collection": {"exact": False},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    write_workflow(load_config(folder / "config.yaml"), folder / "results" / "plain", folder / "cwl")
    return folder / "cwl"


def run(folder: Path, runner: str, *options: str) -> subprocess.CompletedProcess[str]:
    how = {"cwltool": ["--no-container"], "toil-cwl-runner": ["--no-container", f"--jobStore={folder / 'store'}"]}
    command = [runner, *how[runner], *options, f"--outdir={folder / 'result'}", "upscale.cwl", "tiles.yml"]
    return subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=600, check=False
    )


def items(folder: Path) -> dict[str, Any]:
    found = (json.loads(path.read_text()) for path in folder.glob("result/plain/tiles/*/item.json"))
    return {item["id"]: item for item in found}


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["cwltool", "toil-cwl-runner"])
def test_every_kind_of_input_and_output(tmp_path: Path, runner: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "inside.txt").write_text("1")
    (tmp_path / "extra.txt").write_text("extra")
    parameters = {"folder": str(tmp_path / "in"), "names": ["x", "y z"], "extra": [str(tmp_path / "extra.txt")]}
    folder = written(tmp_path, PACKAGES / "kinds.cwl", parameters)
    done = run(folder, runner)
    assert done.returncode == 0, done.stderr
    found = items(folder)
    assert len(found) == 2
    for tile, item in found.items():
        places = {key: folder / "result/plain/tiles" / tile / asset["href"] for key, asset in item["assets"].items()}
        assert places["report_report"].read_text().split()[-4:] == ["x", "y", "z", "42"]
        assert [places[f"parts_parts_{n}"].read_text() for n in (0, 1)] == ["a\n", "b\n"]
        assert places["catalogue_inside"].read_text() == "1"
        outline = json.loads(places["everything_tile"].read_text())
        assert outline == item["geometry"], "one tile's results were taken for another's"
    collection = json.loads((folder / "result/plain/collection.json").read_text())
    assert sum(link["rel"] == "item" for link in collection["links"]) == 2


@pytest.mark.slow
def test_a_failing_tile_ends_the_run_and_a_restart_does_it_alone(tmp_path: Path) -> None:
    """As the documentation has it: Toil exports nothing, keeps what is done, and goes on from there."""
    orders = tmp_path / "orders"
    orders.mkdir()
    folder = written(tmp_path, FAULTS, {"orders": str(orders)}, bind={"tile": "tile-id"})
    first, second = (line.split(",")[0] for line in (folder / "plan/tiles.csv").read_text().splitlines()[1:])
    (orders / second).write_text("exit 1")
    failed = run(folder, "toil-cwl-runner", "--retryCount=0")
    assert failed.returncode != 0
    assert "the sensor was asleep" in failed.stderr
    assert not items(folder)
    (orders / second).unlink()
    done = run(folder, "toil-cwl-runner", "--restart")
    assert done.returncode == 0, done.stderr
    assert set(items(folder)) == {first, second}
    assert sorted((orders / "ran.log").read_text().split()) == sorted([first, second, second])


def test_links_out_of_a_result_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    command = f"mkdir out; ln -s {tmp_path}/secret.txt out/stolen.txt"
    folder = written(tmp_path, PACKAGES / "tool.cwl", {"command": command})
    done = run(folder, "cwltool")
    assert done.returncode != 0
    assert "error: output out points outside the output folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "result").exists() or "secret" not in str(list((folder / "result").rglob("*")))


def test_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cwl").mkdir()
    (tmp_path / "cwl" / "thesis.tex").write_text("years of work")
    with pytest.raises(UpscalingError, match="is not empty, and this command did not write what is in it"):
        written(tmp_path, PACKAGES / "tool.cwl", {"command": "true"})
    assert (tmp_path / "cwl" / "thesis.tex").exists()
    (tmp_path / "cwl" / "thesis.tex").unlink()
    for command in ("true", "false"):  # its own, of another configuration, is written anew
        folder = written(tmp_path, PACKAGES / "tool.cwl", {"command": command})
        assert f'command: "{command}"' in (folder / "tiles.yml").read_text()
