"""Results that are listed late, half or not at all are looked at again, and never paid again."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.jobs.fake_platform import PATIENCE, FakeFaultyPlatform, receipt_of, run
from upscaling.errors import ErrorClass, PlatformError, TileFailedError
from upscaling.jobs import remote_job as remote
from upscaling.jobs import results_wait
from upscaling.jobs.receipts import open_receipt
from upscaling.jobs.waits import Waits
from upscaling.model import FetchedAsset, Outcome, TileJob

GONE = PlatformError("404 ResultsNotFound", error_class=ErrorClass.PERMANENT, code=results_wait.RESULTS_GONE)
NOT_FINISHED = PlatformError("400 JobNotFinished", error_class=ErrorClass.PERMANENT, code="JobNotFinished")


REFUSED = PlatformError("410: gone", error_class=ErrorClass.PERMANENT, status=410)


class FakeLaggyPlatform(FakeFaultyPlatform):
    """Shows one list of results after another, the last for ever; an exception stands for a refusal."""

    def __init__(self, *lists: tuple[str, ...] | Exception, least: tuple[int, bool] = (1, True)) -> None:
        super().__init__()
        self.lists, self.least = list(lists), least

    def fetch(self, job: TileJob, job_id: str, folder: Path) -> Outcome:
        self.calls.append("fetch")
        shown = self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]
        if isinstance(shown, Exception):
            raise shown
        return Outcome(tuple(FetchedAsset(folder / name, name) for name in shown), {"id": job_id})


DATED = "ndvi_2023-06-01.tif", "ndvi_2023-06-11.tif"
LAGGY: dict[str, tuple[FakeLaggyPlatform, int]] = {
    "empty for a moment": (FakeLaggyPlatform((), (), ("a",)), 1),
    "half, and the process saves two": (
        FakeLaggyPlatform(("a",), ("a",), ("a",), ("a",), ("a", "b"), least=(2, True)),
        2,
    ),
    "half of a list that grows": (FakeLaggyPlatform(DATED[:1], DATED[:1], DATED), 2),
    "refused for a moment": (FakeLaggyPlatform(GONE, GONE, GONE, GONE, ("a",)), 1),
    "not finished, it says": (FakeLaggyPlatform(NOT_FINISHED, NOT_FINISHED, ("a",)), 1),
    "no data": (FakeLaggyPlatform(()), 0),
    "fewer than usual, for good": (FakeLaggyPlatform(("a",), least=(2, False)), 1),
}


@pytest.mark.parametrize("case", LAGGY)
def test_results_that_lag_or_grow_are_looked_at_again(job: TileJob, case: str) -> None:
    platform, files = LAGGY[case]
    assert len(run(job, platform).assets) == files
    assert platform.calls.count("create") == 1


def test_a_list_that_lacks_what_the_other_tiles_have_is_looked_at_again(job: TileJob) -> None:
    others = [replace(job, id=f"t{number}", receipt=job.receipt.with_name(f"t{number}.json")) for number in (2, 3)]
    for other in others:
        platform = FakeLaggyPlatform((f"{other.id}_ndvi", f"{other.id}_mask"))
        assert len(run(other, platform).assets) == 2
    assert platform.calls.count("fetch") == 1, "the first tile's list confirms the second's"
    half = FakeLaggyPlatform(*[("t1_ndvi",)] * 4, ("t1_ndvi", "t1_mask"))
    assert len(run(job, half).assets) == 2


def test_a_tile_whose_list_nobody_confirms_yet_takes_no_slot_and_goes_on_as_soon_as_another_confirms_it(
    job: TileJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, resting = Waits(lambda line: None), threading.Event()
    waits.listen(lambda tile, rests: resting.set() if (tile, rests) == (job.id, True) else None)
    monkeypatch.setattr(results_wait, "WAITS", waits)
    first = FakeLaggyPlatform(("t1_ndvi",))
    patient = replace(PATIENCE, lag=3600.0)
    waiting = threading.Thread(target=run, args=(job, first, patient), daemon=True)
    waiting.start()
    assert resting.wait(200)
    other = replace(job, id="t2", receipt=job.receipt.with_name("t2.json"))
    run(other, FakeLaggyPlatform(("t2_ndvi",)))
    waiting.join(200)
    assert not waiting.is_alive()
    assert first.calls.count("fetch") == 1, "it is not looked at again"


def test_files_that_are_still_being_written_are_fetched_again(job: TileJob) -> None:
    platform, sizes = FakeFaultyPlatform(), iter([0, 0, 5, 5, 5])

    def fetch(job: TileJob, job_id: str, folder: Path) -> Outcome:
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / "a.tif"
        if not target.exists():  # what is there is not fetched again
            target.write_bytes(bytes(next(sizes)))
        return Outcome((FetchedAsset(target, "a"),), {"id": job_id})

    platform.fetch = fetch  # type: ignore[method-assign]
    (asset,) = run(job, platform).assets
    assert asset.path.stat().st_size == 5


PAID = {
    "empty, and nobody saw it at work": (FakeLaggyPlatform(()), "lists no result files"),
    "refused for good": (FakeLaggyPlatform(GONE), "404 ResultsNotFound"),
    "given up": (FakeLaggyPlatform(REFUSED), "its results are refused: 410: gone"),
    "half for good": (FakeLaggyPlatform(("a",), least=(2, True)), "its process saves 2 results"),
}


@pytest.mark.parametrize("case", PAID)
def test_results_that_are_not_there_after_the_lag_are_never_paid_again(job: TileJob, case: str) -> None:
    platform, words = PAID[case]
    if "nobody" in case:
        platform.jobs["j1"] = {"key": job.key, "status": "finished"}
    for _ in range(3):
        with pytest.raises(TileFailedError, match=words) as caught:
            run(job, platform)
        assert caught.value.error_class is ErrorClass.OUTPUT
        assert receipt_of(job)["state"] == "finished"
    assert len(platform.jobs) == 1
    platform.lists = [("a", "b")]
    assert run(job, platform).job["id"] == "j1"
    with open_receipt(job) as receipt:
        receipt.refuse("bad-output", "once more")
        receipt.discard("as somebody decided")
    assert run(job, platform).job["id"] == "j2"


def test_results_that_are_broken_for_long_are_told_and_need_no_slot(
    job: TileJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    heard: list[tuple[str, bool]] = []
    waits = Waits(said.append)
    waits.listen(lambda tile, rests: heard.append((tile, rests)))
    monkeypatch.setattr(remote, "WAITS", waits)
    platform, seen = FakeFaultyPlatform(), list[Any]()

    def broken(job: TileJob, job_id: str, folder: Path) -> Outcome:
        seen.append(receipt_of(job)["facts"].get("waits"))
        if len(seen) < 4:
            raise PlatformError(f"500: no results of {job_id}", error_class=ErrorClass.TRANSIENT)
        return Outcome((FetchedAsset(folder / "a.tif", "a"),), {"id": job_id})

    platform.fetch = broken  # type: ignore[method-assign]
    run(job, platform, replace(PATIENCE, lag=0.0))
    assert seen[0] is None
    assert "500: no results of j1" in seen[1:]
    assert heard[0] == ("t1", True)
    assert heard[-1] == ("t1", False)
    assert said[0].startswith("waiting: 500: no results of j1")
    assert "waits" not in receipt_of(job)["facts"]
