"""Items in a plan: which input takes them and how, which tiles get which, and what a tile's key depends on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import ROOT
from tests.fake_stac_api import FakeStacApi
from tests.workflow.conftest import CRS

from upscaling.config import Config
from upscaling.errors import ConfigError
from upscaling.planning.ensure import ensure_plan

RING = [[678000, 5148000], [688000, 5148000], [688000, 5152000], [678000, 5152000], [678000, 5148000]]
JUNE = ["2022-06-01", "2022-07-01"]
PACKAGE = """\
cwlVersion: v1.2
class: CommandLineTool
id: takes
baseCommand: [echo]
inputs: {bbox: string, epsg: string, %s}
outputs: {out: {type: Directory, outputBinding: {glob: .}}}
"""
URI = """\
cwlVersion: v1.2
class: CommandLineTool
id: takes
baseCommand: [echo]
inputs:
  bbox: string
  epsg: string
  scenes:
    type: {type: array, items: {type: record, name: URI, fields: [{name: value, type: string}]}}
outputs: {out: {type: Directory, outputBinding: {glob: .}}}
"""


@pytest.fixture
def planned(tmp_path: Path) -> Any:
    """Plan a run over ten tiles; return its jobs by name."""
    (tmp_path / "area.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [RING], "crs": CRS}))

    def plan(**changes: Any) -> dict[str, Any]:
        config = {
            "run": "r",
            "algorithm": {"source": f"{ROOT / 'cwl' / 'water.cwl'}#water"},
            "area": {"aoi": str(tmp_path / "area.geojson"), "grid": "utm-2km"},
            "backend": {"kind": "cwl"},
        }
        config = {name: value for name, value in {**config, **changes}.items() if value is not None}
        made = ensure_plan(Config.parse(config), tmp_path / "results" / "r")
        lines = (made.folder / "jobs.ndjson").read_text().splitlines()
        return {job["id"]: job for job in map(json.loads, lines)}

    return plan


def ids(folder: Path, value: dict[str, Any]) -> list[str]:
    """The ids of the items that a Directory of a plan stands for."""
    plan = folder / "results" / "r" / "plan"
    offsets = dict(line.split(",") for line in (plan / "items.csv").read_text().splitlines())
    text = (plan / "items.ndjson").read_bytes()
    return [json.loads(text[int(offsets[one]) :].split(b"\n")[0])["id"] for one in value["upscaling:items"]]


def test_every_form_of_input(api: FakeStacApi, tmp_path: Path, planned: Any) -> None:
    search = {"catalogue": api.url, "time": JUNE, "max_cloud_cover": 30}
    edge = "utm-2km_32n_e0680_n5150"  # both strips lie in it

    def value(inputs: str, **more: Any) -> Any:
        (path := tmp_path / "takes.cwl").write_text(inputs if "class:" in inputs else PACKAGE % inputs)
        return planned(algorithm={"source": str(path)}, stage_in={**search, **more})[edge]["parameters"]

    address = f"{api.url}/collections/s2/items"
    every = ["east_a", "west_a", "whole_b"]  # in order of time, then of name
    assert value("item: string", limit=1)["item"] == f"{address}/east_a"
    assert value("'items': 'string[]'")["items"] == [f"{address}/{name}" for name in every]
    assert value(URI)["scenes"] == [{"value": f"{address}/{name}"} for name in every]
    assert value("other: string?, stac_item: 'string[]?'")["stac_item"] == [f"{address}/{name}" for name in every]
    assert not (tmp_path / "results" / "r" / "plan" / "items.ndjson").exists(), "nothing is staged"
    found = value("scene: Directory, note: string?")
    assert ids(tmp_path, found["scene"]) == every
    assert "note" not in found
    each = value("a: Directory?, b: 'Directory[]'")["b"]
    assert [ids(tmp_path, one) for one in each] == [[name] for name in every]
    with pytest.raises(ConfigError, match=r"stage_in\.limit: item takes one item, and a tile has [23]; set limit: 1"):
        value("item: string")
    with pytest.raises(ConfigError, match=r"stage_in\.input: name the one of first, second that takes the items"):
        value("first: Directory, second: Directory")
    assert ids(tmp_path, value("first: Directory?, second: Directory?", input="second")["second"]) == every
    with pytest.raises(ConfigError, match=r"stage_in\.input: no input of takes seems to take items; name one"):
        value("n: int")


def test_a_list_of_blocks_fills_an_input_each(api: FakeStacApi, tmp_path: Path, planned: Any) -> None:
    (path := tmp_path / "change.cwl").write_text(PACKAGE % "pre: Directory, post: Directory, mask: 'string?'")
    package = {"source": str(path)}
    before = {"catalogue": api.url, "time": JUNE, "max_cloud_cover": 30, "input": "pre"}
    after = {"catalogue": api.url, "time": ["2022-07-01", "2022-08-01"]}
    jobs = planned(algorithm=package, stage_in=[before, after])
    edge = jobs["utm-2km_32n_e0680_n5150"]
    assert ids(tmp_path, edge["parameters"]["pre"]) == ["east_a", "west_a", "whole_b"]
    assert ids(tmp_path, edge["parameters"]["post"]) == ["whole_d"]
    # What one input takes is not enough for a package that needs both; an input that may stay empty may.
    search = {"catalogue": api.url, "where": {"eo:cloud_cover": 8.0}}
    jobs = planned(algorithm=package, stage_in=[before, {**search, "input": "post"}])
    assert jobs["utm-2km_32n_e0678_n5150"]["nodata"]
    mask = {**search, "input": "mask", "limit": 1}
    jobs = planned(algorithm=package, stage_in=[before, after, mask])
    assert not jobs["utm-2km_32n_e0678_n5150"].get("nodata")
    assert not jobs["utm-2km_32n_e0678_n5150"]["parameters"]["mask"]
    assert jobs["utm-2km_32n_e0682_n5150"]["parameters"]["mask"].endswith("/east_a")

    for blocks, words in [
        ([before], "algorithm.parameters.post: takes needs a value of type Directory, or a block of stage_in"),
        (before, "algorithm.parameters.post: takes needs a value of type Directory, or a block of stage_in"),
        ([after, after], "stage_in.0.input: name the one of post, pre that takes the items; a list of blocks fills"),
        ([before, before], "stage_in.0.input: pre gets its value otherwise too; keep one"),
        ([before, {**after, "tim": []}], "stage_in.1.tim: unknown key; did you mean 'time'?"),
        ([before, {**after, "catalogue": "nowhere.json"}], "stage_in.1.catalogue: no such catalogue"),
        ([before, {**after, "time": ["2022", "2021"]}], "stage_in.1.time: must be [start, end)"),
        ([], "stage_in: "),
    ]:
        with pytest.raises(ConfigError) as caught:
            planned(algorithm=package, stage_in=blocks)
        assert str(caught.value).startswith(words)


def test_addresses_on_this_disk_are_of_no_use_in_a_container(
    catalogue: Path, tmp_path: Path, planned: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor on a platform elsewhere. Without a container, and as a Directory, they are."""
    contained = PACKAGE.replace("inputs:", "requirements: {DockerRequirement: {dockerPull: debian}}\ninputs:")
    (path := tmp_path / "takes.cwl").write_text(contained % "'items': 'string[]'")
    search: dict[str, Any] = {"catalogue": str(catalogue), "time": JUNE}
    docker = {"kind": "cwl", "container": "docker"}
    run: dict[str, Any] = {"algorithm": {"source": str(path)}, "backend": docker}
    words = r"stage_in\.catalogue: items takes addresses, and item \w+ is a file of this machine, which a container"
    with pytest.raises(ConfigError, match=words):
        planned(**run, stage_in=search)
    with pytest.raises(ConfigError, match=r"for_each\.search\.catalogue: items takes addresses"):
        planned(**run, for_each={"search": {**search, "fill": {"items": "item"}}})
    assert planned(algorithm=run["algorithm"], stage_in=search)
    path.write_text(contained % "one: string, scene: Directory")
    fill = {"one": "asset:B03", "scene": "item"}
    with pytest.raises(ConfigError, match=r"for_each\.search\.fill\.one: asset:B03 of item \w+ is a file of this"):
        planned(**run, for_each={"search": {**search, "fill": fill}})
    assert planned(**run, for_each={"search": {**search, "fill": {"one": "id", "scene": "item"}}})

    load = {"process_id": "load_stac", "arguments": {"url": {"from_parameter": "url"}}, "result": True}
    process = {
        "id": "p",
        "process_graph": {"load": load},
        "parameters": [{"name": "url", "schema": {"type": "string"}}],
    }
    (tmp_path / "p.json").write_text(json.dumps(process))
    away = {"algorithm": {"source": str(tmp_path / "p.json")}, "area": None}
    each = {"search": {**search, "fill": {"url": "item"}}}
    with pytest.raises(ConfigError, match=r"is a file of this machine, which the platform cannot read"):
        planned(**away, backend={"kind": "openeo", "url": "https://openeo.example", "auth": "none"}, for_each=each)
    assert planned(**away, backend={"kind": "openeo", "url": "http://127.0.0.1:8787", "auth": "none"}, for_each=each)


def test_time_steps_and_tiles_without_items(api: FakeStacApi, tmp_path: Path, planned: Any) -> None:
    time = {"start": "2022-06-01", "end": "2022-08-01", "step": "month"}
    jobs = planned(time=time, stage_in={"catalogue": api.url})
    assert len(jobs) == 20
    found = {
        name.removeprefix("utm-2km_32n_"): [ids(tmp_path, one)[0] for one in job["parameters"]["items"]]
        for name, job in jobs.items()
    }
    assert found["e0682_n5150_2022-06"] == ["east_a", "whole_b", "cloudy_c"]
    assert found["e0682_n5150_2022-07"] == ["whole_d"]
    assert found["e0686_n5150_2022-06"] == []
    assert {name for name, job in jobs.items() if job.get("nodata")} == {n for n in jobs if "_e0686_" in n}
    assert len(api.searches) == 3, "one search for all, in pages of two"


def test_keys_say_what_went_in(api: FakeStacApi, planned: Any, tmp_path: Path) -> None:
    search = {"catalogue": api.url, "time": JUNE, "max_cloud_cover": 30}

    def keys(**more: Any) -> dict[str, str]:
        return {name: job["key"] for name, job in planned(stage_in={**search, **more}).items()}

    first, asked = keys(), len(api.searches)
    assert keys() == first
    assert keys(cache=str(tmp_path / "elsewhere"), largest_gb=1) == first
    assert len(api.searches) == asked, "it was planned anew"
    # Searched again, for a reason that changes nothing.
    assert keys(where={"eo:cloud_cover": {"lt": 31}}) == first
    assert len(api.searches) > asked
    # Another signature of the same file, and a property that nothing depends on.
    for asset in api.items[0]["assets"].values():
        asset["href"] += "?signature=1"
    api.items[0]["properties"]["updated"] = "2026-01-01T00:00:00Z"
    assert keys(where={"eo:cloud_cover": {"lt": 32}}) == first
    # Another file: the tiles of the western strip change, and no others.
    api.items[0]["assets"]["B03"]["file:checksum"] = "1220" + "0" * 64
    second = keys(where={"eo:cloud_cover": {"lt": 33}})
    changed = {name for name in first if first[name] != second[name]}
    assert changed == {f"utm-2km_32n_{east}_n{north}" for east in ("e0678", "e0680") for north in (5148, 5150)}


def test_an_item_is_a_job_for_each_tile_that_it_lies_in(api: FakeStacApi, tmp_path: Path, planned: Any) -> None:
    (tmp_path / "takes.cwl").write_text(PACKAGE % "product: Directory, name: string, cover: double, file: string")
    fill = {"product": "item", "name": "id", "cover": "property:eo:cloud_cover", "file": "asset:B08"}
    search = {"catalogue": api.url, "time": JUNE, "max_cloud_cover": 30, "fill": fill}
    jobs = planned(algorithm={"source": str(tmp_path / "takes.cwl")}, for_each={"search": search})
    names = {name.removeprefix("utm-2km_32n_") for name in jobs}
    both, east, west = ("west_a", "east_a", "whole_b"), ("east_a", "whole_b"), ("west_a", "whole_b")
    lie = {"e0678": west, "e0680": both, "e0682": east, "e0684": east, "e0686": ()}
    expected = {f"{column}_n{n}_{item}" for column, items in lie.items() for n in (5148, 5150) for item in items}
    assert names == expected
    job = jobs["utm-2km_32n_e0680_n5150_whole_b"]["parameters"]
    assert (job["name"], job["cover"]) == ("whole_b", 20.0)
    assert job["file"] == f"{api.url}/files/whole_b/B08.tif"
    assert ids(tmp_path, job["product"]) == ["whole_b"]
    search["aoi"] = [11.28, 46.46, 11.30, 46.48]
    jobs = planned(algorithm={"source": str(tmp_path / "takes.cwl")}, for_each={"search": search})
    assert {name.partition("_n5")[2].partition("_")[2] for name in jobs} == {"west_a", "whole_b"}


def test_an_openeo_process_takes_addresses_and_fields(api: FakeStacApi, tmp_path: Path, planned: Any) -> None:
    """Stage-in by address, and products as the dimension of a process that knows no area."""
    load: dict[str, Any] = {"url": {"from_parameter": "url"}, "spatial_extent": {"from_parameter": "bbox"}}
    node = {"process_id": "load_stac", "arguments": load, "result": True}
    extent = {"name": "bbox", "schema": {"type": "object", "subtype": "bounding-box"}}
    parameters: list[dict[str, Any]] = [extent, {"name": "url", "schema": {"type": "string"}}]
    process = {"id": "p", "process_graph": {"load": node}, "parameters": parameters}
    (tmp_path / "p.json").write_text(json.dumps(process))
    source = {"source": str(tmp_path / "p.json")}
    backend = {"kind": "openeo", "url": "https://openeo.example", "auth": "none"}
    search = {"catalogue": api.url, "time": JUNE, "max_cloud_cover": 10}
    jobs = planned(algorithm=source, backend=backend, stage_in={**search, "limit": 1, "input": "url"})
    address = f"{api.url}/collections/s2/items"
    assert jobs["utm-2km_32n_e0682_n5150"]["parameters"]["url"] == f"{address}/east_a"
    assert jobs["utm-2km_32n_e0686_n5150"]["nodata"]

    del load["spatial_extent"], parameters[0]
    parameters.append({"name": "day", "schema": {"type": "string", "format": "date-time"}})
    (tmp_path / "p.json").write_text(json.dumps(process))
    each = {"search": {**search, "fill": {"url": "item", "day": "datetime"}}}
    jobs = planned(algorithm=source, backend=backend, for_each=each, area=None)
    day = "2022-06-02T10:15:59Z"
    assert {name: job["parameters"] for name, job in jobs.items()} == {
        name: {"url": f"{address}/{name}", "day": day} for name in ("east_a", "west_a")
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"catalogue": "nowhere.json"}, "stage_in.catalogue: no such catalogue: nowhere.json"),
        ({"max_cloud": 3}, "stage_in.max_cloud: unknown key; did you mean 'max_cloud_cover'?"),
        ({"input": "nothing"}, "stage_in.input: water has no input nothing; it has above, bands"),
        ({"input": "epsg"}, "stage_in.input: epsg gets its value otherwise too; keep one"),
        ({"input": "above"}, "stage_in.input: above takes no items: it is double"),
        ({"assets": ["B99"]}, "stage_in.assets: item west_a has no asset B99; it has B03, B08"),
        ({"where": {"platform": {"like": "x"}}}, "stage_in.where: platform has no comparison 'like'"),
        ({"time": ["2022-07-01", "2022-06-01"]}, "stage_in.time: must be [start, end) with start before end"),
        ({"time": ["July", "2022-06-01"]}, "stage_in.time: must be [start, end) with start before end"),
        ({"catalogue": "https://me:secret@stac.example"}, "stage_in.catalogue: is an address with credentials in it"),
    ],
)
def test_bad_stage_in_is_one_line(catalogue: Path, planned: Any, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(stage_in={"catalogue": str(catalogue), **change})
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fill": {"item": "item"}}, "for_each.search.fill: water has no parameter item; it has above, bands"),
        ({"fill": {"items": "self"}}, "for_each.search.fill: items: must be item, id"),
        ({"fill": {"above": "item"}}, "for_each.search.fill: above takes no item: it is double"),
        ({"fill": {"above": "property:gsd"}}, "for_each.search.fill.above: item east_a has no property:gsd"),
        ({"max_cloud_cover": 0}, "for_each.search: finds no item in "),
        ({"fil": {}}, "for_each.search.fil: unknown key; did you mean 'fill'?"),
        ({"aoi": "nowhere.geojson"}, "nowhere.geojson"),
    ],
)
def test_bad_for_each_is_one_line(catalogue: Path, planned: Any, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(for_each={"search": {"catalogue": str(catalogue), "fill": {"items": "item"}, **change}})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_stage_in_goes_with_an_area_only(catalogue: Path, planned: Any) -> None:
    fill = {"items": "item"}
    with pytest.raises(ConfigError, match=r"area: stage_in takes the items of each tile: give an area"):
        planned(
            area=None,
            stage_in={"catalogue": str(catalogue)},
            for_each={"parameters": {"above": [0.0]}},
            algorithm={
                "source": f"{ROOT / 'cwl' / 'water.cwl'}#water",
                "parameters": {"bbox": "1,2,3,4", "epsg": "EPSG:32632"},
            },
        )
    with pytest.raises(ConfigError, match=r"for_each: give either parameters, or a table, or a search"):
        planned(for_each={"search": {"catalogue": str(catalogue), "fill": fill}, "table": "x.csv"})
