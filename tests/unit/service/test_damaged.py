"""Damaged files of a run are refused with a reason; the service does not fail."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.planned import planned_run
from upscaling.cli.area import plan_in_words, plot_plan
from upscaling.errors import UpscalingError
from upscaling.planning.plan import kept_config, load_plan
from upscaling.service.app import make_app
from upscaling.service.settings import ServiceSettings
from upscaling.service.store import Task
from upscaling.util.files import write_json

RUN = "/v1/runs/1"


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    (tmp_path / "tasks" / "t").mkdir(parents=True)
    return planned_run(tmp_path / "tasks" / "t", "http://127.0.0.1:1/openeo", columns=2, rows=1)


@pytest.fixture
def client(tmp_path: Path, run_folder: Path) -> Iterator[TestClient]:
    assert run_folder.is_dir()
    app = make_app(ServiceSettings(folder=tmp_path))
    task = Task(user="local", kind="run", title="t", label="openeo", service={}, run="t", jobs=2, fingerprint="")
    app.state.tasks.store.add(task)
    client = TestClient(app, raise_server_exceptions=False)
    yield client
    client.close()


def refused(client: TestClient, path: str, words: str) -> None:
    answer = client.get(path if path.startswith("/") else f"{RUN}/{path}")
    assert answer.status_code in {404, 409}, answer.text
    assert words in answer.json()["message"]


@pytest.mark.parametrize("name", ["tiles.parquet", "jobs.ndjson"])
def test_outlines_of_a_damaged_plan(client: TestClient, run_folder: Path, name: str) -> None:
    (run_folder / "plan" / name).write_bytes(b"x" * (run_folder / "plan" / name).stat().st_size)
    refused(client, "tiles", name)


@pytest.mark.parametrize("content", ["{", "{}", "[1]"])
def test_a_damaged_list_of_mosaics(client: TestClient, run_folder: Path, content: str) -> None:
    assert client.get(f"{RUN}/mosaics").json() == []
    (run_folder / "mosaic").mkdir()
    (run_folder / "mosaic" / "mosaics.json").write_text(content)
    for path in ("mosaics", "map/0/0/0.png", "value?lon=0&lat=0"):
        refused(client, path, "mosaics.json")


@pytest.mark.parametrize("content", ["{", "[]", '{"assets": []}', '{"assets": {"a": 1}}', '{"bbox": "x"}'])
def test_damaged_items_and_collections(client: TestClient, run_folder: Path, content: str) -> None:
    (run_folder / "collection.json").write_text(content)
    refused(client, "collection", "collection.json is damaged")
    for tile, row in load_plan(run_folder).tiles.items():
        write_json(run_folder / "receipts" / f"{tile}.json", {"key": row.key, "state": "done"})
        (run_folder / "tiles" / tile).mkdir(parents=True)
        (run_folder / "tiles" / tile / "item.json").write_text(content)
    for path in ("items", f"items/{tile}", f"tiles/{tile}", f"preview/{tile}", "/unit_jobs/1/results"):
        refused(client, path, "item.json is damaged")


def test_a_damaged_raster(client: TestClient, run_folder: Path) -> None:
    tile = next(iter(load_plan(run_folder).tiles))
    asset = {"href": "a.tif", "type": "image/tiff; application=geotiff"}
    write_json(run_folder / "tiles" / tile / "item.json", {"assets": {"a": asset}})
    (run_folder / "tiles" / tile / "a.tif").write_text("x")
    refused(client, f"preview/{tile}", "a.tif cannot be read")


def test_a_run_whose_folder_is_gone(client: TestClient, run_folder: Path) -> None:
    shutil.rmtree(run_folder.parent)
    for path in ("config", "tiles", "items"):
        refused(client, path, "the folder of this run is gone")


def test_the_command_line_names_a_damaged_table_of_tiles(run_folder: Path) -> None:
    (run_folder / "plan" / "tiles.parquet").write_text("x")
    plan = load_plan(run_folder)
    with pytest.raises(UpscalingError, match=r"tiles\.parquet cannot be read"):
        plan_in_words(plan)
    with pytest.raises(UpscalingError, match=r"tiles\.parquet cannot be read"):
        plot_plan(kept_config(run_folder), plan, run_folder / "plot.png")


@pytest.mark.parametrize("kind", ["run", "upscaling", "unit"])
def test_a_run_whose_folder_is_gone_hides_no_other(client: TestClient, run_folder: Path, kind: str) -> None:
    other = Task(user="local", kind=kind, title="o", label="openeo", service={}, run="gone", jobs=1, fingerprint="")
    client.app.state.tasks.store.add(other)  # type: ignore[attr-defined]
    assert [(run["title"], run["status"]) for run in client.get("/v1/runs").json()] == [
        ("o", "failed"),
        ("t", "created"),
    ]
    shutil.rmtree(run_folder)
    time.sleep(0.6)  # it was looked at a moment ago
    told = client.get("/v1/runs").json()
    assert [run["status"] for run in told] == ["failed", "failed"]
    assert all("cannot be read" in run["reason"] for run in told)
    listed = client.get("/jobs_status").json()
    assert [one["status"] for one in (*listed["upscaling_tasks"], *listed["processing_jobs"])] == ["failed"] * (
        kind != "run"
    )
    assert client.get("/v1/runs/2").status_code in {404, 409}
