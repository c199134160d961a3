"""What happens to a tile's run: outputs of every kind, failures in the tool's own words, kills and restarts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from upscaling.backends.cwl.process import alone, survivors
from upscaling.errors import ConfigError, ErrorClass, TileFailedError
from upscaling.model import Outcome, TileJob
from upscaling.util.files import read_json

from .conftest import INSIDE, PACKAGES, backend_of

Run = Callable[..., Outcome]
Make = Callable[..., TileJob]
ITEM = {
    "type": "Feature",
    "stac_version": "1.0.0",
    "id": "ITEM",
    "geometry": None,
    "properties": {"datetime": None, "start_datetime": "2022-06-01T00:00:00Z", "end_datetime": "2022-06-30T00:00:00Z"},
    "links": [{"rel": "derived_from", "href": "https://stac.example/items/S2A"}],
    "assets": {
        "index": {
            "href": "./ITEM.tif",
            "type": "image/tiff",
            "roles": ["data"],
            "eo:bands": [{"name": "ndvi", "common_name": "nir"}],
            "raster:bands": [{"data_type": "float32", "scale": 0.5}],
        },
        "quicklook": {"href": "https://elsewhere.example/x.png", "roles": ["thumbnail"]},
    },
}


def write_catalogue(folder: Path, *items: str) -> None:
    links = [{"rel": "item", "href": f"./{name}.json"} for name in items]
    catalogue = {"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "d", "links": links}
    folder.mkdir(parents=True)
    (folder / "catalog.json").write_text(json.dumps(catalogue))
    for name in items:
        (folder / f"{name}.json").write_text(json.dumps(ITEM).replace("ITEM", name))
        (folder / f"{name}.tif").write_text(name)


@pytest.mark.parametrize("engine", ["toil", "cwltool"])
def test_every_kind_of_input_and_output(
    tmp_path: Path, make_job: Make, run_job: Run, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_A_MODULE", "loaded")
    write_catalogue(tmp_path / "in", "first", "second")
    (tmp_path / "extra.txt").write_text("extra")
    parameters = {"folder": str(tmp_path / "in"), "names": ["x", "y z"], "extra": [str(tmp_path / "extra.txt")]}
    job = make_job(PACKAGES / "kinds.cwl", parameters)
    outcome = run_job(job, engine=engine)
    assets = {asset.key: asset for asset in outcome.assets}
    index = assets["catalogue_first_index"]
    assert index.path.read_text() == "first"
    assert assets["catalogue_second_index"].path.read_text() == "second"
    assert (index.start_datetime, index.end_datetime) == ("2022-06-01T00:00:00Z", "2022-06-30T00:00:00Z")
    assert index.datetime is None
    assert index.bands == ({"name": "ndvi", "eo:common_name": "nir", "data_type": "float32", "raster:scale": 0.5},)
    assert not any("quicklook" in key for key in assets)
    report = assets["report_report"].path.read_text().split()
    assert report[0] == "32632"
    assert report[-4:] == ["x", "y", "z", "42"]  # the last is JavaScript's
    assert [assets[f"parts_parts_{n}"].path.read_text() for n in (0, 1)] == ["a\n", "b\n"]
    assert not any(key.startswith("left_out") for key in assets)
    # `glob: .` comes back under a random name, with the same catalogue one level down
    assert assets["everything_first_index"].path.read_text() == "first"
    tile = index.path.parent / "tile.txt"
    assert json.loads(tile.read_text())["type"] == "Polygon"
    assert (tile.parent / "env").read_text() == "loaded\n"
    assert outcome.derived_from == ("https://stac.example/items/S2A",)
    assert all(asset.path.is_relative_to(job.scratch) for asset in outcome.assets)


@pytest.mark.parametrize(
    ("command", "error_class", "words"),
    [
        (
            "echo progress; echo reading >&2; echo no such band B99 >&2; exit 7",
            "permanent",
            "7: progress | reading | no such band B99",
        ),
        ("echo 'numpy: Unable: MemoryError' >&2; exit 1", "out-of-memory", "MemoryError"),
        ("kill -9 $$", "out-of-memory", "was killed (signal 9), as a rule for want of memory"),
        ("exit 3", "permanent", "step main exited with status 3: it wrote nothing to stderr"),
        ("true", "bad-output", "Did not find output file with glob pattern: ['out']."),
        ("mkdir out", "bad-output", "output out is an empty folder: neither a STAC catalogue nor a file"),
        ("mkdir out; echo {} > out/catalog.json", "bad-output", "output out is not a STAC catalogue that can be read"),
    ],
)
def test_a_failure_is_told_in_the_tools_words(
    make_job: Make, run_job: Run, command: str, error_class: str, words: str
) -> None:
    job = make_job(PACKAGES / "tool.cwl", {"command": command})
    with pytest.raises(TileFailedError) as caught:
        run_job(job, engine="cwltool")
    assert words in str(caught.value)
    assert caught.value.error_class == error_class
    assert "\n" not in str(caught.value)
    receipt = read_json(job.receipt)
    assert (receipt["state"], receipt["error"]["class"]) == ("failed", error_class)
    log = job.receipt.parent.parent / "logs" / f"{job.tile.id}.cwl.log"
    assert log.stat().st_size > 0
    if command != "mkdir out" and "catalog" not in command:
        assert str(log) in str(caught.value)


def test_toil_says_why_a_tool_failed_and_runs_it_again_next_time(tmp_path: Path, make_job: Make, run_job: Run) -> None:
    """The second run restarts the store of the first and does only what failed."""
    script = (
        f'if [ -e "{tmp_path}/patched" ]; then mkdir out; echo 1 > out/a.txt; else echo broken: {{}} >&2; exit 4; fi'
    )
    job = make_job(PACKAGES / "tool.cwl", {"command": script})
    with pytest.raises(TileFailedError, match=r"step main exited with status 4: broken: \{\} \(log: .*\.cwl\.log\)$"):
        run_job(job)
    (tmp_path / "patched").touch()
    assert [asset.key for asset in run_job(job).assets] == ["a"]
    receipt = read_json(job.receipt)
    assert (receipt["state"], receipt["attempt"], receipt["history"][0]["state"]) == ("finished", 2, "failed")


def test_limits_that_the_package_sets_itself(tmp_path: Path, make_job: Make, run_job: Run) -> None:
    text = (PACKAGES / "tool.cwl").read_text()
    (tmp_path / "late.cwl").write_text(text.replace("timelimit: 60", "timelimit: 1"))
    with pytest.raises(TileFailedError, match="step main took longer than its limit of 1 s"):
        run_job(make_job(tmp_path / "late.cwl", {"command": "sleep 30"}), engine="cwltool")
    more = text.replace("ToolTimeLimit: {timelimit: 60}", "ResourceRequirement: {ramMin: 90000000}")
    (tmp_path / "big.cwl").write_text(more)
    with pytest.raises(TileFailedError, match="a step is requesting 94371840000000 bytes of memory, more than the max"):
        run_job(make_job(tmp_path / "big.cwl", {"command": "true"}))
    (tmp_path / "absent.cwl").write_text(text.replace("[sh, -c]", "[no-such-program-here]"))
    with pytest.raises(TileFailedError, match="the program no-such-program-here of the package is not on PATH"):
        run_job(make_job(tmp_path / "absent.cwl", {"command": "true"}), engine="cwltool")


TILE_PROCESS = """
import pickle, sys
from upscaling.backends.cwl.backend import CwlBackend
from upscaling.config.cwl import CwlBackendConfig
from upscaling.jobs.receipts import open_receipt
with open(sys.argv[1], "rb") as stream:
    job = pickle.load(stream)
with open_receipt(job) as receipt:
    CwlBackend(CwlBackendConfig(kind="cwl")).run(job, receipt)
"""


def wait_for(what: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)
    return found


def leaders(folder: Path) -> list[int]:
    found = []
    for pid in survivors(folder):
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if any(argument.endswith(b"toil-cwl-runner") for argument in arguments):
            found.append(pid)
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_killed_with_9_in_the_middle_it_goes_on_where_it_stopped(
    tmp_path: Path, make_job: Make, run_job: Run, request: pytest.FixtureRequest
) -> None:
    import pickle

    journal, go = tmp_path / "journal", tmp_path / "go"
    journal.touch()
    job = make_job(PACKAGES / "slow.cwl", {"journal": str(journal), "go": str(go)})
    (tmp_path / "job").write_bytes(pickle.dumps(job))

    def ran(step: str) -> list[str]:
        return [line for line in journal.read_text().splitlines() if line.startswith(step)]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", TILE_PROCESS, str(tmp_path / "job")], start_new_session=True)

    request.addfinalizer(go.touch)  # lets every tool end, whatever fails below

    # 1. Only the tile's process is killed: its runner notices, and stops with all its jobs.
    process = start()
    wait_for(lambda: len(ran("second")) == 1)
    (folder,) = job.scratch.glob("cwl-*")
    assert leaders(folder)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not survivors(folder))
    # 2. Process and runner are killed in one blow: the worker and its tool live on.
    process = start()
    wait_for(lambda: len(ran("second")) == 2)
    (leader,) = leaders(folder)
    os.killpg(process.pid, signal.SIGKILL)
    os.killpg(leader, signal.SIGKILL)
    process.wait()
    orphan = int(ran("second")[-1].split()[1])
    assert orphan in survivors(folder)
    # 3. The next run ends the orphans before it goes on.
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_job, job)
        wait_for(lambda: len(ran("second")) == 3 or running.done())
        orphaned = orphan in survivors(folder)
        go.touch()
        outcome = running.result()
    assert not orphaned
    assert not survivors(folder)
    (asset,) = outcome.assets
    assert asset.path.read_text() == "one\ntwo\n"
    assert len(ran("first")) == 1  # the finished step was not done again
    assert len(ran("second")) == 3
    # 4. Killed after the run and before the tile was written: nothing runs again.
    again = run_job(job)
    assert [a.path for a in again.assets] == [asset.path]
    assert len(ran("second")) == 3


def test_a_tile_that_another_process_runs_is_left_alone(make_job: Make, run_job: Run) -> None:
    job = make_job(PACKAGES / "tool.cwl", {"command": "mkdir out; echo 1 > out/a.txt"})
    with alone(job.scratch), pytest.raises(TileFailedError, match=r"scratch.* is in use by process \d+ on ") as caught:
        run_job(job, engine="cwltool")
    assert caught.value.error_class is ErrorClass.TRANSIENT
    assert not job.receipt.exists()  # not a failure of the tile
    assert len(run_job(job, engine="cwltool").assets) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("name", ["UPSCALING_CWL_RUN", "HOME", "TMPDIR"])
def test_what_an_earlier_run_left_is_ended_and_nothing_else(tmp_path: Path, name: str) -> None:
    """A leader or a tool of another package's run on the same tile, and a person's process in that folder."""
    (tmp_path / "real").mkdir()
    folder = tmp_path / "link"
    folder.symlink_to(tmp_path / "real")
    (folder / "cwl-1").mkdir()
    sleep = ["sleep", "60"]
    left = [
        subprocess.Popen(sleep, env={name: f"{place}/cwl-1/x"}, start_new_session=True)
        for place in (folder, tmp_path / "real")
    ]
    others = [
        subprocess.Popen(sleep, env={"PWD": str(folder / "cwl-1")}, cwd=folder / "cwl-1"),
        subprocess.Popen(sleep, env={name: f"{folder}2/cwl-1/x"}),
    ]
    try:
        with alone(folder):
            assert [process.wait(200) for process in left] == [-9, -9]
            assert [process.poll() for process in others] == [None, None]
    finally:
        for process in [*left, *others]:
            process.kill()
            process.wait()


def test_stale_and_broken_job_stores_are_begun_anew(make_job: Make, run_job: Run) -> None:
    job = make_job(PACKAGES / "tool.cwl", {"command": "mkdir out; echo 1 > out/a.txt"})
    stale = job.scratch / "cwl-0123456789abcdef"
    (stale / "store").mkdir(parents=True)
    backend = backend_of()
    broken = job.scratch / f"cwl-{backend._store_key(job)}" / "store"
    (broken / "shared").mkdir(parents=True)
    (broken / "shared" / "rootJobStoreID").write_text("nonsense")
    assert len(run_job(job).assets) == 1
    assert not stale.exists()
    assert backend_of(container="docker")._store_key(job) != backend._store_key(job)


def test_what_is_missing_is_said_before_the_first_tile(
    tmp_path: Path, make_job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(PACKAGES / "kinds.cwl", {"folder": str(tmp_path), "names": []})
    backend_of().check(job.algorithm)
    monkeypatch.setattr("upscaling.backends.cwl.backend.tool_path", lambda: str(tmp_path))
    monkeypatch.setattr("upscaling.backends.cwl.backend.own_program", lambda name: shutil.which(name, path=tmp_path))
    with pytest.raises(ConfigError, match=r"backend\.engine: there is no toil-cwl-runner beside this Python"):
        backend_of().check(job.algorithm)
    for program in ("toil-cwl-runner", "cwltool"):
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    for container, names in (("docker", "docker"), ("podman", "podman"), ("singularity", "singularity or apptainer")):
        with pytest.raises(ConfigError, match=rf"backend\.container: there is no {names} on PATH"):
            backend_of(container=container).check(job.algorithm)
    with pytest.raises(ConfigError, match="cwltool runs on this machine only"):
        backend_of(engine="cwltool", batch_system="slurm").check(job.algorithm)
    text = (
        (PACKAGES / "tool.cwl")
        .read_text()
        .replace("ToolTimeLimit: {timelimit: 60}", "DockerRequirement: {dockerPull: x}")
    )
    (tmp_path / "image.cwl").write_text(text)
    with pytest.raises(
        ConfigError, match=r"backend\.container: image runs in its image only \(x, under requirements\)"
    ):
        backend_of().check(make_job(tmp_path / "image.cwl", {"command": "true"}).algorithm)
    shutil.copy(PACKAGES / "tool.cwl", job.algorithm.path)
    with pytest.raises(ConfigError, match="the pinned package cannot be read"):
        backend_of().check(job.algorithm)
    job.algorithm.path.write_text("{}")
    with pytest.raises(ConfigError, match="was changed after it was planned; plan again"):
        backend_of().check(job.algorithm)
    assert INSIDE.id in str(job.folder)
