"""Which items a tile gets: the same from an API, a real one too, from files and from GeoParquet."""

from __future__ import annotations

import json
import tempfile
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests
import shapely
from shapely.geometry import box
from tests.fake_stac_api import FakeStacApi
from tests.publish.pgstac import Pgstac
from tests.stac_products import make_items

from upscaling.config.stage_in import Search
from upscaling.errors import ConfigError
from upscaling.stage_in.choose import Choice, fits, pin, pinned_document, span_of, within
from upscaling.stage_in.sources import Said, found
from upscaling.stage_in.web import TOKEN

EVERYWHERE = (-180.0, -90.0, 180.0, 90.0)
WESTERN = box(11.28, 46.46, 11.30, 46.48)  # in the western strip only
JUNE = span_of(("2022-06-01", "2022-07-01"), "time")


def quiet(_line: str) -> None:
    pass


def chosen(catalogue: Path | str, at: Any = WESTERN, span: Any = JUNE, **search: Any) -> list[str]:
    """The ids of what a place and a time get."""
    asked = Search(catalogue=str(catalogue), **search)
    spans = [("2022-06-01", "2022-07-01")] if span else None
    pinned = []
    for said in found(asked, [EVERYWHERE], spans, key="stage_in", say=quiet):
        if fits(said, asked, [EVERYWHERE], spans):
            pinned.append(pin(said, asked, pinned_document(said, asked)))
    choice = Choice(pinned, limit=asked.limit, descending=asked.sort.startswith("-"))
    return [item.id for item in choice.at(at, span)]


CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["west_a", "whole_b", "cloudy_c"]),
    ({"max_cloud_cover": 20}, ["west_a", "whole_b"]),
    ({"max_cloud_cover": 20, "sort": "-datetime"}, ["whole_b", "west_a"]),
    ({"sort": "eo:cloud_cover", "limit": 1}, ["west_a"]),
    ({"where": {"platform": "sentinel-2a"}}, ["whole_b"]),
    ({"where": {"eo:cloud_cover": {"gt": 5, "lt": 80}}}, ["whole_b"]),
    ({"where": {"platform": ["sentinel-2b", "other"]}}, ["west_a", "cloudy_c"]),
    ({"collections": ["s2"], "limit": 2}, ["west_a", "whole_b"]),
    ({"collections": ["other"]}, []),
]


@pytest.mark.parametrize("kind", ["api", "catalogue", "parquet", "catalogue_of_the_web"])
def test_every_kind_of_catalogue_gives_the_same(kind: str, request: pytest.FixtureRequest) -> None:
    place = request.getfixturevalue(kind)
    place = place.url if kind == "api" else place
    for search, expected in CASES:
        assert chosen(place, **search) == expected, search
    # A half-open month: the item of 2 July is not in June; without a time everything is.
    assert "whole_d" in chosen(place, span=None)
    # East of the strips' common edge, and on it.
    assert chosen(place, at=box(11.37, 46.46, 11.39, 46.48)) == ["east_a", "whole_b", "cloudy_c"]
    assert set(chosen(place, at=box(11.33, 46.46, 11.36, 46.48))) == {"west_a", "east_a", "whole_b", "cloudy_c"}
    assert chosen(place, at=box(12.0, 46.46, 12.1, 46.48)) == []


def test_a_real_api_gives_the_same(scene: Path, tmp_path: Path) -> None:
    """stac-fastapi-pgstac on PostgreSQL; what it is asked to leave out, it leaves out."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL's owner is another user
        server = Pgstac(folder / "pgstac")
        try:
            server.start()
            compare(server, scene, tmp_path)
        finally:
            server.stop()


def compare(server: Pgstac, scene: Path, tmp_path: Path) -> None:
    extent = {"spatial": {"bbox": [[11, 46, 12, 47]]}, "temporal": {"interval": [["2022-01-01T00:00:00Z", None]]}}
    head = {"type": "Collection", "stac_version": "1.0.0", "id": "s2", "description": "d", "license": "other"}
    answer = requests.post(f"{server.url}/collections", json={**head, "extent": extent, "links": []}, timeout=120)
    assert answer.ok, answer.text
    for item in make_items(scene, tmp_path / "files", href="https://files.example"):
        answer = requests.post(f"{server.url}/collections/s2/items", json=item, timeout=120)
        assert answer.ok, answer.text
    for search, expected in CASES:
        assert chosen(server.url, **search) == expected, search
    asked = Search(catalogue=server.url, max_cloud_cover=20, where={"platform": "sentinel-2a"}, collections=["s2"])
    every = list(found(asked, [EVERYWHERE], [("2022-06-01", "2022-07-01")], key="stage_in", say=quiet))
    assert [said.item["id"] for said in every] == ["whole_b"]
    assert every[0].href == f"{server.url}/collections/s2/items/whole_b"


def test_an_api_is_asked_for_no_more_than_is_wanted(api: FakeStacApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "very-secret")
    assert chosen(api.url, max_cloud_cover=20, collections=["s2"]) == ["west_a", "whole_b"]
    assert api.tokens == {"Bearer very-secret"}
    asked = api.searches[0]
    assert asked["query"] == {"eo:cloud_cover": {"lte": 20.0}}
    assert asked["datetime"] == "2022-06-01T00:00:00Z/2022-07-01T00:00:00Z"
    assert len(api.searches) == 2, "three items in pages of two"
    api.searches.clear()
    api.conformance = [*api.conformance[:2], "https://api.stacspec.org/v1.0.0/item-search#filter"]
    assert chosen(api.url, max_cloud_cover=20, where={"platform": "sentinel-2a"}) == ["whole_b"]
    assert api.searches[0]["filter"] == {
        "op": "and",
        "args": [
            {"op": "<=", "args": [{"property": "eo:cloud_cover"}, 20.0]},
            {"op": "=", "args": [{"property": "platform"}, "sentinel-2a"]},
        ],
    }


def test_the_token_stays_at_home(api: FakeStacApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "very-secret")
    with FakeStacApi(tmp_path) as other:

        def next_page_elsewhere(path: str, handler: BaseHTTPRequestHandler) -> bool:
            if path != "/search" or other.searches:
                return False
            link = {"rel": "next", "href": f"{other.url}/search", "method": "POST", "body": {}}
            handler.say({"type": "FeatureCollection", "features": api.items[:1], "links": [link]})  # type: ignore[attr-defined]
            return True

        api.misbehave = next_page_elsewhere
        chosen(api.url)
        assert other.searches
        assert other.tokens == {""}


def says(content: Any, status: int = 200) -> Any:
    def answer(path: str, handler: BaseHTTPRequestHandler) -> bool:
        if path == "/search":
            handler.say(content, status)  # type: ignore[attr-defined]
        return path == "/search"

    return answer


def test_bad_apis_end_in_one_line(api: FakeStacApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upscaling.stage_in.sources._BACKOFF", 0.0)
    again = [{"rel": "next", "href": f"{api.url}/search", "method": "POST"}]
    cases = {
        "gives the same page again and again": says({"features": api.items[:1], "links": again}),
        "refuses the search": says({"code": "BadRequest", "description": "no such thing"}, 400),
        "does not answer as a STAC API": says(["x"]),
    }
    for words, manner in cases.items():
        api.misbehave = manner
        with pytest.raises(ConfigError, match=words) as caught:
            chosen(api.url)
        assert str(caught.value).startswith("stage_in.catalogue: ")
        assert "\n" not in str(caught.value)


def test_an_overloaded_api_is_asked_again(api: FakeStacApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upscaling.stage_in.sources._BACKOFF", 0.01)
    times = iter(range(3))

    def overloaded(path: str, handler: BaseHTTPRequestHandler) -> bool:
        refuse = path == "/search" and next(times, None) is not None
        if refuse:
            handler.say({}, 503)  # type: ignore[attr-defined]
        return refuse

    api.misbehave = overloaded
    assert chosen(api.url) == ["west_a", "whole_b", "cloudy_c"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such catalogue"),
        ("<html>", "is no STAC: not a JSON object"),
        ('{"a": 1}', "is no STAC catalogue, collection or item"),
        ('{"type": "Catalog", "links": [{"rel": "item", "href": "./gone.json"}]}', "gone.json cannot be read"),
    ],
)
def test_bad_files_end_in_one_line(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "catalog.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=words):
        chosen(path)
    (tmp_path / "bad.parquet").write_text("PAR1")
    with pytest.raises(ConfigError, match="cannot be read as STAC GeoParquet"):
        chosen(tmp_path / "bad.parquet")


def test_a_catalogue_of_the_web_does_not_name_files_of_this_machine(api: FakeStacApi, tmp_path: Path) -> None:
    api.items[0]["assets"]["B03"]["href"] = "file:///etc/passwd"
    with pytest.raises(Exception, match=r"links to file:///etc/passwd, which is not of the web"):
        chosen(api.url)
    api.items[0]["assets"]["B03"]["href"] = "/etc/passwd"  # relative to the item: a path of the server
    assert "west_a" in chosen(api.url)
    static = tmp_path / "files" / "catalog.json"
    static.write_text(json.dumps({"type": "Catalog", "links": [{"rel": "item", "href": "file:///etc/passwd"}]}))
    with pytest.raises(ConfigError, match="which is not of the web"):
        chosen(f"{api.url}/files/catalog.json")


def test_items_across_the_antimeridian_and_without_a_place() -> None:
    def shape(**item: Any) -> Any:
        from upscaling.stage_in.choose import _shape

        return _shape(item)

    ring = [[179, 0], [-179, 0], [-179, 1], [179, 1], [179, 0]]
    crossing = shape(geometry={"type": "Polygon", "coordinates": [ring]})
    assert crossing.intersects(shapely.Point(179.5, 0.5))
    assert not crossing.intersects(shapely.Point(0, 0.5))
    assert shape(bbox=[179, 0, -179, 1]).intersects(shapely.Point(-179.5, 0.5))
    assert shape(geometry=None) is None
    assert shape(geometry={"type": "Nonsense"}) is None


@pytest.mark.parametrize(
    ("start", "end", "there"),
    [
        ("2022-07-01T00:00:00Z", None, False),  # the first moment that is no longer June
        ("2022-06-01T00:00:00Z", None, True),
        ("2022-05-31T23:59:59.999Z", None, False),
        ("2022-05-01T00:00:00Z", "2022-06-01T00:00:00Z", True),  # an item's end is in it
        ("2022-05-01T00:00:00Z", "2022-05-31T23:59:59Z", False),
        ("2022-05-01T00:00:00Z", "2022-08-01T00:00:00Z", True),
        ("no date", None, False),
    ],
)
def test_times_are_half_open(start: str, end: str | None, there: bool) -> None:
    when = {"datetime": start} if end is None else {"datetime": None, "start_datetime": start, "end_datetime": end}
    said = Said({"id": "a", "properties": when}, "x", None)
    search = Search(catalogue="x")
    assert fits(said, search, None, [("2022-06-01", "2022-07-01")]) is there
    assert within(pin(said, search, {"assets": {}}), JUNE) is there
