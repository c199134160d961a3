"""Gathering items into a collection: this package against pystac objects, in one run.

    python benchmarks/collect/run.py [--items 10000] [--big 100000]

``one more`` gathers again after one tile was added to what is gathered already.

Items are made once, as files; each way then reads them all and writes a collection. Every way runs in a process of
its own, so that its peak memory is its own, and finds items and libraries in the system's cache. pystac writes the
collection's tree (it has no other way to save one); ``stac-geoparquet`` is its own conversion of the same dictionaries,
for the table alone.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WAYS = ("eo-upscaling", "eo-upscaling, one more", "pystac", "stac-geoparquet")


def make_items(folder: Path, count: int) -> None:
    import orjson

    from upscaling.area.outline import bbox_of, footprint
    from upscaling.model import Bounds
    from upscaling.results.describe import describe
    from upscaling.results.item import EXTENSIONS

    columns = 250
    for index in range(count):
        i, j = 100 + index % columns, 1000 + index // columns
        bounds = Bounds(i * 2000.0, j * 2000.0, i * 2000.0 + 2000, j * 2000.0 + 2000)
        tile = f"utm-2km_32632_{i}_{j}"
        geometry = footprint(bounds, "EPSG:32632")
        collection = {"href": "../../collection.json", "type": "application/json"}
        item = {
            "type": "Feature",
            "stac_version": "1.1.0",
            "stac_extensions": sorted(EXTENSIONS.values()),
            "id": tile,
            "geometry": geometry,
            "bbox": bbox_of(geometry),
            "properties": {
                "datetime": "2023-06-01T00:00:00Z",
                "start_datetime": "2023-06-01T00:00:00Z",
                "end_datetime": "2023-09-01T00:00:00Z",
                "created": "2026-01-01T00:00:00Z",
                "proj:code": "EPSG:32632",
                "proj:bbox": list(bounds),
                "proj:shape": [200, 200],
                "proj:transform": [10.0, 0.0, bounds.west, 0.0, -10.0, bounds.north],
                "grid:code": f"UTM2KM-32N_E{i}_N{j}",
                "processing:level": "L3",
                "processing:lineage": "openeo algorithm max_ndvi, run over this tile by eo-upscaling",
                "processing:software": {"eo-upscaling": "0.1.0", "openeo-processes-dask": "2026.9.1"},
                "upscaling:key": f"{index:064x}",
                "upscaling:run": "benchmark",
                "upscaling:job": {"id": f"j-{index:08d}", "backend": "openeo.example", "costs": 4.0},
                "upscaling:algorithm": {"kind": "openeo", "id": "max_ndvi", "sha256": "0" * 64},
                "upscaling:nodata": False,
            },
            "links": [{"rel": rel, **collection} for rel in ("root", "parent", "collection")],
            "assets": {
                "data": {
                    "href": f"./{tile}_data.tif",
                    "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                    "title": "data",
                    "roles": ["data"],
                    "bands": [{"name": "ndvi", "data_type": "float32", "nodata": "nan"}],
                    "raster:spatial_resolution": 10.0,
                    "file:size": 160000 + index,
                    "file:checksum": f"1220{index:064x}",
                }
            },
            "collection": "benchmark",
        }
        describe(item, run="benchmark", assets={})  # as a tile does; else gathering would write every item anew
        path = folder / "tiles" / tile / "item.json"
        path.parent.mkdir(parents=True)
        path.write_bytes(orjson.dumps(item, option=orjson.OPT_INDENT_2))
    os.sync()  # tiles are made over hours; the first to write a file for good is not to pay for them all


def keys(folder: Path) -> dict[str, str]:
    tiles = sorted(path.name for path in (folder / "tiles").iterdir())
    by_place = sorted(tiles, key=lambda tile: [int(part) for part in reversed(tile.split("_")[2:])])
    return {tile: f"{index:064x}" for index, tile in enumerate(by_place)}


def warm(folder: Path) -> None:
    """Let no way wait for the disk: whoever came first would read items and libraries in for all the others."""
    import packaging.specifiers  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import pystac  # noqa: F401
    import shapely  # noqa: F401
    import stac_geoparquet.arrow  # noqa: F401

    import upscaling.results.collection
    import upscaling.results.table  # noqa: F401

    for path in (folder / "tiles").iterdir():
        (path / "item.json").read_bytes()


def ours(folder: Path) -> float:
    from upscaling.results.collection import CollectionMetadata, collect

    plan = keys(folder)
    metadata = CollectionMetadata("benchmark", "Benchmark", "Items of a benchmark.")
    start = time.perf_counter()
    summary = collect(folder, tiles=list(plan), keys=plan, metadata=metadata)
    assert summary.items == len(plan)
    return time.perf_counter() - start


def one_more(folder: Path) -> float:
    """Seconds to gather again when one of the tiles, which was missing, is there."""
    from upscaling.results.collection import CollectionMetadata, collect

    plan = keys(folder)
    metadata = CollectionMetadata("benchmark", "Benchmark", "Items of a benchmark.")
    added = folder / "tiles" / sorted(plan)[len(plan) // 2] / "item.json"
    aside = added.rename(folder / "aside.json")
    assert collect(folder, tiles=list(plan), keys=plan, metadata=metadata, partial=True).items == len(plan) - 1
    aside.rename(added)
    start = time.perf_counter()
    summary = collect(folder, tiles=list(plan), keys=plan, metadata=metadata)
    assert summary.items == len(plan)
    return time.perf_counter() - start


def with_pystac(folder: Path) -> float:
    import pystac

    plan = keys(folder)
    start = time.perf_counter()
    items = [pystac.Item.from_dict(json.loads((folder / "tiles" / tile / "item.json").read_bytes())) for tile in plan]
    for item in items:
        item.clear_links()
    collection = pystac.Collection(
        "benchmark", "Items of a benchmark.", pystac.Extent.from_items(items), title="Benchmark", license="other"
    )
    collection.add_items(items)
    collection.normalize_hrefs(str(folder / "pystac"))
    collection.save(pystac.CatalogType.SELF_CONTAINED)
    return time.perf_counter() - start


def with_stac_geoparquet(folder: Path) -> float:
    from stac_geoparquet.arrow import parse_stac_items_to_parquet

    plan = keys(folder)
    start = time.perf_counter()
    items = (json.loads((folder / "tiles" / tile / "item.json").read_bytes()) for tile in plan)
    parse_stac_items_to_parquet(items, output_path=str(folder / "other.parquet"), schema="FirstBatch")
    return time.perf_counter() - start


FUNCTIONS: dict[str, Callable[[Path], float]] = {
    "eo-upscaling": ours,
    "eo-upscaling, one more": one_more,
    "pystac": with_pystac,
    "stac-geoparquet": with_stac_geoparquet,
}


def measure(way: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--way", way, "--folder", str(folder)], check=True, capture_output=True, text=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description="Gather items into a collection, against pystac.")
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--big", type=int, default=0, help="also gather so many items, in this package's way alone")
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.way:
        warm(arguments.folder)
        seconds = FUNCTIONS[arguments.way](arguments.folder)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": round(seconds, 2), "peak_mb": round(peak)}))
        return
    results: dict[str, Any] = {"items": arguments.items}
    with tempfile.TemporaryDirectory() as name:
        make_items(Path(name), arguments.items)
        for way in WAYS:
            results[way] = measure(way, Path(name))
    if arguments.big:
        with tempfile.TemporaryDirectory() as name:
            make_items(Path(name), arguments.big)
            results[f"eo-upscaling, {arguments.big} items"] = measure("eo-upscaling", Path(name))
            results[f"one more, {arguments.big} items"] = measure("eo-upscaling, one more", Path(name))
    print(f"{'way':<32}{'seconds':>10}{'peak MB':>10}")
    for way, result in results.items():
        if isinstance(result, dict):
            print(f"{way:<32}{result['seconds']:>10.2f}{result['peak_mb']:>10}")
    results["times_faster_than_pystac"] = round(results["pystac"]["seconds"] / results["eo-upscaling"]["seconds"], 1)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
