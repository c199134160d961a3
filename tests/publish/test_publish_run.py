"""From the configuration to the store through real Snakemake, as a target of its own."""

from __future__ import annotations

import json
from collections.abc import Callable

import pystac
import pytest

from tests.publish.conftest import BUCKET, S3
from tests.servers import EmbeddedBackend
from tests.workflow.conftest import Run, backend, one_platform, scene_run  # noqa: F401 -- fixtures

SMALL = {"aoi": [11.3135, 46.484, 11.338, 46.5], "grid": "utm-2km"}


@pytest.mark.slow
def test_publish_is_a_target_that_all_leaves_alone_and_that_sends_what_changed(
    backend: EmbeddedBackend,  # noqa: F811
    scene_run: Callable[..., Run],  # noqa: F811
    s3: S3,
) -> None:
    place = f"{s3.url}/{BUCKET}/ndvi"
    said = {"title": "NDVI", "license": "CC-BY-4.0"}
    run = scene_run(
        backend,
        area=SMALL,
        collection=said,
        mosaic={"cog": True},
        publish={"s3": f"s3://{BUCKET}/ndvi", "endpoint": s3.url, "public_url": place},
    )
    run.environment.update({"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "very-secret"})
    done = run.snakemake()
    assert done.returncode == 0, done.stderr
    assert not s3.puts, "nobody asked for that"

    done = run.snakemake("--", "publish")
    assert done.returncode == 0, done.stderr
    assert "very-secret" not in done.stderr + (run.results / "logs" / "publish.log").read_text()
    published = json.loads((run.results / "published.json").read_text())
    assert published["objects"] == len(s3.puts) > 4 + 4
    collection = pystac.Collection.from_file(f"{place}/collection.json")
    assert collection.title == "NDVI"
    assert {"items", "thumbnail", "mosaic-data", "index-data", "quality"} <= set(collection.assets)
    assert len(list(collection.get_items())) == 4

    s3.puts.clear()
    done = run.snakemake("--", "publish")
    assert done.returncode == 0, done.stderr
    assert "Nothing to be done" in done.stderr
    run.config["collection"] = said | {"title": "A better title"}
    done = run.snakemake("--", "publish")
    assert done.returncode == 0, done.stderr
    sent = {path.removeprefix(f"/{BUCKET}/ndvi/") for path in s3.puts}
    assert "collection.json" in sent
    assert not any(path.startswith("tiles/") for path in sent), sent
    assert pystac.Collection.from_file(f"{place}/collection.json").title == "A better title"
    assert len(backend.jobs()) == 4
