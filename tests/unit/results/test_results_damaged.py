"""Damaged documents of a run are told in one line, and nothing outside of its folder is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from upscaling.errors import UpscalingError
from upscaling.publish.explorer import explorer_config
from upscaling.publish.objects import Product
from upscaling.results.shapes import read_mosaics
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


ITEM: dict[str, Any] = {
    **{"type": "Feature", "stac_version": "1.1.0", "id": "a", "geometry": None, "links": [], "assets": {}},
    "properties": {"datetime": "2022-06-01T00:00:00Z"},
}


@pytest.mark.parametrize(
    "changed",
    [
        {"geometry": {"type": "Polygon", "coordinates": None}},
        {"geometry": "a text"},
        {"geometry": {"type": "Point", "coordinates": [1e300, 1]}},
        {"properties": None},
        {"properties": {"datetime": 5}},
        {"properties": {"created": "5"}},
        {"properties": {"processing:expression": "a text"}},
        {"assets": None},
        {"bbox": None},
        {"bbox": [1]},
    ],
)
def test_an_item_that_no_table_can_hold_is_one_line_when_it_is_published(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    table = {"href": "./items.parquet", "roles": ["stac-items"]}
    path = collection(tmp_path, links=[{"rel": "item", "href": "./a/item.json"}], assets={"items": table})
    write_json(path.parent / "a" / "item.json", ITEM)
    (tmp_path / "scratch").mkdir()
    assert len(list(Product(path.parent, "s3://b").tables(tmp_path / "scratch"))) == 1
    write_json(path.parent / "a" / "item.json", ITEM | changed)
    with pytest.raises(UpscalingError, match=r"a/item\.json|geometry of item a"):
        list(Product(path.parent, "s3://b").tables(tmp_path / "scratch"))


WHOLE: dict[str, Any] = {
    **{"asset": "data", "step": "", "index": "data.gti.gpkg", "quicklook": "data.png", "cog": None, "tiles": 1},
    **{"crs": "EPSG:32632", "bounds": [0, 0, 1, 1], "bbox": [0, 0, 1, 1], "band_cogs": [], "notices": []},
}


def mosaics(folder: Path, content: str) -> tuple[list[dict[str, Any]], list[str]]:
    (folder / "mosaic").mkdir()
    (folder / "mosaic" / "mosaics.json").write_text(content)
    told: list[str] = []
    return read_mosaics(folder, told.append), told


@pytest.mark.parametrize("name", ["asset", "tiles", "bounds", "band_cogs", "cog"])
def test_of_mosaics_json_what_is_damaged_does_not_count_and_is_told(tmp_path: Path, name: str) -> None:
    damaged = {key: value for key, value in WHOLE.items() if key != name}
    found, told = mosaics(tmp_path, json.dumps([None, damaged, WHOLE]))
    assert found == [WHOLE]
    assert [line.partition(" in ")[0] for line in told] == ["entry 1 of 3", "entry 2 of 3"]
    assert f"mosaics.json is damaged ({name}: Field required): delete" in told[1]


@pytest.mark.parametrize("content", ["{}", "[", '[{"asset": "\\ud800"}]'])
def test_mosaics_json_that_is_none_is_told(tmp_path: Path, content: str) -> None:
    found, (told,) = mosaics(tmp_path, content)
    assert found == [] and "mosaics.json is damaged (" in told and "run again" in told


def test_a_mosaic_whose_file_is_damaged_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mosaic").mkdir()
    (tmp_path / "mosaic" / "data.tif").write_bytes(b"II*\0")
    with pytest.raises(UpscalingError, match=r"data\.tif: cannot be read: .*run again"):
        explorer_config({"id": "run"}, [WHOLE | {"cog": "data.tif"}], tmp_path, "s3://b")


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
