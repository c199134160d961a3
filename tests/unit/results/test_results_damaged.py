"""Damaged documents of a run are told in one line, and nothing outside of its folder is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from upscaling.errors import UpscalingError
from upscaling.publish.objects import Product
from upscaling.results.products import damaged_mosaics, read_mosaics
from upscaling.results.validate import validate_collection
from upscaling.util.files import write_json


def collection(folder: Path, **changed: Any) -> Path:
    path = folder / "run" / "collection.json"
    write_json(path, {"type": "Collection", "stac_version": "1.1.0", "id": "run", "links": [], "assets": {}, **changed})
    return path


@pytest.mark.parametrize("below", ["mosaic", "store.zarr"])
def test_a_link_in_a_listed_folder_that_leads_outside_is_not_published(tmp_path: Path, below: str) -> None:
    path = collection(tmp_path, assets={"store": {"href": "./store.zarr"}})
    (tmp_path / "secret").write_text("secret")
    for name in ("mosaic", "store.zarr"):
        (path.parent / name).mkdir()
    (path.parent / below / "0").symlink_to(tmp_path / "secret")
    with pytest.raises(UpscalingError, match=rf"{below}/0 is a link to .*secret, outside the run's folder"):
        list(Product(path.parent, "s3://b").assets())


def test_a_collection_that_is_a_link_to_the_outside_is_not_published(tmp_path: Path) -> None:
    path = collection(tmp_path)
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(UpscalingError, match="outside the run's folder"):
        Product(path.parent, "s3://b")


@pytest.mark.parametrize(
    "changed",
    [
        {"links": "x"},
        {"links": [None]},
        {"links": [{"href": "./item.json"}]},
        {"assets": {"data": None}},
        {"assets": {"data": {"href": 1}}},
        {"links": [{"rel": "child", "href": "./collection.json"}]},
    ],
)
def test_a_collection_of_another_shape_is_one_line(tmp_path: Path, changed: dict[str, Any]) -> None:
    path = collection(tmp_path, **changed)
    with pytest.raises(UpscalingError, match=r"collection\.json"):
        list(Product(path.parent, "s3://b").assets())
    assert any("not as in a STAC document" in line or "child of itself" in line for line in validate_collection(path))


@pytest.mark.parametrize("name", ["asset", "tiles", "bounds", "band_cogs", "cog"])
def test_of_mosaics_json_what_is_damaged_does_not_count(tmp_path: Path, name: str) -> None:
    whole = {
        **{"asset": "data", "step": "", "index": "data.gti.gpkg", "quicklook": "data.png", "cog": None, "tiles": 1},
        **{"crs": "EPSG:32632", "bounds": [0, 0, 1, 1], "bbox": [0, 0, 1, 1], "band_cogs": [], "notices": []},
    }
    damaged = {key: value for key, value in whole.items() if key != name}
    (tmp_path / "mosaic").mkdir()
    (tmp_path / "mosaic" / "mosaics.json").write_text(json.dumps([None, damaged, whole]))
    assert read_mosaics(tmp_path) == [whole]
    assert [line.partition(" in ")[0] for line in damaged_mosaics(tmp_path)] == ["entry 1 of 3", "entry 2 of 3"]


def test_links_out_of_the_folder_are_problems_and_are_not_read(tmp_path: Path) -> None:
    secret, path = tmp_path / "secret", collection(tmp_path, assets={"data": {"href": "./data.txt"}})
    secret.write_text("{}")
    (path.parent / "data.txt").symlink_to(secret)
    item = path.parent / "item.json"
    item.symlink_to(secret)
    write_json(path, json.loads(path.read_text()) | {"links": [{"rel": "item", "href": "./item.json"}]})
    told = [line for line in validate_collection(path, content=True) if f"is a link to {secret}" in line]
    assert [line.partition(" is a link")[0] for line in told] == [
        "collection.json: asset data: ./data.txt",
        f"{item}:",
    ]
