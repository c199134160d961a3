"""A tile's job is created once, as far as the server lets anybody know; what nobody knows is said, and decided."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.backend.ogcapi.replay import Replay

from upscaling.backends.ogcapi import jobs as ogcapi_jobs
from upscaling.backends.ogcapi.backend import OgcApiBackend, _Work
from upscaling.config.ogcapi import OgcApiBackendConfig
from upscaling.errors import ConfigError, TileFailedError
from upscaling.jobs.receipts import open_receipt
from upscaling.jobs.slots import SlotPool
from upscaling.model import Algorithm, Bounds, Outcome, Tile, TileJob
from upscaling.util.files import write_json

INPUTS = {"aoi": "1,2,3,4"}
DESCRIPTION = {"id": "p", "version": "1", "inputs": {}, "outputs": {"a": {}}}


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ogcapi_jobs, "_OTHERS", (0.01, 0.01))


@pytest.fixture
def work(replay: Replay, tmp_path: Path) -> Callable[..., Outcome]:
    """Run one tile's work on the replaying server."""
    run = tmp_path / "run"
    write_json(tmp_path / "process.json", DESCRIPTION)
    algorithm = Algorithm("ogcapi", "p", tmp_path / "process.json", "0", "p")
    tile = Tile("t1", "EPSG:32632", Bounds(0, 0, 1, 1))
    job = TileJob(
        "run", tile, "k" * 64, INPUTS, algorithm, run / "tiles/t1", run / "receipts/t1.json", run / "scratch/t1"
    )

    def make(**settings: Any) -> Outcome:
        config = OgcApiBackendConfig(kind="ogcapi", poll_seconds=[0.02, 0.05], **settings)
        with open_receipt(job) as receipt:
            return OgcApiBackend(config, url=replay.base, run_folder=run).run(job, receipt)

    return make


def receipt(tmp_path: Path) -> Any:
    return json.loads((tmp_path / "run/receipts/t1.json").read_text())


def intent(tmp_path: Path) -> None:
    """A receipt as a process leaves it that was killed while it created a job."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    content = {"tile": "t1", "key": "k" * 64, "state": "intent", "attempt": 1, "updated": now, "job_id": None}
    write_json(tmp_path / "run/receipts/t1.json", content)


def posts(replay: Replay) -> int:
    return sum(method == "POST" for method, *_ in replay.requests)


def successful(replay: Replay, *ids: str) -> None:
    for name in ids:
        replay.answers[f"GET /api/jobs/{name}"] = (200, {}, {"jobID": name, "status": "successful"})
        replay.answers[f"GET /api/jobs/{name}/results"] = (200, {}, {"a": name})


def listed(*entries: dict[str, Any]) -> Any:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    jobs = [{"processID": "p", "status": "running", "created": now, **entry} for entry in entries]
    return 200, {}, {"jobs": jobs, "links": []}


def test_created_waited_for_and_fetched(replay: Replay, work: Callable[..., Outcome], tmp_path: Path) -> None:
    successful(replay, "j")
    replay.answers["GET /api/jobs/j"] = [
        (200, {}, {"jobID": "j", "status": status}) for status in ("accepted", "running", "running", "successful")
    ]
    replay.answers["GET /api/jobs/j/results"] = [(404, {}, {"type": "result-not-ready"}), (200, {}, {"a": 1})]
    replay.answers["POST /api/processes/p/execution"] = (201, {}, {"jobID": "j"})
    outcome = work()
    assert outcome.values == {"a": 1}
    assert json.loads(replay.requests[0][3]) == {"inputs": INPUTS, "response": "raw"}
    assert posts(replay) == 1
    assert receipt(tmp_path)["job_id"] == "j"


def test_results_that_came_at_once_and_broke_off_are_those_of_their_job_if_there_is_one(
    replay: Replay, work: Callable[..., Outcome], tmp_path: Path
) -> None:
    kind = {"Content-Type": "multipart/mixed; boundary=B"}
    replay.answers["POST /api/processes/p/execution"] = (200, kind, b"--B\r\n\r\ncut")
    with pytest.raises(TileFailedError, match="break off before their last part ends, and cannot be asked for again"):
        work()
    (tmp_path / "run/receipts/t1.json").unlink()
    (tmp_path / "run/scratch/t1/reply").unlink()
    successful(replay, "j")
    location = {**kind, "Location": f"{replay.base}/jobs/j"}
    replay.answers["POST /api/processes/p/execution"] = (200, location, b"--B\r\n\r\ncut")
    assert work().values == {"a": "j"}


def test_a_process_with_outputs_has_no_tile_without_data_by_an_empty_answer(
    replay: Replay, work: Callable[..., Outcome]
) -> None:
    successful(replay, "j")
    replay.answers["GET /api/jobs/j/results"] = (200, {}, {})
    replay.answers["POST /api/processes/p/execution"] = (201, {}, {"jobID": "j"})
    with pytest.raises(TileFailedError, match=r"its results are not there .*name no output of the process"):
        work()


@pytest.mark.parametrize(
    "echo",
    [
        {"inputs": INPUTS},
        {"request": {"inputs": INPUTS}},
        {"parameters": {"inputs": INPUTS}},
        {"parameters": INPUTS},
    ],
)
def test_a_job_whose_inputs_the_server_repeats_is_found_again(
    replay: Replay, work: Callable[..., Outcome], tmp_path: Path, echo: dict[str, Any]
) -> None:
    intent(tmp_path)
    successful(replay, "mine", "not")
    replay.answers["GET /api/jobs"] = listed({"jobID": "not", "inputs": {"aoi": "9"}}, {"jobID": "mine", **echo})
    outcome = work()
    assert outcome.job["id"] == "mine"
    assert posts(replay) == 0


@pytest.mark.parametrize("process", ["p", "p:1.0", "P@2", "https://server.example.org/processes/p?v=2", "ns:p", "p-v1"])
def test_a_job_of_a_process_that_the_server_names_otherwise_is_found_again(
    replay: Replay, work: Callable[..., Outcome], tmp_path: Path, process: str
) -> None:
    intent(tmp_path)
    successful(replay, "mine")
    mine = listed({"jobID": "mine", "processID": process, "inputs": {"aoi": "1.0, 2, 3, 4", "added": 1}})
    # Its filter knows the process by the other name only.
    replay.answers["GET /api/jobs?limit=1000&processID=p"] = listed()
    replay.answers["GET /api/jobs"] = mine
    assert work().job["id"] == "mine"
    assert posts(replay) == 0


def test_of_two_jobs_of_a_request_that_was_sent_twice_the_furthest_is_taken(
    replay: Replay, work: Callable[..., Outcome], tmp_path: Path
) -> None:
    intent(tmp_path)
    successful(replay, "one", "two")
    entries = [{"jobID": "two", "status": "accepted"}, {"jobID": "one", "status": "successful"}, {"jobID": "three"}]
    replay.answers["GET /api/jobs"] = listed(*({**entry, "inputs": INPUTS} for entry in entries))
    assert work().job["id"] == "one"
    assert posts(replay) == 0


def test_inputs_that_only_the_job_itself_tells(replay: Replay, work: Callable[..., Outcome], tmp_path: Path) -> None:
    """Weaver: /jobs/{id}/inputs."""
    intent(tmp_path)
    successful(replay, "mine")
    replay.answers["GET /api/jobs"] = listed({"jobID": "mine"})
    replay.answers["GET /api/jobs/mine/inputs"] = (200, {}, {"inputs": INPUTS})
    assert work().job["id"] == "mine"
    assert posts(replay) == 0


def test_a_list_of_bare_ids(replay: Replay, work: Callable[..., Outcome], tmp_path: Path) -> None:
    """Weaver without details: every job is asked what it is, and what it was sent."""
    intent(tmp_path)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    replay.answers["GET /api/jobs"] = (200, {}, {"jobs": ["old", "mine"], "total": 2})
    replay.answers["GET /api/jobs/old"] = (
        200,
        {},
        {"jobID": "old", "status": "succeeded", "created": "2020-01-01T00:00:00Z"},
    )
    told = {"jobID": "mine", "processID": "p", "status": "succeeded", "created": now}
    replay.answers["GET /api/jobs/mine"] = (200, {}, told)
    replay.answers["GET /api/jobs/mine/inputs"] = (200, {}, {"inputs": INPUTS})
    replay.answers["GET /api/jobs/mine/results"] = (200, {}, {"a": 1})
    assert work().job["id"] == "mine"
    assert posts(replay) == 0


def test_on_a_terminal_the_decision_is_asked_for(
    replay: Replay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    intent(tmp_path)
    run = tmp_path / "run"
    ogcapi_jobs.decide_unknown("ask", run)  # nobody there: nothing happens
    assert receipt(tmp_path)["state"] == "intent"
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _question: "n")
    ogcapi_jobs.decide_unknown("ask", run)
    assert receipt(tmp_path)["state"] == "intent"
    assert "t1: a job may have been created at" in capsys.readouterr().err
    monkeypatch.setattr("builtins.input", lambda _question: "y")
    ogcapi_jobs.decide_unknown("fail", run)
    assert receipt(tmp_path)["state"] == "intent"
    ogcapi_jobs.decide_unknown("ask", run)
    decided = receipt(tmp_path)
    assert (decided["state"], decided["facts"]) == ("intent", {"on_unknown": "resubmit"})


def test_what_no_new_job_can_be_was_never_created(replay: Replay, work: Callable[..., Outcome], tmp_path: Path) -> None:
    """Every job in the list is older, another process's, or another tile's by its receipt."""
    intent(tmp_path)
    write_json(tmp_path / "run/receipts/t2.json", {"key": "x", "state": "started", "job_id": "other-tile"})
    successful(replay, "new")
    replay.answers["GET /api/jobs"] = listed(
        {"jobID": "old", "created": "2020-01-01T00:00:00Z"},
        {"jobID": "other-process", "processID": "q"},
        {"jobID": "other-tile"},
    )
    replay.answers["POST /api/processes/p/execution"] = (201, {}, {"jobID": "new"})
    assert work().job["id"] == "new"
    assert posts(replay) == 1


LISTS: dict[str, tuple[Any, str]] = {
    "an unclaimed job that does not tell its inputs": (
        lambda: listed({"jobID": "whose"}),
        "its job list names jobs of this process that no receipt knows",
    ),
    "inputs in an encoding that cannot be compared": (
        lambda: listed({"jobID": "whose", "inputs": {"aoi": {"href": "https://server.example.org/inputs/1"}}}),
        "its job list names jobs of this process that no receipt knows",
    ),
    "no list": (lambda: (404, {}, {"code": "x", "description": "no such page"}), "it lists no jobs"),
    "no list, bare": (lambda: (404, {}, b"nothing"), "it lists no jobs"),
    "not allowed": (lambda: (405, {}, b""), "it lists no jobs"),
    "not implemented": (lambda: (501, {}, b""), "it lists no jobs"),
    "a list without a job that is under way": (
        listed,
        "its job list does not show jobs that are under way",
    ),
}


@pytest.mark.parametrize("case", LISTS)
def test_what_nobody_knows_is_said_and_decided(
    replay: Replay, work: Callable[..., Outcome], tmp_path: Path, case: str
) -> None:
    intent(tmp_path)
    if "under way" in case:
        write_json(tmp_path / "run/receipts/t2.json", {"key": "x", "state": "started", "job_id": "active"})
    answer, words = LISTS[case]
    replay.answers["GET /api/jobs"] = answer()
    for _ in range(2):  # the second run knows no more than the first
        with pytest.raises(TileFailedError) as caught:
            work()
        assert words in str(caught.value)
        assert "backend.on_unknown" in str(caught.value)
        assert receipt(tmp_path)["state"] == "intent"
    assert posts(replay) == 0, "a silent second run"
    successful(replay, "again")
    replay.answers["POST /api/processes/p/execution"] = (201, {}, {"jobID": "again"})
    assert work(on_unknown="resubmit").job["id"] == "again"
    assert posts(replay) == 1


def test_an_answer_that_never_came(replay: Replay, work: Callable[..., Outcome], tmp_path: Path) -> None:
    """The server creates the job and a gateway answers 502: the job is adopted, not created again."""
    successful(replay, "j")
    replay.answers["GET /api/jobs"] = [listed(), listed({"jobID": "j", "inputs": INPUTS})]
    replay.answers["POST /api/processes/p/execution"] = (502, {}, b"Bad Gateway")
    assert work().job["id"] == "j"
    assert posts(replay) == 1


def test_refusals_are_waited_out_or_said(replay: Replay, work: Callable[..., Outcome], tmp_path: Path) -> None:
    successful(replay, "j")
    busy, taken = (429, {"Retry-After": "0"}, {"title": "too many jobs"}), (201, {}, {"jobID": "j"})
    replay.answers["POST /api/processes/p/execution"] = [busy, busy, taken]
    assert work().job["id"] == "j"
    assert posts(replay) == 3
    (tmp_path / "run/receipts/t1.json").unlink()
    replay.answers["POST /api/processes/p/execution"] = (400, {}, {"title": "bad", "detail": "aoi is on the moon"})
    with pytest.raises(TileFailedError, match="aoi is on the moon"):
        work()


def test_results_sent_at_once_survive_a_kill(replay: Replay, work: Callable[..., Outcome], tmp_path: Path) -> None:
    replay.answers["POST /api/processes/p/execution"] = (200, {}, {"a": 1})
    first = work()
    assert first.job["id"].startswith("at-once-")
    assert first.values == {"a": 1}
    intent(tmp_path)  # as if killed between the answer and its note
    assert work().values == {"a": 1}
    assert posts(replay) == 1


def test_a_failed_job_in_the_servers_words(replay: Replay, work: Callable[..., Outcome], tmp_path: Path) -> None:
    replay.answers |= {
        "POST /api/processes/p/execution": (201, {}, {"jobID": "j"}),
        "GET /api/jobs/j": (200, {}, {"jobID": "j", "status": "failed", "message": "\x1b[31mstep 2\nfailed\x1b[0m"}),
        "GET /api/jobs/j/results": (400, {}, {"title": "ProcessFailed", "detail": "no scene over the area"}),
        "GET /api/jobs/j/logs": (200, {}, ["[ERROR] crop: exit 9"]),
    }
    with pytest.raises(TileFailedError, match=r"step 2 failed \| ProcessFailed: no scene over the area"):
        work()
    assert "crop: exit 9" in (tmp_path / "run/logs/t1.platform.log").read_text()
    assert receipt(tmp_path)["state"] == "failed"


def test_a_canceled_job(replay: Replay, work: Callable[..., Outcome], tmp_path: Path) -> None:
    replay.answers |= {
        "POST /api/processes/p/execution": (201, {}, {"jobID": "j"}),
        "GET /api/jobs/j": (200, {}, {"jobID": "j", "status": "dismissed"}),
    }
    with pytest.raises(TileFailedError, match="was canceled on the platform"):
        work()
    replay.answers["DELETE /api/jobs/j"] = (200, {}, {"jobID": "j", "status": "dismissed"})
    backend = OgcApiBackend(OgcApiBackendConfig(kind="ogcapi"), url=replay.base, run_folder=tmp_path / "run")
    backend.cancel("j")
    replay.answers["DELETE /api/jobs/j"] = (404, {}, {"code": "NoSuchJob"})
    backend.cancel("j")  # gone is as good


def test_a_process_that_changed_since_the_plan_is_not_run(replay: Replay, tmp_path: Path) -> None:
    write_json(tmp_path / "process.json", DESCRIPTION)
    algorithm = Algorithm("ogcapi", "p", tmp_path / "process.json", "0", "p")
    backend = OgcApiBackend(OgcApiBackendConfig(kind="ogcapi"), url=replay.base, run_folder=tmp_path / "run")
    replay.answers["GET /api/processes/p"] = (200, {}, {**DESCRIPTION, "links": [{"href": "x"}], "title": "new words"})
    backend.check(algorithm)
    replay.answers["GET /api/processes/p"] = (200, {}, {**DESCRIPTION, "version": "2"})
    with pytest.raises(ConfigError, match=r"p has changed on .* \(version 1 then, 2 now\)"):
        backend.check(algorithm)


def test_the_wait_for_a_place_is_no_part_of_a_jobs_duration(tmp_path: Path) -> None:
    places = SlotPool(1)
    places.take("another tile")
    backend: Any = SimpleNamespace(client=None, places=places)
    job: Any = SimpleNamespace(scratch=tmp_path, key="ours")
    receipt: Any = None
    work = _Work(backend, job, receipt)
    threading.Timer(0.3, places.leave, args=["another tile"]).start()
    made = work._began
    work.await_place()
    assert work._began - made >= 0.3
