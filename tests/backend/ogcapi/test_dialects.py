"""Recorded shapes of the standard, pygeoapi, ZOO/EOEPCA and Weaver, replayed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.backend.ogcapi.replay import Replay

from upscaling.backends.ogcapi.backend import _state_of
from upscaling.backends.ogcapi.results import read_reply
from upscaling.clients.ogcapi.client import OgcApiClient
from upscaling.errors import ErrorClass, PlatformError, TileFailedError
from upscaling.util.files import write_json

SHAPES = Path(__file__).parent / "shapes"


def shapes(name: str) -> list[Any]:
    return [pytest.param(shape, id=shape["source"]) for shape in json.loads((SHAPES / f"{name}.json").read_text())]


@pytest.mark.parametrize("shape", shapes("jobs"))
def test_a_status_document(replay: Replay, shape: dict[str, Any]) -> None:
    replay.answers[f"GET /api/jobs/{shape['id']}"] = (200, {}, shape["answer"])
    document = OgcApiClient(replay.base).job(shape["id"])
    assert document is not None
    assert _state_of(document).status == shape["status"]


@pytest.mark.parametrize("shape", shapes("executions"))
def test_an_answer_to_an_execution(replay: Replay, tmp_path: Path, shape: dict[str, Any]) -> None:
    body = b"" if shape["body"] == "" else shape["body"]
    replay.answers["POST /api/processes/p/execution"] = (shape["status"], shape["headers"], body)
    job_id = OgcApiClient(replay.base).execute("p", {"inputs": {}}, tmp_path / "reply")
    wanted = shape["job"]
    assert job_id == (wanted and wanted.replace("{base}", replay.base))
    assert (tmp_path / "reply").is_file() == bool(shape.get("at_once"))
    assert len(replay.requests) == 1
    assert replay.requests[0][2]["Prefer"] == "respond-async"


def test_an_accepted_work_without_any_job_id_has_an_unknown_outcome(replay: Replay, tmp_path: Path) -> None:
    replay.answers["POST /api/processes/p/execution"] = (201, {}, {})
    with pytest.raises(PlatformError, match="named no job") as caught:
        OgcApiClient(replay.base).execute("p", {"inputs": {}}, tmp_path / "reply")
    assert caught.value.outcome_unknown


@pytest.mark.parametrize("shape", shapes("results"))
def test_results(replay: Replay, tmp_path: Path, shape: dict[str, Any]) -> None:
    replay.answers["GET /api/jobs/j/results"] = (200, {}, shape["body"])
    found = read_reply(OgcApiClient(replay.base).results("j", tmp_path / "reply"))
    told = []
    for thing in found:
        if thing.stac is not None:
            told.append([thing.key, "stac", thing.stac.get("id")])
        elif thing.href:
            told.append([thing.key, "href", thing.href])
        else:
            assert isinstance(thing.content, bytes)
            told.append([thing.key, "bytes", thing.content.decode()])
    assert told == [[key, kind, value and value.replace("{base}", replay.base)] for key, kind, value in shape["found"]]


def test_raw_bytes_multipart_and_link_headers(replay: Replay, tmp_path: Path) -> None:
    client = OgcApiClient(replay.base)
    replay.answers["GET /api/jobs/raw/results"] = (200, {"Content-Type": "image/tiff"}, b"II*\0pixels")
    (raw,) = read_reply(client.results("raw", tmp_path / "raw"))
    assert raw.media_type == "image/tiff"
    assert Path(str(raw.content)).read_bytes() == b"II*\0pixels"

    parts = (
        b"--b\r\nContent-ID: <ndvi>\r\nContent-Type: image/tiff\r\n\r\nII*\0\r\n\r\nx\r\n"
        b"--b\r\nContent-ID: mean\r\nContent-Type: application/json\r\n\r\n0.5\r\n"
        b"--b\r\nContent-ID: far\r\nContent-Type: image/tiff\r\nContent-Location: /f/far.tif\r\n\r\n\r\n--b--\r\n"
    )
    replay.answers["GET /api/jobs/many/results"] = (200, {"Content-Type": 'multipart/related; boundary="b"'}, parts)
    ndvi, mean, far = read_reply(client.results("many", tmp_path / "many"))
    assert (ndvi.key, ndvi.content, ndvi.media_type) == ("ndvi", b"II*\0\r\n\r\nx", "image/tiff")
    assert (mean.key, mean.content) == ("mean", b"0.5")
    assert far.href == f"http://127.0.0.1:{replay.port}/f/far.tif"

    links = '<f/a.tif>; rel="ndvi"; type="image/tiff", <http://x.example/>; rel="self", <f/b.tif>; rel="mask"'
    replay.answers["GET /api/jobs/link/results"] = (204, {"Link": links}, b"")
    assert [(thing.key, thing.href) for thing in read_reply(client.results("link", tmp_path / "link"))] == [
        ("ndvi", f"{replay.base}/jobs/link/f/a.tif"),
        ("mask", f"{replay.base}/jobs/link/f/b.tif"),
    ]


def test_html_is_asked_for_again_as_json(replay: Replay, tmp_path: Path) -> None:
    page = (200, {"Content-Type": "text/html"}, b"<html>")
    replay.answers["GET /api/jobs/j/results"] = page
    replay.answers["GET /api/jobs/j/results?f=json"] = (200, {}, {"a": 1})
    replay.answers["GET /api/processes/p"] = page
    replay.answers["GET /api/processes/p?f=json"] = (200, {}, {"id": "p", "inputs": {}})
    client = OgcApiClient(replay.base)
    assert [thing.key for thing in read_reply(client.results("j", tmp_path / "r"))] == ["a"]
    assert client.process("p")["id"] == "p"


@pytest.mark.parametrize(
    ("answer", "known"),
    [
        ((404, {}, {"type": "http://www.opengis.net/def/exceptions/no-such-job", "title": "NoSuchJob"}), "gone"),
        ((404, {}, {"code": "InvalidParameterValue", "description": "j"}), "gone"),  # pygeoapi 0.21
        ((404, {}, {"code": "NoSuchJob", "description": "Could not find job."}), "gone"),  # Weaver
        ((404, {}, b"<html>nginx</html>"), "trouble"),
        ((404, {}, {"message": "no Route matched with those values"}), "trouble"),  # a gateway
        ((502, {}, b"Bad Gateway"), "trouble"),
    ],
)
def test_only_the_server_itself_says_that_a_job_is_gone(replay: Replay, answer: Any, known: str) -> None:
    replay.answers["GET /api/jobs/j"] = answer
    client = OgcApiClient(replay.base)
    if known == "gone":
        assert client.job("j") is None
    else:
        with pytest.raises(PlatformError) as caught:
            client.job("j")
        assert caught.value.error_class is ErrorClass.TRANSIENT


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((404, {}, {"type": "http://www.opengis.net/def/exceptions/result-not-ready"}), ErrorClass.TRANSIENT),
        ((404, {}, {"code": "ResultNotReady", "description": "job still running"}), ErrorClass.TRANSIENT),
        ((400, {}, {"code": "InvalidParameterValue", "description": "job failed"}), ErrorClass.PERMANENT),
        ((500, {}, {"code": "JobResultNotFound", "description": "j"}), ErrorClass.OUTPUT),
        ((410, {}, {"title": "Gone", "detail": "the results were removed"}), ErrorClass.OUTPUT),
        ((503, {"Retry-After": "7"}, b""), ErrorClass.TRANSIENT),
        ((401, {}, {"detail": "who are you"}), ErrorClass.AUTH),
    ],
)
def test_results_that_are_not_there(replay: Replay, tmp_path: Path, answer: Any, kind: ErrorClass) -> None:
    replay.answers["GET /api/jobs/j/results"] = answer
    with pytest.raises(PlatformError) as caught:
        OgcApiClient(replay.base).results("j", tmp_path / "r")
    assert caught.value.error_class is kind
    if answer[0] == 503:
        assert caught.value.retry_after == 7


def test_pages_of_jobs_and_a_filter_that_is_not_known(replay: Replay) -> None:
    inner = "http://inner:9/api/jobs?offset=2"
    first = {"jobs": [{"jobID": "a"}, {"jobID": "b"}], "links": [{"rel": "next", "href": inner}]}
    replay.answers["GET /api/jobs"] = lambda handler, _body: (
        (200, {}, {"jobs": [{"id": "c"}], "links": [{"rel": "next", "href": inner}]})
        if "offset=2" in handler.path
        else (200, {}, first)
    )
    found = list(OgcApiClient(replay.base).jobs("p"))
    assert [job.get("jobID") or job["id"] for job in found] == ["a", "b", "c"]


def test_a_refused_connection_has_a_known_outcome_and_a_broken_one_not(replay: Replay, tmp_path: Path) -> None:
    def hang_up(handler: Any, _body: bytes) -> Any:
        handler.connection.close()
        raise ConnectionResetError

    from tests.servers import free_port

    with pytest.raises(PlatformError) as refused:
        OgcApiClient(f"http://127.0.0.1:{free_port()}").execute("p", {}, tmp_path / "r")
    assert not refused.value.outcome_unknown
    replay.answers["POST /api/processes/p/execution"] = (502, {}, b"")
    with pytest.raises(PlatformError) as broken:
        OgcApiClient(replay.base).execute("p", {}, tmp_path / "r")
    assert broken.value.outcome_unknown


def test_damaged_results_are_one_line(tmp_path: Path) -> None:
    reply = tmp_path / "reply"
    write_json(tmp_path / "reply.headers.json", {"url": "http://h/x", "type": "application/json", "links": []})
    reply.write_bytes(b'{"a": ')
    with pytest.raises(TileFailedError, match="not JSON"):
        read_reply(reply)
    deep: Any = 1
    for _ in range(50):
        deep = {"value": deep}
    reply.write_text(json.dumps({"a": deep}))
    with pytest.raises(TileFailedError, match="nested too deeply"):
        read_reply(reply)
    reply.write_text('{"a": {"value": "!!", "mediaType": "image/tiff", "encoding": "base64"}}')
    with pytest.raises(TileFailedError, match="not the base64"):
        read_reply(reply)
