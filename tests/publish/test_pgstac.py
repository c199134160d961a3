"""Registered in a real STAC API, stac-fastapi-pgstac on PostgreSQL with PostGIS."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import requests

from tests.publish.conftest import BUCKET, S3
from tests.publish.pgstac import Pgstac
from tests.publish.test_publish import Finished, to
from tests.unit.results.results_helpers import cut, ndvi
from upscaling.config import Config
from upscaling.errors import UpscalingError
from upscaling.monitor.report import write_report
from upscaling.planning.make import make_plan
from upscaling.planning.plan import job_of, keep_config, load_plan
from upscaling.publish import publish
from upscaling.publish.stac_api import StacApi
from upscaling.results.gather import gather
from upscaling.results.products import make_mosaics

# Publishes, and stops for good with two of the items registered.
CODE = """
import json, sys, pathlib, time
from upscaling.config import Config
from upscaling.publish import objects, publish, stac_api
stac_api._BULK = 2
whole = objects.Product.items
def items(self):
    for number, item in enumerate(whole(self)):
        if number == 2:
            print("two", flush=True)
            time.sleep(600)
        yield item
objects.Product.items = items
if sys.argv[3] == "single":
    stac_api.StacApi._has_bulk = lambda self, landing: False
publish(Config.parse(json.loads(sys.argv[1])), pathlib.Path(sys.argv[2]))
"""


@pytest.fixture(scope="session")
def server() -> Iterator[Pgstac]:
    # not below pytest's own folder, which another user cannot enter
    folder = Path(tempfile.mkdtemp(prefix="pgstac-"))
    folder.chmod(0o755)
    server = Pgstac(folder / "server")
    try:
        yield server.start()
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
def pgstac(server: Pgstac) -> Pgstac:
    server.clear()
    return server


@pytest.fixture(params=["bulk", "single"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """In bulk, as this server offers it, or one by one, as others want it."""
    if request.param == "single":
        monkeypatch.setattr(StacApi, "_has_bulk", lambda self, landing: False)
    return str(request.param)


def ids(features: list[dict[str, Any]]) -> list[str]:
    return sorted(str(feature["id"]) for feature in features)


def tiles(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("tiles/*/item.json"))


def test_items_are_searchable_and_their_assets_readable_over_s3(
    finished: Finished, s3: S3, pgstac: Pgstac, scene: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = finished
    settings = to(config, s3, stac_api=pgstac.url, public_url=None)
    for _ in range(2):
        assert publish(settings, folder)["registered"] == len(tiles(folder))
        assert pgstac.collections() == ["real"]
        assert ids(pgstac.items("real")) == tiles(folder)
    for name, value in {"AWS_S3_ENDPOINT": s3.url.removeprefix("http://"), "AWS_HTTPS": "NO"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_VIRTUAL_HOSTING", "FALSE")
    plan = load_plan(folder)
    for name in tiles(folder):
        item = json.loads((folder / "tiles" / name / "item.json").read_text())
        west, south, east, north = item["bbox"]
        middle = {"type": "Point", "coordinates": [(west + east) / 2, (south + north) / 2]}
        (found,) = pgstac.get("/search", intersects=json.dumps(middle), datetime="2022-06-12T00:00:00Z")["features"]
        assert found["id"] == name
        (kept,) = pgstac.get("/search", ids=name, **{"filter-lang": "cql2-text", "filter": "proj:code='EPSG:32632'"})[
            "features"
        ]
        assert kept["properties"] == {**item["properties"], **kept["properties"]}, "a property was lost"
        ((key, asset),) = kept["assets"].items()
        assert asset["href"].startswith(f"s3://{BUCKET}/some/ndvi/tiles/{name}/")
        assert asset["file:checksum"] == item["assets"][key]["file:checksum"]
        with rasterio.Env(), rasterio.open(asset["href"]) as dataset:
            np.testing.assert_array_equal(dataset.read(1), cut(scene, ndvi(scene), job_of(plan, folder, name).tile))
    collection = pystac.Collection.from_dict(pgstac.get("/collections/real"))
    assert collection.assets["items"].href == f"s3://{BUCKET}/some/ndvi/items.parquet"


def test_a_run_in_parts_is_one_collection_of_the_api_and_a_tree_in_the_store(
    finished: Finished, s3: S3, pgstac: Pgstac
) -> None:
    config, folder = finished
    config = to(config, s3, stac_api=pgstac.url)
    values = config.model_dump(mode="json", exclude_none=True)
    config = Config.parse(values | {"collection": {"parts_from": 1, "license": "CC-BY-4.0"}})
    plan = make_plan(config, folder)
    keep_config(config, folder)
    gather(config=config, run_folder=folder)
    make_mosaics(config, folder)
    assert plan.parts
    publish(config, folder)
    assert pgstac.collections() == ["real"]
    assert ids(pgstac.items("real")) == tiles(folder)
    (mosaic,) = (asset for key, asset in pgstac.get("/collections/real")["assets"].items() if key.startswith("mosaic-"))
    assert requests.get(mosaic["href"], timeout=60).headers["Content-Length"] == str(mosaic["file:size"])
    root = pystac.Collection.from_file(f"{s3.url}/{BUCKET}/some/ndvi/collection.json")
    assert sorted(item.id for item in root.get_items(recursive=True)) == tiles(folder)
    assert not list(root.get_items())
    for child in root.get_children():
        table = child.get_assets()["items"]
        assert requests.get(table.href, timeout=60).headers["Content-Length"] == str(table.extra_fields["file:size"])

    text = write_report(folder).read_text()
    assert 'href="items.parquet"' not in text, "a link to nothing"
    for part in plan.parts:
        assert f'href="./parts/{part}/collection.json"' in text


def test_what_changed_is_updated(finished: Finished, s3: S3, pgstac: Pgstac, way: str) -> None:
    config, folder = finished
    settings = to(config, s3, stac_api=pgstac.url)
    publish(settings, folder)
    name = tiles(folder)[0]
    path = folder / "tiles" / name / "item.json"
    item = json.loads(path.read_text())
    item["properties"]["title"] = "another"
    path.write_text(json.dumps(item))
    collection = json.loads((folder / "collection.json").read_text())
    (folder / "collection.json").write_text(json.dumps(collection | {"title": "a better title"}))
    publish(settings, folder)
    assert pgstac.get("/collections/real")["title"] == "a better title"
    assert {item["id"]: item["properties"].get("title") for item in pgstac.items("real")} == {
        tile: "another" if tile == name else None for tile in tiles(folder)
    }


def test_killed_in_the_middle_and_repeated_it_is_complete_and_nothing_is_there_twice(
    finished: Finished, s3: S3, pgstac: Pgstac, way: str
) -> None:
    config, folder = finished
    settings = to(config, s3, stac_api=pgstac.url)
    command = [sys.executable, "-c", CODE, settings.model_dump_json(exclude_none=True), str(folder), way]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"two\n"
        process.send_signal(signal.SIGKILL)
    assert ids(pgstac.items("real")) == tiles(folder)[:2]
    puts = dict(s3.puts)
    assert publish(settings, folder)["registered"] == len(tiles(folder)) > 2
    assert s3.puts == puts, "what was in the store was sent again"
    assert ids(pgstac.items("real")) == tiles(folder)
    assert pgstac.collections() == ["real"]


def test_an_item_that_the_server_refuses_is_told(pgstac: Pgstac, way: str) -> None:
    place = {"type": "Point", "coordinates": [11.0, 46.0]}
    collection = {
        "type": "Collection", "stac_version": "1.1.0", "id": "some", "description": "some", "license": "other",
        "extent": {"spatial": {"bbox": [[10, 45, 12, 47]]}, "temporal": {"interval": [["2022-06-01T00:00:00Z", None]]}},
        "links": [],
    }  # fmt: skip
    items = [
        {
            "type": "Feature", "stac_version": "1.1.0", "id": name, "geometry": geometry, "bbox": [11, 46, 11, 46],
            "properties": {"datetime": "2022-06-12T00:00:00Z"}, "links": [], "assets": {},
        }
        for name, geometry in (("here", place), ("nowhere", None))
    ]  # fmt: skip
    with pytest.raises(UpscalingError, match=r"publish\.stac_api: .*nowhere.*[Gg]eometry"):
        StacApi(pgstac.url).register(collection, iter(items))
    assert ids(pgstac.items("some")) == ["here"]
