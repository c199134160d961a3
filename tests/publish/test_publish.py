"""To S3 and to a STAC API, whole, once, and in an order that never points to nothing."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import requests

from tests.publish.conftest import BUCKET, S3, FakeStacApi
from tests.unit.results.results_helpers import PRR, cut, ndvi
from upscaling.config import Config
from upscaling.errors import ConfigError, UpscalingError
from upscaling.planning.plan import job_of, load_plan
from upscaling.publish import publish
from upscaling.publish.stac_api import StacApi
from upscaling.results.gather import gather
from upscaling.results.products import make_mosaics

Finished = tuple[Config, Path]
PREFIX = f"/{BUCKET}/some/ndvi"
CODE = """
import json, sys, pathlib
from upscaling.config import Config
from upscaling.publish import publish
publish(Config.parse(json.loads(sys.argv[1])), pathlib.Path(sys.argv[2]))
"""

VALID = """
import sys, rasterio
with rasterio.open(sys.argv[1]) as dataset:
    print(dataset.read(1, masked=True).count())
"""


def to(config: Config, s3: S3, **more: Any) -> Config:
    values = config.model_dump(mode="json", exclude_none=True)
    base = {"s3": f"s3://{BUCKET}/some/ndvi", "endpoint": s3.url, "public_url": f"{s3.url}{PREFIX}"}
    return Config.parse(values | {"publish": base | more})


def test_everything_is_readable_from_the_store_by_its_absolute_hrefs(
    finished: Finished, s3: S3, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = finished
    said: list[str] = []
    dry = publish(to(config, s3), folder, dry_run=True, say=said.append)
    assert not s3.puts
    assert not (folder / "published.json").exists()
    done = publish(to(config, s3), folder, say=said.append)
    assert (done["objects"], done["bytes"], done["same"]) == (dry["objects"], dry["bytes"], 0)
    assert done["objects"] == len(s3.puts) == sum(s3.puts.values())
    assert "very-secret" not in json.dumps([said, done])

    collection = pystac.Collection.from_file(f"{s3.url}{PREFIX}/collection.json")
    items = list(collection.get_items())
    assert {item.id for item in items} == {path.parent.name for path in folder.glob("tiles/*/item.json")}
    for item in items:
        (asset,) = item.assets.values()
        assert asset.href.startswith(f"{s3.url}{PREFIX}/tiles/{item.id}/")
        answer = requests.get(asset.href, timeout=60)
        assert answer.headers["Content-Type"] == "image/tiff; application=geotiff; profile=cloud-optimized"
        assert int(answer.headers["Content-Length"]) == asset.extra_fields["file:size"]
        for link in item.to_dict()["links"]:
            assert not link["href"].startswith(s3.url) or requests.get(link["href"], timeout=60).ok, link
    tile = job_of(load_plan(folder), folder, items[0].id).tile
    for name, value in {"AWS_S3_ENDPOINT": s3.url.removeprefix("http://"), "AWS_HTTPS": "NO"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_VIRTUAL_HOSTING", "FALSE")
    key = next(iter(items[0].assets.values())).href.removeprefix(f"{s3.url}/")
    with rasterio.Env(), rasterio.open(f"/vsis3/{key}") as dataset:
        np.testing.assert_array_equal(dataset.read(1), cut(scene, ndvi(scene), tile))

    import pyarrow.parquet as pq

    answer = requests.get(collection.assets["items"].href, timeout=60)
    assert len(answer.content) == collection.assets["items"].extra_fields["file:size"]
    rows = pq.read_table(io.BytesIO(answer.content)).to_pylist()
    hrefs = {asset["href"] for row in rows for asset in row["assets"].values()}
    assert hrefs == {asset.href for item in items for asset in item.assets.values()}

    # in a process of its own: GDAL's threads and the server's would wait for each other
    command = [sys.executable, "-c", VALID, f"/vsis3/{BUCKET}/some/ndvi/mosaic/data.gti.gpkg"]
    seen = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    with rasterio.open(folder / "mosaic" / "data.gti.gpkg") as dataset:
        number = dataset.read(1, masked=True).count()
    assert number > 159_000 and seen.stdout.split() == [str(number)], (
        f"the index does not find its tiles: {seen.stderr}"
    )
    for name, described in json.loads((folder / "collection.json").read_text())["assets"].items():
        answer = requests.get(collection.assets[name].href, timeout=60)
        assert answer.ok and answer.headers["Content-Type"] == described["type"], name

    explorer = requests.get(f"{s3.url}{PREFIX}/explorer-config.json", timeout=60).json()
    (source,) = explorer["sources"]
    layer = requests.get(source["data"][0]["url"], timeout=60)
    with rasterio.MemoryFile(layer.content) as memory, memory.open() as dataset:
        values = dataset.read(1, masked=True).compressed()
    assert values.min() <= source["meta"]["min"] < source["meta"]["max"] <= values.max()


def test_what_points_to_an_object_is_sent_after_it_and_only_what_changed_is_sent_again(
    finished: Finished, s3: S3
) -> None:
    config, folder = finished
    publish(to(config, s3), folder)
    first = {name: min(n for n, path in enumerate(s3.order) if path.endswith(name)) for name in ("item.json",)}
    assert max(n for n, path in enumerate(s3.order) if "/tiles/" in path and path.endswith(".tif")) < first["item.json"]
    assert s3.order[-1] == f"{PREFIX}/collection.json"
    s3.puts.clear()
    assert publish(to(config, s3), folder)["objects"] == 0
    assert not s3.puts
    (path, *_) = sorted(folder.glob("tiles/*/item.json"))
    item = json.loads(path.read_text())
    item["properties"]["title"] = "another"
    path.write_text(json.dumps(item))
    publish(to(config, s3), folder)
    tile = f"{PREFIX}/tiles/{path.parent.name}/item.json"
    # the table of items holds the title, and the collection the table's checksum
    assert dict(s3.puts) == {tile: 1, f"{PREFIX}/items.parquet": 1, f"{PREFIX}/collection.json": 1}


def test_killed_in_the_middle_and_repeated_it_is_complete_and_nothing_was_sent_twice(
    finished: Finished, s3: S3
) -> None:
    config, folder = finished
    settings = to(config, s3)

    def slow(method: str, key: str) -> int | None:
        if method == "PUT" and key.endswith("item.json"):
            time.sleep(0.3)
        return None

    s3.refuse = slow
    command = [sys.executable, "-c", CODE, settings.model_dump_json(exclude_none=True), str(folder)]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 200
    while not any(key.endswith("item.json") for key in s3.puts) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert f"{PREFIX}/collection.json" not in s3.puts, "it was over before it was killed"
    s3.refuse = lambda method, key: None
    time.sleep(0.5)
    before = dict(s3.puts)
    done = publish(settings, folder)
    assert done["same"] >= len(before) - 1
    assert [key for key, times in s3.puts.items() if times > 1] == []
    assert len(list(pystac.Collection.from_file(f"{s3.url}{PREFIX}/collection.json").get_items())) == len(
        list(folder.glob("tiles/*/item.json"))
    )


def test_a_store_that_stumbles_is_asked_again_and_one_that_refuses_is_one_line(finished: Finished, s3: S3) -> None:
    config, folder = finished
    left = {503: 3, 500: 3, 429: 2}

    def stumble(method: str, key: str) -> int | None:
        for status, times in left.items():
            if times and method == "PUT":
                left[status] -= 1
                return status
        return None

    s3.refuse = stumble
    publish(to(config, s3), folder)
    assert set(left.values()) == {0}
    s3.refuse = lambda method, key: 403
    with pytest.raises(UpscalingError, match=r"s3://bucket/some/ndvi.*403") as caught:
        publish(to(config, s3), folder)
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize("bulk", [False, True])
def test_registered_once_and_updated_after(
    finished: Finished, s3: S3, stac_api: FakeStacApi, bulk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = finished
    stac_api.bulk, stac_api.token = bulk, "token"
    settings = to(config, s3, stac_api=stac_api.url, auth_read=["anonymous"], auth_write=["stac-admin"])
    with pytest.raises(UpscalingError, match=r"401: .*UPSCALING_STAC_TOKEN"):
        publish(settings, folder)
    monkeypatch.setenv("UPSCALING_STAC_TOKEN", "token")
    number = len(list(folder.glob("tiles/*/item.json")))
    for _ in range(2):
        assert publish(settings, folder)["registered"] == number == len(stac_api.items)
    assert list(stac_api.collections) == ["real"]
    assert stac_api.collections["real"]["_auth"] == {"read": ["anonymous"], "write": ["stac-admin"]}
    updates = [key for key in stac_api.written if key.startswith("PUT")]
    assert updates.count("PUT /collections/real") == 1
    assert len(updates) == (1 if bulk else number + 1)
    for item in stac_api.items.values():
        assert all(asset["href"].startswith(s3.url) for asset in item["assets"].values())
        assert {link["rel"] for link in item["links"]}.isdisjoint({"self", "collection", "parent", "root"})


@pytest.mark.parametrize("bulk", [False, True])
def test_an_api_that_stumbles_is_asked_again(stac_api: FakeStacApi, bulk: bool) -> None:
    stac_api.bulk, stac_api.faults = bulk, [500, 429, 0, 503, 502]
    items = [{"type": "Feature", "id": f"i{number}", "links": [], "assets": {}} for number in range(40)]
    assert StacApi(stac_api.url, patience=30).register({"id": "c", "links": []}, iter(items)) == 40
    assert not stac_api.faults
    assert len(stac_api.items) == 40
    stac_api.faults = [500] * 1000
    with pytest.raises(UpscalingError, match=r"500: .*run it again later"):
        StacApi(stac_api.url, patience=1).register({"id": "c", "links": []}, iter(items))


def test_refusals_are_one_line(
    finished: Finished, s3: S3, stac_api: FakeStacApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config, folder = finished
    with pytest.raises(ConfigError, match="publish: is missing"):
        publish(config, folder)
    with pytest.raises(UpscalingError, match="nothing to publish yet"):
        publish(to(config, s3), tmp_path)
    collected = (folder / "collection.json").read_text()
    (lost, *_) = sorted(folder.glob("tiles/*/item.json"))
    item = lost.read_text()
    lost.write_text(item[: len(item) // 2])
    gather(config=config, run_folder=folder, partial=True)
    with pytest.raises(
        UpscalingError, match=r"1 of \d+ tiles of the run are missing from the collection: .* --partial"
    ):
        publish(to(config, s3), folder)
    assert not s3.puts
    said = publish(to(config, s3), folder, partial=True, dry_run=True)["notices"]
    assert any("tiles of the run are missing from the collection" in line for line in said)
    lost.write_text(item)
    (folder / "collection.json").write_text(collected)
    lost.write_text(item.replace('"upscaling:key": "', '"upscaling:key": "0'))
    with pytest.raises(UpscalingError, match=r"1 of \d+ items of the collection are not what is planned now"):
        publish(to(config, s3), folder, partial=True)
    lost.write_text(item)
    (path, *_) = sorted(folder.glob("tiles/*/*.tif"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UpscalingError, match=f"{path.name} has .* bytes"):
        publish(to(config, s3), folder)
    assert f"{PREFIX}/collection.json" not in s3.puts
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(UpscalingError, match="set AWS_ACCESS_KEY_ID"):
        publish(to(config, s3), folder)
    monkeypatch.setenv("UPSCALING_STAC_TOKEN", "token")
    with pytest.raises(UpscalingError, match="not encrypted"):
        StacApi("http://stac.example")
    monkeypatch.setattr(stac_api, "answer", lambda *_: (200, {"conformsTo": []}))
    with pytest.raises(UpscalingError, match="transaction extension"):
        StacApi(stac_api.url)
    assert "AWS_SECRET_ACCESS_KEY" in os.environ


def test_what_the_prr_asks_for_is_there_once_the_mosaics_are(finished: Finished, s3: S3) -> None:
    config, folder = finished
    values = to(config, s3).model_dump(mode="json", exclude_none=True)
    config = Config.parse(values | {"collection": {"license": "CC-BY-4.0", "themes": ["land"], "prr": PRR}})
    gather(config=config, run_folder=folder)
    with pytest.raises(UpscalingError, match=r"the PRR would refuse this collection: .* role thumbnail"):
        publish(config, folder)
    assert not s3.puts
    make_mosaics(config, folder)
    assert publish(config, folder)["notices"] == [
        "the Geospatial Explorer reads https only: set publish.public_url",
    ]
