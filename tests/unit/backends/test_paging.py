"""Whatever a platform lists may be paged: it is read to its end, and ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.http.fake_server import FakeServer, Handler, fake_server
from upscaling.backends.ogcapi.jobs import words_of_failure
from upscaling.backends.openeo.logs import keep_log
from upscaling.backends.openeo.session import Session
from upscaling.clients.ogcapi.client import OgcApiClient
from upscaling.errors import ErrorClass, PlatformError
from upscaling.jobs.failures import classify_log, is_no_data

REASON = {"level": "error", "code": "Oops", "message": "Driver used too much java memory"}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    def documents(content: Any) -> Any:
        return lambda handler, number: handler.reply(200, json.dumps(content).encode())

    with fake_server() as server:
        versions = {"versions": [{"url": server.url, "api_version": "1.2.0"}]}
        server.answers |= {
            "/.well-known/openeo": documents(versions),
            "/": documents({"api_version": "1.2.0", "endpoints": []}),
        }
        yield server


def paged(server: FakeServer, path: str, name: str, pages: list[list[Any]], *, last: str = "") -> None:
    """Serve a list page by page; ``last`` is where the last page leads."""

    def answer(handler: Handler, number: int) -> None:
        page = int((handler.path.partition("page=")[2] or "0").partition("&")[0]) % len(pages)
        following = f"{path}?page={page + 1}" if page + 1 < len(pages) else last.replace("N", str(number))
        links = [{"rel": "next", "href": f"{server.url}{following}"}] if following else []
        handler.reply(200, json.dumps({name: pages[page], "links": links}).encode())

    server.answers[path] = answer


PAGES = [[{"id": str(100 * page + n), "level": "info", "message": "busy"} for n in range(100)] for page in range(3)]
PAGES[2] = [*PAGES[2], REASON]


@pytest.mark.parametrize("last", ["", "/jobs/j/logs?page=0", "/jobs/j/logs?page=2", "/jobs/j/logs?page=3&again=N"])
def test_the_reason_on_the_last_page_of_a_log_is_found(server: FakeServer, last: str, tmp_path: Path) -> None:
    paged(server, "/jobs/j/logs", "logs", PAGES, last=last)
    reason = keep_log(Session(server.url, "none"), "j", tmp_path / "log")
    assert reason == "Oops Driver used too much java memory"
    assert classify_log(reason) is ErrorClass.MEMORY
    assert len((tmp_path / "log").read_text().splitlines()) == 301
    assert 3 <= len(server.asked("/jobs/j/logs")) <= 4


def test_the_cause_counts_however_much_followed_from_it(server: FakeServer, tmp_path: Path) -> None:
    after = [{"level": "error", "message": f"stage {number} failed"} for number in range(6)]
    paged(server, "/jobs/j/logs", "logs", [[REASON, *after]])
    reason = keep_log(Session(server.url, "none"), "j", tmp_path / "log")
    assert classify_log(reason) is ErrorClass.MEMORY
    assert reason.endswith("stage 5 failed")
    nothing = {"level": "critical", "data": {"reason": "no data available"}}
    paged(server, "/jobs/j/logs", "logs", [[nothing, *[{"level": "fatal", "message": "Batch job failed"}] * 6]])
    reason = keep_log(Session(server.url, "none"), "j", tmp_path / "log")
    assert reason == "{'reason': 'no data available'} | Batch job failed"
    assert is_no_data(reason)


def test_a_log_that_breaks_gives_what_it_has(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upscaling.backends.openeo.logs._PAUSE", 0.0)
    asked: list[str] = []

    def broken(handler: Handler, number: int) -> None:
        asked.append(handler.path)
        if "level=error" in handler.path:
            handler.reply(200, json.dumps({"logs": [REASON, {"level": "error", "message": 3}]}).encode())
        else:
            handler.reply(500, b'{"code": "Internal", "message": "too long"}')

    server.answers["/jobs/j/logs"] = broken
    assert keep_log(Session(server.url, "none"), "j", tmp_path / "log").endswith("java memory | 3")
    server.answers["/jobs/j/logs"] = lambda handler, number: handler.reply(500, b"{}")
    reason = keep_log(Session(server.url, "none"), "j", tmp_path / "log")
    assert "gave no reason (its log cannot be had" in reason
    server.answers["/jobs/j/logs"] = lambda handler, number: handler.reply(503, b"{}", Retry_After="7")
    with pytest.raises(PlatformError) as caught:
        keep_log(Session(server.url, "none"), "j", tmp_path / "log")
    assert caught.value.retry_after == 7.0


@pytest.mark.parametrize("last", ["", "/list?page=0", "/list?page=3&again=N", "/list?page=2"])
@pytest.mark.parametrize("name", ["jobs", "processes", "collections"])
def test_lists_are_read_to_their_end_and_end(server: FakeServer, name: str, last: str) -> None:
    pages: list[list[Any]] = [[{"id": f"{page}-{number}"} for number in range(4)] for page in range(3)]
    paged(server, "/list", name, [*pages[:2], [], pages[2]], last=last)
    found = [entry["id"] for page in Session(server.url, "none").pages("/list", name) for entry in page]
    assert found == [entry["id"] for page in pages for entry in page]
    found = [entry["id"] for entry in OgcApiClient(server.url).pages(f"{server.url}/list", name)]
    assert found == [entry["id"] for page in pages for entry in page]


def test_an_ogcapi_log_is_read_to_its_end(server: FakeServer, tmp_path: Path) -> None:
    pages: list[list[Any]] = [[f"[x] INFO page {page} line {line}" for line in range(50)] for page in range(3)]
    pages[2].append("[x] ERROR the tool ran out of memory")
    paged(server, "/jobs/j/logs", "logs", pages)
    status = {"jobID": "j", "status": "failed", "message": "Job failed."}
    server.answers["/jobs/j"] = lambda handler, number: handler.reply(200, json.dumps(status).encode())
    reason = words_of_failure(OgcApiClient(server.url), "j", tmp_path / "log")
    assert reason.startswith("Job failed. | ")
    assert "the tool ran out of memory" in reason
    assert "page 2 line 49" in (tmp_path / "log").read_text()
    server.answers["/jobs/j/logs"] = lambda handler, number: handler.reply(200, b"one\nERROR: two\n")
    assert "ERROR: two" in words_of_failure(OgcApiClient(server.url), "j", tmp_path / "log")
