"""What is written is read by the programs that people use."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import odc.stac
import pyarrow.parquet as pq
import pystac
import pytest
import rustac
from rio_tiler.io import STACReader
from stac_geoparquet.arrow import stac_table_to_items

from tests.unit.results.results_helpers import RUN, TEMPORAL, TILES, cut, ndvi, outcome_of, write_raster
from upscaling.model import FetchedAsset, Tile, TileJob
from upscaling.results.collection import CollectionMetadata, collect
from upscaling.results.item import build_item
from upscaling.util.files import write_json

METADATA = CollectionMetadata(RUN, "NDVI", "NDVI of Bolzano.", license="CC-BY-4.0")


@pytest.fixture
def run(tmp_path: Path, job_of: Callable[[Tile], TileJob], scene: Path) -> Path:
    """Two tiles of floating point, whose nodata value is NaN."""
    for tile in TILES[:2]:
        job = job_of(tile)
        job.algorithm.path.write_text('{"process_graph": {"load": {"process_id": "load_collection", "result": true}}}')
        path = write_raster(job.scratch / "a.tif", cut(scene, ndvi(scene), tile), tile.bounds.west, tile.bounds.north)
        asset = FetchedAsset(path, "ndvi", bands=({"name": "NDVI"},))
        write_json(job.folder / "item.json", build_item(job, outcome_of(asset), temporal=TEMPORAL))
    keys = {tile.id: f"key-of-{tile.id}" for tile in TILES[:2]}
    collect(tmp_path / RUN, tiles=list(keys), keys=keys, metadata=METADATA)
    return tmp_path / RUN


def test_items_with_nan_are_read_by_all(run: Path, tmp_path: Path) -> None:
    places = sorted(run.glob("tiles/*/item.json"))
    text = json.loads(places[0].read_text())
    assert text["properties"]["nodata"] == "nan" and "nodata" not in text["assets"]["ndvi"]["bands"][0]

    async def by_rustac() -> list[str]:
        items = [await rustac.read(str(place)) for place in places]
        await rustac.write(str(tmp_path / "again.parquet"), items)
        table = await rustac.read(str(run / "items.parquet"))
        collection = await rustac.read(str(run / "collection.json"))
        assert collection["summaries"]["nodata"] == ["nan"]
        return [item["properties"]["nodata"] for item in [*items, *table["features"]]]

    assert asyncio.run(by_rustac()) == ["nan"] * 4
    assert pq.read_metadata(tmp_path / "again.parquet").num_rows == 2
    items = [pystac.Item.from_file(str(place)) for place in places]
    assert [item.properties["nodata"] for item in items] == ["nan", "nan"]
    (first, second) = stac_table_to_items(pq.read_table(run / "items.parquet"))
    assert first["properties"]["nodata"] == second["properties"]["nodata"] == "nan"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say of libraries of theirs
        values = odc.stac.load(items, bands=["ndvi"], crs="EPSG:32632", resolution=10)["ndvi"].to_numpy()
        with STACReader(str(places[0])) as reader:
            picture = reader.preview(assets=["ndvi"])
    assert np.isfinite(values).sum() > 0.9 * values.size
    assert picture.mask.min() == 255 or np.isnan(picture.data[0][picture.mask == 0]).all()
