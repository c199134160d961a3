"""The real scene on a real pygeoapi, through real Snakemake."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backend.ogcapi.servers import DruServer, Pygeoapi
from tests.conftest import ROOT
from tests.pixels import put_together, scene_ndvi, window
from tests.servers import free_port
from tests.stac_products import products_api
from tests.workflow.conftest import Run
from upscaling.results.validate import validate_collection

TILES = 30
UTM = "http://www.opengis.net/def/crs/EPSG/0/32632"
SMALL = {"aoi": [11.295, 46.483, 11.32, 46.493], "grid": "utm-2km"}


def test_tiles_equal_numpy_and_only_what_changed_is_redone(
    server: Pygeoapi, scene: Path, shared_data: Path, ogc_run: Callable[..., Run]
) -> None:
    run = ogc_run(server)
    done = run.gather()
    assert done.returncode == 0, done.stderr
    expected, bounds = scene_ndvi(scene)
    collection = run.results / "collection.json"
    np.testing.assert_array_equal(window(*put_together(collection), bounds), expected)
    assert validate_collection(collection, shared_data / "stac_schemas") == []
    assert len(server.executions) == TILES
    item = json.loads(next(iter(run.results.glob("tiles/*/item.json"))).read_text())
    assert item["properties"]["processing:software"]["ndvi"] == "1.0.0"
    assert "upscaling:job" in item["properties"]

    run.config["backend"]["slots"] = 2
    assert "Nothing to be done" in run.gather().stderr
    for name in ("utm-2km_32n_e0676_n5150", "utm-2km_32n_e0678_n5150"):
        for file in (run.results / "tiles" / name).iterdir():
            file.unlink()
    assert run.snakemake().returncode == 0
    assert len(server.executions) == TILES, "a finished job was run again, only its files were gone"


def test_a_process_that_only_runs_at_once(server: Pygeoapi, scene: Path, ogc_run: Callable[..., Run]) -> None:
    run = ogc_run(server, process="ndvi-sync")
    done = run.gather()
    assert done.returncode == 0, done.stderr
    expected, bounds = scene_ndvi(scene)
    np.testing.assert_array_equal(window(*put_together(run.results / "collection.json"), bounds), expected)
    assert len(server.executions) == TILES


def test_killed_in_the_middle_on_a_server_that_does_not_tell_what_its_jobs_were_sent(
    server: Pygeoapi, scene: Path, ogc_run: Callable[..., Run]
) -> None:
    """Nothing runs twice unless that was decided; what nobody can know is said."""
    run = ogc_run(server, parameters={"seconds": 0.5})
    process = run.start()
    deadline = time.monotonic() + 120
    while len(list(run.results.glob("tiles/*/item.json"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None, (run.folder / "snakemake.out").read_text()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = run.gather()
    unknown = [line for line in done.stderr.splitlines() if line.startswith("error: tile ")]
    assert all(
        "is not known: its job list names jobs of this process that no receipt knows" in line for line in unknown
    )
    assert done.returncode == (1 if unknown else 0), done.stderr
    assert len(unknown) <= 4
    assert len({json.dumps(inputs) for inputs in server.executions}) == len(server.executions), "a tile ran twice"
    if unknown:
        run.config["backend"]["on_unknown"] = "resubmit"
        done = run.snakemake()
        assert done.returncode == 0, done.stderr
        assert len(server.executions) <= TILES + len(unknown)
    expected, bounds = scene_ndvi(scene)
    np.testing.assert_array_equal(window(*put_together(run.results / "collection.json"), bounds), expected)


def test_a_failed_job_says_why_in_the_servers_words(server: Pygeoapi, ogc_run: Callable[..., Run]) -> None:
    run = ogc_run(server, parameters={"fail": True}, area=SMALL)
    done = run.snakemake()
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("error: tile ")]
    assert said, done.stderr
    assert all("the moon is in the wrong phase" in line for line in said)
    assert "Traceback" not in done.stderr
    log = next(iter((run.results / "logs").glob("*.platform.log"))).read_text()
    assert "wrong phase" in log


def _changed(**algorithm: Any) -> Callable[[Run], None]:
    return lambda run: run.config["algorithm"].update(algorithm)


def _backend(**backend: Any) -> Callable[[Run], None]:
    return lambda run: run.config["backend"].update(backend)


BAD: dict[str, tuple[Callable[[Run], None], str]] = {
    "unknown input": (_changed(parameters={"secods": 1}), "algorithm.parameters.secods: ndvi has no such parameter"),
    "wrong value": (_changed(parameters={"seconds": "long"}), "algorithm.parameters.seconds: 'long' is not of type"),
    "area fixed": (
        _changed(parameters={"area": {"bbox": [0, 0, 1, 1]}}),
        "algorithm.parameters.area: area is the area of ndvi and comes from the tile: leave it out here",
    ),
    "unknown form": (_changed(bind={"area": "box"}), "algorithm.bind.area: form must be one of bbox"),
    "no such process": (_changed(source="nvdi"), "algorithm.source: {url} has no process nvdi; it has echo, ndvi"),
    "not reachable": (_changed(source=f"http://127.0.0.1:{free_port()}/processes/x"), "backend.url: "),
    "no token": (_backend(auth="bearer"), "backend.auth: `bearer` needs OGCAPI_TOKEN in the environment"),
    "openEO process": (
        _changed(source="udp.json"),
        "algorithm.source: is neither a process nor a catalogue record",
    ),
}


def test_bad_input_is_one_line_and_nothing_is_sent(server: Pygeoapi, ogc_run: Callable[..., Run]) -> None:
    for name, (change, words) in BAD.items():
        run = ogc_run(server, backend={"url": server.url})
        (run.folder / "udp.json").write_text("{}")
        change(run)
        # Snakemake's own start is slow, and the same with each of them
        done = run.snakemake() if name == next(iter(BAD)) else run.upscaling("check", "config.yaml")
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert done.returncode != 0, name
        assert len(lines) == 1, (name, done.stderr)
        assert words.format(url=server.url) in lines[0], (name, lines[0])
        assert "Traceback" not in done.stderr + done.stdout
    assert server.executions == []


@pytest.fixture
def dru(scene: Path, tmp_path: Path) -> Iterator[DruServer]:
    running = DruServer(tmp_path / "dru", scene)
    running.start()
    yield running
    running.stop()


@pytest.mark.parametrize("form", ["cwl", "execution-unit"])
def test_a_deployed_package_over_the_scene(dru: DruServer, scene: Path, ogc_run: Callable[..., Run], form: str) -> None:
    """Deploy, run for every tile, undeploy; each form of the package once."""
    area = SMALL if form != "cwl" else {"aoi": "scene.geojson", "grid": "utm-5km"}
    run = ogc_run(
        dru,
        algorithm={
            "source": str(ROOT / "cwl" / "ndvi.cwl"),
            "parameters": {"scene": dru.scene_url, "datetime": "2022-06-12T10:10:00Z"},
        },
        backend={"url": dru.url, "deploy_as": form, "undeploy": True, "slots": 2},
        area=area,
    )
    done = run.gather()
    assert done.returncode == 0, done.stderr
    items = [json.loads(path.read_text()) for path in run.results.glob("tiles/*/item.json")]
    assert len(items) == len(dru.executions) >= 1
    assert {item["properties"]["datetime"] for item in items} == {"2022-06-12T10:10:00Z"}
    assert not list((dru.folder / "packages").iterdir()), "the package was not undeployed"
    expected, bounds = scene_ndvi(scene)
    if form == "cwl":
        assert len(items) == 6
        np.testing.assert_array_equal(window(*put_together(run.results / "collection.json"), bounds), expected)


def test_another_process_of_that_name_is_not_taken_for_ours(dru: DruServer, ogc_run: Callable[..., Run]) -> None:
    (dru.folder / "packages" / "ndvi.json").write_text(
        '{"$graph": [{"class": "Workflow", "id": "ndvi", "inputs": []}]}'
    )
    run = ogc_run(
        dru,
        algorithm={
            "source": str(ROOT / "cwl" / "ndvi.cwl"),
            "parameters": {"scene": dru.scene_url, "datetime": "2022-06-12"},
        },
        backend={"url": dru.url},
        area=SMALL,
    )
    done = run.snakemake()
    assert done.returncode != 0
    assert "error: config.yaml: backend.on_deployed: " in done.stderr
    assert dru.executions == []
    run.config["backend"]["on_deployed"] = "replace"
    done = run.gather()
    assert done.returncode == 0, done.stderr
    assert dru.executions


def test_one_input_of_each_type_arrives_as_the_standard_spells_it(
    server: Pygeoapi, ogc_run: Callable[..., Run]
) -> None:
    run = ogc_run(
        server,
        process="echo",
        parameters={
            "word": "red",
            "several": ["a", "b"],
            "list": [1.5, 2],
            "settings": {"depth": 2},
            "table": "table.csv",
            "product": "https://products.example.org/S2A.json",
            "flag": False,
        },
        time={"start": "2022-06-01", "end": "2022-08-01"},
        for_each={"parameters": {"number": [0.25, 7]}},
        area={"aoi": [11.31, 46.485, 11.311, 46.486], "grid": "utm-1km"},
    )
    (run.folder / "table.csv").write_text("a,b\n1,2\n")
    done = run.gather()
    assert done.returncode == 0, done.stderr
    items = {path.parent.name: path for path in run.results.glob("tiles/*/item.json")}
    assert sorted(name.partition("_n5150_")[2] for name in items) == [
        "2022-06_0-25",
        "2022-06_7",
        "2022-07_0-25",
        "2022-07_7",
    ]
    path = next(path for name, path in items.items() if name.endswith("2022-06_0-25"))
    (asset,) = json.loads(path.read_text())["assets"].values()
    got = json.loads((path.parent / asset["href"]).read_text())
    assert got.pop("area")["crs"] == "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
    outline = got.pop("outline")
    assert outline["mediaType"] == "application/geo+json"
    assert outline["value"]["geometry"]["type"] == "Polygon"
    assert got == {
        "period": ["2022-06-01T00:00:00Z", "2022-07-01T00:00:00Z"],
        "number": 0.25,
        "count": 3,
        "flag": False,
        "word": "red",
        "several": ["a", "b"],
        "list": [1.5, 2],
        "settings": {"value": {"depth": 2}},
        "table": {"value": "a,b\n1,2\n", "mediaType": "text/csv"},
        "product": {"href": "https://products.example.org/S2A.json", "type": "application/json"},
    }


def test_a_run_over_products_without_an_area(server: Pygeoapi, ogc_run: Callable[..., Run]) -> None:
    """Most of the catalogue's OGC services take products: one job per row, no tiles."""
    run = ogc_run(server, parameters={"seconds": 0})
    del run.config["area"]
    run.config["algorithm"]["parameters"] = {"fail": False}
    boxes = [{"bbox": [674000 + 2000 * n, 5148000, 676000 + 2000 * n, 5150000], "crs": UTM} for n in range(3)]
    run.config["for_each"] = {"parameters": {"area": boxes}}
    done = run.gather()
    assert done.returncode == 0, done.stderr
    assert len(server.executions) == 3
    items = [json.loads(path.read_text()) for path in run.results.glob("tiles/*/item.json")]
    assert {tuple(item["properties"]["proj:bbox"]) for item in items} == {tuple(box["bbox"]) for box in boxes}


def test_products_of_a_stac_search_are_a_job_each(
    server: Pygeoapi, ogc_run: Callable[..., Run], scene: Path, tmp_path: Path
) -> None:
    """A product arrives by reference, in the tiles that it lies in; the search is asked once, when planned."""
    with products_api(scene, tmp_path / "files") as api:
        search = {"catalogue": api.url, "collections": ["s2"], "time": ["2022-06-01", "2022-07-01"]}
        fill = {"product": "item", "number": "property:eo:cloud_cover"}
        run = ogc_run(
            server,
            process="echo",
            parameters={
                "several": ["a", "b"],
                "list": [1.5],
                "settings": {"depth": 2},
                "table": "table.csv",
                "word": "red",
                "period": ["2022-06-01T00:00:00Z", "2022-07-01T00:00:00Z"],
            },
            for_each={"search": {**search, "max_cloud_cover": 30, "fill": fill}},
            area={"aoi": [11.31, 46.485, 11.311, 46.486], "grid": "utm-1km"},
        )
        (run.folder / "table.csv").write_text("a,b\n1,2\n")
        done = run.gather()
        assert done.returncode == 0, done.stderr
        got = {}
        for path in run.results.glob("tiles/*/item.json"):
            (asset,) = json.loads(path.read_text())["assets"].values()
            sent = json.loads((path.parent / asset["href"]).read_text())
            got[path.parent.name.partition("_n5150_")[2]] = [sent["product"], sent["number"]]
        address = f"{api.url}/collections/s2/items"
        assert got == {
            name: [{"href": f"{address}/{name}", "type": "application/json"}, cloud]
            for name, cloud in (("west_a", 5.0), ("whole_b", 20.0))
        }
        assert len(api.searches) == 1
