"""The fault table: whatever a platform does, one job per tile, no tile lost, and nothing called done that is not."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults import proxy as at
from tests.faults.conftest import Tiles, only_class
from tests.faults.proxy import (
    TRANSIENT,
    Answer,
    FaultyProxy,
    Forward,
    delay,
    drop_after,
    edit,
    endless,
    refuse,
    say,
    slow,
    truncate,
)
from upscaling.errors import ErrorClass
from upscaling.monitor.platform_jobs import discard_results

Make = Callable[..., Tiles]
WHERE = {"create": at.CREATE, "start": at.START, "status": at.JOB, "results": at.RESULTS, "download": at.DOWNLOAD}

FAULTS = {**TRANSIENT, "time-out": delay(2.5)}
SHORT = 1.5  # seconds that a test of silence waits for an answer


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("where", WHERE)
def test_transient_faults_are_waited_out(where: str, fault: str, tiles: Make, proxy: FaultyProxy) -> None:
    """Twice in a row, at each of the five requests of a job's life: every tile is done, with one job."""
    run = tiles(1, **({"request_seconds": SHORT} if fault == "time-out" else {}))
    proxy.spoil(WHERE[where], FAULTS[fault], times=2)
    assert set(run.run().values()) == {None}
    assert [job["status"] for job in run.jobs()] == ["finished"]
    ids = re.findall(r"/jobs/([^/]+)/results", " ".join(path for method, path, status in proxy.seen
                                                         if method == "POST" and status == 202))  # fmt: skip
    assert len(ids) == len(set(ids)), "a job was started twice"


@pytest.mark.parametrize("where", ["create", "start", "status"])
def test_what_the_platform_asks_to_wait_is_waited(where: str, tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(1)
    proxy.spoil(WHERE[where], refuse(429, "TooManyRequests", retry_after=2))
    assert set(run.run().values()) == {None}
    first, second, *_ = [when for when, request in zip(proxy.times, proxy.seen, strict=True) if _is(request, where)]
    assert second - first >= 2


def _is(request: tuple[str, str, int | None], where: str) -> bool:
    return request[0] == WHERE[where][0] and re.fullmatch(WHERE[where][1], request[1]) is not None


@pytest.mark.parametrize("fault", ["truncated", "endless", "a web page", "too slow", "foreign range"])
def test_a_download_that_goes_wrong_is_fetched_again(fault: str, tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(request_seconds=SHORT if fault in {"endless", "too slow"} else 30)
    action = {
        "truncated": truncate,
        "endless": endless,
        "a web page": say(200, at.HTML),
        "too slow": slow(0.1),
        "foreign range": say(206, b"x" * 10, "image/tiff", **{"Content-Range": "bytes 7-16/17"}),
    }[fault]
    proxy.spoil(at.DOWNLOAD, action, times=2)
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == len(run.plan.tiles)


def test_a_file_that_is_no_raster_fails_and_the_next_run_fetches_it_again_unpaid(
    tiles: Make, proxy: FaultyProxy
) -> None:
    run = tiles(1)
    proxy.spoil(at.DOWNLOAD, say(200, b"II*\0" + bytes(4000), "image/tiff"), times=3)
    assert only_class(run.run()) == {ErrorClass.OUTPUT}
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == 1


def test_a_download_is_continued_where_it_broke_off(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(1)
    proxy.spoil(at.DOWNLOAD, truncate)
    assert set(run.run().values()) == {None}
    statuses = [status for method, path, status in proxy.seen if re.fullmatch(at.DOWNLOAD[1], path)]
    assert statuses == [200, 206]


@pytest.mark.parametrize("where", ["status", "results"])
@pytest.mark.parametrize("answer", ["endless", "not JSON", "a list", "trickling"])
def test_answers_that_are_none(where: str, answer: str, tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(request_seconds=SHORT if answer in {"endless", "trickling"} else 30)
    action = {
        "endless": endless,
        "not JSON": say(200, at.HTML),
        "a list": say(200, b"[1, 2]", "application/json"),
        "trickling": slow(0.05),
    }[answer]
    proxy.spoil(WHERE[where], action, times=2)
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == len(run.plan.tiles)


@pytest.mark.parametrize("where", [*WHERE, "list"])
@pytest.mark.parametrize("status", [401, 403])
def test_an_expired_token_is_renewed_once_for_all(where: str, status: int, tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles()
    proxy.spoil({**WHERE, "list": at.LIST}[where], refuse(status, "TokenInvalid", "Token expired"))
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == len(run.plan.tiles)
    assert proxy.count(("GET", "/credentials/basic")) <= 2


def test_a_new_token_that_is_not_known_everywhere_yet_is_renewed_again(tiles: Make, proxy: FaultyProxy) -> None:
    run, asked = tiles(), Counter[str]()

    def twice(forward: Forward, path: str) -> Answer:
        asked[path] += 1
        return refuse(403, "TokenInvalid", "Token expired")(forward, path) if asked[path] < 3 else forward()

    proxy.spoil(at.JOB, twice, times=None)
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == len(run.plan.tiles)
    assert proxy.count(("GET", "/credentials/basic")) <= 3


def test_a_token_that_is_never_accepted_ends_in_one_line_and_keeps_the_jobs(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles()
    proxy.spoil(at.JOB, refuse(403, "TokenInvalid", "Token expired"), times=None)
    ends = run.run()
    assert only_class(ends) == {ErrorClass.AUTH}
    assert proxy.count(("GET", "/credentials/basic")) <= 3, "the log-in was hammered"
    proxy.faults.clear()
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == len(run.plan.tiles)


def test_a_graph_that_is_refused_fails_at_once_and_leaves_no_job(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles()
    proxy.spoil(at.CREATE, refuse(400, "ProcessUnsupported", "Process foo is not supported"), times=None)
    ends = run.run()
    assert only_class(ends) == {ErrorClass.PERMANENT}
    assert all("ProcessUnsupported" in str(error) for error in ends.values())
    assert proxy.count(at.CREATE) == len(run.plan.tiles)
    assert run.jobs() == []


def test_no_credits_left_ends_in_one_line_and_the_next_run_goes_on(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles()
    proxy.spoil(at.START, refuse(402, "PaymentRequired", "no credits left"), times=None)
    assert only_class(run.run()) == {ErrorClass.QUOTA}
    proxy.faults.clear()
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == len(run.plan.tiles)


def test_a_create_that_never_works_is_given_up_without_a_heap_of_jobs(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(1)
    proxy.spoil(at.CREATE, refuse(500, "Internal"), times=None)
    assert only_class(run.run()) == {ErrorClass.TRANSIENT}
    assert proxy.count(at.CREATE) == 5
    proxy.faults.clear()
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == 1


def test_an_outage_that_is_longer_than_the_patience_loses_nothing(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(outage_hours=2 / 3600)
    for where in ("status", "results"):
        proxy.spoil(WHERE[where], refuse(503), times=None)
    assert only_class(run.run()) == {ErrorClass.TRANSIENT}
    proxy.faults.clear()
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == len(run.plan.tiles)


def test_the_limit_of_jobs_is_learnt_and_nobody_hammers(tiles: Make, proxy: FaultyProxy) -> None:
    """Twelve tiles at once where three are allowed: all done, and few starts were refused."""
    run = tiles(8)
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == 8
    refused = sum(m == "POST" and status == 400 for m, path, status in proxy.seen)
    assert refused <= 4, f"{refused} starts were refused"


def test_places_that_others_hold_are_waited_for(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles()
    words = "Job was not started because concurrent job limit (9) is reached."
    proxy.spoil(at.START, refuse(400, "ConcurrentJobLimit", words, retry_after=0), times=3)
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == len(run.plan.tiles)


def test_a_job_that_vanished_fails_and_the_next_run_submits_it_again(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(1)
    proxy.spoil(at.JOB, refuse(404, "JobNotFound", "The batch job does not exist"), skip=1, times=None)
    (error,) = run.run().values()
    assert "has vanished" in str(error)
    for job in run.jobs():
        _delete(run, job["id"])
    proxy.faults.clear()
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == 1
    assert len(run.receipt()["history"]) == 1


def test_a_job_that_is_not_known_for_a_moment_has_not_vanished(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles()
    proxy.spoil(at.JOB, refuse(404, "JobNotFound", "The batch job does not exist"), times=3)
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == len(run.plan.tiles)


def test_a_start_that_had_no_effect_is_sent_again_after_the_lag(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles()
    proxy.spoil(at.START, at.forget, times=2)
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == len(run.plan.tiles)


def test_a_job_stuck_in_created_is_given_up_and_the_next_run_submits_another(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(1, lag_seconds=0.1)
    proxy.spoil(at.START, at.forget, times=None)
    (error,) = run.run().values()
    assert "was started 5 times and is still created" in str(error)
    proxy.faults.clear()
    assert set(run.run().values()) == {None}
    assert sorted(job["status"] for job in run.jobs()) == ["created", "finished"]


@pytest.mark.parametrize(
    "where, answer",
    [
        ("results", refuse(410, "ResultLinkExpired", "The link has expired")),
        ("results", refuse(404, "ResultsNotFound", "The results were deleted")),
        ("results", refuse(409)),
        ("download", refuse(410, "ResultLinkExpired", "The link has expired")),
        ("download", refuse(404)),
    ],
    ids=["list 410", "list 404", "list 409", "download 410", "download 404"],
)  # fmt: skip
def test_results_that_are_not_there_fail_and_no_run_pays_for_them_again(
    where: str, answer: Any, tiles: Make, proxy: FaultyProxy
) -> None:
    run = tiles(1, outage_hours=3 / 3600)
    proxy.spoil(WHERE[where], answer, times=None)
    for _ in range(3):
        (error,) = run.run().values()
        assert "the job is paid and kept" in str(error)
        assert run.receipt()["error"]["class"] == "bad-output"
    proxy.faults.clear()
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == 1


@pytest.mark.parametrize("where", ["results", "download"])
def test_a_link_that_expired_is_asked_for_anew(where: str, tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(1)
    proxy.spoil(WHERE[where], refuse(410, "ResultLinkExpired", "The link has expired"), times=2)
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == 1


@pytest.mark.parametrize("where", ["create", "results"])
def test_an_answer_that_comes_later_is_waited_for(where: str, tiles: Make, proxy: FaultyProxy) -> None:
    """202 without a word on the job; it was not created."""
    run = tiles(1)
    proxy.spoil(WHERE[where], say(202, b'{"status": "accepted"}', "application/json"))
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == 1


def test_an_old_job_without_files_is_not_taken_for_a_tile_without_data(tiles: Make, proxy: FaultyProxy) -> None:
    """Its results were emptied: the item of a tile that was lost must not say `no data` then."""
    run = tiles(1)
    assert set(run.run().values()) == {None}
    (tile,) = run.plan.tiles
    shutil.rmtree(run.folder / "tiles" / tile)
    proxy.spoil(at.RESULTS, edit(lambda document: {**document, "assets": {}, "links": []}), times=None)
    (error,) = run.run().values()
    assert "lists no result files" in str(error)
    proxy.faults.clear()
    assert discard_results(run.folder, [tile]) == [tile]
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == 2, "somebody decided to pay again"


def _lagging(seconds: int) -> Callable[[Any], Any]:
    """Hide the newest jobs in the first answers."""
    answers = iter([True] * seconds)

    def change(document: Any) -> Any:
        return {**document, "jobs": []} if next(answers, False) else document

    return change


def test_a_list_that_lags_makes_no_second_job(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(1)
    proxy.spoil(at.CREATE, drop_after).spoil(at.LIST, edit(_lagging(3)), times=None)
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == 1


def test_a_list_that_lacks_a_member_proves_nothing(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(1)
    lacking = edit(lambda document: {**document, "jobs": [], "federation:missing": ["vito"]})
    proxy.spoil(at.CREATE, drop_after).spoil(at.LIST, lacking, skip=1, times=4)
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == 1


def test_a_killed_run_whose_list_lags_adopts_its_job(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(1)
    assert set(run.run().values()) == {None}
    (tile,) = run.plan.tiles
    receipt = run.receipt()
    path = run.folder / "receipts" / f"{tile}.json"
    shutil.rmtree(run.folder / "tiles" / tile)
    import time

    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1))
    path.write_text(json.dumps({**receipt, "state": "intent", "job_id": None, "updated": now}))  # killed in the POST
    proxy.spoil(at.LIST, edit(_lagging(2)), times=None)
    assert set(run.run().values()) == {None}
    assert len(run.jobs()) == 1


def test_a_redirect_to_another_host_carries_no_token(tiles: Make, proxy: FaultyProxy, platform: Any) -> None:
    run = tiles(1)
    stranger = FaultyProxy(platform.port)
    try:
        for where in (at.JOB, at.RESULTS, at.DOWNLOAD):
            proxy.spoil(where, lambda forward, path: at.Answer(302, {"Location": stranger.url + path}), times=1)
        assert set(run.run().values()) == {None}
        assert len(stranger.seen) == 3
        assert stranger.secrets == set()
        assert len(proxy.secrets) == 2, "user and password for the log-in, then the token"
    finally:
        stranger.close()


def test_a_tile_without_data_is_a_success(tiles: Make, proxy: FaultyProxy, platform: Any) -> None:
    run = tiles(1)
    error = edit(lambda job: {**job, "status": "error"} if job["status"] == "finished" else job)
    words = [{"id": "1", "level": "error", "code": "NoDataAvailable", "message": "There is no data available"}]
    proxy.spoil(at.JOB, error, times=None).spoil(at.LOGS, edit(lambda logs: {**logs, "logs": words}), times=None)
    (tile,) = run.plan.tiles
    from upscaling.execution.tile import run_tile

    run_tile(tile, config=run.config, run_folder=run.folder)
    item = json.loads((run.folder / "tiles" / tile / "item.json").read_text())
    assert item["assets"] == {}
    assert len(run.jobs()) == 1


def test_the_logs_of_a_failed_job_may_be_hard_to_get(tiles: Make, proxy: FaultyProxy) -> None:
    run = tiles(1)
    error = edit(lambda job: {**job, "status": "error"} if job["status"] == "finished" else job)
    proxy.spoil(at.JOB, error, times=None).spoil(at.LOGS, refuse(502)).spoil(at.LOGS, endless, skip=1)
    words = [{"id": "1", "level": "error", "message": "one\n\x1b[31mtwo"}, "no entry", {"level": "error", "message": 3}]
    proxy.spoil(at.LOGS, edit(lambda logs: {**logs, "logs": words}), times=None)
    from upscaling.execution.tile import run_tile

    (tile,) = run.plan.tiles
    with pytest.raises(Exception, match=r"one two \| 3") as caught:
        run_tile(tile, config=run.config, run_folder=run.folder)
    assert "\x1b" not in str(caught.value)


def _delete(run: Tiles, job_id: str) -> None:
    import openeo

    from tests.servers import PASSWORD, USER

    openeo.connect(run.platform.url).authenticate_basic(USER, PASSWORD).job(job_id).delete()
