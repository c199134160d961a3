"""A run's plan is whole or damaged, never half; and it is not changed under a run that is at work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.planned import planned_run, tiles_of
from upscaling.config import Config
from upscaling.errors import UpscalingError
from upscaling.estimate.outlook import outlook_of
from upscaling.execution.tile import run_tile
from upscaling.monitor.report.map import read_outlines
from upscaling.planning.ensure import begin_run, ensure_plan
from upscaling.planning.make import make_plan
from upscaling.planning.plan import job_of, keep_config, kept_config, load_plan
from upscaling.results.kept import drop_damaged, write_item
from upscaling.util.files import sha256_file, write_json
from upscaling.util.locks import leave_run

NOWHERE = "http://127.0.0.1:1/openeo"
HOLD = "import sys, pathlib; from upscaling.util.locks import take_run; take_run(pathlib.Path(sys.argv[1])); "
HOLD += "print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return planned_run(tmp_path, NOWHERE, columns=2, rows=2)


def changed(run_folder: Path) -> Config:
    """Return the run's configuration with another time, and so other work for every tile."""
    content = kept_config(run_folder).model_dump(mode="json")
    content["algorithm"]["parameters"] = {"temporal_extent": ["2024-06-01", "2024-09-01"]}
    content["backend"]["slots"] = 7
    return Config.parse(content)


def files(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (sha256_file(path), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@contextmanager
def live(run_folder: Path) -> Iterator[None]:
    """Let another process work on a run."""
    command = [sys.executable, "-c", HOLD, str(run_folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield
        holder.communicate()


@pytest.mark.parametrize("how", ["plan", "start", "preview"])
def test_the_plan_of_a_live_run_stays_and_so_does_that_of_a_run_under_a_preview(run_folder: Path, how: str) -> None:
    config, before, said = changed(run_folder), files(run_folder), list[str]()
    if how == "preview":
        made = ensure_plan(config, run_folder, say=said.append, preview=True)
    else:
        with live(run_folder):
            made = (make_plan if how == "plan" else ensure_plan)(config, run_folder, say=said.append)
            keep_config(config, run_folder)
        assert "is being worked on by" in said[0]
    assert files(run_folder) == before
    assert not made.folder.is_relative_to(run_folder)
    assert list(made.tiles) == tiles_of(run_folder)
    assert {row.key for row in made.tiles.values()}.isdisjoint(row.key for row in load_plan(run_folder).tiles.values())
    tile = next(iter(made.tiles))
    assert job_of(made, run_folder, tile).parameters["temporal_extent"] == ["2024-06-01", "2024-09-01"]
    with pytest.raises(UpscalingError, match="would be other work than was asked for"):
        run_tile(tile, run_folder=run_folder, key=made.tiles[tile].key)
    assert not (run_folder / "receipts").exists()


def test_a_run_that_begins_has_the_plan_that_it_was_started_with(run_folder: Path) -> None:
    """Another plan may have been made between the start of Snakemake and its first tile."""
    before, config = kept_config(run_folder), changed(run_folder)
    asked = ensure_plan(config, run_folder)
    assert ensure_plan(before, run_folder).tiles != asked.tiles
    begin_run(config, run_folder)
    try:
        assert load_plan(run_folder).tiles == asked.tiles
        assert kept_config(run_folder).model_dump() == config.model_dump()
    finally:
        leave_run(run_folder)


def _cut(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))


def _other_time(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"2023-06-01", b"2024-06-01"))


DAMAGES: dict[str, tuple[str, Callable[[Path], object], bool]] = {
    "cut at a line's end": ("tiles.csv", _cut, True),
    "another key": ("tiles.csv", lambda path: path.write_bytes(path.read_bytes().replace(b"a", b"b")), True),
    "emptied": ("tiles.csv", lambda path: path.write_bytes(b""), True),
    "jobs cut": ("jobs.ndjson", _cut, True),
    "other parameters": ("jobs.ndjson", _other_time, False),
    "another algorithm": ("", lambda path: path.write_bytes(path.read_bytes()[:-1] + b" "), False),
    "a file is gone": ("jobs.ndjson", Path.unlink, True),
    "a plan.json with other types": (
        "plan.json",
        lambda path: write_json(path, {**json.loads(path.read_text()), "notices": None}),
        True,
    ),
    "half a plan.json": ("plan.json", lambda path: path.write_bytes(path.read_bytes()[:100]), True),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_plan_is_noticed_and_made_again(run_folder: Path, damage: str) -> None:
    name, do, at_once = DAMAGES[damage]
    plan = load_plan(run_folder)
    do(run_folder / "plan" / (name or plan.facts["algorithm"]["file"]))
    with pytest.raises(UpscalingError, match=r"is damaged|is missing"):
        damaged = load_plan(run_folder)
        assert not at_once, "a plan is read whole"
        job_of(damaged, run_folder, next(iter(plan.tiles)))
    assert make_plan(kept_config(run_folder), run_folder).tiles == plan.tiles


@pytest.mark.parametrize(
    "change",
    [
        {"area": []},
        {"run": "\ud800"},
        *({"algorithm": {"parameters": value}} for value in ([1], "ab", [{"name": 1}], {"x": 1}, None)),
        {"algorithm": {"record": "x"}},
        {"algorithm": {"kind": "x"}},
    ],
)
def test_facts_of_another_kind_are_one_line(run_folder: Path, change: dict[str, Any]) -> None:
    path = run_folder / "plan" / "plan.json"
    facts = json.loads(path.read_text())
    if "algorithm" in change:
        change = {"algorithm": facts["algorithm"] | change["algorithm"]}
    path.write_text(json.dumps(facts | change))
    with pytest.raises(UpscalingError, match=r"is damaged: plan\.json"):
        load_plan(run_folder)


def test_a_damaged_table_of_tiles_is_told_where_it_is_read(run_folder: Path) -> None:
    path = run_folder / "plan" / "tiles.parquet"
    path.write_bytes(path.read_bytes()[:100])
    assert outlook_of(run_folder) == []
    with pytest.raises(UpscalingError, match=r"tiles\.parquet cannot be read .*`upscaling plan`"):
        read_outlines(run_folder)


def test_a_plan_json_that_is_a_list_is_planned_anew(run_folder: Path) -> None:
    (run_folder / "plan" / "plan.json").write_text("[]")
    assert ensure_plan(kept_config(run_folder), run_folder).tiles


def test_a_plan_of_an_earlier_version_is_read_and_its_length_is_checked(run_folder: Path) -> None:
    path = run_folder / "plan" / "plan.json"
    facts = json.loads(path.read_text())
    del facts["contents"]
    write_json(path, facts)
    tile = next(iter(load_plan(run_folder).tiles))
    assert job_of(load_plan(run_folder), run_folder, tile).id == tile
    _cut(run_folder / "plan" / "tiles.csv")
    with pytest.raises(UpscalingError, match=r"tiles.csv is not as plan.json says"):
        load_plan(run_folder)


def finished(run_folder: Path) -> tuple[str, Path]:
    """Write what a tile that is done leaves."""
    tile, row = next(iter(load_plan(run_folder).tiles.items()))
    folder = run_folder / "tiles" / tile
    folder.mkdir(parents=True)
    (folder / "a.tif").write_bytes(b"x" * 1000)
    asset = {"href": "./a.tif", "file:size": 1000, "file:checksum": f"1220{sha256_file(folder / 'a.tif')}"}
    item = {"id": tile, "properties": {"upscaling:key": row.key}, "assets": {"a": asset}}
    write_item(folder / "item.json", item)
    return tile, folder


@pytest.mark.parametrize("links", [True, False])
def test_a_tile_whose_item_was_removed_is_restored_from_disk_and_nobody_is_asked(
    links: bool, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no links here")))
    tile, folder = finished(run_folder)
    (folder / "item.json").unlink()
    receipt = {"tile": tile, "key": load_plan(run_folder).tiles[tile].key, "state": "finished", "job_id": "j-1"}
    write_json(run_folder / "receipts" / f"{tile}.json", receipt)
    assert run_tile(tile, run_folder=run_folder).is_file()
    assert json.loads((run_folder / "receipts" / f"{tile}.json").read_text())["state"] == "done"
    (folder / "item.json").unlink()
    (folder / "a.tif").write_bytes(bytes(1000))  # zeros, of the same size: the platform is asked
    with pytest.raises(UpscalingError, match="cannot be reached"):
        run_tile(tile, run_folder=run_folder, config=impatient(run_folder))


def impatient(run_folder: Path) -> Config:
    content = kept_config(run_folder).model_dump(mode="json")
    content["backend"] |= {"outage_hours": 1e-6, "auth": "none"}
    return Config.parse(content)


@pytest.mark.parametrize("damage", ["deleted", "emptied", "zeros"])
def test_files_that_are_gone_or_damaged_are_noticed_at_the_next_start(run_folder: Path, damage: str) -> None:
    tile, folder = finished(run_folder)
    old = 1_700_000_000
    for path in folder.iterdir():
        os.utime(path, (old, old))
    tiles = tiles_of(run_folder)
    assert drop_damaged(run_folder, tiles) == []
    assert drop_damaged(run_folder, tiles) == []
    path = folder / "a.tif"
    path.unlink() if damage == "deleted" else path.write_bytes(b"" if damage == "emptied" else bytes(1000))
    assert drop_damaged(run_folder, tiles) == [tile]
    assert not (folder / "item.json").exists()
    assert drop_damaged(run_folder, tiles) == []


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 5000])
def test_a_damaged_configuration_of_a_run_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "plan").mkdir()
    (tmp_path / "plan" / "config.json").write_bytes(content)
    with pytest.raises(UpscalingError, match=r"config\.json is damaged"):
        kept_config(tmp_path)
