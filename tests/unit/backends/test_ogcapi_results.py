"""What a server sends as results, in forms that no standard has: files and values are told apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from upscaling.backends.ogcapi.results import Found, read_reply
from upscaling.errors import PlatformError
from upscaling.util.files import write_json

ITEM = {"type": "Feature", "stac_version": "1.0.0", "id": "a", "assets": {"x": {"href": "a.tif"}}, "links": []}


def found(folder: Path, content: Any) -> list[Found]:
    (folder / "reply").write_text(json.dumps(content))
    facts = {"url": "http://h/jobs/1/results", "type": "application/json", "links": []}
    write_json(folder / "reply.headers.json", facts)
    return read_reply(folder / "reply")


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
