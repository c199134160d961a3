"""What a user asks of a platform beside the job itself, on the real back-end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults import proxy as at
from tests.faults.conftest import MAX_NDVI, Tiles, only_class
from tests.faults.proxy import FaultyProxy, drop, edit, refuse
from tests.servers import served
from upscaling.config import Config
from upscaling.errors import ConfigError, ErrorClass, TileFailedError
from upscaling.execution.tile import run_tile

Make = Callable[..., Tiles]


def test_a_job_out_of_memory_gets_the_next_level_and_each_is_in_the_history(tiles: Make, proxy: FaultyProxy) -> None:
    levels = [{"executor-memory": "1k"}, {"executor-memory": "4g"}]
    run = tiles(1, grid="utm-4km", job_options={"executor-memory": "1k"}, memory_levels=levels)
    assert set(run.run().values()) == {None}
    assert sorted(job["status"] for job in run.jobs()) == ["error", "error", "finished"]
    receipt = run.receipt()
    assert [entry["error"]["class"] for entry in receipt["history"]] == ["out-of-memory"] * 2
    assert receipt["memory_level"] == 2
    assert all("costs" in entry for entry in receipt["history"])


def test_without_levels_a_job_out_of_memory_fails_and_says_so(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(1, grid="utm-4km", job_options={"executor-memory": "1k"})
    ends = run.run()
    assert only_class(ends) == {ErrorClass.MEMORY}
    assert len(run.jobs()) == 1


def test_a_job_is_deleted_after_its_download_and_a_lost_tile_is_made_again(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(delete_after_download=True)
    assert set(run.run().values()) == {None}
    assert run.jobs() == []
    first = next(iter(run.plan.tiles))
    shutil.rmtree(run.folder / "tiles" / first)  # its files too: with them it would be restored
    assert set(run.run(first).values()) == {None}
    assert run.jobs() == []
    assert "deleted after the download" in run.receipt(first)["history"][0]["why"]


def test_budget_plan_log_level_and_prefix_reach_the_platform(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(1, job_budget=7.5, plan="free", log_level="warning", filename_prefix=True)
    assert set(run.run().values()) == {None}
    import openeo

    from tests.servers import PASSWORD, USER

    connection = openeo.connect(run.platform.url).authenticate_basic(USER, PASSWORD)
    (listed,) = run.jobs()
    job = connection.get(f"/jobs/{listed['id']}").json()
    (tile,) = run.plan.tiles
    assert (job["budget"], job["plan"]) == (7.5, "free")
    saved = next(node for node in job["process"]["process_graph"].values() if node["process_id"] == "save_result")
    assert saved["arguments"]["options"]["filename_prefix"] == tile


def test_no_secret_is_in_any_file_of_a_run(tiles: Make, proxy: FaultyProxy, tmp_path: Path) -> None:
    from tests.servers import PASSWORD

    run = tiles()
    proxy.spoil(at.CREATE, refuse(500, "Internal", f"wrong password {PASSWORD}"))
    proxy.spoil(at.DOWNLOAD, drop)
    assert set(run.run().values()) == {None}
    secrets = {secret.split()[-1].rpartition("/")[2] for secret in proxy.secrets} | {PASSWORD}
    assert len(secrets) >= 3
    for path in tmp_path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in content], path


def exported(**changes: Any) -> Callable[[Any], None]:
    """Let the platform say other things of a file that it exported."""

    def change(document: Any) -> None:
        for asset in document["assets"].values():
            asset.update(changes)
        document["links"] = [link for link in document["links"] if link["rel"] != "item"]

    return change


def test_a_workspace_in_a_bucket_is_pointed_to_and_no_signature_is_kept(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(1, export_workspace={"workspace": "mine", "merge": "{tile}/of/{run}"})
    (tile,) = run.plan.tiles
    places = {"other": {"href": "s3://wrong/a.tif"}, f"mine/{tile}": {"href": "s3://bucket/x/a.tif?X-Amz-Signature=00"}}
    proxy.spoil(at.RESULTS, edit(exported(alternate=places, **{"file:checksum": f"1220{'ab' * 32}"})), times=None)
    run_tile(tile, config=run.config, run_folder=run.folder)
    item = json.loads((run.folder / "tiles" / tile / "item.json").read_text())
    (asset,) = item["assets"].values()
    assert (asset["href"], asset["file:checksum"]) == ("s3://bucket/x/a.tif", f"1220{'ab' * 32}")
    assert proxy.count(at.DOWNLOAD) == 0
    (folder,) = (run.platform.root / "workspaces").glob(f"*/mine/{tile}/of/{run.config.run}")
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".json", ".tif"]


def test_where_the_platform_does_not_say_the_place_the_item_says_so(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(1, export_workspace={"workspace": "mine"}, delete_after_download=True)
    (tile,) = run.plan.tiles
    proxy.spoil(
        at.RESULTS, edit(exported(alternate={"mine": {"href": "file:/data/a.tif"}}, **{"proj:bbox": None})), times=None
    )
    run_tile(tile, config=run.config, run_folder=run.folder)
    item = json.loads((run.folder / "tiles" / tile / "item.json").read_text())
    (asset,) = item["assets"].values()
    assert asset["href"].startswith(f"{proxy.url}/jobs/")
    assert "?" not in asset["href"]
    said = item["properties"]["upscaling:unchecked"]
    assert [line for line in said if "does not say where in the workspace" in line]
    assert [line for line in said if "does not say where it lies: its place was not checked" in line]
    assert len(run.jobs()) == 1  # all that there is of the results


def test_what_the_platform_says_of_an_exported_file_is_checked(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(1, export_workspace={"workspace": "mine"})
    (tile,) = run.plan.tiles
    short = exported(**{"proj:bbox": [676000, 5150000, 676990, 5151000], "proj:shape": [100, 99]})
    proxy.spoil(at.RESULTS, edit(short), times=None)
    with pytest.raises(TileFailedError, match="does not cover the tile") as caught:
        run_tile(tile, config=run.config, run_folder=run.folder)
    assert caught.value.error_class is ErrorClass.OUTPUT
    proxy.faults.clear()
    run_tile(tile, config=run.config, run_folder=run.folder)
    assert len(run.jobs()) == 1


@pytest.mark.parametrize("merge", ["all", "../{tile}", "/x/{tile}", "{tile}/{other}", "{tile"])
def test_a_merge_path_that_would_mix_tiles_or_lead_elsewhere_is_refused(merge: str) -> None:
    with pytest.raises(ConfigError, match=r"export_workspace\.merge: must be a"):
        Config.parse(
            {
                "run": "r",
                "algorithm": {"source": "x.json"},
                "area": {"aoi": [0, 0, 1, 1]},
                "backend": {"kind": "openeo", "export_workspace": {"workspace": "w", "merge": merge}},
            }
        )


def test_a_process_called_by_url_is_pinned_and_runs_when_the_url_is_gone(
    tiles: Make, proxy: FaultyProxy, shared_data: Path, tmp_path: Path
) -> None:
    web = tmp_path / "web"
    web.mkdir()
    called = json.loads((shared_data / MAX_NDVI).read_text())
    (web / "inner.json").write_text(json.dumps(called))
    with served(web) as url:
        arguments = {entry["name"]: {"from_parameter": entry["name"]} for entry in called["parameters"]}
        node = {"process_id": called["id"], "namespace": f"{url}/inner.json", "arguments": arguments, "result": True}
        outer = {"id": "outer", "parameters": called["parameters"], "process_graph": {"call": node}}
        (tmp_path / "outer.json").write_text(json.dumps(outer))
        run = tiles(1, source=tmp_path / "outer.json")
    assert set(run.run().values()) == {None}  # with the right pixels
    assert run.plan.facts["notices"] == []
