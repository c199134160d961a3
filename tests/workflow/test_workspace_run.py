"""Results that stay on the platform: `backend.export_workspace`, through the real Snakemake and back-end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio

from tests.pixels import scene_ndvi, window
from tests.servers import EmbeddedBackend, scene_collections
from tests.workflow.conftest import Run
from upscaling.config import Config
from upscaling.publish.objects import Product
from upscaling.results.validate import validate_collection

SMALL = {"aoi": [11.30, 46.48, 11.34, 46.49], "grid": "utm-2km"}


@pytest.fixture
def backend(scene: Path, tmp_path: Path) -> Iterator[EmbeddedBackend]:
    """A back-end that the test stops."""
    server = EmbeddedBackend(scene_collections(scene, tmp_path), tmp_path / "backend").start()
    yield server
    server.stop()


@pytest.mark.parametrize("moved", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_results_stay_in_the_workspace_and_the_collection_points_there(
    moved: bool, backend: EmbeddedBackend, scene: Path, scene_run: Callable[..., Run], shared_data: Path
) -> None:
    run = scene_run(backend, area=SMALL)
    run.config["backend"] |= {"export_workspace": {"workspace": "mine"}}
    run.config["backend"] |= {"job_options": {"remove-exported-assets": True}} if moved else {}
    done = run.snakemake()
    assert done.returncode == 0, done.stderr
    items = [json.loads(path.read_text()) for path in sorted(run.results.glob("tiles/*/item.json"))]
    assert len(items) > 1
    assert list(run.results.glob("tiles/**/*.tif")) == []
    expected, bounds = scene_ndvi(scene)
    for item in items:
        ((key, asset),) = item["assets"].items()
        assert f"/workspaces/tester/mine/real/{item['id']}/" in asset["href"]
        with rasterio.open(asset["href"]) as source:
            assert list(source.bounds) == item["properties"]["proj:bbox"]
            assert asset["file:size"] == _length(asset["href"])
            pixels = window(expected, bounds, source.bounds, strict=False)
            np.testing.assert_array_equal(source.read(1), pixels, err_msg=item["id"])
        assert any("pixels, layout and checksum were not checked" in line for line in _unchecked(item))
        assert all(line.startswith(f"{key}: ") for line in _unchecked(item))
        assert "upscaling:valid_fraction" not in item["properties"]
        stac = backend.root / "workspaces" / "tester" / "mine" / "real" / item["id"] / "collection.json"
        theirs = pystac.Collection.from_file(str(stac))
        theirs.validate_all()
        assert [Path(a.get_absolute_href()).is_file() for i in theirs.get_items() for a in i.assets.values()] == [True]

    collection = json.loads((run.results / "collection.json").read_text())
    assert any(f"({len(items)} of {len(items)} tiles" in line for line in collection["upscaling:problems"])
    assert validate_collection(run.results / "collection.json", shared_data / "stac_schemas") == []
    with rasterio.open(run.results / "mosaic" / f"{key}.gti.gpkg") as mosaic:
        whole = window(expected, bounds, mosaic.bounds, strict=False)
        np.testing.assert_array_equal(mosaic.read(1), whole)
    assert (run.results / "mosaic" / f"{key}.png").is_file()
    assert json.loads((run.results / "quality.json").read_text())["assets"][key]["seam"] is not None

    product = Product(run.results, "https://example.org/p")
    assert not [object_ for object_ in product.assets() if object_.key.startswith("tiles/")]
    assert {a["href"] for item in product.items() for a in item["assets"].values()} == {
        asset["href"] for item in items for asset in item["assets"].values()
    }
    assert "not checked" in (run.results / "report.html").read_text()

    # Nothing is made again, and nothing is paid for again when an item is lost.
    (run.results / "tiles" / items[0]["id"] / "item.json").unlink()
    before = len(backend.jobs())
    assert run.snakemake().returncode == 0
    assert len(backend.jobs()) == before

    backend.stop()  # the workspace cannot be read any more: the products do without it
    from upscaling.results.products import check_quality, make_mosaics

    config = Config.parse(run.config | {"area": SMALL})
    assert make_mosaics(config, run.results) == []
    assert check_quality(config, run.results)["assets"][key]["seam"] is None


def _unchecked(item: dict[str, Any]) -> list[str]:
    found: list[str] = item["properties"]["upscaling:unchecked"]
    return found


def _length(url: str) -> int:
    import requests

    reply = requests.get(url, headers={"Range": "bytes=0-9"}, timeout=60)
    assert reply.status_code == 206
    return int(reply.headers["Content-Range"].rpartition("/")[2])
