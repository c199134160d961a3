"""What a user asks of a platform beside the job itself, on the real back-end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.faults import proxy as at
from tests.faults.conftest import Tiles, only_class
from tests.faults.proxy import FaultyProxy, drop, refuse
from upscaling.errors import ErrorClass

Make = Callable[..., Tiles]


def test_the_memory_ladder_is_climbed_and_every_rung_is_in_the_history(tiles: Make, proxy: FaultyProxy) -> None:
    ladder = [{"executor-memory": "1m"}, {"executor-memory": "4g"}]
    run = tiles(1, job_options={"executor-memory": "1m"}, memory_ladder=ladder)
    assert set(run.run().values()) == {None}
    assert sorted(job["status"] for job in run.jobs()) == ["error", "error", "finished"]
    receipt = run.receipt()
    assert [entry["error"]["class"] for entry in receipt["history"]] == ["out-of-memory"] * 2
    assert receipt["rung"] == 2
    assert all("costs" in entry for entry in receipt["history"])


def test_without_a_ladder_a_job_out_of_memory_fails_and_says_so(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(1, job_options={"executor-memory": "1m"})
    ends = run.run()
    assert only_class(ends) == {ErrorClass.MEMORY}
    assert len(run.jobs()) == 1


def test_a_job_is_deleted_after_its_download_and_a_lost_tile_is_made_again(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(delete_after_download=True)
    assert set(run.run().values()) == {None}
    assert run.jobs() == []
    first = next(iter(run.plan.tiles))
    (run.folder / "tiles" / first / "item.json").unlink()
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
