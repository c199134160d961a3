"""What a server sends as results, in forms that no standard has: files and values are told apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from upscaling.backends.ogcapi.results import Found, read_reply
from upscaling.errors import ErrorClass, PlatformError, TileFailedError
from upscaling.util.files import write_json

ITEM = {"type": "Feature", "stac_version": "1.0.0", "id": "a", "assets": {"x": {"href": "a.tif"}}, "links": []}


def found(folder: Path, content: Any, *, has_outputs: bool = False) -> list[Found]:
    return read(folder, json.dumps(content).encode(), has_outputs=has_outputs)


def read(
    folder: Path, body: bytes, kind: str = "application/json", status: int = 200, *, has_outputs: bool = False
) -> list[Found]:
    (folder / "reply").write_bytes(body)
    facts = {"url": "http://h/jobs/1/results", "type": kind, "links": [], "status": status}
    write_json(folder / "reply.headers.json", facts)
    return read_reply(folder / "reply", has_outputs=has_outputs)


@pytest.mark.parametrize(
    ("content", "files"),
    [
        (
            {"out": {"a": {"href": "http://h/1.tif"}, "b": {"href": "2.tif"}}},
            ["http://h/1.tif", "http://h/jobs/1/2.tif"],
        ),
        ({"out": {"class": "File", "location": "http://h/a.tif", "size": 3}}, ["http://h/a.tif"]),
        ({"out": "HTTP://H/A.TIF"}, ["HTTP://H/A.TIF"]),
        ({"links": [{"rel": "self", "href": "."}, {"rel": "result", "href": "/a.tif"}]}, ["http://h/a.tif"]),
        ({"links": [{"rel": "result", "href": "/a.tif"}, {"href": "/b.tif"}]}, ["http://h/a.tif", "http://h/b.tif"]),
        ({"links": [{"rel": "status", "href": ".."}, {"rel": "ndvi", "href": "/a.tif"}]}, ["http://h/a.tif"]),
    ],
)
def test_files_are_found_in_what_holds_them(tmp_path: Path, content: Any, files: list[str]) -> None:
    assert [thing.href for thing in found(tmp_path, content)] == files


def test_values_beside_files_are_values(tmp_path: Path) -> None:
    file, value = found(tmp_path, {"out": {"a": {"href": "http://h/1.tif"}, "mean": 3}})
    assert (file.key, value.key, value.content, value.literal) == ("out-a", "out-mean", b"3", True)


@pytest.mark.parametrize(
    "content", [{"a": {"value": json.dumps(ITEM), "mediaType": "application/json"}}, {"a": json.dumps(ITEM)}]
)
def test_stac_may_come_as_text(tmp_path: Path, content: Any) -> None:
    (thing,) = found(tmp_path, content)
    assert thing.stac == ITEM


@pytest.mark.parametrize("href", ["data:text/csv;charset=utf-8;base64,YSxi", "data:text/csv,a%2Cb"])
def test_data_addresses_are_content(tmp_path: Path, href: str) -> None:
    for content in ({"a": href}, {"a": {"href": href}}):
        (thing,) = found(tmp_path, content)
        assert (thing.content, thing.media_type, thing.literal) == (b"a,b", "text/csv", False)


@pytest.mark.parametrize(
    "content",
    [
        {"type": "about:blank", "title": "No such job", "detail": "j"},
        {"code": "NoSuchJob", "description": "j"},
        {"type": "x", "title": "t", "detail": "d", "status": 500, "more": 1},
    ],
)
def test_an_error_with_status_200_is_no_result(tmp_path: Path, content: Any) -> None:
    with pytest.raises(PlatformError):
        found(tmp_path, content)


@pytest.mark.parametrize("link", [{"rel": "result"}, {"rel": "item", "href": 5}, {"href": None}, 7])
def test_a_result_without_an_address_is_not_passed_over(tmp_path: Path, link: Any) -> None:
    with pytest.raises(TileFailedError, match="a link without an address"):
        found(tmp_path, {"links": [{"rel": "self", "href": "."}, link]})


def test_parts_are_never_lost(tmp_path: Path) -> None:
    kind = "Multipart/Related; boundary=B"
    whole = b"--B\r\nContent-Type: image/tiff\r\n\r\nAB\r\n--B--\r\n"
    for odd in ("", "; x=" + "(" * 800):
        assert [thing.content for thing in read(tmp_path, whole, kind + odd)] == [b"AB"]
    inner = b"Content-Type: multipart/mixed; boundary=C\r\n\r\n--C\r\n\r\nx\r\n--C--\r\n"
    with pytest.raises(TileFailedError, match="part part-0 of the results is itself in parts"):
        read(tmp_path, b"--B\r\n" + inner + b"\r\n--B--\r\n", kind)
    deep = b"".join(b"--B%d\r\nContent-Type: multipart/mixed; boundary=B%d\r\n\r\n" % (n, n + 1) for n in range(2000))
    with pytest.raises(TileFailedError, match="nested too deeply"):
        read(tmp_path, deep, "multipart/mixed; boundary=B0")
    for number in range(20, len(whole) - 5):
        with pytest.raises(PlatformError, match="break off") as caught:
            read(tmp_path, whole[:number], kind)
        assert caught.value.error_class is ErrorClass.TRANSIENT
    for broken in (b"!!", b"Q", b"QU I-"):
        part = b"--B\r\nContent-Type: image/tiff\r\nContent-Transfer-Encoding: base64\r\n\r\n" + broken
        with pytest.raises(TileFailedError, match="part part-0 of the results is not the base64 it says"):
            read(tmp_path, part + b"\r\n--B--\r\n", kind)


@pytest.mark.parametrize(
    "body", ["", "{}", '{"outputs": {}}', '{"outputs": [{}]}', '{"links": null}', '{"links": [{"rel": "self"}]}']
)
def test_results_that_name_no_output_are_no_results_where_there_should_be_some(tmp_path: Path, body: str) -> None:
    with pytest.raises(PlatformError, match="name no output") as caught:
        read(tmp_path, body.encode(), has_outputs=True)
    assert caught.value.error_class is ErrorClass.OUTPUT
    assert not read(tmp_path, body.encode())


@pytest.mark.parametrize(
    ("body", "status"), [("", 204), ("null", 200), ('{"a": null}', 200), ('{"outputs": [null]}', 200)]
)
def test_null_and_no_content_are_results_without_data(tmp_path: Path, body: str, status: int) -> None:
    assert not read(tmp_path, body.encode(), status=status, has_outputs=True)
