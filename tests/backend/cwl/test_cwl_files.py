"""Files that parameters name: any name will do, and what is in them is a part of a tile's identity."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.servers import BIN

from upscaling.config import Config
from upscaling.errors import TileFailedError
from upscaling.model import Outcome, TileJob
from upscaling.planning.ensure import ensure_plan
from upscaling.planning.local_files import _HASHED
from upscaling.util.files import read_json

from .conftest import PACKAGES

AREA = {"aoi": [11.295, 46.483, 11.32, 46.493], "grid": "utm-2km"}
ODD = "a file #1 (of 2) & more, 100% élan.tif"
WRITES = """
cwlVersion: v1.2
class: CommandLineTool
inputs:
  bbox: string
  name: string
  file: {type: File, inputBinding: {position: 1}}
  folder: {type: Directory, inputBinding: {position: 2}}
baseCommand: [sh, -c, 'mkdir "o ut"; cat "$0" "$1"/* > "o ut/$(basename "$0")"; cp "$0" .']
outputs:
  folder_out: {type: Directory, outputBinding: {glob: "o ut"}}
  file_out: {type: File, outputBinding: {glob: $(inputs.name)}}
"""


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Any]:
    """A File and a Directory with names that a shell or an address could stumble on."""
    folder = tmp_path / "in #2 here"
    folder.mkdir()
    (folder / ODD).write_text("2")
    (tmp_path / ODD).write_text("1")
    return {"file": str(tmp_path / ODD), "folder": str(folder)}


@pytest.mark.parametrize("engine", ["toil", "cwltool"])
def test_files_may_have_any_name(
    tmp_path: Path,
    make_job: Callable[..., TileJob],
    run_job: Callable[..., Outcome],
    inputs: dict[str, Any],
    engine: str,
) -> None:
    (tmp_path / "writes.cwl").write_text(WRITES)
    outcome = run_job(make_job(tmp_path / "writes.cwl", {**inputs, "name": ODD}), engine=engine)
    found = {asset.key: asset.path for asset in outcome.assets}
    assert {path.name for path in found.values()} == {ODD}
    assert found["file_out"].read_text() == "1"
    assert found[Path(ODD).stem].read_text() == "12"


def config_of(tmp_path: Path, **parameters: Any) -> Config:
    algorithm = {"source": str(PACKAGES / "kinds.cwl"), "parameters": {"names": ["x"], **parameters}}
    config = {"run": "files", "algorithm": algorithm, "area": AREA, "backend": {"kind": "cwl", "engine": "cwltool"}}
    config["collection"] = {"exact": False}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return Config.parse(config)


def keys(config: Config, run_folder: Path) -> set[str]:
    return {row.key for row in ensure_plan(config, run_folder).tiles.values()}


def test_what_is_in_a_file_is_a_part_of_every_tiles_key(tmp_path: Path) -> None:
    extra, folder, run_folder = tmp_path / "extra.txt", tmp_path / "in", tmp_path / "run"
    (folder / "deep").mkdir(parents=True)
    extra.write_text("1")
    (folder / "deep" / "a").write_text("1")
    config = config_of(tmp_path, folder=str(folder), extra=[extra.resolve().as_uri()])
    seen = [keys(config, run_folder)]
    made = (run_folder / "plan" / "plan.json").stat().st_mtime_ns

    extra.touch()  # a plan anew, with the same keys: nothing runs again
    os.utime(extra, ns=(1, 1))
    assert keys(config, run_folder) == seen[0]
    assert (run_folder / "plan" / "plan.json").stat().st_mtime_ns > made

    for change in (lambda: extra.write_text("2"), lambda: (folder / "deep" / "a").rename(folder / "deep" / "b")):
        change()
        os.utime(folder / "deep", ns=(1, 1))
        seen.append(keys(config, run_folder))
    assert len(set.union(*seen)) == 3 * len(seen[0])

    with extra.open("r+b") as stream:  # more than is worth reading: by size and time
        stream.truncate(_HASHED + 1)
    large = keys(config, run_folder)
    os.utime(extra, ns=(2, 2))
    assert large.isdisjoint(keys(config, run_folder))

    extra.unlink()  # a run that is done does not need it any more
    assert not keys(config, run_folder).isdisjoint(keys(config, run_folder))


def test_whatever_a_package_is_made_of_is_watched(tmp_path: Path) -> None:
    """A tool in a file of its own, a program that it includes, and the default of an input."""
    tool = WRITES.replace("file: {type: File,", "file: {type: File, default: {class: File, location: a.csv},")
    tool = tool.replace("folder: {type: Directory", "folder: {type: Directory?").replace("'mkdir", "'$SCRIPT; mkdir")
    tool += "requirements: {EnvVarRequirement: {envDef: [{envName: SCRIPT, envValue: {$include: script.sh}}]}}\n"
    workflow = """
cwlVersion: v1.2
class: Workflow
inputs: {bbox: string}
steps: {s: {run: writes.cwl, in: {bbox: bbox, name: {default: a}}, out: [folder_out]}}
outputs: {o: {type: Directory, outputSource: s/folder_out}}
"""
    parts = {"app.cwl": workflow, "writes.cwl": tool, "script.sh": "true", "a.csv": "1"}
    for name, text in parts.items():
        (tmp_path / name).write_text(text)
    settings = config_of(tmp_path).model_dump()
    settings["algorithm"] |= {"source": str(tmp_path / "app.cwl"), "parameters": {}}
    config, seen = Config.parse(settings), set[str]()
    for number, name in enumerate(["", *parts], 1):
        if name:
            (tmp_path / name).write_text(
                parts[name].replace("true", "false").replace("cwlVersion", "doc: x\ncwlVersion")
            )
        if name == "a.csv":
            (tmp_path / name).write_text("2")
        seen |= keys(config, tmp_path / "run")
        assert len(seen) == 2 * number, name
    assert str(tmp_path) not in json.dumps(read_json(tmp_path / "run/plan/plan.json")["algorithm"]["parameters"])


def test_after_plan_alone_a_tile_can_be_run(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "inside.txt").write_text("1")
    config_of(tmp_path, folder=str(tmp_path / "in"))

    def upscaling(*arguments: str) -> str:
        command = [str(BIN / "upscaling"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    upscaling("plan", "config.yaml")
    tile = (tmp_path / "results/files/plan/tiles.csv").read_text().splitlines()[1].partition(",")[0]
    upscaling("run-tile", "results/files", tile)
    assert read_json(tmp_path / "results/files/tiles" / tile / "item.json")["id"] == tile


@pytest.mark.parametrize("engine", ["toil", "cwltool"])
def test_what_is_optional_may_be_given_or_not(
    tmp_path: Path, make_job: Callable[..., TileJob], run_job: Callable[..., Outcome], engine: str
) -> None:
    """Of every type, in a workflow in a workflow."""
    (tmp_path / "in").mkdir()
    for name in ("one.txt", "two.txt", "in/inside.txt"):
        (tmp_path / name).write_text(name)
    one, two = str(tmp_path / "one.txt"), str(tmp_path / "two.txt")
    given = {"file": one, "files": [two, one], "numbers": [1, 2], "level": "high", "pair": {"a": 7}}
    given["folder"] = str(tmp_path / "in")
    for parameters, words, number, keys_of in (
        ({}, "", 0, set()),
        (given, "one.txt two.txt one.txt 1+2 high 7", 6, {"inside"}),
    ):
        outcome = run_job(make_job(PACKAGES / "optional.cwl", parameters), engine=engine)
        found = {asset.key: asset.path.read_text().strip() for asset in outcome.assets}
        assert found.keys() == {"text", "text_secondary_0", *keys_of}
        assert (found["text"], found["text_secondary_0"]) == (words, str(number))


def test_a_pipe_that_a_tool_leaves_in_its_output_is_told_and_waited_for_by_nobody(
    make_job: Callable[..., TileJob], run_job: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upscaling.backends.cwl.process.LOOK_S", 0.5)
    job = make_job(PACKAGES / "tool.cwl", {"command": "mkdir out; echo 1 > out/a.txt; mkfifo out/p"})
    with pytest.raises(TileFailedError, match=r"holds a named pipe \(p\), which is no file") as caught:
        run_job(job, engine="cwltool")
    assert caught.value.error_class == "bad-output"


def test_a_tool_may_wait_for_a_pipe_of_its_own(
    make_job: Callable[..., TileJob], run_job: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upscaling.backends.cwl.process.LOOK_S", 0.3)
    script = "mkdir out; mkfifo p; (sleep 2; echo 1 > p) & cat p > out/a.txt; rm p"
    outcome = run_job(make_job(PACKAGES / "tool.cwl", {"command": script}), engine="cwltool")
    assert [asset.key for asset in outcome.assets] == ["a"]
