"""The scene's products in every kind of catalogue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fake_stac_api import FakeStacApi
from tests.publish.conftest import s3  # noqa: F401 -- a fixture
from tests.stac_products import make_catalogue, products_api


@pytest.fixture
def api(scene: Path, tmp_path: Path) -> Iterator[FakeStacApi]:
    with products_api(scene, tmp_path / "files") as server:
        yield server


@pytest.fixture
def catalogue(scene: Path, tmp_path: Path) -> Path:
    """The same as files."""
    return make_catalogue(scene, tmp_path / "catalogue")


@pytest.fixture
def catalogue_of_the_web(catalogue: Path) -> Iterator[str]:
    """The same files by http."""
    with FakeStacApi(catalogue.parent) as server:
        yield f"{server.url}/files/catalog.json"


@pytest.fixture
def parquet(catalogue: Path, tmp_path: Path) -> Path:
    """The same as STAC GeoParquet, with absolute paths."""
    import pyarrow.parquet as pq
    from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

    items: list[dict[str, Any]] = []
    for path in sorted(catalogue.parent.glob("*/item.json")):
        item = json.loads(path.read_text())
        for asset in item["assets"].values():
            asset["href"] = str(path.parent / asset["href"])
        items.append(item)
    path = tmp_path / "items.parquet"
    to_parquet(parse_stac_items_to_arrow(items), path)
    assert pq.read_metadata(path).num_rows == len(items)
    return path
