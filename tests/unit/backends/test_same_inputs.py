"""A server repeats inputs in an encoding of its own; only a plain value that differs for certain tells another job."""

from __future__ import annotations

from typing import Any

import pytest

from upscaling.backends.ogcapi.same_inputs import Match, same_inputs

RING = [[11.0, 46.0], [11.1, 46.0], [11.1, 46.1], [11.0, 46.1], [11.0, 46.0]]
HOLE = [[11.04, 46.04], [11.06, 46.04], [11.06, 46.06], [11.04, 46.04]]
POLYGON = {"type": "Polygon", "coordinates": [RING]}
SENT: dict[str, Any] = {
    "aoi": {"value": POLYGON},
    "bbox": {"bbox": [11.0, 46.0, 11.1, 46.1], "crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"},
    "time": "2023-06-01T00:00:00Z",
    "interval": "2023-06-01/2023-07-01",
    "bands": ["B04", "B08"],
    "crs": "EPSG:32632",
    "day": "2023-06-01",
    "name": "Bräu & Co",
    "factor": 2.0,
    "clouds": 30,
    "mask": True,
    "scene": {"href": "https://data.example.org/a%20b.tif", "type": "image/tiff"},
}
SAME: dict[str, dict[str, Any]] = {
    "as it was sent": {},
    "defaults filled in": {"threshold": 0.5, "verbose": False},
    "bare, where it was wrapped": {"aoi": POLYGON},
    "wrapped, where it was bare": {"factor": {"value": 2.0}, "bands": {"value": ["B04", "B08"]}},
    "wrapped twice, with more": {"factor": {"value": {"value": 2.0, "uom": "m"}, "mediaType": "text/plain"}},
    "a number without its fraction": {"factor": 2},
    "numbers as texts": {"factor": "2", "clouds": "30.0"},
    "rounded": {"bbox": {"bbox": [11.0, 46.0, 11.100000001, 46.1], "crs": SENT["bbox"]["crs"]}},
    "truth as text": {"mask": "True"},
    "truth as a number": {"mask": 1},
    "a time without zone": {"time": "2023-06-01T00:00:00"},
    "a time with another zone": {"time": "2023-06-01T02:00:00+02:00"},
    "a time with milliseconds": {"time": "2023-06-01T00:00:00.000Z"},
    "a time as a day": {"time": "2023-06-01"},
    "an interval in full": {"interval": "2023-06-01T00:00:00Z/2023-07-01T00:00:00Z"},
    "a list of one": {"factor": [2.0]},
    "more fields": {"scene": {**SENT["scene"], "title": "", "rel": "data"}},
    "an address written otherwise": {"scene": {"href": "https://data.example.org/a b.tif", "type": "image/tiff"}},
    "a ring the other way round": {"aoi": {"type": "Polygon", "coordinates": [RING[::-1]]}},
    "an outline as WKT": {"aoi": "POLYGON((11 46,11.1 46,11.1 46.1,11 46.1,11 46))"},
    "an outline as a feature": {"aoi": {"type": "Feature", "properties": {}, "geometry": POLYGON}},
    "a collection of one": {
        "aoi": {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": POLYGON}]}
    },
    "a box without its CRS": {"bbox": [11, 46, 11.1, 46.1]},
    "a CRS as urn": {"crs": "urn:ogc:def:crs:EPSG::32632"},
    "a CRS as address": {"crs": "http://www.opengis.net/def/crs/EPSG/0/32632"},
    "a CRS as number": {"crs": 32632},
    "an interval as list": {"interval": ["2023-06-01", "2023-07-01T00:00:00Z"]},
    "a list as text": {"bands": "B04, B08"},
    "a compact day": {"day": "20230601"},
    "a day with slashes": {"day": "2023/06/01"},
    "seconds since 1970": {"time": 1685577600},
    "an address with its port": {"scene": "https://data.example.org:443/a%20b.tif"},
    "a file of CWL": {"scene": {"class": "File", "location": "https://data.example.org/a%20b.tif"}},
    "another media type": {"scene": {**SENT["scene"], "type": "image/tiff; application=geotiff"}},
    "accents as letters of their own, and escapes": {"name": "Bra\u0308u &amp; Co"},
    "as data": {"factor": {"data": 2}, "clouds": {"literal": {"value": "30"}}},
    "JSON as text": {"aoi": '{"coordinates": [[[11,46],[11.1,46],[11.1,46.1],[11,46.1],[11,46]]], "type": "Polygon"}'},
}
OTHER: dict[str, dict[str, Any]] = {
    "another number": {"factor": 3},
    "another time": {"time": "2024-06-01T00:00:00Z"},
    "another text": {"bands": ["B04", "B03"]},
    "another CRS": {"crs": "http://www.opengis.net/def/crs/EPSG/0/32633"},
    "another day": {"day": "20230701"},
    "another list as text": {"bands": "B04,B03"},
    "another place as WKT": {"aoi": "POLYGON((12 46,12.1 46,12.1 46.1,12 46.1,12 46))"},
    "another box": {"bbox": {"bbox": [12.0, 46.0, 12.1, 46.1]}},
    "another place": {"aoi": {"type": "Polygon", "coordinates": [[[x + 0.1, y] for x, y in RING]]}},
    "another file": {"scene": {"href": "https://data.example.org/c.tif"}},
    "another truth, though more is hidden": {"mask": False, "scene": "***"},
}
UNKNOWN: dict[str, dict[str, Any]] = {
    "lists in another order, which may matter": {"bands": ["B08", "B04"]},
    "a name in another case, which may be another name": {"name": "BRÄU & CO"},
    "one of several in another case": {"bands": ["b04", "B08"]},
    "left out": {"clouds": ...},
    "hidden": {"scene": "***"},
    "shortened": {"interval": "2023-06-01/20…"},
    "a reference to an address that was sent": {"scene": "https://server.example.org/inputs/1"},
    "a text as a reference": {"name": {"href": "https://server.example.org/inputs/1"}},
    "another box in another form": {"bbox": [12, 46, 12.1, 46.1]},
    "latitudes first": {"bbox": [46.0, 11.0, 46.1, 11.1]},
    "an outline with latitudes first": {"aoi": "POLYGON ((46 11, 46.1 11, 46.1 11.1, 46 11.1, 46 11))"},
    "an outline in metres": {"aoi": "POLYGON ((6e5 5e6, 6e5 5.1e6, 6.1e5 5e6, 6e5 5e6))"},
    "an outline that was simplified": {
        "aoi": {"type": "Polygon", "coordinates": [[*RING[:3], [11.05, 46.1], *RING[3:]]]}
    },
    "a reference to what was sent": {"aoi": {"href": "https://server.example.org/inputs/1"}},
    "a time of the server's own zone": {"time": "2023-06-01T02:00:00"},
    "a box of six": {"bbox": {"bbox": [11.0, 46.0, 0, 11.1, 46.1, 0]}},
}


def told(changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**SENT, **changes}.items() if value is not ...}


@pytest.mark.parametrize(
    ("changes", "match"),
    [(case, match) for cases, match in ((SAME, Match.SAME), (OTHER, Match.OTHER), (UNKNOWN, Match.UNKNOWN))
     for case in cases.values()],
    ids=[*SAME, *OTHER, *UNKNOWN],
)  # fmt: skip
def test_what_a_comparison_tells(changes: dict[str, Any], match: Match) -> None:
    assert same_inputs(SENT, told(changes)) is match


def test_lists_of_inputs_defaults_and_what_is_none() -> None:
    listed = [{"id": name, "value": value} for name, value in SENT.items()]
    assert same_inputs(SENT, listed) is Match.SAME
    assert same_inputs(SENT, told({"clouds": ...}), {"clouds": "30"}) is Match.SAME
    assert same_inputs(SENT, told({"clouds": ...}), {"clouds": 40}) is Match.UNKNOWN
    assert same_inputs({"Clouds": 30, "none": None}, [{"name": "clouds", "input": {"value": 30}}]) is Match.SAME
    assert same_inputs({"crs": "EPSG:4326"}, {"crs": "CRS84"}) is Match.UNKNOWN
    for nothing in (None, [], "inputs", 3):
        assert same_inputs(SENT, nothing) is Match.UNKNOWN
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    assert same_inputs({"p": 1}, {"p": deep}) is Match.UNKNOWN


METRES = {"bbox": [500000, 5000000, 520000, 5020000], "crs": "http://www.opengis.net/def/crs/EPSG/0/32632"}
FIELD = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}}
TWO_VALUES: dict[str, tuple[Any, Any]] = {  # of two rows or tiles of one run
    "whole numbers that name": (10000001, 10000002),
    "days as numbers": (20230601, 20230602),
    "seconds": (1685577600, 1685577660),
    "beyond 2^53": (9007199254740993, 9007199254740992),
    "texts of digits": ("10000001", "10000002"),
    "compact days": ("20230601", "20230602"),
    "zeros in front": ("007", "7"),
    "a name that is also a number": ("1e5", "100000"),
    "versions": ("1.10", "1.1"),
    "small numbers": (1e-7, 5e-7),
    "none and little": (0, 1e-7),
    "metres": ([500000, 5000000, 510000, 5010000], [500000, 5000003, 510000, 5010003]),
    "dates with commas": ("2023-06-01,2023-07-01", "2023-06-01,2023-08-01"),
    "pairs of what is no number": ("1-2 3-4", "5-6 7-8"),
    "kernels": ([[0, 1, 0], [1, 4, 1], [0, 1, 0]], [[0, 1, 5], [1, 4, 7], [0, 1, 9]]),
    "ranges": ([[0, 10, 1], [10, 20, 2]], [[0, 10, 2], [10, 20, 1]]),
    "pairs in another order": ([[0, 1], [1, 0]], [[1, 0], [0, 1]]),
    "the same numbers in a zone and in none": (METRES, METRES["bbox"]),
    "addresses that end in a CRS": ("https://x.org/a?crs=CRS84", "https://x.org/b?crs=CRS84"),
    "features with properties": ({**FIELD, "properties": {"crop": "rye"}}, {**FIELD, "properties": {"crop": "oat"}}),
    "parts of a second": ("2023-06-01T10:15:31.024Z", "2023-06-01T10:15:31.900Z"),
    "whole numbers in JSON": ('{"plot": 10000001}', '{"plot": 10000002}'),
    "lines the other way": ("LINESTRING (1 2, 3 4)", "LINESTRING (3 4, 1 2)"),
    "heights": ("POINT Z (1 2 10)", "POINT Z (1 2 90)"),
    "kinds of outlines": ("LINESTRING (0 0, 1 1, 1 0, 0 0)", "POLYGON ((0 0, 1 1, 1 0, 0 0))"),
    "units": ({"value": 2, "uom": "m"}, {"value": 2, "uom": "km"}),
    "units in JSON": ('{"value": 2, "uom": "m"}', '{"value": 2, "uom": "km"}'),
    "a unit and none": ({"value": 2, "uom": "m"}, 2),
    "formats": ({"value": "a", "format": {"mediaType": "text/csv"}}, {"value": "a", "format": {"mediaType": "a/b"}}),
    "formats of a file": ({"href": "http://h/a", "format": "text/csv"}, {"href": "http://h/a", "format": "text/xml"}),
    "a hole and an island": (
        {"type": "Polygon", "coordinates": [RING, HOLE]},
        {"type": "MultiPolygon", "coordinates": [[RING], [HOLE]]},
    ),
    "a hole that is the outline": (
        {"type": "Polygon", "coordinates": [RING, HOLE]},
        {"type": "Polygon", "coordinates": [HOLE, RING]},
    ),
    "corners in another order": (
        POLYGON,
        {"type": "Polygon", "coordinates": [[RING[place] for place in (0, 2, 1, 3, 0)]]},
    ),
    "lines of the same points": (
        "MULTILINESTRING ((1 1, 2 2), (3 3, 4 4, 5 5))",
        "MULTILINESTRING ((1 1, 2 2, 3 3), (4 4, 5 5))",
    ),
    "zones of WKT": ("SRID=32632;POINT (500000 5000000)", "SRID=32633;POINT (500000 5000000)"),
}


@pytest.mark.parametrize(("one", "other"), TWO_VALUES.values(), ids=TWO_VALUES)
def test_two_values_are_never_taken_for_one(one: Any, other: Any) -> None:
    assert same_inputs({"p": one}, {"p": one}) is Match.SAME
    assert same_inputs({"p": one}, {"p": other}) is not Match.SAME
    assert same_inputs({"p": [one]}, {"p": {"value": [other]}}) is not Match.SAME


@pytest.mark.parametrize(
    ("sent", "told"),
    [(11.123456789, 11.123457), (0.1, 0.10000000149011612), (500000.0, 500000), (0.0, 1e-17), ("1,2", "1.0 2")],
)
def test_a_number_that_a_server_cuts_is_the_same(sent: Any, told: Any) -> None:
    assert same_inputs({"p": sent}, {"p": told}) is Match.SAME


def test_what_a_server_names_beyond_what_was_sent_is_its_default_or_unknown() -> None:
    assert same_inputs({"id": 1}, {"id": 1, "clouds": 30}, {"clouds": 30}) is Match.SAME
    assert same_inputs({"id": 1}, {"id": 1, "clouds": 40}, {"clouds": 30}) is Match.UNKNOWN


def test_holes_and_islands_are_the_same_in_any_order() -> None:
    other = [[x + 1, y] for x, y in RING]
    sent = {"type": "MultiPolygon", "coordinates": [[RING, HOLE, HOLE[::-1]], [other]]}
    told = {"type": "MultiPolygon", "coordinates": [[other[::-1]], [[*RING[2:], *RING[1:3]], HOLE, HOLE]]}
    assert same_inputs({"p": sent}, {"p": told}) is Match.SAME


@pytest.mark.parametrize("decimals", [6, 7, 9])
def test_an_outline_that_a_server_cuts_is_the_same(decimals: int) -> None:
    ring = [
        [11.905733365910624, 45.998620672538074],
        [11.918631, 45.9982],
        [11.9, 46.0076094202],
        [11.905733365910624, 45.998620672538074],
    ]
    cut = [[round(number, decimals) for number in point] for point in ring]
    sent, told = ({"type": "Polygon", "coordinates": [points]} for points in (ring, cut[::-1]))
    assert same_inputs({"p": sent}, {"p": told}) is Match.SAME
